"""Tests that start processes, beside ``tests/unit/settings/test_trust_store.py``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from agentctl.settings.trust_store import TrustStore, real

ROOT = Path(__file__).parents[3]


WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from agentctl.settings.trust_store import TrustStore
from agentctl.settings.untrusted_files import read_project_file
state, folder = Path(sys.argv[1]), Path(sys.argv[2])
sys.stdin.readline()
for turn in range(10):
    own = folder / str(turn)
    own.mkdir(parents=True)
    (own / ".env").write_text("A=1")
    TrustStore(state).grant([read_project_file(own / ".env")], now=datetime.now(UTC))
"""


def test_several_processes_at_once_lose_no_trust(tmp_path: Path) -> None:
    names = ("a", "b", "c")
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "state"), str(tmp_path / name)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for name in names
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    for writer in writers:
        assert writer.communicate(timeout=120)[1] == b""
    records = TrustStore(tmp_path / "state").records()
    assert set(records) == {real(tmp_path / name / str(turn) / ".env") for name in names for turn in range(10)}
    assert {record.state for record in records.values()} == {"trusted"}
