"""Run commands in the Landlock tier: no namespaces and no mounts, so that it works in containers that forbid both."""

from __future__ import annotations

import math
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import anyio

from agentctl.core.errors import ToolError
from agentctl.core.results import FileNotice
from agentctl.core.trace_context import trace_variables
from agentctl.protocols import CommandResult
from agentctl.sandbox.bwrap import MOST_ADDRESSES_KIB, MOST_FILE_BYTES, SandboxedProgram, mode_of, restore_mode
from agentctl.sandbox.confined_guard import ConfinedGuard, Confinement
from agentctl.sandbox.confinement import NO_KEYRING
from agentctl.sandbox.file_attributes import AttributeChanges
from agentctl.sandbox.git_folder import OwnFolder, remove_tree
from agentctl.sandbox.import_path import own_program
from agentctl.sandbox.landlock import SCOPES_SINCE, TRUNCATE_SINCE, make_ruleset
from agentctl.sandbox.landlock_calls import landlock_filter
from agentctl.sandbox.landlock_paths import NOTHING_NEW, PathAccess, TooManyEntries, plan_access, temporary_above
from agentctl.sandbox.mount_plan import SandboxConfig
from agentctl.sandbox.process import Streams, child_environment, run_process
from agentctl.sandbox.process_tree import run_aside
from agentctl.sandbox.resource_limits import (
    MOST_GROWTH_BYTES,
    MOST_PROCESSES,
    NO_MEMORY_GROUP,
    NO_PROCESS_GROUP,
    ControlGroup,
    data_bound,
    mebibytes,
    memory_bound,
    wait_until_full,
    watch_space,
)
from agentctl.sandbox.server_access import ServerAccess

if TYPE_CHECKING:
    from agentctl.sandbox.denied_paths import DeniedPaths
    from agentctl.sandbox.workspace_undo import WorkspaceUndo

NO_SIGNAL_SCOPE = "no Landlock scopes (Linux 6.12): a command can end other programs of this user"
MOST_TEMPORARY_BYTES = 512 * 1024**2
_PREFIX = "agentctl-command-"
_FIRST = f"""
command ulimit -c 0 2>/dev/null
command ulimit -f {MOST_FILE_BYTES // 512} 2>/dev/null
command ulimit -v {MOST_ADDRESSES_KIB} 2>/dev/null
command ulimit -u "$2" 2>/dev/null || command ulimit -p "$2" 2>/dev/null
[ -z "$1" ] || command ulimit -d "$1" 2>/dev/null
shift 2
exec "$@"
"""


class _Prepared(NamedTuple):
    """One command's folder and rights, the mode of the workspace, and how to look whether a disk is full."""

    folder: str
    mode: int
    access: PathAccess
    excluded: tuple[str, ...]
    look: Callable[[], str | None]


class Landlock:
    """Runs each command with the rights that Landlock and a seccomp filter leave it, and a home of its own.

    ``abi`` is the version of the kernel's Landlock. ``find_private`` returns the paths that only root may read, as far
    as they are known. ``undo`` compares the files of the workspace that other programs obey, and undoes changes.
    ``denied`` finds the files in it that deny rules hide.
    """

    tier = "landlock"

    def __init__(
        self,
        config: SandboxConfig,
        machine: str,
        abi: int,
        *,
        find_private: Callable[[], Sequence[str]] = tuple,
        undo: WorkspaceUndo | None = None,
        denied: DeniedPaths | None = None,
        most_growth: int = MOST_GROWTH_BYTES,
        most_memory: int | None = None,
    ) -> None:
        self._config, self._machine, self._abi = config, machine, abi
        self._find_private, self._undo, self._denied = find_private, undo, denied
        self._one_at_a_time = anyio.Lock()  # comparing the workspace before and after needs one command at a time
        self._looking = threading.Lock()  # shared with the sandboxes of servers, as what looks keeps what it has seen
        self._most_growth = most_growth
        self._most_memory = memory_bound() if most_memory is None else most_memory
        self._unreported: list[FileNotice] = []
        self._guard: ConfinedGuard | None = None
        self._group: ControlGroup | None = None
        self._own: OwnFolder | None = None
        self._count = 0
        self._said_split: set[str] = set()
        self._open = ExitStack()
        weakref.finalize(self, self._open.close)
        if undo is not None:
            weakref.finalize(self, undo.close)
        self.missing: tuple[str, ...] = ()  # protections that are missing here; set by the first command

    @property
    def read_only(self) -> bool:
        """Whether commands cannot write to the workspace."""
        return self._config.read_only or (self._undo is not None and self._undo.why_read_only != "")

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
        return self._config, None if self._undo is None else self._undo.files

    def report(self, notices: Sequence[FileNotice]) -> None:
        """Keep the notices of a server for ``unreported``."""
        self._unreported += notices

    def close(self) -> None:
        """End what the commands have shared; a further command would begin it anew."""
        self._end_shared()
        if self._undo is not None:
            self._undo.close()

    def _end_shared(self) -> None:
        self._guard = self._group = self._own = None
        self._open.close()

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
        argv = ("/bin/sh", "-c", command)
        return await self._run_settled(SandboxedProgram(argv, timeout, more, environment=trace_variables()))

    def for_server(self, access: ServerAccess) -> Landlock:
        """Return a sandbox for one server beside this one, without comparing the workspace."""
        made = Landlock(
            *(access.config, self._machine, self._abi),
            find_private=self._find_private,
            denied=self._denied,
            most_growth=self._most_growth,
            most_memory=self._most_memory,
        )
        made._looking = self._looking
        return made

    async def serve(self, argv: Sequence[str], environment: Mapping[str, str], streams: Streams) -> CommandResult:
        """Run a server until it ends or this is cancelled; all that it started ends with it.

        ``environment`` is its own, over the fixed one.

        Raises:
            ToolError: the sandbox could not be set up, or the server could not be started.
        """
        return await self._run_settled(SandboxedProgram(argv, math.inf, streams=streams, environment=environment))

    async def _run_settled(self, program: SandboxedProgram) -> CommandResult:
        async with self._one_at_a_time:
            try:
                prepared = await run_aside(self._prepare)
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise ToolError(f"the command could not be started: {reason}") from error
            notes: list[str] = []
            notices: list[FileNotice] = []
            result: CommandResult | None = None
            try:
                result = await self._run(program, prepared)
            finally:
                with anyio.CancelScope(shield=True):
                    notes, notices = await run_aside(self._settle, prepared)
                if result is None:  # Ctrl-C or the run's time limit: files that were moved must still be reported
                    self._unreported += notices
            return result._replace(notes=(*result.notes, *notes), notices=tuple(notices))

    async def _run(self, program: SandboxedProgram, prepared: _Prepared) -> CommandResult:
        guard, group = self._stand_by()
        with ExitStack() as opened:
            try:
                ruleset = make_ruleset(self._abi, prepared.access.rights, network=self._config.network)
                opened.callback(os.close, ruleset)
                changes = opened.enter_context(
                    AttributeChanges(self._machine, prepared.access.writable, prepared.excluded, self._config.user)
                )
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise ToolError(f"the sandbox could not be set up: {reason}") from error
            network, user = self._config.network, self._config.user
            calls = landlock_filter(self._machine, network=network, has_truncate=self._abi >= TRUNCATE_SINCE)
            guard.confine(Confinement(self._machine, ruleset, calls, user, changes.begin, network))
            data_kib = "" if group.has_memory else str(data_bound(self._most_memory) // 1024)
            processes = MOST_PROCESSES if group.has_processes else _count_tasks(self._config) + MOST_PROCESSES
            guard.afterwards = () if self._undo is None else self._undo.after_death
            try:
                result = await run_process(
                    ["/bin/sh", "-c", _FIRST, "sh", data_kib, str(processes), *program.argv],
                    timeout=program.timeout,
                    env={**self._environment(prepared.folder), **program.environment},
                    cwd=Path(self._config.given),
                    more=program.more,
                    until=partial(wait_until_full, prepared.look),
                    above=guard,
                    have_ended=guard.has_ended,
                    streams=program.streams,
                )
            finally:
                if not guard.is_alive:
                    with anyio.CancelScope(shield=True):
                        await run_aside(self._end_shared)
            return result._replace(notes=(*result.notes, *self._notes(guard, group, prepared, result.exit_code)))

    def _stand_by(self) -> tuple[ConfinedGuard, ControlGroup]:
        """Return the guard and the control group of this run's commands.

        Raises:
            ToolError: the guard cannot be started.
        """
        if self._guard is None or self._group is None:
            try:
                self._group = ControlGroup(self._most_memory)
                self._open.callback(self._group.close)
                self._guard = self._open.enter_context(ConfinedGuard())
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise ToolError(f"the command could not be started: {reason}") from error
            self._group.enter(self._guard.pid)
        return self._guard, self._group

    def _prepare(self) -> _Prepared:
        """Look at the workspace before a command, and make its own folder.

        Raises:
            OSError: the workspace cannot be read, or the folder cannot be made.
            ToolError: what has to be hidden cannot be hidden.
        """
        if self._guard is not None and not (self._guard.is_alive and self._group is not None and self._group.is_fit):
            self._end_shared()
        config = self._config
        if self._undo is not None and not config.read_only:
            self._undo.look()
            config = config._replace(read_only=self._undo.why_read_only != "")
        with self._looking:
            config, private = self._look(config)
        guarded = () if config.read_only else own_program(config.workspace)
        folder, mode = self._new_folder(), mode_of(config.workspace)
        own = _parts(folder)
        try:
            access = plan_access(config, own, private=private, guarded=guarded)
        except TooManyEntries as error:
            raise ToolError(
                f"files in {error} must be hidden, and it holds too many others to allow each",
                hint="complete the task without run_shell",
            ) from error
        temporary = watch_space({folder: "its temporary folder"}, most_growth=MOST_TEMPORARY_BYTES)
        if config.roots:
            written = {root: "the workspace" if root == config.workspace else root for root in config.roots}
            lasting = watch_space(written, most_growth=self._most_growth)
            return _Prepared(folder, mode, access, self._excluded(config, guarded), lambda: lasting() or temporary())
        return _Prepared(folder, mode, access, self._excluded(config, guarded), temporary)

    def _look(self, config: SandboxConfig) -> tuple[SandboxConfig, Sequence[str]]:
        """Return the configuration with the paths that deny rules hide or protect now, and what only root may read."""
        if self._denied is not None:
            hidden = (*config.hidden, *self._denied.to_cover())
            config = config._replace(hidden=hidden, frozen=(*config.frozen, *self._denied.find_frozen()))
        return config, self._find_private()

    @staticmethod
    def _excluded(config: SandboxConfig, guarded: Sequence[str]) -> tuple[str, ...]:
        return tuple(map(os.path.realpath, (*config.hidden, *config.frozen, *guarded)))

    def _new_folder(self) -> str:
        """Return a new folder with a home and a temporary folder for one command."""
        if self._own is None:
            self._own = OwnFolder(temporary_above(self._config), None, prefix=_PREFIX)
            self._open.callback(self._own.remove)
            os.chmod(self._own.path, 0o711)  # noqa: PTH101, S103 - a command of another user passes through
        self._count += 1
        folder = f"{self._own.path}/{self._count}"
        for place in (folder, *_parts(folder)):
            os.mkdir(place, 0o700)  # noqa: PTH102
            if self._config.user is not None:
                os.chown(place, *self._config.user)
        return folder

    def _environment(self, folder: str) -> Mapping[str, str]:
        """Return the whole environment of a command: fixed, with its own home, and what the settings add."""
        outside = child_environment()
        path = ":".join(part for part in outside["PATH"].split(":") if not part.startswith(outside["HOME"] + "/"))
        git = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "repack.updateServerInfo", "GIT_CONFIG_VALUE_0": "false"}
        git["GIT_CEILING_DIRECTORIES"] = os.path.dirname(self._config.workspace)  # noqa: PTH120 - it is closed
        home, temporary = _parts(folder)
        own = {"PATH": path, "HOME": home, **dict.fromkeys(("TMPDIR", "TMP", "TEMP"), temporary)}
        return {**outside, **git, **self._config.environment, **own}

    def _settle(self, prepared: _Prepared) -> tuple[list[str], list[FileNotice]]:
        notes: list[str] = []
        notices: list[FileNotice] = []
        remove_tree(prepared.folder)
        if self._config.workspace in self._config.roots:
            notes += restore_mode(self._config.workspace, prepared.mode)
        if self._undo is not None:
            try:
                found, notices = self._undo.settle()
                notes += found
            except OSError as error:
                notes.append(f"the workspace could not be checked after the command: {error}")
        return notes, notices

    def _notes(self, guard: ConfinedGuard, group: ControlGroup, prepared: _Prepared, exit_code: int) -> Iterator[str]:
        """Yield the notes on this command, and once per run the protections that are missing on this machine."""
        missing = [] if guard.has_keyring else [NO_KEYRING]
        missing += [] if self._abi >= SCOPES_SINCE else [NO_SIGNAL_SCOPE]
        yield from (said for said in missing if said not in self.missing)
        missing += [] if group.has_memory else [NO_MEMORY_GROUP]
        is_root = os.geteuid() == 0 and self._config.user is None
        missing += [NO_PROCESS_GROUP] if is_root and not group.has_processes else []
        self.missing = tuple(missing)
        for folder in prepared.access.split:
            if folder not in self._said_split:
                self._said_split.add(folder)
                yield NOTHING_NEW.format(folder)
        if killed := group.count_killed():
            processes = "a process" if killed == 1 else f"{killed} processes"
            yield f"the kernel ended {processes}: the command used more memory than {mebibytes(self._most_memory)}"
        if exit_code in (-signal.SIGSYS, 128 + signal.SIGSYS):
            yield "the sandbox killed it for a system call: 32-bit programs do not run in it"


def _parts(folder: str) -> tuple[str, str]:
    """Return the home and the temporary folder in a command's own folder."""
    return f"{folder}/home", f"{folder}/temporary"


def _count_tasks(config: SandboxConfig) -> int:
    """Return how many threads the command's user has now: the kernel's limit counts them, too."""
    uid = os.geteuid() if config.user is None else config.user[0]
    count = 0
    with suppress(OSError), os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit():
                with suppress(OSError):
                    if entry.stat().st_uid == uid:
                        count += os.stat(f"{entry.path}/task").st_nlink - 2  # noqa: PTH116
    return count
