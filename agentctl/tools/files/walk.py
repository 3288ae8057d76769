"""Open files and walk folders of the workspace: only regular files, limited walks, no link followed out of it."""

from __future__ import annotations

import errno
import math
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from agentctl.core.errors import ToolError
from agentctl.core.text import did_you_mean
from agentctl.sandbox.mount_table import is_kernel_file
from agentctl.tools.files.paths import (
    Identities,
    as_tool_error,
    find_tail,
    open_beneath,
    open_workspace,
    real_relative,
    refuse_denied,
    resolve_relative,
)

if TYPE_CHECKING:
    from agentctl.sandbox.denied_paths import HiddenPaths

SKIPPED = frozenset(
    {".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv", ".tox", ".cache", ".hypothesis"}
    | {".mypy_cache", ".pytest_cache", ".ruff_cache"}
)
MOST_ENTRIES = 200_000
MOST_SECONDS = 10.0
_MOST_NAMED = 10
_LOOK = getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK)
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


@dataclass(frozen=True, slots=True)
class FileEntry:
    """An entry found on a walk; ``path`` is relative to the workspace."""

    path: str
    name: str
    status: os.stat_result

    @property
    def is_folder(self) -> bool:
        """A real folder, not a link to one."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_file(self) -> bool:
        """A regular file, not a link to one."""
        return stat.S_ISREG(self.status.st_mode)

    @property
    def is_link(self) -> bool:
        """A symbolic link."""
        return stat.S_ISLNK(self.status.st_mode)


@contextmanager
def open_for_reading(
    workspace: Path, path: str, hidden: HiddenPaths | None = None
) -> Iterator[tuple[BufferedReader, os.stat_result]]:
    """Open a regular file of the workspace for reading; a pipe or a device is refused without opening it.

    Raises:
        ToolError: ``hidden`` by a deny rule, outside, missing (with near names), not a regular file, no permission.
    """
    relative = resolve_relative(workspace, path)
    root = open_workspace(workspace)
    try:
        try:
            handle = open_regular(root, relative)
        except FileNotFoundError as exc:
            raise ToolError(f"{path} does not exist", hint=_suggest_path(workspace, root, relative, hidden)) from exc
        except OSError as exc:
            raise as_tool_error(exc, path) from exc
    finally:
        os.close(root)
    with handle:
        refuse_denied(hidden, relative, handle.fileno())
        yield handle, os.fstat(handle.fileno())


def open_regular(root: int, relative: str) -> BufferedReader:
    """Open a regular file beneath ``root``; its type is checked first, because opening a device can have effects.

    Raises:
        OSError: it cannot be opened.
        ToolError: it is not a regular file.
    """
    look = open_beneath(root, relative, _LOOK)
    try:
        _must_be_regular(look, relative)
    finally:
        os.close(look)
    handle = open(open_beneath(root, relative, _READ), "rb")  # noqa: PTH123, SIM115 - a descriptor
    try:
        _must_be_regular(handle.fileno(), relative)
    except ToolError:
        handle.close()
        raise
    return handle


def _must_be_regular(descriptor: int, path: str) -> None:
    status = os.fstat(descriptor)
    # The file system is asked, since a second /proc, mounted in the workspace, has another device than the first.
    if stat.S_ISREG(status.st_mode) and not is_kernel_file(descriptor, status):
        return
    kind = _KINDS.get(stat.S_IFMT(status.st_mode), "a file of the kernel")
    raise ToolError(f"{path} is {kind}, not a regular file", hint="list the files in it" if kind == "a folder" else "")


def real_folder(workspace: Path, path: str) -> Path:
    """Return the real path of a folder of the workspace.

    Raises:
        ToolError: the path is outside, missing, or not a folder.
    """
    relative = resolve_relative(workspace, path)
    root = open_workspace(workspace)
    try:
        folder = open_beneath(root, relative, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK)
        try:
            real = Path(os.path.realpath(workspace / relative))
            if not os.path.samestat(os.fstat(folder), real.stat()):
                raise ToolError(f"{path} changed while it was being opened", hint="try again")
            return real
        finally:
            os.close(folder)
    except FileNotFoundError as exc:
        raise ToolError(f"{path} does not exist", hint=_suggest_path(workspace, root, relative)) from exc
    except OSError as exc:
        raise as_tool_error(exc, path) from exc
    finally:
        os.close(root)


def name_matcher(pattern: str) -> Callable[[FileEntry], bool]:
    """Return a function that tells whether an entry's name (with a slash in the pattern: its path) matches; ``**/`` is
    any depth.
    """
    if pattern in ("", "*", "**", "**/*"):
        return lambda _: True
    if "/" not in pattern:
        return lambda entry: fnmatchcase(entry.name, pattern)
    plain = pattern.removeprefix("./")
    flat = plain.replace("**/", "")
    return lambda entry: fnmatchcase(entry.path, plain) or ("**/" in plain and fnmatchcase(entry.path, flat))


class Walk:
    """All entries below a folder, depth first, in the order of names; afterwards ``notes`` says what was left out, and
    why.

    ``private`` folders, and paths that deny rules have ``hidden``, never appear.
    """

    def __init__(
        self,
        workspace: Path,
        path: str,
        *,
        recursive: bool = True,
        skipped: frozenset[str] = SKIPPED,
        private: Identities = frozenset(),
        hidden: HiddenPaths | None = None,
        entries: int = MOST_ENTRIES,
        seconds: float = MOST_SECONDS,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        self.stop_reason = ""
        self._end = math.inf
        self.unreadable = 0
        self.not_entered: set[str] = set()
        self._workspace, self._path, self._recursive = workspace, path, recursive
        self._private, self._hidden, self.denied = private, hidden, 0
        self._devices: dict[int, bool] = {}
        self._skipped, self._left, self._seconds, self._tick = skipped, entries, seconds, tick

    def __iter__(self) -> Iterator[FileEntry]:
        """Yield the entries. ``tick`` is called between folders and may raise to end the walk.

        Raises:
            ToolError: the folder to start from cannot be read, or is hidden by a deny rule.
        """
        start = resolve_relative(self._workspace, self._path)
        if self._hidden is not None:
            refuse_denied(self._hidden, real_relative(self._workspace, start))
        self._end = time.monotonic() + self._seconds
        root = open_workspace(self._workspace)
        try:
            yield from self._below(root, start)
        finally:
            os.close(root)

    def open_root(self) -> int:
        """Open the workspace again, for ``open_regular`` on the entries; the caller closes it."""
        return open_workspace(self._workspace)

    def is_over(self) -> bool:
        """Return whether the time is up, and record it."""
        if time.monotonic() > self._end:
            self.stop_reason = self.stop_reason or f"stopped after {self._seconds:g} s"
        return bool(self.stop_reason)

    def notes(self) -> list[str]:
        """Return what was left out, in words."""
        said = [f"not looked into: {', '.join(sorted(self.not_entered))}"] if self.not_entered else []
        if self.unreadable:
            said.append(f"{self.unreadable} could not be read")
        if self.denied:
            said.append(f"{self.denied} left out by a user's deny rule")
        return [*said, *([f"incomplete: {self.stop_reason}"] if self.stop_reason else [])]

    def _below(self, root: int, start: str) -> Iterator[FileEntry]:
        pending = [start]
        while pending and not self.is_over():
            self._tick()
            folder = pending.pop()
            try:
                found = self._list_folder(root, folder)
            except OSError as exc:
                if folder == start:
                    if isinstance(exc, FileNotFoundError):
                        hint = _suggest_path(self._workspace, root, start, self._hidden)
                        raise ToolError(f"{self._path} does not exist", hint=hint) from exc
                    if exc.errno == errno.ENOTDIR:
                        raise ToolError(f"{self._path} is not a folder", hint="read it as a file") from exc
                    raise as_tool_error(exc, self._path) from exc
                self.unreadable += 1
                continue
            deeper = []
            for entry in found:
                if (entry.status.st_dev, entry.status.st_ino) in self._private:
                    self.not_entered.add(entry.name)
                    continue
                if self._hidden is not None and self._hidden.hides_entry(entry.path, entry.status):
                    self.denied += 1
                    continue
                yield entry
                if self._recursive and entry.is_folder:
                    if entry.name in self._skipped:
                        self.not_entered.add(entry.name)
                    else:
                        deeper.append(entry.path)
            pending += reversed(deeper)

    def _is_of_the_kernel(self, folder: int) -> bool:
        """Return whether an open folder is in a file system of the kernel; each device is checked once."""
        status = os.fstat(folder)
        if status.st_dev not in self._devices:
            self._devices[status.st_dev] = is_kernel_file(folder, status)
        return self._devices[status.st_dev]

    def _list_folder(self, root: int, folder: str) -> list[FileEntry]:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK
        handle = open_beneath(root, folder, flags)
        try:
            if self._is_of_the_kernel(handle):
                self.not_entered.add(folder.rpartition("/")[2])
                return []
            with os.scandir(handle) as found:
                names = list(islice(found, self._left + 1))
                if len(names) > self._left:
                    names.pop()
                    self.stop_reason = (
                        f"stopped after {MOST_ENTRIES:,} entries" if self._left else "stopped: too many entries"
                    )
                self._left -= len(names)
                entries = []
                for one in names:
                    try:
                        status = one.stat(follow_symlinks=False)
                    except OSError:
                        self.unreadable += 1
                        continue
                    path = one.name if folder == "." else f"{folder}/{one.name}"
                    entries.append(FileEntry(path, one.name, status))
                return sorted(entries, key=lambda entry: entry.name)
        finally:
            os.close(handle)


def _suggest_path(workspace: Path, root: int, relative: str, hidden: HiddenPaths | None = None) -> str:
    """Return a hint: the last parts of the path, if they exist, else a near name, or all names, of its folder."""
    if (tail := find_tail(workspace, relative, hidden=hidden)) is not None:
        return f'did you mean "{tail}"?'
    folder, _, name = relative.rpartition("/")
    try:
        handle = open_beneath(root, folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK)
    except OSError:
        return "list the files of the folder above it"
    try:
        with os.scandir(handle) as found:
            names = [one.name for one in islice(found, 5000)]
    finally:
        os.close(handle)
    above = f"{folder}/" if folder else ""
    names = [one for one in names if hidden is None or not hidden.hides(f"{above}{one}")]
    if near := did_you_mean(name, names):
        return f'did you mean "{above}{near[14:]}'
    plain = sorted(one for one in names if not one.startswith("."))
    if not plain or len(plain) > _MOST_NAMED:
        return "list the files of its folder"
    return f"{folder or 'the workspace'} has {', '.join(plain)}"
