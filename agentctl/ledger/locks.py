"""Lock files for living owners and for the write queue; the kernel releases a lock when its process dies."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

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


def _release(fd: int) -> None:
    """Unlock before closing: a child that was forked meanwhile has the same lock open."""
    fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


class FileOwners(NamedTuple):
    """The owners of a ledger file, by the lock files in a folder beside it."""

    folder: Path

    @classmethod
    def beside(cls, ledger: Path) -> FileOwners:
        """Return the owners of the ledger at this path."""
        return cls(ledger.with_suffix(".owners"))

    def is_dead(self, owner_id: str) -> bool:
        """Return whether the owner's lock is free; the lock file of a dead owner is removed."""
        return is_dead(self.folder, owner_id)

    def liveness(self, owner_id: str) -> bool | None:
        """Return whether the owner's lock is held, None if that is unknown."""
        return liveness(self.folder, owner_id)

    def ids(self) -> tuple[str, ...]:
        """Return the owners that have a lock file."""
        return owner_ids(self.folder)


class OwnerLock:
    """The lock of this process: while it is held the owner lives, whatever its pid says.

    As root, the lock belongs to the owner of ``ledger``, so that the user can see later whether root's run has ended.
    """

    def __init__(self, folder: Path, owner_id: str, *, ledger: Path | None = None) -> None:
        like = folder.parent if ledger is None else ledger
        folder.mkdir(mode=0o700, exist_ok=True)
        hand_over_locks(folder, like=like)
        self._folder, self._owner_id = folder, owner_id
        with _open_folder(folder) as folder_fd:
            self._fd = os.open(owner_id, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder_fd)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        hand_over(self._fd, like)

    def close(self) -> None:
        """Release the lock and remove the file; the owner counts as dead even if the file cannot be removed."""
        with suppress(OSError), _open_folder(self._folder) as folder_fd:
            os.unlink(self._owner_id, dir_fd=folder_fd)
        _release(self._fd)


@contextmanager
def _open_folder(folder: Path) -> Iterator[int]:
    """Open the folder of lock files without following a link: root removes files in it."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        yield fd
    finally:
        os.close(fd)


def owner_ids(folder: Path) -> tuple[str, ...]:
    """Return the owners that have a lock file, locked or not.

    Raises:
        OSError: the folder cannot be read, or is a link.
    """
    try:
        with _open_folder(folder) as folder_fd, os.scandir(folder_fd) as found:
            return tuple(entry.name for entry in found)
    except FileNotFoundError:
        return ()


def is_dead(folder: Path, owner_id: str) -> bool:
    """Return whether the owner's lock is free; the lock file of a dead owner is removed.

    False also if that is unknown; then nothing is removed. The id comes from the ledger, which belongs to the user, and
    this process may be root, so it never removes a path, or a file that is more than a lock.
    """
    if "/" in owner_id:
        return True
    try:
        with _open_folder(folder) as folder_fd:
            fd = os.open(owner_id, _FLAGS, dir_fd=folder_fd)
            try:
                if not _try_lock(fd):
                    return False
                if is_bare_lock(fd):
                    with suppress(FileNotFoundError):
                        os.unlink(owner_id, dir_fd=folder_fd)
                return True
            finally:
                os.close(fd)
    except FileNotFoundError:
        return True
    except OSError:
        return False


def liveness(folder: Path, owner_id: str) -> bool | None:
    """Return whether the owner's lock is held, None if that is unknown; nothing is removed.

    A lock file that may not be opened (another user's) is held if the kernel lists it. If it is not listed, a process
    of another namespace may still hold it.
    """
    if "/" in owner_id:
        return False
    try:
        with _open_folder(folder) as folder_fd:
            fd = os.open(owner_id, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder_fd)
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
    """Return whether the kernel's list of locks has one on the file at ``path``."""
    try:
        found = path.lstat()
        held = _LOCKS.read_text().splitlines()
    except OSError:
        return False
    name = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    return any("FLOCK" in line.split()[:3] and name in line.split() for line in held)


@contextmanager
def queue_lock(path: Path, *, patience_s: float = 30.0, like: Path | None = None) -> Iterator[None]:
    """Hold the queue's lock while writing; the kernel wakes the waiting processes in order.

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
        _release(fd)


def _wait_for(fd: int, path: Path, patience_s: float) -> None:
    """Block on the lock in a separate thread, to be able to give up; a lock acquired too late is released at once.

    Each holder writes to the file: while its time stamp changes, the queue moves, however slow the disk is.
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
        hint=f"if that process is stopped, continue it (kill -CONT {pid or 'PID'}) or end it",
    )
