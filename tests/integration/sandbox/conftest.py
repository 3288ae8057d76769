"""Fixtures: a real sandbox, opened as the user of the tests and as user nobody."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support import fork_server, machine
from tests.support.processes import Trace, trace

NOBODY = 65534
REPOSITORY = Path(__file__).parents[3]

__all__ = ["Trace", "trace"]


def names(folder: Path) -> list[str]:
    """Return what is in a folder."""
    return [path.name for path in folder.iterdir()]


@dataclass(slots=True)
class Inside:
    """Runs commands in a sandbox around ``workspace``, in a process of its own."""

    workspace: Path
    uid: int
    environ: dict[str, str] = field(default_factory=dict)
    own_walk: bool = False

    def argv(self, *commands: str, **options: Any) -> list[str]:  # noqa: ANN401
        asked = {"wanted": "auto", "network": False, "read_only": False, "hidden": [], "timeout": 30, **options}
        asked["own_walk"] = self.own_walk
        asked |= {"uid": self.uid, "workspace": str(options.get("workspace", self.workspace)), "commands": commands}
        asked["hidden"] = [str(place) for place in asked["hidden"]]
        return [sys.executable, "-m", "tests.integration.sandbox.worker", json.dumps(asked)]

    def __call__(self, *commands: str, **options: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        argv, environ = self.argv(*commands, **options), {**os.environ, **fork_server.ENVIRON, **self.environ}
        if fork_server.can_fork(argv[1:], environ):
            done = fork_server.run(argv[1:], cwd=REPOSITORY, env=environ, text=True, timeout=120)
        else:
            done = subprocess.run(argv, cwd=REPOSITORY, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        answers: list[dict[str, Any]] = json.loads(done.stdout)
        return answers

    def started(self, *commands: str, **options: Any) -> subprocess.Popen[Any]:  # noqa: ANN401
        """Start the process, and do not wait for it."""
        environ = {**os.environ, **fork_server.ENVIRON, **self.environ}
        return fork_server.Forked(self.argv(*commands, **options)[1:], cwd=REPOSITORY, env=environ)


@pytest.fixture
def config() -> Iterator[Path]:
    """A folder that all users may enter, below /tmp; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="ground-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


USERS = ("self", "nobody") if os.geteuid() == 0 else ("self",)


@pytest.fixture(params=USERS)
def inside(request: pytest.FixtureRequest, config: Path) -> Inside:
    machine.need("sandbox" if request.param == "self" else "sandbox for others")
    uid = os.geteuid() if request.param == "self" else NOBODY
    workspace = config / "work"
    workspace.mkdir()
    if uid != os.geteuid():
        os.chown(workspace, uid, uid)
    return Inside(workspace, uid, own_walk=request.node.get_closest_marker("own_walk") is not None)


@pytest.fixture
def own(request: pytest.FixtureRequest, config: Path) -> Inside:
    """As the one who runs the tests only: where it makes no difference who it is."""
    machine.need("sandbox")
    workspace = config / "work"
    workspace.mkdir()
    return Inside(workspace, os.geteuid(), own_walk=request.node.get_closest_marker("own_walk") is not None)


@pytest.fixture(params=("bwrap", "landlock"))
def wanted(request: pytest.FixtureRequest) -> str:
    """Each tier that is a sandbox: for the promises that all of them keep."""
    machine.need({"bwrap": "sandbox", "landlock": "landlock"}[request.param])
    return str(request.param)


@pytest.fixture(autouse=True)
def _shared_walk(shared_walk: None) -> None:
    """Let all sandboxes of this folder share a walk, but for the tests of it."""
