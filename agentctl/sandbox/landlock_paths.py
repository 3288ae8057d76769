"""Decide which paths a command in the Landlock tier may read and write.

Reads are an allow-list: the system's programs and settings, the kernel's files that programs need, the workspace and
the user's own choice. Landlock cannot take a path out of an allowed folder. So a folder with an exception in it (a file
that a deny rule hides, a key that only root may read) is not allowed as a whole: what is in it is allowed entry by
entry, and nothing new can be made directly in it.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from operator import and_
from pathlib import Path
from typing import NamedTuple

from agentctl.core.system_folders import is_beneath
from agentctl.sandbox import landlock
from agentctl.sandbox.mount_plan import SandboxConfig, required_paths

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/nix/store", "/gnu/store", "/snap")
"""Programs, libraries and their settings."""
KERNEL = ("/proc", "/sys/devices/system", "/sys/fs/cgroup", "/sys/kernel/mm")
"""What runtimes ask the kernel: processors, memory, limits. Landlock bars the processes outside behind /proc."""
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - the folders made in them are new and private
NOTHING_NEW = "no new file can be made directly in {}: something in it is hidden or protected"
_MOST_ENTRIES = 20_000
_LIST = landlock.READ_DIR
_READ_ONLY = landlock.READ


class TooManyEntries(Exception):
    """More entries would have to be allowed one by one than is reasonable."""


class PathAccess(NamedTuple):
    """The rights on each path. ``split`` are folders in which nothing new can be made, because of an exception in
    them; ``writable`` are the folders that are writable as a whole or in parts.
    """

    rights: dict[str, int]
    split: tuple[str, ...]
    writable: tuple[str, ...]


def plan_access(
    config: SandboxConfig, own: Iterable[str], *, private: Iterable[str] = (), guarded: Iterable[str] = ()
) -> PathAccess:
    """Return what a command may do now.

    ``own`` are the command's own folders, ``private`` the files that only root may read, ``guarded`` the paths that
    commands may read but not change.

    Raises:
        TooManyEntries: there are too many entries around the exceptions.
    """
    write = _READ_ONLY if config.read_only else landlock.WRITE
    hidden = {os.path.realpath(place) for place in config.hidden}
    exceptions = dict.fromkeys((*config.frozen, *guarded), _READ_ONLY)
    exceptions |= dict.fromkeys(private, _LIST) | dict.fromkeys(hidden, 0)
    rights: dict[str, int] = {}
    split: list[str] = []
    allowed = dict.fromkeys(map(os.path.realpath, (*SYSTEM, *KERNEL, *required_paths(config))), _READ_ONLY)
    allowed |= dict.fromkeys(config.readable, _READ_ONLY) | dict.fromkeys(config.writable, write)
    allowed |= {config.workspace: write if config.parts is None else _READ_ONLY}
    wanted = [*allowed.items()]
    for part in config.parts or ():
        above = (left for path, left in exceptions.items() if is_beneath(part, path))
        wanted.append((part, reduce(and_, above, write)))
    for place, right in wanted:
        lessened = {path: left for path, left in exceptions.items() if right & ~left}
        for path, granted in _grants(place, right, lessened, split):
            rights[path] = rights.get(path, 0) | granted
    rights |= dict.fromkeys(DEVICES, landlock.DEVICE)
    rights |= dict.fromkeys(own, landlock.WRITE)
    divided = (folder for folder in split if is_beneath(folder, config.workspace))
    if config.parts is not None:
        divided = (folder for folder in divided if any(is_beneath(folder, root) for root in config.roots))
    return PathAccess(rights, tuple(dict.fromkeys(divided)), (*config.roots, *own))


def temporary_above(config: SandboxConfig) -> Path:
    """Return a temporary folder that no command may write to: it holds the commands' own folders, and the copies.

    Raises:
        OSError: there is none.
    """
    for place in map(os.path.realpath, (tempfile.gettempdir(), *_TEMPORARY)):
        is_theirs = any(is_beneath(place, folder) for folder in (config.workspace, *config.writable))
        if not is_theirs and os.access(place, os.W_OK | os.X_OK):
            return Path(place)
    raise OSError(errno.EACCES, "no temporary folder outside the workspace can be written to")


def _grants(place: str, right: int, exceptions: Mapping[str, int], split: list[str]) -> Iterator[tuple[str, int]]:
    """Yield the paths to allow for ``place``, without the exceptions in it; ``split`` gets the divided folders."""
    around = _folders_around(place, exceptions)
    left = _MOST_ENTRIES
    pending = [place]
    while pending:
        path = pending.pop()
        if path in exceptions:
            granted = right & exceptions[path]
            if granted and not any(above != path and is_beneath(above, path) for above in exceptions):
                yield path, granted
            continue
        if path not in around:
            yield path, right
            continue
        split.append(path)
        # Rights on a folder hold in all folders beneath it: where one is hidden, none above it can be listed.
        if not around[path]:
            yield path, right & _LIST
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    left -= 1
                    if not entry.is_symlink():
                        pending.append(entry.path)
        except OSError:
            continue
        if left < 0:
            raise TooManyEntries(path)


def _folders_around(place: str, exceptions: Mapping[str, int]) -> dict[str, bool]:
    """Return the folders between ``place`` and the exceptions in it, with whether one of these is a hidden folder."""
    around: dict[str, bool] = {}
    for path, right in exceptions.items():
        if path == place or not is_beneath(path, place):
            continue
        hides_folder = not right & _LIST and _is_folder(path)
        above = path
        while above != place:
            above = os.path.dirname(above)  # noqa: PTH120
            around[above] = around.get(above, False) or hides_folder
    return around


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False
