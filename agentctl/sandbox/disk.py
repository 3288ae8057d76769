"""A watch over the disk while a command runs: there are no quotas for a folder that work on every file system.

What is looked at is the whole file system, which others fill too. So a growth above the bound counts only if files of
the folder that were changed since the command began are as large. Files that the command holds open after it has
removed them are not seen so: for them there is the floor, below which any command is ended that runs.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping
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


async def until_full(folders: Mapping[str, str], *, most_growth: int = MOST_GROWTH_BYTES) -> str:
    """Return, once one of the folders is too full for the command to go on, a sentence that says so.

    ``folders`` are all that the command can write to on a disk, with what to call each.
    """
    watches = [_Watch(folder, name, most_growth) for folder, name in folders.items()]
    while True:
        for watch in watches:
            if (said := await anyio.to_thread.run_sync(watch.look)) is not None:
                return f"the command was ended: {said}"
        await anyio.sleep(_PAUSE_S)


class _Watch:
    """One folder since the first look at it. What cannot be looked at ends no command."""

    def __init__(self, folder: str, name: str, most_growth: int) -> None:
        self._folder, self._name, self._most_growth = folder, name, most_growth
        self._began = time.time_ns() - _COARSE_NS
        self._before: Space | None = None
        self._mark = 0

    def look(self) -> str | None:
        """Return what is too much, or None."""
        try:
            now = space_of(self._folder)
        except OSError:
            return None
        if self._before is None:
            self._before, self._mark = now, now.used
        if now.free < floor_of(self._before) and now.used > self._before.used:
            return f"the disk of {self._name} had {mebibytes(now.free)} left"
        if now.used - self._mark > self._most_growth:
            written = written_since(self._folder, self._began)
            if written > self._most_growth:
                return f"it wrote {mebibytes(written)} to {self._name}, the limit is {mebibytes(self._most_growth)}"
            self._mark = now.used - written  # somebody else wrote the rest
        return None


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
