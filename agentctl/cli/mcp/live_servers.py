"""The commands of ``agentctl mcp`` that start servers: test, tools, call, pin."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from agentctl.cli.mcp.configured import ConfiguredServers, McpFiles, ServerName, find_server, read_servers
from agentctl.cli.options import Config, EnvFile, Json, Output, wants_json

if TYPE_CHECKING:
    from agentctl.cli.mcp.live_documents import McpCallDocument, McpToolsDocument, ServedToolFields
    from agentctl.settings.mcp_values import McpServer
    from agentctl.tools.mcp.server_group import McpConnections

T = TypeVar("T")
TOOLS_SCHEMA: Literal["agentctl.mcp-tools/1"] = "agentctl.mcp-tools/1"
CALL_SCHEMA: Literal["agentctl.mcp-call/1"] = "agentctl.mcp-call/1"
_UNAVAILABLE = 4
Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]...", help="Names of servers (default: all).", show_default=False)
]


def try_servers(
    names: Names = None,
    mcp_config: McpFiles = None,
    config: Config = None,
    env_file: EnvFile = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Start MCP servers as a run does, and say how each fared; exit 4 if one cannot be used.

    Examples:
        agentctl mcp test
        agentctl mcp test git
    """
    as_json = wants_json(output, json=json)
    configured = read_servers(config, env_file, mcp_config)
    found = _started(configured, _chosen(names, configured, "mcp test"), _tools_document)
    if as_json:
        _print(found)
    else:
        from agentctl.cli.ui.columns import Column, stdout_page

        _print_notes(found["notes"])
        head = (Column("server"), Column("state"), Column("tools", right=True), Column("sandbox"), Column("protocol"))
        rows = [
            (one["name"], one["status"], str(one["tools"]), one["sandbox"] or "", one["protocol"] or "")
            for one in found["servers"]
        ]
        print(
            stdout_page().table(head, rows) if rows else "no MCP servers; to add one: agentctl mcp add NAME -- COMMAND"
        )
    if any(one["status"] != "connected" for one in found["servers"]):
        raise typer.Exit(_UNAVAILABLE)


def tools(
    names: Names = None,
    mcp_config: McpFiles = None,
    config: Config = None,
    env_file: EnvFile = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """List the tools of MCP servers, with the effect that a call has by your configuration.

    Examples:
        agentctl mcp tools
        agentctl mcp tools git --json
    """
    as_json = wants_json(output, json=json)
    configured = read_servers(config, env_file, mcp_config)
    found = _started(configured, _chosen(names, configured, "mcp tools"), _tools_document)
    if as_json:
        _print(found)
    else:
        from agentctl.cli.ui.columns import Column, stdout_page

        _print_notes(found["notes"])
        rows = [(one["name"], one["effect"], one["description"].partition("\n")[0]) for one in found["tools"]]
        head = (Column("tool"), Column("effect"), Column("description", "text"))
        print(stdout_page().table(head, rows) if rows else "no tools")
    if any(one["status"] != "connected" for one in found["servers"]):
        raise typer.Exit(_UNAVAILABLE)


def call(
    name: ServerName = None,
    tool: Annotated[
        str | None, typer.Argument(metavar="TOOL", help="Tool, as the server calls it.", show_default=False)
    ] = None,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[K=V|JSON]...", help="Arguments: K=V, or one JSON object.", show_default=False),
    ] = None,
    mcp_config: McpFiles = None,
    config: Config = None,
    env_file: EnvFile = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Call a tool of an MCP server and print its result. You call it, so no rule and no question is in between.

    Examples:
        agentctl mcp call git git_log repo_path=. max_count=3
        agentctl mcp call time get_current_time timezone=Etc/UTC
    """
    from agentctl.core.errors import UsageError

    as_json = wants_json(output, json=json)
    given = _arguments(arguments or ())
    configured = read_servers(config, env_file, mcp_config)
    server = _chosen([] if name is None else [name], configured, "mcp call", one=True)[0]
    if tool is None:
        raise UsageError("the name of the tool is missing", hint=f"agentctl mcp tools {server.name}")
    own_name = tool.removeprefix(f"{server.name}__")
    text = _started(configured, [server._replace(options=server.options._replace(required=True))], partial(
        _call, server=server.name, tool=own_name, arguments=given
    ))  # fmt: skip
    from agentctl.core.redaction import redact
    from agentctl.core.version import __version__

    text = redact(text, (*configured.loaded.secrets, *configured.found.secrets))
    if as_json:
        document: McpCallDocument = {
            "schema": CALL_SCHEMA,
            "version": __version__,
            "server": server.name,
            "tool": own_name,
            "arguments": given,
            "text": text,
            "error": None,
        }
        _print(document)
    else:
        print(text)


def pin(
    name: ServerName = None,
    clear: Annotated[bool, typer.Option("--clear", help="Remove the pin.")] = False,
    mcp_config: McpFiles = None,
    config: Config = None,
    env_file: EnvFile = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Pin the tools of an MCP server as they are now: if it changes their words, runs stop it and show the difference.

    Examples:
        agentctl mcp pin git
        agentctl mcp pin git --clear
    """
    from agentctl.cli.error_output import print_stderr
    from agentctl.core.text import safe_text

    as_json = wants_json(output, json=json)
    configured = read_servers(config, env_file, mcp_config)
    server = _chosen([] if name is None else [name], configured, "mcp pin", one=True)[0]
    unpinned = server._replace(options=server.options._replace(pin="", required=True))
    kept: tuple[McpToolsDocument, str, tuple[str, ...]]
    if clear:
        from agentctl.core.version import __version__

        kept = _no_tools(__version__), "", ()
    else:
        kept = _started(configured, [unpinned], partial(_keep, configured=configured, server=server))
    found, digest, lines = kept
    said = "the pin is removed" if clear else f"pinned {server.name}: {len(found['tools'])} tools, {digest}"
    if server.source == str(configured.path):
        from agentctl.settings.mcp_file import save_pin

        save_pin(configured.path, server.name, digest)
        said = f"{said}, in {configured.path}"
    else:
        wanted = 'remove "pin"' if clear else f'write "agentctl": {{"pin": "{digest}"}}'
        said = f"{server.name} is configured in {server.source}: {wanted} there"
    for line in lines:
        print_stderr(safe_text(line))
    print_stderr(safe_text(said))
    if as_json:
        _print({**found, "pin": digest})


COMMANDS: dict[str, Callable[..., None]] = {"test": try_servers, "tools": tools, "call": call, "pin": pin}


def _chosen(
    names: Sequence[str] | None, configured: ConfiguredServers, command: str, *, one: bool = False
) -> list[McpServer]:
    """Return the servers that ``names`` name, all if there are none; ``one``: exactly one is needed.

    Raises:
        UsageError: there is no such server, its entry cannot be used, or a variable that it needs is not set.
    """
    from agentctl.core.errors import UsageError
    from agentctl.settings.mcp_values import McpServer

    found = configured.found
    if one and not names:
        find_server(None, found, command)
    chosen: list[McpServer] = []
    for name in dict.fromkeys(names or (server.name for server in found.servers)):
        server = find_server(name, found, command)
        if not isinstance(server, McpServer):
            raise UsageError(str(server), hint=server.hint)
        for unset in found.unset:
            if unset.server == name:
                raise UsageError(str(unset), hint=f"export {unset.variable}=VALUE")
        chosen.append(server)
    return chosen


def _started(
    configured: ConfiguredServers,
    servers: Sequence[McpServer],
    work: Callable[[McpConnections], Coroutine[Any, Any, T]],
) -> T:
    """Start servers, let ``work`` use them, and end them."""
    from agentctl.cli.error_output import print_stderr
    from agentctl.cli.signals import run_cancellable
    from agentctl.core.text import safe_text
    from agentctl.runner.server_tools import open_servers
    from agentctl.settings.key_exposure import protect_keys
    from agentctl.settings.mcp_values import McpConfig

    protect_keys()  # a server could read them

    async def within() -> T:
        config = McpConfig(tuple(servers))
        async with open_servers(configured.loaded, config, lambda said: print_stderr(safe_text(said))) as connections:
            return await work(connections)

    return run_cancellable(within)


def _no_tools(version: str) -> McpToolsDocument:
    return {"schema": TOOLS_SCHEMA, "version": version, "servers": [], "tools": [], "notes": [], "error": None}


async def _tools_document(connections: McpConnections) -> McpToolsDocument:
    from agentctl.core.version import __version__

    tools: list[ServedToolFields] = [
        {
            "name": tool.spec.name,
            "server": tool.server,
            "own_name": tool.own_name,
            "effect": tool.effect,
            "description": tool.spec.description,
            "parameters": dict(tool.spec.parameters),
        }
        for tool in connections.tools
    ]
    return {
        "schema": TOOLS_SCHEMA,
        "version": __version__,
        "servers": [{**status._asdict(), "asked": list(status.asked)} for status in connections.statuses],
        "tools": tools,
        "notes": list(connections.lines),
        "error": None,
    }


async def _call(connections: McpConnections, *, server: str, tool: str, arguments: dict[str, object]) -> str:
    from agentctl.core.errors import UsageError
    from agentctl.core.text import did_you_mean, safe_text

    found = next((one for one in connections.tools if one.own_name == tool), None)
    if found is None:
        names = [one.own_name for one in connections.tools]
        hint = did_you_mean(tool, names) or f"agentctl mcp tools {server}"
        raise UsageError(safe_text(f'{server} has no tool "{tool[:80]}"'), hint=hint)
    return await found(await found.prepare(arguments))


async def _keep(
    connections: McpConnections, *, configured: ConfiguredServers, server: McpServer
) -> tuple[McpToolsDocument, str, tuple[str, ...]]:
    """Keep a catalogue; return the document, its pin, and what differs from the one that was pinned before."""
    from agentctl.tools.mcp.catalogue_pins import canonical, differences, find_pinned, keep_pinned

    said, state = connections.said_by(server.name), configured.loaded.settings.state_dir
    before = find_pinned(state, server.options.pin)
    return (
        await _tools_document(connections),
        keep_pinned(state, canonical(said)),
        () if before is None else differences(before, said),
    )


def _arguments(words: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of a call: one JSON object, or K=V, where V is JSON if it reads as such.

    Raises:
        UsageError: they are neither.
    """
    import json

    from agentctl.core.errors import UsageError
    from agentctl.core.json_values import read_json, read_object

    if len(words) == 1 and words[0].lstrip().startswith("{"):
        try:
            return dict(read_object(words[0]))
        except ValueError as error:
            raise UsageError(f"the arguments are not JSON: {error}", hint="""for example: '{"path": "."}'""") from error
    found: dict[str, Any] = {}
    for word in words:
        key, separator, text = word.partition("=")
        if not separator or not key:
            raise UsageError("an argument is not K=V", hint=f"for example: {json.dumps('path=.')}, or one JSON object")
        try:
            found[key] = read_json(text)
        except ValueError:
            found[key] = text
    return found


def _print_notes(notes: Sequence[str]) -> None:
    from agentctl.cli.error_output import print_stderr
    from agentctl.core.text import safe_text

    for note in notes:
        print_stderr(safe_text(f"warning: {note}"))


def _print(document: McpToolsDocument | McpCallDocument) -> None:
    from agentctl.cli.documents import as_json

    print(as_json(document))
