"""What happened, in the past tense: the only way up from the core to journal and screens.

Named tuples, because they are made at every start: two dozen dataclasses would cost it 8 ms.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Literal, NamedTuple

from agentctl.messages import Message, Stop, ToolCall, Usage
from agentctl.pricing import to_usd


@dataclass(frozen=True, slots=True)
class LimitUse:
    """One limit and how much of it is used (spent + in doubt): nano-dollars or tokens. None: no such limit."""

    name: str
    unit: Literal["nano_usd", "tokens"]
    ceiling: int | None
    used: int
    set_by: str | None = None


@dataclass(frozen=True, slots=True)
class BreakerInfo:
    """Why a breaker tripped: amounts in the limit's own unit; ``free_at`` is None when waiting will not help."""

    limit: str
    unit: Literal["nano_usd", "tokens"]
    ceiling: int
    spent: int
    held: int
    would_be: int
    free_at: datetime | None
    hint: str


class ErrorInfo(NamedTuple):
    """An error as the result document shows it."""

    kind: str
    message: str
    hint: str = ""


class ToolCount(NamedTuple):
    """How often a tool was called in a run."""

    name: str
    calls: int
    failed: int


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended; ``str()`` is the answer. ``status`` is the exit code's name.

    ``cost_nano`` is what was charged (nano-dollars, 10⁻⁹ USD), None when the price is unknown; ``in_doubt_nano`` counts
    as spent, at the worst case. ``usage`` is in tokens, ``duration_s`` in seconds, times are UTC. ``complete`` is False
    where ``answer`` is only a part. ``error`` has ``kind``, ``message`` and ``hint``; ``breaker`` says which limit
    stopped the run, ``limits`` how much of each is used.

    >>> from agentctl import DockerAgent, ScriptedProvider
    >>> from agentctl.messages import Completion, Usage
    >>> model = ScriptedProvider([Completion("Two: web and db.", usage=Usage(input_tokens=900, output_tokens=9))])
    >>> result = DockerAgent(model).execute("List all containers")
    >>> str(result), result.status, result.error, result.usage.total_tokens, result.cost
    ('Two: web and db.', 'done', None, 909, Decimal('0'))
    """

    run_id: str
    status: str
    answer: str
    complete: bool
    task: str
    agent: str
    provider: str
    provider_chosen_by: str
    model: str | None
    models: tuple[str, ...]
    turns: int
    started_at: datetime
    finished_at: datetime
    duration_s: float
    usage: Usage
    cost_nano: int | None
    in_doubt_nano: int | None
    price_source: str
    limits: tuple[LimitUse, ...]
    metered: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)
    resumed_from: str | None = None
    breaker: BreakerInfo | None = None
    tools: tuple[ToolCount, ...] = ()
    denied: tuple[str, ...] = ()
    sandbox: str | None = None
    left_out: tuple[str, ...] = ()
    error: ErrorInfo | None = None

    def __str__(self) -> str:
        return self.answer

    @property
    def cost(self) -> Decimal | None:
        """What was charged, in US dollars; None when the price is unknown. What is in doubt is not in it.

        >>> from agentctl import BuiltinProvider, DockerAgent
        >>> DockerAgent(BuiltinProvider()).execute("Restart the container web").cost
        Decimal('0')
        """
        return None if self.cost_nano is None else to_usd(self.cost_nano)


class RunStarted(NamedTuple):
    """A run was opened: what it was asked, and what was chosen for it and by what."""

    task: str
    agent: str
    agent_chosen_by: str
    provider: str
    provider_chosen_by: str
    model: str | None
    metered: bool
    workdir: str
    limits: tuple[LimitUse, ...]
    labels: Mapping[str, str] = MappingProxyType({})
    version: str = ""
    sandbox: str | None = None


class TurnStarted(NamedTuple):
    """A turn began (counted from 1)."""

    turn: int


class MessageAdded(NamedTuple):
    """A message joined the conversation; the journal's messages in order are the conversation."""

    message: Message


class ContextMeasured(NamedTuple):
    """What is about to be sent fills the context budget so far: tokens (estimated, schemas included) of a limit."""

    messages: int
    tokens: int
    limit: int


class CallHeld(NamedTuple):
    """The worst case of an attempt was reserved."""

    attempt_id: str
    provider: str
    model: str | None
    input_bound: int
    granted_output: int
    hold_nano: int | None
    hold_tokens: int


class CallWaited(NamedTuple):
    """No room yet: waiting for the holds of others, or for a provider to recover."""

    reason: str
    seconds: float


class CallSent(NamedTuple):
    """An attempt is about to go out."""

    attempt_id: str


class CallSettled(NamedTuple):
    """An attempt was charged."""

    attempt_id: str
    usage: Usage
    cost_nano: int | None
    overrun: bool = False


class CallVoided(NamedTuple):
    """An attempt surely cost nothing."""

    attempt_id: str
    reason: str


class CallDoubted(NamedTuple):
    """Nobody knows what an attempt cost; it counts as spent at the worst case."""

    attempt_id: str
    nano: int | None
    tokens: int
    reason: str


class CallRetried(NamedTuple):
    """An attempt failed and a new one follows after ``seconds``."""

    attempt_id: str
    reason: str
    seconds: float


class LimitsMeasured(NamedTuple):
    """How much of each limit is used now, over all processes on the ledger; told after each charge."""

    limits: tuple[LimitUse, ...]


class LimitWarned(NamedTuple):
    """80 % of a limit is used."""

    use: LimitUse


class BreakerTripped(NamedTuple):
    """A breaker stopped the run before a limit was passed."""

    breaker: BreakerInfo


class AnswerStreamed(NamedTuple):
    """A piece of an answer; a slow screen may drop it."""

    text: str


class ModelAnswered(NamedTuple):
    """An answer is complete."""

    turn: int
    text: str
    tool_calls: tuple[ToolCall, ...]
    stop: Stop
    model: str | None


class ApprovalAsked(NamedTuple):
    """A person is asked whether a call may run; ``rule`` would allow it and its like."""

    call: ToolCall
    effect: str
    why: str
    rule: str


class ToolAllowed(NamedTuple):
    """A call that is no plain read may run; ``by`` says who or what decided (a rule, --yes, you)."""

    call: ToolCall
    effect: str
    by: str


class ToolStarted(NamedTuple):
    """A tool began."""

    call: ToolCall


class ToolFinished(NamedTuple):
    """A tool ended; ``text`` is what the model reads, ``error`` is set when it failed."""

    call: ToolCall
    text: str
    duration_s: float
    error: ErrorInfo | None = None


class ToolDenied(NamedTuple):
    """A tool call was refused; the model is told why."""

    call: ToolCall
    reason: str


class ContextPruned(NamedTuple):
    """The conversation was cut to fit; token counts are estimates.

    ``messages_cut`` are gone but for a few words, ``messages_shortened`` lost their middles.
    """

    tokens_before: int
    tokens_after: int
    messages_cut: int
    messages_shortened: int = 0


class Noted(NamedTuple):
    """One sentence for the person at the screen."""

    text: str
    level: Literal["info", "warning"] = "info"


class Crashed(NamedTuple):
    """A bug of ours ended the run."""

    trace: str


class RunFinished(NamedTuple):
    """The run ended; always the last event."""

    result: RunResult


Event = (
    RunStarted
    | TurnStarted
    | MessageAdded
    | ContextMeasured
    | CallHeld
    | CallWaited
    | CallSent
    | CallSettled
    | CallVoided
    | CallDoubted
    | CallRetried
    | LimitsMeasured
    | LimitWarned
    | BreakerTripped
    | AnswerStreamed
    | ModelAnswered
    | ApprovalAsked
    | ToolAllowed
    | ToolStarted
    | ToolFinished
    | ToolDenied
    | ContextPruned
    | Noted
    | Crashed
    | RunFinished
)

Emit = Callable[[Event], Awaitable[None]]


class Record(NamedTuple):
    """An event with its place: run, number within the run (from 1), time (UTC)."""

    run_id: str
    seq: int
    at: datetime
    event: Event
