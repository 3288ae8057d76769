"""Find what root may read and others may not: inside a sandbox root keeps its user id, and with it these files.

``PrivateFiles`` looks at every file outside the workspace and the folders of installed programs, in a thread. A folder
that has not been read is not shown to commands, so nothing private is in sight at any depth. Not looked at are /usr but
for /usr/local, /bin, /lib, /sbin and package stores: what is there comes with the system, and no command works without
it. What becomes private during a run is not looked for again.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterable, Sequence

from agentctl.sandbox.mount_table import KERNEL_TYPES, is_beneath, mounts

_ELSEWHERE = ("proc", "sys", "dev", "run", "tmp", "home", "root")  # of the kernel, or empty in every sandbox
_PROGRAMS = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix", "gnu", "snap")
_FIRST = ("etc", "opt", "srv")
_MANY = 12  # private files in one folder: the folder is covered instead
_PATIENCE_S = 5.0
_MOST_ENTRIES = 3_000_000
# Not walked but covered: a server that is gone would hold up the walk for ever, and autofs mounts what is looked at.
_NETWORKED = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "glusterfs", "lustre", "9p", "drvfs", "autofs"}
)


class PrivateFiles:
    """Looks for what only root may read outside ``workspace``, once a run, in a thread."""

    def __init__(self, workspace: str, *, top: str = "/") -> None:
        self._workspace, self._top = workspace, top.rstrip("/")
        self._programs = tuple(f"{self._top}/{name}" for name in _PROGRAMS)
        self._groups = frozenset({0, *os.getgroups()})
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._found: list[str] = []
        self._apart: frozenset[str] = frozenset()
        self._left, self._until = _MOST_ENTRIES, 0.0
        self._pending: list[str] = self._roots()

    def begin(self) -> None:
        """Start to look, if that has not been done."""
        with self._lock:
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self._walk, name="agentctl-private-files", daemon=True)
        self._until = time.monotonic() + _PATIENCE_S
        self._thread.start()

    def places(self) -> tuple[str, ...]:
        """Return the folders and files to cover; wait for the end of the walk, a few seconds from its beginning."""
        self.begin()
        self._done.wait(max(0.0, self._until - time.monotonic()))
        return self.known_places()

    def known_places(self) -> tuple[str, ...]:
        """Return what only root may read, as far as is known, and what has not been read yet."""
        with self._lock:
            return (*self._found, *self._unread())

    def step(self) -> bool:
        """Read one folder; return False when there is none left. For one thread."""
        if not self._pending or self._left <= 0:
            return False
        found, deeper, entries = self._read(self._pending[-1])
        with self._lock:  # at once: a folder is either unread, or read with all that is private in it
            self._pending.pop()
            self._found += found
            self._pending += deeper
            self._left -= entries
        return True

    def _roots(self) -> list[str]:
        """Return where to look, the last first; note what is covered without a look."""
        apart = frozenset(self._not_walked())
        self._apart = apart | {self._workspace}
        self._found += sorted(place for place in apart if not _is_usual(place, self._top))
        try:
            names = sorted(os.listdir(self._top or "/"))  # noqa: PTH208
        except OSError:
            names = []
        kept = [name for name in names if name not in (*_ELSEWHERE, *_PROGRAMS)]
        kept.sort(key=lambda name: name not in _FIRST)
        places = [f"{self._top}/{name}" for name in (*kept, "usr/local")]
        files = [place for place in places if self._is_private_file(place)]
        self._found += files
        return [place for place in reversed(places) if place not in files and self._is_open_folder(place)]

    def _not_walked(self) -> Iterable[str]:
        for place, kind in mounts():
            name = kind.partition(".")[0]
            is_elsewhere = kind in _NETWORKED or name in ("fuse", "fuseblk")
            if place == self._workspace:
                continue  # it is laid over what covers the rest of its mount
            if kind in KERNEL_TYPES or (is_elsewhere and not self._holds_programs(place)):
                yield place

    def _walk(self) -> None:
        while self.step():
            pass
        self._done.set()

    def _read(self, folder: str) -> tuple[list[str], list[str], int]:
        """Return what is private in a folder, the folders to read next, and how many entries it has."""
        found: list[str] = []
        files: list[str] = []
        deeper: list[str] = []
        count = 1
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    count += 1
                    if entry.path in self._apart:
                        continue
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except OSError:
                        continue
                    if stat.S_ISDIR(status.st_mode):
                        # Without the right to search it others reach nothing in it, whatever they may list.
                        if self._is_private(status, 0o1):
                            found.append(entry.path)
                        else:
                            deeper.append(entry.path)
                    elif stat.S_ISREG(status.st_mode) and self._is_private(status, 0o4):
                        files.append(entry.path)
        except OSError:
            return [], [], count
        keeps_apart = folder == f"{self._top}/etc" or self._is_program(folder)
        found += files if len(files) <= _MANY or keeps_apart else [folder]
        deeper.sort(reverse=True)
        return found, deeper, count

    def _unread(self) -> Sequence[str]:
        """Return the folders that are not read; of many in one folder, that folder."""
        inside: dict[str, list[str]] = {}
        for place in self._pending:
            if not self._is_program(place):
                inside.setdefault(os.path.dirname(place), []).append(place)  # noqa: PTH120
        return [
            place
            for folder, places in inside.items()
            for place in ([folder] if len(places) > _MANY and folder not in ("/", self._top) else places)
        ]

    def _is_program(self, place: str) -> bool:
        return any(is_beneath(place, folder) for folder in self._programs)

    def _holds_programs(self, place: str) -> bool:
        return place == "/" or self._is_program(place)

    def _is_open_folder(self, place: str) -> bool:
        try:
            status = os.lstat(place)
        except OSError:
            return False
        if not stat.S_ISDIR(status.st_mode) or place in self._apart:
            return False
        if self._is_private(status, 0o1):
            self._found.append(place)
            return False
        return True

    def _is_private_file(self, place: str) -> bool:
        try:
            status = os.lstat(place)
        except OSError:
            return False
        return stat.S_ISREG(status.st_mode) and self._is_private(status, 0o4)

    def _is_private(self, status: os.stat_result, for_others: int) -> bool:
        """Return whether root may read it by its user id or groups alone, without capabilities, and others may not."""
        mode = status.st_mode
        if mode & for_others:
            return False
        return bool((status.st_uid == 0 and mode & 0o500) or (status.st_gid in self._groups and mode & 0o050))


def _is_usual(place: str, top: str) -> bool:
    """Return whether a mount is one of those of the kernel at their usual places, which the sandbox lays anew."""
    return f"{place}/".startswith((f"{top}/proc/", f"{top}/sys/", f"{top}/dev/", f"{top}/run/"))


__all__ = ["PrivateFiles"]
