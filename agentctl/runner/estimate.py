"""Estimate a run: compose its first request as a run does, bound it and price it, without sending it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING
from typing import NamedTuple

from agentctl.budget.breaker import RefusalContext, breaker_info, refusal_error, wait_error
from agentctl.budget.input_bound import bound
from agentctl.budget.output_range import OutputRange, choose_output
from agentctl.budget.rules import Ask, LimitState, Wait, ceiling_of, extra_ceilings
from agentctl.context.counter import Load
from agentctl.context.tokens import PLAIN, Measure
from agentctl.core.errors import AgentctlError, BudgetExceeded, ContextOverflow, LimitName, Verdict
from agentctl.core.events import discard_event
from agentctl.core.limits import WINDOWS
from agentctl.core.messages import Message, Request, ToolSpec, Usage
from agentctl.core.pricing import ModelFacts, Price, PriceOf, charge_nano, no_price
from agentctl.core.results import BreakerInfo
from agentctl.ledger.forecast import Forecast
from agentctl.permissions.admission import Admission
from agentctl.runner.agent_spec import MOST_TOOLS, AgentSpec
from agentctl.runner.opening import circumstances
from agentctl.runner.orchestrator import FindContainers, MakeTools
from agentctl.runner.plan import Plan, hint_at_data
from agentctl.runner.reservation import InputCounter
from agentctl.runner.routing import answer_schema_of, choose_agent, choose_tools
from agentctl.runner.structured_answer import first_format, format_by, formatted
from agentctl.runner.tool_calls import ToolDispatcher
from agentctl.tools.deferred import MOST_BYTES, note_of

ForecastCall = Callable[[Ask, str], Forecast]
"""Asks the ledger how it would decide on the first call of an agent's run, without writing to it."""

RUN = "estimate"  # never the id of a real run: those are hexadecimal
_UNKNOWN = "tools of MCP servers"
_SHORT_S = 3600  # seconds: most runs end within it
_NANO_PER_TOKEN = 1000  # nano-dollars, for each dollar per million tokens


class Cost(NamedTuple):
    """Nano-dollars, None if unknown. ``ceiling_by`` is the limit that sets the ceiling, "" for a free model."""

    floor: int | None
    ceiling: int | None
    ceiling_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The estimate of a run. Tokens: ``likely`` is an estimate of the first request, ``most`` its bound.

    ``unstarted`` are MCP servers whose tools are not known without starting them.

    ``refusal`` is the error that would stop the first call, None if it would be sent.
    """

    task: str
    agent: str
    agent_chosen_by: str
    provider_chosen_by: str
    facts: ModelFacts
    tools: tuple[str, ...]
    sandbox: str | None
    left_out: tuple[str, ...]
    labels: Mapping[str, str]
    limits_set_by: Mapping[str, str]
    likely: int
    most: int
    output: OutputRange
    cost: Cost
    forecast: Forecast
    refusal: AgentctlError | None
    breaker: BreakerInfo | None
    unstarted: tuple[str, ...] = ()


async def estimate(
    task: str,
    *,
    data: str = "",
    plan: Plan,
    agents: Sequence[AgentSpec],
    facts: ModelFacts,
    make_tools: MakeTools,
    forecast_call: ForecastCall,
    now: Callable[[], datetime],
    measure: Measure = PLAIN,
    price_of: PriceOf = no_price,
    load_count: Load | None = None,
    find_containers: FindContainers | None = None,
    servers: Sequence[str] = (),
) -> Estimate:
    """Compose and judge the first request of a run; ``measure`` counts the likely size, ``load_count`` the bound.

    ``servers`` are the MCP servers of the run. They are not started: their tools count with the most bytes that a run
    with servers offers. ``data`` is sent behind the task. ``price_of`` prices the models that have answered in place of
    this one.

    Raises:
        UnknownPrice: a dollar limit is set, and one of them has no known price.
        UsageError: there is no task, or no such agent.
        SandboxUnavailable: a sandbox was asked for by name, and is not available here.
        ContextOverflow: the task does not fit the context.
        StateError: the ledger cannot be read.
    """
    containers: Collection[str] = ()
    if find_containers is not None and facts.metered and plan.agent is None:
        containers = await find_containers(task)
    agent, agent_chosen_by = choose_agent(task, plan, agents, containers=containers)
    names = choose_tools(agent, task, plan, metered=facts.metered, agents=agents, containers=containers)
    run_tools = await make_tools(names, MOST_TOOLS, task)
    try:
        admission = Admission(permissions=plan.permissions, emit=discard_event)
        offers = ToolDispatcher(toolbox=run_tools.toolbox, admission=admission, emit=discard_event, limits=plan.loop)
        tools = offers.offered_tools() if facts.metered else ()
        if servers and tools:
            tools = (*tools, _unknown_tools(tools))
    finally:
        await run_tools.toolbox.aclose()
    names = run_tools.toolbox.names
    behind = circumstances(agent, plan, task, now(), tools=names) if facts.metered else ""
    system = agent.instructions + note_of(run_tools.toolbox)
    opening = (Message("system", system), Message("user", task + data + behind))
    schema = answer_schema_of(agent, plan) if facts.metered else None
    asked = None if schema is None else first_format(facts, schema, tools)
    beside = tools if asked is None else (*tools, asked.spec)
    try:
        if schema is not None and asked is None:
            plan.fit(facts, opening, (format_by(schema).spec,), measure=measure, trial=True)
        messages = plan.fit(facts, opening, beside, measure=measure)
    except ContextOverflow as error:
        if data:
            hint_at_data(error)
        raise
    wanted = choose_output(facts, plan.max_output_tokens)
    request = Request(facts.model, messages, tools, answer_format=asked)
    request = request if asked is None else formatted(facts, request)
    count = InputCounter(load_count).of(request, None, facts.may_cut)
    ask = Ask(
        attempt_id=RUN,
        run_id=RUN,
        facts=facts,
        input_bound=bound(request) if facts.metered else 0,
        least=wanted.least,
        most=wanted.most,
        hour_limit_nano=ceiling_of(plan.limits, "max_cost_per_hour"),
        deadline_s=plan.deadline_s,
        further=extra_ceilings(plan.limits),
        price_of=price_of,
        can_count=count is not None,
    )
    found = forecast_call(ask, agent.name)
    if count is not None and isinstance(found.answer, Wait) and found.answer.reason == "bound":
        counted = await count()
        found = forecast_call(ask._replace(counted_bound=counted, can_count=counted is not None), agent.name)
    likely = measure.request(messages, beside) if facts.metered else 0
    cost = cost_of(facts, found.rooms, likely=min(likely, found.input_bound), least=wanted.least, held_at=found.price)
    refusal = _refusal(found, plan, facts)
    breaker = None
    if isinstance(refusal, BudgetExceeded):
        set_by = plan.limits_set_by.get(refusal.verdict.limit)
        breaker = breaker_info(refusal, task=task, set_by=set_by, run_id=RUN, with_data=bool(data))
        refusal.hint = breaker.hint
    return Estimate(
        task=task,
        agent=agent.name,
        agent_chosen_by=agent_chosen_by,
        provider_chosen_by=plan.provider_chosen_by,
        facts=facts,
        tools=tuple(tool.name for tool in tools if tool.name != _UNKNOWN),
        sandbox=run_tools.sandbox,
        left_out=tuple(run_tools.left_out),
        labels=plan.labels,
        limits_set_by=plan.limits_set_by,
        likely=likely,
        most=found.input_bound,
        output=wanted,
        cost=cost,
        forecast=found,
        refusal=refusal,
        breaker=breaker,
        unstarted=tuple(servers) if tools else (),
    )


def _unknown_tools(tools: Sequence[ToolSpec]) -> ToolSpec:
    """Return what stands for the tools of servers: as long as all that a run with servers offers."""
    known = sum(len(f"{tool.name} {tool.description} {dict(tool.parameters)}") for tool in tools)
    return ToolSpec(_UNKNOWN, "x " * (max(0, MOST_BYTES - known) // 2), {})


def _refusal(found: Forecast, plan: Plan, facts: ModelFacts) -> AgentctlError | None:
    """Return the error that would end the run before its first call; None if it may wait for other runs."""
    if isinstance(found.answer, Verdict):
        return refusal_error(found.answer, facts, RefusalContext(RUN))
    if isinstance(found.answer, Wait) and plan.budget_wait_s == 0:
        return wait_error(found.answer, facts, RefusalContext(RUN))
    return None


def cost_of(
    facts: ModelFacts, rooms: Sequence[LimitState], *, likely: int, least: int, held_at: Price | None = None
) -> Cost:
    """Return the floor (the first call with ``likely`` input and the ``least`` useful output), and the ceiling.

    The ceiling is the least of what is left now of each limit in dollars, and of tokens at the highest price. Amounts
    that leave a limit's window during the run make room again, which cannot be predicted. In a window shorter than an
    hour this always happens, so such a limit is not a ceiling. ``held_at`` is the price of the holds, if it is not the
    model's own.
    """
    price = facts.price if held_at is None else held_at
    if not facts.metered or (price is not None and price.is_free):
        return Cost(0, 0)
    ceilings: list[tuple[int, LimitName]] = []
    for room in rooms:
        rest = remaining_of(room)
        if rest is None:
            continue
        if room.unit == "nano_usd" and WINDOWS.get(room.limit, _SHORT_S) >= _SHORT_S:
            ceilings.append((rest, room.limit))
        if room.unit == "tokens" and price is not None:
            dearest = max(price.dearest_input, price.dearest_output) * _NANO_PER_TOKEN
            ceilings.append((int((rest * dearest).to_integral_value(ROUND_CEILING)), room.limit))
    floor = None if facts.price is None else charge_nano(facts.price, Usage(likely, least))
    return Cost(floor, *min(ceilings)) if ceilings else Cost(floor, None)


def remaining_of(room: LimitState) -> int | None:
    """Return the rest of a limit, in its own unit; None without a limit."""
    return None if room.ceiling is None else max(0, room.ceiling - room.amounts.total)
