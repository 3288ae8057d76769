"""A container on the tests' engine that is unhealthy until it is restarted."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

_LIFE = "[ -e /started ] && touch /healthy; touch /started; echo serving; exec sleep 3600"


def docker(host: str, *words: str) -> str:
    """Run docker's own client against the engine at ``host`` and return what it says."""
    environ = {**os.environ, "DOCKER_HOST": host}
    done = subprocess.run(["docker", *words], env=environ, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def _state(host: str, name: str) -> dict[str, Any]:
    """Ask the engine itself, which costs much less than its client."""
    with closing(http.client.HTTPConnection("engine")) as asking:
        asking.sock = socket.socket(socket.AF_UNIX)
        asking.sock.connect(host.removeprefix("unix://"))
        asking.request("GET", f"/containers/{name}/json")
        state: dict[str, Any] = json.load(asking.getresponse())["State"]
    return state


def health(host: str, name: str) -> str:
    """Return a container's health status."""
    return str(_state(host, name)["Health"]["Status"])


def starts(host: str, name: str) -> str:
    """Return when a container was started last: it changes with each restart."""
    return str(_state(host, name)["StartedAt"])


@contextmanager
def sick_container(host: str, name: str) -> Iterator[str]:
    """Start a container called ``name`` that is unhealthy from its first check on; a restart cures it."""
    checks = ("--health-cmd", "test -e /healthy", "--health-interval", "0.5s", "--health-retries", "1")
    docker(host, "run", "-d", "--init", "--name", name, *checks, "busybox:local", "sh", "-c", _LIFE)
    try:
        until = time.monotonic() + 30
        while health(host, name) != "unhealthy":
            assert time.monotonic() < until, "the container never became sick"
            time.sleep(0.1)
        yield name
    finally:
        docker(host, "rm", "-f", name)
