"""Read the user's config.toml, and change it one line at a time.

A change replaces or removes one line and keeps every other byte.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from contextlib import nullcontext, suppress
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from agentctl.core.errors import StateError, UsageError
from agentctl.core.files import file_lock, write_atomically
from agentctl.core.text import did_you_mean, safe_text
from agentctl.settings.merge import absolute, format_value, validate
from agentctl.settings.names import (
    ENV_NAMES,
    KEY_NAMES,
    SANDBOX_LINES,
    SECRET_FIELDS,
    SETTING_MEANINGS,
    TABLE_FIELDS,
    TOML_FIELDS,
    flag_name,
)
from agentctl.settings.own_files import is_there, read_exact
from agentctl.settings.price_lines import PricePath, missing_parts, with_price
from agentctl.settings.project_files import problems_of
from agentctl.settings.provider_names import own_names
from agentctl.settings.sources import NEEDS_TOML, SettingEntry, Source, from_toml

if TYPE_CHECKING:
    from agentctl.settings.provider_lines import ProviderPath

_WHAT = "user config"
_ALIASES = {
    **{flag_name(field).lstrip("-").replace("-", "_"): field for field in ENV_NAMES if field not in SECRET_FIELDS},
    **{name.lower(): field for field, names in ENV_NAMES.items() for name in names},
    **{field: field for field in (*ENV_NAMES, *TABLE_FIELDS)},
}


def find_field(word: str) -> str:
    """Return the setting that ``word`` names: its own name, an environment variable, or a flag.

    Raises:
        UsageError: it names none; the hint has the nearest name.
    """
    name = word.strip().lstrip("-").lower().replace("-", "_")
    if name in _ALIASES:
        return _ALIASES[name]
    # A word that is too long for a name, or does not look like one, may be a key, so the error does not repeat it.
    if len(word) > 40 or not re.fullmatch(r"[A-Za-z_][A-Za-z_-]*", word.strip().lstrip("-")):
        raise UsageError("this is not the name of a setting", hint="agentctl config show   lists them")
    hint = did_you_mean(name, _ALIASES, SETTING_MEANINGS) or "agentctl config show   lists them"
    raise UsageError(f'no setting "{word.strip()}"', hint=hint)


def check_settable(field: str, path: Path) -> None:
    """Refuse a setting that config.toml (at ``path``) cannot hold, or that takes more than one line there.

    Raises:
        UsageError: the setting cannot be set so; the hint says where it belongs.
    """
    if field in SECRET_FIELDS:
        provider = SECRET_FIELDS[field]
        raise UsageError(
            f"{KEY_NAMES[provider]} is a key: keys do not belong in config.toml",
            hint=f"agentctl providers set-key {provider}",
        )
    if field == "providers":
        raise UsageError(
            "providers is a table: set one part of one provider",
            hint="agentctl config set providers.lab.base_url http://127.0.0.1:8080/v1",
        )
    if field == "hook":
        raise UsageError(f"hooks are tables: write [[hook]] into {path} by hand", hint="agentctl help hooks")
    if field == "mcp":
        raise UsageError(
            f"mcp is a table: write [mcp.servers.NAME] into {path} by hand, or use mcp.json", hint="agentctl help mcp"
        )
    if field in TABLE_FIELDS:
        raise UsageError(
            f"{field} is a table: set the price of one model",
            hint=f"agentctl config set '{field}.\"openai/my-model\"' input=0.15 output=0.60",
        )
    if field not in TOML_FIELDS:
        raise UsageError(
            f"{field} can only be set by the environment", hint=f"set {ENV_NAMES[field][0]} in the environment"
        )


def save_value(path: Path, field: str, words: Sequence[str]) -> bool:
    """Write a setting into the config.toml at ``path``, or remove it (no ``words``); return whether it changed.

    A new folder or file is for the user only; an existing file keeps its mode.

    Raises:
        UsageError: the value or the file is invalid.
        StateError: the file cannot be written; it stays as it was.
    """
    check_settable(field, path)
    own = _own_names(path) if field == "llm_provider" else ()
    literal = _literal(field, words, Path.cwd(), own) if words else None
    if literal is not None and not literal.isprintable():
        raise UsageError(f"the value of {field} contains invalid UTF-8 and cannot be written into config.toml")
    if literal is None and not is_there(path):
        return False
    with file_lock(path, _WHAT):
        before = read_exact(path, _WHAT)
        after = with_value(before, field, literal)
        if after == before:
            return False
        _refuse_new_problems(before, after, path)
        mode = stat.S_IMODE(path.stat().st_mode) if is_there(path) else 0o600
        write_atomically(path, after, mode=mode)
        return True


def save_price(path: Path, price: PricePath, words: Sequence[str]) -> tuple[bool, tuple[PricePath, ...]]:
    """Write a price into the config.toml at ``path``, or remove it (no ``words``).

    Returns whether the file changed, and the prices that the model's line still needs.

    Raises:
        UsageError: the value or the file is invalid.
        StateError: the file cannot be written; it stays as it was.
    """
    import tomlkit  # noqa: PLC0415 - needed only to change the file

    changed = _save_table(path, words, lambda before: with_price(before, price, words, file=path))
    if changed is None:
        return False, ()
    lines = tomlkit.parse(changed.after.removeprefix("\ufeff")).unwrap().get("prices", {})
    return changed.after != changed.before, missing_parts(lines, price.model)


def save_provider(path: Path, provider: ProviderPath, words: Sequence[str]) -> tuple[bool, tuple[ProviderPath, ...]]:
    """Write a part of a provider's table into the config.toml at ``path``, or remove it (no ``words``).

    Returns whether the file changed, and the parts that the provider still needs.

    Raises:
        UsageError: the value or the file is invalid.
        StateError: the file cannot be written; it stays as it was.
    """
    import tomlkit  # noqa: PLC0415 - needed only to change the file

    from agentctl.settings.provider_lines import missing_parts, with_provider  # noqa: PLC0415 - most users have none

    changed = _save_table(path, words, lambda before: with_provider(before, provider, words, file=path))
    if changed is None:
        return False, ()
    tables = tomlkit.parse(changed.after.removeprefix("\ufeff")).unwrap().get("providers", {})
    return changed.after != changed.before, missing_parts(tables, provider.name)


class _Change(NamedTuple):
    """The text of the file before and after a change."""

    before: str
    after: str


def _save_table(path: Path, words: Sequence[str], change: Callable[[str], str]) -> _Change | None:
    """Apply ``change`` to the file at ``path``; return None if there is no file, and nothing to write."""
    if not words and not is_there(path):
        return None
    with file_lock(path, _WHAT):
        before = read_exact(path, _WHAT)
        _refuse_broken(before.removeprefix("\ufeff"))
        after = change(before)
        if after != before:
            mode = stat.S_IMODE(path.stat().st_mode) if is_there(path) else 0o600
            write_atomically(path, after, mode=mode)
    return _Change(before, after)


def _refuse_broken(body: str) -> None:
    for problem in from_toml(body, kind="user config", path=Path("config.toml")).problems:
        if problem.stops == NEEDS_TOML:
            raise UsageError(f"{problem.text}; nothing was changed", hint="correct the file by hand first")


def _own_names(path: Path) -> tuple[str, ...]:
    """Return the names of the user's own providers in the config.toml at ``path``."""
    if not is_there(path):
        return ()
    entry = from_toml(read_exact(path, _WHAT), kind="user config", path=path).entries.get("providers")
    return () if entry is None else own_names(entry.value)


def parse_value(field: str, words: Sequence[str], cwd: Path | None = None, own: Sequence[str] = ()) -> object:
    """Return the value that ``config set`` gives to a setting; relative paths begin at ``cwd``.

    ``own`` are the names of the user's own providers.

    Raises:
        UsageError: the value is not allowed.
    """
    given: object = words[0].strip() if len(words) == 1 else list(words)
    if field in ("workdir", "cost_history_file") and isinstance(given, str) and given:
        given = absolute(given, cwd or Path.cwd())
    values, problems = validate({field: SettingEntry(given, Source("your answer"), field)}, own=own)
    if problems:
        allowed = problems[0].text.rpartition("allowed: ")[2]
        raise UsageError(safe_text(f'{field} cannot be "{format_value(" ".join(words))}"; allowed: {allowed}'))
    return values[field]


def _literal(field: str, words: Sequence[str], cwd: Path, own: Sequence[str]) -> str:
    """Return a value in TOML.

    Raises:
        UsageError: the value is not allowed.
    """
    import tomlkit  # noqa: PLC0415 - needed only to change the file

    value = parse_value(field, words, cwd, own)
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, float | Path):
        value = words[0].strip()
    return tomlkit.item("none" if value is None else value).as_string()


def _refuse_new_problems(before: str, after: str, path: Path) -> None:
    old, new = (
        problems_of(from_toml(text.removeprefix("\ufeff"), kind="user config", path=path)) for text in (before, after)
    )
    known = {re.sub(r" line \d+", "", problem.text) for problem in old}
    for problem in new:
        if re.sub(r" line \d+", "", problem.text) not in known:
            raise UsageError(f"{problem.text}; nothing was changed", hint=problem.hint)


#: The files that ``config init`` can write, each with what it is for.
PRESETS = {
    "default": "every setting at its default, commented out",
    "ci": "small limits, read-only, one JSON document on stdout",
}


def preset_text(name: str) -> str:
    """Return the file of a preset.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in PRESETS:
        known = f"presets: {', '.join(PRESETS)}"
        raise UsageError(safe_text(f'no preset "{name[:60]}"'), hint=did_you_mean(name, PRESETS) or known)
    if name == "default":
        return default_text()
    return Path(__file__).with_name(f"{name}.toml").read_text(encoding="utf-8")


def default_text() -> str:
    """Return the file that ``config init`` writes: every setting at its default, each line commented out."""
    whole = Path(__file__).with_name("default.toml").read_text(encoding="utf-8")
    return re.sub(r"^(?=[a-z_]+ = )", "# ", whole, flags=re.MULTILINE)


def start_file(path: Path, text: str, *, force: bool) -> Path | None:
    """Write ``text`` to ``path``, for this user only; return the backup of the old file, None if there was none.

    Raises:
        UsageError: the file exists, and ``force`` is not given.
        StateError: the file cannot be written.
    """
    with file_lock(path) if path.name == "config.toml" else nullcontext():  # no lock file beside a file of a project
        if is_there(path) and not force:
            raise UsageError(safe_text(f"{path} already exists; nothing was changed"), hint="use --force to replace it")
        kept = None
        try:
            if old := read_exact(path, _WHAT):
                kept = path.with_name(f"{path.name}.old")
                write_atomically(kept, old)
            write_atomically(path, text)
        except OSError as error:
            said = (error.strerror or "not possible").lower()
            raise StateError(safe_text(f"{path} cannot be written: {said}; nothing was changed")) from error
        return kept


def with_value(text: str, field: str, literal: str | None) -> str:
    """Return ``text`` with one line for ``field``, or without it.

    An existing line keeps its place. A new one follows its commented default (``# max_turns = 30``), or else goes above
    the tables.

    Raises:
        UsageError: the text is not TOML.
        StateError: no place was found for the line.
    """
    import tomlkit  # noqa: PLC0415 - needed only to change the file

    mark = "\ufeff" if text.startswith("\ufeff") else ""
    body = text.removeprefix(mark)
    _refuse_broken(body)
    document = tomlkit.parse(body)
    wanted = document.unwrap()
    line = next((line for line, named in SANDBOX_LINES.items() if named == field), None)
    if line is not None and isinstance(wanted.get("sandbox"), dict) and (line == "mode" or field not in wanted):
        _change(document["sandbox"], line, None if literal is None else tomlkit.value(literal))
        return mark + document.as_string()
    was_there = field in wanted
    _change(wanted, field, None if literal is None else tomlkit.value(literal).unwrap())
    if was_there:
        _change(document, field, None if literal is None else tomlkit.value(literal))
        candidates: Iterable[str] = [document.as_string()]
    else:
        candidates = [body] if literal is None else _with_new_line(body, field, literal)
    for candidate in candidates:
        with suppress(tomlkit.exceptions.TOMLKitError):
            if tomlkit.parse(candidate).unwrap() == wanted:
                return mark + candidate
    raise StateError(f"no place for {field} was found in config.toml", hint="add the line by hand")


def _change(table: MutableMapping[str, Any], name: str, value: object) -> None:
    if value is None:
        table.pop(name, None)
    else:
        table[name] = value


def _with_new_line(text: str, field: str, literal: str) -> Iterator[str]:
    """Yield the text with a new line in each possible place, the best one first; a place may turn out to be inside a
    string.
    """
    lines = text.splitlines(keepends=True)
    eol = "\r\n" if any(line.endswith("\r\n") for line in lines) else "\n"
    new = f"{field} = {literal}{eol}"
    for at, line in enumerate(lines, 1):
        if re.match(rf"[ \t]*#[ \t]*{re.escape(field)}[ \t]*=", line):
            yield "".join((*lines[:at], "" if line.endswith("\n") else eol, new, *lines[at:]))
    table = next((at for at, line in enumerate(lines) if re.match(r"[ \t]*#?[ \t]*\[", line)), len(lines))
    while 0 < table < len(lines) and lines[table - 1].lstrip().startswith("#"):
        table -= 1  # the comment above a table belongs to the table
    for at in dict.fromkeys((table, 0)):
        gap = eol if at and not lines[at - 1].endswith("\n") else ""
        below = eol if 0 < at < len(lines) else ""
        yield "".join((*lines[:at], gap, new, below, *lines[at:]))
