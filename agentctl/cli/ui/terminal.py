"""What the terminal can do, whether a person sits at it, and how it is restored in a hurry."""

from __future__ import annotations

import os
from typing import TextIO

_NARROWEST = 60
_LOWEST = 4
_restore = b""  # global: the handler of a signal has nothing else


def can_draw(stream: TextIO, term: str) -> bool:
    """Whether ``stream`` is a terminal on which rows can be drawn again; ``term`` is TERM."""
    if not is_terminal(stream) or term.strip().lower() in ("", "dumb", "unknown"):
        return False
    if "utf" not in (stream.encoding or "").lower():
        return False
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return False
    return size.columns >= _NARROWEST and size.lines >= _LOWEST


def is_terminal(stream: TextIO) -> bool:
    """Whether ``stream`` is open on a terminal."""
    try:
        return stream.isatty()
    except ValueError:
        return False


def terminal_width(stream: TextIO) -> int | None:
    """Return how wide the terminal is, None where ``stream`` is none."""
    if not is_terminal(stream):
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        return None


def is_person_here(stdin: TextIO, stderr: TextIO) -> bool:
    """Whether somebody can read a question and answer it: both are terminals, and this job is in front.

    A command in the background would be stopped by the question, so nobody is asked there.
    """
    if not (is_terminal(stdin) and is_terminal(stderr)):
        return False
    try:
        return os.tcgetpgrp(stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):  # not our controlling terminal: reading it stops nobody
        return True


def set_restore_sequence(restore: bytes) -> None:
    """Set what restores the terminal if the process must exit at once; empty: nothing."""
    global _restore
    _restore = restore


def restore_sequence() -> bytes:
    """Return the bytes that restore the terminal."""
    return _restore
