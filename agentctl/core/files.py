"""Write files atomically, make folders, open locks: synced to disk, and owned by the owner of their folder.

Root working in another user's folder would leave files there that the user can neither open nor lock. So root gives
each new file to the user by its descriptor, which no link of the user's can redirect to another file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agentctl.core.errors import StateError
from agentctl.core.text import safe_text

_LOCK = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PATIENCE_S = 10.0  # seconds for another process that writes the same file
_MOST_IN_A_LOCK = 20  # bytes: the number of a process


def replace_file(
    folder: int, name: str, data: bytes, *, mode: int, set_up: Callable[[int], object] = lambda file: None
) -> None:
    """Write ``data`` atomically as ``name`` in ``folder`` (a descriptor), in place of an existing file.

    ``set_up`` gets the new file's descriptor while the file is empty. On any failure the new file is removed and the
    old one stays.

    Raises:
        OSError: the file cannot be written.
    """
    temporary = f".{os.urandom(8).hex()}.agentctl"
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=folder)
    try:
        try:
            set_up(file)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(file, rest) :]
            os.fsync(file)
        finally:
            os.close(file)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise


def write_atomically(
    path: Path,
    text: str,
    *,
    mode: int = 0o600,
    check: Callable[[Path], None] | None = None,
    for_folder: bool = False,
) -> None:
    """Replace the file by ``text``, once a new file beside it is synced to disk and passes ``check``.

    With ``for_folder`` a file that root writes belongs to the owner of its folder.

    Raises:
        OSError: the file cannot be written, or is a device or a pipe, which root could replace; the old one stays.
    """
    if _is_special(path):
        raise OSError(errno.EINVAL, "Not a regular file")
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    fresh = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)  # despite the umask
            if for_folder:
                hand_over(descriptor, path.parent)
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(descriptor)
        if check is not None:
            check(fresh)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    sync_folder(path.parent)  # sync the new name, too


def write_output(path: Path, text: str, *, mode: int = 0o600, for_folder: bool = False) -> None:
    """Replace a file that the user names by ``text``; a device, a pipe or an open file of this process is written to.

    Raises:
        OSError: it cannot be written.
    """
    if not _is_special(path) and path.absolute().parts[1:2] not in (("dev",), ("proc",)):  # as /dev/stdout leads there
        write_atomically(path, text, mode=mode, for_folder=for_folder)
        return
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    os.set_blocking(file, True)
    with os.fdopen(file, "wb") as opened:
        opened.write(text.encode("utf-8"))


def _is_special(path: Path) -> bool:
    """Return whether a path leads to something that is neither a regular file nor a folder."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


@contextmanager
def file_lock(path: Path, what: str = "") -> Iterator[None]:
    """Lock ``path`` against other agentctl processes while it is changed; create its folder (mode 0700).

    Raises:
        StateError: another process holds the lock for 10 s, or the change failed; ``what`` names the file.
    """
    try:
        with _hold_lock(path):
            yield
    except OSError as error:
        named, said = safe_text(f"{what} {path}".lstrip()), (error.strerror or "not possible").lower()
        raise StateError(f"{named} cannot be written: {said}; nothing was changed") from error


@contextmanager
def _hold_lock(path: Path) -> Iterator[None]:
    """Hold the lock file beside ``path``."""
    make_folder(path.parent)
    lock = open_lock(path.with_name(f"{path.name}.lock"))
    try:
        until = time.monotonic() + _PATIENCE_S
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if time.monotonic() > until:
                raise StateError(safe_text(f"another process holds {path}.lock"), hint="try again")
            time.sleep(0.01)
        yield
    finally:
        os.close(lock)


def hand_over(file: int, like: int | Path) -> None:
    """Give a new file of this process, an open descriptor, to the owner of ``like`` if we are root.

    ``like`` is the file or folder that it belongs to. If that fails, the file stays root's.
    """
    if os.geteuid():
        return
    with suppress(OSError):
        found = os.fstat(like) if isinstance(like, int) else like.stat()
        if found.st_uid:
            os.fchown(file, found.st_uid, found.st_gid)


def make_folder(folder: Path, *, sync: bool = True) -> None:
    """Make a folder for its owner only, and its missing parents; with ``sync`` all are synced to disk.

    As root they belong to the owner of their parent folder. An existing folder is left as it is.

    Raises:
        OSError: the folder cannot be made.
    """
    missing = [folder]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    for one in reversed(missing):
        try:
            one.mkdir(mode=0o700 if one == folder else 0o755)  # despite the umask: no other user may replace it
        except OSError:
            if not one.is_dir():
                raise
            continue
        made = os.open(one, _FOLDER | os.O_NOFOLLOW)
        try:
            if not os.geteuid() and os.fstat(made).st_uid == 0 and not _list_names(made):
                hand_over(made, one.parent)
            if sync:
                _sync(made)
        finally:
            os.close(made)
        if sync:
            sync_folder(one.parent)


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder to disk, if we may open it and its file system supports that.

    Raises:
        OSError: they did not reach the disk.
    """
    try:
        file = os.open(folder, _FOLDER)
    except PermissionError:
        return
    try:
        _sync(file)
    finally:
        os.close(file)


def _sync(folder: int) -> None:
    try:
        os.fsync(folder)
    except OSError as exc:
        if exc.errno != errno.EINVAL:
            raise


def open_lock(path: Path, *, like: Path | None = None) -> int:
    """Open a lock file, created if missing, and return its descriptor.

    As root it belongs to the owner of ``like`` (by default of its folder). A lock file of root's that its user may not
    open is replaced: it has no content, and its folder is the user's.

    Raises:
        OSError: the file cannot be opened or created.
    """
    like = path.parent if like is None else like
    while True:
        try:
            file = os.open(path, _LOCK)
        except FileNotFoundError:
            with suppress(FileExistsError):
                file = os.open(path, _LOCK | os.O_CREAT | os.O_EXCL, 0o600)
                hand_over(file, like)
                return file
        except PermissionError:
            if os.lstat(path).st_uid == os.geteuid():
                raise
            path.unlink()
        else:
            if not os.geteuid() and not os.fstat(file).st_uid and is_bare_lock(file):
                hand_over(file, like)
            return file


def hand_over_locks(folder: Path, *, like: Path) -> None:
    """Give a folder of lock files that root has left, and the files in it, to the owner of ``like``, if we are root.

    Only bare lock files are handed over: the owner of the parent folder could put other files of root's there.
    """
    if os.geteuid():
        return
    with suppress(OSError):
        inside = os.open(folder, _FOLDER | os.O_NOFOLLOW)
        try:
            are_bare = [_hand_over_lock(name, inside, like) for name in _list_names(inside)]
            if all(are_bare) and os.fstat(inside).st_uid == 0:
                hand_over(inside, like)
        finally:
            os.close(inside)


def _list_names(folder: int) -> list[str]:
    """Return the names in an open folder."""
    with os.scandir(folder) as found:
        return [entry.name for entry in found]


def _hand_over_lock(name: str, folder: int, like: Path) -> bool:
    """Hand over one lock file that is root's, and return whether it was a bare lock file."""
    file = os.open(name, _LOCK, dir_fd=folder)
    try:
        is_bare = is_bare_lock(file)
        if is_bare and os.fstat(file).st_uid == 0:
            hand_over(file, like)
        return is_bare
    finally:
        os.close(file)


def is_bare_lock(file: int) -> bool:
    """Return whether a file has one name, and contains at most a process id."""
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_size > _MOST_IN_A_LOCK:
        return False
    return not os.pread(file, _MOST_IN_A_LOCK, 0).strip(b"0123456789 ")
