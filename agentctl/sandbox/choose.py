"""Which boundary shell commands get here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from agentctl.errors import SandboxUnavailable
from agentctl.protocols import Sandbox

Wanted = Literal["auto", "bwrap", "none"]


async def open_sandbox(
    wanted: Wanted, *, workspace: Path, network: bool, read_only: bool, hidden: Sequence[Path] = ()
) -> Sandbox:
    """Return the boundary to run commands in.

    Raises:
        SandboxUnavailable: it cannot be had here.
    """
    raise SandboxUnavailable("this release has no boundary for shell commands", hint="do without run_shell")
