"""The protocols between the packages on one page: what a run asks of its parts, and nothing of how they do it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

from agentctl.budget.conclusions import Charge, Conclusion, Settlement
from agentctl.budget.rules import Ask, Hold, Spend, Wait
from agentctl.context.tokens import Measure
from agentctl.core.errors import LimitName, SandboxUnavailable, Verdict
from agentctl.core.events import Record
from agentctl.core.limits import CostLimit, Parent
from agentctl.core.messages import Completion, Delta, Message, Reported, Request, ToolCall, ToolSpec
from agentctl.core.pricing import ModelFacts
from agentctl.core.results import FileNotice
from agentctl.core.substitutes import Substitute
from agentctl.core.targets import Subject

if TYPE_CHECKING:
    from agentctl.core.autorun_files import AutorunFile

Effect = Literal["read", "write", "destructive", "network"]
Outcome = Literal["unsent", "refused", "unknown"]
"""What is known of a request without an answer: surely no byte of it left, refused by a status that costs nothing."""


class LLMProvider(Protocol):
    """Answers requests; one ``stream`` is one request on the wire, never retried inside."""

    @property
    def facts(self) -> ModelFacts:
        """Who answers, at what price, within which ceilings."""
        ...

    def stream(self, request: Request) -> AsyncIterator[Delta | Reported | Completion]:
        """Yield pieces as they come, usage that is reported early, and the whole ``Completion`` last.

        The iterator may have a method ``withdraw() -> Outcome``, which lets nothing of the request leave from then on.
        It is called when no answer came, also when the call was cancelled. Without it, the request may have left.

        Raises:
            ProviderError: with ``billed`` "no" only when the attempt surely cost nothing.
        """
        ...


class Tool(Protocol):
    """Something an agent can do; its arguments are checked against ``spec.parameters`` before it acts."""

    @property
    def spec(self) -> ToolSpec:
        """What the model reads."""
        ...

    @property
    def effect(self) -> Effect:
        """What kind of mark a call leaves."""
        ...

    @property
    def contained(self) -> bool:
        """Whether what a call changes stays inside the workspace or a sandbox: then nobody needs to be asked."""
        ...

    async def prepare(self, arguments: Mapping[str, object]) -> Mapping[str, object]:
        """Return the arguments as they will be acted on: checked, names resolved, paths normal. Changes nothing.

        Raises:
            ToolError: wrong arguments, or nothing of that name.
        """
        ...

    async def __call__(self, arguments: Mapping[str, object]) -> str:
        """Do it and return the text that the model reads (bounded); a ``Reply`` says more about the call.

        Raises:
            ToolError: wrong arguments or a failure; the model reads it with its hint.
        """
        ...


@runtime_checkable
class AutorunAware(Protocol):
    """A tool that knows which program runs or obeys the file that a call writes, as that program's settings name it."""

    async def find_autorun(self, arguments: Mapping[str, object]) -> AutorunFile | None:
        """Return which program runs or obeys the file that a prepared call writes, or None."""
        ...


@runtime_checkable
class TargetAware(Protocol):
    """A tool that knows the other names of what a call is about, so that rules hold whichever name is used."""

    def subject(self, arguments: Mapping[str, object]) -> Subject:
        """Return what rules look at: ``arguments`` with the defaults filled in, the target by the name given."""
        ...

    async def look_up(self, subject: Subject) -> Subject:
        """Return the ``subject`` of a prepared call with all names of its target.

        Raises:
            ToolError: the target cannot be looked up.
        """
        ...


class Toolbox(Protocol):
    """The tools of one run, by name; nothing is loaded before it is asked for."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names that can be asked for."""
        ...

    def get(self, name: str) -> Tool:
        """Return the tool.

        Raises:
            ToolError: no such tool, with the nearest name.
        """
        ...


class OpenToolbox(Toolbox, Protocol):
    """A toolbox that must be closed."""

    async def aclose(self) -> None:
        """Release what the tools hold."""
        ...


class RunTools(NamedTuple):
    """What a run works with. ``sandbox`` is the tier's name where a tool needs one.

    ``left_out`` are the tools that would be there if a sandbox could be had here, and why it cannot. ``unreported``
    returns the notices of commands that were broken off, as they have no result.
    """

    toolbox: OpenToolbox
    sandbox: str | None = None
    left_out: Mapping[str, SandboxUnavailable] = MappingProxyType({})
    unreported: Callable[[], tuple[FileNotice, ...]] = tuple


class Artifact(NamedTuple):
    """What is in a file of the run now (without secrets and escapes), and the path by which ``read_file`` finds it."""

    path: str
    text: str


class CommandResult(NamedTuple):
    """How a command ended; both texts are bounded (head and tail kept), ``exit_code`` is negative for a signal.

    ``truncated_bytes`` were left out of the two texts together. ``notes`` are sentences of agentctl, not of the
    command: what was ended, moved or not kept. ``notices`` are files that other programs run or obey.

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
    """Runs commands inside a sandbox of one tier and leaves nothing behind."""

    @property
    def tier(self) -> str:
        """The name of its tier: "bwrap", "landlock" or "none"."""
        ...

    @property
    def read_only(self) -> bool:
        """Whether nothing of the workspace can be changed from inside."""
        ...

    def unreported(self) -> tuple[FileNotice, ...]:
        """Return the notices of commands that were broken off and have no result; each is returned once."""
        ...

    async def run(
        self,
        command: str,
        *,
        timeout: float,  # noqa: ASYNC109 - the protocol promises it
        more: bool = False,
    ) -> CommandResult:
        """Run ``command`` by a shell, in the workspace, for at most ``timeout`` seconds.

        Of what it writes head and tail are returned, ``more`` of both where a model's share is cut out of them.

        Raises:
            ToolError: it could not be started.
        """
        ...


class Ledger(Protocol):
    """The durable record of holds and charges; every method is on disk when it returns.

    Every method raises StateError when the ledger cannot be written or believed.
    """

    async def open_run(
        self,
        run_id: str,
        limits: CostLimit,
        *,
        task: str,
        agent: str,
        labels: Mapping[str, str],
        parent: Parent | None = None,
        capability: str = "",
    ) -> None:
        """Enter a run and its limits, below ``parent`` if it has one: each hold counts in every run above it.

        ``capability`` is the secret that its own children show; only a hash of it is stored.

        Raises:
            ActionDenied: nothing may be opened below that parent.
        """
        ...

    async def reserve(self, ask: Ask) -> Hold | Wait | Verdict:
        """In one transaction: sum, judge, grant. A ``Wait`` says when to ask again; a ``Verdict`` is a no.

        Of an ask that ``can_count`` the counted bound is used where the other one would shorten the output, make it
        wait or refuse it; where there is none yet, ``Wait("bound")`` asks for it, and nothing is held or queued.

        Raises:
            ActionDenied: a run above has ended.
            UnknownPrice: a run above has a dollar limit that cannot be kept with this model.
        """
        ...

    async def leave_queue(self, attempt_id: str) -> None:
        """Give up waiting for room."""
        ...

    async def mark_sent(self, hold_id: str) -> bool:
        """Compare and set: True only if the row is still held by us, its deadline lies ahead, and all above goes on."""
        ...

    async def settle(self, hold_id: str, charge: Charge) -> Settlement:
        """Write what an attempt cost, once; usage that comes late settles a row in doubt."""
        ...

    async def void(self, hold_id: str, reason: str) -> None:
        """Write that an attempt surely cost nothing."""
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
        """Write that nobody knows; it counts as spent: input bound + the clamp (or the model's ceiling), or ``least``.

        ``least`` is what the attempt cost at least, by what was reported of it. Above the hold it is an overrun.
        ``substitute`` answered in the place of the asked model: bound and clamp count at its price, if that is dearer.
        """
        ...

    async def spool(self, hold_id: str, conclusion: Conclusion) -> str:
        """Write beside the ledger how a sent attempt ended, for when the ledger itself cannot be written.

        Returns the file. The next process that opens the ledger to write applies it, once; a later ``settle``, ``void``
        or ``doubt`` of the same attempt removes it.
        """
        ...

    async def spend(self, run_id: str, further: Collection[LimitName] = ()) -> Spend:
        """Return what counts against the run's limits and the hour's now, and against ``further`` ones."""
        ...

    async def close_run(self, run_id: str, status: str) -> None:
        """Write how a run ended."""
        ...


class Observer(Protocol):
    """Sees every record of a run, in order."""

    async def observe(self, record: Record) -> None:
        """Take one record; a journal returns only when it is on disk."""
        ...


class Question(NamedTuple):
    """What a person is asked: the call as it will be acted on, its kind, why nobody else decides it.

    ``rule`` is the rule that would allow it and its like (``docker_restart(name=web)``); "always" means that rule.
    """

    call: ToolCall
    effect: Effect
    why: str
    rule: str


class Approval(NamedTuple):
    """A person's answer; ``always`` lets ``Question.rule`` hold for the rest of the run. ``by`` says who answered."""

    granted: bool
    always: bool = False
    by: str = "you"


class Approver(Protocol):
    """Asks a person about tool calls, one at a time."""

    async def approve(self, question: Question) -> Approval:
        """Return the answer; it may take as long as a person does, and is cancelled with the run."""
        ...


class ArtifactStore(Protocol):
    """Keeps whole what a model cannot be shown whole."""

    async def keep(self, number: int, tool: str, text: str) -> Artifact:
        """Keep the result of a run's call number ``number``, and say under which path it can be read.

        Raises:
            StateError: it cannot be kept.
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
        """Return what is sent, counted by ``measure``; ``most`` is a lower limit than usual, in tokens.

        ``trial``: it is not sent yet, so nobody is told.

        Raises:
            ContextOverflow: it cannot fit.
        """
        ...
