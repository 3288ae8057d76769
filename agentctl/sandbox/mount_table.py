"""Read the mount table, and recognise files that the kernel generates: they hold no data, and writing to some has
effects.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import ctypes

KERNEL_TYPES = frozenset(
    {"proc", "sysfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "configfs", "bpf", "pstore", "efivarfs"}
    | {"selinuxfs", "smackfs", "binfmt_misc", "devtmpfs", "devpts", "mqueue", "fusectl", "rpc_pipefs", "nfsd", "nsfs"}
    | {"binder", "resctrl", "xenfs"}
)
"""File systems that the kernel generates: a second mount shows the same content as the first."""
# The same as statfs(2) numbers, from linux/magic.h and the file systems' own sources; a devtmpfs reports tmpfs.
_MAGIC = frozenset(
    {0x9FA0, 0x62656572, 0x27E0EB, 0x63677270, 0x64626720, 0x74726163, 0x73636673, 0x62656570, 0xCAFE4A11, 0x6165676C}
    | {0xDE5E81E4, 0xF97CFF8C, 0x43415D53, 0x42494E4D, 0x1CD1, 0x19800202, 0x65735543, 0x67596969, 0x6E667364}
    | {0x6E736673, 0x6C6F6F70, 0x7655821, 0xABBA1974}
)
_LARGER_THAN_STATFS = 512


class Mount(NamedTuple):
    """A line of the mount table; ``device`` is the mounted device or other source."""

    mountpoint: str
    fstype: str
    device: str


def mount_lines() -> Iterator[Mount]:
    """Return the lines of this process's mount table in order; none without /proc."""
    return iter(_parse("\n".join(read_lines("/proc/self/mountinfo"))))


@lru_cache(maxsize=1)
def _parse(table: str) -> tuple[Mount, ...]:
    """Return the lines of a table, which rarely changes from one command to the next."""
    found = []
    for line in table.split("\n"):
        before, _, after = line.partition(" - ")
        fields, (kind, device, *_) = before.split(" "), (*after.split(" "), "", "")
        if len(fields) > 4:
            found.append(Mount(unescape(fields[4]), kind, "" if device == "none" else unescape(device)))
    return tuple(found)


def mounts() -> Iterator[tuple[str, str]]:
    """Return each mount point and its type."""
    return ((mount.mountpoint, mount.fstype) for mount in mount_lines())


def read_lines(file: str) -> list[str]:
    """Return the lines of a text file, such as one of /proc; empty if it cannot be read."""
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as handle:  # noqa: PTH123 - quicker
            return handle.read().splitlines()
    except OSError:
        return []


def unescape(path: str) -> str:
    """Decode a path of mountinfo, in which blanks and similar characters are octal escapes (proc_pid_mountinfo(5))."""
    return path if "\\" not in path else re.sub(r"\\(\d{3})", lambda escaped: chr(int(escaped[1], 8)), path)


def kernel_mounts() -> Iterator[str]:
    """Yield the mount points of kernel file systems outside /proc, /sys and /dev."""
    for place, kind in mounts():
        if kind in KERNEL_TYPES and not f"{place}/".startswith(("/proc/", "/sys/", "/dev/")):
            yield place


def is_kernel_file(descriptor: int, status: os.stat_result) -> bool:
    """Return whether an open file or folder is in a file system of the kernel, as that file system itself reports."""
    return status.st_dev in _usual_devices() or _magic(descriptor) in _MAGIC


def _magic(descriptor: int) -> int | None:
    """Return the number of an open file's file system, or None if it cannot be found out."""
    if sys.platform != "linux":
        return None
    import ctypes  # noqa: PLC0415 - not needed to read the table

    buffer = ctypes.create_string_buffer(_LARGER_THAN_STATFS)
    if _libc().fstatfs(descriptor, buffer) != 0:
        return None
    first = ctypes.c_uint32 if os.uname().machine == "s390x" else ctypes.c_ulong
    return int(first.from_buffer(buffer).value) & 0xFFFFFFFF


@cache
def _libc() -> ctypes.CDLL:
    import ctypes  # noqa: PLC0415 - as above

    return ctypes.CDLL(None, use_errno=True)


@cache
def _usual_devices() -> frozenset[int]:
    """Return the devices of /proc, /sys and /dev; /dev is a plain tmpfs in a container."""
    found = set()
    for place in ("/proc", "/sys", "/dev"):
        try:
            found.add(os.stat(place).st_dev)  # noqa: PTH116
        except OSError:
            continue
    return frozenset(found - {os.stat("/").st_dev})  # noqa: PTH116


__all__ = ["KERNEL_TYPES", "Mount", "is_kernel_file", "kernel_mounts", "mount_lines", "mounts"]
