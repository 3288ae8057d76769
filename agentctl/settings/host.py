"""Which container engine docker itself would talk to: its current context."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_MOST_BYTES = 1024 * 1024


class DockerContext(NamedTuple):
    """The context's address (None: the platform's own socket), its name, and what stood in the way."""

    host: str | None = None
    context: str = ""
    note: str = ""


def current_engine(environ: Mapping[str, str]) -> DockerContext:
    """Return the engine of DOCKER_CONTEXT, else of docker's configuration; nothing there is an error."""
    home = environ.get("HOME")
    if not home and not environ.get("DOCKER_CONFIG"):
        return DockerContext()
    folder = Path(environ.get("DOCKER_CONFIG") or f"{home}/.docker")
    name = environ.get("DOCKER_CONTEXT") or _named(folder / "config.json")
    if not name or name == "default":
        return DockerContext()
    import hashlib  # noqa: PLC0415 - most machines have one context

    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    meta = _read(folder / "contexts" / "meta" / digest / "meta.json")
    endpoints = meta.get("Endpoints")
    docker = endpoints.get("docker") if isinstance(endpoints, dict) else None
    host = docker.get("Host") if isinstance(docker, dict) else None
    if isinstance(host, str) and host:
        return DockerContext(host, name)
    return DockerContext(
        context=name, note=f'docker\'s context "{name[:60]}" has no address; the default engine is used'
    )


def _named(path: Path) -> str:
    name = _read(path).get("currentContext")
    return name if isinstance(name, str) else ""


def _read(path: Path) -> dict[str, object]:
    try:
        if not path.is_file():
            return {}
        with path.open("rb") as file:
            parsed = json.loads(file.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}
