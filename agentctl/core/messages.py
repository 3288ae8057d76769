"""Messages, tool calls, requests and completions: what is said to a model and what comes back. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Role = Literal["system", "user", "assistant", "tool"]
Stop = Literal["stop", "length", "tool_calls", "refusal"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call that a model asks for; ``arguments`` is its parsed JSON object.

    >>> from agentctl import ToolCall
    >>> ToolCall("call_1", "system_memory", {}).name
    'system_memory'
    """

    id: str
    name: str
    arguments: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    ``tool_calls`` only on the assistant's; ``tool_call_id`` only on a tool's answer.
    """

    role: Role
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


class ToolSpec(NamedTuple):
    """What a model reads about a tool; ``parameters`` is a JSON schema."""

    name: str
    description: str
    parameters: Mapping[str, object]

    @property
    def target(self) -> str | None:
        """The argument that says on what a call acts: the first that it needs, None where none is needed."""
        required = self.parameters.get("required")
        return str(required[0]) if isinstance(required, (list, tuple)) and required else None


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
    """What is asked of a model; ``max_output_tokens`` is the clamp that the ledger granted (None: unmetered).

    ``followed``: another request that begins with this one is expected, and a provider's cache worth writing.
    ``writes``: it may be asked to write there where that costs more than the input, because a price says how much.
    """

    model: str | None
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    max_output_tokens: int | None = None
    attempt_id: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)
    followed: bool = True
    writes: bool = True


class Delta(NamedTuple):
    """A piece of an answer on its way."""

    text: str


class Reported(NamedTuple):
    """Usage that was reported and is no charge: in the middle of an answer, or with a flaw (``why``).

    The attempt costs at least this much. What could not be read stands at 0.
    """

    usage: Usage
    why: str = ""

    @property
    def text(self) -> str:
        """Nothing of the answer."""
        return ""


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer. ``usage`` is None when the provider reported none; ``model`` is the one that answered.

    ``billed_nano`` is what the provider says that it billed, in nano-dollars, where it says so; ``fee`` names something
    that it charges for beside tokens, at a price that nobody told us. ``tier`` is the service tier that served the
    request, "" for the usual one or one that costs no more; ``hour_writes`` are the tokens among the cache writes that
    last an hour. ``reported`` is what can be read of a report that cannot be charged; then ``usage`` is None. ``fell``:
    a later usage block reported less than an earlier one, so no bound is built on the report.

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

    def as_message(self) -> Message:
        """Return the answer as the assistant's message.

        >>> Completion("Two: web and db.").as_message()
        Message(role='assistant', text='Two: web and db.', tool_calls=(), tool_call_id=None)
        """
        return Message("assistant", self.text, self.tool_calls)
