"""Keep the head and the tail of a command's output in bounded memory, and recognise binary data."""

from __future__ import annotations

import os
from pathlib import Path

HEAD_BYTES = 32 * 1024
TAIL_BYTES = 64 * 1024
MORE = (1024 * 1024, 3 * 1024 * 1024)  # of head and tail, if the part that a model is not shown is kept for it
SPOOL_BYTES = 64 * 1024 * 1024
_SNIFFED_BYTES = 8192
_CONTROLS = bytes({*range(1, 32), 127} - {*b"\b\t\n\v\f\r\x1b"})  # bytes that no text has, besides NUL
_CONTINUES = range(0x80, 0xC0)  # continuation bytes of a UTF-8 character


def looks_binary(data: bytes) -> bool:
    """Return whether the first bytes of ``data`` are binary: a substantial share of them cannot be part of a text.

    A few NUL bytes, or NUL bytes between names, do not count: such text is shown with them escaped.
    """
    sample = data[:_SNIFFED_BYTES]
    nuls = sample.count(0)
    if nuls == 0:
        odd = 0 if _is_utf8(sample) else sum(byte < 9 or 13 < byte < 32 or byte > 126 for byte in sample)
        return odd > 0.3 * len(sample)
    controls = len(sample) - len(sample.translate(None, _CONTROLS))
    in_rows = sample.count(b"\0\0")  # as in padding and numbers; text has one between two names
    if 3 * nuls > len(sample) or 20 * controls > len(sample) or (20 * nuls > len(sample) and 4 * in_rows > nuls):
        return True
    strange = 0 if _is_utf8(sample) else len(sample) - len(sample.decode("utf-8", "ignore").encode())
    return 20 * strange > len(sample)


def _is_utf8(data: bytes) -> bool:
    """Return whether ``data`` is UTF-8; a character cut off at the end does not matter."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return True


class Output:
    """One stream in bounded memory: ``head`` bytes of its beginning, ``tail`` of its end."""

    def __init__(self, head: int = HEAD_BYTES, tail: int = TAIL_BYTES) -> None:
        self.total = 0
        self._most_head, self._most_tail = head, tail
        self._head = bytearray()
        self._tail = bytearray()

    def add(self, chunk: bytes) -> None:
        """Take the next piece."""
        self.total += len(chunk)
        room = self._most_head - len(self._head)
        if room > 0:
            self._head += chunk[:room]
            chunk = chunk[room:]
        self._tail += chunk[-self._most_tail :]
        if len(self._tail) > 2 * self._most_tail:
            del self._tail[: -self._most_tail]

    def text(self) -> tuple[str, int]:
        """Return the kept bytes as text, and the number of missing bytes.

        A byte that is not UTF-8, and NUL, is written ``\\xNN``; binary data with NUL bytes is replaced by its size.
        """
        if 0 in self._head[:_SNIFFED_BYTES] and looks_binary(bytes(self._head[:_SNIFFED_BYTES])):
            return f"<binary, {self.total} bytes>\n", self.total
        head, tail = bytes(self._head), bytes(self._tail[-self._most_tail :])
        if len(head) + len(tail) == self.total:
            return _text(head + tail), 0
        head, tail = _whole_at_end(head), _whole_at_start(tail)
        missing = self.total - len(head) - len(tail)
        return f"\n[... {missing} bytes left out ...]\n".join(map(_text, (head, tail))), missing

    def end_text(self) -> str:
        """Return the kept bytes of the end as text."""
        return _text(_whole_at_start(bytes(self._tail[-self._most_tail :])))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def _whole_at_end(piece: bytes) -> bytes:
    """Drop an incomplete character at the end."""
    for back in range(1, min(4, len(piece)) + 1):
        first = piece[-back]
        if first in _CONTINUES:
            continue
        needed = 4 if first >= 0xF0 else 3 if first >= 0xE0 else 2 if first >= 0xC0 else 1
        return piece[:-back] if needed > back else piece
    return piece


def _whole_at_start(piece: bytes) -> bytes:
    """Drop the rest of an incomplete character at the start."""
    start = 0
    while start < min(3, len(piece)) and piece[start] in _CONTINUES:
        start += 1
    return piece[start:]


class OutputFile:
    """A file that takes all output up to a limit, for reading later; newly created, readable only by its owner.

    Raises:
        OSError: the file exists or cannot be made.
    """

    def __init__(self, path: Path, *, cap: int = SPOOL_BYTES) -> None:
        self.path = path
        self.left_out = 0
        self._room = cap
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def add(self, chunk: bytes) -> None:
        """Write as much as fits; a full disk ends the writing, not the command."""
        taken = 0
        try:
            while taken < len(chunk) and self._room > 0:
                written = os.write(self._file, chunk[taken : taken + self._room])
                taken += written
                self._room -= written
        except OSError:
            self._room = 0
        self.left_out += len(chunk) - taken

    def close(self) -> None:
        """Close the file; its content stays."""
        os.close(self._file)
