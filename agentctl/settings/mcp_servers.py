"""Load the MCP servers of a run: flags, the user's mcp.json and config.toml, and a project's trusted .mcp.json.

Loaded only where one of them exists (``Loaded.has_mcp``). Nothing is started or connected to here.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from agentctl.core.errors import UsageError
from agentctl.core.json_values import read_object
from agentctl.core.text import did_you_mean, list_names
from agentctl.settings.mcp_entries import EntryPlace, EntryRead, read_entry
from agentctl.settings.mcp_values import (
    MCP_EFFECTS,
    McpConfig,
    McpEffect,
    McpOptions,
    McpSandbox,
    McpServer,
    SkippedServer,
    UnsetVariable,
    one_line,
)
from agentctl.settings.merge import absolute
from agentctl.settings.own_files import is_there, read_own_file
from agentctl.settings.sources import Problem

if TYPE_CHECKING:
    from agentctl.settings.loaded import Loaded

__all__ = [
    "MCP_EFFECTS",
    "McpConfig",
    "McpEffect",
    "McpOptions",
    "McpSandbox",
    "McpServer",
    "SkippedServer",
    "UnsetVariable",
    "load_mcp_config",
    "read_mcp_config",
    "servers_of",
]

SERVERS_KEY = "mcpServers"
USER_FILE = "mcp.json"
_EXAMPLE = '{"mcpServers": {"git": {"command": "mcp-server-git"}}}'
_MOST_SERVERS = 100
_MOST_PROBLEMS = 10


class _Listed(NamedTuple):
    """The entries of one place, not yet read."""

    source: str
    entries: Mapping[str, object]
    kind: Literal["flag", "user", "project"]
    text: str = ""
    path: Path | None = None


def load_mcp_config(loaded: Loaded, *, cwd: Path | None = None) -> McpConfig:
    """Return the MCP servers of a run; without any configuration no file is read.

    Raises:
        UsageError: a file is missing or not JSON, a variable is not set, or a required server cannot be used.
    """
    found = read_mcp_config(loaded, cwd=cwd)
    if found.unset:
        raise _unset_error(found.unset)
    return found


def read_mcp_config(loaded: Loaded, *, cwd: Path | None = None, strict: bool = True) -> McpConfig:
    """Return the MCP servers; a variable that is not set is in ``unset``, with an empty text in its place.

    With ``strict`` a required server that cannot be used is an error.

    Raises:
        UsageError: a file is missing or not JSON, or a required server cannot be used.
    """
    if not loaded.has_mcp:
        return McpConfig()
    cwd = Path.cwd() if cwd is None else cwd
    workspace = loaded.settings.workdir or cwd
    variables = ChainMap(*map(dict, loaded.variables))
    servers: list[McpServer] = []
    skipped: list[SkippedServer] = []
    warnings: list[str] = []
    secrets: list[str] = []
    unset: list[UnsetVariable] = []
    taken: dict[str, _Listed] = {}
    for listed in _places(loaded, cwd):
        place = EntryPlace(listed.source, variables, loaded.settings, workspace, is_users_own=listed.kind != "project")
        holds_keys = False
        for name, entry in listed.entries.items():
            if name in taken:
                _note_shadowed(name, taken[name], listed, skipped, warnings)
                continue
            taken[name] = listed
            if len(taken) > _MOST_SERVERS:
                raise UsageError(f"more than {_MOST_SERVERS} MCP servers are configured", hint="agentctl mcp list")
            read = read_entry(name, entry, place)
            if strict and read.skipped is not None and read.is_required:
                raise _required_error(read)
            servers += [read.server] if read.server is not None else []
            skipped += [read.skipped] if read.skipped is not None else []
            warnings += read.warnings
            secrets += read.secrets
            holds_keys = holds_keys or any(secret in listed.text for secret in read.secrets)
            unset += read.unset
        if holds_keys and listed.path is not None and (said := _exposure(listed.path)):
            warnings.append(said)
    return McpConfig(
        tuple(servers), tuple(skipped), tuple(warnings), tuple(dict.fromkeys(secrets)), tuple(dict.fromkeys(unset))
    )


def servers_of(text: str, what: str) -> Mapping[str, object]:
    """Return the object ``mcpServers`` of a JSON text; ``what`` names the text in messages.

    Raises:
        UsageError: it is not JSON, or has no such object.
    """
    try:
        document = read_object(text)
    except ValueError as error:
        hint = "JSON has no comments: remove them" if "//" in text or "/*" in text else f"for example: {_EXAMPLE}"
        raise UsageError(one_line(f"{what} is not JSON: {error}"), hint=hint) from error
    if SERVERS_KEY not in document:
        near = did_you_mean
        hints = (near(key[:60], (SERVERS_KEY,), dict.fromkeys(("servers", "mcp"), SERVERS_KEY)) for key in document)
        raise UsageError(one_line(f'{what} has no "{SERVERS_KEY}"'), hint=next(filter(None, hints), _EXAMPLE))
    servers = document[SERVERS_KEY]
    if not isinstance(servers, Mapping):
        raise UsageError(one_line(f'"{SERVERS_KEY}" of {what} is not an object'), hint=f"for example: {_EXAMPLE}")
    return servers


def _places(loaded: Loaded, cwd: Path) -> Iterator[_Listed]:
    """Yield the places of a run's servers, the strongest first: the last flag, the user's own, a project's."""
    settings = loaded.settings
    for given in reversed(settings.mcp_config):
        yield _from_flag(given, cwd, str(loaded.sources["mcp_config"]))
    if settings.mcp_config and not settings.mcp_also_user:
        return
    own = settings.config_dir / USER_FILE
    if is_there(own):
        text = _text_of(own)
        yield _Listed(os.fspath(own), servers_of(text, os.fspath(own)), "user", text, own)
    if settings.mcp:
        yield _Listed(f"{loaded.config_file} [mcp.servers]", settings.mcp.get("servers", {}), "user")
    found = loaded.mcp_project
    if found is not None and found.trust_state == "trusted":
        yield _Listed(found.place, servers_of(found.file.text, found.place), "project")


def _from_flag(given: str, cwd: Path, source: str) -> _Listed:
    if given.lstrip().startswith("{"):
        name = source.removeprefix("flag ").removeprefix("environment ")
        return _Listed(name, servers_of(given, f"the JSON of {name}"), "flag")
    if given == "-":
        raise UsageError("only the flag --mcp-config reads stdin", hint="name a file")
    path = absolute(given, cwd)
    return _Listed(given, servers_of(_text_of(path, "--mcp-config"), f"--mcp-config {given}"), "flag")


def _text_of(path: Path, flag: str = "") -> str:
    text = read_own_file(path, flag or "file of MCP servers", flag=flag)
    if isinstance(text, Problem):
        raise UsageError(text.text, hint=text.hint)
    return text


def _exposure(path: Path) -> str:
    """Return a warning if other users can read a file with keys in it, else ""."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return ""
    if not mode & 0o077:
        return ""
    quoted = shlex.quote(os.fspath(path))
    return one_line(f"{path} contains keys and other users can read it (mode {mode:04o}): chmod 600 {quoted}")


def _note_shadowed(name: str, by: _Listed, listed: _Listed, skipped: list[SkippedServer], warnings: list[str]) -> None:
    """Note that an entry has no effect because a stronger place has its name; a flag replaces without a word."""
    shown = one_line(name[:60])
    if listed.kind == "project":
        why = f"{by.source} has a server with this name, and yours comes first"
        skipped.append(SkippedServer(shown, one_line(why), "rename one of them", listed.source))
    elif by.kind == "user":
        warnings.append(one_line(f'MCP server "{shown}" ({listed.source}) has no effect: {by.source} has it, too'))


def _required_error(read: EntryRead) -> UsageError:
    skipped = read.skipped
    if skipped is None:
        raise TypeError("the entry can be used")
    said = f'MCP server "{skipped.name}" ({skipped.source}) is required and cannot be used: {skipped.why}'
    return UsageError(said, hint=skipped.hint)


def _unset_error(unset: Sequence[UnsetVariable]) -> UsageError:
    """Return one error that names each server with its variables."""
    names = tuple(dict.fromkeys(one.variable for one in unset))
    default = f", or write a default: ${{{names[0]}:-}}"
    hint = f"set {list_names(names)} in the environment or in your .env{default}"
    if len(unset) == 1:
        return UsageError(one_line(str(unset[0])), hint=hint)
    lines = [one_line(str(one)) for one in unset[:_MOST_PROBLEMS]]
    if len(unset) > _MOST_PROBLEMS:
        lines[-1] = f"and {len(unset) - _MOST_PROBLEMS + 1} more"
    return UsageError("\n  ".join((f"{len(unset)} variables of MCP servers are not set:", *lines)), hint=hint)
