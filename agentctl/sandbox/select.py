"""Select the sandbox for shell commands: the strongest tier that passes its test here, or what the user named."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

from agentctl.core.errors import SandboxUnavailable
from agentctl.core.results import TierFailure
from agentctl.core.system_folders import is_beneath
from agentctl.protocols import Sandbox
from agentctl.sandbox.mount_plan import SandboxConfig, links_along, why_not_sandboxable

if TYPE_CHECKING:
    from agentctl.sandbox.denied_paths import DeniedPaths
    from agentctl.sandbox.probe_cache import ProbeCache
    from agentctl.sandbox.tiers import Candidate, ProbeFacts, SandboxRequest, SandboxTier

SandboxMode = Literal["auto", "bwrap", "landlock", "none", "external"]
_UNSANDBOXED = "--sandbox none runs commands without a sandbox"
_EXTERNAL = (
    "sandbox external: commands run unasked and without a sandbox, as this machine itself is one; they have its network"
)


class SandboxStatus(NamedTuple):
    """The available sandbox: its ``tier``, or None with the reason and a line to paste.

    ``missing`` has a sentence for each protection that this machine does not offer, ``failures`` the stronger tiers.
    """

    tier: str | None
    reason: str
    hint: str
    missing: tuple[str, ...] = ()
    failures: tuple[TierFailure, ...] = ()


class Selected(NamedTuple):
    """The sandbox of the first tier that passed its test, what the test found, and why stronger tiers failed."""

    sandbox: Sandbox
    facts: ProbeFacts
    failures: tuple[TierFailure, ...] = ()


async def open_sandbox(
    wanted: SandboxMode,
    *,
    workspace: Path,
    network: bool,
    read_only: bool,
    hidden: Sequence[Path] = (),
    readable: Sequence[str] = (),
    writable: Sequence[str] = (),
    passed_on: Mapping[str, str] = MappingProxyType({}),
    environment: Mapping[str, str] = MappingProxyType({}),
    secrets: Sequence[str] = (),
    files: Path | None = None,
    denied: DeniedPaths | None = None,
    state: Path | None = None,
    warn: Callable[[str], None] = lambda _: None,
    refuse: Callable[[TierFailure], None] = lambda _: None,
) -> Sandbox:
    """Return the sandbox to run commands in; ``hidden`` are files, folders and sockets to hide from them.

    ``readable`` and ``writable`` are paths that they reach besides, ``passed_on`` variables that they get.
    ``environment`` is added to that of commands without a sandbox, where nothing can be hidden; ``secrets`` are masked
    in their output. ``files`` is the folder of the run's files, for files that are moved out of the workspace.
    ``denied`` finds the files that deny rules hide in the workspace, before each command. A sandbox is tested before it
    is returned: actions that must fail in it fail, and those that must work do. Tests that passed are kept in the
    folder ``state`` until the next boot. ``warn`` receives a sentence about a sandbox that is weaker than the strongest
    one, ``refuse`` each tier that is not available here.

    Raises:
        SandboxUnavailable: there is no sandbox here.
    """
    if wanted == "none" or wanted == "external":
        from agentctl.sandbox.unsandboxed import Unsandboxed  # noqa: PLC0415 - few runs have no sandbox

        if wanted == "external":
            warn(_EXTERNAL)
        variables = {**passed_on, **environment}
        return Unsandboxed(workspace, tier=wanted, environment=variables, secrets=secrets)
    from agentctl.sandbox.probe_cache import ProbeCache  # noqa: PLC0415 - only where one is wanted
    from agentctl.sandbox.tiers import TIERS, SandboxRequest  # noqa: PLC0415

    try:
        config = _config_for(workspace, network=network, read_only=read_only, hidden=hidden)
        config = _with_access(config, readable, writable)._replace(environment=passed_on)
        tests = None if state is None else ProbeCache(state)
        found = await first_available(tiers_for(wanted, TIERS), SandboxRequest(config, files, denied), tests)
    except SandboxUnavailable as error:
        for failure in error.failures if isinstance(error, NoTierAvailable) else ():
            refuse(failure)
        raise SandboxUnavailable(error.message, hint=f"{error.hint}   or: {_UNSANDBOXED}") from error
    for failure in found.failures:
        refuse(failure)
    if found.failures:
        warn(f"the sandbox is {found.sandbox.tier}, because {_sentence(found.failures)} ({found.failures[0].hint})")
    return found.sandbox


async def examine(
    workspace: Path,
    *,
    wanted: SandboxMode = "auto",
    network: bool = False,
    readable: Sequence[str] = (),
    writable: Sequence[str] = (),
) -> SandboxStatus:
    """Return which sandbox commands would get in ``workspace``; ``wanted`` names one, or is "auto"."""
    from agentctl.sandbox.tiers import TIERS, SandboxRequest  # noqa: PLC0415 - only where one is wanted

    try:
        config = _config_for(workspace, network=network, read_only=False, hidden=())
        config = _with_access(config, readable, writable)
        found = await first_available(tiers_for(wanted, TIERS), SandboxRequest(config))
    except SandboxUnavailable as error:
        failures = error.failures if isinstance(error, NoTierAvailable) else ()
        return SandboxStatus(None, error.message, error.hint, failures=failures)
    reason = "tested just now: actions that must fail in it fail"
    return SandboxStatus(found.sandbox.tier, reason, "", found.facts.missing, found.failures)


class NoTierAvailable(SandboxUnavailable):
    """No tier passed; ``failures`` say why, the strongest tier first."""

    def __init__(self, failures: Sequence[TierFailure]) -> None:
        super().__init__(_sentence(failures), hint=failures[0].hint)
        self.failures = tuple(failures)


def tiers_for(wanted: SandboxMode, tiers: Sequence[SandboxTier]) -> tuple[SandboxTier, ...]:
    """Return the tiers to try, in their order: all for "auto", else the one of that name."""
    return tuple(tier for tier in tiers if wanted in ("auto", tier.name))


async def first_available(
    tiers: Sequence[SandboxTier], request: SandboxRequest, tests: ProbeCache | None = None
) -> Selected:
    """Return the sandbox of the first of ``tiers`` that is possible here and passes its test, or has by ``tests``.

    Raises:
        NoTierAvailable: there is none.
    """
    failures: list[TierFailure] = []
    for tier in tiers:
        try:
            candidate = tier.find(request)
            facts = await _tested(tier.name, candidate, request.config, tests)
        except SandboxUnavailable as error:
            failures.append(TierFailure(tier.name, error.message, error.hint))
            continue
        return Selected(candidate.build(facts), facts, tuple(failures))
    raise NoTierAvailable(failures)


async def _tested(tier: str, candidate: Candidate, config: SandboxConfig, tests: ProbeCache | None) -> ProbeFacts:
    """Return the facts of the tier's test.

    Raises:
        SandboxUnavailable: it failed, which is never kept.
    """
    if tests is None:
        return await candidate.test()
    from agentctl.sandbox.probe_cache import probe_key  # noqa: PLC0415 - only where one is wanted

    key = probe_key(tier, candidate.identity, config)
    if key is not None and (known := tests.find(key)) is not None:
        return known
    facts = await candidate.test()
    if key is not None and key == probe_key(tier, candidate.identity, config):  # nothing changed meanwhile
        tests.remember(key, facts)
    return facts


def _sentence(failures: Sequence[TierFailure]) -> str:
    """Return why tiers failed; one alone needs no name."""
    if len(failures) == 1:
        return failures[0].reason
    return "; ".join(f"{failure.tier}: {failure.reason}" for failure in failures)


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


def _with_access(config: SandboxConfig, readable: Sequence[str], writable: Sequence[str]) -> SandboxConfig:
    """Return the configuration with the real paths of what commands reach besides the workspace.

    Paths within a folder that commands can change are left out, and so are those that lead through one: they are
    reached anyway, or a link there could lead anywhere.
    """
    roots = {config.workspace, *map(os.path.realpath, writable)}

    def is_fixed(path: str, place: str) -> bool:
        above = [os.path.dirname(at) for at, _ in links_along(path)]  # noqa: PTH120
        if place == config.workspace or any(place != root and is_beneath(place, root) for root in roots):
            return False
        return not any(is_beneath(at, root) for at in above for root in roots)

    def fixed(paths: Sequence[str]) -> dict[str, None]:
        return {place: None for path in paths if is_fixed(path, place := os.path.realpath(path))}

    changed = fixed(writable)
    read = tuple(place for place in fixed(readable) if place not in changed)
    return config._replace(readable=read, writable=tuple(changed))


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
