"""A host on loopback that says exactly what a test wants, byte for byte, and remembers what it heard."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

LONG_S = 30


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
    """Return a whole answer; what is no bytes becomes JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(data)}", "Connection: close", *headers]
    return "\r\n".join([*head, "", ""]).encode() + data


class Host:
    """Answers by path, each connection in a thread of its own; a path that is not named gets 404.

    An answer is bytes, or a function that speaks by itself. ``left`` is set when a client lost patience.
    """

    def __init__(self, pages: Pages | None = None) -> None:
        self.heard: list[Heard] = []
        self.left = threading.Event()
        self.pages: dict[str, bytes | Tell] = dict(pages or {})
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._receive, daemon=True)]
        self._threads[0].start()

    @property
    def lines(self) -> list[str]:
        """The first lines of what came, without the version, in order."""
        return [heard.line.removesuffix(" HTTP/1.1") for heard in self.heard]

    def silence(self, client: socket.socket, heard: Heard) -> None:
        """Say nothing until the client goes, or for longer than anybody should wait."""
        client.settimeout(LONG_S)
        if not client.recv(1):
            self.left.set()

    def drip(self, data: bytes) -> Tell:
        """Return what says the bytes of ``data`` in turn, again and again, for as long as anybody listens."""

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
