"""The chat format: messages, tools, cache marks, and the answer assembled from its pieces. Pure."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agentctl.core.messages import Completion, Message, MessageMemo, Stop, Thought, ToolCall, ToolSpec, Usage
from agentctl.core.pricing import Price
from agentctl.core.text import join_surrogates, safe_text, split_at_half
from agentctl.providers.wires.exchange import CallPiece, Piece, ThoughtPiece, stop_of, worse_reason, write_arguments

if TYPE_CHECKING:
    from agentctl.providers.call_pieces import CallJoiner
    from agentctl.providers.reasoning_text import ReasoningSifter

_CACHE_MARK: Mapping[str, object] = {"cache_control": {"type": "ephemeral"}}  # for five minutes from the last read
_TAG_BEGINS = re.compile(r"[<\[◁]")
_PER_PIECE = 16  # added to a piece's characters; some servers send one character at a time
_MOST_UNKNOWN, _LONGEST_UNKNOWN = 20, 80
_PER_CALL = 1024  # added to a call's arguments, for the tokens of its frame


def as_messages(messages: Iterable[Message], *, system_role: str = "system") -> list[dict[str, object]]:
    """Return a conversation in the chat format; ``system_role`` is the role of instructions."""
    return [_message(message, system_role) for message in messages]


def as_tools(tools: Iterable[ToolSpec]) -> list[dict[str, object]]:
    """Return tools in the chat format."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": json.loads(write_arguments(tool.parameters)),
            },
        }
        for tool in tools
    ]


def _message(message: Message, system_role: str) -> dict[str, object]:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.tool_call_id or "", "content": message.text}
    role = system_role if message.role == "system" else message.role
    entry: dict[str, object] = {"role": role, "content": message.text}
    if message.tool_calls:
        entry["content"] = message.text or None
        entry["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}
            for call, arguments in zip(message.tool_calls, _written_arguments(message), strict=True)
        ]
    return entry


_written_arguments: MessageMemo[tuple[str, ...]] = MessageMemo(
    lambda message: tuple(write_arguments(call.arguments) for call in message.tool_calls)
)


def allows_cache_marks(provider: str, model: str | None, price: Price | None) -> bool:
    """Return whether requests to a model may have cache marks: only if cache writes have a price of their own."""
    claude = provider == "anthropic" or (provider == "openrouter" and (model or "").startswith("anthropic/"))
    return claude and (price is None or price.cache_write is not None)


def add_cache_marks(messages: Sequence[Mapping[str, object]], *, followed: bool) -> list[dict[str, object]]:
    """Return a conversation in the chat format with cache marks at ``mark_places``."""
    places = _mark_places([(str(one["role"]), bool(one["content"])) for one in messages], followed=followed)
    return [{**one, **_CACHE_MARK} if place in places else dict(one) for place, one in enumerate(messages)]


def mark_places(messages: Iterable[Message], *, followed: bool) -> frozenset[int]:
    """Return the places of at most three cache marks (four are allowed).

    Anthropic reads a conversation from its cache only up to a mark. The first mark follows the system message and the
    tools, which stay when the rest is pruned. The second is where the previous request ended: from a mark the
    provider looks back over twenty blocks only, and a turn may have more. The third is at the end, or before the last
    message if no request is to follow (``followed``): a write that nothing reads costs more than it saves. Assistant
    messages get no mark, as calls may come after them, and empty ones cannot take one.
    """
    return _mark_places([(message.role, bool(message.text)) for message in messages], followed=followed)


def _mark_places(turns: Sequence[tuple[str, bool]], *, followed: bool) -> frozenset[int]:
    answered = max((place for place, (role, _) in enumerate(turns) if role == "assistant"), default=0)
    ends = (
        _last_place(turns, range(len(turns)), ("system",)),
        _last_place(turns, range(answered), ("user", "tool")),
        _last_place(turns, range(len(turns) - (not followed)), ("user", "tool")),
    )
    return frozenset(place for place in ends if place is not None)


def _last_place(turns: Sequence[tuple[str, bool]], places: Iterable[int], roles: Sequence[str]) -> int | None:
    return max((place for place in places if turns[place][0] in roles and turns[place][1]), default=None)


@dataclass(slots=True)
class _Thought:
    text_before: int
    calls_before: int
    pieces: list[Thought] = field(default_factory=list)

    def build(self) -> Thought:
        text, signature, data = ("".join(part) for part in list(zip(*self.pieces, strict=True))[:3])
        return Thought(text, signature, data, self.text_before, self.calls_before)


class AnswerText:
    """The text of an answer, without the reasoning that its server leaves in it between tags.

    ``waits``: nothing is shown before the end of reasoning that nothing opens, or of the answer. ``restarts``: what was
    shown before the last piece was reasoning.
    """

    def __init__(self, *, waits: bool = False) -> None:
        self._said: list[str] = []
        self._sifter: ReasoningSifter | None = None
        self._waits, self._shown = waits, 0
        self.reasoning: list[str] = []
        self.length = 0
        self.restarts = self.began_inside = False

    @property
    def text(self) -> str:
        """The text so far."""
        text = "".join(self._said)
        return text.lstrip() if self.has_tags else text

    @property
    def has_tags(self) -> bool:
        """Whether there was reasoning between tags."""
        return self._sifter is not None and self._sifter.found

    def add(self, text: str, *, last: bool = False, is_cut: bool = False) -> str:
        """Add a piece; return what can be shown now, all of it if it is the ``last`` one."""
        self.restarts = False
        if self._sifter is None and _TAG_BEGINS.search(text):
            from agentctl.providers.reasoning_text import ReasoningSifter  # noqa: PLC0415 - few answers have a tag

            self._sifter = ReasoningSifter("".join(self._said))
        if self._sifter is not None:
            found = self._sifter.sift(text, last=last, is_cut=is_cut)
            if found.withdraws:
                self.restarts, self.began_inside = self._shown > 0, True
                self.reasoning += self._said
                self._said.clear()
                self.length = self._shown = 0
            self.reasoning += [found.thought] if found.thought else ()
            text = found.text
        self._said.append(text)
        self.length += len(text)
        if self._waits and not (last or self.has_tags):
            return ""
        if self._waits:
            self._waits, text = False, "".join(self._said)
        self._shown += len(text)
        return text


class CompletionBuilder:
    """Builds a completion from the pieces of an answer: its text, and its tool calls by their place.

    ``earlier`` are the calls of the conversation: a call without an id gets one that none of them has. ``unknown``
    counts what the wire's module did not know, by name, of twenty names at most. ``waits``: see ``AnswerText``, which
    ``said`` is. ``rest`` is what is left to be shown once the completion is built. ``is_unsure``: it may begin with
    reasoning that nothing marks.
    """

    def __init__(self, earlier: Iterable[ToolCall] = (), *, waits: bool = False, is_unsure: bool = False) -> None:
        self.said, self.rest, self.is_unsure = AnswerText(waits=waits), "", is_unsure
        self._calls: CallJoiner | None = None
        self._thoughts: dict[int, _Thought] = {}
        self._half = ""
        self._stop = ""
        self._is_refusal = False
        self._earlier = tuple(earlier)
        self.size = 0
        self.unknown: Counter[str] = Counter()

    @property
    def stopped(self) -> bool:
        """Whether a piece gave the reason for the answer's end."""
        return bool(self._stop)

    @property
    def is_usable(self) -> bool:
        """Whether the pieces so far make an answer: text, or calls whose arguments are whole."""
        return bool(self._calls.is_whole if self._calls else self.said.text.strip())

    def add(self, piece: Piece) -> str | None:
        """Add one piece; return its text, "" for a piece of something else (a call, a thought), None for nothing.

        Half of a UTF-16 pair at its end is returned with the next piece, which may complete it.
        ``size`` grows by its characters, whatever its kind.
        """
        self._stop = worse_reason(self._stop, piece.stop)
        self._is_refusal = self._is_refusal or piece.is_refusal
        for name in piece.unknown:
            count_names(self.unknown, {name: 1})
        text, thought, calls = piece.text, piece.thought, piece.calls
        if piece.is_whole and (said := self.said.text):
            text = text[len(said) :] if text.startswith(said) else ""
        for part in piece.thoughts:
            self._add_thought(part)
        if thought and not piece.is_hidden:
            self.said.reasoning.append(thought)
        self.size += len(text) + len(thought) + _PER_PIECE * (bool(text or thought) + len(calls))
        for call in calls:
            self._add_call(call)
        shown = self._say(text, last=bool(piece.stop))
        return shown if text or calls or thought or shown else None

    def _say(self, text: str, *, last: bool = False) -> str:
        shown = self.said.add(text, last=last, is_cut=bool(self._stop) and stop_of(self._stop) == "length")
        whole, self._half = split_at_half(shown if self.said.restarts else self._half + shown)
        return join_surrogates(whole)

    def _finish(self) -> None:
        self.rest = self._say("", last=True)

    def _add_call(self, piece: CallPiece) -> None:
        self.size += len(piece.arguments)
        if self._calls is None:
            from agentctl.providers.call_pieces import CallJoiner  # noqa: PLC0415 - a request is sent without it

            self._calls = CallJoiner({call.id for call in self._earlier})
        if self._calls.add(piece):
            self.size += _PER_CALL

    def _add_thought(self, piece: ThoughtPiece) -> None:
        self.size += len(piece.thought.signature)  # its other parts are counted with the piece
        if piece.place not in self._thoughts:
            self._thoughts[piece.place] = _Thought(self.said.length, len(self._calls or ()))
        self._thoughts[piece.place].pieces.append(piece.thought)

    def build(
        self,
        *,
        usage: Usage | None,
        model: str | None,
        billed_nano: int | None = None,
        fee: str | None = None,
        reason: str = "",
    ) -> Completion:
        """Return the completion that the pieces make; ``reason`` is the provider's word for its end, as on the wire."""
        self._finish()
        reason = reason or self._stop
        calls = () if self._calls is None else self._calls.build()
        usual: Stop = "tool_calls" if calls else "stop"
        stop = stop_of(reason) if reason else usual
        stop = usual if stop == "stop" else stop
        thoughts = (thought.build() for thought in self._thoughts.values())
        signed = tuple(one for one in thoughts if one.signature or one.data)  # no other is taken back
        return Completion(
            self.said.text,
            calls,
            usage,
            model,
            "refusal" if self._is_refusal else stop,
            billed_nano,
            fee,
            thoughts=signed,
            reason=safe_text(reason)[:_LONGEST_UNKNOWN] if stop == "broken" else "",
            reasoning="".join(self.said.reasoning),
        )


def count_names(names: Counter[str], found: Mapping[str, int]) -> None:
    """Add names of the other side, in safe characters; of very many only the first ones."""
    for written, times in found.items():
        name = safe_text(written)[:_LONGEST_UNKNOWN]
        if name in names or len(names) < _MOST_UNKNOWN:
            names[name] += times
