"""Execute the tool calls of one turn; cut each result to its share of the context.

``ToolDispatcher`` runs the calls; a call that may not run gets the reason instead of a result. ``ResultBudget`` cuts
results: a text over its share keeps its head and its tail, with a mark of ``context.truncation`` between them, and is
stored in full by ``journal.artifacts``. This budget counts tokens, not money.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import anyio
import anyio.to_thread

from agentctl.context.tokens import BYTES_PER_TOKEN, LEAST_LEFT, PLAIN, Measure
from agentctl.context.truncation import Excerpt, Origin, SplitText, find_mark, split_text
from agentctl.core.errors import ActionDenied, AgentctlError, InternalError, SandboxUnavailable, ToolError
from agentctl.core.events import Emit, Noted, ObeyedFilesChanged, ToolDenied, ToolFinished, ToolStarted
from agentctl.core.impact import DeniedCall
from agentctl.core.messages import ToolCall, ToolSpec
from agentctl.core.redaction import Redactor, has_mark
from agentctl.core.results import ErrorInfo, FileNotice, Reply, ToolCount
from agentctl.core.text import escape_notices
from agentctl.permissions.admission import Admission
from agentctl.permissions.guards import LoopLimits
from agentctl.protocols import ArtifactStore, OfferAware, Tool, Toolbox

if TYPE_CHECKING:  # used only by runs with a language model
    from agentctl.permissions.repeated_reads import ReadHistory

Result = str | AgentctlError
_LARGE = 32 * 1024  # characters; a longer text is cleaned in a thread
_TAKES_MARKS = {"write_file": "text"}  # the one argument in which a mark is replaced by its secret
_LONGEST_TOKEN = 64  # characters: a text with more of them per allowed token is too long, and is not counted
_ROUNDS = 8
_MOST_DENIED = 50


def format_for_model(result: Result) -> str:
    """Return a result as the text that the model reads."""
    if isinstance(result, str):
        return result
    word = "denied" if isinstance(result, ActionDenied) else "error"
    return f"{word}: {result.message}" + (f"\nhint: {result.hint}" if result.hint else "")


class _FinishedCall(NamedTuple):
    """A call that has ended but is not reported yet. ``number`` counts the calls of the run."""

    number: int
    call: ToolCall
    result: Result
    duration_s: float
    size: int


class ToolDispatcher:
    """Runs the tool calls of one run through admission; counts calls, failures and denials.

    ``left_out`` says why tools that need a sandbox are missing. ``shares`` are the tokens of one result and of all
    results of a turn (0: no limit), counted by ``measure``; ``artifact_store`` stores cut results in full.
    ``redactor`` removes secrets from every result, before it is measured, stored or shown.
    """

    def __init__(
        self,
        *,
        toolbox: Toolbox,
        admission: Admission,
        emit: Emit,
        limits: LoopLimits,
        left_out: Mapping[str, SandboxUnavailable] | None = None,
        shares: tuple[int, int] | None = None,
        measure: Callable[[], Measure] = lambda: PLAIN,
        artifact_store: ArtifactStore | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        self._redactor = redactor or Redactor()
        self._toolbox, self._admission, self._emit, self._limits = toolbox, admission, emit, limits
        self._left_out = left_out or {}
        each, together = shares or (limits.result_tokens, 0)
        self._result_budget = ResultBudget(
            each=each,
            together=together,
            measure=measure,
            emit=emit,
            readable=lambda: together > 0 and any(tool.name == "read_file" for tool in self.offered_tools()),
            artifact_store=artifact_store,
        )
        self._number = 0
        self._called, self._failed, self._denied = Counter[str](), Counter[str](), Counter[str]()
        self._denied_calls: tuple[DeniedCall, ...] = ()
        self._changed: dict[tuple[str, str | None], FileNotice] = {}
        self._reads: ReadHistory | None = None

    def resize(self, shares: tuple[int, int]) -> None:
        """Cut results to other shares from here on: another model has another window."""
        self._result_budget.resize(*shares)

    @property
    def counts(self) -> tuple[ToolCount, ...]:
        """The number of calls of each tool, without refused ones."""
        return tuple(ToolCount(name, times, self._failed[name]) for name, times in self._called.items() if times)

    @property
    def denied(self) -> tuple[str, ...]:
        """The names of tools with denied calls."""
        return tuple(self._denied)

    @property
    def denied_calls(self) -> tuple[DeniedCall, ...]:
        """The first denied calls."""
        return self._denied_calls

    @property
    def changed_files(self) -> tuple[FileNotice, ...]:
        """The changed files that other programs run or obey later, each once."""
        return tuple(self._changed.values())

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the run's tools."""
        return tuple(self._toolbox.names)

    def offered_tools(self) -> tuple[ToolSpec, ...]:
        """Return the specs of the tools that the model may use."""
        tools = [self._toolbox.get(name) for name in self._toolbox.names]
        offered = [tool for tool in tools if self._admission.offers(tool)]
        return tuple(tool.offer if isinstance(tool, OfferAware) else tool.spec for tool in offered)

    def schema_tokens(self) -> int:
        """Return what the schemas of the offered tools take of every request."""
        return self._result_budget.beside(self.offered_tools())

    def unasked_tools(self) -> tuple[str, ...]:
        """Return the names of the offered tools that need no approval: they read, or stay inside a boundary."""
        tools = (self._toolbox.get(name) for name in self._toolbox.names)
        return tuple(
            tool.spec.name
            for tool in tools
            if self._admission.offers(tool) and (tool.effect == "read" or tool.contained)
        )

    async def run(
        self, calls: Sequence[ToolCall], refused: Mapping[str, str], reads: ReadHistory | None = None
    ) -> list[Result]:
        """Run the calls and return the results in their order; a turn of reads runs concurrently, any other in order.

        ``refused`` says why a call (by id) must not reach its tool. ``reads`` answers a repeated read in place of its
        tool. This raises only if an observer does.
        """
        self._reads = reads
        for call in calls:
            self._called[call.name] += 0  # in the order of the calls, whichever begins first
        found = [self._find(call, refused.get(call.id)) for call in calls]
        first, self._number = self._number + 1, self._number + len(calls)
        turn = self._result_budget.turn(len(calls))
        if any(not isinstance(tool, AgentctlError) and tool.effect != "read" for tool in found):
            return [
                await self._report(await self._run_one(number, call, tool), turn)
                for number, (call, tool) in enumerate(zip(calls, found, strict=True), first)
            ]
        results: dict[int, Result] = {}
        large: list[_FinishedCall] = []
        broken: list[Exception] = []
        at_once = anyio.CapacityLimiter(self._limits.reads_at_once)

        async def one(place: int) -> None:
            try:
                async with at_once:
                    done = await self._run_one(first + place, calls[place], found[place])
                if not isinstance(done, ActionDenied) and done.size > turn.room():
                    large.append(done)  # its share is known once the others are
                    return
                results[place] = await self._report(done, turn)
            except Exception as error:  # noqa: BLE001 - raised below, as itself and not in a group
                broken.append(error)
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for place in range(len(calls)):
                group.start_soon(one, place)
        if broken:
            raise broken[0]
        for done in sorted(large, key=lambda done: (done.size, done.number)):
            results[done.number - first] = await self._report(done, turn)
        return [results[place] for place in range(len(calls))]

    def _find(self, call: ToolCall, refusal: str | None) -> Tool | AgentctlError:
        if refusal:
            return ToolError(refusal)
        if call.name in self._left_out:
            return self._left_out[call.name]
        try:
            return self._toolbox.get(call.name)
        except ToolError as error:
            return error

    async def _run_one(self, number: int, asked: ToolCall, tool: Tool | AgentctlError) -> _FinishedCall | ActionDenied:
        """Run one call if it is admitted, else return the denial."""
        tool = _marks_refusal(asked) or tool
        admitted = tool if isinstance(tool, AgentctlError) else await self._admission.admit(asked, tool)
        if isinstance(admitted, ActionDenied):
            self._denied[asked.name] += 1
            admitted.message, admitted.hint = map(self._redactor.redact, (admitted.message, admitted.hint))
            impact = admitted.impact
            denied = DeniedCall(asked.name, admitted.message, impact.does, impact.details, impact.dangers)
            self._denied_calls = (*self._denied_calls, denied)[:_MOST_DENIED]
            await self._emit(ToolDenied(asked, admitted.message, impact))
            return admitted
        call = asked if isinstance(admitted, AgentctlError) else admitted
        self._called[call.name] += 1
        await self._emit(ToolStarted(call))
        started = anyio.current_time()
        if (stored := self._stored_result(asked, admitted, tool)) is not None:
            return _FinishedCall(number, call, stored, 0.0, self._result_budget.size(stored))
        result = await _use(tool, admitted)
        duration = anyio.current_time() - started
        if isinstance(result, Reply):
            self._changed.update({(notice.path, notice.moved_to): notice for notice in result.notices})
            await self._emit(ObeyedFilesChanged(call, result.notices))
            result = str(result)
        result = await self._clean_result(result)
        return _FinishedCall(number, call, result, duration, self._result_budget.size(format_for_model(result)))

    def _stored_result(
        self, asked: ToolCall, admitted: ToolCall | AgentctlError, tool: Tool | AgentctlError
    ) -> str | None:
        """Return the result that answers an admitted call in place of its tool, or None."""
        if self._reads is None or isinstance(admitted, AgentctlError) or isinstance(tool, AgentctlError):
            return None
        return self._reads.look_up(asked, admitted, tool)

    async def _clean_result(self, result: Result) -> Result:
        """Return a result without secrets and without lines that look like agentctl's own notices.

        Texts of tools enter the conversation, and so the requests to a provider, only here.
        """
        if isinstance(result, AgentctlError):
            result.message, result.hint = map(self._redactor.redact, (result.message, result.hint))
            return result
        if len(result) > _LARGE:
            text = await anyio.to_thread.run_sync(self._clean, result)
        else:
            text = self._clean(result)
        return result if text == result else text  # an unchanged excerpt stays an Excerpt

    def _clean(self, text: str) -> str:
        return escape_notices(self._redactor.redact(text))

    async def _report(self, done: _FinishedCall | ActionDenied, turn: TurnBudget) -> Result:
        """Cut a result to its share of the turn, emit its event, and return it."""
        room = turn.room()
        if isinstance(done, ActionDenied):
            turn.take(min(self._result_budget.size(format_for_model(done)), room))
            done.message, done.hint = (self._result_budget.short(text, room // 2) for text in (done.message, done.hint))
            return done
        number, call, result, duration, size = done
        turn.take(min(size, room))
        if size > room:
            if self._reads is not None:
                self._reads.forget(call.id)
            text = await self._result_budget.cut(number, call.name, format_for_model(result), room)
            if isinstance(result, AgentctlError):
                result.message, result.hint = text.removeprefix("error: "), ""
            else:
                result = text
        elif isinstance(result, str):
            result = str(result)  # no longer needed as an Excerpt
        error = None
        if isinstance(result, AgentctlError):
            self._failed[call.name] += 1
            error = ErrorInfo(result.kind, result.message, result.hint)
        await self._emit(ToolFinished(call, format_for_model(result), duration, error))
        return result


def _marks_refusal(call: ToolCall) -> ToolError | None:
    """Return the error for a call whose arguments contain the mark of a secret instead of the secret, or None."""
    for name, value in call.arguments.items():
        if name != _TAKES_MARKS.get(call.name) and (mark := has_mark(value)):
            return ToolError(
                f"{call.name} was not called: {name} holds {mark}, which stands for a secret that agentctl took out",
                hint="let the program read the secret from its file; only write_file puts marks back",
            )
    return None


async def _use(tool: Tool | AgentctlError, call: ToolCall | AgentctlError) -> Result:
    if isinstance(tool, AgentctlError):
        return tool
    if isinstance(call, AgentctlError):
        return call
    try:
        return await tool(call.arguments)
    except AgentctlError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a tool's own bug is reported to the model and in the event
        what = f"{type(error).__name__}: {error}"
        return InternalError(f"{call.name} failed with an internal error: {what}", hint="continue without it")


class TurnBudget:
    """The tokens left for the results of one turn; later results may use the rest of a small result's share."""

    def __init__(self, calls: int, *, each: int, together: int) -> None:
        self._calls, self._each, self._left = calls, each, together

    def room(self) -> int:
        """Return how many tokens the next result may take."""
        return max(LEAST_LEFT, min(self._each, self._left // max(1, self._calls)))

    def take(self, tokens: int) -> None:
        """Subtract the tokens of one result."""
        self._calls -= 1
        self._left -= tokens


class ResultBudget:
    """Cuts the results of a run to their shares, in tokens; an ``artifact_store`` stores cut results in full.

    ``measure`` is called each time, as the measure changes while it learns. ``together`` 0: a turn has no share of its
    own. ``readable`` says whether the model has a tool to read the rest.
    """

    def __init__(
        self,
        *,
        each: int,
        together: int,
        measure: Callable[[], Measure],
        emit: Emit,
        readable: Callable[[], bool],
        artifact_store: ArtifactStore | None = None,
    ) -> None:
        self._each, self._together, self._measure = each, together, measure
        self._emit, self._readable, self._artifact_store = emit, readable, artifact_store
        self._warned = False

    def resize(self, each: int, together: int) -> None:
        """Set the tokens of one result, and of all results of a turn."""
        self._each, self._together = each, together

    def beside(self, tools: Sequence[ToolSpec]) -> int:
        """Return what the schemas of ``tools`` take of a request."""
        return self._measure().beside(tools)

    def turn(self, calls: int) -> TurnBudget:
        """Return the budget of a turn of ``calls`` calls."""
        return TurnBudget(calls, each=self._each, together=self._together or self._each * calls)

    def size(self, text: str) -> int:
        """Return the tokens of a result, or its length in characters if it is far too long to be counted."""
        if len(text) > self._each * _LONGEST_TOKEN:
            return len(text)
        return self._measure().text(text)

    def short(self, text: str, room: int) -> str:
        """Return ``text``, with its middle cut if it is too long; nothing is stored."""
        return self._measure().cut_middle(text, max(LEAST_LEFT, room))

    async def cut(self, number: int, tool: str, text: str, room: int) -> str:
        """Return ``text`` cut to ``room`` tokens, with a mark that names the place of the full text."""
        measure = self._measure()
        if isinstance(text, Excerpt):
            origin = text.origin._replace(readable=self._readable())
            if text.halves is not None:
                return _fit(text.halves._replace(origin=origin), room, measure)
            found = find_mark(text) if origin.onward else None
            if found is None or found.tail or found.origin.path != origin.path:  # a quoted mark is not its own
                found = split_text(text, origin)
            return _fit(found, room, measure)
        if self._artifact_store is not None:
            try:
                kept = await self._artifact_store.keep(number, tool, text)
            except AgentctlError as error:
                if not self._warned:
                    self._warned = True
                    await self._emit(Noted(f"{error.message} ({error.hint})", "warning"))
            else:
                return _fit(split_text(kept.text, Origin(kept.path, readable=self._readable())), room, measure)
        return measure.cut_middle(text, room)


def _fit(text: SplitText, room: int, measure: Measure) -> str:
    most = int(room * BYTES_PER_TOKEN / measure.factor)
    for _ in range(_ROUNDS):
        cut = text.cut(most)
        size = measure.text(cut)
        if size <= room:
            break
        most = min(most * 15 // 16, most * room // size)
    return cut
