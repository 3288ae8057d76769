"""Run commands in a bubblewrap sandbox: a read-only machine without its private files, and one writable workspace."""

from __future__ import annotations

import math
import os
import signal
import stat
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import anyio

from agentctl.core.errors import ToolError
from agentctl.core.results import FileNotice
from agentctl.core.trace_context import trace_variables
from agentctl.protocols import CommandResult
from agentctl.sandbox.confinement import NO_SCOPES, WALLS
from agentctl.sandbox.mount_plan import HOME, NO_SIZES, MountPlan, SandboxConfig, bwrap_options, plan_mounts
from agentctl.sandbox.process import Streams, child_environment, run_process
from agentctl.sandbox.process_tree import run_aside
from agentctl.sandbox.resource_limits import (
    MOST_GROWTH_BYTES,
    MOST_PROCESSES,
    NO_MEMORY_GROUP,
    NO_PROCESS_GROUP,
    data_bound,
    mebibytes,
    memory_bound,
    wait_until_full,
    watch_space,
)
from agentctl.sandbox.server_access import ServerAccess
from agentctl.sandbox.socket_files import SocketFiles
from agentctl.sandbox.standby import ExitReport, Standby
from agentctl.sandbox.system_calls import machine_here, seccomp_filter
from agentctl.sandbox.workspace_guard import WorkspaceGuard

if TYPE_CHECKING:
    from agentctl.sandbox.denied_paths import DeniedPaths

MOST_FILE_BYTES = 4 * 1024**3
MOST_ADDRESSES_KIB = 64 * 1024**2  # 64 GiB: runtimes reserve far more than they use
OOM_SCORE = 500  # of 1000: when memory runs out, the kernel kills a command before agentctl and the user's programs
_TRIES = 4
# Errors of bubblewrap: it cannot create a mount point, or the source of a mount does not exist.
_VANISHED = ("Can't create file at", "Can't mkdir", "Can't find source path")

# The first process inside: it sets limits and waits for the command; when it exits, the kernel kills all the others.
# dash sets the number of processes by -p, other shells by -u. An option that a shell does not know, or a limit that
# cannot be raised, does not end it: ulimit is no special builtin, and ``command`` says so to shells that think it is.
_FIRST = f"""
command ulimit -c 0 2>/dev/null
command ulimit -f {MOST_FILE_BYTES // 512} 2>/dev/null
command ulimit -v {MOST_ADDRESSES_KIB} 2>/dev/null
command ulimit -u {MOST_PROCESSES} 2>/dev/null || command ulimit -p {MOST_PROCESSES} 2>/dev/null
[ -z "$1" ] || command ulimit -d "$1" 2>/dev/null
{{ echo {OOM_SCORE} >/proc/self/oom_score_adj; }} 2>/dev/null
shift
"$@"
exit $?
"""


def environment_inside() -> dict[str, str]:
    """Return the whole environment of a command: fixed, with its own home."""
    outside = child_environment()
    path = ":".join(part for part in outside["PATH"].split(":") if not part.startswith(outside["HOME"] + "/"))
    git = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "repack.updateServerInfo", "GIT_CONFIG_VALUE_0": "false"}
    return {**outside, **git, "PATH": path, "HOME": HOME, "TMPDIR": "/tmp"}  # noqa: S108 - the command's own


class _Prepared(NamedTuple):
    """What to mount, and how to look whether a disk is full; None if the command cannot write to one."""

    plan: MountPlan
    look: Callable[[], str | None] | None


class SandboxedProgram(NamedTuple):
    """What runs: its argv, for how many seconds at most, with longer output or with ``streams``, and its variables."""

    argv: Sequence[str]
    timeout: float
    more: bool = False
    streams: Streams | None = None
    environment: Mapping[str, str] = MappingProxyType({})


class Bwrap:
    """Runs each command in a new sandbox, of which only the workspace remains afterwards.

    ``find_private`` returns the paths that only root may read, as far as they are known. ``guard`` protects the files
    of the workspace that other programs run or obey. ``denied`` finds the files in it that deny rules hide.
    ``most_growth`` is how many bytes a command may add to the workspace, ``most_memory`` how many bytes of memory its
    processes may have together.
    """

    tier = "bwrap"

    def __init__(
        self,
        program: str,
        known: frozenset[str],
        config: SandboxConfig,
        find_private: Callable[[], Sequence[str]] = tuple,
        guard: WorkspaceGuard | None = None,
        denied: DeniedPaths | None = None,
        sockets: SocketFiles | None = None,
        most_growth: int = MOST_GROWTH_BYTES,
        most_memory: int | None = None,
    ) -> None:
        self._program, self._known, self._config, self._find_private = program, known, config, find_private
        self._guard, self._denied = guard, denied
        self._one_at_a_time = anyio.Lock()  # comparing the workspace before and after needs one command at a time
        self._looking = threading.Lock()  # shared with the sandboxes of servers, as what looks keeps what it has seen
        self._sockets = (
            SocketFiles(config.workspace, *config.readable, *config.writable) if sockets is None else sockets
        )
        self._most_growth = most_growth
        self._most_memory = memory_bound() if most_memory is None else most_memory
        self._protected: tuple[str, ...] = ()  # of a server
        self._unreported: list[FileNotice] = []
        self._standby: Standby | None = None
        self._open = ExitStack()
        weakref.finalize(self, self._open.close)
        self.missing: tuple[str, ...] = ()  # sandbox features that are missing here; set by the first command

    @property
    def read_only(self) -> bool:
        """Whether commands cannot write to the workspace."""
        return self._config.read_only

    @property
    def network(self) -> bool:
        """Whether commands can use the machine's network."""
        return self._config.network

    def unreported(self) -> tuple[FileNotice, ...]:
        """Return the notices of interrupted commands that have no result; each is returned once."""
        notices, self._unreported = tuple(self._unreported), []
        return notices

    @property
    def server_base(self) -> tuple[SandboxConfig, Path | None]:
        """What commands reach, and the folder of the run's files, to decide what a server may reach."""
        return self._config, None if self._guard is None else self._guard.files

    def report(self, notices: Sequence[FileNotice]) -> None:
        """Keep the notices of a server for ``unreported``."""
        self._unreported += notices

    def close(self) -> None:
        """End what the commands have shared since the first one, or the last that was ended by force; a further command
        would begin it anew.
        """
        self._standby = None
        self._open.close()

    def _stand_by(self) -> Standby:
        """Return what the commands share.

        Raises:
            OSError: the guard cannot be started.
        """
        if self._standby is None:
            self._standby = self._open.enter_context(Standby(self._program, self._most_memory))
        return self._standby

    def _mount_plan(self) -> MountPlan:
        return plan_mounts(self._current_config(), self._find_private(), self._sockets.find())

    def _current_config(self) -> SandboxConfig:
        """Return the configuration with the paths that deny rules hide or protect from writing at this moment."""
        if self._denied is None:
            return self._config
        return self._config._replace(
            hidden=(*self._config.hidden, *self._denied.to_cover()),
            frozen=(*self._config.frozen, *self._denied.find_frozen()),
        )

    async def run(
        self,
        command: str,
        *,
        timeout: float,  # noqa: ASYNC109 - the socket promises it
        more: bool = False,
    ) -> CommandResult:
        """Run ``command`` by /bin/sh in the workspace for at most ``timeout`` seconds; all that it started ends with
        it.

        Raises:
            ToolError: the sandbox could not be set up, or the command could not be started.
        """
        program = SandboxedProgram(("/bin/sh", "-c", command), timeout, more, environment=trace_variables())
        async with self._one_at_a_time:
            if self._guard is None:
                return await self._run(program)
            return await self._run_guarded(self._guard, program)

    def for_server(self, access: ServerAccess) -> Bwrap:
        """Return a sandbox for one server beside this one, without a guard of the workspace."""
        made = Bwrap(
            *(self._program, self._known, access.config, self._find_private, None, self._denied, self._sockets),
            most_growth=self._most_growth,
            most_memory=self._most_memory,
        )
        made._looking, made._protected = self._looking, access.mounts
        return made

    async def serve(self, argv: Sequence[str], environment: Mapping[str, str], streams: Streams) -> CommandResult:
        """Run a server until it ends or this is cancelled; all that it started ends with it.

        ``environment`` is its own, over the fixed one.

        Raises:
            ToolError: the sandbox could not be set up, or the server could not be started.
        """
        server = SandboxedProgram(argv, math.inf, streams=streams, environment=environment)
        return await self._run(server, self._protected)

    async def _run_guarded(self, guard: WorkspaceGuard, program: SandboxedProgram) -> CommandResult:
        try:
            protected, prepared = await run_aside(self._look, guard)
        except OSError as error:
            raise ToolError(f"the workspace cannot be read: {(error.strerror or str(error)).lower()}") from error
        notes: list[str] = []
        notices: list[FileNotice] = []
        result: CommandResult | None = None
        try:
            result = await self._run(program, protected, prepared)
        finally:
            with anyio.CancelScope(shield=True):
                try:
                    notes, notices = await run_aside(guard.settle)
                except OSError as error:
                    notes = [f"the workspace could not be checked after the command: {error}"]
            if result is None:  # Ctrl-C or the run's time limit: files that were moved must still be reported
                self._unreported += notices
        return result._replace(notes=(*result.notes, *notes), notices=tuple(notices))

    async def _run(
        self, program: SandboxedProgram, protected: Sequence[str] = (), prepared: _Prepared | None = None
    ) -> CommandResult:
        for tries_left in reversed(range(_TRIES)):
            if prepared is None:
                prepared = await run_aside(self._prepare)
            result, has_ended = await self._run_once(program, by=prepared, protected=protected)
            if result.exit_code <= 0 or result.timed_out or has_ended:
                return result
            if not (tries_left and any(sign in result.stderr for sign in _VANISHED)):
                break
            prepared = None  # a path to cover has just disappeared: look again
        said_last = _last_line(result.stderr)
        raise ToolError(f"the sandbox could not be set up: {said_last}", hint="complete the task without run_shell")

    async def _run_once(
        self, program: SandboxedProgram, *, by: _Prepared, protected: Sequence[str]
    ) -> tuple[CommandResult, bool]:
        """Return bubblewrap's exit, and whether it reported the command's own exit."""
        workspace = self._config.workspace
        with ExitStack() as opened:
            try:
                mode = mode_of(workspace)
                standby = self._stand_by()
                report = opened.enter_context(ExitReport())
                calls = _system_calls(network=self._config.network, user_namespaces="--disable-userns" in self._known)
                if calls is not None:
                    report.callback(os.close, calls)
                gate = os.pipe()
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise ToolError(f"the command could not be started: {reason}") from error
            data_kib = "" if standby.group.has_memory else str(data_bound(self._most_memory) // 1024)
            argv = [self._program, "--json-status-fd", str(report.writer)]
            argv += bwrap_options(self._config, by.plan, self._known, protected)
            argv += [] if calls is None else ["--seccomp", str(calls)]
            argv += ["--args", str(gate[0]), "--", "/bin/sh", "-c", _FIRST, "sh", data_kib, *program.argv]
            passed = [report.writer, gate[0], *([] if calls is None else [calls])]
            own = (word for pair in program.environment.items() for word in ("--setenv", *pair))
            try:
                result = await run_process(
                    argv,
                    timeout=program.timeout,
                    env={**environment_inside(), **self._config.environment},
                    more=program.more,
                    pass_fds=passed,
                    user=self._config.user,
                    launch=partial(standby.start, gate, b"".join(os.fsencode(word) + b"\0" for word in own)),
                    until=None if by.look is None else partial(wait_until_full, by.look),
                    beside=standby.guard,
                    have_ended=report.has_ended,
                    streams=program.streams,
                )
                notes = tuple(self._notes(standby, result.exit_code))
            finally:
                restored = restore_mode(workspace, mode) if workspace in self._config.roots else ()
                if not (standby.guard.is_idle and report.has_ended()):  # what could not be ended is killed now
                    with anyio.CancelScope(shield=True):
                        await run_aside(self.close)
            return result._replace(notes=(*result.notes, *notes, *restored)), report.has_ended()

    def _look(self, guard: WorkspaceGuard) -> tuple[list[str], _Prepared | None]:
        """Return the options that protect the workspace, and what to prepare; None if that has to be tried again.

        Raises:
            OSError: the workspace cannot be read, and is as it was.
        """
        protected = guard.mounts()
        with suppress(OSError):
            return protected, self._prepare()
        return protected, None

    def _prepare(self) -> _Prepared:
        if self._standby is not None and not self._standby.is_fit:
            self.close()
        with self._looking:
            plan = self._mount_plan()
        if not self._config.roots:
            return _Prepared(plan, None)
        written = {place: place for place in (*(self._config.parts or ()), *plan.writable)}
        if self._config.parts is None:
            written[self._config.workspace] = "the workspace"
        if self._guard is not None and self._guard.place:
            written[self._guard.place] = "its copy of the git folder"
        return _Prepared(plan, watch_space(written, most_growth=self._most_growth))

    def _notes(self, standby: Standby, exit_code: int) -> Iterator[str]:
        """Yield the notes on this command, and once per run the protections that are missing on this machine."""
        missing = [said for said in standby.launcher.missing if said != NO_SCOPES or self._config.network]
        missing += [] if "--size" in self._known else [NO_SIZES]
        missing += [] if standby.group.has_memory else [NO_MEMORY_GROUP]
        is_root = os.geteuid() == 0 and self._config.user is None  # which no limit of a process applies to
        missing += [NO_PROCESS_GROUP] if is_root and not standby.group.has_processes else []
        yield from (said for said in missing if said in WALLS and said not in self.missing)
        self.missing = tuple(missing)
        if killed := standby.group.count_killed():
            processes = "a process" if killed == 1 else f"{killed} processes"
            yield f"the kernel ended {processes}: the command used more memory than {mebibytes(self._most_memory)}"
        if exit_code == 128 + signal.SIGSYS:
            yield "the sandbox killed it for a system call: 32-bit programs do not run in it"


def mode_of(folder: str) -> int:
    """Return the permission bits of a folder."""
    return stat.S_IMODE(os.stat(folder).st_mode)  # noqa: PTH116


def restore_mode(workspace: str, before: int) -> tuple[str, ...]:
    """Restore the mode of the workspace if its owner lost a right, without which no further command could start."""
    try:
        now = mode_of(workspace)
        if not before & stat.S_IRWXU & ~now:
            return ()
        os.chmod(workspace, before)  # noqa: PTH101
    except OSError:
        return ()
    return (f"the command left the workspace with the mode {now:03o}; the mode {before:03o} was restored",)


def _system_calls(*, network: bool, user_namespaces: bool) -> int | None:
    """Return an open file with this machine's seccomp filter, to be closed by the caller, or None if there is none.

    bubblewrap reads it to its end, so each command gets its own.
    """
    machine = machine_here()
    if machine is None:
        return None
    reader, writer = os.pipe()  # the filter fits the smallest pipe
    try:
        os.write(writer, seccomp_filter(machine, network=network, user_namespaces=user_namespaces))
    finally:
        os.close(writer)
    return reader


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "bubblewrap printed nothing")[:300]
