"""Tests that start processes, beside ``tests/unit/journal/test_writer.py``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from agentctl.journal.reader import list_runs, read_run

REPOSITORY = Path(__file__).parents[3]


WRITER = """
import sys, anyio, resource
from datetime import UTC, datetime
from pathlib import Path
from agentctl.core.errors import StateError
from agentctl.core.events import Noted, Record
from agentctl.journal.writer import Journal; from agentctl.journal.reader import list_runs, read_run

async def main():
    folder, limit = Path(sys.argv[1]), int(sys.argv[2])
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit,) * 2)
    async with Journal(folder, "r1") as journal:
        for seq in range(1, 100_000):
            try:
                await journal.observe(Record("r1", seq, datetime.now(UTC), Noted("x" * (seq * 997 % 30_000))))
            except StateError as error:
                print(error.message.rpartition(": ")[2], error.hint, sep="; ")
                break
    whole = [line["seq"] for line in read_run(journal.path)]
    print(whole == list(range(1, seq)), journal.path.read_bytes().endswith(b"\\n"))

anyio.run(main)
"""


def test_kill_9_at_any_moment_leaves_whole_lines(tmp_path: Path) -> None:
    for pause in (0.0, 0.003, 0.01, 0.03, 0.07):
        folder = tmp_path / str(pause)
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder), "0"], cwd=REPOSITORY)
        try:
            while not list_runs(folder) or not list(read_run(folder / "r1.jsonl")):
                assert writer.poll() is None
                time.sleep(0.001)
            assert list_runs(folder)[0].status == "running"
            time.sleep(pause)
        finally:
            os.kill(writer.pid, signal.SIGKILL)
            writer.wait()
        seen = [line["seq"] for line in read_run(folder / "r1.jsonl")]
        assert seen == list(range(1, len(seen) + 1))
        assert list_runs(folder)[0].status == "unfinished"
