"""An empty file or folder where nothing is, while a command runs: something of ours can be mounted there.

What a command then makes at that place lies in the run's files and is never seen outside. Runs at the same time
share a stand-in by a lock, and the last one removes it; one that a killed run left is known by its mode and taken over.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Self

_STICKY = stat.S_ISVTX  # nobody else gives it to an empty file or folder that only its owner may read


class Placeholder:
    """The stand-in at ``place`` (absolute, in a folder that exists) and ``inside``, what commands see there instead.

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
        """Bubblewrap's options that lay ``inside`` over it."""
        return ["--bind", self._inside, self._place]

    def remove(self) -> str | None:
        """Remove the stand-in unless another run or program uses it; return ``inside`` if a command wrote there."""
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(self._handle), os.lstat(self._place)):
                return self._written()
            if self._is_folder:
                os.rmdir(self._place)  # noqa: PTH106
            elif os.fstat(self._handle).st_size == 0:
                os.unlink(self._place)  # noqa: PTH108
            else:
                os.fchmod(self._handle, 0o644)
        except BlockingIOError:
            pass  # another run needs it
        except OSError:
            with suppress(OSError):  # somebody outside has made a repository of it
                os.fchmod(self._handle, 0o755)
        finally:
            os.close(self._handle)
        return self._written()

    def _written(self) -> str | None:
        inside = Path(self._inside)
        written = any(inside.iterdir()) if self._is_folder else inside.stat().st_size > 0
        return self._inside if written else None

    @classmethod
    def is_one(cls, place: str) -> bool:
        """Return whether an empty file or folder at ``place`` is a stand-in, ours or one that was left."""
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
    def at(cls, place: str, inside: str, *, is_folder: bool, owner: tuple[int, int] | None = None) -> Self | None:
        """Return a stand-in, or None where none can be made."""
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


__all__ = ["Placeholder"]
