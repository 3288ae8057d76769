"""The transactions of one process: open a run, hold, mark sent, settle, void, leave in doubt, and apply the spool."""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import partial

from agentctl.budget.conclusions import Charge, Conclusion, Doubt, Settlement
from agentctl.budget.rules import Amounts, Ask, Hold, LimitState, PastSpending, Spend, Wait, WorstCase, worst_case
from agentctl.core.errors import AgentctlError, InternalError, LimitName, StateError, Verdict
from agentctl.core.leases import Lease
from agentctl.core.ledger_address import LedgerAddress
from agentctl.core.limits import WINDOWS, CostLimit, Initiator, Parent
from agentctl.core.substitutes import Substitute
from agentctl.ledger import attempts, grants, lease_scopes, provider_health, runs
from agentctl.ledger.attempts import storable
from agentctl.ledger.clock import as_datetime, read_boot_id
from agentctl.ledger.database import retry_failed_commit
from agentctl.ledger.engines import exists, open_database
from agentctl.ledger.grants import add_free_time, judge_request
from agentctl.ledger.locks import OwnerLock
from agentctl.ledger.provider_health import pause_or_probe, uncleared_overrun
from agentctl.ledger.spool import Spool
from agentctl.ledger.sums import calls_a_minute, limits_of, run_amounts, window_amounts
from agentctl.ledger.transaction import LedgerDatabase, Transaction

PAUSE_S = 2.0
NOBODY = Initiator()


class LedgerSession:
    """The ledger as one process uses it; every method is one transaction, and is on disk when it returns."""

    def __init__(
        self,
        database: LedgerDatabase,
        *,
        owner_id: str,
        pid: int,
        pause_s: float = PAUSE_S,
        initiator: Initiator = NOBODY,
    ) -> None:
        self._database = database
        self._owner_id = owner_id
        self._pid = pid
        self._pause_s = pause_s
        self._whose = tuple(storable(name) or None for name in initiator)
        self._owner_lock: OwnerLock | None = None
        self._is_registered = False
        self._boot_id = read_boot_id()
        self._spool = Spool(database.path, owner_id=owner_id)
        self._has_paid_calls = False

    def close(self) -> None:
        """End this owner: its holds become void, its sent attempts are left in doubt."""
        if os.getpid() != self._pid:
            return  # the copy of a fork: the parent still uses it
        was_registered, self._is_registered = self._is_registered, False
        try:
            if was_registered:
                with self._database.write() as tx:
                    runs.conclude_dead_owner(tx, self._owner_id)
        finally:
            self._spool.close()
            self._end_life()
            self._database.close()

    def _begin_life(self, tx: Transaction) -> None:
        """Make other processes see that this owner lives."""
        path = self._database.path
        self._owner_lock = OwnerLock(path.with_suffix(".owners"), self._owner_id, ledger=path)
        runs.remove_dead_locks(tx, but=self._owner_id)

    def _end_life(self) -> None:
        """Let other processes see that this owner has ended."""
        owner_lock, self._owner_lock = self._owner_lock, None
        if owner_lock is not None:
            owner_lock.close()

    def _register(self, tx: Transaction) -> None:
        if not self._is_registered:
            self._begin_life(tx)
            self._is_registered = True
        tx.db.execute(  # each time: an earlier one may have been rolled back
            "INSERT OR IGNORE INTO owners (id, pid, host, boot_id, started_us, user_name, ci_run)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self._owner_id, self._pid, storable(socket.gethostname()), self._boot_id, tx.now_us, *self._whose),
        )

    def open_run(
        self,
        run_id: str,
        limits: CostLimit,
        *,
        task: str,
        agent: str,
        labels: Mapping[str, str],
        parent: Parent | Lease | None = None,
        capability: str = "",
    ) -> None:
        """Insert a run and its limits, below ``parent`` if it has one.

        ``capability`` is the secret that its children must show; without one it can have no children.

        Raises:
            ActionDenied: no run may be opened below that parent.
            LeaseError: no run may be opened below that lease, or the parent does not belong to it.
        """
        self.apply_spooled()
        with self._database.write() as tx:
            self._register(tx)
            refused = None if parent is None else runs.refusal_below(tx, parent, self._is_gone(tx), self._database)
            if refused is None:
                run = runs.NewRun(run_id, self._owner_id, task, agent, labels, parent, capability)
                runs.insert(tx, run, limits)
        if refused is not None:
            raise refused

    def reopen_run(
        self, run_id: str, limits: CostLimit, *, parent: Parent | Lease | None = None, capability: str = ""
    ) -> PastSpending:
        """Open a run that has ended again, with limits that count all of its parts; return what it has spent.

        Raises:
            UsageError: it is alive, or not in this ledger.
            ActionDenied: it belongs to another run, or a run started this process.
        """
        self.apply_spooled()
        with self._database.write() as tx:
            self._register(tx)
            runs.conclude_dead_owners(tx, but=self._owner_id)
            run = runs.NewRun(run_id, self._owner_id, "", "", {}, parent, capability)
            entered = lease_scopes.refusal_to_enter(tx, parent) if isinstance(parent, Lease) else None
            refused = entered or runs.reopen(tx, run, limits, self._is_gone(tx))
            past = runs.past_spending(tx, run_id)
        if refused is not None:
            raise refused
        return past

    def _is_gone(self, tx: Transaction) -> runs.IsGone:
        return partial(runs.is_gone, tx, but=self._owner_id)

    @retry_failed_commit
    def close_run(self, run_id: str, status: str) -> None:
        """Write the status of a run that ended; from then on nothing is admitted under it, or below it."""
        with self._database.write() as tx:
            runs.close(tx, run_id, status)

    def reserve(self, ask: Ask) -> Hold | Wait | Verdict:
        """Add up, judge and hold in one transaction; a request that waits takes its place in the queue.

        First it concludes the attempts of killed processes (``runs.conclude_dead_owners``): sent ones are in doubt, the
        rest is void.

        Raises:
            ActionDenied: a run above has ended. LeaseError: the lease has expired, or was closed.
            UnknownPrice: a run above has a dollar limit, and there is no price or no bound for the model.
        """
        answer = self._answer(ask)
        if isinstance(answer, AgentctlError):  # raised after the commit, which keeps what was written so far
            raise answer
        return answer

    @retry_failed_commit
    def _answer(self, ask: Ask) -> Hold | Wait | Verdict | AgentctlError:
        self._has_paid_calls |= ask.facts.metered
        with self._database.write(run_id=ask.run_id, attempt_id=ask.attempt_id) as tx:
            self._register(tx)
            runs.conclude_dead_owners(tx, but=self._owner_id)
            if (refused := runs.refusal_above(tx, ask.run_id, self._is_gone(tx))) is not None:
                self._leave_queue(tx, ask.attempt_id)
                return refused
            if (hold := self._find_hold(tx, ask)) is not None:
                return hold
            if ask.facts.metered:
                ask = provider_health.at_dearest_price(tx, ask)
                health = pause_or_probe(tx, ask.facts, pause_s=self._pause_s)
                if ask.purpose in ("answer", "summary") and not health:
                    health = Wait("provider", self._pause_s)
                if isinstance(health, Wait):
                    self._leave_queue(tx, ask.attempt_id)
                    return health
                if not health:
                    ask = ask._replace(most=ask.least, purpose="probe")
            own = grants.reserve_of(tx, ask.run_id) if ask.keep is not None else None
            limits = grants.subtract_own(limits_of(tx, ask), own) if ask.facts.metered else ()
            runs.require_bounded_cost(ask, limits)
            seen = uncleared_overrun(tx, ask)
            ask, broke = ask._replace(seen=seen), seen is not None
            ask, answer, kept, dropped = judge_request(tx, ask, limits, own, at_ceiling=broke)
            if isinstance(answer, Wait) and answer.reason == "bound":
                self._leave_queue(tx, ask.attempt_id)
                return answer
            if isinstance(answer, Wait):
                self._enter_queue(tx, ask, at_ceiling=broke)
                verdict = answer.verdict
                return answer if verdict is None else answer._replace(verdict=add_free_time(tx, ask, verdict))
            self._leave_queue(tx, ask.attempt_id)
            if isinstance(answer, Verdict):
                return add_free_time(tx, ask, answer)
            for one in dropped:
                attempts.void(tx, one.id, "another run needed the room")
            limits = grants.subtract_reserves(limits, dropped)
            grants.write(tx, ask, own, kept, limits, owner_id=self._owner_id)
            return self._insert_hold(tx, ask, answer, grants.add_reserve(limits, kept))

    def _find_hold(self, tx: Transaction, ask: Ask) -> Hold | None:
        """Return the hold of the same id, if a commit that was reported as failed has written it."""
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

    def _insert_hold(self, tx: Transaction, ask: Ask, worst: WorstCase, limits: tuple[LimitState, ...]) -> Hold:
        deadline = tx.now_us + int(ask.deadline_s * 1_000_000)
        attempts.insert(tx, ask, worst, limits, owner_id=self._owner_id, deadline_us=deadline)
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
        """Give up waiting, and void a hold that was granted too late."""
        with self._database.write() as tx:
            self._leave_queue(tx, attempt_id)
            runs.void_held(tx, "id = ?", attempt_id, reason="given up before sending")

    def mark_sent(self, hold_id: str) -> bool:
        """Mark a hold as sent if this process holds it, its deadline is ahead, and its run and all above it are open.

        Return False if it may not be sent. A COMMIT that fails is not tried again: a request needs a certain mark.
        """
        if self._has_paid_calls:
            self._spool.allocate()
        with self._database.write(attempt_id=hold_id) as tx:
            if runs.refusal_above(tx, attempts.run_of(tx, hold_id), self._is_gone(tx)) is not None:
                return False
            if not self._may_send(tx, hold_id):
                return False
            row = tx.db.execute(
                "UPDATE attempts SET phase = 'sent', sent_us = ?"
                " WHERE id = ? AND owner_id = ? AND phase = 'held' AND deadline_us > ?"
                " AND EXISTS (SELECT 1 FROM scopes AS s WHERE s.id = run_id AND (closed_us IS NULL OR status = ?))"
                " RETURNING nano, tokens",
                (tx.now_us, hold_id, self._owner_id, tx.now_us, runs.UNFINISHED),
            ).fetchone()
            if row is not None:
                attempts.append_entry(tx, hold_id, "sent", *row)
            return row is not None

    def _may_send(self, tx: Transaction, hold_id: str) -> bool:
        """Return whether this owner may still send what it holds; its lock says so as long as it runs."""
        return True

    @retry_failed_commit
    def settle(self, hold_id: str, charge: Charge) -> Settlement:
        """Write the charge, once; late usage settles an attempt in doubt, and a second call changes nothing."""
        with self._database.write(soon=True, attempt_id=hold_id) as tx:
            row = attempts.read(tx, hold_id)
            if row.is_final:
                return Settlement("settled", row.nano, row.tokens, overrun=attempts.has_overrun(tx, hold_id, row))
            if row.phase == "held":
                raise InternalError(f"attempt {hold_id} was settled but never marked as sent")
            return provider_health.settle(tx, hold_id, row, charge)

    @retry_failed_commit
    def void(self, hold_id: str, reason: str) -> None:
        """Write that an attempt cost nothing, also after its process was taken for dead."""
        with self._database.write(soon=True, attempt_id=hold_id) as tx:
            phase = attempts.read(tx, hold_id).phase
            if phase in ("held", "sent") or (phase == "doubt" and runs.was_left_by_dead_owner(tx, hold_id)):
                attempts.void(tx, hold_id, reason)

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
        """Leave an attempt in doubt: it counts as ``Doubt`` says, in the hour until 3600 s after its deadline."""
        with self._database.write(soon=True, attempt_id=hold_id) as tx:
            row = attempts.read(tx, hold_id)
            if row.phase == "settled" or row.phase == "void":
                return Settlement(row.phase, row.nano, row.tokens)
            provider_health.record_substitute(tx, hold_id, substitute)
            return attempts.leave_in_doubt(tx, hold_id, row, Doubt(reason, ceiling, provider_fault, least, substitute))

    def spool(self, hold_id: str, conclusion: Conclusion) -> str:
        """Write a conclusion beside the ledger, which cannot take it now; return the path of the file."""
        return str(self._spool.put(hold_id, conclusion))

    def conclude(self, hold_id: str, conclusion: Conclusion) -> Settlement:
        """Write how an attempt ended, once, and remove its file from the spool.

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
        """Write the conclusions in the spool, each once; one that cannot be applied stays there."""
        for spool in (self._spool, *self._spool.at_other_addresses()):
            for spooled in spool.read():
                if spooled.conclusion is None:
                    continue
                try:
                    self._conclude(spooled.attempt_id, spooled.conclusion)
                except (InternalError, OverflowError):
                    continue  # no attempt of this ledger, or one that was never sent
                except StateError:
                    return  # the next transaction reports why
                spool.remove(spooled.attempt_id)

    def spend(self, run_id: str, further: Collection[LimitName] = ()) -> Spend:
        """Return the amounts that count against the run and the hour now, and against ``further`` limits."""
        with self._database.read() as tx:
            nano, _ = run_amounts(tx, run_id, "nano")
            tokens, _ = run_amounts(tx, run_id, "tokens")
            others = {name: _amounts_of(tx, run_id, name) for name in further}
            return Spend(nano, tokens, window_amounts(tx)[0], others)

    def _enter_queue(self, tx: Transaction, ask: Ask, *, at_ceiling: bool) -> None:
        need = worst_case(ask, ask.least, at_ceiling=at_ceiling)
        tx.db.execute(
            "INSERT INTO waiters VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (attempt_id) DO UPDATE SET seen_us = excluded.seen_us,"
            " since_us = CASE WHEN waiters.seen_us < 0 THEN excluded.since_us ELSE waiters.since_us END",
            (ask.attempt_id, self._owner_id, ask.run_id, tx.now_us, tx.now_us, need.nano or 0, need.tokens),
        )

    @staticmethod
    def _leave_queue(tx: Transaction, attempt_id: str) -> None:
        tx.db.execute("DELETE FROM waiters WHERE attempt_id = ?", (attempt_id,))


def _amounts_of(tx: Transaction, run_id: str, limit: LimitName) -> Amounts:
    """Return the amounts that count against an optional limit of a run."""
    if limit in WINDOWS:
        return window_amounts(tx, limit)[0]
    if limit == "max_cost_per_lease":
        return run_amounts(tx, lease_scopes.scope_above(tx, run_id), "nano")[0]
    return calls_a_minute(tx, run_id)


def settle_spooled(path: LedgerAddress, *, patience_s: float = 1.0) -> None:
    """Apply the spool of a ledger if that is possible within ``patience_s`` seconds; else leave it."""
    with suppress(StateError, OSError):
        if not exists(path):  # opening would make a new ledger
            return
        database = open_database(path, patience_s=patience_s, busy_s=patience_s)
        try:
            LedgerSession(database, owner_id="", pid=os.getpid()).apply_spooled()
        finally:
            database.close()
