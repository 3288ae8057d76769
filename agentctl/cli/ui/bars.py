"""Bars, and lines over time, out of block characters; out of ASCII where the screen has none."""

from __future__ import annotations

from collections.abc import Sequence

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LEVELS = "▁▂▃▄▅▆▇█"
_ASCII_LEVELS = ":-=+*#%@"
_NONE, _ASCII_NONE = "·", "."


def has_blocks(encoding: str | None) -> bool:
    """Whether text in ``encoding`` can hold the block characters."""
    try:
        f"{_EIGHTHS}{_LEVELS}{_NONE}".encode(encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def bar(part: int, whole: int, width: int, *, blocks: bool) -> str:
    """Return ``part`` of ``whole`` as a bar of at most ``width`` cells; what is more than nothing shows."""
    if part <= 0 or whole <= 0:
        return ""
    steps = 8 if blocks else 1
    filled = max(1, min(width * steps, (2 * part * width * steps + whole) // (2 * whole)))  # rounded half up
    if not blocks:
        return "#" * filled
    full, rest = divmod(filled, 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")


def sparkline(values: Sequence[int], *, blocks: bool) -> str:
    """Return a cell for each value, the highest one full; nothing and a little look different."""
    levels, none = (_LEVELS, _NONE) if blocks else (_ASCII_LEVELS, _ASCII_NONE)
    most = max(values, default=0)
    return "".join(none if value <= 0 else levels[(value * len(levels) - 1) // most] for value in values)
