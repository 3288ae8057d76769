"""Run between agentctl and the commands of the Landlock tier: the ancestor of all their processes, and no part of it.

It runs as ``python -I -S confined_program.py PID agentctl-guard``, where PID is agentctl's, with its end of a socket
as stdin, and serves one command after the other: starting Python takes longer than most commands. Each command is
started by a new thread, which first takes its own rights away: credentials, Landlock's domain and the seccomp filter
belong to a thread and are inherited by what it starts. No code runs between fork and exec, and the main thread, which
no command can signal, keeps its rights to end all of them. The rest is as in ``guard_program``.

Each request is marshalled (``Request``) and brings open files: the command's stdout and stderr, its ruleset of
Landlock, and its stdin unless it reads nothing. The answers are lines: ``started PID KEYRING`` with the listener of its
seccomp filter, ``failed ERRNO``,
``ended CODE``, and after a dismissal ``over CODE``. If agentctl dies while a command runs, this program kills every
process below it, and then becomes the program that the last request named, to undo what the command left half done.
"""

from __future__ import annotations

import marshal
import os
import sys
from _ctypes import FUNCFLAG_CDECL, FUNCFLAG_USE_ERRNO, CFuncPtr, _SimpleCData, dlopen, dlsym, get_errno
from _frozen_importlib import module_from_spec  # importlib itself takes milliseconds
from _frozen_importlib_external import spec_from_file_location
from _socket import AF_UNIX, CMSG_SPACE, SCM_RIGHTS, SOCK_STREAM, SOL_SOCKET, socket
from _thread import allocate_lock, start_new_thread
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentctl.sandbox import guard_program as guard
else:  # by its path, as no folder of agentctl is one to import from: its names would hide those of Python's library
    _HERE = os.path.dirname(os.path.realpath(__file__))  # noqa: PTH120
    _spec = spec_from_file_location("guard_program", f"{_HERE}/guard_program.py")
    guard = module_from_spec(_spec)
    _spec.loader.exec_module(guard)

_LENGTH, _HANDLES = 12, (3, 4)
_CLOSE_ON_EXEC = 0x40000000  # MSG_CMSG_CLOEXEC
_KILLED_COMMAND_SCORE = b"500"
_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 4, 36
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _AMBIENT_CLEAR = 24, 38, 47, 4
_JOIN_SESSION_KEYRING = 1
_CAPABILITIES = 64
_CAPABILITY_HEADER = b"\x22\x05\x08\x20\0\0\0\0"  # version 3, this thread
_SET_MODE_FILTER, _NEW_LISTENER, _WAIT_KILLABLE = 1, 1 << 3, 1 << 5
_RESTRICT_SELF = 446
_EINVAL = 22
_AF_UNIX, _AF_INET, _STREAM, _DATAGRAM = 1, 2, 1 | 0o2000000, 2 | 0o2000000  # closed on exec


class _Long(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "l"


class _Function(CFuncPtr):
    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
    _restype_ = _Long


Confinement = dict[str, "int | bytes"]
"""``filter``, the numbers of system calls by their names, ``uid`` and ``gid`` to become (-1 to keep them), and whether
the command gets the ``network``.
"""
Request = tuple[list[bytes], dict[bytes, bytes], bytes, Confinement, list[bytes]]
"""argv, environment, working folder, confinement, and the argv of the program to become after agentctl's death."""


def main(agentctl: int) -> int:
    """Serve the commands of the process ``agentctl``; return this process's exit code."""
    libc = dlopen(None, 0)  # type: ignore[arg-type]  # None is the program itself
    prctl, syscall = _Function(dlsym(libc, "prctl")), _Function(dlsym(libc, "syscall"))
    try:  # before this process is closed to its own user, too
        score = os.open("/proc/self/oom_score_adj", os.O_RDWR)
    except OSError:
        score = -1
    for option, value in ((_PR_SET_CHILD_SUBREAPER, 1), (_PR_SET_DUMPABLE, 0)):
        prctl(*map(_Long, (option, value, 0, 0, 0)))
    control = socket(AF_UNIX, SOCK_STREAM, 0, fileno=0)
    while True:
        request, handles = _receive(control)
        if request is None:
            return 0  # between two commands: there is nothing to end
        argv, environment, folder, confinement, afterwards = request
        started = _Started(syscall, argv, environment, confinement, handles)
        try:
            os.chdir(folder)
            _with_score(score, started.start)
            os.chdir("/")  # keep no file system busy
        except OSError as error:
            started.error = error.errno or _EINVAL
        for handle in handles:  # only the writers keep the pipes open
            os.close(handle)
        if started.error:
            guard._say(b"failed %d\n" % started.error)
            continue
        rights = [(SOL_SOCKET, SCM_RIGHTS, array("i", [started.listener]))]
        control.sendmsg([b"started %d %d\n" % (started.pid, started.has_keyring)], rights)
        os.close(started.listener)
        dismissed, ended = guard._watch(started.pid, agentctl)
        reaped = dismissed and ended
        if reaped:
            os.waitpid(started.pid, 0)
        is_over = (reaped and not guard._has_children()) or guard._kill_all(None if reaped else started.pid)
        if not dismissed:
            if afterwards:
                os.execv(afterwards[0], afterwards)  # noqa: S606 - agentctl named it
            return guard.NOT_ALL_ENDED
        guard._say(b"over %d\n" % (guard.ALL_ENDED if is_over else guard.NOT_ALL_ENDED))


def _receive(control: socket) -> tuple[Request | None, list[int]]:
    """Return the next request and its open files; None if agentctl is gone."""
    try:
        length, ancillary, _, _ = control.recvmsg(_LENGTH, CMSG_SPACE(4 * max(_HANDLES)), _CLOSE_ON_EXEC)
    except OSError:
        return None, []
    handles = array("i")
    for _, kind, data in ancillary:
        if kind == SCM_RIGHTS:
            handles.frombytes(data)
    rest = guard._receive(_LENGTH - len(length)) if len(length) < _LENGTH else b""
    if not length or len(handles) not in _HANDLES:
        return None, []
    body = guard._receive(int(length + rest))
    return (marshal.loads(body) if body else None), list(handles)  # noqa: S302 - from agentctl, by a socket of ours


def _with_score(score: int, action: object) -> None:
    """Start a command that the kernel kills before this process when memory runs out."""
    before = os.pread(score, 16, 0).strip() if score >= 0 else b""
    if before:
        _write_score(score, _KILLED_COMMAND_SCORE)
    try:
        action()  # type: ignore[operator]
    finally:
        if before:
            _write_score(score, before)


def _write_score(score: int, value: bytes) -> None:
    try:
        os.pwrite(score, value, 0)
    except OSError:
        return


class _Started:
    """A command that is started by a thread without rights."""

    def __init__(
        self,
        syscall: _Function,
        argv: list[bytes],
        environment: dict[bytes, bytes],
        confinement: Confinement,
        handles: list[int],
    ) -> None:
        self._syscall, self._argv, self._environment = syscall, argv, environment
        self._confinement, self._handles = confinement, handles
        self._done = allocate_lock()
        self.pid = self.error = 0
        self.listener = -1
        self.has_keyring = False

    def start(self) -> None:
        self._done.acquire()
        start_new_thread(self._start, ())
        self._done.acquire()

    def _start(self) -> None:
        try:
            self._confine()
            out, err, _, *stdin = self._handles
            self.pid = os.posix_spawn(
                self._argv[0],
                self._argv,
                self._environment,
                file_actions=[
                    *((os.POSIX_SPAWN_DUP2, file, 0) for file in stdin),
                    *([] if stdin else [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)]),
                    (os.POSIX_SPAWN_DUP2, out, 1),
                    (os.POSIX_SPAWN_DUP2, err, 2),
                ],
                setsid=True,
                setsigdef=guard._IGNORED_BY_PYTHON,
            )
        except OSError as error:
            self.error = error.errno or _EINVAL
            if self.listener >= 0:
                os.close(self.listener)
        finally:
            self._done.release()

    def _confine(self) -> None:
        """Take this thread's rights away.

        Raises:
            OSError: one of them cannot be taken away.
        """
        number = {name: value for name, value in self._confinement.items() if isinstance(value, int)}
        self.has_keyring = self._call(number["keyctl"], _JOIN_SESSION_KEYRING, b"") >= 0
        prctl, uid, gid = number["prctl"], number["uid"], number["gid"]
        if os.geteuid() == 0:
            for capability in range(_CAPABILITIES):
                self._call(prctl, _PR_CAPBSET_DROP, capability, 0, 0, 0)  # refused without CAP_SETPCAP
            groups = self._call(number["setgroups"], 0, b"")
            if uid >= 0:
                self._need(groups)
                self._need(self._call(number["setresgid"], gid, gid, gid))
                self._need(self._call(number["setresuid"], uid, uid, uid))
        self._need(self._call(prctl, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        self._call(prctl, _PR_CAP_AMBIENT, _AMBIENT_CLEAR, 0, 0, 0)
        self._need(self._call(_RESTRICT_SELF, self._handles[2], 0))
        self._need(self._call(number["capset"], _CAPABILITY_HEADER, bytes(24)))
        code = array("B", bytes(self._confinement["filter"]))
        # struct sock_fprog: the number of instructions, padding, a pointer to them
        fprog = array("Q", [len(code) // 8, code.buffer_info()[0]]).tobytes()
        for flags in (_NEW_LISTENER | _WAIT_KILLABLE, _NEW_LISTENER):
            self.listener = self._call(number["seccomp"], _SET_MODE_FILTER, flags, fprog)
            if self.listener >= 0 or get_errno() != _EINVAL:
                break
        self._need(self.listener)
        kinds = [(_AF_UNIX, _STREAM), (_AF_UNIX, _DATAGRAM)]
        kinds += [] if number["network"] else [(_AF_INET, _STREAM), (_AF_INET, _DATAGRAM)]
        for family, kind in kinds:  # whatever kernel or emulation this is: a filter that does not hold is none
            if self._call(number["socket"], family, kind, 0) >= 0:
                raise OSError(_EINVAL, "not confined")

    def _call(self, number: int, *arguments: int | bytes) -> int:
        passed = tuple(_Long(value) if isinstance(value, int) else value or None for value in arguments)
        return int(self._syscall(_Long(number), *passed))

    @staticmethod
    def _need(result: int) -> None:
        if result < 0:
            raise OSError(get_errno() or _EINVAL, "not confined")


if __name__ == "__main__":
    os._exit(main(int(sys.argv[1])))
