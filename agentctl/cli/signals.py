"""Signals: what stops a command, when a second signal ends it at once, and how SIGQUIT and Ctrl-Z leave the terminal.

SIGHUP, SIGINT and SIGTERM stop a command, unless they were ignored when it started: ``nohup`` and the background jobs
of a script stay as they are. A command says with ``when_stopped`` how it stops; without, KeyboardInterrupt is raised.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn, TypeVar

from agentctl.cli.ui.terminal import restore_terminal
from agentctl.core.errors import Interrupted, StopCause

T = TypeVar("T")
Act = Callable[[StopCause], object]

#: The signals that stop a command.
STOPS: dict[int, StopCause] = {signal.SIGHUP: "SIGHUP", signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
_SAME_S = 1.0  # `timeout` signals the process and its group, a closing session sends SIGTERM and SIGHUP: one request
_SAME_KEY_S = 0.05  # a program in between passes on the Ctrl-C that the terminal has already sent to all
_OUTPUT_S = 1.0  # for the rest of the output, when a signal comes after the end of a run
_FORCED = b"\nforced exit: calls already sent count as spent\n"


def _interrupt(cause: StopCause) -> None:
    if not _is_writing:
        raise KeyboardInterrupt
    _limit_output(cause)


# Globals: a signal handler has access to nothing else.
_first: tuple[int, float] | None = None
_act: Act = _interrupt
_is_writing = False
_is_ending = False  # more signals than the end takes time would each begin it once more, inside the one before


def interruption() -> Interrupted:
    """Return the error of a command that was stopped."""
    cause: StopCause = "Ctrl-C" if _first is None else STOPS[_first[0]]
    return Interrupted(f"stopped by {cause}", cause=cause)


def stopped_for_s() -> float:
    """Return how many seconds ago a signal stopped the command; 0 if none has."""
    return 0.0 if _first is None else time.monotonic() - _first[1]


def is_interruption(error: BaseException | None) -> bool:
    """Return whether the error is what an import or the like has made of a KeyboardInterrupt of ours."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None and _first is not None


def let_output_end() -> None:
    """From here on let a signal change nothing but the time that is left for the output."""
    global _act
    _act = _limit_output


@contextmanager
def handle_signals() -> Iterator[None]:
    """Handle the signals while a command runs. In a thread that is not the main one nothing is changed."""
    global _first, _act, _is_ending
    _first, _act, _is_ending = None, _interrupt, False
    before: dict[int, Any] = {}
    try:
        for number, handler in (*((number, _stop) for number in STOPS), (signal.SIGQUIT, _quit)):
            found = signal.getsignal(number)
            if found is not None and found != signal.SIG_IGN:
                with suppress(ValueError):  # not the main thread: its owner handles signals
                    signal.signal(number, handler)
                    before[number] = found
        yield
    finally:
        for number, found in before.items():
            signal.signal(number, found)


@contextmanager
def writing() -> Iterator[None]:
    """Let the output that is written meanwhile end, if a signal comes, instead of cutting it."""
    global _is_writing
    _is_writing = True
    try:
        yield
    finally:
        _is_writing = False


def end_if_stopped() -> None:
    """End a command that writes again and again, if a signal came while it wrote.

    Raises:
        KeyboardInterrupt: so it is.
    """
    if _first is not None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise KeyboardInterrupt


@contextmanager
def when_stopped(act: Act) -> Iterator[None]:
    """Call ``act``, in the main thread between two instructions, at the first signal that stops the command."""
    global _act
    before, _act = _act, act
    try:
        yield
    finally:
        _act = before


def run_to_end(work: Callable[[], Awaitable[T]], stop: Act) -> T:
    """Run ``work`` to its end and return its result; a signal calls ``stop``, in its event loop, to end it early.

    From its end until the end of the command a signal changes nothing but the time that is left for the output.
    """
    import anyio

    global _act

    async def within() -> T:
        global _act
        call = _caller_of_loop()
        _act = lambda cause: call(stop, cause)  # noqa: E731 - one assignment: no gap between two
        try:
            return await work()
        finally:
            let_output_end()

    _act = stop
    return anyio.run(within)


def run_cancellable(work: Callable[[], Awaitable[T]]) -> T:
    """Run ``work`` and return its result; a signal cancels it.

    Raises:
        KeyboardInterrupt: it was cancelled, and has ended.
    """
    import anyio

    async def within() -> T:
        call = _caller_of_loop()
        with anyio.CancelScope() as scope, when_stopped(lambda cause: call(scope.cancel)):
            return await work()
        raise KeyboardInterrupt

    return anyio.run(within)


@contextmanager
def when_suspended(
    leave: Callable[[], object],
    come_back: Callable[[], object],
    *,
    in_loop: bool = False,
) -> Iterator[None]:
    """At Ctrl-Z call ``leave``, stop, and once continued call ``come_back``.

    ``in_loop``: the event loop does so, which is the caller's. Else it is done at once, and ``come_back`` is also
    called after a stop that no program can handle (SIGSTOP, or a read in the background). Nothing is changed where
    Ctrl-Z is ignored, and in a thread that is not the main one.
    """
    is_back = False
    call = _caller_of_loop() if in_loop else None

    def suspend() -> None:
        nonlocal is_back
        leave()
        is_back = False
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, on_suspend)
        if not is_back:
            come_back()

    def on_suspend(number: int, frame: FrameType | None) -> None:
        suspend() if call is None else call(suspend)

    def on_continue(number: int, frame: FrameType | None) -> None:
        nonlocal is_back
        is_back = True
        come_back()

    before = signal.getsignal(signal.SIGTSTP)
    if before in (None, signal.SIG_IGN) or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTSTP, on_suspend)
    if call is None:
        continued = signal.signal(signal.SIGCONT, on_continue)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, before)
        if call is None:
            signal.signal(signal.SIGCONT, continued)


def exit_at_once(number: int, said: bytes = b"") -> NoReturn:
    """Restore the terminal and end the process; what the journal and the ledger have so far stays on disk.

    From here on a signal changes nothing.
    """
    global _is_ending
    _is_ending = True
    restore_terminal()
    with suppress(OSError):
        os.write(2, said)
    os._exit(128 + number)


def _caller_of_loop() -> Callable[..., object]:
    """Return the function that has the running event loop call another one soon, from a signal handler too."""
    from anyio.lowlevel import current_token

    loop: Any = current_token().native_token
    call: Callable[..., object] = loop.call_soon_threadsafe
    return call


def _stop(number: int, frame: FrameType | None) -> None:
    """Stop the command at the first signal; end the process at another one, unless it is of the same request."""
    global _first, _is_ending
    if _is_ending:
        return
    now = time.monotonic()
    if _first is None:
        _first = number, now
        _act(STOPS[number])
        return
    first, at = _first
    if now - at >= (_SAME_KEY_S if number == first == signal.SIGINT else _SAME_S):
        _is_ending = True  # before the call, which is where Python lets the next signal in
        exit_at_once(number, b"" if _act is _interrupt else _FORCED)


def _quit(number: int, frame: FrameType | None) -> None:
    """Restore the terminal, and end as SIGQUIT does."""
    global _is_ending
    if _is_ending:
        return
    _is_ending = True
    restore_terminal()
    signal.signal(number, signal.SIG_DFL)
    signal.pthread_kill(threading.main_thread().ident or 0, number)
    os._exit(128 + number)  # still here: the first process of a container


def _limit_output(cause: StopCause) -> None:
    """Let the output be written, but do not wait long for a reader that does not read."""
    number = next(number for number, name in STOPS.items() if name == cause)
    said = f"\nstopped by {cause} while the output was written\n".encode()
    signal.signal(signal.SIGALRM, lambda *_: exit_at_once(number, said))
    signal.setitimer(signal.ITIMER_REAL, _OUTPUT_S)
