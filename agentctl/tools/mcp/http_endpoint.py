"""The HTTP client of one remote server: its origin only, no redirects, bounded answers, and no key in any message."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus

import anyio
import httpx2

from agentctl.core.text import safe_text
from agentctl.settings.host import proxy_for
from agentctl.settings.mcp_values import McpServer
from agentctl.tools.mcp.line_transport import MOST_LINE_BYTES, TransportNotes

_FAREWELL_S = 2.0  # for the request that ends a session


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL, without a user's name or password."""
    found = httpx2.URL(url)
    host = f"[{found.host}]" if ":" in found.host else found.host
    return f"{found.scheme}://{host}" + (f":{found.port}" if found.port else "")


def http_client(server: McpServer, notes: TransportNotes) -> httpx2.AsyncClient:
    """Return the client for a server's requests; ``notes.fault`` says what the last failure was."""
    options = server.options
    gate = _Gate(httpx2.AsyncHTTPTransport(proxy=proxy_for(server.url) or None), server.url, notes)
    return httpx2.AsyncClient(
        transport=gate,
        headers={**server.headers, "accept-encoding": "identity"},  # what is compressed has no bound
        timeout=httpx2.Timeout(options.connect_timeout_s, read=options.call_timeout_s),
        trust_env=False,  # no keys of .netrc
        follow_redirects=False,
    )


class _Gate(httpx2.AsyncBaseTransport):
    """Sends requests to one origin. A failure is an answer with a status, so that a session lives on after it."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, url: str, notes: TransportNotes) -> None:
        self._inner, self._url, self._notes = inner, httpx2.URL(url), notes

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request that is for the server, and return its answer, bounded."""
        url = request.url
        if (url.scheme, url.host, url.port) != (self._url.scheme, self._url.host, self._url.port):
            return self._refuse(request, "its client was led to another address")
        if request.method == "GET" and "last-event-id" not in request.headers:
            return httpx2.Response(405, request=request)  # for requests of the server's own, which are refused
        if request.method == "DELETE":
            with anyio.move_on_after(_FAREWELL_S):
                return await self._send(request)
            return httpx2.Response(405, request=request)
        return await self._send(request)

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        try:
            response = await self._inner.handle_async_request(request)
        except httpx2.TimeoutException:
            return self._refuse(request, "it did not answer in time")
        except (httpx2.HTTPError, OSError) as error:
            said = safe_text(str(error))[:200] or type(error).__name__
            return self._refuse(request, f"it cannot be reached: {said}")
        status = response.status_code
        if 300 <= status < 400:
            await response.aclose()
            return self._refuse(request, f"it redirects ({status}), and redirects are not followed")
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            await response.aclose()
            return self._refuse(request, "its answer is compressed, although that was not asked for")
        self._notes.fault = _status_text(status) if status >= 400 else ""
        response.stream = _Bounded(response.stream, self._notes)
        return response

    def _refuse(self, request: httpx2.Request, fault: str) -> httpx2.Response:
        self._notes.fault = fault
        return httpx2.Response(502, request=request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


class _Bounded(httpx2.AsyncByteStream):
    """The body of an answer up to its bound; one that is cut ends, and the session notices what is missing."""

    def __init__(self, inner: object, notes: TransportNotes) -> None:
        assert isinstance(inner, httpx2.AsyncByteStream)  # noqa: S101 - of an asynchronous transport
        self._inner, self._notes = inner, notes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        count = 0
        try:
            async for piece in self._inner:
                count += len(piece)
                if count > MOST_LINE_BYTES:
                    self._notes.fault = f"its answer has more than {MOST_LINE_BYTES // 1024 // 1024} MiB"
                    return
                yield piece
        except httpx2.TimeoutException:
            self._notes.fault = "it stopped in the middle of an answer"
        except (httpx2.HTTPError, OSError):
            self._notes.fault = "the connection was cut in the middle of an answer"

    async def aclose(self) -> None:
        """Close the answer."""
        await self._inner.aclose()


def _status_text(status: int) -> str:
    try:
        phrase = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = str(status)
    why = {401: ": its key is missing or wrong", 403: ": its key does not allow this", 404: ": nothing is at its path"}
    return f"it answers {phrase}{why.get(status, '')}"
