"""Execute the tool calls of one turn, each result cut to its share of the context (``result_budget``).

A call that may not run gets the reason instead of a result. A call that an earlier part of the run has made keeps its
result; one that had started without a result is made again if it reads or never reached its tool, else the model is
told that it may have run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import anyio
import anyio.to_thread

from agentctl.context.tokens import PLAIN, Measure
from agentctl.context.truncation import find_mark
from agentctl.core.errors import ActionDenied, AgentctlError, InternalError, ToolError
from agentctl.core.events import Emit, ObeyedFilesChanged, ToolDenied, ToolFinished, ToolStarted
from agentctl.core.impact import DeniedCall
from agentctl.core.messages import ToolCall, ToolSpec
from agentctl.core.redaction import Redactor, has_mark
from agentctl.core.results import ErrorInfo, FileNotice, Reply, ToolCount
from agentctl.core.text import escape_notices
from agentctl.permissions.admission import ActionDeferred, Admission
from agentctl.permissions.guards import LoopLimits, are_fit, only_reads
from agentctl.protocols import ArtifactStore, OfferAware, Tool, Toolbox
from agentctl.runner.result_budget import ResultBudget, TurnBudget
from agentctl.runner.tool_results import Result, format_for_model, past_result, rebuild
from agentctl.tools.deferred import DeferringToolbox
from agentctl.tools.toolbox import CALL_TOOL

if TYPE_CHECKING:  # used only by runs with a language model
    from agentctl.journal.past_run import PastCall, PastRun
    from agentctl.permissions.repeated_reads import ReadHistory
    from agentctl.providers.cassettes.lane import RecordedResult

_LARGE = 32 * 1024  # characters; a longer text is cleaned in a thread
_TAKES_MARKS = {"write_file": "text"}  # the one argument in which a mark is replaced by its secret
UNKNOWN = "unknown whether it ran: agentctl was stopped meanwhile, so look at what it has changed before you repeat it"
_MOST_DENIED = 50


class _FinishedCall(NamedTuple):
    """A call that has ended but is not reported yet, unless ``reported``. ``number`` counts the calls of the run."""

    number: int
    call: ToolCall
    result: Result
    duration_s: float
    size: int
    reported: bool = False


class ToolDispatcher:
    """Runs the tool calls of one run through admission; counts calls, failures and denials.

    ``left_out`` says why tools that need a sandbox, or systemd, are missing. ``shares`` are the tokens of one result
    and of all results of a turn (0: no limit), counted by ``measure``; ``artifact_store`` stores cut results in full.
    ``redactor`` removes secrets from every result, before it is measured, stored or shown. ``replay`` returns the
    recorded result of a call, None for one that is to run.
    """

    def __init__(
        self,
        *,
        toolbox: Toolbox,
        admission: Admission,
        emit: Emit,
        limits: LoopLimits,
        left_out: Mapping[str, AgentctlError] | None = None,
        shares: tuple[int, int] | None = None,
        measure: Callable[[], Measure] = lambda: PLAIN,
        artifact_store: ArtifactStore | None = None,
        redactor: Redactor | None = None,
        replay: Callable[[ToolCall], RecordedResult | None] = lambda call: None,
    ) -> None:
        self._redactor, self._replay = redactor or Redactor(), replay
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
        self._past: dict[str, PastCall] = {}

    def restore(self, past: PastRun) -> None:
        """Go on from an earlier part of the run: its count of calls, and the calls of its last, incomplete turn."""
        self._number = sum(len(turn.calls) for turn in past.history)
        known = dict.fromkeys(call.id for turn in past.history for call in turn.calls)
        self._past = {call_id: made for call_id, made in past.calls.items() if call_id not in known}
        for made in (past.calls[call_id] for call_id in known if call_id in past.calls):
            self._called[made.call.name] += 1
            self._failed[made.call.name] += made.error is not None
        self._changed = {(notice.path, notice.moved_to): notice for notice in past.changed_files}
        denied = [one for call_id, one in past.denied.items() if call_id in known]
        self._denied, self._denied_calls = Counter(one.name for one in denied), tuple(denied[:_MOST_DENIED])

    def find(self, name: str) -> Tool | None:
        """Return the tool called ``name``, None if the run has none."""
        return self._toolbox.get(name) if name in self._toolbox.names else None

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
        """The names of the run's tools, also of those that are not offered."""
        return tuple(self._toolbox.names)

    def real_calls(self, calls: Sequence[ToolCall]) -> tuple[ToolCall, ...]:
        """Return the calls with those of ``call_tool`` as calls of the tools that they mean."""
        box = self._toolbox
        if not isinstance(box, DeferringToolbox):
            return tuple(calls)
        real = [(call, box.real_call(call)) for call in calls]
        return tuple(found if are_fit(found.arguments) else call for call, found in real)

    @property
    def _offered(self) -> tuple[str, ...]:
        return self._toolbox.offered if isinstance(self._toolbox, DeferringToolbox) else self._toolbox.names

    def offered_tools(self) -> tuple[ToolSpec, ...]:
        """Return the specs of the tools that the model may use."""
        tools = [self._toolbox.get(name) for name in self._offered]
        offered = [tool for tool in tools if self._admission.offers(tool)]
        return tuple(tool.offer if isinstance(tool, OfferAware) else tool.spec for tool in offered)

    def schema_tokens(self) -> int:
        """Return what the schemas of the offered tools take of every request."""
        return self._result_budget.beside(self.offered_tools())

    def unasked_tools(self) -> tuple[str, ...]:
        """Return the names of the offered tools that need no approval: they read, or stay inside a boundary."""
        tools = (self._toolbox.get(name) for name in self._offered)
        return tuple(
            tool.spec.name
            for tool in tools
            if self._admission.offers(tool)
            and (tool.effect == "read" or tool.contained)
            and tool.spec.name != CALL_TOOL  # the tool that it calls may need approval
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
            reported: list[Result] = []
            for place, (call, tool) in enumerate(zip(calls, found, strict=True)):
                done = await self._run_one(first + place, call, tool)
                if isinstance(done, ActionDeferred):
                    raise await self._deferred(done, calls[place + 1 :], found[place + 1 :])
                reported.append(await self._report(done, turn))
            return reported
        results: dict[int, Result] = {}
        large: list[_FinishedCall] = []
        broken: list[Exception] = []
        deferred: list[ActionDeferred] = []
        at_once = anyio.CapacityLimiter(self._limits.reads_at_once)

        async def one(place: int) -> None:
            try:
                async with at_once:
                    done = await self._run_one(first + place, calls[place], found[place])
                if isinstance(done, ActionDeferred):
                    deferred.append(done)
                    return
                if not isinstance(done, ActionDenied) and not done.reported and done.size > turn.room():
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
        if deferred:
            raise ActionDeferred(tuple(call for one in deferred for call in one.pending))
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
        made = self._past.pop(asked.id, None)
        is_read = not isinstance(tool, AgentctlError) and only_reads(tool)
        if made is not None and (made.text is not None or (made.may_change and not is_read)):
            return self._made_before(number, asked, made, tool)
        if (kept := self._replay(asked)) is not None:
            return await self._replayed(number, asked, rebuild(kept.text, kept.error))
        tool = _marks_refusal(asked) or tool
        admitted = tool if isinstance(tool, AgentctlError) else await self._admission.admit(asked, tool)
        if isinstance(admitted, ActionDeferred):
            return admitted
        if isinstance(admitted, ActionDenied):
            return await self._deny(asked, admitted)
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

    async def _deny(self, asked: ToolCall, denial: ActionDenied) -> ActionDenied:
        self._denied[asked.name] += 1
        denial.message, denial.hint = map(self._redactor.redact, (denial.message, denial.hint))
        impact = denial.impact
        denied = DeniedCall(asked.name, denial.message, impact.does, impact.details, impact.dangers, denial.hook)
        self._denied_calls = (*self._denied_calls, denied)[:_MOST_DENIED]
        await self._emit(ToolDenied(asked, denial.message, impact, denial.hook))
        return denial

    async def _replayed(self, number: int, asked: ToolCall, result: Result) -> _FinishedCall | ActionDenied:
        """Return a call with its recorded result, in place of running it: nobody is asked for it."""
        if isinstance(result, ActionDenied):
            return await self._deny(asked, result)
        self._called[asked.name] += 1
        await self._emit(ToolStarted(asked))
        return _FinishedCall(number, asked, result, 0.0, self._result_budget.size(format_for_model(result)))

    def _made_before(self, number: int, asked: ToolCall, made: PastCall, tool: Tool | AgentctlError) -> _FinishedCall:
        """Return a call that an earlier part of the run made, with its result, or with the error that it has none."""
        result = ToolError(UNKNOWN) if made.text is None else past_result(made)
        self._called[asked.name] += 1
        if self._reads is not None and not isinstance(tool, AgentctlError):
            self._reads.look_up(asked, made.call, tool)
            if made.text is not None and find_mark(made.text) is not None:
                self._reads.forget(asked.id)
        size = self._result_budget.size(format_for_model(result))
        return _FinishedCall(number, made.call, result, 0.0, size, reported=made.text is not None)

    async def _deferred(
        self, first: ActionDeferred, calls: Sequence[ToolCall], found: Sequence[Tool | AgentctlError]
    ) -> ActionDeferred:
        """Return the error that names every call of the turn that needs a person, the first one and those after it."""
        pending = list(first.pending)
        for call, tool in zip(calls, found, strict=True):
            if not isinstance(tool, AgentctlError):
                admitted = await self._admission.admit(call, tool, trial=True)
                pending += admitted.pending if isinstance(admitted, ActionDeferred) else ()
        return ActionDeferred(tuple(pending))

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

    def redact(self, text: str) -> str:
        """Return a text without secrets."""
        return self._redactor.redact(text)

    def _clean(self, text: str) -> str:
        return escape_notices(self._redactor.redact(text))

    async def _report(self, done: _FinishedCall | ActionDenied, turn: TurnBudget) -> Result:
        """Cut a result to its share of the turn, emit its event, and return it."""
        room = turn.room()
        if isinstance(done, ActionDenied):
            turn.take(min(self._result_budget.size(format_for_model(done)), room))
            done.message, done.hint = (self._result_budget.short(text, room // 2) for text in (done.message, done.hint))
            return done
        number, call, result, duration, size, reported = done
        room = self._result_budget.room_of(self.find(call.name), room)
        turn.take(min(size, room))
        if reported:
            self._failed[call.name] += isinstance(result, AgentctlError)
            return result
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
