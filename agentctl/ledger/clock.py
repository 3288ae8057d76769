"""The ledger's own time: it never runs back, and a wall clock set forward does not free what counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

HOUR_US = 3600 * 1_000_000


class Reading(NamedTuple):
    """Both clocks at one moment, in microseconds; ``boot_us`` counts suspend. An empty ``boot_id`` is unknown."""

    wall_us: int
    boot_us: int
    boot_id: str


ReadClock = Callable[[], Reading]


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

    def read() -> Reading:
        return Reading(time.time_ns() // 1000, time.clock_gettime_ns(boot_clock) // 1000, boot_id)

    return read


def advance(now_us: int, before: Reading, after: Reading) -> int:
    """Return the ledger's time at ``after``: on by the lesser of both clocks under one boot id, else by the wall's."""
    step = after.wall_us - before.wall_us
    if after.boot_id and after.boot_id == before.boot_id:
        step = min(step, after.boot_us - before.boot_us)
    return now_us + max(0, step)


def as_datetime(us: int) -> datetime:
    """Return ledger time as an aware UTC datetime."""
    return datetime.fromtimestamp(us // 1_000_000, UTC).replace(microsecond=us % 1_000_000)
