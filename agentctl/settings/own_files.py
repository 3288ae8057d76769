"""Read the files that the user names or owns, bounded, as UTF-8."""

from __future__ import annotations

import os
import shlex
import stat
import time
from collections.abc import Callable
from pathlib import Path

from agentctl.core.bounded_read import read_to_end
from agentctl.core.errors import RunTimeout, StateError, UsageError
from agentctl.core.text import safe_text
from agentctl.settings.sources import Problem

MOST_BYTES = 1024 * 1024
PIPE_PATIENCE_S = 5.0  # seconds to wait for a pipe, which may have no writer, where no time limit is known


class PipeWait:
    """How a run waits for the pipes that it reads settings from: it says so after 2 s, and its time limit counts.

    ``since`` is a time of ``time.monotonic``. A pipe can be read only once, so its text is kept for the next loading.
    """

    def __init__(self, *, since: float, notify: Callable[[str], object]) -> None:
        self.since, self.notify = since, notify
        self.kept: dict[Path, bytes] = {}

    def read(self, number: int, path: Path, named: str, timeout_s: float) -> bytes:
        """Return what comes through a pipe, at most 1 MiB and a byte.

        Raises:
            RunTimeout: its end has not come in time.
            OSError: it cannot be read.
        """
        if path not in self.kept:
            try:
                self.kept[path] = read_to_end(
                    number,
                    most=MOST_BYTES,
                    until=self.since + timeout_s,
                    late=lambda size: self.notify(f"still waiting for {'the end of ' if size else ''}{named}, a pipe"),
                )
            except TimeoutError as error:
                said = f"the run took longer than {timeout_s:g} s, waiting for {named}, a pipe; nothing was sent"
                raise RunTimeout(said, hint="raise --timeout, or name a regular file") from error
        return self.kept[path]


def is_there(path: Path) -> bool:
    """Return whether the path exists; one in a folder without access counts, so that reading it gives the reason."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        return True
    return True


def is_folder(path: Path) -> bool:
    """Return whether ``path`` is a reachable folder."""
    try:
        return path.is_dir()
    except OSError:
        return False


def read_own_file(
    path: Path,
    what: str,
    *,
    private: bool = False,
    flag: str = "",
    wait: PipeWait | None = None,
    timeout_s: float | None = None,
) -> str | Problem:
    """Read a file that the user named or owns, at most 1 MiB; a pipe with a writer is accepted, a folder is not.

    ``private``: it must belong to this user, and be readable by no other. ``flag`` has named it. The end of a pipe must
    come within 5 s, for a run, which waits as ``wait`` says, within ``timeout_s`` since its start.

    Raises:
        RunTimeout: the run's time ended while it waited for a pipe.
    """
    named = safe_text(f"{what} {path}")
    timeout_s = PIPE_PATIENCE_S if timeout_s is None else timeout_s
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            found = os.fstat(file.fileno())
            if private and (problem := privacy_problem(found, named, path)):
                return problem
            if stat.S_ISREG(found.st_mode):
                data = file.read(MOST_BYTES + 1)
            elif wait is not None:
                data = wait.read(file.fileno(), path, safe_text(f"{flag or what} {path}"), timeout_s)
            else:
                data = read_to_end(file.fileno(), most=MOST_BYTES, until=time.monotonic() + timeout_s)
    except TimeoutError:
        return Problem(
            f"{named} is a pipe that did not end within {timeout_s:g} s", "is there a program that writes to it?"
        )
    except IsADirectoryError:
        return Problem(f"{named} is a folder, not a file")
    except (OSError, ValueError) as exc:
        said = exc.strerror if isinstance(exc, OSError) and exc.strerror else "not a file name"
        return Problem(f"{named} cannot be read: {said.lower()}")
    if len(data) > MOST_BYTES:
        return Problem(f"{named} is larger than 1 MiB, too large for a settings file")
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


def privacy_problem(found: os.stat_result, named: str, path: Path) -> Problem | None:
    """Return what is wrong with a file that has to be for its owner alone, None if it is."""
    quoted = safe_text(shlex.quote(os.fspath(path)))
    if found.st_uid != os.geteuid():
        return Problem(
            f"{named} belongs to another user (uid {found.st_uid})",
            f'sudo chown "$(id -u)" {quoted} && chmod 600 {quoted}',
        )
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        return Problem(f"{named} contains keys and other users can read it (mode {mode:04o})", f"chmod 600 {quoted}")
    return None


def read_exact(path: Path, what: str, *, private: bool = False) -> str:
    """Return the text of a regular file, "" if there is none; a byte order mark is part of it.

    Raises:
        UsageError: it is a link, a pipe, not text, or another user's (``private``: or other users can read it).
        StateError: it changed while it was read.
    """
    if not is_there(path):
        return ""
    named, found = f"{what} {path}", path.lstat()
    if not stat.S_ISREG(found.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "not a regular file"
        raise UsageError(safe_text(f"{named} is {kind}; agentctl writes only a regular file"))
    if found.st_uid != os.geteuid() and not private:
        raise UsageError(safe_text(f"{named} belongs to another user (uid {found.st_uid}); nothing was changed"))
    text = read_own_file(path, what, private=private)
    if isinstance(text, Problem):
        raise UsageError(text.text, hint=text.hint)
    with open(path, "rb", opener=_not_followed) as file:
        data = file.read()
    if data.decode("utf-8-sig", "replace") != text:
        raise StateError(safe_text(f"{named} changed while it was read"), hint="try again")
    return data.decode("utf-8")


def _not_followed(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
