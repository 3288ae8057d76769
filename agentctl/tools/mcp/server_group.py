"""The MCP servers of a run: opened in parallel, each with its timeout, and closed with the run.

The SDK is loaded here, and only if there is a server. A server that cannot be used is left out with a line, and its
status says why; a required one ends the run.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from agentctl.core.errors import AgentctlError
from agentctl.core.results import McpSkipped, McpStatus, McpUse
from agentctl.protocols import Tool
from agentctl.settings.mcp_values import McpConfig, McpServer

if TYPE_CHECKING:
    from agentctl.tools.mcp.catalogue import Catalogue, SaidTool
    from agentctl.tools.mcp.server_session import ServerSession, StartServer
    from agentctl.tools.mcp.server_tool import ServerTool

FindPinned = Callable[[str], str | None]
"""Returns the canonical catalogue of a pin, None if it is not kept here."""


class McpUnavailable(AgentctlError):
    """A server that the user requires cannot be used."""

    status: ClassVar[str] = "unavailable"
    kind: ClassVar[str] = "mcp"


class McpConnections:
    """The servers of one run. ``start`` starts a stdio server, ``tier`` is that of the run's sandbox.

    ``find_pinned`` returns what a pin stands for. ``running`` must be entered around ``open`` and ``aclose``.
    """

    def __init__(self, config: McpConfig, *, find_pinned: FindPinned = lambda _: None) -> None:
        self.config = config
        self.tools: tuple[ServerTool, ...] = ()
        self._find_pinned = find_pinned
        self._group: TaskGroup | None = None
        self._sessions: dict[str, ServerSession] = {}
        self._catalogues: dict[str, Catalogue] = {}
        self._statuses: dict[str, McpStatus] = {}
        self._lines: dict[str, tuple[str, ...]] = {}

    @property
    def needs_sandbox(self) -> bool:
        """Whether a server is to run in the run's sandbox."""
        return any(not server.is_remote and server.options.sandbox == "run" for server in self.config.servers)

    @property
    def statuses(self) -> tuple[McpStatus, ...]:
        """How each server fared, in the order of the configuration."""
        found = (self._statuses.get(server.name) for server in self.config.servers)
        asked = {name: session.asked for name, session in self._sessions.items()}
        return tuple(one._replace(asked=asked.get(one.name, ())) for one in found if one is not None)

    @property
    def use(self) -> McpUse:
        """How the servers fared, for the result of a run."""
        skipped = (McpSkipped(one.name, one.why, one.source) for one in self.config.skipped)
        return McpUse(self.statuses, tuple(skipped))

    @property
    def lines(self) -> tuple[str, ...]:
        """What is to be said of the servers at the start of a run."""
        skipped = [f"the MCP server {one.name} is skipped: {one.why} ({one.hint})" for one in self.config.skipped]
        lines = [line for server in self.config.servers for line in self._lines.get(server.name, ())]
        return (*self.config.warnings, *skipped, *lines)

    @property
    def origins(self) -> Mapping[str, str]:
        """The server of each tool."""
        return {tool.spec.name: tool.server for tool in self.tools}

    def said_by(self, name: str) -> Sequence[SaidTool]:
        """Return the tools of a connected server in its own words."""
        return self._sessions[name].tools

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Give the servers tasks to live in; at the end they are ended, whatever happened."""
        caught: BaseException | None = None
        async with anyio.create_task_group() as self._group:
            try:
                yield
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as error:  # noqa: BLE001 - raised below: the group would put it into another one
                caught = error
            finally:
                self._group.cancel_scope.cancel()
        self._group = None
        if caught is not None:
            raise caught

    async def open(self, start: StartServer, tier: str | None) -> None:
        """Connect all servers at once, each for at most its timeout.

        Raises:
            UsageError: the SDK is not installed.
            McpUnavailable: a required server cannot be used.
        """
        if not self.config.servers:
            return
        from agentctl.tools.mcp.sdk_loader import load_sdk  # noqa: PLC0415 - only a run with servers

        await load_sdk()
        async with anyio.create_task_group() as opening:
            for server in self.config.servers:
                opening.start_soon(self._open, server, start, tier)
        for server in self.config.servers:
            status = self._statuses[server.name]
            if server.options.required and status.status != "connected":
                raise McpUnavailable(
                    f"the MCP server {server.name} is required, and {status.why}",
                    hint=f"agentctl mcp test {server.name}",
                )
        from agentctl.tools.mcp.server_tool import ServerTool  # noqa: PLC0415 - only a run with servers

        sessions = ((name, self._sessions[name]) for name in self.config.names if name in self._sessions)
        self.tools = tuple(ServerTool(tool, one) for name, one in sessions for tool in self._catalogues[name].tools)

    async def aclose(self) -> None:
        """End all servers, at once."""
        async with anyio.create_task_group() as closing:
            for session in self._sessions.values():
                closing.start_soon(session.close)

    async def _open(self, server: McpServer, start: StartServer, tier: str | None) -> None:
        from agentctl.tools.mcp.catalogue import make_catalogue  # noqa: PLC0415 - only a run with servers
        from agentctl.tools.mcp.server_session import ConnectFailed, ServerSession  # noqa: PLC0415 - only a run with servers

        assert self._group is not None, "running() is not entered"  # noqa: S101
        sandbox = None if server.is_remote else "none" if server.options.sandbox == "none" else tier
        session = ServerSession(server, start=start)
        try:
            await self._group.start(session.serve)
        except ConnectFailed as error:
            status = "slow" if error.is_late else "failed"
            self._leave_out(server, McpStatus(server.name, status, 0, sandbox, None, str(error)))
            return
        except AgentctlError as error:
            self._leave_out(server, McpStatus(server.name, "failed", 0, sandbox, None, error.message))
            return
        if (changed := self._compare_pin(server, session)) is not None:
            self._leave_out(
                server, McpStatus(server.name, "changed", 0, sandbox, session.protocol, changed[0]), *changed
            )
            await session.close()
            return
        make = partial(make_catalogue, server, session.tools, is_whole=session.is_whole)
        catalogue = self._catalogues[server.name] = await anyio.to_thread.run_sync(make)
        self._sessions[server.name] = session
        self._statuses[server.name] = McpStatus(
            server.name, "connected", len(catalogue.tools), sandbox, session.protocol
        )
        lines = [f"the MCP server {server.name}: {line}" for line in catalogue.left_out]
        if sandbox == "none" and tier != "none":
            lines.insert(0, f"the MCP server {server.name} runs outside of the sandbox, as configured")
        self._lines[server.name] = tuple(lines)

    def _leave_out(self, server: McpServer, status: McpStatus, first: str = "", *more: str) -> None:
        self._statuses[server.name] = status
        self._lines[server.name] = (f"the MCP server {server.name} is left out: {first or status.why}", *more)

    def _compare_pin(self, server: McpServer, session: ServerSession) -> tuple[str, ...] | None:
        """Return sentences about what differs from the pinned catalogue, None if nothing does or none is pinned."""
        from agentctl.tools.mcp.catalogue_pins import differences, digest_of  # noqa: PLC0415 - only a run with servers

        pin = server.options.pin
        if not pin or (found := digest_of(session.tools)) == pin:
            return None
        pinned = self._find_pinned(pin)
        said = f"its tools are not as pinned ({pin[:12]}, now {found[:12]})"
        said = f"{said}; to accept them: agentctl mcp pin {server.name}"
        return (said, *(() if pinned is None else differences(pinned, session.tools)))

    def tool(self, name: str) -> Tool | None:
        """Return the tool that models and rules call ``name``."""
        return next((tool for tool in self.tools if tool.spec.name == name), None)
