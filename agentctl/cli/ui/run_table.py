"""The full table of a run: calls, limits, tools, and the command to continue with."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from agentctl.cli.ui.columns import Column, Page
from agentctl.cli.ui.format import Paint, amount, limit, money, plural
from agentctl.cli.ui.meter import Meter, MeteredCall
from agentctl.cli.ui.summary import short_id
from agentctl.core.results import BreakerInfo, LimitUse, RunResult
from agentctl.core.text import safe_text

_MOST_CALLS = 20  # rows of calls: the first and the last half of them
_PIPE = Page()
_CALLS = (
    *(Column("call"), Column("model", "name", drop=2), Column("in", drop=1, right=True)),
    *(Column("cached", drop=4, right=True), Column("out", drop=1, right=True), Column("cost", right=True)),
    *(Column("held", drop=3, right=True), Column("", "text")),
)
_LIMITS = (
    *(Column("limit"), Column("ceiling", right=True), Column("used", right=True)),
    *(Column("held", drop=1, right=True), Column("", "text")),
)


def render_run_table(result: RunResult, meter: Meter, paint: Paint, *, paste: str = "", page: Page = _PIPE) -> str:
    """Return the parts of the table, separated by blank lines; ``paste`` is the command to continue with."""
    breaker = result.breaker
    parts = [paint(page.prose(describe_trip(breaker)), "bold")] if breaker is not None else []
    if result.metered:
        parts += [_calls(result, meter, page)] if meter.attempts else []
        parts.append(_limits(result, breaker, page))
    if result.tools:
        rows = [(tool.name, f"{tool.calls:,}", f"{tool.failed:,}") for tool in result.tools]
        parts.append(page.table((Column("tool"), Column("calls", right=True), Column("failed", right=True)), rows))
    parts.append(page.fields(_rest(result), whole=("show",), margin=9))
    if paste:
        parts[-1] += f"\nhint: {safe_text(paste)}"
    return "\n\n".join(parts)


def _calls(result: RunResult, meter: Meter, page: Page) -> str:
    """Return a row per call and a total; of many calls only the first and the last ones."""
    rows = [_call(number, attempt) for number, attempt in enumerate(meter.attempts, 1)]
    if len(rows) > _MOST_CALLS:
        half = _MOST_CALLS // 2
        between = ("…", f"{len(rows) - 2 * half:,} more calls", "", "", "", "", "", "")
        rows = [*rows[:half], between, *rows[-half:]]
    cost = "unknown" if result.cost_nano is None else money(result.cost_nano)
    open_ = [f"{money(meter.held_nano)} still held"] if meter.held_nano else []
    open_ += [f"{money(result.in_doubt_nano)} in doubt"] if result.in_doubt_nano else []
    usage = result.usage
    tokens = (f"{usage.input_tokens:,}", f"{usage.cached_input_tokens:,}", f"{usage.output_tokens:,}")
    total = (*tokens, cost, "", ", ".join(open_))
    return page.table(_CALLS, [*rows, ("all", plural(len(meter.attempts), "call"), *total)])


def _call(number: int, attempt: MeteredCall) -> tuple[str, ...]:
    model, usage, held = attempt.model or "", attempt.usage, attempt.held_nano
    tokens: tuple[str, ...] = ("", "", "")
    cost = ""
    if attempt.state == "settled":
        tokens = (f"{usage.input_tokens:,}", f"{usage.cached_input_tokens:,}", f"{usage.output_tokens:,}")
    if attempt.state in ("settled", "in doubt"):
        cost = "unknown" if attempt.nano is None else money(attempt.nano)
    return (str(number), model, *tokens, cost, "" if held is None else money(held), attempt.state)


def _limits(result: RunResult, breaker: BreakerInfo | None, page: Page) -> str:
    return page.table(_LIMITS, [_limit(use, breaker, result.finished_at) for use in result.limits])


def _limit(use: LimitUse, breaker: BreakerInfo | None, now: datetime) -> tuple[str, ...]:
    tripped = breaker is not None and breaker.limit == use.name and not breaker.run_id
    held = amount(breaker.held, breaker.unit) if breaker is not None and tripped and breaker.held else ""
    remarks = [f"{100 * use.used // use.ceiling} %"] if use.ceiling else []
    remarks += ["tripped"] if tripped else []
    remarks += [f"set by {use.set_by}"] if use.set_by else []
    if breaker is not None and tripped and breaker.free_at is not None:
        at = breaker.free_at.astimezone()
        day = "" if at.date() == now.astimezone().date() else f"{at:%Y-%m-%d} "
        remarks.append(f"has room again at {day}{at:%H:%M:%S}")
    return (use.name, limit(use.ceiling, use.unit), amount(use.used, use.unit), held, ", ".join(remarks))


def describe_trip(breaker: BreakerInfo) -> str:
    """Return the limit that tripped and its amounts; after an overrun also the amounts held and charged."""
    spent, held, would_be, most = (
        amount(breaker.spent, breaker.unit),
        amount(breaker.held, breaker.unit),
        amount(breaker.would_be, breaker.unit),
        limit(breaker.ceiling, breaker.unit),
    )
    name = f"{breaker.limit} of run {breaker.run_id}" if breaker.run_id else breaker.limit
    said = f"{name} is {most}: {spent} spent, {held} held"
    if breaker.hold is None or breaker.charge is None:
        return f"{said}, the next call could make it {would_be}"
    charge, hold = amount(breaker.charge, breaker.unit), limit(breaker.hold, breaker.unit)
    return f"{said}; {charge} of it by a call with a hold of {hold}"


def _rest(result: RunResult) -> Iterator[tuple[str, str]]:
    """Yield denied and left-out tools, sandbox, agent, run, and the command that shows it."""
    if result.denied:
        yield "denied", ", ".join(result.denied)
    if result.left_out:
        yield "left out", ", ".join(result.left_out)
    if result.sandbox is not None:
        yield "sandbox", result.sandbox
    yield "agent", result.agent
    yield "run", result.run_id
    yield "show", f"agentctl runs show {short_id(result.run_id)}"
