"""A host on loopback that sends scripted bytes and records each request."""

from __future__ import annotations

import itertools
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Self

LONG_S = 30
#: To be tried in turn: on a machine under load the first may be over before the client has connected.
PATIENCES_S = (0.3, 3.0, LONG_S / 2)


@dataclass(frozen=True, slots=True)
class Heard:
    """One request as it came; header names in lower case."""

    line: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        return self.line.split(" ")[1].partition("?")[0]


Tell = Callable[[socket.socket, Heard], None]
Pages = Mapping[str, bytes | Tell]


def page(body: object = b"", status: str = "200 OK", *headers: str) -> bytes:
    """Return a whole HTTP response; a body that is not bytes becomes JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(data)}", "Connection: close", *headers]
    return "\r\n".join([*head, "", ""]).encode() + data


def tunnel(port: int) -> Tell:
    """Return a proxy's answer to CONNECT, whatever host it names: a tunnel to a port of this one."""

    def relay(client: socket.socket, heard: Heard) -> None:
        with socket.create_connection(("127.0.0.1", port)) as host:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            there = threading.Thread(target=_copy, args=(client, host), daemon=True)
            there.start()
            _copy(host, client)
            there.join()

    return relay


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


class Host:
    """Answers by path, each connection in a thread of its own; a path that is not named gets 404.

    An answer is bytes, or a function that writes to the socket. ``left`` is set when a client timed out.
    """

    def __init__(
        self, pages: Pages | None = None, *, tls: ssl.SSLContext | None = None, address: str = "127.0.0.1"
    ) -> None:
        self.heard: list[Heard] = []
        self.left = threading.Event()
        self.pages: dict[str, bytes | Tell] = dict(pages or {})
        self._over = threading.Event()
        self._tls = tls
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, 0), family=family, backlog=64)
        self.port: int = self._listener.getsockname()[1]
        host = f"[{address}]" if ":" in address else address
        self.url = f"{'https' if tls else 'http'}://{host}:{self.port}"
        self._threads = [threading.Thread(target=self._receive, daemon=True)]
        self._threads[0].start()

    @property
    def lines(self) -> list[str]:
        """The first lines of what came, without the version, in order."""
        return [heard.line.removesuffix(" HTTP/1.1") for heard in self.heard]

    def silence(self, client: socket.socket, heard: Heard) -> None:
        """Send nothing until the client closes, or for longer than any timeout."""
        client.settimeout(LONG_S)
        if not client.recv(1):
            self.left.set()

    def drip(self, data: bytes) -> Tell:
        """Return a function that sends the bytes of ``data`` one by one, over and over, until the client closes."""

        def speak(client: socket.socket, heard: Heard) -> None:
            until = time.monotonic() + LONG_S
            for byte in itertools.cycle(data):
                if self._over.wait(0.001) or time.monotonic() > until:
                    return
                try:
                    client.sendall(bytes([byte]))
                except OSError:
                    self.left.set()
                    return

        return speak

    def _receive(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._answer, args=(client,), daemon=True))
            self._threads[-1].start()

    def _answer(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            if self._tls is None:
                self._talk(client)
                return
            with self._tls.wrap_socket(client, server_side=True) as secured:
                self._talk(secured)

    def _talk(self, client: socket.socket) -> None:
        heard = _read(client)
        if heard is None:
            return
        self.heard.append(heard)
        answer = self.pages.get(heard.path, page({}, "404 Not Found"))
        if isinstance(answer, bytes):
            client.sendall(answer)
        else:
            answer(client, heard)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


def _read(client: socket.socket) -> Heard | None:
    with client.makefile("rb") as stream:
        line = stream.readline().decode("latin-1").strip()
        headers = {}
        while (field := stream.readline().decode("latin-1").strip()) != "":
            name, _, value = field.partition(":")
            headers[name.lower()] = value.strip()
        body = stream.read(int(headers.get("content-length", "0")))
    return Heard(line, headers, body) if line else None


@contextmanager
def server_without_tls() -> Iterator[str]:
    """Answer one request with 400, in plain HTTP, and yield the server's address as https."""

    def answer() -> None:
        client, _ = listener.accept()
        with client:
            client.recv(65536)
            client.sendall(page(b"", "400 Bad Request"))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answer, daemon=True).start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
