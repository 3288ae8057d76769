"""The ``Ledger`` that a run uses: transactions in worker threads, opened at the first of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeVar

import anyio.to_thread

from agentctl.budget.conclusions import Charge, Conclusion, Doubt, Settlement, Void
from agentctl.budget.rules import Ask, Hold, PastSpending, Spend, Wait
from agentctl.core.errors import LimitName, Verdict
from agentctl.core.leases import Lease
from agentctl.core.ledger_address import LedgerAddress, PostgresAddress
from agentctl.core.limits import CostLimit, Initiator, Parent
from agentctl.core.substitutes import Substitute
from agentctl.ledger.clock import ReadClock
from agentctl.ledger.database import BUSY_S, Database
from agentctl.ledger.ledger_session import NOBODY, PAUSE_S, LedgerSession

T = TypeVar("T")


class ThreadedLedger:
    """A ``Ledger`` whose transactions run in worker threads, on a session that is made at the first of them."""

    def __init__(self) -> None:
        self._opening = threading.Lock()
        self._session: LedgerSession | None = None

    def _make_session(self) -> LedgerSession:
        raise NotImplementedError

    def _open(self) -> LedgerSession:
        with self._opening:
            if self._session is None:
                self._session = self._make_session()
            return self._session

    async def _do(self, operation: Callable[[LedgerSession], T]) -> T:
        return await anyio.to_thread.run_sync(lambda: operation(self._open()))

    async def open_run(
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
        """Insert a run and its limits, below ``parent`` if it has one."""
        await self._do(
            lambda ledger: ledger.open_run(
                run_id, limits, task=task, agent=agent, labels=labels, parent=parent, capability=capability
            )
        )

    async def reopen_run(
        self, run_id: str, limits: CostLimit, *, parent: Parent | Lease | None = None, capability: str = ""
    ) -> PastSpending:
        """Open a run that has ended again, with new limits, and return what it has spent."""
        return await self._do(lambda ledger: ledger.reopen_run(run_id, limits, parent=parent, capability=capability))

    async def reserve(self, ask: Ask) -> Hold | Wait | Verdict:
        """Add up, judge and hold in one transaction."""
        return await self._do(lambda ledger: ledger.reserve(ask))

    async def leave_queue(self, attempt_id: str) -> None:
        """Give up waiting for room."""
        await self._do(lambda ledger: ledger.leave_queue(attempt_id))

    async def mark_sent(self, hold_id: str) -> bool:
        """Mark a hold as sent; False means that it may not be sent."""
        return await self._do(lambda ledger: ledger.mark_sent(hold_id))

    async def settle(self, hold_id: str, charge: Charge) -> Settlement:
        """Write the charge once."""
        return await self._do(lambda ledger: ledger.conclude(hold_id, charge))

    async def void(self, hold_id: str, reason: str) -> None:
        """Write that an attempt cost nothing."""
        await self._do(lambda ledger: ledger.conclude(hold_id, Void(reason)))

    async def doubt(
        self,
        hold_id: str,
        reason: str,
        *,
        ceiling: bool = False,
        provider_fault: bool = True,
        least: Charge | None = None,
        substitute: Substitute | None = None,
    ) -> Settlement:
        """Leave an attempt in doubt; ``least`` is its minimum cost."""
        doubt = Doubt(reason, ceiling, provider_fault, least, substitute)
        return await self._do(lambda ledger: ledger.conclude(hold_id, doubt))

    async def spool(self, hold_id: str, conclusion: Conclusion) -> str:
        """Write a conclusion beside the ledger, which cannot take it now; return the path of the file."""
        return await self._do(lambda ledger: ledger.spool(hold_id, conclusion))

    async def spend(self, run_id: str, further: Collection[LimitName] = ()) -> Spend:
        """Return the amounts that count against the run and the hour now, and against ``further`` limits."""
        return await self._do(lambda ledger: ledger.spend(run_id, further))

    async def close_run(self, run_id: str, status: str) -> None:
        """Write how a run ended."""
        await self._do(lambda ledger: ledger.close_run(run_id, status))

    async def aclose(self) -> None:
        """Close the ledger; open attempts are concluded as for a dead process."""
        with anyio.CancelScope(shield=True):
            if self._session is not None:
                session, self._session = self._session, None
                await anyio.to_thread.run_sync(session.close)


def make_ledger(address: LedgerAddress, initiator: Initiator = NOBODY) -> ThreadedLedger:
    """Return the ledger at an address as a run uses it: a file, or a server, whose code is loaded only then.

    ``initiator`` is who runs this process, which the ledger stores with it.
    """
    if not isinstance(address, PostgresAddress):
        return SqliteLedger(address, initiator=initiator)
    from agentctl.ledger.postgres.postgres_ledger import PostgresLedger  # noqa: PLC0415 - most ledgers are files

    return PostgresLedger(address, initiator=initiator)


class SqliteLedger(ThreadedLedger):
    """A ``Ledger`` in one SQLite file, shared by all processes of a user.

    No file is created before the first call. ``pause_s`` is the pause for a provider after two doubts in a row;
    ``patience_s`` is how long to queue for writing, ``busy_s`` how long to wait for another program's lock.
    Every method may raise StateError.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: ReadClock | None = None,
        pause_s: float = PAUSE_S,
        patience_s: float = 30.0,
        busy_s: float = BUSY_S,
        initiator: Initiator = NOBODY,
    ) -> None:
        super().__init__()
        self.path = path
        self._clock = clock
        self._pause_s, self._initiator = pause_s, initiator
        self._patience_s, self._busy_s = patience_s, busy_s

    def _make_session(self) -> LedgerSession:
        database = Database(self.path, clock=self._clock, patience_s=self._patience_s, busy_s=self._busy_s)
        return LedgerSession(
            database, owner_id=os.urandom(16).hex(), pid=os.getpid(), pause_s=self._pause_s, initiator=self._initiator
        )
