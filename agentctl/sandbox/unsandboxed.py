"""Run commands without a sandbox: tier ``none``, and tier ``external`` where the machine itself is the sandbox."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from agentctl.core.results import FileNotice
from agentctl.core.trace_context import trace_variables
from agentctl.protocols import CommandResult

if TYPE_CHECKING:
    from agentctl.sandbox.process import Streams


class Unsandboxed:
    """Runs commands with all rights of the user; only their time and their output are limited.

    ``environment`` is added to the fixed one; ``secrets`` are masked in the output before a model reads it. ``tier`` is
    "external" if the user said that the machine itself is the sandbox.
    """

    read_only = False
    network = True

    def __init__(
        self,
        workspace: Path,
        *,
        tier: Literal["none", "external"] = "none",
        environment: Mapping[str, str] = MappingProxyType({}),
        secrets: Sequence[str] = (),
    ) -> None:
        self.tier: str = tier
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

        argv, env = ["/bin/sh", "-c", command], {**child_environment(), **self._environment, **trace_variables()}
        result = await run_process(argv, timeout=timeout, env=env, cwd=self._workspace, more=more, subreaper=True)
        return result._replace(stdout=mask(result.stdout, self._secrets), stderr=mask(result.stderr, self._secrets))

    async def serve(self, argv: Sequence[str], environment: Mapping[str, str], streams: Streams) -> CommandResult:
        """Run a server until it ends or this is cancelled; its processes end with it, as those of a command.

        ``environment`` is its own, over the fixed one; what is added to that of commands is not for servers.

        Raises:
            ToolError: it could not be started.
        """
        from agentctl.sandbox.process import child_environment, run_process  # noqa: PLC0415 - it brings subprocess

        return await run_process(
            ["/bin/sh", "-c", 'exec "$@"', "sh", *argv],
            timeout=math.inf,
            env={**child_environment(), **environment},
            cwd=self._workspace,
            subreaper=True,
            streams=streams,
        )
