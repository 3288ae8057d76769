"""Parts of the tests of Docker changes: the docker command line, and a call as dispatch makes it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from agentctl.tools.toolbox import LazyToolbox

Make = Callable[..., str]


@dataclass(frozen=True, slots=True)
class Docker:
    """The docker command line at ``host``: what it is called with are its words; it returns what they print."""

    host: str

    def __call__(self, *words: str, check: bool = True) -> str:
        environ = {**os.environ, "DOCKER_HOST": self.host}
        done = subprocess.run(["docker", *words], env=environ, check=check, capture_output=True, text=True)
        return done.stdout.strip()

    def read(self, path: str, *, method: str = "GET") -> Any:  # noqa: ANN401
        """Return what the engine answers to a request without a body, without a process for the question."""
        place = urlsplit(self.host)
        asking = HTTPConnection(place.hostname or "engine", place.port or 2375, timeout=60)
        if place.scheme == "unix":
            asking.sock = socket.socket(socket.AF_UNIX)
            asking.sock.connect(place.path)
        try:
            asking.request(method, path)
            answer = asking.getresponse()
            said = json.loads(answer.read())
        finally:
            asking.close()
        assert answer.status in (200, 201), said
        return said


@dataclass(frozen=True, slots=True)
class Compose:
    """docker-compose at ``host`` with one project, whose file is in ``folder``."""

    host: str
    folder: Path
    project: str

    def __call__(self, *words: str) -> str:
        environ = {**os.environ, "DOCKER_HOST": self.host, "COMPOSE_COMPATIBILITY": "1"}  # 2.x: names as 1.x makes them
        line = ["docker-compose", "-p", self.project, *words]
        done = subprocess.run(line, env=environ, cwd=self.folder, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def command_line(host: str) -> Docker:
    """Return the docker command line at ``host``."""
    return Docker(host)


def ours(docker: Docker, *, running: bool = False) -> set[str]:
    """Return the ids of the containers that docker_run made; ``running``: only of those that run."""
    wanted = {"label": ["agentctl.run"], **({"status": ["running"]} if running else {})}
    return {found["Id"] for found in docker.read(f"/containers/json?all=1&filters={quote(json.dumps(wanted))}")}


def inspected(docker: Docker, name: str) -> dict[str, Any]:
    """Return all that the engine says about a container."""
    found: dict[str, Any] = docker.read(f"/containers/{quote(name, safe='')}/json")
    return found


def wait_for_new(docker: Docker, before: set[str], *, runner: subprocess.Popen[Any] | None = None) -> str:
    """Wait until docker_run has made a container that runs; return its id. A ``runner`` must go on until then."""
    deadline = time.monotonic() + 60
    while not (new := ours(docker, running=True) - before):
        assert runner is None or runner.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return new.pop()


async def act(box: LazyToolbox, tool: str, **arguments: object) -> str:
    """Do what dispatch does with an admitted call: prepare it, then run what was prepared."""
    prepared = await box.get(tool).prepare(arguments)
    return await box.get(tool)(prepared)
