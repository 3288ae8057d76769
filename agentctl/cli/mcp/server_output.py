"""Describe MCP servers in text and JSON, without the values of their variables and headers."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from agentctl.cli.mcp.server_documents import (
        McpOptionFields,
        McpServerFields,
        McpServersDocument,
        SkippedServerFields,
    )
    from agentctl.settings.mcp_values import McpConfig, McpOptions, McpServer, SkippedServer

SCHEMA: Literal["agentctl.mcp/1"] = "agentctl.mcp/1"


def server_line(server: McpServer, secrets: Sequence[str]) -> str:
    """Return the command line or the address of a server, redacted."""
    from agentctl.core.redaction import redact
    from agentctl.settings.mcp_values import one_line

    line = server.url if server.is_remote else shlex.join((server.command, *server.args))
    return one_line(redact(line, secrets))


def state_of(server: McpServer, found: McpConfig) -> str:
    """Return what keeps a server from being used, "" if nothing that is known without starting it."""
    unset = _unset(server, found)
    return f"needs {', '.join(unset)}, not set" if unset else ""


def server_rows(found: McpConfig) -> Iterator[tuple[str, str, str, str]]:
    """Yield the rows of a list: name, what it starts or reaches, what keeps it from being used, and its place."""
    for server in found.servers:
        yield server.name, server_line(server, found.secrets), state_of(server, found) or "ready", server.source
    for skipped in found.skipped:
        yield skipped.name, "", f"left out: {skipped.why}", skipped.source


def server_fields(server: McpServer, found: McpConfig) -> Iterator[tuple[str, str]]:
    """Yield the labelled lines that describe one server; an option at its default only where a user would ask."""
    options = server.options
    yield ("url" if server.is_remote else "command"), server_line(server, found.secrets)
    if server.env:
        yield "env", ", ".join(server.env)
    if server.headers:
        yield "headers", ", ".join(server.headers)
    yield "from", server.source + ("" if server.is_users_own else " (a project's file)")
    yield "state", state_of(server, found) or "ready, not started"
    tools = "all" if options.tools is None else ", ".join(options.tools) or "none"
    yield "tools", tools + (f", without {', '.join(options.exclude)}" if options.exclude else "")
    effects = [f"{name}: {effect}" for name, effect in options.effects.items()]
    trusted = "; else as it says itself" if options.trust_annotations else ""
    yield "effects", (", ".join(effects) or "destructive, every call") + trusted
    if options.defer is not None:
        yield "defer", "yes: its tools are found when needed" if options.defer else "no: its tools are offered first"
    yield "required", "yes: a run ends without it" if options.required else "no"
    yield "timeouts", f"{options.connect_timeout_s:g} s to connect, {options.call_timeout_s:g} s for a call"
    yield "results", f"at most {options.max_result} bytes"
    if not server.is_remote:
        yield "sandbox", "that of the run" if options.sandbox == "run" else "none"
        yield "network", "yes" if options.network else "no"
        yield "write", ", ".join(map(str, options.write)) or "nothing"
    if options.pin:
        yield "pin", options.pin


def servers_document(
    path: Path,
    found: McpConfig,
    *,
    servers: Sequence[McpServer],
    skipped: Sequence[SkippedServer] = (),
    changed: str = "",
) -> McpServersDocument:
    """Return the document of a command; ``found`` has the secrets that are redacted in it."""
    from agentctl.core.version import __version__

    document: McpServersDocument = {
        "schema": SCHEMA,
        "version": __version__,
        "path": str(path),
        "servers": [_server(server, found) for server in servers],
        "skipped": [_skipped(one) for one in skipped],
        "warnings": list(found.warnings),
        "error": None,
    }
    if changed:
        document["changed"] = changed
    return document


def _server(server: McpServer, found: McpConfig) -> McpServerFields:
    from agentctl.core.redaction import redact

    return {
        "name": server.name,
        "type": "http" if server.is_remote else "stdio",
        "command": None if server.is_remote else redact(server.command, found.secrets),
        "args": [redact(word, found.secrets) for word in server.args],
        "env": list(server.env),
        "url": redact(server.url, found.secrets) if server.is_remote else None,
        "headers": list(server.headers),
        "source": server.source,
        "is_users_own": server.is_users_own,
        "unset": _unset(server, found),
        "options": _options(server.options),
    }


def _options(options: McpOptions) -> McpOptionFields:
    return {
        "tools": None if options.tools is None else list(options.tools),
        "exclude": list(options.exclude),
        "effects": dict(options.effects),
        "trust_annotations": options.trust_annotations,
        "defer": options.defer,
        "required": options.required,
        "connect_timeout_s": options.connect_timeout_s,
        "call_timeout_s": options.call_timeout_s,
        "max_result": options.max_result,
        "sandbox": options.sandbox,
        "network": options.network,
        "write": list(map(str, options.write)),
        "pin": options.pin or None,
    }


def _skipped(one: SkippedServer) -> SkippedServerFields:
    return {"name": one.name, "why": one.why, "hint": one.hint, "source": one.source}


def _unset(server: McpServer, found: McpConfig) -> list[str]:
    return list(dict.fromkeys(one.variable for one in found.unset if one.server == server.name))
