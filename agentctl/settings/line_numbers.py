"""Find the line of a TOML file that sets a name, for messages: the parsed values no longer have it."""

from __future__ import annotations

import re

_TABLE = re.compile(r"^[ \t]*\[", re.MULTILINE)


def line_of(text: str, name: str) -> int | None:
    """Return the number of the line that sets ``name``, or of its first header."""
    found = re.search(rf"^[ \t]*\[{{0,2}}[\"']?{re.escape(name)}[\"']?[ \t]*[=.\]]", text, re.MULTILINE)
    return text.count("\n", 0, found.start()) + 1 if found else None


def line_within(text: str, line: str, part: str) -> int | None:
    """Return the line of a table's entry ``line``, or of its ``part`` below a header of its own.

    ``hook#2`` is the second table ``[[hook]]``.
    """
    name, _, number = line.partition("#")
    if number.isdigit():
        return _line_in_list(text, name, int(number), part)
    found = re.search(rf"^[^#\n]*?[\"']?{re.escape(line)}[\"']?[ \t]*[=.\]].*", text, re.MULTILINE)
    if found is None:
        return None
    if part and found[0].lstrip().startswith("["):
        return _line_below(text, found.end(), part) or text.count("\n", 0, found.start()) + 1
    return text.count("\n", 0, found.start()) + 1


def _line_in_list(text: str, name: str, number: int, part: str) -> int | None:
    """Return the line of the ``number``-th header ``[[name]]`` (from 1), or of a ``part`` below it."""
    headers = re.finditer(rf"^[ \t]*\[\[[ \t]*[\"']?{re.escape(name)}[\"']?[ \t]*\]\].*", text, re.MULTILINE)
    found = next((header for place, header in enumerate(headers, 1) if place == number), None)
    if found is None:
        return None
    return (part and _line_below(text, found.end(), part)) or text.count("\n", 0, found.start()) + 1


def _line_below(text: str, start: int, part: str) -> int | None:
    """Return the line of ``part`` between ``start`` and the next header."""
    body = _TABLE.split(text[start:], maxsplit=1)[0]
    inner = re.search(rf"^[ \t]*[\"']?{re.escape(part)}[\"']?[ \t]*=", body, re.MULTILINE)
    return None if inner is None else text.count("\n", 0, start + inner.start()) + 1
