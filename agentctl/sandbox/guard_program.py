"""Run between agentctl and a command without a sandbox, as a child subreaper that no descendant can leave.

It runs as ``python -I -S guard_program.py PID agentctl-guard [INPUT]``, where PID is agentctl's, with its end of a
socket as stdin and the command's pipes as stdout and stderr. INPUT is the descriptor that becomes the command's stdin.
A process whose parent dies becomes a child of the nearest subreaper above it: whatever a command does (setsid, two
forks, a cleared environment), it stays below this process.

It reads one request (``request``), starts the command, and answers in lines: ``started PID``, ``failed ERRNO``, and
later ``ended CODE``, where CODE is negative for a signal. It reaps the command only once it is dismissed, so that the
process id is not reused. When the socket closes without a dismissal, or agentctl is dead, it kills every process below
it.

Each command waits for this program to start, so it imports nothing slow (``signal``, ``typing``).
"""

from __future__ import annotations

import os
import select
import sys
import time
from _ctypes import call_function, dlopen, dlsym  # importing ctypes takes three milliseconds more

DISMISSED = b"d"
ALL_ENDED, NOT_ALL_ENDED = 10, 11  # exit codes after a command: whether all its processes have ended
_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 4, 36
_SIGKILL, _NOT_PERMITTED = 9, 1  # the latter is EPERM
_IGNORED_BY_PYTHON = (13, 25)  # SIGPIPE and SIGXFSZ: reset to the default for a command
_CONTROL = 0
_LENGTH = 12  # digits of the length before a request
_REAP_MS = 500  # milliseconds between reaping orphans while the command runs
_LOOK_MS = 20  # the same, and for the command's exit, if the kernel has no pidfd
_KILL_S = 10.0  # a process that is left after that hangs in the kernel
_FOREIGN_S = 1.0  # the same, if all that are left are another user's


def request(argv: list[str], env: dict[str, str], cwd: str) -> bytes:
    """Return the request to run ``argv`` in the environment ``env`` and the folder ``cwd`` ("": the current one)."""
    pairs = [os.fsencode(name) + b"=" + os.fsencode(value) for name, value in env.items()]
    fields = [os.fsencode(cwd), b"%d" % len(argv), *map(os.fsencode, argv), *pairs]
    if any(b"\0" in field for field in fields):
        raise ValueError("embedded null byte")
    body = b"\0".join(fields)
    return b"%0*d" % (_LENGTH, len(body)) + body


def main(agentctl: int, stdin: int | None = None) -> int:
    """Serve one command of the process ``agentctl``; return this process's exit code.

    ``stdin`` is what the command reads; None: nothing.
    """
    libc = dlopen(None, 0)  # type: ignore[arg-type]  # None is the program itself
    for option, value in ((_PR_SET_CHILD_SUBREAPER, 1), (_PR_SET_DUMPABLE, 0)):  # and no command may trace it
        call_function(dlsym(libc, "prctl"), (option, value, 0, 0, 0))
    body = _receive(int(_receive(_LENGTH) or b"0"))
    if not body:
        return 1  # agentctl is gone, and no command was started
    cwd, count, *words = body.split(b"\0")
    argv, pairs = words[: int(count)], words[int(count) :]
    try:
        if cwd:
            os.chdir(cwd)
        leader = os.posix_spawn(
            argv[0],
            argv,
            dict(pair.split(b"=", 1) for pair in pairs),
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)]
            if stdin is None
            else [(os.POSIX_SPAWN_DUP2, stdin, 0), (os.POSIX_SPAWN_CLOSE, stdin)],
            setsid=True,
            setsigdef=_IGNORED_BY_PYTHON,
        )
    except OSError as error:
        _say(b"failed %d\n" % (error.errno or 0))
        return 1
    _say(b"started %d\n" % leader)
    os.chdir("/")  # keep no file system busy
    null = os.open("/dev/null", os.O_RDWR)
    for stream in (1, 2):  # only the writers keep the pipes open
        os.dup2(null, stream)
    dismissed, ended = _watch(leader, agentctl)
    # Every search of /proc, also agentctl's, can miss a process that forks all the time. The kernel's answer that this
    # process has no child is final: each process below it descends from one of its children.
    reaped = dismissed and ended
    if reaped:
        os.waitpid(leader, 0)
        if not _has_children():
            return ALL_ENDED
    return ALL_ENDED if _kill_all(None if reaped else leader) else NOT_ALL_ENDED


def _watch(leader: int, agentctl: int) -> tuple[bool, bool]:
    """Wait until agentctl dismisses this process or is gone; report the command's exit meanwhile.

    Return whether this process was dismissed, and whether the command has ended.
    """
    poll, watched, ended = select.poll(), {}, False
    poll.register(_CONTROL, select.POLLIN)
    for pid in (leader, agentctl):
        try:
            watched[pid] = os.pidfd_open(pid)
            poll.register(watched[pid], select.POLLIN)
        except OSError:
            continue
    try:
        while os.getppid() == agentctl:
            ready = dict(poll.poll(_REAP_MS if len(watched) == 2 or ended else _LOOK_MS))
            if not ended and (code := _reap_orphans(leader)) is not None:
                ended = True
                if leader in watched:
                    poll.unregister(watched[leader])  # it stays readable
                _say(b"ended %d\n" % code)
            if _CONTROL in ready:
                return _receive(len(DISMISSED)) == DISMISSED, ended
        return False, ended
    finally:
        for handle in watched.values():
            os.close(handle)


def _reap_orphans(leader: int) -> int | None:
    """Reap ended orphans; return how the command ended, which is not reaped, or None."""
    while True:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return None
        if found.si_pid == leader:
            return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        os.waitpid(found.si_pid, 0)


def _has_children() -> bool:
    """Reap ended children, and return whether a process is left below this one."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
    except ChildProcessError:
        return False
    return True


def _kill_all(leader: int | None) -> bool:
    """Kill every process below this one, and return whether none is left; ``leader`` None: already reaped.

    A program that forks all the time is caught by its orphans: they are our children, and reading and killing that list
    takes a few microseconds. A search of all processes takes milliseconds, and finds groups to kill at once.
    """
    started, most, next_look = time.monotonic(), _KILL_S, 0.0
    while (now := time.monotonic()) < started + most:
        if now >= next_look:
            groups = _groups()
            if leader is not None:
                groups.setdefault(leader, leader)
            foreign = 0
            for pid, group in sorted(groups.items(), reverse=True):  # the newest first: they may disappear first
                if group in groups:  # its leader still exists, so the group id was not reused
                    _kill(-group)
                foreign += not _kill(pid)
            most = _FOREIGN_S if groups and foreign == len(groups) else _KILL_S
            next_look = time.monotonic() + _LOOK_MS / 1000
        for pid in _children():
            _kill(pid)
        try:
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                leader = None if pid == leader else leader
        except ChildProcessError:
            return True
        time.sleep(0.0001)
    return False


def _children() -> list[int]:
    """Return this process's children; empty if the kernel does not list them."""
    try:
        file = os.open(f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY)
    except OSError:
        return []
    try:
        return [int(pid) for pid in os.read(file, 1 << 16).split(b" ") if pid.strip()]
    except (OSError, ValueError):  # a number cut off by the buffer
        return []
    finally:
        os.close(file)


def _kill(pid: int) -> bool:
    """Kill a process or a group; return False if it is another user's."""
    try:
        os.kill(pid, _SIGKILL)
    except OSError as error:
        return error.errno != _NOT_PERMITTED
    return True


def _groups() -> dict[int, int]:
    """Return the process group of each process below this one."""
    parents, groups = {}, {}
    for pid, parent, group in _processes():
        parents[pid], groups[pid] = parent, group
    below: set[int] = set()
    newer = {os.getpid()}
    while newer:
        newer = {pid for pid, parent in parents.items() if parent in newer} - below
        below |= newer
    return {pid: groups[pid] for pid in below}


def _processes() -> list[tuple[int, int, int]]:
    """Return each process, its parent and its group."""
    found = []
    try:
        names = os.listdir("/proc")  # noqa: PTH208 - pathlib takes long to import
    except OSError:
        return []
    for name in names:
        if name.isdigit():
            try:
                file = os.open(f"/proc/{name}/stat", os.O_RDONLY)
            except OSError:
                continue
            try:
                line = os.read(file, 4096)
            except OSError:
                continue
            finally:
                os.close(file)
            fields = line[line.rfind(b")") + 2 :].split(maxsplit=4)
            if len(fields) > 3:
                found.append((int(name), int(fields[1]), int(fields[2])))
    return found


def _receive(size: int) -> bytes:
    """Return ``size`` bytes from agentctl, or b"" if it is gone first."""
    parts = []
    while size:
        try:
            part = os.read(_CONTROL, min(size, 1 << 20))
        except OSError:
            return b""
        if not part:
            return b""
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _say(line: bytes) -> None:
    try:
        os.write(_CONTROL, line)
    except OSError:  # agentctl is gone, which the next read shows
        return


if __name__ == "__main__":
    os._exit(main(int(sys.argv[1]), int(sys.argv[3]) if len(sys.argv) > 3 else None))
