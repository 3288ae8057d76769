"""What an engine is, Docker or Podman, and the commands that a hint names for each."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from agentctl.core.system_folders import is_container
from agentctl.tools.docker.client import likely_program
from agentctl.tools.docker.responses import many, text

_PODMAN_SOCKET = "unix:///run/podman/podman.sock"
_MOUNT_SOCKET = "start this container with -v /var/run/docker.sock:/var/run/docker.sock: agentctl help containers"


class Product(NamedTuple):
    """One kind of engine: its name, the ``program`` of its command line, and commands for hints."""

    name: str
    program: str
    start: str
    restart: str
    log: str
    permission: str
    init: str


DOCKER = Product(
    "Docker",
    "docker",
    start="start it: sudo systemctl start docker   (if not installed: sudo apt-get install docker.io)",
    restart="sudo systemctl restart docker",
    log="sudo journalctl -u docker -n 50",
    permission='sudo usermod -aG docker "$USER"   then log in again (until then, run agentctl with sudo)',
    init="sudo apt-get install tini",
)
PODMAN = Product(
    "Podman",
    "podman",
    start="start it: sudo systemctl start podman.socket   (if not installed: sudo apt-get install podman)",
    restart="sudo systemctl restart podman.socket podman.service",
    log="sudo journalctl -u podman -n 50",
    permission="run agentctl with sudo, or use an engine of your own: systemctl --user start podman.socket   "
    "then: export DOCKER_HOST=unix:///run/user/$(id -u)/podman/podman.sock",
    init="sudo apt-get install catatonit",
)
#: A user's own engine needs no root.
OWN_PODMAN = PODMAN._replace(
    start="start it: systemctl --user start podman.socket   (if not installed: sudo apt-get install podman)",
    restart="systemctl --user restart podman.socket podman.service",
    log="journalctl --user -u podman -n 50",
)


def product_of(version: Mapping[str, object], path: str | None) -> Product:
    """Return what answered: ``version`` is its answer to that question, ``path`` its socket."""
    named = [text(part, "Name").lower() for part in many(version, "Components")]
    return _podman_at(path) if any("podman" in name for name in named) else DOCKER


def likely_product(path: str | None) -> Product:
    """Return what most likely listens at a socket that has not answered, by its name and that of what it links to."""
    return _podman_at(path) if path and likely_program(path) == "podman" else DOCKER


def start_hint(path: str | None, *, is_default: bool, root: Path = Path("/")) -> str:
    """Return how to start an engine; where only Podman is installed, also how to make it the one that is used.

    In a container, whose files are below ``root``, return how to reach the engine that runs it.
    """
    if is_default and is_container(root):
        return _MOUNT_SOCKET
    if is_default and shutil.which("docker") is None and shutil.which("podman") is not None:
        return f"sudo systemctl start podman.socket   then: export DOCKER_HOST={_PODMAN_SOCKET}"
    return likely_product(path).start


def _podman_at(path: str | None) -> Product:
    return OWN_PODMAN if path and path.startswith("/run/user/") else PODMAN
