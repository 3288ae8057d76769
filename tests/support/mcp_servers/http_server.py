"""MCP servers at an HTTP address of this machine: the SDK's own, with faults in front of it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import uvicorn
from mcp.server.mcpserver import MCPServer

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

KEY = "key-not-to-be-seen-123"


def _server() -> MCPServer:
    server = MCPServer("docs")

    @server.tool()
    def shout(text: str) -> str:
        """Say it in capital letters."""
        return text.upper()

    @server.tool()
    def large() -> str:
        """Return more than a client may take."""
        return "x" * 20_000_000

    return server


class FaultyApp:
    """The SDK's server; ``fault`` is what is wrong with the next requests: a status, "cut", "old" or "elsewhere".

    ``heard`` are the methods and headers of the requests.
    """

    def __init__(self, *, json_response: bool) -> None:
        self._app: App = _server().streamable_http_app(json_response=json_response)
        self.fault: int | str = ""
        self.target = ""
        self.heard: list[tuple[str, dict[str, str]]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.heard.append((scope["method"], headers))
        is_discovery = headers.get("mcp-method") == "server/discover"
        if self.fault == "old" and is_discovery:
            await _answer(send, 400)
        elif headers.get("authorization") != f"Bearer {KEY}":
            await _answer(send, 401)
        elif isinstance(self.fault, int):
            await _answer(send, self.fault)
        elif self.fault == "elsewhere":
            await _answer(send, 307, location=self.target)
        elif self.fault == "cut":
            length = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
            await send({"type": "http.response.start", "status": 200, "headers": length})
            await send({"type": "http.response.body", "body": b'{"jsonrpc": "2.0",', "more_body": True})
            raise ConnectionResetError
        else:
            await self._app(scope, receive, send)


async def _answer(send: Send, status: int, location: str = "") -> None:
    headers = [(b"location", location.encode())] if location else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


@contextmanager
def serving(*, json_response: bool = False) -> Iterator[tuple[str, FaultyApp]]:
    """Serve at an address of this machine; yield the URL."""
    app = FaultyApp(json_response=json_response)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="on", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/mcp", app
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listening.close()
