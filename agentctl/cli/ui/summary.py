"""The summary line of a run, and what to do about the limit that stopped it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import ROUND_UP, Decimal
from typing import TYPE_CHECKING

from agentctl.budget.breaker import OR_WAIT, RUN_AGAIN
from agentctl.cli.ui.format import Paint, Style, amount, limit, money, plural, seconds
from agentctl.core.pricing import to_nano, to_usd
from agentctl.core.results import BreakerInfo, LimitUse, RunResult
from agentctl.core.text import safe_text

if TYPE_CHECKING:
    from agentctl.cli.ui.columns import Page

_SHORT = 6
_MOST_TO_PASTE = 1000  # characters per word
_RULE = re.compile(r"--allow .+\Z")
_STOPPED = ("interrupted", "terminated", "hung_up", "timeout", "unavailable", "rate_limited", "reader_gone")
_FINE_AMOUNT = re.compile(r"(?<! is )\$(\d+\.\d{3,})")


def summary_line(result: RunResult, paint: Paint, *, below_table: bool = False, width: int | None = None) -> str:
    """Return the summary line: status, turns, cost, time, run; without turns and cost if no model was used.

    ``below_table``: the calls and limits of a tripped breaker stand above it, and are not repeated. ``width``: that of
    a terminal; a line that is longer is broken between its parts.
    """
    style: Style = "green" if result.status == "done" else "red"
    status = result.status.replace("_", " ")
    parts = list[str]()
    if result.metered and below_table:
        parts += _nested(result)
    elif result.metered:
        parts += [plural(result.turns, "turn"), *_spent(result)]
    parts += [seconds(result.duration_s), f"run {short_id(result.run_id)}"]
    rows = [status]
    for part in parts:
        if width is not None and _is_wider(f"{rows[-1]} · {part}", width):
            rows.append(f"  {part}")
        else:
            rows[-1] += f" · {part}"
    return paint(status, style) + "\n".join(rows).removeprefix(status)


def _is_wider(text: str, width: int) -> bool:
    from agentctl.cli.ui.cells import cell_width

    return cell_width(text) > width


def short_id(run_id: str) -> str:
    """Return the prefix of a run id that is used in commands and summaries."""
    return run_id[:_SHORT]


def _spent(result: RunResult) -> list[str]:
    limits = {use.name: use for use in result.limits}
    task, hour = limits.get("max_cost_per_task"), limits.get("max_cost_per_hour")
    cost = "cost unknown" if result.cost_nano is None else money(result.cost_nano)
    if result.replayed:
        recorded = "an unknown cost" if result.replayed_nano is None else money(result.replayed_nano)
        return [f"replayed, $0 (recorded: {recorded}{_of(task)})"]
    parts = [cost + _of(task)]
    if result.in_doubt_nano:
        parts.append(f"{money(result.in_doubt_nano)} in doubt")
    parts += _nested(result)
    if hour is not None and hour.ceiling is not None:
        parts.append(f"hour {amount(hour.used, hour.unit)}{_of(hour)}")
    return parts


def _nested(result: RunResult) -> list[str]:
    """Return, in a list, what nested runs count against the run's limit; an empty list if nothing or unknown."""
    task = next((use for use in result.limits if use.name == "max_cost_per_task"), None)
    if task is None or result.cost_nano is None or result.in_doubt_nano is None:
        return []
    nano = task.used - result.cost_nano - result.in_doubt_nano
    return [f"{money(nano)} by nested runs"] if nano > 0 else []


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


def next_steps(result: RunResult, command: Sequence[str]) -> list[str]:
    """Return what to do about an error, a hint per line: after a breaker raise the limit, or wait until it has room.

    ``command`` ran the task; with a raised limit it is the first line. The last one goes on with the run.
    """
    hint = "" if result.error is None else result.error.hint
    breaker, resume = result.breaker, resume_step(result)
    if breaker is None or breaker.charge is not None:  # an overrun: neither helps
        return [step for step in (hint, resume) if step]
    raised_in = next((use.set_by for use in result.limits if use.name == breaker.limit and use.set_by), "")
    if command and is_retry_hint(hint):
        hint = retry_command(command, breaker)
    elif raised_in and not breaker.run_id:
        hint = f"raise {breaker.limit} in {raised_in}: that file lowered it"
        resume = resume.replace("or go on", "then go on", 1)
    steps = [hint.partition(OR_WAIT)[0]]
    if breaker.free_at is not None:
        steps.append(f"or wait until {_clock_time(breaker.free_at, result.finished_at)}")
    resumes = any(word in steps[0].split() for word in ("resume", "--resume"))
    return [*steps, resume] if resume and not resumes else steps


def hint_text(hint: str, page: Page) -> str:
    """Return a hint; on a terminal its prose is wrapped, and a command behind it that does not fit has its own line."""
    prose, command, rest = safe_text(f"hint: {hint}").partition("agentctl ")
    if not command:
        return page.prose(prose)
    from agentctl.cli.ui.cells import cell_width

    whole = f"{prose}{command}{rest}"
    if page.width is None or prose == "hint: " or cell_width(whole) <= page.width:
        return whole
    return f"{page.prose(prose.rstrip())}\n  {command}{rest}"


def resume_step(result: RunResult) -> str:
    """Return the command that goes on with a run that stopped before its end, "" if it has nothing to go on with."""
    has_begun = result.usage.total_tokens or result.in_doubt_nano or result.tools
    if not result.metered or not has_begun or not result.limits or result.pending or result.replayed:
        return ""
    command, breaker = f"agentctl runs resume {short_id(result.run_id)}", result.breaker
    if breaker is not None:
        if breaker.charge is not None or breaker.run_id not in ("", result.run_id):
            return ""
        if not breaker.limit.endswith("_per_task"):
            return f"or go on where it stopped, once there is room: {command}"
        flag = "--" + breaker.limit.replace("_", "-")
        spent = next((use.used for use in result.limits if use.name == breaker.limit), breaker.spent)
        said = f"the limit is a total; {amount(spent, breaker.unit)} is used"
        return f"or go on where it stopped ({said}): {command} {flag} {raised_limit(breaker)}"
    if result.status == "denied":
        rule = _RULE.search("" if result.error is None else result.error.hint)
        return f"then go on where it stopped: {command}{f' {rule[0]}' if rule else ''}"
    if result.status == "failed" and result.error is not None and "--max-turns" in result.error.hint:
        return f"or go on where it stopped (a total): {command} --max-turns {2 * result.turns}"
    return f"go on where it stopped: {command}" if result.status in _STOPPED else ""


def _clock_time(at: datetime, now: datetime) -> str:
    """Return a local time to the second, rounded up, with its zone; with the date if that is not the one of ``now``."""
    local = (at + timedelta(seconds=1, microseconds=-1)).astimezone()
    return f"{local:%H:%M:%S %Z}" if local.date() == now.astimezone().date() else f"{local:%Y-%m-%d %H:%M:%S %Z}"


def round_amounts(text: str) -> str:
    """Return agentctl's own text with its amounts rounded as ``money`` does; ceilings, after "is", stay exact."""
    return _FINE_AMOUNT.sub(lambda found: money(to_nano(Decimal(found[1]))), text)


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
