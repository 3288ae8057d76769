"""The tools by name, and what they work with; no tool's module is loaded before the tool is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from agentctl.core.errors import ToolError, UsageError
from agentctl.core.text import did_you_mean
from agentctl.tools.docker.client import DockerEngine

if TYPE_CHECKING:
    from agentctl.core.redaction import Redactor
    from agentctl.core.tool_rules import Rule
    from agentctl.protocols import Sandbox, Tool
    from agentctl.sandbox.denied_paths import DeniedPaths


MOST_BYTES = 64 * 1024
MOST_KEPT_BYTES = 16 * 1024 * 1024


class ToolContext(NamedTuple):
    """What a tool works with; without a ``sandbox`` no command of a shell can be run. ``private`` is agentctl's own.

    ``run_files`` is the folder of the run's files. ``restricting`` are the deny and ask rules, for tools that show
    several things in one call; ``denied`` is what those about paths hide. ``redactor`` made the marks that a model
    reads in place of secrets.
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

    @property
    def most_bytes(self) -> int:
        """How long a tool's text may be: longer where a run cuts it for the model and keeps it."""
        return MOST_BYTES if self.run_files is None else MOST_KEPT_BYTES


TOOLS: Mapping[str, str] = {
    "system_disks": "agentctl.tools.system:system_disks",
    "system_memory": "agentctl.tools.system:system_memory",
    "system_load": "agentctl.tools.system:system_load",
    "system_processes": "agentctl.tools.system:system_processes",
    "system_ports": "agentctl.tools.system:system_ports",
    "system_info": "agentctl.tools.system:system_info",
    "read_file": "agentctl.tools.files.read:read_file",
    "list_files": "agentctl.tools.files.list:list_files",
    "search_files": "agentctl.tools.files.search:search_files",
    "write_file": "agentctl.tools.files.write:write_file",
    "run_shell": "agentctl.tools.shell:run_shell",
    "git_status": "agentctl.tools.git:git_status",
    "docker_ps": "agentctl.tools.docker.listings:docker_ps",
    "docker_images": "agentctl.tools.docker.listings:docker_images",
    "docker_logs": "agentctl.tools.docker.containers:docker_logs",
    "docker_inspect": "agentctl.tools.docker.containers:docker_inspect",
    "docker_stats": "agentctl.tools.docker.containers:docker_stats",
    "docker_system_df": "agentctl.tools.docker.listings:docker_system_df",
    "docker_networks": "agentctl.tools.docker.listings:docker_networks",
    "docker_volumes": "agentctl.tools.docker.listings:docker_volumes",
    "docker_start": "agentctl.tools.docker.lifecycle:docker_start",
    "docker_stop": "agentctl.tools.docker.lifecycle:docker_stop",
    "docker_restart": "agentctl.tools.docker.lifecycle:docker_restart",
    "docker_run": "agentctl.tools.docker.run:docker_run",
    "docker_exec": "agentctl.tools.docker.exec:docker_exec",
    "docker_pull": "agentctl.tools.docker.images:docker_pull",
    "docker_rm": "agentctl.tools.docker.lifecycle:docker_rm",
    "docker_rmi": "agentctl.tools.docker.images:docker_rmi",
}
"""Name to ``module:attribute``; the attribute is a ``TypedTool``."""


class LazyToolbox:
    """The tools of one run; a tool's module is imported when the tool is first asked for."""

    def __init__(self, names: Sequence[str], context: ToolContext) -> None:
        self._names = tuple(dict.fromkeys(names))
        self._context = context
        self._made: dict[str, Tool] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The names that can be asked for."""
        return self._names

    def get(self, name: str) -> Tool:
        """Return the tool.

        Raises:
            ToolError: no such tool here, with the nearest name.
        """
        if name not in self._names:
            raise ToolError(f'there is no tool "{name}" here', hint=_near(name, self._names))
        if name not in self._made:
            module, _, attribute = TOOLS[name].partition(":")
            self._made[name] = getattr(import_module(module), attribute).at(self._context)
        return self._made[name]

    async def aclose(self) -> None:
        """Close the engine's client, if one was opened."""
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
) -> LazyToolbox:
    """Return the tools called ``names`` (all that exist without), at work in ``workspace``.

    ``docker_host`` is the engine's address (None: the default socket), ``docker_host_from`` the setting that an error
    about it names. No tool looks or writes into the folders ``private``; files of the run, in ``run_files``, can be
    read. ``restricting`` are the deny and ask rules: what they are about is left out of what shows several things at
    once. ``denied`` are the files that those about paths hide. ``redactor`` puts the marks that it made back into what
    is written.

    Raises:
        UsageError: ``names`` holds one that does not exist.
    """
    for name in names or ():
        if name not in TOOLS:
            raise UsageError(f'there is no tool "{name}"', hint=_near(name, TOOLS))
    engine = DockerEngine(docker_host, named_by=docker_host_from)
    context = ToolContext(
        workspace.absolute(), engine, now, sandbox, tuple(private), run_files, tuple(restricting), denied, redactor
    )
    return LazyToolbox(tuple(TOOLS) if names is None else names, context)


def arguments_of(name: str) -> tuple[str, ...]:
    """Return the names of a tool's arguments."""
    module, _, attribute = TOOLS[name].partition(":")
    return tuple(getattr(import_module(module), attribute).arguments.model_fields)


def check_arguments(name: str, arguments: Mapping[str, object]) -> None:
    """Refuse what a tool could not be called with; nothing is looked up.

    Raises:
        ToolError: names the argument and what is allowed.
    """
    from agentctl.tools.tool import check  # noqa: PLC0415 - a run has it already

    module, _, attribute = TOOLS[name].partition(":")
    check(name, getattr(import_module(module), attribute).arguments, arguments)


def _near(name: str, known: Sequence[str] | Mapping[str, str]) -> str:
    return did_you_mean(name, known) or f"there are: {', '.join(known)}"
