"""Tests that start processes, beside ``tests/unit/providers/builtin/test_provider.py``."""

from __future__ import annotations

import subprocess
import sys


def test_importing_providers_loads_nothing_heavy() -> None:
    code = "import sys, agentctl.providers.builtin.provider; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    heavy = {"numpy", "pydantic", "asyncio", "anyio", "psutil", "aiodocker", "rich", "typer", "tomllib", "sqlite3"}
    assert loaded & heavy == set()
