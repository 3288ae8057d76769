"""Tests that start processes, beside ``tests/unit/runner/test_learned_counts.py``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from agentctl.runner.learned_counts import FILE

ROOT = Path(__file__).parents[3]


def test_runs_that_end_at_once_leave_a_whole_file(tmp_path: Path) -> None:
    script = (
        "import sys, anyio\nfrom pathlib import Path\nfrom agentctl.context.counter import Calibration\n"
        "from agentctl.runner.learned_counts import LearnedCounts\nbook = LearnedCounts(Path(sys.argv[1]))\n"
        "for n in range(20):\n"
        "    anyio.run(book.remember, 'openai', f'model {sys.argv[2]}.{n}', {'way': Calibration(1.0, n)})\n"
        "    assert book.known('openai', f'model {sys.argv[2]}.{n}') in ({}, {'way': Calibration(1.0, n)})\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    runs = [subprocess.Popen([*command, str(n)], cwd=ROOT, stderr=subprocess.PIPE) for n in range(3)]
    assert [(run.communicate(timeout=60)[1], run.returncode) for run in runs] == [(b"", 0)] * 3
    models = json.loads((tmp_path / FILE).read_bytes())["models"]
    assert {"openai/model 0.19", "openai/model 1.19", "openai/model 2.19"} & set(models)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
