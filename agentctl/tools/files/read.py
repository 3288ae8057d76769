"""The tool that reads files of the workspace and of the run, whatever their size."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader

import anyio
import anyio.to_thread
from pydantic import Field

from agentctl.context.truncation import Excerpt, Origin, SplitText, end_of_character, split_text
from agentctl.core.errors import ToolError
from agentctl.journal.artifacts import PREFIX, open_artifact
from agentctl.sandbox.output import looks_binary
from agentctl.tools.files.paths import PATH, find_hidden, resolve_path
from agentctl.tools.files.walk import open_for_reading
from agentctl.tools.tables import cell, plural, size
from agentctl.tools.tool import Arguments, define_tool, offer_as
from agentctl.tools.toolbox import ToolContext

SHOWN_BYTES = 60 * 1024
_BLOCK = 1024 * 1024
_COUNTED_BYTES = 256 * _BLOCK  # lines of a larger file are counted only on request
_MARK_BYTES = 2048  # longer than a mark, unless its path is longer
_CONTINUES = bytes(range(0x80, 0xC0))  # continuation bytes of a UTF-8 character


#: The ways to read a part, of which a call has one; of several the first is most likely what is meant.
_MODES = (("count_lines",), ("first", "last"), ("from_line", "to_line"), ("from_byte",))


class ReadFile(Arguments):
    """The arguments of read_file."""

    offered = offer_as(path="", first="", last="", from_byte=None, count_lines="true: only how many lines, no text")

    path: str = Field(description="a file of the workspace, or run:NAME")
    first: int | None = Field(None, ge=1, le=100_000, description="only the first N lines")
    last: int | None = Field(None, ge=1, le=100_000, description="only the last N lines")
    from_line: int | None = Field(None, ge=1)
    to_line: int | None = Field(None, ge=1)
    from_byte: int | None = Field(None, ge=0)
    count_lines: bool = Field(False, description="only the number of lines")


async def _resolve(context: ToolContext, arguments: ReadFile) -> ReadFile:
    """Return the arguments with the real target of their path; the name of a run's file stays as it is.

    Raises:
        ToolError: the path leads outside the workspace, or into agentctl's own folders.
    """
    if arguments.path.startswith(PREFIX):
        return arguments
    real = await resolve_path(context, arguments)
    if real.path.startswith(PREFIX):  # a file of the workspace, whatever its name
        return real.model_copy(update={"path": f"./{real.path}"})
    return real


@define_tool(ReadFile, resolve=_resolve, target=PATH)
async def read_file(context: ToolContext, arguments: ReadFile) -> str:
    """Read a text file whole, or one of: its first N lines, last N lines, from_line to to_line, count_lines only."""
    _check_ranges(arguments)
    return await anyio.to_thread.run_sync(_read, context, arguments)


def _check_ranges(wanted: ReadFile) -> None:
    value = dict(wanted)
    value["count_lines"] = wanted.count_lines or None
    given = [[name for name in mode if value[name] is not None] for mode in _MODES]
    keep, *others = [names for names in given if names] or [[]]
    extra = [name for names in others for name in names]
    if extra and not (keep == ["count_lines"] and set(extra) <= {"first", "last"}):  # both are answered
        all_given = [*keep, *extra]
        listed = f"{', '.join(all_given[:-1])} and {all_given[-1]}"
        call = ", ".join(f"{name}={json.dumps(value[name])}" for name in ("path", *keep))
        raise ToolError(
            f"read_file: {listed} cannot be combined: leave out {' and '.join(extra)}", hint=f"call read_file({call})"
        )
    if wanted.from_line is not None and wanted.to_line is not None and wanted.to_line < wanted.from_line:
        raise ToolError(
            f"read_file: to_line={wanted.to_line} comes before from_line={wanted.from_line}",
            hint="give a to_line of at least from_line; both lines are included",
        )


@contextmanager
def _open(context: ToolContext, path: str) -> Iterator[tuple[BufferedReader, os.stat_result]]:
    if not path.startswith(PREFIX):
        with open_for_reading(context.workspace, path, find_hidden(context)) as found:
            yield found
        return
    with open_artifact(context.run_files, path) as handle:
        yield handle, os.fstat(handle.fileno())


def _read(context: ToolContext, wanted: ReadFile) -> str:
    with _open(context, wanted.path) as (handle, status):
        ends = wanted.first is not None or wanted.last is not None
        count = ""
        if wanted.count_lines:
            count = f"{plural(count_lines(handle), 'line')} in {cell(wanted.path)} ({size(status.st_size)})"
            if not ends:
                return count
            handle.seek(0)
        if wanted.from_byte is not None:
            return _read_from_byte(handle, wanted, status.st_size)
        if wanted.from_line is not None or wanted.to_line is not None:
            return _read_from_line(handle, wanted, status.st_size)
        if not ends and SHOWN_BYTES < status.st_size <= _COUNTED_BYTES:
            return _read_ends(handle, wanted.path, status.st_size)
        parts = []
        if wanted.first is not None:
            parts.append(first_lines(handle, wanted.first))
        if wanted.last is not None:
            parts.append(last_lines(handle, wanted.last))
        if not parts:
            parts.append(read_whole(handle))
        data = [part.encode("utf-8", "surrogateescape") for part in parts]
        if any(map(looks_binary, data)):
            return f"<binary, {status.st_size} bytes>"
        shown = "\n…\n".join(piece.decode(errors="backslashreplace") for piece in data)
        if not any(parts):
            return f"{cell(wanted.path)} is empty."
        if not ends and status.st_size <= SHOWN_BYTES:
            return Excerpt.of(shown, Origin(wanted.path)) if _is_exact(data[0], shown) else shown
        return f"{shown}\n\n{count}" if count else shown


def _read_from_line(handle: BufferedReader, wanted: ReadFile, total: int) -> str:
    """Return lines of a file of any size, found by counting; a part that is too long ends with how to continue."""
    if not total:
        return f"{cell(wanted.path)} is empty."
    first = wanted.from_line or 1
    start = line_start(handle, first)
    if start is None:
        handle.seek(0)
        lines = count_lines(handle)
        raise ToolError(
            f"{cell(wanted.path)} has {plural(lines, 'line')}; from_line is {first}", hint="read an earlier part"
        )
    handle.seek(start)
    data = handle.read(SHOWN_BYTES + 1)
    wanted_lines = None if wanted.to_line is None else wanted.to_line - first + 1
    if wanted_lines is not None and data.count(b"\n") >= wanted_lines:
        data = b"".join(line + b"\n" for line in data.split(b"\n", wanted_lines)[:wanted_lines])
    origin = Origin(wanted.path, first, start, onward=True, last=wanted.to_line)
    return _format_part(data, origin, total)


def _read_from_byte(handle: BufferedReader, wanted: ReadFile, total: int) -> str:
    start = wanted.from_byte or 0
    if start >= total:
        raise ToolError(f"{cell(wanted.path)} has {plural(total, 'byte')}; from_byte is {start}", hint="begin earlier")
    handle.seek(start)
    data = handle.read(SHOWN_BYTES + 4)
    skipped = next((place for place in range(4) if data[place : place + 1] < b"\x80" or data[place] >= 0xC0), 0)
    start, data = start + skipped, data[skipped : skipped + SHOWN_BYTES + 1]
    return _format_part(data, Origin(wanted.path, None, start, onward=True), total)


def _format_part(data: bytes, origin: Origin, total: int) -> str:
    """Return a part of a file for reading, cut where it is too long."""
    end = len(data) if len(data) <= SHOWN_BYTES else end_of_character(data, SHOWN_BYTES)
    if looks_binary(data[:end]):
        return f"<binary, {total} bytes>"
    text = data[:end].decode(errors="backslashreplace")
    exact = _is_exact(data[:end], text)
    if end < len(data):
        text = split_text(data, origin).cut(SHOWN_BYTES)
    text = text.removesuffix("\n")
    return Excerpt.of(text, origin) if exact else text


def _read_ends(handle: BufferedReader, path: str, total: int) -> str:
    """Return the head and tail of a file that is too long to show, with the call that reads on in the middle."""
    half = SHOWN_BYTES // 2
    data = handle.read(half + 1)
    head = _to_line_end(data[: end_of_character(data, half)])
    handle.seek(total - half)
    tail = handle.read(half)
    newline = tail.find(b"\n") + 1
    begun = 0 < newline < len(tail)
    tail = tail[newline:] if begun else tail[len(tail) - len(tail.lstrip(_CONTINUES)) :]
    if looks_binary(head) or looks_binary(tail):
        return f"<binary, {total} bytes>"
    characters, newlines = _count_between(handle, len(head), total - len(tail))
    before = head.count(b"\n")
    to = before + newlines + (not begun)
    lines = before + newlines + tail.count(b"\n") + (not tail.endswith(b"\n"))
    raw = len(head) + len(tail)
    head, tail = (part.decode("utf-8", "backslashreplace").encode() for part in (head, tail))
    byte = None if head.endswith(b"\n") or len(head) + len(tail) > raw else len(head)
    found = SplitText(head, tail, Origin(path), characters, before + 1, to, lines, byte, begun)
    shown = found._replace(span=max(1, before)).cut(SHOWN_BYTES + _MARK_BYTES)  # in steps as large as what is shown
    return Excerpt.of(shown.removesuffix("\n"), found.origin, found)


def _count_between(handle: BufferedReader, start: int, end: int) -> tuple[int, int]:
    """Return the number of characters and of line ends between two places, in bounded memory."""
    handle.seek(start)
    characters, newlines = 0, 0
    while start < end and (block := handle.read(min(_BLOCK, end - start))):
        characters += len(block.translate(None, _CONTINUES))
        newlines += block.count(b"\n")
        start += len(block)
        anyio.from_thread.check_cancelled()
    return characters, newlines


def _is_exact(data: bytes, text: str) -> bool:
    """Return whether offsets in the text equal offsets in the file."""
    return text.encode("utf-8", "surrogatepass") == data


def line_start(handle: BufferedReader, line: int) -> int | None:
    """Return the byte offset of a line (from 1), in bounded memory; None if there is no such line."""
    handle.seek(0)
    missing, at = line - 1, 0
    for block in iter(lambda: handle.read(_BLOCK), b""):
        here = block.count(b"\n") if missing else 0
        if missing <= here:
            place = -1
            for _ in range(missing):
                place = block.index(b"\n", place + 1)
            if at + place + 1 < at + len(block) or handle.peek(1):
                return at + place + 1
            return None
        missing, at = missing - here, at + len(block)
        anyio.from_thread.check_cancelled()
    return None


def read_whole(handle: BufferedReader) -> str:
    """Return a file's text, without the middle if it is too long to show; undecodable bytes become surrogates."""
    head = handle.read(SHOWN_BYTES + 1)
    if len(head) <= SHOWN_BYTES:
        return _text(head).removesuffix("\n")
    total = handle.seek(0, os.SEEK_END)
    head = _to_line_end(head[: SHOWN_BYTES // 2])
    handle.seek(max(len(head), total - SHOWN_BYTES // 2))
    tail = handle.read(SHOWN_BYTES // 2)
    tail = tail[tail.find(b"\n") + 1 :] or tail
    left = max(0, total - len(head) - len(tail))
    go_on = head.count(b"\n") + 1
    mark = f"… {left:,} of {total:,} bytes left out: read on with from_line={go_on}, or search it …"
    return f"{_text(head).rstrip()}\n{mark}\n{_text(tail)}".removesuffix("\n")


def first_lines(handle: BufferedReader, count: int) -> str:
    """Return the first ``count`` lines, at most ``SHOWN_BYTES`` of them, with a note if they were cut."""
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
    """Count lines in bounded memory; a last line without a newline counts, too."""
    lines, last = 0, b"\n"
    for block in iter(lambda: handle.read(_BLOCK), b""):
        lines, last = lines + block.count(b"\n"), block[-1:]
        anyio.from_thread.check_cancelled()
    return lines + (last != b"\n")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _to_line_end(data: bytes) -> bytes:
    return data[: data.rfind(b"\n") + 1] or data
