"""The grammar of rules about tool calls: ``docker_restart(name=web)``. Pure.

A rule names a tool and, in brackets, the values of some arguments; other arguments may have any value. ``*`` stands for
any text and ``?`` for one character, in the tool's name too; a backslash escapes them. A value with a comma or a
bracket is put in double quotes. Numbers, true, false and lists are compared as JSON writes them. For a shell tool, the
brackets may hold the command itself: ``run_shell(git log *)``.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

RULE_ALLOWED = "a rule such as docker_restart or docker_restart(name=web)"
_NAME = re.compile(r"[A-Za-z0-9_*?-]{1,100}")
_ARGUMENT = re.compile(r"\s*([A-Za-z0-9_]{1,100})\s*=")
SHELL_ARGUMENTS = {"run_shell": "command"}
"""The tools that run a shell command, each with the argument that holds it."""
OTHER_NAMES = {
    "compose_projects": "docker_compose_ls",
    "compose_ps": "docker_compose_ps",
    "compose_logs": "docker_compose_logs",
    "compose_drift": "docker_compose_drift",
}
"""The tools that have a second name, with it: rules cover them by either, so ``docker_*`` is about them, too."""
_JOINS = re.compile(r"[;&|\n\r()`{}]+|\$\(")


class Rule(NamedTuple):
    """One rule: a tool's name or pattern, patterns for some arguments, and its original text."""

    tool: str
    arguments: tuple[tuple[str, str], ...] = ()
    text: str = ""

    def __str__(self) -> str:
        return self.text

    def covers(self, name: str) -> bool:
        """Return whether the rule is about the tool ``name``, whatever its arguments."""
        named = glob(self.tool)
        return named.fullmatch(name) is not None or named.fullmatch(OTHER_NAMES.get(name, name)) is not None

    def forbids(self, name: str, arguments: Mapping[str, object]) -> bool:
        """Return whether this rule denies a call; each part of a shell command counts, too."""
        return self._matches(name, arguments, parts=True)

    def permits(self, name: str, arguments: Mapping[str, object]) -> bool:
        """Return whether this rule allows a call. No pattern for shell commands does: those have to be parsed first."""
        command = SHELL_ARGUMENTS.get(name)
        if any(argument == command and is_pattern(pattern) for argument, pattern in self.arguments):
            return False
        return self._matches(name, arguments, parts=False)

    def _matches(self, name: str, arguments: Mapping[str, object], *, parts: bool) -> bool:
        if not self.covers(name):
            return False
        for argument, pattern in self.arguments:
            if argument not in arguments or arguments[argument] is None:
                return False
            said = _as_text(arguments[argument])
            texts = [said, *(_spellings(arguments[argument]) if parts else ())]
            if parts and SHELL_ARGUMENTS.get(name) == argument:
                texts += [part.strip() for part in _JOINS.split(said)]
            if not any(glob(pattern).fullmatch(text) for text in texts):
                return False
        return True


def parse_rule(text: str) -> Rule:
    """Parse one rule.

    Raises:
        ValueError: the text is not a rule; the message says what is allowed.
    """
    written = text.strip()
    name = _NAME.match(written)
    if name is None or not written.isprintable() or len(written) > 4000:
        raise ValueError(RULE_ALLOWED)
    rest = written[name.end() :].strip()
    if not rest:
        return Rule(name[0], (), written)
    if not rest.startswith("(") or not rest.endswith(")"):
        raise ValueError(RULE_ALLOWED)
    inside = rest[1:-1]
    command = SHELL_ARGUMENTS.get(name[0])
    if command is not None and inside.strip() and not _ARGUMENT.match(inside):
        return Rule(name[0], ((command, _whole_command(inside)),), written)
    return Rule(name[0], _arguments(inside), written)


def split_rules(text: str) -> tuple[str, ...]:
    """Split a list of rules at its commas, except those inside brackets or quotes."""
    parts, depth, quoted, start, place = [], 0, False, 0, 0
    while place < len(text):
        char = text[place]
        if char == "\\":
            place += 1
        elif char == '"' and depth:
            quoted = not quoted
        elif not quoted:
            depth += (char == "(") - (char == ")" and depth > 0)
            if char == "," and depth == 0:
                parts.append(text[start:place])
                start = place + 1
        place += 1
    parts.append(text[start:])
    return tuple(part.strip() for part in parts if part.strip())


def rule_for(name: str, arguments: Mapping[str, object], target: str | None) -> Rule:
    """Return the rule for calls of ``name`` with the same ``target`` argument (None: with any arguments).

    Its text is as a user would write it; a rule cannot contain control characters.
    """
    if target is None or arguments.get(target) is None:
        return Rule(name, (), name)
    pattern = re.sub(r"([*?\\])", r"\\\1", _as_text(arguments[target]))
    value = pattern
    if not value or value != value.strip() or re.search(r'[,()"]', value):
        value = '"' + value.replace('"', '\\"') + '"'
    return Rule(name, ((target, pattern),), f"{name}({target}={value})")


def _arguments(text: str) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    place = 0
    while text[place:].strip():
        name = _ARGUMENT.match(text, place)
        if name is None:
            raise ValueError(f"{RULE_ALLOWED}: name=value between the brackets")
        pattern, place = _value(text, name.end())
        found.append((name[1], pattern))
        if text[place:].strip():
            if text[place] != ",":
                raise ValueError(f"{RULE_ALLOWED}: a comma between two arguments")
            place += 1
    return tuple(found)


def _whole_command(text: str) -> str:
    """Return the pattern of a command that is the whole text between the brackets, in double quotes or not."""
    if text.lstrip().startswith('"'):
        with contextlib.suppress(ValueError):
            value, place = _value(text, 0)
            if not text[place:].strip():
                return value
    return text.strip()


def _value(text: str, start: int) -> tuple[str, int]:
    """Return the pattern that begins at ``start`` and the place after it."""
    while start < len(text) and text[start] == " ":
        start += 1
    if start < len(text) and text[start] == '"':
        place = start + 1
        while place < len(text) and text[place] != '"':
            place += 2 if text[place] == "\\" else 1
        if place >= len(text):
            raise ValueError(f"{RULE_ALLOWED}: unterminated quote")
        value = text[start + 1 : place].replace('\\"', '"')
        place += 1
        while place < len(text) and text[place] == " ":
            place += 1
        return value, place
    place = start
    while place < len(text) and text[place] != ",":
        if text[place] in "()":
            raise ValueError(f"{RULE_ALLOWED}: put a value with a bracket in double quotes")
        place += 2 if text[place] == "\\" else 1
    value = text[start:place].strip()
    if not value:
        raise ValueError(f'{RULE_ALLOWED}: write an empty value as ""')
    return value, min(place, len(text))


def _as_text(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)


def _spellings(value: object) -> tuple[str, ...]:
    """Return the other spellings of true and false, which a restricting rule may have used."""
    if value is True:
        return ("True", "TRUE", "yes", "1")
    return ("False", "FALSE", "no", "0") if value is False else ()


def is_pattern(pattern: str) -> bool:
    """Return whether a text has a wildcard without a backslash."""
    return re.search(r"[*?]", re.sub(r"\\.", "", pattern)) is not None


@lru_cache(maxsize=512)
def glob(pattern: str) -> re.Pattern[str]:
    """Compile a pattern that must match a whole text, in time linear in the text: stars do not backtrack.

    Each star except the last stops at the first match of the piece after it; that is always right, as it leaves the
    most text for the others.
    """
    pieces, place = [""], 0
    while place < len(pattern):
        char = pattern[place]
        if char == "*":
            pieces.append("")
        elif char == "\\" and place + 1 < len(pattern):
            place += 1
            pieces[-1] += re.escape(pattern[place])
        else:
            pieces[-1] += "." if char == "?" else re.escape(char)
        place += 1
    first, *rest = pieces
    inner = "".join(f"(?>.*?{piece})" for piece in rest[:-1] if piece)
    return re.compile(first + (f"{inner}.*{rest[-1]}" if rest else ""), re.DOTALL)
