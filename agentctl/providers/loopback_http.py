"""An HTTP client for an Ollama on this host: the standard library's, with a deadline and a size limit.

A run asks before it starts, so nothing is loaded here until a server accepts the connection.
"""

from __future__ import annotations

import io
import socket
import time
from base64 import b64encode
from contextlib import suppress
from typing import Any, NamedTuple, cast
from urllib.parse import SplitResult, quote, unquote, urlsplit

from agentctl.core.version import __version__
from agentctl.settings.host import is_loopback

MOST_BYTES = 1024 * 1024
USER_AGENT = f"agentctl/{__version__}"  # some gateways refuse a request without one
_SAFE_IN_PATH = "/%:@!$&'()*+,;=~-._"  # "%" because an address is quoted already


class HttpResponse(NamedTuple):
    """A whole answer; ``body`` is None if it is larger than 1 MiB. A redirect is an answer and is not followed.

    ``tls`` is the version of the connection's TLS, such as "TLSv1.3", "" without TLS.
    """

    status: int
    reason: str
    body: bytes | None
    location: str
    tls: str = ""


def seconds_left(until: float) -> float:
    """Return the seconds until ``time.monotonic()`` reaches ``until``.

    Raises:
        TimeoutError: it has passed.
    """
    seconds = until - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out")
    return seconds


def send(url: str, *, until: float, post: bytes | None = None) -> HttpResponse:
    """GET a URL of this host, or post JSON to it, and return the answer by the time ``time.monotonic()`` is ``until``.

    The HTTP library is loaded once there is a connection, on top of that time: if nothing listens this takes
    microseconds.

    Raises:
        OSError: no connection, no TLS, no HTTP, or not in time.
        ValueError: it is not an address of this host.
    """
    parts = urlsplit(url)
    host, default = parts.hostname or "", {"http": 80, "https": 443}.get(parts.scheme)
    if default is None or not is_loopback(host):
        raise ValueError("not an http address of this host")
    sock = _connect(host, parts.port or default, until)
    try:
        if parts.scheme == "https":
            import ssl  # noqa: PLC0415 - hardly any Ollama has TLS

            sock.settimeout(seconds_left(until))
            sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
        return _talk(sock, parts, until, post)
    finally:
        sock.close()


def _connect(host: str, port: int, until: float) -> socket.socket:
    """Connect by number, without a lookup: nothing limits its time, and it could name another host."""
    *others, last = ("127.0.0.1", "::1") if host == "localhost" else (host,)
    for address in others:
        with suppress(ConnectionRefusedError):
            return _connect_to(address, port, until)
    return _connect_to(last, port, until)


def _connect_to(address: str, port: int, until: float) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        sock.settimeout(seconds_left(until))
        sock.connect((address, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _talk(sock: socket.socket, parts: SplitResult, until: float, post: bytes | None) -> HttpResponse:
    began = time.monotonic()
    from http.client import HTTPConnection, HTTPException, HTTPResponse  # noqa: PLC0415 - only if one listens

    until += time.monotonic() - began  # loading does not count as the server's silence
    target = quote(parts.path or "/", safe=_SAFE_IN_PATH) + (f"?{parts.query}" if parts.query else "")
    headers = {"Host": parts.netloc.rpartition("@")[2], "Accept": "application/json", "Connection": "close"}
    headers["User-Agent"] = USER_AGENT
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode('ascii')}"
    if post is not None:
        headers["Content-Type"] = "application/json"
    client = HTTPConnection("unused")  # it only writes requests: the socket is connected already
    client.sock = sock
    sock.settimeout(seconds_left(until))
    try:
        client.request("GET" if post is None else "POST", target, body=post, headers=headers)
        with HTTPResponse(cast("socket.socket", _TimedReader(sock, until))) as response:
            response.begin()
            data = response.read(MOST_BYTES + 1)
            body = None if len(data) > MOST_BYTES else data
            return HttpResponse(response.status, response.reason, body, response.getheader("Location") or "")
    except HTTPException as error:
        raise OSError(f"not HTTP: {type(error).__name__}") from error


class _TimedReader(io.RawIOBase):
    """A reader of a socket with one deadline for all data, however slowly it arrives."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        self._sock = sock
        self._until = until

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return a buffered reader, the only method that http.client needs of a socket."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """Return True: this reader can be read."""
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        """Wait for bytes until the given moment."""
        self._sock.settimeout(seconds_left(self._until))
        return self._sock.recv_into(buffer)
