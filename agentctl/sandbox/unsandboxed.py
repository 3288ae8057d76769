"""No sandbox: commands run as the user, where ``--sandbox none`` was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from agentctl.core.redaction import mask
from agentctl.protocols import CommandResult, FileNotice
from agentctl.sandbox.process import child_environment, run_process


class Unsandboxed:
    """Runs commands with everything that the user can do; only their end and their output are bounded.

    ``environment`` is added to the fixed one; ``secrets`` are masked in the output, before a model reads it.
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
        argv, env = ["/bin/sh", "-c", command], {**child_environment(), **self._environment}
        result = await run_process(argv, timeout=timeout, env=env, cwd=self._workspace, more=more, subreaper=True)
        return result._replace(stdout=mask(result.stdout, self._secrets), stderr=mask(result.stderr, self._secrets))
