"""Tests that start processes, beside ``tests/unit/tools/test_files_read.py``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]


pytestmark = pytest.mark.anyio


MEMORY = """
import sys, anyio
from pathlib import Path
from agentctl.tools.toolbox import toolbox

async def main():
    read = toolbox(workspace=Path(sys.argv[1])).get("read_file")
    print(await read({"path": "huge", "from_line": 4_194_303, "to_line": 4_194_304}))
    print((await read({"path": "huge", "from_byte": 2**28 - 5}))[-4:])
    status = Path("/proc/self/status").read_text()
    print(int(status.partition("VmHWM:")[2].split()[0]) // 1024)

anyio.run(main)
"""


def test_a_line_far_into_a_large_file_is_read_in_bounded_memory(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        block = (b"." * 63 + b"\n") * 16_384
        for _ in range(256):
            file.write(block)
        assert file.tell() == 2**28
    words = [sys.executable, "-c", MEMORY, str(tmp_path)]
    try:
        done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=120)
    finally:
        (tmp_path / "huge").unlink()
    first, second, end, peak = done.stdout.splitlines()
    assert (first, second, end) == ("." * 63, "." * 63, "." * 4)
    assert int(peak) < 150
