"""Change the user's mcp.json: one entry at a time; every other key, and the order, stays."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from agentctl.core.errors import UsageError
from agentctl.core.files import file_lock, write_atomically
from agentctl.core.json_values import read_object
from agentctl.core.text import did_you_mean, list_names, safe_text
from agentctl.settings.mcp_servers import SERVERS_KEY, servers_of
from agentctl.settings.own_files import is_there, read_exact

OPTIONS_KEY = "agentctl"
_WHAT = "file of MCP servers"
_Servers = dict[str, object]


def save_server(path: Path, name: str, entry: Mapping[str, object], *, replace: bool) -> bool:
    """Write one entry into the mcp.json at ``path``, mode 0600; return whether it replaced one.

    A replaced entry keeps its place; nothing of it is kept in the new one.

    Raises:
        UsageError: the name is taken and ``replace`` is not given, or the file cannot be used.
        StateError: the file cannot be written; it stays as it was.
    """
    taken: list[str] = []

    def change(servers: _Servers) -> None:
        if name in servers and not replace:
            raise UsageError(
                safe_text(f'the MCP server "{name}" is in {path} already; nothing was changed'),
                hint="use --force to replace it",
            )
        taken.extend({name} & servers.keys())
        servers[name] = dict(entry)

    _edit(path, change)
    return bool(taken)


def remove_server(path: Path, name: str) -> None:
    """Remove one entry from the mcp.json at ``path``.

    Raises:
        UsageError: there is none of this name, or the file cannot be used.
        StateError: the file cannot be written; it stays as it was.
    """

    def change(servers: _Servers) -> None:
        if name not in servers:
            known = f"servers there: {list_names(tuple(servers))}" if servers else "agentctl mcp list"
            said = safe_text(f'no MCP server "{name[:60]}" in {path}')
            raise UsageError(said, hint=did_you_mean(name[:60], servers) or safe_text(known))
        del servers[name]

    if not is_there(path):
        raise UsageError(safe_text(f'no MCP server "{name[:60]}": {path} does not exist'), hint="agentctl mcp list")
    _edit(path, change)


def save_pin(path: Path, name: str, pin: str) -> None:
    """Set the pin of one entry of the mcp.json at ``path``, or remove it ("").

    Raises:
        UsageError: there is no such entry, or the file cannot be used.
        StateError: the file cannot be written; it stays as it was.
    """

    def change(servers: _Servers) -> None:
        entry = servers.get(name)
        if not isinstance(entry, Mapping):
            raise UsageError(safe_text(f'no MCP server "{name[:60]}" in {path}'), hint="agentctl mcp list")
        options = entry.get(OPTIONS_KEY)
        kept = {key: value for key, value in options.items() if key != "pin"} if isinstance(options, Mapping) else {}
        servers[name] = {**entry, OPTIONS_KEY: {**kept, **({"pin": pin} if pin else {})}}

    _edit(path, change)


def names_in(path: Path) -> tuple[str, ...]:
    """Return the names of the entries in the mcp.json at ``path``, none if it does not exist.

    Raises:
        UsageError: the file cannot be used.
    """
    return tuple(servers_of(json.dumps(_document(read_exact(path, _WHAT).removeprefix("\ufeff"), path)), str(path)))


def _edit(path: Path, change: Callable[[_Servers], None]) -> None:
    """Apply ``change`` to the entries of the file, and write it."""
    with file_lock(path, _WHAT):
        before = read_exact(path, _WHAT)
        mark = "\ufeff" if before.startswith("\ufeff") else ""
        body = before.removeprefix(mark)
        document = _document(body, path)
        servers = dict(servers_of(json.dumps(document), str(path)))
        change(servers)
        document[SERVERS_KEY] = servers
        write_atomically(path, mark + _written(document, like=body))


def _document(body: str, path: Path) -> _Servers:
    """Return the content of the file, with an empty ``mcpServers`` if it has none.

    Raises:
        UsageError: it is not a JSON object.
    """
    if not body.strip():
        return {SERVERS_KEY: {}}
    try:
        found: _Servers = {**read_object(body)}
    except ValueError as error:
        said = safe_text(f"{path} is not JSON: {error}; nothing was changed")
        raise UsageError(said, hint="correct the file by hand first") from error
    found.setdefault(SERVERS_KEY, {})
    return found


def _written(document: Mapping[str, object], *, like: str) -> str:
    """Return the document as JSON, indented as the text ``like`` is."""
    indent = re.search(r"\n([ \t]+)\S", like)
    width = "\t" if indent and "\t" in indent[1] else len(indent[1]) if indent else 2
    return json.dumps(document, ensure_ascii=False, indent=width) + "\n"
