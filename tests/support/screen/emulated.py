"""What a terminal shows after the bytes that a command wrote to it: read by pyte, an emulator that others wrote."""

from __future__ import annotations

import re
from typing import NamedTuple

import pyte

#: The sequences that agentctl itself writes: colours, erasing, the cursor up, hiding and showing the cursor.
_OWN = re.compile(rb"\x1b\[(?:[0-9;]*m|[0-9]*[AJK]|\?25[lh])")
TITLE = "the shell's title"


class Shown(NamedTuple):
    """A terminal's screen: its rows without trailing blanks, its cursor, its title."""

    rows: tuple[str, ...]
    cursor: tuple[int, int]
    title: str
    is_cursor_hidden: bool


def show(written: bytes, *, columns: int, rows: int) -> Shown:
    """Return the screen of a terminal of this size, which a shell has given a title, after these bytes."""
    screen = pyte.Screen(columns, rows)
    stream = pyte.ByteStream(screen)
    stream.feed(f"\x1b]2;{TITLE}\x07".encode())
    stream.feed(written)
    shown = tuple(str(row).rstrip() for row in screen.display)
    return Shown(shown, (int(screen.cursor.y), int(screen.cursor.x)), str(screen.title), bool(screen.cursor.hidden))


def foreign_controls(written: bytes) -> list[bytes]:
    """Return the control characters, 8-bit ones too, that are no tabs and no part of agentctl's own sequences."""
    rest = _OWN.sub(b"", written.replace(b"\r\n", b"\n").replace(b"\r\x1b[", b"\x1b["))
    text = rest.decode("utf-8", "replace")
    return [char.encode() for char in text if (char < " " and char not in "\n\t") or "\x7f" <= char <= "\x9f"]
