"""A listener on loopback that records byte by byte what reached it, and how far a connection came."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

Talk = Callable[["Ear", socket.socket], None]


class Ear:
    """Accepts connections, keeps every byte that comes and answers as ``talk`` says.

    ``received`` is everything in order, ``reached`` is set by ``talk`` at the step that a test waits for. With
    ``accepts`` False the queue of connections is full: who connects waits.
    """

    def __init__(self, talk: Talk | None = None, *, accepts: bool = True) -> None:
        self._talk = talk or hold
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128 if accepts else 0)
        self._open: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.received, self.reached, self.closing = bytearray(), threading.Event(), threading.Event()
        self.connections = 0
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        if accepts:
            self._start(self._accept)
        else:
            self._fill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        for sock in (self._listener, *self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in tuple(self._threads):
            thread.join(5)
        for sock in (self._listener, *self._open):
            sock.close()

    @property
    def request(self) -> bytes:
        """The bytes of the model's request that arrived, without TLS handshakes and requests to a proxy."""
        at = self.received.find(b"POST ")
        return bytes(self.received[at:]) if at >= 0 else b""

    def wait(self, until: Callable[[], bool], seconds: float = 30.0) -> bool:
        """Wait until a condition holds; it is checked whenever bytes arrive."""
        with self._changed:
            return self._changed.wait_for(until, seconds)

    def take(self, sock: socket.socket) -> bytes:
        """Receive and keep what comes next, b"" at the end."""
        piece = sock.recv(65536)
        with self._changed:
            self.received += piece
            self._changed.notify_all()
        return piece

    def take_head(self, sock: socket.socket) -> None:
        """Receive the head of a request, and what came along with it."""
        start = len(self.received)
        while b"\r\n\r\n" not in self.received[start:] and self.take(sock):
            pass

    def take_request(self, sock: socket.socket) -> bytes:
        """Receive a whole request."""
        start = len(self.received)
        self.take_head(sock)
        head, _, body = bytes(self.received[start:]).partition(b"\r\n\r\n")
        length = next((int(one.split(b":")[1]) for one in head.lower().split(b"\r\n") if b"content-length" in one), 0)
        while len(body) < length and (piece := self.take(sock)):
            body += piece
        return body

    def take_rest(self, sock: socket.socket) -> None:
        """Receive until the other side closes."""
        while self.take(sock):
            pass

    def _start(self, work: Callable[..., None], *words: object) -> None:
        thread = threading.Thread(target=work, args=words, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                self._open.append(sock)
                self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        with suppress(OSError), sock:
            self._talk(self, sock)

    def _fill(self) -> None:
        """Take every place in the queue, so that the next connection is not answered."""
        for _ in range(8):
            waiting = socket.socket()
            self._open.append(waiting)
            waiting.setblocking(False)
            with suppress(BlockingIOError):
                waiting.connect(("127.0.0.1", self.port))


def hold(ear: Ear, sock: socket.socket) -> None:
    """Stay silent; the step is reached when the first bytes have arrived."""
    ear.take(sock)
    ear.reached.set()
    ear.take_rest(sock)


def read_nothing(ear: Ear, sock: socket.socket) -> None:
    """Read a first piece and then no more, so that a long request stays half sent; read the rest at the end."""
    ear.take(sock)
    ear.reached.set()
    ear.closing.wait(30)


def reset(sock: socket.socket) -> None:
    """Close a connection by a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def reset_early(ear: Ear, sock: socket.socket) -> None:
    """Reset the connection while the body of a long request is on its way."""
    ear.take(sock)
    ear.reached.set()
    reset(sock)


def reset_at_once(ear: Ear, sock: socket.socket) -> None:
    """Reset the connection before a byte is read."""
    ear.reached.set()
    reset(sock)


def close_after(ear: Ear, sock: socket.socket) -> None:
    """Read a whole request, and close without an answer."""
    ear.take_request(sock)
    ear.reached.set()


def proxy(*answer: bytes, then: Talk = hold) -> Talk:
    """Return a proxy that reads a CONNECT and gives ``answer``; without one it is silent."""

    def talk(ear: Ear, sock: socket.socket) -> None:
        ear.take_head(sock)
        ear.reached.set()
        if answer:
            sock.sendall(b"".join(answer))
            then(ear, sock)
        else:
            ear.take_rest(sock)

    return talk
