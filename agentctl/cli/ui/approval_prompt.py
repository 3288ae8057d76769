"""Ask the user at the terminal whether a tool call may run."""

from __future__ import annotations

import os
import termios
from collections.abc import Callable
from contextlib import suppress

import anyio
import anyio.to_thread

from agentctl.cli.ui.cells import cell_width
from agentctl.cli.ui.format import Paint
from agentctl.cli.ui.question import prompt_for, question_rows
from agentctl.core.text import safe_text
from agentctl.protocols import Approval, Question

_ANSWERS = {
    "y": Approval(granted=True),
    "yes": Approval(granted=True),
    "n": Approval(granted=False),
    "no": Approval(granted=False),
    "": Approval(granted=False),
    "a": Approval(granted=True, always=True),
    "always": Approval(granted=True, always=True),
}
_MORE = ("m", "more", "s", "show")


class TerminalApprover:
    """Ask on stderr and read one line per answer from the terminal ``stdin``, in its normal mode.

    ``pause`` removes the screen, ``resume`` restores it. ``wipe`` erases an answered question, since the screen
    prints the decision. Input typed before a question is discarded. "more" prints the whole question, then asks again.
    """

    def __init__(
        self,
        *,
        stdin: int,
        write: Callable[[str], object],
        paint: Paint,
        size: Callable[[], os.terminal_size],
        pause: Callable[[], object],
        resume: Callable[[], object],
        wipe: bool,
    ) -> None:
        self._stdin, self._write, self._paint, self._size = stdin, write, paint, size
        self._pause, self._resume, self._wipe = pause, resume, wipe
        self._asked: Question | None = None
        self._used = 0

    async def approve(self, question: Question) -> Approval:
        """Ask and return the answer; an empty line or the end of input means no, and an invalid answer asks again."""
        await anyio.to_thread.run_sync(self._pause)  # a frame may be on its way to a slow terminal
        self._asked = question
        try:
            answer = await self._ask(question)
        finally:
            self._asked = None
        self._resume()  # not after an exception: the run ends, and nothing more is drawn
        return answer

    def ask_again(self) -> None:
        """Show an open question once more, since the screen was another program's in between."""
        if self._asked is not None:
            self._used = 0  # what stands above is the other program's
            self._show(self._asked)

    def _show(self, question: Question) -> None:
        size = self._size()
        rows = list(question_rows(question, self._paint, width=max(20, size.columns - 1), height=size.lines))
        self._write(("\r\x1b[J" if self._wipe else "") + "".join(f"{row}\n" for row in rows))
        self._used += len(rows)
        self._prompt()

    def _show_whole(self, question: Question) -> None:
        rows = list(question_rows(question, self._paint, width=max(20, self._size().columns - 1)))
        begin, end = (self._paint(text, "dim") for text in ("--- the whole question ---", "--- end ---"))
        shown = [begin, *rows[1:], end]
        self._write("".join(f"{row}\n" for row in shown))
        self._used += len(shown)

    def _prompt(self) -> None:
        with suppress(OSError, termios.error):
            termios.tcflush(self._stdin, termios.TCIFLUSH)
        self._write(self._paint(self._text(), "bold"))

    def _text(self) -> str:
        return prompt_for(self._size().columns)

    async def _ask(self, question: Question) -> Approval:
        size, self._used = self._size(), 0
        self._show(question)
        while True:
            prompt = self._text()
            try:
                line = await self._line()
            except BaseException:
                self._write("\n")  # the next output begins on its own line
                raise
            if line is None:
                self._write("\n")
            self._used += max(1, -(-cell_width(safe_text(prompt + (line or ""))) // size.columns))
            said = "" if line is None else line.strip().lower()
            if said in _MORE:
                self._show_whole(question)
                self._show(question)
                continue
            answer = _ANSWERS.get(said)
            if answer is not None:
                if self._wipe and self._size() == size and self._used < size.lines:
                    self._write(f"\x1b[{self._used}A\r\x1b[J")
                return answer
            self._write("Please answer y, n, a or m.\n")
            self._used += 1
            self._prompt()

    async def _line(self) -> str | None:
        """Return the input up to Enter, None at the end of input."""
        typed = b""
        while not typed.endswith((b"\n", b"\r")):
            await anyio.wait_readable(self._stdin)
            try:
                piece = os.read(self._stdin, 4096)
            except BlockingIOError:  # another process was quicker
                continue
            except OSError:  # the terminal is gone
                return None
            if not piece:
                return None
            typed += piece
        return typed.decode("utf-8", "replace")
