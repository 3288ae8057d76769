"""Reading and listing the files of the workspace, whatever their size."""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from io import BufferedReader
from pathlib import Path
from typing import Literal, TypeVar

import anyio
import anyio.to_thread
from pydantic import Field

from agentctl.errors import ToolError
from agentctl.tools.bench import Bench
from agentctl.tools.beneath import real_relative
from agentctl.tools.private import Identities, identities, refuse_private
from agentctl.tools.table import cell, counted, parse_size, size, table
from agentctl.tools.typed import Arguments, typed
from agentctl.tools.walk import SKIPPED, Entry, Walk, opened

SHOWN_BYTES = 60 * 1024
_BLOCK = 1024 * 1024


class ReadFile(Arguments):
    """Which file, and which part of it."""

    path: str = Field(description="a file of the workspace")
    first: int | None = Field(None, ge=1, le=100_000, description="only the first N lines")
    last: int | None = Field(None, ge=1, le=100_000, description="only the last N lines")
    count_lines: bool = Field(False, description="only the number of lines")


class ListFiles(Arguments):
    """Where to look, what for."""

    path: str = Field(".", description="a folder of the workspace")
    pattern: str = Field("*", description='names like "*.py"; with a slash, paths like "src/*.py"')
    recursive: bool = True
    kind: Literal["file", "folder", "any"] = "file"
    sort: Literal["name", "size", "modified"] = "name"
    min_size: str | None = Field(None, description='like "10MB"')
    limit: int = Field(50, ge=1, le=1000)


P = TypeVar("P", bound=Arguments)


async def really(bench: Bench, arguments: P) -> P:
    """Return the arguments with the path that theirs leads to: a rule must not be got round by a link or dots.

    Raises:
        ToolError: it leads outside the workspace, or into what is agentctl's own.
    """
    if "path" not in arguments.model_fields_set:
        return arguments
    path: str = arguments.path  # type: ignore[attr-defined]
    real = await anyio.to_thread.run_sync(real_relative, bench.workspace, path)
    refuse_private(bench.workspace, bench.private, real)
    return arguments.model_copy(update={"path": real})


@typed(ReadFile, resolve=really)
async def read_file(bench: Bench, arguments: ReadFile) -> str:
    """Read a text file of the workspace: whole, its first or last lines, or only how many lines it has."""
    return await anyio.to_thread.run_sync(_read, bench.workspace, arguments)


@typed(ListFiles, resolve=really)
async def list_files(bench: Bench, arguments: ListFiles) -> str:
    """List files or folders by name pattern, size or time. kind=folder with sort=size: the biggest folders, in total.

    Folders like .git and node_modules are only looked into when sizes are asked for.
    """
    return await anyio.to_thread.run_sync(_list, bench.workspace, arguments, identities(bench.private))


def _read(workspace: Path, wanted: ReadFile) -> str:
    with opened(workspace, wanted.path) as (handle, status):
        if wanted.count_lines:
            lines = count_lines(handle)
            return f"{counted(lines, 'line')} in {cell(wanted.path)} ({size(status.st_size)})"
        parts = []
        if wanted.first is not None:
            parts.append(first_lines(handle, wanted.first))
        if wanted.last is not None:
            parts.append(last_lines(handle, wanted.last))
        if not parts:
            parts.append(whole(handle))
        if any(looks_binary(part.encode("utf-8", "surrogateescape")) for part in parts):
            return f"<binary, {status.st_size} bytes>"
        shown = [part.encode("utf-8", "surrogateescape").decode(errors="backslashreplace") for part in parts]
        return "\n…\n".join(shown) if any(shown) else f"{cell(wanted.path)} is empty."


def whole(handle: BufferedReader) -> str:
    """Return a file's text, the middle left out of one that is too long to show; undecodable bytes as surrogates."""
    head = handle.read(SHOWN_BYTES + 1)
    if len(head) <= SHOWN_BYTES:
        return _text(head).removesuffix("\n")
    total = handle.seek(0, os.SEEK_END)
    head = _to_line_end(head[: SHOWN_BYTES // 2])
    handle.seek(max(len(head), total - SHOWN_BYTES // 2))
    tail = handle.read(SHOWN_BYTES // 2)
    tail = tail[tail.find(b"\n") + 1 :] or tail
    left = max(0, total - len(head) - len(tail))
    mark = f"… {left:,} of {total:,} bytes left out: read it with first or last, or search it …"
    return f"{_text(head).rstrip()}\n{mark}\n{_text(tail)}".removesuffix("\n")


def first_lines(handle: BufferedReader, count: int) -> str:
    """Return the first ``count`` lines, at most ``SHOWN_BYTES`` of them, with a line that says when they were cut."""
    handle.seek(0)
    data = handle.read(SHOWN_BYTES + 1)
    lines = data.split(b"\n")
    if len(lines) > count:
        return _text(b"\n".join(lines[:count]))
    if len(data) <= SHOWN_BYTES:
        return _text(data).removesuffix("\n")
    kept = _to_line_end(data[:SHOWN_BYTES])
    return f"{_text(kept).rstrip()}\n… cut after {SHOWN_BYTES // 1024} KB of the first {count:,} lines …"


def last_lines(handle: BufferedReader, count: int) -> str:
    """Return the last ``count`` lines, read from the end, at most ``SHOWN_BYTES`` of them."""
    total = handle.seek(0, os.SEEK_END)
    handle.seek(max(0, total - SHOWN_BYTES))
    data = handle.read(SHOWN_BYTES)
    lines = data.removesuffix(b"\n").split(b"\n")
    if len(lines) > count:
        return _text(b"\n".join(lines[-count:]))
    if total <= SHOWN_BYTES:
        return _text(b"\n".join(lines))
    kept = b"\n".join(lines[1:]) or lines[0]
    return f"… only the last {SHOWN_BYTES // 1024} KB of the last {count:,} lines …\n{_text(kept)}"


def count_lines(handle: BufferedReader) -> int:
    """Count lines in bounded memory; a last line without a newline is one too."""
    lines, last = 0, b"\n"
    for block in iter(lambda: handle.read(_BLOCK), b""):
        lines, last = lines + block.count(b"\n"), block[-1:]
        anyio.from_thread.check_cancelled()
    return lines + (last != b"\n")


def looks_binary(data: bytes) -> bool:
    """Say whether bytes are no text: a NUL, or neither UTF-8 nor mostly printable."""
    if b"\0" in data:
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        odd = sum(byte < 9 or 13 < byte < 32 or byte > 126 for byte in data[:8192])
        return odd > 0.3 * min(len(data), 8192)
    return False


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _to_line_end(data: bytes) -> bytes:
    return data[: data.rfind(b"\n") + 1] or data


def matcher(pattern: str) -> Callable[[Entry], bool]:
    """Return what says whether an entry's name (with a slash in the pattern: its path) fits; ``**/`` is any depth."""
    if pattern in ("", "*", "**", "**/*"):
        return lambda _: True
    if "/" not in pattern:
        return lambda entry: fnmatchcase(entry.name, pattern)
    plain = pattern.removeprefix("./")
    flat = plain.replace("**/", "")
    return lambda entry: fnmatchcase(entry.path, plain) or ("**/" in plain and fnmatchcase(entry.path, flat))


def _list(workspace: Path, wanted: ListFiles, private: Identities) -> str:
    least = parse_size(wanted.min_size) if wanted.min_size is not None else 0
    if least is None:
        raise ToolError(
            f'list_files: "min_size" is {wanted.min_size!r}, which is no size', hint='write "10MB" or "2GB"'
        )
    weighed = wanted.sort == "size" or wanted.min_size is not None
    totals = wanted.kind == "folder" and weighed
    walk = Walk(
        workspace,
        wanted.path,
        recursive=wanted.recursive or totals,
        skipped=frozenset() if weighed else SKIPPED,
        private=private,
        tick=anyio.from_thread.check_cancelled,
    )
    fits = matcher(wanted.pattern)
    count = weight = 0

    def found() -> Iterator[tuple[Entry, int]]:
        nonlocal count, weight
        for entry, amount in _folders(walk, wanted.recursive) if totals else _plain(walk, wanted.kind):
            if amount >= least and fits(entry):
                count, weight = count + 1, weight + amount
                yield entry, amount

    orders: dict[str, Callable[[tuple[Entry, int]], tuple[object, ...]]] = {
        "name": lambda pair: (pair[0].path,),
        "size": lambda pair: (-pair[1], pair[0].path),
        "modified": lambda pair: (-pair[0].status.st_mtime, pair[0].path),
    }
    shown = heapq.nsmallest(wanted.limit, found(), key=orders[wanted.sort])
    rows = [
        ("-" if entry.is_folder and not totals else size(amount), _when(entry), _shown(entry))
        for entry, amount in shown
    ]
    noun = {"file": "file", "folder": "folder", "any": "entry"}[wanted.kind]
    words = counted(count, noun, "entries" if noun == "entry" else None)
    if not rows:
        what = "" if wanted.pattern == "*" else f' matching "{cell(wanted.pattern)}"'
        bound = f" of {wanted.min_size} or more" if wanted.min_size else ""
        return "; ".join([f"No {noun}{what}{bound} in {cell(wanted.path)}", *walk.notes()])
    tail = f"{len(rows)} of {words} shown" if count > len(rows) else words
    tail += "" if wanted.kind != "file" else f", {size(weight)}"
    return table((">size", "modified", wanted.kind), rows, most=300) + "\n" + "; ".join([tail, *walk.notes()])


def _plain(walk: Walk, kind: str) -> Iterator[tuple[Entry, int]]:
    for entry in walk:
        if kind == "any" or entry.is_folder == (kind == "folder"):
            yield entry, 0 if entry.is_folder else entry.status.st_size


def _folders(walk: Walk, nested: bool) -> Iterator[tuple[Entry, int]]:
    """Yield folders with the size of everything below; a file with several names counts once."""
    folders: dict[str, Entry] = {}
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


def _when(entry: Entry) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.status.st_mtime))
    except (ValueError, OverflowError, OSError):
        return "?"


def _shown(entry: Entry) -> str:
    return entry.path + ("/" if entry.is_folder else "@" if entry.is_link else "")
