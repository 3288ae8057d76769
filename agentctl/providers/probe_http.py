"""The probe's HTTP client: httpx with one deadline for everything and a size limit; never for a model's answer.

httpx takes a while to load: import this module only when a provider is to be asked.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpcore
import httpx

from agentctl.core.errors import ProviderUnavailable
from agentctl.core.text import safe_text
from agentctl.providers.loopback_http import MOST_BYTES, USER_AGENT, HttpResponse, seconds_left
from agentctl.settings.host import proxy_for
from agentctl.settings.merge import format_value

_AS_NUMBERS = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
_FAILURES = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError)


def exchange(url: str, *, until: float, headers: Mapping[str, str], post: bytes | None = None) -> HttpResponse:
    """GET ``url``, or post JSON to it, and return the answer before ``time.monotonic()`` reaches ``until``.

    Raises:
        ProviderUnavailable: no connection, no TLS, no HTTP, or not in time.
    """
    place = format_value(url)
    network = _Network(until)
    try:
        parts = urlsplit(url)
        place = format_value(f"{parts.scheme}://{parts.netloc}")
        _check_address(parts)
        return _send(httpx.URL(url), _proxy_for(url), network, headers, post)
    except (OSError, ValueError, httpx.InvalidURL, *_FAILURES) as error:
        raise _explain(_cause_of(error, network), place) from error


def _send(
    url: httpx.URL, proxy: httpx.Proxy | None, network: _Network, headers: Mapping[str, str], post: bytes | None
) -> HttpResponse:
    network.in_tunnel = proxy is not None and url.scheme == "https"
    sent = {"Accept": "application/json", "Accept-Encoding": "identity", "Connection": "close"}
    sent |= {"User-Agent": USER_AGENT, **headers} | ({} if post is None else {"Content-Type": "application/json"})
    method = "GET" if post is None else "POST"
    auth = None if not url.username or "Authorization" in sent else (url.username, url.password)
    url = url.copy_with(userinfo=b"")  # httpx prefers it to the key, and logs it
    transport = _Transport(network, proxy, secure=url.scheme == "https")
    with (
        httpx.Client(transport=transport, trust_env=False, timeout=None) as client,  # noqa: S113 - the network has one
        client.stream(method, url, headers=sent, auth=auth, content=post) as response,
    ):
        location = response.headers.get("location", "")
        tls = _tls_of(response)  # while the connection is open
        return HttpResponse(response.status_code, response.reason_phrase, _read_body(response), location, tls)


def _tls_of(response: httpx.Response) -> str:
    stream = response.extensions.get("network_stream")
    secured = None if stream is None else stream.get_extra_info("ssl_object")
    return "" if secured is None else str(secured.version() or "")


def _read_body(response: httpx.Response) -> bytes | None:
    data = bytearray()
    try:
        for piece in response.iter_raw():
            data += piece
            if len(data) > MOST_BYTES:
                return None
    except httpcore.RemoteProtocolError:
        pass  # it ended early: its status and what came are used
    return bytes(data)


def _check_address(parts: SplitResult) -> None:
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("not an http address")


def _proxy_for(url: str) -> httpx.Proxy | None:
    named = proxy_for(url)
    if named is None:
        return None
    proxy = urlsplit(named)
    if proxy.scheme != "http":
        raise _ProxyRefused(f"this check does not support {proxy.scheme} proxies")
    _check_address(proxy)
    return httpx.Proxy(named)


class _ProxyRefused(OSError):
    """The proxy refused the connection."""


class _NotHttp(OSError):
    """The answer is not HTTP."""


class _Transport(httpx.BaseTransport):
    """httpcore's connections on our own network backend, which httpx's transport does not accept."""

    def __init__(self, network: _Network, proxy: httpx.Proxy | None, *, secure: bool) -> None:
        tls = ssl.create_default_context() if secure else None  # the usual authorities, and those of SSL_CERT_FILE
        self._is_direct = proxy is None
        self._pool = (
            httpcore.ConnectionPool(ssl_context=tls, network_backend=network)
            if proxy is None
            else httpcore.HTTPProxy(
                httpcore.URL(scheme=b"http", host=proxy.url.raw_host, port=proxy.url.port, target=b"/"),
                proxy_auth=proxy.raw_auth,
                ssl_context=tls,
                network_backend=network,
            )
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; httpcore's errors leave this as they are."""
        url, host = request.url, request.url.raw_host
        if b":" in host and not self._is_direct:
            host = b"[%b]" % host  # httpcore writes it unchanged into the request to the proxy
        target = httpcore.URL(scheme=url.raw_scheme, host=host, port=url.port, target=url.raw_path)
        answer = self._pool.handle_request(
            httpcore.Request(
                request.method,
                target,
                headers=request.headers.raw,
                content=request.read(),
                extensions=request.extensions,
            )
        )
        return httpx.Response(
            answer.status, headers=answer.headers, content=answer.iter_stream(), extensions=answer.extensions
        )

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


class _Network(httpcore.SyncBackend):
    """Connections that end at a given moment; ``in_tunnel`` until there is TLS with the host behind a proxy."""

    def __init__(self, until: float) -> None:
        self.until = until
        self.in_tunnel = False

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address that answers; each has its share of the time."""
        *others, last = _look_up(host, self.until)
        for at, address in enumerate(others):
            share = seconds_left(self.until) / (len(others) + 1 - at)
            try:
                return _Stream(super().connect_tcp(address, port, share), self)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return _Stream(super().connect_tcp(last, port, seconds_left(self.until)), self)


class _Stream(httpcore.NetworkStream):
    """A connection of a network, which waits no longer than the network's deadline."""

    def __init__(self, stream: httpcore.NetworkStream, network: _Network) -> None:
        self._stream, self._network = stream, network
        self._has_begun = False

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Wait for bytes until the network's deadline; the first ones must be HTTP's.

        A proxy's answer is read byte by byte: the bytes after it are the host's.
        """
        size = 1 if self._network.in_tunnel else max_bytes
        data = self._stream.read(size, seconds_left(self._network.until))
        if not self._has_begun:
            self._has_begun = True
            if not data:
                raise ConnectionResetError
            if not data.startswith(b"HTTP/"[: len(data)]):
                raise _NotHttp
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all bytes before the network's deadline."""
        self._stream.write(buffer, seconds_left(self._network.until))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Complete the TLS handshake before the network's deadline."""
        self._network.in_tunnel = False
        name = (server_hostname or "").strip("[]")
        return _Stream(self._stream.start_tls(ssl_context, name, seconds_left(self._network.until)), self._network)

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - as httpcore has it
        """Return what httpcore asks of a connection."""
        return self._stream.get_extra_info(info)


def _look_up(host: str, until: float) -> list[str]:
    """Look up a name in a thread, so that a time limit applies; return at least one address."""
    found: list[str] = []
    failed: list[Exception] = []

    def look_up() -> None:
        try:
            for *_, address in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
                found.append(socket.getnameinfo(address, _AS_NUMBERS)[0])  # with its scope, if it has one
        except (OSError, ValueError) as error:
            failed.append(error)

    thread = threading.Thread(target=look_up, name="name lookup", daemon=True)
    thread.start()
    thread.join(seconds_left(until))
    if failed:
        raise failed[0]
    if not found:
        raise socket.gaierror(socket.EAI_AGAIN, "the name service did not answer")
    return list(dict.fromkeys(found))


def _cause_of(error: Exception, network: _Network) -> Exception:
    """Return the cause of a failed exchange: the system's error, or ours for the proxy or the protocol."""
    match error:
        case httpcore.ProxyError():
            return _ProxyRefused(f"the proxy answered {str(error).partition(' ')[0]}")
        case httpcore.ProtocolError() | _NotHttp() | ConnectionResetError() if network.in_tunnel:
            return _ProxyRefused("the proxy did not answer in HTTP")
        case httpcore.ProtocolError():
            return _NotHttp()
        case httpcore.TimeoutException(args=[OSError() as cause]) | httpcore.NetworkError(args=[OSError() as cause]):
            return cause
        case _:
            return error


def _explain(error: Exception, place: str) -> ProviderUnavailable:
    """Return our error for a failed exchange, which is never billed; the most specific case comes first."""
    hint = ""
    match error:
        case _ProxyRefused():
            message = f"{place} cannot be reached: {error}"
            hint = "check HTTPS_PROXY and NO_PROXY"
        case _NotHttp():
            message, hint = f"the server at {place} does not speak HTTP", "check the address"
        case ConnectionRefusedError():
            message = f"nothing listens at {place}"
        case ConnectionError():
            message = f"{place} closed the connection"
        case socket.gaierror():
            message, hint = f"the host of {place} was not found", "check the name and the network"
        case TimeoutError() if "handshake" in str(error):
            message, hint = f"{place} did not complete a TLS handshake", "use http:// if it has no TLS"
        case TimeoutError():
            message = f"{place} did not answer in time"
        case ssl.SSLError():
            message, hint = _explain_tls(error, place)
        case OSError():
            message = f"{place} cannot be reached: {(error.strerror or type(error).__name__).lower()}"
        case _:
            message, hint = f"{place} is not a valid address", "use an address such as https://host:8080/v1"
    return ProviderUnavailable(safe_text(message), hint=hint, billed="no")


def _explain_tls(error: ssl.SSLError, place: str) -> tuple[str, str]:
    reason = str(getattr(error, "verify_message", "")).rstrip(".")
    if reason:
        hint = "check the address" if "mismatch" in reason else "set SSL_CERT_FILE to the authorities to trust"
        return f"the certificate of {place} is not accepted: {reason}", hint
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
        return f"the server at {place} does not speak TLS", "use http:// if it has no TLS"
    return f"TLS with {place} failed: {error.reason or 'connection closed'}", ""
