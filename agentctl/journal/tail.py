"""Read a journal as it grows: the whole lines since the last look, and whether its run still lives."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from agentctl.core.errors import StateError
from agentctl.journal.reader import is_locked, open_journal, parse_line
from agentctl.journal.writer import journal_error

_BLOCK = 256 * 1024


class JournalTail:
    """An open journal, read from its beginning; ``warn`` is told of lines that are broken, and of a removal.

    The file stays open, so that a journal that is removed or replaced meanwhile is read to its end.

    Raises:
        StateError: the journal cannot be opened.
    """

    def __init__(self, path: Path, *, warn: Callable[[str], None]) -> None:
        self.path = path
        self._warn = warn
        self._done = self._lines = 0  # bytes and lines that were read; half a line is read again
        self._is_removed = False
        try:
            self._file = open_journal(path)
        except OSError as exc:
            raise journal_error(exc, f"the journal {path} cannot be read") from exc

    @property
    def is_live(self) -> bool:
        """Whether the process of the run holds the lock of the journal."""
        return is_locked(self._file)

    def read(self) -> Iterator[dict[str, object]]:
        """Yield the records that were written whole since the last time.

        Raises:
            StateError: the journal cannot be read, or was cut to less than was read of it.
        """
        try:
            state = os.fstat(self._file)
            if not state.st_nlink and not self._is_removed:
                self._is_removed = True
                self._warn(f"{self.path} was removed; what is still written to it is shown")
            if state.st_size < self._done:
                raise StateError(
                    f"{self.path} was cut while it was read", hint="agentctl runs show   shows what is left"
                )
            if state.st_size > self._done:
                yield from self._read_lines()
        except OSError as exc:
            raise journal_error(exc, f"the journal {self.path} cannot be read") from exc

    def _read_lines(self) -> Iterator[dict[str, object]]:
        begun, place = [b""], self._done  # pieces of a line that is not whole
        while block := os.pread(self._file, _BLOCK, place):
            place += len(block)
            first, *others = block.split(b"\n")
            begun.append(first)
            if not others:
                continue
            whole = (b"".join(begun), *others[:-1])
            begun = [others[-1]]
            for line in whole:
                self._done += len(line) + 1
                self._lines += 1
                record = parse_line(line)
                if record is None:
                    self._warn(f"line {self._lines} of {self.path} is broken and was left out")
                else:
                    yield record

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
