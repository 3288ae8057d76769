"""What SQLite and the file system refuse, told in one sentence with its cure."""

from __future__ import annotations

import errno
import os
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from agentctl.core.errors import LedgerBusy, StateError

T = TypeVar("T", bound=StateError)

_FULL = "free some space, or move it: AGENTCTL_STATE_DIR=/another/disk"
_NO_INODES = "remove some files (df -i shows the inodes), or move it: AGENTCTL_STATE_DIR=/another/disk"
_READ_ONLY = "make it writable, or move it: AGENTCTL_STATE_DIR=/a/writable/folder"
_NO_FOLDER = "make its folder writable, or move it: AGENTCTL_STATE_DIR=/a/writable/folder"
_BROKEN_DISK = "see whether its disk is sound and `ulimit -f` allows it, or move it: AGENTCTL_STATE_DIR=/another/disk"
_TOO_MANY_FILES = "raise `ulimit -n`"
_CURES = (
    ("readonly", _READ_ONLY),
    ("read-only", _READ_ONLY),
    ("permission denied", _READ_ONLY),
    ("not permitted", _READ_ONLY),
    ("too many open files", _TOO_MANY_FILES),
    ("file too large", "raise `ulimit -f`"),
    ("i/o error", _BROKEN_DISK),
    ("input/output error", _BROKEN_DISK),
    ("locked", "another program has the ledger open for writing; close it and try again"),
)
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_LOCKS = Path("/proc/locks")
_DAMAGED = ("malformed", "not a database", "no such table", "no such column")


def _cure(said: str, path: Path) -> str:
    if any(word in said for word in _DAMAGED):
        return aside(path)
    if _is_forbidden(said) and (cure := _taken_back(path)):
        return cure
    if "full" in said or "no space" in said or "quota" in said:
        lack = _lack(path)
        return lack[1] if lack else _FULL
    return next((cure for word, cure in _CURES if word in said), "see that its folder can be written to")


def _unopened(path: Path) -> tuple[str, str]:
    """Return why a file cannot be opened, which SQLite does not say, and the cure."""
    if _no_more_files():
        return "too many open files", _TOO_MANY_FILES
    return _lack(path) or ("unable to open it or a file beside it", _taken_back(path) or _NO_FOLDER)


def _is_forbidden(said: str) -> bool:
    return any(word in said for word in ("readonly", "permission denied", "not permitted"))


def _taken_back(path: Path) -> str:
    """Return the command that gives this user what another one (root) made in a folder of this user's, or ""."""
    beside = (path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm"))
    files = (path, *beside, path.with_suffix(".queue"), path.with_suffix(".owners"), path.with_suffix(".unsettled"))
    try:
        if path.parent.stat().st_uid != os.geteuid():
            return ""
        theirs = [file for file in files if os.path.lexists(file) and file.lstat().st_uid != os.geteuid()]
    except OSError:
        return ""
    names = " ".join(shlex.quote(os.fspath(file)) for file in theirs)
    return f'sudo chown -R "$(id -u)" {names}' if theirs else ""


def _lack(path: Path) -> tuple[str, str] | None:
    """Return what the disk lacks, and the cure."""
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return None
    if disk.f_flag & os.ST_RDONLY:
        return "its disk is read-only", _READ_ONLY
    if disk.f_bavail == 0:
        return "its disk is full", _FULL
    return ("its disk has no inode left", _NO_INODES) if disk.f_files and disk.f_favail == 0 else None


def _no_more_files() -> bool:
    """Whether so few descriptors are free that the queue, the file, its log and the log's index cannot all be open."""
    taken: list[int] = []
    try:
        for _ in range(4):
            taken.append(os.open(os.devnull, os.O_RDONLY))  # noqa: PERF401 - those that were had are closed again
    except OSError as exc:
        return exc.errno in (errno.EMFILE, errno.ENFILE)
    finally:
        for fd in taken:
            os.close(fd)
    return False


def aside(path: Path) -> str:
    """Return the lines that keep a ledger that cannot be believed, with its log, and make room for a new one."""
    old, new = shlex.quote(f"{path}"), shlex.quote(f"{path}.damaged")
    moves = [f"mv {old} {new}"] if path.exists() else []
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:  # SQLite would remove it from beside a new one
        moves.append(f"mv {shlex.quote(f'{path}-wal')} {shlex.quote(f'{path}.damaged-wal')}")
    return f"keep it, moved aside, and start a new ledger: {'; '.join(moves)}"


def refuse_remnant(path: Path) -> None:
    """Refuse a ledger that is empty or gone while what lies beside it shows that it was used.

    To be asked before SQLite looks at it, which takes it for a new one and removes the log.

    Raises:
        StateError: charges may stand in its log, or are lost.
    """
    there = path.exists()
    if there and path.stat().st_size:
        return
    log = path.with_name(f"{path.name}-wal")
    if (log.exists() and log.stat().st_size) or (there and path.with_suffix(".owners").exists()):
        raise StateError(f"the ledger {path} is {'empty' if there else 'gone'}, but it has been used", hint=aside(path))


def state_error(exc: sqlite3.Error | OSError, path: Path, kind: type[T]) -> T:
    """Return what went wrong as an error of ours, of the given ``kind``."""
    said = str(exc)
    if isinstance(exc, OSError) and exc.strerror:
        said = exc.strerror.lower()
        other = exc.filename is not None and str(exc.filename) != str(path)
        cure, said = _cure(said, path), f"{said} ({exc.filename})" if other else said
    elif "unable to open" in said:
        said, cure = _unopened(path)
    elif _is_locked(exc):
        said, cure = _locker(path) or said, _cure(said, path)
    else:
        cure = _cure(said.lower(), path)
    return kind(f"the ledger {path} cannot be used: {said}", hint=cure)


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system say into one sentence with its cure."""
    try:
        yield
    except (sqlite3.Error, OSError) as exc:
        raise state_error(exc, path, LedgerBusy if _is_locked(exc) else StateError) from exc


def _is_locked(exc: Exception) -> bool:
    return isinstance(exc, sqlite3.Error) and getattr(exc, "sqlite_errorcode", 0) & 0xFF in _LOCKED


def _locker(path: Path) -> str:
    """Return who holds a lock for writing on the ledger, "" where the kernel does not say.

    Only looked up: to open and close one of these files would end the locks that SQLite has on it.
    """
    try:
        files = {str(Path(f"{path}{ending}").stat().st_ino) for ending in ("", "-shm")}
        locks = [line.split() for line in _LOCKS.read_text().splitlines()]
        pids = [lock[4] for lock in locks if lock[1:4:2] == ["POSIX", "WRITE"] and lock[5].rpartition(":")[2] in files]
        name = Path("/proc", pids[0], "comm").read_text(errors="replace").strip()
    except (OSError, IndexError):
        return ""
    return f"locked by process {pids[0]} ({name})"
