"""agentctl as process 1 of a container: it reaps orphans, passes signals on, and ends as its command does."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentctl.ledger.report import costs_window
from tests.integration.cli.parts import wait_for_file
from tests.support.command_line import ROOT, Commands
from tests.support.terminal import read_until

pytestmark = pytest.mark.needs("root", "mount namespaces", "nsenter")

#: The kill is for a test that fails: the first process has no other parent.
FIRST = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")

SAYS_SIGNALS = """
import signal
from agentctl.cli.first_process import leave_to_child
leave_to_child()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGUSR1])
print("ready.", flush=True)
while (number := signal.sigwait([signal.SIGINT, signal.SIGUSR1])) == signal.SIGINT:
    print("interrupted.", flush=True)
print("and that was all.", flush=True)
"""

ENDS = """
import os, signal, subprocess, sys
from agentctl.cli.first_process import leave_to_child
leave_to_child()
assert os.getpid() != 1 and not signal.pthread_sigmask(signal.SIG_BLOCK, ())
exec(sys.argv[1])
"""


def until(is_so: Callable[[], bool]) -> None:
    for _ in range(3000):
        if is_so():
            return
        time.sleep(0.01)
    pytest.fail("it never was so")


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


@pytest.fixture
def stopped_in_a_call(agentctl: Commands) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Give a run that waits for an answer, and the process id that its first process has outside."""
    environ = {**os.environ, **agentctl.environ}
    argv = [*FIRST, *agentctl.argv(("run", "count them", "--json"), "mid-call")]
    with subprocess.Popen(
        argv,
        cwd=agentctl.folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        wait_for_file(agentctl.folder / "reached", process)
        (first,) = children(process.pid)
        try:
            yield process, first
        finally:
            process.kill()


def test_an_orphan_is_reaped_and_sigterm_ends_the_run_as_elsewhere(
    stopped_in_a_call: tuple[subprocess.Popen[bytes], int], tmp_path: Path, state: Path
) -> None:
    process, first = stopped_in_a_call
    (command,) = children(first)
    os.mkfifo(tmp_path / "until")
    orphan = ["sh", "-c", f"read x <{tmp_path / 'until'} &"]  # whoever started it has left
    subprocess.run(["nsenter", f"--pid=/proc/{first}/ns/pid", *orphan], check=True)
    until(lambda: len(children(first)) == 2)
    (left,) = set(children(first)) - {command}
    (tmp_path / "until").write_text("\n")
    until(lambda: is_gone(left))

    os.kill(first, signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    document = json.loads(out)
    assert (process.returncode, document["status"], document["exit_code"]) == (143, "interrupted", 143)
    assert err.decode().splitlines()[-1].startswith("terminated · 1 turn · ")
    report = costs_window(state / "ledger.db", seconds=3600)
    assert (report.held_nano, report.in_doubt_nano > 0) == (0, True)


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("sys.exit(3)", 3),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("os.kill(os.getpid(), signal.SIGQUIT)", 131),
        ("os.kill(1, signal.SIGTERM); signal.pause()", 143),
        ("os.kill(1, signal.SIGSEGV); sys.exit(0)", 0),
        ("sys.exit(subprocess.run(['sh', '-c', 'exit 7']).returncode)", 7),
    ],
)
def test_it_ends_as_the_command_does(program: str, code: int) -> None:
    done = subprocess.run([*FIRST, sys.executable, "-c", ENDS, program], cwd=ROOT, timeout=60)
    assert done.returncode == code


def test_ctrl_c_on_the_terminal_reaches_the_command_once() -> None:
    desk, terminal = pty.openpty()
    process = subprocess.Popen(
        [*FIRST, sys.executable, "-c", SAYS_SIGNALS],
        cwd=ROOT,
        stdin=terminal,
        stdout=terminal,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    try:
        read_until(desk, b"ready.")
        (first,) = children(process.pid)
        os.kill(first, signal.SIGSTOP)  # so that what it passed on would come second
        os.write(desk, b"\x03")
        read_until(desk, b"interrupted.")
        os.kill(first, signal.SIGCONT)
        os.kill(first, signal.SIGUSR1)
        assert b"interrupted" not in read_until(desk, b"and that was all.")
        assert process.wait(60) == 0
    finally:
        process.kill()
        os.close(desk)
        os.close(terminal)
