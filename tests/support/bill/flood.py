"""A server that answers every request with bytes without end, or with none, and counts who came."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Self

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"


def chunked(body: Iterable[bytes], *headers: bytes) -> Iterator[bytes]:
    """Yield the head of an answer and each piece of its body."""
    yield HEAD + b"".join(header + b"\r\n" for header in headers) + b"transfer-encoding: chunked\r\n\r\n"
    for piece in body:
        yield b"%x\r\n%b\r\n" % (len(piece), piece)


class FloodServer:
    """Reads a request on each connection, then writes what ``answer`` yields until the client is gone.

    ``requests`` are the heads of the requests, ``written`` counts bytes, ``gone`` the clients that hung up.
    """

    def __init__(self, answer: Callable[[], Iterable[bytes]] = tuple) -> None:
        self._answer = answer
        self._changed = threading.Condition()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._receive, daemon=True)]
        self.requests: list[bytes] = []
        self.connections = self.written = self.gone = 0
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._listener, *self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in tuple(self._threads):
            thread.join(5)
        self._listener.close()

    def everyone_left(self, seconds: float = 5.0) -> bool:
        """Wait until every client has hung up."""
        with self._changed:
            return self._changed.wait_for(lambda: self.gone == self.connections, seconds)

    def _receive(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                self._open.append(sock)
                self._threads.append(threading.Thread(target=self._talk, args=(sock,), daemon=True))
                self._threads[-1].start()

    def _talk(self, sock: socket.socket) -> None:
        with suppress(OSError, ValueError), sock:
            self.requests.append(_read(sock))
            for piece in self._answer():
                sock.sendall(piece)
                self.written += len(piece)
            while sock.recv(65536):
                pass
        with self._changed:
            self.gone += 1
            self._changed.notify_all()


def _read(sock: socket.socket) -> bytes:
    """Return the head of a request whose body was read, too."""
    said = b""
    while b"\r\n\r\n" not in said:
        piece = sock.recv(65536)
        if not piece:
            raise ValueError("nobody asked anything")
        said += piece
    head, _, body = said.partition(b"\r\n\r\n")
    lengths = [line.partition(b":")[2] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    left = int(lengths[0] if lengths else 0) - len(body)
    while left > 0:
        left -= len(sock.recv(65536))
    return head
