"""Verify a ledger: the file, its rows, and each admission replayed against its own limits."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from agentctl.budget.conclusions import Charge, Conclusion, Void, conclusion_kind
from agentctl.core.errors import StateError
from agentctl.core.ledger_address import LedgerAddress
from agentctl.ledger.audit import COLUMNS, NAMES, ChargeRow, HistoryEntry, Replay, RunCeilings, WhyNot, disagreement
from agentctl.ledger.clock import ReadClock, as_datetime, system_clock
from agentctl.ledger.engines import exists, files_of
from agentctl.ledger.errors import move_aside_hint, translate_errors
from agentctl.ledger.inspection import read_view
from agentctl.ledger.provider_health import ModelMiscount, ModelSubstitute, uncleared_miscounts, uncleared_substitutes
from agentctl.ledger.spool import Spool, SpoolFile
from agentctl.ledger.sums import NANO_LIMITS, exact_sum, find_drift, whole
from agentctl.ledger.transaction import Transaction

PAGE = 20_000  # rows read in one view; between views others can empty the write-ahead log
_MOST_WRONG = 100
_FAR_BEHIND = timedelta(minutes=10)

_STEPS = """
SELECT e.id, e.attempt_id, e.at_us, e.phase, e.nano, e.tokens,
    a.run_id, a.admitted, a.hold_nano, a.hold_tokens, a.deadline_us, {imported}
FROM entries AS e LEFT JOIN attempts AS a ON a.id = e.attempt_id WHERE e.id > ? AND e.id <= ? ORDER BY e.id LIMIT ?
"""
#: When an attempt was sent whose first entry is its end: an import wrote it, and only a server has imports.
_IMPORTED = """
CASE WHEN e.phase IN ('settled', 'void', 'doubt')
    AND NOT EXISTS (SELECT 1 FROM entries AS f WHERE f.attempt_id = e.attempt_id AND f.id < e.id)
THEN coalesce(a.sent_us, 0) END
"""
_ROWS = """
SELECT a.rowid, e.phase, e.nano, e.tokens, {columns}
FROM attempts AS a LEFT JOIN entries AS e ON e.id = (SELECT max(id) FROM entries WHERE attempt_id = a.id)
WHERE a.rowid > ? ORDER BY a.rowid LIMIT ?
""".format(columns=", ".join(f"a.{name}" for name in COLUMNS))  # noqa: S608 - our own names
_PATHS = """
SELECT p.scope_id, s.id, s.limit_nano, s.limit_tokens, s.limits, s.kind
FROM scope_paths AS p JOIN scopes AS s ON s.id = p.above_id WHERE p.depth > 0 ORDER BY p.scope_id, p.depth
"""
# Each run whose stored path differs from the chain of its parents.
_BROKEN_PATHS = """
WITH RECURSIVE chain (scope_id, above_id, depth) AS (
    SELECT id, id, 0 FROM scopes
    UNION ALL SELECT chain.scope_id, s.parent_id, chain.depth + 1 FROM chain JOIN scopes AS s ON s.id = chain.above_id
        WHERE s.parent_id IS NOT NULL AND chain.depth < 100
)
SELECT scope_id FROM (SELECT * FROM chain EXCEPT SELECT scope_id, above_id, depth FROM scope_paths) AS extra
UNION SELECT scope_id FROM (SELECT scope_id, above_id, depth FROM scope_paths EXCEPT SELECT * FROM chain) AS missing
"""
_NAMES = "SELECT 1 FROM attempts WHERE instr(admitted, ?) > 0 LIMIT 1"
_OPEN = """
SELECT a.id, a.run_id, a.phase, a.provider, coalesce(a.model, ''), a.nano, a.held_us, a.owner_id, o.pid, o.host
FROM attempts AS a JOIN owners AS o ON o.id = a.owner_id WHERE a.leaves_hour_us IS NULL ORDER BY a.held_us
"""
_DOUBTS = f"""
SELECT run_id, provider, base_url, count(*), min(held_us), owner_id, max(deadline_us), {exact_sum("nano")}
FROM attempts WHERE phase = 'doubt' GROUP BY run_id, provider, base_url, owner_id ORDER BY min(held_us)
"""  # noqa: S608 - our own words
_OVERRUNS = """
SELECT provider, model, count(*), max(at_us) FROM overruns WHERE cleared_us IS NULL GROUP BY provider, model
"""


class OpenHold(NamedTuple):
    """An amount that is held now; nano-dollars, None without a price.

    ``living``: its process is alive; None if that is unknown, because its lock file cannot be opened.
    """

    attempt_id: str
    run_id: str
    phase: str
    provider: str
    model: str
    nano: int | None
    held_at: datetime
    living: bool | None
    pid: int
    host: str


class InDoubt(NamedTuple):
    """The attempts of one run that are in doubt at one provider.

    ``living``: their process is alive and may still learn the cost; None if that is unknown, until ``over_at``.
    An empty ``base_url`` is the provider's own address.
    """

    run_id: str
    provider: str
    attempts: int
    nano: int
    since: datetime
    living: bool | None
    over_at: datetime
    base_url: str = ""

    def can_be_reconciled(self, now: datetime | None) -> bool:
        """Return whether reconcile would settle them at ``now``, because no process will."""
        return not self.living and (self.living is False or now is None or self.over_at <= now)


class ModelOverrun(NamedTuple):
    """A model that cost more than its hold; its ceiling is held until the user clears it."""

    provider: str
    model: str
    attempts: int
    last_at: datetime


class SpooledConclusion(NamedTuple):
    """One file of the spool, which the next run applies; ``problem`` says why it cannot, and the rest is empty then.

    ``kind`` is "charge", "doubt" or "void". ``nano`` is the cost of the attempt, None without a price and in doubt.
    """

    attempt_id: str
    file: Path
    kind: str = ""
    run_id: str = ""
    nano: int | None = None
    tokens: int | None = None
    problem: str = ""


class LedgerCheck(NamedTuple):
    """The findings of a check. ``there`` False: no ledger yet. ``wrong``: a sentence for each error, the first hundred.

    ``proved`` admissions were replayed within their limits, ``free`` ones had none. ``recomputed`` charges were
    computed again from their rows; ``not_recomputed`` counts those that cannot be, by the reason. An amount in doubt is
    not a charge. ``wrong_count`` counts all errors.

    ``now`` is the ledger's time. Time while the machine is off counts only once the wall clock, which reads ``wall``,
    is beyond ``expected_wall``.
    """

    there: bool = True
    attempts: int = 0
    proved: int = 0
    free: int = 0
    kept: int = 0  # reserves for last answers, replayed together with their holds
    imported: int = 0  # from files, whose admissions were proved there
    recomputed: int = 0
    not_recomputed: Mapping[WhyNot, int] = MappingProxyType({})
    now: datetime | None = None
    wall: datetime | None = None
    expected_wall: datetime | None = None
    open: tuple[OpenHold, ...] = ()
    doubts: tuple[InDoubt, ...] = ()
    overruns: tuple[ModelOverrun, ...] = ()
    unsettled: tuple[SpooledConclusion, ...] = ()
    substitutes: tuple[ModelSubstitute, ...] = ()
    miscounts: tuple[ModelMiscount, ...] = ()
    wrong: tuple[str, ...] = ()
    wrong_count: int = 0

    @property
    def is_wall_behind(self) -> bool:
        """Whether the wall clock is far behind ``expected_wall``: it is slow now, or was ahead earlier."""
        return self.wall is not None and self.expected_wall is not None and self.expected_wall - self.wall > _FAR_BEHIND


def check(path: LedgerAddress, *, clock: ReadClock | None = None, page: int = PAGE) -> LedgerCheck:
    """Verify the whole ledger while others may write; nothing is changed. Each view reads ``page`` rows.

    Raises:
        StateError: it cannot be opened or read, is damaged, or is not a ledger of this program.
    """
    clock = clock or system_clock()
    with translate_errors(files_of(path)):
        if not exists(path):
            return LedgerCheck(there=False)
    with read_view(path, clock) as tx:
        if tx is None:
            return LedgerCheck(there=False)
        broken = _check_file(tx, path) if isinstance(path, Path) else ()
        names = [name for name in NAMES if tx.db.execute(_NAMES, (name,)).fetchone()]
        most = tx.db.execute("SELECT coalesce(max(id), 0) FROM entries").fetchone()[0]
        above = _read_ceilings(tx)
        chains = tx.db.execute(_BROKEN_PATHS).fetchall()
        differing = find_drift(tx)
    wrong = [f"row {row[1]} of {row[0]} refers to a missing row of {row[2]}" for row in broken]
    wrong += [f"the path of run {run_id} does not match the chain of its parents" for (run_id,) in chains]
    wrong += [f"the sub-total of {place} is not the sum of its attempts" for place in differing]
    replay = Replay(names)
    for step in _read_history(path, clock, most, page):
        replay.take(step._replace(above=above.get(step.run_id or "", ())))
    replay.finish()
    rows = _check_rows(path, clock, page)
    wrong += [*replay.wrong, *rows.wrong]
    found = LedgerCheck(
        attempts=rows.count,
        recomputed=rows.recomputed,
        not_recomputed=MappingProxyType(dict(rows.not_recomputed)),
        proved=replay.proved,
        free=replay.free,
        kept=replay.kept,
        imported=replay.imported,
        wrong=tuple(wrong[:_MOST_WRONG]),
        wrong_count=len(wrong),
    )
    return _add_open_items(found, path, clock)


def _check_file(tx: Transaction, path: Path) -> Sequence[tuple[object, ...]]:
    """Verify the file itself, which a server does for its own; return the rows that refer to a missing one.

    Raises:
        StateError: the file is damaged.
    """
    said = str(tx.db.execute("PRAGMA integrity_check(1)").fetchone()[0])
    if said != "ok":
        raise StateError(f"the ledger {path} is damaged: {' '.join(said.split())}", hint=move_aside_hint(path))
    return tx.db.execute("PRAGMA foreign_key_check").fetchall()


def _read_ceilings(tx: Transaction) -> dict[str, tuple[RunCeilings, ...]]:
    """Return the runs above each nested run, the nearest first, with their present limits."""
    found: dict[str, tuple[RunCeilings, ...]] = {}
    for scope_id, above_id, nano, tokens, limits, kind in tx.db.execute(_PATHS):
        ceilings = {NANO_LIMITS[kind]: nano, "max_tokens_per_task": tokens, **json.loads(limits)}
        known = {name: most for name, most in ceilings.items() if most is not None}
        found[scope_id] = (*found.get(scope_id, ()), RunCeilings(above_id, known))
    return found


def _read_history(path: LedgerAddress, clock: ReadClock, most: int, size: int) -> Iterator[HistoryEntry]:
    """Yield the entries up to ``most`` in order, ``size`` in one view: an entry never changes."""
    last, steps = 0, _STEPS.format(imported="NULL" if isinstance(path, Path) else _IMPORTED)
    while True:
        with read_view(path, clock) as tx:
            page = [] if tx is None else tx.db.execute(steps, (last, most, size)).fetchall()
        if not page:
            return
        yield from (HistoryEntry(*row) for row in page)
        last = page[-1][0]


class _RowCheck:
    """Compares the rows of attempts with their history, and with the charge recomputed from them."""

    def __init__(self) -> None:
        self.count = self.recomputed = 0
        self.not_recomputed: Counter[WhyNot] = Counter()
        self.wrong: list[str] = []

    def take(self, row: ChargeRow, last_entry: tuple[str | None, int | None, int | None]) -> None:
        self.count += 1
        state = (row.phase, row.nano, row.tokens)
        if state != last_entry:
            self.wrong.append(f"attempt {row.id}: its row says {_describe(state)}, its history {_describe(last_entry)}")
        if row.phase != "settled":
            return
        if (why := row.why_not) is not None:
            self.not_recomputed[why] += 1
            return
        self.recomputed += 1
        if (wrong := disagreement(row)) is not None:
            self.wrong.append(wrong)


def _check_rows(path: LedgerAddress, clock: ReadClock, size: int) -> _RowCheck:
    """Compare the rows of all attempts, ``size`` read in one view."""
    found, last = _RowCheck(), 0
    while True:
        with read_view(path, clock) as tx:
            page = [] if tx is None else tx.db.execute(_ROWS, (last, size)).fetchall()
        if not page:
            return found
        for row in page:
            found.take(ChargeRow(*row[4:]), row[1:4])
        last = page[-1][0]


def _describe(state: tuple[object, ...]) -> str:
    phase, nano, tokens = state
    return "nothing" if phase is None else f"{phase} at {nano} nano-dollars and {tokens} tokens"


def _add_open_items(found: LedgerCheck, path: LedgerAddress, clock: ReadClock) -> LedgerCheck:
    with read_view(path, clock) as tx:
        if tx is None:
            return found
        held, doubts = tx.db.execute(_OPEN).fetchall(), tx.db.execute(_DOUBTS).fetchall()
        overruns = tx.db.execute(_OVERRUNS).fetchall()
        (expected_us,) = tx.db.execute("SELECT max(highest_wall_us) FROM clock").fetchone()
        substitutes, miscounts = uncleared_substitutes(tx), uncleared_miscounts(tx)
        spool = Spool(files_of(path))
        unsettled = tuple(_match_spooled(tx, spooled) for spooled in spool.read())
        others = (_match_spooled(tx, one) for other in spool.at_other_addresses() for one in other.read())
        unsettled += tuple(one for one in others if one.run_id)  # the rest may be of other ledgers
        owner_ids = {*(row[7] for row in held), *(row[5] for row in doubts)}
        living = {owner_id: tx.owners.liveness(owner_id) for owner_id in owner_ids}
    sums: dict[tuple[str, str, str, bool | None], InDoubt] = {}
    for run_id, provider, base_url, count, since_us, owner_id, over_us, *nano in doubts:
        since, over = as_datetime(since_us), as_datetime(over_us)
        one = InDoubt(run_id, provider, count, whole(*nano), since, living[owner_id], over, base_url)
        before = sums.get((run_id, provider, base_url, one.living))
        if before is not None:
            one = before._replace(
                attempts=before.attempts + count, nano=before.nano + one.nano, over_at=max(before.over_at, over)
            )
        sums[run_id, provider, base_url, one.living] = one
    return found._replace(
        now=as_datetime(tx.now_us),
        wall=as_datetime(tx.wall_us),
        expected_wall=as_datetime(max(expected_us or 0, tx.wall_us)),
        open=tuple(
            OpenHold(
                attempt_id, run_id, phase, provider, model, nano, as_datetime(held_us), living[owner_id], pid, host
            )
            for attempt_id, run_id, phase, provider, model, nano, held_us, owner_id, pid, host in held
        ),
        doubts=tuple(sums.values()),
        overruns=tuple(
            ModelOverrun(provider, model, count, as_datetime(at_us)) for provider, model, count, at_us in overruns
        ),
        unsettled=unsettled,
        substitutes=substitutes,
        miscounts=miscounts,
    )


def _match_spooled(tx: Transaction, spooled: SpoolFile) -> SpooledConclusion:
    found = SpooledConclusion(spooled.attempt_id, spooled.path, problem=spooled.problem)
    if spooled.conclusion is None:
        return found
    found = _add_amounts(found, spooled.conclusion)
    row = tx.db.execute("SELECT run_id, phase FROM attempts WHERE id = ?", (spooled.attempt_id,)).fetchone()
    if row is None:
        return found._replace(problem="its attempt is not in this ledger")
    run_id, phase = row
    return found._replace(run_id=run_id, problem="its attempt was not sent" if phase in ("held", "kept") else "")


def _add_amounts(found: SpooledConclusion, conclusion: Conclusion) -> SpooledConclusion:
    found = found._replace(kind=conclusion_kind(conclusion))
    match conclusion:
        case Charge():
            return found._replace(nano=conclusion.nano, tokens=conclusion.usage.total_tokens)
        case Void():
            return found._replace(nano=0, tokens=0)
        case _:
            return found
