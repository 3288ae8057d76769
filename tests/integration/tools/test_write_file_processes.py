"""Tests that start processes, beside ``tests/unit/tools/test_write_file.py``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.machine import need

REPOSITORY = Path(__file__).parents[3]


TOO_MUCH = """
import sys, anyio, resource
from pathlib import Path
from agentctl.core.errors import ToolError
from agentctl.tools.files.write import write_file_async
if sys.argv[2:]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    anyio.run(lambda: write_file_async("file", "n" * 300_000, workspace=Path(sys.argv[1])))
except ToolError as error:
    print(error.message)
"""


def test_a_limit_on_file_sizes_leaves_the_old_file_whole(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    arguments = [sys.executable, "-c", TOO_MUCH, str(tmp_path), "100000"]
    done = subprocess.run(arguments, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "file would be larger than this process may write\n"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file": "old"}


def test_a_full_disk_leaves_the_old_file_whole(tmp_path: Path) -> None:
    need("root", "mounts", "unshare")
    mount = 'mount -t tmpfs -o size=64k none "$1" && echo old >"$1/file"'
    script = f'{mount} && "$2" -c "$3" "$1" && cat "$1/file" && ls -A "$1"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path), sys.executable, TOO_MUCH],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip("mounting is not allowed here")
    assert done.stdout == "no space left on the disk of file\nold\nfile\n"
