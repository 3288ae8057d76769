"""OpenAI's Responses: its requests in fields, and the pieces of an answer, streamed or whole. Pure.

Nothing is kept at the provider: each request carries the whole conversation, with the model's thoughts as encrypted
items, which come back unchanged. litellm writes the fields into a request: see ``responses_client``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from agentctl.core.messages import Message, Request, Thought
from agentctl.core.text import join_surrogates
from agentctl.providers.wires.exchange import (
    BodyFacts,
    CallPiece,
    Piece,
    ThoughtPiece,
    mapping_of,
    mappings_of,
    place_of,
    stop_of,
    text_of,
    write_arguments,
)

Item = dict[str, object]

#: What the provider runs by itself, and bills apart: agentctl offers none of it.
HOSTED = frozenset(
    {"web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call", "mcp_call"}
    | {"computer_call", "shell_call"}
)
_ENCRYPTED = "reasoning.encrypted_content"
_DELTAS = frozenset(
    {"response.output_text.delta", "response.refusal.delta", "response.function_call_arguments.delta"}
    | {"response.reasoning_summary_text.delta", "response.reasoning_text.delta"}
)
_ITEMS = frozenset({"response.output_item.added", "response.output_item.done", "response.function_call_arguments.done"})
_LAST = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
#: They tell what other events tell, too.
_REPEATED = frozenset(
    {"response.created", "response.in_progress", "response.queued"}
    | {"response.content_part.added", "response.content_part.done", "response.output_text.done"}
    | {"response.refusal.done", "response.reasoning_text.done", "response.output_text.annotation.added"}
    | {f"response.reasoning_summary_{part}" for part in ("part.added", "part.done", "text.done")}
    | {"keepalive"}
)
_KNOWN_ITEMS = frozenset({"message", "function_call", "reasoning"})


class AnswerFailed(Exception):
    """The answer ended with an error, which the attempt's reader has."""


def fields(request: Request, facts: BodyFacts, *, reasons: bool) -> dict[str, object]:
    """Return the fields of a request, as litellm takes them, without the model; ``reasons``: it may send thoughts."""
    first, rest = request.messages[:1], request.messages[1:]
    if not first or first[0].role != "system" or not rest:
        first, rest = (), request.messages
    found: dict[str, object] = {
        "input": list(_input(rest, facts.model)),
        "max_output_tokens": facts.clamp,
        "stream": True,
        "store": False,
        **({"instructions": join_surrogates(first[0].text)} if first else {}),
        **({"include": [_ENCRYPTED]} if reasons else {}),
        **({} if facts.temperature is None else {"temperature": facts.temperature}),
        **facts.options,
    }
    if (asked := request.answer_format) is not None:
        schema = json.loads(write_arguments(asked.spec.parameters))
        found["text"] = {"format": {"type": "json_schema", "name": asked.spec.name, "strict": True, "schema": schema}}
    if request.tools:
        found["tools"] = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": json.loads(write_arguments(tool.parameters)),
                "strict": False,  # as in the chat format: otherwise every argument would be required
            }
            for tool in request.tools
        ]
    return found


def _input(messages: Iterable[Message], model: str) -> Iterator[Item]:
    for message in messages:
        text = join_surrogates(message.text)
        match message.role:
            case "tool":
                yield {"type": "function_call_output", "call_id": message.tool_call_id or "", "output": text}
            case "assistant":
                yield from _answer(message, model)
            case "system":
                yield {"role": "developer", "content": text}
            case _:
                yield {"role": "user", "content": text}


def _answer(message: Message, model: str) -> Iterator[Item]:
    """Yield the items of an answer in their order, without the thoughts of another model."""
    text = calls = 0
    for thought in (*message.thoughts, None):
        text_end = len(message.text) if thought is None else thought.text_before
        calls_end = len(message.tool_calls) if thought is None else thought.calls_before
        if said := join_surrogates(message.text[text:text_end]):
            yield {"role": "assistant", "content": said}
        for call in message.tool_calls[calls:calls_end]:
            arguments = write_arguments(call.arguments)
            yield {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": arguments}
        text, calls = max(text, text_end), max(calls, calls_end)
        if thought is not None and thought.data and thought.signature == model:
            yield json.loads(thought.data)


def response_of(event: Mapping[str, object]) -> Mapping[str, object]:
    """Return the response that an event carries, or that it is, if the server does not stream; else an empty one."""
    return event if event.get("object") == "response" else mapping_of(event.get("response"))


def end_of(event: Mapping[str, object]) -> str:
    """Return how an event ends the answer: "completed", "incomplete" or "failed"; "" if it does not."""
    kind = text_of(event.get("type"))
    if kind == "error":
        return "failed"
    is_whole = event.get("object") == "response"
    if not is_whole and kind not in _LAST:
        return ""
    status = text_of(response_of(event).get("status")) or kind.removeprefix("response.")
    return status if status in ("completed", "incomplete") else "failed"


def reason_of(response: Mapping[str, object]) -> str:
    """Return why a response is incomplete, in the provider's own word where that is not known."""
    reason = text_of(mapping_of(response.get("incomplete_details")).get("reason"))
    return "length" if reason == "max_output_tokens" else reason or "incomplete"


class AnswerItems:
    """Reads the events of one answer: its items by their place, and of each item what no earlier event had.

    ``model`` is the one that was asked: its thoughts go back to it only.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._by_id: dict[str, int] = {}
        self._by_index: dict[int, int] = {}
        self._number = 0
        self._opened = set[int]()  # calls
        self._closed = set[int]()
        self._said = set[int]()  # items with text, arguments or a thought that were passed on

    def piece(self, event: Mapping[str, object]) -> Piece | None:
        """Return the piece of an answer that an event holds, None for nothing.

        Raises:
            AnswerFailed: it ends the answer with an error.
        """
        end, kind = end_of(event), text_of(event.get("type"))
        if end == "failed":
            raise AnswerFailed(kind or "a failed response")
        if end:
            return self._end(response_of(event), end)
        if kind in _DELTAS:
            return self._delta(kind, event)
        if kind in _ITEMS:
            return self._item(kind, event)
        return None if kind in _REPEATED else Piece(unknown=(f"event {kind}",))

    def _delta(self, kind: str, event: Mapping[str, object]) -> Piece | None:
        delta = text_of(event.get("delta"))
        if not delta:
            return None
        if "reasoning" in kind:
            return Piece(thought=delta)
        place = self._place(event)
        self._said.add(place)
        if kind == "response.function_call_arguments.delta":
            return Piece(calls=(CallPiece(place, arguments=delta, opens=False),))
        return Piece(text=delta, is_refusal=kind == "response.refusal.delta")

    def _item(self, kind: str, event: Mapping[str, object]) -> Piece | None:
        item = mapping_of(event.get("item"))
        named = {**event, "item_id": item.get("id") or event.get("item_id")}
        before = self._by_index.get(place_of(event.get("output_index")) or 0)
        opens = kind == "response.output_item.added" or (kind == "response.output_item.done" and before in self._closed)
        place = self._place(named, opens=opens)
        if kind == "response.output_item.done":
            self._closed.add(place)
        elif kind == "response.function_call_arguments.done":
            return self._call(place, {"arguments": event.get("arguments")})
        if item.get("type") == "function_call":
            return self._call(place, item)
        return self._whole(place, item) if kind == "response.output_item.done" else None

    def _end(self, response: Mapping[str, object], end: str) -> Piece:
        """Return the end of the answer, with those items that no event had before.

        A thought among them has lost its place, unless it comes before everything else.
        """
        is_first = not self._said and not self._opened
        found = [
            self._call(place, item) if item.get("type") == "function_call" else self._whole(place, item)
            for index, item in enumerate(mappings_of(response.get("output")))
            for place in [self._place({"item_id": item.get("id"), "output_index": index})]
        ]
        pieces = [piece for piece in found if piece is not None]
        stop, unknown = "tool_calls" if self._opened else "stop", list[str]()
        if end == "incomplete":
            stop = reason_of(response)
            unknown += [f"reason {stop}"] if stop_of(stop) == "broken" else []
        return Piece(
            text="".join(piece.text for piece in pieces),
            thought="".join(piece.thought for piece in pieces),
            calls=tuple(call for piece in pieces for call in piece.calls),
            stop=stop,
            thoughts=pieces[0].thoughts
            if is_first and pieces and sum(bool(one.thoughts) for one in pieces) == 1
            else (),
            unknown=(*unknown, *(name for piece in pieces for name in piece.unknown)),
            is_refusal=any(piece.is_refusal for piece in pieces),
            is_hidden=any(piece.is_hidden for piece in pieces),
        )

    def _call(self, place: int, item: Mapping[str, object]) -> Piece | None:
        """Return what is new of a call: its name, its arguments, or both."""
        is_new, arguments = place not in self._opened, text_of(item.get("arguments"))
        if place in self._said:
            arguments = ""
        name = text_of(item.get("name"))
        if not is_new and not arguments:
            return None
        if is_new and not name:
            return None  # only arguments, and of a call that was not named
        self._opened.add(place)
        if arguments:
            self._said.add(place)
        if not is_new:
            return Piece(calls=(CallPiece(place, arguments=arguments, opens=False),))
        call_id = text_of(item.get("call_id")) or text_of(item.get("id"))
        return Piece(calls=(CallPiece(place, call_id, name, arguments),))

    def _whole(self, place: int, item: Mapping[str, object]) -> Piece | None:
        """Return a whole item, if nothing of it was passed on before."""
        kind = text_of(item.get("type"))
        if place in self._said:
            return None
        if kind == "message":
            parts = mappings_of(item.get("content"))
            refusal = "".join(text_of(part.get("refusal")) for part in parts)
            text = "".join(text_of(part.get("text")) for part in parts) + refusal
            if not text:
                return None
            self._said.add(place)
            return Piece(text=text, is_refusal=bool(refusal))
        self._said.add(place)
        if kind == "reasoning":
            return _thought(place, item, self._model)
        return None if kind in _KNOWN_ITEMS else Piece(unknown=(f"item {kind}",))

    def _place(self, event: Mapping[str, object], *, opens: bool = False) -> int:
        """Return the place of an item by its id or by its index, of which servers get either wrong."""
        name, index = text_of(event.get("item_id")), place_of(event.get("output_index"))
        place = self._by_id.get(name) if name else None
        if place is None and index is not None and not opens:
            place = self._by_index.get(index)
        if place is None:
            place, self._number = self._number, self._number + 1
        if name:
            self._by_id[name] = place
        if index is not None:
            self._by_index[index] = place
        return place


def _thought(place: int, item: Mapping[str, object], model: str) -> Piece | None:
    """Return a thought that can be given back: only its encrypted form can, as the provider keeps nothing.

    Without its id, by which the provider would look for it.
    """
    hidden = text_of(item.get("encrypted_content"))
    if not hidden:
        return None
    kept = {"type": "reasoning", "summary": item.get("summary") or [], "encrypted_content": hidden}
    data = json.dumps(kept, separators=(",", ":"), default=str)
    return Piece(thought=hidden, thoughts=(ThoughtPiece(place, Thought(signature=model, data=data)),), is_hidden=True)
