"""Move new files that other programs would run or obey out of the workspace; nothing is deleted.

``Quarantine`` moves them into the run's files, under names that no program obeys, each with the shell line that brings
it back. ``Placeholder`` is an empty file or folder at a free path, over which a file of ours is mounted while a command
runs: whatever the command makes there is in the run's files and never visible outside. Concurrent runs share a
placeholder by a lock, and the last one removes it; one that a killed run left is recognised by its mode and taken over.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from agentctl.core.results import FileNotice
from agentctl.sandbox.folder_index import AutorunEntry
from agentctl.sandbox.git_folder import open_folder, open_parent, remove_tree

_SUFFIX = ".moved-by-agentctl"
_LOOK = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FAILURES = (OSError, shutil.Error, RecursionError)  # the last one: a tree may be deeper than Python's stack
_STICKY = stat.S_ISVTX  # no other program sets it on an empty private file or folder


class Quarantine:
    """Moves files out of ``workspace`` into numbered folders below ``files``, which is created when needed."""

    def __init__(self, workspace: str, files: Path | None) -> None:
        self._workspace, self._files = workspace, files
        self._count = 0
        self._folder: Path | None = None

    def begin(self) -> None:
        """Put files that are moved from now on into a new folder: each command has its own."""
        self._folder = None

    def move(self, found: AutorunEntry, notes: list[str]) -> FileNotice | None:
        """Move an entry out of the workspace; if that fails, rename it in place.

        Return a notice, or None if the entry is gone. ``notes`` gets a sentence if it could not be renamed, either.
        """
        path, program = found.path, found.autorun.program
        to, from_ = self._place_for(path), f"{self._workspace}/{path}"
        renamed = Path(f"{from_}{_SUFFIX}-{os.urandom(4).hex()}")
        try:
            with (
                open_folder(self._workspace) as root,
                open_parent(root, path) as (folder, name),
                _writable(folder),
                _writable(folder, name),
            ):
                try:
                    os.rename(name, to, src_dir_fd=folder)
                except FileNotFoundError:
                    return None  # another run has moved it
                except OSError:
                    try:
                        _copy(f"/proc/self/fd/{folder}/{name}", to)
                    except _FAILURES:
                        os.rename(name, renamed.name, src_dir_fd=folder, dst_dir_fd=folder)
                        to = renamed
        except (FileNotFoundError, NotADirectoryError):
            return None  # or a link stands in its path, and what lies behind that is not in the workspace
        except OSError as error:
            if error.errno == errno.ELOOP:
                return None
            notes.append(f"{path} is obeyed by {program} and could not be moved: {error}")
            return FileNotice(path, program)
        return FileNotice(path, program, str(to), _disarm(str(to), from_))

    def move_from(self, inside: str, path: str, program: str, notes: list[str]) -> FileNotice | None:
        """Move the entry that a command saw at ``path`` and that really is at ``inside``."""
        to = self._place_for(path)
        try:
            _copy(inside, to)
        except _FAILURES as error:
            notes.append(f"files made at {path} could not be kept: {error}")
            return None
        return FileNotice(path, program, str(to), _disarm(str(to), f"{self._workspace}/{path}"))

    def _place_for(self, path: str) -> Path:
        if self._files is None:
            self._files = Path(tempfile.mkdtemp(prefix="agentctl-moved-"))
        while self._folder is None:
            self._count += 1
            place = self._files / f"moved-{self._count}"
            with suppress(FileExistsError):
                place.mkdir(mode=0o700, parents=True)
                self._folder = place
        to = self._folder / (path + _SUFFIX)
        if not self._make_folders(to.parent) or os.path.lexists(to):
            self.begin()
            return self._place_for(path)
        return to

    def _make_folders(self, place: Path) -> bool:
        """Make the folders that lead to ``place``; return False if something that was moved earlier, such as a link,
        has the name of one of them.
        """
        assert self._folder is not None  # noqa: S101
        made = self._folder
        for part in place.relative_to(self._folder).parts:
            made /= part
            with suppress(FileExistsError):
                made.mkdir(mode=0o700)
            if not stat.S_ISDIR(made.lstat().st_mode):
                return False
        return True


@contextmanager
def _writable(folder: int, name: str | None = None) -> Iterator[None]:
    """Make one of our folders writable, or the one called ``name`` in it, as a move requires."""
    try:
        handle = os.dup(folder) if name is None else os.open(name, _LOOK, dir_fd=folder)
    except OSError:
        yield  # not a folder
        return
    itself = Path(f"/proc/self/fd/{handle}")
    status = os.fstat(handle)
    mode = stat.S_IMODE(status.st_mode)
    is_closed = status.st_uid == os.geteuid() and mode & 0o700 != 0o700
    try:
        if is_closed:
            itself.chmod(mode | 0o700)
        yield
    finally:
        if is_closed:
            with suppress(OSError):
                itself.chmod(mode)
        os.close(handle)


def _disarm(moved: str, from_: str) -> str:
    """Disarm a moved git folder, so that git does not recognise it; return the shell line that restores it.

    A user who inspects it enters it, and a shell prompt that calls git would run the programs in its configuration.
    """
    back = shlex.join(["mv", "-nT", moved, from_])
    head = f"{moved}/HEAD"
    if os.path.isdir(moved) and not os.path.islink(moved):  # noqa: PTH112, PTH114
        with open_folder(os.path.dirname(moved)) as above, _writable(above, os.path.basename(moved)):  # noqa: PTH119, PTH120
            if os.path.lexists(head):
                os.rename(head, f"{head}{_SUFFIX}")  # noqa: PTH104
                back += " && " + shlex.join(["mv", "-n", f"{from_}/HEAD{_SUFFIX}", f"{from_}/HEAD"])
    return back


def _copy(from_: str, to: Path) -> None:
    """Move a file or a folder to another file system; pipes, sockets and devices stay behind and are removed.

    Raises:
        OSError, shutil.Error, RecursionError: it cannot be copied completely; then it stays where it was.
    """
    if os.path.isdir(from_) and not os.path.islink(from_):  # noqa: PTH112, PTH114

        def special(folder: str, names: list[str]) -> list[str]:
            kinds = {name: os.lstat(f"{folder}/{name}").st_mode for name in names}
            return [n for n, m in kinds.items() if not (stat.S_ISREG(m) or stat.S_ISDIR(m) or stat.S_ISLNK(m))]

        try:
            shutil.copytree(from_, to, symlinks=True, ignore=special)
        except BaseException:
            remove_tree(str(to))
            raise
        remove_tree(from_)
    else:
        shutil.copy2(from_, to, follow_symlinks=False)
        os.unlink(from_)  # noqa: PTH108


class Placeholder:
    """A placeholder at ``place`` (absolute, in a folder that exists) and ``inside``, which commands see there instead.

    Raises:
        OSError: nothing can be made at ``place``; then a command cannot make anything there, either.
    """

    def __init__(self, place: str, inside: str, *, is_folder: bool, owner: tuple[int, int] | None = None) -> None:
        self._place, self._inside, self._is_folder = place, inside, is_folder
        _make(inside, 0o700 if is_folder else 0o600, owner, is_folder=is_folder)
        with suppress(FileExistsError):
            _make(place, _STICKY | (0o700 if is_folder else 0o600), owner, is_folder=is_folder)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | (os.O_DIRECTORY if is_folder else 0)
        self._handle = os.open(place, flags)
        fcntl.flock(self._handle, fcntl.LOCK_SH)

    @property
    def mounts(self) -> list[str]:
        """The options of bubblewrap that mount ``inside`` over it."""
        return ["--bind", self._inside, self._place]

    def remove(self) -> str | None:
        """Remove the placeholder unless another run or program uses it; return ``inside`` if a command wrote there."""
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(self._handle), os.lstat(self._place)):
                return self._inside_if_written()
            if self._is_folder:
                os.rmdir(self._place)  # noqa: PTH106
            elif os.fstat(self._handle).st_size == 0:
                os.unlink(self._place)  # noqa: PTH108
            else:
                os.fchmod(self._handle, 0o644)
        except BlockingIOError:
            pass  # another run needs it
        except OSError:
            with suppress(OSError):  # a program outside has made a repository of it
                os.fchmod(self._handle, 0o755)
        finally:
            os.close(self._handle)
        return self._inside_if_written()

    def _inside_if_written(self) -> str | None:
        inside = Path(self._inside)
        written = any(inside.iterdir()) if self._is_folder else inside.stat().st_size > 0
        return self._inside if written else None

    @classmethod
    def stands_at(cls, place: str) -> bool:
        """Return whether an empty file or folder at ``place`` is a placeholder, of this run or left by another."""
        try:
            status = os.lstat(place)
            if stat.S_ISDIR(status.st_mode):
                return stat.S_IMODE(status.st_mode) == _STICKY | 0o700 and not any(Path(place).iterdir())
            return (
                stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) == _STICKY | 0o600 and not status.st_size
            )
        except OSError:
            return False

    @classmethod
    def create(cls, place: str, inside: str, *, is_folder: bool, owner: tuple[int, int] | None = None) -> Self | None:
        """Return a placeholder, or None if none can be made."""
        try:
            return cls(place, inside, is_folder=is_folder, owner=owner)
        except OSError:
            return None


def _make(place: str, mode: int, owner: tuple[int, int] | None, *, is_folder: bool) -> None:
    if is_folder:
        os.mkdir(place, mode & 0o777)  # noqa: PTH102
    else:
        os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode & 0o777))
    os.chmod(place, mode)  # noqa: PTH101 - the file mode creation mask and the sticky bit
    if owner is not None:
        os.chown(place, *owner)
