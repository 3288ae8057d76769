"""The pages of docs/ as topics: rendered on a terminal, and carried by the built wheel."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
import zipfile
from pathlib import Path

from agentctl.cli.help.pages import topics
from tests.support.command_line import ROOT, Commands
from tests.support.terminal import read_until


def test_a_page_on_a_terminal_is_rendered_and_with_no_color_it_is_not(agentctl: Commands) -> None:
    for env, begins in (({"NO_COLOR": ""}, "\x1b[1mExit codes\x1b[0m"), ({"NO_COLOR": "1"}, "# Exit codes")):
        desk, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        with agentctl.start("help", "exit-codes", stdout=terminal, env={"TERM": "xterm", **env}) as process:
            os.close(terminal)
            shown = read_until(desk, b"\n").decode()
            process.communicate(timeout=60)
        os.close(desk)
        assert shown.startswith(begins), shown


def test_the_wheel_holds_the_pages_and_prints_them(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
        subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, timeout=120)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as packed:
            held = {name: packed.read(name) for name in packed.namelist() if name.startswith("agentctl/docs/")}
            packed.extractall(tmp_path)
    assert held == {f"agentctl/docs/{page.name}": page.read_bytes() for page in topics().values()}
    program = "import sys; from agentctl.cli.app import main; sys.exit(main(['help', 'budget']))"
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-P", "-c", program], cwd=tmp_path, env=environ, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == held["agentctl/docs/budget.md"]
