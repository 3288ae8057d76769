"""Orchestrate a run: choose an agent, open the run, start the loop, and return a result in every case."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

import anyio

from agentctl.budget.rules import Amounts, PastSpending, Spend
from agentctl.core.errors import (
    AgentctlError,
    InternalError,
    Interrupted,
    RunTimeout,
    StateError,
    StopCause,
)
from agentctl.core.events import BreakerTripped, Crashed, Emit, Noted, ObeyedFilesChanged, RunFinished
from agentctl.core.pricing import PriceOf
from agentctl.core.redaction import Redactor
from agentctl.core.results import LimitUse, RunResult
from agentctl.journal.recorder import Recorder, as_agentctl_error
from agentctl.permissions.admission import Admission
from agentctl.protocols import Approver, ArtifactStore, Ledger, LLMProvider, Observer, RunTools
from agentctl.runner.agent_spec import MOST_TOOLS, AgentSpec
from agentctl.runner.conversation import open_conversation
from agentctl.runner.lease_terms import further_limits, plan_uses
from agentctl.runner.loop import Loop
from agentctl.runner.model_calls import ModelCalls
from agentctl.runner.plan import Plan, RunInput
from agentctl.runner.routing import answer_schema_of, choose_agent, choose_tools
from agentctl.runner.run_state import (
    RunState,
    add_next_step,
    last_notes,
    last_warnings,
    make_result,
    no_user_reason,
    record_start,
)
from agentctl.runner.tool_calls import ToolDispatcher
from agentctl.tools.deferred import note_of

if TYPE_CHECKING:
    from agentctl.context.counter import Load, TokenCounter
    from agentctl.runner.fallbacks import Fallback
    from agentctl.runner.hooks import Hooks
    from agentctl.runner.resumption import Resumption
    from agentctl.runner.structured_answer import StructuredAnswer
    from agentctl.runner.unseen import Unseen

CLOSING_S = 5.0  # how long an engine's client may take to close
_NOTHING = Spend(Amounts(), Amounts(), Amounts())

MakeTools = Callable[[Sequence[str] | None, int, str], Awaitable[RunTools]]
"""Makes the tools of a run of a task: the first ``most`` of those named that are available and allowed; None: all."""

FindContainers = Callable[[str], Awaitable[Collection[str]]]
"""Returns the names in a task that look like files and are containers of the engine."""

ListContainers = Callable[[], Awaitable[Collection[str]]]
"""Returns the names of all containers, none if the engine does not answer soon."""


class Orchestrator:
    """Runs tasks, one at a time; every run ends with a ``RunResult``.

    ``make_tools`` makes the tools of a run, which closes them. ``opening`` is awaited before the first call, and
    ``closing`` at the very end, for the parts that only this orchestrator owns: provider, ledger, journal. ``price_of``
    returns the prices of other models of the provider. ``observers``: the journal comes first. ``approver`` None: there
    is no user to ask. ``counter`` counts tokens; None: UTF-8 bytes / 4. ``artifact_store`` stores in full the results
    that are cut for the model. ``load_count`` loads the vocabulary of the model's own provider; None: it is not known
    for certain. ``redactor`` removes secrets from tool results. ``capability`` is the secret that the run's tools pass
    to nested runs, "" if there can be none. ``find_containers``, ``list_containers`` None: no name is a container's.
    ``fallbacks`` take over from a provider that fails, in their order. ``resumption`` is the run that goes on, and how;
    then the task is what its journal has. ``flags`` are kept in the journal, for a resumed run.
    """

    def __init__(
        self,
        *,
        plan: Plan,
        agents: Sequence[AgentSpec],
        provider: LLMProvider,
        ledger: Ledger,
        make_tools: MakeTools,
        observers: Sequence[Observer],
        now: Callable[[], datetime],
        new_id: Callable[[], str],
        approver: Approver | None = None,
        artifact_store: ArtifactStore | None = None,
        price_of: PriceOf | None = None,
        counter: TokenCounter | None = None,
        load_count: Load | None = None,
        opening: Sequence[Callable[[], Awaitable[object]]] = (),
        closing: Sequence[Callable[[], Awaitable[object]]] = (),
        capability: str = "",
        find_containers: FindContainers | None = None,
        list_containers: ListContainers | None = None,
        redactor: Redactor | None = None,
        fallbacks: Sequence[Fallback] = (),
        resumption: Resumption | None = None,
        flags: Mapping[str, object] = MappingProxyType({}),
        hooks: Hooks | None = None,
    ) -> None:
        self._hooks = hooks
        self._resumption, self._flags = resumption, flags
        self._fallbacks = fallbacks
        self._redactor = redactor
        self._plan, self._agents, self._provider, self._ledger = plan, agents, provider, ledger
        self._make_tools, self._observers, self._now, self._new_id = make_tools, observers, now, new_id
        self._approver, self._artifact_store = approver, artifact_store
        self._price_of, self._counter, self._opening, self._closing = price_of, counter, opening, closing
        self._load_count = load_count
        self._capability, self._find_containers = capability, find_containers
        self._list_containers = list_containers
        self._stop: Interrupted | None = None
        self._scope: anyio.CancelScope | None = None

    def interrupt(self, cause: StopCause = "Ctrl-C") -> None:
        """Stop the run, or the next one before it begins, because of ``cause``."""
        self._stop = Interrupted(f"stopped by {cause}", cause=cause)
        if self._scope is not None:
            self._scope.cancel()

    async def run(self, task: str, run_input: RunInput | None = None) -> RunResult:
        """Run ``task`` and return its result; errors are part of it, and ``RunFinished`` is always the last event.

        The data of ``run_input`` is sent behind the task, but chooses no agent and no tool.
        """
        resumed = self._resumption
        before = 0 if resumed is None or resumed.is_fork else resumed.past.seq
        recorder = Recorder(self._new_id(), self._observers, self._now, after=before)
        run = RunState(task, run_input, self._now(), recorder, plan_uses(self._plan, _NOTHING))
        try:
            error = await self._run_bounded(run)
        except BaseException:  # cancelled from outside: record it, and let it pass
            await self._finish(run, Interrupted("cancelled by the caller"))
            raise
        return await self._finish(run, error)

    async def _run_bounded(self, run: RunState) -> AgentctlError | None:
        """Run until done, stopped or out of time; return the error that ended the run, None if it ended well."""
        waited, limit = run.input.waited_s if run.input else 0.0, self._plan.timeout_s
        try:
            with anyio.move_on_after(None if limit is None else limit - waited) as self._scope:
                return self._stop or await self._work(run)
        except Exception as error:  # noqa: BLE001 - every ending is a result
            return as_agentctl_error(error)
        late = f"the run took longer than {self._plan.timeout_s:g} s"
        return self._stop or RunTimeout(late, hint="raise --timeout, or ask for less")

    async def _work(self, run: RunState) -> AgentctlError | None:
        """Choose the agent, open the run, and run the loop."""
        plan, facts = self._plan, self._provider.facts
        containers: Collection[str] = ()
        if self._find_containers is not None and facts.metered and plan.agent is None:
            containers = await self._find_containers(run.task)
        agent, agent_chosen_by = choose_agent(run.task, plan, self._agents, containers=containers)
        run.agent = agent.name
        run_tools = run.run_tools = await self._make_tools(
            choose_tools(agent, run.task, plan, metered=facts.metered, agents=self._agents, containers=containers),
            *(MOST_TOOLS, run.task),
        )
        spent = await self._open(run, agent, agent_chosen_by)
        await run.recorder.warn(run_tools.warnings)
        for prepare in self._opening:
            await prepare()
        facts = self._provider.facts  # its window may be known by now
        if narrow := plan.window_note(facts):
            await run.recorder.emit(Noted(narrow))
        run.calls = ModelCalls(
            provider=self._provider,
            ledger=self._ledger,
            run_id=run.recorder.run_id,
            limits=plan.limits,
            parent=plan.parent,
            emit=run.recorder.emit,
            silence_s=plan.silence_s,
            waits_for_load=plan.waits_for_load,
            deadline_s=plan.deadline_s,
            budget_wait_s=plan.budget_wait_s,
            settle_wait_s=plan.settle_wait_s,
            max_output_tokens=plan.max_output_tokens,
            doubt=plan.doubt,
            retries=plan.retries,
            price_of=self._price_of,
            load_count=self._load_count,
            provider_wait_s=plan.fallback_wait_s if self._fallbacks else None,
            pause=plan.pause,
        )
        resumed = None if self._resumption is None else self._resumption.translate(facts)
        if resumed is not None:
            await run.calls.begin_with(spent, resumed.past.answers, resumed.past.turns + 1)
        emit, limits = run.recorder.emit, plan.loop._replace(max_turns=self._most_turns(agent))
        admission = Admission(
            permissions=plan.permissions,
            emit=emit,
            approve=plan.approve,
            approver=self._approver,
            no_user_reason=no_user_reason(run.input),
            hooks=self._hooks,
        )
        conversation = open_conversation(plan, run.calls, emit, self._counter, most_turns=limits.max_turns)
        dispatch = ToolDispatcher(
            toolbox=run_tools.toolbox,
            admission=admission,
            emit=emit,
            limits=limits,
            left_out=run_tools.left_out,
            shares=plan.result_shares(facts),
            measure=lambda: conversation.measure,
            artifact_store=self._artifact_store,
            redactor=self._redactor,
            replay=plan.replay_tool,
        )
        if facts.metered:
            dispatch.resize(plan.result_shares(facts, dispatch.schema_tokens()))
        if self._fallbacks:
            from agentctl.runner.fallbacks import Fallbacks  # noqa: PLC0415 - most runs have none

            run.fallbacks = Fallbacks(
                self._fallbacks,
                plan=plan,
                calls=run.calls,
                conversation=conversation,
                dispatch=dispatch,
                emit=emit,
                most_turns=limits.max_turns,
            )
        run.loop = Loop(
            calls=run.calls,
            dispatch=dispatch,
            conversation=conversation,
            emit=emit,
            limits=limits,
            metered=facts.metered,
            run_input=run.input,
            find_unseen=partial(self._find_unseen, run.task),
            fall_back=run.fallbacks.take_over if run.fallbacks else None,
            structured=self._structured_answer(agent, emit),
        )
        behind = ""
        if facts.metered:
            from agentctl.runner.opening import circumstances  # noqa: PLC0415 - not for builtin

            said = run.task if resumed is None else resumed.said
            behind = circumstances(agent, plan, said, run.started_at, tools=run_tools.toolbox.names) if said else ""
        if resumed is not None:
            dispatch.restore(resumed.past)
            await conversation.restore(resumed.past, spent.usage, dispatch.offered_tools())
            words, is_new = resumed.next_words, bool(resumed.said)
            return (await run.loop.run("", words, behind, resumed.past, is_new_task=is_new)).error
        return (await run.loop.run(agent.instructions + note_of(run_tools.toolbox), run.task, behind)).error

    def _structured_answer(self, agent: AgentSpec, emit: Emit) -> StructuredAnswer | None:
        schema = answer_schema_of(agent, self._plan)
        if schema is None:
            return None
        from agentctl.runner.structured_answer import StructuredAnswer  # noqa: PLC0415 - few runs have a schema

        return StructuredAnswer(schema, self._plan.schema_retries, emit)

    async def _open(self, run: RunState, agent: AgentSpec, chosen_by: str) -> PastSpending:
        """Open the run in the ledger and in its journal; return what its earlier parts have spent.

        Raises:
            UsageError: it is resumed, and is alive, or would go on otherwise than it began.
        """
        plan, facts, resumed, run_tools = self._plan, self._provider.facts, self._resumption, run.run_tools
        digests: Mapping[str, str] = {}
        box, sandbox = (run_tools.toolbox, run_tools.sandbox) if run_tools else (None, None)
        if facts.metered and box is not None:
            from agentctl.runner.resumption import digests_of  # noqa: PLC0415 - not for builtin

            specs, schema = [box.get(name).spec for name in box.names], answer_schema_of(agent, plan)
            digests = digests_of(agent, specs, facts, sandbox, schema, plan.notes)
        spent, run_id = PastSpending(), run.recorder.run_id
        if resumed is not None and not resumed.is_fork:
            run.spent, run.limits = resumed.spent, await self._measure_limits(run)
        changes = () if resumed is None else resumed.changes(digests)
        if resumed is not None and not resumed.is_fork:
            spent = await self._ledger.reopen_run(run_id, plan.limits, parent=plan.parent, capability=self._capability)
        else:
            await self._ledger.open_run(
                run_id,
                plan.limits,
                task=run.task,
                agent=agent.name,
                labels=plan.labels,
                parent=plan.parent,
                capability=self._capability,
            )
        run.opened, run.spent = True, spent
        run.limits = await self._measure_limits(run)
        await record_start(
            run,
            plan=plan,
            provider=self._provider,
            agent=agent,
            chosen_by=chosen_by,
            most_turns=self._most_turns(agent),
            flags=self._flags,
            digests=digests,
            resumed=resumed,
            changes=changes,
        )
        return spent

    async def _find_unseen(self, task: str, answer: str, usable: Collection[str]) -> Unseen | None:
        from agentctl.runner.unseen import find_unseen  # noqa: PLC0415 - after an answer without a look only

        return await find_unseen(answer, usable, task=task, plan=self._plan, list_containers=self._list_containers)

    def _most_turns(self, agent: AgentSpec) -> int:
        most = self._plan.loop.max_turns
        return self._resumption.most_turns(most, agent) if self._resumption else min(most, agent.max_turns or most)

    async def _measure_limits(self, run: RunState) -> tuple[LimitUse, ...]:
        further = further_limits(self._plan.limits, self._plan.parent)
        return plan_uses(self._plan, await self._ledger.spend(run.recorder.run_id, further))

    async def _finish(self, run: RunState, error: AgentctlError | None) -> RunResult:
        """Close everything, emit the end and return the result; an error here is the run's error if it had none.

        If the ledger cannot record the end of a run, nothing is lost: all paid calls are settled, and a run whose
        process is gone counts as closed.
        """
        with anyio.CancelScope(shield=True):
            error = self._plan.cassette.end_error(error) if self._plan.cassette else error
            breaker = add_next_step(error, run, self._plan, self._resumption)
            if breaker is not None:
                with suppress(Exception):  # an observer that fails here fails again at the last event
                    await run.recorder.emit(BreakerTripped(breaker))
            if isinstance(error, InternalError):
                with suppress(Exception):
                    await run.recorder.emit(Crashed(error.trace))
            try:
                await self._close(run, error.status if error else "done")
            except StateError as failure:
                if not isinstance(error, StateError):  # it has the same message
                    said = f"the end of the run could not be recorded in the ledger: {failure.message} ({failure.hint})"
                    with suppress(Exception):
                        await run.recorder.emit(Noted(said, "warning"))
            except Exception as failure:  # noqa: BLE001 - every ending is a result
                error = error or as_agentctl_error(failure)
            for note in last_notes(run, self._provider, self._plan):
                with suppress(Exception):
                    await run.recorder.emit(note)
            unreported = run.run_tools.unreported() if run.run_tools else ()
            if unreported:
                with suppress(Exception):
                    await run.recorder.emit(ObeyedFilesChanged(None, unreported))
            result = make_result(
                run,
                error,
                plan=self._plan,
                provider=self._provider,
                breaker=breaker,
                unreported=unreported,
                at=self._now(),
                resumed=self._resumption,
            )
            if self._hooks is not None:
                await self._run_last_hooks(self._hooks, run, result)
                result = replace(result, warnings=last_warnings(run))
            result = await run.recorder.finish(result)
            self._stop, self._scope = None, None
            for close in self._closing:
                with suppress(Exception):
                    await close()
        return result

    async def _run_last_hooks(self, hooks: Hooks, run: RunState, result: RunResult) -> None:
        """Run the hooks at the end of a run; an interrupt that comes meanwhile ends them, and changes nothing else."""
        record = run.recorder.next_record(RunFinished(result), result.finished_at)
        with suppress(Exception):  # an observer that fails here fails again at the last event
            with anyio.CancelScope() as self._scope:
                await run.recorder.warn(await hooks.finish(record))
            if self._scope.cancelled_caught and self._stop is not None:
                await run.recorder.warn((f"a hook at the end of the run was {self._stop.message}",))

    async def _close(self, run: RunState, status: str) -> None:
        if run.run_tools is not None:
            with suppress(Exception), anyio.move_on_after(CLOSING_S, shield=True):
                await run.run_tools.toolbox.aclose()
        if run.opened:
            try:
                if self._provider.facts.metered:  # without metering nothing has changed since the run began
                    run.limits = await self._measure_limits(run)
            finally:
                await self._ledger.close_run(run.recorder.run_id, status)
