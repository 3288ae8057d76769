"""Which addresses are this host, and which proxy the user's environment names for the others."""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` is this host, by the address alone: a name that resolves to it does not count."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_for(url: str, environ: Mapping[str, str] | None = None) -> str | None:
    """Return the proxy for ``url``: HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, unless NO_PROXY names its host.

    Both spellings count, the small one first. This host and a lone name are never asked for through a proxy.
    """
    environ = os.environ if environ is None else environ
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if not host or is_loopback(host) or _is_exempt(host, _first(environ, "no_proxy")):
        return None
    found = _first(environ, f"{parts.scheme}_proxy") or _first(environ, "all_proxy")
    if not found:
        return None
    return found if "://" in found else f"http://{found}"


def _first(environ: Mapping[str, str], name: str) -> str:
    return (environ.get(name) or environ.get(name.upper()) or "").strip()


def _is_exempt(host: str, listed: str) -> bool:
    """Tell whether NO_PROXY names ``host`` or a domain that it lies in; * names all."""
    names = [name.strip().lower().partition(":")[0].lstrip("*.") for name in listed.split(",") if name.strip()]
    return listed.strip() == "*" or any(host == name or host.endswith(f".{name}") for name in names if name)
