"""Join the tools of MCP servers to those of a run, and let the servers live as long as the run does.

With servers, a run has the tools of all agents too: a few are offered to the model, which finds the others when it
needs them (``tools.deferred``). Loaded only by a run with servers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from agentctl.core.results import RunResult
from agentctl.permissions.decision import Permissions
from agentctl.protocols import OpenToolbox, RunTools, Sandbox, Tool
from agentctl.runner.agent_spec import AgentSpec
from agentctl.runner.orchestrator import Orchestrator
from agentctl.runner.plan import RunInput
from agentctl.runner.toolset import open_server_sandbox
from agentctl.sandbox.server_process import start_server
from agentctl.settings.mcp_values import McpConfig, McpServer
from agentctl.tools.deferred import defer_tools
from agentctl.tools.mcp.catalogue_pins import find_pinned
from agentctl.tools.mcp.sdk_loader import check_installed
from agentctl.tools.mcp.server_group import McpConnections
from agentctl.tools.toolbox import SEPARATOR, TOOLS, LazyToolbox

if TYPE_CHECKING:  # the SDK is loaded while the servers are opened
    from agentctl.settings import Loaded
    from agentctl.tools.mcp.server_session import RunningServer, StartServer

_OF_THE_AGENT = 3  # of the agent's own tools that are offered in any case; the others compete by the task
_CLOSING_S = 5.0
OWN = "agentctl"  # where tools are from that no agent of the package has


class ServedOrchestrator(Orchestrator):
    """An orchestrator whose runs have MCP servers."""

    def __init__(self, connections: McpConnections, **parts: Any) -> None:  # noqa: ANN401 - those of an orchestrator
        super().__init__(**parts)
        self._connections = connections

    async def run(self, task: str, run_input: RunInput | None = None) -> RunResult:
        """Run ``task`` as an orchestrator does, and end the servers with it."""
        async with self._connections.running():
            return await super().run(task, run_input)


def served_parts(loaded: Loaded, agent: AgentSpec | None) -> tuple[Callable[..., Orchestrator], Mapping[str, Any]]:
    """Return what makes the orchestrator of a run with servers, and what its tools need; an agent may name the servers.

    Raises:
        UsageError: the SDK is not installed.
    """
    config, wanted = loaded.servers or McpConfig(), () if agent is None else agent.terms.mcp
    if wanted:
        unknown = [name for name in wanted if name not in config.names]
        said = (f"the agent names the MCP server {name}, which is not configured" for name in unknown)
        servers = tuple(server for server in config.servers if server.name in wanted)
        config = config._replace(servers=servers, warnings=(*config.warnings, *said))
    if config == McpConfig():
        return Orchestrator, {}
    if config.servers:
        check_installed()
    connections = McpConnections(config, find_pinned=partial(find_pinned, loaded.settings.state_dir))
    of_all_agents = agent is None or agent.origin == "package"
    return partial(ServedOrchestrator, connections), {"connections": connections, "of_all_agents": of_all_agents}


class ServedToolbox:
    """The tools of a run and those of its servers."""

    def __init__(self, own: OpenToolbox, connections: McpConnections) -> None:
        self._own, self._connections = own, connections
        self._served = {tool.spec.name: tool for tool in connections.tools}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all tools, a run's own first."""
        return (*self._own.names, *self._served)

    def get(self, name: str) -> Tool:
        """Return the tool.

        Raises:
            ToolError: no such tool here.
        """
        return self._served[name] if name in self._served else self._own.get(name)

    async def aclose(self) -> None:
        """End the servers, then close the tools of the run, and with them its sandbox."""
        try:
            await self._connections.aclose()
        finally:
            await self._own.aclose()


@asynccontextmanager
async def open_servers(loaded: Loaded, config: McpConfig, warn: Callable[[str], None]) -> AsyncIterator[McpConnections]:
    """Open servers as a run has them, for a command that needs no run.

    Raises:
        UsageError: the SDK is not installed.
        SandboxUnavailable: they need a sandbox, and there is none.
    """
    check_installed()
    connections = McpConnections(config, find_pinned=partial(find_pinned, loaded.settings.state_dir))
    workspace = loaded.settings.workdir or Path.cwd()
    sandbox: Sandbox | None = None
    if connections.needs_sandbox:
        sandbox = await open_server_sandbox(loaded, Permissions(), warn)
    try:
        async with connections.running():
            try:
                await connections.open(starter(sandbox, workspace), None if sandbox is None else sandbox.tier)
                yield connections
            finally:
                with anyio.move_on_after(_CLOSING_S, shield=True):
                    await connections.aclose()
    finally:
        if sandbox is not None:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(sandbox.close)


async def make_served_tools(
    ranked: Sequence[str] | None,
    most: int,
    task: str,
    *,
    make: Callable[..., Awaitable[RunTools]],
    connections: McpConnections,
    permissions: Permissions,
    agents: Sequence[AgentSpec],
    workspace: Path,
) -> RunTools:
    """Return the tools of a run with its servers connected; ``make`` makes a run's own, those of ``agents``, too.

    Raises:
        UsageError: the SDK is not installed.
        McpUnavailable: a required server cannot be used.
        SandboxUnavailable: as of ``make``.
    """
    if ranked is None or not connections.config.servers:  # lookups without a model know no other tools
        run_tools = await make(ranked, most, task)
        notes = (*run_tools.opening_notes, *connections.lines)
        return run_tools._replace(opening_notes=notes, mcp=lambda: connections.use)
    names = [name for name in ranked if SEPARATOR not in name]
    homes = _homes(agents)
    if permissions.only is None:
        names = list(dict.fromkeys((*names, *(name for name in TOOLS if name in homes))))
    run_tools = await make(names, len(names), task, needs_sandbox=connections.needs_sandbox)
    try:
        own = run_tools.toolbox
        sandbox = own.sandbox if isinstance(own, LazyToolbox) else None
        await connections.open(starter(sandbox, workspace), None if sandbox is None else sandbox.tier)
        box = _deferred(ServedToolbox(own, connections), ranked, task, connections, permissions, homes)
    except BaseException:
        with anyio.move_on_after(_CLOSING_S, shield=True):
            await connections.aclose()
            await run_tools.toolbox.aclose()
        raise
    notes = (*run_tools.opening_notes, *connections.lines)
    missed = {name: why for name, why in run_tools.left_out.items() if name in ranked[:most]}  # not found is not missed
    return run_tools._replace(toolbox=box, left_out=missed, opening_notes=notes, mcp=lambda: connections.use)


def _deferred(
    box: ServedToolbox,
    ranked: Sequence[str],
    task: str,
    connections: McpConnections,
    permissions: Permissions,
    homes: Mapping[str, str],
) -> OpenToolbox:
    """Offer the tools that the user wants first, a few of the agent's own, and those that fit the task best."""
    defers = {server.name: server.options.defer for server in connections.config.servers}
    first = [tool.spec.name for tool in connections.tools if defers[tool.server] is False]
    usable = [name for name in ranked if name in box.names]
    return defer_tools(
        box,
        task=task,
        servers={**dict.fromkeys(box.names, OWN), **homes, **connections.origins},
        is_usable=lambda tool: permissions.why_withheld(tool.spec.name, tool.effect) is None,
        first=(*first, *usable[:_OF_THE_AGENT]),
        later=frozenset(tool.spec.name for tool in connections.tools if defers[tool.server]),
    )


def _homes(agents: Sequence[AgentSpec]) -> Mapping[str, str]:
    """Return the agent of each of our own tools."""
    return {name: agent.name for agent in reversed(agents) for name in (*agent.tools, *agent.more)}


def starter(sandbox: Sandbox | None, workspace: Path) -> StartServer:
    """Return the function that starts a server beside the commands of ``sandbox``."""

    def start(server: McpServer) -> AbstractAsyncContextManager[RunningServer]:
        options = server.options
        return start_server(
            [server.command, *server.args],
            env=server.env,
            workspace=workspace,
            write=options.write,
            network=options.network,
            sandbox=sandbox,
            tier=options.sandbox,
        )

    return start
