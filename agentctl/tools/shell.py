"""A command of the shell, with an end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from agentctl.errors import UsageError
from agentctl.protocols import CommandResult


async def run_shell_async(
    command: str,
    timeout: float = 60.0,  # noqa: ASYNC109 - promised to the caller
    *,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
) -> CommandResult:
    """Run ``command`` by ``/bin/sh`` and return how it ended; a failure or a timeout is a result, not an exception.

    After ``timeout`` seconds it and everything it started is ended (SIGTERM, two seconds later SIGKILL) and
    ``timed_out`` is set; the same happens, before the exception goes on, when the caller is cancelled. Nothing stays
    behind in the background. stdin is empty and no terminal can be reached. The environment is a small fixed one, in
    which programs do not ask questions; ``env`` is laid over it. Of each stream the first 32 KiB and the last 64 KiB
    are kept, ``truncated_bytes`` counts the rest; lines in stderr that begin with ``[agentctl:`` are ours.

    There is no boundary: the command can do whatever its user can.

    Raises:
        UsageError: an argument is wrong.
        ToolError: the command could not be started.
    """
    _check(command, timeout, env or {})
    if cwd is not None and "\0" in str(cwd):
        raise UsageError(f"cwd is {str(cwd)!r}", hint="give a folder's path, without NUL")
    from agentctl.sandbox.process import child_environment, run_process  # noqa: PLC0415 - it brings subprocess

    return await run_process(
        ["/bin/sh", "-c", command],
        timeout=timeout,
        env={**child_environment(), **(env or {})},
        cwd=None if cwd is None else Path(cwd),
    )


def _check(command: object, timeout: object, env: Mapping[str, object]) -> None:
    if not isinstance(command, str) or not command.strip() or "\0" in command:
        raise UsageError(f"command is {command!r}", hint="give the command as one string, without NUL")
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or math.isnan(timeout) or timeout <= 0:
        raise UsageError(f"timeout is {timeout!r}", hint="give a number of seconds above 0")
    for name, value in env.items():
        if not isinstance(value, str) or not name or "=" in name or "\0" in name + value:
            raise UsageError(f"env: {name!r} is {value!r}", hint="give names without = and strings, both without NUL")
