"""The types of the documents of the commands of ``agentctl mcp`` that start servers.

Import this module for annotations only: it is not needed to run.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict, get_args

from agentctl.cli.document_types import Error, Keywords
from agentctl.core.results import McpStatus
from agentctl.settings.mcp_values import McpEffect


class ServedToolFields(TypedDict):
    """A tool of a server, as a run has it."""

    name: Annotated[str, "for models and rules"]
    server: str
    own_name: Annotated[str, "what the server calls it"]
    effect: Annotated[str, Keywords(enum=list(get_args(McpEffect)))]
    description: str
    parameters: Annotated[dict[str, Any], "a JSON Schema"]


class McpToolsDocument(TypedDict):
    """Servers that were started, and their tools: 'agentctl mcp test', 'tools' and 'pin'."""

    schema: Literal["agentctl.mcp-tools/1"]
    version: str
    servers: Annotated[list[dict[str, Any]], McpStatus]
    tools: list[ServedToolFields]
    notes: Annotated[list[str], "what is said of the servers at the start of a run"]
    pin: NotRequired[Annotated[str, "the pin that was set, empty if it was removed"]]
    error: Error | None


class McpCallDocument(TypedDict):
    """What a call returned: 'agentctl mcp call'."""

    schema: Literal["agentctl.mcp-call/1"]
    version: str
    server: str
    tool: Annotated[str, "what the server calls it"]
    arguments: dict[str, Any]
    text: Annotated[str, "the result as a model reads it, without a limit on its length"]
    error: Error | None
