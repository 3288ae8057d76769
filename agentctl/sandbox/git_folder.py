"""Read and write in a git folder that untrusted programs also write to: follow no link, and take git's own locks."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias

from agentctl.sandbox.git_files import STATE_FOLDERS

COPIED_FOLDERS = ("refs", "logs", *sorted(STATE_FOLDERS))
"""The subfolders of a git folder whose files are copied; files directly in the git folder are copied, too."""
READ_ONLY_FILES = frozenset({"config", "config.worktree", "description"})
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK_WAIT_S = 3.0
_OWN_PREFIX = "agentctl-git-"
_DEEPEST = 100  # nested folders: no ref has as many parts


class GitFolderBusy(Exception):
    """Another git process changed the folder, or holds a lock; the message says which."""


class Stamp(NamedTuple):
    """Values that change when a file is written to or replaced."""

    inode: int
    size: int
    modified_ns: int
    changed_ns: int


Stamps: TypeAlias = dict[str, Stamp]


@contextmanager
def open_folder(folder: str) -> Iterator[int]:
    """Open a folder that is not a link; yield its descriptor."""
    file = os.open(folder, _FOLDER)
    try:
        yield file
    finally:
        os.close(file)


@contextmanager
def open_parent(root: int, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
    """Open the parent folder of ``path``, part by part without following links; yield it and the name.

    ``make``: create missing folders, owned by the owner of ``root``.
    """
    folder = os.dup(root)
    *parts, name = path.split("/")
    try:
        for part in parts:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, 0o777, dir_fd=folder)
                    if os.geteuid() == 0:
                        status = os.fstat(root)
                        os.chown(part, status.st_uid, status.st_gid, dir_fd=folder, follow_symlinks=False)
            deeper = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = deeper
        yield folder, name
    finally:
        os.close(folder)


def scan(root: int) -> tuple[Stamps, list[str]]:
    """Return the stamps of the files that are copied, and the entries in their places that are not files."""
    files: Stamps = {}
    strange: list[str] = []

    def look(folder: int, prefix: str) -> None:
        if prefix.count("/") > _DEEPEST:
            strange.append(prefix.rstrip("/"))
            return
        with os.scandir(folder) as entries:
            for entry in entries:
                path = prefix + entry.name
                if entry.is_file(follow_symlinks=False):
                    if path.endswith(".lock") or path in READ_ONLY_FILES:
                        continue
                    with suppress(FileNotFoundError):  # another git process is active
                        status = entry.stat(follow_symlinks=False)
                        files[path] = Stamp(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
                elif entry.is_dir(follow_symlinks=False):
                    if prefix or entry.name in COPIED_FOLDERS:
                        deeper = os.open(entry.name, _FOLDER, dir_fd=folder)
                        try:
                            look(deeper, path + "/")
                        finally:
                            os.close(deeper)
                    elif entry.name != "objects":
                        strange.append(path)
                else:
                    strange.append(path)

    look(root, "")
    return files, strange


def read_file(root: int, path: str) -> bytes | None:
    """Return the bytes of a regular file, or None where there is none."""
    try:
        with open_parent(root, path) as (folder, name), os.fdopen(os.open(name, _READ, dir_fd=folder), "rb") as handle:
            return handle.read() if stat.S_ISREG(os.fstat(handle.fileno()).st_mode) else None
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_all(file: int, content: bytes) -> None:
    """Write all of ``content`` to an open file."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(file, rest) :]


def remove_tree(folder: str) -> None:
    """Remove a folder with everything in it, whatever untrusted programs have put there; entries that cannot be removed
    stay.
    """
    try:
        shutil.rmtree(folder, ignore_errors=True)
        if os.path.lexists(folder):  # a folder in it that its owner may not enter
            _open_up(folder)
            for inner, folders, _ in os.walk(folder):  # a folder is listed before it is entered
                for name in folders:
                    _open_up(f"{inner}/{name}")
            shutil.rmtree(folder, ignore_errors=True)
    except RecursionError:  # removal is recursive, and a tree may be deeper than Python's stack
        subprocess.run(["/bin/rm", "-rf", "--", folder], stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603


def _open_up(folder: str) -> None:
    with suppress(OSError):
        if not os.path.islink(folder):  # noqa: PTH114
            os.chmod(folder, 0o700)  # noqa: PTH101


class OwnFolder:
    """A new private folder for copies, held by a lock; an unlocked one was left by a killed run and is removed.

    ``above`` is the parent folder, ``owner`` the user and group that get it. ``rescue`` is called with a folder that a
    killed run left, before it is removed.
    """

    def __init__(
        self,
        above: Path,
        owner: tuple[int, int] | None,
        *,
        prefix: str = _OWN_PREFIX,
        rescue: Callable[[str], object] = lambda _: None,
    ) -> None:
        owners = {os.geteuid(), *(owner or ())[:1]}
        for left in above.glob(f"{prefix}*"):
            remove_unheld(left, owners, rescue)
        self._handle: int | None = None
        while self._handle is None:  # another run may have removed it before it was locked
            self.path = tempfile.mkdtemp(prefix=prefix, dir=above)
            self._handle = _hold(self.path, fcntl.LOCK_EX)
        if owner is not None:
            os.fchown(self._handle, *owner)

    def remove(self) -> None:
        """Remove the folder with everything in it; a second call does nothing."""
        if self._handle is not None:
            remove_tree(self.path)
            os.close(self._handle)
            self._handle = None


def _hold(folder: str, how: int) -> int | None:
    """Open a folder and lock it; return None if it is gone or, without waiting, locked by another process."""
    try:
        handle = os.open(folder, _FOLDER)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, how)
    except OSError:  # another process holds it, or this file system has no locks
        if how & fcntl.LOCK_NB:
            os.close(handle)
            return None
    if os.fstat(handle).st_nlink:
        return handle
    os.close(handle)
    return None


def remove_unheld(folder: Path, owners: Collection[int], rescue: Callable[[str], object]) -> None:
    """Remove a folder that a killed run left, after ``rescue``; do nothing if a run holds it, or if it is of another
    user.
    """
    with suppress(OSError):
        if folder.lstat().st_uid in owners:
            handle = _hold(str(folder), fcntl.LOCK_EX | fcntl.LOCK_NB)
            if handle is not None:
                try:
                    rescue(str(folder))
                    remove_tree(str(folder))
                finally:
                    os.close(handle)


def is_litter(path: str) -> bool:
    """Return whether ``path`` is a temporary file of git, which can be dropped without a note."""
    name = path.rpartition("/")[2]
    return (
        name.endswith((".lock", ".new"))
        or name.startswith(("index.stash.", "next-index-", "tmp_", "gc."))
        or path == "MERGE_RR"
    )


class GitLocks:
    """Git's lock files in the folder ``root``: as in git, a file is written as ``NAME.lock`` and renamed."""

    def __init__(self, root: int) -> None:
        self._root = root
        folder, head = os.fstat(root), os.stat("HEAD", dir_fd=root, follow_symlinks=False)
        self._mode = stat.S_IMODE(head.st_mode)
        self._owner = (folder.st_uid, folder.st_gid) if os.geteuid() == 0 else None
        self._held: set[str] = set()

    def acquire(self, path: str) -> None:
        """Create ``path.lock``, waiting while another process holds it; do nothing if its folder is missing.

        Raises:
            GitFolderBusy: another process held it for three seconds.
        """
        end = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                with open_parent(self._root, path) as (folder, name):
                    os.close(os.open(f"{name}.lock", NEW, self._mode, dir_fd=folder))
                self._held.add(path)
                return
            except FileExistsError:
                if time.monotonic() > end:
                    raise GitFolderBusy(f"another git process holds .git/{path}.lock") from None
                time.sleep(0.01)
            except (FileNotFoundError, NotADirectoryError):
                return

    def write(self, path: str, content: bytes, modified_ns: int | None = None) -> None:
        """Write ``content`` to the file atomically.

        Raises:
            OSError: the file cannot be written, or another process holds its lock.
        """
        with open_parent(self._root, path, make=True) as (folder, name):
            flags = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC if path in self._held else NEW
            file = os.open(f"{name}.lock", flags, self._mode, dir_fd=folder)
            self._held.add(path)
            try:
                write_all(file, content)
                os.fchmod(file, self._mode)
                if self._owner is not None:
                    os.fchown(file, *self._owner)
                if not path.startswith("logs/"):
                    os.fsync(file)
                if modified_ns is not None:
                    os.utime(file, ns=(modified_ns, modified_ns))
            finally:
                os.close(file)
            with suppress(OSError):
                os.rmdir(name, dir_fd=folder)  # git leaves empty folders when refs are removed
            os.rename(f"{name}.lock", name, src_dir_fd=folder, dst_dir_fd=folder)
            self._held.discard(path)

    def remove(self, path: str) -> None:
        """Remove the file, and the folders that become empty, except those that git always has."""
        with suppress(FileNotFoundError), open_parent(self._root, path) as (folder, name):
            os.unlink(name, dir_fd=folder)
            if path in self._held:
                os.unlink(f"{name}.lock", dir_fd=folder)
                self._held.discard(path)
        above = path.rpartition("/")[0]
        while above.count("/") >= 2 or above.partition("/")[0] in STATE_FOLDERS:
            try:
                os.rmdir(above, dir_fd=self._root)
            except OSError:
                break
            above = above.rpartition("/")[0]

    def release(self) -> None:
        """Remove the locks that are still held."""
        for path in self._held:
            with suppress(OSError), open_parent(self._root, path) as (folder, name):
                os.unlink(f"{name}.lock", dir_fd=folder)
        self._held.clear()
