"""Parts of the tests of the command line's processes: a file to wait for, a reader that has left."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.command_line import Commands, Ended


def wait_for_file(path: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait up to 30 s until the process has made the file."""
    for _ in range(3000):
        if path.exists():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    pytest.fail(f"{path.name} never came")


def signal_until_it_ends(process: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal again and again, as a person who waits does, until the process has ended."""
    for _ in range(600):
        if process.poll() is not None:
            return
        process.send_signal(number)
        time.sleep(0.05)
    pytest.fail("it never ended")


def run_into_closed_pipe(
    agentctl: Commands, *words: str, script: str | None = None, closed_stderr: bool = False
) -> Ended:
    """Run with a stdout, or a stderr, whose reader has already left."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        argv = agentctl.argv(words, script)
        environ = {**os.environ, **agentctl.environ}
        stdout, stderr = (subprocess.PIPE, closed) if closed_stderr else (closed, subprocess.PIPE)
        done = subprocess.run(
            argv, cwd=agentctl.folder, env=environ, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, timeout=60
        )
    return Ended(done.returncode, (done.stdout or b"").decode(), (done.stderr or b"").decode())
