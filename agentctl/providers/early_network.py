"""Give httpcore, as its next connection, one that was opened early: its streams, over a socket that is connected."""

from __future__ import annotations

import select
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import anyio.abc
import httpcore
from anyio.streams.tls import TLSAttribute, TLSStream

from agentctl.providers.early_connection import EarlyConnection

_Options = Iterable[
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
]  # of a socket, as httpcore passes them


class EarlyBackend(httpcore.AsyncNetworkBackend):
    """Opens connections as httpcore does, but for the first one to the place of an early connection."""

    def __init__(self, early: EarlyConnection) -> None:
        self._early, self._usual = early, httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature, here and below
        local_address: str | None = None,
        socket_options: _Options | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Return the early connection if it can be used, else a new one."""
        found = await self._early.take((host, port))
        if found is not None:
            return EarlyStream(await anyio.abc.SocketStream.from_socket(found))
        return await self._usual.connect_tcp(host, port, timeout, local_address, socket_options)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109
        socket_options: _Options | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Return a connection to a socket of this host."""
        return await self._usual.connect_unix_socket(path, timeout, socket_options)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._usual.sleep(seconds)


class EarlyStream(httpcore.AsyncNetworkStream):
    """The bytes of a connection, with the errors that httpcore expects."""

    def __init__(self, stream: anyio.abc.ByteStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """Return the next bytes, none at the end."""
        with _named(httpcore.ReadTimeout, httpcore.ReadError), anyio.fail_after(timeout):
            try:
                return await self._stream.receive(max_bytes)
            except anyio.EndOfStream:
                return b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Send bytes."""
        with _named(httpcore.WriteTimeout, httpcore.WriteError), anyio.fail_after(timeout):
            await self._stream.send(buffer)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        """Return the connection under TLS; close it if that fails."""
        try:
            with _named(httpcore.ConnectTimeout, httpcore.ConnectError), anyio.fail_after(timeout):
                wrapped = await TLSStream.wrap(
                    self._stream,
                    server_side=False,
                    hostname=server_hostname,
                    ssl_context=ssl_context,
                    standard_compatible=False,  # common servers close without close_notify
                )
        except BaseException:
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(self._stream)
            raise
        return EarlyStream(wrapped)

    def get_extra_info(self, info: str) -> object:
        """Return a fact about the connection, None for one that is not known."""
        extra = self._stream.extra
        match info:
            case "ssl_object":
                return extra(TLSAttribute.ssl_object, None)
            case "socket":
                return extra(anyio.abc.SocketAttribute.raw_socket, None)
            case "client_addr":
                return extra(anyio.abc.SocketAttribute.local_address, None)
            case "server_addr":
                return extra(anyio.abc.SocketAttribute.remote_address, None)
            case "is_readable":
                return _is_readable(extra(anyio.abc.SocketAttribute.raw_socket, None))
            case _:
                return None


@contextmanager
def _named(slow: type[Exception], broken: type[Exception]) -> Iterator[None]:
    """Raise httpcore's error for one of the stream's: ``slow`` for a time-out, ``broken`` for anything else."""
    try:
        yield
    except TimeoutError as error:
        raise slow(error) from error
    except (OSError, ssl.SSLError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream) as error:
        raise broken(error) from error


def _is_readable(connection: Any) -> bool:  # noqa: ANN401 - a socket, or asyncio's stand-in for one
    """Return whether something waits to be read, the end of the connection included."""
    if connection is None or connection.fileno() < 0:
        return True
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    return bool(waiting.poll(0))
