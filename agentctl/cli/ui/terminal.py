"""Terminal capabilities, whether a user is present, and how to restore the terminal at a forced exit."""

from __future__ import annotations

import os
from typing import TextIO

_NARROWEST = 60
_LOWEST = 4
_restore = b""  # global: a signal handler has access to nothing else


def can_draw(stream: TextIO, term: str) -> bool:
    """Return whether ``stream`` is a terminal whose rows can be redrawn; ``term`` is TERM."""
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
    """Return whether ``stream`` is open and a terminal."""
    try:
        return stream.isatty()
    except ValueError:
        return False


def terminal_width(stream: TextIO) -> int | None:
    """Return the width of the terminal in columns, None if ``stream`` is not a terminal."""
    if not is_terminal(stream):
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        return None


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
    """Return the bytes that restore the terminal at a forced exit."""
    return _restore
