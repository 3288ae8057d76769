"""The types of the documents of ``agentctl mcp``, as ``cli.document_types`` has those of other commands.

Import this module for annotations only: it is not needed to run.
"""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypedDict, get_args

from agentctl.cli.document_types import Count, Error, Keywords
from agentctl.settings.mcp_values import McpEffect, McpSandbox

ByTool = Keywords(additionalProperties={"enum": list(get_args(McpEffect))})


class McpOptionFields(TypedDict):
    """What agentctl does with a server: the part 'agentctl' of its entry, with the defaults filled in."""

    tools: Annotated[list[str] | None, "the only tools that are used, null for all"]
    exclude: list[str]
    effects: Annotated[dict[str, str], ByTool, "by the name of a tool, or a pattern"]
    trust_annotations: bool
    defer: Annotated[bool | None, "null: as the number of tools says"]
    required: bool
    connect_timeout_s: Annotated[float, Keywords(exclusiveMinimum=0)]
    call_timeout_s: Annotated[float, Keywords(exclusiveMinimum=0)]
    max_result: Annotated[Count, "bytes"]
    sandbox: Annotated[str, Keywords(enum=list(get_args(McpSandbox)))]
    network: bool
    write: Annotated[list[str], "absolute paths"]
    pin: Annotated[str | None, "the SHA-256 of the catalogue, null without one"]


class McpServerFields(TypedDict):
    """One server as it is configured; of variables and headers there are only the names."""

    name: str
    type: Literal["stdio", "http"]
    command: str | None
    args: list[str]
    env: list[str]
    url: str | None
    headers: list[str]
    source: Annotated[str, "where it is configured"]
    is_users_own: Annotated[bool, "false for a server of a project's trusted file"]
    unset: Annotated[list[str], "the variables that it needs and that are not set"]
    options: McpOptionFields


class SkippedServerFields(TypedDict):
    """An entry that is not used."""

    name: str
    why: str
    hint: str
    source: str


class McpServersDocument(TypedDict):
    """MCP servers by their configuration: 'agentctl mcp list'; of 'show' and 'add' it has the one, of 'rm' none."""

    schema: Literal["agentctl.mcp/1"]
    version: str
    path: Annotated[str, "the user's own file of servers"]
    servers: list[McpServerFields]
    skipped: list[SkippedServerFields]
    warnings: Annotated[list[str], "what has no effect"]
    changed: NotRequired[Annotated[str, "the server that 'add' or 'rm' changed"]]
    error: Error | None
