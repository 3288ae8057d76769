"""The book opened to look at: nothing is written, and no writer waits.

A ledger of an older schema, read as one of this schema: by views of one connection, so that nothing is written.

A reader must not migrate a file, and may not be able to; a copy of it takes seconds and gigabytes. The views have the
names of this schema's tables and hide the file's own. Columns and tables that were added since come from the schema
itself; what a migration computes from the rows is computed here by the same rule, for the rows that are asked for.

Whether the book can be opened, believed and written, and when it last took a charge: asked without a mark.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from agentctl.ledger.clock import ReadClock, as_datetime, read_time
from agentctl.ledger.database import Transaction
from agentctl.ledger.errors import refuse_remnant, translate_errors
from agentctl.ledger.schema import MIGRATIONS, migrate, schema_version
from agentctl.ledger.sums import WIDTHS_US

_CANNOT_JOIN = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


@contextmanager
def reading(path: Path, clock: ReadClock) -> Iterator[Transaction | None]:
    """Open read-only, for one consistent view; None where there is no ledger yet.

    Raises:
        StateError: the file is damaged, foreign, newer than this program, or rebuilt without its version.
    """
    with translate_errors(path):
        refuse_remnant(path)
        try:
            path.stat()
        except FileNotFoundError:
            yield None
            return
        with closing(_opened(path)) as db:
            db.execute("BEGIN")  # one view: another process may be migrating
            version = schema_version(db, path)
            if not version:
                yield None  # made, but never written to
                return
            yield tick_of(db, version, clock)


def tick_of(db: sqlite3.Connection, version: int, clock: ReadClock) -> Transaction:
    """Return a view of a ledger of schema ``version`` by the names of this schema; a transaction is open."""
    if version < len(MIGRATIONS):
        add_views(db)
    row = read_time(db, clock)
    return Transaction(db, row.now_us, row.wall_us)


def _opened(path: Path) -> sqlite3.Connection:
    """Connect; on a read-only disk, where a write-ahead log cannot be joined, read the file as it lies."""
    address = f"{path.absolute().as_uri()}?mode=ro"
    try:
        return _connected(address)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in _CANNOT_JOIN:  # locked, or worse: what lies there is not all
            raise
    return _as_it_lies(path, f"{address}&immutable=1")


def _as_it_lies(path: Path, address: str) -> sqlite3.Connection:
    """Open a ledger whose log cannot be joined; what stands only in the log is read from a copy of both."""
    log = path.with_name(f"{path.name}-wal")
    if not (log.exists() and log.stat().st_size):
        return _connected(address)
    import shutil  # noqa: PLC0415 - hardly ever needed
    import tempfile  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        for file in (path, log):
            shutil.copyfile(file, Path(folder, file.name))
        return _connected(Path(folder, path.name).as_uri())  # it has both open: their names may go


def _connected(address: str) -> sqlite3.Connection:
    db = sqlite3.connect(address, uri=True, isolation_level=None, timeout=5.0)
    try:
        db.execute("PRAGMA temp_store=MEMORY")  # nothing of ours lies in a shared folder
        db.execute("SELECT 1 FROM sqlite_schema").fetchall()
    except BaseException:
        db.close()
        raise
    return db


_SUM_NANO = "sum(coalesce(nano, 0) >> 32) AS nano_hi, sum(coalesce(nano, 0) & 4294967295) AS nano_lo"
_SUM_TOKENS = "sum(tokens >> 32) AS tokens_hi, sum(tokens & 4294967295) AS tokens_lo"


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
_VALUES = {("clock", "highest_wall_us"): "max(wall_us, now_us)"}


def add_views(db: sqlite3.Connection) -> None:
    """Let ``db``, a ledger of an older schema, be read by the names of this schema; only this connection sees it."""
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
    """Return the columns of a table of the file itself, each with its default as SQL; empty if it has no such table."""
    return {row[1]: row[4] or "NULL" for row in db.execute(f"PRAGMA main.table_info({table})")}


class LedgerStatus(NamedTuple):
    """How the book fares. ``there`` False: the first run makes it. ``checked`` False: too long to check in time.

    ``damage`` is what the check found, "" for none. ``busy``: somebody was writing all the time. The last charge in
    nano-dollars, None if there is none, or nobody knows what it cost.
    """

    there: bool
    checked: bool = True
    damage: str = ""
    busy: bool = False
    last_at: datetime | None = None
    last_nano: int | None = None
    last_model: str = ""


_LAST = """
SELECT ended_us, nano, provider, model FROM attempts
WHERE ended_us IS NOT NULL AND phase = 'settled' ORDER BY ended_us DESC LIMIT 1
"""


def condition(path: Path, *, patience_s: float = 1.0) -> LedgerStatus:
    """Look at the ledger; nothing is written.

    ``patience_s`` bounds the check, and the wait for another's writing, each.

    Raises:
        StateError: it cannot be opened, read or written, or is no ledger that this program knows.
    """
    with translate_errors(path):
        refuse_remnant(path)
        try:
            path.stat()
        except FileNotFoundError:
            return LedgerStatus(there=False)
        address = f"{path.absolute().as_uri()}?mode=rw"
        # Several threads: the alarm that ends a long check interrupts from its own.
        with closing(
            sqlite3.connect(address, uri=True, isolation_level=None, timeout=patience_s, check_same_thread=False)
        ) as db:
            db.execute("BEGIN")  # one view: another process may be migrating
            version = schema_version(db, path)
            db.execute("ROLLBACK")
            if not version:
                return LedgerStatus(there=False)
            last = db.execute(_LAST).fetchone()
            found = LedgerStatus(there=True, busy=_is_busy(db))
            if last is not None:
                ended_us, nano, provider, model = last
                name = f"{provider}/{model}" if model else provider
                found = found._replace(last_at=as_datetime(ended_us), last_nano=nano, last_model=name)
            return _checked(db, found, patience_s)


def _is_busy(db: sqlite3.Connection) -> bool:
    """Take the right to write, and give it back: a file that cannot be written refuses it."""
    try:
        db.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return True
        raise
    db.execute("ROLLBACK")
    return False


def _checked(db: sqlite3.Connection, found: LedgerStatus, patience_s: float) -> LedgerStatus:
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
        alarm.join()  # it must not interrupt what is closed
    return found._replace(damage="" if said == "ok" else said)
