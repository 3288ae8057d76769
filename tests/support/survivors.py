"""Find every process that descends from one process by a mark that none can lose, and bound their number.

The mark is a soft limit that agentctl and its commands leave alone: RLIMIT_MSGQUEUE, set to a value that nobody else
has. The kernel copies it at each fork and keeps it through exec, setsid, a change of user and new namespaces. A cleared
environment, other arguments, closed descriptors and a lost parent do not touch it, and only a system call on this very
limit would. ``/proc/PID/limits`` shows it of every process and to every user. A zombie has ended; it counts only as a
child of a process in ``besides``, which has not reaped it.

One search can miss a process that starts after the processes were listed. So "none" takes several searches in a row,
and in a `Box` also the kernel's own count: no process leaves its control group, whatever it does.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LINE = b"Max msgqueue size"
_SEARCHES = 3
PATIENCE_S = 15.0


class Mark:
    """A value of the limit, and the processes that have it; ``besides`` are ids that do not count."""

    def __init__(self, value: int | None = None) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_MSGQUEUE)
        most = 819_200 if hard == resource.RLIM_INFINITY else hard
        self.value = random.randrange(most // 2, most) if value is None else value

    @contextmanager
    def on_this_process(self) -> Iterator[None]:
        """Mark this process, and with it what it starts meanwhile."""
        soft, hard = resource.getrlimit(resource.RLIMIT_MSGQUEUE)
        resource.setrlimit(resource.RLIMIT_MSGQUEUE, (self.value, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_MSGQUEUE, (soft, hard))

    def alive(self, besides: Collection[int] = ()) -> dict[int, str]:
        """Return the marked processes: their ids and command lines."""
        found: dict[int, str] = {}
        for _ in range(_SEARCHES):
            for name in os.listdir("/proc"):  # noqa: PTH208 - quicker, so that less is missed
                if name.isdigit() and int(name) not in besides and self._is_on(name, besides):
                    found[int(name)] = _command_line(name)
            if found:
                break
        return found

    def left(self, besides: Collection[int] = (), *, patience_s: float = 0.0) -> dict[int, str]:
        """Return the marked processes once there are none, or those that are left after ``patience_s`` seconds."""
        end = time.monotonic() + patience_s
        while (found := self.alive(besides)) and time.monotonic() < end:
            time.sleep(0.01)
        return found

    def kill(self, besides: Collection[int] = ()) -> None:
        """Kill the marked processes."""
        for pid in self.alive(besides):
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def _is_on(self, name: str, besides: Collection[int]) -> bool:
        try:
            lines = Path("/proc", name, "limits").read_bytes().splitlines()
            state, parent, *_ = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
        except OSError:  # gone meanwhile
            return False
        if state in "ZX" and int(parent) not in besides:
            return False
        return any(line.startswith(_LINE) and line.split()[3] == b"%d" % self.value for line in lines)


def _command_line(name: str) -> str:
    try:
        words = Path("/proc", name, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        return f"{name} {words or Path('/proc', name, 'comm').read_text().strip()}"
    except OSError:
        return f"{name}, gone meanwhile"


class Box:
    """A control group that bounds the number of processes, threads included, and counts them (root).

    A context manager; at its end nothing is left in it: no process can start any more, and each one is killed.
    """

    def __init__(self, most: int) -> None:
        above, self._is_removed = _above(), False
        if above is None:
            raise OSError("no control group for processes can be made here")
        self.folder = above / f"survivors-{os.getpid()}-{os.urandom(4).hex()}"
        self.folder.mkdir()
        (self.folder / "pids.max").write_text(str(most))

    def count(self) -> int:
        """Return how many processes and threads are in it."""
        return int((self.folder / "pids.current").read_text())

    def count_left(self, *, patience_s: float = PATIENCE_S) -> int:
        """Return 0 once it is empty, or how many are left after ``patience_s`` seconds: the kernel counts one that has
        ended until it is reaped.
        """
        end = time.monotonic() + patience_s
        while (number := self.count()) and time.monotonic() < end:
            time.sleep(0.01)
        return number

    def __enter__(self) -> Box:
        return self

    def __exit__(self, *_: object) -> None:
        (self.folder / "pids.max").write_text("0")
        end = time.monotonic() + PATIENCE_S
        while self.count() and time.monotonic() < end:
            for members in self.folder.rglob("cgroup.procs"):
                with suppress(OSError):
                    for pid in members.read_text().split():
                        os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.01)
        for folder in sorted((path.parent for path in self.folder.rglob("cgroup.procs")), reverse=True):
            with suppress(OSError):
                folder.rmdir()


def enter(box: str) -> None:
    """Put this process into a box, with all that it starts from now on."""
    Path(box, "cgroup.procs").write_text(str(os.getpid()))


def why_no_box() -> str | None:
    """Return why no box can be made here, or None."""
    try:
        with Box(2):
            return None
    except OSError as error:
        return str(error)


def _above() -> Path | None:
    """Return the folder in which a group with a limit of processes can be made: in version 1, or version 2."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, kinds, path = line.split(":", 2)
        if "pids" in kinds.split(","):
            return next(
                (place for mount in (kinds, "pids") if (place := Path(f"/sys/fs/cgroup/{mount}{path}")).is_dir()), None
            )
        if not kinds and (place := Path("/sys/fs/cgroup" + path)).is_dir():
            allowed = place / "cgroup.subtree_control"
            if allowed.exists() and "pids" in allowed.read_text().split():
                return place
    return None
