"""Find unix sockets that a process listens on, in any network namespace, to hide them from commands.

A socket with a path belongs to no network namespace and a read-only mount does not stop a connection, so a command
could call any of them. The kernel lists sockets by network namespace, under the name that their owner used: a relative
path, or a path in another mount namespace. ``SocketFiles`` reads the lists of all namespaces that this user may see and
translates the names. Sockets in no list (the listener is outside this container, or /proc hides it) are found by one
bounded walk: a socket file counts if the kernel reports that a process has bound it.

Not found: a socket in no list whose file was renamed, or appeared after the walk.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

from agentctl.sandbox.mount_table import read_lines, unescape

_HEAD_BYTES = 64  # of the mount list, which begins with an id unique to the namespace
_MOST_ENTRIES = 60_000
_MOST_SECONDS = 0.25
_MOST_TABLES = 64  # of mount namespaces that are remembered
_NEVER_WALKED = frozenset(
    {"proc", "sys", "dev", "run", "tmp", "home", "root", "boot", "usr", "bin", "sbin", "lib", "lib32", "lib64"}
)
_WITHOUT_SOCKETS = frozenset({"objects", "node_modules", "site-packages", "__pycache__"})  # large, and without sockets


class MountEntry(NamedTuple):
    """One mount: its file system's device number, the mounted part of the file system, and the mount point."""

    device: str
    root: str
    place: str


class SocketFiles:
    """Finds the sockets; the first call walks through ``folders`` and the places that commands can see beside the
    system.

    It walks again when a socket was bound by a relative path since, as the working folder of its process may not be
    readable.
    """

    def __init__(self, *folders: str) -> None:
        self._folders = folders
        self._walked: tuple[str, ...] | None = None
        self._relative: frozenset[str] = frozenset()

    def find(self) -> set[str]:
        """Return the paths of all sockets with a listener now; links in them are not resolved."""
        candidates, relative = _read_lists(_namespaces_of_all())
        if self._walked is None or relative - self._relative:
            self._walked, self._relative = tuple(_walk((*self._folders, *_open_places()))), relative
        listed = {place for place in candidates if _is_socket(place)}
        return listed | {place for place in self._walked if place not in listed and is_bound(place)}


def is_bound(place: str) -> bool:
    """Return whether a process has bound this socket file, in any namespace; the owner does not notice the check.

    The check connects a datagram socket. A stream listener has another type, so the kernel fails the call before it
    notifies the listener; a datagram receiver is not notified, either.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        try:
            asking.connect(place)
        except OSError as error:
            if error.errno is None:  # Python rejects a path that is too long for an address
                return _is_socket(place)
            return error.errno not in (errno.ECONNREFUSED, errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP)
    return True


def mounts_of(process: str) -> tuple[MountEntry, ...]:
    """Return the mounts that a process sees, in their order; empty if they cannot be read."""
    return _parse_mounts("\n".join(read_lines(f"/proc/{process}/mountinfo")))


@lru_cache(maxsize=_MOST_TABLES)
def _parse_mounts(table: str) -> tuple[MountEntry, ...]:
    """Return the mounts of a table, which rarely changes from one command to the next."""
    rows = (line.split(" ", 5) for line in table.split("\n") if line)
    return tuple(MountEntry(row[2], unescape(row[3]), unescape(row[4])) for row in rows)


def translate_path(place: str, theirs: Sequence[MountEntry], ours: Iterable[MountEntry]) -> Iterator[str]:
    """Yield the paths that a path of another mount namespace has in ours."""
    on_top = {mount.place: mount for mount in theirs}  # of equals the last is on top
    folder = next((folder for folder in _upwards(place) if folder in on_top), None)
    if folder is None:
        return
    mount = on_top[folder]
    rest = _rest(place, folder) or ""
    on_disk = f"{mount.root.rstrip('/')}{rest}" or "/"
    for own in ours:
        if own.device == mount.device and (beyond := _rest(on_disk, own.root)) is not None:
            yield f"{own.place.rstrip('/')}{beyond}"


def _upwards(place: str) -> Iterator[str]:
    """Yield a path, and each folder around it."""
    while place:
        yield place
        place = place.rpartition("/")[0]
    yield "/"


_Spaces = tuple[str, str]
"""The network and the mount namespace of a process, each as an id of its own kind."""


def _namespaces_of_all() -> dict[str, _Spaces | None]:
    """Return the namespaces of this process ("self", the first) and of all others, None where they cannot be read.

    They are read for each command: a process of any age may have just entered others.
    """
    names = (name for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - hundreds
    return {name: _namespaces(name) for name in ("self", *names)}


def _read_lists(processes: Mapping[str, _Spaces | None]) -> tuple[set[str], frozenset[str]]:
    """Return candidates from the lists of all network namespaces, and the sockets bound by a relative path, by id."""
    own = processes["self"]
    views: dict[_Spaces, list[str]] = {}
    for process, spaces in processes.items():
        if spaces is not None:
            views.setdefault(spaces, []).append(process)
    folders: set[str] = set()
    names: dict[str, frozenset[tuple[str, str]]] = {}
    candidates: set[str] = set()
    relative: set[str] = set()
    ours = mounts_of("self")
    for (net, mounts), inside in views.items():
        if net not in names:
            lists = (listed for process in inside if (listed := _read_names(process)) is not None)
            if (listed := next(lists, None)) is None:
                continue  # all of them have ended
            names[net] = listed
        theirs: tuple[MountEntry, ...] = ()
        if mounts != (own and own[1]) and names[net]:
            theirs = next((table for process in inside if (table := mounts_of(process))), ())
        candidates |= _listed(names[net], theirs, ours)
        for number, name in names[net]:
            if not name.startswith("/"):
                relative.add(f"{number} {name}")
                folders = folders or _working_folders(name for name in processes if name != "self")
                candidates.update(os.path.join(folder, name) for folder in folders)  # noqa: PTH118
    return candidates, frozenset(relative)


@lru_cache(maxsize=_MOST_TABLES)
def _listed(
    names: frozenset[tuple[str, str]], theirs: tuple[MountEntry, ...], ours: tuple[MountEntry, ...]
) -> frozenset[str]:
    """Return the whole paths among these names, as they are and as ours; the same lists come back with each command."""
    found = {name for _, name in names if name.startswith("/")}
    return frozenset(found.union(*(translate_path(name, theirs, ours) for name in found)) if theirs else found)


def _working_folders(processes: Iterable[str]) -> set[str]:
    """Return the working folders of those processes that this user may inspect."""
    folders = set()
    for process in processes:
        with suppress(OSError):
            folders.add(os.readlink(f"/proc/{process}/cwd"))  # noqa: PTH115
    return folders


def _namespaces(process: str) -> _Spaces | None:
    """Return the ids of a process's network and mount namespaces; None if it is gone or hidden."""
    try:
        return os.readlink(f"/proc/{process}/ns/net"), os.readlink(f"/proc/{process}/ns/mnt")  # noqa: PTH115
    except OSError:  # gone, or another user's process, whose lists are readable by all
        pass
    try:
        net = os.stat(f"/proc/{process}/net/unix").st_ino  # noqa: PTH116 - its own for each namespace
    except OSError:
        return None
    return str(net), _read_head(f"/proc/{process}/mountinfo")


def _read_names(process: str) -> frozenset[tuple[str, str]] | None:
    """Return the sockets that the kernel lists for a process's network namespace: their ids and names; None if the
    process has ended.
    """
    lines = read_lines(f"/proc/{process}/net/unix")
    rows = (line.split(maxsplit=7) for line in lines[1:])
    return (
        frozenset((row[6], row[7]) for row in rows if len(row) == 8 and not row[7].startswith("@")) if lines else None
    )


def _open_places() -> tuple[str, ...]:
    """Return folders that commands can read, and mounts from outside a container."""
    places = []
    with suppress(OSError):
        places = [f"/{name}" for name in sorted(os.listdir("/")) if name not in _NEVER_WALKED]  # noqa: PTH208
    return (*(mount.place for mount in mounts_of("self") if mount.root != "/"), *places)


def _walk(places: Sequence[str]) -> Iterator[str]:
    """Yield the socket files in these places, the shallow ones first, for at most 60,000 entries and 0.25 s."""
    pending, seen = deque(places), set(places)
    left, end = _MOST_ENTRIES, time.monotonic() + _MOST_SECONDS
    while pending and left > 0 and time.monotonic() < end:
        place = pending.popleft()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    left -= 1
                    if entry.is_dir(follow_symlinks=False):
                        if entry.path not in seen and entry.name not in _WITHOUT_SOCKETS:
                            seen.add(entry.path)
                            pending.append(entry.path)
                    elif not entry.is_file(follow_symlinks=False) and not entry.is_symlink() and _is_socket(entry.path):
                        yield entry.path
        except NotADirectoryError:  # a single mounted file
            if _is_socket(place):
                yield place
        except OSError:
            continue


def _is_socket(place: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(place).st_mode)  # noqa: PTH116 - many of them
    except (OSError, ValueError):
        return False


def _rest(place: str, folder: str) -> str | None:
    """Return the rest of a path below a folder, with its slash, or "" for the folder itself; None if it is not
    below.
    """
    above = folder.rstrip("/")
    return place[len(above) :] if place == folder or place.startswith(f"{above}/") else None


def _read_head(file: str) -> str:
    try:
        handle = os.open(file, os.O_RDONLY)
    except OSError:
        return ""
    try:
        return os.read(handle, _HEAD_BYTES).decode("utf-8", "surrogateescape")
    except OSError:
        return ""
    finally:
        os.close(handle)
