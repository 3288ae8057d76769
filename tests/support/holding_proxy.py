"""A proxy that holds the first byte of each chat answer back: what a server looks like that loads its model."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

_CHATS = (b"/chat/completions", b"/api/chat", b"/messages")


class HoldingProxy:
    """Passes connections on to ``url``; the answer to a chat request begins ``hold_s`` seconds late, and ends its
    connection: llama.cpp closes one that it said it would keep, which a proxy learns too late.

    ``asked`` is how many chat requests came.
    """

    def __init__(self, url: str, hold_s: float) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._hold_s, self._over, self.asked = hold_s, threading.Event(), 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._server) as server:
            held = threading.Event()
            up = threading.Thread(target=self._send_up, args=(client, server, held), daemon=True)
            up.start()
            with suppress(OSError):
                while data := server.recv(65536):
                    if held.is_set():
                        held.clear()
                        self._over.wait(self._hold_s)
                        data = data.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
                    client.sendall(data)

    def _send_up(self, client: socket.socket, server: socket.socket, held: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                line = data.partition(b"\r\n")[0]
                if line.startswith(b"POST ") and any(chat in line for chat in _CHATS):
                    self.asked += 1
                    held.set()
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)
