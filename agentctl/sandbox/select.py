"""Select the sandbox for shell commands: bubblewrap after a self-test, or none if that was asked for."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

from agentctl.core.errors import SandboxUnavailable, ToolError
from agentctl.core.results import FileNotice
from agentctl.protocols import CommandResult, Sandbox
from agentctl.sandbox.mount_plan import SandboxConfig, why_not_sandboxable

if TYPE_CHECKING:
    from agentctl.sandbox.bwrap import Bwrap
    from agentctl.sandbox.denied_paths import DeniedPaths

SandboxMode = Literal["auto", "bwrap", "none"]
_UNSANDBOXED = "--sandbox none runs commands without a sandbox"


class SandboxStatus(NamedTuple):
    """The available sandbox: its ``tier``, or None with the reason and a line to paste.

    ``missing`` has a sentence for each protection that this machine does not offer.
    """

    tier: str | None
    reason: str
    hint: str
    missing: tuple[str, ...] = ()


async def open_sandbox(
    wanted: SandboxMode,
    *,
    workspace: Path,
    network: bool,
    read_only: bool,
    hidden: Sequence[Path] = (),
    environment: Mapping[str, str] = MappingProxyType({}),
    secrets: Sequence[str] = (),
    files: Path | None = None,
    denied: DeniedPaths | None = None,
) -> Sandbox:
    """Return the sandbox to run commands in; ``hidden`` are files, folders and sockets to hide from them.

    ``environment`` is added to that of commands without a sandbox, where nothing can be hidden; ``secrets`` are masked
    in their output. ``files`` is the folder of the run's files, for files that are moved out of the workspace.
    ``denied`` finds the files that deny rules hide in the workspace, before each command. A sandbox is tested before it
    is returned: actions that must fail in it fail, and those that must work do.

    Raises:
        SandboxUnavailable: there is no sandbox here.
    """
    if wanted == "none":
        return Unsandboxed(workspace, environment=environment, secrets=secrets)
    try:
        tried = _open_tested(workspace, network=network, read_only=read_only, hidden=hidden, files=files, denied=denied)
        return (await tried)[0]
    except SandboxUnavailable as error:
        raise SandboxUnavailable(error.message, hint=f"{error.hint}   or: {_UNSANDBOXED}") from error


async def examine(workspace: Path, *, network: bool = False) -> SandboxStatus:
    """Return which sandbox commands would get in ``workspace``."""
    try:
        sandbox, missing = await _open_tested(workspace, network=network, read_only=False, hidden=())
    except SandboxUnavailable as error:
        return SandboxStatus(None, error.message, error.hint)
    return SandboxStatus(sandbox.tier, "tested at each start: actions that must fail in it fail", "", missing)


def is_project_folder(workspace: Path) -> bool:
    """Return whether a folder is one to work in, and not the root, a home or a system folder, which contain much
    else.
    """
    try:
        return why_not_sandboxable(_base_config(workspace)) is None
    except OSError:
        return False


def configured_paths_in(workspace: Path) -> Mapping[str, str]:
    """Return the paths of the workspace that git's configuration or hooks name, each with what names it."""
    from agentctl.sandbox.workspace_guard import configured_in  # noqa: PLC0415 - needed when something is written

    config = _base_config(workspace)
    return {path: named.program for path, named in configured_in(config.workspace, config.homes).items()}


async def _open_tested(
    workspace: Path,
    *,
    network: bool,
    read_only: bool,
    hidden: Sequence[Path],
    files: Path | None = None,
    denied: DeniedPaths | None = None,
) -> tuple[Bwrap, tuple[str, ...]]:
    """Return bubblewrap's sandbox after its self-test, and its missing features; a raised hint does not name
    ``none``.
    """
    from agentctl.sandbox.bwrap import Bwrap  # noqa: PLC0415 - only where it is wanted
    from agentctl.sandbox.import_path import import_folders, is_importable  # noqa: PLC0415
    from agentctl.sandbox.private_files import PrivateFiles  # noqa: PLC0415
    from agentctl.sandbox.self_test import find_bwrap, find_leak, hint_for, options_of, place_decoys  # noqa: PLC0415
    from agentctl.sandbox.socket_files import SocketFiles  # noqa: PLC0415
    from agentctl.sandbox.workspace_guard import WorkspaceGuard  # noqa: PLC0415

    config = _config_for(workspace, network=network, read_only=read_only, hidden=hidden)
    program = find_bwrap(config.workspace)
    known = await options_of(program)
    sockets = SocketFiles(config.workspace)
    try:
        with place_decoys(config) as decoys:
            tried = Bwrap(program, known, config, sockets=sockets)
            try:
                answer = await tried.run(decoys.command, timeout=20)
            finally:
                tried.close()
            found = find_leak(answer.stdout, decoys, config)
    except ToolError as error:
        raise SandboxUnavailable(error.message, hint=hint_for(error.message)) from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SandboxUnavailable(f"the sandbox cannot be tested: {reason}", hint="make /tmp writable") from error
    if found is not None:
        raise SandboxUnavailable(f"the sandbox failed its check: {found}", hint="run agentctl as another user")
    is_root = os.geteuid() == 0 and config.user is None
    find_private = PrivateFiles(config.workspace).places if is_root else tuple
    # The next import of such a file would run it in agentctl's own process, outside the sandbox.
    folders = import_folders(config.workspace)
    imports = partial(is_importable, folders=folders) if folders else lambda _: False
    guarded = not config.read_only or config.why_read_only
    guard = WorkspaceGuard(config, files, imports=imports) if guarded else None
    return Bwrap(program, known, config, find_private, guard, denied, sockets), tried.missing


def _config_for(workspace: Path, *, network: bool, read_only: bool, hidden: Sequence[Path]) -> SandboxConfig:
    """Return the input of the sandbox.

    Raises:
        SandboxUnavailable: this workspace cannot have a sandbox.
    """
    if not os.path.isdir(workspace):  # noqa: PTH112
        raise SandboxUnavailable(f"the workspace {workspace} is not a folder", hint="choose another one: --workdir DIR")
    from agentctl.sandbox.workspace_guard import why_unprotectable  # noqa: PLC0415

    config = _base_config(workspace)._replace(
        hidden=tuple(os.path.abspath(place) for place in hidden),  # noqa: PTH100
        read_only=read_only,
        network=network,
    )
    if (why := why_not_sandboxable(config)) is not None:
        raise SandboxUnavailable(why, hint="choose a project's folder: --workdir DIR")
    why = None if read_only else why_unprotectable(config.workspace)
    return config if why is None else config._replace(read_only=True, why_read_only=why)


def _base_config(workspace: Path) -> SandboxConfig:
    given = os.path.abspath(workspace)  # noqa: PTH100 - links stay as they are named
    owner = os.stat(given)  # noqa: PTH116
    user = (owner.st_uid, owner.st_gid) if os.geteuid() == 0 and owner.st_uid != 0 else None
    return SandboxConfig(os.path.realpath(given), given, homes=_homes(os.getuid(), owner.st_uid), user=user)


def _homes(*users: int) -> tuple[str, ...]:
    """Return the user's home from the environment, and the homes of ``users`` from the system."""
    homes = [os.path.expanduser("~")]  # noqa: PTH111 - Path.home() raises where there is none
    for user in users:
        with suppress(KeyError):
            homes.append(pwd.getpwuid(user).pw_dir)
    return tuple(dict.fromkeys(home for home in homes if home.startswith("/") and home.strip("/")))


class Unsandboxed:
    """Runs commands with all rights of the user; only their time and their output are limited.

    ``environment`` is added to the fixed one; ``secrets`` are masked in the output before a model reads it.
    """

    tier = "none"
    read_only = False

    def __init__(
        self, workspace: Path, *, environment: Mapping[str, str] = MappingProxyType({}), secrets: Sequence[str] = ()
    ) -> None:
        self._workspace, self._environment, self._secrets = workspace, environment, tuple(secrets)

    def unreported(self) -> tuple[FileNotice, ...]:
        """Return no notices: changes are not tracked without a sandbox."""
        return ()

    def close(self) -> None:
        """Do nothing: its commands share nothing."""

    async def run(
        self,
        command: str,
        *,
        timeout: float,  # noqa: ASYNC109 - the socket promises it
        more: bool = False,
    ) -> CommandResult:
        """Run ``command`` by /bin/sh in the workspace for at most ``timeout`` seconds.

        Raises:
            ToolError: the command could not be started.
        """
        from agentctl.core.redaction import mask  # noqa: PLC0415 - few runs have no sandbox
        from agentctl.sandbox.process import child_environment, run_process  # noqa: PLC0415 - it brings subprocess

        argv, env = ["/bin/sh", "-c", command], {**child_environment(), **self._environment}
        result = await run_process(argv, timeout=timeout, env=env, cwd=self._workspace, more=more, subreaper=True)
        return result._replace(stdout=mask(result.stdout, self._secrets), stderr=mask(result.stderr, self._secrets))
