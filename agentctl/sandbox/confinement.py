"""Start a program with fewer privileges than agentctl: its own session keyring, Landlock's scopes.

Keyring and scopes belong to a thread and are inherited by the processes that it starts, so agentctl's other threads
keep what they have, and no code runs between fork and exec. ``Launcher``'s thread lives as long as its commands: the
signal that bubblewrap asks the kernel for at its parent's death is sent when the parent's *thread* ends.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from typing import Self, TypeVar

from agentctl.sandbox.system_calls import MACHINES, machine_here

_Started = TypeVar("_Started")

_JOIN_SESSION_KEYRING = 1
_NO_NEW_PRIVS = 38
_CREATE_RULESET, _RESTRICT_SELF = 444, 446  # the same on every machine
_VERSION_FLAG = 1
_SCOPES_SINCE = 6
_END_S = 5.0  # for what ``begin`` has begun: moving a process into a control group
_SCOPES = 0b11  # abstract unix sockets and signals, both of processes outside

NO_FILTER = (
    "no seccomp filter for this machine (x86_64 and aarch64 only): keyrings and other address families stay reachable"
)
NO_KEYRING = "no session keyring of its own"
NO_SCOPES = "no Landlock scopes (Linux 6.12): with --network, abstract sockets of the machine can be reached"
WALLS = frozenset({NO_FILTER, NO_KEYRING, NO_SCOPES})
"""The features whose absence is in a command's notes, too; missing memory limits are only in ``doctor``."""


class Launcher:
    """Starts programs from a confined thread, each with a session keyring of its own; a context manager that ends the
    thread.

    ``program`` will be started: if it is setuid, it gets no Landlock, which would take its privilege away. After
    ``start``, ``missing`` has a sentence for each feature that is not available.
    """

    def __init__(self, program: str) -> None:
        self._program = program
        self._thread = ThreadPoolExecutor(1, "agentctl-launcher")
        self._last: Future[object] | None = None
        self._is_scoped: bool | None = None  # a thread can be restricted a few times only, and once is enough
        self.missing: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A sandbox that nobody closed is collected at any moment, also while a thread starts. Joining one then waits
        # for a lock of the interpreter that the collecting thread holds itself.
        if self._last is not None:
            wait((self._last,), timeout=_END_S)
        self._thread.shutdown(wait=False)

    def start(self, action: Callable[[], _Started]) -> _Started:
        """Call ``action`` in the confined thread; return or raise what it does.

        Raises:
            BlockingIOError: the thread cannot be started.
        """
        try:
            called = self._thread.submit(self._call_confined, action)
        except RuntimeError as error:  # a command elsewhere may have used up all processes
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
        return called.result()

    def begin(self, action: Callable[[], object]) -> None:
        """Call ``action`` in the thread after what was started before, and do not wait for it."""
        self._last = self._thread.submit(action)

    def _call_confined(self, action: Callable[[], _Started]) -> _Started:
        kernel = _kernel()
        missing = []
        machine = machine_here()
        if machine is None:
            missing.append(NO_FILTER)
        if machine is None or not _join_keyring(kernel, MACHINES[machine].numbers["keyctl"]):
            missing.append(NO_KEYRING)
        if self._is_scoped is None:
            self._is_scoped = not _is_setuid(self._program) and _restrict_scopes(kernel)
        if not self._is_scoped:
            missing.append(NO_SCOPES)
        self.missing = tuple(missing)
        return action()


@cache
def _kernel() -> ctypes.CDLL:
    kernel = ctypes.CDLL(None, use_errno=True)
    kernel.syscall.restype = ctypes.c_long
    return kernel


def _join_keyring(kernel: ctypes.CDLL, keyctl: int) -> bool:
    """Give this thread a new session keyring; return whether it holds no key of the user's session."""
    return int(_call(kernel, keyctl, _JOIN_SESSION_KEYRING, None)) >= 0


def _restrict_scopes(kernel: ctypes.CDLL) -> bool:
    """Bar this thread from abstract sockets and signals outside; return whether that worked.

    File access stays unrestricted, because Landlock would otherwise forbid bubblewrap to mount.
    """
    if _call(kernel, _CREATE_RULESET, None, 0, _VERSION_FLAG) < _SCOPES_SINCE:
        return False
    rules = struct.pack("=QQQ", 0, 0, _SCOPES)  # files, network, scopes
    ruleset = _call(kernel, _CREATE_RULESET, rules, len(rules), 0)
    if ruleset < 0:
        return False
    try:
        if kernel.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            return False
        return _call(kernel, _RESTRICT_SELF, ruleset, 0) == 0
    finally:
        os.close(ruleset)


def _call(kernel: ctypes.CDLL, number: int, *arguments: int | bytes | None) -> int:
    """Make a system call; each argument is a number or a pointer to bytes, and fits one register."""
    passed = [
        ctypes.c_long(value) if isinstance(value, int) else ctypes.c_char_p(value)  # None is the null pointer
        for value in arguments
    ]
    return int(kernel.syscall(ctypes.c_long(number), *passed))


def _is_setuid(program: str) -> bool:
    try:
        return bool(os.stat(program).st_mode & stat.S_ISUID)  # noqa: PTH116
    except OSError:
        return False
