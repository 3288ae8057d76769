"""Limit the resources of one command: processes and memory by a control group, disk space by monitoring.

Limits of a process (``ulimit``) do not apply to root, or apply to each process alone. A control group applies to all,
also to root, and counts the pages of temporary file systems. If none can be made (no delegation, a read-only /sys) it
has no folders, and ``Bwrap`` says so.

No folder quota works on every file system, so the free space of the whole file system is monitored. Other programs fill
it, too: growth above the limit counts only if the folder's files that changed since the command began are that large.
Deleted files that the command still holds open are not visible; against them there is a floor of free space, below
which any running command is ended.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import anyio

from agentctl.sandbox.process_tree import run_aside

MOST_PROCESSES = 1024
MOST_MEMORY_BYTES = 8 * 1024**3  # and no more than half of the machine's
_LEAST_MEMORY_BYTES = 512 * 1024**2  # minimum on a small machine: no compiler or browser runs with less
_MOST_WITHOUT_GROUP = 4 * 1024**3  # minimum of data for each process: its address space says little

NO_MEMORY_GROUP = (
    "no control group for memory: the limit applies to each process, not to all processes of a command together"
)

NO_PROCESS_GROUP = "no control group for processes: the limit of 1024 does not hold for root"

_NAME = "agentctl-"
_MOST_KEPT = 8  # the part of a group's memory, an eighth, that earlier commands may leave in use
_TRIES = 20  # times 10 ms: a process leaves its group a moment after it is gone
_BINDING = frozenset({"pids.max", "memory.max", "memory.limit_in_bytes"})  # without these there is no limit
MOST_GROWTH_BYTES = 4 * 1024**3  # of the workspace, by one command
LEAST_FREE_BYTES = 256 * 1024**2  # or a twentieth of a smaller file system, or half of what was free before
_PAUSE_S = 0.1
_COARSE_NS = 20_000_000  # the clock of time stamps lags by up to a tick
_BLOCK = 512  # the unit of st_blocks, whatever the file system's block size


class ControlGroup:
    """The control group of a run's commands, which run one after the other; it has no folders if none can be made.

    ``most_memory`` is in bytes; the limit of processes is constant. ``folders`` are one in version 2, one for each
    controller in version 1. ``has_memory``: it limits the memory of what enters.
    """

    def __init__(self, most_memory: int) -> None:
        made: dict[Path, Path] = {}  # by the folder above
        self._most_memory = most_memory
        self._memory: Path | None = None
        self._processes: Path | None = None
        self._killed = 0
        name = f"{_NAME}{os.getpid()}-{os.urandom(4).hex()}"
        for controller, limits in _limits(most_memory).items():
            for above in _places(controller):
                folder = above / name
                if _make(folder, is_new=above not in made, limits=limits):
                    made[above] = folder
                    if controller == "memory":
                        self._memory = folder
                    else:
                        self._processes = folder
                    break
        self.folders = tuple(made.values())
        self._holds = [hold for folder in self.folders if (hold := _hold(folder)) is not None]
        for folder in self.folders:
            _sweep(folder)

    @property
    def has_memory(self) -> bool:
        """Whether the memory of a process that enters is limited, as far as is known."""
        return self._memory is not None

    @property
    def has_processes(self) -> bool:
        """Whether the number of processes is limited, as far as is known."""
        return self._processes is not None

    @property
    def is_fit(self) -> bool:
        """Whether a further command is limited as the first one was.

        Not if someone has removed the group while it was empty, nor if much of its memory is still in use, though no
        process is left: files that were written to a file system in memory (the workspace can be in one) stay charged
        to it, and so do the kernel's own records. Cached pages of a disk do not count, as the kernel gives them up.
        """
        if not all(os.path.exists(folder) for folder in self.folders):  # noqa: PTH110 - Path is slow
            return False
        return self._memory is None or self._count_kept(self._memory) <= self._most_memory // _MOST_KEPT

    def _count_kept(self, folder: Path) -> int:
        """Return the bytes that the group cannot give up."""
        used = _text(folder / "memory.current") or _text(folder / "memory.usage_in_bytes")  # of version 2 and version 1
        if not used.isdigit() or int(used) <= self._most_memory // _MOST_KEPT:
            return 0
        counts = dict(line.split(" ", 1) for line in _text(folder / "memory.stat").splitlines())
        return int(used) - sum(int(counts.get(name, 0)) for name in ("active_file", "inactive_file"))

    def enter(self, process: int) -> None:
        """Put a process into the group, with all that it starts from then on."""
        for folder in self.folders:
            try:
                _write(folder / "cgroup.procs", str(process))
            except OSError:  # a partial delegation: it can be made, but not entered
                self._memory = None if folder == self._memory else self._memory
                self._processes = None if folder == self._processes else self._processes

    def count_killed(self) -> int:
        """Return how many processes the kernel killed, since the last call, because the group had used up its
        memory.
        """
        before, self._killed = self._killed, self._count_killed()
        return self._killed - before

    def _count_killed(self) -> int:
        if self._memory is None:
            return 0
        for name in ("memory.events", "memory.oom_control"):  # of version 2 and version 1
            for line in _text(self._memory / name).splitlines():
                key, _, value = line.partition(" ")
                if key == "oom_kill" and value.isdigit():
                    return int(value)
        return 0

    def close(self) -> None:
        """Remove the group once it is empty, after 0.2 s at most; a later group removes what is left."""
        while self._holds:
            os.close(self._holds.pop())
        for folder in self.folders:
            for _ in range(_TRIES):
                try:
                    folder.rmdir()
                except OSError as error:
                    if error.errno == errno.EBUSY:
                        time.sleep(0.01)
                        continue
                break


def memory_bound() -> int:
    """Return the bytes of memory that all processes of a command may have together, if a group can be made."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return max(_LEAST_MEMORY_BYTES, min(MOST_MEMORY_BYTES, pages * size // 2))


def data_bound(most_memory: int) -> int:
    """Return the bytes of data that each process may have if no group limits all of them together."""
    return max(_MOST_WITHOUT_GROUP, most_memory)


def _limits(most_memory: int) -> dict[str, tuple[tuple[str, int], ...]]:
    """Return the files and values to write for each controller, in both versions; without swap the memory limit is
    total.
    """
    return {
        "pids": (("pids.max", MOST_PROCESSES),),
        "memory": (
            ("memory.max", most_memory),
            ("memory.swap.max", 0),
            ("memory.limit_in_bytes", most_memory),
            ("memory.memsw.limit_in_bytes", most_memory),
        ),
    }


def _make(folder: Path, *, is_new: bool, limits: tuple[tuple[str, int], ...]) -> bool:
    """Make a group or take an existing one, and set the limits that its version has; return whether one was set."""
    try:
        if is_new:
            folder.mkdir(mode=0o755)
    except OSError:
        return False
    holds = False
    for name, value in limits:
        with suppress(OSError):
            _write(folder / name, str(value))  # not created: the other version has it
            holds |= name in _BINDING
    if is_new and not holds:
        with suppress(OSError):
            folder.rmdir()
    return holds


def _sweep(made: Path) -> None:
    """Remove the empty groups beside a group that killed processes left behind."""
    with suppress(OSError), os.scandir(made.parent) as entries:  # pathlib takes ten times as long
        for entry in entries:
            owner = entry.name.removeprefix(_NAME).partition("-")[0] if entry.name.startswith(_NAME) else ""
            if owner.isdigit() and not os.path.exists(f"/proc/{owner}"):  # noqa: PTH110
                hold = _hold(Path(entry.path), fcntl.LOCK_EX)
                if hold is not None:
                    os.close(hold)
                    with suppress(OSError):
                        os.rmdir(entry.path)  # noqa: PTH106


def _hold(folder: Path, how: int = fcntl.LOCK_SH) -> int | None:
    """Lock a group until the returned file is closed; None if that fails.

    Between two commands a group is empty, and its owner may have a process namespace in which its id is another one.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _places(controller: str) -> Iterator[Path]:
    """Yield folders in which a group with this controller can be made."""
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        _, kinds, path = line.split(":", 2)
        if controller in kinds.split(","):
            for mount in (f"/sys/fs/cgroup/{kinds}", f"/sys/fs/cgroup/{controller}"):
                yield from (place for place in (Path(mount + path), Path(mount)) if place.is_dir())
        elif not kinds:
            own = Path("/sys/fs/cgroup" + path)
            for place in (own, own.parent):
                if controller in _text(place / "cgroup.subtree_control").split():
                    yield place


def _write(file: Path, value: str) -> None:
    handle = os.open(file, os.O_WRONLY)
    try:
        os.write(handle, value.encode())
    finally:
        os.close(handle)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


class Space(NamedTuple):
    """Bytes of a file system: all, those that are free for this user, and those that are used."""

    size: int
    free: int
    used: int


def space_of(folder: str) -> Space:
    """Return the space of the file system that a folder lies in.

    Raises:
        OSError: the file system cannot be queried.
    """
    found = os.statvfs(folder)
    unit = found.f_frsize
    return Space(found.f_blocks * unit, found.f_bavail * unit, (found.f_blocks - found.f_bfree) * unit)


def floor_of(before: Space) -> int:
    """Return how many bytes must stay free; on a disk that was nearly full, half of what was free."""
    return min(LEAST_FREE_BYTES, before.size // 20, before.free // 2)


def watch_space(folders: Mapping[str, str], *, most_growth: int = MOST_GROWTH_BYTES) -> Callable[[], str | None]:
    """Measure the folders before a command, and return a function for ``wait_until_full``.

    ``folders`` are all writable folders on a disk, each with a name for messages.
    """
    watches = [_Watch(folder, name, most_growth) for folder, name in folders.items()]

    def look() -> str | None:
        return next((said for watch in watches if (said := watch.look()) is not None), None)

    look()
    return look


async def wait_until_full(look: Callable[[], str | None]) -> str:
    """Wait until one of the folders of ``look`` (``watch_space``) is too full for the command to continue, and return
    a sentence that says so. A command that ends at once is not looked at.
    """
    while True:
        await anyio.sleep(_PAUSE_S)
        if (said := await run_aside(look)) is not None:
            return f"the command was ended: {said}"


class _Watch:
    """One monitored folder and its first measurement; an error while measuring never ends a command."""

    def __init__(self, folder: str, name: str, most_growth: int) -> None:
        self._folder, self._name, self._most_growth = folder, name, most_growth
        self._began = time.time_ns() - _COARSE_NS
        self._before: Space | None = None
        self._mark = 0

    def look(self) -> str | None:
        """Return which limit is exceeded, or None."""
        try:
            now = space_of(self._folder)
        except OSError:
            return None
        if self._before is None:
            self._before, self._mark = now, now.used
        if now.free < floor_of(self._before) and now.used > self._before.used:
            return f"the disk of {self._name} had {mebibytes(now.free)} left"
        if now.used - self._mark > self._most_growth:
            written = bytes_written_since(self._folder, self._began)
            if written > self._most_growth:
                return f"it wrote {mebibytes(written)} to {self._name}, the limit is {mebibytes(self._most_growth)}"
            self._mark = now.used - written  # other programs wrote the rest
        return None


def mebibytes(count: int) -> str:
    """Return a number of bytes as text in MiB."""
    return f"{count / 1024**2:,.0f} MiB"


def bytes_written_since(folder: str, began_ns: int) -> int:
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
