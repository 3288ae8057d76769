"""Find all processes that descend from a command; ask them to end, then kill them.

A process belongs to the tree by its session, by a marker in its environment, or by descent: from the command, or from
the subreaper above it, which becomes the parent of orphans. Not found: a process of another user (sudo); work handed to
a daemon (docker, at, systemd-run); without a subreaper, a process that has cleared its environment, left the session
*and* lost its parent; without /proc (macOS), every process that has left the process group.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol, TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")

MARKER = "AGENTCTL_CHILD"
NO_THREAD = "start new thread"  # in Python's words, when a thread cannot be started
_TERM_S = 2.0  # seconds from SIGTERM to SIGKILL
_KILL_S = 4.0  # a process that is left after that hangs in the kernel
_SHORT_KILL_S = 1.0  # if a subreaper then ends what forks faster than this search finds it
_LONGEST_PAUSE_S = 0.02
_UNSEEN = 3  # searches without a find, after one with a find, until all count as dead
_LOOKS = 20  # searches again, after 1 to 20 ms each, while a young process shows no environment
_MOST_BYTES = 1024 * 1024  # bytes of an environment
_STAT_BYTES = 4096  # a buffer of a page: a larger one costs more than the reading
_KERNEL_THREAD = 0x00200000  # the kernel's PF_KTHREAD


async def run_aside(action: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> _Result:
    """Call ``action`` in a thread, or here if no thread can be started: a command may have used up all processes."""
    try:
        return await anyio.to_thread.run_sync(action, *arguments)
    except RuntimeError as error:
        if NO_THREAD not in str(error):
            raise
    return action(*arguments)


class Leader(Protocol):
    """A command's own process. Its id is not reused until ``poll`` has returned its exit code."""

    @property
    def pid(self) -> int:
        """Its process id."""

    @property
    def returncode(self) -> int | None:
        """Its exit code as ``subprocess`` has it, None while ``poll`` has not returned one."""

    def poll(self) -> int | None:
        """Return the exit code when it has ended, else None; do not wait."""


class ProcessTree:
    """A started command and all its descendants. The command is reaped last, so that its ids are not reused.

    ``subreaper`` is the ancestor of all the command's processes, None if there is none. ``is_contained``: the kernel
    ends all of them with the command's own.
    """

    def __init__(self, child: Leader, marker: str, subreaper: int | None = None, *, is_contained: bool = False) -> None:
        self._is_contained = is_contained
        self._child, self._roots = child, {child.pid} if subreaper is None else {child.pid, subreaper}
        self._mark = f"{MARKER}={marker}".encode()
        stat = _stat(child.pid)  # works for an ended process, too; older processes need no check
        self._started = 0 if stat is None else stat.started
        self._known: dict[int, int] = {}  # members found so far, with their start times
        self._over = self._unclear = False
        self.unkilled = 0  # set after the end: how many processes hang in the kernel

    async def wait_for_leader(self) -> None:
        """Wait for the command's own process, and not for others that hold its pipes."""
        try:
            handle = os.pidfd_open(self._child.pid)
        except (AttributeError, OSError):
            await self._reap()
            return
        try:
            await anyio.wait_readable(handle)
        finally:
            os.close(handle)

    async def end(self, *, has_ended: bool = False) -> int:
        """End every member, shielded and within seconds; return the number found alive.

        SIGTERM first, after two seconds SIGKILL until none is left. ``has_ended``: the kernel has ended them all.
        """
        if self._over:
            return 0
        if has_ended and self._child.poll() is not None:
            self._over = True
            return 0
        if self._is_contained and self._child.returncode is None:
            _signal(-self._child.pid, signal.SIGTERM)  # at once: a search among very many processes takes minutes
        with anyio.CancelScope(shield=True):
            found = left = await run_aside(self._send, signal.SIGTERM)
            pause = _Pause()
            for _ in range(_LOOKS):  # a process in the middle of exec shows no environment: search again
                if found or not self._unclear:
                    break
                await pause.wait()
                found = left = await run_aside(self._send, signal.SIGTERM)
            with anyio.move_on_after(_TERM_S):
                pause = _Pause()
                while left:
                    await pause.wait()
                    left = await run_aside(self._send, 0)
            self._kill_group()
            with anyio.move_on_after(_KILL_S if len(self._roots) == 1 else _SHORT_KILL_S):
                unseen, pause = 0 if found else _UNSEEN, _Pause()
                while unseen < _UNSEEN:
                    left = await run_aside(self._send, signal.SIGKILL)
                    unseen = 0 if left else unseen + 1
                    await pause.wait()
            with anyio.move_on_after(_KILL_S):
                await self._reap()
        self.unkilled = len(left)
        self._over = True
        return len(found)

    def _kill_group(self) -> None:
        """Kill the group at once, which no fork outruns; its id is ours until the command is reaped."""
        if self._child.returncode is None:
            _signal(-self._child.pid, signal.SIGKILL)

    async def _reap(self) -> None:
        pause = _Pause()
        while self._child.poll() is None:
            await pause.wait()

    def _send(self, number: int) -> frozenset[int]:
        """Signal each member and return them all."""
        if not os.path.exists("/proc/self/stat"):  # noqa: PTH110 - Path is slow
            return self._group(number)
        alive: dict[int, _Stat] = {}
        found: set[int] = set()
        self._unclear = False
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - Path is slow
        for pid in sorted(pids, reverse=True):  # the newest first: they may be the first to disappear
            stat = _stat(pid)
            if stat is None or not stat.is_alive or stat.started < self._started:  # older processes are not its child
                continue
            alive[pid] = stat
            ours = stat.session == self._child.pid or self._known.get(pid) == stat.started
            if not ours:
                environment = _read(pid, "environ")
                ours = self._mark in environment.split(b"\0")
                self._unclear |= not environment
            if ours:
                found.add(pid)
                if number == signal.SIGKILL:
                    _signal(pid, number)  # at once: a program that forks all the time has another pid a moment later
        newer = {*self._roots, *found}
        while newer:  # descent finds a process that has cleared its environment
            newer = {pid for pid, stat in alive.items() if stat.parent in newer} - found
            found |= newer
        # After the search, since the child of a dead process has no parent to be found by; and the whole group at once,
        # or a shell would see its child die before it gets the signal that it traps.
        unreaped = self._child.returncode is None
        if unreaped:
            _signal(-self._child.pid, number)
        for pid in found:
            if not unreaped or alive[pid].group != self._child.pid:
                _signal(pid, number)
        self._known.update((pid, alive[pid].started) for pid in found)
        return frozenset(found)

    def _group(self, number: int) -> frozenset[int]:
        """Signal the process group by its negative id; without /proc it stands for all processes."""
        self._child.poll()
        try:
            os.killpg(self._child.pid, 0)
        except OSError:
            return frozenset()
        _signal(-self._child.pid, number)
        return frozenset({-self._child.pid})


def _signal(pid: int, number: int) -> None:
    with suppress(OSError):
        os.kill(pid, number)
        if number == signal.SIGTERM:
            os.kill(pid, signal.SIGCONT)  # a stopped process could not react


class _Stat(NamedTuple):
    parent: int
    group: int
    session: int
    started: int  # clock ticks since boot
    is_alive: bool  # not ended, and not a kernel thread


def _stat(pid: int) -> _Stat | None:
    """Return the ids of a process, or None if it is gone, a zombie or a kernel thread."""
    line = _read(pid, "stat", _STAT_BYTES)
    fields = line[line.rfind(b")") + 2 :].split(maxsplit=20)
    if len(fields) < 20:
        return None
    is_alive = fields[0] not in b"ZX" and not int(fields[6]) & _KERNEL_THREAD
    return _Stat(int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]), is_alive)


def _read(pid: int, name: str, size: int = _MOST_BYTES) -> bytes:
    try:
        file = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(file, size)
        finally:
            os.close(file)
    except OSError:
        return b""


class _Pause:
    """Growing waits, up to a limit."""

    def __init__(self) -> None:
        self._seconds = 0.001

    async def wait(self) -> None:
        await anyio.sleep(self._seconds)
        self._seconds = min(2 * self._seconds, _LONGEST_PAUSE_S)
