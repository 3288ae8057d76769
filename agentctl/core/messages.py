"""Messages, tool calls, requests and completions: the data sent to a model and received from it. Pure values.

What a model said holds whole characters only: half of a UTF-16 pair is joined to the other one, or replaced, where a
``ToolCall`` or a ``Completion`` is built.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from operator import is_
from typing import Generic, Literal, NamedTuple, TypeVar

from agentctl.core.errors import BrokenOff
from agentctl.core.text import join_surrogates, map_texts

Role = Literal["system", "user", "assistant", "tool"]
Stop = Literal["stop", "length", "tool_calls", "refusal", "broken"]
Found = TypeVar("Found")


def _has_half(value: object) -> bool:
    """Return whether a text in a value has half of a UTF-16 pair; the value may be deep, or contain itself."""
    rest, seen = [value], set[int]()
    while rest:
        item = rest.pop()
        if isinstance(item, str):
            if join_surrogates(item) is not item:
                return True
        elif isinstance(item, (Mapping, list, tuple)) and id(item) not in seen:
            seen.add(id(item))
            rest += (*item, *item.values()) if isinstance(item, Mapping) else item
    return False


def _join_halves(value: object, *names: str) -> None:
    """Join or replace the halves of UTF-16 pairs in these fields of a frozen value."""
    for name in names:
        if _has_half(found := getattr(value, name)):
            with suppress(RecursionError):  # too deep to be written as JSON either: refused there
                object.__setattr__(value, name, map_texts(found, join_surrogates))


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call that a model requests; ``arguments`` is its parsed JSON object.

    >>> from agentctl import ToolCall
    >>> ToolCall("call_1", "system_memory", {}).name
    'system_memory'
    """

    id: str
    name: str
    arguments: Mapping[str, object]

    def __post_init__(self) -> None:
        """Join or replace the halves of UTF-16 pairs in every text."""
        _join_halves(self, "id", "name", "arguments")


class Thought(NamedTuple):
    """A thought of a model that its provider wants back unchanged: ``text`` with its ``signature``, or hidden ``data``.

    It stood behind ``text_before`` characters of the answer's text and behind ``calls_before`` of its calls.
    """

    text: str = ""
    signature: str = ""
    data: str = ""
    text_before: int = 0
    calls_before: int = 0


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Message:
    """One message of a conversation.

    Only an assistant's message has ``tool_calls`` and ``thoughts``; only a tool's result has ``tool_call_id``.
    """

    role: Role
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    thoughts: tuple[Thought, ...] = ()


class MessageMemo(Generic[Found]):
    """A function of a message that is computed once for each, as messages do not change; it is forgotten with them."""

    def __init__(self, compute: Callable[[Message], Found]) -> None:
        self._compute = compute
        # An id identifies an object only while that is alive.
        self._known: dict[int, tuple[weakref.ref[Message], Found]] = {}

    def __call__(self, message: Message) -> Found:
        key, known = id(message), self._known
        if (entry := known.get(key)) is not None and entry[0]() is message:
            return entry[1]
        found = self._compute(message)
        known[key] = weakref.ref(message, lambda _: known.pop(key, None)), found
        return found


class RunningTotal:
    """The sum of ``of`` over a conversation. Where it begins with one of the last two, only what is new is added up."""

    def __init__(self, of: Callable[[Message], int]) -> None:
        self._of = of
        self._last: tuple[tuple[tuple[Message, ...], int], ...] = ()

    def __call__(self, messages: Sequence[Message]) -> int:
        now = tuple(messages)
        # The same objects: equal ones may be written in another way, as 1 and true are.
        begun = (one for one in self._last if len(one[0]) <= len(now) and all(map(is_, one[0], now)))
        known = next(begun, None)
        before, total = known or ((), 0)
        total += sum(map(self._of, now[len(before) :]))
        self._last = ((now, total), *(one for one in self._last if one is not known))[:2]
        return total


class ToolSpec(NamedTuple):
    """The description of a tool for a model; ``parameters`` is a JSON schema."""

    name: str
    description: str
    parameters: Mapping[str, object]

    @property
    def target(self) -> str | None:
        """The argument that names the target of a call: the first required one, or None."""
        required = self.parameters.get("required")
        return str(required[0]) if isinstance(required, (list, tuple)) and required else None


class AnswerSpec(ToolSpec):
    """The schema of an answer, which is described and counted like a tool's."""

    __slots__ = ()


class AnswerFormat(NamedTuple):
    """The form that an answer must have: ``spec.parameters`` is its JSON schema, described and weighed like a tool's.

    ``fits`` names the subsets of JSON Schema, as providers take them, that the schema keeps to.
    """

    spec: AnswerSpec
    fits: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider reports them.

    ``cached_input_tokens`` and ``cache_write_tokens`` are included in ``input_tokens``;
    ``reasoning_tokens`` is included in ``output_tokens``.

    >>> from agentctl import Usage
    >>> Usage(input_tokens=1000, output_tokens=100) + Usage(input_tokens=500, cached_input_tokens=200)
    Usage(input_tokens=1500, output_tokens=100, cached_input_tokens=200, cache_write_tokens=0, reasoning_tokens=0)
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """All input and all output, as the token limit counts them.

        >>> Usage(input_tokens=1000, output_tokens=100, reasoning_tokens=40).total_tokens
        1100
        """
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_input_tokens + other.cached_input_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a model; ``max_output_tokens`` is the clamp that the ledger granted (None: unmetered).

    ``followed``: another request that begins with this one is expected, so writing the provider's cache is worth it.
    ``writes``: a cache write may be requested even if it costs more than input, because its price is known.
    ``answer_format`` is the form that the provider itself is asked to give the answer. ``send_by`` is when its first
    byte must have left, by ``boot_s``; later it may not be sent any more.
    """

    model: str | None
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    max_output_tokens: int | None = None
    attempt_id: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)
    followed: bool = True
    writes: bool = True
    answer_format: AnswerFormat | None = None
    send_by: float | None = None

    def is_late(self) -> bool:
        """Return whether the time by which its first byte must have left is over."""
        return self.send_by is not None and boot_s() > self.send_by


def boot_s() -> float:
    """Return the seconds since this machine started, those that it was suspended included."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Delta(NamedTuple):
    """A piece of an answer on its way."""

    text: str


class KeepAlive(Delta):
    """A sign that the answer is still coming, which is no piece of it: ``text`` is empty."""

    __slots__ = ()


class Tentative(Delta):
    """A piece of an answer, or of reasoning: servers may leave out the tag that opens it, and send the closing one."""

    __slots__ = ()


class Restart(Delta):
    """The beginning of the answer: the pieces before were reasoning."""

    __slots__ = ()


class Reported(NamedTuple):
    """Reported usage that is not a charge: it came in the middle of an answer, or is flawed (``why``).

    The attempt costs at least this much. Values that could not be read are 0.
    """

    usage: Usage
    why: str = ""

    @property
    def text(self) -> str:
        """Always empty: a report adds nothing to the answer's text."""
        return ""


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer. ``usage`` is None when the provider reported none; ``model`` is the one that answered.

    ``billed_nano`` is the amount that the provider says it billed, in nano-dollars, if it does; ``fee`` names a charge
    besides tokens whose price is unknown. ``tier`` is the service tier that served the request, "" for the usual one or
    one that costs no more; ``hour_writes`` are those tokens of the cache writes that last an hour. ``reported`` holds
    the readable part of a report that cannot be charged; then ``usage`` is None. ``fell``: a later usage block reported
    less than an earlier one, so no bound relies on the report. ``thoughts`` go back with the answer. If ``stop`` is
    "broken", the provider broke off: the text is a part of an answer, the calls must not run, and ``reason`` is the
    provider's own word for the end.
    ``reasoning`` is what the model thought aloud, as far as its server shows it: no part of the answer, and never sent
    back.

    >>> from agentctl import Completion, Usage
    >>> answer = Completion("Two: web and db.", usage=Usage(input_tokens=1000, output_tokens=100))
    >>> answer.stop, answer.usage.total_tokens
    ('stop', 1100)
    """

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage | None = None
    model: str | None = None
    stop: Stop = "stop"
    billed_nano: int | None = None
    fee: str | None = None
    tier: str = ""
    hour_writes: int = 0
    reported: Reported | None = None
    fell: bool = False
    thoughts: tuple[Thought, ...] = ()
    reason: str = ""
    reasoning: str = ""

    def __post_init__(self) -> None:
        """Join or replace the halves of UTF-16 pairs in every text."""
        _join_halves(self, "text", "model", "fee", "tier", "reason", "reasoning")

    def check_whole(self, provider: str) -> Completion:
        """Return the answer, if the provider did not break it off.

        Raises:
            BrokenOff: it did.

        >>> Completion("Two: web", stop="length").check_whole("openai").text
        'Two: web'
        """
        if self.stop == "broken":
            raise BrokenOff(provider, self.reason)
        return self

    def as_message(self) -> Message:
        """Return the answer as the assistant's message.

        >>> Completion("Two: web and db.").as_message()
        Message(role='assistant', text='Two: web and db.', tool_calls=(), tool_call_id=None, thoughts=())
        """
        return Message("assistant", self.text, self.tool_calls, thoughts=self.thoughts)
