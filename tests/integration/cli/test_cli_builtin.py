"""builtin from the command line: what it prints is true, in words for people, and whole."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from agentctl.providers.builtin.match import LOOKUPS
from tests.support.command_line import Here
from tests.support.docker_parts import Docker, Make

pytest_plugins = ["tests.support.engine", "tests.support.docker_plugin"]

FILLED = {
    "name": "zork",
    "number": "7",
    "path": "absent/zork",
    "file": "folder.d",
    "pattern": "*.zork",
    "text": '"zork zork"',
    "size": "5MB",
    "since": "since yesterday",
    "state": "paused",
    "daemon": "sshd",
    "health": "unhealthy",
}
#: The name of a tool, or an argument as a model writes it.
FOR_MODELS = re.compile(r"\b(?:docker|system|list|read|search|git)_[a-z]+|\b\w+=(?:true|false|\d|/)")


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")


def ask(here: Here, task: str) -> tuple[int, str, list[str]]:
    """Return the exit code, the answer, and the lines of stderr but for those that say how the task was understood."""
    ended = here("run", "--provider", "builtin", "--input", "none", task)
    lines = [line for line in ended.err.splitlines() if not line.startswith(("builtin ", "done ", "failed "))]
    return ended.code, ended.out, lines


def test_a_key_does_not_make_builtin_untrue(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-there-is-one")
    for task in ("How much memory is free?", "Restart the sick container", "What is the meaning of life?"):
        ended = here("run", "--provider", "builtin", "--input", "none", task)
        assert "No model" not in ended.err
        assert "set up" not in ended.err
        assert "docker restart" not in ended.err


@pytest.mark.usefixtures("no_engine")
def test_no_lookup_answers_a_person_in_the_words_of_a_model(here: Here, tmp_path: Path) -> None:
    (tmp_path / "folder.d").mkdir()
    for lookup in LOOKUPS:
        example = next(filter(None, map(str.strip, f"{lookup.examples}|{lookup.causes}".split("|"))))
        code, out, lines = ask(here, re.sub(r"\{(\w+)\}", lambda kind: FILLED[kind[1]], example))
        assert code in (0, 1, 4), example
        assert [line for line in [*lines, *out.splitlines()[-1:]] if FOR_MODELS.search(line)] == [], example
        if code == 4:
            assert (out, sum(line.startswith("error: ") for line in lines)) == ("", 1), example


def test_why_a_container_keeps_restarting_is_answered_with_state_and_last_lines(
    here: Here, make: Make, docker: Docker, docker_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    name = make("--restart", "always", command=("sh", "-c", "echo no config in /etc/app; exit 7"))
    until = time.monotonic() + 60
    while docker.read(f"/containers/{name}/json")["RestartCount"] < 2:
        assert time.monotonic() < until
        time.sleep(0.1)
    code, out, lines = ask(here, f"Why does {name} keep restarting?")
    assert code == 0, (name, out, lines)
    assert re.search(r"^state +(?:restarting|running|exited)", out, re.MULTILINE)
    assert re.search(r"^restarts +[2-9]\d* \(policy: always\)$", out, re.MULTILINE)
    assert out.endswith("no config in /etc/app\n")
    assert lines == ["A lookup gives the facts; explaining them needs a model: agentctl help setup"]
    for _ in range(200):  # between two starts, which come ever more rarely
        if re.search(r"^state +restarting, ended .* ago$", out, re.MULTILINE):
            break
        code, out, _ = ask(here, f"Why does {name} keep restarting?")
    assert re.search(r"^exit code +7$", out, re.MULTILINE)


def test_containers_that_run_not_are_named_with_a_line_to_paste(
    here: Here, docker_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    code, out, _ = ask(here, "Is the docker engine running?")
    assert code == 0
    assert re.search(r"not running: .*\bsample-failed\b.* \(docker ps -a shows them\)\.$", out, re.MULTILINE)
