"""A command for a container: words without a shell, and what it wrote in bounded memory."""

from __future__ import annotations

import re
import shlex
from collections.abc import AsyncIterator

from agentctl.core.errors import ToolError
from agentctl.core.framing import escape_frames, frames_note
from agentctl.sandbox.output import MORE, Output
from agentctl.tools.docker.logs import Frames

MOST_COMMAND = 64 * 1024
_SHELL_ONLY = frozenset(("|", "||", "&&", "&", ";", ">", ">>", "<", "2>&1", "2>", "&>"))
_SHELLS = re.compile(r"(?:/(?:usr/)?bin/)?(?:ba|da|a|z|k)?sh")


def split_command(tool: str, command: str) -> list[str]:
    """Return the words of ``command``, quotes taken away; no shell ever sees it.

    Raises:
        ToolError: it is empty or too long, holds NUL, or a quote has no end.
    """
    if len(command) > MOST_COMMAND:
        raise ToolError(f'{tool}: "command" has {len(command):,} characters; the most is {MOST_COMMAND:,}')
    if "\0" in command or (not command.isascii() and any("\ud800" <= letter <= "\udfff" for letter in command)):
        raise ToolError(f'{tool}: "command" holds a character that no command can hold')
    try:
        words = shlex.split(command)
    except ValueError:
        raise ToolError(
            f'{tool}: in "command" a quote has no end', hint="close it, or write a backslash before it"
        ) from None
    if not words or not words[0]:
        raise ToolError(f'{tool}: "command" is empty', hint="name the program, like: ls -l /")
    return words


def shell_note(words: list[str]) -> str:
    """Return a line that says why a shell's signs did nothing, or an empty text."""
    if _SHELLS.fullmatch(words[0]) or not _SHELL_ONLY.intersection(words):
        return ""
    return "note: no shell ran this, so its signs were plain words; for a shell write sh -c '…'"


class CommandOutput:
    """stdout and stderr of a command, apart; head and tail are kept, ``more`` of them where a run keeps the whole."""

    def __init__(self, *, more: bool = False) -> None:
        self._frames = Frames()
        self._out, self._err = (Output(*MORE), Output(*MORE)) if more else (Output(), Output())

    async def take(self, pieces: AsyncIterator[bytes]) -> None:
        """Read to the end.

        Raises:
            EngineUnavailable: the stream is not understood, or the engine goes away.
        """
        async for piece in pieces:
            for stream, payload in self._frames.feed(piece):
                (self._err if stream == 2 else self._out).add(payload)

    @property
    def said(self) -> str:
        """Both streams on end, without headings."""
        return f"{self._out.text()[0]}\n{self._err.text()[0]}".strip()

    def __str__(self) -> str:
        shown, escaped = [], 0
        for name, output in (("stdout", self._out), ("stderr", self._err)):
            if output.total:
                text, count = escape_frames(output.text()[0].rstrip())
                shown.append(f"{name}:\n{text}")
                escaped += count
        return "\n".join(filter(None, (frames_note(escaped), *shown))) or "It wrote nothing."


__all__ = ["MOST_COMMAND", "CommandOutput", "shell_note", "split_command"]
