"""Keep copies of files and folders that a command could change, and put them back.

``ProtectedFiles`` is for a sandbox without mounts. Before a command it copies what is new or changed since the last
look; an unchanged file is not read again, as setting a ctime back needs privileges. After the command ``changes``
names what differs, and ``restore`` puts it back: content, mode, time and links. The copies and a list of them are in a
folder of agentctl's own, so that another process can put back what a killed agentctl cannot.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from agentctl.sandbox.git_folder import NEW, open_folder, open_parent, write_all

MOST_BYTES = 256 * 1024**2
MOST_ENTRIES = 50_000
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LIST, _RUNNING = "protected.json", "running"
_REDIRECTIONS = ("info/alternates", "info/http-alternates")


class TooMuchToKeep(Exception):
    """The files are too many or too large to copy; the message says which."""


class Entry(NamedTuple):
    """A file, folder ("folder"), link ("link") or named pipe ("pipe", which is not put back) as it is.

    ``stamp`` changes when it is written to or replaced. ``copy`` is the number of its copy, ``target`` that of a link,
    ``owner`` its user and group.
    """

    kind: str
    mode: int
    stamp: tuple[int, int, int, int]
    modified_ns: int
    target: str = ""
    copy: int = 0
    owner: tuple[int, int] = (-1, -1)


class ProtectedFiles:
    """The protected files of ``workspace`` as they were, with copies in ``place``, an empty folder.

    ``files`` is the folder of the run's own files, for whoever puts back what a killed agentctl cannot.
    """

    def __init__(self, workspace: str, place: str, files: Path | None = None) -> None:
        self._workspace, self._place, self.files = workspace, place, files
        self.entries: dict[str, Entry] = {}
        self._copies = 0
        self._listed: dict[str, Entry] | None = None

    @classmethod
    def load(cls, place: str) -> ProtectedFiles | None:
        """Return what a killed agentctl protected, or None if no command of it was running.

        Raises:
            OSError, ValueError: it cannot be read.
        """
        if not Path(place, _RUNNING).exists():
            return None
        said = json.loads(Path(place, _LIST).read_bytes().decode("utf-8", "surrogateescape"))
        found = cls(said["workspace"], place, Path(said["files"]) if said["files"] else None)
        found.entries = {
            path: Entry(kind, mode, tuple(stamp), modified_ns, target, copy, tuple(owner))
            for path, (kind, mode, stamp, modified_ns, target, copy, owner) in said["entries"].items()
        }
        return found

    @property
    def workspace(self) -> str:
        """The folder that the paths are relative to."""
        return self._workspace

    def look(self, paths: Iterable[str]) -> None:
        """Copy what is at ``paths`` now, with everything in folders.

        Raises:
            OSError: a file cannot be read.
            TooMuchToKeep: they are too many or too large.
        """
        now = self._scan(paths)
        total = 0
        for path, entry in now.items():
            earlier = self.entries.get(path)
            if entry.kind != "file":
                continue
            total += entry.stamp[1]
            if total > MOST_BYTES:
                raise TooMuchToKeep(f"they hold more than {MOST_BYTES // 1024**2} MiB")
            if earlier is not None and earlier.kind == "file" and earlier.stamp == entry.stamp:
                now[path] = entry._replace(copy=earlier.copy)
            else:
                now[path] = entry._replace(copy=self._copy(path))
        kept = {entry.copy for entry in now.values()}
        for entry in self.entries.values():
            if entry.copy and entry.copy not in kept:
                Path(self._place, str(entry.copy)).unlink(missing_ok=True)
        self.entries = now
        if self._listed != now:
            self._write_list(now)
        Path(self._place, _RUNNING).touch(mode=0o600)

    def changes(self) -> tuple[list[str], list[str]]:
        """Return the paths that were added to protected folders, and those that differ or are gone."""
        for path in sorted(path for path, entry in self.entries.items() if entry.kind == "folder"):
            with suppress(OSError):  # one that may not be read hides what is in it
                self.restore_folder(path)
        now = self._scan(path for path in self.entries if not self._is_inside(path))
        pipes = {path for path, entry in self.entries.items() if entry.kind == "pipe"}
        added = [
            path for path, entry in now.items() if path not in self.entries or (path in pipes and entry.kind != "pipe")
        ]
        changed = [
            path
            for path, entry in self.entries.items()
            if path not in pipes and not self._is_same(path, entry, now.get(path))
        ]
        return sorted(added), sorted(changed)

    def content(self, path: str) -> bytes:
        """Return the content of a protected file as it was."""
        return Path(self._place, str(self.entries[path].copy)).read_bytes()

    def restore(self, path: str) -> None:
        """Put the entry at ``path`` back, of which nothing is there now, or a folder for a folder.

        A folder stays writable for its owner until ``restore_folder``.

        Raises:
            OSError: it cannot be put back.
        """
        entry = self.entries[path]
        with open_folder(self._workspace) as root, open_parent(root, path, make=True) as (folder, name):
            if entry.kind == "link":
                os.symlink(entry.target, name, dir_fd=folder)
                return
            if entry.kind == "folder":
                with suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=folder)
                handle = os.open(name, _FOLDER, dir_fd=folder)
            else:
                handle = os.open(name, NEW, 0o600, dir_fd=folder)
                write_all(handle, self.content(path))
            try:
                if os.geteuid() == 0:  # not the folder's owner, who might read then what is only another user's
                    os.fchown(handle, *entry.owner)
                os.fchmod(handle, entry.mode | (0o700 if entry.kind == "folder" else 0))
                if entry.kind == "file":
                    os.utime(handle, ns=(entry.modified_ns, entry.modified_ns))
            finally:
                os.close(handle)

    def restore_folder(self, path: str) -> None:
        """Give a folder its mode and time back.

        Raises:
            OSError: it is gone, or another user's.
        """
        entry = self.entries[path]
        with open_folder(self._workspace) as root, open_parent(root, path) as (folder, name):
            handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            try:  # by this path, as a folder without read permission cannot be opened otherwise
                itself = f"/proc/self/fd/{handle}"
                if stat.S_IMODE(os.fstat(handle).st_mode) != entry.mode:
                    os.chmod(itself, entry.mode)  # noqa: PTH101
                os.utime(itself, ns=(entry.modified_ns, entry.modified_ns))
            finally:
                os.close(handle)

    def finish(self) -> None:
        """Note that no command is running: there is nothing to put back if agentctl is killed now."""
        Path(self._place, _RUNNING).unlink(missing_ok=True)

    def _is_inside(self, path: str) -> bool:
        above = path.rpartition("/")[0]
        return above in self.entries and self.entries[above].kind == "folder"

    def _is_same(self, path: str, before: Entry, now: Entry | None) -> bool:
        if now is None or (now.kind, now.target) != (before.kind, before.target):
            return False
        if now.kind == "link":
            return True
        if now.mode != before.mode:
            return False
        if now.kind == "folder" or now.stamp == before.stamp:
            return True
        return now.stamp[1] == before.stamp[1] and self._read(path) == self.content(path)

    def _scan(self, paths: Iterable[str]) -> dict[str, Entry]:
        """Return the entries at ``paths`` and in the folders among them, without the objects of git."""
        found: dict[str, Entry] = {}
        asked = set(paths)
        pending = list(asked)
        while pending:
            path = pending.pop()
            place = f"{self._workspace}/{path}"
            try:
                if path in asked and os.path.realpath(above := os.path.dirname(place)) != above:  # noqa: PTH120
                    continue  # a folder around it is a link now
                status = os.lstat(place)
                target = os.readlink(place) if stat.S_ISLNK(status.st_mode) else ""  # noqa: PTH115
            except OSError:
                continue
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            mode, owner = stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid)
            if stat.S_ISDIR(status.st_mode):
                # the stamp of a folder changes with each entry, and its entries are compared one by one
                found[path] = Entry("folder", mode, (status.st_ino, 0, 0, 0), status.st_mtime_ns, owner=owner)
                pending += self._inner(path, place)
            elif stat.S_ISREG(status.st_mode):
                found[path] = Entry("file", mode, stamp, status.st_mtime_ns, owner=owner)
            elif target:
                found[path] = Entry("link", mode, stamp, status.st_mtime_ns, target)
            elif stat.S_ISFIFO(status.st_mode):  # the only other kind that a command can make
                found[path] = Entry("pipe", mode, stamp, status.st_mtime_ns)
            if len(found) > MOST_ENTRIES:
                raise TooMuchToKeep(f"they are more than {MOST_ENTRIES:,}")
        return found

    def _inner(self, path: str, place: str) -> Iterator[str]:
        try:
            with os.scandir(place) as entries:
                here = [(entry.name, entry.is_symlink()) for entry in entries]
        except OSError:
            return
        names = {name for name, _ in here}
        is_git_folder = {"HEAD", "refs", "objects"} <= names
        for name, is_link in here:
            parts = path.rpartition("/")[2]
            if is_link or not (
                (is_git_folder and name == "objects") or (name == "objects" and parts in ("annex", "lfs"))
            ):
                yield f"{path}/{name}"
            else:  # named by their content, which git checks; but links and lists lead to other folders
                yield from (f"{path}/{name}/{redirection}" for redirection in _REDIRECTIONS)
                yield from (f"{path}/{name}/{link}" for link in _links(f"{place}/{name}"))

    def _copy(self, path: str) -> int:
        content = self._read(path)
        self._copies += 1
        handle = os.open(f"{self._place}/{self._copies}", NEW, 0o600)
        try:
            write_all(handle, content or b"")
        finally:
            os.close(handle)
        return self._copies

    def _read(self, path: str) -> bytes | None:
        try:
            with open(os.open(f"{self._workspace}/{path}", _READ), "rb") as file:  # noqa: PTH123
                return file.read()
        except FileNotFoundError:
            return None

    def _write_list(self, entries: dict[str, Entry]) -> None:
        files = "" if self.files is None else str(self.files)
        said = json.dumps({"workspace": self._workspace, "files": files, "entries": entries}, ensure_ascii=False)
        Path(self._place, f"{_LIST}.new").write_bytes(said.encode("utf-8", "surrogateescape"))
        Path(self._place, f"{_LIST}.new").replace(f"{self._place}/{_LIST}")
        self._listed = dict(entries)


def _links(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_symlink()]
    except OSError:
        return []
