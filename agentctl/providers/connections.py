"""The connections of a provider, which are used again only where that is safe; and a transport without any.

httpx takes a while to load: import this module only when something is to be sent.
"""

from __future__ import annotations

from typing import Any

import httpx

IDLE_S = 3.0


class NetworkTransport(httpx.AsyncHTTPTransport):
    """The connections of one provider; ``traced`` is set once they have reported a step of a request.

    A connection is used again within ``idle_s`` seconds, as common servers close one after five, and only if nothing
    waits on it to be read: that would be the server's goodbye. Otherwise another one is opened, before a byte is sent.
    """

    traced = False

    def __init__(self, *, verify: bool = True, proxy: str | None = None, idle_s: float = IDLE_S) -> None:
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=idle_s)
        super().__init__(verify=verify, proxy=proxy, retries=0, limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, on a connection that nothing waits on."""
        for connection in self._pool.connections:
            if connection.is_idle() and _has_rest(connection):
                await connection.aclose()
        return await super().handle_async_request(request)


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
