"""Tests that start processes, beside ``tests/unit/cli/test_live.py``."""

from __future__ import annotations

import subprocess
import sys

from tests.support.screen.terminals import ROOT


def test_short_run_loads_no_drawing_library() -> None:
    program = """
import io, os, sys, anyio
from agentctl.core.events import Noted
from tests.support.screen.live import STARTED, open_screen, tell
file = io.StringIO()
async def run():
    screen = open_screen(file, patience_s=60)
    await tell(screen, STARTED, Noted("quick"))
    screen.close()
anyio.run(run)
assert file.getvalue() == "openai/gpt · key\\nquick\\n", file.getvalue()
assert "rich.live" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)
