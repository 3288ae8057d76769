"""The full table of a run: calls, limits, tools, and the command to continue with."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from agentctl.cli.ui.format import Paint, amount, columns, limit, money, plural
from agentctl.cli.ui.meter import Meter, MeteredCall
from agentctl.cli.ui.summary import short_id
from agentctl.core.results import BreakerInfo, LimitUse, RunResult
from agentctl.core.text import safe_text

_MOST_CALLS = 20  # rows of calls: the first and the last half of them


def render_run_table(result: RunResult, meter: Meter, paint: Paint, *, paste: str = "") -> str:
    """Return the parts of the table, separated by blank lines; ``paste`` is the command to continue with."""
    breaker = result.breaker
    parts = [paint(describe_trip(breaker), "bold")] if breaker is not None else []
    if result.metered:
        parts += [_calls(result, meter)] if meter.attempts else []
        parts.append(_limits(result, breaker))
    if result.tools:
        rows = [(safe_text(tool.name), f"{tool.calls:,}", f"{tool.failed:,}") for tool in result.tools]
        parts.append(columns(("tool", "calls", "failed"), rows, right=frozenset({1, 2})))
    parts.append("\n".join(_rest(result, paste)))
    return "\n\n".join(parts)


def _calls(result: RunResult, meter: Meter) -> str:
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
    head = ("call", "model", "in", "cached", "out", "cost", "held", "")
    return columns(
        head, [*rows, ("all", plural(len(meter.attempts), "call"), *total)], right=frozenset({2, 3, 4, 5, 6})
    )


def _call(number: int, attempt: MeteredCall) -> tuple[str, ...]:
    model, usage, held = safe_text(attempt.model or ""), attempt.usage, attempt.held_nano
    tokens: tuple[str, ...] = ("", "", "")
    cost = ""
    if attempt.state == "settled":
        tokens = (f"{usage.input_tokens:,}", f"{usage.cached_input_tokens:,}", f"{usage.output_tokens:,}")
    if attempt.state in ("settled", "in doubt"):
        cost = "unknown" if attempt.nano is None else money(attempt.nano)
    return (str(number), model, *tokens, cost, "" if held is None else money(held), attempt.state)


def _limits(result: RunResult, breaker: BreakerInfo | None) -> str:
    rows = [_limit(use, breaker, result.finished_at) for use in result.limits]
    return columns(("limit", "ceiling", "used", "held", ""), rows, right=frozenset({1, 2, 3}))


def _limit(use: LimitUse, breaker: BreakerInfo | None, now: datetime) -> tuple[str, ...]:
    tripped = breaker is not None and breaker.limit == use.name and not breaker.run_id
    held = amount(breaker.held, breaker.unit) if breaker is not None and tripped and breaker.held else ""
    remarks = [f"{100 * use.used // use.ceiling} %"] if use.ceiling else []
    remarks += ["tripped"] if tripped else []
    remarks += [f"set by {safe_text(use.set_by)}"] if use.set_by else []
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


def _rest(result: RunResult, paste: str) -> Iterator[str]:
    """Yield lines for denied and left-out tools, sandbox, agent, run, and the command to paste."""
    if result.denied:
        yield f"denied   {safe_text(', '.join(result.denied))}"
    if result.left_out:
        yield f"left out {safe_text(', '.join(result.left_out))}"
    if result.sandbox is not None:
        yield f"sandbox  {safe_text(result.sandbox)}"
    yield f"agent    {safe_text(result.agent)}"
    yield f"run      {result.run_id}"
    yield f"show     agentctl runs show {short_id(result.run_id)}"
    if paste:
        yield f"hint: {safe_text(paste)}"
