"""Makes the kernel fail or delay this thread's fsync, without root: a failing or slow disk."""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import queue
import struct
import threading
import time
from pathlib import Path

_SYSCALLS = {"x86_64": (0xC000003E, 317, (74, 75)), "aarch64": (0xC00000B7, 277, (82, 83))}
"""By machine: its name for seccomp, the numbers of seccomp, and of fsync and fdatasync."""
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_NOTIFY, _ALLOW = 0x7FC00000, 0x7FFF0000
_NO_NEW_PRIVILEGES, _SET_FILTER, _NEW_LISTENER, _GO_ON = 38, 1, 8, 1


class Syncs:
    """Stands between this thread and its syncs from now on; ``failures`` more of them end with ``error``."""

    def __init__(self) -> None:
        self.failures, self.error, self.delay_s = 0, 0, 0.0
        self.paths: list[str] = []  # what was synced
        handed: queue.Queue[int] = queue.Queue()
        threading.Thread(target=self._judge, args=(handed,), daemon=True).start()  # before the filter: it is not under
        handed.put(_listener())

    def _judge(self, handed: queue.Queue[int]) -> None:
        listener = handed.get()
        while True:
            asked = bytearray(80)
            fcntl.ioctl(listener, _RECEIVE, asked)
            number, thread = struct.unpack_from("QI", asked)
            (file,) = struct.unpack_from("Q", asked, 32)
            self.paths.append(str(Path(f"/proc/{thread}/fd/{file}").readlink()))
            time.sleep(self.delay_s)
            fails = self.failures > 0
            self.failures -= fails
            answer = struct.pack("QqiI", number, 0, -self.error if fails else 0, 0 if fails else _GO_ON)
            fcntl.ioctl(listener, _SEND, answer)


def _listener() -> int:
    """Ask the kernel to ask us before each sync of this thread and of what it starts.

    Raises:
        OSError: this kernel, or what confines us, does not do that.
    """
    name, seccomp, (fsync, fdatasync) = _SYSCALLS[platform.machine()]
    lines = (
        (0x20, 0, 0, 4),  # the machine's name
        (0x15, 0, 3, name),
        (0x20, 0, 0, 0),  # the number
        (0x15, 2, 0, fsync),
        (0x15, 1, 0, fdatasync),
        (0x06, 0, 0, _ALLOW),
        (0x06, 0, 0, _NOTIFY),
    )
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
    filter_ = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(lines), ctypes.addressof(program)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0:
        fd = int(libc.syscall(seccomp, _SET_FILTER, _NEW_LISTENER, filter_))
        if fd >= 0:
            return fd
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
