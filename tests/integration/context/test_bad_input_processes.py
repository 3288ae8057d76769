"""Tests that start processes, beside ``tests/unit/context/test_bad_input.py``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


DRIVER = ROOT / "tests" / "support" / "scripted_cli.py"


def test_a_task_larger_than_the_window_ends_with_7_and_the_setting_to_raise(tmp_path: Path) -> None:
    task = "why is it slow? " * 3_080
    done = subprocess.run(
        [sys.executable, str(DRIVER), "answer", "run", "--json", task],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    document = json.loads(done.stdout)
    assert (done.returncode, document["status"], document["cost"]["nano_usd"]) == (7, "context", 0)
    assert document["error"]["message"].startswith("the conversation needs about 13,")
    assert document["error"]["message"].endswith("max_context_tokens is 8,000 (the task: 12,375 tokens)")
    assert document["error"]["hint"] == "raise it: MAX_CONTEXT_TOKENS=27000, or shorten the task"
