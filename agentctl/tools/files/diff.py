"""Describe what writing a file would change: new or how many lines of which file, and the diff.

Old and new are compared as the file has them, and shown without secrets. A file that is binary, or too large to
compare, is said to be so.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from io import BufferedReader
from typing import NamedTuple

from agentctl.core.impact import Impact
from agentctl.core.redaction import Redactor
from agentctl.tools.tables import plural, size

MOST_COMPARED = 512 * 1024  # bytes of each text
_MOST_HASHED = 64 * 1024 * 1024
_MOST_LINES = 8_000
_MOST_MATCHED = 600  # lines
_MOST_SHOWN = 64 * 1024  # characters of a diff
_CONTEXT = 3  # unchanged lines around a change
NO_NEWLINE = "\\ no newline at the end"


class OldFile(NamedTuple):
    """A file that is to be replaced: its size, the beginning of its content, and what identifies the content."""

    size: int
    head: bytes
    identity: str


NO_FILE = OldFile(0, b"", "none")


def read_old(handle: BufferedReader) -> OldFile:
    """Read a file that is to be replaced. A very large one is identified by its times, not by its content."""
    status = os.fstat(handle.fileno())
    if status.st_size > _MOST_HASHED:
        identity = f"{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"
        return OldFile(status.st_size, handle.read(MOST_COMPARED + 1), identity)
    data = handle.read(_MOST_HASHED + 1)
    return OldFile(len(data), data[: MOST_COMPARED + 1], hashlib.sha256(data).hexdigest())


def write_impact(path: str, old: OldFile, new: bytes, *, redactor: Redactor | None = None) -> Impact:
    """Return the impact of writing ``new`` to ``path``, in place of ``old``."""
    pinned = {"old": old.identity}
    after = _lines(new.decode("utf-8", "replace"))
    if old is NO_FILE:
        lines = plural(len(after) - (after[-1:] == [NO_NEWLINE]), "line")
        return Impact(f"writes the new file {path}: {lines}, {size(len(new))}", pinned=pinned)
    sizes = f"{size(old.size)} become {size(len(new))}"
    text = _decode(old.head)
    if b"\0" in old.head or (text is None and old.size <= MOST_COMPARED):
        return Impact(f"replaces the binary file {path}: {sizes}", pinned=pinned)
    before = _lines(text or "")
    if max(old.size, len(new)) > MOST_COMPARED or max(len(before), len(after)) > _MOST_LINES:
        return Impact(f"replaces the file {path}, which is too large to compare: {sizes}", pinned=pinned)
    if before == after:
        return Impact(f"writes {path}: it stays as it is", pinned=pinned)
    changes = list(unified_diff(before, after))
    lines_of = Counter(line[0] for line in changes if line[1:] != NO_NEWLINE)
    diff = _bounded(changes)
    return Impact(
        f"writes {path} (+{lines_of['+']:,} -{lines_of['-']:,} lines, {sizes})",
        diff=diff if redactor is None else redactor.redact(diff),
        pinned=pinned,
    )


def unified_diff(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    """Yield the hunks of a unified diff, with the unchanged lines around each change.

    A change of more than ``_MOST_MATCHED`` lines, from its first to its last, is not matched line by line, as that
    takes time that grows with their square: it is shown as one replacement.
    """
    end = _changes(before, after)[::-1]
    while end:
        hunk = [end.pop()]
        while end and end[-1].old - hunk[-1].old_end <= 2 * _CONTEXT:
            hunk.append(end.pop())
        yield from _hunk(before, after, hunk)


class _Change(NamedTuple):
    """The lines ``old`` to ``old_end`` of one text are replaced by ``new`` to ``new_end`` of another."""

    old: int
    old_end: int
    new: int
    new_end: int


def _changes(before: Sequence[str], after: Sequence[str]) -> list[_Change]:
    shorter = min(len(before), len(after))
    start = next((place for place in range(shorter) if before[place] != after[place]), shorter)
    most = shorter - start
    end = next((count for count in range(most) if before[-1 - count] != after[-1 - count]), most)
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    if max(len(old), len(new)) > _MOST_MATCHED:
        return [_Change(start, start + len(old), start, start + len(new))]
    codes = difflib.SequenceMatcher(None, old, new).get_opcodes()
    return [_Change(*(start + place for place in places)) for tag, *places in codes if tag != "equal"]


def _hunk(before: Sequence[str], after: Sequence[str], changes: Sequence[_Change]) -> Iterator[str]:
    lead = min(_CONTEXT, changes[0].old)
    tail = min(_CONTEXT, len(before) - changes[-1].old_end)
    old, new = changes[0].old - lead, changes[0].new - lead
    old_lines, new_lines = changes[-1].old_end + tail - old, changes[-1].new_end + tail - new
    yield f"@@ -{_span(old, old_lines)} +{_span(new, new_lines)} @@"
    place = old
    for change in changes:
        yield from (f" {line}" for line in before[place : change.old])
        yield from (f"-{line}" for line in before[change.old : change.old_end])
        yield from (f"+{line}" for line in after[change.new : change.new_end])
        place = change.old_end
    yield from (f" {line}" for line in before[place : place + tail])


def _span(first: int, lines: int) -> str:
    """Return a range of lines as ``diff -u`` writes it: from 1, and one before an empty range."""
    return f"{first + (lines > 0)}" if lines == 1 else f"{first + (lines > 0)},{lines}"


def _bounded(lines: Sequence[str]) -> str:
    """Return the lines as one text of at most ``_MOST_SHOWN`` characters, with a mark that says what is left out."""
    used = 0
    for place, line in enumerate(lines):
        used += len(line) + 1
        if used > _MOST_SHOWN:
            return "\n".join([*lines[:place], f"\\ {plural(len(lines) - place, 'more line')} of the diff left out"])
    return "\n".join(lines)


def _decode(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _lines(text: str) -> list[str]:
    """Return the lines of a text; one without a newline at its end has a line that says so, as ``diff`` writes it."""
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else [*lines, NO_NEWLINE]
