"""The transactions of one process on a fleet's ledger: those of ``LedgerSession``, with a lease in place of a lock."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from agentctl.budget.rules import PastSpending
from agentctl.core.leases import Lease
from agentctl.core.limits import CostLimit, Parent
from agentctl.ledger import attempts, runs
from agentctl.ledger.ledger_session import PAUSE_S, LedgerSession
from agentctl.ledger.postgres.ddl import LEASE_US
from agentctl.ledger.postgres.fleet_database import FleetDatabase
from agentctl.ledger.postgres.owner_lease import LeaseRenewal
from agentctl.ledger.postgres.server import ConnectionLost
from agentctl.ledger.transaction import Transaction

_REGISTER = """
INSERT INTO owners (id, pid, host, boot_id, started_us, lease_until_us, user_name, ci_run)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET ended_us = NULL, lease_until_us = excluded.lease_until_us
WHERE owners.ended_us IS NOT NULL OR owners.lease_until_us <= ?
"""
#: The hold is this owner's, under its present epoch, and its lease has not expired.
_MAY_SEND = """
SELECT 1 FROM attempts AS a JOIN owners AS o ON o.id = a.owner_id
WHERE a.id = ? AND o.id = ? AND o.ended_us IS NULL AND o.lease_until_us > ? AND a.epoch = o.epoch
"""
_OPENED = "SELECT 1 FROM scopes WHERE id = ? AND opened_by = ? AND closed_us IS NULL"


class FleetSession(LedgerSession):
    """A fleet's ledger as one process uses it. Its owner lives as long as its lease is renewed.

    An owner whose lease has expired sends nothing that it holds: another process may have given the room away. It gets
    a new lease with its next reservation.
    """

    _database: FleetDatabase

    def __init__(self, database: FleetDatabase, *, owner_id: str, pause_s: float = PAUSE_S) -> None:
        super().__init__(database, owner_id=owner_id, pid=os.getpid(), pause_s=pause_s)
        self._renewal: LeaseRenewal | None = None
        self._maybe_opened: set[str] = set()

    def _begin_life(self, tx: Transaction) -> None:
        self._renewal = LeaseRenewal(self._database.address, self._owner_id)

    def _end_life(self) -> None:
        renewal, self._renewal = self._renewal, None
        if renewal is not None:
            renewal.stop()

    def _register(self, tx: Transaction) -> None:
        if not self._is_registered:
            self._begin_life(tx)
            self._is_registered = True
        address = self._database.address
        whose = (address.user_name or None, address.ci_run or None)
        tx.db.execute(
            _REGISTER,
            (
                *(self._owner_id, self._pid, socket.gethostname(), self._boot_id, tx.now_us, tx.now_us + LEASE_US),
                *(*whose, tx.now_us),
            ),
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
        """Insert a run and its limits; a second try finds what the first one has written."""
        if not self._was_opened(run_id):
            with self._noting_lost_commit(run_id):
                super().open_run(
                    run_id, limits, task=task, agent=agent, labels=labels, parent=parent, capability=capability
                )

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
        """Return whether an earlier try, whose COMMIT had no answer, has opened a run."""
        if run_id not in self._maybe_opened:
            return False
        with self._database.read() as tx:
            found = tx.db.execute(_OPENED, (run_id, self._owner_id)).fetchone()
        self._maybe_opened.discard(run_id)
        return found is not None

    def _may_send(self, tx: Transaction, hold_id: str) -> bool:
        if tx.db.execute(_MAY_SEND, (hold_id, self._owner_id, tx.now_us)).fetchone() is not None:
            return True
        runs.void_held(tx, "id = ?", hold_id, reason="its lease expired before sending")
        return False

    def void_unsent(self, hold_id: str, reason: str) -> None:
        """Void a hold whose mark is uncertain, and which was surely not sent."""
        with self._database.write(soon=True) as tx:
            if attempts.read(tx, hold_id).phase in ("held", "sent", "doubt"):
                attempts.void(tx, hold_id, reason)
