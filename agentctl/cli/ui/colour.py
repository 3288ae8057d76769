"""Whether to paint, and with what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

Style = Literal["bold", "dim", "red", "green", "yellow"]
Paint = Callable[[str, Style], str]

_CODES: dict[Style, str] = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


def painter(choice: Literal["auto", "always", "never"], *, terminal: bool) -> Paint:
    """Return what puts a style around a text, or leaves it alone; ``choice`` already knows NO_COLOR and its like."""
    if choice == "always" or (choice == "auto" and terminal):
        return lambda text, style: f"\x1b[{_CODES[style]}m{text}\x1b[0m"
    return lambda text, style: text
