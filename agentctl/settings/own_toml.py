"""One line of a TOML text: set or taken out, every other byte as it was. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

from agentctl.core.errors import StateError, UsageError
from agentctl.settings.sources import from_toml


def with_value(text: str, field: str, literal: str | None) -> str:
    """Return ``text`` with one line for ``field``, or with none.

    It stands where it stood, else below the line that is its comment (``# max_turns = 30``), else above the tables.

    Raises:
        UsageError: the text is not TOML.
        StateError: no place was found for the line.
    """
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    body = text.removeprefix(mark)
    before = _parsed(body)
    if before is None:
        problem = from_toml(body, kind="user config", path=Path("config.toml")).problems[0]
        raise UsageError(f"{problem.text}; nothing was changed", hint="mend it by hand first")
    if literal is None and field not in before:
        return text
    wanted = {name: value for name, value in before.items() if name != field}
    if literal is not None:
        wanted |= _parsed(f"{field} = {literal}") or {}
    for candidate in _candidates(body.splitlines(keepends=True), field, literal):
        if _parsed(candidate) == wanted:
            return mark + candidate
    raise StateError(f"no place for {field} was found in config.toml", hint="write it there by hand")


def _parsed(text: str) -> dict[str, object] | None:
    import tomllib  # noqa: PLC0415 - only who changes the file needs it here

    try:
        return tomllib.loads(text, parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError):
        return None


def _candidates(lines: list[str], field: str, literal: str | None) -> Iterator[str]:
    """Yield the text in each way that may do; the reader says which of them does."""
    eol = "\r\n" if any(line.endswith("\r\n") for line in lines) else "\n"
    is_line = re.compile(rf"[ \t]*([\"']?){re.escape(field)}\1[ \t]*=")
    for at in (number for number, line in enumerate(lines) if is_line.match(line)):
        end = next((end for end in range(at + 1, len(lines) + 1) if _parsed("".join(lines[at:end])) is not None), at)
        old = "".join(lines[at:end])
        for comment in (_comment(old), "") if literal is not None else ("",):
            new = "" if literal is None else f"{field} = {literal}{comment}{eol}"
            yield "".join((*lines[:at], new, *lines[end:]))
    if literal is None:
        return
    new = f"{field} = {literal}{eol}"
    for at, line in enumerate(lines, 1):
        if re.match(rf"[ \t]*#[ \t]*{re.escape(field)}[ \t]*=", line):
            yield "".join((*lines[:at], "" if line.endswith("\n") else eol, new, *lines[at:]))
    table = next((at for at, line in enumerate(lines) if re.match(r"[ \t]*#?[ \t]*\[", line)), len(lines))
    while 0 < table < len(lines) and lines[table - 1].lstrip().startswith("#"):
        table -= 1  # the comment above a table is the table's
    for at in dict.fromkeys((table, 0)):
        gap = eol if at and not lines[at - 1].endswith("\n") else ""
        below = eol if 0 < at < len(lines) else ""
        yield "".join((*lines[:at], gap, new, below, *lines[at:]))


def _comment(old: str) -> str:
    """Return the comment behind a value, with the blanks before it."""
    last = old.rstrip("\r\n")
    whole = _parsed(last)
    for found in re.finditer(r"#", last):
        if "\n" not in last[found.start() :] and _parsed(last[: found.start()]) == whole:
            kept = last[: found.start()].rstrip(" \t")
            return last[len(kept) :]
    return ""
