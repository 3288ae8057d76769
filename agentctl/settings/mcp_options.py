"""Read the part ``agentctl`` of an MCP server's entry; a project's file cannot loosen anything with it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from agentctl.core.text import did_you_mean
from agentctl.settings import parsers
from agentctl.settings.mcp_values import MCP_EFFECTS, McpEffect, McpOptions, McpSandbox, one_line
from agentctl.settings.sandbox_access import check_writable

if TYPE_CHECKING:
    from agentctl.settings.model import Settings

LEAST_RESULT, MOST_RESULT = 1024, 64 * 1024 * 1024
MOST_CONNECT_S, MOST_CALL_S = 600.0, 86_400.0
_MOST_PATTERNS = 1000
_SIZE = re.compile(r"([0-9]{1,12})\s*(b|k|kb|kib|m|mb|mib)?", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 1024, "kb": 1000, "kib": 1024, "m": 1024**2, "mb": 1000**2, "mib": 1024**2}

#: The keys, as the documentation spells them; each is also read as connectTimeout or connect_timeout.
OPTION_KEYS = (
    *("tools", "exclude", "effects", "defer", "required", "connect_timeout", "call_timeout", "max_result"),
    *("sandbox", "network", "write", "pin", "trustAnnotations"),
)
_OPTION_MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("includetools", "enabledtools", "enabled_tools", "allowed_tools", "include"), "tools"),
        **dict.fromkeys(("excludetools", "disabledtools", "disabled_tools", "deny", "hide"), "exclude"),
        **dict.fromkeys(("effect",), "effects"),
        **dict.fromkeys(("startup_timeout_sec", "startup_timeout", "init_timeout"), "connect_timeout"),
        **dict.fromkeys(("timeout", "tool_timeout_sec", "tool_timeout", "request_timeout"), "call_timeout"),
        **dict.fromkeys(("max_output", "max_bytes", "result_limit"), "max_result"),
        **dict.fromkeys(("lazy", "deferred"), "defer"),
        **dict.fromkeys(("writable", "paths", "write_paths"), "write"),
        **dict.fromkeys(("hash", "sha256", "digest"), "pin"),
    }
)


class OptionsRead(NamedTuple):
    """The options, what is wrong with them, the unknown keys with a hint each, and those without effect here."""

    options: McpOptions
    wrong: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


def read_options(table: object, *, settings: Settings, workspace: Path, is_users_own: bool) -> OptionsRead:
    """Read the options of one server; relative paths begin at ``workspace``.

    What a project's file (not ``is_users_own``) sets to loosen has no effect and is named in ``dropped``.
    """
    if not isinstance(table, Mapping):
        return OptionsRead(McpOptions(), ('"agentctl" must be an object, such as {"network": true}',))
    given, wrong, unknown = _by_key(table)
    reader = _Reader(given, wrong)
    write, missing = _split_missing(reader.read("write", _paths(settings if is_users_own else None, workspace), ()))
    options = McpOptions(
        tools=reader.read("tools", _patterns, None),
        exclude=reader.read("exclude", _patterns, ()),
        effects=reader.read("effects", _effects, MappingProxyType({})),
        trust_annotations=reader.read("trustAnnotations", parsers.boolean, False),
        defer=reader.read("defer", parsers.boolean, None),
        required=reader.read("required", parsers.boolean, False),
        connect_timeout_s=reader.read(
            "connect_timeout", _time(MOST_CONNECT_S), McpOptions._field_defaults["connect_timeout_s"]
        ),
        call_timeout_s=reader.read("call_timeout", _time(MOST_CALL_S), McpOptions._field_defaults["call_timeout_s"]),
        max_result=reader.read("max_result", _size, McpOptions._field_defaults["max_result"]),
        sandbox=reader.read("sandbox", _sandbox, "run"),
        network=reader.read("network", parsers.boolean, False),
        write=write,
        pin=reader.read("pin", _pin, ""),
    )
    dropped = [f"write {path}: it does not exist" for path in missing]
    if not is_users_own:
        options, loosening = without_loosening(options, workspace)
        dropped += [f"{key}: a project's file cannot set it" for key in loosening]
    return OptionsRead(options, tuple(wrong), tuple(unknown), tuple(dropped))


def without_loosening(options: McpOptions, workspace: Path) -> tuple[McpOptions, tuple[str, ...]]:
    """Return the options without what would loosen a boundary of the user's, and the keys that were dropped.

    A project may narrow the tools, set times and sizes, pin a catalogue, and let its server write inside of the
    workspace. It may not leave the sandbox, open the network, write elsewhere, or call an effect less than it is.
    """
    inside = tuple(path for path in options.write if is_within(path, workspace))
    effects = {name: effect for name, effect in options.effects.items() if effect == "destructive"}
    loosened = {
        "sandbox": options.sandbox != "run",
        "network": options.network,
        "trustAnnotations": options.trust_annotations,
        "effects": len(effects) < len(options.effects),
        "write outside of the workspace": len(inside) < len(options.write),
    }
    kept = options._replace(
        sandbox="run",
        network=False,
        trust_annotations=False,
        effects=MappingProxyType(effects),
        write=tuple(Path(os.path.realpath(path)) for path in inside),
    )
    return kept, tuple(key for key, is_so in loosened.items() if is_so)


def is_within(path: Path, folder: Path) -> bool:
    """Return whether ``path`` is ``folder`` or in it, after all links."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def canonical_key(key: str) -> str:
    """Return the option that ``key`` names in any of its spellings, "" if none."""
    return _SPELLINGS.get(key, "")


def _spellings() -> Mapping[str, str]:
    found: dict[str, str] = {}
    for key in OPTION_KEYS:
        snake = re.sub(r"[A-Z]", lambda match: "_" + match[0].lower(), key)
        camel = re.sub(r"_([a-z])", lambda match: match[1].upper(), key)
        found |= dict.fromkeys((key, snake, camel), key)
    return MappingProxyType(found)


_SPELLINGS = _spellings()


def _by_key(table: Mapping[Any, object]) -> tuple[dict[str, object], list[str], list[str]]:
    """Return the values by key, what is wrong with the keys, and the unknown ones."""
    given: dict[str, object] = {}
    wrong, unknown = [], []
    for word, value in table.items():
        key = canonical_key(str(word))
        if not key:
            hint = did_you_mean(str(word)[:60], OPTION_KEYS, _OPTION_MEANINGS)
            said = one_line(f'"agentctl" has an unknown key "{str(word)[:60]}"')
            unknown.append(f"{said} ({hint})" if hint else said)
        elif key in given:
            wrong.append(f'"agentctl" has {key} twice')
        else:
            given[key] = value
    return given, wrong, unknown


class _Reader:
    def __init__(self, given: Mapping[str, object], wrong: list[str]) -> None:
        self._given, self._wrong = given, wrong

    def read(self, key: str, parse: Callable[[object], Any], default: Any) -> Any:  # noqa: ANN401 - of the option's type
        """Return the option's value; its default if it is not given, or wrong."""
        if key not in self._given:
            return default
        try:
            return parse(self._given[key])
        except ValueError as wrong:
            shown = one_line(str(self._given[key])[:60])
            self._wrong.append(f'{key} cannot be "{shown}"; allowed: {wrong}')
            return default


def _patterns(value: object) -> tuple[str, ...]:
    items = (value,) if isinstance(value, str) else value
    if not isinstance(items, Sequence) or len(items) > _MOST_PATTERNS:
        raise ValueError('a list of names, such as ["git_log", "git_d*"]')
    for item in items:
        if not isinstance(item, str) or not item.strip() or not item.isprintable() or len(item) > 256:
            raise ValueError('a list of names, such as ["git_log", "git_d*"]')
    return tuple(dict.fromkeys(item.strip() for item in items))


def _effects(value: object) -> Mapping[str, McpEffect]:
    allowed = f'one of {", ".join(MCP_EFFECTS)}, or an object of them by tool, such as {{"git_log": "read"}}'
    table = {"*": value} if isinstance(value, str) else value
    if not isinstance(table, Mapping):
        raise ValueError(allowed)
    found: dict[str, McpEffect] = {}
    for name, word in table.items():
        effect = next((effect for effect in MCP_EFFECTS if effect == word), None)
        if effect is None:
            near = did_you_mean(str(word)[:40], MCP_EFFECTS)
            raise ValueError(f"{allowed}; {near}" if near else allowed)
        found[_patterns(name)[0]] = effect
    return MappingProxyType(found)


def _time(most: float) -> Callable[[object], float]:
    read = parsers.duration(zero=False)

    def parse(value: object) -> float:
        seconds = read(value)
        if seconds > most:
            raise ValueError(f"a duration of at most {most / 60:g}m, such as 10s")
        return seconds

    return parse


def _size(value: object) -> int:
    allowed = f'a size from {LEAST_RESULT} bytes to {MOST_RESULT // 1024**2} MiB, such as 65536 or "64 KiB"'
    match = (
        _SIZE.fullmatch(str(value).strip()) if isinstance(value, int | str) and not isinstance(value, bool) else None
    )
    if match is None:
        raise ValueError(allowed)
    size = int(match[1]) * _UNITS[(match[2] or "").lower()]
    if not LEAST_RESULT <= size <= MOST_RESULT:
        raise ValueError(allowed)
    return size


def _sandbox(value: object) -> McpSandbox:
    if value == "run":
        return "run"
    if value == "none":
        return "none"
    raise ValueError('"run" (as the commands of the run) or "none"')


def _pin(value: object) -> str:
    text = value.strip().lower().removeprefix("sha256:") if isinstance(value, str) else ""
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise ValueError("the 64 hex digits of a SHA-256 digest")
    return text


def _paths(settings: Settings | None, workspace: Path) -> Callable[[object], tuple[Path, ...]]:
    """Return a reader of paths to write: those of the workspace, and with ``settings`` those that the sandbox opens."""

    def parse(value: object) -> tuple[Path, ...]:
        items = (value,) if isinstance(value, str) else value
        if not isinstance(items, Sequence) or not all(isinstance(item, str) and item.strip() for item in items):
            raise ValueError('a list of paths, such as ["."] (the workspace)')
        found = []
        for item in items:
            typed = os.path.expanduser(item.strip())  # noqa: PTH111 - Path raises for an unknown user
            if "\0" in typed or len(typed) > 4000:
                raise ValueError('a list of paths, such as ["."] (the workspace)')
            path = Path(os.path.normpath(workspace / typed))
            if settings is not None and not is_within(path, workspace):
                check_writable(os.fspath(path), settings, workspace)
            found.append(path)
        return tuple(dict.fromkeys(found))

    return parse


def _split_missing(paths: tuple[Path, ...]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Return the paths that exist, and those that do not: a sandbox can open only what is there."""
    there = tuple(path for path in paths if os.path.exists(path))  # noqa: PTH110 - Path raises without access
    return there, tuple(path for path in paths if path not in there)
