"""The deeds of the book, each in one transaction: hold, mark sent, settle, void, doubt, and the care of the dead."""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from agentctl.budget.conclusions import Charge, Conclusion, Doubt, Settlement
from agentctl.budget.rules import Ask, Hold, LimitState, Spend, Wait, WorstCase, worst_case
from agentctl.core.errors import ActionDenied, InternalError, LimitName, StateError, Verdict
from agentctl.core.limits import WINDOWS, CostLimit, Parent
from agentctl.core.substitutes import Substitute
from agentctl.ledger import attempts as rows
from agentctl.ledger import provider_health as substitution
from agentctl.ledger import reserve as kept
from agentctl.ledger import runs as nesting
from agentctl.ledger.clock import as_datetime, read_boot_id
from agentctl.ledger.database import Database, Transaction, retry_failed_commit
from agentctl.ledger.locks import OwnerLock
from agentctl.ledger.provider_health import provider_health, uncleared_overrun
from agentctl.ledger.reserve import add_free_time, judge_by_count
from agentctl.ledger.spool import Spool
from agentctl.ledger.sums import calls_a_minute, limits_of, run_amounts, window_amounts

PAUSE_S = 2.0


class LedgerSession:
    """What one process does in the ledger; every method is one transaction and is on disk when it returns."""

    def __init__(self, store: Database, *, owner_id: str, pid: int, pause_s: float = PAUSE_S) -> None:
        self._store = store
        self._owner_id = owner_id
        self._pid = pid
        self._pause_s = pause_s
        self._owners = store.path.with_suffix(".owners")
        self._alive: OwnerLock | None = None
        self._boot_id = read_boot_id()
        self._spool = Spool(store.path, owner_id=owner_id)
        self._has_paid_calls = False

    def close(self) -> None:
        """End this owner: what it still held is void, what it had sent is in doubt."""
        if os.getpid() != self._pid:
            return  # a fork's copy: the parent lives on
        alive, self._alive = self._alive, None
        try:
            if alive is not None:
                with self._store.write() as tx:
                    rows.bury(tx, self._owner_id)
        finally:
            self._spool.close()
            if alive is not None:
                alive.close()
            self._store.close()

    def _register(self, tx: Transaction) -> None:
        if self._alive is None:
            self._alive = OwnerLock(self._owners, self._owner_id, ledger=self._store.path)
            rows.remove_traces(tx, self._owners, but=self._owner_id)
        tx.db.execute(  # each time: an earlier one may have been rolled back
            "INSERT OR IGNORE INTO owners (id, pid, host, boot_id, started_us) VALUES (?, ?, ?, ?, ?)",
            (self._owner_id, self._pid, socket.gethostname(), self._boot_id, tx.now_us),
        )

    def open_run(
        self,
        run_id: str,
        limits: CostLimit,
        *,
        task: str,
        agent: str,
        labels: Mapping[str, str],
        parent: Parent | None = None,
        capability: str = "",
    ) -> None:
        """Enter a run, below ``parent`` if it has one; its limits stand in the ledger from here on.

        ``capability`` is what its own children have to show; without one it can have none.

        Raises:
            ActionDenied: nothing may be opened below that parent.
        """
        self.apply_spooled()
        with self._store.write() as tx:
            self._register(tx)
            refused = None if parent is None else nesting.refusal(tx, parent, self._is_gone(tx), self._store.path)
            if refused is None:
                run = nesting.NewRun(run_id, self._owner_id, task, agent, labels, parent, capability)
                nesting.enter(tx, run, limits)
        if refused is not None:
            raise refused

    def _is_gone(self, tx: Transaction) -> nesting.IsGone:
        return partial(nesting.is_gone, tx, self._owners, but=self._owner_id)

    @retry_failed_commit
    def close_run(self, run_id: str, status: str) -> None:
        """Write how a run ended; nothing is admitted under it, or below it, any more."""
        with self._store.write() as tx:
            rows.close(tx, run_id, status)

    def reserve(self, ask: Ask) -> Hold | Wait | Verdict:
        """Sum, judge and grant in one transaction; a wait takes its place in the queue.

        Raises:
            ActionDenied: a run above has ended.
            UnknownPrice: a run above has a dollar limit, and there is no price or no bound for the model.
        """
        answer = self._answer(ask)
        if isinstance(answer, ActionDenied):  # raised only now: what was found out on the way is written down
            raise answer
        return answer

    @retry_failed_commit
    def _answer(self, ask: Ask) -> Hold | Wait | Verdict | ActionDenied:
        self._has_paid_calls |= ask.facts.metered
        with self._store.write() as tx:
            self._register(tx)
            rows.sweep(tx, self._owners, but=self._owner_id)
            if (refused := nesting.refusal_above(tx, ask.run_id, self._is_gone(tx))) is not None:
                self._leave(tx, ask.attempt_id)
                return refused
            if (hold := self._held_before(tx, ask)) is not None:
                return hold
            if ask.facts.metered:
                ask = substitution.at_dearest_price(tx, ask)
                health = provider_health(tx, ask.facts, pause_s=self._pause_s)
                if ask.purpose in ("answer", "summary") and not health:
                    health = Wait("provider", self._pause_s)
                if isinstance(health, Wait):
                    self._leave(tx, ask.attempt_id)
                    return health
                if not health:
                    ask = replace(ask, most=ask.least, purpose="probe")
            own = kept.reserve_of(tx, ask.run_id) if ask.keep is not None else None
            limits = kept.without(limits_of(tx, ask), own) if ask.facts.metered else ()
            nesting.refuse_the_unbounded(ask, limits)
            seen = uncleared_overrun(tx, ask)
            ask, broke = replace(ask, seen=seen), seen is not None
            ask, answer, aside, gone = judge_by_count(tx, ask, limits, own, at_ceiling=broke)
            if isinstance(answer, Wait) and answer.reason == "bound":
                self._leave(tx, ask.attempt_id)
                return answer
            if isinstance(answer, Wait):
                self._queue(tx, ask, at_ceiling=broke)
                verdict = answer.verdict
                return answer if verdict is None else replace(answer, verdict=add_free_time(tx, ask, verdict))
            self._leave(tx, ask.attempt_id)
            if isinstance(answer, Verdict):
                return add_free_time(tx, ask, answer)
            for one in gone:
                rows.void(tx, one.id, "another run needed the room")
            limits = kept.freed(limits, gone)
            kept.put(tx, ask, own, aside, limits, owner_id=self._owner_id)
            return self._hold(tx, ask, answer, kept.beside(limits, aside))

    def _held_before(self, tx: Transaction, ask: Ask) -> Hold | None:
        """Return the hold of the same id if an earlier commit went through unheard."""
        row = tx.db.execute(
            "SELECT input_bound, granted_output, hold_nano, hold_tokens, deadline_us, purpose FROM attempts"
            " WHERE id = ? AND owner_id = ? AND phase = 'held'",
            (ask.attempt_id, self._owner_id),
        ).fetchone()
        if row is None:
            return None
        bound, granted, nano, tokens, deadline, purpose = row
        return Hold(
            ask.attempt_id, ask.run_id, bound, granted, nano, tokens, as_datetime(deadline), probe=purpose == "probe"
        )

    def _hold(self, tx: Transaction, ask: Ask, worst: WorstCase, limits: tuple[LimitState, ...]) -> Hold:
        deadline = tx.now_us + int(ask.deadline_s * 1_000_000)
        rows.insert(tx, ask, worst, limits, owner_id=self._owner_id, deadline_us=deadline)
        return Hold(
            ask.attempt_id,
            ask.run_id,
            ask.input_bound,
            worst.output,
            worst.nano,
            worst.tokens,
            as_datetime(deadline),
            probe=ask.purpose == "probe",
        )

    @retry_failed_commit
    def leave_queue(self, attempt_id: str) -> None:
        """Give up waiting, and a hold that came too late with it."""
        with self._store.write() as tx:
            self._leave(tx, attempt_id)
            rows.void_held(tx, "id = ?", attempt_id, reason="given up before sending")

    def mark_sent(self, hold_id: str) -> bool:
        """Compare and set: held by us, deadline ahead, and its run and all above it still open.

        A COMMIT that fails is not tried again: what was not surely marked is not sent.
        """
        if self._has_paid_calls:
            self._spool.allocate()
        with self._store.write() as tx:
            if nesting.refusal_above(tx, rows.run_of(tx, hold_id), self._is_gone(tx)) is not None:
                return False
            done = tx.db.execute(
                "UPDATE attempts SET phase = 'sent', sent_us = ?"
                " WHERE id = ? AND owner_id = ? AND phase = 'held' AND deadline_us > ?"
                " AND EXISTS (SELECT 1 FROM scopes AS s WHERE s.id = run_id AND (closed_us IS NULL OR status = ?))",
                (tx.now_us, hold_id, self._owner_id, tx.now_us, rows.UNFINISHED),
            ).rowcount
            if done:
                row = tx.db.execute("SELECT nano, tokens FROM attempts WHERE id = ?", (hold_id,)).fetchone()
                rows.enter(tx, hold_id, "sent", *row)
            return bool(done)

    @retry_failed_commit
    def settle(self, hold_id: str, charge: Charge) -> Settlement:
        """Write the charge once; usage that comes late settles a row in doubt, a second call changes nothing."""
        with self._store.write(soon=True) as tx:
            row = rows.attempt(tx, hold_id)
            if row.is_final:
                return Settlement("settled", row.nano, row.tokens, overrun=rows.has_overrun(tx, hold_id, row))
            if row.phase == "held":
                raise InternalError(f"attempt {hold_id} was settled but never marked as sent")
            return substitution.settle(tx, hold_id, row, charge)

    @retry_failed_commit
    def void(self, hold_id: str, reason: str) -> None:
        """Write that an attempt surely cost nothing, which may come late: after its process was taken for dead."""
        with self._store.write(soon=True) as tx:
            phase = rows.attempt(tx, hold_id).phase
            if phase in ("held", "sent") or (phase == "doubt" and rows.is_buried(tx, hold_id)):
                rows.void(tx, hold_id, reason)

    @retry_failed_commit
    def doubt(
        self,
        hold_id: str,
        reason: str,
        *,
        ceiling: bool,
        provider_fault: bool,
        least: Charge | None = None,
        substitute: Substitute | None = None,
    ) -> Settlement:
        """Write that nobody knows: what counts is in ``Doubt``, until an hour after the deadline."""
        with self._store.write(soon=True) as tx:
            row = rows.attempt(tx, hold_id)
            if row.phase == "settled" or row.phase == "void":
                return Settlement(row.phase, row.nano, row.tokens)
            substitution.record(tx, hold_id, substitute)
            return rows.leave_in_doubt(tx, hold_id, row, Doubt(reason, ceiling, provider_fault, least, substitute))

    def spool(self, hold_id: str, conclusion: Conclusion) -> str:
        """Write beside the ledger what it cannot take now; return the file."""
        return str(self._spool.put(hold_id, conclusion))

    def conclude(self, hold_id: str, conclusion: Conclusion) -> Settlement:
        """Write how an attempt ended, once, and remove what stands of it in the spool.

        Raises:
            LedgerBusy: another process holds a lock.
            LedgerGone: the ledger was moved, deleted or replaced.
        """
        settlement = self._conclude(hold_id, conclusion)
        self._spool.remove_own(hold_id)
        return settlement

    def _conclude(self, hold_id: str, conclusion: Conclusion) -> Settlement:
        match conclusion:
            case Charge():
                return self.settle(hold_id, conclusion)
            case Doubt():
                return self.doubt(hold_id, **conclusion._asdict())
            case _:
                self.void(hold_id, conclusion.reason)
                return Settlement("void", 0, 0)

    def apply_spooled(self) -> None:
        """Write what earlier processes could not, each conclusion once; what cannot be applied stays in the spool."""
        for spooled in self._spool.read():
            if spooled.conclusion is None:
                continue
            try:
                self._conclude(spooled.attempt_id, spooled.conclusion)
            except (InternalError, OverflowError):
                continue  # no attempt of this ledger, or not what it can have come to
            except StateError:
                return  # what is to be written next says why
            self._spool.remove(spooled.attempt_id)

    def spend(self, run_id: str, further: Collection[LimitName] = ()) -> Spend:
        """Return what counts against the run and the hour now, and against ``further`` limits."""
        with self._store.read() as tx:
            nano, _ = run_amounts(tx, run_id, "nano")
            tokens, _ = run_amounts(tx, run_id, "tokens")
            others = {
                name: window_amounts(tx, name)[0] if name in WINDOWS else calls_a_minute(tx, run_id) for name in further
            }
            return Spend(nano, tokens, window_amounts(tx)[0], others)

    def _queue(self, tx: Transaction, ask: Ask, *, at_ceiling: bool) -> None:
        need = worst_case(ask, ask.least, at_ceiling=at_ceiling)
        tx.db.execute(
            "INSERT INTO waiters VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (attempt_id) DO UPDATE SET seen_us = excluded.seen_us",
            (ask.attempt_id, self._owner_id, ask.run_id, tx.now_us, tx.now_us, need.nano or 0, need.tokens),
        )

    @staticmethod
    def _leave(tx: Transaction, attempt_id: str) -> None:
        tx.db.execute("DELETE FROM waiters WHERE attempt_id = ?", (attempt_id,))


def settle_spooled(path: Path, *, patience_s: float = 1.0) -> None:
    """Write what stands in the spool of a ledger, if that can be done within ``patience_s`` seconds; else leave it."""
    with suppress(StateError, OSError):
        path.stat()  # else opening would make a new one
        store = Database(path, patience_s=patience_s, busy_s=patience_s)
        try:
            LedgerSession(store, owner_id="", pid=os.getpid()).apply_spooled()
        finally:
            store.close()
