"""Read the sources of settings, each value with its place. Files are read up to a limit, as UTF-8.

The library's source classes find the values; this module records the variable and line of each.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource, InitSettingsSource, TomlConfigSettingsSource

from agentctl.core.text import did_you_mean, nearest, safe_text
from agentctl.settings.declaration import PREFIX
from agentctl.settings.line_numbers import line_of, line_within
from agentctl.settings.model import Settings
from agentctl.settings.names import (
    CHILD_MARK,
    DECLARED,
    ENV_NAMES,
    JOB_INDEX,
    KEY_NAMES,
    PARENT_CAPABILITY,
    PARENT_RUN,
    SANDBOX_LINES,
    SECRET_FIELDS,
    SERVE_TOKEN,
    SETTING_MEANINGS,
    TABLE_FIELDS,
    TOML_FIELDS,
    flag_name,
)

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

Kind = Literal[
    "flag",
    "environment",
    "your answer",
    "env file",
    "agent file",
    "trusted project file",
    "project file",
    "user .env",
    "user config",
    "docker context",
    "default",
]

#: Where a value can come from, the strongest first.
STRENGTH: tuple[Kind, ...] = get_args(Kind)

_ALL_NAMES = frozenset(name for names in ENV_NAMES.values() for name in names)
_FIELDS: Mapping[str, str] = {name: field for field, names in ENV_NAMES.items() for name in (*names, field)}
_NO_SETTINGS = frozenset({CHILD_MARK, PARENT_RUN, PARENT_CAPABILITY, SERVE_TOKEN, JOB_INDEX})
_LIKE_OURS = r"[A-Z]{2,12}_[A-Z0-9_]{2,40}"

#: The commands that a problem stops: all, those that need a TOML file, or those that need a .env.
ALWAYS = ("always",)
NEEDS_TOML = ("run", "policy", "prices", *TOML_FIELDS)
NEEDS_ENV = ("run", "policy", "report", *ENV_NAMES)


class Source(NamedTuple):
    """Where a value came from: the kind of place, and the variable, flag, file or context."""

    kind: Kind
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.detail}".rstrip()


class SettingEntry(NamedTuple):
    """A value as it was written, the name it was written under, and the line if it came from a file.

    ``text`` is the whole file if the value is a table, so that a line within it can be found.
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
        """Return the entry with the line number of ``part`` of one of its table's lines, if that is found."""
        return self._replace(line=line_within(self.text, line, part) or self.line)


class Problem(NamedTuple):
    """One problem, with a hint; it stops the commands that need one of ``stops``, or all with ``ALWAYS``."""

    text: str
    hint: str = ""
    stops: tuple[str, ...] = ALWAYS

    def __str__(self) -> str:
        return f"{self.text} ({self.hint})" if self.hint else self.text

    @property
    def names_provider(self) -> tuple[str, ...]:
        """Which of ``stops`` decide on the provider and its model, or on the use of one provider."""
        return tuple(
            need for need in self.stops if need in ("llm_provider", "llm_model") or need.startswith("provider ")
        )


class Layer(NamedTuple):
    """The content of one source: entries by field, empty key variables, unknown names.

    ``variables`` are all variables of an environment or a .env, where the keys of the user's own providers are.
    """

    place: str
    entries: Mapping[str, SettingEntry] = MappingProxyType({})
    empty_keys: tuple[str, ...] = ()
    strays: tuple[str, ...] = ()
    broken_lines: tuple[int, ...] = ()
    problems: tuple[Problem, ...] = ()
    variables: Mapping[str, str] = MappingProxyType({})

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on the names that have no effect there."""
        said = []
        if self.strays:
            said.append(f"{self.place} has {unknown_names(self.strays)}, without effect")
        if self.broken_lines:
            lines = ", ".join(map(str, self.broken_lines[:5])) + (", …" if len(self.broken_lines) > 5 else "")
            said.append(f"{self.place} line {lines} is not NAME=value")
        return tuple(map(safe_text, said))


class VariablesSource(EnvSettingsSource):
    """Variables of a mapping, never of this process; ``variable_of`` says which one each field came from."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = {name: variables[name].strip() for name in _ALL_NAMES & variables.keys()}
        self.variable_of: dict[str, str] = {}
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name: value for name, value in self._variables.items() if value or not self.env_ignore_empty}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the field's strongest variable, with its value."""
        value, name, is_complex = super().get_field_value(field, field_name)
        if value is not None:
            self.variable_of[field_name] = name
        return value, name, is_complex

    @property
    def empty_keys(self) -> tuple[str, ...]:
        """The key variables that are set but empty, while no stronger one has a value."""
        empty = []
        for field in SECRET_FIELDS:
            for name in ENV_NAMES[field]:
                if self._variables.get(name):
                    break
                if name in self._variables:
                    empty.append(name)
        return tuple(empty)


class DotenvSource(VariablesSource, DotEnvSettingsSource):
    """The text of a .env: nothing is interpolated, nothing enters the environment, unrelated names are ignored."""

    def __init__(self, text: str) -> None:
        from dotenv.parser import parse_stream  # noqa: PLC0415 - most runs have no .env

        # The parser is quadratic in the length of a run of blanks, so a long one is shortened.
        text = re.sub(r"[^\S\r\n]{100,}", " ", text)
        self.line_of: dict[str, int] = {}
        self.broken_lines: list[int] = []
        variables: dict[str, str] = {}
        for binding in parse_stream(io.StringIO(text)):
            before = binding.original.string
            line = binding.original.line + before[: len(before) - len(before.lstrip())].count("\n")
            if binding.error or (binding.key is not None and not _is_assignment(binding.key, binding.value)):
                self.broken_lines.append(line)
            elif binding.key is not None:
                variables[binding.key], self.line_of[binding.key] = binding.value or "", line
        self.variables: Mapping[str, str] = variables
        super().__init__(variables)


def _is_assignment(name: str, value: str | None) -> bool:
    return value is not None and re.fullmatch(r"(?a:[A-Za-z_][\w.-]*)", name) is not None


class TomlSource(TomlConfigSettingsSource):
    """The text of a TOML file; numbers keep every digit."""

    def __init__(self, text: str) -> None:
        self._text = text
        super().__init__(Settings)

    def _read_files(self, files: object, deep_merge: bool = False) -> dict[str, Any]:
        import tomllib  # noqa: PLC0415 - most runs have no config file

        return tomllib.loads(self._text, parse_float=Decimal)


def from_flags(flags: Mapping[str, object]) -> Layer:
    """Read flags by field name; None means not given."""
    for name in flags:
        if name not in ENV_NAMES or name in SECRET_FIELDS:
            raise TypeError(f"no flag sets {name}")
    given = {name: value for name, value in flags.items() if value is not None}
    found = _by_field(InitSettingsSource(Settings, given)()) if given else {}
    entries = {
        name: SettingEntry(value, Source("flag", flag_name(name)), flag_name(name)) for name, value in found.items()
    }
    return Layer("the command line", entries)


def from_environment(environ: Mapping[str, str]) -> Layer:
    """Read the process environment; NO_COLOR and similar variables count as AGENTCTL_COLOR if that is unset."""
    entries: dict[str, SettingEntry] = {}
    empty: tuple[str, ...] = ()
    if not _ALL_NAMES.isdisjoint(environ):
        read = VariablesSource(environ)
        for field, value in _by_field(read()).items():
            name = read.variable_of[field]
            entries[field] = SettingEntry(value, Source("environment", name), name)
        empty = read.empty_keys
    if "color" not in entries:
        for name, meaning in (("NO_COLOR", "never"), ("CLICOLOR_FORCE", "always"), ("FORCE_COLOR", "always")):
            if environ.get(name) and not (meaning == "always" and environ[name] == "0"):
                entries["color"] = SettingEntry(meaning, Source("environment", name), name)
                break
    strays = sorted(name for name in environ if name.startswith(PREFIX) and name not in _ALL_NAMES | _NO_SETTINGS)
    return Layer("the environment", entries, empty, tuple(strays), variables=environ)


def from_dotenv(text: str, *, kind: Kind, path: Path) -> Layer:
    """Read the text of a .env."""
    read, source = DotenvSource(text), Source(kind, os.fspath(path))
    names = read.variable_of
    entries = {
        field: SettingEntry(value, source, names[field], read.line_of[names[field]])
        for field, value in _by_field(read()).items()
    }
    strays, broken = _strays(read.line_of), tuple(read.broken_lines)
    problem = _no_env_file(read, path) if kind == "env file" else None
    if problem is not None:
        return Layer(str(source), problems=(problem,))
    return Layer(str(source), entries, read.empty_keys, strays, broken, variables=read.variables)


def _no_env_file(read: DotenvSource, path: Path) -> Problem | None:
    """Return the problem of a file that has no variable at all, or the settings of a TOML file."""
    place = f"env file {os.fspath(path)}"
    names = read.line_of.keys()
    if (names and names <= set(TOML_FIELDS)) or (path.suffix == ".toml" and names.isdisjoint(_ALL_NAMES)):
        return Problem(safe_text(f"{place} is a TOML file: it sets no variable"), safe_text(f"use --config {path}"))
    return (
        None
        if read.line_of
        else Problem(
            safe_text(f"{place} has no line NAME=value"), "uncomment or write one, such as MAX_COST_PER_TASK=0.25"
        )
    )


def _by_field(found: Mapping[str, object]) -> dict[str, object]:
    """Return the values that a source of the library found, by field; the library names each by its strongest
    variable.
    """
    return {_FIELDS.get(name, name): value for name, value in found.items()}


def _strays(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names that were meant for agentctl: those with its prefix, or a typing error away from one of
    its own.
    """
    unknown = [name for name in names if name not in _ALL_NAMES]
    ours = [name for name in unknown if name.startswith(PREFIX) or name in TOML_FIELDS]
    like = [name for name in unknown if name not in ours and re.fullmatch(_LIKE_OURS, name)][:30]
    if not like:
        return tuple(ours)
    return (*ours, *(name for name in like if nearest(name, _ALL_NAMES)))


def from_toml(text: str, *, kind: Kind, path: Path) -> Layer:
    """Read the text of a TOML file; an unknown name is a problem."""
    import tomllib  # noqa: PLC0415 - most runs have no config file

    source = Source(kind, os.fspath(path))
    try:
        parsed = TomlSource(text).toml_data
    except (ValueError, ArithmeticError, RecursionError) as exc:
        is_syntax = isinstance(exc, tomllib.TOMLDecodeError)
        why = str(exc) if is_syntax else "too deeply nested, or a number too long"
        is_env = re.search(r"^(export[ \t]+)?[A-Z][A-Z0-9_]*=", text, re.MULTILINE) is not None
        hint = "put lines NAME=value into a file for --env-file" if is_env else ""
        return Layer(str(source), problems=(Problem(safe_text(f"{source} is not TOML: {why}"), hint, NEEDS_TOML),))
    entries: dict[str, SettingEntry] = {}
    problems: list[Problem] = []
    for name, value in parsed.items():
        entry = SettingEntry(value, source, name, line_of(text, name), text if name in TABLE_FIELDS else "")
        if name == "sandbox" and isinstance(value, dict):
            for field, line in _sandbox_table(entry._replace(text=text)):
                if field not in SANDBOX_LINES.values():
                    problems.append(_unknown_line(field, line))
                elif field in parsed and field != name:
                    problems.append(_set_twice(field, line))
                else:
                    entries[field] = line
        elif name in TOML_FIELDS:
            entries[name] = entry
        else:
            problems.append(_unknown_key(name, entry))
    return Layer(str(source), entries, problems=tuple(problems))


def _sandbox_table(table: SettingEntry) -> Iterator[tuple[str, SettingEntry]]:
    """Yield the lines of a table [sandbox], each with the field that it sets, or its own name if it sets none."""
    for name, value in table.value.items() if isinstance(table.value, dict) else ():
        entry = SettingEntry(value, table.source, f"sandbox.{name}", table.within("sandbox", name).line)
        yield SANDBOX_LINES.get(name, name), entry


def _unknown_line(name: str, entry: SettingEntry) -> Problem:
    said = safe_text(f'unknown setting "sandbox.{name[:60]}" ({entry.origin})')
    hint = did_you_mean(name[:60], SANDBOX_LINES, {field: line for line, field in SANDBOX_LINES.items()})
    if not hint and name in TOML_FIELDS:
        hint = f"move {name} above the line [sandbox]"
    return Problem(said, hint, ("run", "policy"))


def _set_twice(field: str, entry: SettingEntry) -> Problem:
    return Problem(
        f"{field} and {entry.name} ({entry.origin}) are one setting", "remove one of them", ("run", "policy")
    )


def _unknown_key(name: str, entry: SettingEntry) -> Problem:
    if (variable := name.upper()) in KEY_NAMES.values():
        provider = SECRET_FIELDS[variable.lower()]
        said = f"{name} ({entry.origin}): keys do not belong there"
        hint = f"remove the line, and save the key: agentctl providers set-key {provider}"
        return Problem(said, hint, (variable.lower(), *DECLARED[variable.lower()].needed_by))
    if name in ENV_NAMES:
        said = f"{name} ({entry.origin}) can only be set by the environment: {ENV_NAMES[name][0]}"
        return Problem(said, "", (name, *DECLARED[name].needed_by))
    field = _FIELDS.get(name, "")  # written as a variable
    meant = field if field in TOML_FIELDS else SETTING_MEANINGS.get(name.lower(), "")
    near = meant or nearest(name[:60], TOML_FIELDS)
    said = safe_text(f'unknown setting "{name[:60]}" ({entry.origin})')
    hint = did_you_mean(name[:60], TOML_FIELDS, {**SETTING_MEANINGS, name[:60].lower(): meant})
    return Problem(said, hint, ("run", "policy", *filter(None, [near])))


def unknown_names(names: Iterable[str]) -> str:
    """Return a list of unknown names for a message, each with the nearest known one; long lists are cut."""
    listed = list(names)
    shown = [name[:60] + _nearest(name[:60]) for name in listed[:8]]
    more = f" and {len(listed) - 8} more" if len(listed) > 8 else ""
    return ("an unknown name: " if len(listed) == 1 else "unknown names: ") + ", ".join(shown) + more


def _nearest(name: str) -> str:
    if name in ENV_NAMES:
        return f' (did you mean "{DECLARED[name].documented[0]}"?)'
    field = SETTING_MEANINGS.get(name.lower().removeprefix(PREFIX.lower()), "")
    prefix = PREFIX if name.upper().startswith(PREFIX) else ""
    meant = next((known for known in ENV_NAMES.get(field, ()) if known.startswith(PREFIX) == bool(prefix)), "")
    near = did_you_mean(name, _ALL_NAMES, {name.lower(): meant})
    return f" ({near})" if near else ""


def without_ledger(layer: Layer, problems: list[Problem]) -> Layer:
    """Return an env file's layer without the shared ledger: a file that lies anywhere does not decide where it is."""
    entry = layer.entries.get("ledger")
    if entry is None:
        return layer
    said = f"{entry.name} ({entry.origin}) has no effect there"
    hint = "set it in the environment, or in your own .env: agentctl config path"
    problems.append(Problem(said, hint, ("run", "report", "ledger")))
    return layer._replace(entries={name: one for name, one in layer.entries.items() if name != "ledger"})
