"""Open the ledger at an address: a SQLite file, or a PostgreSQL server, whose code is loaded only then."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from agentctl.core.ledger_address import LedgerAddress, PostgresAddress
from agentctl.ledger.clock import ClockReading, ReadClock, system_clock
from agentctl.ledger.database import BUSY_S, Database
from agentctl.ledger.transaction import LedgerDatabase


def open_database(
    address: LedgerAddress, *, clock: ReadClock | None = None, patience_s: float = 30.0, busy_s: float = BUSY_S
) -> LedgerDatabase:
    """Return the ledger at an address, open for writing; a file that is not there is created.

    ``clock``, ``patience_s`` and ``busy_s`` are those of a file: a server has its own time, and its own limits.
    """
    if not isinstance(address, PostgresAddress):
        return Database(address, clock=clock, patience_s=patience_s, busy_s=busy_s)
    from agentctl.ledger.postgres.fleet_database import FleetDatabase  # noqa: PLC0415 - most ledgers are files

    return FleetDatabase(address)


def exists(address: LedgerAddress) -> bool:
    """Return whether there is a ledger; a server is asked when it is used.

    Raises:
        OSError: the folder cannot be read.
    """
    if isinstance(address, PostgresAddress):
        return True
    try:
        address.stat()
    except FileNotFoundError:
        return False
    return True


def clock_of(address: LedgerAddress) -> ReadClock:
    """Return the clock that a ledger goes by: this machine's for a file; that of its server, which is asked once.

    Raises:
        StateError: the server cannot be asked.
    """
    own = system_clock()
    if not isinstance(address, PostgresAddress):
        return own
    with closing(open_database(address)) as database, database.read() as tx:
        ahead_us = tx.wall_us - own().wall_us

    def read() -> ClockReading:
        reading = own()
        return reading._replace(wall_us=reading.wall_us + ahead_us)

    return read


def files_of(address: LedgerAddress) -> Path:
    """Return the path beside which the files of this machine are kept, such as the spool."""
    return address.beside if isinstance(address, PostgresAddress) else address
