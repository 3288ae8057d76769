"""One small HTTP exchange, bounded in time and in size: for questions that cost nothing, never for a model's answer."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit

from agentctl.core.errors import ProviderUnavailable
from agentctl.core.text import safe_text
from agentctl.core.version import __version__
from agentctl.providers.dial import Connection, ProxyRefused, basic_auth, open_connection, seconds_left
from agentctl.providers.endpoints import is_own_host
from agentctl.settings.merge import format_value

if TYPE_CHECKING:
    from http.client import HTTPResponse

MOST_BYTES = 1024 * 1024
_PATH = "/%:@!$&'()*+,;=~-._"  # what stands for itself; "%" because an address is quoted already


class ProbeResponse(NamedTuple):
    """A whole answer; ``body`` is None when it is larger than 1 MiB. A redirect is an answer, and not followed."""

    status: int
    reason: str
    body: bytes | None
    location: str


def exchange(
    url: str, *, until: float, headers: Mapping[str, str] | None = None, post: bytes | None = None
) -> ProbeResponse:
    """GET ``url``, or post JSON to it, and return the answer; all of it is over when ``time.monotonic()`` is ``until``.

    HTTP itself is loaded only once a connection stands, on top of that time: where nobody listens this takes
    microseconds.

    Raises:
        ProviderUnavailable: no connection, no TLS, no HTTP, or not in time.
    """
    place = format_value(url)
    try:
        parts = urlsplit(url)
        place = format_value(f"{parts.scheme}://{parts.netloc}")
        target = quote(parts.path or "/", safe=_PATH) + (f"?{parts.query}" if parts.query else "")
        sent = {"Host": parts.netloc.rpartition("@")[2], "Accept": "application/json", "Connection": "close"}
        sent["User-Agent"] = f"agentctl/{__version__}"  # some gateways turn away who gives no name
        if parts.username:
            sent["Authorization"] = basic_auth(parts)
        if post is not None:
            sent["Content-Type"] = "application/json"
        with open_connection(parts, until=until, own_host=is_own_host(url)) as line:
            if line.proxied:
                target = f"{parts.scheme}://{sent['Host']}{target}"
                sent |= {"Proxy-Authorization": line.proxy_password} if line.proxy_password else {}
            return _send(line, until, target, {**sent, **(headers or {})}, post)
    except (OSError, ValueError) as error:
        raise _unavailable(error, place) from error


def _send(line: Connection, until: float, target: str, headers: Mapping[str, str], post: bytes | None) -> ProbeResponse:
    began = time.monotonic()
    from http.client import HTTPConnection, HTTPException, RemoteDisconnected  # noqa: PLC0415 - only if one listens

    until += time.monotonic() - began  # to load is not the other side's silence
    connection = HTTPConnection("unused")  # only for the words; who is spoken to stands on the line
    connection.sock = _TimedSocket(line.sock, until)
    try:
        connection.request("GET" if post is None else "POST", target, body=post, headers=dict(headers))
        with connection.getresponse() as response:
            return ProbeResponse(
                response.status, response.reason, _read_body(response), response.getheader("Location") or ""
            )
    except RemoteDisconnected:
        raise ConnectionResetError from None
    except HTTPException as error:
        raise _NotHttp(type(error).__name__) from None


def _read_body(response: HTTPResponse) -> bytes | None:
    data = response.read(MOST_BYTES + 1)
    return None if len(data) > MOST_BYTES else data


class _NotHttp(OSError):
    """What came is no HTTP."""


class _TimedSocket:
    """A socket that waits no longer than until a given moment, however slowly the other side speaks."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        self._sock = sock
        self._until = until

    def sendall(self, data: bytes) -> None:
        """Send everything."""
        self._sock.settimeout(seconds_left(self._until))
        self._sock.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return what comes, to be read."""
        return io.BufferedReader(_TimedReader(self._sock, self._until))

    def close(self) -> None:
        """Leave the socket to whoever opened it."""


class _TimedReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, until: float) -> None:
        self._sock = sock
        self._until = until

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - whatever can be written into
        """Wait for bytes, but not too long."""
        self._sock.settimeout(seconds_left(self._until))
        return self._sock.recv_into(buffer)


def _unavailable(error: OSError | ValueError, place: str) -> ProviderUnavailable:
    """Translate, the most specific first; none of these was billed, because nothing here ever is."""
    hint = ""
    match error:
        case ProxyRefused():
            said = f"{place} cannot be reached: {error}"
            hint = "see HTTPS_PROXY and NO_PROXY"
        case _NotHttp():
            said, hint = f"what answers at {place} does not speak HTTP", "is the address right?"
        case ConnectionRefusedError():
            said = f"nothing listens at {place}"
        case ConnectionError():
            said = f"{place} broke the connection off"
        case socket.gaierror():
            said, hint = f"the host of {place} was not found", "is the name right, and is there a network?"
        case TimeoutError() if "handshake" in str(error):
            said, hint = f"{place} did not answer in TLS", "is http:// meant?"
        case TimeoutError():
            said = f"{place} did not answer in time"
        case OSError() if error.__class__.__module__ == "ssl":
            said, hint = _tls(error, place)
        case OSError():
            said = f"{place} cannot be reached: {(error.strerror or type(error).__name__).lower()}"
        case _:
            said, hint = f"{place} is no address that can be asked", "for example: https://host:8080/v1"
    return ProviderUnavailable(safe_text(said), hint=hint, billed="no")


def _tls(error: OSError, place: str) -> tuple[str, str]:
    reason = str(getattr(error, "verify_message", "")).rstrip(".")
    if reason:
        hint = "is the address right?" if "mismatch" in reason else "SSL_CERT_FILE names the authorities to trust"
        return f"the certificate of {place} is not accepted: {reason}", hint
    if getattr(error, "reason", "") in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
        return f"what answers at {place} does not speak TLS", "is http:// meant?"
    return f"no TLS with {place}: {getattr(error, 'reason', None) or 'it broke off'}", ""
