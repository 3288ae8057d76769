"""Filter the system calls of a command in the Landlock tier, where no namespace and no read-only mount helps.

Beside what ``system_calls`` forbids in every sandbox: all sockets but connected pairs, namespaces, IPC of System V and
POSIX message queues, the limits and priorities of other processes, extended attributes, all ioctls but those of
terminals, sockets and copies, files that run with their owner's rights, and every system call that is newer than this
list. Changes of modes, owners and times, which Landlock does not see, are passed to agentctl (``file_attributes``),
which makes those that are allowed.
"""

from __future__ import annotations

import errno
import os
import socket
from functools import cache

from agentctl.sandbox.system_calls import (
    ABSENT,
    ALLOW,
    AND,
    ANY_OF,
    AT_LEAST,
    EQUAL,
    ERRNO,
    FORBIDDEN,
    KILL,
    MACHINE_AT,
    MACHINES,
    MAKING,
    NUMBER_AT,
    O_CREAT_OR_TMPFILE,
    SETUID_OR_SETGID,
    SOCK_PACKET,
    SOCK_TYPE,
    TIOCLINUX,
    TIOCSTI,
    Assembler,
    load_argument,
)

_NOTIFY = 0x7FC0_0000
_NEW_NAMESPACES = 0x7E02_0000  # every CLONE_NEW* flag that clone takes
_PRIO_USER = 2
_IOPRIO_USER = 3
_O_ACCMODE, _O_TRUNC = 0o3, 0o1000
_FIRST_UNKNOWN = 470  # Linux 6.17 has 469 as its last; the calls of x32 have far higher numbers
_KIND_OF_IOCTL = 0xFF00

#: Passed to agentctl: changes of what Landlock does not see.
ATTRIBUTE_CALLS = {
    "x86_64": {
        **{"chmod": 90, "fchmod": 91, "chown": 92, "fchown": 93, "lchown": 94, "utime": 132, "utimes": 235},
        **{"fchownat": 260, "futimesat": 261, "fchmodat": 268, "utimensat": 280},
    },
    "aarch64": {"fchmod": 52, "fchmodat": 53, "fchownat": 54, "fchown": 55, "utimensat": 88},
}
#: EOPNOTSUPP: programs that copy files take that for a file system without extended attributes.
_NO_ATTRIBUTES = {
    "x86_64": (188, 189, 190, 197, 198, 199, 463, 466),
    "aarch64": (5, 6, 7, 14, 15, 16, 463, 466),
}
#: ENOSYS: programs fall back to calls that are judged (fchmodat2, openat2), or do without.
_FALL_BACK = {
    "x86_64": (
        *(29, 30, 31, 64, 65, 66, 67, 68, 69, 70, 71, 220),  # shm*, sem*, msg*
        *(240, 241, 242, 243, 244, 245),  # mq_*
        *(437, 452, 469),  # openat2, fchmodat2, file_setattr
    ),
    "aarch64": (
        *(186, 187, 188, 189, 190, 191, 192, 193, 194, 195, 196, 197),
        *(180, 181, 182, 183, 184, 185),
        *(437, 452, 469),
    ),
}
#: Calls whose first argument is a process: only 0, the caller itself.
_OF_A_PROCESS = {
    "x86_64": {"sched_setparam": 142, "sched_setscheduler": 144, "sched_setaffinity": 203, "sched_setattr": 314}
    | {"migrate_pages": 256, "move_pages": 279, "prlimit64": 302},
    "aarch64": {"sched_setparam": 118, "sched_setscheduler": 119, "sched_setaffinity": 122, "sched_setattr": 274}
    | {"migrate_pages": 238, "move_pages": 239, "prlimit64": 261},
}
_PRIORITIES = {"x86_64": {"setpriority": 141, "ioprio_set": 251}, "aarch64": {"setpriority": 140, "ioprio_set": 30}}
#: Calls on sockets that a connected pair does not need.
_NETWORKING = {"x86_64": (42, 49, 50), "aarch64": (203, 200, 201)}  # connect, bind, listen
_TRUNCATE = {"x86_64": 76, "aarch64": 45}

_IOCTLS = (
    *(0x4004_9409, 0x4020_940D, 0xC018_9436),  # FICLONE, FICLONERANGE, FIDEDUPERANGE: the target is open to write
    *(0x8008_6601, 0xC020_660B, 0x801C_581F, 2),  # FS_IOC_GETFLAGS, FS_IOC_FIEMAP, FS_IOC_FSGETXATTR, FIGETBSZ
)
_KINDS_OF_IOCTLS = (0x5400, 0x8900)  # terminals, pipes and FIONBIO; sockets


@cache
def landlock_filter(machine: str, *, network: bool, has_truncate: bool = True) -> bytes:
    """Return the filter for a machine of ``MACHINES``; ``network`` allows sockets of IPv4 and IPv6.

    Without ``has_truncate`` Landlock does not see that a file is cut off: then the filter forbids to do that without
    having opened the file for writing.
    """
    audit, numbers = MACHINES[machine]
    code = Assembler()
    code.load(MACHINE_AT)
    code.jump(EQUAL, audit, otherwise="kill")
    code.load(NUMBER_AT)
    code.jump(AT_LEAST, _FIRST_UNKNOWN, then="absent")
    for number in ATTRIBUTE_CALLS[machine].values():
        code.jump(EQUAL, number, then="notify")
    for name in ("socket", "socketpair", "ioctl", "clone"):
        code.jump(EQUAL, numbers[name], then=name)
    for name, number in _PRIORITIES[machine].items():
        code.jump(EQUAL, number, then=name)
    for number in _OF_A_PROCESS[machine].values():
        code.jump(EQUAL, number, then="process")
    for name, (number, _, _) in MAKING[machine].items():
        code.jump(EQUAL, number, then=name)
    if not has_truncate:
        code.jump(EQUAL, _TRUNCATE[machine], then="forbidden")
    forbidden = [numbers[name] for name in (*FORBIDDEN, "unshare") if name in numbers]
    for answer, refused in (
        ("absent", [*(numbers[name] for name in (*ABSENT, "clone3")), *_FALL_BACK[machine]]),
        ("no attributes", _NO_ATTRIBUTES[machine]),
        ("forbidden", [*forbidden, *(() if network else _NETWORKING[machine])]),
    ):
        for number in refused:
            code.jump(EQUAL, number, then=answer)
    code.answer("allowed", ALLOW)
    _judge_arguments(code, network=network)
    _judge_modes(code, machine, has_truncate=has_truncate)
    code.answer("allow", ALLOW)
    code.answer("notify", _NOTIFY)
    code.answer("forbidden", ERRNO | errno.EPERM)
    code.answer("no family", ERRNO | errno.EAFNOSUPPORT)
    code.answer("no attributes", ERRNO | errno.EOPNOTSUPP)
    code.answer("no ioctl", ERRNO | errno.ENOTTY)
    code.answer("absent", ERRNO | errno.ENOSYS)
    code.answer("kill", KILL)
    return code.assemble()


def _judge_arguments(code: Assembler, *, network: bool) -> None:
    code.label("socket")
    if network:
        load_argument(code, 0)
        code.jump(EQUAL, socket.AF_INET, then="inet")
        code.jump(EQUAL, socket.AF_INET6, then="inet", otherwise="no family")
        code.label("inet")  # the kernel treats AF_INET with SOCK_PACKET as AF_PACKET
        load_argument(code, 1)
        code.add(AND, SOCK_TYPE)
        code.jump(EQUAL, SOCK_PACKET, then="no family", otherwise="allow")
    else:
        code.answer("no socket", ERRNO | errno.EAFNOSUPPORT)
    code.label("socketpair")  # one of datagrams can be sent to, or connected to, any other socket
    load_argument(code, 0)
    code.jump(EQUAL, socket.AF_UNIX, otherwise="no family")
    load_argument(code, 1)
    code.add(AND, SOCK_TYPE)
    code.jump(EQUAL, socket.SOCK_STREAM, then="allow")
    code.jump(EQUAL, socket.SOCK_SEQPACKET, then="allow", otherwise="no family")
    code.label("clone")
    load_argument(code, 0)
    code.jump(ANY_OF, _NEW_NAMESPACES, then="forbidden", otherwise="allow")
    code.label("process")
    load_argument(code, 0)
    code.jump(EQUAL, 0, then="allow", otherwise="forbidden")
    for name, of_a_user in (("setpriority", _PRIO_USER), ("ioprio_set", _IOPRIO_USER)):
        code.label(name)
        load_argument(code, 0)
        code.jump(EQUAL, of_a_user, then="forbidden")
        load_argument(code, 1)
        code.jump(EQUAL, 0, then="allow", otherwise="forbidden")
    code.label("ioctl")
    load_argument(code, 1)
    for request in (TIOCSTI, TIOCLINUX):
        code.jump(EQUAL, request, then="forbidden")
    for request in _IOCTLS:
        code.jump(EQUAL, request, then="allow")
    code.add(AND, _KIND_OF_IOCTL)
    terminals, sockets = _KINDS_OF_IOCTLS
    code.jump(EQUAL, terminals, then="allow")
    code.jump(EQUAL, sockets, then="allow", otherwise="no ioctl")


def _judge_modes(code: Assembler, machine: str, *, has_truncate: bool) -> None:
    """Forbid files that run with their owner's rights, and without ``has_truncate`` to cut off a file that is open for
    reading; what Landlock itself forbids stays forbidden.
    """
    for name, (_, flags, mode) in MAKING[machine].items():
        code.label(name)
        if flags is not None:
            load_argument(code, flags)
            if not has_truncate:
                code.jump(ANY_OF, _O_TRUNC, otherwise=f"{name} whole")
                code.add(AND, _O_ACCMODE)
                for mode_of_access in (os.O_RDONLY, _O_ACCMODE):  # both bits: neither, which Landlock lets pass
                    code.jump(EQUAL, mode_of_access, then="forbidden")
                code.label(f"{name} whole")
                load_argument(code, flags)
            code.jump(ANY_OF, O_CREAT_OR_TMPFILE, otherwise="allow")
        load_argument(code, mode)
        code.jump(ANY_OF, SETUID_OR_SETGID, then="forbidden", otherwise="allow")
