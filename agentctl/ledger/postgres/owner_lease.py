"""Renew the lease of an owner by a connection of its own, in a thread, however busy the program is."""

from __future__ import annotations

import threading
from contextlib import suppress

from agentctl.core.errors import StateError
from agentctl.core.ledger_address import PostgresAddress
from agentctl.ledger.postgres.ddl import LEASE_US
from agentctl.ledger.postgres.server import LIMITS, connect

EVERY_S = LEASE_US / 1_000_000 / 3
_AGAIN_S = 2.0  # after a failure

#: A lease that has expired is not renewed: its owner may have been concluded, or will be.
_RENEW = f"""
UPDATE owners SET lease_until_us = ledger_time_us() + {LEASE_US}
WHERE id = %s AND ended_us IS NULL AND lease_until_us > ledger_time_us()
"""  # noqa: S608 - our own number


class LeaseRenewal:
    """Renews the lease of one owner until it is stopped."""

    def __init__(self, address: PostgresAddress, owner_id: str, *, every_s: float = EVERY_S) -> None:
        self._address, self._owner_id, self._every_s = address, owner_id, every_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="agentctl-lease", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        wait_s = self._every_s
        while not self._stopped.wait(wait_s):
            wait_s = self._every_s if self._renew() else min(_AGAIN_S, self._every_s)

    def _renew(self) -> bool:
        import psycopg

        with suppress(StateError, psycopg.Error):
            db = connect(self._address)  # for each renewal: a third of a minute keeps no connection busy
            try:
                db.execute(f"BEGIN; {LIMITS}")
                db.execute(_RENEW, (self._owner_id,))
                db.execute("COMMIT")
            finally:
                db.close()
            return True
        return False

    def stop(self) -> None:
        """Stop the thread."""
        self._stopped.set()
