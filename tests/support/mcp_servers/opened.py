"""Open MCP servers for a test as a run does, without the command line."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agentctl.runner.server_tools import starter
from agentctl.settings.mcp_values import McpConfig, McpOptions, McpServer
from agentctl.tools.mcp.server_group import FindPinned, McpConnections

HOSTILE = Path(__file__).with_name("hostile_server.py")


def hostile(*words: str, name: str = "h", **options: Any) -> McpServer:  # noqa: ANN401 - those of McpOptions
    """Return the server of our own, which misbehaves as ``words`` say."""
    return McpServer(
        name, sys.executable, ("-S", str(HOSTILE), *words), options=McpOptions(**{"sandbox": "none", **options})
    )


@asynccontextmanager
async def opened(*servers: McpServer, find_pinned: FindPinned = lambda _: None) -> AsyncIterator[McpConnections]:
    """Open servers without a sandbox, and end them."""
    connections = McpConnections(McpConfig(servers), find_pinned=find_pinned)
    with tempfile.TemporaryDirectory() as workspace:  # nothing is started from a file that a run could change
        async with connections.running():
            try:
                await connections.open(starter(None, Path(workspace)), "none")
                yield connections
            finally:
                await connections.aclose()
