"""Correct the ledger by hand: settle amounts in doubt, clear records against a model, reset the clock."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Literal, NamedTuple

from agentctl.core.errors import ActionDenied, UsageError
from agentctl.core.ledger_address import LedgerAddress, PostgresAddress
from agentctl.core.text import did_you_mean
from agentctl.ledger import attempts, runs
from agentctl.ledger.attempts import storable
from agentctl.ledger.clock import ReadClock, as_datetime, system_clock
from agentctl.ledger.engines import exists, files_of, open_database
from agentctl.ledger.errors import translate_errors
from agentctl.ledger.inspection import read_view
from agentctl.ledger.ledger_session import LedgerSession
from agentctl.ledger.provider_health import miscounts
from agentctl.ledger.transaction import Transaction

By = Literal["attempt", "run", "provider"]

# Attempts that can be reconciled: in doubt, or sent by a dead process (which the next writer leaves in doubt).
_OPEN = "(phase = 'doubt' OR (phase = 'sent' AND leaves_hour_us IS NULL))"
_SQL = (
    "SELECT id, run_id, owner_id, phase, provider, coalesce(model, ''), nano, max(tokens, hold_tokens), hold_nano,"
    " deadline_us FROM attempts WHERE "
)
_WHICH = {
    "attempt": f"({_OPEN} OR (phase = 'settled' AND settled_by = 'hand')) AND id = ?",
    "run": f"{_OPEN} AND run_id = ?",
    "provider": f"{_OPEN} AND provider = ?",
}
_KNOWN = {
    "attempt": "SELECT id FROM attempts WHERE id >= ? AND id < ? ORDER BY id LIMIT 2",
    "run": "SELECT id FROM scopes WHERE kind = 'run' AND id >= ? AND id < ? ORDER BY id LIMIT 2",
}


class Correction(NamedTuple):
    """One attempt, with its amount before and after; nano-dollars, None if it had no price."""

    attempt_id: str
    run_id: str
    provider: str
    model: str
    was_nano: int | None
    now_nano: int
    is_above: bool = False  # above its hold


class LeftInDoubt(NamedTuple):
    """One attempt that stays in doubt, and the reason."""

    attempt_id: str
    run_id: str
    why: str


class Reconciliation(NamedTuple):
    """The settled attempts, those left in doubt, and the number of export lines without a call in this ledger."""

    done: tuple[Correction, ...] = ()
    left: tuple[LeftInDoubt, ...] = ()
    unused: int = 0

    @property
    def freed_nano(self) -> int:
        """The decrease of the counted amount."""
        return sum(max(0, (one.was_nano or 0) - one.now_nano) for one in self.done)


class ClockReset(NamedTuple):
    """A reset of the clock, with times in UTC.

    Time while the machine is off counts only beyond a wall time: ``was`` before the reset, ``now`` after it.
    ``done`` False: the wall clock was not behind.
    """

    was: datetime
    now: datetime
    done: bool


class UncertainAttempt(NamedTuple):
    """An attempt that can be reconciled; amounts in nano-dollars and tokens."""

    id: str
    run_id: str
    owner_id: str
    phase: str
    provider: str
    model: str
    nano: int | None
    tokens: int  # at worst
    hold_nano: int | None
    deadline_us: int


LIVES = "its process is alive, and may still learn the cost"
MAY_LIVE = "its process may be alive (its lock file cannot be opened), and its deadline has not passed"


@contextmanager
def open_for_correction(path: LedgerAddress, *, clock: ReadClock | None, dry_run: bool) -> Iterator[Transaction | None]:
    """Open a transaction in which dead owners are already concluded, with ``dry_run`` a view; None: no ledger yet.

    The spool is applied before: usage overrides a correction.
    """
    with translate_errors(files_of(path)):
        if not exists(path):
            yield None
            return
    if dry_run:
        with read_view(path, clock or system_clock()) as tx:
            yield tx
        return
    database = open_database(path, clock=clock)
    try:
        LedgerSession(database, owner_id="", pid=os.getpid()).apply_spooled()
        with database.write() as tx:
            runs.conclude_dead_owners(tx, but="")
            yield tx
    finally:
        database.close()


def split_settleable(
    tx: Transaction, condition: str, value: str
) -> tuple[list[UncertainAttempt], tuple[LeftInDoubt, ...]]:
    """Return the rows of ``condition`` (SQL of this module) that no process will settle, and the others."""
    found = [UncertainAttempt(*row) for row in tx.db.execute(_SQL + condition, (value,))]
    why = reasons_to_wait(tx, ((row.id, row.owner_id, row.deadline_us) for row in found))
    left = tuple(LeftInDoubt(row.id, row.run_id, why[row.id]) for row in found if row.id in why)
    return [row for row in found if row.id not in why], left


def reasons_to_wait(tx: Transaction, attempts: Iterable[tuple[str, str, int]]) -> Mapping[str, str]:
    """Return the reasons why attempts (id, owner, deadline) may still be settled by their own process, by id.

    If it is unknown whether the process lives, the call ends at its deadline in any case.
    """
    attempts = tuple(attempts)
    living = {owner: tx.owners.liveness(owner) for owner in {owner for _, owner, _ in attempts}}
    return {
        attempt_id: LIVES if living[owner_id] else MAY_LIVE
        for attempt_id, owner_id, deadline_us in attempts
        if living[owner_id] or (living[owner_id] is None and deadline_us > tx.now_us)
    }


def reconcile(
    path: LedgerAddress,
    by: By,
    value: str,
    *,
    actual_nano: int,
    who: str,
    dry_run: bool = False,
    only: Collection[str] | None = None,
    clock: ReadClock | None = None,
) -> Reconciliation:
    """Settle amounts in doubt at ``actual_nano``, all or nothing; a second call changes nothing.

    An amount other than 0 needs a single attempt. Late usage and a provider's export override it. A run or an attempt
    can be named by the beginning of its id. ``only``: limit the change to these attempts.

    Raises:
        UsageError: the name is unknown, there is an amount for several attempts, or usage has settled the attempt.
        ActionDenied: all attempts belong to living processes.
        StateError: the ledger cannot be used.
    """
    with open_for_correction(path, clock=clock, dry_run=dry_run) as tx:
        if tx is None:
            raise UsageError(
                f"the ledger has no {by} {value}: it does not exist yet", hint=f"check the ledger's path: {path}"
            )
        name = _resolve(tx, by, value)
        found, left = split_settleable(tx, _WHICH[by], name)
        if by == "attempt" and not found and not left:
            _refuse_settled(tx, name)
        found = [row for row in found if row.phase != "settled" or row.nano != actual_nano]
        found = [row for row in found if only is None or row.id in only]
        if left and not found:
            raise _unsettleable_error(tx, by, name, left)
        if actual_nano and len(found) > 1:
            raise UsageError(
                f"an amount is for one attempt, but {len(found)} of {by} {name} are in doubt; only 0 is "
                "allowed for several",
                hint=f"agentctl ledger reconcile {found[0].id} --actual USD",
            )
        done = tuple(_correction(row, actual_nano) for row in found)
        for row in () if dry_run else found:
            tokens = row.tokens if actual_nano else 0  # the cost does not tell how many tokens were used
            attempts.correct(tx, row.id, actual_nano, tokens, by="hand", reason=f"by hand: {who}")
        return Reconciliation(done, left)


def _unsettleable_error(tx: Transaction, by: By, name: str, left: Collection[LeftInDoubt]) -> ActionDenied:
    if any(one.why == LIVES for one in left):
        return ActionDenied(
            f"{by} {name} belongs to a live process, which may still learn the cost of what is in doubt",
            hint="wait until it has ended; agentctl ledger check   names it",
        )
    ids = [one.attempt_id for one in left]
    marks = ", ".join("?" * len(ids))
    (last_us,) = tx.db.execute(f"SELECT max(deadline_us) FROM attempts WHERE id IN ({marks})", ids).fetchone()  # noqa: S608
    over = as_datetime(tx.wall_us + last_us - tx.now_us).astimezone()
    return ActionDenied(
        f"the lock file of {by} {name} cannot be opened, so its process may be alive",
        hint=f"try again after {over:%Y-%m-%d %H:%M:%S}, when its deadline has passed",
    )


def _correction(row: UncertainAttempt, nano: int) -> Correction:
    above = row.hold_nano is not None and nano > row.hold_nano
    return Correction(row.id, row.run_id, row.provider, row.model, row.nano, nano, above)


def _resolve(tx: Transaction, by: By, value: str) -> str:
    if by == "provider":
        known = [name for (name,) in tx.db.execute("SELECT DISTINCT provider FROM attempts")]
        if storable(value) not in known:
            raise UsageError(f"the ledger has no call to {value}", hint=_nearest(value, known))
        return storable(value)
    value = storable(value)
    found = [name for (name,) in tx.db.execute(_KNOWN[by], (value, value + "\U0010ffff"))]
    if not found:
        raise UsageError(f"the ledger has no {by} {value}", hint="agentctl ledger check   lists what is in doubt")
    if found[0] != value and len(found) > 1:
        raise UsageError(f"several {by}s begin with {value}", hint="give a longer prefix of the id")
    return str(found[0])


def _refuse_settled(tx: Transaction, attempt_id: str) -> None:
    row = attempts.read(tx, attempt_id)
    if row.phase == "settled" and row.settled_by != "hand":
        by = "its provider's export" if row.settled_by == "export" else "the usage that its provider reported"
        raise UsageError(f"attempt {attempt_id} is already settled by {by}; a manual amount cannot override it")
    if row.phase == "void":
        raise UsageError(f"attempt {attempt_id} cost nothing and is not in doubt")


def clear_overrun(path: LedgerAddress, provider: str, model: str, *, dry_run: bool = False) -> bool:
    """Clear the overruns of a model, so that its holds are at the usual worst case again; return False if there were
    none.

    Raises:
        UsageError: it never cost more than its hold.
        StateError: the ledger cannot be used.
    """
    name = f"{provider}/{model}" if model else provider
    with open_for_correction(path, clock=None, dry_run=dry_run) as tx:
        found = [] if tx is None else tx.db.execute("SELECT provider, model, cleared_us FROM overruns").fetchall()
        ours = [cleared for *of, cleared in found if of == [storable(provider), storable(model)]]
        if tx is None or not ours:
            known = {f"{of}/{what}" if what else of for of, what, _ in found}
            raise UsageError(f"{name} never cost more than its hold", hint=_nearest(name, known))
        if not dry_run:
            tx.db.execute(
                "UPDATE overruns SET cleared_us = ? WHERE provider = ? AND model = ? AND cleared_us IS NULL",
                (tx.now_us, storable(provider), storable(model)),
            )
        return None in ours


def reset_clock(path: LedgerAddress, *, dry_run: bool = False, clock: ReadClock | None = None) -> ClockReset:
    """Accept the wall clock as it is, after it was wrongly ahead: time while off counts from its present reading.

    The ledger's own time does not change, so no amount is freed. If the wall clock is wrong now, and behind, the next
    start with a correct one counts the difference as time that passed.

    Raises:
        UsageError: no ledger yet, or it is on a server, whose own time counts.
        ActionDenied: a run is in progress, or may be.
        StateError: the ledger cannot be used.
    """
    if isinstance(path, PostgresAddress):
        raise UsageError(
            f"the time of the ledger {path} is the server's own, and never goes back: there is no clock to reset",
            hint="correct the server's clock; the ledger's time goes on once the clock has reached it",
        )
    with open_for_correction(path, clock=clock, dry_run=dry_run) as tx:
        if tx is None:
            raise UsageError(f"there is no ledger yet: {path}", hint="agentctl ledger check")
        refuse_under_way(tx, "its clock cannot be reset")
        (highest_us,) = tx.db.execute("SELECT max(highest_wall_us) FROM clock").fetchone()
        is_behind = highest_us is not None and tx.wall_us < highest_us
        if is_behind and not dry_run:
            tx.db.execute("UPDATE clock SET highest_wall_us = ?", (tx.wall_us,))
        was_us = highest_us if is_behind else tx.wall_us
        return ClockReset(as_datetime(was_us), as_datetime(tx.wall_us), is_behind)


def refuse_under_way(tx: Transaction, then: str) -> None:
    """Refuse to touch a ledger that a process uses; ``then`` is the consequence.

    Raises:
        ActionDenied: a process uses it, or has left something open and may be alive.
    """
    busy = {name for (name,) in tx.db.execute("SELECT owner_id FROM attempts WHERE leaves_hour_us IS NULL")}
    for owner_id in {*tx.owners.ids(), *busy}:
        living = tx.owners.liveness(owner_id)
        if living or (living is None and owner_id in busy):
            found = tx.db.execute("SELECT pid, host FROM owners WHERE id = ?", (owner_id,)).fetchone()
            process = "a process" if found is None else f"process {found[0]} on {found[1]}"
            raise ActionDenied(
                f"{process} {'uses' if living else 'may be using'} the ledger, so {then}",
                hint="wait until all runs have ended",
            )


def clear_substitutes(path: LedgerAddress, provider: str, model: str, *, dry_run: bool = False) -> bool:
    """Clear the substitutes of a model, so that its holds are at its own price again; return False if there were none.

    Raises:
        UsageError: no other model has ever answered instead of it.
        StateError: the ledger cannot be used.
    """
    name = f"{provider}/{model}"
    with open_for_correction(path, clock=None, dry_run=dry_run) as tx:
        sql = "SELECT provider, model, cleared_us FROM substitutes"
        found = [] if tx is None else tx.db.execute(sql).fetchall()
        ours = [cleared for *of, cleared in found if of == [storable(provider), storable(model)]]
        if tx is None or not ours:
            known = {f"{of}/{what}" for of, what, _ in found}
            raise UsageError(f"no other model has answered in place of {name}", hint=_nearest(name, known))
        if not dry_run:
            tx.db.execute(
                "UPDATE substitutes SET cleared_us = ? WHERE provider = ? AND model = ? AND cleared_us IS NULL",
                (tx.now_us, storable(provider), storable(model)),
            )
        return None in ours


def clear_miscounts(path: LedgerAddress, provider: str, model: str, *, dry_run: bool = False) -> bool:
    """Clear the miscounts of a model, so that its bounds are counted again; return False if there were none.

    Raises:
        UsageError: it never reported more than its counted bound.
        StateError: the ledger cannot be used.
    """
    name = f"{provider}/{model}"
    with open_for_correction(path, clock=None, dry_run=dry_run) as tx:
        found = [] if tx is None else miscounts(tx)
        asked = [storable(provider), storable(model)]
        ours = [(attempt_id, is_uncleared) for attempt_id, *of, is_uncleared in found if of == asked]
        if tx is None or not ours:
            known = {f"{of}/{what}" for _, of, what, _ in found}
            raise UsageError(f"{name} has never reported more than its counted bound", hint=_nearest(name, known))
        if not dry_run:
            tx.db.executemany(
                "UPDATE attempts SET miscount_cleared_us = ? WHERE id = ? AND miscount_cleared_us IS NULL",
                [(tx.now_us, attempt_id) for attempt_id, _ in ours],
            )
        return any(is_uncleared for _, is_uncleared in ours)


def _nearest(name: str, known: Iterable[str]) -> str:
    """Return the nearest known name as a question, else the first ten."""
    names = sorted(known)
    listed = f"there are: {', '.join(names[:10])}{', …' if len(names) > 10 else ''}" if names else ""
    return did_you_mean(name, names) or listed
