"""Ctrl-Z and fg in a shell with job control: what the terminal is like in between, and what is shown again."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.machine import need
from tests.support.screen.terminals import ROOT, STORY, Person, until

BASH = "import os; os.execvp('bash', ['bash', '--norc', '--noprofile', '--noediting', '-i'])"
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
SUSPEND = "\x1a"


@pytest.fixture
def bash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Person]:
    """Give a person at a shell with job control."""
    need("bash")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-to-be-seen-1234567890")
    person = Person(tmp_path, "-c", BASH, environ={"PS1": "ready> ", "PYTHONPATH": str(ROOT)})
    person.sees("ready> ")
    yield person
    person.close()


def types_command(bash: Person, *words: str) -> None:
    bash.types(shlex.join([sys.executable, *words]) + "\n")


def echoes(bash: Person) -> bool:
    return bool(termios.tcgetattr(bash.terminal)[3] & termios.ECHO)


def test_a_stopped_run_leaves_no_drawing_and_goes_on_drawing(bash: Person) -> None:
    types_command(bash, *STORY, "streaming", "run", "Look")
    bash.sees("The first half")
    bash.types(SUSPEND)
    bash.sees("Stopped")
    bash.sees("ready> ")
    assert bash.raw.count(HIDE) == bash.raw.count(SHOW) == 1
    bash.types("fg\n")
    bash.sees("The first half")
    assert bash.raw.count(HIDE) == 2
    (bash.folder / "go").touch()
    bash.sees("and the rest")
    bash.sees(" · 1 turn · ")
    bash.sees("ready> ")
    assert bash.raw.count(HIDE) == bash.raw.count(SHOW) == 2


def test_an_open_question_is_asked_again(bash: Person) -> None:
    types_command(bash, *STORY, "remove", "run", "Remove the old one")
    bash.sees("Allow it?")
    bash.types(SUSPEND)
    bash.sees("ready> ")
    bash.types("y\n")  # for the shell
    bash.sees("ready> ")
    assert not (bash.folder / "removed").exists()
    bash.types("fg\n")
    bash.sees('docker_rm(name="web-old")')
    bash.sees("Allow it?")
    bash.types("y\n")
    bash.sees(" · 2 turns · ")
    bash.sees("ready> ")
    assert (bash.folder / "removed").exists()
    assert bash.raw.count(HIDE) == bash.raw.count(SHOW)


@pytest.mark.parametrize("by", ["Ctrl-Z", "SIGSTOP"])
def test_a_key_is_asked_for_again_without_echo(bash: Person, config: Path, by: str) -> None:
    types_command(bash, "-m", "agentctl", "providers", "set-key", "anthropic")
    bash.sees("anthropic key (not shown): ")
    assert not echoes(bash)
    if by == "Ctrl-Z":
        bash.types(SUSPEND)
    else:
        os.killpg(os.tcgetpgrp(bash.terminal), signal.SIGSTOP)
    bash.sees("ready> ")
    bash.types("stty echo\n")
    bash.sees("ready> ")
    bash.types("fg\n")
    bash.sees("anthropic key (not shown): ")
    until(lambda: not echoes(bash), "a terminal without echo")
    bash.types("sk-not-to-be-shown-987654\n")
    bash.sees("saved ANTHROPIC_API_KEY")
    bash.sees("ready> ")
    assert "not-to-be-shown" not in bash.raw
    assert "sk-not-to-be-shown-987654" in (config / ".env").read_text()
    assert echoes(bash)


def test_a_yes_or_no_is_asked_again(bash: Person) -> None:
    (bash.folder / ".env").write_text("OPENAI_BASE_URL=http://127.0.0.1:9\n")
    types_command(bash, "-m", "agentctl", "trust")
    bash.sees("[y/N] ")
    bash.types(SUSPEND)
    bash.sees("ready> ")
    bash.types("fg\n")
    bash.sees("[y/N] ")
    bash.types("y\n")
    bash.sees("trusted")


def test_a_watched_report_is_drawn_below_what_the_shell_wrote(bash: Person) -> None:
    types_command(bash, "-m", "agentctl", "costs", "--watch")
    bash.sees("Ctrl-C to stop")
    bash.types(SUSPEND)
    bash.sees("ready> ")
    bash.types("fg\n")
    bash.sees("Ctrl-C to stop")
    assert "\x1b[J" not in bash.raw
    bash.types("\x03")
    bash.sees("ready> ")
