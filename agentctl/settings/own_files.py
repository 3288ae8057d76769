"""Change a file of the user's own: under a lock, atomically, and only if it is a regular file of this user."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agentctl.core.errors import StateError, UsageError
from agentctl.core.files import hand_over, make_folder, open_lock, sync_folder
from agentctl.core.text import safe_text
from agentctl.settings.sources import Problem, is_there, read_own_file

PATIENCE_S = 10.0  # for another process that writes the same file


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Lock ``path`` against other agentctl processes, by a lock file beside it; its folder is made (mode 0700).

    Raises:
        StateError: another one holds it for 10 s.
        OSError: the folder or the lock cannot be made.
    """
    make_folder(path.parent)
    lock = open_lock(path.with_name(f"{path.name}.lock"))
    try:
        until = time.monotonic() + PATIENCE_S
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


def read_exact(path: Path, what: str, *, private: bool = False) -> str:
    """Return the text of a regular file, "" if there is none; a byte order mark is part of it.

    Raises:
        UsageError: it is a link, a pipe, no text, or not the user's own (``private``: or others may read it).
        StateError: it changes meanwhile.
    """
    if not is_there(path):
        return ""
    named, found = f"{what} {path}", path.lstat()
    if not stat.S_ISREG(found.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no regular file"
        raise UsageError(safe_text(f"{named} is {kind}; only a file of its own is written"))
    if found.st_uid != os.geteuid() and not private:
        raise UsageError(safe_text(f"{named} belongs to another user (uid {found.st_uid})"), hint="nothing was changed")
    text = read_own_file(path, what, private=private)
    if isinstance(text, Problem):
        raise UsageError(text.text, hint=text.hint)
    with open(path, "rb", opener=_not_followed) as file:
        data = file.read()
    if data.decode("utf-8-sig", "replace") != text:
        raise StateError(safe_text(f"{named} changes while it is read"), hint="try again")
    return data.decode("utf-8")


def _not_followed(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def write_atomically(
    path: Path,
    text: str,
    *,
    mode: int = 0o600,
    check: Callable[[Path], None] | None = None,
    for_folder: bool = False,
) -> None:
    """Replace the file by ``text``, once a new file beside it is on disk and passes ``check``.

    With ``for_folder`` a file that root writes belongs to the owner of its folder.

    Raises:
        OSError: it cannot be written; the old file stays.
    """
    fresh = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)  # whatever the umask takes away
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
    sync_folder(path.parent)  # the new name, too, is on disk
