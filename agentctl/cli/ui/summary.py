"""The summary line of a run, and the command that runs it again with a higher limit."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from decimal import ROUND_UP, Decimal

from agentctl.budget.breaker import RUN_AGAIN
from agentctl.cli.ui.format import Paint, Style, amount, limit, money, plural, seconds
from agentctl.core.pricing import to_usd
from agentctl.core.results import BreakerInfo, LimitUse, RunResult
from agentctl.core.text import safe_text

_SHORT = 6
_MOST_TO_PASTE = 1000  # characters per word


def summary_line(result: RunResult, paint: Paint) -> str:
    """Return the summary line: status, turns, cost, time, run; without turns and cost if no model was used."""
    style: Style = "green" if result.status == "done" else "red"
    parts = [paint(result.status.replace("_", " "), style)]
    if result.metered:
        parts += [plural(result.turns, "turn"), *_spent(result)]
    parts += [seconds(result.duration_s), f"run {short_id(result.run_id)}"]
    return " · ".join(parts)


def short_id(run_id: str) -> str:
    """Return the prefix of a run id that is used in commands and summaries."""
    return run_id[:_SHORT]


def _spent(result: RunResult) -> list[str]:
    limits = {use.name: use for use in result.limits}
    task, hour = limits.get("max_cost_per_task"), limits.get("max_cost_per_hour")
    cost = "cost unknown" if result.cost_nano is None else money(result.cost_nano)
    parts = [cost + _of(task)]
    if result.in_doubt_nano:
        parts.append(f"{money(result.in_doubt_nano)} in doubt")
    if nested := _by_nested_runs(result, task):
        parts.append(f"{money(nested)} by nested runs")
    if hour is not None and hour.ceiling is not None:
        parts.append(f"hour {amount(hour.used, hour.unit)}{_of(hour)}")
    return parts


def _by_nested_runs(result: RunResult, task: LimitUse | None) -> int:
    """Return the amount of nested runs that counts against the run's limit, in nano-dollars; 0 if unknown."""
    if task is None or result.cost_nano is None or result.in_doubt_nano is None:
        return 0
    return max(0, task.used - result.cost_nano - result.in_doubt_nano)


def _of(use: LimitUse | None) -> str:
    return f" of {limit(use.ceiling, use.unit)}" if use is not None and use.ceiling is not None else ""


def retry_command(command: Sequence[str], breaker: BreakerInfo) -> str:
    """Return the command that ran with the limit raised, to paste; a sentence if a word has over 1000 characters."""
    flag = "--" + breaker.limit.replace("_", "-")
    old = {flag, flag.removesuffix("-per-task")}
    kept = [
        word
        for before, word in zip(("", *command), command, strict=False)
        if word.partition("=")[0] not in old and before not in old
    ]
    raised = [flag, raised_limit(breaker)]
    if any(len(word) > _MOST_TO_PASTE for word in kept):
        return f"{RUN_AGAIN}{' '.join(raised)}"
    return safe_text(shlex.join([*kept, *raised]))


def is_retry_hint(hint: str) -> bool:
    """Return whether a hint says to run the task again with a higher limit."""
    return hint.startswith(("agentctl run ", RUN_AGAIN))


def raised_limit(breaker: BreakerInfo) -> str:
    """Return a limit that would have allowed the call: twice the old limit, or more if needed."""
    wanted = max(2 * (breaker.ceiling or 0), breaker.would_be)
    if breaker.unit != "nano_usd":
        return str(wanted)
    usd = to_usd(wanted)
    return f"{usd.quantize(Decimal('0.01'), rounding=ROUND_UP):f}"
