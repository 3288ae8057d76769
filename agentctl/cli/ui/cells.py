"""Text and bars in terminal cells: width, truncation, wrapping, bars and sparklines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

_TAB = 4
#: A word that is wider than its row is broken behind one of these.
MARKS = "/-_=&?"
#: What an amount is written with: no row is broken between two of these.
NUMBER = frozenset("$0123456789.,")


def cell_width(text: str) -> int:
    """Return the maximum width of ``text`` in cells; it must be safe and without newlines."""
    return len(text) if text.isascii() else sum(map(_cell, text))


@lru_cache(4096)
def _cell(char: str) -> int:
    if char < "\u0300":  # Latin, without rich; safe text has no soft hyphen
        return 1
    from rich.cells import get_character_cell_size

    # Terminals disagree on how a variation selector changes the character before it: count the widest.
    return 1 if char == "\ufe0f" else get_character_cell_size(char)


def truncate(text: str, width: int) -> str:
    """Return ``text`` on one line of at most ``width`` cells, with ``…`` if it was cut."""
    line = " ".join(text.split())
    if cell_width(line) <= width:
        return line
    return "" if width < 1 else _head(line, width - 1) + "…"


def _head(text: str, width: int) -> str:
    if text.isascii():
        return text[:width]
    used = 0
    for place, char in enumerate(text):
        used += _cell(char)
        if used > width:
            return text[:place]
    return text


def wrap(text: str, width: int, *, at_spaces: bool = True) -> Iterator[str]:
    """Yield rows of at most ``width`` cells (at least 2), broken at spaces if possible.

    The space at a break is dropped. Without ``at_spaces``, rows break anywhere and nothing is dropped.
    """
    width = max(2, width)
    for line in text.expandtabs(_TAB).split("\n"):
        rest = line
        while cell_width(rest) > width:
            end = len(_head(rest, width))
            space = rest.rfind(" ", 0, end + 1) if at_spaces else -1
            if space > 0 and rest[:space].strip():
                yield rest[:space].rstrip(" ")
                rest = rest[space + 1 :]
            else:
                end = max(1, _break(rest, end) if at_spaces else end)
                yield rest[:end]
                rest = rest[end:]
        yield rest


def wrap_prose(text: str, width: int) -> str:
    """Return ``text`` with the lines that are prose wrapped at spaces; tables, indented and aligned lines are kept."""
    lines = text.split("\n")
    aligned = (line[:1] in (" ", "\t", "|") or "  " in line.strip() or "\t" in line for line in lines)
    return "\n".join(line if kept else "\n".join(wrap(line, width)) for line, kept in zip(lines, aligned, strict=True))


def _break(word: str, end: int) -> int:
    """Return where to break a word that is wider than the row: behind a mark, else not in a number, else at ``end``."""
    behind = (at for at in range(end, 0, -1) if word[at - 1] in MARKS)
    outside = (at for at in range(end, end // 2, -1) if not (word[at - 1] in NUMBER and word[at] in NUMBER))
    return next(behind, next(outside, end))


_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LEVELS = "▁▂▃▄▅▆▇█"
_ASCII_LEVELS = ":-=+*#%@"
_NONE, _ASCII_NONE = "·", "."


def has_blocks(encoding: str | None) -> bool:
    """Return whether ``encoding`` can encode the block characters."""
    try:
        f"{_EIGHTHS}{_LEVELS}{_NONE}".encode(encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def bar(part: int, whole: int, width: int, *, blocks: bool) -> str:
    """Return ``part`` of ``whole`` as a bar of at most ``width`` cells; a part above 0 is visible."""
    if part <= 0 or whole <= 0:
        return ""
    steps = 8 if blocks else 1
    filled = max(1, min(width * steps, (2 * part * width * steps + whole) // (2 * whole)))  # rounded half up
    if not blocks:
        return "#" * filled
    full, rest = divmod(filled, 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")


def sparkline(values: Sequence[int], *, blocks: bool) -> str:
    """Return one character per value, a full block for the highest; 0 has a character of its own."""
    levels, none = (_LEVELS, _NONE) if blocks else (_ASCII_LEVELS, _ASCII_NONE)
    most = max(values, default=0)
    return "".join(none if value <= 0 else levels[(value * len(levels) - 1) // most] for value in values)
