"""Run the command of a hook: outside of the sandbox, with one line of JSON on stdin, for a bounded time.

It has the user's rights and the environment of a tool's command, which has no keys, and it starts in ``/``: a program
must not find its modules or its configuration in a folder that a model can write. What it reads is a file without a
name, so that a command that does not read it cannot block anything.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from agentctl.core.errors import ToolError
from agentctl.core.text import safe_text
from agentctl.sandbox.process import child_environment, run_process

DENIES = 2  # the exit code by which a hook denies a call
_MOST_REASON = 1000  # characters of stderr


class HookEnd(NamedTuple):
    """How a hook ended: ``passed`` with exit code 0, ``denied`` with 2, else ``failed``; ``why`` is for a person."""

    verdict: Literal["passed", "denied", "failed"]
    why: str = ""


async def run_hook(
    command: Sequence[str],
    document: bytes,
    *,
    timeout: float,  # noqa: ASYNC109 - it does more than cancel
    environment: Mapping[str, str],
) -> HookEnd:
    """Run a hook's command with ``document`` on its stdin, and return how it ended; no process of it is left.

    It is ended after ``timeout`` seconds, and when cancelled. ``environment`` is added to the fixed one.
    """
    try:
        with _file_of(document) as stdin:
            result = await run_process(
                command,
                timeout=timeout,
                env={**child_environment(), **environment},
                cwd=Path("/"),
                subreaper=True,
                stdin=stdin,
            )
    except ToolError as error:
        return HookEnd("failed", safe_text(error.message))
    except (OSError, ValueError) as error:
        return HookEnd("failed", safe_text(f"{command[0]} could not be started: {error}"))
    said = _reason(result.stderr)
    if result.timed_out:
        return HookEnd("failed", f"{safe_text(command[0])} took longer than {timeout:g} s and was ended")
    if result.exit_code == 0:
        return HookEnd("passed")
    if result.exit_code == DENIES:
        return HookEnd("denied", said or "it gave no reason on stderr")
    how = f"ended with exit code {result.exit_code}"
    if result.exit_code < 0:
        how = f"was killed by signal {-result.exit_code}"
    return HookEnd("failed", f"{safe_text(command[0])} {how}" + (f": {said}" if said else ""))


@contextmanager
def _file_of(document: bytes) -> Iterator[int]:
    """Yield an open file with ``document``, at its beginning; it has no name, and lies in memory where that works."""
    if hasattr(os, "memfd_create"):
        file = os.fdopen(os.memfd_create("agentctl-hook"), "w+b", buffering=0)
    else:
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed below
    with file:
        rest = memoryview(document)
        while rest:
            rest = rest[file.write(rest) :]
        file.seek(0)
        yield file.fileno()


def _reason(stderr: str) -> str:
    """Return what a hook wrote on stderr as one line, without escapes, cut to a bounded length."""
    text = " ".join(safe_text(stderr[: 4 * _MOST_REASON]).split())
    return text if len(text) <= _MOST_REASON else f"{text[:_MOST_REASON]}…"
