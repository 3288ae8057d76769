"""Real container engines for the tests: one for all, one to break, one of Podman. All end with the test process."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from tests.support import machine

SCRIPT = Path(__file__).parents[1] / "engine.sh"


@dataclass(frozen=True, slots=True)
class PrivateEngine:
    """An engine of one's own, in ``folder``; ``tests/engine.sh`` says what it consists of.

    With the ``network`` of the host, a container of ``--network host`` reaches this machine's loopback.
    """

    folder: Path
    samples: bool = True
    kind: Literal["docker", "podman"] = "docker"
    network: Literal["own", "host"] = "own"

    @property
    def host(self) -> str:
        """Its address."""
        return f"unix://{self.folder}/{self.kind}.sock"

    @property
    def environ(self) -> dict[str, str]:
        """What the script has to know."""
        mine = {"ENGINE_DIR": str(self.folder), "ENGINE_OWNER": str(os.getpid()), "ENGINE_TTL": "1800"}
        mine |= {"ENGINE_SAMPLES": str(int(self.samples)), "ENGINE_KIND": self.kind}
        mine["ENGINE_NET"] = self.network
        return {**os.environ, **mine}

    def start(self) -> None:
        """Start it, with its sample containers if it has some; installs what lacks."""
        self._run("start", 600)

    def stop(self) -> None:
        """End it and all that belongs to it."""
        self._run("stop", 60)

    def processes(self) -> list[int]:
        """Return the pids of its daemon."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                words = (place / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0].endswith(b"dockerd") and str(self.folder / "data").encode() in words:
                found.append(int(place.name))
        return found

    def _run(self, verb: str, patience: float) -> None:
        done = subprocess.run(
            ["bash", str(SCRIPT), verb],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=patience,
            check=False,
        )
        if done.returncode != 0:
            pytest.fail(f"tests/engine.sh {verb} ended with {done.returncode}: {done.stderr[-1000:]}")


@pytest.fixture(scope="session")
def docker_host() -> Iterator[str]:
    """Give the address of an engine with the sample containers: the one in DOCKER_HOST, else a new one."""
    if given := os.environ.get("DOCKER_HOST"):
        yield given
        return
    machine.need("engine")
    engine = PrivateEngine(Path(f"/tmp/agentctl-engine-{os.getpid()}"))
    engine.start()
    try:
        yield engine.host
    finally:
        engine.stop()


@pytest.fixture(scope="session")
def podman_engine() -> Iterator[PrivateEngine]:
    """Give an engine of Podman with an image and no container; tests remove what they make."""
    machine.need("Podman's engine")
    engine = PrivateEngine(Path(f"/tmp/agentctl-engine-{os.getpid()}-podman"), samples=False, kind="podman")
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()


@pytest.fixture
def private_engine() -> Iterator[PrivateEngine]:
    """Give an engine that a test may stop, freeze or kill."""
    yield from _started("own", samples=True)


@pytest.fixture(scope="module")
def empty_engine() -> Iterator[PrivateEngine]:
    """Give an engine with an image and no container, for a file of tests that fetch images into it."""
    yield from _started("empty", samples=False)


def _started(name: str, *, samples: bool) -> Iterator[PrivateEngine]:
    machine.need("engine")
    engine = PrivateEngine(Path(f"/tmp/agentctl-engine-{os.getpid()}-{name}"), samples)
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()
