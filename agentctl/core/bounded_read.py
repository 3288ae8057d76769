"""Read a descriptor to its end, within a size and a time, whether or not it is non-blocking."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable

NOTICE_S = 2.0
_CHUNK = 256 * 1024
_SLICE_S = 0.5  # a signal that comes just before the system call does not interrupt it: Python sees it afterwards


def wait_readable(number: int, until: float | None = None) -> bool:
    """Wait until descriptor ``number`` has bytes, its end or an error; return False if ``until`` comes first.

    ``until`` is a time of ``time.monotonic``, None: no limit. A named pipe without a writer is not readable. An
    exception of a signal handler ends the wait.
    """
    poll = select.poll()
    poll.register(number, select.POLLIN)
    while True:
        left = _SLICE_S if until is None else min(_SLICE_S, max(0.0, until - time.monotonic()))
        if poll.poll(left * 1000):
            return True
        if until is not None and time.monotonic() >= until:
            return False


def read_to_end(
    number: int, *, most: int, until: float | None = None, late: Callable[[int], object] | None = None
) -> bytes:
    """Return what descriptor ``number`` holds up to its end, but stop once that is more than ``most`` bytes.

    ``late`` is called once, with the number of bytes so far, if the end has not come after 2 s. Another process may
    make the descriptor non-blocking at any time, so each read waits until there is something to read.

    Raises:
        TimeoutError: the end has not come at ``until``, a time of ``time.monotonic``.
        OSError: it cannot be read.
    """
    pieces: list[bytes] = []
    size = 0
    notice = None if late is None else time.monotonic() + NOTICE_S
    while size <= most:
        limits = [limit for limit in (notice, until) if limit is not None]
        is_ready = wait_readable(number, min(limits, default=None))
        if until is not None and time.monotonic() >= until:
            raise TimeoutError
        if not is_ready:
            if late is not None:
                late(size)
            notice = None
            continue
        try:
            piece = os.read(number, min(_CHUNK, most + 1 - size))
        except BlockingIOError:  # another process was quicker
            continue
        if not piece:
            break
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def read_piece(number: int, most: int) -> bytes:
    """Return at most ``most`` bytes, as one read gives them, b"" at the end; wait for them as long as it takes.

    Raises:
        OSError: it cannot be read.
    """
    while True:
        wait_readable(number)
        try:
            return os.read(number, most)
        except BlockingIOError:
            continue
