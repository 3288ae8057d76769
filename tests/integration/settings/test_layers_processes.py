"""What needs a process of its own, beside ``tests/unit/settings/test_layers.py``."""

from __future__ import annotations

from pathlib import Path

from tests.support.desk import Desk


def test_loading_defaults_needs_neither_dotenv_nor_pydantic_settings(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, agentctl.settings as s; s.load_settings(flags={}); "
        "heavy = ('dotenv', 'pydantic_settings', 'platformdirs', 'tomllib', 'rich', 'typer'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    desk = Desk(tmp_path)
    env = {**desk.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=desk.cwd, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
