"""The connections of a provider, which are used again only where that is safe; and a transport without any.

httpx takes a while to load: import this module only when something is to be sent.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx

from agentctl.providers.early_connection import IDLE_S, find
from agentctl.settings.host import proxy_for


class NetworkTransport(httpx.AsyncHTTPTransport):
    """The connections of one provider; ``traced`` is set once they have reported a step of a request.

    A connection is used again within ``idle_s`` seconds, as common servers close one after five, and only if nothing
    waits on it to be read: that would be the server's goodbye. Otherwise another one is opened, before a byte is sent.
    The first one may have been opened early, to ``url``.
    """

    traced = False

    def __init__(
        self,
        *,
        verify: bool = True,
        proxy: str | None = None,
        idle_s: float = IDLE_S,
        url: str = "",
    ) -> None:
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=idle_s)
        context = httpx.create_ssl_context(verify=verify)
        super().__init__(verify=context, proxy=proxy, retries=0, limits=limits)
        early = None if proxy else find(url)
        if early is not None:
            from agentctl.providers.early_network import EarlyBackend  # noqa: PLC0415 - only where one was opened

            self._pool = httpcore.AsyncConnectionPool(
                ssl_context=context,
                max_connections=limits.max_connections,
                max_keepalive_connections=limits.max_keepalive_connections,
                keepalive_expiry=limits.keepalive_expiry,
                network_backend=EarlyBackend(early),
            )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, on a connection that nothing waits on."""
        for connection in self._pool.connections:
            if connection.is_idle() and _has_rest(connection):
                await connection.aclose()
        return await super().handle_async_request(request)


def open_network(url: str) -> NetworkTransport:
    """Return the connections to ``url``, by its proxy if it has one."""
    plain, proxy = urlsplit(url).scheme == "http", proxy_for(url)
    return NetworkTransport(verify=not plain, proxy=proxy, url=url)


def _has_rest(connection: Any) -> bool:  # noqa: ANN401 - httpcore's, of several kinds
    """Return whether more was read from a connection than its answer: the next answer would begin with that."""
    while (inner := getattr(connection, "_connection", None)) is not None:
        connection = inner
    rest, _ = getattr(getattr(connection, "_h11_state", None), "trailing_data", (b"", False))
    return bool(rest)


class ClosedTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """A transport that refuses every request: for clients that litellm makes itself."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Refuse the request."""
        raise httpx.ConnectError("a library tried to open a connection of its own", request=request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Refuse the request."""
        return self.handle_request(request)
