"""Run one command to its end, with bounded output; no process that it started outlives it."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import anyio

from agentctl.core.errors import ToolError
from agentctl.protocols import CommandResult
from agentctl.sandbox.output import MORE, Output, OutputFile
from agentctl.sandbox.process_guard import GuardedLeader, SiblingGuard, SubreaperGuard, has_subreaper
from agentctl.sandbox.process_tree import MARKER, Leader, ProcessTree, run_aside
from agentctl.settings.names import NO_RUN

if TYPE_CHECKING:
    from agentctl.sandbox.confined_guard import ConfinedGuard

_GRACE_S = 0.5  # for output that is still in the pipes when the command has ended
_PIPE_BYTES = 256 * 1024
_READS_IN_A_ROW = 8
_PAUSE_S = 0.01  # between reads from a server: it runs as long as the run, and a flood must not take a core meanwhile


def child_environment() -> dict[str, str]:
    """Return the environment of a command: a fixed list, nothing inherited, and no program may ask a question."""
    home = Path.home()
    return {
        "PATH": f"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/homebrew/bin:{home / '.local/bin'}",
        "HOME": str(home),
        "SHELL": "/bin/sh",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "NO_COLOR": "1",
        "CI": "1",
        "PAGER": "cat",
        "GIT_PAGER": "cat",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
        "SSH_ASKPASS_REQUIRE": "never",
        "DEBIAN_FRONTEND": "noninteractive",
        "PIP_NO_INPUT": "1",
    }


Launch = Callable[[Callable[[], "subprocess.Popen[bytes]"]], "subprocess.Popen[bytes]"]
"""Takes a function that starts a process, calls it once, and returns its result."""


class Streams(NamedTuple):
    """What a command reads and writes, if not nothing and into memory: two open files of the caller's, which it closes
    when the command has ended. ``stderr`` keeps the other stream. ``started`` is called when the command is started.
    """

    stdin: int
    stdout: int
    stderr: Output
    started: Callable[[], object]


def _directly(popen: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    return popen()


async def run_process(
    argv: Sequence[str],
    *,
    timeout: float,  # noqa: ASYNC109 - it does more than cancel
    env: Mapping[str, str],
    cwd: Path | None = None,
    spool: OutputFile | None = None,
    more: bool = False,
    pass_fds: Sequence[int] = (),
    user: tuple[int, int] | None = None,
    of_a_run: bool = True,
    launch: Launch = _directly,
    subreaper: bool = False,
    until: Callable[[], Awaitable[str]] | None = None,
    beside: SiblingGuard | None = None,
    above: ConfinedGuard | None = None,
    have_ended: Callable[[], bool] | None = None,
    stdin: int | None = None,
    streams: Streams | None = None,
) -> CommandResult:
    """Run ``argv`` in a session of its own, with nothing on stdin; return when it and all it started have ended.

    After ``timeout`` seconds, and when cancelled, all its processes get SIGTERM and two seconds later SIGKILL; if
    agentctl itself is killed, a guard process kills them. The command is over when its own process ends: its background
    processes are ended, too, and ``notes`` say so. ``env`` is the whole environment. ``spool`` takes both streams in
    the order in which they were read. ``more``: four MiB of each are returned. ``pass_fds`` stay open in it, under
    their numbers. ``user`` is a user and a group to become first, which only root can. ``of_a_run``: its environment
    has the mark by which a nested agentctl detects that it is inside a run. ``launch`` starts the process in its own
    way, for example from another thread. ``subreaper``: the guard is above the command instead of beside it (Linux;
    some milliseconds), so that no process escapes; ``pass_fds``, ``user`` and ``launch`` are ignored then, and ``argv``
    needs a whole path. ``until`` is awaited beside the command: when it returns, the command is ended as after the
    timeout, and the returned text is a note. ``beside`` is a guard for several commands, idle until now; None: the
    command gets its own. ``above`` is a guard that starts the command itself, and serves several; as with
    ``subreaper``. ``have_ended`` is for a command whose processes the kernel ends with its own one; it returns
    whether that has happened. Otherwise they are searched for. ``stdin`` is an open file that the command reads; with
    ``above`` it is ignored. ``streams`` are instead of it and of the pipes; then the result has no output.

    Raises:
        ToolError: the command could not be started.
    """
    marker = new_marker(of_a_run=of_a_run) if beside is None else beside.marker
    outputs = (Output(*MORE), Output(*MORE)) if more else (Output(), Output())
    stdout: int | None = None
    if streams is not None:
        stdin, stdout, outputs = streams.stdin, streams.stdout, (Output(), streams.stderr)
    notes: list[str] = []
    with ExitStack() as stack:
        try:
            leader: Leader
            guard: SiblingGuard | SubreaperGuard | ConfinedGuard
            if above is not None:
                guard = above
                with anyio.CancelScope(shield=True):
                    leader = await run_aside(above.start, argv, {MARKER: marker, **env}, cwd, stdin, stdout)
                pipes = [stack.enter_context(pipe) for pipe in above.pipes]
            elif subreaper and has_subreaper():
                guard = stack.enter_context(SubreaperGuard(stdin, stdout))
                pipes = [stack.enter_context(pipe) for pipe in guard.pipes]
                with anyio.CancelScope(shield=True):  # a command that is started is always ended below
                    leader = await run_aside(guard.start, argv, {MARKER: marker, **env}, cwd)
            else:
                if beside is None:
                    guard = stack.enter_context(SiblingGuard(marker))
                else:
                    guard = beside
                    guard.expect()
                leader = child = launch(
                    lambda: subprocess.Popen(  # noqa: S603 - a millisecond; the caller decides what runs
                        argv,
                        stdin=subprocess.DEVNULL if stdin is None else stdin,
                        stdout=subprocess.PIPE if stdout is None else stdout,
                        stderr=subprocess.PIPE,
                        bufsize=0,
                        cwd=cwd,
                        env={MARKER: marker, **env},
                        start_new_session=True,
                        pass_fds=pass_fds,
                        user=None if user is None else user[0],
                        group=None if user is None else user[1],
                        extra_groups=None if user is None else (),
                    )
                )
                guard.watch(child.pid)
                pipes = [stack.enter_context(pipe) for pipe in (child.stdout, child.stderr) if pipe is not None]
        except OSError as exc:
            if exc.errno == errno.ESRCH and isinstance(guard, SubreaperGuard):
                await ProcessTree(guard.process, marker).end()  # the command killed its guard early
            raise _not_started(exc, argv, cwd) from exc
        tree = ProcessTree(leader, marker, guard.pid, is_contained=have_ended is not None)
        try:
            if streams is not None:
                streams.started()
            drained = anyio.Event()
            async with anyio.create_task_group() as tasks:
                read = [pipe.fileno() for pipe in pipes]  # only stderr, if the caller reads stdout
                pause_s = 0.0 if streams is None else _PAUSE_S
                tasks.start_soon(_drain_all, read, outputs[-len(read) :], spool, drained, pause_s)
                with anyio.move_on_after(timeout) as limit, anyio.CancelScope() as early:
                    if until is not None:
                        tasks.start_soon(_end_early, until, early, notes)
                    await tree.wait_for_leader()
                if limit.cancelled_caught or early.cancelled_caught:
                    await tree.end()
                with anyio.move_on_after(_GRACE_S) as grace:
                    await drained.wait()
                tasks.cancel_scope.cancel()
        finally:
            outlived = await tree.end(has_ended=have_ended is not None and have_ended())
            if not tree.unkilled:
                guard.dismiss()  # otherwise it goes on killing: it sees orphans at once
    if grace.cancelled_caught:
        notes.append("a background process still held the output; the rest was not read")
    if outlived:
        notes.append(
            f"{outlived} background process{'es' if outlived > 1 else ''} outlived the command "
            f"and {'were' if outlived > 1 else 'was'} ended"
        )
    if isinstance(leader, GuardedLeader) and not leader.is_code_known:
        notes.append("the process that guards the command was ended from outside; the exit code is not known")
    if guard.has_left_some or (tree.unkilled and not guard.has_ended_all):
        notes.append("a process hangs in the kernel and could not be ended")
    (out, cut_from_stdout), (err, cut_from_stderr) = (output.text() for output in outputs)
    return CommandResult(
        exit_code=-signal.SIGKILL if leader.returncode is None else leader.returncode,
        stdout=out,
        stderr=err,
        timed_out=limit.cancelled_caught,
        truncated_bytes=cut_from_stdout + cut_from_stderr,
        notes=tuple(notes),
    )


def new_marker(*, of_a_run: bool = True) -> str:
    """Return a mark for the environment of commands, by which their processes are found."""
    return os.urandom(16).hex() + ("" if of_a_run else NO_RUN)


async def _end_early(until: Callable[[], Awaitable[str]], early: anyio.CancelScope, notes: list[str]) -> None:
    notes.append(await until())
    early.cancel()


async def _drain_all(
    pipes: Sequence[int], outputs: Sequence[Output], spool: OutputFile | None, drained: anyio.Event, pause_s: float
) -> None:
    async with anyio.create_task_group() as tasks:
        for pipe, output in zip(pipes, outputs, strict=True):
            tasks.start_soon(_drain, pipe, output, spool, pause_s)
    drained.set()


async def _drain(pipe: int, output: Output, spool: OutputFile | None, pause_s: float) -> None:
    """Read a pipe to its end; after a bounded number of pieces the other tasks get a turn, of ``pause_s`` at least."""
    os.set_blocking(pipe, False)
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):  # fewer, larger reads; not every user may set this
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    while True:
        await anyio.wait_readable(pipe)
        for _ in range(_READS_IN_A_ROW):
            try:
                chunk = os.read(pipe, _PIPE_BYTES)
            except BlockingIOError:
                break
            if not chunk:
                return
            output.add(chunk)
            if spool is not None:
                await run_aside(spool.add, chunk)
        if pause_s:
            await anyio.sleep(pause_s)


def _not_started(error: OSError, argv: Sequence[str], cwd: Path | None) -> ToolError:
    if cwd is not None and not cwd.is_dir():
        return ToolError(f"{cwd} is not a folder to run a command in", hint="check the path")
    reason = (error.strerror or str(error)).lower()
    hint = "put the command into a file and run that" if error.errno == errno.E2BIG else ""
    return ToolError(f"{argv[0]} could not be started: {reason}", hint=hint)
