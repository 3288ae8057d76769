"""Keep the ledger's own time: it never goes back, and moving a wall clock forward does not free amounts."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

HOUR_US = 3600 * 1_000_000


class ClockReading(NamedTuple):
    """Both clocks at one moment, in microseconds; ``boot_us`` counts suspend. An empty ``boot_id`` is unknown."""

    wall_us: int
    boot_us: int
    boot_id: str


ReadClock = Callable[[], ClockReading]


def read_boot_id() -> str:
    """Return the kernel's id of this boot, or an empty string where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def system_clock() -> ReadClock:
    """Return a reader of this machine's clocks."""
    boot_id = read_boot_id()
    boot_clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def read() -> ClockReading:
        return ClockReading(time.time_ns() // 1000, time.clock_gettime_ns(boot_clock) // 1000, boot_id)

    return read


class ClockRow(NamedTuple):
    """The ledger's time when it was last written, and the clocks at that moment.

    ``highest_wall_us`` is the least that a correct wall clock shows: the highest reading so far, plus the time that has
    passed since.
    """

    now_us: int
    wall_us: int
    boot_us: int
    boot_id: str
    highest_wall_us: int


def advance(before: ClockRow | None, after: ClockReading) -> ClockRow:
    """Return the clock's new row at ``after``; ``before`` is the old row (None: a new ledger).

    Within one boot, time advances by the smaller step of both clocks. Across boots only the wall clock is available,
    and it counts only beyond its highest reading: correcting a slow clock adds no time. So the ledger's time never runs
    ahead of real time, unless a wall clock did.
    """
    if before is None:
        return ClockRow(after.wall_us, *after, highest_wall_us=after.wall_us)
    if after.boot_id and after.boot_id == before.boot_id:
        step = min(after.wall_us - before.wall_us, after.boot_us - before.boot_us)
    else:
        step = after.wall_us - before.highest_wall_us
    step = max(0, step)
    return ClockRow(before.now_us + step, *after, max(before.highest_wall_us + step, after.wall_us))


def read_time(db: sqlite3.Connection, clock: ReadClock) -> ClockRow:
    """Return the ledger's time now; nothing is written."""
    row = db.execute("SELECT now_us, wall_us, boot_us, boot_id, highest_wall_us FROM clock").fetchone()
    return advance(None if row is None else ClockRow(*row), clock())


def as_datetime(us: int) -> datetime:
    """Return ledger time as an aware UTC datetime."""
    return datetime.fromtimestamp(us // 1_000_000, UTC).replace(microsecond=us % 1_000_000)
