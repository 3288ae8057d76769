"""Where no tool looks or writes in the workspace: folders of agentctl's own, and what a rule of the user denies."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio.to_thread

from agentctl.core.errors import ToolError
from agentctl.core.targets import Target
from agentctl.sandbox.import_path import own_program
from agentctl.tools.files.paths import real_relative, resolve_relative
from agentctl.tools.typed import TargetLookup

if TYPE_CHECKING:
    from agentctl.sandbox.denied_paths import HiddenPaths
    from agentctl.tools.tool import ToolContext

Identities: TypeAlias = frozenset[tuple[int, int]]
"""Device and inode of each folder: what it is, whatever its name."""


def identities(folders: Iterable[Path]) -> Identities:
    """Return what the folders are that are there."""
    found = set()
    for folder in folders:
        try:
            status = os.stat(folder)  # noqa: PTH116 - links of the user's own are followed
        except OSError:
            continue
        found.add((status.st_dev, status.st_ino))
    return frozenset(found)


def refuse_private(workspace: Path, folders: Iterable[Path], relative: str) -> None:
    """Refuse a path (relative to ``workspace``, its links followed) that lies in one of ``folders``, or is one.

    Raises:
        ToolError: it does.
    """
    real = os.path.join(os.path.realpath(workspace), relative)  # noqa: PTH118
    for folder in folders:
        own = os.path.realpath(folder)
        if real == own or real.startswith(f"{own}/"):
            raise ToolError(f"{relative} is agentctl's own", hint="do without it")


def find_hidden(context: ToolContext) -> HiddenPaths | None:
    """Return what deny rules hide in the workspace at this moment, None where none is about paths."""
    return None if context.denied is None else context.denied.find()


def refuse_denied(found: HiddenPaths | None, path: str, descriptor: int | None = None) -> None:
    """Refuse a path of the workspace, its links followed, or the open file there, where a deny rule hides it.

    Rules have judged the call before; this looks again at what is really there, as it may have been swapped since.

    Raises:
        ToolError: it is hidden.
    """
    if found is None:
        return
    is_hidden = found.hides(path) if descriptor is None else found.hides_open(descriptor, os.fstat(descriptor))
    if is_hidden:
        raise ToolError(f"{path} is denied by a rule of the user", hint="do without it")


async def path_names(context: ToolContext, arguments: Any) -> Target:  # noqa: ANN401 - any tool's, with a path
    """Return the names of a file or folder for rules: where it is, and what rules call it.

    A hard link, a bind mount or the target of a link has a second name, by which a rule may mean it.
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
    """Return where agentctl itself is installed below ``workspace``: what is written there would run unbounded."""
    return tuple(map(Path, own_program(workspace)))


__all__ = ["PATH", "Identities", "find_hidden", "identities", "own_program_in", "refuse_denied", "refuse_private"]
