"""What the tests of changes share: the docker command line, and a call as dispatch makes it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

from agentctl.tools.toolbox import LazyToolbox

Docker = Callable[..., str]
Make = Callable[..., str]


def command_line(host: str) -> Docker:
    """Return the docker command line at ``host``."""

    def run(*words: str, check: bool = True) -> str:
        environ = {**os.environ, "DOCKER_HOST": host}
        done = subprocess.run(["docker", *words], env=environ, check=check, capture_output=True, text=True)
        return done.stdout.strip()

    return run


def ours(docker: Docker) -> set[str]:
    """Return the ids of the containers that docker_run made."""
    return set(docker("ps", "-aq", "--no-trunc", "--filter", "label=agentctl.run").split())


def inspected(docker: Docker, name: str) -> dict[str, Any]:
    """Return all that the engine says about a container."""
    found: dict[str, Any] = json.loads(docker("inspect", name))[0]
    return found


async def act(box: LazyToolbox, tool: str, **arguments: object) -> str:
    """Do what dispatch does with an admitted call: prepare it, then run what was prepared."""
    prepared = await box.get(tool).prepare(arguments)
    return await box.get(tool)(prepared)
