"""No boundary: commands run as the user, where ``--sandbox none`` was asked for."""

from __future__ import annotations

from pathlib import Path

from agentctl.protocols import CommandResult
from agentctl.sandbox.process import child_environment, run_process


class NoSandbox:
    """Runs commands with everything that the user can do; only their end and their output are bounded."""

    tier = "none"
    read_only = False

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace

    async def run(
        self,
        command: str,
        *,
        timeout: float,  # noqa: ASYNC109 - the socket promises it
        more: bool = False,
    ) -> CommandResult:
        """Run ``command`` by /bin/sh in the workspace for at most ``timeout`` seconds.

        Raises:
            ToolError: it could not be started.
        """
        argv = ["/bin/sh", "-c", command]
        return await run_process(argv, timeout=timeout, env=child_environment(), cwd=self._workspace, more=more)
