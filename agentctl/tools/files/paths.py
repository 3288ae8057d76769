"""Resolve paths beneath the workspace by the kernel, and refuse those that no tool may touch.

No path is judged by string comparison alone: ``open_beneath`` lets the kernel walk it. No tool may open agentctl's own
folders (``refuse_private``) and paths that a rule of the user denies (``refuse_denied``).
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import anyio.to_thread

from agentctl.core.errors import ToolError
from agentctl.core.targets import Target
from agentctl.sandbox.import_path import own_program
from agentctl.tools.tool import Arguments, TargetLookup

if TYPE_CHECKING:
    from agentctl.sandbox.denied_paths import HiddenPaths
    from agentctl.tools.toolbox import ToolContext


_OPENAT2 = 437  # the same number on every Linux architecture except alpha
_RESOLVE_NO_MAGICLINKS, _RESOLVE_BENEATH = 0x02, 0x08
_O_PATH: int = getattr(os, "O_PATH", os.O_RDONLY)
_O_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | _O_PATH
_MOST_LINKS, _MOST_TRIES = 40, 128
_MOST_PARTS = 40  # of a path that are tried


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def resolve_relative(workspace: Path, path: str | Path) -> str:
    """Return ``path`` relative to ``workspace``; "." is the workspace itself.

    A relative path starts at the workspace; an absolute one, or one with ``~``, must lie inside it. This only
    normalises the path: its real target is found when ``open_beneath`` walks it.

    Raises:
        ToolError: the path is empty, not a possible name, or outside the workspace.
    """
    given = os.fspath(path)
    if not given or "\0" in given:
        raise ToolError("the path is empty" if not given else "the path holds a NUL byte", hint="give a file's path")
    try:
        os.fsencode(given)
    except UnicodeEncodeError as exc:
        raise ToolError(f"this is not a possible file name: {given!a}", hint="give a file's path") from exc
    root = os.path.abspath(workspace)  # noqa: PTH100 - links in it stay as they are named
    wanted = os.path.join(root, os.path.expanduser(given))  # noqa: PTH111, PTH118
    relative = os.path.relpath(wanted, root)
    if ".." in given.split("/") or _climbs(relative):  # the meaning of .. depends on the links before it
        folder, name = os.path.split(wanted)
        try:
            real_root, real_folder = os.path.realpath(root), os.path.realpath(folder)
        except OSError as exc:  # a link is being changed at this moment
            raise as_tool_error(exc, given) from exc
        relative = os.path.relpath(os.path.join(real_folder, name), real_root)  # noqa: PTH118
    if _climbs(relative):
        raise _outside(given, root)
    return relative


def real_relative(workspace: Path, path: str | Path) -> str:
    """Return the target of ``path``, relative to ``workspace``; for rules to match, not safe for access.

    Raises:
        ToolError: the path is empty, not a possible name, or outside the workspace.
    """
    root = os.path.realpath(workspace)
    try:
        real = os.path.realpath(os.path.join(root, resolve_relative(workspace, path)))  # noqa: PTH118
    except OSError as exc:  # a link is being changed at this moment
        raise as_tool_error(exc, os.fspath(path)) from exc
    relative = os.path.relpath(real, root)
    if _climbs(relative):
        raise as_tool_error(OSError(errno.EXDEV, "outside"), os.fspath(path))
    return relative


def _climbs(relative: str) -> bool:
    return relative == ".." or relative.startswith("../")


def _outside(given: str, root: str) -> ToolError:
    return ToolError(
        f"{given} is outside the workspace {root}", hint="use a path inside it, or choose another --workdir"
    )


def open_workspace(workspace: Path) -> int:
    """Open the workspace folder and return its descriptor.

    Raises:
        ToolError: the folder does not exist or is not accessible.
    """
    try:
        return os.open(workspace, _O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        raise as_tool_error(exc, str(workspace)) from exc


def open_beneath(root_fd: int, relative: str, flags: int, mode: int = 0) -> int:
    """Open ``relative`` below the folder ``root_fd`` and return a descriptor (close-on-exec).

    Symbolic links are followed only while they stay inside (``os.O_NOFOLLOW`` in ``flags`` refuses one as the last
    part); links of /proc never. To read untrusted files, add ``os.O_NONBLOCK`` (a FIFO would block) and check with
    ``os.fstat`` that the file is regular.

    Raises:
        OSError: EXDEV when the path leads outside, else as ``open`` would raise; ``as_tool_error`` translates it.
    """
    flags |= os.O_CLOEXEC
    if _kernel_resolves():
        return _openat2(root_fd, relative, flags, mode)
    return _walk(root_fd, relative, flags, mode)


def as_tool_error(error: OSError, path: str) -> ToolError:
    """Return an error that says why ``path`` could not be opened or written, with a hint."""
    sentence, hint = _REASONS.get(error.errno or 0, (f"{{path}}: {(error.strerror or str(error)).lower()}", ""))
    return ToolError(sentence.format(path=path), hint=hint)


_REASONS = {
    errno.ENOENT: ("{path} does not exist", "check the name, or list the folder"),
    errno.EACCES: ("no permission for {path}", "choose another file, or ask its owner"),
    errno.EPERM: ("{path} may not be changed", "choose another file, or ask its owner"),
    errno.EXDEV: ("{path} leads outside the workspace", "use a path inside it, or choose another --workdir"),
    errno.ELOOP: ("{path} is a symbolic link that is not followed", "name the file that it points to"),
    errno.ENOTDIR: ("a part of {path} is not a folder", "check the path, or list the folder"),
    errno.EISDIR: ("{path} is a folder", "name a file in it"),
    errno.ENOSPC: ("no space left on the disk of {path}", "free some space, then try again"),
    errno.EDQUOT: ("the disk quota for {path} is used up", "free some space, then try again"),
    errno.EFBIG: ("{path} would be larger than this process may write", "raise `ulimit -f`, or write less"),
    errno.EROFS: ("the file system of {path} is read-only", "choose a folder that can be written"),
    errno.ENAMETOOLONG: ("the name is too long: {path}", "choose a shorter name"),
    errno.ENXIO: ("{path} is not a regular file", "only regular files are opened"),
}


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@cache
def _kernel_resolves() -> bool:
    """Try openat2 once: kernels before 5.6 do not have it, and old container profiles forbid it (with EPERM)."""
    if sys.platform != "linux":
        return False
    try:
        root = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.close(_openat2(root, ".", os.O_RDONLY | os.O_CLOEXEC, 0))
        finally:
            os.close(root)
    except OSError:
        return False
    return True


def _openat2(root_fd: int, relative: str, flags: int, mode: int) -> int:
    how = _OpenHow(flags, mode, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
    for _ in range(_MOST_TRIES):
        opened: int = _libc().syscall(
            _OPENAT2,
            ctypes.c_int(root_fd),
            ctypes.c_char_p(os.fsencode(relative)),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if opened >= 0:
            return opened
        code = ctypes.get_errno()
        if code not in (errno.EAGAIN, errno.EINTR):  # EAGAIN: a folder was renamed while the kernel walked
            break
    raise OSError(code, os.strerror(code), relative)


def _walk(root_fd: int, relative: str, flags: int, mode: int) -> int:
    """Do in Python what openat2 does: open one part after the other without following links."""
    if relative.startswith("/"):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), relative)
    parts, links = [part for part in reversed(relative.split("/")) if part not in ("", ".")], 0
    folders = [os.dup(root_fd)]
    try:
        while parts:
            part = parts.pop()
            if part == "..":
                if len(folders) == 1:
                    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), relative)
                os.close(folders.pop())
                continue
            last = not parts
            target = None if last and flags & os.O_NOFOLLOW else _link(folders[-1], part)
            if target is not None:
                links += 1
                if links > _MOST_LINKS or target.startswith("/"):
                    code = errno.EXDEV if target.startswith("/") else errno.ELOOP
                    raise OSError(code, os.strerror(code), relative)
                parts += [piece for piece in reversed(target.split("/")) if piece not in ("", ".")]
            elif last:
                return os.open(part, flags | os.O_NOFOLLOW, mode, dir_fd=folders[-1])
            else:
                folders.append(os.open(part, _O_FOLDER, dir_fd=folders[-1]))
        return os.open(".", flags, mode, dir_fd=folders[-1])
    finally:
        for folder in folders:
            os.close(folder)


def _link(folder: int, name: str) -> str | None:
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError:
        return None


P = TypeVar("P", bound=Arguments)
Identities: TypeAlias = frozenset[tuple[int, int]]
"""Device and inode of each folder, which identify it whatever its name."""


def identities(folders: Iterable[Path]) -> Identities:
    """Return the identities of the existing folders."""
    found = set()
    for folder in folders:
        try:
            status = os.stat(folder)  # noqa: PTH116 - links of the user's own are followed
        except OSError:
            continue
        found.add((status.st_dev, status.st_ino))
    return frozenset(found)


def refuse_private(workspace: Path, folders: Iterable[Path], relative: str) -> None:
    """Refuse a path (relative to ``workspace``, links resolved) that is in one of ``folders``, or is one.

    Raises:
        ToolError: the path is refused.
    """
    real = os.path.join(os.path.realpath(workspace), relative)  # noqa: PTH118
    for folder in folders:
        own = os.path.realpath(folder)
        if real == own or real.startswith(f"{own}/"):
            raise ToolError(f"{relative} belongs to agentctl", hint="continue without it")


@contextmanager
def hint_inside(context: ToolContext, path: str) -> Iterator[None]:
    """Give the error for a path outside the workspace a hint that names its last parts, if they exist inside."""
    try:
        yield
    except ToolError as error:
        hidden = find_hidden(context)
        if (meant := find_tail(context.workspace, path, hidden=hidden, private=context.private)) is not None:
            error.hint = f'did you mean "{meant}"?'
        raise


def _real_or_hint(context: ToolContext, path: str) -> str:
    with hint_inside(context, path):
        return real_relative(context.workspace, path)


def find_tail(
    workspace: Path, path: str, *, hidden: HiddenPaths | None = None, private: Iterable[Path] = ()
) -> str | None:
    """Return the longest proper end of ``path`` that exists in the workspace, "." for its own name; None without one.

    What deny rules hide, and agentctl's own folders, do not exist here.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")][-_MOST_PARTS:]
    if path.startswith("~"):
        parts = parts[1:]
    private = tuple(private)
    for start in range(0 if path.startswith(("/", "~")) else 1, len(parts)):
        if ".." in parts[start:]:
            continue
        tail = "/".join(parts[start:])
        with suppress(ToolError, OSError, UnicodeError):
            real = real_relative(workspace, tail)
            refuse_private(workspace, private, real)
            refuse_denied(hidden, tail)
            refuse_denied(hidden, real)
            if (workspace / tail).exists():
                return tail
    return "." if parts and parts[-1] == workspace.name else None


async def resolve_path(context: ToolContext, arguments: P) -> P:
    """Return the arguments with the real target of their path, so that links or dots do not bypass a rule.

    Raises:
        ToolError: the path leads outside the workspace, or into agentctl's own folders.
    """
    if "path" not in arguments.model_fields_set:
        return arguments
    path: str = arguments.path  # type: ignore[attr-defined]
    real = await anyio.to_thread.run_sync(_real_or_hint, context, path)
    refuse_private(context.workspace, context.private, real)
    return arguments.model_copy(update={"path": real})


def find_hidden(context: ToolContext) -> HiddenPaths | None:
    """Return the files in the workspace that deny rules hide at this moment, or None if no rule is about paths."""
    return None if context.denied is None else context.denied.find()


def refuse_denied(found: HiddenPaths | None, path: str, descriptor: int | None = None) -> None:
    """Refuse a path of the workspace (links resolved), or the open file there, if a deny rule hides it.

    Rules have judged the call before; this checks the actual file, which may have been swapped since.

    Raises:
        ToolError: the path is hidden.
    """
    if found is None:
        return
    is_hidden = found.hides(path) if descriptor is None else found.hides_open(descriptor, os.fstat(descriptor))
    if is_hidden:
        raise ToolError(f"{path} is denied by a user rule", hint="continue without it")


async def path_names(context: ToolContext, arguments: Any) -> Target:  # noqa: ANN401 - any tool's, with a path
    """Return the names of a file or folder for rules: its place, and the name that rules use.

    A hard link, a bind mount or the target of a link has a second name, which a rule may use.
    """
    path: str = arguments.path
    if path.startswith("run:"):
        return Target("text", (path,))
    return await anyio.to_thread.run_sync(_path_names, context, path)


def _path_names(context: ToolContext, path: str) -> Target:
    roots = tuple(dict.fromkeys((os.path.abspath(context.workspace), os.path.realpath(context.workspace))))  # noqa: PTH100
    names = [path]
    with suppress(ToolError):
        names += [resolve_relative(context.workspace, path), real := real_relative(context.workspace, path)]
        if (found := find_hidden(context)) is not None:
            status = None
            with suppress(OSError):
                status = os.stat(os.path.join(roots[-1], real))  # noqa: PTH116, PTH118
            names += filter(None, (found.name_of(real, status),))
    return Target("path", tuple(dict.fromkeys(names)), roots=roots)


PATH = TargetLookup("path", "path", path_names)


def own_program_in(workspace: Path) -> tuple[Path, ...]:
    """Return the folders below ``workspace`` where agentctl is installed: code that is written there would run without
    limits.
    """
    return tuple(map(Path, own_program(workspace)))
