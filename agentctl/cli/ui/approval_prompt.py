"""Ask the user at the terminal whether a tool call may run."""

from __future__ import annotations

import os
import termios
from collections.abc import Callable, Iterator
from contextlib import suppress

import anyio
import anyio.to_thread

from agentctl.cli.ui.cells import cell_width, wrap
from agentctl.cli.ui.format import Paint, Style
from agentctl.cli.ui.lines import call_text, value_text
from agentctl.core.lookalikes import escape_lookalikes
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
_PROMPT = "Allow it? y yes · n no · a always: "
_EFFECTS: dict[str, tuple[str, Style]] = {
    "read": ("only reads", "green"),
    "write": ("changes something", "yellow"),
    "destructive": ("destructive: cannot be undone", "red"),
    "network": ("reaches the network", "yellow"),
}


class TerminalApprover:
    """Ask on stderr and read one line per answer from the terminal ``stdin``, in its normal mode.

    ``pause`` removes the screen, ``resume`` restores it. ``wipe`` erases an answered question, since the screen
    prints the decision. Input typed before a question is discarded.
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
            self._show(self._asked)

    def _show(self, question: Question) -> None:
        rows = list(question_rows(question, self._paint, width=max(20, self._size().columns - 1)))
        self._write(("\r\x1b[J" if self._wipe else "") + "".join(f"{row}\n" for row in rows))
        self._used = len(rows)
        self._prompt()

    def _prompt(self) -> None:
        with suppress(OSError, termios.error):
            termios.tcflush(self._stdin, termios.TCIFLUSH)
        self._write(self._paint(_PROMPT, "bold"))

    async def _ask(self, question: Question) -> Approval:
        size = self._size()
        self._show(question)
        while True:
            try:
                line = await self._line()
            except BaseException:
                self._write("\n")  # the next output begins on its own line
                raise
            if line is None:
                self._write("\n")
            self._used += max(1, -(-cell_width(safe_text(_PROMPT + (line or ""))) // size.columns))
            answer = _ANSWERS.get("" if line is None else line.strip().lower())
            if answer is not None:
                if self._wipe and self._size() == size and self._used < size.lines:
                    self._write(f"\x1b[{self._used}A\r\x1b[J")
                return answer
            self._write("Please answer y, n or a.\n")
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


def question_rows(question: Question, paint: Paint, *, width: int) -> Iterator[str]:
    """Yield the rows of a question: the whole call, its effect and the rule; untrusted text follows a bar.

    Nothing is cut or redacted, so that the user sees exactly what they allow.
    """
    said, style = _EFFECTS.get(question.effect, (safe_text(question.effect), "red"))
    bar = paint("│", style)
    yield ""
    yield paint(f"May {escape_lookalikes(question.call.name)} run?", "bold")
    action = escape_lookalikes(call_text(question.call, whole=True))
    if cell_width(action) <= width - 4:
        yield f"{bar}   {paint(action, style) if style == 'red' else action}"
    else:
        yield f"{bar}   {escape_lookalikes(question.call.name)}"
        for name, value in question.call.arguments.items():
            label = f"{escape_lookalikes(str(name))} = "
            yield from _hanging_rows(f"{bar}     ", label, escape_lookalikes(value_text(value)), width - 6)
    yield bar
    always = f"{escape_lookalikes(question.rule)}, until this run ends"
    facts = (("effect", said), ("asked", escape_lookalikes(question.why)), ("always", always))
    for name, text in facts:
        shown = list(wrap(text, width - 12, at_spaces=name != "always"))
        for place, row in enumerate(shown):
            lead = paint(f"{name if place == 0 else '':<6}", "dim")
            yield f"{bar}   {lead}  {paint(row, style) if name == 'effect' else row}"


def _hanging_rows(margin: str, label: str, text: str, width: int) -> Iterator[str]:
    """Yield the rows of a value, next to its label or, if both do not fit in one row, below it."""
    indent = 2
    if cell_width(label) + cell_width(text) <= width:
        yield margin + label + text
        return
    yield from (margin + row for row in wrap(label.rstrip(), width, at_spaces=False))
    yield from (margin + " " * indent + row for row in wrap(text, width - indent, at_spaces=False))
