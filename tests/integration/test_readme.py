"""README and docs/: their blocks run, twice in a row, and the output that they show is the program's."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from tests.support import fork_server
from tests.support.command_parser import parse_command
from tests.support.docs_blocks import ROOT, Block, blocks, pages
from tests.support.machine import need
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Rates, WireServer, containers

KEY = "sk-readme-0123456789abcdef"
LIST = "Which containers are there, and what are they for?"
PATH = 'export PATH="$PWD/.venv/bin:$PATH"'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder as the reader has it: README, and an installed agentctl in ``.venv``."""
    folder = tmp_path / "agentctl"
    (folder / ".venv" / "bin").mkdir(parents=True)
    for name in ("README.md", ".env.example"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    install(folder)
    return folder


def install(folder: Path, *, loads: str = "agentctl") -> None:
    """Put the command into a checkout's ``.venv``."""
    command = folder / ".venv" / "bin" / "agentctl"
    command.write_text(f'#!/bin/sh\nexec {fork_server.command(loads=loads)} "$@"\n')
    command.chmod(0o755)


def type_in(script: str, folder: Path, *, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a script as the reader would type it."""
    return subprocess.run(
        ["bash", "-c", f"set -e -o pipefail\n{PATH}\n{script}"],
        cwd=folder,
        stdin=subprocess.DEVNULL if stdin is None else None,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
    )


def scripts() -> list[tuple[str, str, int]]:
    """Return where each line of a ``bash`` block stands, the line, and the exit code in its comment (0 without one).

    A line with ``$free`` goes with the line before, which sets it. What stands on several pages is returned once.
    """
    places: dict[str, str] = {}
    for block in blocks("bash"):
        lines: list[str] = []
        for line in block.text.splitlines():
            if "$free" in line:
                lines[-1] += f"\n{line}"
            elif line and not line.startswith("export PATH"):
                lines.append(line)
        places = dict.fromkeys(lines, block.place) | places
    codes = {line: re.search(r"# exit (\d+)$", line) for line in places}
    return [(place, line, int(promised[1]) if (promised := codes[line]) else 0) for line, place in places.items()]


@pytest.mark.parametrize(("place", "script", "code"), scripts())
def test_bash_line_of_docs_ends_as_it_says_twice(
    place: str, script: str, code: int, checkout: Path, docker_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    if "agentctl runs" in script or "agentctl costs" in script:
        assert type_in('agentctl run -q "How much memory is free?"', checkout).returncode == 0
    for _ in range(2):
        ended = type_in(script, checkout)
        assert ended.returncode == code, f"{place}: {ended.stderr}"
        assert "Traceback" not in ended.stderr
        if code == 0 and "costs" not in script:
            assert ended.stdout.strip()


def test_first_run_prints_what_the_readme_shows(checkout: Path) -> None:
    (shown,) = (block.text for block in blocks("text") if "mounted on" in block.text)
    ended = type_in('agentctl run "How much disk is free?"', checkout)
    notes, head, rows, end = re.fullmatch(r"((?:.*\n){2})(mounted on.*\n)((?:/.*\n)+)(done .*\n)", shown).groups()  # type: ignore[union-attr]
    assert without_numbers(notes + end) == without_numbers(ended.stderr)
    assert head.split() == ended.stdout.splitlines()[0].split()
    assert {len(row.split()) for row in rows.splitlines()} <= {len(row.split()) for row in ended.stdout.splitlines()}


def without_numbers(text: str) -> str:
    """Return a text with its time and id blurred."""
    return re.sub(r"\d+\.\d s · run \w+", "0.0 s · run 0", text)


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.place)
def test_python_block_of_docs_runs_twice(block: Block, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-W", "error", "-c", block.text]
    for _ in range(2):
        subprocess.run(words, cwd=tmp_path, env=environment, check=True, timeout=60)


@pytest.fixture
def server(wire: OpenWire, checkout: Path, docker_host: str, monkeypatch: pytest.MonkeyPatch) -> WireServer:
    """Return a server in the place of each provider; the word ``ollama`` takes the pull for done."""
    server = wire(containers, rates=Rates(Decimal(0), Decimal(0)))
    install(checkout, loads="litellm")
    (checkout / ".venv" / "bin" / "ollama").write_text('#!/bin/sh\n[ "$1 $2" = "pull llama3.1" ]\n')
    (checkout / ".venv" / "bin" / "ollama").chmod(0o755)
    monkeypatch.delenv("AGENTCTL_CONFIG_DIR")
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    monkeypatch.setenv("OLLAMA_HOST", server.url)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
    return server


@pytest.mark.parametrize("block", blocks("shell"), ids=lambda block: block.place)
def test_shell_block_of_docs_works_with_a_model_twice(
    block: Block, checkout: Path, server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "--sandbox bwrap" in block.text:
        need("bwrap")
    if "--provider" not in block.text:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
    script = block.text.replace("http://127.0.0.1:8000/v1", server.openai_url)
    for _ in range(2):
        done = type_in(script, checkout, stdin=f"{KEY}\n")
        assert done.returncode == 0, done.stderr
        assert "sample-web" in done.stdout or LIST not in script
    asked = server.books.chat_requests
    assert len(asked) == 4 if LIST in script else len(asked) >= 2


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: block.place)
def test_workflow_of_docs_runs_twice(
    block: Block, checkout: Path, server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = yaml.safe_load(block.text)["jobs"].values()
    steps = [step for step in job["steps"] if step.get("run", "").startswith("agentctl ")]
    for _ in range(2):
        for step in steps:
            with monkeypatch.context() as patched:
                patched.setenv("CI", "true")
                for name, value in step.get("env", {}).items():
                    patched.setenv(name, KEY if "secrets." in value else value)
                done = type_in(step["run"], checkout)
                assert done.returncode == 0, done.stderr
                assert "sample-web" in done.stdout or "agentctl run" not in step["run"]


@pytest.mark.parametrize("block", [block for block in blocks("yml") if block.page == "docs/ci.md"])
def test_examples_for_ci_systems_use_commands_and_outputs_that_exist(block: Block) -> None:
    found = yaml.safe_load(block.text)
    (job,) = found.get("jobs", found).values()
    lines = job["script"] if "script" in job else [step["run"] for step in job["steps"]]
    (command,) = (line for line in lines if line.startswith("agentctl "))
    assert parse_command(shlex.split(command)[1:])["task"]
    outputs = yaml.safe_load((ROOT / "action.yml").read_text())["outputs"]
    assert set(re.findall(r"outputs\.(\w+)", block.text)) <= set(outputs)


def test_provider_by_hand_answers(wire: OpenWire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = wire(Answer("Hello.", input_tokens=1000, output_tokens=100), repeat=True)
    monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
    (block,) = blocks("py")
    environment = {**os.environ, **fork_server.ENVIRON}
    script = block.text
    for _ in range(2):
        done = fork_server.run(["-c", script], cwd=tmp_path, env=environment, text=True, loads="litellm")
        assert done.stdout.split() == ["Hello.", "0.00021", "3"], done.stderr


def test_toml_of_docs_is_valid(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home/.cache/pip").mkdir(parents=True)  # a page names it
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DOCS_TOKEN", "a-token")
    for block in blocks("toml"):
        keys = tomllib.loads(block.text).keys()
        if "project" in keys:  # the pyproject.toml of a package
            continue
        (checkout / "page.toml").write_text(block.text)
        checks = "agents check ./page.toml" if "instructions" in keys else "config check --config page.toml"
        ended = type_in(f"agentctl {checks}", checkout)
        assert ended.returncode == 0, f"{block.place}: {ended.stdout}{ended.stderr}"


def test_question_in_readme_is_the_one_that_is_asked() -> None:
    from agentctl.cli.ui.question import _PROMPT

    shown = [block.text for block in blocks("text") if block.text.startswith("May ")]
    assert [text.split()[1] for text in shown] == ["docker_restart", "docker_exec"]
    assert all(text.endswith(f"{_PROMPT.strip()}\n") for text in shown)


LOCKS = ["requirements.lock", "requirements-mcp.lock", "tests/requirements.lock"]
#: What an extra adds: installed together with requirements.lock.
ADDITIONS = [f"requirements-{extra}.lock" for extra in ("otel", "postgres", "leases")]


def pinned(lock: str) -> dict[str, str]:
    """Return the packages that a lock pins, with their versions."""
    return dict(re.findall(r"^([\w.-]+)==([^ ;]+)", (ROOT / lock).read_text(), re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS + ADDITIONS)
def test_lock_pins_every_package_with_hashes_and_names_no_host(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert not re.search(r"https?:|--index|--find-links|file:", text)
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) > (25 if lock in LOCKS else 1)
    assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)


def test_all_locks_pin_the_same_versions() -> None:
    own, extra, tests = map(pinned, LOCKS)
    assert own.items() <= extra.items() <= tests.items()
    for lock in ADDITIONS:
        assert pinned(lock).items() <= tests.items()
        assert not pinned(lock).keys() & own.keys()


def test_pictures_of_the_readme_exist_and_have_words() -> None:
    pictures = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", pages()["README.md"])
    assert len(pictures) == 2
    assert all(words and (ROOT / path).is_file() for words, path in pictures)
