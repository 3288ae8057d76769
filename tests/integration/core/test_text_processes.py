"""Tests that start processes, beside ``tests/unit/core/test_text.py``."""

from __future__ import annotations

import subprocess
import sys


def test_importing_text_loads_nothing_slow() -> None:
    code = "import sys, agentctl.core.text; print(*({'difflib', 'urllib.parse', 'base64', 'json'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
