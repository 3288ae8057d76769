"""What counts now, and against which limit: the sums that a hold is judged on, all from one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from agentctl.budget import Amounts, Ask, Room
from agentctl.errors import InternalError, LimitName, Verdict
from agentctl.ledger.clock import HOUR_US, as_datetime
from agentctl.ledger.store import Tick
from agentctl.limits import WINDOWS

_KIND = {"settled": "spent", "doubt": "in_doubt", "held": "held", "sent": "held", "kept": "held"}
MINUTE_US = 60 * 1_000_000
WAITER_SILENCE_US = 10 * 1_000_000
_MOVABLE = ("held", "sent")


def _amounts(rows: list[tuple[str, int]]) -> tuple[Amounts, int]:
    """Fold (phase, sum) rows into amounts, and the part that will move soon."""
    sums = {"spent": 0, "in_doubt": 0, "held": 0}
    for phase, amount in rows:
        sums[_KIND[phase]] += amount
    return Amounts(**sums), sum(amount for phase, amount in rows if phase in _MOVABLE)


def run_amounts(tick: Tick, run_id: str, column: str) -> tuple[Amounts, int]:
    """Return the run's amounts in ``column`` (nano or tokens) and its movable part."""
    sql = {
        "nano": "SELECT phase, coalesce(sum(nano), 0) FROM attempts"
        " WHERE run_id = ? AND phase <> 'void' GROUP BY phase",
        "tokens": "SELECT phase, sum(tokens) FROM attempts WHERE run_id = ? AND phase <> 'void' GROUP BY phase",
    }[column]
    return _amounts(tick.db.execute(sql, (run_id,)).fetchall())


def window_amounts(tick: Tick, limit: LimitName = "max_cost_per_hour") -> tuple[Amounts, int]:
    """Return everyone's nano-dollars that count in the window of ``limit``, and the movable part.

    Open ones count however old, others until they leave the window: as long after they would leave the hour as the
    window is longer.
    """
    still_open = tick.db.execute(
        "SELECT phase, coalesce(sum(nano), 0) FROM attempts WHERE leaves_hour_us IS NULL GROUP BY phase"
    ).fetchall()
    ended = tick.db.execute(
        "SELECT phase, coalesce(sum(nano), 0) FROM attempts"
        " WHERE leaves_hour_us IS NOT NULL AND leaves_hour_us > ? AND phase <> 'void' GROUP BY phase",
        (tick.now_us - _longer_us(limit),),
    ).fetchall()
    return _amounts(still_open + ended)


def _longer_us(limit: LimitName) -> int:
    return WINDOWS[limit] * 1_000_000 - HOUR_US


def calls_a_minute(tick: Tick, run_id: str) -> Amounts:
    """Return how many requests of a run went out in the last 60 s, and how many are about to."""
    sent, held = tick.db.execute(
        "SELECT count(*) FILTER (WHERE sent_us > ?), count(*) FILTER (WHERE phase = 'held') FROM attempts"
        " WHERE run_id = ?",
        (tick.now_us - MINUTE_US, run_id),
    ).fetchone()
    return Amounts(spent=sent, held=held)


def _queued(tick: Tick, ask: Ask) -> tuple[int, int, int]:
    """Return what those who wait longer need: nano of everyone, nano and tokens of the same run.

    Who has not asked for a while (a stopped process) loses its place until it asks again.
    """
    row = tick.db.execute("SELECT since_us FROM waiters WHERE attempt_id = ?", (ask.attempt_id,)).fetchone()
    since = tick.now_us if row is None else row[0]
    nano, run_nano, run_tokens = tick.db.execute(
        "SELECT coalesce(sum(need_nano), 0), coalesce(sum(need_nano) FILTER (WHERE run_id = ?), 0),"
        " coalesce(sum(need_tokens) FILTER (WHERE run_id = ?), 0) FROM waiters"
        " WHERE seen_us >= ? AND (since_us < ? OR (since_us = ? AND attempt_id < ?))",
        (ask.run_id, ask.run_id, tick.now_us - WAITER_SILENCE_US, since, since, ask.attempt_id),
    ).fetchone()
    return nano, run_nano, run_tokens


def limits_of(tick: Tick, ask: Ask) -> tuple[Room, ...]:
    """Return every limit that ``ask`` falls under: the run's two as they stand in the book, and the caller's own.

    Raises:
        InternalError: the run was never opened, or is closed.
    """
    row = tick.db.execute(
        "SELECT limit_nano, limit_tokens FROM scopes WHERE id = ? AND closed_us IS NULL", (ask.run_id,)
    ).fetchone()
    if row is None:
        raise InternalError(f"run {ask.run_id} is not open in the ledger")
    run_nano, nano_moves = run_amounts(tick, ask.run_id, "nano")
    run_tokens, tokens_move = run_amounts(tick, ask.run_id, "tokens")
    queued, queued_run, queued_tokens = _queued(tick, ask)
    calls = ask.further.get("max_calls_per_minute")
    rooms = [Room("max_cost_per_task", "nano_usd", row[0], run_nano, nano_moves, queued_run)]
    for name, ceiling in _windows_of(ask).items():
        rooms.append(Room(name, "nano_usd", ceiling, *window_amounts(tick, name), queued))
    rooms.append(Room("max_tokens_per_task", "tokens", row[1], run_tokens, tokens_move, queued_tokens))
    if calls is not None:
        rooms.append(Room("max_calls_per_minute", "calls", calls, calls_a_minute(tick, ask.run_id)))
    return tuple(rooms)


def _windows_of(ask: Ask) -> Mapping[LimitName, int | None]:
    """Return the ceilings of the windows that ``ask`` falls under."""
    further: Mapping[LimitName, int] = {name: most for name, most in ask.further.items() if name in WINDOWS}
    return {"max_cost_per_hour": ask.hour_limit_nano, **further}


def free_at(tick: Tick, ask: Ask, verdict: Verdict) -> datetime | None:
    """Return when enough of every window will have passed for ``ask``, or None where waiting will not help."""
    if verdict.limit == "max_calls_per_minute":
        return as_datetime(tick.wall_us + MINUTE_US) if verdict.ceiling else None
    if verdict.limit not in WINDOWS:
        return None
    asked = verdict.would_be - verdict.spent - verdict.in_doubt  # with what is held: in every window the same
    last_us = tick.now_us
    for limit, ceiling in _windows_of(ask).items():
        freed_us = last_us if ceiling is None else _freed_us(tick, limit, ceiling - asked)
        if freed_us is None:
            return None
        last_us = max(last_us, freed_us)
    return as_datetime(tick.wall_us + last_us - tick.now_us)


def _freed_us(tick: Tick, limit: LimitName, most: int) -> int | None:
    """Return when no more than ``most`` of what has ended counts in a window, None for never."""
    amounts, longer = window_amounts(tick, limit)[0], _longer_us(limit)
    excess = amounts.spent + amounts.in_doubt - most
    if excess <= 0:
        return tick.now_us
    rows = tick.db.execute(
        "SELECT leaves_hour_us, nano FROM attempts WHERE leaves_hour_us IS NOT NULL AND leaves_hour_us > ?"
        " AND phase <> 'void' ORDER BY leaves_hour_us",
        (tick.now_us - longer,),
    )
    for leaves, nano in rows:
        excess -= nano or 0
        if excess <= 0:
            return int(leaves + longer)
    return None
