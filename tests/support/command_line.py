"""The command line as a process of its own, and in this one."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import pytest

from tests.support import fork_server
from tests.support.output_schemas import CheckedFork, CheckedProcess, check_output

ROOT = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("scripted_cli.py")
#: What a quick command must not load.
HEAVY_MODULES = {
    "mcp",
    "mcp_types",
    "httpx2",
    "agentctl.tools.mcp",
    "litellm",
    "aiodocker",
    "aiohttp",
    "psutil",
    "openai",
    "httpx",
    "rich.live",
    "tree_sitter",
    "jinja2",
    "jsonschema",
    "agentctl.runner.assemble",
}
MODULES_PROGRAM = (
    "import json, sys; from agentctl.cli.app import main; [main(words) for words in json.loads(sys.argv[1])]; "
    "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
)


@dataclass(frozen=True, slots=True)
class Ended:
    """A finished command: its exit code and output, whose documents are valid by the schemas that ship."""

    code: int
    out: str
    err: str

    def __post_init__(self) -> None:
        check_output(self.out)

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


def loaded_modules(*words: str) -> set[str]:
    """Run a command in a process of its own; return the names of the modules that it has loaded."""
    return loaded_by_all(words)


def loaded_by_all(*commands: Sequence[str]) -> set[str]:
    """Run commands one after another in one process; return the names of the modules that they have loaded."""
    argv = [sys.executable, "-c", MODULES_PROGRAM, json.dumps(commands)]
    done = subprocess.run(
        argv, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60, stdin=subprocess.DEVNULL
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


class Commands:
    """Runs agentctl in a folder of its own; ``script`` names one of scripted_cli.py.

    A command is forked from a process that has loaded what it needs, unless ``starts_cold``: for tests of the start.
    """

    def __init__(self, folder: Path, *, starts_cold: bool = False) -> None:
        self.folder, self.starts_cold = folder, starts_cold
        self.environ = dict(fork_server.ENVIRON)
        self.patience_s = 60.0

    def argv(self, words: Sequence[str], script: str | None) -> list[str]:
        return [sys.executable, *(["-m", "agentctl"] if script is None else [str(DRIVER), script]), *words]

    def __call__(self, *words: str, script: str | None = None, stdin: str | IO[bytes] | None = "", **env: str) -> Ended:
        data = stdin.encode() if isinstance(stdin, str) else None
        given = subprocess.PIPE if isinstance(stdin, str) else stdin
        with self.start(*words, script=script, stdin=given, env=env) as process:
            out, err = process.communicate(data, timeout=self.patience_s)
        return Ended(process.returncode, out.decode(), err.decode())

    def start(
        self,
        *words: str,
        script: str | None = None,
        stdin: int | IO[bytes] | None = subprocess.DEVNULL,
        stdout: int | IO[bytes] = subprocess.PIPE,
        stderr: int | IO[bytes] = subprocess.PIPE,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        argv = self.argv(words, script)
        environ = {**os.environ, **self.environ, **(env or {})}
        loads = "litellm" if words[:1] == ("run",) and _asks_a_model(environ) else "agentctl"
        started: type[subprocess.Popen[bytes]] = CheckedProcess
        if not self.starts_cold and fork_server.can_fork(argv[1:], environ, loads=loads):
            argv, started = argv[1:], partial(CheckedFork, loads=loads)  # type: ignore[assignment]
        return started(
            argv,
            cwd=self.folder,
            env=environ,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )


def _asks_a_model(environ: Mapping[str, str]) -> bool:
    """Whether a run would ask a provider on the wire, or count its tokens."""
    return any(name.endswith(("_BASE_URL", "_API_KEY")) for name in environ) or environ.get("LLM_PROVIDER") == "ollama"


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
