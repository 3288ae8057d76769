"""Command lines that mean one of the lookups: ``docker ps -a``, ``tail -n 30 app.log``."""

from __future__ import annotations

from agentctl.providers.builtin.lexicon import LIGHT, POLITE
from agentctl.providers.builtin.lookup import Lookup
from agentctl.providers.builtin.shapes import Words, is_path, split
from agentctl.providers.builtin.table import LOOKUPS

_NO_VALUE = POLITE | LIGHT | {"it", "them", "everything"}
_SPECIAL = frozenset("|;&<>$`")


def match_command(task: str) -> tuple[Lookup, dict[str, object]] | None:
    """Return the row and its arguments if the task is, word by word, a command line of the table."""
    words = split(task)
    if not words or len(words) > 6:
        return None
    start = words[0][0]
    for row in LOOKUPS:
        if start not in row.commands:
            continue
        for command in row.commands.split("|"):
            pattern = command.split()
            found = _fit(pattern, words, row) if pattern[0] == start else None
            if found is not None:
                return row, {**row.fixed, **found}
    return None


def _fit(pattern: list[str], words: Words, row: Lookup) -> dict[str, object] | None:
    if len(pattern) != len(words):
        return None
    found: dict[str, object] = {}
    for wanted, (given, is_quoted) in zip(pattern, words, strict=True):
        head, brace, rest = wanted.partition("{")
        if not brace:
            if wanted != given or is_quoted:
                return None
            continue
        kind, _, tail = rest.partition("}")
        value = given.removeprefix(head).removesuffix(tail)
        if not given.startswith(head) or not given.endswith(tail) or not _is_kind(kind, value, is_quoted=is_quoted):
            return None
        name = "path" if kind == "where" else row.slots[kind]
        found[name] = int(value) if kind == "number" else value
    return found


def _is_kind(kind: str, value: str, *, is_quoted: bool) -> bool:
    """Whether a word of a command line can be what the pattern wants there."""
    if not is_quoted and (not value or value[0] == "-" or _SPECIAL & set(value) or value.lower() in _NO_VALUE):
        return False
    if kind == "number":
        return value.isascii() and value.isdigit() and len(value) < 10
    if kind == "pattern":
        return bool(set("*?") & set(value))
    return is_quoted or kind not in {"file", "path"} or is_path(value)
