"""The pages of docs/: their shell blocks run, twice in a row, and the built wheel carries them."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import zipfile
from decimal import Decimal
from pathlib import Path

import pytest

from agentctl.cli.help.pages import topics
from tests.integration.test_readme import checkout as checkout
from tests.integration.test_readme import install
from tests.support.command_line import ROOT, Commands
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Rates, containers

#: The pages whose blocks are run here.
PAGES = ("budget", "builtin", "context", "formatting", "permissions-and-sandbox", "providers", "settings")
KEY = "sk-docs-0123456789abcdef"


def blocks(info: str) -> list[tuple[str, str]]:
    """Return the page and the text of each block with this info string."""
    found = []
    for name in PAGES:
        text = (ROOT / "docs" / f"{name}.md").read_text()
        found += [(name, block) for block in re.findall(rf"^```{info}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]
    return found


def names(found: list[tuple[str, str]]) -> list[str]:
    return [f"{name}-{[other for other, _ in found[:at]].count(name)}" for at, (name, _) in enumerate(found)]


def run(script: str, folder: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    argv = ["bash", "-c", f'set -o pipefail; export PATH="$PWD/.venv/bin:$PATH"\n{script}']
    return subprocess.run(argv, cwd=folder, input=stdin, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(("page", "block"), blocks("bash"), ids=names(blocks("bash")))
def test_every_line_of_a_bash_block_ends_as_it_says_twice(
    page: str, block: str, checkout: Path, docker_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    assert run('agentctl run -q "How much memory is free?"', checkout).returncode == 0
    for line in [line for line in block.splitlines() if line] * 2:
        found = re.search(r"# exit (\d+)$", line)
        ended = run(line, checkout)
        assert ended.returncode == (int(found[1]) if found else 0), (page, line, ended.stderr)
        assert "Traceback" not in ended.stderr


SHELL = [(page, block) for page, block in blocks("shell") if page != "providers"]


@pytest.mark.needs("bwrap")
@pytest.mark.parametrize(("page", "block"), SHELL, ids=names(SHELL))
def test_every_line_of_a_shell_block_runs_with_a_model_twice(
    page: str, block: str, checkout: Path, docker_host: str, wire: OpenWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = wire(lambda asked: Answer("Nothing is wrong."), keys=[KEY], rates=Rates(Decimal(0), Decimal(0)))
    install(checkout, loads="litellm")
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    lines = block.splitlines() * 2
    for line in lines:
        ended = run(line, checkout)
        assert (ended.returncode, ended.stdout) == (0, "Nothing is wrong.\n"), (page, line, ended.stderr)
    assert len(server.books.chat_requests) == len(lines)


MODELS = [block for page, block in blocks("shell") if page == "providers"]


@pytest.mark.parametrize("block", MODELS, ids=["ollama", "openai", "anthropic", "compatible"])
def test_every_set_up_of_the_providers_page_works_twice(
    block: str, checkout: Path, docker_host: str, wire: OpenWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server stands where the provider would; ``ollama`` is a script that accepts the pull."""
    server = wire(containers, keys=None if "my-model" in block else [KEY], rates=Rates(Decimal(0), Decimal(0)))
    install(checkout, loads="litellm")
    (checkout / ".venv" / "bin" / "ollama").write_text('#!/bin/sh\n[ "$1 $2" = "pull llama3.1" ]\n')
    (checkout / ".venv" / "bin" / "ollama").chmod(0o755)
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    monkeypatch.setenv("OLLAMA_HOST", server.url)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
    script = block.replace("http://127.0.0.1:8000/v1", server.openai_url)
    for count in (2, 4):
        done = run(f"set -e\n{script}", checkout, stdin=f"{KEY}\n")
        assert done.returncode == 0, done.stderr
        assert "sample-web" in done.stdout
        assert len(server.books.chat_requests) == count


def test_a_page_on_a_terminal_is_rendered_and_with_no_color_it_is_not(agentctl: Commands) -> None:
    for env, begins in (({"NO_COLOR": ""}, "\x1b[1mExit codes\x1b[0m"), ({"NO_COLOR": "1"}, "# Exit codes")):
        desk, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        with agentctl.start("help", "exit-codes", stdout=terminal, env={"TERM": "xterm", **env}) as process:
            os.close(terminal)
            shown = os.read(desk, 4096).decode()
            process.communicate(timeout=60)
        os.close(desk)
        assert shown.startswith(begins), shown


def test_the_wheel_holds_the_pages_and_prints_them(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
        subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, timeout=120)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as packed:
            held = {name: packed.read(name) for name in packed.namelist() if name.startswith("agentctl/docs/")}
            packed.extractall(tmp_path)
    assert held == {f"agentctl/docs/{page.name}": page.read_bytes() for page in topics().values()}
    program = "import sys; from agentctl.cli.app import main; sys.exit(main(['help', 'budget']))"
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-P", "-c", program], cwd=tmp_path, env=environ, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == held["agentctl/docs/budget.md"]
