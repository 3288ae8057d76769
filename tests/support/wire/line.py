"""One TCP connection and HTTP/1.1 on it, near enough to the socket to misbehave in every way."""

from __future__ import annotations

import math
import select
import socket
import struct
import time
from contextlib import suppress
from http import HTTPStatus
from typing import BinaryIO, NamedTuple, cast

MOST_BODY = 64 * 1024 * 1024


class ClientGone(Exception):
    """The other side closed before the end."""


class Came(NamedTuple):
    """One request as it stood on the wire; header names are in lower case, the query is cut off the path."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    last: bool


class Line:
    """A connection to one client."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._file = cast("BinaryIO", sock.makefile("rb"))
        self._chunked = False
        self.interrupted = False

    def read(self) -> Came | None:
        """Wait for the next request; None if there is none."""
        try:
            words = self._file.readline(65536).decode("latin-1").split()
            if len(words) != 3:
                return None
            headers = self._headers()
            if headers.get("expect", "").lower() == "100-continue":
                self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
            raw = self._body(headers)
        except (OSError, ValueError, ClientGone):
            return None
        last = words[2] == "HTTP/1.0" or headers.get("connection", "").lower() == "close"
        return Came(words[0], words[1].partition("?")[0], headers, raw, last)

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        while line := self._file.readline(65536).rstrip(b"\r\n"):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        return headers

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return self._exactly(int(headers.get("content-length", "0")))
        parts = []
        while size := int(self._file.readline(1024).split(b";")[0], 16):
            parts.append(self._exactly(size))
            self._file.readline(8)
        self._headers()  # what trails
        return b"".join(parts)

    def _exactly(self, size: int) -> bytes:
        if not 0 <= size <= MOST_BODY:
            raise ValueError("a body of that size is not read")
        raw = self._file.read(size)
        if len(raw) < size:
            raise ClientGone
        return raw

    def open(
        self, status: int, kind: str, headers: tuple[tuple[str, str], ...] = (), length: int | None = None
    ) -> None:
        """Send the status line and the headers; without ``length`` the body will be chunked."""
        self._chunked = length is None
        known = {item.value: item.phrase for item in HTTPStatus}
        lines = [f"HTTP/1.1 {status} {known.get(status, 'Overloaded')}", f"content-type: {kind}"]
        lines.append("transfer-encoding: chunked" if length is None else f"content-length: {length}")
        lines += [f"{name}: {value}" for name, value in headers]
        self._send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def write(self, data: bytes, *, end: bool = False) -> None:
        """Send a part of the body; ``end`` goes out in the same write."""
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            data += b"0\r\n\r\n" if end else b""
        self._send(data)

    def _send(self, data: bytes) -> None:
        try:
            if data:
                self._sock.sendall(data)
        except OSError as exc:
            raise ClientGone from exc

    def watch(self, seconds: float | None) -> None:
        """Let time pass, for ever if None, while the client is there.

        Raises:
            ClientGone: The client has gone.
        """
        until = None if seconds is None else time.monotonic() + seconds
        while True:
            left = None if until is None else max(0.0, until - time.monotonic())
            try:
                coming = select.poll()  # not select, which ends at 1024 files
                coming.register(self._sock, select.POLLIN)
                ready = coming.poll(None if left is None else math.ceil(left * 1000))
                if ready and not self._sock.recv(1, socket.MSG_PEEK):
                    raise ClientGone
            except (OSError, ValueError) as exc:
                raise ClientGone from exc
            if not ready or left == 0:
                return
            time.sleep(min(0.005, left or 0.005))  # it has sent its next request already: look again

    def interrupt(self) -> None:
        """End the conversation from another thread: whoever waits on it wakes."""
        self.interrupted = True
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Make ``close`` send a reset instead of an orderly end."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def close(self) -> None:
        """Give the socket back."""
        self._file.close()
        self._sock.close()
