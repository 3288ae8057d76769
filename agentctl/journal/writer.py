"""Writing a journal: each record is on disk before the next step."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Self

import anyio
import anyio.to_thread

from agentctl.core.errors import UsageError
from agentctl.core.events import (
    AnswerStreamed,
    BreakerTripped,
    CallSent,
    CallUnsettled,
    Record,
    RunFinished,
    ToolDenied,
    ToolStarted,
)
from agentctl.core.files import hand_over, make_folder, sync_folder
from agentctl.journal.failures import state_error
from agentctl.journal.line import encode_record, redact_value

ENDING = ".jsonl"
_sync = getattr(os, "fdatasync", os.fsync)


_SYNCED = (CallSent, CallUnsettled, ToolStarted, ToolDenied, BreakerTripped, RunFinished)


class Journal:
    """Writes the records of one run to ``<folder>/<run_id>.jsonl``; makes nothing before the first one.

    The file is locked while the run lives, so that a reader can tell a run that goes on from one that died.
    """

    def __init__(self, folder: Path, run_id: str, *, secrets: Iterable[str] = ()) -> None:
        if not run_id or run_id.startswith(".") or "/" in run_id or "\0" in run_id:
            raise UsageError(f"{run_id!r} cannot be the id of a run", hint="use letters, digits and hyphens")
        self.path = folder / f"{run_id}{ENDING}"
        self._secrets = tuple(secrets)
        self._file: int | None = None
        self._closed = False
        self._turn = anyio.Lock(fast_acquire=True)

    async def observe(self, record: Record) -> None:
        """Write a record and return when it is on disk; pieces of an answer are left out, the whole follows them.

        Raises:
            StateError: the disk is full or read-only, or the file exists already; no half line is left behind.
        """
        if isinstance(record.event, AnswerStreamed):
            return
        # Each record is written at once; it is synced, with all before it, when a step outside follows, and at the end.
        # In a thread: a sync takes 0.2 ms here but seconds on a busy disk, while screens and streams must go on.
        # Shielded: a cancelled run still has every record that was begun.
        with anyio.CancelScope(shield=True):
            async with self._turn:
                if self._file is None or isinstance(record.event, _SYNCED):
                    await anyio.to_thread.run_sync(self._write, record)
                else:
                    self._write(record)

    def _write(self, record: Record) -> None:
        line = (
            json.dumps(redact_value(encode_record(record), self._secrets), separators=(",", ":")).encode("ascii")
            + b"\n"
        )
        try:
            if self._file is None:
                self._file = self._opened()
            size = os.fstat(self._file).st_size
            try:
                written = os.write(self._file, line)
                while written < len(line):  # the disk is full: the next one says so
                    written += os.write(self._file, line[written:])
                if isinstance(record.event, _SYNCED):
                    _sync(self._file)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(self._file, size)
                raise
        except OSError as exc:
            raise state_error(exc, f"the journal {self.path} cannot be written") from exc

    def _opened(self) -> int:
        if self._closed:
            raise OSError(errno.EBADF, "it is closed")
        folder = self.path.parent
        make_folder(folder)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(self.path, flags, 0o600)
        hand_over(file, folder)
        for _ in range(50):  # a reader may look at the lock at this moment
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(0.001)
        sync_folder(folder)  # the name of the file, too, is on disk
        return file

    async def aclose(self) -> None:
        """Close the file; readers then see a run that is over."""
        self._closed = True
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
