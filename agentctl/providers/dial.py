"""A connection that stands by a given moment, or not at all: to a host or its proxy, with TLS where that is asked."""

from __future__ import annotations

import socket
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from agentctl.settings.network import proxy_for

_PORTS = {"http": 80, "https": 443}
_LONGEST_HEAD = 8192

_Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]


class ProxyRefused(OSError):
    """The proxy would not pass the connection on."""


class Connection(NamedTuple):
    """What to write to; a proxy that is not tunnelled through (``proxied``) wants whole addresses, and its password."""

    sock: socket.socket
    proxied: bool = False
    proxy_password: str = ""


def seconds_left(until: float) -> float:
    """Return the seconds until that moment of ``time.monotonic()``.

    Raises:
        TimeoutError: it is over.
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
    """Connect to ``parts``' host, for as long as the block lasts; no proxy is used for this host.

    Raises:
        OSError: nobody there, no TLS, or not in time.
        ValueError: no such address can be.
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
    """Connect to the first address that answers, each with its share of the time."""
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
    """Look the name up in a thread, because nothing else bounds how long that takes; this host needs no asking."""
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
    """Ask a proxy for a tunnel; its answer is read byte by byte, so that none of what follows is swallowed."""
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
