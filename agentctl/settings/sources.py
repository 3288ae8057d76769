"""Read the places that settings come from, each value with its place. Files are read bounded, as UTF-8."""

from __future__ import annotations

import difflib
import io
import os
import re
import select
import shlex
import stat
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

from agentctl.core.text import did_you_mean, safe_text
from agentctl.settings.names import (
    CHILD_MARK,
    ENV_NAMES,
    KEY_NAMES,
    PARENT_CAPABILITY,
    PARENT_RUN,
    PREFIX,
    SECRET_FIELDS,
    TABLE_FIELDS,
    TOML_FIELDS,
    flag_name,
)

Kind = Literal[
    "flag",
    "environment",
    "your answer",
    "env file",
    "trusted project file",
    "project file",
    "user .env",
    "user config",
    "docker context",
    "default",
]

_ALL_NAMES = frozenset(name for names in ENV_NAMES.values() for name in names)
_NO_SETTINGS = frozenset({CHILD_MARK, PARENT_RUN, PARENT_CAPABILITY})
_LIKE_OURS = r"[A-Z]{2,12}_[A-Z0-9_]{2,40}"
MOST_BYTES = 1024 * 1024
PATIENCE_S = 5.0  # for the first byte of a pipe: nobody may stand behind it


class Source(NamedTuple):
    """Where a value came from: the kind of place, and the variable, flag, file or context."""

    kind: Kind
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.detail}".rstrip()


class SettingEntry(NamedTuple):
    """A value as it was written, the name it was written under, and the line if it stood in a file.

    ``text`` is the whole file where the value is a table, so that a line within it can be found.
    """

    value: object
    source: Source
    name: str
    line: int | None = None
    text: str = ""

    @property
    def origin(self) -> str:
        """Where the value came from, for messages."""
        at = f" line {self.line}" if self.line else ""
        return safe_text(f"{self.source}{at}")

    def within(self, line: str, part: str) -> SettingEntry:
        """Return the entry with the line number of ``part`` of one of its table's lines, where that is found."""
        return self._replace(line=_line_within(self.text, line, part) or self.line)


class Problem(NamedTuple):
    """One thing that is wrong, with a hint."""

    text: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.text} ({self.hint})" if self.hint else self.text


class Layer(NamedTuple):
    """The content of one place: entries by field, empty key variables, unknown names."""

    place: str
    entries: Mapping[str, SettingEntry] = MappingProxyType({})
    empty_keys: tuple[str, ...] = ()
    strays: tuple[str, ...] = ()
    broken_lines: tuple[int, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on what has no effect there."""
        said = []
        if self.strays:
            said.append(f"{self.place} has {unknown_names(self.strays)}, which does nothing")
        if self.broken_lines:
            lines = ", ".join(map(str, self.broken_lines[:5])) + (", …" if len(self.broken_lines) > 5 else "")
            said.append(f"{self.place} has no NAME=value in line {lines}")
        return tuple(map(safe_text, said))


def from_flags(flags: Mapping[str, object]) -> Layer:
    """Read flags by field name; None means not given."""
    for name in flags:
        if name not in ENV_NAMES or name in SECRET_FIELDS:
            raise TypeError(f"no flag sets {name}")
    given = {name: value for name, value in flags.items() if value is not None}
    entries = {
        name: SettingEntry(value, Source("flag", flag_name(name)), flag_name(name)) for name, value in given.items()
    }
    return Layer("the command line", entries)


def from_environment(environ: Mapping[str, str]) -> Layer:
    """Read the process environment; NO_COLOR and its like count as AGENTCTL_COLOR where that is unset."""
    pairs = {name: (environ[name], None) for name in _ALL_NAMES if name in environ}
    entries, empty = _entries_by_field(pairs, lambda name: Source("environment", name))
    if "color" not in entries:
        for name, meaning in (("NO_COLOR", "never"), ("CLICOLOR_FORCE", "always"), ("FORCE_COLOR", "always")):
            if environ.get(name) and not (meaning == "always" and environ[name] == "0"):
                entries["color"] = SettingEntry(meaning, Source("environment", name), name)
                break
    strays = sorted(name for name in environ if name.startswith(PREFIX) and name not in _ALL_NAMES | _NO_SETTINGS)
    return Layer("the environment", entries, empty, tuple(strays))


def from_dotenv(text: str, *, kind: Kind, path: Path) -> Layer:
    """Read the text of a .env; nothing is interpolated, nothing enters the environment."""
    from dotenv.parser import parse_stream  # noqa: PLC0415 - most runs have no .env

    # The parser is quadratic in the length of a run of blanks; nobody needs a long one.
    text = re.sub(r"[^\S\r\n]{100,}", " ", text)
    pairs: dict[str, tuple[str, int | None]] = {}
    broken: list[int] = []
    for binding in parse_stream(io.StringIO(text)):
        before = binding.original.string
        line = binding.original.line + before[: len(before) - len(before.lstrip())].count("\n")
        if binding.error:
            broken.append(line)
        elif binding.key is not None:
            pairs[binding.key] = (binding.value or "", line)
    source = Source(kind, os.fspath(path))
    entries, empty = _entries_by_field(pairs, lambda _: source)
    return Layer(str(source), entries, empty, _strays(pairs), tuple(broken))


def _strays(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names that were meant for us: with our prefix, or a typo away from one of ours."""
    unknown = [name for name in names if name not in _ALL_NAMES]
    ours = [name for name in unknown if name.startswith(PREFIX)]
    like = [name for name in unknown if not name.startswith(PREFIX) and re.fullmatch(_LIKE_OURS, name)][:30]
    near = [name for name in like if difflib.get_close_matches(name, _ALL_NAMES, n=1, cutoff=0.88)]
    return (*ours, *near)


def from_toml(text: str, *, kind: Kind, path: Path) -> Layer:
    """Read the text of a TOML file; numbers keep every digit, an unknown name is a problem."""
    import tomllib  # noqa: PLC0415 - most runs have no config file

    source = Source(kind, os.fspath(path))
    try:
        parsed = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as exc:
        return Layer(str(source), problems=(Problem(safe_text(f"{source} is not TOML: {exc}")),))
    except (ValueError, ArithmeticError, RecursionError):
        return Layer(
            str(source),
            problems=(Problem(safe_text(f"{source} is not TOML: too deeply nested, or a number too long")),),
        )
    entries: dict[str, SettingEntry] = {}
    problems: list[Problem] = []
    for name, value in parsed.items():
        entry = SettingEntry(value, source, name, _line_of(text, name), text if name in TABLE_FIELDS else "")
        if name in TOML_FIELDS:
            entries[name] = entry
        else:
            problems.append(_unknown_key(name, entry))
    return Layer(str(source), entries, problems=tuple(problems))


def _unknown_key(name: str, entry: SettingEntry) -> Problem:
    upper = name.upper()
    if upper in KEY_NAMES.values():
        return Problem(
            f"{name} ({entry.origin}): keys do not belong there", "keep it in the environment or the user's .env"
        )
    if name in ENV_NAMES:
        return Problem(f"{name} ({entry.origin}) can only be set by the environment: {ENV_NAMES[name][0]}")
    return Problem(safe_text(f'unknown setting "{name[:60]}" ({entry.origin})'), did_you_mean(name, TOML_FIELDS))


def _entries_by_field(
    pairs: Mapping[str, tuple[str, int | None]], source: Callable[[str], Source]
) -> tuple[dict[str, SettingEntry], tuple[str, ...]]:
    entries: dict[str, SettingEntry] = {}
    empty: list[str] = []
    for field_name, names in ENV_NAMES.items():
        for name in names:
            value, line = pairs.get(name, (None, None))
            if value is None:
                continue
            if not value.strip():
                if field_name in SECRET_FIELDS:
                    empty.append(name)
                continue
            entries[field_name] = SettingEntry(value.strip(), source(name), name, line)
            break
    return entries, tuple(empty)


def unknown_names(names: Iterable[str]) -> str:
    """Return a list of unknown names for a message, each with the nearest known one; long lists are cut."""
    listed = list(names)
    shown = [name[:60] + _nearest(name[:60]) for name in listed[:8]]
    more = f" and {len(listed) - 8} more" if len(listed) > 8 else ""
    return ("an unknown name: " if len(listed) == 1 else "unknown names: ") + ", ".join(shown) + more


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name.upper(), sorted(_ALL_NAMES), n=1, cutoff=0.6)
    return f' (did you mean "{near[0]}"?)' if near else ""


def _line_of(text: str, name: str) -> int | None:
    found = re.search(rf"^[ \t]*\[{{0,2}}[\"']?{re.escape(name)}[\"']?[ \t]*[=.\]]", text, re.MULTILINE)
    return text.count("\n", 0, found.start()) + 1 if found else None


def _line_within(text: str, line: str, part: str) -> int | None:
    """Return the line of a table's entry ``line``, or of its ``part`` below a header of its own."""
    found = re.search(rf"^[^#\n]*?[\"']?{re.escape(line)}[\"']?[ \t]*[=.\]].*", text, re.MULTILINE)
    if found is None:
        return None
    if part and found[0].lstrip().startswith("["):
        body = re.split(r"^[ \t]*\[", text[found.end() :], maxsplit=1, flags=re.MULTILINE)[0]
        inner = re.search(rf"^[ \t]*[\"']?{re.escape(part)}[\"']?[ \t]*=", body, re.MULTILINE)
        if inner is not None:
            return text.count("\n", 0, found.end() + inner.start()) + 1
    return text.count("\n", 0, found.start()) + 1


def is_there(path: Path) -> bool:
    """Tell whether anything has this name; a folder without access counts, so that reading it says why not."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        return True
    return True


def is_folder(path: Path) -> bool:
    """Tell whether ``path`` is a folder that can be reached."""
    try:
        return path.is_dir()
    except OSError:
        return False


def read_own_file(path: Path, what: str, *, private: bool = False) -> str | Problem:
    """Read a file that the user named or owns, at most 1 MiB; a pipe that somebody writes to is fine, a folder is not.

    ``private``: it must belong to this user, and nobody else may read it.
    """
    named = safe_text(f"{what} {path}")
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            found = os.fstat(file.fileno())
            if private and (problem := _not_private(found, named, path)):
                return problem
            if stat.S_ISFIFO(found.st_mode) and not select.select([file], [], [], PATIENCE_S)[0]:
                return Problem(f"{named} is a pipe that nobody writes to")
            os.set_blocking(file.fileno(), True)
            data = file.read(MOST_BYTES + 1)
    except IsADirectoryError:
        return Problem(f"{named} is a folder, not a file")
    except (OSError, ValueError) as exc:
        said = exc.strerror if isinstance(exc, OSError) and exc.strerror else "not a file name"
        return Problem(f"{named} cannot be read: {said.lower()}")
    if len(data) > MOST_BYTES:
        return Problem(f"{named} is larger than 1 MiB: this is no settings file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        return Problem(f"{named} line {line} is not UTF-8 text", "save it as UTF-8")
    if "\0" in text:
        return Problem(f"{named} is binary, not text")
    return text


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _not_private(found: os.stat_result, named: str, path: Path) -> Problem | None:
    quoted = safe_text(shlex.quote(os.fspath(path)))
    if found.st_uid != os.geteuid():
        return Problem(
            f"{named} belongs to another user (uid {found.st_uid})",
            f'sudo chown "$(id -u)" {quoted} && chmod 600 {quoted}',
        )
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        return Problem(f"{named} holds keys and others may read it (mode {mode:04o})", f"chmod 600 {quoted}")
    return None
