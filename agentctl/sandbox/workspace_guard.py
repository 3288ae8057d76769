"""Protect the files of a workspace that other programs run or obey, around each command.

Before a command, these files are bound read-only, at any depth, and the workspace's git folder is replaced by a copy
(``git_scratch``). If the workspace has no ``.git``, a placeholder takes its place while the command runs, so that one
made by the command is never visible outside. After the command, such files that are new are moved into the run's files,
and those that only a build or a CI runs later are reported. Nothing is deleted.

The read-only mounts are the first protection, while the command runs. The check afterwards is the second: it finds
files where there was none before (a repository in a new subfolder, a new ``.envrc``).
"""

from __future__ import annotations

import os
import stat
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Literal, NamedTuple

from agentctl.core.autorun_files import AutorunFile
from agentctl.core.results import FileNotice
from agentctl.core.system_folders import is_beneath
from agentctl.sandbox.folder_index import AutorunEntry, FolderIndex
from agentctl.sandbox.git_files import configured_paths, is_git_folder, is_git_name
from agentctl.sandbox.git_folder import OwnFolder
from agentctl.sandbox.git_scratch import GitFolderNotCopied, GitScratch
from agentctl.sandbox.mount_plan import SandboxConfig
from agentctl.sandbox.quarantine import Placeholder, Quarantine

_MOST_BINDS = 200  # each costs bubblewrap a fraction of a millisecond; those nearest to the top come first
_MOST_NAMED = 20
_MOST_CONFIG_BYTES = 1024 * 1024
_MOST_INCLUDED = 50


def why_unprotectable(workspace: str) -> str | None:
    """Return why commands may not write to a workspace at all, because git outside would obey their changes, or
    None.
    """
    if any(is_git_name(part) for part in workspace.split("/")):
        return "it lies in a git folder"
    names = frozenset(os.listdir(workspace))  # noqa: PTH208
    if is_git_folder(names):
        return "it is a git folder itself"
    if any(is_git_name(name) and os.path.islink(f"{workspace}/{name}") for name in names):  # noqa: PTH114
        return "its .git is a symbolic link, and nothing can be mounted on a link"
    return None


class WorkspaceGuard:
    """Guards one workspace for all commands of a run. ``files`` is the folder of the run's own files.

    ``imports`` returns whether agentctl's own Python would import a path of the workspace.
    """

    def __init__(
        self, config: SandboxConfig, files: Path | None = None, *, imports: Callable[[str], bool] = lambda _: False
    ) -> None:
        self._config, self.files, self._imports = config, files, imports
        self._workspace = config.workspace
        self._configured: dict[str, NamedPath] = {}  # paths that git's configuration and hooks name
        self._index = FolderIndex(self._workspace, skipped=self._hidden_folders(), also=self._imported_by_agentctl)
        self._before: dict[str, AutorunEntry] = {}
        self._folders: dict[str, int] = {}  # inode of each folder before the command
        self._protected: set[str] = set()  # the paths that a mount covers, directly or by their folder
        self._held: set[tuple[int, int]] = set()  # the identities of the existing ones among them
        self._git: GitScratch | None = None
        self._place = ""
        self._placeholders: dict[str, Placeholder] = {}
        self._quarantine = Quarantine(self._workspace, files)
        self._said: set[str] = set()
        self._notes: list[str] = []

    @property
    def place(self) -> str:
        """The folder outside the workspace that commands can write to in place of git's; "" if there is none."""
        return self._place

    def mounts(self) -> list[str]:
        """Read the workspace and return bubblewrap's options that protect the obeyed files in it.

        Raises:
            OSError: the workspace cannot be read.
        """
        if self._config.read_only:
            self._say(f"the workspace is read-only to commands: {self._config.why_read_only}")
            return []
        self._before = self._index.refresh()
        self._folders = self._index.folders
        self._configured = configured_in(self._workspace, self._config.homes)
        self._configured |= link_targets(self._workspace, self._before.values())
        self._before |= {
            path: found for path in self._configured if (found := self._look_at_configured(path)) is not None
        }
        git = self._before.get(".git")
        options: list[str] = []
        if git is None or Placeholder.stands_at(f"{self._workspace}/.git"):
            self._git = None
            options += self._placeholder(".git", is_folder=True)
        elif git.is_folder:
            options += self._mount_copy()
        else:
            options += ["--ro-bind", f"{self._workspace}/.git", f"{self._workspace}/.git"]
        for path, named in self._configured.items():
            place = f"{self._workspace}/{path}"
            above = os.path.dirname(place)  # noqa: PTH120
            is_missing = path not in self._before or Placeholder.stands_at(place)
            if named.kind is not None and is_missing and os.path.realpath(above) == above:
                options += self._placeholder(path, is_folder=named.kind == "folder")
        if why_unprotectable(self._workspace) is not None:  # this changed during the run
            return ["--remount-ro", self._workspace]
        bound: list[str] = []
        self._protected = {".git", *self._placeholders}
        for found in sorted(self._before.values(), key=lambda found: (found.path.count("/"), found.path)):
            if found.autorun.policy == "reported" or found.path in self._protected:
                continue
            place = f"{self._workspace}/{found.path}"
            if found.target is not None:  # a link cannot be bound: its folder is, unless that is the workspace
                place = place.rpartition("/")[0]
            if any(is_beneath(place, other) for other in bound):
                self._protected.add(found.path)
            elif place != self._workspace and len(bound) < _MOST_BINDS:
                bound.append(place)
                self._protected.add(found.path)
        for place in bound:
            options += ["--ro-bind", place, place]
        self._held = {self._before[path].identity for path in self._protected if path in self._before}
        return options

    def settle(self) -> tuple[list[str], list[FileNotice]]:
        """Copy back git's changes after a command, move new files that other programs obey, and return notes and
        notices.
        """
        notes, self._notes = self._notes, []
        self._quarantine.begin()
        if self._config.read_only:
            return notes, []
        if self._git is not None:
            notes += self._git.copy_back()
        notices: list[FileNotice] = []
        with ExitStack() as opened:
            after = self._index.refresh(opened)
            after |= {path: found for path in self._configured if (found := self._look_at_configured(path)) is not None}
            for found in sorted(after.values(), key=lambda found: found.path):
                what = "leave" if found.path in self._placeholders else self._judge(found)
                if what == "move" and (notice := self._quarantine.move(found, notes)) is not None:
                    notices.append(notice)
                elif what == "report":
                    notices.append(FileNotice(found.path, found.autorun.program))
        for path, earlier in self._before.items():
            if earlier.target is not None and not os.path.lexists(f"{self._workspace}/{path}"):
                with suppress(OSError):
                    Path(self._workspace, path).symlink_to(earlier.target)
                    notes.append(f"{path} was put back: a link to {earlier.target}")
        placeholders, self._placeholders = self._placeholders, {}
        for path, made in placeholders.items():
            inside = made.remove()
            if inside is not None and (notice := self._quarantine.move_from(inside, path, "git", notes)) is not None:
                notices.append(notice)
        notes += self._notes
        self._notes = []
        for folder in self._index.unread[:3]:
            if (note := f"not checked for files that other programs obey: {folder[:200]}") not in self._said:
                self._said.add(note)
                notes.append(note)
        if len(notes) > _MOST_NAMED:
            notes[_MOST_NAMED:] = [f"and {len(notes) - _MOST_NAMED} more notes"]
        return notes, notices

    def _judge(self, found: AutorunEntry) -> Literal["leave", "report", "move"]:
        """Return what to do with an entry that is in the workspace after a command.

        A command cannot replace a mounted file, except by renaming its folder and creating another in its place. A
        program outside may have replaced it meanwhile. A freed inode number may be reused, so only the inode of a
        mounted file proves that an entry is the same.
        """
        earlier = self._before.get(found.path)
        is_as_before = earlier is not None and (earlier.identity, earlier.stamp) == (found.identity, found.stamp)
        if found.autorun.policy == "reported":
            return "leave" if is_as_before else "report"
        if earlier is None:
            return "leave" if found.identity in self._held else "move"
        if found.path in self._protected:
            above = found.path.rpartition("/")[0]
            return "leave" if self._folders.get(above) == self._index.folders.get(above) else "move"
        if is_as_before:
            return "leave"
        return "report" if found.identity == earlier.identity and earlier.target is found.target is None else "move"

    def _say(self, note: str) -> None:
        """Add a note to the next command's notes, once per run."""
        if note not in self._said:
            self._said.add(note)
            self._notes.append(note)

    def _imported_by_agentctl(self, path: str) -> AutorunFile | None:
        return AutorunFile("asks", "agentctl") if self._imports(path) else None

    def _look_at_configured(self, path: str) -> AutorunEntry | None:
        return self._index.look(path, AutorunFile("asks", self._configured[path].program))

    def _hidden_folders(self) -> set[str]:
        """Return the folders that are hidden from commands, which therefore cannot have written there."""
        return {os.path.realpath(place) for place in self._config.hidden}

    # The git folder of the workspace

    def _copy_folder(self) -> str:
        """Return a folder for copies that is removed with the run; commands of another user have access, too."""
        if not self._place:
            above = Path(tempfile.gettempdir())
            if self._config.user is None and self.files is not None:
                self.files.mkdir(mode=0o700, parents=True, exist_ok=True)
                above = self.files
            own = OwnFolder(above, self._config.user)
            self._place = own.path
            weakref.finalize(self, own.remove)
        return self._place

    def _mount_copy(self) -> list[str]:
        folder = f"{self._workspace}/.git"
        if self._git is None:
            self._git = GitScratch(folder, self._copy_folder(), owner=self._config.user)
        try:
            return self._git.mounts()
        except GitFolderNotCopied as error:
            self._git = None
            self._say(f".git is read-only to commands: {error}")
            return ["--ro-bind", folder, folder]

    def _placeholder(self, path: str, *, is_folder: bool) -> list[str]:
        """Put a placeholder at a free path, so that a file that the command makes there is not visible outside."""
        inside = f"{self._copy_folder()}/new-{len(self._placeholders)}-{os.urandom(4).hex()}"
        made = Placeholder.create(f"{self._workspace}/{path}", inside, is_folder=is_folder, owner=self._config.user)
        if made is None:
            return []
        self._placeholders[path] = made
        return made.mounts


class NamedPath(NamedTuple):
    """The source that names a path: ``kind`` is what git expects there ("file", "folder"), None for anything."""

    program: str
    kind: str | None


def configured_in(workspace: str, homes: Sequence[str]) -> dict[str, NamedPath]:
    """Return the relative paths in the workspace that git's configuration names or a link among its hooks leads to."""
    git = f"{workspace}/.git"
    pending = [f"{git}/config", f"{git}/config.worktree", "/etc/gitconfig"]
    pending += [f"{home}/{name}" for home in homes for name in (".gitconfig", ".config/git/config")]
    read: set[str] = set()
    found: dict[str, NamedPath] = {}
    while pending and len(read) < _MOST_INCLUDED:
        file = os.path.realpath(pending.pop())
        if file in read or (text := _text(file)) is None:
            continue
        read.add(file)
        for named in configured_paths(text):
            base = os.path.dirname(file) if named.kind == "include" else workspace  # noqa: PTH120
            place = os.path.normpath(os.path.join(base, os.path.expanduser(named.path)))  # noqa: PTH111, PTH118
            if named.kind == "include":
                pending.append(place)
            kind = {"include": "file", "hooks": "folder"}.get(named.kind)
            for path in _within(workspace, place):
                found[path] = NamedPath("git (its configuration names it)", kind)
    hooks = f"{git}/hooks"
    for place in (hooks, *(f"{hooks}/{name}" for name in _names(hooks))):
        if os.path.islink(place):  # noqa: PTH114
            found |= {path: NamedPath("git (a hook is a link to it)", None) for path in _within(workspace, place)}
    return found


def link_targets(workspace: str, entries: Iterable[AutorunEntry]) -> dict[str, NamedPath]:
    """Return the paths in the workspace that are targets of obeyed links, or of links directly in an obeyed folder."""
    found: dict[str, NamedPath] = {}
    for entry in entries:
        place = f"{workspace}/{entry.path}"
        if entry.autorun.policy != "asks":
            continue
        links = [place] if entry.target is not None else _links(place) if entry.is_folder else []
        for path in (path for link in links for path in _within(workspace, link)):
            if not is_beneath(path, entry.path):
                found[path] = NamedPath(f"{entry.autorun.program} (a link leads to it)", None)
    return found


def _links(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.path for entry in entries if entry.is_symlink()]
    except OSError:
        return []


def _within(workspace: str, place: str) -> Iterator[str]:
    for path in dict.fromkeys((place, os.path.realpath(place))):
        if is_beneath(path, workspace) and path != workspace and not is_beneath(path, f"{workspace}/.git"):
            yield path[len(workspace) :].lstrip("/")


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208
    except OSError:
        return []


def _text(file: str) -> str | None:
    try:
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as handle:  # noqa: PTH123
            if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
                return None
            return handle.read(_MOST_CONFIG_BYTES).decode("utf-8", "surrogateescape")
    except OSError:
        return None
