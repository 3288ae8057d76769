"""A row of builtin's table: a read-only tool call, and the words that ask for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

_OPTIONAL = re.compile(r"\[([^\]]*)\]")
_ARGUMENT = re.compile(r"\{(\w+)(\+1)?(?:\|([^}]*))?\}")
_DOCKER = re.compile(r"(^|; |&& |\$\()docker (?!compose )")
_COMPOSE = re.compile(r"(^|; |&& |\$\()docker compose ")
_PLAIN = re.compile(r"[\w./:@%+,~-]+")


@dataclass(frozen=True, slots=True, eq=False)
class Lookup:
    """A tool call with ``fixed`` arguments, and ``slots`` that say which kind of word fills which argument.

    Kinds of words: ``name`` (a word of no other meaning), ``number``, ``path`` (with a slash), ``file``
    (a file's name), ``pattern`` (``*.log``), ``text`` (what to search for), ``size``, ``since``, ``state``,
    ``health`` (``unhealthy``).
    ``examples``, ``commands`` and ``causes`` are separated by bars and write such words in braces.
    ``needs`` are arguments that the lookup requires, ``must`` words (or ``one/or/other``) that it requires.
    ``commands`` are command lines that mean the same; ``causes`` are questions whose facts the lookup can show, where
    ``state_first`` says that ``docker_inspect`` of the same container comes first, and only the last lines after it.
    ``of_unit`` is the tool that shows the same of a systemd unit, where one has the name.
    In ``same_as`` a part in brackets is left out if its argument is absent; the text after ``|`` replaces it, and
    ``{limit+1}`` is one more, for the heading of a table.
    """

    tool: str
    about: str
    same_as: str
    examples: str
    fixed: Mapping[str, object] = field(default_factory=dict)
    slots: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    must: tuple[str, ...] = ()
    commands: str = ""
    causes: str = ""
    state_first: bool = False
    of_unit: str = ""

    def command(self, arguments: Mapping[str, object]) -> str:
        """Return the command line that would show the same, with ``arguments`` filled in."""

        def part(match: re.Match[str]) -> str:
            names = _ARGUMENT.finditer(match[1])
            return match[1] if all(name[1] in arguments for name in names) else ""

        def value(match: re.Match[str]) -> str:
            if match[1] not in arguments:
                return match[3] or ""
            found = arguments[match[1]]
            text = str(found + 1 if match[2] and isinstance(found, int) else found)
            if match[1] == "since" and self.tool == "journal_tail":
                return _journal_time(text)
            if match[1] == "text" and text[:1] == "-":
                return f"-e {quote(text)}"
            return quote_path(text) if match[1] == "path" else quote(text)

        return _ARGUMENT.sub(value, _OPTIONAL.sub(part, self.same_as)).strip()


def _journal_time(since: str) -> str:
    """Return a span as journalctl takes it (``-2h``), and a time with its zone as seconds since 1970."""
    try:
        return f"@{datetime.fromisoformat(since).timestamp():.0f}"
    except (ValueError, OverflowError):
        return quote(f"-{since}")


def for_engine(command: str, program: str) -> str:
    """Return a command line of docker as that of another engine's ``program``: podman, and podman-compose."""
    if program == "docker":
        return command
    return _COMPOSE.sub(rf"\1{program}-compose ", _DOCKER.sub(rf"\1{program} ", command))


def quote(value: str) -> str:
    """Return ``value`` as one word of a command line."""
    return value if _PLAIN.fullmatch(value) else "'" + value.replace("'", "'\\''") + "'"


def quote_path(value: str) -> str:
    """Return a path as one word of a command line that no program takes for a flag."""
    return quote(f"./{value}" if value[:1] == "-" else value)
