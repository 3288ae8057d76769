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

from agentctl.errors import StateError

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
_DAMAGED = ("malformed", "not a database", "no such table", "no such column")


def _cure(said: str, path: Path) -> str:
    if any(word in said for word in _DAMAGED):
        return aside(path)
    if "full" in said or "no space" in said or "quota" in said:
        return _cure_of_a_full_disk(path) or _FULL
    if "unable to open" in said:  # SQLite does not say why
        return _TOO_MANY_FILES if _no_more_files() else _cure_of_a_full_disk(path) or _NO_FOLDER
    return next((cure for word, cure in _CURES if word in said), "see that its folder can be written to")


def _cure_of_a_full_disk(path: Path) -> str:
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return ""
    if disk.f_bavail == 0:
        return _FULL
    return _NO_INODES if disk.f_files and disk.f_favail == 0 else ""


def _no_more_files() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as exc:
        return exc.errno in (errno.EMFILE, errno.ENFILE)
    return False


def aside(path: Path) -> str:
    """Return the lines that keep a ledger that cannot be believed, with its log, and make room for a new one."""
    old, new = shlex.quote(f"{path}"), shlex.quote(f"{path}.damaged")
    moves = [f"mv {old} {new}"] if path.exists() else []
    if path.with_name(f"{path.name}-wal").exists():  # SQLite would remove it from beside a new one
        moves.append(f"mv {shlex.quote(f'{path}-wal')} {shlex.quote(f'{path}.damaged-wal')}")
    return f"keep it, moved aside, and start a new ledger: {'; '.join(moves)}"


def state_error(exc: sqlite3.Error | OSError, path: Path, kind: type[T]) -> T:
    """Return what went wrong as an error of ours, of the given ``kind``."""
    said = str(exc)
    if isinstance(exc, OSError) and exc.strerror:
        said = exc.strerror.lower()
        other = exc.filename is not None and str(exc.filename) != str(path)
        cure, said = _cure(said, path), f"{said} ({exc.filename})" if other else said
    else:
        cure = _cure(said.lower(), path)
    return kind(f"the ledger {path} cannot be used: {said}", hint=cure)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system say into one sentence with its cure."""
    try:
        yield
    except (sqlite3.Error, OSError) as exc:
        raise state_error(exc, path, StateError) from exc
