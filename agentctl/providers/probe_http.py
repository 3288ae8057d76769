"""A small HTTP client with a deadline and a size limit, for requests that cost nothing; never for a model's answer."""

from __future__ import annotations

import io
import socket
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit

from agentctl.core.errors import ProviderUnavailable
from agentctl.core.text import safe_text
from agentctl.core.version import __version__
from agentctl.providers.endpoints import is_own_host
from agentctl.settings.host import proxy_for
from agentctl.settings.merge import format_value

if TYPE_CHECKING:
    from http.client import HTTPResponse


MOST_BYTES = 1024 * 1024
_SAFE_IN_PATH = "/%:@!$&'()*+,;=~-._"  # "%" because an address is quoted already
_PORTS = {"http": 80, "https": 443}
_LONGEST_HEAD = 8192

_Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]


class HttpResponse(NamedTuple):
    """A whole answer; ``body`` is None if it is larger than 1 MiB. A redirect is an answer, and not followed."""

    status: int
    reason: str
    body: bytes | None
    location: str


def exchange(
    url: str, *, until: float, headers: Mapping[str, str] | None = None, post: bytes | None = None
) -> HttpResponse:
    """GET ``url``, or post JSON to it, and return the answer, all by the time that ``time.monotonic()`` is ``until``.

    The HTTP library is loaded only once there is a connection, on top of that time: if nothing listens this takes
    microseconds.

    Raises:
        ProviderUnavailable: no connection, no TLS, no HTTP, or not in time.
    """
    place = format_value(url)
    try:
        parts = urlsplit(url)
        place = format_value(f"{parts.scheme}://{parts.netloc}")
        target = quote(parts.path or "/", safe=_SAFE_IN_PATH) + (f"?{parts.query}" if parts.query else "")
        sent = {"Host": parts.netloc.rpartition("@")[2], "Accept": "application/json", "Connection": "close"}
        sent["User-Agent"] = f"agentctl/{__version__}"  # some gateways refuse a request without one
        if parts.username:
            sent["Authorization"] = basic_auth(parts)
        if post is not None:
            sent["Content-Type"] = "application/json"
        with open_connection(parts, until=until, own_host=is_own_host(url)) as connection:
            if connection.proxied:
                target = f"{parts.scheme}://{sent['Host']}{target}"
                sent |= {"Proxy-Authorization": connection.proxy_password} if connection.proxy_password else {}
            return _send(connection, until, target, {**sent, **(headers or {})}, post)
    except (OSError, ValueError) as error:
        raise _explain(error, place) from error


def _send(
    connection: Connection, until: float, target: str, headers: Mapping[str, str], post: bytes | None
) -> HttpResponse:
    began = time.monotonic()
    from http.client import HTTPConnection, HTTPException, RemoteDisconnected  # noqa: PLC0415 - only if one listens

    until += time.monotonic() - began  # loading does not count as the other side's silence
    client = HTTPConnection("unused")  # it only writes and parses: the socket says where to
    client.sock = _TimedSocket(connection.sock, until)
    try:
        client.request("GET" if post is None else "POST", target, body=post, headers=dict(headers))
        with client.getresponse() as response:
            return HttpResponse(
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
    """The answer is no HTTP."""


class _TimedSocket:
    """A socket that waits until a given moment at most, however slowly the other side sends."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        self._sock = sock
        self._until = until

    def sendall(self, data: bytes) -> None:
        """Send all bytes before the given moment."""
        self._sock.settimeout(seconds_left(self._until))
        self._sock.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return a reader of what comes."""
        return io.BufferedReader(_TimedReader(self._sock, self._until))

    def close(self) -> None:
        """Leave the socket open: ``open_connection`` closes it."""


class _TimedReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, until: float) -> None:
        self._sock = sock
        self._until = until

    def readable(self) -> bool:
        """Return True: it is for reading."""
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - whatever can be written into
        """Wait for bytes until the given moment."""
        self._sock.settimeout(seconds_left(self._until))
        return self._sock.recv_into(buffer)


def _explain(error: OSError | ValueError, place: str) -> ProviderUnavailable:
    """Return our error for a failed exchange, which is never billed; the most specific case comes first."""
    hint = ""
    match error:
        case ProxyRefused():
            message = f"{place} cannot be reached: {error}"
            hint = "see HTTPS_PROXY and NO_PROXY"
        case _NotHttp():
            message, hint = f"what answers at {place} does not speak HTTP", "is the address right?"
        case ConnectionRefusedError():
            message = f"nothing listens at {place}"
        case ConnectionError():
            message = f"{place} broke the connection off"
        case socket.gaierror():
            message, hint = f"the host of {place} was not found", "is the name right, and is there a network?"
        case TimeoutError() if "handshake" in str(error):
            message, hint = f"{place} did not answer in TLS", "is http:// meant?"
        case TimeoutError():
            message = f"{place} did not answer in time"
        case OSError() if error.__class__.__module__ == "ssl":
            message, hint = _explain_tls(error, place)
        case OSError():
            message = f"{place} cannot be reached: {(error.strerror or type(error).__name__).lower()}"
        case _:
            message, hint = f"{place} is no address that can be asked", "for example: https://host:8080/v1"
    return ProviderUnavailable(safe_text(message), hint=hint, billed="no")


def _explain_tls(error: OSError, place: str) -> tuple[str, str]:
    reason = str(getattr(error, "verify_message", "")).rstrip(".")
    if reason:
        hint = "is the address right?" if "mismatch" in reason else "SSL_CERT_FILE names the authorities to trust"
        return f"the certificate of {place} is not accepted: {reason}", hint
    if getattr(error, "reason", "") in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
        return f"what answers at {place} does not speak TLS", "is http:// meant?"
    return f"no TLS with {place}: {getattr(error, 'reason', None) or 'it broke off'}", ""


class ProxyRefused(OSError):
    """The proxy refused the connection."""


class Connection(NamedTuple):
    """An open socket; ``proxied``: it ends at a proxy without a tunnel, which wants whole URLs and its password."""

    sock: socket.socket
    proxied: bool = False
    proxy_password: str = ""


def seconds_left(until: float) -> float:
    """Return the seconds until that moment of ``time.monotonic()``.

    Raises:
        TimeoutError: it has passed.
    """
    seconds = until - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out")
    return seconds


def port_of(parts: SplitResult) -> int:
    """Return the port of an http(s) address.

    Raises:
        ValueError: it has none, or is no such address.
    """
    port = _PORTS.get(parts.scheme) if parts.port is None else parts.port
    if not port or parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("no http address")
    return port


@contextmanager
def open_connection(parts: SplitResult, *, until: float, own_host: bool) -> Iterator[Connection]:
    """Open a connection to ``parts``' host for the block, through the proxy unless it is ``own_host``.

    Raises:
        OSError: no connection, no TLS, or not in time.
        ValueError: this is no valid address.
    """
    host, port = parts.hostname or "", port_of(parts)
    proxy = None if own_host else _proxy_for(parts)
    sock = _connect(host, port, until) if proxy is None else _connect(proxy.hostname or "", port_of(proxy), until)
    try:
        if proxy is not None and parts.scheme == "https":
            _open_tunnel(sock, f"[{host}]:{port}" if ":" in host else f"{host}:{port}", basic_auth(proxy), until)
        if parts.scheme == "https":
            import ssl  # noqa: PLC0415 - an Ollama on this host has no TLS

            sock.settimeout(seconds_left(until))
            sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
        proxied = proxy is not None and parts.scheme == "http"
        yield Connection(sock, proxied, basic_auth(proxy) if proxy is not None and proxied else "")
    finally:
        sock.close()


def _connect(host: str, port: int, until: float) -> socket.socket:
    """Connect to the first address that answers; each has its share of the time."""
    addresses = _addresses(host, port, until)
    for at, (family, address) in enumerate(addresses):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(seconds_left(until) / (len(addresses) - at))
            sock.connect(address)
        except OSError:
            sock.close()
            if at == len(addresses) - 1:
                raise
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise socket.gaierror(socket.EAI_NONAME, "no address")


def _addresses(host: str, port: int, until: float) -> list[_Address]:
    """Look the name up in a thread, as nothing else limits how long that takes; this host needs no lookup."""
    if host == "localhost":
        return [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port, 0, 0))]
    if host.replace(".", "").isdigit():
        return [(socket.AF_INET, (host, port))]
    if ":" in host and "%" not in host:
        return [(socket.AF_INET6, (host, port, 0, 0))]
    import threading  # noqa: PLC0415 - most hosts are this one

    found: list[_Address] = []
    failed: list[Exception] = []

    def look_up() -> None:
        try:
            for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                found.append((family, address))  # type: ignore[arg-type]  # typed for every family there is
        except (OSError, ValueError) as error:
            failed.append(error)

    thread = threading.Thread(target=look_up, name="name lookup", daemon=True)
    thread.start()
    thread.join(seconds_left(until))
    if thread.is_alive():
        raise socket.gaierror(socket.EAI_AGAIN, "the name service did not answer")
    if failed:
        raise failed[0]
    return list(found)


def _proxy_for(parts: SplitResult) -> SplitResult | None:
    named = proxy_for(parts.geturl())
    if named is None:
        return None
    proxy = urlsplit(named)
    if proxy.scheme != "http":
        raise ProxyRefused(f"a proxy that speaks {proxy.scheme} is not understood by this check")
    return proxy


def basic_auth(parts: SplitResult) -> str:
    """Return the header's value for a user and password in an address, or ""."""
    if not parts.username:
        return ""
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + b64encode(pair.encode()).decode("ascii")


def _open_tunnel(sock: socket.socket, place: str, password: str, until: float) -> None:
    """Ask a proxy for a tunnel; read its answer byte by byte, so that no byte after it is lost."""
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}", *([f"Proxy-Authorization: {password}"] if password else [])]
    sock.settimeout(seconds_left(until))
    sock.sendall("\r\n".join((*lines, "", "")).encode("ascii"))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        sock.settimeout(seconds_left(until))
        byte = sock.recv(1)
        head += byte
        if not byte or len(head) > _LONGEST_HEAD:
            raise ProxyRefused("the proxy did not answer in HTTP")
    status = head.split(None, 2)[1:2]
    if status != [b"200"]:
        raise ProxyRefused(f"the proxy answered {b''.join(status).decode('ascii', 'replace')[:20]}")
