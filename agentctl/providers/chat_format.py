"""The chat format of litellm: messages, tools, cache marks, and the answer assembled from its pieces. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from agentctl.core.messages import Completion, Message, Stop, ToolCall, ToolSpec, Usage
from agentctl.core.pricing import Price
from agentctl.core.text import join_surrogates, split_at_half

_STOPS: Mapping[str, Stop] = {
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "refusal",
    "refusal": "refusal",
}
_CACHE_MARK: Mapping[str, object] = {"cache_control": {"type": "ephemeral"}}  # for five minutes from the last read
_MOST_CHARACTERS_QUOTED = 1000
_MOST_ENCODINGS = 4  # JSON in a JSON string, and so on
_NOTHING = frozenset(("", "null", "none", "undefined"))
_END_MARKS = re.compile(r"(?:\s*<\|[^<>|]{0,40}\|>)+\s*\Z")  # a chat template's own, at the end of a text
_MARKDOWN = re.compile(r"```(?:json)?\s*\n(.*)```", re.DOTALL)
_PER_PIECE = 16  # added to a piece's characters; some servers send one character at a time
_PER_CALL = 1024  # added to a call's arguments, for the tokens of its frame


def as_messages(messages: Iterable[Message]) -> list[dict[str, object]]:
    """Return a conversation in the chat format."""
    return [_message(message) for message in messages]


def as_tools(tools: Iterable[ToolSpec]) -> list[dict[str, object]]:
    """Return tools in the chat format."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": json.loads(_to_json(tool.parameters)),
            },
        }
        for tool in tools
    ]


def _message(message: Message) -> dict[str, object]:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.tool_call_id or "", "content": message.text}
    entry: dict[str, object] = {"role": message.role, "content": message.text}
    if message.tool_calls:
        entry["content"] = message.text or None
        entry["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": _to_json(call.arguments)}}
            for call in message.tool_calls
        ]
    return entry


def _to_json(value: Mapping[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False, default=_to_plain)


def _to_plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, (tuple, frozenset, set)) else str(value)


def allows_cache_marks(provider: str, model: str | None, price: Price | None) -> bool:
    """Return whether requests to a model may have cache marks: only if cache writes have a price of their own."""
    claude = provider == "anthropic" or (provider == "openrouter" and (model or "").startswith("anthropic/"))
    return claude and (price is None or price.cache_write is not None)


def add_cache_marks(messages: Sequence[Mapping[str, object]], *, followed: bool) -> list[dict[str, object]]:
    """Return a conversation in the chat format with at most three cache marks (four are allowed).

    Anthropic reads a conversation from its cache only up to a mark. The first mark follows the system message and the
    tools, which stay when the rest is pruned. The second is where the previous request ended: from a mark the
    provider looks back over twenty blocks only, and a turn may have more. The third is at the end, or before the last
    message if no request is to follow (``followed``): a write that nothing reads costs more than it saves. Assistant
    messages get no mark, as calls may come after them, and empty ones cannot take one.
    """
    answered = max((place for place, one in enumerate(messages) if one["role"] == "assistant"), default=0)
    ends = (
        _last_place(messages, range(len(messages)), ("system",)),
        _last_place(messages, range(answered), ("user", "tool")),
        _last_place(messages, range(len(messages) - (not followed)), ("user", "tool")),
    )
    return [{**one, **_CACHE_MARK} if place in ends else dict(one) for place, one in enumerate(messages)]


def _last_place(messages: Sequence[Mapping[str, object]], places: Iterable[int], roles: Sequence[str]) -> int | None:
    return max(
        (place for place in places if messages[place]["role"] in roles and messages[place]["content"]), default=None
    )


class Chunk(Protocol):
    """One piece of an answer from litellm."""

    choices: Any


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)


class CompletionBuilder:
    """Builds a completion from the pieces of an answer: its text, and its tool calls by their place."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._order: list[_Call] = []
        self._half = ""
        self._stop: str | None = None
        self.size = 0

    @property
    def stopped(self) -> bool:
        """Whether a piece gave the reason for the answer's end."""
        return self._stop is not None

    def add(self, chunk: Chunk) -> str | None:
        """Add one piece; return its text, "" for a piece of something else (a call, a thought), None for nothing.

        Half of a UTF-16 pair at its end is returned with the next piece, which may complete it.
        ``size`` grows by its characters, whatever its kind.
        """
        if not chunk.choices:
            return None
        choice = chunk.choices[0]
        self._stop = choice.finish_reason or self._stop
        delta = choice.delta
        text = getattr(delta, "content", None) or ""
        calls = getattr(delta, "tool_calls", None) or ()
        thought = getattr(delta, "reasoning_content", None) or ""
        self._text.append(text)
        self.size += len(text) + len(thought) + _PER_PIECE * (bool(text or thought) + len(calls))
        for place, call in enumerate(calls):
            self._add_call(place, call)
        if not (text or calls or thought):
            return None
        whole, self._half = split_at_half(self._half + text)
        return join_surrogates(whole)

    def _add_call(self, place: int, piece: Any) -> None:  # noqa: ANN401 - litellm's
        index = piece.index if isinstance(getattr(piece, "index", None), int) else place
        call = self._calls.get(index)
        if call is None or (piece.id and call.id and piece.id != call.id):  # some servers number every call 0
            call = self._calls[index] = _Call()
            self.size += _PER_CALL
            self._order.append(call)
        call.id = call.id or piece.id or ""
        call.name = call.name or getattr(piece.function, "name", None) or ""
        written = getattr(piece.function, "arguments", None) or ""
        call.pieces.append(written)
        self.size += len(written)

    def build(
        self, *, usage: Usage | None, model: str | None, billed_nano: int | None = None, fee: str | None = None
    ) -> Completion:
        """Return the completion that the pieces make."""
        calls = tuple(
            ToolCall(call.id or f"call_{number}", call.name, parse_arguments("".join(call.pieces)))
            for number, call in enumerate(self._order, 1)
        )
        stop = _STOPS.get(self._stop or "", "tool_calls" if calls else "stop")
        return Completion("".join(self._text), calls, usage, model, stop, billed_nano, fee)


def parse_arguments(text: str) -> Mapping[str, object]:
    """Return a call's arguments; if they are not a JSON object, the tool's own validation tells the model.

    Nothing at all, in any spelling (``null``, ``""``, ``"null"``, ``[]``), is no arguments. An object inside a JSON
    string is read, with newlines in its strings as they are, and so is one in a Markdown block or before a ``<|…|>``.
    """
    found: object = text
    for _ in range(_MOST_ENCODINGS):
        if not isinstance(found, str):
            break
        found = _decode(found)
    if found is None or found == []:
        return {}
    return found if isinstance(found, dict) else {"no_json_object": text[:_MOST_CHARACTERS_QUOTED]}


def _decode(text: str) -> object:
    """Return the JSON value that ``text`` holds, None for nothing, False for text that is not JSON."""
    text = _END_MARKS.sub("", text).strip()
    if (block := _MARKDOWN.fullmatch(text)) is not None:
        text = block[1].strip()
    if text.lower() in _NOTHING:
        return None
    if text.startswith("{}"):
        text = text[2:].strip() or text  # some servers send an empty object before the real one
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return False
