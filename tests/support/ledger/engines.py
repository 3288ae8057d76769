"""The two engines of the ledger, so that the same tests run over both: a SQLite file, and a database of PostgreSQL."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from agentctl.core.ledger_address import LedgerAddress, PostgresAddress
from agentctl.core.limits import Initiator
from agentctl.ledger import SqliteLedger
from agentctl.ledger.clock import ReadClock
from agentctl.ledger.database import Database
from agentctl.ledger.ledger_session import NOBODY, PAUSE_S, LedgerSession
from agentctl.ledger.sqlite import ThreadedLedger
from agentctl.ledger.transaction import Rows
from tests.support.ledger.parts import HandClock

if TYPE_CHECKING:  # psycopg takes a while to load, and most tests are of files
    from psycopg import Connection

_HAND_CLOCK = """
CREATE TABLE agentctl.hand_clock (us bigint NOT NULL);
INSERT INTO agentctl.hand_clock VALUES (0);
CREATE OR REPLACE FUNCTION agentctl.server_time_us() RETURNS bigint LANGUAGE sql VOLATILE AS
$$ SELECT us FROM agentctl.hand_clock $$;
"""
#: The owners that live renew their leases, as they would have done in that time.
_TURN = """
UPDATE agentctl.owners SET lease_until_us = :us + 60000000 WHERE ended_us IS NULL AND lease_until_us > 0;
UPDATE agentctl.hand_clock SET us = :us;
"""


class FleetClock(HandClock):
    """The clock of a server, turned by hand."""

    def __init__(self, address: PostgresAddress, wall_s: float | None = None) -> None:
        self._address: PostgresAddress | None = None
        super().__init__()
        self._address = address
        self.wall_s = self.wall_s if wall_s is None else wall_s

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "wall_s" and self._address is not None:
            with closing(FleetRows(self._address)) as db:
                for statement in _TURN.strip().splitlines():
                    db.execute(statement, {"us": int(self.wall_s * 1_000_000)})


def clock_at(address: LedgerAddress, wall_s: float) -> HandClock:
    """Return the clock of a ledger, turned by hand."""
    return FleetClock(address, wall_s) if isinstance(address, PostgresAddress) else HandClock(wall_s=wall_s)


def add_hand_clock(db: Connection) -> None:
    """Replace the server's clock by a row that tests write."""
    db.execute(_HAND_CLOCK.encode())


class DatabaseServer(Protocol):
    """A server on which tests make databases."""

    def create_database(self, *, template: str = ...) -> str: ...

    def drop_database(self, name: str) -> None: ...

    def dsn(self, database: str = ..., /) -> str: ...

    def connect(self, database: str = ..., /) -> Connection[tuple[object, ...]]: ...


class OpenedRows(Protocol):
    """A ledger that is open by SQL; as a context manager it commits."""

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ..., /) -> Rows: ...

    def executescript(self, sql: str, /) -> object: ...

    def close(self) -> None: ...

    def __enter__(self) -> OpenedRows: ...

    def __exit__(self, *_: Any) -> object: ...  # noqa: ANN401 - as sqlite3 has it


class FleetRows:
    """A fleet's ledger as a test reads and changes it by SQL, in SQLite's words."""

    def __init__(self, address: PostgresAddress) -> None:
        from agentctl.ledger.postgres.server import connect

        self._db = connect(address)
        self._db.execute("SET search_path = agentctl, pg_catalog")

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = (), /) -> Rows:
        from agentctl.ledger.postgres.dialect import adapt, translate

        return self._db.execute(translate(sql).encode(), adapt(sql, parameters))

    def executescript(self, script: str, /) -> None:
        self._db.execute(script.encode())

    def __enter__(self) -> FleetRows:
        return self

    def __exit__(self, *_: object) -> None:
        """Each statement is committed by itself."""

    def close(self) -> None:
        self._db.close()


def database_at(address: LedgerAddress) -> OpenedRows:
    """Open a ledger by SQL, behind the program's back."""
    return FleetRows(address) if isinstance(address, PostgresAddress) else sqlite3.connect(address)


def ledger_at(
    address: LedgerAddress, *, clock: ReadClock | None = None, pause_s: float = PAUSE_S, initiator: Initiator = NOBODY
) -> ThreadedLedger:
    """Open a ledger as a run does."""
    if not isinstance(address, PostgresAddress):
        return SqliteLedger(address, clock=clock, pause_s=pause_s, initiator=initiator)
    from agentctl.ledger.postgres import PostgresLedger

    return PostgresLedger(address, pause_s=pause_s, initiator=initiator)


def session_at(address: LedgerAddress, *, clock: ReadClock | None, owner: str, pause_s: float) -> LedgerSession:
    """Open a ledger as one more owner."""
    if not isinstance(address, PostgresAddress):
        return LedgerSession(Database(address, clock=clock), owner_id=owner, pid=os.getpid(), pause_s=pause_s)
    from agentctl.ledger.postgres.fleet_database import FleetDatabase
    from agentctl.ledger.postgres.fleet_session import FleetSession

    session = FleetSession(FleetDatabase(address), owner_id=owner, pause_s=pause_s)
    _OPENED.append(session)
    return session


_OPENED: list[LedgerSession] = []


def leave_all() -> None:
    """Close what tests have left open, as the end of a process does: nothing is written."""
    while _OPENED:
        session = _OPENED.pop()
        session._end_life()
        session._database.close()


def end_lease(address: PostgresAddress, owner: str) -> None:
    """Let the lease of an owner expire, as a killed process does."""
    with closing(FleetRows(address)) as db:
        db.execute("UPDATE owners SET lease_until_us = 0 WHERE id = ?", (owner,))


@contextmanager
def fleet_template(server: DatabaseServer) -> Iterator[str]:
    """Create an empty ledger whose clock tests turn, to copy databases from."""
    from agentctl.ledger.postgres import migrate

    name = server.create_database()
    migrate(PostgresAddress(server.dsn(name), Path("/")))
    with closing(server.connect(name)) as db:
        add_hand_clock(db)
    yield name
    server.drop_database(name)
