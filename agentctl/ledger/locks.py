"""Who is alive, and whose turn it is to write: locks on files, which the kernel lets go when a process dies."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agentctl.core.errors import LedgerBusy
from agentctl.core.files import hand_over, hand_over_locks, is_bare_lock, open_lock

_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_LOCKS = Path("/proc/locks")


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


class OwnerLock:
    """This process's own lock: while it is held, the owner lives, whatever its pid says.

    As root, the lock belongs to the owner of ``ledger``, so that the user can see later whether root's run has ended.
    """

    def __init__(self, folder: Path, owner_id: str, *, ledger: Path | None = None) -> None:
        like = folder.parent if ledger is None else ledger
        folder.mkdir(mode=0o700, exist_ok=True)
        hand_over_locks(folder, like=like)
        self._folder, self._owner_id = folder, owner_id
        with _inside(folder) as inside:
            self._fd = os.open(owner_id, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=inside)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        hand_over(self._fd, like)

    def close(self) -> None:
        """Let go and remove the file: from now on the owner counts as dead, also where the file cannot be removed."""
        with suppress(OSError), _inside(self._folder) as inside:
            os.unlink(self._owner_id, dir_fd=inside)
        _let_go(self._fd)


@contextmanager
def _inside(folder: Path) -> Iterator[int]:
    """Open the folder of lock files; no link is followed, for root removes files in it."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        yield fd
    finally:
        os.close(fd)


def owner_ids(folder: Path) -> tuple[str, ...]:
    """Return the owners that have a lock file, held or not.

    Raises:
        OSError: the folder cannot be read, or is a link.
    """
    try:
        with _inside(folder) as inside, os.scandir(inside) as found:
            return tuple(entry.name for entry in found)
    except FileNotFoundError:
        return ()


def is_dead(folder: Path, owner_id: str) -> bool:
    """Whether nobody holds the owner's lock any more; what a dead owner left is removed.

    False also where nobody can tell: nothing is touched then. The id comes from the ledger, which is the user's: what
    is no plain name, or more than a lock, is not removed, for we may be root.
    """
    if "/" in owner_id:
        return True
    try:
        with _inside(folder) as inside:
            fd = os.open(owner_id, _FLAGS, dir_fd=inside)
            try:
                if not _try_lock(fd):
                    return False
                if is_bare_lock(fd):
                    with suppress(FileNotFoundError):
                        os.unlink(owner_id, dir_fd=inside)
                return True
            finally:
                os.close(fd)
    except FileNotFoundError:
        return True
    except OSError:
        return False


def liveness(folder: Path, owner_id: str) -> bool | None:
    """Return whether somebody holds the owner's lock, None where nobody can tell; only looked at.

    A lock file that may not be opened (another user's) is seen to be held where the kernel lists it; that it is not
    listed proves nothing, because a process of another namespace is hidden.
    """
    if "/" in owner_id:
        return False
    try:
        with _inside(folder) as inside:
            fd = os.open(owner_id, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=inside)
    except FileNotFoundError:
        return False
    except OSError:
        return True if _is_listed_as_held(folder / owner_id) else None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _is_listed_as_held(path: Path) -> bool:
    """Whether the kernel's list of locks has one on the file at ``path``."""
    try:
        found = path.lstat()
        held = _LOCKS.read_text().splitlines()
    except OSError:
        return False
    name = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    return any("FLOCK" in line.split()[:3] and name in line.split() for line in held)


@contextmanager
def queue_lock(path: Path, *, patience_s: float = 30.0, like: Path | None = None) -> Iterator[None]:
    """Queue on a lock file before writing; the kernel wakes those who wait in order, nobody polls.

    As root the file belongs to the owner of ``like``, by default of its folder.

    Raises:
        LedgerBusy: the queue did not move for ``patience_s`` (a stopped process holds it).
    """
    fd = open_lock(path, like=like)
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
