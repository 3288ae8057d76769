"""Lock the journal of a run that is to be resumed, so that no other process goes on with it at the same time."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from agentctl.core.errors import UsageError
from agentctl.journal.writer import ENDING, journal_error

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LOCKS = Path("/proc/locks")
_TRIES = 50  # milliseconds: a reader may be checking the lock


def lock_journal(path: Path) -> int:
    """Open the journal of a run that has ended, lock it, and return the file.

    Raises:
        UsageError: the run is alive, with its process.
        StateError: the journal cannot be opened for writing, or was removed meanwhile.
    """
    try:
        file = os.open(path, _FLAGS)
    except OSError as exc:
        raise journal_error(exc, f"the journal {path} cannot be written") from exc
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise journal_error(OSError(22, "not a regular file"), f"the journal {path} cannot be written")
    for _ in range(_TRIES):
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        time.sleep(0.001)
    else:
        _refuse_living(file, path)
    if os.fstat(file).st_nlink == 0:  # what is written to it from here on would be lost
        os.close(file)
        raise journal_error(FileNotFoundError(errno.ENOENT, "it was removed"), f"the journal {path} cannot be written")
    return file


def _refuse_living(file: int, path: Path) -> NoReturn:
    holder = _holder_of(file)
    os.close(file)
    raise UsageError(
        f"run {path.name.removesuffix(ENDING)} is still running, in {holder}",
        hint="wait until it has ended, or stop it with Ctrl-C",
    )


def _holder_of(file: int) -> str:
    """Return the process that holds the lock, as the kernel lists it."""
    found = os.fstat(file)
    name = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    with suppress(OSError):
        for line in _LOCKS.read_text().splitlines():
            words = line.split()
            if "FLOCK" in words[:3] and name in words and "->" not in words:
                return f"process {words[words.index(name) - 1]}"
    return "another process"
