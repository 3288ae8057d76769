"""Change modes, owners and times of files for the commands of the Landlock tier, and only beneath their own folders.

Landlock does not see these changes, so the seccomp filter of a command passes each on (seccomp_unotify(2)) and the
command waits. ``AttributeChanges`` answers in a thread of agentctl. It never lets the command's own call go on, as the
command could change its argument meanwhile: it copies the path once, finds the file, opens it again by
``openat2(RESOLVE_BENEATH)`` from a folder that the command may write to, and changes that file itself. The thread has
the command's user and no capabilities, so the kernel refuses what it would refuse to the command.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import select
import stat
import struct
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import NamedTuple, Self

from agentctl.core.system_folders import is_beneath
from agentctl.sandbox.landlock import call
from agentctl.sandbox.landlock_calls import ATTRIBUTE_CALLS

_NOTIFICATION, _RESPONSE = struct.Struct("=QIIiIQ6Q"), struct.Struct("=Qqii")
_RECEIVE, _SEND, _IS_VALID = 0xC050_2100, 0xC018_2101, 0x4008_2102
_OPENAT2 = 437
_BENEATH = 0x08 | 0x04 | 0x02  # RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_MAGICLINKS
_AT_FDCWD, _AT_SYMLINK_NOFOLLOW, _AT_EMPTY_PATH = -100, 0x100, 0x1000
_LONGEST_PATH = 4096
_PAGE = 4096
_OWN_ENTRY = re.compile(r"/+proc/+(?:self|thread-self)(?=/|$)")
_OWN_FILES = re.compile(r"/+dev/+fd(?=/)")
_BECOME = {"x86_64": (116, 123, 122), "aarch64": (159, 152, 151)}  # setgroups, setfsgid, setfsuid: of one thread
_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITY_HEADER = struct.pack("=Ii", 0x2008_0522, 0)


class _Asked(NamedTuple):
    """A call of a command: the process, the name of the call, and its arguments as unsigned numbers."""

    process: int
    name: str
    arguments: tuple[int, ...]


class AttributeChanges:
    """Answers the calls of one command; a context manager that ends with it.

    ``roots`` are the folders beneath which files may be changed, ``excluded`` the paths in them that may not. ``user``
    is the command's user and group, if not our own.
    """

    def __init__(
        self, machine: str, roots: Sequence[str], excluded: Sequence[str], user: tuple[int, int] | None
    ) -> None:
        self._machine, self._roots, self._excluded, self._user = machine, tuple(roots), tuple(excluded), user
        self._names = {number: name for name, number in ATTRIBUTE_CALLS[machine].items()}
        self._thread: threading.Thread | None = None
        self._stop, self._stopped = os.pipe()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._stopped)
        if self._thread is not None:
            self._thread.join()
        os.close(self._stop)

    def begin(self, listener: int) -> None:
        """Answer what comes from this listener, in a thread, and close it at the end."""
        self._thread = threading.Thread(
            target=self._serve, args=(listener,), name="agentctl-file-attributes", daemon=True
        )
        self._thread.start()

    def _serve(self, listener: int) -> None:
        with ExitStack() as opened:
            opened.callback(os.close, listener)
            self._drop_privileges()
            roots = {}
            for root in self._roots:
                with suppress(OSError):
                    roots[root] = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                    opened.callback(os.close, roots[root])
            poll = select.poll()
            poll.register(listener, select.POLLIN)
            poll.register(self._stop, select.POLLIN)
            while True:
                ready = dict(poll.poll())
                if not ready.get(listener, 0) & select.POLLIN:
                    return  # all its processes have ended, or nobody waits for them
                self._answer(listener, roots)

    def _drop_privileges(self) -> None:
        """Take from this thread what a command does not have."""
        if self._user is not None:
            setgroups, setfsgid, setfsuid = _BECOME[self._machine]
            call(setgroups, 0, None)
            call(setfsgid, self._user[1])
            call(setfsuid, self._user[0])
        call(_CAPSET[self._machine], _CAPABILITY_HEADER, bytes(24))

    def _answer(self, listener: int, roots: dict[str, int]) -> None:
        buffer = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(listener, _RECEIVE, buffer)
        except OSError:
            return  # the process was killed meanwhile
        identity, process, _, number, _, _, *arguments = _NOTIFICATION.unpack(buffer)
        asked = _Asked(process, self._names.get(number, ""), tuple(arguments))

        def is_waiting() -> bool:
            """Whether the process still waits: its id was not reused before its files and memory were read."""
            try:
                fcntl.ioctl(listener, _IS_VALID, struct.pack("=Q", identity))
            except OSError:
                return False
            return True

        try:
            self._change(asked, roots, is_waiting)
            code = 0
        except OSError as error:
            code = error.errno or errno.EPERM
        except (ValueError, OverflowError):
            code = errno.EINVAL
        with suppress(OSError):
            fcntl.ioctl(listener, _SEND, _RESPONSE.pack(identity, 0, -code, 0))

    def _change(self, asked: _Asked, roots: dict[str, int], is_waiting: Callable[[], bool]) -> None:
        """Do what was asked for.

        Raises:
            OSError: it is not allowed, or fails.
        """
        name, given = asked.name, asked.arguments
        follow, folder, address, rest = _parse(name, given)
        times = self._times(asked, rest[0]) if "utim" in name else b""
        path = None if address is None else _read_text(asked.process, address)
        with ExitStack() as opened:
            found = _open_target(asked.process, folder, path, follow=follow)
            opened.callback(os.close, found)
            if not is_waiting():
                raise OSError(errno.ESRCH, os.strerror(errno.ESRCH))
            target = self._open_beneath(found, roots, is_open=path is None)
            if target != found:
                opened.callback(os.close, target)
            itself = f"/proc/self/fd/{target}"
            if "mod" in name:
                mode = rest[0] & 0o7777
                if mode & (stat.S_ISUID | stat.S_ISGID) and not stat.S_ISDIR(os.fstat(target).st_mode):
                    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
                os.chmod(itself, mode)  # noqa: PTH101
            elif "own" in name:
                os.chown(itself, _signed(rest[0]), _signed(rest[1]))
            else:
                number = ATTRIBUTE_CALLS[self._machine]["utimensat"]
                call(number, _AT_FDCWD, itself.encode(), times or None, 0)

    def _open_beneath(self, found: int, roots: dict[str, int], *, is_open: bool) -> int:
        """Return the same file, opened beneath a folder that the command may write to.

        Raises:
            OSError: it is not beneath one.
        """
        status = os.fstat(found)
        if is_open and status.st_nlink == 0 and stat.S_ISREG(status.st_mode):
            return found  # a file without a name, that the command has open
        real = os.readlink(f"/proc/self/fd/{found}")  # noqa: PTH115
        if any(is_beneath(real, place) for place in self._excluded):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        for root, handle in roots.items():
            if not is_beneath(real, root):
                continue
            relative = real[len(root) :].lstrip("/") or "."
            how = struct.pack("=QQQ", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, 0, _BENEATH)
            target = call(_OPENAT2, handle, os.fsencode(relative), how, len(how))
            if os.path.samestat(os.fstat(target), status):
                return target
            os.close(target)
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    def _times(self, asked: _Asked, address: int) -> bytes:
        """Return two struct timespec, or nothing for the present time."""
        if not address:
            return b""
        first, second, *others = struct.unpack("=2q" if asked.name == "utime" else "=4q", self._read(asked, address))
        if asked.name == "utime":  # whole seconds
            return struct.pack("=4q", first, 0, second, 0)
        if asked.name == "utimensat":
            return struct.pack("=4q", first, second, *others)
        if not (0 <= second < 1_000_000 and 0 <= others[1] < 1_000_000):  # struct timeval
            raise ValueError
        return struct.pack("=4q", first, second * 1000, others[0], others[1] * 1000)

    def _read(self, asked: _Asked, address: int) -> bytes:
        return _read_memory(asked.process, address, 16 if asked.name == "utime" else 32)


def _parse(name: str, given: Sequence[int]) -> tuple[bool, int, int | None, Sequence[int]]:
    """Return whether a last link is followed, the folder, the address of the path (None: the folder is meant), and the
    other arguments.
    """
    if name in ("fchmod", "fchown"):
        return True, _signed(given[0]), None, given[1:]
    if name in ("chmod", "chown", "lchown", "utime", "utimes"):
        return name != "lchown", _AT_FDCWD, given[0], given[1:]
    folder, address, rest = _signed(given[0]), given[1], given[2:]
    flags = {"fchownat": given[4], "utimensat": given[3]}.get(name, 0)
    if name in ("utimensat", "futimesat") and not address:
        return True, folder, None, rest
    return not flags & _AT_SYMLINK_NOFOLLOW, folder, address, rest


def _open_target(process: int, folder: int, path: str | None, *, follow: bool) -> int:
    """Open the file that a process names, without any right to its content.

    Raises:
        OSError: it cannot be found.
    """
    at = f"/proc/{process}/cwd" if folder == _AT_FDCWD else f"/proc/{process}/fd/{folder}"
    if path is None:
        if folder < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        place = at
    elif not path:  # AT_EMPTY_PATH or an error: no program of note depends on it
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    elif path.startswith("/"):
        place = _OWN_FILES.sub(f"/proc/{process}/fd", _OWN_ENTRY.sub(f"/proc/{process}", path, count=1), count=1)
    else:
        place = f"{at}/{path}"
    return os.open(place, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))


def _read_text(process: int, address: int) -> str:
    """Return a string that ends with a null byte from the memory of a process.

    Raises:
        OSError: it cannot be read, or is too long.
    """
    said = b""
    while len(said) < _LONGEST_PATH:
        at = address + len(said)
        said += _read_memory(process, at, _PAGE - at % _PAGE, whole=False)  # the next page may not exist
        text, end, _ = said.partition(b"\0")
        if end:
            return os.fsdecode(text)
    raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))


def _read_memory(process: int, address: int, size: int, *, whole: bool = True) -> bytes:
    memory = os.open(f"/proc/{process}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        said = os.pread(memory, size, address)
    except OSError as error:
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT)) from error
    finally:
        os.close(memory)
    if not said or (whole and len(said) < size):
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
    return said


def _signed(value: int) -> int:
    """Return the int that a register holds; the kernel ignores its high word."""
    value &= 0xFFFF_FFFF
    return value - (1 << 32) if value & 0x8000_0000 else value
