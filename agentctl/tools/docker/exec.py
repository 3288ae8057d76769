"""The tool that runs a command in a container, and ends it inside on timeout, which the engine does not do.

``split_command`` and ``CommandOutput`` serve ``run``, too: words without a shell, and output in bounded memory.
"""

from __future__ import annotations

import json
import re
import secrets
import shlex
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import quote

import anyio
from pydantic import Field

from agentctl.core.errors import AgentctlError, EngineUnavailable, ToolError
from agentctl.core.impact import Impact
from agentctl.core.text import escape_frames, frames_note
from agentctl.sandbox.output import MORE, Output
from agentctl.tools.docker.client import EngineRefused
from agentctl.tools.docker.containers import (
    CONTAINER,
    OnContainer,
    inspect_resolved,
    name_of,
    path_of,
    resolve_container,
)
from agentctl.tools.docker.engine_impact import container_impact
from agentctl.tools.docker.responses import Doc, Frames, document, fields, number, text
from agentctl.tools.tables import cell
from agentctl.tools.tool import WORDS, Command, define_tool, offer_as
from agentctl.tools.toolbox import ToolContext

MOST_COMMAND = 64 * 1024
_SHELL_ONLY = frozenset(("|", "||", "&&", "&", ";", ">", ">>", "<", "2>&1", "2>", "&>"))
_SHELLS = re.compile(r"(?:/(?:usr/)?bin/)?(?:ba|da|a|z|k)?sh")
_LOOK_AGAIN_S = 0.2
_GRACE_S = 1.0
_ENDING_S = 8.0
_MARK = "AGENTCTL_EXEC"
_KILL = 'for p in /proc/[0-9]*; do grep -qs "$1" "$p/environ" && kill "-$2" "${p#/proc/}"; done; true'


class _State(NamedTuple):
    """Whether a command runs; its exit code if it has ended; ``pid`` is the one on the engine's machine."""

    running: bool
    code: int | None = None
    pid: int = 0


class ExecCommand(OnContainer):
    """The arguments of docker_exec."""

    offered = offer_as(command=WORDS, workdir=None, timeout=None)

    command: Command = Field(description="words or a list; for a shell write sh -c 'COMMAND'")
    user: str | None = None
    workdir: str | None = None
    timeout: int = Field(60, ge=1, le=600, description="seconds")


async def resolve_exec(context: ToolContext, arguments: ExecCommand) -> ExecCommand:
    """Return the arguments with the container's true name and id, after checking all the others, too.

    Raises:
        ToolError: an argument is wrong. EngineUnavailable: no such container, or the engine cannot be reached.
    """
    split_command("docker_exec", arguments.command)
    for word in (arguments.user, arguments.workdir):
        if word is not None and not (word.isprintable() and 0 < len(word) <= 4000):
            what = f'docker_exec: "user" or "workdir" cannot be {cell(word, 60)!r}'
            raise ToolError(what, hint="omit it, or give a printable name")
    return await resolve_container(context, arguments)


async def _impact(context: ToolContext, arguments: ExecCommand) -> Impact:
    words = split_command("docker_exec", arguments.command)

    def details(container: Doc) -> tuple[str, ...]:
        user = arguments.user or text(container, "Config", "User") or "root"
        folder = arguments.workdir or text(container, "Config", "WorkingDir") or "/"
        return (f"runs as {cell(user, 80)} in {cell(folder, 200)}, for at most {arguments.timeout} s",)

    return await container_impact(context, arguments, f"runs {cell(words[0], 120)} in", details=details)


@define_tool(ExecCommand, effect="destructive", resolve=resolve_exec, target=CONTAINER, impact=_impact)
async def docker_exec(context: ToolContext, arguments: ExecCommand) -> str:
    """Run a command inside a running container; show its exit code and output."""
    container = await inspect_resolved(context, arguments)
    name, words = name_of(container), split_command("docker_exec", arguments.command)
    if fields(container, "State").get("Running") is not True:
        raise ToolError(f"{name} is not running", hint="start it with docker_start")
    if fields(container, "State").get("Paused") is True:
        raise ToolError(f"{name} is paused and runs nothing", hint=f"first: docker_unpause(name={name})")
    mark, began = f"{_MARK}={secrets.token_hex(8)}", anyio.current_time()
    written = CommandOutput(more=context.run_files is not None)
    who = {"User": arguments.user} if arguments.user else {}
    where = {"WorkingDir": arguments.workdir} if arguments.workdir else {}
    identity = await _create(context, path_of(container, "exec"), words, {"Env": [mark], **who, **where})
    try:
        with anyio.move_on_after(arguments.timeout) as limit:
            code, held = await _follow(context, identity, written, arguments.timeout)
    except EngineRefused as error:
        said = f"{cell(words[0], 80)} was not started in {name}: {cell(error.reason, 250)}"
        raise ToolError(said, hint=split_hint(words[0])) from error
    except BaseException as error:
        left = await _end(context, path_of(container, "exec"), identity, mark, who)
        if left and isinstance(error, AgentctlError):
            error.hint = f"{error.hint}; {left}".removeprefix("; ")
        raise
    if limit.cancelled_caught:
        left = await _end(context, path_of(container, "exec"), identity, mark, who)
        how = left or "it was ended"
        return f"timed out after {arguments.timeout} s (timeout, 600 at most): {how}\n{written}"
    if code in (126, 127) and _was_not_started(written.text):
        said = f"{cell(words[0], 80)} was not started in {name}: {cell(written.text, 300)}"
        raise ToolError(said, hint=split_hint(words[0]))
    more = "\nnote: something that it started is still running in the container" if held else ""
    head = f"exit code {code} after {anyio.current_time() - began:.1f} s{more}"
    return "\n".join(filter(None, (head, shell_note(words), str(written))))


def _was_not_started(written: str) -> bool:
    """Return whether a command's only output is the runtime's own: Docker's, or Podman's."""
    if written.startswith("OCI runtime exec failed"):
        return True
    return ": OCI runtime " in written and all(line.startswith("Error: ") for line in written.splitlines())


async def _create(context: ToolContext, path: str, words: Sequence[str], more: Mapping[str, object]) -> str:
    body = {"AttachStdout": True, "AttachStderr": True, "Privileged": False, "Tty": False, "Cmd": list(words), **more}
    _, answer = await context.engine.change("POST", path, body=body)
    if not (identity := text(document(answer), "Id")):
        raise EngineUnavailable("The engine returned no exec id.")
    return quote(identity, safe="")


async def _follow(context: ToolContext, identity: str, written: CommandOutput, patience: float) -> tuple[int, bool]:
    """Read a command's output until it has ended; return its exit code, and whether its output is still held open.

    Raises:
        EngineUnavailable: the command was not started, or the connection was lost.
    """
    ends: list[int] = []
    broken: list[EngineUnavailable] = []

    async def watch(group: anyio.abc.TaskGroup) -> None:
        try:
            code = await _wait_for_exit_code(context, identity)
        except EngineUnavailable:
            return  # the reader of the output gets the same error
        await anyio.sleep(_GRACE_S)
        ends.append(code)
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        try:
            asked = context.engine.request(
                "POST", f"exec/{identity}/start", {}, body={"Detach": False, "Tty": False}, patience=patience + 30
            )
            async with asked as answer:
                group.start_soon(watch, group)
                await written.read_from(answer.pieces)
        except EngineUnavailable as error:
            broken.append(error)
        group.cancel_scope.cancel()
    if broken:
        raise broken[0]
    if ends:
        return ends[0], True
    return await _wait_for_exit_code(context, identity), False


async def _wait_for_exit_code(context: ToolContext, identity: str) -> int:
    """Wait until a command has ended and return its exit code."""
    while True:
        code = (await _read_state(context, identity)).code
        if code is not None:
            return code
        await anyio.sleep(_LOOK_AGAIN_S)


async def _read_state(context: ToolContext, identity: str) -> _State:
    known = document(await context.engine.get(f"exec/{identity}/json"))
    running = known.get("Running") is not False
    ended = not running and known.get("ExitCode") is not None
    return _State(running, number(known, "ExitCode") if ended else None, number(known, "Pid"))


async def _end(context: ToolContext, path: str, identity: str, mark: str, who: Mapping[str, object]) -> str:
    """End a command and its child processes, found by a mark in their environment; return a note if that failed, or "".

    This needs a shell and grep in the container; the command's own user can see and end its processes.
    """
    state = _State(running=True)
    with anyio.move_on_after(_ENDING_S, shield=True):
        for signal in ("TERM", "KILL", "KILL"):
            with suppress(EngineUnavailable):
                killer = await _create(context, path, ["sh", "-c", _KILL, "sh", mark, signal], who)
                with anyio.move_on_after(_GRACE_S):
                    await _follow(context, killer, CommandOutput(), _GRACE_S)
            state = await _wait_until_stopped(context, identity)
            if signal == "KILL" and not state.running:
                return ""
    if not state.running:
        return ""
    where = f" (pid {state.pid} on the engine's machine)" if state.pid else ""
    return f"the command could not be ended and may still run in the container{where}; docker_restart would end it"


async def _wait_until_stopped(context: ToolContext, identity: str) -> _State:
    """Return a command's state as soon as it does not run, at the latest after a second."""
    until = anyio.current_time() + _GRACE_S
    state = _State(running=True)
    while True:
        with suppress(EngineUnavailable):
            state = await _read_state(context, identity)
        if not state.running or anyio.current_time() > until:
            return state
        await anyio.sleep(0.1)


def split_command(tool: str, command: str) -> list[str]:
    """Split ``command`` into words and remove the quotes, without a shell.

    Raises:
        ToolError: the command is empty or too long, contains NUL, or has an unterminated quote.
    """
    if len(command) > MOST_COMMAND:
        raise ToolError(f'{tool}: "command" has {len(command):,} characters; the most is {MOST_COMMAND:,}')
    if "\0" in command or (not command.isascii() and any("\ud800" <= letter <= "\udfff" for letter in command)):
        raise ToolError(f'{tool}: "command" contains a character that is not allowed in a command')
    try:
        words = shlex.split(command)
    except ValueError:
        raise ToolError(
            f'{tool}: "command" has an unterminated quote', hint="close it, or write a backslash before it"
        ) from None
    if not words or not words[0]:
        raise ToolError(f'{tool}: "command" is empty', hint="name the program, like: ls -l /")
    return words


def split_hint(program: str) -> str:
    """Return a hint if what was to be a program's name is a whole command in one word, else ""."""
    words = program.split()
    return f"give each word by itself: {json.dumps(words[:8], ensure_ascii=False)}" if len(words) > 1 else ""


def shell_note(words: list[str]) -> str:
    """Return a line that says why shell syntax had no effect, or ""."""
    if _SHELLS.fullmatch(words[0]) or not _SHELL_ONLY.intersection(words):
        return ""
    return "note: no shell ran this, so its special characters were plain text; for a shell write sh -c 'COMMAND'"


class CommandOutput:
    """stdout and stderr of a command, separate; head and tail are kept, and ``more`` of them if a run saves the
    whole.
    """

    def __init__(self, *, more: bool = False) -> None:
        self._frames = Frames()
        self._out, self._err = (Output(*MORE), Output(*MORE)) if more else (Output(), Output())

    async def read_from(self, pieces: AsyncIterator[bytes]) -> None:
        """Read to the end.

        Raises:
            EngineUnavailable: the stream is invalid, or the connection was lost.
        """
        async for piece in pieces:
            for stream, payload in self._frames.feed(piece):
                (self._err if stream == 2 else self._out).add(payload)

    @property
    def text(self) -> str:
        """Both streams, one after the other, without headings."""
        return f"{self._out.text()[0]}\n{self._err.text()[0]}".strip()

    def __str__(self) -> str:
        shown, escaped = [], 0
        for name, output in (("stdout", self._out), ("stderr", self._err)):
            if output.total:
                text, count = escape_frames(output.text()[0].rstrip())
                shown.append(f"{name}:\n{text}")
                escaped += count
        return "\n".join(filter(None, (frames_note(escaped), *shown))) or "It wrote nothing."
