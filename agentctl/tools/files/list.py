"""The tool that lists the files of the workspace."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator
from typing import Literal

import anyio
import anyio.to_thread
from pydantic import Field

from agentctl.core.errors import ToolError
from agentctl.tools.files.paths import PATH, find_hidden, identities, resolve_path
from agentctl.tools.files.walk import SKIPPED, FileEntry, Walk, name_matcher
from agentctl.tools.tables import cell, parse_size, plural, size, table
from agentctl.tools.tool import Arguments, define_tool, offer_as
from agentctl.tools.toolbox import ToolContext


class ListFiles(Arguments):
    """The arguments of list_files."""

    offered = offer_as(
        path="",
        pattern="like *.py or src/*.py",
        kind="default: file",
        sort="size: biggest first; modified: newest first",
        min_size=None,
    )

    path: str = Field(".", description="a folder of the workspace")
    pattern: str = Field("*", description='names like "*.py"; with a slash, paths like "src/*.py"')
    recursive: bool = True
    kind: Literal["file", "folder", "any"] = Field("file", description="files, folders, or both (any)")
    sort: Literal["name", "size", "modified"] = Field("name", description="biggest or newest first")
    min_size: str | None = Field(None, description='like "10MB"')
    limit: int = Field(50, ge=1, le=1000)


@define_tool(ListFiles, resolve=resolve_path, target=PATH)
async def list_files(context: ToolContext, arguments: ListFiles) -> str:
    """List the files in a folder and below, or its folders with their total sizes (sort=size)."""
    return await anyio.to_thread.run_sync(_list, context, arguments)


def _list(context: ToolContext, wanted: ListFiles) -> str:
    least = parse_size(wanted.min_size) if wanted.min_size is not None else 0
    if least is None:
        raise ToolError(
            f'list_files: "min_size" is {wanted.min_size!r}, which is not a size', hint='write "10MB" or "2GB"'
        )
    weighed = wanted.sort == "size" or wanted.min_size is not None
    totals = wanted.kind == "folder" and weighed
    walk = Walk(
        context.workspace,
        wanted.path,
        recursive=wanted.recursive or totals,
        skipped=frozenset() if weighed else SKIPPED,
        private=identities(context.private),
        hidden=find_hidden(context),
        tick=anyio.from_thread.check_cancelled,
    )
    fits = name_matcher(wanted.pattern)
    count = weight = 0

    def found() -> Iterator[tuple[FileEntry, int]]:
        nonlocal count, weight
        for entry, amount in _folders(walk, wanted.recursive) if totals else _plain(walk, wanted.kind):
            if amount >= least and fits(entry):
                count, weight = count + 1, weight + amount
                yield entry, amount

    orders: dict[str, Callable[[tuple[FileEntry, int]], tuple[object, ...]]] = {
        "name": lambda pair: (pair[0].path,),
        "size": lambda pair: (-pair[1], pair[0].path),
        "modified": lambda pair: (-pair[0].status.st_mtime, pair[0].path),
    }
    shown = heapq.nsmallest(wanted.limit, found(), key=orders[wanted.sort])
    rows = [
        ("-" if entry.is_folder and not totals else size(amount), _modified_time(entry), _display_path(entry))
        for entry, amount in shown
    ]
    noun = {"file": "file", "folder": "folder", "any": "entry"}[wanted.kind]
    words = plural(count, noun, "entries" if noun == "entry" else None)
    if not rows:
        what = "" if wanted.pattern == "*" else f' matching "{cell(wanted.pattern)}"'
        bound = f" of {wanted.min_size} or more" if wanted.min_size else ""
        return "; ".join([f"No {noun}{what}{bound} in {cell(wanted.path)}", *walk.notes()])
    tail = f"{len(rows)} of {words} shown" if count > len(rows) else words
    tail += "" if wanted.kind != "file" else f", {size(weight)}"
    return table((">size", "modified", wanted.kind), rows, most=300) + "\n" + "; ".join([tail, *walk.notes()])


def _plain(walk: Walk, kind: str) -> Iterator[tuple[FileEntry, int]]:
    for entry in walk:
        if kind == "any" or entry.is_folder == (kind == "folder"):
            yield entry, 0 if entry.is_folder else entry.status.st_size


def _folders(walk: Walk, nested: bool) -> Iterator[tuple[FileEntry, int]]:
    """Yield folders with the size of everything below; a file with several names counts once."""
    folders: dict[str, FileEntry] = {}
    totals: dict[str, int] = {}
    linked: set[tuple[int, int]] = set()
    depth: int | None = None
    for entry in walk:
        depth = entry.path.count("/") if depth is None else depth
        if entry.is_folder:
            if nested or entry.path.count("/") == depth:
                folders[entry.path] = entry
            continue
        status = entry.status
        if status.st_nlink > 1:
            if (status.st_dev, status.st_ino) in linked:
                continue
            linked.add((status.st_dev, status.st_ino))
        above = entry.path.rpartition("/")[0]
        while above:
            totals[above] = totals.get(above, 0) + status.st_size
            above = above.rpartition("/")[0]
    for path, folder in folders.items():
        yield folder, totals.get(path, 0)


def _modified_time(entry: FileEntry) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.status.st_mtime))
    except (ValueError, OverflowError, OSError):
        return "?"


def _display_path(entry: FileEntry) -> str:
    return entry.path + ("/" if entry.is_folder else "@" if entry.is_link else "")
