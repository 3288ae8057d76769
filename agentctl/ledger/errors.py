"""Translate errors of SQLite and the file system into one sentence with a hint."""

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
_BROKEN_DISK = "check the disk and `ulimit -f`, or move it: AGENTCTL_STATE_DIR=/another/disk"
_TOO_MANY_FILES = "raise `ulimit -n`"
_HINTS = (
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


def _hint_for(said: str, path: Path) -> str:
    if any(word in said for word in _DAMAGED):
        return move_aside_hint(path)
    if _is_forbidden(said) and (hint := _chown_hint(path)):
        return hint
    if "full" in said or "no space" in said or "quota" in said:
        problem = _disk_problem(path)
        return problem[1] if problem else _FULL
    return next((hint for word, hint in _HINTS if word in said), "make its folder writable")


def _why_unopened(path: Path) -> tuple[str, str]:
    """Return why a file cannot be opened, which SQLite does not report, and a hint."""
    if _no_more_files():
        return "too many open files", _TOO_MANY_FILES
    return _disk_problem(path) or ("unable to open it or a file next to it", _chown_hint(path) or _NO_FOLDER)


def _is_forbidden(said: str) -> bool:
    return any(word in said for word in ("readonly", "permission denied", "not permitted"))


def _chown_hint(path: Path) -> str:
    """Return the command that gives files of another user (root) in this user's folder back; "" if there are none."""
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


def _disk_problem(path: Path) -> tuple[str, str] | None:
    """Return the problem with the disk, and a hint; None if there is none."""
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return None
    if disk.f_flag & os.ST_RDONLY:
        return "its disk is read-only", _READ_ONLY
    if disk.f_bavail == 0:
        return "its disk is full", _FULL
    return ("its disk has no inodes left", _NO_INODES) if disk.f_files and disk.f_favail == 0 else None


def _no_more_files() -> bool:
    """Return whether there are too few free descriptors to open the queue, the ledger, its log and the log's index."""
    taken: list[int] = []
    try:
        for _ in range(4):
            taken.append(os.open(os.devnull, os.O_RDONLY))  # noqa: PERF401 - the opened ones are closed again
    except OSError as exc:
        return exc.errno in (errno.EMFILE, errno.ENFILE)
    finally:
        for fd in taken:
            os.close(fd)
    return False


def move_aside_hint(path: Path) -> str:
    """Return a hint with the commands that move a damaged ledger and its log aside."""
    old, new = shlex.quote(f"{path}"), shlex.quote(f"{path}.damaged")
    moves = [f"mv {old} {new}"] if path.exists() else []
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:  # SQLite would remove it when it opens a new ledger
        moves.append(f"mv {shlex.quote(f'{path}-wal')} {shlex.quote(f'{path}.damaged-wal')}")
    return f"keep it, moved aside, and start a new ledger: {'; '.join(moves)}"


def _size(path: Path) -> int | None:
    """Return the size of a file, None if there is none."""
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None


def refuse_remnant(path: Path) -> None:
    """Refuse an empty or missing ledger if the files beside it show that it was used.

    Call this before SQLite opens it: SQLite takes it for a new one and removes the log.

    Raises:
        StateError: charges may be in its log, or are lost.
    """
    # The traces come first: another process may create the ledger now, and would leave its own between two looks.
    has_log, has_owners = bool(_size(path.with_name(f"{path.name}-wal"))), path.with_suffix(".owners").exists()
    size = _size(path)
    there = size is not None
    if not size and (has_log or (there and has_owners)):
        state = "empty" if there else "gone"
        raise StateError(f"the ledger {path} is {state}, but it has been used", hint=move_aside_hint(path))


def state_error(exc: sqlite3.Error | OSError, path: Path, kind: type[T]) -> T:
    """Return an error of SQLite or the file system as an error of the given ``kind``, with a hint."""
    said = str(exc)
    if isinstance(exc, OSError) and exc.strerror:
        said = exc.strerror.lower()
        other = exc.filename is not None and str(exc.filename) != str(path)
        hint, said = _hint_for(said, path), f"{said} ({exc.filename})" if other else said
    elif "unable to open" in said:
        said, hint = _why_unopened(path)
    elif _is_locked(exc):
        said, hint = _lock_holder(path) or said, _hint_for(said, path)
    else:
        hint = _hint_for(said.lower(), path)
    return kind(f"the ledger {path} cannot be used: {said}", hint=hint)


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Raise errors of SQLite and the file system as StateError, as LedgerBusy for a lock."""
    try:
        yield
    except (sqlite3.Error, OSError) as exc:
        raise state_error(exc, path, LedgerBusy if _is_locked(exc) else StateError) from exc


def _is_locked(exc: Exception) -> bool:
    return isinstance(exc, sqlite3.Error) and getattr(exc, "sqlite_errorcode", 0) & 0xFF in _LOCKED


def _lock_holder(path: Path) -> str:
    """Return the process that holds a write lock on the ledger, "" if the kernel does not list it.

    The files are not opened: closing one of them would release SQLite's locks on it.
    """
    try:
        files = {str(Path(f"{path}{ending}").stat().st_ino) for ending in ("", "-shm")}
        locks = [line.split() for line in _LOCKS.read_text().splitlines()]
        pids = [lock[4] for lock in locks if lock[1:4:2] == ["POSIX", "WRITE"] and lock[5].rpartition(":")[2] in files]
        name = Path("/proc", pids[0], "comm").read_text(errors="replace").strip()
    except (OSError, IndexError):
        return ""
    return f"locked by process {pids[0]} ({name})"
