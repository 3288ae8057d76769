"""Index the files of a workspace that other programs obey; a folder is read again only when its ctime changed.

Setting a ctime back needs privileges, so creating, removing or renaming an entry always shows in its folder.
Reading 3,000 folders for the first time takes some 20 ms, a later refresh 10 ms.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from agentctl.core.autorun_files import AutorunFile, find_autorun, is_autorun_name
from agentctl.sandbox.git_files import GIT, GIT_FOLDER_PARTS, is_git_folder

_TICK_NS = 50_000_000  # the kernel's clock for ctimes is coarse: a folder this fresh may change within a tick
_MOST_FOLDERS = 500_000


class AutorunEntry(NamedTuple):
    """An entry that another program obeys; its ``path`` is relative to the workspace and contains no links.

    ``identity`` is device and inode, ``stamp`` changes when the file is written to, ``target`` is a link's target.
    ``is_folder``: a real folder, which is obeyed with everything in it.
    """

    path: str
    autorun: AutorunFile
    identity: tuple[int, int]
    stamp: tuple[int, int, int]
    is_folder: bool
    target: str | None


class _Folder(NamedTuple):
    inode: int
    changed_ns: int
    read_ns: int
    folders: tuple[str, ...]
    found: tuple[AutorunEntry, ...]


class FolderIndex:
    """All folders of one workspace, and the entries in them that other programs obey.

    ``skipped`` are absolute paths that are not read. ``also`` returns whether a path that no list names is still obeyed
    (git's configuration names it, Python imports from its folder); it is called once for a folder, and for a file each
    time its folder is read.
    """

    def __init__(
        self, root: str, *, skipped: Collection[str] = (), also: Callable[[str], AutorunFile | None] = lambda _: None
    ) -> None:
        self._root, self._skipped, self._also = root.rstrip("/"), frozenset(skipped), also
        self._folders: dict[str, _Folder] = {}
        self._inodes: dict[str, int] = {}
        self.unread: list[str] = []  # folders that could not be read

    def refresh(self, opened: ExitStack | None = None) -> dict[str, AutorunEntry]:
        """Read the changed folders, and return the obeyed entries by path.

        A folder of ours without access for us is made accessible until ``opened`` exits, or without it until this call
        returns.
        """
        with ExitStack() as until_the_end:
            return self._refresh(until_the_end if opened is None else opened)

    def _refresh(self, opened: ExitStack) -> dict[str, AutorunEntry]:
        known = self._folders
        now: dict[str, _Folder] = {}
        self.unread = []
        found: dict[str, AutorunEntry] = {}
        pending = [("", False)]
        while pending:
            path, is_autorun = pending.pop()
            if len(now) >= _MOST_FOLDERS:
                self.unread.append(path)
                break
            place = f"{self._root}/{path}"
            try:
                status = os.lstat(place)
                folder = known.get(path)
                if (
                    folder is None
                    or folder.changed_ns != status.st_ctime_ns
                    or folder.inode != status.st_ino
                    or folder.changed_ns > folder.read_ns - _TICK_NS
                ):
                    folder = self._read(path, place, status, opened, is_autorun=is_autorun)
            except FileNotFoundError:
                continue
            except OSError:
                self.unread.append(path)
                continue
            now[path] = folder
            for entry in folder.found:
                again = entry if entry.is_folder else _read_again(self._root, entry)
                if again is not None:
                    found[entry.path] = again
            pending += [
                (f"{path}/{name}" if path else name, is_autorun or _is_reported(f"{path}/{name}" if path else name))
                for name in folder.folders
            ]
        self._folders = now
        self._inodes = {path: folder.inode for path, folder in now.items()}
        return found

    @property
    def folders(self) -> dict[str, int]:
        """The inode of each folder that was read, by its path; "" is the workspace."""
        return self._inodes

    def look(self, path: str, autorun: AutorunFile) -> AutorunEntry | None:
        """Return the entry at ``path`` now, as one that ``autorun`` describes, or None if there is none, or if a link
        leads to it.
        """
        above = os.path.dirname(f"{self._root}/{path}")  # noqa: PTH120
        if os.path.realpath(above) != above:
            return None
        return _read_entry(self._root, path, autorun)

    def _read(self, path: str, place: str, status: os.stat_result, opened: ExitStack, *, is_autorun: bool) -> _Folder:
        read_ns = time.time_ns()
        folders, found, parts = [], [], []
        prefix = f"{path}/" if path else ""
        for entry in _entries(place, status, opened):
            name, inner = entry.name, prefix + entry.name
            if name in GIT_FOLDER_PARTS:
                parts.append(name)
            autorun = find_autorun(inner) if is_autorun or _has_autorun_name(name) else None
            if autorun is None or autorun.policy == "reported":
                autorun = self._also(inner) or autorun
            is_folder = entry.is_dir(follow_symlinks=False)
            if autorun is not None and not (is_folder and autorun.policy == "reported"):
                found.append(_read_entry(self._root, inner, autorun))
            elif is_folder and f"{self._root}/{inner}" not in self._skipped:
                folders.append(name)
        if path and is_git_folder(parts):  # a bare repository: git obeys everything in it
            found = [_read_entry(self._root, path, GIT)]
            folders = []
        elif is_git_folder(parts):
            found += [_read_entry(self._root, name, GIT) for name in parts]
            folders = [name for name in folders if name not in parts]
        return _Folder(status.st_ino, status.st_ctime_ns, read_ns, tuple(folders), tuple(filter(None, found)))


_has_autorun_name = lru_cache(maxsize=65_536)(is_autorun_name)  # the same names occur in many folders


def _is_reported(path: str) -> bool:
    return _has_autorun_name(path.rpartition("/")[2]) and find_autorun(path) is not None


def _entries(place: str, status: os.stat_result, opened: ExitStack) -> Iterator[os.DirEntry[str]]:
    """Yield the entries of a folder; one of ours that a command made inaccessible is opened until ``opened`` exits."""
    try:
        with os.scandir(place) as entries:
            yield from entries
        return
    except PermissionError:
        if status.st_uid != os.geteuid():
            return  # another user's folder, closed to commands, too
    handle = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    opened.callback(os.close, handle)
    itself = Path(f"/proc/self/fd/{handle}")  # a folder without read permission: its mode is changed through this path
    mode = stat.S_IMODE(status.st_mode)
    itself.chmod(mode | 0o700)
    opened.callback(itself.chmod, mode)
    with os.scandir(place) as entries:
        yield from entries


def _read_entry(root: str, path: str, autorun: AutorunFile) -> AutorunEntry | None:
    place = f"{root}/{path}"
    try:
        status = os.lstat(place)
        target = os.readlink(place) if stat.S_ISLNK(status.st_mode) else None  # noqa: PTH115 - many of them
    except OSError:
        return None
    stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    is_folder = stat.S_ISDIR(status.st_mode)
    return AutorunEntry(path, autorun, (status.st_dev, status.st_ino), stamp, is_folder, target)


def _read_again(root: str, entry: AutorunEntry) -> AutorunEntry | None:
    return _read_entry(root, entry.path, entry.autorun)
