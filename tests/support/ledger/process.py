"""A process of its own on the ledger, inside the test's: it has an owner, a lock, a connection, and can be killed."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from agentctl.ledger.clock import ClockReading
from agentctl.ledger.database import Database
from agentctl.ledger.ledger_session import LedgerSession
from tests.support.ledger.oracle import SECOND_US

IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # no machine fails here: no disk is needed


class Killed(BaseException):
    """The process was killed in the middle of an operation."""


class TickingClock:
    """Wall and boot clock in microseconds, advanced by one at each reading; ``amid`` runs inside the next reading."""

    def __init__(self) -> None:
        self.wall_us, self.boot_us, self.boot_id = 1_800_000_000 * SECOND_US, 100 * SECOND_US, "boot-1"
        self.taken: ClockReading | None = None
        self.amid: Callable[[], None] | None = None

    def __call__(self) -> ClockReading:
        self.pass_by(0.000001)
        if self.amid is not None:
            amid, self.amid = self.amid, None
            amid()
            self.amid = amid
            self.pass_by(0.000001)
        self.taken = ClockReading(self.wall_us, self.boot_us, self.boot_id)
        return self.taken

    def pass_by(self, seconds: float) -> None:
        """Let both clocks run."""
        self.wall_us += round(seconds * SECOND_US)
        self.boot_us += round(seconds * SECOND_US)

    def boot(self, off_s: int) -> None:
        """Reboot the machine after ``off_s`` seconds by the wall clock."""
        self.wall_us += off_s * SECOND_US
        self.boot_us, self.boot_id = 5 * SECOND_US, f"boot-{int(self.boot_id[5:]) + 1}"


class Process:
    """One of several; ``hour`` is its limit in nano-dollars, ``locked`` whether others take it for alive."""

    def __init__(self, path: Path, clock: TickingClock, hour: int | None) -> None:
        self.owner, self.hour = os.urandom(8).hex(), hour
        self._lock = path.with_suffix(".owners") / self.owner
        self._database = Database(path, clock=clock)
        self.session = LedgerSession(self._database, owner_id=self.owner, pid=os.getpid())

    @property
    def locked(self) -> bool:
        """Whether its lock file exists; before its first operation there is none."""
        return self._lock.exists()

    def lose_its_lock(self) -> None:
        """Remove its lock, so that others declare it dead."""
        self._lock.unlink(missing_ok=True)

    def kill(self) -> None:
        """End as kill -9 ends a process: the kernel drops its lock and its connection, nobody writes anything."""
        alive = self.session._owner_lock
        if alive is not None:
            with suppress(OSError):
                os.close(alive._fd)
            self.session._owner_lock = None
        spool = self.session._spool
        spare, spool._spare = spool._spare, None
        if spare is not None:
            os.close(spare)  # the file stays, as after kill -9
        self._database.close()


def can_write_now(path: Path) -> bool:
    """Whether no process holds the head of the queue."""
    with path.with_suffix(".queue").open("rb+") as queue:
        try:
            fcntl.flock(queue, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
