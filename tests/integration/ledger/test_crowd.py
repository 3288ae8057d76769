"""Many processes on one ledger, and the bills of a provider: ``python -m tests.integration.ledger.full``, shortened."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.ledger.crowd import DOLLAR, WORST
from tests.support.ledger.spender import POINTS

ROOT = Path(__file__).parents[3]


def crowd(name: str) -> dict[str, Any]:
    """Let a crowd of its own processes run: forking is for a process without threads."""
    line = [sys.executable, "-m", "tests.support.ledger.crowd", name]
    ended = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    said: dict[str, Any] = json.loads(ended.stdout)
    assert said["wrong"] == []
    assert said["failed"] == 0
    assert said["given up"] == 0
    return said


def test_eight_processes_spend_two_dollars_and_none_is_refused_for_holds_alone() -> None:
    said = crowd("8 on $2")
    assert 0.8 * 2 * DOLLAR <= said["billed"] <= 2 * DOLLAR
    assert said["refusals"] > 0
    assert said["refused at nothing spent"] == 0


def test_the_last_admission_reaches_the_limit_exactly() -> None:
    said = crowd("exactly")
    assert said["billed"] == said["limit"] == 16 * WORST


def test_most_runs_finish_with_a_tenth_of_the_answers_cut_off() -> None:
    said = crowd("with doubts")
    assert said["phases"]["doubt"][0] > 0
    assert sum(outcome["refused"] == "" for outcome in said["outcomes"]) >= 6


def test_kill_9_at_any_moment_passes_no_limit_and_leaves_everything_accounted_for() -> None:
    said = crowd("killed")
    assert said["points"] == dict.fromkeys(POINTS, 1)
    assert said["phases"]["doubt"][0] > 0
    assert said["refusals"] > 0


def test_a_process_of_the_crowd_loads_only_the_ledger_and_what_it_stands_on() -> None:
    line = "import sys, tests.support.ledger.crowd; print(*(n for n in sys.modules if n.startswith('agentctl.')))"
    said = subprocess.run([sys.executable, "-c", line], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    loaded = {name.removeprefix("agentctl.") for name in said.split()}
    core = {
        "errors",
        "files",
        "impact",
        "late_modules",
        "leases",
        "ledger_address",
        "limits",
        "messages",
        "pricing",
        "results",
        "substitutes",
        "text",
    }
    budget = {"breaker", "conclusions", "rules"}
    below = {"core", "budget", *(f"core.{name}" for name in core), *(f"budget.{name}" for name in budget)}
    assert {name for name in loaded if name.partition(".")[0] != "ledger"} == below
