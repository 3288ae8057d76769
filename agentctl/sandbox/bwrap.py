"""Run commands in a bubblewrap sandbox: a read-only machine without its private files, and one writable workspace."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from agentctl.core.errors import ToolError
from agentctl.core.results import FileNotice
from agentctl.protocols import CommandResult
from agentctl.sandbox.confinement import NO_SCOPES, WALLS, Launcher, machine_here, seccomp_filter
from agentctl.sandbox.mount_plan import HOME, NO_SIZES, MountPlan, SandboxConfig, bwrap_options, plan_mounts
from agentctl.sandbox.process import child_environment, run_process
from agentctl.sandbox.resource_limits import (
    MOST_GROWTH_BYTES,
    MOST_PROCESSES,
    NO_MEMORY_GROUP,
    ControlGroup,
    control_group,
    data_bound,
    mebibytes,
    memory_bound,
    wait_until_full,
    watch_space,
)
from agentctl.sandbox.socket_files import SocketFiles
from agentctl.sandbox.workspace_guard import WorkspaceGuard

if TYPE_CHECKING:
    from agentctl.sandbox.denied_paths import DeniedPaths

MOST_FILE_BYTES = 4 * 1024**3
MOST_ADDRESSES_KIB = 64 * 1024**2  # 64 GiB: runtimes reserve far more than they use
OOM_SCORE = 500  # of 1000: when memory runs out, the kernel kills a command before agentctl and the user's programs
_STATUS_BYTES = 64 * 1024
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
[ -z "$2" ] || command ulimit -d "$2" 2>/dev/null
{{ echo {OOM_SCORE} >/proc/self/oom_score_adj; }} 2>/dev/null
/bin/sh -c "$1"
exit $?
"""


def environment_inside() -> dict[str, str]:
    """Return the whole environment of a command: fixed, with its own home."""
    outside = child_environment()
    path = ":".join(part for part in outside["PATH"].split(":") if not part.startswith(outside["HOME"] + "/"))
    git = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "repack.updateServerInfo", "GIT_CONFIG_VALUE_0": "false"}
    return {**outside, **git, "PATH": path, "HOME": HOME, "TMPDIR": "/tmp"}  # noqa: S108 - the command's own


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
        self._sockets = SocketFiles(config.workspace) if sockets is None else sockets
        self._most_growth = most_growth
        self._most_memory = memory_bound() if most_memory is None else most_memory
        self._unreported: list[FileNotice] = []
        self.missing: tuple[str, ...] = ()  # sandbox features that are missing here; set by the first command

    @property
    def read_only(self) -> bool:
        """Whether commands cannot write to the workspace."""
        return self._config.read_only

    def unreported(self) -> tuple[FileNotice, ...]:
        """Return the notices of interrupted commands that have no result; each is returned once."""
        notices, self._unreported = tuple(self._unreported), []
        return notices

    def _mount_plan(self) -> MountPlan:
        return plan_mounts(self._current_config(), self._find_private(), self._sockets.find())

    def _current_config(self) -> SandboxConfig:
        """Return the configuration with the paths that deny rules hide or protect from writing at this moment."""
        if self._denied is None:
            return self._config
        return self._config._replace(
            hidden=(*self._config.hidden, *self._denied.to_cover()), frozen=self._denied.find_frozen()
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
        async with self._one_at_a_time:
            if self._guard is None:
                return await self._run(command, timeout=timeout, more=more)
            return await self._run_guarded(self._guard, command, timeout=timeout, more=more)

    async def _run_guarded(
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
        result: CommandResult | None = None
        try:
            result = await self._run(command, timeout=timeout, more=more, protected=protected)
        finally:
            with anyio.CancelScope(shield=True):
                try:
                    notes, notices = await anyio.to_thread.run_sync(guard.settle)
                except OSError as error:
                    notes = [f"the workspace could not be checked after the command: {error}"]
            if result is None:  # Ctrl-C or the run's time limit: files that were moved must still be reported
                self._unreported += notices
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
            result, said = await self._run_once(command, timeout=timeout, more=more, protected=protected)
            if result.exit_code <= 0 or result.timed_out or _has_ended(said):
                return result
            if not (tries_left and any(sign in result.stderr for sign in _VANISHED)):
                break  # otherwise a path to cover has just disappeared: look again
        said_last = _last_line(result.stderr)
        raise ToolError(f"the sandbox could not be set up: {said_last}", hint="complete the task without run_shell")

    async def _run_once(
        self,
        command: str,
        *,
        timeout: float,  # noqa: ASYNC109
        more: bool,
        protected: Sequence[str],
    ) -> tuple[CommandResult, bytes]:
        """Return bubblewrap's exit, and what it reported about the command's own exit."""
        plan, look = await anyio.to_thread.run_sync(self._prepare)
        workspace, user = self._config.workspace, self._config.user
        mode = _mode_of(workspace)
        reader, writer = os.pipe()
        calls = _system_calls(network=self._config.network, user_namespaces="--disable-userns" in self._known)
        try:
            argv = [self._program, "--json-status-fd", str(writer)]
            argv += bwrap_options(self._config, plan, self._known, protected)
            argv += [] if calls is None else ["--seccomp", str(calls)]
            with Launcher(self._program) as launcher, control_group(self._most_memory) as group:
                data_kib = "" if group.memory is not None else str(data_bound(self._most_memory) // 1024)
                argv += ["--", "/bin/sh", "-c", _FIRST, "sh", command, data_kib]
                argv, user = group.wrap(argv, user)
                result = await run_process(
                    argv,
                    timeout=timeout,
                    env=environment_inside(),
                    more=more,
                    pass_fds=(writer,) if calls is None else (writer, calls),
                    user=user,
                    launch=launcher.start,
                    until=None if look is None else partial(wait_until_full, look),
                )
                notes = tuple(self._notes(launcher.missing, group, result.exit_code))
                await group.wait_until_empty()
            os.close(writer)
            writer = -1
            status = os.read(reader, _STATUS_BYTES)
        finally:
            restored = _restore_mode(workspace, mode)
            for end in (reader, writer, calls):
                if end is not None and end >= 0:
                    os.close(end)
        return result._replace(notes=(*result.notes, *notes, *restored)), status

    def _prepare(self) -> tuple[MountPlan, Callable[[], str | None] | None]:
        """Return what to mount, and how to look whether a disk is full; None if the command cannot write to one."""
        plan = self._mount_plan()
        if self._config.read_only:
            return plan, None
        written = {self._config.workspace: "the workspace"}
        if self._guard is not None and self._guard.place:
            written[self._guard.place] = "its copy of the git folder"
        return plan, watch_space(written, most_growth=self._most_growth)

    def _notes(self, lost: tuple[str, ...], group: ControlGroup, exit_code: int) -> Iterator[str]:
        """Yield the notes on this command, and once per run the protections that are missing on this machine."""
        missing = [said for said in lost if said != NO_SCOPES or self._config.network]
        missing += [] if "--size" in self._known else [NO_SIZES]
        missing += [] if group.bounds_memory() else [NO_MEMORY_GROUP]
        yield from (said for said in missing if said in WALLS and said not in self.missing)
        self.missing = tuple(missing)
        if killed := group.count_killed():
            processes = "a process" if killed == 1 else f"{killed} processes"
            yield f"the kernel ended {processes}: the command used more memory than {mebibytes(self._most_memory)}"
        if exit_code == 128 + signal.SIGSYS:
            yield "the sandbox killed it for a system call: 32-bit programs do not run in it"


def _mode_of(folder: str) -> int:
    return stat.S_IMODE(os.stat(folder).st_mode)  # noqa: PTH116


def _restore_mode(workspace: str, before: int) -> tuple[str, ...]:
    """Restore the mode of the workspace if its owner lost a right, without which no further command could start."""
    try:
        now = _mode_of(workspace)
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


def _has_ended(status: bytes) -> bool:
    """Return whether bubblewrap reported the command's exit, which it does not if the command could not start."""
    for line in status.splitlines():
        try:
            if "exit-code" in json.loads(line):
                return True
        except ValueError:
            continue
    return False


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "bubblewrap printed nothing")[:300]
