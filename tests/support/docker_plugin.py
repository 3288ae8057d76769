"""Fixtures for the tests of changes: a toolbox at a real engine, the docker command line, containers to lose."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agentctl.tools.toolbox import LazyToolbox, toolbox
from tests.support.docker_parts import Docker, Make, command_line, ours

LOOP = 'trap "exit 0" TERM; while :; do sleep 0.1; done'


@pytest.fixture
def docker(docker_host: str) -> Docker:
    """Give the docker command line at the engine of the tests."""
    return command_line(docker_host)


@pytest.fixture
async def box(docker_host: str, tmp_path: Path) -> AsyncIterator[LazyToolbox]:
    """Give all tools, at work in an empty folder."""
    async with toolbox(workspace=tmp_path, docker_host=docker_host) as made:
        yield made


@pytest.fixture
def make(docker: Docker) -> Iterator[Make]:
    """Give a maker of containers: ``make(*flags, command=…)`` returns the name of one that runs; all are removed."""
    names: list[str] = []

    def run(
        *flags: str,
        command: tuple[str, ...] = ("sh", "-c", LOOP),
        verb: tuple[str, ...] = ("run", "-d"),
        network: str = "none",
    ) -> str:
        name = f"t-{secrets.token_hex(6)}"
        names.append(name)
        docker(*verb, "--name", name, "--network", network, *flags, "busybox:local", *command)
        return name

    yield run
    if names:
        docker("rm", "-f", "-v", *names, check=False)


@pytest.fixture
def nothing_left(docker: Docker) -> Iterator[None]:
    """Assert that a test leaves no container of docker_run behind."""
    before = ours(docker)
    yield
    assert ours(docker) == before
