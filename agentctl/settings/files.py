"""Reading the files that the user named or owns: bounded, UTF-8, and private where keys are."""

from __future__ import annotations

import os
import select
import shlex
import stat
from pathlib import Path

from agentctl.core.text import safe_text
from agentctl.settings.sources import Problem

MOST_BYTES = 1024 * 1024
PATIENCE_S = 5.0  # for the first byte of a pipe: nobody may stand behind it


def is_there(path: Path) -> bool:
    """Whether anything has this name; a folder that may not be looked into counts, so that reading says why not."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        return True
    return True


def is_folder(path: Path) -> bool:
    """Whether ``path`` is a folder that can be reached."""
    try:
        return path.is_dir()
    except OSError:
        return False


def read_own_file(path: Path, what: str, *, private: bool = False) -> str | Problem:
    """Read a file that the user named or owns, at most 1 MiB; a pipe that somebody writes to is fine, a folder is not.

    ``private`` asks that nobody else owns it or may read it.
    """
    named = safe_text(f"{what} {path}")
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            found = os.fstat(file.fileno())
            if private and (problem := _not_private(found, named, path)):
                return problem
            if stat.S_ISFIFO(found.st_mode) and not select.select([file], [], [], PATIENCE_S)[0]:
                return Problem(f"{named} is a pipe that nobody writes to")
            os.set_blocking(file.fileno(), True)
            data = file.read(MOST_BYTES + 1)
    except IsADirectoryError:
        return Problem(f"{named} is a folder, not a file")
    except (OSError, ValueError) as exc:
        said = exc.strerror if isinstance(exc, OSError) and exc.strerror else "not a file name"
        return Problem(f"{named} cannot be read: {said.lower()}")
    if len(data) > MOST_BYTES:
        return Problem(f"{named} is larger than 1 MiB: this is no settings file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        return Problem(f"{named} line {line} is not UTF-8 text", "save it as UTF-8")
    if "\0" in text:
        return Problem(f"{named} is binary, not text")
    return text


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _not_private(found: os.stat_result, named: str, path: Path) -> Problem | None:
    quoted = safe_text(shlex.quote(os.fspath(path)))
    if found.st_uid != os.geteuid():
        return Problem(
            f"{named} belongs to another user (uid {found.st_uid})",
            f'sudo chown "$(id -u)" {quoted} && chmod 600 {quoted}',
        )
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        return Problem(f"{named} holds keys and others may read it (mode {mode:04o})", f"chmod 600 {quoted}")
    return None
