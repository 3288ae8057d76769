"""JSON-RPC in lines over the pipes of a process: the transport of a stdio server, bounded in each direction.

A line may be long, but not endless. Lines that are no messages are skipped up to a bound, as some servers print their
logs to stdout. Answers that nobody waits for, second answers, and notifications that nothing reads are dropped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import (
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCRequest,
    JSONRPCResponse,
    jsonrpc_message_adapter,
)

MOST_LINE_BYTES = 16 * 1024 * 1024
_MOST_SKIPPED_LINES, _MOST_SKIPPED_BYTES = 1_000, 1024 * 1024
_MOST_DROPPED = 10_000  # answers and notifications that nobody waits for
_MOST_ASKED = 1_000  # requests of the server to us
_READ_NOTIFICATIONS = ("notifications/progress", "notifications/cancelled")
_WAITING = 64  # messages that may wait for a server that does not read

Streams = tuple[Any, Any]
"""The stream of messages from a server, and that to it; the SDK's own types of them are private."""


class ServerPipes(Protocol):
    """A process that a server runs in, as far as a transport needs it."""

    async def send(self, data: bytes) -> None:
        """Write to its stdin; raise BrokenResourceError when it is gone."""
        ...

    async def receive(self) -> bytes:
        """Return the next piece of its stdout, b"" at the end."""
        ...


@dataclass(slots=True)
class TransportNotes:
    """What a transport notes of its server: why it ended the connection, the lines it skipped, what it asked us."""

    fault: str = ""
    skipped: int = 0
    asked: set[str] = field(default_factory=set)


class _BrokenBound(Exception):
    pass


@asynccontextmanager
async def line_streams(pipes: ServerPipes, notes: TransportNotes) -> AsyncIterator[Streams]:
    """Yield the streams of messages from and to a process; they end when it does, or when it breaks a bound."""
    to_session, from_server = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    to_server, from_session = anyio.create_memory_object_stream[SessionMessage](_WAITING)
    lines = _Lines(notes)

    async def read() -> None:
        async with to_session:
            try:
                while piece := await pipes.receive():
                    for message in lines.take(piece):
                        await to_session.send(SessionMessage(message))
            except _BrokenBound as broken:
                notes.fault = str(broken)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass  # the session is gone

    async def write() -> None:
        async with from_session:
            async for item in from_session:
                lines.note_sent(item.message)
                text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
                try:
                    await pipes.send(text.encode() + b"\n")
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    await to_session.aclose()  # the session must not wait for an answer
                    return

    async with anyio.create_task_group() as group, from_server, to_server:
        group.start_soon(read)
        group.start_soon(write)
        try:
            yield from_server, to_server
        finally:
            group.cancel_scope.cancel()


class _Lines:
    """Puts lines together, and keeps the messages that somebody waits for."""

    def __init__(self, notes: TransportNotes) -> None:
        self._notes, self._rest = notes, bytearray()
        self._open: set[int | str] = set()
        self._skipped_bytes = self._dropped = self._asked = 0

    def note_sent(self, message: JSONRPCMessage) -> None:
        """Expect one answer to a request."""
        if isinstance(message, JSONRPCRequest):
            self._open.add(message.id)

    def take(self, piece: bytes) -> Collection[JSONRPCMessage]:
        """Return the messages that a piece completes.

        Raises:
            _BrokenBound: a line is too long, or too many are of no use.
        """
        if b"\n" not in piece:
            self._keep(piece)
            return ()
        first, *lines = piece.split(b"\n")
        self._keep(first)
        whole, last = (bytes(self._rest), *lines[:-1]), lines[-1]
        self._rest = bytearray(last)
        read = (self._read(line) for line in whole if line.strip())
        return [message for message in read if message is not None and self._is_awaited(message)]

    def _keep(self, piece: bytes) -> None:
        self._rest += piece
        if len(self._rest) > MOST_LINE_BYTES:
            raise _BrokenBound(f"it wrote a line of more than {MOST_LINE_BYTES // 1024 // 1024} MiB")

    def _read(self, line: bytes) -> JSONRPCMessage | None:
        try:
            return jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError:
            self._notes.skipped += 1
            self._skipped_bytes += len(line)
        if self._notes.skipped > _MOST_SKIPPED_LINES or self._skipped_bytes > _MOST_SKIPPED_BYTES:
            raise _BrokenBound("it writes other text than JSON-RPC to its stdout")
        return None

    def _is_awaited(self, message: JSONRPCMessage) -> bool:
        if isinstance(message, JSONRPCRequest):
            self._asked += 1
            if message.method != "ping":
                self._notes.asked.add(message.method[:80])
            if self._asked > _MOST_ASKED or len(self._notes.asked) > _MOST_ASKED:
                raise _BrokenBound("it asks without end")
            return True
        if isinstance(message, (JSONRPCResponse, JSONRPCError)):
            if message.id in self._open:
                self._open.discard(message.id)
                return True
        elif message.method in _READ_NOTIFICATIONS:
            return True
        self._dropped += 1
        if self._dropped > _MOST_DROPPED:
            raise _BrokenBound("it sends messages without end that nobody waits for")
        return False
