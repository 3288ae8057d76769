"""Tries system calls and prints what came of each as JSON: ``python3 attempts.py NUMBERS``, with the system's Python.

NUMBERS is a JSON object of names and numbers. It runs inside a sandbox, so it stands alone. An answer is the name of
an error, "ok", or the signal that ended a child which tried it.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import platform
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

KERNEL = ctypes.CDLL(None, use_errno=True)
KERNEL.syscall.restype = ctypes.c_long
OTHERWISE = ("socket", "socketpair", "ioctl", "clone", "clone3", "unshare")
HIGH = 7 << 32  # the kernel looks at the low word of an int only


def call(number: int, *arguments: int) -> str:
    ctypes.set_errno(0)
    padded = [*arguments, *[0] * (6 - len(arguments))]
    result = KERNEL.syscall(ctypes.c_long(number), *map(ctypes.c_long, padded))
    if result < 0:
        return errno.errorcode[ctypes.get_errno()]
    return "ok"


def files() -> set[int]:
    return {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}


def opened(number: int, *arguments: int) -> str:
    """A call that returns a file; close it."""
    before = files()
    told = call(number, *arguments)
    for name in files() - before:
        with suppress(OSError):
            os.close(name)
    return told


def in_a_child(action: Callable[[], object]) -> str:
    child = os.fork()
    if child == 0:
        action()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "ok"


def make_setuid() -> None:
    """Try to make a program that runs with its owner's rights, and print how each way ended."""
    own = Path("own")
    own.touch()
    ways: list[Callable[[], object]] = [
        lambda: own.chmod(0o4755),
        lambda: os.chmod("own", 0o6755, dir_fd=os.open(".", os.O_RDONLY)),
        lambda: os.fchmod(os.open("own", os.O_RDONLY), 0o4755),
        lambda: os.open("made", os.O_CREAT | os.O_WRONLY, 0o4755),
        lambda: os.open(".", os.O_TMPFILE | os.O_WRONLY, 0o4755),
        lambda: os.mknod("node", 0o104755),
    ]
    for way in ways:
        try:
            way()
            print("ok")
        except OSError as error:
            print(errno.errorcode[error.errno or 0])
    how = (ctypes.c_uint64 * 3)(os.O_CREAT | os.O_WRONLY, 0o4755, 0)
    name = ctypes.create_string_buffer(b"opened")
    print(call(437, -100, ctypes.addressof(name), ctypes.addressof(how), 24))  # openat2
    print(call(452, -100, ctypes.addressof(ctypes.create_string_buffer(b"own")), 0o4755, 0))  # fchmodat2


def by_the_old_entrance() -> str:
    """Make a 32-bit call, getpid, from a 64-bit program; on other machines there is no such entrance."""
    if platform.machine() != "x86_64":
        return "SIGSYS"
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20; int 0x80; ret
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return in_a_child(ctypes.CFUNCTYPE(ctypes.c_int)(address))


def trace_a_child() -> str:
    def traced() -> None:
        KERNEL.ptrace(0, 0, 0, 0)  # PTRACE_TRACEME
        os.kill(os.getpid(), signal.SIGSTOP)

    child = os.fork()
    if child == 0:
        traced()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    KERNEL.ptrace(7, child, 0, 0)  # PTRACE_CONT
    os.waitpid(child, 0)
    return "ok" if os.WIFSTOPPED(status) else "no stop"


def main(numbers: dict[str, int]) -> dict[str, object]:
    sock, pair, pairs = numbers["socket"], numbers["socketpair"], (ctypes.c_int * 2)()
    into = ctypes.addressof(pairs)
    control = numbers["ioctl"]
    terminal = os.open("/dev/null", os.O_RDWR)
    families = {family: opened(sock, family, kind) for family in range(48) for kind in (1,)}
    return {
        "calls": {name: call(n) for name, n in numbers.items() if name not in OTHERWISE},
        "families": {str(family): told for family, told in families.items() if told != "EAFNOSUPPORT"},
        "families as datagrams": [f for f in range(48) if opened(sock, f, 2) == "ok"],
        "families with a high word": [f for f in range(48) if opened(sock, f | HIGH, 1) == "ok"],
        "packets by AF_INET": opened(sock, socket.AF_INET, 10),
        "packets by AF_INET, without exec": opened(sock, socket.AF_INET, 10 | socket.SOCK_CLOEXEC),
        "netlink": [protocol for protocol in range(24) if opened(sock, 16, 3, protocol) == "ok"],
        "netlink with a high word": [
            protocol for protocol in range(24) if opened(sock, 16 | HIGH, 3, protocol | HIGH) == "ok"
        ],
        "pairs": [family for family in range(48) if opened(pair, family, 1, 0, into) == "ok"],
        "pairs with a high word": [family for family in range(48) if opened(pair, family | HIGH, 1, 0, into) == "ok"],
        "typing for a terminal": [
            call(control, terminal, code | high) for code in (0x5412, 0x541C) for high in (0, HIGH)
        ],
        "another ioctl": call(control, terminal, 0x541B),
        "32 bits": by_the_old_entrance(),
        "x32": call(0x40000000 + 39),
        "x32 keyctl": call(0x40000000 + numbers["keyctl"]),
        "tracing a child": trace_a_child(),
        "interfaces": [name for _, name in socket.if_nameindex()][:1],
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
