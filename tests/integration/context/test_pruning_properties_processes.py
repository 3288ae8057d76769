"""Tests that start processes, beside ``tests/unit/context/test_pruning_properties.py``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_a_cut_is_the_same_in_every_process() -> None:
    script = (
        "from tests.support.context.needles import KINDS, by_relevance, talk\n"
        "for kind in KINDS.values():\n"
        "    told = talk(kind, 7)\n"
        "    print(by_relevance(told.opening + tuple(m for t in told.turns for m in t), 4_000))\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for seed in ("0", "1", "4711")
    }
    assert len(said) == 1
