"""The boundary by bubblewrap: a read-only machine with the private taken out, and one folder to work in."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from agentctl.errors import ToolError
from agentctl.protocols import CommandResult, FileNotice
from agentctl.sandbox.cover import HOME, Ground, Layers, layers, options
from agentctl.sandbox.crowd import JOIN, MOST_PROCESSES, control_group, until_empty
from agentctl.sandbox.launcher import NO_SCOPES, Launcher
from agentctl.sandbox.process import child_environment, run_process
from agentctl.sandbox.seccomp import machine_here, program
from agentctl.sandbox.workspace_guard import WorkspaceGuard

if TYPE_CHECKING:
    from agentctl.sandbox.denied import DeniedPaths

MOST_FILE_BYTES = 4 * 1024**3
MOST_ADDRESSES_KIB = 64 * 1024**2  # 64 GiB: runtimes reserve far more than they use
_STATUS_BYTES = 64 * 1024
_TRIES = 4
_VANISHED = "Can't create file at"  # of bubblewrap: it would have to make what it is to mount something on

# The first process inside: it sets limits, waits for the command, and with its end the kernel ends all the others.
# dash calls the number of processes -p, other shells -u; what a shell does not know must not end it, so: in brackets.
_FIRST = f"""
(ulimit -c 0) 2>/dev/null && ulimit -c 0
(ulimit -f {MOST_FILE_BYTES // 512}) 2>/dev/null && ulimit -f {MOST_FILE_BYTES // 512}
(ulimit -v {MOST_ADDRESSES_KIB}) 2>/dev/null && ulimit -v {MOST_ADDRESSES_KIB}
if (ulimit -u {MOST_PROCESSES}) 2>/dev/null; then ulimit -u {MOST_PROCESSES}
elif (ulimit -p {MOST_PROCESSES}) 2>/dev/null; then ulimit -p {MOST_PROCESSES}; fi
/bin/sh -c "$1"
exit $?
"""


def environment_inside() -> dict[str, str]:
    """Return the whole environment of a command: fixed, with a home of its own."""
    outside = child_environment()
    path = ":".join(part for part in outside["PATH"].split(":") if not part.startswith(outside["HOME"] + "/"))
    git = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "repack.updateServerInfo", "GIT_CONFIG_VALUE_0": "false"}
    return {**outside, **git, "PATH": path, "HOME": HOME, "TMPDIR": "/tmp"}  # noqa: S108 - the command's own


class Bwrap:
    """Runs each command in a boundary made for it; nothing of it but the workspace is there afterwards.

    ``find_private`` looks for what only root may read: before the first command, as it takes root a while. ``guard``
    protects the files of the workspace that other programs obey. ``denied`` finds what deny rules hide in it.
    """

    tier = "bwrap"

    def __init__(
        self,
        program: str,
        known: frozenset[str],
        ground: Ground,
        find_private: Callable[[], Sequence[str]] = tuple,
        guard: WorkspaceGuard | None = None,
        denied: DeniedPaths | None = None,
    ) -> None:
        self._program, self._known, self._ground, self._find_private = program, known, ground, find_private
        self._guard, self._denied = guard, denied
        self._one_at_a_time = anyio.Lock()  # what one command changed is told from what another did
        self._private: tuple[str, ...] | None = None
        self.missing: tuple[str, ...] = ()  # parts of the sandbox that this machine lacks, after the first command

    @property
    def read_only(self) -> bool:
        """Whether nothing of the workspace can be changed from inside."""
        return self._ground.read_only

    def _layers(self) -> Layers:
        if self._private is None:
            self._private = tuple(self._find_private())
        return layers(self._standing(), self._private)

    def _standing(self) -> Ground:
        """Return the ground with what deny rules hide, or keep from being written, at this moment."""
        if self._denied is None:
            return self._ground
        return self._ground._replace(
            hidden=(*self._ground.hidden, *self._denied.to_cover()), frozen=self._denied.find_frozen()
        )

    async def run(
        self,
        command: str,
        *,
        timeout: float,  # noqa: ASYNC109 - the socket promises it
        more: bool = False,
    ) -> CommandResult:
        """Run ``command`` by /bin/sh in the workspace for at most ``timeout`` seconds; with its end all else ends.

        Raises:
            ToolError: the boundary could not be set up, or the command not be started.
        """
        async with self._one_at_a_time:
            if self._guard is None:
                return await self._run(command, timeout=timeout, more=more)
            return await self._guarded(self._guard, command, timeout=timeout, more=more)

    async def _guarded(
        self,
        guard: WorkspaceGuard,
        command: str,
        *,
        timeout: float,  # noqa: ASYNC109
        more: bool,
    ) -> CommandResult:
        try:
            protected = await anyio.to_thread.run_sync(guard.mounts)
        except OSError as error:
            raise ToolError(f"the workspace cannot be read: {(error.strerror or str(error)).lower()}") from error
        notes: list[str] = []
        notices: list[FileNotice] = []
        try:
            result = await self._run(command, timeout=timeout, more=more, protected=protected)
        finally:
            with anyio.CancelScope(shield=True):
                try:
                    notes, notices = await anyio.to_thread.run_sync(guard.settle)
                except OSError as error:
                    notes = [f"the workspace could not be looked at after the command: {error}"]
        return result._replace(notes=(*result.notes, *notes), notices=tuple(notices))

    async def _run(
        self,
        command: str,
        *,
        timeout: float,  # noqa: ASYNC109
        more: bool,
        protected: Sequence[str] = (),
    ) -> CommandResult:
        for tries_left in reversed(range(_TRIES)):
            result, said = await self._attempt(command, timeout=timeout, more=more, protected=protected)
            if result.exit_code <= 0 or result.timed_out or _ended(said):
                return result
            if not (tries_left and _VANISHED in result.stderr):  # a socket that was to be covered has just gone
                break
        said_last = _last_line(result.stderr)
        raise ToolError(f"the sandbox could not be set up: {said_last}", hint="do without run_shell")

    async def _attempt(
        self,
        command: str,
        *,
        timeout: float,  # noqa: ASYNC109
        more: bool,
        protected: Sequence[str],
    ) -> tuple[CommandResult, bytes]:
        """Return how bubblewrap ended, and what it said of the command's own end."""
        laid = await anyio.to_thread.run_sync(self._layers)
        reader, writer = os.pipe()
        calls = _system_calls(network=self._ground.network)
        try:
            argv = [self._program, "--json-status-fd", str(writer)]
            argv += options(self._ground, laid, self._known, protected)
            argv += [] if calls is None else ["--seccomp", str(calls)]
            argv += ["--", "/bin/sh", "-c", _FIRST, "sh", command]
            user = self._ground.user
            with (
                Launcher(self._program) as launcher,
                control_group(wanted=os.geteuid() == 0 and user is None) as group,
            ):
                if group is not None:
                    argv = ["/bin/sh", "-c", JOIN, "sh", str(group), *argv]
                env = environment_inside()
                result = await run_process(
                    argv,
                    timeout=timeout,
                    env=env,
                    more=more,
                    pass_fds=(writer,) if calls is None else (writer, calls),
                    user=user,
                    launch=launcher.start,
                )
                notes = tuple(self._notes(launcher.missing, result.exit_code))
                await until_empty(group)
            os.close(writer)
            writer = -1
            status = os.read(reader, _STATUS_BYTES)
        finally:
            for end in (reader, writer, calls):
                if end is not None and end >= 0:
                    os.close(end)
        return result._replace(notes=(*result.notes, *notes)), status

    def _notes(self, missing: tuple[str, ...], exit_code: int) -> Iterator[str]:
        """Yield what to say about this command; once what this machine cannot give."""
        missing = tuple(said for said in missing if said != NO_SCOPES or self._ground.network)
        if missing != self.missing:
            yield from missing
        self.missing = missing
        if exit_code == 128 + signal.SIGSYS:
            yield "the sandbox ended it for a system call: 32-bit programs do not run in it"


def _system_calls(*, network: bool) -> int | None:
    """Return an open file with the seccomp filter of this machine, to be closed by the caller; None: there is none.

    bubblewrap reads it to its end, so each command gets its own.
    """
    machine = machine_here()
    if machine is None:
        return None
    reader, writer = os.pipe()  # the filter is smaller than the smallest pipe
    try:
        os.write(writer, program(machine, network=network))
    finally:
        os.close(writer)
    return reader


def _ended(status: bytes) -> bool:
    """Whether bubblewrap said how the command ended: it says nothing when it could not begin."""
    for line in status.splitlines():
        try:
            if "exit-code" in json.loads(line):
                return True
        except ValueError:
            continue
    return False


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "bubblewrap said nothing")[:300]
