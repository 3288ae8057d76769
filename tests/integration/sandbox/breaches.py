"""Tries to break out of the Landlock tier and prints what came of each attempt: ``python3 breaches.py FACTS``.

FACTS is a JSON object: ``outside`` is a folder of the same user with ``file``, ``program``, ``folder`` and ``socket``,
``agentctl`` a process id, ``numbers`` of system calls, ``abstract`` the name of a socket, ``port`` one of TCP and UDP.
It runs inside the sandbox with the system's Python, so it stands alone. An answer is the name of an error, or "ok".
"""
# ruff: noqa: PTH101, PTH116, PTH123, PTH208 - these are the calls that are meant

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

FACTS = json.loads(sys.argv[1])
OUTSIDE, AGENTCTL, NUMBERS = Path(FACTS["outside"]), int(FACTS["agentctl"]), FACTS["numbers"]
KERNEL = ctypes.CDLL(None, use_errno=True)
KERNEL.syscall.restype = ctypes.c_long


def call(name: str, *arguments: object) -> None:
    passed = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    if KERNEL.syscall(ctypes.c_long(NUMBERS[name]), *passed) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def outcome(action: Callable[[], object]) -> str:
    try:
        action()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "ok"


def open_and_close(place: Path | str, flags: int) -> None:
    os.close(os.open(place, flags))


def by_descriptor(change: Callable[[str], object], place: Path) -> None:
    handle = os.open(place, os.O_PATH)
    try:
        change(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)


def on_an_open_file(change: Callable[[int], object], place: Path | str) -> None:
    handle = os.open(place, os.O_RDONLY)
    try:
        change(handle)
    finally:
        os.close(handle)


def by_a_link(change: Callable[[Path], object], target: Path) -> None:
    link = Path(f"link-{os.urandom(4).hex()}")
    link.symlink_to(target)
    try:
        change(link)
    finally:
        link.unlink()


def race() -> None:
    """Ask for a new mode by a name that leads outside half of the time; the mode outside is looked at by the test."""
    inner = Path("raced")
    inner.touch()
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for target in (inner, OUTSIDE / "file"):
                temporary = Path("swap.new")
                temporary.symlink_to(target.absolute())
                temporary.replace("swap")

    Path("swap").symlink_to(inner.absolute())
    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(500):
            outcome(lambda: os.chmod("swap", 0o777))
    finally:
        stop.set()
        swapper.join()


def connected(family: int, kind: int, address: tuple[str, int] | str) -> None:
    with socket.socket(family, kind) as asking:
        asking.connect(address)


def guard() -> int:
    """Return the process above the command."""
    pid = os.getpid()
    while b"agentctl-guard" not in Path(f"/proc/{pid}/cmdline").read_bytes():
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid


def pair_that_calls() -> None:
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    first.sendto(b"x", str(OUTSIDE / "datagrams"))
    second.close()


def set_flags(place: str) -> None:
    with open(place, "rb") as file:
        fcntl.ioctl(file, 0x4008_6602, struct.pack("l", 0x40))  # FS_IOC_SETFLAGS, no dump


def attempts() -> dict[str, Callable[[], object]]:
    file, program, folder = OUTSIDE / "file", OUTSIDE / "program", OUTSIDE / "folder"
    mine = Path("mine")
    mine.touch()
    found: dict[str, Callable[[], object]] = {
        "read": file.read_bytes,
        "list": lambda: os.listdir(OUTSIDE),
        "execute": lambda: subprocess.run([program], check=True),
        "write": lambda: open_and_close(file, os.O_WRONLY),
        "append": lambda: open_and_close(file, os.O_WRONLY | os.O_APPEND),
        "open to read, and cut off": lambda: open_and_close(file, os.O_RDONLY | os.O_TRUNC),
        "open for neither, and cut off": lambda: open_and_close(file, os.O_ACCMODE | os.O_TRUNC),
        "truncate": lambda: os.truncate(file, 0),
        "make a file": lambda: (OUTSIDE / "new").touch(),
        "make a folder": lambda: (OUTSIDE / "new").mkdir(),
        "make a link": lambda: (OUTSIDE / "new").symlink_to("x"),
        "make a pipe": lambda: os.mkfifo(OUTSIDE / "new"),
        "remove": file.unlink,
        "remove a folder": folder.rmdir,
        "move over": lambda: mine.rename(file),
        "move out": lambda: file.rename("theirs"),
        "link out": lambda: os.link(file, "theirs"),
        "link in": lambda: os.link(mine, OUTSIDE / "new"),
        "write by a link": lambda: by_a_link(lambda link: open_and_close(link, os.O_WRONLY), file),
        "write beyond a link": lambda: by_a_link(lambda link: (link / "new").touch(), OUTSIDE),
        "read by a link": lambda: by_a_link(Path.read_bytes, file),
        "read by a descriptor": lambda: by_descriptor(lambda place: Path(place).read_bytes(), file),
        "write by a descriptor": lambda: by_descriptor(lambda place: open_and_close(place, os.O_WRONLY), file),
        "chmod": lambda: file.chmod(0o777),
        "chmod by a link": lambda: by_a_link(lambda link: link.chmod(0o777), file),
        "chmod by a descriptor": lambda: by_descriptor(lambda place: os.chmod(place, 0o777), file),
        "chmod by dots": lambda: os.chmod(f"../../../../../../../..{file}", 0o777),
        "chmod in a folder": lambda: on_an_open_file(lambda at: os.chmod("file", 0o777, dir_fd=at), OUTSIDE),
        "fchmodat2": lambda: call("fchmodat2", -100, os.fsencode(file), 0o777, 0),
        "file_setattr": lambda: call("file_setattr", -100, os.fsencode(file), bytes(24), 24, 0),
        "fchmod of a system's file": lambda: on_an_open_file(lambda at: os.fchmod(at, 0o644), "/etc/hosts"),
        "chown": lambda: os.chown(file, os.getuid(), os.getgid()),
        "lchown": lambda: os.lchown(file, os.getuid(), os.getgid()),
        "utime": lambda: os.utime(file, (0, 0)),
        "futimens of a system's file": lambda: on_an_open_file(lambda at: os.utime(at, (0, 0)), "/etc/hosts"),
        "setxattr": lambda: os.setxattr(file, "user.x", b"x"),
        "removexattr": lambda: os.removexattr(file, "user.x"),
        "flags of a system's file": lambda: set_flags("/etc/hosts"),
        "setuid bit": lambda: mine.chmod(0o4755),
        "setuid from the start": lambda: os.close(os.open("made", os.O_CREAT | os.O_WRONLY, 0o4755)),
        "setuid node": lambda: os.mknod("made", 0o102755),
        "setuid by openat2": lambda: call("openat2", -100, b"made", struct.pack("QQQ", 0o101, 0o4755, 0), 24),
        "unknown system call": lambda: call("next", 0, 0, 0),
        "connected pair of datagrams": pair_that_calls,
        "unix socket": lambda: connected(socket.AF_UNIX, socket.SOCK_STREAM, str(OUTSIDE / "socket")),
        "abstract socket": lambda: connected(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + FACTS["abstract"]),
        "TCP": lambda: connected(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", FACTS["port"])),
        "UDP": lambda: connected(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", FACTS["port"])),
        "raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
        "packets": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
        "packets by the old way": lambda: socket.socket(socket.AF_INET, 10),
        "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "kernel's ciphers": lambda: socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET),
        "vsock": lambda: socket.socket(40, socket.SOCK_STREAM),
        "signal": lambda: os.kill(AGENTCTL, 0),
        "signal by a descriptor": lambda: signal.pidfd_send_signal(os.pidfd_open(AGENTCTL), 0),
        "signal its guard": lambda: os.kill(guard(), 0),
        "trace its guard": lambda: call("ptrace", 16, guard(), 0, 0),
        "memory of its guard": lambda: open_and_close(f"/proc/{guard()}/mem", os.O_RDWR),
        "limits of agentctl": lambda: resource.prlimit(AGENTCTL, resource.RLIMIT_NOFILE, (10, 10)),
        "priority of agentctl": lambda: os.setpriority(os.PRIO_PROCESS, AGENTCTL, 19),
        "priority of all its user's": lambda: os.setpriority(os.PRIO_USER, 0, 19),
        "processors of agentctl": lambda: os.sched_setaffinity(AGENTCTL, {0}),
        "trace agentctl": lambda: call("ptrace", 16, AGENTCTL, 0, 0),
        "user namespace": lambda: call("unshare", 0x1000_0000),
        "cloned user namespace": lambda: call("clone", 0x1000_0000 | 17, 0, 0, 0, 0),
        "clone3": lambda: call("clone3", bytes(88), 88),
        "mount": lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
        "chroot": lambda: os.chroot("."),
        "key": lambda: call("keyctl", 0, -3, 0),
        "io_uring": lambda: call("io_uring_setup", 1, bytes(128)),
        "shared memory": lambda: call("shmget", 0, 4096, 0o1600),
        "message queue": lambda: call("mq_open", b"x", os.O_CREAT | os.O_RDWR, 0o600, None),
        "device node": lambda: os.mknod("node", 0o20600, os.makedev(1, 3)),
    }
    for name in ("environ", "mem", "maps", "root/etc/hostname", "cwd/", "fd/0", "auxv", "syscall", "stack"):
        found[f"/proc of agentctl: {name}"] = lambda name=name: on_an_open_file(  # type: ignore[misc]
            lambda handle: os.read(handle, 1), f"/proc/{AGENTCTL}/{name}"
        )
    for place in ("/dev/mem", "/dev/kmsg", "/dev/fuse", "/dev/ptmx", "/dev/net/tun", "/dev/loop-control"):
        if Path(place).exists():
            found[place] = lambda place=place: open_and_close(place, os.O_RDONLY)  # type: ignore[misc]
    for place in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/self/oom_score_adj", "/dev/shm/x"):
        found[f"write {place}"] = lambda place=place: open_and_close(place, os.O_WRONLY | os.O_CREAT)  # type: ignore[misc]
    return found


def ordinary_work() -> dict[str, str]:
    """Do what must work."""
    first, second, deep = Path("first"), Path("second"), Path("deep/er")

    def everyday() -> None:
        first.write_text("#!/bin/sh\nexit 3\n")
        first.chmod(0o755)
        assert subprocess.run(["./first"], check=False).returncode == 3
        deep.mkdir(parents=True)
        os.link(first, deep / "linked")
        (deep / "linked").rename("moved")
        os.utime("moved", ns=(10**9, 2 * 10**9))
        assert os.stat("moved").st_mtime_ns == 2 * 10**9
        os.utime("moved")
        os.chown("moved", os.getuid(), os.getgid())
        os.chown("moved", -1, -1)
        second.symlink_to("moved")
        os.utime(second, ns=(10**9, 10**9), follow_symlinks=False)
        assert os.lstat(second).st_mtime_ns == 10**9 != os.stat(second).st_mtime_ns
        os.lchown(second, os.getuid(), os.getgid())
        with open("moved", "r+b") as file:
            os.fchmod(file.fileno(), 0o640)
            os.utime(file.fileno())
            os.ftruncate(file.fileno(), 0)
        at = os.open("deep", os.O_RDONLY)
        os.chmod("er", 0o700, dir_fd=at)
        os.chmod("/proc/self/cwd/deep", 0o750)
        os.close(at)
        modes = [os.stat(name).st_mode & 0o777 for name in ("moved", "deep", "deep/er")]
        assert modes == [0o640, 0o750, 0o700]
        for own in ("HOME", "TMPDIR"):
            place = Path(os.environ[own], "file")
            place.write_text("x")
            place.chmod(0o600)
            place.rename(f"from-{own}")
        one, other = socket.socketpair()
        one.sendall(b"x")
        assert other.recv(1) == b"x"
        os.mkfifo("pipe")
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
        os.nice(1)
        os.sched_setaffinity(0, os.sched_getaffinity(0))
        Path("/proc/self/status").read_text()
        with open("/dev/null", "w") as null:
            null.write("x")

    def missing() -> None:
        os.chmod("no such file", 0o700)

    def truncate() -> None:
        os.truncate("moved", 1)

    return {
        "everyday work": outcome(everyday),
        "chmod of a missing file": outcome(missing),
        "truncate by name": outcome(truncate),
    }


if __name__ == "__main__":
    answers = {name: outcome(action) for name, action in attempts().items()}
    race()
    print(json.dumps({"breaches": answers, "work": ordinary_work()}))
