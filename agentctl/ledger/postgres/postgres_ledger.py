"""The ``Ledger`` of a fleet: transactions on a PostgreSQL server in a worker thread, tried again where that is safe."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

from agentctl.budget.conclusions import Void
from agentctl.core.errors import StateError
from agentctl.core.ledger_address import PostgresAddress
from agentctl.core.limits import Initiator
from agentctl.ledger.ledger_session import NOBODY, PAUSE_S, LedgerSession
from agentctl.ledger.postgres import ddl
from agentctl.ledger.postgres.fleet_database import FleetDatabase
from agentctl.ledger.postgres.fleet_session import FleetSession
from agentctl.ledger.postgres.server import (
    REACH_S,
    ConnectionLost,
    ServerUnreachable,
    TransactionAborted,
    connect,
    pause,
)
from agentctl.ledger.sqlite import ThreadedLedger

T = TypeVar("T")


class PostgresLedger(ThreadedLedger):
    """A ``Ledger`` on PostgreSQL, shared by the processes of many machines.

    Nothing connects before the first call. What others are in the way of is tried again for ``budget_wait_s`` of the
    address, a lost connection for 5 s. Every method may raise StateError.
    """

    def __init__(self, address: PostgresAddress, *, pause_s: float = PAUSE_S, initiator: Initiator = NOBODY) -> None:
        super().__init__()
        self.address = address
        self._pause_s, self._initiator = pause_s, initiator

    @property
    def path(self) -> PostgresAddress:
        """The address."""
        return self.address

    def _make_session(self) -> LedgerSession:
        database = FleetDatabase(self.address)
        return FleetSession(database, owner_id=os.urandom(16).hex(), pause_s=self._pause_s, initiator=self._initiator)

    async def _do(self, operation: Callable[[LedgerSession], T]) -> T:
        """Run an operation that looks up its id first, again if that may help."""
        started, lost_at, tried = anyio.current_time(), None, 0
        while True:
            began, pause_s = anyio.current_time(), pause(tried)
            try:
                return await super()._do(operation)
            except TransactionAborted:
                if anyio.current_time() - started > self.address.budget_wait_s:
                    raise
            except (ConnectionLost, ServerUnreachable) as error:
                now = anyio.current_time()
                if lost_at is None:
                    lost_at = began if isinstance(error, ServerUnreachable) else now
                if now + pause_s + (now - began) > lost_at + REACH_S:  # one more try would end too late
                    raise
            await anyio.sleep(pause_s)
            tried += 1

    async def mark_sent(self, hold_id: str) -> bool:
        """Mark a hold as sent; False means that it may not be sent.

        A mark that is not certain counts as not sent, and is not tried again: the hold is void.

        Raises:
            StateError: it could not be voided now; it is written beside the ledger as void.
        """
        started, tried = anyio.current_time(), 0
        while True:
            try:
                return await ThreadedLedger._do(self, lambda ledger: ledger.mark_sent(hold_id))
            except TransactionAborted:  # nothing was written
                if anyio.current_time() - started > self.address.budget_wait_s:
                    raise
            except (ConnectionLost, ServerUnreachable) as error:
                with anyio.CancelScope(shield=True):
                    await self._void_unsent(hold_id, error)
                return False
            await anyio.sleep(pause(tried))
            tried += 1

    def send_by(self, hold_id: str) -> float:
        """Return when the first byte of a marked request must have left, by ``boot_s``; 0 for one not marked here."""
        session = self._session
        return session.send_by.pop(hold_id, 0.0) if isinstance(session, FleetSession) else 0.0

    async def _void_unsent(self, hold_id: str, error: StateError) -> None:
        reason = "not sent: its mark was not certain"

        def void(ledger: LedgerSession) -> None:
            if isinstance(ledger, FleetSession):
                ledger.void_unsent(hold_id, reason)

        try:
            await self._do(void)
        except StateError:
            await self.spool(hold_id, Void(reason))
            raise error from None


def migrate(address: PostgresAddress, *, role: str = "", replicated: bool | None = None) -> tuple[int, int]:
    """Create or migrate the ledger at an address; return the versions of its schema before and after.

    ``role`` gets the rights that runs need. ``replicated`` notes whether a standby is attached.

    Raises:
        StateError: the server cannot be reached, refuses, or a newer agentctl has migrated the ledger.
    """
    import psycopg

    from agentctl.ledger.postgres.server import translated  # noqa: PLC0415

    db = connect(address)
    try:
        return ddl.migrate(db, role=role, replicated=replicated)
    except psycopg.errors.InsufficientPrivilege as error:
        said = translated(error, address).message
        raise StateError(said, hint="name the role that owns the database in AGENTCTL_LEDGER, and try again") from error
    except psycopg.errors.UndefinedObject as error:
        raise StateError(translated(error, address).message, hint=f"create it first: CREATE ROLE {role}") from error
    except psycopg.Error as error:
        raise translated(error, address) from error
    finally:
        db.close()
