"""Several runs at one terminal, as ``xargs -P`` starts them."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.machine import need
from tests.support.screen.terminals import ROOT, STORY, Person

HIDE = "\x1b[?25l"
#: What `run` is replaced by: a shell that starts the batch.
BASH = "import os, sys; os.execvp('bash', ['bash', '-c', sys.argv[1]])"
StartBatch = Callable[[str], Person]


@pytest.fixture
def start_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StartBatch:
    """Return a function that starts three runs of a story by xargs at one terminal."""
    need("xargs")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-to-be-seen-1234567890")

    def start(story: str) -> Person:
        command = shlex.join([sys.executable, *STORY, story, "run"])
        line = f"printf '%s\\n' one two three | xargs -n 1 -P 3 {command}; echo ended $?"
        return Person(tmp_path, "-c", BASH, line, environ={"PYTHONPATH": str(ROOT)})

    return start


def test_runs_of_xargs_print_tagged_lines_and_draw_nothing(start_batch: StartBatch, state: Path) -> None:
    person = start_batch("streaming")
    for _ in range(3):
        person.sees("openai/gpt-4o-mini")
    (person.folder / "go").touch()
    person.sees("ended 0")
    runs = {path.stem[:6] for path in (state / "runs").glob("*.jsonl")}
    shown = re.sub(r"\x1b\[[0-9;]*m", "", person.raw.replace("\r\n", "\n")).splitlines()
    person.close()
    assert (len(runs), HIDE in person.raw) == (3, False)
    tagged = {line[1:7] for line in shown if " done · 1 turn · " in line and line.startswith("[")}
    assert tagged == runs
    answers = ("The first half", "and the rest")
    assert [line for line in shown if line and line[1:7] not in runs and line not in answers] == ["ended 0"]
