"""What a run works with, chosen by the settings: tools in their workspace, an engine, a boundary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from agentctl.permissions.decision import Permissions
from agentctl.protocols import Sandbox
from agentctl.runner.orchestrator import Equip
from agentctl.runner.toolset import equip
from agentctl.settings import Loaded, Settings
from agentctl.tools.toolbox import toolbox

if TYPE_CHECKING:
    from agentctl.sandbox.denied_paths import DeniedPaths


def equipment(
    loaded: Loaded,
    permissions: Permissions,
    *,
    insist: bool,
    kept: Path | None = None,
    child_variables: Mapping[str, str] = MappingProxyType({}),
) -> Equip:
    """Return what equips a run with tools by the settings; ``insist``: not without a sandbox.

    ``kept`` is the folder of the run's own files; ``child_variables`` goes into the environment of commands without a
    sandbox.
    """
    settings = loaded.settings
    workspace, engine = settings.workdir or Path.cwd(), loaded.sources["docker_host"]
    denied = _denied(workspace, permissions)
    named_by = str(engine) if engine.kind == "docker context" else "DOCKER_HOST"
    return partial(
        equip,
        make=partial(
            toolbox,
            workspace=workspace,
            docker_host=settings.docker_host,
            docker_host_from=named_by,
            private=_private(settings),
            kept=kept,
            restricting=(*permissions.deny, *permissions.ask),
            denied=denied,
            redactor=loaded.redactor,
        ),
        permissions=permissions,
        open_sandbox=partial(_open_sandbox, settings, workspace, child_variables, _capabilities(loaded), kept, denied),
        insist=insist,
    )


def _denied(workspace: Path, permissions: Permissions) -> DeniedPaths | None:
    """Return what finds the files that deny rules hide; None where no rule is about paths."""
    if not any(argument == "path" for rule in permissions.deny for argument, _ in rule.arguments):
        return None
    from agentctl.sandbox.denied_paths import DeniedPaths  # noqa: PLC0415 - few runs have such a rule

    return DeniedPaths(workspace, permissions.deny) or None


async def _open_sandbox(
    settings: Settings,
    workspace: Path,
    child_variables: Mapping[str, str],
    secrets: Sequence[str],
    files: Path | None,
    denied: DeniedPaths | None,
) -> Sandbox:
    """Return the boundary that the settings ask for.

    Raises:
        SandboxUnavailable: it cannot be had here.
    """
    from agentctl.sandbox.select import open_sandbox  # noqa: PLC0415 - only a run with a shell needs it

    return await open_sandbox(
        settings.sandbox,
        workspace=workspace,
        network=settings.network,
        read_only=settings.read_only,
        hidden=(*_private(settings), *_socket(settings.docker_host)),
        environment=child_variables,
        secrets=secrets,
        files=files,
        denied=denied,
    )


def _capabilities(loaded: Loaded) -> tuple[str, ...]:
    """Return what opens the budget of this run, and of the run that it belongs to."""
    return (loaded.capability, *(() if loaded.parent is None else (loaded.parent.capability,)))


def _private(settings: Settings) -> tuple[Path, ...]:
    """Return agentctl's own folders: keys, ledger, journals."""
    return settings.state_dir, settings.config_dir, settings.cache_dir


def _socket(address: str | None) -> tuple[Path, ...]:
    """Return the engine's socket, where it has a path: whoever can call it owns the machine."""
    path = (address or "").removeprefix("unix://")
    return (Path(path),) if path.startswith("/") else ()
