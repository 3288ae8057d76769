"""What was spent, read without touching the book: for ``agentctl costs``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from agentctl.budget.rules import Amounts
from agentctl.core.errors import LimitName, UsageError
from agentctl.core.text import safe_text
from agentctl.ledger.clock import ReadClock, as_datetime, system_clock
from agentctl.ledger.database import Transaction
from agentctl.ledger.grouping import CostRow, CostSums, Slot, fold, sums, window, with_answers
from agentctl.ledger.inspection import reading
from agentctl.ledger.sums import run_amounts
from agentctl.ledger.sums_ import window_amounts
from agentctl.ledger.zone import MACHINE_ZONE, TimeZone

_EPOCH = as_datetime(0)
_NOTHING = Amounts()
_NONE = CostSums()
_FOREVER_US = 2**62
_BEHIND_ALL = "\U0010ffff"


@dataclass(frozen=True, slots=True, kw_only=True)
class CostQuery:
    """What is asked for. The bounds are wall time (aware): ``since`` None is the beginning, ``until`` None is now.
    ``run`` is how a run's id begins; ``labels`` must all match; ``by`` are of GROUPS, or ``label:NAME``;
    ``further`` are limits of everyone beside the hour's, whose windows are wanted.
    """

    since: datetime | None = None
    until: datetime | None = None
    run: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    by: tuple[str, ...] = ("run", "model")
    zone: TimeZone = MACHINE_ZONE
    further: tuple[LimitName, ...] = ()


@dataclass(frozen=True, slots=True)
class RunBudget:
    """A run's limits as they stand in the book, None for no limit, and what counts against them."""

    run_id: str
    limit_nano: int | None
    limit_tokens: int | None
    nano: Amounts
    tokens: Amounts


@dataclass(frozen=True, slots=True)
class CostReport:
    """A window (UTC), its groups and their total. ``hour`` is what counts against the hour's limit now.

    ``runs`` is how many had a part in it; ``run`` is the one that was asked for; ``further`` is what counts in
    the other windows that were.
    """

    since: datetime
    until: datetime
    hour: Amounts = _NOTHING
    rows: tuple[CostRow, ...] = ()
    total: CostSums = _NONE
    runs: int = 0
    slots: tuple[Slot, ...] = ()
    run: RunBudget | None = None
    further: Mapping[LimitName, Amounts] = field(default_factory=dict)

    @property
    def total_nano(self) -> int:
        """What was charged in the window, as far as it is known."""
        return self.total.known_nano

    @property
    def in_doubt_nano(self) -> int:
        """What counts as spent because nobody knows."""
        return self.total.in_doubt_nano

    @property
    def held_nano(self) -> int:
        """What is held by calls under way."""
        return self.total.held_nano

    @property
    def timeless(self) -> CostReport:
        """The same without its times: two are equal if nothing happened between them.

        The two clocks of the ledger never agree to the microsecond, so a time differs from look to look.
        """
        rows = tuple(replace(row, last_at=_EPOCH) for row in self.rows)
        return replace(self, since=_EPOCH, until=_EPOCH, slots=(), rows=rows)


def costs_window(path: Path, *, seconds: int, clock: ReadClock | None = None) -> CostReport:
    """Return what ended in the last ``seconds`` and what is still open; no ledger yet is an empty report.

    Raises:
        StateError: the file is damaged, foreign or newer than this program.
    """
    clock = clock or system_clock()
    since = as_datetime(clock().wall_us) - timedelta(seconds=seconds)
    return costs_report(path, CostQuery(since=since), clock=clock)


def costs_report(path: Path, query: CostQuery, *, clock: ReadClock | None = None) -> CostReport:
    """Return what ended in a window, and what is still open if it reaches now; no ledger yet is an empty report.

    The bounds are turned into the ledger's own time, which may lie ahead of a wall clock that was set back.

    Raises:
        StateError: the file is damaged, foreign or newer than this program.
        UsageError: no run has an id that begins so, or several have.
    """
    clock = clock or system_clock()
    with reading(path, clock) as tx:
        if tx is None:
            if query.run is not None:
                raise no_run(query.run)
            now = as_datetime(clock().wall_us)
            until = now if query.until is None else min(now, query.until)
            return CostReport(until if query.since is None else query.since, until)
        return _report(tx, query)


def _report(tx: Transaction, query: CostQuery) -> CostReport:
    run = None if query.run is None else run_named(tx, query.run)
    run_id = None if run is None else run.run_id
    span = span_of(tx, query)
    values = window(tx, since_us=span.since_us, until_us=span.until_us, reaches_now=span.reaches_now, run_id=run_id)
    folded = fold(sums(tx, values), by=query.by, labels=query.labels, zone=query.zone)
    rows = with_answers(tx, folded.rows, values, by=query.by, labels=query.labels, zone=query.zone)
    folded = folded._replace(rows=rows)
    since = query.since or window_start(tx, run_id, span, folded.slots)
    further = {name: window_amounts(tx, name)[0] for name in query.further}
    return CostReport(since, span.until, window_amounts(tx)[0], *folded, run, further)


class LedgerWindow(NamedTuple):
    """A window in the ledger's own time; ``reaches_now``: what is still open is part of it. ``until`` is wall time."""

    since_us: int
    until_us: int
    reaches_now: bool
    until: datetime


def span_of(tx: Transaction, query: CostQuery) -> LedgerWindow:
    """Return the window of a query, whose bounds are wall time, in the ledger's own time."""
    now = as_datetime(tx.wall_us)
    reaches_now = query.until is None or query.until > now
    until = now if query.until is None or reaches_now else query.until
    ahead = tx.wall_us - tx.now_us
    since_us = -_FOREVER_US if query.since is None else _us(query.since) - ahead
    # What another process writes down while we read may carry a later time than ours.
    until_us = _FOREVER_US if reaches_now else _us(until) - ahead
    return LedgerWindow(since_us, until_us, reaches_now, until)


def window_start(tx: Transaction, run_id: str | None, span: LedgerWindow, slots: Sequence[Slot]) -> datetime:
    """Return when a window without a beginning begins: with its first call, or the run."""
    first = min(span.until, as_datetime(_first_us(tx, run_id) + tx.wall_us - tx.now_us))
    return min(first, slots[0].at) if slots else first


def _us(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def _first_us(tx: Transaction, run_id: str | None) -> int:
    """Return when the run was opened, or the first attempt ended, or now where none did."""
    if run_id is None:
        (first,) = tx.db.execute("SELECT min(ended_us) FROM attempts").fetchone()
    else:
        (first,) = tx.db.execute("SELECT opened_us FROM scopes WHERE id = ?", (run_id,)).fetchone()
    return tx.now_us if first is None else int(first)


def run_named(tx: Transaction, prefix: str) -> RunBudget:
    """Return the one run whose id begins with ``prefix``.

    Raises:
        UsageError: there is none, or there are several.
    """
    found = tx.db.execute(
        "SELECT id, limit_nano, limit_tokens FROM scopes"
        " WHERE kind = 'run' AND id >= ? AND id < ? ORDER BY id <> ?, id LIMIT 6",
        (prefix, prefix + _BEHIND_ALL, prefix),
    ).fetchall()
    if not found or not prefix:
        raise no_run(prefix)
    run_id, limit_nano, limit_tokens = found[0]
    if len(found) > 1 and run_id != prefix:
        several = ", ".join(safe_text(row[0]) for row in found[:5]) + (", ..." if len(found) > 5 else "")
        raise UsageError(f"several runs begin with {safe_text(prefix)!r}: {several}", hint="give more of the id")
    nano, tokens = (run_amounts(tx, run_id, column)[0] for column in ("nano", "tokens"))
    return RunBudget(run_id, limit_nano, limit_tokens, nano, tokens)


def no_run(prefix: str) -> UsageError:
    """Return the error for a run that is not in the ledger."""
    return UsageError(
        f"no run in the ledger begins with {safe_text(prefix)!r}", hint="agentctl runs list   shows the ids"
    )
