"""The tool that writes a file of the workspace, whole or not at all; and ``write_file_async``."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import anyio.to_thread
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from agentctl.core.errors import ToolError, UsageError
from agentctl.core.files import replace_file
from agentctl.core.impact import Impact
from agentctl.core.redaction import Redactor
from agentctl.core.results import FileNotice, Reply
from agentctl.core.text import safe_text, unescape_notices
from agentctl.sandbox.mount_table import is_kernel_file
from agentctl.sandbox.select import is_project_folder
from agentctl.tools.files.paths import (
    PATH,
    as_tool_error,
    find_hidden,
    hint_inside,
    open_beneath,
    open_workspace,
    own_program_in,
    real_relative,
    refuse_denied,
    refuse_private,
    resolve_relative,
)
from agentctl.tools.files.walk import open_regular
from agentctl.tools.tables import cell, plural
from agentctl.tools.tool import Arguments, define_tool, offer_as
from agentctl.tools.toolbox import ToolContext

_MOST_ORIGINAL = 16 * 1024 * 1024  # bytes of the old file in which the marks' secrets are searched for

if TYPE_CHECKING:
    from agentctl.core.autorun_files import AutorunFile
    from agentctl.tools.files.diff import OldFile


class WriteFile(Arguments):
    """The arguments of write_file; agentctl sets ``old``, the content that a person was shown, the model does not."""

    offered = offer_as(path="like notes/today.md", text="the whole new text")

    literal = frozenset(("text",))

    path: str = Field(min_length=1, description="a file of the workspace")
    text: str = Field(description="all that shall be in it")
    old: SkipJsonSchema[str | None] = None


class _Written(NamedTuple):
    path: Path
    old_bytes: int | None


async def _resolve(context: ToolContext, arguments: WriteFile) -> WriteFile:
    real = await anyio.to_thread.run_sync(_target_or_hint, context, arguments.path)
    refuse_private(context.workspace, (*context.private, *own_program_in(context.workspace)), real)
    arguments = arguments.model_copy(update={"path": real})
    await anyio.to_thread.run_sync(_restore_secrets, context, arguments)  # a call that must fail is not asked about
    return arguments


def _is_contained(context: ToolContext) -> bool:
    """Return whether the written file stays in a project's folder; a home or the whole machine is not one."""
    return is_project_folder(context.workspace)


async def _find_autorun(context: ToolContext, arguments: WriteFile) -> AutorunFile | None:
    from agentctl.tools.files.autorun_paths import find_autorun_at  # noqa: PLC0415 - a long table, needed when something is written

    return await anyio.to_thread.run_sync(find_autorun_at, context.workspace, arguments.path)


async def _impact(context: ToolContext, arguments: WriteFile) -> Impact:
    return await anyio.to_thread.run_sync(_compare, context, arguments)


def _compare(context: ToolContext, arguments: WriteFile) -> Impact:
    """Return what the call changes in the file as it is now.

    Raises:
        ToolError: the path is no file that can be replaced.
    """
    from agentctl.tools.files.diff import write_impact  # noqa: PLC0415 - only a question needs it

    new = _restore_secrets(context, arguments).encode("utf-8", "replace")
    real = cell(f"{context.workspace}/{arguments.path}", 1000)
    try:
        old = _read_old(context.workspace, arguments.path)
    except PermissionError:
        return Impact(f"writes {real}", dangers=("the file there cannot be read, so that nothing is compared",))
    return write_impact(real, old, new, redactor=context.redactor)


@define_tool(
    WriteFile,
    effect="write",
    contained=_is_contained,
    resolve=_resolve,
    find_autorun=_find_autorun,
    target=PATH,
    impact=_impact,
)
async def write_file(context: ToolContext, arguments: WriteFile) -> str:
    """Write a whole text file, in place of what is there.

    Keep [redacted:...] marks: the secrets are put back.
    """
    text = await anyio.to_thread.run_sync(_restore_secrets, context, arguments)
    written = await anyio.to_thread.run_sync(_write_allowed, context, arguments, text)
    lines = text.count("\n") + (not text.endswith("\n") and text != "")
    was = "new" if written.old_bytes is None else f"replaced, it had {plural(written.old_bytes, 'byte')}"
    size = plural(len(text.encode()), "byte")
    said = f"{cell(arguments.path, 300)} is written: {size}, {plural(lines, 'line')} ({was})"
    autorun = await _find_autorun(context, arguments)
    return said if autorun is None else Reply.of(said, (FileNotice(arguments.path, autorun.program),))


def _write_allowed(context: ToolContext, arguments: WriteFile, text: str) -> _Written:
    if context.denied is not None:
        refuse_denied(find_hidden(context), _target(context.workspace, arguments.path))
    return _write(arguments.path, text, context.workspace, shown=arguments.old)


def _restore_secrets(context: ToolContext, arguments: WriteFile) -> str:
    """Return the text with each mark replaced by the secret of the old file that it stands for.

    Raises:
        ToolError: a mark stands for no secret of that file, or for several.
    """
    text = arguments.text
    if "[" not in text and "\\" not in text:
        return text
    original = _original(context.workspace, arguments.path)
    restored = (context.redactor or Redactor()).restore(text, original)
    return unescape_notices(restored, original)


def _original(workspace: Path, path: str) -> str:
    """Return the text of the file as tools show it, before secrets are redacted; "" if there is none to read."""
    try:
        root = open_workspace(workspace)
        try:
            with open_regular(root, resolve_relative(workspace, path)) as handle:
                data = handle.read(_MOST_ORIGINAL)
        finally:
            os.close(root)
    except (OSError, ToolError):
        return ""
    return safe_text(data.decode("utf-8", "backslashreplace"))


def _target_or_hint(context: ToolContext, path: str) -> str:
    with hint_inside(context, path):
        return _target(context.workspace, path)


def _target(workspace: Path, path: str) -> str:
    """Return the path of the file to write, with the links in its folder resolved.

    Raises:
        ToolError: the path is outside the workspace, or a folder.
    """
    relative = resolve_relative(workspace, path)
    if relative == "." or path.endswith("/"):
        raise as_tool_error(OSError(errno.EISDIR, "folder"), path)
    folder, _, name = relative.rpartition("/")
    above = real_relative(workspace, folder or ".")
    return name if above == "." else f"{above}/{name}"


async def write_file_async(path: str | Path, text: str, *, workspace: Path | None = None) -> Path:
    """Write ``text`` as UTF-8 to a file below ``workspace`` (the current folder) and return its absolute path.

    Missing folders are created. The file replaces the old one atomically, on disk, and keeps its permissions; after an
    error the old one is untouched. Links are followed only inside the workspace, and never as the last part.

    Raises:
        ToolError: the path leads outside, is not a plain file, or cannot be written; with a hint.
        UsageError: an argument is not a path or not a text.

    >>> import anyio
    >>> from agentctl import write_file_async
    >>> path = anyio.run(write_file_async, "notes/today.txt", "inside the current folder, or not at all")
    >>> path.read_text()
    'inside the current folder, or not at all'
    """
    _check(path, text)
    written = await anyio.to_thread.run_sync(_write, path, text, workspace)  # atomic, also when cancelled
    return written.path


def _check(path: object, text: object) -> None:
    if not isinstance(path, (str, Path)):
        raise UsageError(f"path cannot be {path!r}", hint="give a string or a Path")
    if not isinstance(text, str):
        raise UsageError(f"text must be a string, not {type(text).__name__}", hint="decode bytes first")


def _read_old(workspace: Path, path: str) -> OldFile:
    """Return the file that a call replaces.

    Raises:
        PermissionError: it cannot be read.
        ToolError: it is no regular file, or its path cannot be followed.
    """
    from agentctl.tools.files.diff import NO_FILE, read_old  # noqa: PLC0415 - only a question needs it

    root = open_workspace(workspace)
    try:
        with open_regular(root, resolve_relative(workspace, path)) as handle:
            return read_old(handle)
    except FileNotFoundError:
        return NO_FILE
    except PermissionError:
        raise
    except OSError as exc:
        raise as_tool_error(exc, path) from exc
    finally:
        os.close(root)


def _refuse_changed(workspace: Path, path: str, shown: str) -> None:
    if _read_old(workspace, path).identity != shown:
        raise ToolError(
            f"{path} has changed since the user was asked about it; nothing was written",
            hint="read it again, and ask again",
        )


def _write(path: str | Path, text: str, workspace: Path | None, *, shown: str | None = None) -> _Written:
    workspace = Path.cwd() if workspace is None else workspace
    relative = resolve_relative(workspace, path)
    if relative == "." or os.fspath(path).endswith("/"):
        raise as_tool_error(OSError(errno.EISDIR, "folder"), str(path))
    try:
        data = text.encode()
    except UnicodeEncodeError as exc:
        raise ToolError(
            f"the text for {path} is not Unicode: unpaired surrogate at {exc.start}", hint="remove it"
        ) from exc
    if shown is not None:
        _refuse_changed(workspace, relative, shown)
    parent, _, name = relative.rpartition("/")
    root = open_workspace(workspace)
    try:
        folder = _open_folder(root, parent or ".")
        try:
            old = _replace(folder, name, relative, data)
        finally:
            os.close(folder)
    except OSError as exc:
        raise as_tool_error(exc, relative) from exc
    finally:
        os.close(root)
    return _Written(workspace.absolute() / relative, None if old is None else old.st_size)


def _open_folder(root: int, relative: str) -> int:
    """Open a folder, and create the missing parts of its path."""
    flags = os.O_RDONLY | os.O_DIRECTORY
    try:
        return open_beneath(root, relative, flags)
    except FileNotFoundError:
        if relative == ".":
            raise
    parent, _, name = relative.rpartition("/")
    above = _open_folder(root, parent or ".")
    try:
        if is_kernel_file(above, os.fstat(above)):  # new folders have effects: control groups, configuration
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), relative)
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=above)
        os.fsync(above)
    finally:
        os.close(above)
    return open_beneath(root, relative, flags)


def _replace(folder: int, name: str, shown: str, data: bytes) -> os.stat_result | None:
    """Replace the file by ``data``; return the status of the old file."""
    old = _check_replaceable(folder, name, shown)

    def as_before(new: int) -> None:
        if old is not None:
            if os.geteuid() == 0:
                os.fchown(new, old.st_uid, old.st_gid)
            os.fchmod(new, stat.S_IMODE(old.st_mode))

    replace_file(folder, name, data, mode=0o666 if old is None else 0o600, set_up=as_before)
    os.fsync(folder)
    return old


def _check_replaceable(folder: int, name: str, shown: str) -> os.stat_result | None:
    """Return the status of the existing file, or refuse to replace it."""
    try:
        old = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(old.st_mode):
        raise as_tool_error(OSError(errno.ELOOP, "link"), shown)
    if stat.S_ISDIR(old.st_mode):
        raise as_tool_error(OSError(errno.EISDIR, "folder"), shown)
    if not stat.S_ISREG(old.st_mode):
        raise ToolError(f"{shown} is not a regular file", hint="choose another name")
    if old.st_nlink > 1:
        raise ToolError(
            f"{shown} has {old.st_nlink} names (hard links); the others would keep the old text",
            hint="write to a new file, or delete this name first",
        )
    if old.st_mode & (stat.S_ISUID | stat.S_ISGID):
        raise ToolError(f"{shown} runs with its owner's rights (setuid)", hint="write to a new file")
    os.close(
        os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    )  # checks permission
    return old
