"""Where files go that a command made and that other programs would obey: into the run's files, nothing deleted.

There they have names that no program obeys, and each comes with the line for a shell that brings it back.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agentctl.protocols import FileNotice
from agentctl.sandbox.folder_index import ObeyedEntry
from agentctl.sandbox.git_folder import open_folder, open_parent, remove_tree

_SUFFIX = ".moved-by-agentctl"
_LOOK = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FAILURES = (OSError, shutil.Error, RecursionError)  # the last one: a tree may be deeper than Python's stack


class Quarantine:
    """Moves files out of ``workspace`` into numbered folders below ``files``, which is made when it is needed."""

    def __init__(self, workspace: str, files: Path | None) -> None:
        self._workspace, self._files = workspace, files
        self._count = 0
        self._folder: Path | None = None

    def begin(self) -> None:
        """Put what is moved from now on into a new folder: each command has its own."""
        self._folder = None

    def take(self, found: ObeyedEntry, notes: list[str]) -> FileNotice | None:
        """Move an entry of the workspace; where that fails, rename it in its place.

        Return a notice, or None where the entry is gone. ``notes`` gets a sentence if it could not even be renamed.
        """
        path, program = found.path, found.obeyed.program
        to, from_ = self._place_for(path), f"{self._workspace}/{path}"
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
                    _copy(f"/proc/self/fd/{folder}/{name}", to)
        except FileNotFoundError:
            return None
        except _FAILURES as error:
            to = Path(f"{from_}{_SUFFIX}-{os.urandom(4).hex()}")
            try:
                os.rename(from_, to)  # noqa: PTH104
            except OSError:
                notes.append(f"{path} is obeyed by {program} and could not be moved: {error}")
                return FileNotice(path, program)
        return FileNotice(path, program, str(to), _put_to_rest(str(to), from_))

    def take_from(self, inside: str, path: str, program: str, notes: list[str]) -> FileNotice | None:
        """Move what a command saw at ``path`` and what really stands at ``inside``."""
        to = self._place_for(path)
        try:
            _copy(inside, to)
        except _FAILURES as error:
            notes.append(f"what was made at {path} could not be kept: {error}")
            return None
        return FileNotice(path, program, str(to), _put_to_rest(str(to), f"{self._workspace}/{path}"))

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
        to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return to


@contextmanager
def _writable(folder: int, name: str | None = None) -> Iterator[None]:
    """Let us write to a folder of ours, or to the one called ``name`` in it: without that, neither can be moved."""
    try:
        handle = os.dup(folder) if name is None else os.open(name, _LOOK, dir_fd=folder)
    except OSError:
        yield  # no folder
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


def _put_to_rest(moved: str, from_: str) -> str:
    """Make sure that git takes a moved folder for none of its own; return the shell line that brings it back.

    Whoever looks at it goes there, and a prompt that asks git would run what its configuration names.
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
        OSError, shutil.Error, RecursionError: it cannot be copied whole; then it is where it was.
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


__all__ = ["Quarantine"]
