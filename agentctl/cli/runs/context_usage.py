"""What a line of a journal holds, as far as it can be believed: a later or an earlier version may have written it."""

from __future__ import annotations

from collections.abc import Mapping

Fields = Mapping[str, object]


def mapping(record: Fields, name: str) -> Fields:
    """Return an object of a record; empty where there is none."""
    value = record.get(name)
    return value if isinstance(value, dict) else {}


def text(record: Fields, name: str) -> str:
    """Return a text of a record; empty where there is none."""
    value = record.get(name)
    return value if isinstance(value, str) else ""


def number(record: Fields, name: str) -> int:
    """Return a whole number of a record; 0 where there is none."""
    value = record.get(name)
    return value if isinstance(value, int) else 0
