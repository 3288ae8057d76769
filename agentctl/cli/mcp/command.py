"""``agentctl mcp``: its commands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentctl.cli.mcp.configured import McpFiles, ServerName, find_server, read_servers
from agentctl.cli.mcp.live_servers import COMMANDS as LIVE
from agentctl.cli.mcp.serve import serve
from agentctl.cli.options import Config, EnvFile, Json, Output, wants_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentctl.cli.mcp.configured import ConfiguredServers
    from agentctl.cli.mcp.server_documents import McpServersDocument
    from agentctl.settings.mcp_entries import EntryRead

_ADD = "agentctl mcp add NAME -- COMMAND"


def list_(
    mcp_config: McpFiles = None,
    config: Config = None,
    env_file: EnvFile = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """List the MCP servers that a run would use; none is started.

    Examples:
        agentctl mcp list
        agentctl mcp list --mcp-config .mcp.json
    """
    as_json = wants_json(output, json=json)
    configured = read_servers(config, env_file, mcp_config)
    found = configured.found
    if as_json:
        from agentctl.cli.mcp.server_output import servers_document

        _print(servers_document(configured.path, found, servers=found.servers, skipped=found.skipped))
        return
    from agentctl.cli.mcp.server_output import server_rows
    from agentctl.cli.ui.columns import Column, stdout_page

    _print_warnings(found.warnings)
    if not found.names:
        print(f"no MCP servers; to add one: {_ADD}")
        return
    head = (Column("server"), Column("starts or reaches", "text"), Column("state", "text"))
    print(stdout_page().table((*head, Column("from", "line", drop=1)), list(server_rows(found))))


def show(
    name: ServerName = None,
    mcp_config: McpFiles = None,
    config: Config = None,
    env_file: EnvFile = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Show how one MCP server is configured; it is not started, and no key is printed.

    Examples:
        agentctl mcp show git
    """
    from agentctl.cli.mcp.server_output import server_fields, servers_document
    from agentctl.settings.mcp_values import McpServer

    as_json = wants_json(output, json=json)
    configured = read_servers(config, env_file, mcp_config)
    found = configured.found
    one = find_server(name, found, "mcp show")
    if as_json:
        parts: dict[str, Any] = {"servers": [one]} if isinstance(one, McpServer) else {"servers": [], "skipped": [one]}
        _print(servers_document(configured.path, found, **parts))
        return
    from agentctl.cli.ui.columns import stdout_page

    _print_warnings(said for said in found.warnings if said.startswith(f'MCP server "{one.name}" '))
    if isinstance(one, McpServer):
        print(stdout_page().fields([("name", one.name), *server_fields(one, found)], whole=("command", "url", "from")))
    else:
        rows = [("name", one.name), ("from", one.source), ("state", f"left out: {one.why}")]
        print(stdout_page().fields([*rows, *([("hint", one.hint)] if one.hint else [])], whole=("from",)))


def add(
    name: ServerName = None,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="COMMAND", help="Program to start and its arguments, behind --.", show_default=False),
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Address of a server that runs elsewhere.")
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(
            "--header", "-H", metavar="K=V", help="Header of the requests; V may be ${VAR} (may be repeated)."
        ),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("-e", "--env", metavar="K=V", help="Variable for the program; V may be ${VAR} (may be repeated)."),
    ] = None,
    network: Annotated[bool, typer.Option("--network", help="Let the program use the network.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the server of this name.")] = False,
    output: Output = None,
    json: Json = False,
) -> None:
    """Add an MCP server to your mcp.json: a program to start, or an address.

    Examples:
        agentctl mcp add git -- mcp-server-git
        agentctl mcp add gh -e 'TOKEN=${TOKEN}' -- npx gh-server
        agentctl mcp add docs --url https://docs.example/mcp
    """
    from agentctl.cli.error_output import print_stderr
    from agentctl.core.text import safe_text
    from agentctl.settings.mcp_file import save_server

    as_json = wants_json(output, json=json)
    name, entry = _entry(name, words or (), url=url, header=header or (), env=env or (), network=network)
    configured = _own_file()
    read = _checked(name, entry, configured)
    is_new = not save_server(configured.path, name, entry, replace=force)
    _print_warnings(read.warnings)
    for hint in _key_hints(entry, read.secrets):
        print_stderr(safe_text(f"hint: {hint}"))
    for one in read.unset:
        print_stderr(safe_text(f"warning: {one.variable} is not set; a run with {name} needs it"))
    print_stderr(safe_text(f"{'added' if is_new else 'replaced'} {name} in {configured.path}"))
    if as_json and read.server is not None:
        from agentctl.cli.mcp.server_output import servers_document

        found = configured.found._replace(warnings=read.warnings, secrets=read.secrets, unset=read.unset)
        _print(servers_document(configured.path, found, servers=[read.server], changed=name))


def rm(name: ServerName = None, output: Output = None, json: Json = False) -> None:
    """Remove an MCP server from your mcp.json.

    Examples:
        agentctl mcp rm git
    """
    from agentctl.cli.error_output import print_stderr
    from agentctl.core.errors import UsageError
    from agentctl.core.text import safe_text
    from agentctl.settings.mcp_file import names_in, remove_server

    as_json = wants_json(output, json=json)
    configured = _own_file()
    if name is None:
        raise UsageError("the name of the server is missing", hint="agentctl mcp rm NAME; agentctl mcp list")
    if name in configured.loaded.settings.mcp.get("servers", {}) and name not in names_in(configured.path):
        said = f'the MCP server "{name}" is in {configured.loaded.config_file}; nothing was changed'
        raise UsageError(safe_text(said), hint=f"remove the table [mcp.servers.{name}] there by hand")
    remove_server(configured.path, name)
    print_stderr(safe_text(f"removed {name} from {configured.path}"))
    if as_json:
        from agentctl.cli.mcp.server_output import servers_document

        _print(servers_document(configured.path, configured.found, servers=[], changed=name))


COMMANDS: dict[str, Callable[..., None]] = {"list": list_, "show": show, "add": add, "rm": rm, **LIVE, "serve": serve}


def _own_file() -> ConfiguredServers:
    """Return the settings and the user's own file, which a change reads by itself."""
    from agentctl.cli.error_output import print_stderr
    from agentctl.cli.mcp.configured import ConfiguredServers
    from agentctl.core.text import safe_text
    from agentctl.settings import load_settings
    from agentctl.settings.mcp_servers import USER_FILE
    from agentctl.settings.mcp_values import McpConfig

    loaded = load_settings(flags={}, remember=False, needs=("config_dir",))
    for warning in loaded.warnings:
        print_stderr(safe_text(warning))
    return ConfiguredServers(loaded, McpConfig(), loaded.settings.config_dir / USER_FILE)


def _entry(
    name: str | None,
    words: Sequence[str],
    *,
    url: str | None,
    header: Sequence[str],
    env: Sequence[str],
    network: bool,
) -> tuple[str, Mapping[str, object]]:
    """Return the name, and the entry as mcp.json has it.

    Raises:
        UsageError: a part is missing, or they contradict each other.
    """
    import shlex

    from agentctl.core.errors import UsageError

    if name is None:
        raise UsageError("the name of the server is missing", hint=f"{_ADD}, or --url URL")
    if len(words) == 1 and words[0].startswith(("http://", "https://")) and url is None:
        hint = f"agentctl mcp add {shlex.quote(name)} --url {shlex.quote(words[0])}"
        raise UsageError("an address is given as the program to start", hint=hint)
    if bool(words) == (url is not None):
        said = "both a program and --url are given" if words else "what to start is missing"
        raise UsageError(said, hint="give one of them" if words else f"{_ADD}, or --url URL")
    if words:
        if header:
            raise UsageError("--header needs --url", hint="--env K=V gives a variable to a program")
        entry: dict[str, object] = {"command": words[0], "args": list(words[1:])}
        entry |= {"env": _pairs(env, "--env")} if env else {}
        return name, {**entry, "agentctl": {"network": True}} if network else entry
    if env or network:
        flag = "--env" if env else "--network"
        raise UsageError(f"{flag} needs a program to start", hint="--header K=V gives a header to an address")
    return name, {"type": "http", "url": url, **({"headers": _pairs(header, "--header")} if header else {})}


def _pairs(given: Sequence[str], flag: str) -> dict[str, str]:
    """Return ``K=V`` words as a mapping; a header may also be ``K: V``.

    Raises:
        UsageError: a word is neither; it is not repeated, as it may be a key.
    """
    from agentctl.core.errors import UsageError

    found: dict[str, str] = {}
    for word in given:
        at = min(
            (word.find(mark) for mark in ("=", ":") if flag == "--header" and mark in word), default=word.find("=")
        )
        name = word[: max(at, 0)].strip()
        if not name:
            raise UsageError(f"{flag} takes NAME=VALUE", hint=f"for example: {flag} 'API_TOKEN=${{API_TOKEN}}'")
        found[name] = word[at + 1 :].strip() if flag == "--header" else word[at + 1 :]
    return found


def _checked(name: str, entry: Mapping[str, object], configured: ConfiguredServers) -> EntryRead:
    """Return the entry as a run would read it.

    Raises:
        UsageError: a run would leave it out.
    """
    from collections import ChainMap
    from pathlib import Path

    from agentctl.core.errors import UsageError
    from agentctl.settings.mcp_entries import EntryPlace, read_entry

    loaded = configured.loaded
    variables = ChainMap(*map(dict, loaded.variables))
    read = read_entry(name, entry, EntryPlace(str(configured.path), variables, loaded.settings, Path.cwd()))
    if read.skipped is not None:
        raise UsageError(f'"{read.skipped.name}" cannot be added: {read.skipped.why}', hint=read.skipped.hint)
    return read


def _key_hints(entry: Mapping[str, object], secrets: Sequence[str]) -> list[str]:
    """Return a hint for each value that is saved as text and looks like a key, or is one of ``secrets``."""
    from agentctl.core.key_shapes import find_keys
    from agentctl.settings.mcp_variables import is_reference, is_secret_header, names_a_secret

    found = []
    for key, flag in (("env", "--env"), ("headers", "--header")):
        table = entry.get(key)
        for name, value in table.items() if isinstance(table, dict) else ():
            is_key = names_a_secret(name) or (key == "headers" and is_secret_header(name)) or any(find_keys(value))
            if value and is_key and not is_reference(value):
                variable = name.upper().replace("-", "_")
                found.append(
                    f"{name} is saved as text; to read it from the environment instead: {flag} '{name}=${{{variable}}}'"
                )
    rest = [str(entry.get("url") or ""), *map(str, entry.get("args") or ())]  # type: ignore[call-overload]
    if any(any(find_keys(text)) or any(secret in text for secret in secrets) for text in rest):
        found.append("what looks like a key is saved as text; ${VAR} in its place reads it from the environment")
    return found


def _print_warnings(warnings: Iterable[str]) -> None:
    from agentctl.cli.error_output import print_stderr
    from agentctl.core.text import safe_text

    for warning in warnings:
        print_stderr(safe_text(f"warning: {warning}"))


def _print(document: McpServersDocument) -> None:
    from agentctl.cli.documents import as_json

    print(as_json(document))
