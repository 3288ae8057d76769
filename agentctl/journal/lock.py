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
_WORDS = 8  # of a line of _LOCKS about a lock that is held; of one that is waited for the second is an arrow
_TRIES = 50  # milliseconds: a reader may be checking the lock
_OWNED = "go on as the user that owns it, or have it made yours with chown"
_HINTS = {errno.EACCES: _OWNED, errno.EPERM: _OWNED, errno.EROFS: "make its disk writable, and try again"}


def lock_journal(path: Path) -> int:
    """Open the journal of a run that has ended, lock it, and return the file.

    Raises:
        UsageError: the run is alive, with its process.
        StateError: the journal cannot be opened for writing, or was removed meanwhile.
    """
    try:
        file = os.open(path, _FLAGS)
    except OSError as exc:
        error = journal_error(exc, f"the journal {path} cannot be written")
        error.hint = _HINTS.get(exc.errno or 0, error.hint)
        raise error from exc
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
            if words[1:2] != ["FLOCK"] or len(words) < _WORDS:
                continue
            # some file systems (btrfs) show another device there than in the file's status
            if words[5] == name or (words[5].endswith(f":{found.st_ino}") and _has_open(words[4], found)):
                return f"process {words[4]}"
    return "another process"


def _has_open(pid: str, found: os.stat_result) -> bool:
    """Return whether a process has a file open; False if that cannot be seen."""
    with suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            with suppress(OSError):
                if os.path.samestat(entry.stat(), found):
                    return True
    return False
