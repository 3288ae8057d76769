"""A first-time user restarts an unhealthy container: asked once, shown the cost, found in the record."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli.walk.sick import health, sick_container, starts
from tests.support.bill.book import book_of
from tests.support.bill.parts import KEY, PAID, assert_accounted, reaching
from tests.support.command_line import Commands
from tests.support.terminal import Typed, at_a_terminal
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import WireServer, heal

PAGE = (Path(__file__).parents[4] / "docs" / "permissions-and-sandbox.md").read_text()
(WALK,) = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
LINES = [line.removeprefix("$ agentctl ") for line in WALK.splitlines()]
TASK = "Restart the sick container"
QUESTION = b"Allow it?"


@pytest.fixture
def server(wire: OpenWire) -> WireServer:
    return wire(heal, rates=PAID["openai"].rates, keys=[KEY])


@pytest.fixture
def web(docker_host: str) -> Iterator[str]:
    with sick_container(docker_host, "web") as name:
        yield name


def watch(typed: Typed, *, answers: list[str]) -> str:
    """Answer each question with the next of ``answers``; return all that the terminal showed, its colours aside."""
    fcntl.ioctl(typed.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    shown = b""
    seen = 0
    until = time.monotonic() + 60
    while typed.process.poll() is None or select.select([typed.desk], [], [], 0)[0]:
        assert time.monotonic() < until, shown[-2000:]
        if select.select([typed.desk], [], [], 0.1)[0]:
            shown += os.read(typed.desk, 65536)
        if shown.count(QUESTION) > seen:
            seen += 1
            typed.types(answers[seen - 1])
    assert seen == len(answers)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode(errors="replace").replace("\r\n", "\n"))


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 5)])
def test_a_person_is_asked_once_and_the_answer_counts(
    shell: Commands, state: Path, server: WireServer, docker_host: str, web: str, answer: str, code: int
) -> None:
    environ = reaching(server, "openai") | {"DOCKER_HOST": docker_host, "AGENTCTL_AGENT": "", "TERM": "xterm-256color"}
    assert LINES[0] == f'run "{TASK}"'
    before = starts(docker_host, web)
    with at_a_terminal(shell, "run", TASK, env=environ) as typed:
        shown = watch(typed, answers=[answer])
        out = (typed.process.stdout.read() if typed.process.stdout else b"").decode()
    assert typed.process.returncode == code, shown
    assert (starts(docker_host, web) != before) is (code == 0)
    assert 'docker_restart(name="web"' in shown
    assert "docker_restart(name=web)" in shown, "what always would mean"
    book = book_of(state)
    assert_accounted(server.books, book)
    if code == 0:
        assert out == "web was unhealthy. I restarted it, and it runs again.\n"
        assert re.search(
            r"done · 4 turns · \$0\.\d+ of \$0\.50 · hour \$0\.\d+ of \$10 · [\d.]+ s · run \w{6}\n", shown
        )
        assert health(docker_host, web) in {"starting", "healthy"}
    else:
        assert out == ""
        assert "By hand: docker restart web" in shown
    told = shell("runs", "show").out
    assert f"task: {TASK}" in told
    assert ("you" in told and "allowed" in told) if code == 0 else "said no" in told


def test_the_readmes_lines_do_what_it_says(
    shell: Commands, server: WireServer, docker_host: str, web: str, tmp_path: Path
) -> None:
    environ = reaching(server, "openai") | {"DOCKER_HOST": docker_host, "AGENTCTL_AGENT": ""}
    server.play(heal)
    before = starts(docker_host, web)
    assert LINES[1:] == [
        f"run --allow 'docker_restart(name=web)' \"{TASK}\"",
        f'run "{TASK}" </dev/null',
        "runs show",
    ]
    denied = shell("run", TASK, stdin=None, **environ)
    assert (denied.code, denied.out) == (5, "")
    assert starts(docker_host, web) == before
    allowed = shell("run", "--allow", "docker_restart(name=web)", TASK, **environ)
    assert allowed.code == 0
    assert starts(docker_host, web) != before
    assert "docker_restart(name=web)" in shell("runs", "show").out
