"""Add up the amounts that count: for a run, for a window of time, and against each limit of a request.

Triggers keep sub-totals (``schema``). A window is added up from buckets of a day, an hour, a minute and a second, the
coarsest that fit, and from the rows of the second in which it begins, which takes the same time with any number of
rows. ``window_totals`` has no rows for seconds in which nothing leaves the hour.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Literal, NamedTuple

from agentctl.budget.rules import Amounts, Ask, LimitState
from agentctl.core.errors import InternalError, LimitName, Verdict
from agentctl.core.limits import WINDOWS
from agentctl.ledger.clock import HOUR_US, as_datetime
from agentctl.ledger.runs import UNFINISHED
from agentctl.ledger.transaction import Transaction

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
WAITER_SILENCE_US = 10 * SECOND_US
WIDTHS_US = (SECOND_US, 60 * SECOND_US, 3600 * SECOND_US, 24 * 3600 * SECOND_US)

#: The name of the dollar limit of each kind of scope.
NANO_LIMITS: Mapping[str, LimitName] = {"run": "max_cost_per_task", "lease": "max_cost_per_lease"}

_KIND = {"settled": "spent", "doubt": "in_doubt", "held": "held", "sent": "held", "kept": "held"}
_MOVABLE = ("held", "sent")


def exact_sum(column: str, condition: str = "") -> str:
    """Return the SQL of a sum of 64-bit amounts, as two columns: SQLite's own ``sum`` fails above 64 bits.

    ``whole`` joins the columns; ``condition`` filters the rows.
    """
    only = f" FILTER (WHERE {condition})" if condition else ""
    return (
        f"coalesce(sum(coalesce({column}, 0) >> 32){only}, 0),"
        f" coalesce(sum(coalesce({column}, 0) & 4294967295){only}, 0)"
    )


def whole(high: int, low: int) -> int:
    """Return the sum from the two columns of ``exact_sum``."""
    return (high << 32) + low


_OPEN = "SELECT phase, nano_hi, nano_lo FROM window_totals WHERE width_us = 0"
_BUCKETS = """
SELECT phase, sum(nano_hi), sum(nano_lo) FROM window_totals
WHERE width_us = {width} AND bucket > :after / {width} AND bucket < (:after / {above} + 1) * {above} / {width}
GROUP BY phase
"""
_LAST_BUCKETS = """
SELECT phase, sum(nano_hi), sum(nano_lo) FROM window_totals WHERE width_us = {width} AND bucket > :after / {width}
GROUP BY phase
"""
_ROWS = f"""
SELECT phase, {exact_sum("nano")} FROM attempts
WHERE leaves_hour_us > :after AND leaves_hour_us < (:after / {SECOND_US} + 1) * {SECOND_US}
    AND leaves_hour_us IS NOT NULL AND phase <> 'void' GROUP BY phase
"""  # noqa: S608 - our own numbers
_WINDOW = " UNION ALL ".join(
    (
        *(_OPEN, _ROWS),
        *(_BUCKETS.format(width=width, above=above) for width, above in pairwise(WIDTHS_US)),
        _LAST_BUCKETS.format(width=WIDTHS_US[-1]),
    )
)
_BY_BUCKET = """
SELECT bucket * width_us, sum(nano_hi), sum(nano_lo) FROM window_totals
WHERE width_us = ? AND bucket >= ? AND bucket < ? GROUP BY width_us, bucket ORDER BY bucket
"""
_BY_ROW = """
SELECT leaves_hour_us, coalesce(nano, 0) >> 32, coalesce(nano, 0) & 4294967295 FROM attempts
WHERE leaves_hour_us >= ? AND leaves_hour_us < ? AND leaves_hour_us IS NOT NULL AND phase <> 'void'
ORDER BY leaves_hour_us
"""
_NEVER_US = 2**62

_SUM_OF_ROWS = "sum(coalesce(a.nano, 0) >> 32) AS nh, sum(coalesce(a.nano, 0) & 4294967295) AS nl"
#: Each sub-total that differs from its parts: a run's from its rows, a bucket's from the next finer ones.
_OF_RUNS = f"""
SELECT * FROM (SELECT p.above_id AS place, a.phase AS phase, {_SUM_OF_ROWS},
    sum(a.tokens >> 32) AS th, sum(a.tokens & 4294967295) AS tl
FROM attempts AS a JOIN scope_paths AS p ON p.scope_id = a.run_id WHERE a.phase <> 'void' GROUP BY 1, 2) AS w
WHERE (nh, nl, th, tl) <> (0, 0, 0, 0)
"""  # noqa: S608 - our own words
_KEPT_OF_RUNS = """
SELECT scope_id AS place, phase, nano_hi, nano_lo, tokens_hi, tokens_lo FROM scope_totals
WHERE (nano_hi, nano_lo, tokens_hi, tokens_lo) <> (0, 0, 0, 0)
"""
_OF_OPEN = f"""
SELECT * FROM (SELECT 0 AS place, a.phase AS phase, {_SUM_OF_ROWS} FROM attempts AS a
WHERE a.leaves_hour_us IS NULL AND a.phase <> 'void' GROUP BY 1, 2) AS w WHERE (nh, nl) <> (0, 0)
"""  # noqa: S608
_OF_SECONDS = f"""
SELECT * FROM (SELECT a.leaves_hour_us / {SECOND_US} AS place, a.phase AS phase, {_SUM_OF_ROWS} FROM attempts AS a
WHERE a.leaves_hour_us IS NOT NULL AND a.phase <> 'void' GROUP BY 1, 2) AS w WHERE (nh, nl) <> (0, 0)
"""  # noqa: S608
_OF_FINER = """
SELECT * FROM (SELECT bucket / ({width} / {finer}) AS place, phase, sum(nano_hi) AS nh, sum(nano_lo) AS nl
FROM window_totals WHERE width_us = {finer} GROUP BY 1, 2) AS w WHERE (nh, nl) <> (0, 0)
"""
_KEPT_OF_WIDTH = """
SELECT bucket AS place, phase, nano_hi, nano_lo FROM window_totals
WHERE width_us = {width} AND (nano_hi, nano_lo) <> (0, 0)
"""

_PATH = f"""
SELECT s.id, s.limit_nano, s.limit_tokens, s.limits, s.closed_us IS NOT NULL AND s.status IS NOT '{UNFINISHED}', s.kind
FROM scope_paths AS p JOIN scopes AS s ON s.id = p.above_id WHERE p.scope_id = ? ORDER BY p.depth
"""  # noqa: S608 - our own word
_QUEUED = f"""
SELECT {exact_sum("need_nano")}, {exact_sum("need_tokens")} FROM waiters
WHERE seen_us >= :heard AND (since_us < :since OR (since_us = :since AND attempt_id < :attempt))
"""  # noqa: S608 - our own words
_BELOW = " AND run_id IN (SELECT scope_id FROM scope_paths WHERE above_id = :scope)"


def fold_phases(rows: Iterable[tuple[str, int, int]]) -> tuple[Amounts, int]:
    """Add up rows of a phase and two halves of a sum each; return the amounts, and what calls may free soon."""
    sums, movable = {"spent": 0, "in_doubt": 0, "held": 0}, 0
    for phase, high, low in rows:
        amount = whole(high, low)
        sums[_KIND[phase]] += amount
        movable += amount if phase in _MOVABLE else 0
    return Amounts(**sums), movable


def run_amounts(tx: Transaction, run_id: str, column: Literal["nano", "tokens"]) -> tuple[Amounts, int]:
    """Return the amounts of a run and of all runs below it, and the part that calls may free soon."""
    return fold_phases(
        tx.db.execute(
            f"SELECT phase, {column}_hi, {column}_lo FROM scope_totals WHERE scope_id = ?",  # noqa: S608 - our own names
            (run_id,),
        )
    )


def amounts_after(tx: Transaction, after_us: int) -> tuple[Amounts, int]:
    """Return the nano-dollars that are open or leave the hour after a time, and the part that calls may free soon."""
    return fold_phases(tx.db.execute(_WINDOW, {"after": max(-1, after_us)}))


def time_of(tx: Transaction, after_us: int, nano: int) -> int | None:
    """Return when ``nano`` (above 0) in total will have left the hour after a time; None: never."""
    left = nano
    start_us = after_us + 1
    for finer_us, width_us in pairwise((1, *WIDTHS_US)):
        end_us = (after_us // width_us + 1) * width_us
        found, left = _walk(tx, finer_us, start_us, end_us, left)
        if found is not None:
            return found
        start_us = end_us
    return _walk(tx, WIDTHS_US[-1], start_us, _NEVER_US, left)[0]


def _walk(tx: Transaction, width_us: int, start_us: int, end_us: int, nano: int) -> tuple[int | None, int]:
    """Return when ``nano`` have left the hour within a span, by buckets of a width; or None, and the remainder."""
    for at_us, amount in _parts(tx, width_us, start_us, end_us):
        if amount < nano:
            nano -= amount
        elif width_us == 1:
            return at_us, 0
        else:
            finer_us = (1, *WIDTHS_US)[WIDTHS_US.index(width_us)]
            return _walk(tx, finer_us, at_us, at_us + width_us, nano)
    return None, nano


def _parts(tx: Transaction, width_us: int, start_us: int, end_us: int) -> Iterator[tuple[int, int]]:
    """Yield the start and nano-dollars of each bucket of a width within a span; of each row for a width of 1."""
    if width_us == 1:
        rows = tx.db.execute(_BY_ROW, (start_us, end_us))
    else:
        rows = tx.db.execute(_BY_BUCKET, (width_us, start_us // width_us, end_us // width_us))
    for at_us, high, low in rows:
        yield at_us, whole(high, low)


def find_drift(tx: Transaction) -> tuple[str, ...]:
    """Return the name of each sub-total that differs from the sum of its parts."""
    found = [f"run {run_id}" for run_id in _different(tx, _OF_RUNS, _KEPT_OF_RUNS)]
    if _different(tx, _OF_OPEN, _KEPT_OF_WIDTH.format(width=0)):
        found.append("what is open")
    for width_us, name in zip(WIDTHS_US, ("second", "minute", "hour", "day"), strict=True):
        finer = WIDTHS_US[max(0, WIDTHS_US.index(width_us) - 1)]
        wanted = _OF_SECONDS if width_us == SECOND_US else _OF_FINER.format(width=width_us, finer=finer)
        buckets = _different(tx, wanted, _KEPT_OF_WIDTH.format(width=width_us))
        found += [f"the {name} {as_datetime(int(bucket) * width_us):%Y-%m-%d %H:%M:%S} UTC" for bucket in buckets]
    return tuple(found)


def _different(tx: Transaction, wanted: str, kept: str) -> list[str | int]:
    """Return the places of the rows that only one of two queries returns."""
    sql = f"""
    WITH wanted AS ({wanted}), kept AS ({kept})
    SELECT place FROM (SELECT * FROM wanted EXCEPT SELECT * FROM kept) AS more
    UNION SELECT place FROM (SELECT * FROM kept EXCEPT SELECT * FROM wanted) AS less ORDER BY place
    """  # noqa: S608 - our own words
    return [place for (place,) in tx.db.execute(sql)]


class RunLimits(NamedTuple):
    """The limits of a run that an attempt falls under: its own run, one above it, or the lease at the top.

    ``further`` are ceilings by limit. ``is_closed``: the run has ended; False for one that was only taken for dead.
    ``nano_name`` is the limit that ``limit_nano`` is.
    """

    id: str
    limit_nano: int | None
    limit_tokens: int | None
    further: Mapping[LimitName, int]
    is_closed: bool
    nano_name: LimitName = "max_cost_per_task"


def path_of(tx: Transaction, run_id: str) -> tuple[RunLimits, ...]:
    """Return the run and those above it, itself first; empty for a run that was never opened."""
    return tuple(
        RunLimits(scope_id, nano, tokens, json.loads(limits), bool(closed), NANO_LIMITS[kind])
        for scope_id, nano, tokens, limits, closed, kind in tx.db.execute(_PATH, (run_id,))
    )


def window_amounts(tx: Transaction, limit: LimitName = "max_cost_per_hour") -> tuple[Amounts, int]:
    """Return the nano-dollars that count in the window of ``limit``, and the part that calls may free soon.

    Open amounts count at any age. Others leave the hour first, and a longer window later, by the difference in length.
    """
    return amounts_after(tx, tx.now_us - _longer_us(limit))


def _longer_us(limit: LimitName) -> int:
    return WINDOWS[limit] * 1_000_000 - HOUR_US


def calls_a_minute(tx: Transaction, run_id: str) -> Amounts:
    """Return how many requests of a run and the runs below it were sent in the last 60 s, and how many are held."""
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
    """Return the nano-dollars and tokens that requests with a longer wait need: all, or those of a run and below it.

    A process that has not retried for a while (it is stopped) loses its place until it retries.
    """
    row = tx.db.execute(
        "SELECT since_us FROM waiters WHERE attempt_id = ? AND seen_us >= 0", (ask.attempt_id,)
    ).fetchone()
    values = {
        "heard": tx.now_us - WAITER_SILENCE_US,
        "since": tx.now_us if row is None else row[0],
        "attempt": ask.attempt_id,
        "scope": scope_id,
    }
    found = tx.db.execute(_QUEUED if scope_id is None else _QUEUED + _BELOW, values).fetchone()
    return whole(*found[:2]), whole(*found[2:])


def limits_of(tx: Transaction, ask: Ask) -> tuple[LimitState, ...]:
    """Return every limit of ``ask``: those of its run, of each run above it, and the windows.

    The limits of a run are read from the ledger. Of two ceilings for one window the lower binds.

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
    """Return the limits of a run in dollars and in tokens."""
    queued_nano, queued_tokens = _queued(tx, ask, scope.id)
    nano, tokens = run_amounts(tx, scope.id, "nano"), run_amounts(tx, scope.id, "tokens")
    return (
        LimitState(scope.nano_name, "nano_usd", scope.limit_nano, *nano, queued_nano, scope.id),
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
    """Return when every window has room for ``ask``, None if waiting does not help."""
    if verdict.limit == "max_calls_per_minute":
        return as_datetime(tx.wall_us + MINUTE_US) if verdict.ceiling else None
    if verdict.limit not in WINDOWS:
        return None
    asked = verdict.would_be - verdict.spent - verdict.in_doubt  # held amounts included: the same in every window
    last_us = tx.now_us
    for limit, (ceiling, _) in _windows_of(ask, path_of(tx, ask.run_id)).items():
        freed_us = last_us if ceiling is None else _freed_us(tx, limit, ceiling - asked)
        if freed_us is None:
            return None
        last_us = max(last_us, freed_us)
    return as_datetime(tx.wall_us + last_us - tx.now_us)


def _freed_us(tx: Transaction, limit: LimitName, most: int) -> int | None:
    """Return when at most ``most`` of the ended amounts count in a window, None for never."""
    amounts, longer = window_amounts(tx, limit)[0], _longer_us(limit)
    excess = amounts.spent + amounts.in_doubt - most
    if excess <= 0:
        return tx.now_us
    left_us = time_of(tx, tx.now_us - longer, excess)
    return None if left_us is None else left_us + longer
