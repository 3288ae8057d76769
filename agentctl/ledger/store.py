"""The file itself: opened safely, migrated once, written one transaction at a time."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from agentctl.errors import StateError
from agentctl.ledger.clock import ReadClock, Reading, advance, system_clock
from agentctl.ledger.owner import turn
from agentctl.ledger.schema import APPLICATION_ID, MIGRATIONS

_CURES = (
    ("full", "free some space, or move it: AGENTCTL_STATE_DIR=/another/disk"),
    ("no space", "free some space, or move it: AGENTCTL_STATE_DIR=/another/disk"),
    ("readonly", "make it writable, or move it: AGENTCTL_STATE_DIR=/a/writable/folder"),
    ("unable to open", "make its folder writable, or move it: AGENTCTL_STATE_DIR=/a/writable/folder"),
    ("malformed", "keep the file, move it aside, and start a new ledger: mv {path} {path}.damaged"),
    ("not a database", "keep the file, move it aside, and start a new ledger: mv {path} {path}.damaged"),
    ("locked", "another program has the ledger open for writing; close it and try again"),
)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system say into one sentence with its cure."""
    try:
        yield
    except (sqlite3.Error, OSError) as exc:
        said = str(exc)
        cure = next((c for word, c in _CURES if word in said.lower()), "see that its folder can be written to")
        raise StateError(f"the ledger {path} cannot be used: {said}", hint=cure.format(path=path)) from exc


class Tick(NamedTuple):
    """An open transaction: the connection, and the ledger's time in it."""

    db: sqlite3.Connection
    now_us: int
    wall_us: int


class Store:
    """One connection to one ledger file; every write is one short ``BEGIN IMMEDIATE`` transaction.

    Raises StateError from every method when the file cannot be written or believed.
    """

    def __init__(self, path: Path, *, clock: ReadClock | None = None, patience_s: float = 30.0) -> None:
        self.path = path
        self._clock = clock or system_clock()
        self._patience_s = patience_s
        self._mutex = threading.Lock()
        self._pid = os.getpid()
        with translated(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def _prepare(self) -> None:
        for pragma in ("trusted_schema=OFF", "cell_size_check=ON", "foreign_keys=ON"):
            self._db.execute(f"PRAGMA {pragma}")
        version = self._version()
        if version < len(MIGRATIONS):
            with turn(self.path.with_suffix(".queue"), patience_s=self._patience_s):
                mode = self._db.execute("PRAGMA journal_mode=WAL").fetchone()[0]
                if mode != "wal":
                    raise StateError(
                        f"the ledger {self.path} cannot keep a write-ahead log here (journal mode {mode})",
                        hint="move it to a local disk: AGENTCTL_STATE_DIR=/a/local/folder",
                    )
                self._migrate()
        self._db.execute("PRAGMA synchronous=FULL")

    def _version(self) -> int:
        self._db.execute("BEGIN")  # one view: another process may be migrating
        try:
            application = self._db.execute("PRAGMA application_id").fetchone()[0]
            version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
            tables = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        finally:
            self._db.execute("ROLLBACK")
        if application != APPLICATION_ID and (application or version or tables):
            raise StateError(
                f"{self.path} is a database of another program",
                hint="name another folder for the ledger: AGENTCTL_STATE_DIR=/another/folder",
            )
        if version > len(MIGRATIONS):
            raise StateError(
                f"the ledger {self.path} was written by a newer agentctl (schema {version}, known: {len(MIGRATIONS)})",
                hint="upgrade agentctl, or name another folder: AGENTCTL_STATE_DIR=/another/folder",
            )
        return version

    def _migrate(self) -> None:
        for number in range(self._version(), len(MIGRATIONS)):
            script = f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={number + 1};"
            self._db.executescript(f"BEGIN IMMEDIATE; {MIGRATIONS[number]} {script} COMMIT;")

    def _refuse_after_a_fork(self) -> None:
        if os.getpid() != self._pid:
            raise StateError("the ledger was opened before a fork", hint="open it in the process that uses it")

    @contextmanager
    def write(self) -> Iterator[Tick]:
        """Queue, begin, tell the time, and commit; any exception rolls back."""
        self._refuse_after_a_fork()
        with self._mutex, translated(self.path), turn(self.path.with_suffix(".queue"), patience_s=self._patience_s):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._tick()
                self._db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    def _tick(self) -> Tick:
        read = self._clock()
        row = self._db.execute("SELECT now_us, wall_us, boot_us, boot_id FROM clock").fetchone()
        now = read.wall_us if row is None else advance(row[0], Reading(*row[1:]), read)
        self._db.execute(
            "INSERT INTO clock VALUES (1, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
            " now_us = excluded.now_us, wall_us = excluded.wall_us, boot_us = excluded.boot_us,"
            " boot_id = excluded.boot_id",
            (now, read.wall_us, read.boot_us, read.boot_id),
        )
        return Tick(self._db, now, read.wall_us)

    @contextmanager
    def read(self) -> Iterator[Tick]:
        """Give a consistent view; the ledger's time is told but not moved."""
        self._refuse_after_a_fork()
        with self._mutex, translated(self.path):
            self._db.execute("BEGIN")
            try:
                read = self._clock()
                row = self._db.execute("SELECT now_us, wall_us, boot_us, boot_id FROM clock").fetchone()
                now = read.wall_us if row is None else advance(row[0], Reading(*row[1:]), read)
                yield Tick(self._db, now, read.wall_us)
            finally:
                self._db.execute("ROLLBACK")

    def close(self) -> None:
        """Close the connection; what is committed stays."""
        with self._mutex, suppress(sqlite3.Error):
            self._db.close()
