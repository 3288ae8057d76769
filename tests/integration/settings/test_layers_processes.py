"""Tests that start processes, beside ``tests/unit/settings/test_layers.py``."""

from __future__ import annotations

from pathlib import Path

from tests.support.desk import Desk


def test_loading_defaults_loads_no_event_loop_and_no_reader_of_files(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, agentctl.settings as s; s.load_settings(flags={}); "
        "heavy = ('asyncio', 'ssl', 'platformdirs', 'tomllib', 'tomlkit', 'rich', 'typer'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    desk = Desk(tmp_path)
    env = {**desk.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=desk.cwd, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
