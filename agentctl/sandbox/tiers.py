"""The tiers of the sandbox, the strongest first, and how each is found, tested and built.

A tier is added by one line of ``TIERS``. ``find`` looks whether the tier can be had here at all and returns a
``Candidate``; its ``test`` tries what must fail in the sandbox; ``build`` makes the sandbox of a run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agentctl.core.errors import SandboxUnavailable, ToolError
from agentctl.protocols import Sandbox
from agentctl.sandbox.mount_plan import SandboxConfig

if TYPE_CHECKING:
    from agentctl.sandbox.denied_paths import DeniedPaths
    from agentctl.sandbox.socket_files import SocketFiles


class SandboxRequest(NamedTuple):
    """What a sandbox is made for: its input, the folder of the run's files, and what deny rules hide."""

    config: SandboxConfig
    files: Path | None = None
    denied: DeniedPaths | None = None


class ProbeFacts(NamedTuple):
    """The result of a passed test: what the tier needs to know to be built, and a sentence for each protection that
    this machine does not offer.
    """

    options: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class Candidate(NamedTuple):
    """A tier that seems possible here.

    ``test`` raises ``SandboxUnavailable`` if anything works in the sandbox that must fail, or fails that must work.
    ``identity`` is what the result depends on besides the machine and the request, such as the program that makes the
    sandbox. ``build`` makes the sandbox by the facts of a test that passed.
    """

    identity: tuple[str, ...]
    test: Callable[[], Awaitable[ProbeFacts]]
    build: Callable[[ProbeFacts], Sandbox]


class SandboxTier(NamedTuple):
    """A tier by name; ``find`` raises ``SandboxUnavailable`` where it is impossible."""

    name: str
    find: Callable[[SandboxRequest], Candidate]


def _find_bwrap(request: SandboxRequest) -> Candidate:
    from agentctl.sandbox.self_test import find_bwrap  # noqa: PLC0415 - it brings subprocess
    from agentctl.sandbox.socket_files import SocketFiles  # noqa: PLC0415

    program = find_bwrap(request.config.workspace)
    sockets = SocketFiles(request.config.workspace, *request.config.readable, *request.config.writable)
    return Candidate(
        identity_of(program),
        partial(_test_bwrap, request.config, program, sockets),
        partial(_build_bwrap, request, program, sockets),
    )


def identity_of(program: str) -> tuple[str, ...]:
    """Return what changes when a program is replaced or edited: its path, and what the file system says of the file.

    Raises:
        SandboxUnavailable: it has gone.
    """
    real = os.path.realpath(program)
    try:
        found = os.stat(real)  # noqa: PTH116
    except OSError as error:
        raise SandboxUnavailable(f"{program} cannot be read: {(error.strerror or str(error)).lower()}") from error
    numbers = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode)
    return (program, real, *map(str, (*numbers, found.st_uid, found.st_gid)))


async def _test_bwrap(config: SandboxConfig, program: str, sockets: SocketFiles) -> ProbeFacts:
    from agentctl.sandbox.bwrap import Bwrap  # noqa: PLC0415 - only where it is wanted
    from agentctl.sandbox.self_test import find_leak, hint_for, options_of, place_decoys  # noqa: PLC0415

    known = await options_of(program)
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
    return ProbeFacts(tuple(sorted(known)), tried.missing)


def _build_bwrap(request: SandboxRequest, program: str, sockets: SocketFiles, facts: ProbeFacts) -> Sandbox:
    from agentctl.sandbox.bwrap import Bwrap  # noqa: PLC0415 - only where it is wanted
    from agentctl.sandbox.import_path import import_folders, is_importable  # noqa: PLC0415
    from agentctl.sandbox.private_files import PrivateFiles  # noqa: PLC0415
    from agentctl.sandbox.workspace_guard import WorkspaceGuard  # noqa: PLC0415

    config = request.config
    is_root = os.geteuid() == 0 and config.user is None
    find_private = PrivateFiles(config.workspace).places if is_root else tuple
    # The next import of such a file would run it in agentctl's own process, outside the sandbox.
    folders = import_folders(config.workspace)
    imports = partial(is_importable, folders=folders) if folders else lambda _: False
    guarded = not config.read_only or config.why_read_only
    guard = WorkspaceGuard(config, request.files, imports=imports) if guarded else None
    return Bwrap(program, frozenset(facts.options), config, find_private, guard, request.denied, sockets)


def _find_landlock(request: SandboxRequest) -> Candidate:
    from agentctl.sandbox.landlock_tier import build_landlock, find_machine, test_landlock  # noqa: PLC0415

    machine, abi = find_machine()

    async def test() -> ProbeFacts:
        return ProbeFacts(missing=await test_landlock(request.config, machine, abi))

    def build(_: ProbeFacts) -> Sandbox:
        return build_landlock(request.config, machine, abi, files=request.files, denied=request.denied)

    return Candidate((f"landlock {abi}", *identity_of(sys.executable), *identity_of("/bin/sh")), test, build)


TIERS = (SandboxTier("bwrap", _find_bwrap), SandboxTier("landlock", _find_landlock))
