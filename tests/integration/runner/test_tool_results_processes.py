"""Tests that start processes, beside ``tests/unit/runner/test_tool_results.py``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agentctl.core.errors import ToolError
from agentctl.core.events import Noted, ToolFinished
from agentctl.journal.artifacts import open_artifact
from tests.support.disks import small_disk
from tests.support.large_results import House
from tests.support.loop import Deed, asks, call, says

REPOSITORY = Path(__file__).parents[3]


NUMBERED = "".join(f"line {number}\n" for number in range(1, 12_351))


pytestmark = pytest.mark.anyio


WRITER = """
import sys, anyio, resource
from pathlib import Path
from agentctl.journal.artifacts import ArtifactFolder
from agentctl.core.errors import StateError
from tests.support.disks import small_disk

async def main():
    folder, limit = Path(sys.argv[1]), int(sys.argv[2])
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit,) * 2)
    annex = ArtifactFolder(folder, most_bytes=10**12)
    for number in range(1, 100_000):
        try:
            await annex.keep(number, "t", "whole\\n" * 200_000 + "end")
        except StateError as error:
            print(error.message.rpartition(": ")[2])
            break
        print(number, flush=True)

anyio.run(main)
"""


def test_file_appears_only_when_complete_and_kill_9_leaves_none(tmp_path: Path) -> None:
    folder, whole = tmp_path / "kept", len("whole\n") * 200_000 + len("end")
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder), "0"], cwd=REPOSITORY, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    sizes: set[int] = set()
    with writer.stdout:
        assert writer.stdout.readline() == b"1\n"
        number = 2
        while number < 10:
            try:
                sizes.add((folder / f"{number}-t.txt").stat().st_size)
                number += 1
            except FileNotFoundError:
                assert writer.poll() is None
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
    assert sizes == {whole}
    files = [file for file in folder.iterdir() if not file.name.startswith(".")]
    assert {file.stat().st_size for file in files} == {whole}
    for half in folder.glob(".*"):
        with pytest.raises(ToolError):
            open_artifact(folder, f"run:{half.name}")


def test_a_limit_on_file_sizes_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    words = [sys.executable, "-c", WRITER, str(folder), "500000"]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "file too large\n"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("options", ["size=64k", "ro"])
async def test_a_full_or_read_only_disk_costs_a_name_and_one_warning_but_not_the_run(
    house: House, options: str
) -> None:
    with small_disk(house.kept.parent, options):
        outcome, _ = await house.run(
            [asks(call("big", "a")), asks(call("big", "b", again=True)), says("done")],
            Deed("big", lambda _: NUMBERED),
        )
    assert outcome.answer == "done"
    assert all("run:" not in event.text and "cut here" in event.text for event in house.diary.of(ToolFinished))
    [warning] = [event for event in house.diary.of(Noted) if event.level == "warning"]
    assert "result not saved" in warning.text
