"""Make the tools of a run by the settings: workspace, container engine, sandbox, available tools."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from agentctl.core.errors import AgentctlError, EngineUnavailable, SandboxUnavailable
from agentctl.core.results import TierFailure
from agentctl.permissions.decision import Permissions
from agentctl.protocols import RunTools, Sandbox
from agentctl.runner.orchestrator import FindContainers, ListContainers, MakeTools, Orchestrator
from agentctl.runner.routing import read_signs
from agentctl.settings import Loaded, Settings
from agentctl.tools.toolbox import DELEGATE, NEED_SYSTEMD, TOOLS, LazyToolbox, no_systemd, systemd_runs, toolbox

if TYPE_CHECKING:
    from agentctl.runner.agent_choice import AgentChoice
    from agentctl.sandbox.denied_paths import DeniedPaths
    from agentctl.tools.delegate import Delegate
    from agentctl.tools.mcp.server_group import McpConnections


_LOOK_S = 1.0
NEED_SANDBOX = ("run_shell",)
_UNIT_FOLDERS = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
CANNOT_DELEGATE = "delegate is left out: only an agent that lists it delegates, and at most two runs below another"

MakeToolbox = Callable[..., LazyToolbox]
"""``tools.toolbox.toolbox`` with every argument but ``names`` and ``sandbox``."""

OpenSandbox = Callable[[Callable[[str], None], Callable[[TierFailure], None]], Awaitable[Sandbox]]
"""``sandbox.select.open_sandbox`` with every argument but ``warn`` and ``refuse``."""


def toolset_for(
    loaded: Loaded,
    permissions: Permissions,
    *,
    require_sandbox: bool | None = None,
    run_files: Path | None = None,
    child_variables: Mapping[str, str] = MappingProxyType({}),
    sweep: bool = False,
    connections: McpConnections | None = None,
    of_all_agents: bool = True,
    delegate: Delegate | None = None,
) -> MakeTools:
    """Return the function that makes the tools of a run.

    ``require_sandbox``: it fails without a sandbox; None: as the settings say.

    ``connections`` are the MCP servers of the run, None without any. With servers, the tools ``of_all_agents`` of the
    package can be found, unless the run's agent is one of the user's own.

    ``sweep``: it begins to remove the containers that killed runs left, too.

    ``run_files`` is the folder of the run's own files; ``child_variables`` are added to the environment of commands
    that run without a sandbox. ``delegate`` runs the tasks of other agents, None if the run's agent cannot delegate.
    """
    settings = loaded.settings
    workspace, engine = settings.workdir or Path.cwd(), loaded.sources["docker_host"]
    denied = _denied_paths(workspace, permissions)
    named_by = str(engine) if engine.kind == "docker context" else "DOCKER_HOST"
    make_own = partial(
        make_run_tools,
        make=partial(
            toolbox,
            workspace=workspace,
            docker_host=settings.docker_host,
            docker_host_from=named_by,
            private=_private_folders(settings),
            run_files=run_files,
            restricting=(*permissions.deny, *permissions.ask),
            denied=denied,
            redactor=loaded.redactor,
            own=loaded.own_tools,
            delegate=delegate,
        ),
        delegate=delegate,
        own=loaded.own_tools,
        permissions=permissions,
        open_sandbox=partial(
            _open_sandbox, loaded, workspace, child_variables, _capabilities(loaded), run_files, denied
        ),
        require_sandbox=settings.requires_sandbox if require_sandbox is None else require_sandbox,
        sweep=sweep,
    )
    if connections is None:
        return make_own
    from agentctl.runner.agent_spec import load_agents  # noqa: PLC0415 - only a run with servers
    from agentctl.runner.server_tools import make_served_tools  # noqa: PLC0415

    return partial(
        make_served_tools,
        make=make_own,
        connections=connections,
        permissions=permissions,
        agents=load_agents() if of_all_agents else (),
        workspace=workspace,
    )


def serving(loaded: Loaded, chosen: AgentChoice | None) -> tuple[Callable[..., Orchestrator], Mapping[str, Any]]:
    """Return what makes the orchestrator of a run, and what its tools need for MCP servers."""
    if loaded.servers is None and (chosen is None or not chosen.servers):
        return Orchestrator, {}
    from agentctl.runner.server_tools import served_parts  # noqa: PLC0415 - most runs have no servers

    return served_parts(loaded, None if chosen is None else chosen.agent)


def listing(chosen: AgentChoice | None) -> Delegate | None:
    """Return what describes the tool ``delegate`` where no run begins; None if the agent cannot delegate."""
    if chosen is None or not chosen.delegates:
        return None
    from agentctl.runner.delegation import ListedAgents  # noqa: PLC0415 - few agents delegate

    return ListedAgents(chosen)


def container_finder(loaded: Loaded, permissions: Permissions) -> FindContainers | None:
    """Return the function that finds the containers whose names in a task look like files; None if none may be seen.

    The engine is asked only about names that are no files of the workspace; one that does not answer soon has none.
    """
    workspace, list_names = loaded.settings.workdir or Path.cwd(), container_lister(loaded, permissions)
    if list_names is None:
        return None

    async def find(task: str) -> Collection[str]:
        names = _names_of_no_file(task, workspace)
        return names & set(await list_names()) if names else ()

    return find


def container_lister(loaded: Loaded, permissions: Permissions) -> ListContainers | None:
    """Return the function that lists the names of all containers and services; None if none may be seen.

    An engine that does not answer soon has none.
    """
    if permissions.why_withheld("docker_ps", "read") is not None:
        return None
    host = loaded.settings.docker_host

    async def list_names() -> Collection[str]:
        if not all(path.exists() for path in _engine_socket(host)):
            return ()
        from agentctl.tools.docker.client import DockerEngine  # noqa: PLC0415 - most tasks name no container
        from agentctl.tools.docker.responses import documents, fields, names_of, service_names  # noqa: PLC0415

        engine = DockerEngine(host, patience=_LOOK_S)
        try:
            listed = documents(await engine.get("containers/json", all="1"))
        except EngineUnavailable:
            return ()
        finally:
            await engine.aclose()
        return {
            name for container in listed for name in (*names_of(container), *service_names(fields(container, "Labels")))
        }

    return list_names


def _names_of_no_file(task: str, workspace: Path) -> set[str]:
    return {name for name in read_signs(task).files if "/" not in name and not (workspace / name).exists()}


def unit_finder(loaded: Loaded) -> Callable[[str], bool]:
    """Return the function that tells whether a name in a task is that of a unit; none is where the tools are chosen."""
    return is_unit if loaded.settings.tools is None else lambda _: False


def is_unit(name: str) -> bool:
    """Return whether systemd manages this machine and has the file of a service called ``name``."""
    if not systemd_runs() or re.fullmatch(r"[A-Za-z0-9][\w.@-]{0,100}", name, re.ASCII) is None:
        return False
    file = f"{name.removesuffix('.service')}.service"
    return any(os.path.lexists(os.path.join(folder, file)) for folder in _UNIT_FOLDERS)  # noqa: PTH118


async def make_run_tools(
    ranked: Sequence[str] | None,
    most: int,
    task: str = "",
    *,
    make: MakeToolbox,
    permissions: Permissions,
    open_sandbox: OpenSandbox,
    require_sandbox: bool = False,
    needs_sandbox: bool = False,
    sweep: bool = False,
    own: Mapping[str, Any] = MappingProxyType({}),
    delegate: Delegate | None = None,
) -> RunTools:
    """Return the first ``most`` of the ``ranked`` tools that a run may use and that work here; None: all, for lookups.

    A sandbox is opened only if one of these tools needs it, or something else does (``needs_sandbox``). If none is
    available, such tools are left out, the next ones move up, and ``left_out`` names the missing ones; so it is with
    tools that need systemd, where it does not run. ``own`` are the tools of Python code, by name; that of a package
    which cannot be loaded is left out with a warning. So is the tool that delegates, without ``delegate``.

    Raises:
        SandboxUnavailable: ``require_sandbox`` is set (by its name), or the user named a tool that needs a sandbox.
    """
    said: list[str] = []
    failures: list[TierFailure] = []
    if require_sandbox and ranked is None:
        await open_sandbox(said.append, failures.append)
    if ranked is None:
        return _run_tools(make(names=None), None, {}, sweep=sweep)
    if not own.keys() | TOOLS.keys() >= set(ranked):
        from agentctl.tools.package_tools import broken_tools  # noqa: PLC0415 - few runs have tools of packages

        broken = broken_tools(ranked, own)
        said += [f"{problem}; it is left out" for problem in broken.values()]
        ranked = [name for name in ranked if name not in broken]
    if delegate is None and DELEGATE in ranked:
        ranked = [name for name in ranked if name != DELEGATE]
        said.append(CANNOT_DELEGATE)
    left_out: dict[str, AgentctlError] = {}
    if not systemd_runs() and any(name in NEED_SYSTEMD for name in ranked):
        wanted = _first_usable(ranked, most, make(names=ranked), permissions)
        left_out = {name: no_systemd() for name in wanted if name in NEED_SYSTEMD}
        ranked = [name for name in ranked if name not in NEED_SYSTEMD]
    sandbox: Sandbox | None = None
    if (
        require_sandbox
        or needs_sandbox
        or any(name in NEED_SANDBOX for name in _first_usable(ranked, most, make(names=ranked), permissions))
    ):
        try:
            sandbox = await open_sandbox(said.append, failures.append)
        except SandboxUnavailable as error:
            if require_sandbox or permissions.only is not None:
                raise
            left_out |= dict.fromkeys((name for name in ranked if name in NEED_SANDBOX), error)
    there = [name for name in ranked if name not in left_out]
    chosen = _first_usable(there, most, make(names=there, sandbox=sandbox), permissions)
    if sandbox is None:
        chosen = [name for name in chosen if name not in NEED_SANDBOX]
    tools = _run_tools(make(names=chosen, sandbox=sandbox), sandbox, left_out, sweep=sweep)
    if delegate is not None:
        of_commands = tools.unreported
        tools = tools._replace(delegated=delegate.runs, unreported=lambda: (*of_commands(), *delegate.unreported()))
    return tools._replace(opening_notes=tuple(said), sandbox_failures=tuple(failures))


def _run_tools(
    box: LazyToolbox, sandbox: Sandbox | None, left_out: Mapping[str, AgentctlError], *, sweep: bool
) -> RunTools:
    notes: Callable[[], tuple[str, ...]] = tuple
    if sweep:
        box.sweep()
        notes = box.notes
    if sandbox is None:
        return RunTools(box, None, left_out, notes=notes)
    return RunTools(box, sandbox.tier, left_out, sandbox.unreported, notes)


def _first_usable(names: Sequence[str], most: int, box: LazyToolbox, permissions: Permissions) -> list[str]:
    """Return the first ``most`` names of tools that are not withheld, loading no more tools than needed."""
    found: list[str] = []
    for name in names:
        if len(found) == most:
            break
        tool = box.get(name)
        if permissions.why_withheld(name, tool.effect) is None:
            found.append(name)
    return found


def _denied_paths(workspace: Path, permissions: Permissions) -> DeniedPaths | None:
    """Return the function that finds the files that deny rules hide; None if no rule is about paths."""
    if not any(argument == "path" for rule in permissions.deny for argument, _ in rule.arguments):
        return None
    from agentctl.sandbox.denied_paths import DeniedPaths  # noqa: PLC0415 - few runs have such a rule

    return DeniedPaths(workspace, permissions.deny) or None


async def open_server_sandbox(loaded: Loaded, permissions: Permissions, warn: Callable[[str], None]) -> Sandbox:
    """Return the sandbox that MCP servers have in a run, for a command that starts them without one.

    Raises:
        SandboxUnavailable: it is not available here.
    """
    workspace = loaded.settings.workdir or Path.cwd()
    denied = _denied_paths(workspace, permissions)
    return await _open_sandbox(loaded, workspace, {}, _capabilities(loaded), None, denied, warn, lambda failure: None)


async def _open_sandbox(
    loaded: Loaded,
    workspace: Path,
    child_variables: Mapping[str, str],
    secrets: Sequence[str],
    files: Path | None,
    denied: DeniedPaths | None,
    warn: Callable[[str], None],
    refuse: Callable[[TierFailure], None],
) -> Sandbox:
    """Return the sandbox that the settings ask for.

    ``warn`` receives what is to be said of it, ``refuse`` each stronger tier that is not available here.

    Raises:
        SandboxUnavailable: it is not available here.
    """
    from agentctl.sandbox.select import open_sandbox  # noqa: PLC0415 - only a run with a shell needs it

    settings = loaded.settings
    return await open_sandbox(
        settings.sandbox,
        workspace=workspace,
        network=settings.network,
        read_only=settings.read_only,
        hidden=(*_private_folders(settings), *_engine_socket(settings.docker_host)),
        readable=settings.sandbox_read,
        writable=settings.sandbox_write,
        passed_on=loaded.passed_on,
        environment=child_variables,
        secrets=secrets,
        files=files,
        denied=denied,
        state=settings.state_dir,
        warn=warn,
        refuse=refuse,
    )


def _capabilities(loaded: Loaded) -> tuple[str, ...]:
    """Return the capabilities of this run's budget, and of the run that it belongs to."""
    return (loaded.capability, *(() if loaded.parent is None else (loaded.parent.capability,)))


def _private_folders(settings: Settings) -> tuple[Path, ...]:
    """Return agentctl's own folders: keys, ledger, journals."""
    return settings.state_dir, settings.config_dir, settings.cache_dir


def _engine_socket(address: str | None) -> tuple[Path, ...]:
    """Return the engine's socket, if it has a path: whoever can use it controls the machine."""
    path = (address or "").removeprefix("unix://")
    return (Path(path),) if path.startswith("/") else ()
