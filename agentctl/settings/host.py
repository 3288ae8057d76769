"""Read the machine's configuration: docker's current context, this host's addresses and proxies, the terminal."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from agentctl.settings.provider_names import other_key_names, other_url_names

_MOST_BYTES = 1024 * 1024
_AZURE_VERSION = "2025-02-01-preview"


class DockerContext(NamedTuple):
    """The context's address (None: the platform's own socket), its name, and a note on a problem with it."""

    host: str | None = None
    context: str = ""
    note: str = ""


def current_engine(environ: Mapping[str, str]) -> DockerContext:
    """Return the context that DOCKER_CONTEXT names, else docker's configuration; never raises."""
    home = environ.get("HOME")
    if not home and not environ.get("DOCKER_CONFIG"):
        return DockerContext()
    folder = Path(environ.get("DOCKER_CONFIG") or f"{home}/.docker")
    name = environ.get("DOCKER_CONTEXT") or _context_name(folder / "config.json")
    if not name or name == "default":
        return DockerContext()
    import hashlib  # noqa: PLC0415 - most machines have one context

    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    meta = _read_json(folder / "contexts" / "meta" / digest / "meta.json")
    endpoints = meta.get("Endpoints")
    docker = endpoints.get("docker") if isinstance(endpoints, dict) else None
    host = docker.get("Host") if isinstance(docker, dict) else None
    if isinstance(host, str) and host:
        return DockerContext(host, name)
    return DockerContext(
        context=name, note=f'docker\'s context "{name[:60]}" has no address; the default engine is used'
    )


def _context_name(path: Path) -> str:
    name = _read_json(path).get("currentContext")
    return name if isinstance(name, str) else ""


def _read_json(path: Path) -> dict[str, object]:
    try:
        if not path.is_file():
            return {}
        with path.open("rb") as file:
            parsed = json.loads(file.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is this host, by its address alone; a name that resolves to it does not count."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_for(url: str, environ: Mapping[str, str] | None = None) -> str | None:
    """Return the proxy for ``url``: HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, unless NO_PROXY names its host.

    Both spellings count, lower case first. This host, and a host name without a dot, are never reached through a proxy.
    """
    environ = os.environ if environ is None else environ
    name = proxy_variable(url, environ)
    found = environ.get(name, "").strip() if name else ""
    if not found:
        return None
    return found if "://" in found else f"http://{found}"


def proxy_variable(url: str, environ: Mapping[str, str] | None = None) -> str:
    """Return the variable that names the proxy for ``url``, "" if it is reached without one."""
    environ = os.environ if environ is None else environ
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if not host or is_loopback(host) or _is_exempt(host, _variable(environ, "no_proxy")):
        return ""
    names = (f"{parts.scheme}_proxy", f"{parts.scheme}_proxy".upper(), "all_proxy", "ALL_PROXY")
    return next((name for name in names if environ.get(name, "").strip()), "")


def certificate_variable(environ: Mapping[str, str] | None = None) -> tuple[str, str]:
    """Return the variable that names the authorities to trust in place of the usual ones, and its value; or "", ""."""
    environ = os.environ if environ is None else environ
    found = environ.get("SSL_CERT_FILE", "")
    return ("SSL_CERT_FILE", found) if found else ("", "")


def other_provider_key(provider: str, environ: Mapping[str, str] | None = None) -> str | None:
    """Return the key that a variable has of a provider whose key agentctl does not store, None if there is none."""
    environ = os.environ if environ is None else environ
    name = other_provider_key_name(provider, environ)
    return environ[name].strip() if name else None


def other_provider_key_name(provider: str, environ: Mapping[str, str] | None = None) -> str:
    """Return the variable that has the key of a provider whose key agentctl does not store, "" if none has."""
    environ = os.environ if environ is None else environ
    return next((name for name in other_key_names(provider) if environ.get(name, "").strip()), "")


def other_provider_url(provider: str, environ: Mapping[str, str] | None = None) -> str:
    """Return the address that a variable names of a provider whose address is no setting, "" if there is none."""
    environ = os.environ if environ is None else environ
    found = (environ.get(name, "").strip().rstrip("/") for name in other_url_names(provider))
    return next(filter(None, found), "")


def azure_version(environ: Mapping[str, str] | None = None) -> str:
    """Return the version of Azure's interface that a variable names, else one that can report usage in a stream."""
    environ = os.environ if environ is None else environ
    names = ("AZURE_API_VERSION", "OPENAI_API_VERSION")
    return next((found for name in names if (found := environ.get(name, "").strip())), _AZURE_VERSION)


def _variable(environ: Mapping[str, str], name: str) -> str:
    return (environ.get(name) or environ.get(name.upper()) or "").strip()


def _is_exempt(host: str, listed: str) -> bool:
    """Return whether NO_PROXY names ``host`` or a domain that contains it; ``*`` names every host."""
    names = [name.strip().lower().partition(":")[0].lstrip("*.") for name in listed.split(",") if name.strip()]
    return listed.strip() == "*" or any(host == name or host.endswith(f".{name}") for name in names if name)


def is_dumb(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether the terminal cannot move its cursor (TERM is dumb, unknown or not set)."""
    said = (os.environ if environ is None else environ).get("TERM", "").strip().lower()
    return said in ("", "dumb", "unknown")


def columns_variable(environ: Mapping[str, str] | None = None) -> int | None:
    """Return the width that COLUMNS asks for, None if it is not set or no positive number."""
    said = (os.environ if environ is None else environ).get("COLUMNS", "").strip()
    return (int(said) or None) if said.isascii() and said.isdecimal() and len(said) <= 6 else None
