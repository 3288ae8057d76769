"""Tests that start processes, beside ``tests/unit/ledger/test_reconcile.py``."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agentctl.ledger.reconcile import By, Reconciliation, reconcile
from tests.support.ledger.corrections import left_in_doubt, rows

ROOT = Path(__file__).parents[3]


def gives_back(path: Path, by: By, value: str, nano: int = 0, **more: object) -> Reconciliation:
    return reconcile(path, by, value, actual_nano=nano, who="me", **more)  # type: ignore[arg-type]


DIES = """
import os, pathlib, sys
from agentctl.ledger.reconcile import reconcile

class Who(str):
    left = int(sys.argv[2])
    def __format__(self, spec):
        Who.left -= 1
        if Who.left < 0:
            os.kill(os.getpid(), 9)
        return "me"

reconcile(pathlib.Path(sys.argv[1]), "run", "run", actual_nano=0, who=Who())
"""


@pytest.mark.parametrize("after", [1, 2])
def test_kill_in_the_middle_of_reconcile_leaves_all_rows_as_they_were(path: Path, after: int) -> None:
    left_in_doubt(path, "a", "b", "c")
    before = rows(path)
    killed = subprocess.run([sys.executable, "-c", DIES, str(path), str(after)], cwd=ROOT, check=False)
    assert (killed.returncode, rows(path)) == (-signal.SIGKILL, before)
    assert len(gives_back(path, "run", "run").done) == 3
