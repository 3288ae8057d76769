"""Questions to a person at a terminal: shown on stderr, answered by one line, and never put where nobody is."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence

from agentctl.core.text import safe_text

_TRIES = 3


def can_ask() -> bool:
    """Tell whether somebody can see a question and answer it: stdin and stderr are terminals, and it is our turn.

    A command in the background would be stopped by the question, so nobody is asked there.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    with contextlib.suppress(OSError):  # no terminal of our own session: then nobody can push us into the background
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    return True


def ask_yes_no(question: str) -> bool:
    """Return the answer; nothing, the end of input and what is neither y nor n three times mean no."""
    for _ in range(_TRIES):
        answer = _answer(f"{question} [y/N] ").lower()
        if answer in ("y", "yes"):
            return True
        if answer in ("", "n", "no"):
            return False
        sys.stderr.write("please answer y or n\n")
    return False


def choose_one(question: str, options: Sequence[str]) -> int | None:
    """Return which of the numbered options was chosen, from 0; None for none of them."""
    for number, option in enumerate(options, 1):
        sys.stderr.write(safe_text(f"  {number}  {option}\n"))
    for _ in range(_TRIES):
        answer = _answer(f"{question} [1-{len(options)}] ")
        if not answer:
            return None
        if answer.isascii() and answer.isdigit() and 1 <= int(answer[:9]) <= len(options):
            return int(answer) - 1
        sys.stderr.write(f"please answer with a number from 1 to {len(options)}\n")
    return None


def _answer(prompt: str) -> str:
    """Return one line without the blanks around it, "" at the end of input; what was typed before is no answer."""
    number = sys.stdin.fileno()
    _forget_what_was_typed(number)
    sys.stderr.write(safe_text(prompt))
    sys.stderr.flush()
    line = b""
    try:
        line = os.read(number, 1024)
    except OSError:  # the terminal is gone
        line = b""
    finally:
        if not line.endswith(b"\n"):
            sys.stderr.write("\n")
    return line.decode("utf-8", "replace").strip()


def _forget_what_was_typed(number: int) -> None:
    import termios

    with contextlib.suppress(termios.error):
        termios.tcflush(number, termios.TCIFLUSH)
