"""Read the MCP servers that a run would use, and find one of them by its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from agentctl.settings import Loaded
    from agentctl.settings.mcp_values import McpConfig, McpServer, SkippedServer

McpFiles = Annotated[
    list[str] | None,
    typer.Option("--mcp-config", metavar="FILE|JSON", help="Use these MCP servers instead (may be repeated)."),
]
ServerName = Annotated[str | None, typer.Argument(metavar="NAME", help="Name of the server.", show_default=False)]


class ConfiguredServers(NamedTuple):
    """The settings of a run, its MCP servers, and the user's own file of them."""

    loaded: Loaded
    found: McpConfig
    path: Path


def read_servers(
    config: str | None = None, env_file: Sequence[str] | None = None, mcp_config: Sequence[str] | None = None
) -> ConfiguredServers:
    """Return what is configured; a variable that is not set is not an error. Prints the notes of the settings.

    Raises:
        UsageError: a file is missing or invalid.
    """
    from agentctl.cli.error_output import print_stderr
    from agentctl.core.text import safe_text
    from agentctl.settings import load_settings
    from agentctl.settings.mcp_servers import USER_FILE, read_mcp_config

    flags = {"mcp_config": list(mcp_config)} if mcp_config else {}
    needs = ("mcp", "mcp_config", "mcp_also_user", "sandbox_write")
    loaded = load_settings(flags=flags, config=config, env_files=env_file or (), remember=False, needs=needs)
    for note in loaded.notes:
        print_stderr(safe_text(note))
    return ConfiguredServers(loaded, read_mcp_config(loaded, strict=False), loaded.settings.config_dir / USER_FILE)


def find_server(name: str | None, found: McpConfig, command: str) -> McpServer | SkippedServer:
    """Return the entry that ``name`` names; ``command`` ("mcp show") is for the hint.

    Raises:
        UsageError: it names none.
    """
    from agentctl.core.errors import UsageError
    from agentctl.core.text import did_you_mean, list_names, safe_text

    known = f"servers: {list_names(found.names)}" if found.names else "agentctl mcp add NAME -- COMMAND"
    if name is None:
        raise UsageError("the name of the server is missing", hint=f"agentctl {command} NAME; {known}")
    one = next((one for one in found.servers if one.name == name), None)
    other = one or next((skipped for skipped in found.skipped if skipped.name == name), None)
    if other is not None:
        return other
    raise UsageError(safe_text(f'no MCP server "{name[:60]}"'), hint=did_you_mean(name[:60], found.names) or known)
