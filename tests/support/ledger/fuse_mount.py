"""A file system that a program serves, as sshfs does: mounted for a test, with one empty folder in it."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import machine


@contextmanager
def served(point: Path) -> Iterator[Path]:
    """Mount it at ``point``; where that cannot be done, the test is skipped."""
    machine.need("FUSE")
    point.mkdir(parents=True)
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"host:/", os.fsencode(point), b"fuse.sshfs", 6, options):
        os.close(device)
        raise OSError(ctypes.get_errno(), f"no mount of it: {os.strerror(ctypes.get_errno())}")
    server = threading.Thread(target=_serve, args=(device,), daemon=True)
    server.start()
    try:
        yield point
    finally:
        subprocess.run(["umount", "-l", point], check=True)
        server.join(60)
        os.close(device)


def _serve(device: int) -> None:
    """Be a file system that holds one empty folder: answer the kernel until it is unmounted."""
    while True:
        try:
            asked = os.read(device, 1 << 17)
        except OSError:
            return
        _, opcode, unique = struct.unpack_from("IIQ", asked)
        body, error = b"", 0
        if opcode == 26:  # INIT
            body = struct.pack("IIIIHHII32x", 7, 31, 0, 0, 1, 1, 4096, 1).ljust(64, b"\0")
        elif opcode == 3:  # GETATTR of the folder
            attributes = struct.pack("QQQQQQIIIIIIIIII", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 2, 0, 0, 0, 4096, 0)
            body = struct.pack("QII", 1, 0, 0) + attributes
        elif opcode == 2:  # FORGET has no answer
            continue
        else:
            error = -(errno.ENOENT if opcode == 1 else errno.ENOSYS)
        os.write(device, struct.pack("IiQ", 16 + len(body), error, unique) + body)
