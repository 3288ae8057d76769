"""Translate the ledger's statements from SQLite's SQL to PostgreSQL's; what both understand stays as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

_PARTS = re.compile(r"('(?:[^']|'')*')")
_MARK = re.compile(r"\?(\d+)|\?|(?<!:):([a-z_]+)")
_VALUE = r"(\?\d*|:[a-z_]+|\d+|'(?:[^']|'')*'|excluded\.[a-z_]+)"
_IS_NOT, _IS = re.compile(rf"\bIS NOT {_VALUE}"), re.compile(rf"\bIS {_VALUE}")
_GREATEST = re.compile(r"\bmax\(([\w.]+), ([\w. -]+)\)")
_LEAVE = re.compile(r"DELETE FROM waiters WHERE")
_CROSS = re.compile(r"CROSS JOIN (\w+) AS (\w+) ON")
_IGNORE = "INSERT OR IGNORE INTO"


@lru_cache(maxsize=512)
def translate(sql: str) -> str:
    """Return a statement in PostgreSQL's words, with the marks of psycopg for its parameters.

    >>> translate("SELECT max(a, b) FROM t WHERE c IS NOT 0 AND d = ?")
    'SELECT greatest(a, b) FROM t WHERE c IS DISTINCT FROM 0 AND d = %s'
    """
    sql = _IS_NOT.sub(r"IS DISTINCT FROM \1", sql)
    sql = _IS.sub(r"IS NOT DISTINCT FROM \1", sql)
    sql = _LEAVE.sub("UPDATE waiters SET seen_us = -1 WHERE", sql)
    sql = _CROSS.sub(r"JOIN \1 AS \2 ON", sql)
    if _IGNORE in sql:
        sql = sql.replace(_IGNORE, "INSERT INTO") + " ON CONFLICT DO NOTHING"
    parts = _PARTS.split(sql)
    for at in range(0, len(parts), 2):
        outside = _GREATEST.sub(r"greatest(\1, \2)", parts[at]).replace("%", "%%")
        parts[at] = _MARK.sub(_mark, outside.replace("instr(", "strpos("))
    for at in range(1, len(parts), 2):
        parts[at] = parts[at].replace("%", "%%")
    return "".join(parts)


def _mark(found: re.Match[str]) -> str:
    number, name = found.groups()
    if name is not None:
        return f"%({name})s"
    return "%s" if number is None else f"%(p{number})s"


def adapt(sql: str, parameters: Sequence[object] | Mapping[str, object]) -> Sequence[object] | Mapping[str, object]:
    """Return the parameters of a translated statement; a NUL, which PostgreSQL cannot store, becomes U+FFFD."""
    if isinstance(parameters, Mapping):
        return storable_values(parameters)
    values = [_storable(value) for value in parameters]
    if re.search(r"\?\d", sql):
        return {f"p{number}": value for number, value in enumerate(values, 1)}
    return values


def storable_values(values: Mapping[str, object]) -> dict[str, object]:
    """Return named values that PostgreSQL can store."""
    return {name: _storable(value) for name, value in values.items()}


def _storable(value: object) -> object:
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value
