"""The README is the documentation: its blocks run, its tables say what the program says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from decimal import Decimal
from pathlib import Path

import pytest

from tests.support import fork_server
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Rates, containers

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SHELL = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
MODELS = re.findall(r"```shell\n(.*?)```", README, re.DOTALL)
BY_HAND = re.findall(r"```py\n(.*?)```", README, re.DOTALL)
SET_UP = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder as the reader has it: README, configs, and an installed agentctl in ``.venv``."""
    folder = tmp_path / "agentctl"
    (folder / ".venv" / "bin").mkdir(parents=True)
    for name in ("README.md", "configs", ".env.example"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    install(folder)
    return folder


def install(folder: Path, *, loads: str = "agentctl") -> None:
    """Put the command into a checkout's ``.venv``."""
    command = folder / ".venv" / "bin" / "agentctl"
    command.write_text(f'#!/bin/sh\nexec {fork_server.command(loads=loads)} "$@"\n')
    command.chmod(0o755)


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script as the reader would type it."""
    return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=120)


def commands() -> list[tuple[str, int]]:
    """Return each line to type and the exit code it promises in a comment (0 without one)."""
    lines = [line for block in SHELL for line in block.splitlines() if line and not line.startswith("export PATH")]
    return [(line, int(found[1]) if (found := re.search(r"# exit (\d+)$", line)) else 0) for line in lines]


def scripts() -> list[tuple[str, int]]:
    """Return the commands; those that build on a variable of the line before go with it."""
    joined: list[tuple[str, int]] = []
    for line, code in commands():
        if joined and "$free" in line:
            joined[-1] = (f"{joined[-1][0]}\n{line}", code)
        else:
            joined.append((line, code))
    return joined


@pytest.mark.parametrize(("script", "code"), scripts())
def test_every_command_of_the_readme_ends_as_it_says(
    script: str, code: int, checkout: Path, docker_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    needs_run = "agentctl runs" in script or "agentctl costs" in script
    before = 'agentctl run -q "How much memory is free?" >before\n' if needs_run else ""
    ended = run(f'set -o pipefail; export PATH="$PWD/.venv/bin:$PATH"\n{before}{script}', checkout)
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    if code == 0 and "costs" not in script:
        assert ended.stdout.strip()


@pytest.mark.parametrize("block", PYTHON)
def test_every_python_block_of_the_readme_runs(block: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-W", "error", "-c", block], cwd=tmp_path, env=environment, check=True, timeout=60)


@pytest.mark.parametrize("block", MODELS, ids=["ollama", "openai", "anthropic", "compatible"])
def test_every_set_up_of_a_model_works_as_it_stands(
    block: str, checkout: Path, docker_host: str, wire: OpenWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server stands where the provider would; the word ``ollama`` is one that takes the pull for done."""
    key = "sk-readme-0123456789abcdef"
    server = wire(containers, keys=None if "my-model" in block else [key], rates=Rates(Decimal(0), Decimal(0)))
    install(checkout, loads="litellm")
    (checkout / ".venv" / "bin" / "ollama").write_text('#!/bin/sh\n[ "$1 $2" = "pull llama3.1" ]\n')
    (checkout / ".venv" / "bin" / "ollama").chmod(0o755)
    monkeypatch.delenv("AGENTCTL_CONFIG_DIR")
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    monkeypatch.setenv("OLLAMA_HOST", server.url)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
    script = block.replace("http://127.0.0.1:8000/v1", server.openai_url)
    assert 1 < len(block.splitlines()) < 5
    done = subprocess.run(
        ["bash", "-ec", f'export PATH="$PWD/.venv/bin:$PATH"\n{script}'],
        cwd=checkout,
        input=f"{key}\n",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "sample-web" in done.stdout
    assert len(server.books.chat_requests) == 2


def test_the_provider_by_hand_answers(wire: OpenWire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = wire(Answer("Hello.", input_tokens=1000, output_tokens=100))
    monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
    (block,) = BY_HAND
    environment = {**os.environ, **fork_server.ENVIRON}
    script = block.replace("sk-…", "sk-0123456789")
    done = fork_server.run(["-c", script], cwd=tmp_path, env=environment, text=True, loads="litellm")
    assert done.stdout.split() == ["Hello.", "0.00021", "3"], done.stderr


def test_the_two_set_up_commands_are_one_line_each_and_ci_runs_the_second() -> None:
    assert [block.count("\n") for block in SET_UP] == [1, 1]
    first, second = (block.strip() for block in SET_UP)
    assert first.endswith('.venv/bin/agentctl run "How much disk is free?"')
    assert (ROOT / ".ci" / "run").read_text().strip().endswith(f"exec {second}")


@pytest.mark.parametrize("lock", ["requirements.lock", "tests/requirements.lock"])
def test_the_lock_pins_every_package_with_hashes_and_names_no_host(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert not re.search(r"https?:|--index|--find-links|file:", text)
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) > 25
    assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)


def test_both_locks_pin_the_same_versions() -> None:
    own, tests = (
        dict(re.findall(r"^([\w.-]+)==([^ ;]+)", (ROOT / name).read_text(), re.MULTILINE))
        for name in ("requirements.lock", "tests/requirements.lock")
    )
    assert own.items() <= tests.items()


def test_the_readmes_exit_codes_are_the_programs() -> None:
    from agentctl.cli.exit_codes import ExitStatus

    rows = re.findall(r"^\| ([\d, ]+) \| (\w+) \|", README, re.MULTILINE)
    told = {int(code): status for codes, status in rows for code in codes.split(",")}
    assert told == {int(status): status.shown for status in ExitStatus}


def test_the_readme_counts_the_lookups_that_there_are() -> None:
    from agentctl.providers.builtin.match import LOOKUPS

    assert textwrap.dedent(README).count("about 40 read-only") == 1
    assert 35 <= len(LOOKUPS) <= 70
