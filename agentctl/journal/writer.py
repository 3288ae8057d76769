"""Write the journal of a run: each record as one line of JSON, on disk before the next step."""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Self, cast

import anyio
import anyio.to_thread

from agentctl.core.errors import StateError, UsageError
from agentctl.core.events import (
    AnswerReceived,
    AnswerStreamed,
    BreakerTripped,
    CallSent,
    CallUnsettled,
    ContextPruned,
    MessageAdded,
    Record,
    RunFinished,
    RunResumed,
    ToolDenied,
    ToolStarted,
)
from agentctl.core.files import hand_over, make_folder, sync_folder
from agentctl.core.redaction import redact
from agentctl.core.text import map_texts, replace_lone_escapes

ENDING = ".jsonl"
_sync = getattr(os, "fdatasync", os.fsync)
_SYNCED = (CallSent, AnswerReceived, CallUnsettled, ToolStarted, ToolDenied, BreakerTripped, RunFinished, RunResumed)
_RESTORED = (AnswerReceived, ContextPruned, MessageAdded)  # what a resumed conversation is made of


class Journal:
    """Writes the records of one run to ``<folder>/<run_id>.jsonl``; creates the file with the first one.

    The file is locked while the run lives, so that a reader can tell a running run from one that died. ``locked`` is
    the open and locked file of a run that is resumed (``lock.lock_journal``): nothing is written to it before
    ``RunResumed``, so that a run that cannot be resumed keeps its end.
    """

    def __init__(self, folder: Path, run_id: str, *, secrets: Iterable[str] = (), locked: int | None = None) -> None:
        if not run_id or run_id.startswith(".") or "/" in run_id or "\0" in run_id:
            raise UsageError(f"{run_id!r} cannot be the id of a run", hint="use letters, digits and hyphens")
        self.path = folder / f"{run_id}{ENDING}"
        self._secrets = tuple(secrets)
        self._file: int | None = None
        self._locked = locked
        self._closed = False
        self._turn = anyio.Lock(fast_acquire=True)

    async def observe(self, record: Record) -> None:
        """Write a record and return when it is on disk; pieces of an answer are skipped, as the whole answer follows.

        Raises:
            StateError: the disk is full or read-only, or the file already exists; no partial line is left behind.
        """
        if isinstance(record.event, AnswerStreamed) or self._is_early(record):
            return
        if not self._turn.locked() and not self._needs_thread(record):
            self._write(record)  # nothing is awaited, so no cancellation and no other record can come between
            return
        # Each record is written at once; it is synced, with all before it, before the next external step, and at the
        # end. In a thread: a sync takes 0.2 ms here but seconds on a busy disk, while screens and streams must go on.
        # Shielded: a cancelled run still has every record whose writing began.
        with anyio.CancelScope(shield=True):
            async with self._turn:
                if self._needs_thread(record):
                    await anyio.to_thread.run_sync(self._write, record)
                else:
                    self._write(record)

    def _is_early(self, record: Record) -> bool:
        return self._locked is not None and self._file is None and not isinstance(record.event, RunResumed)

    def _needs_thread(self, record: Record) -> bool:
        return self._file is None or isinstance(record.event, _SYNCED)

    def _write(self, record: Record) -> None:
        # redacted before it is encoded as JSON, where secrets are spelled differently
        whole = encode_record(record)
        document = map_texts(whole, lambda text: redact(text, self._secrets))
        if isinstance(record.event, _RESTORED) and document != whole:
            document = {**cast("dict[str, object]", document), "redacted": True}
        encoded = json.dumps(document, separators=(",", ":"))
        line = replace_lone_escapes(encoded).encode("ascii") + b"\n"
        try:
            if self._file is None:
                self._file = self._open()
            size = os.fstat(self._file).st_size
            try:
                written = os.write(self._file, line)
                while written < len(line):  # the disk is full; the next record reports it
                    written += os.write(self._file, line[written:])
                if isinstance(record.event, _SYNCED):
                    _sync(self._file)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(self._file, size)
                raise
        except OSError as exc:
            raise journal_error(exc, f"the journal {self.path} cannot be written") from exc

    def _open(self) -> int:
        if self._closed:
            raise OSError(errno.EBADF, "it is closed")
        if self._locked is not None:
            cut_half_line(self._locked)
            return self._locked
        folder = self.path.parent
        make_folder(folder)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(self.path, flags, 0o600)
        hand_over(file, folder)
        for _ in range(50):  # a reader may be checking the lock at this moment
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(0.001)
        sync_folder(folder)  # sync the name of the file, too
        return file

    async def aclose(self) -> None:
        """Close the file; readers then see that the run is over."""
        self._closed = True
        file, self._file, self._locked = self._file if self._locked is None else self._locked, None, None
        if file is not None:
            os.close(file)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def encode_record(record: Record) -> dict[str, object]:
    """Encode a record as a JSON object: event, run_id, seq, at, then the event's own fields.

    Times are UTC with a Z, Decimals are strings, numbers that are not finite are null.
    """
    kind: type = type(record.event)
    event = encode_value(record.event)
    assert isinstance(event, dict)  # noqa: S101 - every event has fields
    return {
        "event": event_name(kind),
        "run_id": record.run_id,
        "seq": record.seq,
        "at": encode_value(record.at),
        **event,
    }


@cache
def event_name(kind: type) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind.__name__).removeprefix("_")


@cache
def _field_names(kind: type) -> tuple[str, ...]:
    named: tuple[str, ...] | None = getattr(kind, "_fields", None)
    return tuple(field.name for field in fields(kind)) if named is None else named


def encode_value(value: object) -> object:
    """Encode a value of an event as JSON values."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        at = value if value.tzinfo else value.replace(tzinfo=UTC)
        return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if is_dataclass(value) or hasattr(value, "_fields"):
        kind: type = type(value)
        return {name: encode_value(getattr(value, name)) for name in _field_names(kind)}
    if isinstance(value, Mapping):
        return {str(key): encode_value(item) for key, item in value.items()}
    if isinstance(value, (tuple, list, set, frozenset)):
        return [encode_value(item) for item in value]
    return str(value)  # Decimal, Path


def cut_half_line(file: int) -> None:
    """Cut off the end of a journal behind its last whole line: its writer was killed there."""
    end, block = os.fstat(file).st_size, 16 * 1024
    start = end
    while start:
        size = min(block, start)
        start -= size
        place = os.pread(file, size, start).rfind(b"\n")
        if place >= 0:
            start += place + 1
            break
    if start != end:
        os.ftruncate(file, start)


def journal_error(error: OSError, what: str) -> StateError:
    """Return the error for a write failure, with the hint for its errno."""
    hints = {
        errno.ENOSPC: "free some space there, or set AGENTCTL_STATE_DIR to a folder on another disk",
        errno.EDQUOT: "free some space there, or set AGENTCTL_STATE_DIR to a folder on another disk",
        errno.EFBIG: "raise `ulimit -f`",
        errno.EEXIST: "move the file or folder that has this name, or set AGENTCTL_STATE_DIR",
        errno.ENOENT: "agentctl runs list   shows the runs",
    }
    reason = (error.strerror or str(error)).lower()
    hint = hints.get(error.errno or 0, "set AGENTCTL_STATE_DIR to a writable folder of yours")
    return StateError(f"{what}: {reason}", hint=hint)
