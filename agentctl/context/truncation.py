"""The mark in a truncated text: what is left out, and which call reads the rest. Pure.

A text that is cut again gets a mark that still names the place of the full text.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple, Self

_PATH = r'("(?:[^"\\\n]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")'
_NUMBER = r"([0-9][0-9,]{0,19})"
_MARK = (  # compiled on first use: most texts have no mark
    rf"(?:\A|\n)\[\.\.\. (?:{_NUMBER} characters, lines {_NUMBER} to {_NUMBER} of {_NUMBER},"
    r" are left out here|(the rest is left out here)|cut here); "
    rf"(?:read_file\(path={_PATH}(?:, from_line=([0-9]{{1,15}}))?(?:, to_line=([0-9]{{1,15}}))?"
    rf"(?:, from_byte=([0-9]{{1,18}}))?\)(?: reads on)?|{_PATH} has all of it) \.\.\.\](?:\n|\Z)"
)
_PLAIN = b"\n[... the middle is cut here ...]\n"
_CONTINUES = range(0x80, 0xC0)  # the later bytes of a UTF-8 character
_SPARE = 12  # bytes by which a mark may grow when its numbers do


class Origin(NamedTuple):
    """Where a text can be read in full: ``path`` as ``read_file`` takes it (``readable``: that tool is offered).

    The text begins there at ``line`` (from 1; None: not counted) and ``byte`` (from 0). ``onward``: it continues there
    after its end, up to line ``last`` if that was requested, and is cut at its end, not in its middle.
    """

    path: str
    line: int | None = 1
    byte: int = 0
    onward: bool = False
    last: int | None = None
    readable: bool = True


class Excerpt(str):
    """A tool's text that is also in a file, unchanged, where the rest can be read.

    ``halves`` is set if its middle is left out already.
    """

    __slots__ = ("halves", "origin")
    origin: Origin
    halves: SplitText | None

    @classmethod
    def of(cls, text: str, origin: Origin, halves: SplitText | None = None) -> Self:
        """Return ``text`` with its origin."""
        found = cls(text)
        found.origin, found.halves = origin, halves
        return found


class SplitText(NamedTuple):
    """A text in two parts, with lines ``line`` to ``to`` of ``lines`` left out between them, now or later.

    ``byte`` is where the omission begins in the file, if that is within a line. ``begun``: the tail begins with a line.
    ``span`` lines of it are read at once (0: as many as fit), ``last`` is the last requested line. Without ``numbered``
    only the file is known.
    """

    head: bytes
    tail: bytes
    origin: Origin
    characters: int = 0
    line: int | None = None
    to: int = 0
    lines: int = 0
    byte: int | None = None
    begun: bool = False
    span: int = 0
    numbered: bool = True

    def cut(self, most: int) -> str:
        """Return the text cut to at most ``most`` bytes (if they have room for a mark), with a new mark."""
        full = self.numbered
        mark = self._mark(full=full)
        if full and 2 * (len(mark) + _SPARE) > most:
            full, mark = False, self._mark(full=False)
        if len(mark) > most:
            mark = _PLAIN
        spare = _SPARE
        text = self._assemble(mark, most - len(mark) - spare, full=full, most=most)
        while (over := len(text) - most) > 0 and spare < most:  # its numbers needed more than the spare bytes
            spare += 2 * over
            text = self._assemble(mark, most - len(mark) - spare, full=full, most=most)
        return text.decode("utf-8", "backslashreplace")

    def _assemble(self, mark: bytes, room: int, *, full: bool, most: int) -> bytes:
        """Return head, mark and tail, with ``room`` bytes for head and tail; a ``full`` mark has the exact numbers."""
        room = max(0, room)
        head, ended = _head(self.head, room - min(len(self.tail), room // 2))
        if not ended and self.head[len(head) : len(head) + 1] == b"\n":
            head, ended = head + b"\n", True  # the line is complete, and the mark begins with that newline
        tail, begun = _tail(self.tail, room - len(head)) if self.tail else (b"", True)
        if head == self.head:
            ended = self.byte is None
        if tail == self.tail:
            begun = self.begun
        if full:
            mark = self._shrink(head, tail, ended=ended, begun=begun, most=most)._mark(full=True)
        if not head or head.endswith(b"\n"):
            mark = mark[1:]
        return b"".join((head, mark, tail))

    def _shrink(self, head: bytes, tail: bytes, *, ended: bool, begun: bool, most: int) -> SplitText:
        """Return the split with a shorter head and tail; the lost text is left out, too."""
        before, behind = self.head[len(head) :], self.tail[: len(self.tail) - len(tail)]
        line = None if self.line is None else self.line - before.count(b"\n")
        byte = None if self.byte is None else self.byte - len(before)
        return self._replace(
            characters=self.characters + _characters(before) + _characters(behind),
            line=line,
            to=self.to + behind.count(b"\n") + self.begun - begun if tail else self.lines,
            byte=None if ended and line is not None else byte,
            span=self.span or max(1, (before + behind)[: most * 7 // 8].count(b"\n")),
        )

    def _mark(self, *, full: bool) -> bytes:
        """Return the mark at the place of the cut: what is left out (if ``full``), and how to read it."""
        path = json.dumps(self.origin.path, ensure_ascii=False)
        what, where = "cut here", ""
        if full and self.origin.onward:
            what = "the rest is left out here"
        elif full:
            first = self.line or 1
            lines = f"lines {first:,} to {max(first, self.to):,} of {self.lines:,}"
            what = f"{self.characters:,} characters, {lines}, are left out here"
        if full and self.byte is not None:
            where = f", from_byte={self.byte}"
        elif full and self.line is not None:
            last = self.origin.last if self.origin.onward else min(self.line + self.span - 1, max(self.line, self.to))
            where = f", from_line={self.line}" + ("" if last is None else f", to_line={last}")
        how = f"read_file(path={path}{where})" + (" reads on" if full else "")
        return f"\n[... {what}; {how if self.origin.readable else f'{path} has all of it'} ...]\n".encode(
            "utf-8", "backslashreplace"
        )


def split_text(text: str | bytes, origin: Origin) -> SplitText:
    """Split a text (or the bytes of a file) in the middle, to be cut there; nothing is left out yet."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace")
    lines = data.count(b"\n") + (not data.endswith(b"\n"))
    middle = len(data) if origin.onward else end_of_character(data, len(data) // 2)
    line = None if origin.line is None else origin.line + data.count(b"\n", 0, middle)
    return SplitText(data[:middle], data[middle:], origin, 0, line, line or 0, lines, origin.byte + middle)


def find_mark(text: str) -> SplitText | None:
    """Find the mark of a text that was cut, and return the parts around it; None if there is none.

    Of several (a text may quote others) it is the one at its end, else the one in its middle.
    """
    marks = list(re.finditer(_MARK, text)) if "[... " in text else []
    if not marks:
        return None
    found = min(marks, key=lambda mark: 0 if mark.end() == len(text) else abs(mark.start() + mark.end() - len(text)))
    characters, line, to, lines, onward, path, from_line, to_line, from_byte, all_of_it = found.groups()
    first = _number(from_line) or _number(line)
    last = _number(to_line)
    start = found.start()
    if byte_less := from_byte is None and start > 0:
        start += 1  # the newline is the head's own: it ends with a line
    origin = Origin(
        json.loads(path or all_of_it, strict=False),
        onward=onward is not None,
        last=last if onward else None,
        readable=path is not None,
    )
    return SplitText(
        text[:start].encode("utf-8", "backslashreplace"),
        text[found.end() :].encode("utf-8", "backslashreplace"),
        origin,
        _number(characters) or 0,
        first,
        _number(to) or 0,
        _number(lines) or 0,
        _number(from_byte),
        byte_less,
        1 if last is None or first is None else max(1, last - first + 1),
        characters is not None or onward is not None,
    )


def _number(digits: str | None) -> int | None:
    return None if digits is None else int(digits.replace(",", ""))


def _characters(data: bytes) -> int:
    return len(data.decode("utf-8", "replace"))


def _head(data: bytes, most: int) -> tuple[bytes, bool]:
    """Return the beginning of ``data``, and whether it ends at the end of a line; it does if lines are short."""
    if most <= 0:
        return b"", True
    piece = data[: end_of_character(data, most)]
    whole = piece.rfind(b"\n") + 1
    return (piece[:whole], True) if 2 * whole >= len(piece) else (piece, False)


def _tail(data: bytes, most: int) -> tuple[bytes, bool]:
    """Return the end of ``data``, and whether it begins at the start of a line; it does if lines are short."""
    if most <= 0:
        return b"", True
    start = max(0, len(data) - most)
    while start < len(data) and data[start] in _CONTINUES:
        start += 1
    newline = data.find(b"\n", start - 1 if start else 0) + 1
    return (data[newline:], True) if 0 < newline <= (start + len(data)) // 2 else (data[start:], False)


def end_of_character(data: bytes, end: int) -> int:
    """Return the last place up to ``end`` that does not split a character."""
    end = min(max(0, end), len(data))
    while 0 < end < len(data) and data[end] in _CONTINUES:
        end -= 1
    return end
