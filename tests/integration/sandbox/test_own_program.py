"""agentctl installed in the workspace itself: nothing that a model writes there becomes its program."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
INSIDE = """
import json, sys
from pathlib import Path
import anyio
from agentctl.core.errors import ToolError
from agentctl.sandbox.select import open_sandbox
from agentctl.tools.toolbox import toolbox

workspace = Path(sys.argv[1])

async def main():
    sandbox = await open_sandbox("bwrap", workspace=workspace, network=False, read_only=False)
    command = "touch venv/lib/evil.py; touch venv/bin/git; mv venv elsewhere; touch beside"
    await sandbox.run(command, timeout=30)
    said = []
    for path in ("venv/lib/evil.py", "./venv/../venv/bin/python", "notes.txt"):
        try:
            await toolbox(workspace=workspace).get("write_file").prepare({"path": path, "text": "x"})
            said.append("goes")
        except ToolError as error:
            said.append(error.message)
    print(json.dumps(said))

anyio.run(main)
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True, timeout=60)
    return folder


def test_environment_of_agentctl_cannot_be_changed_by_a_command_or_a_file(workspace: Path) -> None:
    done = subprocess.run(
        [workspace / "venv/bin/python", "-c", INSIDE, str(workspace)],
        env={"PYTHONPATH": f"{ROOT}:{sysconfig.get_path('purelib')}", "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        "venv/lib/evil.py belongs to agentctl",
        "venv/bin/python belongs to agentctl",
        "goes",
    ]
    assert (workspace / "beside").exists(), "the rest of the workspace can be written"
    assert not (workspace / "elsewhere").exists()
    assert not (workspace / "venv/lib/evil.py").exists()
    assert not (workspace / "venv/bin/git").exists()
