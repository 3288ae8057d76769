"""Tests that start processes, beside ``tests/unit/tools/test_tool.py``."""

from __future__ import annotations

import subprocess
import sys


def test_a_light_tool_loads_nothing_heavy() -> None:
    code = (
        "import sys, anyio, pathlib\nfrom agentctl.tools.toolbox import toolbox\n"
        "box = toolbox(workspace=pathlib.Path('/'))\n"
        "assert 'pydantic' not in sys.modules and 'psutil' not in sys.modules\n"
        "anyio.run(box.get('system_disks'), {})\n"
        "print([name for name in ('aiodocker', 'aiohttp', 'ctypes', 'agentctl.tools.docker.listings') "
        "if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
