"""Tests that start processes, beside ``tests/unit/providers/test_vocabularies.py``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_loading_sends_nothing_sets_nothing_and_writes_nothing(tmp_path: Path) -> None:
    script = """
import os, sys
seen, before = [], dict(os.environ)
def hook(event, given):
    if event.startswith("socket.") or event in ("os.putenv", "os.unsetenv", "subprocess.Popen", "os.mkdir"):
        seen.append(event)
    if event == "open" and isinstance(given[1], str) and set(given[1]) & set("wax+"):
        seen.append(given[:2])
sys.addaudithook(hook)
from agentctl.providers.tokenizers import load_vocabulary
for name in ("o200k_base", "cl100k_base", "older Claude"):
    assert load_vocabulary(name)("why is web slow?") in (5, 6), name
assert dict(os.environ) == before
assert "litellm" not in sys.modules
print(seen)
"""
    done = subprocess.run(
        [sys.executable, "-B", "-c", script],
        cwd=ROOT,
        env={"PATH": "/usr/bin", "TMPDIR": str(tmp_path), "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")
    assert list(tmp_path.iterdir()) == []
