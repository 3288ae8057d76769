"""What counts now, and against which limit: the sums that a hold is judged on, all from one transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from agentctl.budget.rules import Amounts, Ask, LimitState
from agentctl.core.errors import InternalError, LimitName, Verdict
from agentctl.core.limits import WINDOWS
from agentctl.ledger.attempts import UNFINISHED
from agentctl.ledger.clock import HOUR_US, as_datetime
from agentctl.ledger.database import Transaction
from agentctl.ledger.sums import amounts_after, exact_sum, run_amounts, time_of, whole

MINUTE_US = 60 * 1_000_000
WAITER_SILENCE_US = 10 * 1_000_000


_PATH = f"""
SELECT s.id, s.limit_nano, s.limit_tokens, s.limits, s.closed_us IS NOT NULL AND s.status IS NOT '{UNFINISHED}'
FROM scope_paths AS p JOIN scopes AS s ON s.id = p.above_id WHERE p.scope_id = ? ORDER BY p.depth
"""  # noqa: S608 - our own word
_QUEUED = f"""
SELECT {exact_sum("need_nano")}, {exact_sum("need_tokens")} FROM waiters
WHERE seen_us >= :heard AND (since_us < :since OR (since_us = :since AND attempt_id < :attempt))
"""  # noqa: S608 - our own words
_BELOW = " AND run_id IN (SELECT scope_id FROM scope_paths WHERE above_id = :scope)"


class RunLimits(NamedTuple):
    """A run whose limits an attempt falls under: its own, or one above it. ``further`` are ceilings by limit.

    ``is_closed``: it has come to its end, and not only been taken for dead.
    """

    id: str
    limit_nano: int | None
    limit_tokens: int | None
    further: Mapping[LimitName, int]
    is_closed: bool


def path_of(tx: Transaction, run_id: str) -> tuple[RunLimits, ...]:
    """Return the run and those above it, itself first; empty for a run that was never opened."""
    return tuple(
        RunLimits(scope_id, nano, tokens, json.loads(limits), bool(closed))
        for scope_id, nano, tokens, limits, closed in tx.db.execute(_PATH, (run_id,))
    )


def window_amounts(tx: Transaction, limit: LimitName = "max_cost_per_hour") -> tuple[Amounts, int]:
    """Return everyone's nano-dollars that count in the window of ``limit``, and the movable part.

    Open ones count however old, others until they leave the window: as long after they would leave the hour as the
    window is longer.
    """
    return amounts_after(tx, tx.now_us - _longer_us(limit))


def _longer_us(limit: LimitName) -> int:
    return WINDOWS[limit] * 1_000_000 - HOUR_US


def calls_a_minute(tx: Transaction, run_id: str) -> Amounts:
    """Return how many requests of a run and those below it went out in the last 60 s, and how many are about to."""
    below = "(SELECT scope_id FROM scope_paths WHERE above_id = ?)"
    (sent,) = tx.db.execute(
        f"SELECT count(*) FROM attempts WHERE run_id IN {below} AND sent_us > ?",  # noqa: S608 - our own words
        (run_id, tx.now_us - MINUTE_US),
    ).fetchone()
    (held,) = tx.db.execute(
        f"SELECT count(*) FROM attempts WHERE leaves_hour_us IS NULL AND phase = 'held' AND run_id IN {below}",  # noqa: S608
        (run_id,),
    ).fetchone()
    return Amounts(spent=sent, held=held)


def _queued(tx: Transaction, ask: Ask, scope_id: str | None = None) -> tuple[int, int]:
    """Return what those who wait longer need, in nano-dollars and tokens: everyone, or those of a run and below it.

    Who has not asked for a while (a stopped process) loses its place until it asks again.
    """
    row = tx.db.execute("SELECT since_us FROM waiters WHERE attempt_id = ?", (ask.attempt_id,)).fetchone()
    values = {
        "heard": tx.now_us - WAITER_SILENCE_US,
        "since": tx.now_us if row is None else row[0],
        "attempt": ask.attempt_id,
        "scope": scope_id,
    }
    found = tx.db.execute(_QUEUED if scope_id is None else _QUEUED + _BELOW, values).fetchone()
    return whole(*found[:2]), whole(*found[2:])


def limits_of(tx: Transaction, ask: Ask) -> tuple[LimitState, ...]:
    """Return every limit that ``ask`` falls under: those of its run and of each run above it, and the windows.

    What a run carries stands in the ledger. Of two ceilings for one window the lower binds.

    Raises:
        InternalError: the run was never opened, or is closed.
    """
    path = path_of(tx, ask.run_id)
    if not path or path[0].is_closed:
        raise InternalError(f"run {ask.run_id} is not open in the ledger")
    own, above = _of_run(tx, ask, path[0]), [_of_run(tx, ask, scope) for scope in path[1:]]
    windows, everyone = _windows_of(ask, path), _queued(tx, ask)[0]
    rooms = [own[0], *(nano for nano, _ in above if nano.ceiling is not None)]
    for name, (ceiling, run_id) in windows.items():
        rooms.append(LimitState(name, "nano_usd", ceiling, *window_amounts(tx, name), everyone, run_id))
    rooms += [own[1], *(tokens for _, tokens in above if tokens.ceiling is not None)]
    for scope in path:
        further = ask.further if scope.id == ask.run_id else scope.further
        if (calls := further.get("max_calls_per_minute")) is not None:
            rooms.append(
                LimitState("max_calls_per_minute", "calls", calls, calls_a_minute(tx, scope.id), run_id=scope.id)
            )
    return tuple(rooms)


def _of_run(tx: Transaction, ask: Ask, scope: RunLimits) -> tuple[LimitState, LimitState]:
    """Return a run's limits in dollars and in tokens as they stand."""
    queued_nano, queued_tokens = _queued(tx, ask, scope.id)
    nano, tokens = run_amounts(tx, scope.id, "nano"), run_amounts(tx, scope.id, "tokens")
    return (
        LimitState("max_cost_per_task", "nano_usd", scope.limit_nano, *nano, queued_nano, scope.id),
        LimitState("max_tokens_per_task", "tokens", scope.limit_tokens, *tokens, queued_tokens, scope.id),
    )


def _windows_of(ask: Ask, path: Sequence[RunLimits]) -> Mapping[LimitName, tuple[int | None, str]]:
    """Return the ceiling of each window that ``ask`` falls under, and the run above that set it ("": none did)."""
    windows: dict[LimitName, tuple[int | None, str]] = {"max_cost_per_hour": (ask.hour_limit_nano, "")}
    windows |= {name: (most, "") for name, most in ask.further.items() if name in WINDOWS}
    for scope in path[1:]:
        for name, most in scope.further.items():
            if name in WINDOWS:
                ceiling = windows.get(name, (None, ""))[0]
                windows[name] = windows[name] if ceiling is not None and ceiling <= most else (most, scope.id)
    return windows


def free_at(tx: Transaction, ask: Ask, verdict: Verdict) -> datetime | None:
    """Return when enough of every window will have passed for ``ask``, or None where waiting will not help."""
    if verdict.limit == "max_calls_per_minute":
        return as_datetime(tx.wall_us + MINUTE_US) if verdict.ceiling else None
    if verdict.limit not in WINDOWS:
        return None
    asked = verdict.would_be - verdict.spent - verdict.in_doubt  # with what is held: in every window the same
    last_us = tx.now_us
    for limit, (ceiling, _) in _windows_of(ask, path_of(tx, ask.run_id)).items():
        freed_us = last_us if ceiling is None else _freed_us(tx, limit, ceiling - asked)
        if freed_us is None:
            return None
        last_us = max(last_us, freed_us)
    return as_datetime(tx.wall_us + last_us - tx.now_us)


def _freed_us(tx: Transaction, limit: LimitName, most: int) -> int | None:
    """Return when no more than ``most`` of what has ended counts in a window, None for never."""
    amounts, longer = window_amounts(tx, limit)[0], _longer_us(limit)
    excess = amounts.spent + amounts.in_doubt - most
    if excess <= 0:
        return tx.now_us
    left_us = time_of(tx, tx.now_us - longer, excess)
    return None if left_us is None else left_us + longer
