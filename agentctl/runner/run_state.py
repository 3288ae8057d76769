"""The state of one run while it is worked on, and the result that is made of it at its end."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from agentctl.budget.breaker import breaker_info
from agentctl.budget.rules import PastSpending
from agentctl.core.errors import ActionDenied, AgentctlError, BudgetExceeded
from agentctl.core.events import Noted, RunResumed, RunStarted
from agentctl.core.results import BreakerInfo, FileNotice, LimitUse, RunResult
from agentctl.core.trace_context import current_trace, parse_trace_context
from agentctl.journal.recorder import Recorder, describe_error
from agentctl.permissions.admission import ActionDeferred
from agentctl.protocols import LLMProvider, RunTools
from agentctl.runner.agent_spec import AgentSpec
from agentctl.runner.loop import Loop
from agentctl.runner.model_calls import ModelCalls
from agentctl.runner.plan import Plan, RunInput
from agentctl.runner.streaming import client_of, describe_unknown
from agentctl.runner.troubles import LoopOutcome

if TYPE_CHECKING:
    from agentctl.runner.fallbacks import Fallbacks
    from agentctl.runner.resumption import Resumption


@dataclass(slots=True)
class RunState:
    """The state of one run."""

    task: str
    input: RunInput | None
    started_at: datetime
    recorder: Recorder
    limits: tuple[LimitUse, ...]
    agent: str = ""
    opened: bool = False
    spent: PastSpending = field(default_factory=PastSpending)
    run_tools: RunTools | None = None
    calls: ModelCalls | None = None
    loop: Loop | None = None
    fallbacks: Fallbacks | None = None


async def record_start(
    run: RunState,
    *,
    plan: Plan,
    provider: LLMProvider,
    agent: AgentSpec,
    chosen_by: str,
    most_turns: int,
    flags: Mapping[str, object],
    digests: Mapping[str, str],
    resumed: Resumption | None,
    changes: Sequence[str],
) -> None:
    """Emit the events of a run that was opened: a fork is started and resumed; a change is said aloud.

    The files of a fork are copied once its journal is begun, and before it goes on.
    """
    facts, tier = provider.facts, run.run_tools.sandbox if run.run_tools else None
    if current_trace.get() is None:  # if nothing records spans here, commands get the one that agentctl got
        current_trace.set(parse_trace_context(plan.trace_parent))
    trace_parent = str(current_trace.get() or "")
    if resumed is None or resumed.is_fork:
        started = RunStarted(
            task=run.task,
            agent=agent.name,
            agent_chosen_by=chosen_by,
            provider=facts.provider,
            provider_chosen_by=plan.provider_chosen_by,
            model=facts.model,
            metered=facts.metered,
            workdir=plan.workdir,
            limits=run.limits,
            labels=plan.labels,
            version=plan.version,
            sandbox=tier,
            token_turns=plan.token_turns(facts, most_turns),
            client=client_of(provider),
            flags=flags,
            digests=digests,
            forked_from=None if resumed is None else resumed.past.run_id,
            trace_parent=trace_parent,
        )
        await run.recorder.emit(started)
    if resumed is None:
        return
    if resumed.copy_files is not None:
        await resumed.copy_files()
    past = resumed.past
    again = RunResumed(
        source=past.run_id,
        until=past.seq,
        kept=len(past.messages),
        turns=past.turns,
        words=resumed.words,
        limits=run.limits,
        flags=flags,
        digests=digests,
        changes=tuple(changes),
        task=run.task,
        agent=agent.name,
        provider=facts.provider,
        provider_chosen_by=plan.provider_chosen_by,
        model=facts.model,
        trace_parent=trace_parent,
    )
    await run.recorder.emit(again)
    for said in (*changes, *resumed.notes):
        await run.recorder.emit(Noted(said, "warning"))


def last_notes(run: RunState, provider: LLMProvider, plan: Plan) -> Iterator[Noted]:
    """Yield what is said at the end of a run, whichever way it ended."""
    for said in plan.cassette.notes(run.limits) if plan.cassette else ():
        yield Noted(said, "warning")
    if late := run.input and run.input.late_warning():
        yield Noted(late, "warning")
    for note in run.run_tools.notes() if run.run_tools else ():
        yield Noted(note)
    if unknown := describe_unknown(provider):
        yield Noted(unknown, "detail")


def last_warnings(run: RunState) -> tuple[str, ...]:
    """Return what the user was warned of so far."""
    return (*(run.input.warnings if run.input else ()), *run.recorder.warnings)


def no_user_reason(run_input: RunInput | None) -> str:
    """Return why there is no terminal to ask a person on."""
    if run_input and (taken := run_input.taken) is not None and taken.name == "stdin" and taken.bytes:
        return "stdin is data, not a terminal to ask on (--input FILE leaves it free)"
    return "there is no terminal to ask on"


def make_result(
    run: RunState,
    error: AgentctlError | None,
    *,
    plan: Plan,
    provider: LLMProvider,
    breaker: BreakerInfo | None,
    unreported: Sequence[FileNotice],
    at: datetime,
    resumed: Resumption | None = None,
) -> RunResult:
    """Return the result of a run that ended ``at``, with ``error`` or well."""
    facts, calls, past = provider.facts, run.calls, None if resumed is None else resumed.past
    turns = past.turns if past else 0
    nowhere = LoopOutcome(error.status if error else "done", "", error is None, turns, error, (), ())
    outcome = run.loop.outcome(error) if run.loop else nowhere
    spent = (
        run.spent if calls is None else PastSpending(calls.usage, calls.cost_nano, calls.in_doubt_nano, calls.models)
    )
    is_replayed = plan.cassette is not None and plan.cassette.replays  # then nothing was sent
    return RunResult(
        run_id=run.recorder.run_id,
        status=outcome.status,
        answer=outcome.answer,
        complete=outcome.complete,
        task=run.task,
        agent=run.agent or plan.agent or "",
        provider=facts.provider,
        provider_chosen_by=plan.provider_chosen_by,
        model=facts.model,
        models=spent.models,
        turns=outcome.turns,
        started_at=run.started_at,
        finished_at=at,
        duration_s=max(0.0, (at - run.started_at).total_seconds()),
        usage=spent.usage,
        cost_nano=0 if is_replayed else spent.cost_nano,
        in_doubt_nano=0 if is_replayed else spent.in_doubt_nano,
        replayed=is_replayed,
        replayed_nano=spent.cost_nano if is_replayed else 0,
        price_source=facts.price.source if facts.price else "unknown",
        limits=run.limits,
        metered=facts.metered,
        labels=plan.labels,
        resumed_from=past.run_id if past else None,
        breaker=breaker,
        tools=outcome.tools,
        denied=outcome.denied,
        denied_calls=outcome.denied_calls,
        sandbox=run.run_tools.sandbox if run.run_tools else None,
        sandbox_failures=run.run_tools.sandbox_failures if run.run_tools else (),
        left_out=tuple(run.run_tools.left_out) if run.run_tools else (),
        mcp=run.run_tools.mcp() if run.run_tools else None,
        delegated=run.run_tools.delegated() if run.run_tools else (),
        error=describe_error(error),
        changed_files_run_later=tuple(dict.fromkeys((*outcome.changed_files, *unreported))),
        input=run.input.taken if run.input else None,
        warnings=last_warnings(run),
        client=client_of(provider),
        fallbacks=run.fallbacks.taken if run.fallbacks else (),
        pending=error.pending if isinstance(error, ActionDeferred) else (),
        structured=outcome.structured,
    )


def add_next_step(
    error: AgentctlError | None, run: RunState, plan: Plan, resumed: Resumption | None
) -> BreakerInfo | None:
    """Give the error of a run the hint that goes on with it, if it can; return which limit stopped it, if one did."""
    if isinstance(error, BudgetExceeded):
        breaker = breaker_info(
            error,
            task=run.task,
            set_by=plan.limits_set_by.get(error.verdict.limit),
            run_id=run.recorder.run_id,
            with_data=bool(run.input and run.input.data),
            goes_on=resumed is not None,
        )
        error.hint = breaker.hint
        return breaker
    if isinstance(error, ActionDeferred):
        rules = [f"--allow {shlex.quote(call.rule_to_allow)}" for call in error.pending]
        said = " ".join(dict.fromkeys(rules))
        error.hint = f"to allow it and go on: agentctl runs resume {run.recorder.run_id} {said}"
    elif isinstance(error, ActionDenied) and error.is_past and resumed is not None and resumed.allowed:
        error.message = f"the model did not make the denied call again: {error.message}"
        error.hint = f'agentctl runs resume {run.recorder.run_id} "Make that call now"'
    return None
