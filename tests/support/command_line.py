"""The command line as a process of its own, and in this one."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

ROOT = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("scripted_cli.py")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """What stdout holds, which must be one JSON object and nothing else."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Here = Callable[..., Ended]
KEY = "sk-not-to-be-seen-1234567890"


def row(document: Mapping[str, object], name: str) -> dict[str, object]:
    """Return what a document says of one provider."""
    providers = document["providers"]
    assert isinstance(providers, list)
    return next(found for found in providers if found["provider"] == name)


class Commands:
    """Runs agentctl in a folder of its own; ``script`` names one of scripted_cli.py."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}

    def argv(self, words: Sequence[str], script: str | None) -> list[str]:
        return [sys.executable, *(["-m", "agentctl"] if script is None else [str(DRIVER), script]), *words]

    def __call__(self, *words: str, script: str | None = None, stdin: str | IO[bytes] | None = "", **env: str) -> Ended:
        data = stdin.encode() if isinstance(stdin, str) else None
        given = subprocess.PIPE if isinstance(stdin, str) else stdin
        with self.start(*words, script=script, stdin=given, env=env) as process:
            out, err = process.communicate(data, timeout=60)
        return Ended(process.returncode, out.decode(), err.decode())

    def start(
        self,
        *words: str,
        script: str | None = None,
        stdin: int | IO[bytes] | None = subprocess.DEVNULL,
        stdout: int | IO[bytes] = subprocess.PIPE,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.argv(words, script),
            cwd=self.folder,
            env={**os.environ, **self.environ, **(env or {})},
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )


@pytest.fixture
def agentctl(tmp_path: Path) -> Commands:
    """Run a command as a process: ``agentctl("costs", "--json")``."""
    return Commands(tmp_path)


@pytest.fixture
def shell(tmp_path: Path) -> Commands:
    """Run a command as a process: ``shell("run", TASK, **reaching(server, "openai"))``."""
    return Commands(tmp_path)


@pytest.fixture
def here(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Ended]]:
    """Run a command in this process: quicker, where no process is needed."""
    from agentctl.cli.app import main

    monkeypatch.chdir(tmp_path)

    def run(*words: str, script: str | None = None) -> Ended:
        from tests.support.scripted_cli import scripted

        code = main(words, assemble=None if script is None else scripted(script))
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    yield run
    gc.enable()  # a run arranges the collector for a process of its own
    gc.unfreeze()


@pytest.fixture
def config() -> Path:
    """The user's config folder, not there yet."""
    return Path(os.environ["AGENTCTL_CONFIG_DIR"])


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state folder of this test's commands."""
    return Path(os.environ["AGENTCTL_STATE_DIR"])
