"""The tools by name, and their context; a tool's module is loaded only when the tool is first asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import anyio.to_thread

from agentctl.core.errors import EngineUnavailable, ToolError, UsageError
from agentctl.core.text import did_you_mean
from agentctl.tools.docker.client import DockerEngine

if TYPE_CHECKING:
    from agentctl.core.redaction import Redactor
    from agentctl.core.tool_rules import Rule
    from agentctl.protocols import Sandbox, Tool
    from agentctl.sandbox.denied_paths import DeniedPaths
    from agentctl.tools.delegate import Delegate
    from agentctl.tools.docker.orphans import OrphanSweep


MOST_BYTES = 64 * 1024
MOST_KEPT_BYTES = 16 * 1024 * 1024


class ToolContext(NamedTuple):
    """The context of a tool; without a ``sandbox`` no shell command can run. ``private`` are agentctl's own folders.

    ``run_files`` is the folder of the run's files. ``restricting`` are the deny and ask rules, for tools that show
    several things in one call; ``denied`` finds the files that rules about paths hide. ``redactor`` made the marks that
    a model reads in place of secrets. ``delegate`` runs the tasks of other agents, None if this run cannot.
    """

    workspace: Path
    engine: DockerEngine
    now: Callable[[], datetime]
    sandbox: Sandbox | None = None
    private: tuple[Path, ...] = ()
    run_files: Path | None = None
    restricting: tuple[Rule, ...] = ()
    denied: DeniedPaths | None = None
    redactor: Redactor | None = None
    delegate: Delegate | None = None

    @property
    def most_bytes(self) -> int:
        """The length limit of a tool's text: larger if a run cuts it for the model and saves the whole."""
        return MOST_BYTES if self.run_files is None else MOST_KEPT_BYTES


TOOLS: Mapping[str, str] = {
    "system_disks": "agentctl.tools.system:system_disks",
    "system_memory": "agentctl.tools.system:system_memory",
    "system_load": "agentctl.tools.system:system_load",
    "system_processes": "agentctl.tools.system:system_processes",
    "system_ports": "agentctl.tools.system:system_ports",
    "system_info": "agentctl.tools.system:system_info",
    "service_status": "agentctl.tools.services:service_status",
    "journal_tail": "agentctl.tools.services:journal_tail",
    "read_file": "agentctl.tools.files.read:read_file",
    "list_files": "agentctl.tools.files.list:list_files",
    "search_files": "agentctl.tools.files.search:search_files",
    "write_file": "agentctl.tools.files.write:write_file",
    "run_shell": "agentctl.tools.shell:run_shell",
    "git_status": "agentctl.tools.git:git_status",
    "delegate": "agentctl.tools.delegate:delegate",
    "docker_ps": "agentctl.tools.docker.listings:docker_ps",
    "docker_images": "agentctl.tools.docker.listings:docker_images",
    "docker_logs": "agentctl.tools.docker.logs:docker_logs",
    "docker_inspect": "agentctl.tools.docker.containers:docker_inspect",
    "docker_stats": "agentctl.tools.docker.stats:docker_stats",
    "docker_system_df": "agentctl.tools.docker.listings:docker_system_df",
    "docker_networks": "agentctl.tools.docker.listings:docker_networks",
    "docker_volumes": "agentctl.tools.docker.listings:docker_volumes",
    "compose_projects": "agentctl.tools.docker.compose:compose_projects",
    "compose_ps": "agentctl.tools.docker.compose:compose_ps",
    "compose_logs": "agentctl.tools.docker.compose_logs:compose_logs",
    "compose_drift": "agentctl.tools.docker.compose_drift:compose_drift",
    "docker_start": "agentctl.tools.docker.lifecycle:docker_start",
    "docker_stop": "agentctl.tools.docker.lifecycle:docker_stop",
    "docker_restart": "agentctl.tools.docker.lifecycle:docker_restart",
    "docker_pause": "agentctl.tools.docker.lifecycle:docker_pause",
    "docker_unpause": "agentctl.tools.docker.lifecycle:docker_unpause",
    "docker_run": "agentctl.tools.docker.run:docker_run",
    "docker_exec": "agentctl.tools.docker.exec:docker_exec",
    "docker_pull": "agentctl.tools.docker.images:docker_pull",
    "docker_rm": "agentctl.tools.docker.lifecycle:docker_rm",
    "docker_rmi": "agentctl.tools.docker.images:docker_rmi",
}
"""Name to ``module:attribute``; the attribute is a ``TypedTool``."""


#: The tools that ask systemd, and the folder that exists where it runs as the system's first process.
NEED_SYSTEMD = ("service_status", "journal_tail")
_SYSTEMD = "/run/systemd/system"

#: The tool that hands a task to another agent.
DELEGATE = "delegate"

#: The tools that find and call those that are not offered to the model (``deferred``).
FIND_TOOLS, CALL_TOOL = "find_tools", "call_tool"
#: The tool that reads the skills of a run, if it has any (``skills``).
READ_SKILL = "read_skill"

SEPARATOR = "__"  # between the name of an MCP server and that of its tool

#: Exact synonyms, as models write them: a call by one is a call of the tool itself, for rules, questions and records.
ALIASES: Mapping[str, str] = {
    **dict.fromkeys(("docker_list", "docker_ls", "docker_containers", "list_containers", "containers"), "docker_ps"),
    **dict.fromkeys(("docker_container_ls", "docker_list_containers", "docker_container_list"), "docker_ps"),
    **dict.fromkeys(("docker_image_ls", "docker_list_images", "list_images", "images"), "docker_images"),
    **dict.fromkeys(("docker_log", "container_logs", "docker_container_logs", "get_container_logs"), "docker_logs"),
    **dict.fromkeys(("container_stats", "docker_container_stats"), "docker_stats"),
    **dict.fromkeys(("inspect_container", "docker_container_inspect", "docker_describe"), "docker_inspect"),
    **dict.fromkeys(("docker_df", "docker_disk_usage"), "docker_system_df"),
    **dict.fromkeys(("docker_network_ls", "docker_list_networks", "list_networks"), "docker_networks"),
    **dict.fromkeys(("docker_compose_ls", "compose_ls", "docker_projects", "docker_compose_list"), "compose_projects"),
    **dict.fromkeys(("docker_compose_ps", "docker_services", "docker_compose_services"), "compose_ps"),
    **dict.fromkeys(("docker_compose_logs", "project_logs"), "compose_logs"),
    **dict.fromkeys(("docker_compose_drift", "compose_diff"), "compose_drift"),
    **dict.fromkeys(("docker_volume_ls", "docker_list_volumes", "list_volumes"), "docker_volumes"),
    **dict.fromkeys(("read", "cat", "view", "view_file", "open_file", "file_read", "readfile"), "read_file"),
    **dict.fromkeys(("ls", "list", "list_dir", "list_directory", "dir"), "list_files"),
    **dict.fromkeys(("grep", "search", "rg", "ripgrep", "search_content", "grep_search"), "search_files"),
    **dict.fromkeys(("df", "disks", "disk", "disk_usage"), "system_disks"),
    **dict.fromkeys(("free", "memory", "ram", "meminfo"), "system_memory"),
    **dict.fromkeys(("ps", "top", "processes", "process_list", "list_processes"), "system_processes"),
    **dict.fromkeys(("ss", "netstat", "ports", "listening"), "system_ports"),
    **dict.fromkeys(("bash", "shell", "sh", "terminal", "run_command", "execute_command", "exec_command"), "run_shell"),
    **dict.fromkeys(("shell_command", "execute_shell", "run_bash", "execute_bash", "run_terminal_cmd"), "run_shell"),
    **dict.fromkeys(("systemctl", "systemctl_status", "services", "list_services", "systemd_status"), "service_status"),
    **dict.fromkeys(("journalctl", "journal", "journal_logs", "service_logs", "systemd_journal"), "journal_tail"),
    **dict.fromkeys(("write", "file_write", "create_file", "save_file", "write_to_file"), "write_file"),
    **dict.fromkeys(("start_container", "docker_container_start", "docker_start_container"), "docker_start"),
    **dict.fromkeys(("stop_container", "docker_container_stop", "docker_stop_container"), "docker_stop"),
    **dict.fromkeys(("restart_container", "docker_container_restart", "docker_restart_container"), "docker_restart"),
    **dict.fromkeys(("pause_container", "docker_container_pause", "docker_pause_container"), "docker_pause"),
    **dict.fromkeys(("unpause_container", "docker_container_unpause", "docker_unpause_container"), "docker_unpause"),
    **dict.fromkeys(("remove_container", "docker_container_rm", "docker_remove_container"), "docker_rm"),
    **dict.fromkeys(("run_container", "docker_container_run", "docker_run_container"), "docker_run"),
    **dict.fromkeys(("exec_container", "docker_container_exec", "docker_exec_container"), "docker_exec"),
    **dict.fromkeys(("pull_image", "docker_image_pull", "docker_pull_image"), "docker_pull"),
    **dict.fromkeys(("remove_image", "docker_image_rm", "docker_remove_image"), "docker_rmi"),
}
#: The tools that may change something; whether a call does depends on the sandbox, too.
CHANGES = frozenset(("run_shell", "write_file", "docker_start", "docker_stop", "docker_restart", "docker_rm"))
CHANGES |= frozenset(("docker_pause", "docker_unpause", "docker_run", "docker_exec", "docker_pull", "docker_rmi"))


#: What users and models of other tools call a tool that reads; one that changes something is never suggested.
_MEANINGS: Mapping[str, str] = {
    **{alias: name for alias, name in ALIASES.items() if name not in CHANGES},
    "docker_status": "docker_ps",
    "docker_tail": "docker_logs",
    **dict.fromkeys(("docker_top", "docker_cpu", "docker_memory"), "docker_stats"),
    **dict.fromkeys(("docker_show", "docker_health", "docker_env"), "docker_inspect"),
    "docker_disk": "docker_system_df",
    **dict.fromkeys(("glob", "tree"), "list_files"),
    **dict.fromkeys(("find", "find_files"), "search_files"),
    **dict.fromkeys(("du", "system_df"), "system_disks"),
    **dict.fromkeys(("uptime", "load", "cpu", "system_cpu"), "system_load"),
    "lsof": "system_ports",
    **dict.fromkeys(("uname", "hostname", "os_info", "users", "system"), "system_info"),
    **dict.fromkeys(("git", "git_diff", "git_state"), "git_status"),
}

_NAMESPACE = r"(?i:(?:functions?|tools?|default_api|multi_tool_use)[.:/])+"
_AROUND = " \t\r\n\"'`"
_NAME_END = r"(?s:<\|.*)|:\d+\Z|\(\s*\)\Z"  # a chat template's mark, a call's number, brackets


def systemd_runs() -> bool:
    """Return whether systemd manages this machine, as its own programs find it out."""
    return os.path.isdir(_SYSTEMD)  # noqa: PTH112 - no exception for a folder that may not be read


def no_systemd() -> ToolError:
    """Return the error of a tool that needs systemd, where it does not run."""
    return ToolError("systemd does not run on this machine", hint="look at its processes instead")


class LazyToolbox:
    """The tools of one run; a tool's module is imported when the tool is first asked for.

    ``own`` are the tools of Python code (``TypedTool``), by name.
    """

    def __init__(
        self, names: Sequence[str], context: ToolContext, own: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        self._own = own
        self._names = tuple(dict.fromkeys(names))
        self._context = context
        self._made: dict[str, Tool] = {}
        self._sweep: OrphanSweep | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the available tools."""
        return self._names

    @property
    def sandbox(self) -> Sandbox | None:
        """The sandbox of its commands, None if there is none."""
        return self._context.sandbox

    def get(self, name: str) -> Tool:
        """Return the tool.

        Raises:
            ToolError: no such tool here, with the nearest name.
        """
        if name not in self._names:
            raise ToolError(f'there is no tool "{name}" here', hint=nearest_tool(name, self._names))
        if name not in self._made:
            self._made[name] = _definition(name, self._own).at(self._context)
        return self._made[name]

    def sweep(self) -> None:
        """Begin to remove the containers that killed runs left at the engine, if there is one."""
        with suppress(EngineUnavailable, RuntimeError):  # the tools say so; no more threads
            path = self._context.engine.address.path
            if path is None or os.path.exists(path):  # noqa: PTH110 - no exception for a folder that may not be read
                from agentctl.tools.docker.orphans import OrphanSweep  # noqa: PLC0415 - only where there is an engine

                self._sweep = OrphanSweep(self._context.engine)

    def notes(self) -> tuple[str, ...]:
        """Return what ``sweep`` has removed, in a sentence."""
        removed = 0 if self._sweep is None else self._sweep.removed
        what = "1 container" if removed == 1 else f"{removed} containers"
        return (f"{what} of runs that were killed: removed",) if removed else ()

    async def aclose(self) -> None:
        """Close the sandbox, and the engine's client, if one was opened; what is being removed is waited for."""
        if self._context.sandbox is not None:  # first: an engine may be slow, or fail
            await anyio.to_thread.run_sync(self._context.sandbox.close)
        if self._sweep is not None:
            await self._sweep.finish()
        await self._context.engine.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def toolbox(
    *,
    workspace: Path,
    names: Sequence[str] | None = None,
    docker_host: str | None = None,
    docker_host_from: str = "DOCKER_HOST",
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    sandbox: Sandbox | None = None,
    private: Sequence[Path] = (),
    run_files: Path | None = None,
    restricting: Sequence[Rule] = (),
    denied: DeniedPaths | None = None,
    redactor: Redactor | None = None,
    own: Mapping[str, Any] = MappingProxyType({}),
    delegate: Delegate | None = None,
) -> LazyToolbox:
    """Return the tools called ``names`` (None: all), bound to ``workspace``.

    ``docker_host`` is the engine's address (None: the default socket), ``docker_host_from`` the setting that an error
    about it names. No tool reads or writes in the folders ``private``; files of the run, in ``run_files``, can be read.
    ``restricting`` are the deny and ask rules: their targets are left out of results that show several things.
    ``denied`` are the files that rules about paths hide. ``redactor`` replaces its marks in written text by their
    secrets. ``own`` are tools of Python code, by name; those of packages are looked up. ``delegate`` runs the tasks of
    other agents.

    Raises:
        UsageError: ``names`` contains an unknown tool.
    """
    for name in names or ():
        if not is_tool(name, own):
            raise UsageError(f'there is no tool "{name}"', hint=nearest_tool(name, TOOLS))
    engine = DockerEngine(docker_host, named_by=docker_host_from)
    context = ToolContext(
        workspace.absolute(), engine, now, sandbox, tuple(private), run_files, tuple(restricting), denied, redactor
    )._replace(delegate=delegate)
    return LazyToolbox(tuple(TOOLS) if names is None else names, context, own)


def is_tool(name: str, own: Mapping[str, Any] = MappingProxyType({})) -> bool:
    """Return whether there is a tool called ``name``: one of ours, of Python code (``own``), or of a package."""
    if name in TOOLS or name in own or name == READ_SKILL:
        return True
    from agentctl.tools.package_tools import package_tool_names  # noqa: PLC0415 - few runs name such a tool

    return name in package_tool_names()


def _definition(name: str, own: Mapping[str, Any]) -> Any:  # noqa: ANN401 - TypedTool is loaded with the first tool
    """Return the definition of a tool: one of ours, of Python code, or of a package.

    Raises:
        ToolError: its package cannot be loaded.
    """
    if name in TOOLS:
        module, _, attribute = TOOLS[name].partition(":")
        return getattr(import_module(module), attribute)
    from agentctl.tools.package_tools import find_tool, load_package_tool  # noqa: PLC0415 - few runs have such a tool

    found = find_tool(name, own)
    if found is None:
        raise ToolError(load_package_tool(name).problem)
    return found


def arguments_of(name: str, own: Mapping[str, Any] = MappingProxyType({})) -> tuple[str, ...]:
    """Return the names of a tool's arguments.

    Raises:
        ToolError: it is the tool of a package that cannot be loaded.
    """
    if name == READ_SKILL:
        return ("name",)
    return tuple(_definition(name, own).arguments.model_fields)


def check_arguments(name: str, arguments: Mapping[str, object]) -> None:
    """Check arguments for a tool, without looking anything up.

    Raises:
        ToolError: an argument is wrong; the message names it and the allowed values.
    """
    from agentctl.tools.tool import check  # noqa: PLC0415 - a run has it already

    module, _, attribute = TOOLS[name].partition(":")
    check(name, getattr(import_module(module), attribute).arguments, arguments)


def real_name(written: str, known: Collection[str] = TOOLS) -> str:
    """Return the name of the tool that a model means by ``written``; ``written`` itself if that is no tool's.

    Ignored are a namespace before the name (``functions.``), what follows it (a chat template's ``<|…|>``, a number,
    brackets), blanks and quotes around it, its case, and a hyphen, dot or blank for an underscore. What is returned is
    what rules, questions and records see, so an alias allows nothing that its tool does not.
    """
    if written in known:
        return written
    name = written.strip(_AROUND)
    name = re.sub(_NAME_END, "", name).strip(_AROUND)
    if (namespace := re.match(_NAMESPACE, name)) is not None:
        name = name[namespace.end() :].strip(_AROUND)
    plain = re.sub(r"[-.\s]+", "_", name).lower()
    for found in (name, plain, ALIASES.get(plain, "")):
        if found in known or found in TOOLS:
            return found
    return written


def nearest_tool(name: str, known: Collection[str] = TOOLS) -> str:
    """Return ``did you mean "x"?`` for the tool that ``name`` means, else where the known ones are listed."""
    if near := did_you_mean(name, known, _MEANINGS):
        return near
    return "agentctl tools list   lists the tools" if known is TOOLS else f"known tools: {', '.join(known)}"
