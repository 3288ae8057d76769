"""Filter the system calls of a command by seccomp.

``seccomp_filter`` returns a classic BPF program (seccomp(2)), made without any library, which bubblewrap takes by
``--seccomp``. System calls that are not named here are allowed: the filter removes those that bypass the namespaces
(keyrings, other address families), those that make a file run with its owner's rights, and those that only an attack
on the kernel needs. It knows x86_64 and aarch64. For
other machines there is none, and the caller reports that. The kernel asks the filter after a tracer has changed a call,
and of several filters the strictest answer counts: nothing inside can loosen it.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

_LOAD, EQUAL, AT_LEAST, ANY_OF, AND, _RETURN = (
    0x20,
    0x15,
    0x35,
    0x45,
    0x54,
    0x06,
)  # classic BPF, 32-bit words, constants
KILL, ERRNO, ALLOW = 0x8000_0000, 0x0005_0000, 0x7FFF_0000
NUMBER_AT, MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16  # in struct seccomp_data; both machines have the low word first
OTHER_ABI = 0x4000_0000  # x32: the same machine value, with this bit in the number
_LONGEST_JUMP = 255

_NETLINK, _NETLINK_ROUTE = 16, 0
SOCK_TYPE, SOCK_PACKET = 0xF, 10
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
_CLONE_NEWUSER = 0x1000_0000
O_CREAT_OR_TMPFILE = 0o2000_0100
SETUID_OR_SETGID, _SETUID = 0o6000, 0o4000

#: EPERM: calls that act on the machine, or only serve to attack the kernel. Most need a privilege anyway; those that do
#: not (keyrings, userfaultfd, perf, the kernel's log, fanotify) are the reason for this list.
FORBIDDEN = (
    *("add_key", "request_key", "keyctl"),  # keys of the user's session
    *("bpf", "perf_event_open", "userfaultfd", "fanotify_init", "lookup_dcookie", "syslog"),
    *("open_by_handle_at", "name_to_handle_at"),  # opens a file by its handle, past the mounts that hide it
    *("mount", "umount2", "pivot_root", "chroot", "open_tree", "open_tree_attr", "move_mount", "mount_setattr"),
    *("fsopen", "fsconfig", "fsmount", "fspick", "quotactl", "quotactl_fd", "swapon", "swapoff", "acct"),
    *("init_module", "finit_module", "delete_module", "create_module", "kexec_load", "kexec_file_load", "reboot"),
    *("settimeofday", "clock_settime", "setns", "vhangup", "nfsservctl", "uselib", "iopl", "ioperm"),
)
#: ENOSYS: io_uring would bypass the filter, since it needs no system call for each action; libraries fall back to
#: ordinary calls.
ABSENT = ("io_uring_setup", "io_uring_enter", "io_uring_register")
#: Calls that make files: their number, and the positions of the flags, if there are any, and of the mode.
MAKING: Mapping[str, Mapping[str, tuple[int, int | None, int]]] = MappingProxyType(
    {
        "x86_64": {"open": (2, 1, 2), "openat": (257, 2, 3), "creat": (85, None, 1), "mknod": (133, None, 1)}
        | {"mknodat": (259, None, 2)},
        "aarch64": {"openat": (56, 2, 3), "mknodat": (33, None, 2)},
    }
)
#: Calls that change a file's mode: their number, and the position of the mode.
_CHANGING = {
    "x86_64": {"chmod": (90, 1), "fchmod": (91, 1), "fchmodat": (268, 2), "fchmodat2": (452, 2)},
    "aarch64": {"fchmod": (52, 1), "fchmodat": (53, 2), "fchmodat2": (452, 2)},
}
_OPENAT2 = 437  # its mode is in memory, which a filter cannot read


class _Machine(NamedTuple):
    """``audit`` is the machine's value in a filter, ``numbers`` its system call numbers."""

    audit: int
    numbers: Mapping[str, int]


#: Since 5.1 a new call has the same number on every machine.
_COMMON = {
    **{"io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429},
    **{"fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "mount_setattr": 442, "quotactl_fd": 443},
    **{"clone3": 435, "open_tree_attr": 467},
}
_X86_64 = {
    **{"ioctl": 16, "socket": 41, "socketpair": 53, "clone": 56, "syslog": 103, "uselib": 134, "vhangup": 153},
    **{"pivot_root": 155, "chroot": 161, "acct": 163, "settimeofday": 164, "mount": 165, "umount2": 166},
    **{"swapon": 167, "swapoff": 168, "reboot": 169, "iopl": 172, "ioperm": 173, "create_module": 174},
    **{"init_module": 175, "delete_module": 176, "quotactl": 179, "nfsservctl": 180, "lookup_dcookie": 212},
    **{"clock_settime": 227, "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250, "unshare": 272},
    **{"perf_event_open": 298, "fanotify_init": 300, "name_to_handle_at": 303, "open_by_handle_at": 304},
    **{"setns": 308, "finit_module": 313, "kexec_file_load": 320, "bpf": 321, "userfaultfd": 323},
}
_AARCH64 = {
    **{"lookup_dcookie": 18, "ioctl": 29, "umount2": 39, "mount": 40, "pivot_root": 41, "nfsservctl": 42},
    **{"chroot": 51, "vhangup": 58, "quotactl": 60, "acct": 89, "unshare": 97, "kexec_load": 104},
    **{"init_module": 105, "delete_module": 106, "clock_settime": 112, "syslog": 116, "reboot": 142},
    **{"settimeofday": 170, "socket": 198, "socketpair": 199, "add_key": 217, "request_key": 218, "keyctl": 219},
    **{"clone": 220, "swapon": 224, "swapoff": 225, "perf_event_open": 241, "fanotify_init": 262},
    **{"name_to_handle_at": 264, "open_by_handle_at": 265, "setns": 268, "finit_module": 273, "bpf": 280},
    **{"userfaultfd": 282, "kexec_file_load": 294},
}
MACHINES: Mapping[str, _Machine] = MappingProxyType(
    {
        "x86_64": _Machine(0xC000_003E, MappingProxyType({**_X86_64, **_COMMON})),
        "aarch64": _Machine(0xC000_00B7, MappingProxyType({**_AARCH64, **_COMMON})),
    }
)


def machine_here() -> str | None:
    """Return the name of this machine in ``MACHINES``, or None if there is no filter for it."""
    name = os.uname().machine
    return name if name in MACHINES and struct.calcsize("P") == 8 else None


@cache
def seccomp_filter(machine: str, *, network: bool, user_namespaces: bool = True) -> bytes:
    """Return the filter for a machine of ``MACHINES``; ``network`` allows sockets of IPv4 and IPv6.

    Without ``user_namespaces`` the filter forbids new ones: for a bubblewrap before 0.8, which has no
    ``--disable-userns``. Then clone3 is absent (ENOSYS, libraries fall back to clone), as a filter cannot see its
    flags.

    A program of another machine (32 bits on 64) is killed, because its system calls have other numbers. The calls of
    x32 do not exist (ENOSYS), as in most kernels.
    """
    audit, numbers = MACHINES[machine]
    code = Assembler()
    code.load(MACHINE_AT)
    code.jump(EQUAL, audit, otherwise="kill")
    code.load(NUMBER_AT)
    code.jump(AT_LEAST, OTHER_ABI, then="absent")
    for name in ("socket", "socketpair", "ioctl"):
        code.jump(EQUAL, numbers[name], then=name)
    if not user_namespaces:
        code.jump(EQUAL, numbers["clone3"], then="absent")
        for name in ("clone", "unshare"):
            code.jump(EQUAL, numbers[name], then="namespaces")
    for name, (number, _, _) in MAKING[machine].items():
        code.jump(EQUAL, number, then=name)
    for name, (number, _) in _CHANGING[machine].items():
        code.jump(EQUAL, number, then=name)
    for number in (*(numbers[name] for name in ABSENT), _OPENAT2):
        code.jump(EQUAL, number, then="absent")
    for name in FORBIDDEN:
        if name in numbers:
            code.jump(EQUAL, numbers[name], then="forbidden")
    code.answer("allowed", ALLOW)
    _judge_modes(code, machine)
    code.label("socket")
    _judge_socket(code, network=network)
    code.label("socketpair")
    load_argument(code, 0)
    code.jump(EQUAL, socket.AF_UNIX, then="allow", otherwise="no family")
    code.label("namespaces")
    load_argument(code, 0)
    code.jump(ANY_OF, _CLONE_NEWUSER, then="forbidden", otherwise="allow")
    code.label("ioctl")  # typing input for other programs, on a terminal that was left open
    load_argument(code, 1)
    code.jump(EQUAL, TIOCSTI, then="forbidden")
    code.jump(EQUAL, TIOCLINUX, then="forbidden")
    code.answer("allow", ALLOW)
    code.answer("forbidden", ERRNO | errno.EPERM)
    code.answer("no family", ERRNO | errno.EAFNOSUPPORT)
    code.answer("absent", ERRNO | errno.ENOSYS)
    code.answer("kill", KILL)
    return code.assemble()


def _judge_socket(code: Assembler, *, network: bool) -> None:
    """Allow unix sockets, netlink route (Node and Python list interfaces by it), and with ``network`` IPv4 and IPv6."""
    load_argument(code, 0)
    code.jump(EQUAL, socket.AF_UNIX, then="allow")
    code.jump(EQUAL, _NETLINK, then="netlink")
    if network:
        code.jump(EQUAL, socket.AF_INET, then="inet")
        code.jump(EQUAL, socket.AF_INET6, then="inet", otherwise="no family")
        code.label("inet")  # the kernel treats AF_INET with SOCK_PACKET as AF_PACKET
        load_argument(code, 1)
        code.add(AND, SOCK_TYPE)
        code.jump(EQUAL, SOCK_PACKET, then="no family", otherwise="allow")
    else:
        code.answer("other family", ERRNO | errno.EAFNOSUPPORT)
    code.label("netlink")
    load_argument(code, 2)
    code.jump(EQUAL, _NETLINK_ROUTE, then="allow", otherwise="no family")


def _judge_modes(code: Assembler, machine: str) -> None:
    """Forbid files that run with their owner's rights: another user of the machine could start them.

    A folder may get setgid, which only decides the group of new files in it. A filter cannot tell it from a file, so
    the same change of a file's mode is possible, too.
    """
    for name, (_, flags, mode) in MAKING[machine].items():
        code.label(name)
        if flags is not None:
            load_argument(code, flags)
            code.jump(ANY_OF, O_CREAT_OR_TMPFILE, otherwise="allow")
        load_argument(code, mode)
        code.jump(ANY_OF, SETUID_OR_SETGID, then="forbidden", otherwise="allow")
    for name, (_, mode) in _CHANGING[machine].items():
        code.label(name)
        load_argument(code, mode)
        code.jump(ANY_OF, _SETUID, then="forbidden", otherwise="allow")


def load_argument(code: Assembler, position: int) -> None:
    """Load the low word of an argument: the kernel takes an int here and ignores the high word, too."""
    code.load(_ARGUMENTS_AT + 8 * position)


class Assembler:
    """Instructions with labels; jumps only go forwards, as the kernel requires."""

    def __init__(self) -> None:
        self._code: list[tuple[int, str, str, int]] = []
        self._labels: dict[str, int] = {}

    def add(self, operation: int, constant: int) -> None:
        self._code.append((operation, "", "", constant))

    def load(self, offset: int) -> None:
        self.add(_LOAD, offset)

    def jump(self, test: int, constant: int, *, then: str = "", otherwise: str = "") -> None:
        """Go to one of two labels; an empty one is the next instruction."""
        self._code.append((test, then, otherwise, constant))

    def label(self, name: str) -> None:
        self._labels[name] = len(self._code)

    def answer(self, name: str, action: int) -> None:
        self.label(name)
        self.add(_RETURN, action)

    def assemble(self) -> bytes:
        """Return the program as an array of struct sock_filter."""
        return b"".join(
            struct.pack("=HBBI", operation, self._skip(at, then), self._skip(at, otherwise), constant)
            for at, (operation, then, otherwise, constant) in enumerate(self._code)
        )

    def _skip(self, at: int, name: str) -> int:
        skip = self._labels[name] - at - 1 if name else 0
        if not 0 <= skip <= _LONGEST_JUMP:
            raise AssertionError(f"the filter jumps {skip} instructions to {name}")
        return skip
