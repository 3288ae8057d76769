"""The messages of PostgreSQL's protocol, version 3, as far as the proxy must understand them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

PARSE, BIND, DESCRIBE, EXECUTE, SYNC, FLUSH, QUERY, TERMINATE = b"P", b"B", b"D", b"E", b"S", b"H", b"Q", b"X"
"""What a client sends."""
BIND_COMPLETE, COMMAND_COMPLETE, ERROR, READY = b"2", b"C", b"E", b"Z"
"""What a server answers."""
_TLS, _GSS = 80877103, 80877104


class Message(NamedTuple):
    """One message: its type (empty: the first of a connection), and its body."""

    kind: bytes
    body: bytes

    @property
    def whole(self) -> bytes:
        """The bytes on the wire."""
        return self.kind + struct.pack("!I", len(self.body) + 4) + self.body

    @property
    def sql(self) -> str:
        """The text of a statement that a client sends, else nothing."""
        if self.kind == QUERY:
            return self.body.rstrip(b"\0").decode()
        return self.body.split(b"\0")[1].decode() if self.kind == PARSE else ""

    @property
    def is_commit(self) -> bool:
        """Whether it is the statement that commits."""
        return self.sql.lstrip().upper().startswith(("COMMIT", "END"))

    @property
    def is_begin(self) -> bool:
        """Whether it is the statement that begins a transaction."""
        return self.sql.lstrip().upper().startswith(("BEGIN", "START TRANSACTION"))


def _exactly(sock: socket.socket, size: int) -> bytes:
    """Read ``size`` bytes, or raise EOFError."""
    read = bytearray()
    while len(read) < size:
        if not (piece := sock.recv(size - len(read))):
            raise EOFError
        read += piece
    return bytes(read)


def first_message(client: socket.socket) -> Message:
    """Read the start-up message of a connection; a wish for encryption is declined."""
    while True:
        (size,) = struct.unpack("!I", _exactly(client, 4))
        body = _exactly(client, size - 4)
        if struct.unpack_from("!I", body)[0] not in (_TLS, _GSS):
            return Message(b"", body)
        client.sendall(b"N")


def messages(sock: socket.socket) -> Iterator[Message]:
    """Yield the messages that follow, until the connection ends."""
    while True:
        try:
            kind, size = struct.unpack("!cI", _exactly(sock, 5))
            yield Message(kind, _exactly(sock, size - 4))
        except (EOFError, OSError):
            return


def groups(sock: socket.socket) -> Iterator[list[Message]]:
    """Yield a client's messages in groups that end where it waits for an answer."""
    group: list[Message] = []
    for message in messages(sock):
        group.append(message)
        if message.kind not in (PARSE, BIND, DESCRIBE, EXECUTE, b"C"):
            yield group
            group = []
    if group:
        yield group
