"""The work of a container's first process: to pass signals on to the command, and to reap orphans.

A process whose parent has ended becomes a child of process 1, which must wait for it, or it stays as a zombie. The
kernel sends process 1 no signal that it does not handle. So where this is process 1, the command runs in a child.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import NoReturn

_FROM_KERNEL = 0x80  # SI_KERNEL: for SIGINT and the like, the terminal's
#: What the terminal sends to each process in its foreground: the command has it already.
_SENT_TO_ALL = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGWINCH})
#: What the command's own faults, timers and output cause, which mean nothing here.
_OWN = frozenset(
    {
        *(signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV, signal.SIGSYS),
        *(signal.SIGPIPE, signal.SIGTTIN, signal.SIGTTOU),
    }
)


def leave_to_child() -> None:
    """Return at once, unless this is process 1; then return in a child, and exit here as the child does.

    Signals that come before the child handles them are kept for it. Without room for a second process, return in this
    one: a run that leaves zombies is better than none.
    """
    if os.getpid() != 1:
        return
    handled = signal.valid_signals() - _OWN
    before = signal.pthread_sigmask(signal.SIG_BLOCK, handled)
    on_end = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the kernel reaps nothing by itself, so exit codes are kept
    try:
        child = os.fork()
    except OSError:
        child = 0
    if child == 0:
        if on_end is not None:
            signal.signal(signal.SIGCHLD, on_end)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    _serve(child, handled)


def _serve(child: int, handled: set[signal.Signals]) -> NoReturn:
    """Pass each signal on to ``child``, reap whatever ends, and exit with the child's exit code."""
    while True:
        info = signal.sigwaitinfo(handled)
        if info.si_signo == signal.SIGCHLD:
            if (code := _reap(child)) is not None:
                os._exit(code)  # with the first process the kernel ends all others
        elif info.si_code != _FROM_KERNEL or info.si_signo not in _SENT_TO_ALL:
            with suppress(ProcessLookupError):
                os.kill(child, info.si_signo)


def _reap(child: int) -> int | None:
    """Reap every process that has ended; return the exit code of ``child`` if it is among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child:
            ended = os.waitstatus_to_exitcode(status)
            code = 128 - ended if ended < 0 else ended
