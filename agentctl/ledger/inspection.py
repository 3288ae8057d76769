"""Read a ledger without changing it, in a consistent view that blocks no writer; check whether the file is sound.

A reader does not migrate a file, and may not be able to; a copy takes seconds and gigabytes. A file of an older schema
is read through views of one connection that have the names of this schema's tables and hide the file's own. Columns and
tables that were added since come from the schema itself; values that a migration computes from rows are computed here
by the same rule.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from agentctl.core.ledger_address import LedgerAddress, PostgresAddress
from agentctl.ledger.clock import ReadClock, as_datetime, read_time
from agentctl.ledger.database import BUSY_S
from agentctl.ledger.engines import open_database
from agentctl.ledger.errors import refuse_remnant, translate_errors
from agentctl.ledger.locks import FileOwners
from agentctl.ledger.schema import MIGRATIONS, migrate, schema_version
from agentctl.ledger.sums import WIDTHS_US
from agentctl.ledger.transaction import Transaction

_NO_LOG = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
_SUM_NANO = "sum(coalesce(nano, 0) >> 32) AS nano_hi, sum(coalesce(nano, 0) & 4294967295) AS nano_lo"
_SUM_TOKENS = "sum(tokens >> 32) AS tokens_hi, sum(tokens & 4294967295) AS tokens_lo"
_VALUES = {("clock", "highest_wall_us"): "max(wall_us, now_us)"}
_LAST_CHARGE = """
SELECT ended_us, nano, provider, model FROM attempts
WHERE ended_us IS NOT NULL AND phase = 'settled' ORDER BY ended_us DESC LIMIT 1
"""


@contextmanager
def read_view(path: LedgerAddress, clock: ReadClock) -> Iterator[Transaction | None]:
    """Open a ledger read-only, for one consistent view; None if there is no ledger yet.

    Raises:
        StateError: the file is damaged, foreign, newer than this program, or rebuilt without its version.
    """
    if isinstance(path, PostgresAddress):
        with _read_server(path) as tx:
            yield tx
        return
    with translate_errors(path):
        refuse_remnant(path)
        try:
            path.stat()
        except FileNotFoundError:
            yield None
            return
        with closing(_open(path)) as db:
            db.execute("BEGIN")  # one view: another process may be migrating
            version = schema_version(db, path)
            if not version:
                yield None  # created, but never written to
                return
            yield view_of(db, version, clock, path)


@contextmanager
def _read_server(address: PostgresAddress) -> Iterator[Transaction]:
    with closing(open_database(address)) as database, database.read() as tx:
        yield tx


def view_of(db: sqlite3.Connection, version: int, clock: ReadClock, path: Path) -> Transaction:
    """Return the view of a ledger of schema ``version`` by the names of this schema; a transaction is open."""
    if version < len(MIGRATIONS):
        add_views(db)
    row = read_time(db, clock)
    return Transaction(db, row.now_us, row.wall_us, FileOwners.beside(path))


def _open(path: Path) -> sqlite3.Connection:
    """Connect; on a read-only disk, where SQLite cannot use the write-ahead log, read the file alone."""
    address = f"{path.absolute().as_uri()}?mode=ro"
    try:
        return _connect(address)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in _NO_LOG:  # locked, or worse: the file alone is incomplete
            raise
    return _open_without_log(path, f"{address}&immutable=1")


def _open_without_log(path: Path, address: str) -> sqlite3.Connection:
    """Open a ledger whose log SQLite cannot use; a log that is not empty is read from a copy of both files."""
    log = path.with_name(f"{path.name}-wal")
    if not (log.exists() and log.stat().st_size):
        return _connect(address)
    import shutil  # noqa: PLC0415 - rarely needed
    import tempfile  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        for file in (path, log):
            shutil.copyfile(file, Path(folder, file.name))
        return _connect(Path(folder, path.name).as_uri())  # it has both files open, so the folder may be removed


def _connect(address: str) -> sqlite3.Connection:
    db = sqlite3.connect(address, uri=True, isolation_level=None, timeout=BUSY_S)
    try:
        db.execute("PRAGMA temp_store=MEMORY")  # no temporary files in a shared folder
        db.execute("SELECT 1 FROM sqlite_schema").fetchall()
    except BaseException:
        db.close()
        raise
    return db


def _bucket(width_us: int) -> str:
    return f"""
    SELECT {width_us} AS width_us, leaves_hour_us / {width_us} AS bucket, phase, {_SUM_NANO} FROM main.attempts
    WHERE leaves_hour_us IS NOT NULL AND phase <> 'void' GROUP BY leaves_hour_us / {width_us}, phase"""  # noqa: S608


# What schema 2 keeps in tables. Schema 1 had no runs inside runs.
_COMPUTED = {
    "scope_paths": "SELECT id AS scope_id, id AS above_id, 0 AS depth FROM main.scopes",
    "scope_totals": f"""
    SELECT run_id AS scope_id, phase, {_SUM_NANO}, {_SUM_TOKENS} FROM main.attempts
    WHERE phase <> 'void' GROUP BY run_id, phase""",  # noqa: S608 - our own words
    "window_totals": f"""
    SELECT 0 AS width_us, 0 AS bucket, phase, {_SUM_NANO} FROM main.attempts
    WHERE leaves_hour_us IS NULL AND phase <> 'void' GROUP BY phase
    UNION ALL {" UNION ALL ".join(map(_bucket, WIDTHS_US))}""",  # noqa: S608 - our own words
    "widths": f"SELECT 0 AS width_us UNION ALL VALUES {', '.join(f'({width})' for width in WIDTHS_US)}",
}


def add_views(db: sqlite3.Connection) -> None:
    """Add temporary views to ``db``, a ledger of an older schema, with the names of this schema."""
    with closing(migrate(sqlite3.connect(":memory:", isolation_level=None))) as model:
        for (table,) in model.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall():
            known, wanted = _columns(db, table), _columns(model, table)
            if not known and table in _COMPUTED:
                db.execute(f"CREATE TEMP VIEW {table} AS {_COMPUTED[table]}")
            elif not known:
                db.execute(f"CREATE TEMP TABLE {table} ({', '.join(wanted)})")
            elif added := [name for name in wanted if name not in known]:
                values = ", ".join(f"{_VALUES.get((table, name), wanted[name])} AS {name}" for name in added)
                db.execute(f"CREATE TEMP VIEW {table} AS SELECT rowid AS rowid, *, {values} FROM main.{table}")  # noqa: S608


def _columns(db: sqlite3.Connection, table: str) -> dict[str, str]:
    """Return the columns of a table in the file, each with its default as SQL; empty if there is no such table."""
    return {row[1]: row[4] or "NULL" for row in db.execute(f"PRAGMA main.table_info({table})")}


class LedgerStatus(NamedTuple):
    """The state of a ledger file. ``there`` False: the first run creates it. ``checked`` False: it is too large.

    ``damage`` is what the check found, "" for none. ``busy``: another process held the write lock all the time.
    ``last_*`` is the last charge in nano-dollars, None if there is none or its cost is unknown.
    """

    there: bool
    checked: bool = True
    damage: str = ""
    busy: bool = False
    last_at: datetime | None = None
    last_nano: int | None = None
    last_model: str = ""


def inspect_ledger(path: LedgerAddress, *, patience_s: float = 1.0) -> LedgerStatus:
    """Check whether a ledger can be opened, is sound, and can be written, without writing.

    ``patience_s`` bounds the check, and the wait for the write lock, each.

    Raises:
        StateError: it cannot be opened, read or written, or is not a ledger that this program knows.
    """
    if isinstance(path, PostgresAddress):
        with _read_server(path) as tx:
            return _with_last_charge(LedgerStatus(there=True), tx.db.execute(_LAST_CHARGE).fetchone())
    with translate_errors(path):
        refuse_remnant(path)
        try:
            path.stat()
        except FileNotFoundError:
            return LedgerStatus(there=False)
        address = f"{path.absolute().as_uri()}?mode=rw"
        # Threads run this concurrently: each one's alarm interrupts only its own long check.
        with closing(
            sqlite3.connect(address, uri=True, isolation_level=None, timeout=patience_s, check_same_thread=False)
        ) as db:
            db.execute("BEGIN")  # one view: another process may be migrating
            version = schema_version(db, path)
            db.execute("ROLLBACK")
            if not version:
                return LedgerStatus(there=False)
            last = db.execute(_LAST_CHARGE).fetchone()
            found = _with_last_charge(LedgerStatus(there=True, busy=_is_busy(db)), last)
            return _quick_check(db, found, patience_s)


def _with_last_charge(found: LedgerStatus, last: tuple[int, int | None, str, str | None] | None) -> LedgerStatus:
    if last is None:
        return found
    ended_us, nano, provider, model = last
    name = f"{provider}/{model}" if model else provider
    return found._replace(last_at=as_datetime(ended_us), last_nano=nano, last_model=name)


def _is_busy(db: sqlite3.Connection) -> bool:
    """Return whether another process holds the write lock; a file that cannot be written raises."""
    try:
        db.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return True
        raise
    db.execute("ROLLBACK")
    return False


def _quick_check(db: sqlite3.Connection, found: LedgerStatus, patience_s: float) -> LedgerStatus:
    alarm = threading.Timer(patience_s, db.interrupt)
    alarm.daemon = True
    alarm.start()
    try:
        said = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            return found._replace(checked=False)
        raise
    finally:
        alarm.cancel()
        alarm.join()  # it must not interrupt a closed connection
    return found._replace(damage="" if said == "ok" else said)
