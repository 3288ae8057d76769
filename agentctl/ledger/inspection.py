"""The book opened to look at: nothing is written, and no writer waits."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from agentctl.ledger.clock import ReadClock, read_time
from agentctl.ledger.compatibility import add_views
from agentctl.ledger.database import Transaction
from agentctl.ledger.errors import refuse_remnant, translate_errors
from agentctl.ledger.schema import MIGRATIONS, schema_version

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
