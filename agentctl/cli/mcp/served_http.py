"""Speak the Model Context Protocol over HTTP with hosts on this machine, which show a token.

Every request needs the token, and names this server by an address of the loopback interface: a page in a browser that
a foreign name leads here is refused, whatever it knows.
"""

from __future__ import annotations

import hmac
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import asynccontextmanager, nullcontext
from contextvars import ContextVar
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import anyio.to_thread

from agentctl.cli.mcp.served_stdio import make_server
from agentctl.cli.mcp.served_tools import ServedResult, ServedTools
from agentctl.core.errors import StateError, UsageError
from agentctl.settings.names import SERVE_TOKEN

PATH = "/mcp"
TOKEN_FILE = "mcp-serve.token"  # noqa: S105 - the name of a file
LEAST_TOKEN = 16

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class LoopbackAddress(NamedTuple):
    """A loopback address to listen at."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """Where hosts reach the server."""
        return f"http://{self._host}:{self.port}{PATH}"

    @property
    def names(self) -> frozenset[bytes]:
        """The values of ``Host`` that mean this server."""
        return frozenset(f"{host}:{self.port}".encode() for host in ("127.0.0.1", "localhost", "[::1]", self._host))

    @property
    def _host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def parse_address(text: str) -> LoopbackAddress:
    """Return the address of ``--http``: ``HOST:PORT``, or a port alone.

    Raises:
        UsageError: it is none, or other machines could reach it.
    """
    host, _, port = text.strip().rpartition(":")
    host = (host or "127.0.0.1").strip("[]")
    hint = "for example: --http 127.0.0.1:8765"
    if not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise UsageError(f'--http "{text[:80]}" is not HOST:PORT', hint=hint)
    try:
        is_own = ip_address("127.0.0.1" if host == "localhost" else host).is_loopback
    except ValueError:
        is_own = False
    if not is_own:
        raise UsageError(f"--http {host[:80]} is not an address of this machine alone", hint=hint)
    return LoopbackAddress("127.0.0.1" if host == "localhost" else host, int(port))


def read_token(given: str | None, state_dir: Path) -> tuple[str, str]:
    """Return the token and where it stands: the one that is given, else of a file which is made if it is missing.

    Raises:
        UsageError: the token is too short.
        StateError: the file cannot be read or written.
    """
    path = state_dir / TOKEN_FILE
    if given is not None:
        token, place = given.strip(), SERVE_TOKEN
    else:
        try:
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as made:  # noqa: PTH123
                    made.write(os.urandom(32).hex() + "\n")
            except FileExistsError:
                pass
            if path.stat().st_mode & 0o077:
                raise StateError(f"other users can read {path}", hint=f"chmod 600 {path}, or remove it")
            token, place = path.read_text(encoding="ascii").strip(), str(path)
        except (OSError, ValueError) as error:
            raise StateError(f"{path} cannot be used: {error}", hint=f"remove it, or set {SERVE_TOKEN}") from error
    if len(token) < LEAST_TOKEN or not token.isascii():
        raise UsageError(
            f"the token of {place} is shorter than {LEAST_TOKEN} ASCII characters", hint="use a longer one"
        )
    return token, place


class _HttpRequest:
    """A request that is under way, and the calls of tools that it made."""

    def __init__(self) -> None:
        self.scopes: set[anyio.CancelScope] = set()
        self.is_over = False

    def end(self) -> None:
        """Cancel its calls: the client that waited for them has left."""
        self.is_over = True
        for scope in self.scopes:
            scope.cancel()


_REQUEST: ContextVar[_HttpRequest] = ContextVar("the request of a call")


class _RequestTools:
    """The tools, each of whose calls ends with the connection that it came by."""

    def __init__(self, tools: ServedTools) -> None:
        self._tools, self.specs = tools, tools.specs

    async def call(self, name: str, given: Mapping[str, Any]) -> ServedResult:
        """Return the result of one call."""
        request = _REQUEST.get()
        with anyio.CancelScope() as scope:
            if request.is_over:
                scope.cancel()
            request.scopes.add(scope)
            try:
                return await self._tools.call(name, given)
            finally:
                request.scopes.discard(scope)
        return ServedResult(None, "the host has gone away")


class GuardedApp:
    """An ASGI app before which each request is checked; its calls end when the host closes the connection."""

    def __init__(self, app: App, token: str, address: LoopbackAddress) -> None:
        self._app, self._token, self._address = app, f"Bearer {token}".encode(), address

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        if status := self._refusal(scope["headers"]) or (0 if scope["path"] == PATH else 404):
            more = [(b"www-authenticate", b"Bearer")] if status == 401 else []
            await send({"type": "http.response.start", "status": status, "headers": more})
            await send({"type": "http.response.body", "body": b""})
            return
        request, gone = _HttpRequest(), anyio.Event()
        _REQUEST.set(request)
        pieces, piece = anyio.create_memory_object_stream[Message](0)

        async def pump() -> None:
            """Pass the body on as it comes, and see the end of the connection behind it."""
            async with pieces:
                while (message := await receive())["type"] != "http.disconnect":
                    await pieces.send(message)
                    if not message.get("more_body"):
                        break
            while (await receive())["type"] != "http.disconnect":
                pass
            request.end()
            gone.set()

        async def passed_on() -> Message:
            try:
                return await piece.receive()
            except anyio.EndOfStream:
                await gone.wait()
                return {"type": "http.disconnect"}

        try:
            async with anyio.create_task_group() as group:
                group.start_soon(pump)
                await self._app(scope, passed_on, send)
                group.cancel_scope.cancel()
        finally:
            piece.close()
            request.end()

    def _refusal(self, headers: Iterable[tuple[bytes, bytes]]) -> int:
        """Return the status of a request that is refused, 0 for none."""
        given: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            given.setdefault(name.lower(), []).append(value)
        (host, *_) = given.get(b"host") or [b""]
        if len(given.get(b"host", [])) != 1 or host.lower() not in self._address.names:
            return 421
        if any(origin.lower().partition(b"://")[2] not in self._address.names for origin in given.get(b"origin", [])):
            return 403
        tokens = given.get(b"authorization", [])
        if len(tokens) != 1 or not hmac.compare_digest(tokens[0], self._token):
            return 401
        return 0


@asynccontextmanager
async def _listening(address: LoopbackAddress) -> AsyncIterator[socket.socket]:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address.host, address.port))
        except OSError as error:
            said = f"{address.host}:{address.port} cannot be listened at: {error.strerror}"
            raise UsageError(said, hint="choose another port") from error
        yield listener


async def serve_http(
    tools: ServedTools, address: LoopbackAddress, token: str, ready: Callable[[LoopbackAddress], None]
) -> None:
    """Serve hosts at ``address`` until cancelled; ``ready`` gets the address, whose port is known then."""
    import uvicorn
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    class Server(uvicorn.Server):
        """Leaves the signals to the command line."""

        def capture_signals(self) -> Any:  # noqa: ANN401
            return nullcontext()

    async with _listening(address) as listener:
        address = address._replace(port=listener.getsockname()[1])
        manager = StreamableHTTPSessionManager(make_server(_RequestTools(tools)), json_response=True)
        app = GuardedApp(manager.handle_request, token, address)
        server = Server(
            uvicorn.Config(
                app, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=1, ws="none"
            )
        )
        ended = anyio.Event()

        async def listen() -> None:
            with anyio.CancelScope(shield=True):
                try:
                    await server.serve([listener])
                finally:
                    ended.set()

        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            try:
                async with manager.run():  # its end cancels the calls, and waits for the ends of their runs
                    ready(address)
                    await ended.wait()
            finally:
                server.should_exit = True
