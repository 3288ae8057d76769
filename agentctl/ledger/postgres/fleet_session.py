"""The transactions of one process on a fleet's ledger: those of ``LedgerSession``, with a lease in place of a lock."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import NamedTuple

from agentctl.budget.conclusions import Charge, Conclusion, Settlement
from agentctl.budget.rules import Ask, Hold, LimitState, PastSpending, Wait, WorstCase, worst_case
from agentctl.core.errors import AgentctlError, InternalError, StateError, Verdict
from agentctl.core.leases import Lease
from agentctl.core.limits import CostLimit, Initiator, Parent
from agentctl.core.messages import boot_s
from agentctl.ledger import attempts, runs
from agentctl.ledger.attempts import storable
from agentctl.ledger.clock import as_datetime
from agentctl.ledger.database import retry_failed_commit
from agentctl.ledger.ledger_session import NOBODY, PAUSE_S, LedgerSession
from agentctl.ledger.postgres.ddl import LEASE_US
from agentctl.ledger.postgres.fast_path import FastPath
from agentctl.ledger.postgres.fleet_database import FleetDatabase
from agentctl.ledger.postgres.owner_lease import LeaseRenewal
from agentctl.ledger.postgres.server import ConnectionLost
from agentctl.ledger.transaction import Transaction

SEND_WITHIN_S = 5.0  # from just before the COMMIT of a mark to the first byte, by the clock that counts suspend

_REGISTER = """
INSERT INTO owners (id, pid, host, boot_id, started_us, lease_until_us, user_name, ci_run)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET ended_us = NULL, lease_until_us = excluded.lease_until_us,
    epoch = owners.epoch + CASE WHEN owners.ended_us IS NULL THEN 1 ELSE 0 END
WHERE owners.ended_us IS NOT NULL OR owners.lease_until_us <= ?
"""
#: The hold is this owner's, under its present epoch, and its lease has not expired.
_MAY_SEND = """
SELECT 1 FROM attempts AS a JOIN owners AS o ON o.id = a.owner_id
WHERE a.id = ? AND o.id = ? AND o.ended_us IS NULL AND o.lease_until_us > ? AND a.epoch = o.epoch
"""
_OPEN_HERE = "SELECT id, nano, tokens FROM attempts WHERE owner_id = ? AND phase IN ('held', 'sent') ORDER BY id"
_OPENED = "SELECT 1 FROM scopes WHERE id = ? AND opened_by = ? AND closed_us IS NULL"


_LOST = "its mark was lost at a fail-over"
_LOST_END = "how it ended was lost at a fail-over"


def _is_there(tx: Transaction, scope_id: str) -> bool:
    return tx.db.execute("SELECT 1 FROM scopes WHERE id = ?", (scope_id,)).fetchone() is not None


class _Granted(NamedTuple):
    """A hold as it was granted, to be entered again if a fail-over loses it."""

    ask: Ask
    worst: WorstCase
    limits: tuple[LimitState, ...]
    deadline_us: int


class FleetSession(LedgerSession):
    """A fleet's ledger as one process uses it. Its owner lives as long as its lease is renewed.

    An owner whose lease has expired sends nothing that it holds: another process may have given the room away. It gets
    a new lease with its next reservation.
    """

    _database: FleetDatabase

    def __init__(
        self, database: FleetDatabase, *, owner_id: str, pause_s: float = PAUSE_S, initiator: Initiator = NOBODY
    ) -> None:
        super().__init__(database, owner_id=owner_id, pid=os.getpid(), pause_s=pause_s, initiator=initiator)
        self._renewal: LeaseRenewal | None = None
        self.send_by: dict[str, float] = {}
        self._opened: dict[str, tuple[runs.NewRun, CostLimit]] = {}
        self._granted: dict[str, _Granted] = {}
        self._sent: dict[str, _Granted] = {}
        database.on_promotion = self._restore
        self._maybe_opened: set[str] = set()
        self._was_promoted = False
        self._fast_path = FastPath(database, owner_id)

    def _begin_life(self, tx: Transaction) -> None:
        self._renewal = LeaseRenewal(self._database.address, self._owner_id)

    def _end_life(self) -> None:
        renewal, self._renewal = self._renewal, None
        if renewal is not None:
            renewal.stop()

    def close(self) -> None:
        """End this owner; if that cannot be written now, its lease expires, and others conclude what it left."""
        with suppress(StateError):
            super().close()

    def _register(self, tx: Transaction) -> None:
        if not self._is_registered:
            self._begin_life(tx)
            self._is_registered = True
        owner = (self._owner_id, self._pid, storable(socket.gethostname()), self._boot_id)
        tx.db.execute(_REGISTER, (*owner, tx.now_us, tx.now_us + LEASE_US, *self._whose, tx.now_us))

    def _answer(self, ask: Ask) -> Hold | Wait | Verdict | AgentctlError:
        if (hold := self._reserve_whole(ask)) is not None:
            return hold
        answer = super()._answer(ask)
        self._fast_path.note(ask, answer)
        return answer

    @retry_failed_commit
    def _reserve_whole(self, ask: Ask) -> Hold | None:
        """Hold all that a request wishes, if that is possible in one round trip."""
        self._has_paid_calls |= ask.facts.metered
        is_known = ask.attempt_id in self._granted
        if not is_known:  # before: if the answer is lost, so that a fail-over then finds an open hold, it is ours
            self._granted[ask.attempt_id] = _Granted(ask, worst_case(ask, ask.most), (), 0)
        if (granted := self._fast_path.reserve(ask)) is None:
            if not is_known:
                del self._granted[ask.attempt_id]
            return None
        hold, worst, deadline_us = granted
        self._granted[hold.id] = _Granted(ask, worst, (), deadline_us)
        return hold

    def _find_hold(self, tx: Transaction, ask: Ask) -> Hold | None:
        hold = super()._find_hold(tx, ask)
        known = self._granted.get(ask.attempt_id)
        if hold is not None and (known is None or not known.deadline_us):  # its COMMIT had no answer
            worst = WorstCase(hold.granted_output, hold.nano, hold.tokens)
            deadline_us = (hold.deadline_at - as_datetime(0)) // timedelta(microseconds=1)
            self._granted[hold.id] = _Granted(ask, worst, (), deadline_us)
        return hold

    def mark_sent(self, hold_id: str) -> bool:
        """Mark a hold as sent, in one round trip if it may be sent."""
        if self._has_paid_calls:
            self._spool.allocate()
        send_by = boot_s() + SEND_WITHIN_S
        if not self._fast_path.mark_sent(hold_id):
            return super().mark_sent(hold_id)
        if hold_id in self._granted:
            self._sent[hold_id] = self._granted[hold_id]
        self.send_by[hold_id] = send_by
        return True

    @retry_failed_commit
    def settle(self, hold_id: str, charge: Charge) -> Settlement:
        """Write the charge, once, in one round trip if it is within its hold."""
        settled = self._fast_path.settle(hold_id, charge)
        return super().settle(hold_id, charge) if settled is None else settled

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
        """Insert a run and its limits; a second try finds what the first one has written."""
        if not self._was_opened(run_id):
            with self._noting_lost_commit(run_id):
                super().open_run(
                    run_id, limits, task=task, agent=agent, labels=labels, parent=parent, capability=capability
                )
        self._opened[run_id] = runs.NewRun(run_id, self._owner_id, task, agent, labels, parent, capability), limits

    def reopen_run(
        self, run_id: str, limits: CostLimit, *, parent: Parent | Lease | None = None, capability: str = ""
    ) -> PastSpending:
        """Open a run that has ended again; a second try finds what the first one has written."""
        if self._was_opened(run_id):
            with self._database.read() as tx:
                return runs.past_spending(tx, run_id)
        with self._noting_lost_commit(run_id):
            return super().reopen_run(run_id, limits, parent=parent, capability=capability)

    @contextmanager
    def _noting_lost_commit(self, run_id: str) -> Iterator[None]:
        try:
            yield
        except ConnectionLost:
            self._maybe_opened.add(run_id)
            raise

    def _was_opened(self, run_id: str) -> bool:
        """Return whether an earlier try, whose COMMIT had no answer, has opened a run; wait for one under way."""
        if run_id not in self._maybe_opened:
            return False
        with self._database.write() as tx:
            found = tx.db.execute(_OPENED, (run_id, self._owner_id)).fetchone()
        self._maybe_opened.discard(run_id)
        return found is not None

    def _may_send(self, tx: Transaction, hold_id: str) -> bool:
        self._database.refuse_lossy()
        if tx.db.execute(_MAY_SEND, (hold_id, self._owner_id, tx.now_us)).fetchone() is not None:
            if hold_id in self._granted:
                self._sent[hold_id] = self._granted[hold_id]
            self.send_by[hold_id] = boot_s() + SEND_WITHIN_S
            return True
        runs.void_held(tx, "id = ?", hold_id, reason="its lease expired before sending")
        return False

    def _insert_hold(self, tx: Transaction, ask: Ask, worst: WorstCase, limits: tuple[LimitState, ...]) -> Hold:
        hold = super()._insert_hold(tx, ask, worst, limits)
        self._granted[hold.id] = _Granted(ask, worst, limits, tx.now_us + int(ask.deadline_s * 1_000_000))
        return hold

    def conclude(self, hold_id: str, conclusion: Conclusion) -> Settlement:
        """Write how an attempt ended, once, and remove its file from the spool."""
        settlement = super().conclude(hold_id, conclusion)
        self._forget(hold_id)
        return settlement

    def _forget(self, hold_id: str) -> None:
        for remembered in (self._granted, self._sent, self.send_by):
            remembered.pop(hold_id, None)

    def _restore(self, tx: Transaction) -> None:
        """Enter again, in doubt, what this process has sent and a fail-over has lost, before anything else is written.

        A hold that was lost with its mark was sent all the same, and the next process to reserve must count it. So must
        it count a call that was concluded here, and is open again: its charge is lost.
        """
        self._register(tx)
        self._was_promoted = True
        for run_id in self._opened:
            self._restore_run(tx, run_id)
        for hold_id, nano, tokens in tx.db.execute(_OPEN_HERE, (self._owner_id,)).fetchall():
            if hold_id not in self._granted:
                attempts.doubt(tx, hold_id, nano, tokens, _LOST_END, provider_fault=False)
        for hold_id, granted in self._sent.items():
            row = tx.db.execute("SELECT phase FROM attempts WHERE id = ?", (hold_id,)).fetchone()
            if row is not None and row[0] not in ("held", "void"):
                continue
            if row is None:
                self._restore_run(tx, granted.ask.run_id)
                attempts.insert(
                    tx, granted.ask, granted.worst, granted.limits, owner_id=self._owner_id,
                    deadline_us=granted.deadline_us,
                )  # fmt: skip
            attempts.doubt(tx, hold_id, granted.worst.nano, granted.worst.tokens, _LOST, provider_fault=False)

    def _restore_run(self, tx: Transaction, run_id: str) -> None:
        """Insert a run that was lost. Where its parent was lost, too, it spends nothing more."""
        if _is_there(tx, run_id):
            return
        run, limits = self._opened.get(
            run_id, (runs.NewRun(run_id, self._owner_id, "", "", {}), CostLimit(max_cost_per_task=None))
        )
        if isinstance(run.parent, Parent) and not _is_there(tx, run.parent.run_id):
            runs.insert(tx, run._replace(parent=None), limits)
            runs.close(tx, run_id, StateError.status)
        else:
            runs.insert(tx, run, limits)

    def reserve(self, ask: Ask) -> Hold | Wait | Verdict:
        """Add up, judge and hold in one transaction.

        Raises:
            StateError: a fail-over has lost the run, and it could not be restored.
        """
        try:
            return super().reserve(ask)
        except InternalError as error:
            if not self._was_promoted:
                raise
            raise StateError(
                f"run {ask.run_id} was lost at a fail-over of {self._database}", hint="start the run again"
            ) from error

    def close_run(self, run_id: str, status: str) -> None:
        """Write the status of a run that ended; it is not restored any more."""
        super().close_run(run_id, status)
        self._opened.pop(run_id, None)

    def void_unsent(self, hold_id: str, reason: str) -> None:
        """Void a hold whose mark is uncertain, and which was surely not sent."""
        with self._database.write(soon=True, attempt_id=hold_id) as tx:
            if attempts.run_of(tx, hold_id) and attempts.read(tx, hold_id).phase in ("held", "sent", "doubt"):
                attempts.void(tx, hold_id, reason)
        self._forget(hold_id)

    def void(self, hold_id: str, reason: str) -> None:
        """Write that an attempt cost nothing; one that was lost at a fail-over with its hold was not sent either."""
        try:
            super().void(hold_id, reason)
        except InternalError:
            if not self._was_promoted:
                raise
