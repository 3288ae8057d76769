"""Tests that start processes, beside ``tests/unit/settings/test_config_file.py``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from agentctl.settings import load_settings
from tests.support.desk import Desk

ROOT = Path(__file__).parents[3]


WRITER = """
import sys
from pathlib import Path
from agentctl.settings.config_file import save_value
sys.stdin.readline()
for turn in range(1, 21):
    save_value(Path(sys.argv[1]), sys.argv[2], [str(turn)])
"""


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    path = Desk(tmp_path).user_toml("# mine\n")
    fields = ("max_turns", "max_context_tokens", "max_output_tokens")
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), field], cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for field in fields
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    for writer in writers:
        assert writer.communicate(timeout=120)[1] == b""
    assert sorted(path.read_text().splitlines()) == ["# mine", *sorted(f"{field} = 20" for field in fields)]
    environ = {"AGENTCTL_CONFIG_DIR": str(path.parent), "AGENTCTL_STATE_DIR": str(tmp_path)}
    assert load_settings(flags={}, environ=environ, cwd=tmp_path, remember=False).settings.max_turns == 20
