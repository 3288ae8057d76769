"""The protocols between the packages, on one page: the operations that a run needs from its parts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

from agentctl.budget.conclusions import Charge, Conclusion, Settlement
from agentctl.budget.rules import Ask, Hold, PastSpending, Spend, Wait
from agentctl.context.tokens import Measure
from agentctl.core.errors import AgentctlError, LimitName, Verdict
from agentctl.core.events import Record
from agentctl.core.impact import Impact
from agentctl.core.leases import Lease
from agentctl.core.limits import CostLimit, Parent
from agentctl.core.messages import Completion, Delta, Message, Reported, Request, ToolCall, ToolSpec
from agentctl.core.pricing import ModelFacts
from agentctl.core.results import DelegatedRun, FileNotice, McpUse, TierFailure
from agentctl.core.substitutes import Substitute
from agentctl.core.targets import Subject

if TYPE_CHECKING:
    from agentctl.core.autorun_files import AutorunFile

Effect = Literal["read", "write", "destructive", "network"]
Outcome = Literal["unsent", "refused", "unknown"]
"""The outcome of a request without an answer: no byte of it left, it was refused for free, or nothing is certain."""


class LLMProvider(Protocol):
    """Answers requests; one ``stream`` is one request on the wire, without retries."""

    @property
    def facts(self) -> ModelFacts:
        """The provider's and the model's names, price and ceilings."""
        ...

    def stream(self, request: Request) -> AsyncIterator[Delta | Reported | Completion]:
        """Yield pieces as they arrive, usage that is reported early, and the whole ``Completion`` last.

        The iterator may have a method ``withdraw() -> Outcome``, which stops the request from leaving. It is called if
        no answer came, also after a cancellation. Without that method the request may have left.

        Raises:
            ProviderError: no answer; ``billed`` is "no" only if the attempt certainly cost nothing.
        """
        ...


class Tool(Protocol):
    """An action that an agent can take; its arguments are validated against ``spec.parameters`` before it runs."""

    @property
    def spec(self) -> ToolSpec:
        """The description that the model reads."""
        ...

    @property
    def effect(self) -> Effect:
        """The kind of effect that a call has."""
        ...

    @property
    def contained(self) -> bool:
        """Whether changes by a call stay inside the workspace or a sandbox; such a call needs no approval."""
        ...

    async def prepare(self, arguments: Mapping[str, object]) -> Mapping[str, object]:
        """Return the arguments as the call will use them: validated, names resolved, paths normalized. Change nothing.

        Raises:
            ToolError: the arguments are invalid, or they name something that does not exist.
        """
        ...

    async def __call__(self, arguments: Mapping[str, object]) -> str:
        """Run the tool and return the text that the model reads, limited in size; a ``Reply`` carries more facts.

        Raises:
            ToolError: the arguments are invalid, or the tool failed; the model reads the error with its hint.
        """
        ...


@runtime_checkable
class AutorunAware(Protocol):
    """A tool that knows which program runs or obeys the file that a call writes, by that program's own settings."""

    async def find_autorun(self, arguments: Mapping[str, object]) -> AutorunFile | None:
        """Return the program that runs or obeys the file that a prepared call writes, or None."""
        ...


@runtime_checkable
class OfferAware(Protocol):
    """A tool that is offered to models in fewer words than its whole specification has."""

    @property
    def offer(self) -> ToolSpec:
        """The specification for a model; calls are checked against ``Tool.spec``."""
        ...


@runtime_checkable
class TargetAware(Protocol):
    """A tool that knows the other names of a call's target, so that rules apply whichever name is used."""

    def subject(self, arguments: Mapping[str, object]) -> Subject:
        """Return what rules are matched against: ``arguments`` with defaults, and the target by the name given."""
        ...

    async def look_up(self, subject: Subject) -> Subject:
        """Return the ``subject`` of a prepared call with all names of its target; ToolError: it cannot be looked up."""
        ...


class Toolbox(Protocol):
    """The tools of one run, by name; each is loaded when it is first requested."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the available tools."""
        ...

    def get(self, name: str) -> Tool:
        """Return the tool called ``name``, or raise ToolError: there is none; the hint has the nearest name."""
        ...


class OpenToolbox(Toolbox, Protocol):
    """A toolbox that must be closed."""

    async def aclose(self) -> None:
        """Release the resources of the tools."""
        ...


class RunTools(NamedTuple):
    """The tools of a run, and the name of its sandbox tier where a tool needs a sandbox.

    ``left_out`` are the tools that are missing because no sandbox, or no systemd, is there, with the reason.
    ``unreported`` returns the notices of commands that were interrupted and so have no result, ``notes`` what else is
    to be said at the end of the run. ``opening_notes`` are warnings said once at the start, ``sandbox_failures`` the
    stronger tiers that are not available here. ``mcp`` says how its MCP servers fared, ``delegated`` its runs.
    """

    toolbox: OpenToolbox
    sandbox: str | None = None
    left_out: Mapping[str, AgentctlError] = MappingProxyType({})
    unreported: Callable[[], tuple[FileNotice, ...]] = tuple
    notes: Callable[[], tuple[str, ...]] = tuple
    opening_notes: tuple[str, ...] = ()
    sandbox_failures: tuple[TierFailure, ...] = ()
    mcp: Callable[[], McpUse | None] = lambda: None
    delegated: Callable[[], tuple[DelegatedRun, ...]] = tuple

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is to be said at the start of the run, with the tools that are left out."""
        missing = self.left_out.items()
        return (
            *self.opening_notes,
            *(f"{name} is left out: {error.message} ({error.hint})" for name, error in missing),
        )


class Artifact(NamedTuple):
    """The text stored in a file of the run (without secrets and escapes), and its path for ``read_file``."""

    path: str
    text: str


class CommandResult(NamedTuple):
    """The result of a command; both texts keep a head and a tail of limited size, ``exit_code`` < 0 is a signal.

    ``truncated_bytes`` counts the bytes that both texts together leave out. ``notes`` are sentences by agentctl, not by
    the command: what was killed, moved or not stored. ``notices`` are changed files that other programs run or obey.

    >>> import anyio
    >>> from agentctl import run_shell_async
    >>> result = anyio.run(run_shell_async, "echo out; echo err >&2; exit 3")
    >>> result.exit_code, result.stdout, result.stderr
    (3, 'out\\n', 'err\\n')
    """

    exit_code: int
    stdout: str
    stderr: str
    timed_out: bool = False
    truncated_bytes: int = 0
    notes: tuple[str, ...] = ()
    notices: tuple[FileNotice, ...] = ()


class Sandbox(Protocol):
    """Runs commands in a sandbox of one tier; no process of a command is left running."""

    @property
    def tier(self) -> str:
        """The name of the tier: "bwrap", "landlock", "none" or "external"."""
        ...

    @property
    def read_only(self) -> bool:
        """Whether commands cannot change the workspace."""
        ...

    @property
    def network(self) -> bool:
        """Whether commands can use the machine's network."""
        ...

    def unreported(self) -> tuple[FileNotice, ...]:
        """Return the notices of commands that were interrupted and have no result; each is returned once."""
        ...

    def close(self) -> None:
        """End what its commands have shared, after the last of them; it may wait for a process."""
        ...

    async def run(
        self,
        command: str,
        *,
        timeout: float,  # noqa: ASYNC109 - the protocol promises it
        more: bool = False,
    ) -> CommandResult:
        """Run ``command`` in a shell, in the workspace, for at most ``timeout`` seconds.

        Return the head and tail of its output, longer ones with ``more``, from which a model's share is cut.

        Raises:
            ToolError: the command could not be started.
        """
        ...


class Ledger(Protocol):
    """The durable record of holds and charges. Each method is on disk when it returns, or raises StateError."""

    async def open_run(
        self,
        run_id: str,
        limits: CostLimit,
        *,
        task: str,
        agent: str,
        labels: Mapping[str, str],
        parent: Parent | Lease | None = None,
        capability: str = "",
    ) -> None:
        """Record a run and its limits, below ``parent`` if it has one: each hold counts in every run above it.

        A ``Lease`` is registered at its first use. ``capability`` is the secret that the run's own children present.

        Raises:
            ActionDenied: no run may be opened below that parent.
            LeaseError: the lease is not valid now, was closed, or has other terms here; or a run above has not got it.
        """
        ...

    async def reopen_run(
        self, run_id: str, limits: CostLimit, *, parent: Parent | Lease | None = None, capability: str = ""
    ) -> PastSpending:
        """Open an ended run again, below its own lease; what all its parts spent and have in doubt counts.

        Raises UsageError if it is alive or unknown, and ActionDenied if it, or this process, belongs to another run.
        """
        ...

    async def reserve(self, ask: Ask) -> Hold | Wait | Verdict:
        """Sum, judge and grant in one transaction. A ``Wait`` says when to ask again; a ``Verdict`` is a refusal.

        For an ask that ``can_count``, the counted bound is used where the other one would shorten the output, or make
        the ask wait or be refused. If it is not known yet, return ``Wait("bound")``; nothing is held or queued then.

        Raises:
            ActionDenied: a run above this one has ended. LeaseError: its lease has expired or was closed.
            UnknownPrice: a run above this one has a dollar limit that cannot be kept with this model.
        """
        ...

    async def leave_queue(self, attempt_id: str) -> None:
        """Give up waiting for room."""
        ...

    async def mark_sent(self, hold_id: str) -> bool:
        """Mark a hold sent; return False unless it is still ours, its deadline is ahead and all runs above are open."""
        ...

    async def settle(self, hold_id: str, charge: Charge) -> Settlement:
        """Record what an attempt cost, once; usage that arrives late settles a row in doubt."""
        ...

    async def void(self, hold_id: str, reason: str) -> None:
        """Record that an attempt certainly cost nothing."""
        ...

    async def doubt(
        self,
        hold_id: str,
        reason: str,
        *,
        ceiling: bool = False,
        provider_fault: bool = True,
        least: Charge | None = None,
        substitute: Substitute | None = None,
    ) -> Settlement:
        """Record an unknown cost; it counts as spent: input bound + the clamp (or the model's ceiling), or ``least``.

        ``least`` is the minimum cost by the usage report; above the hold it is an overrun. ``substitute`` answered in
        place of the requested model: bound and clamp count at its price if that is higher.
        """
        ...

    async def spool(self, hold_id: str, conclusion: Conclusion) -> str:
        """Write the conclusion of a sent attempt beside a ledger that cannot be written, and return the file.

        The next process that can write the ledger applies it, once; a later conclusion of that attempt removes it.
        """
        ...

    async def spend(self, run_id: str, further: Collection[LimitName] = ()) -> Spend:
        """Return the amounts that count now against the limits of the run and the hour, and ``further`` limits."""
        ...

    async def close_run(self, run_id: str, status: str) -> None:
        """Record how a run ended."""
        ...


class Observer(Protocol):
    """Receives every record of a run, in order."""

    async def observe(self, record: Record) -> None:
        """Receive one record; a journal returns only when the record is on disk."""
        ...


class Question(NamedTuple):
    """A question about a call as it will run; the answer "always" means ``rule`` (``docker_rm(name=a)``)."""

    call: ToolCall
    effect: Effect
    why: str
    rule: str
    impact: Impact = Impact()
    asked_as: str = ""  # what the model called the target, if that is another name than in the call


class Approval(NamedTuple):
    """A person's answer; ``always`` applies ``Question.rule`` for the rest of the run. ``by`` says who answered."""

    granted: bool
    always: bool = False
    by: str = "you"


class Approver(Protocol):
    """Asks a person about tool calls, one at a time."""

    async def approve(self, question: Question) -> Approval:
        """Return the answer; this may take as long as a person does, and is cancelled with the run."""
        ...


class ArtifactStore(Protocol):
    """Stores in full the results that are too long for a model."""

    async def keep(self, number: int, tool: str, text: str) -> Artifact:
        """Store the result of call number ``number`` of the run; return it with the path to read it by.

        Raises StateError if it cannot be stored.
        """
        ...


class Pruner(Protocol):
    """Makes a conversation fit the context budget."""

    def __call__(
        self,
        messages: tuple[Message, ...],
        tools: tuple[ToolSpec, ...],
        *,
        measure: Measure,
        most: int | None = None,
        trial: bool = False,
    ) -> tuple[Message, ...]:
        """Return the messages to send, counted by ``measure``; ``most`` is a lower limit than usual, in tokens.

        ``trial``: nothing is sent yet, so no event or warning is emitted.

        Raises:
            ContextOverflow: the conversation cannot be made to fit.
        """
        ...
