"""Landlock, the kernel's access control for files that a process puts on itself, by its three system calls.

Bare system calls by ctypes, no package: ``landlock`` and ``py-landlock`` on PyPI are pre-releases of a few hundred
lines around the same three calls, and neither knows the scopes. The numbers are those of linux/landlock.h; they are the
same on every machine. A ruleset only allows: what no rule of it names is denied, as far as this kernel's Landlock
(``abi``) handles it. Not handled by any version: stat, readlink, chdir, inotify, and changes of modes, owners, times
and extended attributes.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Mapping
from functools import cache

from agentctl.core.errors import SandboxUnavailable

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG, _PATH_BENEATH = 1, 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE_DIR, REMOVE_FILE, MAKE_CHAR, MAKE_DIR, MAKE_REG = 1 << 4, 1 << 5, 1 << 6, 1 << 7, 1 << 8
MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = 1 << 9, 1 << 10, 1 << 11, 1 << 12
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_CONNECT_AND_BIND_TCP, _SCOPES = 0b11, 0b11  # the scopes: abstract unix sockets and signals, both of processes outside

READ = EXECUTE | READ_FILE | READ_DIR
WRITE = READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_FIFO | MAKE_SYM | REFER | TRUNCATE
DEVICE = READ_FILE | WRITE_FILE | IOCTL_DEV
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV

LEAST_ABI = 2  # Linux 5.19: before, no file can be moved from one folder to another, as git does with each object
TRUNCATE_SINCE, NETWORK_SINCE, IOCTL_SINCE, SCOPES_SINCE = 3, 4, 5, 6

_NOT_BUILT = "use a kernel with CONFIG_SECURITY_LANDLOCK (Linux 5.19 or later) and landlock in its lsm= list"
_REASONS = {
    errno.ENOSYS: (
        "the kernel has no Landlock, or the container's seccomp profile hides it",
        "use Linux 5.19 or later; in a container, an engine whose profile allows landlock_* (Docker 23, Podman 4)",
    ),
    errno.EOPNOTSUPP: ("Landlock is switched off in this kernel", "add landlock to lsm= on the kernel's command line"),
    errno.EPERM: (
        "the container's seccomp profile forbids Landlock",
        "use an engine whose profile allows landlock_* (Docker 23, Podman 4)",
    ),
}


@cache
def kernel() -> ctypes.CDLL:
    """Return the C library, for system calls."""
    found = ctypes.CDLL(None, use_errno=True)
    found.syscall.restype = ctypes.c_long
    return found


def call(number: int, *arguments: int | bytes | None) -> int:
    """Make a system call; each argument is a number or a pointer to bytes, and fits one register.

    Raises:
        OSError: it failed.
    """
    passed = [
        ctypes.c_long(value) if isinstance(value, int) else ctypes.c_char_p(value)  # None is the null pointer
        for value in arguments
    ]
    result = int(kernel().syscall(ctypes.c_long(number), *passed))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def find_abi() -> int:
    """Return the version of this kernel's Landlock.

    Raises:
        SandboxUnavailable: it has none, or one that is too old for a sandbox.
    """
    try:
        abi = call(CREATE_RULESET, None, 0, _VERSION_FLAG)
    except OSError as error:
        message, hint = _REASONS.get(error.errno or 0, (f"Landlock fails: {os.strerror(error.errno or 0)}", _NOT_BUILT))
        raise SandboxUnavailable(message, hint=hint) from error
    if abi < LEAST_ABI:
        raise SandboxUnavailable(
            f"the kernel's Landlock has version {abi}, which forbids to move files between folders", hint=_NOT_BUILT
        )
    return abi


def handled(abi: int, *, network: bool) -> tuple[int, int, int]:
    """Return what a ruleset of this version restricts: access to files, to TCP ports (not with ``network``), scopes."""
    files = (1 << 14) - 1
    files |= TRUNCATE if abi >= TRUNCATE_SINCE else 0
    files |= IOCTL_DEV if abi >= IOCTL_SINCE else 0
    ports = _CONNECT_AND_BIND_TCP if abi >= NETWORK_SINCE and not network else 0
    return files, ports, _SCOPES if abi >= SCOPES_SINCE else 0


def make_ruleset(abi: int, rights: Mapping[str, int], *, network: bool) -> int:
    """Return an open ruleset that allows ``rights`` on each path and what lies beneath it; the caller closes it.

    A path that is gone, a link, or that this user cannot reach, is left out: its absence only denies.

    Raises:
        OSError: the kernel refuses the ruleset.
    """
    files, ports, scopes = handled(abi, network=network)
    attributes = struct.pack("=QQQ", files, ports, scopes)
    size = 8 if abi < NETWORK_SINCE else 16 if abi < SCOPES_SINCE else 24
    ruleset = call(CREATE_RULESET, attributes, size, 0)
    try:
        for place, allowed in rights.items():
            _allow(ruleset, place, allowed & files)
    except BaseException:
        os.close(ruleset)
        raise
    return ruleset


def _allow(ruleset: int, place: str, allowed: int) -> None:
    try:
        handle = os.open(place, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISLNK(mode):
            return
        if not stat.S_ISDIR(mode):
            allowed &= _OF_FILES
        if allowed:
            call(ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", allowed, handle), 0)
    finally:
        os.close(handle)
