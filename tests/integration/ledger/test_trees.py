"""Random trees of nested runs, in process and of processes: quick forms of ``tests.integration.ledger.full``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.ledger.trees import delegated, grown


@pytest.mark.parametrize("ten", range(4))
def test_tree_of_runs_passes_no_limit_above_and_sends_nothing_below_an_ended_run(ten: int) -> None:
    trees = [grown(seed) for seed in range(10 * ten, 10 * ten + 10)]
    assert [wrong for tree in trees for wrong in tree.wrong] == []
    assert sum(tree.held for tree in trees) > 50
    assert sum(tree.refused for tree in trees) > 10
    assert sum(tree.denied for tree in trees) > 10


@pytest.mark.parametrize("part", range(10))
def test_random_tree_of_delegated_runs_never_passes_the_limit_of_a_run_above(part: int, is_full: bool) -> None:
    """Ten thousand trees with ``--full``."""
    each = 1_000 if is_full else 1
    trees = [delegated(seed) for seed in range(part * each, (part + 1) * each)]
    assert [wrong for tree in trees for wrong in tree.wrong] == []
    assert sum(len(tree.nodes) for tree in trees) >= each
    assert sum(tree.held for tree in trees) >= each


def test_kill_9_in_a_tree_of_runs_passes_no_limit_and_sends_nothing_below_the_dead() -> None:
    """In a process of its own: forking is for one without threads."""
    line = [sys.executable, "-m", "tests.support.ledger.tree_processes", "tree"]
    root = Path(__file__).parents[3]
    ended = subprocess.run(line, cwd=root, capture_output=True, text=True, check=False, timeout=300)
    assert (ended.returncode, ended.stderr) == (0, "")
    said = json.loads(ended.stdout)
    assert (said["wrong"], said["failed"], said["given up"]) == ([], 0, 0)
    assert said["kills"] == 8
    assert said["denied"] > 0
    assert said["refused"] > 0
