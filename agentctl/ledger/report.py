"""Report what was spent, in a window of time or by the runs of a tree, without a write to the ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from agentctl.budget.rules import Amounts, PastSpending
from agentctl.core.errors import LimitName, UsageError
from agentctl.core.ledger_address import LedgerAddress
from agentctl.core.limits import WINDOWS
from agentctl.core.text import safe_text
from agentctl.ledger.clock import ReadClock, as_datetime, system_clock
from agentctl.ledger.engines import clock_of
from agentctl.ledger.grouping import (
    MACHINE_ZONE,
    CostRow,
    CostSums,
    Slot,
    TimeZone,
    add_answered_models,
    fold,
    sums,
    window,
)
from agentctl.ledger.inspection import read_view
from agentctl.ledger.runs import UNFINISHED, past_spending
from agentctl.ledger.sums import exact_sum, fold_phases, run_amounts, window_amounts
from agentctl.ledger.transaction import Transaction

_EPOCH = as_datetime(0)
_NOTHING = Amounts()
_NONE = CostSums()
_FOREVER_US = 2**62
_BEHIND_ALL = "\U0010ffff"
RUNNING = "running"
_PARENT = """
SELECT p.id FROM scopes AS s LEFT JOIN scopes AS p ON p.id = s.parent_id AND p.kind = 'run' WHERE s.id = ?
"""
_OUTERMOST = """
SELECT p.above_id FROM scope_paths AS p JOIN scopes AS s ON s.id = p.above_id
WHERE p.scope_id = ? AND s.kind = 'run' ORDER BY p.depth DESC LIMIT 1
"""
_BELOW = """
SELECT s.id, s.parent_id, s.task, s.agent, s.status, s.closed_us IS NULL, s.opened_by, s.limit_nano
FROM scope_paths AS p JOIN scopes AS s ON s.id = p.scope_id WHERE p.above_id = ? ORDER BY s.opened_us, s.rowid
"""
_OWN = f"""
SELECT phase, {exact_sum("nano")}, count(*) FILTER (WHERE phase IN ('settled', 'doubt') AND nano IS NULL)
FROM attempts WHERE run_id = ? AND phase <> 'void' GROUP BY phase
"""  # noqa: S608 - our own names

_OPEN_RUNS = "SELECT id, opened_by FROM scopes WHERE kind = 'run' AND closed_us IS NULL"
_TREE = f"SELECT scope_id FROM scope_paths WHERE above_id = ({_OUTERMOST})"  # noqa: S608 - our own names
_COUNTED = """
SELECT DISTINCT run_id FROM attempts WHERE phase IN ('kept', 'held', 'sent')
UNION SELECT DISTINCT run_id FROM attempts
WHERE leaves_hour_us > ? AND phase <> 'void' AND (nano IS NULL OR nano > 0)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostQuery:
    """The window and groups of a report. The bounds are aware wall time; ``since`` None: from the beginning, ``until``
    None: until now.

    ``run`` is the beginning of a run's id; ``labels`` must all match; ``by`` are of GROUPS, or ``label:NAME``;
    ``further`` are limits of all runs, beside that of the hour, whose windows are reported.
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
    """The limits of a run, None for no limit, and the amounts that count against them."""

    run_id: str
    limit_nano: int | None
    limit_tokens: int | None
    nano: Amounts
    tokens: Amounts


@dataclass(frozen=True, slots=True)
class CostReport:
    """A window (UTC), its groups and their total. ``hour`` is what counts against the hour's limit now.

    ``runs`` is how many runs the window contains; ``run`` is the requested one; ``further`` is what counts in the other
    requested windows.
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
        """The charges in the window, without those of unknown price."""
        return self.total.known_nano

    @property
    def in_doubt_nano(self) -> int:
        """The amount in doubt, which counts as spent."""
        return self.total.in_doubt_nano

    @property
    def held_nano(self) -> int:
        """The amount that running calls hold."""
        return self.total.held_nano

    @property
    def timeless(self) -> CostReport:
        """The same report without its times: two are equal if nothing happened between them.

        The two clocks of the ledger never agree to the microsecond, so times differ between two reports.
        """
        rows = tuple(replace(row, last_at=_EPOCH) for row in self.rows)
        return replace(self, since=_EPOCH, until=_EPOCH, slots=(), rows=rows)


def costs_window(path: LedgerAddress, *, seconds: int, clock: ReadClock | None = None) -> CostReport:
    """Report the calls that ended in the last ``seconds``, and those still open; empty without a ledger.

    Raises:
        StateError: the file is damaged, foreign or newer than this program.
    """
    clock = clock or clock_of(path)
    since = as_datetime(clock().wall_us) - timedelta(seconds=seconds)
    return costs_report(path, CostQuery(since=since), clock=clock)


def costs_report(path: LedgerAddress, query: CostQuery, *, clock: ReadClock | None = None) -> CostReport:
    """Report the calls that ended in a window, and those still open if it reaches now; empty without a ledger.

    The bounds are turned into ledger time, which may be ahead of a wall clock that was set back.

    Raises:
        StateError: the file is damaged, foreign or newer than this program.
        UsageError: no run or several have an id with this prefix.
    """
    clock = clock or system_clock()
    with read_view(path, clock) as tx:
        if tx is None:
            if query.run is not None:
                raise unknown_run(query.run)
            now = as_datetime(clock().wall_us)
            until = now if query.until is None else min(now, query.until)
            return CostReport(until if query.since is None else query.since, until)
        return _report(tx, query)


def _report(tx: Transaction, query: CostQuery) -> CostReport:
    run = None if query.run is None else find_run(tx, query.run)
    run_id = None if run is None else run.run_id
    span = span_of(tx, query)
    values = window(tx, since_us=span.since_us, until_us=span.until_us, reaches_now=span.reaches_now, run_id=run_id)
    folded = fold(sums(tx, values, query.by), by=query.by, labels=query.labels, zone=query.zone)
    rows = add_answered_models(tx, folded.rows, values, by=query.by, labels=query.labels, zone=query.zone)
    folded = folded._replace(rows=rows)
    since = query.since or window_start(tx, run_id, span, folded.slots)
    further = {name: window_amounts(tx, name)[0] for name in query.further}
    return CostReport(since, span.until, window_amounts(tx)[0], *folded, run, further)


class LedgerWindow(NamedTuple):
    """A window in the ledger's own time; ``reaches_now``: it includes open amounts. ``until`` is wall time."""

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
    # What another process writes meanwhile may have a later time than this transaction.
    until_us = _FOREVER_US if reaches_now else _us(until) - ahead
    return LedgerWindow(since_us, until_us, reaches_now, until)


def window_start(tx: Transaction, run_id: str | None, span: LedgerWindow, slots: Sequence[Slot]) -> datetime:
    """Return the start of a window without a lower bound: its first call, or the start of its run."""
    first = min(span.until, as_datetime(_first_us(tx, run_id) + tx.wall_us - tx.now_us))
    return min(first, slots[0].at) if slots else first


def _us(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def _first_us(tx: Transaction, run_id: str | None) -> int:
    """Return when the run was opened, or the first attempt of all ended; now if none has."""
    if run_id is None:
        (first,) = tx.db.execute("SELECT min(ended_us) FROM attempts").fetchone()
    else:
        (first,) = tx.db.execute("SELECT opened_us FROM scopes WHERE id = ?", (run_id,)).fetchone()
    return tx.now_us if first is None else int(first)


def find_run(tx: Transaction, prefix: str) -> RunBudget:
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
        raise unknown_run(prefix)
    run_id, limit_nano, limit_tokens = found[0]
    if len(found) > 1 and run_id != prefix:
        several = ", ".join(safe_text(row[0]) for row in found[:5]) + (", ..." if len(found) > 5 else "")
        raise UsageError(
            f"several runs begin with {safe_text(prefix)!r}: {several}", hint="give a longer prefix of the id"
        )
    nano, tokens = (run_amounts(tx, run_id, column)[0] for column in ("nano", "tokens"))
    return RunBudget(run_id, limit_nano, limit_tokens, nano, tokens)


def unknown_run(prefix: str) -> UsageError:
    """Return the error for a run that is not in the ledger."""
    return UsageError(
        f"no run in the ledger begins with {safe_text(prefix)!r}", hint="agentctl runs list   shows the ids"
    )


class RunNode(NamedTuple):
    """One run of a tree, at its ``depth`` below the outermost. Amounts in nano-dollars.

    ``own`` is the cost of the run itself, ``whole`` that with all runs below it; ``own_unknown`` and ``whole_unknown``
    say that a price in it was unknown. ``status`` is the exit code's name, "running", or "unfinished" (a dead process).
    """

    run_id: str
    parent_id: str | None
    depth: int
    task: str
    agent: str
    status: str
    limit_nano: int | None
    own: Amounts
    whole: Amounts
    own_unknown: bool
    whole_unknown: bool


class _RunRow(NamedTuple):
    """The columns of a run."""

    id: str
    parent_id: str | None
    task: str
    agent: str
    status: str | None
    is_open: int
    owner_id: str | None
    limit_nano: int | None


def tree_of(path: LedgerAddress, run_id: str, *, clock: ReadClock | None = None) -> tuple[RunNode, ...]:
    """Return all runs of the tree that contains ``run_id``, each after its parent; empty for an unknown run.

    Raises:
        StateError: the ledger cannot be read.
    """
    with read_view(path, clock or system_clock()) as tx:
        outermost = None if tx is None else tx.db.execute(_OUTERMOST, (run_id,)).fetchone()
        if tx is None or outermost is None:
            return ()
        found = [_RunRow(*row) for row in tx.db.execute(_BELOW, outermost).fetchall()]
        owners = tx.owners
        return tuple(_walk_tree(tx, found, lambda owner_id: owners.liveness(owner_id) is not False))


def spending_of(path: LedgerAddress, run_id: str, *, clock: ReadClock | None = None) -> PastSpending | None:
    """Return what a run itself has spent and has in doubt so far; None if the ledger does not know the run.

    Raises:
        StateError: the ledger cannot be read.
    """
    with read_view(path, clock or system_clock()) as tx:
        if tx is None or tx.db.execute(_PARENT, (run_id,)).fetchone() is None:
            return None
        return past_spending(tx, run_id)


def first_outermost(path: LedgerAddress, run_ids: Iterable[str], *, clock: ReadClock | None = None) -> str | None:
    """Return the first of these runs that no other run started; one that the ledger does not know counts as such.

    Raises:
        StateError: the ledger cannot be read.
    """
    with read_view(path, clock or system_clock()) as tx:
        for run_id in run_ids:
            row = None if tx is None else tx.db.execute(_PARENT, (run_id,)).fetchone()
            if row is None or row[0] is None:
                return run_id
    return None


def runs_in_use(path: LedgerAddress, *, window_s: int, clock: ReadClock | None = None) -> Mapping[str, str]:
    """Return the runs that the ledger still needs, each with the reason.

    They are the trees of runs that are open in a living process, and the runs with calls that are open or count in a
    window of ``window_s`` seconds.

    Raises:
        StateError: the ledger cannot be read.
    """
    found: dict[str, str] = {}
    with read_view(path, clock or system_clock()) as tx:
        if tx is None:
            return found
        after_us = tx.now_us - (window_s - WINDOWS["max_cost_per_hour"]) * 1_000_000
        for (run_id,) in tx.db.execute(_COUNTED, (after_us,)):
            found[run_id] = "its calls still count in a limit's window"
        for run_id, owner_id in tx.db.execute(_OPEN_RUNS).fetchall():
            if owner_id is not None and tx.owners.liveness(owner_id) is not False:
                for (other,) in tx.db.execute(_TREE, (run_id,)):
                    found[other] = f"run {run_id} is still running"
    return found


def _walk_tree(tx: Transaction, found: Iterable[_RunRow], is_alive: Callable[[str], bool]) -> Iterator[RunNode]:
    """Yield the runs depth first, the children of each in the order of their start."""
    children: dict[str | None, list[_RunRow]] = defaultdict(list)
    known = {one.id: one for one in found}
    for one in known.values():
        children[one.parent_id if one.parent_id in known else None].append(one)
    own = {name: tx.db.execute(_OWN, (name,)).fetchall() for name in known}
    unknown: dict[str, bool] = {}

    def has_unknown(name: str) -> bool:
        if name not in unknown:
            below = [has_unknown(one.id) for one in children[name]]
            unknown[name] = any(count for *_, count in own[name]) or any(below)
        return unknown[name]

    waiting = [(one, 0) for one in reversed(children[None])]
    while waiting:
        one, depth = waiting.pop()
        waiting += [(child, depth + 1) for child in reversed(children[one.id])]
        yield RunNode(
            one.id,
            one.parent_id,
            depth,
            one.task,
            one.agent,
            _status(one, is_alive),
            one.limit_nano,
            fold_phases(row[:3] for row in own[one.id])[0],
            run_amounts(tx, one.id, "nano")[0],
            any(count for *_, count in own[one.id]),
            has_unknown(one.id),
        )


def _status(one: _RunRow, is_alive: Callable[[str], bool]) -> str:
    if not one.is_open:
        return one.status or UNFINISHED
    return RUNNING if one.owner_id is not None and is_alive(one.owner_id) else UNFINISHED
