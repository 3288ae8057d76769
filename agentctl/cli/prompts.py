"""Prompts on the terminal, on stderr: yes or no, one of several options, and a secret without echo."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Sequence

from agentctl.cli.signals import when_suspended
from agentctl.cli.ui.terminal import echo_off, is_person_here, restore_echo, set_modes
from agentctl.core.bounded_read import NOTICE_S, read_piece, wait_readable
from agentctl.core.errors import UsageError
from agentctl.core.text import safe_text

_TRIES = 3


def can_ask() -> bool:
    """Return whether the user can see a prompt and answer it."""
    return is_person_here(sys.stdin, sys.stderr)


def ask_yes_no(question: str) -> bool:
    """Ask and return whether the answer is yes; an empty line, end of input and three invalid answers mean no."""
    for _ in range(_TRIES):
        answer = _answer(f"{question} [y/N] ").lower()
        if answer in ("y", "yes"):
            return True
        if answer in ("", "n", "no"):
            return False
        sys.stderr.write("please answer y or n\n")
    return False


def choose_one(question: str, options: Sequence[str]) -> int | None:
    """Ask for one of numbered options; return its index from 0, or None if none was chosen."""
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
    """Return one stripped line, "" at the end of input; input typed before the prompt is discarded."""
    number = sys.stdin.fileno()
    _forget_what_was_typed(number)

    def again() -> None:
        if can_ask():
            _write(safe_text(prompt))

    line = b""
    try:
        with when_suspended(lambda: None, again):
            _write(safe_text(prompt))
            line = read_piece(number, 1024)
    except OSError:  # the terminal is gone
        line = b""
    finally:
        if not line.endswith(b"\n"):
            sys.stderr.write("\n")
    return line.decode("utf-8", "replace").strip()


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _forget_what_was_typed(number: int) -> None:
    import termios

    with contextlib.suppress(termios.error):
        termios.tcflush(number, termios.TCIFLUSH)


LONGEST = 16 * 1024


def read_secret(what: str, *, notify: Callable[[str], object]) -> str:
    """Return one stripped line of stdin; on a terminal prompt for it, without echo.

    Raises:
        UsageError: stdin is a terminal but stderr is not, or the line is empty or too long.
    """
    if not sys.stdin.isatty():
        line = _line(sys.stdin.fileno(), lambda: notify(f"still waiting for {what} on stdin"))
    elif not sys.stderr.isatty():
        raise UsageError(
            f"no prompt for {what}: stderr is not a terminal", hint="pipe it to stdin, or redirect stdin from a file"
        )
    else:
        line = _hidden_line(sys.stdin.fileno(), f"{what} (not shown): ")
    text = line.decode("utf-8", "replace").removeprefix("\ufeff").strip()
    if not text:
        raise UsageError(f"{what} is empty; nothing was changed", hint="pipe it to stdin, or type it when prompted")
    return text


def _line(number: int, late: Callable[[], object] | None = None) -> bytes:
    """Read up to the first newline or the end, without a buffer that would keep a copy."""
    line = b""
    try:
        while b"\n" not in line:
            if late is not None and not wait_readable(number, time.monotonic() + NOTICE_S):
                late()
                late = None
            piece = read_piece(number, 4096)
            line += piece
            if not piece:
                break
            if len(line) > LONGEST:
                raise UsageError("input on stdin is too long for a key; nothing was changed")
    except OSError as error:
        raise UsageError(f"stdin cannot be read: {(error.strerror or 'closed').lower()}") from error
    return line.partition(b"\n")[0]


def _hidden_line(number: int, prompt: str) -> bytes:
    """Prompt on a terminal and read a line without echo; after Ctrl-Z or SIGSTOP the same again."""
    with echo_off(number) as quiet:

        def again() -> None:
            if can_ask():  # else in the background: reading there stops until it is back
                set_modes(number, quiet, discard_input=True)
                _write(prompt)

        try:
            with when_suspended(restore_echo, again):
                _write(prompt)
                return _line(number)
        finally:
            sys.stderr.write("\n")
