"""Format amounts, durations and styles; nothing is cut."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_UP, Decimal
from typing import Literal

from agentctl.core.pricing import to_usd


def money(nano: int, *, rounding: str = ROUND_UP) -> str:
    """Return dollars with significant digits: ``$1.21``, ``$0.0123``, ``$0.000031``; ``$0`` only for 0.

    Rounds up, as for spent amounts; pass ROUND_DOWN for remaining amounts.
    """
    usd = to_usd(nano)
    if usd == 0:
        return "$0"
    if abs(usd) >= 1:
        return f"${usd.quantize(Decimal('0.01'), rounding=rounding)}"
    places = 4 if abs(usd) >= Decimal("0.001") else 1 - usd.adjusted()
    text = f"{usd.quantize(Decimal(1).scaleb(-places), rounding=rounding):f}"
    whole, _, digits = text.partition(".")
    return f"${whole}.{digits.rstrip('0').ljust(2, '0')}"


def ceiling(nano: int) -> str:
    """Return the exact amount in dollars, for limits: ``$0.50``, ``$10``."""
    whole, _, digits = f"{to_usd(nano).normalize():f}".partition(".")
    return f"${whole}.{digits.ljust(2, '0')}" if digits else f"${whole}"


def amount(value: int, unit: str) -> str:
    """Return a used amount in its unit (dollars or tokens)."""
    return money(value) if unit == "nano_usd" else f"{value:,}"


def limit(value: int | None, unit: str) -> str:
    """Return a limit in its unit, ``none`` if there is no limit."""
    if value is None:
        return "none"
    return ceiling(value) if unit == "nano_usd" else f"{value:,}"


def seconds(value: float) -> str:
    """Return a duration: ``4.2 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if value < 59.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def plural(count: int, word: str) -> str:
    """Return ``1 turn``, ``3 turns``."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


Style = Literal["bold", "dim", "red", "green", "yellow"]
Paint = Callable[[str, Style], str]

_CODES: dict[Style, str] = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


def painter(choice: Literal["auto", "always", "never"], *, terminal: bool) -> Paint:
    """Return a function that styles text, or returns it unchanged.

    ``choice`` already includes NO_COLOR and FORCE_COLOR; ``terminal``: the stream is one that shows colours.
    """
    if choice == "always" or (choice == "auto" and terminal):
        return lambda text, style: f"\x1b[{_CODES[style]}m{text}\x1b[0m"
    return lambda text, style: text
