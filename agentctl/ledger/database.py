"""Open the ledger file safely, migrate it once, and write to it one transaction at a time.

The file must be on a local disk: processes share a write-ahead log through memory, not over a network.
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from agentctl.core.errors import LedgerGone, StateError
from agentctl.core.files import hand_over, make_folder, sync_folder
from agentctl.ledger.clock import ReadClock, read_time, system_clock
from agentctl.ledger.errors import refuse_remnant, state_error, translate_errors
from agentctl.ledger.locks import FileOwners, queue_lock
from agentctl.ledger.schema import MIGRATIONS, migrate, schema_version
from agentctl.ledger.transaction import Transaction

P = ParamSpec("P")
T = TypeVar("T")

BUSY_S = 5.0
_STEPS_A_SIGN = 1_000_000  # instructions of SQLite's virtual machine: a fraction of a second
MOVE = "AGENTCTL_STATE_DIR=/a/local/folder"
_MOUNTS = Path("/proc/self/mountinfo")
_NETWORKED = frozenset({
    *("nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncpfs", "9p", "afs", "coda", "ceph", "glusterfs", "lustre"),
    *("gfs2", "ocfs2", "gpfs", "beegfs", "orangefs", "pvfs2", "panfs", "davfs"),
    *("virtiofs", "drvfs", "vboxsf", "vmhgfs", "prl_fs", "fakeowner"),  # the host's folders in a virtual machine
})  # fmt: skip
_LOCAL_FUSE = frozenset({
    *("fuse-overlayfs", "mergerfs", "bindfs", "gocryptfs", "encfs", "cryfs", "securefs", "lxcfs", "portal"),
    *("ntfs-3g", "ntfs", "exfat", "zfs-fuse", "unionfs", "ext2", "fuse-ext2"),
})  # fmt: skip


class CommitFailed(StateError):
    """A COMMIT failed: usually nothing was written, but it may have been."""


def retry_failed_commit(operation: Callable[P, T]) -> Callable[P, T]:
    """Run a method again if its COMMIT failed; the method must look up its id first, and return what it finds."""

    @wraps(operation)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return operation(*args, **kwargs)
        except CommitFailed:
            return operation(*args, **kwargs)

    return run


class Database:
    """One connection to one ledger file; every write is one short ``BEGIN IMMEDIATE`` transaction.

    ``patience_s`` is how long to queue behind other agentctl processes, ``busy_s`` how long to wait for another
    program's lock. Every method raises StateError if the file cannot be written, or is not a sound ledger.
    """

    def __init__(
        self, path: Path, *, clock: ReadClock | None = None, patience_s: float = 30.0, busy_s: float = BUSY_S
    ) -> None:
        self.path = path
        self._clock = clock or system_clock()
        self._patience_s, self._busy_s = patience_s, busy_s
        self._mutex = threading.Lock()
        self._pid = os.getpid()
        with translate_errors(path):
            refuse_network_disk(path)
            make_folder(path.parent)
            self._db = self._open()
            try:
                self._files = self._identities()
            except BaseException:
                self._db.close()
                raise

    def __str__(self) -> str:
        return str(self.path)

    def _open(self) -> sqlite3.Connection:
        """Open the file. It is created and filled under one queue lock, so an empty file has lost its content."""
        if self._size():
            return self._connect(self._lock_queue())
        with self._lock_queue():
            refuse_remnant(self.path)
            if self._size() is None:  # otherwise another process has created it
                self._create()
            return self._connect(nullcontext())

    def _create(self) -> None:
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            hand_over(file, self.path.parent)  # SQLite gives its log to the same owner
        finally:
            os.close(file)
        sync_folder(self.path.parent)

    def _lock_queue(self, patience_s: float | None = None) -> AbstractContextManager[None]:
        patience_s = self._patience_s if patience_s is None else patience_s
        like = self.path if self._size() is not None else None
        return queue_lock(self.path.with_suffix(".queue"), patience_s=patience_s, like=like)

    def _size(self) -> int | None:
        """Return the file's size, None if there is none, without opening it: closing would end SQLite's own locks."""
        try:
            file = os.lstat(self.path)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(file.st_mode):
            raise OSError(errno.EINVAL, "It is not a regular file")
        return file.st_size

    def _connect(self, lock: AbstractContextManager[None]) -> sqlite3.Connection:
        db = self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=self._busy_s)
        try:
            for pragma in ("trusted_schema=OFF", "cell_size_check=ON", "foreign_keys=ON"):
                db.execute(f"PRAGMA {pragma}")
            if self._version() != len(MIGRATIONS) or db.execute("PRAGMA journal_mode").fetchone() != ("wal",):
                with lock:
                    self._make()
            db.execute("PRAGMA synchronous=FULL")
        except BaseException:
            db.close()
            raise
        return db

    def _make(self) -> None:
        mode = self._db.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal":
            raise StateError(
                f"the ledger {self.path} cannot keep a write-ahead log here (journal mode {mode})",
                hint=f"put it on a disk of this machine: {MOVE}",
            )
        self._migrate()

    def _version(self) -> int:
        self._db.execute("BEGIN")  # one view: another process may be migrating
        try:
            return schema_version(self._db, self.path)
        finally:
            self._db.execute("ROLLBACK")

    def _migrate(self) -> None:
        """Migrate, and keep the queue moving for waiting processes: a large ledger takes longer than their patience."""
        queue = self.path.with_suffix(".queue")
        self._db.set_progress_handler(lambda: os.utime(queue), _STEPS_A_SIGN)
        try:
            migrate(self._db, self._version())
        finally:
            self._db.set_progress_handler(None, 0)

    def _refuse_another_schema(self) -> None:
        """Refuse to continue with an older schema than the file has; checked in each transaction."""
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version != len(MIGRATIONS):
            raise StateError(
                f"the ledger {self.path} changed from schema {len(MIGRATIONS)} to {version} while it was in use",
                hint="start the run again with the agentctl that is installed now",
            )

    def _refuse_after_a_fork(self) -> None:
        if os.getpid() != self._pid:
            raise StateError("the ledger was opened before a fork", hint="open it in the process that uses it")

    def _identities(self) -> tuple[tuple[int, int], ...]:
        """Return device and inode of the ledger and its log; the log exists as long as a connection does."""
        found = (os.lstat(self.path), os.lstat(f"{self.path}-wal"))
        return tuple((file.st_dev, file.st_ino) for file in found)

    def _refuse_other_files(self) -> None:
        """Refuse to write to files that other processes no longer find: moved, deleted or replaced since they were
        opened.
        """
        try:
            same = self._identities() == self._files
        except FileNotFoundError:
            same = False
        if not same:
            raise LedgerGone(
                f"the ledger {self.path} was moved, deleted or replaced while it was in use",
                hint="put back what was moved, end all runs that use it, and try again",
            )

    @contextmanager
    def write(self, *, soon: bool = False, run_id: str = "", attempt_id: str = "") -> Iterator[Transaction]:
        """Queue, begin a transaction at the ledger's time, and commit; any exception rolls back.

        ``soon``: wait for the queue only as long as for another program's lock, for callers that try again.

        Raises:
            LedgerBusy: another process holds a lock.
            LedgerGone: the ledger was moved, deleted or replaced.
            CommitFailed: the transaction may have been written; look it up by its id.
        """
        self._refuse_after_a_fork()
        patience_s = min(self._busy_s, self._patience_s) if soon else None
        with self._mutex, translate_errors(self.path):
            self._refuse_other_files()  # before the queue's file is created for a ledger that is gone
            with self._lock_queue(patience_s):
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    self._refuse_other_files()
                    self._refuse_another_schema()
                    yield self._begin()
                except BaseException:
                    self._roll_back()
                    raise
                self._commit()

    def _commit(self) -> None:
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error as exc:
            self._roll_back()
            raise state_error(exc, self.path, CommitFailed) from exc
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):
            self._db.execute("ROLLBACK")

    def _begin(self) -> Transaction:
        row = read_time(self._db, self._clock)
        self._db.execute(
            "INSERT INTO clock (id, now_us, wall_us, boot_us, boot_id, highest_wall_us) VALUES (1, ?, ?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET now_us = excluded.now_us, wall_us = excluded.wall_us,"
            " boot_us = excluded.boot_us, boot_id = excluded.boot_id, highest_wall_us = excluded.highest_wall_us",
            row,
        )
        return Transaction(self._db, row.now_us, row.wall_us, FileOwners.beside(self.path))

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Give a consistent view at the ledger's time; nothing is written."""
        self._refuse_after_a_fork()
        with self._mutex, translate_errors(self.path):
            self._db.execute("BEGIN")
            try:
                self._refuse_another_schema()
                row = read_time(self._db, self._clock)
                yield Transaction(self._db, row.now_us, row.wall_us, FileOwners.beside(self.path))
            finally:
                self._db.execute("ROLLBACK")

    def close(self) -> None:
        """Close the connection."""
        with self._mutex, suppress(sqlite3.Error):
            self._db.close()


def is_networked(kind: str) -> bool:
    """Return whether this kind of file system may be on another machine, which shares no memory.

    A FUSE file system counts as networked unless it is known to be local; other unknown kinds count as local.
    """
    name, _, served = kind.partition(".")
    return kind in _NETWORKED or (name == "fuse" and served not in _LOCAL_FUSE)


def find_kind(mounts: str, place: Path) -> str:
    """Return the kind of file system of ``place``, a real path; "" if ``mounts`` does not contain it.

    ``mounts`` is the text of ``/proc/self/mountinfo``; the deepest mount counts, and of several the last.
    """
    best, kind = -1, ""
    for line in mounts.split("\n"):
        before, _, behind = line.partition(" - ")
        fields, after = before.split(" "), behind.split(" ")
        if len(fields) < 5 or not after[0]:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4]))
        depth = len(point.parts)
        if depth >= best and (place == point or point in place.parents):
            best, kind = depth, after[0]
    return kind


def file_system(folder: Path, *, mounts: Path = _MOUNTS) -> str:
    """Return the kind of file system of ``folder``, which need not exist; "" if it is unknown."""
    try:
        return find_kind(mounts.read_text(errors="surrogateescape"), folder.resolve())
    except (OSError, RuntimeError):  # a circle of links: opening the file reports it
        return ""


def refuse_network_disk(path: Path) -> None:
    """Refuse a ledger on a file system where a write-ahead log does not work.

    Raises:
        StateError: the file lies, or would lie, on a network file system.
    """
    kind = file_system(path.parent)
    if is_networked(kind):
        raise StateError(
            f"the ledger {path} lies on a network file system ({kind}), where it may be damaged",
            hint=f"put it on a disk of this machine: {MOVE}",
        )
