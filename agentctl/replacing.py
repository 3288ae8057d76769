"""A file that has its name when all of it is on disk, and not before: half a file is never taken for a whole one."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress


def put_whole(
    folder: int, name: str, data: bytes, *, mode: int, set_up: Callable[[int], object] = lambda file: None
) -> None:
    """Write ``data`` as ``name`` in ``folder`` (a descriptor), in place of what has that name.

    ``set_up`` gets the new file's descriptor before anything is in it. Whatever fails, nothing of it is left, and what
    had the name has it still.

    Raises:
        OSError: it cannot be written.
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
