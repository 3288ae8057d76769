"""What stands at the end of a run: one line, and the whole table when a breaker tripped."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from decimal import ROUND_UP, Decimal

from agentctl.events import BreakerInfo, LimitUse, RunResult
from agentctl.pricing import to_usd
from agentctl.text import safe_text
from agentctl.ui.colour import Paint, Style
from agentctl.ui.figures import amount, columns, limit, money, plural, seconds
from agentctl.ui.meter import Meter

_SHORT = 6


def summary(result: RunResult, paint: Paint) -> str:
    """Return the one line: status, turns, money, time, run; what has no meters shows none."""
    style: Style = "green" if result.status == "done" else "red"
    parts = [paint(result.status.replace("_", " "), style)]
    if result.metered:
        parts += [plural(result.turns, "turn"), *_spent(result)]
    parts += [seconds(result.duration_s), f"run {short(result.run_id)}"]
    return " · ".join(parts)


def short(run_id: str) -> str:
    """Return how an id begins: enough to name the run again."""
    return run_id[:_SHORT]


def _spent(result: RunResult) -> list[str]:
    limits = {use.name: use for use in result.limits}
    task, hour = limits.get("max_cost_per_task"), limits.get("max_cost_per_hour")
    cost = "cost unknown" if result.cost_nano is None else money(result.cost_nano)
    parts = [cost + _of(task)]
    if result.in_doubt_nano:
        parts.append(f"{money(result.in_doubt_nano)} in doubt")
    if hour is not None and hour.ceiling is not None:
        parts.append(f"hour {amount(hour.used, hour.unit)}{_of(hour)}")
    return parts


def _of(use: LimitUse | None) -> str:
    return f" of {limit(use.ceiling, use.unit)}" if use is not None and use.ceiling is not None else ""


def details(result: RunResult, meter: Meter, paint: Paint) -> str:
    """Return the full table: each limit, which one tripped, calls and amounts, tools."""
    lines: list[str] = []
    breaker = result.breaker
    if breaker is not None:
        lines += [paint(_tripped(breaker), "bold"), ""]
    if result.metered:
        rows = [_row(use, breaker) for use in result.limits]
        lines += [columns(("limit", "ceiling", "used", ""), rows, right=frozenset({1, 2})), ""]
        cost = "unknown" if result.cost_nano is None else money(result.cost_nano)
        doubt, held = money(result.in_doubt_nano or 0), _held(breaker)
        lines.append(f"calls {meter.calls} · charged {cost} · in doubt {doubt} · held {held}")
        usage = result.usage
        lines.append(
            f"tokens {usage.input_tokens:,} in ({usage.cached_input_tokens:,} cached), {usage.output_tokens:,} out"
        )
    lines += [f"tool {tool.name} · {plural(tool.calls, 'call')}, {tool.failed} failed" for tool in result.tools]
    lines.append(f"agent {safe_text(result.agent)} · run {result.run_id}")
    if breaker is not None and breaker.free_at is not None:
        lines.append(f"room again at {breaker.free_at.astimezone():%H:%M:%S}")
    return "\n".join(lines)


def _tripped(breaker: BreakerInfo) -> str:
    spent, held, would_be, most = (
        amount(breaker.spent, breaker.unit),
        amount(breaker.held, breaker.unit),
        amount(breaker.would_be, breaker.unit),
        limit(breaker.ceiling, breaker.unit),
    )
    return f"{breaker.limit} is {most}: {spent} spent, {held} held, the next call would make it {would_be}"


def _held(breaker: BreakerInfo | None) -> str:
    return amount(breaker.held, breaker.unit) if breaker is not None and breaker.unit == "nano_usd" else "$0"


def _row(use: LimitUse, breaker: BreakerInfo | None) -> tuple[str, ...]:
    remarks = ["tripped"] if breaker is not None and breaker.limit == use.name else []
    remarks += [f"set by {safe_text(use.set_by)}"] if use.set_by else []
    return (use.name, limit(use.ceiling, use.unit), amount(use.used, use.unit), ", ".join(remarks))


def retry_command(command: Sequence[str], breaker: BreakerInfo) -> str:
    """Return the command that ran, with the limit raised: a whole line to paste."""
    return safe_text(shlex.join([*command, "--" + breaker.limit.replace("_", "-"), higher(breaker)]))


def higher(breaker: BreakerInfo) -> str:
    """Return a limit that would have let the call through: twice the old one, or more where that is too little."""
    wanted = max(2 * breaker.ceiling, breaker.would_be)
    if breaker.unit == "tokens":
        return str(wanted)
    usd = to_usd(wanted)
    return f"{usd.quantize(Decimal('0.01'), rounding=ROUND_UP):f}"
