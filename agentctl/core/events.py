"""The events of a run, named in the past tense: the only input of the journal and the screens.

They are named tuples, because two dozen dataclasses would add 8 ms to each start.
"""

# Annotations are not postponed here: to compile them from text takes longer at every start.

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Literal, NamedTuple

from agentctl.core.impact import Impact
from agentctl.core.messages import Message, Stop, Thought, ToolCall, Usage
from agentctl.core.results import BreakerInfo, ErrorInfo, FileNotice, LimitUse, RunResult


class RunStarted(NamedTuple):
    """A run was opened: its task, the chosen provider, model and agent, and what decided each choice.

    ``token_turns``: about how many turns with a full context (at least, at most) fit the token limit, if that limit
    stops the run first. ``client`` sends the requests: "lean", "litellm", or None for a model that has none. A fork is
    ``forked_from`` a run. ``journal`` is a version. A resumed run keeps ``flags``, and ``digests`` are compared then.
    ``trace_parent`` is the span that the run is part of: TRACEPARENT, and TRACESTATE behind a space.
    """

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
    token_turns: tuple[int, int] | None = None
    client: str | None = None
    journal: int = 1
    flags: Mapping[str, object] = MappingProxyType({})
    digests: Mapping[str, str] = MappingProxyType({})
    forked_from: str | None = None
    trace_parent: str = ""


class RunResumed(NamedTuple):
    """A run goes on from its journal, or (a fork) from record ``until`` of the journal of ``source``.

    The first ``kept`` messages remain, after ``turns`` whole turns; ``words`` are the user's new ones. ``changes`` say
    what has changed since it started. ``limits`` are totals."""

    source: str
    until: int
    kept: int
    turns: int
    words: str
    limits: tuple[LimitUse, ...]
    flags: Mapping[str, object] = MappingProxyType({})
    digests: Mapping[str, str] = MappingProxyType({})
    changes: tuple[str, ...] = ()
    task: str = ""
    agent: str = ""
    provider: str = ""
    provider_chosen_by: str = ""
    model: str | None = None
    journal: int = 1
    trace_parent: str = ""


class TurnStarted(NamedTuple):
    """A turn began (counted from 1)."""

    turn: int


class MessageAdded(NamedTuple):
    """A message joined the conversation; the journal's messages in order are the conversation."""

    message: Message


class ContextMeasured(NamedTuple):
    """The size of the next request: tokens (schemas included) of the context budget.

    ``counted_by`` says how. ``near`` is true at most once: when it passes the warning percentage before any cut.
    """

    messages: int
    tokens: int
    limit: int
    counted_by: str = ""
    near: bool = False


class CallHeld(NamedTuple):
    """The worst case of an attempt was reserved."""

    attempt_id: str
    provider: str
    model: str | None
    input_bound: int
    granted_output: int
    hold_nano: int | None
    hold_tokens: int
    purpose: str = "turn"
    probe: bool = False


class CallWaited(NamedTuple):
    """A call has no room yet: it waits for the holds of others ("holds"), or for a model to recover ("provider").

    ``seconds`` until the first retry, ``at_most_s`` until the call is given up. ``base_url`` "": the provider's own."""

    reason: str
    seconds: float
    provider: str = ""
    model: str | None = None
    base_url: str = ""
    at_most_s: float | None = None


class CallSent(NamedTuple):
    """An attempt is about to go out by ``client``: "lean", "litellm", or None for a model that has none."""

    attempt_id: str
    client: str | None = None


class AnswerReceived(NamedTuple):
    """The whole answer of an attempt, as it came and before its cost is written: a resumed run does not ask again.

    ``unfit`` are the places of calls whose arguments no tool may get; they are left out."""

    attempt_id: str
    text: str
    tool_calls: tuple[ToolCall, ...]
    stop: Stop
    model: str | None
    usage: Usage | None = None
    thoughts: tuple[Thought, ...] = ()
    reasoning: str = ""
    unfit: tuple[int, ...] = ()


class CallSettled(NamedTuple):
    """An attempt was charged. ``counted``: its usage is agentctl's own count, as a free server reported none."""

    attempt_id: str
    usage: Usage
    cost_nano: int | None
    overrun: bool = False
    counted: bool = False


class ModelSubstituted(NamedTuple):
    """A model other than the requested one answered, at another price; once per run for each. ``answered`` names its
    service tier if that is not the usual one. ``costs`` is "more" if it costs more in any class of tokens."""

    attempt_id: str
    asked: str
    answered: str
    costs: Literal["more", "less", "unknown"]


class CallUnsettled(NamedTuple):
    """The end of an attempt cannot be written to the ledger yet; the run waits for a lock, at most ``seconds``.

    ``nano`` and ``tokens`` are its cost, or its worst case if in doubt; ``usage`` as reported. ``text`` and
    ``tool_calls`` are its answer. ``file`` holds the conclusion until the ledger has it, "" if that failed, too."""

    attempt_id: str
    reason: str
    seconds: float
    conclusion: Literal["charge", "doubt", "void"]
    file: str = ""
    nano: int | None = 0
    tokens: int = 0
    usage: Usage | None = None
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()


class CallVoided(NamedTuple):
    """An attempt certainly cost nothing; ``error`` is the kind of error that ended it, if one did."""

    attempt_id: str
    reason: str
    error: str = ""


class CallDoubted(NamedTuple):
    """The cost of an attempt is unknown; it counts as spent at the worst case. ``error``: as in ``CallVoided``."""

    attempt_id: str
    nano: int | None
    tokens: int
    reason: str
    error: str = ""


class CallRetried(NamedTuple):
    """An attempt failed and a new one follows after ``seconds``."""

    attempt_id: str
    reason: str
    seconds: float


class ProviderReplaced(NamedTuple):
    """``provider`` and ``model`` took over by ``client`` from one that ``failed`` for good, with its error's text."""

    failed: str
    kind: str
    message: str
    provider: str
    model: str | None
    client: str | None = None


class LimitsMeasured(NamedTuple):
    """The current use of each limit, over all processes on the ledger; emitted after each charge."""

    limits: tuple[LimitUse, ...]


class LimitWarned(NamedTuple):
    """80 % of a limit is used."""

    use: LimitUse


class BreakerTripped(NamedTuple):
    """A breaker stopped the run before a limit was passed."""

    breaker: BreakerInfo


class AnswerStreamed(NamedTuple):
    """A piece of an answer; a slow screen may drop it.

    "unsure": it may turn out to be reasoning. "restart": the pieces before were reasoning; the answer begins here."""

    text: str
    kind: Literal["answer", "unsure", "restart"] = "answer"


class ModelAnswered(NamedTuple):
    """An answer is complete."""

    turn: int
    text: str
    tool_calls: tuple[ToolCall, ...]
    stop: Stop
    model: str | None


class ApprovalAsked(NamedTuple):
    """A person is asked whether a call may run; ``rule`` would allow it and similar calls.

    ``impact`` is what the question shows of its effect, ``asked_as`` another name that the model used for the target.
    """

    call: ToolCall
    effect: str
    why: str
    rule: str
    impact: Impact = Impact()
    asked_as: str = ""


class ToolAllowed(NamedTuple):
    """A call that is more than a read may run; ``by`` is who or what decided (a rule, --yes, you)."""

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


class ObeyedFilesChanged(NamedTuple):
    """A tool made or changed files that other programs run or obey later; ``call`` is None if it was interrupted."""

    call: ToolCall | None
    files: tuple[FileNotice, ...]


class ToolDenied(NamedTuple):
    """A call was refused, by the program ``hook`` if it has one; the model gets the reason. ``impact``: looked up."""

    call: ToolCall
    reason: str
    impact: Impact = Impact()
    hook: str = ""


class ContextPruned(NamedTuple):
    """The conversation was cut to fit; token counts are estimates of the request, the tools' schemas included.

    ``messages_cut`` are replaced by a few words, ``messages_shortened`` lost their middles. ``summary`` says who wrote
    those words: agentctl itself ("lines"), or the model, whose text is ``words``. In estimated nano-dollars, None if
    the price is unknown: the cut costs ``cost_nano`` (the discarded cache, the summary), and makes each later turn
    ``saves_nano`` cheaper; ``turns`` are expected to follow. ``left`` is the conversation after the cut: the place
    that a message had before it, or the message, if it is new."""

    tokens_before: int
    tokens_after: int
    messages_cut: int
    messages_shortened: int = 0
    summary: Literal["lines", "model"] = "lines"
    cost_nano: int | None = None
    saves_nano: int | None = None
    turns: int = 0
    words: str = ""
    left: tuple[int | Message, ...] = ()


class Noted(NamedTuple):
    """One sentence for the user; a "detail" is only shown to one who asked for more."""

    text: str
    level: Literal["info", "warning", "detail"] = "info"


class Crashed(NamedTuple):
    """A bug of ours ended the run."""

    trace: str


class RunFinished(NamedTuple):
    """The run ended; always the last event."""

    result: RunResult


Event = (
    RunStarted
    | RunResumed
    | TurnStarted
    | MessageAdded
    | ContextMeasured
    | CallHeld
    | CallWaited
    | CallSent
    | AnswerReceived
    | CallSettled
    | CallUnsettled
    | ModelSubstituted
    | CallVoided
    | CallDoubted
    | CallRetried
    | ProviderReplaced
    | LimitsMeasured
    | LimitWarned
    | BreakerTripped
    | AnswerStreamed
    | ModelAnswered
    | ApprovalAsked
    | ToolAllowed
    | ToolStarted
    | ToolFinished
    | ObeyedFilesChanged
    | ToolDenied
    | ContextPruned
    | Noted
    | Crashed
    | RunFinished
)

Emit = Callable[[Event], Awaitable[None]]


async def discard_event(event: Event) -> None:
    """Discard an event."""


class Record(NamedTuple):
    """An event with its run, its number within the run (from 1) and its time (UTC)."""

    run_id: str
    seq: int
    at: datetime
    event: Event
