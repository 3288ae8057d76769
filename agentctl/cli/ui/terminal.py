"""Terminal capabilities, whether a user is present, and how to restore the terminal at a forced exit."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

_DUMB = ("", "dumb", "unknown")
_NARROWEST = 60
_LOWEST = 4
_FRAME_WAIT_S = 0.5
# Globals: a signal handler has access to nothing else.
FRAME = threading.Lock()
"""Held by the thread that draws from the first byte of a frame until its restore sequence is set."""
_restore = b""
_modes: tuple[int, list[Any]] | None = None


def can_style(stream: TextIO, term: str) -> bool:
    """Return whether ``stream`` is a terminal that shows colours; ``term`` is TERM, empty if it is not set."""
    return is_terminal(stream) and term.strip().lower() not in _DUMB


def can_draw(stream: TextIO, term: str) -> bool:
    """Return whether ``stream`` is a terminal whose rows can be redrawn; ``term`` is TERM."""
    if not can_style(stream, term):
        return False
    if "utf" not in (stream.encoding or "").lower():
        return False
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return False
    return size.columns >= _NARROWEST and size.lines >= _LOWEST


def is_terminal(stream: TextIO) -> bool:
    """Return whether ``stream`` is open and a terminal."""
    try:
        return stream.isatty()
    except ValueError:
        return False


def is_in_batch(stdin: TextIO, stderr: TextIO) -> bool:
    """Return whether other runs may write to the same terminal: stderr is one, and stdin is the null device.

    ``xargs`` and the background jobs of a script give each command the null device as stdin.
    """
    if not is_terminal(stderr):
        return False
    try:
        return os.fstat(stdin.fileno()).st_rdev == os.stat(os.devnull).st_rdev  # noqa: PTH116 - quick
    except (OSError, ValueError):  # closed, or in memory
        return False


def terminal_width(stream: TextIO) -> int | None:
    """Return the width of the terminal in columns, None if ``stream`` is not a terminal or its width is unknown.

    COLUMNS makes it narrower, or known; a COLUMNS above the width is left over from a wider window.
    """
    if not is_terminal(stream):
        return None
    from agentctl.settings.host import columns_variable

    wanted = columns_variable()
    try:
        width = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        width = 0
    return min(width, wanted or width) or wanted


def is_person_here(stdin: TextIO, stderr: TextIO) -> bool:
    """Return whether a user can see a question and answer it: both are terminals, and this job is in the foreground.

    Reading the terminal would stop a background job, so nothing is asked there.
    """
    if not (is_terminal(stdin) and is_terminal(stderr)):
        return False
    try:
        return os.tcgetpgrp(stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):  # not our controlling terminal: reading it does not stop the job
        return True


def set_restore_sequence(restore: bytes) -> None:
    """Set the bytes that restore the terminal at a forced exit; empty: nothing to restore."""
    global _restore
    _restore = restore


def restore_sequence() -> bytes:
    """Return the bytes that remove what is drawn and show the cursor."""
    return _restore


def restore_terminal() -> None:
    """Remove what is drawn, show the cursor and turn the echo on again, before the process ends without more ado.

    A frame that is being drawn is waited for, at most half a second: the terminal may have stopped. No further one is
    drawn until ``FRAME`` is released.
    """
    FRAME.acquire(timeout=_FRAME_WAIT_S)
    with suppress(OSError):
        os.write(2, restore_sequence())
    restore_echo()


def restore_echo() -> None:
    """Turn the echo on again, if a prompt has turned it off."""
    if _modes is not None:
        set_modes(*_modes)


@contextmanager
def echo_off(number: int) -> Iterator[list[Any]]:
    """Turn the echo of the terminal off, yield the modes that do so, and restore it in any case.

    What was typed before is discarded.
    """
    global _modes
    import termios

    before = termios.tcgetattr(number)
    quiet = [*before]
    quiet[3] = before[3] & ~termios.ECHO
    _modes = number, before
    try:
        termios.tcsetattr(number, termios.TCSAFLUSH, quiet)
        yield quiet
    finally:
        set_modes(number, before, discard_input=True)
        _modes = None


def set_modes(number: int, modes: list[Any], *, discard_input: bool = False) -> None:
    """Set the modes of the terminal, from the background too; do nothing if it is gone."""
    import signal
    import termios

    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTTOU,))
    try:
        with suppress(termios.error):
            termios.tcsetattr(number, termios.TCSAFLUSH if discard_input else termios.TCSANOW, modes)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
