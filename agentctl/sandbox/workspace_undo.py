"""Undo what a command of the Landlock tier did to files of the workspace that other programs run or obey.

Landlock cannot keep a part of a writable folder read-only, and there are no mounts. So a command can change these
files, and everything is put back when it has ended: existing ones with content and mode, while the changed version, and
any that is new, is moved into the run's files. Of the workspace's own git folder the changes stay that
``git_files.may_be_kept`` calls harmless, all or none of them. If agentctl is killed, the guard above the command undoes
the same (``undo_after_death``); if that is killed, too, the next run does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from agentctl.core.autorun_files import AutorunFile
from agentctl.core.results import FileNotice
from agentctl.core.system_folders import is_beneath
from agentctl.sandbox.folder_index import AutorunEntry, FolderIndex
from agentctl.sandbox.git_files import GIT, may_be_kept
from agentctl.sandbox.git_folder import OwnFolder, is_litter, open_folder, open_parent, remove_unheld
from agentctl.sandbox.git_scratch import MOST_KEPT_BYTES, NEVER_REMOVED, join_names, unfinished_operations
from agentctl.sandbox.import_path import child_imports
from agentctl.sandbox.landlock_paths import temporary_above
from agentctl.sandbox.mount_plan import SandboxConfig
from agentctl.sandbox.protected_files import ProtectedFiles, TooMuchToKeep
from agentctl.sandbox.quarantine import Quarantine
from agentctl.sandbox.workspace_guard import NamedPath, configured_in, link_targets, why_unprotectable

_PREFIX = "agentctl-undo-"
_MOST_NAMED = 20
_GIT = ".git/"
_PUT_BACK = AutorunFile("asks", "another program")


class WorkspaceUndo:
    """Compares one workspace before and after each command of a run. ``files`` is the folder of the run's own files.

    ``imports`` returns whether agentctl's own Python would import a path of the workspace. ``why_read_only`` is set by
    ``look``: why commands may not write to the workspace.
    """

    def __init__(
        self, config: SandboxConfig, files: Path | None = None, *, imports: Callable[[str], bool] = lambda _: False
    ) -> None:
        self._config, self._imports = config, imports
        self._workspace = config.workspace
        self._configured: dict[str, NamedPath] = {}
        self._index = FolderIndex(
            self._workspace, skipped=set(map(os.path.realpath, config.hidden)), also=self._imported_by_agentctl
        )
        self._before: dict[str, AutorunEntry] = {}
        self._own: OwnFolder | None = None
        self._protected: ProtectedFiles | None = None
        self.files = files
        self._quarantine = Quarantine(self._workspace, files)
        self._said: set[str] = set()
        self.why_read_only = config.why_read_only

    @property
    def after_death(self) -> tuple[str, ...]:
        """The argv of a program that undoes a command's changes if agentctl is killed; empty if there is nothing."""
        return () if self._own is None else undo_after_death(self._workspace, self._own.path)

    def close(self) -> None:
        """Remove the copies."""
        if self._own is not None:
            self._own.remove()
        self._own = self._protected = None

    def look(self) -> None:
        """Look at the workspace before a command, and copy what has to be put back after it.

        Raises:
            OSError: the workspace cannot be read, or nothing can be copied.
        """
        self._before = self._index.refresh()
        self._configured = configured_in(self._workspace, self._config.homes)
        self._configured |= link_targets(self._workspace, self._before.values())
        self._before |= self._look_at_configured()
        if self._own is None or self._protected is None:
            self._own = OwnFolder(temporary_above(self._config), None, prefix=_PREFIX, rescue=recover)
            self._protected = ProtectedFiles(self._workspace, self._own.path, self.files)
        self.why_read_only = why_unprotectable(self._workspace) or ""
        try:
            self._protected.look(path for path, found in self._before.items() if found.autorun.policy != "reported")
        except TooMuchToKeep as error:
            self.why_read_only = f"files in it that other programs obey cannot be kept safe: {error}"

    def settle(self) -> tuple[list[str], list[FileNotice]]:
        """Undo changes after a command, and return notes and notices.

        Raises:
            OSError: the workspace cannot be read.
        """
        if self._protected is None:
            return [], []
        if self.why_read_only:
            self._protected.finish()
            return [*self._once(f"the workspace is read-only to commands: {self.why_read_only}")], []
        notes: list[str] = []
        notices: list[FileNotice] = []
        self._quarantine.begin()
        with ExitStack() as opened:
            after = self._index.refresh(opened)
            self._return_moved(after, notes)
            after = self._index.refresh(opened) | self._look_at_configured()
            for path, found in sorted(after.items()):
                earlier = self._before.get(path)
                if found.autorun.policy == "reported":
                    if earlier is None or (earlier.identity, earlier.stamp) != (found.identity, found.stamp):
                        notices.append(FileNotice(path, found.autorun.program))
                elif earlier is None and not any(is_beneath(path, other) for other in self._protected.entries):
                    notices += self._move(path, found.autorun, notes)
            undo_changes(self._protected, self._move, notes, notices)
        self._protected.finish()
        for folder in self._index.unread[:3]:
            notes += self._once(f"not checked for files that other programs obey: {folder[:200]}")
        if len(notes) > _MOST_NAMED:
            notes[_MOST_NAMED:] = [f"and {len(notes) - _MOST_NAMED} more notes"]
        return notes, notices

    def _return_moved(self, after: Mapping[str, AutorunEntry], notes: list[str]) -> None:
        """Rename git folders back, of which the objects are not copied."""
        for path, earlier in self._before.items():
            if not (earlier.is_folder and earlier.autorun == GIT):
                continue
            now = after.get(path)
            if now is not None and now.identity == earlier.identity:
                continue
            moved = next((found for found in after.values() if found.identity == earlier.identity), None)
            if moved is not None:
                if now is not None:
                    self._quarantine.move(now, notes)
                with (
                    suppress(OSError),  # a folder around it is gone, or a link now: what is not there is put back later
                    open_folder(self._workspace) as root,
                    open_parent(root, moved.path) as (there, name),
                    open_parent(root, path) as (here, former),
                ):
                    os.rename(name, former, src_dir_fd=there, dst_dir_fd=here)
                    notes.append(f"{path} was put back: it had been moved to {moved.path}")

    def _move(self, path: str, autorun: AutorunFile, notes: list[str]) -> list[FileNotice]:
        notice = self._quarantine.move(AutorunEntry(path, autorun, (0, 0), (0, 0, 0), False, None), notes)
        return [] if notice is None else [notice]

    def _once(self, note: str) -> Iterator[str]:
        if note not in self._said:
            self._said.add(note)
            yield note

    def _imported_by_agentctl(self, path: str) -> AutorunFile | None:
        return AutorunFile("asks", "agentctl") if self._imports(path) else None

    def _look_at_configured(self) -> dict[str, AutorunEntry]:
        found = {
            path: self._index.look(path, AutorunFile("asks", named.program)) for path, named in self._configured.items()
        }
        return {path: entry for path, entry in found.items() if entry is not None}


Move = Callable[[str, AutorunFile, list[str]], list[FileNotice]]
"""Moves a path away for the sake of a program; returns its notice. The notes get what could not be moved."""


def undo_changes(protected: ProtectedFiles, move: Move, notes: list[str], notices: list[FileNotice]) -> None:
    """Put back what differs from before, but for harmless changes of git."""
    added, changed = protected.changes()
    kept, why = _harmless(protected, added, changed)
    refused: list[str] = []
    for path in added:
        if path not in kept and not any(is_beneath(path, other) for other in refused):
            refused.append(path)
            moved = move(path, GIT if path.startswith(_GIT) else _PUT_BACK, notes)
            notices += [] if is_litter(path) else moved
    back = [path for path in changed if path not in kept]
    for path in back:
        entry = protected.entries[path]
        try:
            _make_way(protected, path, move, notes, notices)
            protected.restore(path)
        except OSError as error:
            notes.append(f"{path} could not be put back: {(error.strerror or str(error)).lower()}")
        refused += [path] if entry.kind != "folder" else []
    for path in sorted((path for path in back if protected.entries[path].kind == "folder"), reverse=True):
        with suppress(OSError):
            protected.restore_folder(path)
    if why:
        notes.append(f"git's changes were not kept: {why}")
    if refused := [path for path in refused if not is_litter(path)]:
        notes.append(f"changed by the command and put back: {join_names(refused)}")


def _make_way(protected: ProtectedFiles, path: str, move: Move, notes: list[str], notices: list[FileNotice]) -> None:
    """Move away what is at ``path`` now, or in place of a folder around it, unless it is a folder as before."""
    parts = path.split("/")
    for count in range(1, len(parts) + 1):
        here = "/".join(parts[:count])
        place = f"{protected.workspace}/{here}"
        is_wanted = count < len(parts) or protected.entries[path].kind == "folder"
        if os.path.lexists(place) and not (
            is_wanted and os.path.isdir(place) and not os.path.islink(place)  # noqa: PTH112, PTH114
        ):
            notices += move(here, GIT if here.startswith(_GIT) else _PUT_BACK, notes)
            return


def _harmless(protected: ProtectedFiles, added: list[str], changed: list[str]) -> tuple[set[str], str]:
    """Return the changes of the workspace's git folder that stay, and why none does."""
    ours = [path for path in (*added, *changed) if path.startswith(_GIT)]
    git = f"{protected.workspace}/.git"
    if not ours or os.path.islink(git) or not os.path.isdir(git):  # noqa: PTH112, PTH114
        return set(), ""
    names = [path.removeprefix(_GIT) for path in ours]
    there = [name for name in names if os.path.lexists(f"{git}/{name}")]
    if begun := unfinished_operations(names, there):
        return set(), f"a {' and a '.join(begun)} is unfinished; finish or abort it in the same command"
    kept: set[str] = set()
    for path, name in zip(ours, names, strict=True):
        place = f"{protected.workspace}/{path}"
        if is_litter(name):
            continue
        if not os.path.lexists(place):
            is_state = name.startswith(("refs/", "logs/", "sharedindex.")) or may_be_kept(name, b"")
            is_kept = is_state and name not in NEVER_REMOVED
        elif os.path.isdir(place) and not os.path.islink(place):  # noqa: PTH112, PTH114
            is_kept = name.split("/")[0] in ("refs", "logs")
        elif os.path.islink(place) or not os.path.isfile(place):  # noqa: PTH113, PTH114
            is_kept = False
        else:
            is_kept = os.path.getsize(place) <= MOST_KEPT_BYTES and may_be_kept(name, _read(place))  # noqa: PTH202
        if is_kept:
            kept.add(path)
        elif name in NEVER_REMOVED or name.startswith("refs/"):
            return set(), f"{join_names([name])} in .git cannot be trusted"
    return kept, ""


def _read(place: str) -> bytes:
    try:
        with open(os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
            return file.read(MOST_KEPT_BYTES + 1)
    except OSError:
        return b"\0"


def undo_after_death(workspace: str, place: str) -> tuple[str, ...]:
    """Return the argv of a program that calls ``recover`` with a folder of copies."""
    imports = child_imports(workspace)
    if imports.package:
        return ()
    script = "import sys; sys.path[:] = sys.argv[2:]; from agentctl.sandbox.workspace_undo import recover_left; "
    return (sys.executable, "-I", "-S", "-c", script + "recover_left(sys.argv[1])", place, *imports.path)


def recover_left(place: str) -> None:
    """Put back what a killed agentctl protected, and remove its folder of copies, unless a run holds it."""
    remove_unheld(Path(place), {os.geteuid()}, recover)


def recover(place: str) -> None:
    """Put back what a command changed, from a folder of copies. The changed versions go into the files of its run."""
    try:
        protected = ProtectedFiles.load(place)
    except (OSError, ValueError, KeyError, TypeError):
        return
    if protected is None:
        return
    quarantine = Quarantine(protected.workspace, protected.files)

    def move(path: str, autorun: AutorunFile, notes: list[str]) -> list[FileNotice]:
        notice = quarantine.move(AutorunEntry(path, autorun, (0, 0), (0, 0, 0), False, None), notes)
        return [] if notice is None else [notice]

    index = FolderIndex(protected.workspace)
    with suppress(OSError), ExitStack() as opened:
        for path, found in sorted(index.refresh(opened).items()):
            is_new = not any(is_beneath(path, other) for other in protected.entries)
            if found.autorun.policy != "reported" and is_new:
                move(path, found.autorun, [])
        undo_changes(protected, move, [], [])
    protected.finish()
