"""Who is alive, and whose turn it is to write: locks on files, which the kernel lets go when a process dies."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agentctl.errors import LedgerBusy

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _let_go(fd: int) -> None:
    """Unlock before closing: a child that was forked meanwhile has the same lock open."""
    fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


class Alive:
    """This process's own lock: while it is held, the owner lives, whatever its pid says."""

    def __init__(self, folder: Path, owner_id: str) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self._path = folder / owner_id
        self._fd = os.open(self._path, _FLAGS | os.O_EXCL, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def close(self) -> None:
        """Let go and remove the file: from now on the owner counts as dead, also where the file cannot be removed."""
        with suppress(OSError):
            self._path.unlink()
        _let_go(self._fd)


def is_dead(folder: Path, owner_id: str) -> bool:
    """Whether nobody holds the owner's lock any more; what a dead owner left is removed.

    What cannot be opened (another user's, a folder) is taken for alive: nothing of its is touched.
    """
    path = folder / owner_id
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        if not _try_lock(fd):
            return False
        with suppress(FileNotFoundError):
            path.unlink()
        return True
    finally:
        os.close(fd)


def lives(folder: Path, owner_id: str) -> bool:
    """Whether somebody holds the owner's lock; only looked at, and what cannot be opened is taken for alive."""
    try:
        fd = os.open(folder / owner_id, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


@contextmanager
def turn(path: Path, *, patience_s: float = 30.0) -> Iterator[None]:
    """Queue on a lock file before writing; the kernel wakes those who wait in order, nobody polls.

    Raises:
        LedgerBusy: the queue did not move for ``patience_s`` (a stopped process holds it).
    """
    fd = os.open(path, _FLAGS, 0o600)
    if not _try_lock(fd):
        _wait_for(fd, path, patience_s)
    try:
        os.pwrite(fd, f"{os.getpid():<20}".encode(), 0)
        yield
    finally:
        _let_go(fd)


def _wait_for(fd: int, path: Path, patience_s: float) -> None:
    """Block on the lock in a thread of its own, so that patience can end; a late lock is let go at once.

    Who gets a turn writes into the file: as long as others do, the queue moves, however slow the disk is.
    """
    held, left, meeting = threading.Event(), threading.Event(), threading.Lock()

    def block() -> None:
        fcntl.flock(fd, fcntl.LOCK_EX)
        with meeting:
            if left.is_set():
                os.close(fd)
            held.set()

    threading.Thread(target=block, daemon=True).start()
    moved_ns = os.fstat(fd).st_mtime_ns
    while not held.wait(patience_s):
        with meeting:
            if held.is_set():
                return
            before_ns, moved_ns = moved_ns, os.fstat(fd).st_mtime_ns
            if moved_ns == before_ns:
                left.set()
                break
    else:
        return
    pid = path.read_text(errors="replace").strip()
    raise LedgerBusy(
        f"the ledger's queue has not moved for {patience_s:g} s; process {pid or 'unknown'} holds it",
        hint=f"if that process is stopped, let it go on (kill -CONT {pid or 'PID'}) or end it",
    )
