"""Write the files that a CI system takes from a step: added to as a whole, among other writers, or replaced."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from agentctl.core.files import write_output

_PATIENCE_S = 2.0  # for other runs that write the same file; then an append alone must do
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


def append_whole(path: str, make: Callable[[int], bytes], *, patience_s: float = _PATIENCE_S) -> None:
    """Add to a file that its system has made: all that ``make`` returns, or nothing.

    ``make`` gets the size of the file before, in bytes. A last line without an end is ended first. ``patience_s`` is
    how long to wait for another run that writes it.

    Raises:
        OSError: it is not there, cannot be written, or is full; it is as it was.
    """
    file = os.open(path, _FLAGS)
    try:
        if stat.S_ISDIR(mode := os.fstat(file).st_mode) or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            raise OSError(errno.EINVAL, "not a regular file")
        _lock(file, patience_s)
        size = os.fstat(file).st_size
        end = b"\n" if size and os.pread(file, 1, size - 1) != b"\n" else b""
        data = make(size + len(end))
        if data:
            _write_all(file, end + data, size)
    finally:
        os.close(file)


def replace_whole(path: Path, text: str) -> None:
    """Replace a report, or make it and its folder, readable as the umask allows; write to a device or a pipe.

    Raises:
        OSError: it cannot be written; the old one stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = os.umask(0)
    os.umask(mask)
    write_output(path, text, mode=0o666 & ~mask, for_folder=True)


def _lock(file: int, patience_s: float) -> None:
    """Lock a file against other runs; without its lock, after a while or where there are none, go on."""
    until = time.monotonic() + patience_s
    with suppress(OSError):
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    return
                time.sleep(0.01)
            else:
                return


def _write_all(file: int, data: bytes, size: int) -> None:
    """Write all of ``data`` at the end of a file of ``size``, or take back what was written of it."""
    done = 0
    try:
        while done < len(data):
            written = os.write(file, data[done:])
            if not written:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            done += written
    except OSError:
        with suppress(OSError):
            if done and os.fstat(file).st_size == size + done:  # no other process has appended since
                os.ftruncate(file, size)
        raise
