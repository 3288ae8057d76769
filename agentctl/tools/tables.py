"""Format text for people and models alike: aligned columns, one-line cells, sizes and spans in words.

What is formatted as a table or as facts can be collected as rows, too, for an answer that is data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from agentctl.core.text import safe_text

_UNITS = ("B", "KB", "MB", "GB", "TB", "PB", "EB")
_SIZE = r"(?i:\s*(\d+(?:\.\d+)?)\s*([kmgtpe]?)(?:i?b)?\s*)"


Row = Mapping[str, object]
_collected: ContextVar[list[tuple[Row, ...]] | None] = ContextVar("the rows of a call", default=None)


@contextmanager
def collect_rows() -> Iterator[list[tuple[Row, ...]]]:
    """Collect the rows of each table, and the facts as one row, that are formatted within: by column, as they are."""
    found: list[tuple[Row, ...]] = []
    before = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(before)


def cell(value: object, most: int = 120) -> str:
    """Return ``value`` as one safe line of at most ``most`` characters; an empty value becomes ``-``."""
    if value is None or value == "":
        return "-"
    text = safe_text(str(value)[: most + 1].replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r"))
    return text if len(text) <= most else text[: most - 1] + "…"


def table(header: Sequence[str], rows: Iterable[Sequence[object]], *, most: int = 120) -> str:
    """Return aligned columns below a header line; a name that starts with ``>`` aligns its column to the right."""
    right, names = [name.startswith(">") for name in header], [name.removeprefix(">") for name in header]
    if (found := _collected.get()) is not None:
        rows = [*rows]
        found.append(tuple(dict(zip(names, row, strict=True)) for row in rows))
    lines = [names, *([cell(value, most) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def facts(pairs: Iterable[tuple[str, object]], *, most: int = 300) -> str:
    """Return ``name  value`` lines, aligned; a pair without a value is left out."""
    known = [(name, value) for name, value in pairs if value is not None and value != ""]
    if (found := _collected.get()) is not None:
        found.append((dict(known),))
    shown = [(name, cell(value, most)) for name, value in known]
    width = max((len(name) for name, _ in shown), default=0)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in shown)


def size(count: float | None) -> str:
    """Return a number of bytes with a unit: ``12.3 GB``, where 1 KB is 1024 bytes."""
    if count is None:
        return "-"
    amount, sign = abs(float(count)), "-" if count < 0 else ""
    if amount < 1024:
        return f"{sign}{amount:.0f} B"
    unit = 0
    while amount >= 1023.95 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{sign}{amount:.1f} {_UNITS[unit]}"


def parse_size(text: str) -> int | None:
    """Parse ``10MB``, ``1.5 GB``, ``512k`` or ``300`` into bytes (1 KB is 1024 bytes), or return None."""
    match = re.fullmatch(_SIZE, text)
    if match is None:
        return None
    power = "bkmgtpe".index(match[2].lower() or "b")
    return int(float(match[1]) * 1024**power)


def span(seconds: float) -> str:
    """Format a length of time in its two largest units: ``3 d 4 h``, ``2 h 5 min``, ``12 s``."""
    left, parts = max(0, int(seconds)), []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"


def plural(number: int, noun: str, many: str | None = None) -> str:
    """Return a count with its noun: ``1 file``, ``3 files``."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"
