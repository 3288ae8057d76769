"""Output that a tool leaves out is in the run's file, up to four megabytes a stream."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agentctl.context.tokens import PLAIN
from agentctl.core.events import ToolFinished
from agentctl.sandbox.unsandboxed import Unsandboxed
from agentctl.tools.toolbox import LazyToolbox, toolbox
from tests.support.large_results import House, find_marked_call
from tests.support.loop import asks, call, says

REPOSITORY = Path(__file__).parents[3]
pytestmark = pytest.mark.anyio


def shell(house: House, *, kept: bool = True) -> LazyToolbox:
    return toolbox(workspace=house.work, sandbox=Unsandboxed(house.work), run_files=house.kept if kept else None)


async def test_the_middle_of_a_command_s_output_can_be_read(house: House) -> None:
    wanted = call("read_file", path="run:1-run_shell.txt", from_line=150_002, to_line=150_003)
    script = [asks(call("run_shell", command="seq 300000; echo so >&2; exit 3")), asks(wanted), says("done")]
    await house.run(script, shell(house).get("run_shell"))
    cut, read = (event.text for event in house.diary.of(ToolFinished))
    assert PLAIN.text(cut) <= 1000
    assert cut.startswith("exit code: 3\nstdout:\n1\n2\n")
    assert cut.endswith("\n300000\nstderr:\nso")
    assert find_marked_call(cut) is not None
    assert read == "150000\n150001"


async def test_output_left_out_is_mentioned_where_the_model_sees_it(house: House) -> None:
    await house.run([asks(call("run_shell", command="seq 1000000")), says("done")], shell(house).get("run_shell"))
    [cut] = house.diary.of(ToolFinished)
    assert cut.text.endswith(" bytes of output left out: send it to a file and look at parts")
    text = (house.kept / "1-run_shell.txt").read_text()
    assert 4 * 1024 * 1024 - 100 < len(text) < 4 * 1024 * 1024 + 300
    assert " bytes left out ...]\n" in text


async def test_tool_outside_a_run_returns_the_short_output(house: House) -> None:
    said = await shell(house, kept=False).get("run_shell")({"command": "seq 300000"})
    assert len(said) < 64 * 1024


MEMORY = """
import sys, anyio
from pathlib import Path
from agentctl.journal.artifacts import ArtifactFolder
from agentctl.sandbox.unsandboxed import Unsandboxed
from agentctl.tools.toolbox import toolbox

async def main():
    size, work, kept = sys.argv[2], Path(sys.argv[1]), Path(sys.argv[1]) / "kept"
    run_shell = toolbox(workspace=work, sandbox=Unsandboxed(work), run_files=kept).get("run_shell")
    said = await run_shell({"command": f"yes 'a line of some length' | head -c {size}; yes error | head -c 32M >&2"})
    print((await ArtifactFolder(kept).keep(1, "run_shell", said)).path, len(said) // 1024 // 1024)
    status = Path("/proc/self/status").read_text()
    print(int(status.partition("VmHWM:")[2].split()[0]) // 1024)

anyio.run(main)
"""


def test_a_flood_of_output_stays_in_bounded_memory(tmp_path: Path, is_full: bool) -> None:
    words = [sys.executable, "-c", MEMORY, str(tmp_path), "1G" if is_full else "256M"]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=120)
    kept, peak = done.stdout.splitlines()
    assert kept == "run:1-run_shell.txt 8"
    assert int(peak) < 150
