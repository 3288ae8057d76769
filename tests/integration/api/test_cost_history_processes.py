"""Tests that start processes, beside ``tests/unit/api/test_cost_history.py``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import Commands
from tests.support.face import COST

ROOT = Path(__file__).parents[3]


WRITER = ROOT / "tests/support/history_writer.py"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".cost_history.json"


@pytest.fixture
def agentctl(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


def records(path: Path) -> list[dict[str, Any]]:
    found = json.loads(path.read_text())
    assert isinstance(found, list)
    return found


def test_processes_at_once_lose_nothing(path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    writers = [
        subprocess.Popen([sys.executable, str(WRITER), str(path), f"run-{number}", "25"], env=environment)
        for number in range(4)
    ]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    assert Counter(record["run_id"] for record in records(path)) == {f"run-{number}": 25 for number in range(4)}
    assert sorted(os.listdir(path.parent)) == [path.name, f"{path.name}.lock"]  # noqa: PTH208


def test_command_line_writes_the_history_where_it_is_named_and_nowhere_else(agentctl: Commands, path: Path) -> None:
    assert agentctl("run", "How many?", script="answer").code == 0
    assert not path.exists()
    ended = agentctl("run", "How many?", script="answer", COST_HISTORY_FILE=path.name)
    assert (ended.code, ended.out) == (0, "42 containers\nof which 7 run\n")
    assert [(record["task"], record["nano_usd"]) for record in records(path)] == [("How many?", COST)]
    lost = agentctl("run", "How many?", script="answer", COST_HISTORY_FILE="nowhere/x.json")
    assert (lost.code, lost.out) == (0, ended.out)
    assert lost.err.count("warning: the cost history") == 1


def test_untrusted_folder_cannot_name_a_cost_history(agentctl: Commands, path: Path) -> None:
    (path.parent / ".env").write_text(f"COST_HISTORY_FILE={path.name}\n")
    assert agentctl("run", "How many?", script="answer").code == 0
    assert not path.exists()
