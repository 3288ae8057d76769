"""A watch over the disk while a command runs: there are no quotas for a folder that work on every file system.

What is looked at is the whole file system, which others fill too. So a growth above the bound counts only if files of
the workspace that were changed since the command began are as large. Files that the command holds open after it has
removed them are not seen so: for them there is the floor, below which any command is ended that runs.
"""

from __future__ import annotations

import os
import stat
import time
from typing import NamedTuple

import anyio
import anyio.to_thread

MOST_GROWTH_BYTES = 4 * 1024**3  # of the workspace, by one command
LEAST_FREE_BYTES = 256 * 1024**2  # or a twentieth of a smaller file system, or half of what was free before
_PAUSE_S = 0.1
_COARSE_NS = 20_000_000  # the clock of time stamps is behind by up to a tick
_BLOCK = 512  # what st_blocks counts in, whatever the file system's own size is


class Space(NamedTuple):
    """Bytes of a file system: all, those that are free for this user, and those that are used."""

    size: int
    free: int
    used: int


def space_of(folder: str) -> Space:
    """Return the space of the file system that a folder lies in.

    Raises:
        OSError: it cannot be told.
    """
    found = os.statvfs(folder)
    unit = found.f_frsize
    return Space(found.f_blocks * unit, found.f_bavail * unit, (found.f_blocks - found.f_bfree) * unit)


def floor_of(before: Space) -> int:
    """Return how many bytes must stay free; on a disk that was nearly full, half of what was free."""
    return min(LEAST_FREE_BYTES, before.size // 20, before.free // 2)


async def until_full(folder: str, *, most_growth: int = MOST_GROWTH_BYTES) -> str:
    """Return, once the disk of ``folder`` is too full for the command to go on, a sentence that says so."""
    began = time.time_ns() - _COARSE_NS
    try:
        before = await anyio.to_thread.run_sync(space_of, folder)
        mark = before.used
        while True:
            await anyio.sleep(_PAUSE_S)
            now = await anyio.to_thread.run_sync(space_of, folder)
            if now.free < floor_of(before) and now.used > before.used:
                return f"the command was ended: the disk of the workspace had {mebibytes(now.free)} left"
            if now.used - mark > most_growth:
                written = await anyio.to_thread.run_sync(written_since, folder, began)
                if written > most_growth:
                    amounts = f"{mebibytes(written)} to the workspace, the limit is {mebibytes(most_growth)}"
                    return f"the command was ended: it wrote {amounts}"
                mark = now.used - written  # somebody else wrote the rest
    except OSError:
        await anyio.sleep_forever()
        raise


def mebibytes(count: int) -> str:
    """Return a number of bytes as text."""
    return f"{count / 1024**2:,.0f} MiB"


def written_since(folder: str, began_ns: int) -> int:
    """Return how many bytes on the disk belong to files in ``folder`` that were made or changed since."""
    total = 0
    seen: set[int] = set()
    pending = [folder]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                here = list(entries)
        except OSError:
            continue
        for entry in here:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISDIR(status.st_mode):
                pending.append(entry.path)
            elif status.st_ctime_ns >= began_ns and status.st_ino not in seen:
                seen.add(status.st_ino)
                total += status.st_blocks * _BLOCK
    return total
