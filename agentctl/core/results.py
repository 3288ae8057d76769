"""The result of a run: how it ended, what it cost, and how much of its limits it used. Pure values."""

# Annotations are not postponed here: to compile them from text takes longer at every start.

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple, Self

from agentctl.core.errors import LimitName, Unit
from agentctl.core.impact import DeniedCall
from agentctl.core.messages import Usage
from agentctl.core.pricing import to_usd

#: Heads the part of a partial answer that is made of tool results, not of the model's words.
FOUND_SO_FAR = "Found so far:"
#: Heads the last good result of a run whose model gave no answer even when asked for nothing else.
RESULTS_SO_FAR = "Results so far:"


class LimitUse(NamedTuple):
    """One limit and its use (spent + in doubt) in nano-dollars, tokens or calls; None: no such limit."""

    name: LimitName
    unit: Unit
    ceiling: int | None
    used: int
    set_by: str | None = None


class BreakerInfo(NamedTuple):
    """Why a breaker tripped: amounts in the limit's own unit; ``free_at`` is None when waiting will not help.

    ``spent`` includes amounts in doubt. After an overrun, ``hold`` is the amount held for the call and ``charge`` the
    amount that counts for it, which is included in ``spent``; ``ceiling`` is None if the run has no such limit.
    ``run_id`` is the run that has the limit, if it is one above the stopped run.
    """

    limit: str
    unit: Unit
    ceiling: int | None
    spent: int
    held: int
    would_be: int
    free_at: datetime | None
    hint: str
    hold: int | None = None
    charge: int | None = None
    run_id: str = ""


class ErrorInfo(NamedTuple):
    """An error as the result document shows it."""

    kind: str
    message: str
    hint: str = ""


class InputTaken(NamedTuple):
    """The data that was taken beside a task: "stdin" or the name of a file, and its size in bytes."""

    name: str
    bytes: int


class ToolCount(NamedTuple):
    """How often a tool was called in a run."""

    name: str
    calls: int
    failed: int


class PendingCall(NamedTuple):
    """A call that waits for approval: its arguments as it will run, and the rule that would allow it."""

    tool: str
    arguments: Mapping[str, object]
    rule_to_allow: str


class Takeover(NamedTuple):
    """A fallback (``taken``) that took over a run after ``failed`` failed: the kind and text of its error."""

    failed: str
    kind: str
    message: str
    taken: str


class DelegatedRun(NamedTuple):
    """A run that the tool ``delegate`` started: how it ended, and its own cost in nano-dollars (None: unknown)."""

    run_id: str
    agent: str
    status: str
    cost_nano: int | None
    in_doubt_nano: int | None


class TierFailure(NamedTuple):
    """A tier of the sandbox that is not available here: why, and what to do about it."""

    tier: str
    reason: str
    hint: str


class McpStatus(NamedTuple):
    """How an MCP server fared. ``status``: "connected", "failed", "slow", or "changed" if it is not as pinned.

    ``sandbox`` is the tier that it runs in, None for a remote one. ``why`` says what is wrong, ``asked`` are its
    requests to agentctl, which were refused.
    """

    name: str
    status: str
    tools: int = 0
    sandbox: str | None = None
    protocol: str | None = None
    why: str = ""
    asked: tuple[str, ...] = ()


class McpSkipped(NamedTuple):
    """An entry of the configuration that is no MCP server, and why."""

    name: str
    why: str
    source: str


class McpUse(NamedTuple):
    """The MCP servers of a run."""

    servers: tuple[McpStatus, ...] = ()
    skipped: tuple[McpSkipped, ...] = ()


class FileNotice(NamedTuple):
    """A file of the workspace that a tool made or changed, and that another program runs or obeys later.

    ``path`` is relative to the workspace. ``moved_to`` is where the file is now in the run's files, or None if it was
    left in place. There it has a name that no program obeys; ``restore_command`` is the shell line that brings it back.
    """

    path: str
    obeyed_by: str
    moved_to: str | None = None
    restore_command: str | None = None


class Reply(str):
    """A tool's text for the model, with the obeyed files that the call made or changed."""

    __slots__ = ("notices",)
    notices: tuple[FileNotice, ...]

    @classmethod
    def of(cls, text: str, notices: tuple[FileNotice, ...]) -> Self:
        """Return ``text`` with ``notices``."""
        reply = cls(text)
        reply.notices = notices
        return reply


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended; ``str()`` is the answer. ``status`` is the exit code's name.

    ``cost_nano`` is the charge (nano-dollars, 10⁻⁹ USD), None when the price is unknown; ``in_doubt_nano`` counts as
    spent, at the worst case. ``usage`` is in tokens, ``duration_s`` in seconds, times are UTC. ``complete`` is False if
    ``answer`` is only a part. ``error`` has ``kind``, ``message`` and ``hint``; ``breaker`` says which limit stopped
    the run, ``limits`` how much of each is used. ``input`` is the data that was taken beside the task, ``warnings`` is
    what the user was warned of. ``changed_files_run_later`` are files that the run made or changed and
    that other programs run or obey later; each is named once. ``client`` sent the requests: "lean", "litellm", or None
    for a model that has none. ``fallbacks`` took over where the provider failed; ``provider`` and
    ``model`` are those that were chosen. ``resumed_from`` is the run that this one goes on with, itself unless it is a
    fork; amounts, tokens, turns and tool calls are those of all parts. ``pending`` calls wait for approval,
    ``denied_calls`` says what the denied ones would have done. ``structured`` is the value of a whole answer by a
    schema, from Python the object of its model; ``answer`` is the same as JSON on one line. ``mcp`` says how the MCP
    servers of the run fared, None without any. ``delegated`` are the runs below this one that its tool ``delegate``
    started; amounts and tokens do not include theirs, ``limits`` do. A ``replayed`` run cost nothing;
    ``replayed_nano`` is what its calls cost by the recording, by which its limits were judged.

    >>> from agentctl import DockerAgent, ScriptedProvider
    >>> from agentctl.core.messages import Completion, Usage
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
    sandbox_failures: tuple[TierFailure, ...] = ()
    left_out: tuple[str, ...] = ()
    error: ErrorInfo | None = None
    changed_files_run_later: tuple[FileNotice, ...] = ()
    input: InputTaken | None = None
    warnings: tuple[str, ...] = ()
    client: str | None = None
    fallbacks: tuple[Takeover, ...] = ()
    denied_calls: tuple[DeniedCall, ...] = ()
    pending: tuple[PendingCall, ...] = ()
    mcp: McpUse | None = None
    delegated: tuple[DelegatedRun, ...] = ()
    replayed: bool = False
    replayed_nano: int | None = 0
    structured: Any = None  # an object of JSON, or of the model that Python named

    def __str__(self) -> str:
        return self.answer

    @property
    def cost(self) -> Decimal | None:
        """The charge in US dollars, without amounts in doubt; None when the price is unknown.

        >>> from agentctl import BuiltinProvider, DockerAgent
        >>> DockerAgent(BuiltinProvider()).execute("Restart the container web").cost
        Decimal('0')
        """
        return None if self.cost_nano is None else to_usd(self.cost_nano)
