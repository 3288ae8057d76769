"""Run a shell command, and format its result for a model."""

from __future__ import annotations

import math
import re
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field

from agentctl.core.errors import SandboxUnavailable, ToolError, UsageError
from agentctl.core.impact import Impact
from agentctl.core.results import FileNotice, Reply
from agentctl.core.text import escape_frames, frames_note
from agentctl.protocols import CommandResult, Effect, Sandbox
from agentctl.tools.tables import cell
from agentctl.tools.tool import Arguments, Command, cut_middle, define_tool, offer_as
from agentctl.tools.toolbox import ToolContext

_OF_STDOUT, _OF_STDERR = 40 * 1024, 16 * 1024  # bytes of each stream that a model may see
_MOST_MOVED = 20
_NOT_THERE = re.compile(
    r"name resolution|resolve host|resolve proxy|unable to resolve|Name or service not known"
    r"|Address family not supported|Network is unreachable|No route to host|Could not connect|Connection refused",
    re.IGNORECASE,
)


class RunShell(Arguments):
    """The arguments of run_shell."""

    offered = offer_as(command="", timeout="seconds (60)")

    command: Command = Field(min_length=1, description="for /bin/sh, in the workspace")
    timeout: int = Field(60, ge=1, le=600, description="seconds")


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
    which programs do not ask questions; inside a run it also makes nested runs children of that run. ``env`` overrides
    it. Of each stream the first 32 KiB and the last 64 KiB are kept, ``truncated_bytes`` counts the rest; ``notes`` are
    sentences of agentctl, not of the command.

    There is no sandbox: the command can do whatever its user can.

    Raises:
        UsageError: an argument is wrong.
        ToolError: the command could not be started.

    >>> import anyio
    >>> from agentctl import run_shell_async
    >>> anyio.run(run_shell_async, "echo hello").stdout
    'hello\\n'
    >>> anyio.run(run_shell_async, "sleep 60", 0.05).timed_out
    True
    """
    _check(command, timeout, env or {})
    if cwd is not None and "\0" in str(cwd):
        raise UsageError(f"cwd cannot be {str(cwd)!r}", hint="give a folder's path, without NUL")
    from agentctl.sandbox.process import child_environment, run_process  # noqa: PLC0415 - it brings subprocess
    from agentctl.settings.lineage import inherited_variables, is_inside_a_run  # noqa: PLC0415

    return await run_process(
        ["/bin/sh", "-c", command],
        timeout=timeout,
        env={**child_environment(), **inherited_variables(), **(env or {})},
        cwd=None if cwd is None else Path(cwd),
        of_a_run=is_inside_a_run(),
        subreaper=True,
    )


def _effect(context: ToolContext) -> Effect:
    if context.sandbox is None or context.sandbox.read_only:
        return "read"
    return "destructive" if context.sandbox.tier == "none" else "write"


def _is_contained(context: ToolContext) -> bool:
    return context.sandbox is not None and context.sandbox.tier != "none"


async def _impact(context: ToolContext, arguments: RunShell) -> Impact:
    from agentctl.sandbox.bwrap import environment_inside  # noqa: PLC0415 - only a question needs it
    from agentctl.sandbox.process import child_environment  # noqa: PLC0415 - it brings subprocess

    folder, ends = str(context.workspace), (f"ends it after {arguments.timeout} s",)
    sandbox = context.sandbox
    if sandbox is None or sandbox.tier in ("none", "external"):
        powers = ("it can do whatever your user can, and use the network",)
        path = child_environment()["PATH"]
        return Impact(f"runs a command in {folder}, without a sandbox", ends, powers, folder=folder, search_path=path)
    where = f"in the sandbox {sandbox.tier}{', where nothing can be written' if sandbox.read_only else ''}"
    network = "with the machine's network" if sandbox.network else "without network"
    path = environment_inside()["PATH"]
    return Impact(f"runs a command in {folder}, {where}, {network}", ends, folder=folder, search_path=path)


@define_tool(RunShell, effect=_effect, contained=_is_contained, impact=_impact)
async def run_shell(context: ToolContext, arguments: RunShell) -> str:
    """Run a shell command in the workspace. Its sandbox hides the machine's processes, ports and mounts."""
    if context.sandbox is None:
        raise SandboxUnavailable("no sandbox is available to run a command in", hint="--sandbox bwrap says why")
    if not arguments.command.strip() or "\0" in arguments.command:
        raise ToolError("run_shell: the command is empty or holds a NUL byte", hint="give one line for /bin/sh")
    result = await context.sandbox.run(
        arguments.command, timeout=float(arguments.timeout), more=context.run_files is not None
    )
    text = format_for_model(result, arguments.timeout, context.sandbox, more=context.run_files is not None)
    return Reply.of(text, result.notices) if result.notices else text


def format_for_model(result: CommandResult, timeout: int, sandbox: Sandbox, *, more: bool = False) -> str:
    """Format the result of a command for a model: its exit, both streams, what was cut, and notes.

    ``more``: the streams are not cut here; the caller does that. A line of the output that looks like one of agentctl's
    gets a backslash before it.
    """
    streams = [
        (name, *escape_frames((text if more else cut_middle(text, most)).removesuffix("\n")))
        for name, text, most in (("stdout", result.stdout, _OF_STDOUT), ("stderr", result.stderr, _OF_STDERR))
    ]
    lines = [f"timed out after {timeout} s: the command and all that it started were ended"] if result.timed_out else []
    if not result.timed_out:
        lines.append(f"exit code: {result.exit_code}{_signal_of(result.exit_code)}")
    lines += [
        f"note: {' '.join(note.split())}" for note in (*result.notes, *_moved_notes(result.notices))
    ]  # a file's name may contain a newline
    if note := frames_note(sum(escaped for _, _, escaped in streams)):
        lines.append(note)
    lines += [line for name, text, _ in streams if getattr(result, name) for line in (f"{name}:", text)]
    if not result.stdout and not result.stderr:
        lines.append("no output")
    if result.truncated_bytes:
        lines.append(f"{result.truncated_bytes:,} bytes of output left out: send it to a file and look at parts")
    if sandbox.tier not in ("none", "external") and result.exit_code != 0:
        lines += [f"hint: {hint}" for hint in _hints((result.stderr or result.stdout)[-_OF_STDERR:], sandbox)]
    return "\n".join(lines)


def _moved_notes(notices: Sequence[FileNotice]) -> list[str]:
    """Return the notes for a model about files that are no longer where its command has put them."""
    moved = [notice.path for notice in notices if notice.moved_to is not None]
    if not moved:
        return []
    names = ", ".join(cell(path, 200) for path in moved[:_MOST_MOVED])
    more = f" and {len(moved) - _MOST_MOVED:,} more" if len(moved) > _MOST_MOVED else ""
    return [f"moved out of the workspace: {names}{more}; to write such a file use write_file, which asks the user"]


def _signal_of(code: int) -> str:
    number = -code if code < 0 else code - 128
    try:
        return f" ({signal.Signals(number).name})" if code < 0 or code > 128 else ""
    except ValueError:
        return ""


def _hints(said: str, sandbox: Sandbox) -> list[str]:
    """Return likely causes of a failure in a sandbox."""
    hints = []
    if _NOT_THERE.search(said):
        hints.append("commands have no network in here unless the user gives --network")
    if "Read-only file system" in said or "Device or resource busy" in said:
        only = (
            "nothing but /tmp"
            if sandbox.read_only
            else "only the workspace (not files that other programs obey) and /tmp"
        )
        hints.append(f"{only} can be written in here")
    if re.search("permission denied|operation not permitted", said, re.IGNORECASE):
        hints.append("commands have no privileges in here, and see nothing that is private to the user")
        if sandbox.tier == "landlock":
            only = "$HOME and $TMPDIR" if sandbox.read_only else "the workspace, $HOME and $TMPDIR"
            hints.append(f"only {only} can be written in here, not /tmp")
    if "Resource temporarily unavailable" in said or "annot fork" in said:
        hints.append("the number of processes is limited in here")
    return hints


def _check(command: object, timeout: object, env: Mapping[str, object]) -> None:
    if not isinstance(command, str) or not command.strip() or "\0" in command:
        raise UsageError(f"command cannot be {command!r}", hint="pass one string, not empty and without NUL")
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or math.isnan(timeout) or timeout <= 0:
        raise UsageError(f"timeout cannot be {timeout!r}", hint="pass a number of seconds above 0")
    for name, value in env.items():
        if not isinstance(value, str) or not name or "=" in name or "\0" in name + value:
            raise UsageError(
                f"env: {name!r} cannot be {value!r}", hint="give names without = and strings, both without NUL"
            )
