"""Tests that start processes, beside ``tests/unit/api/test_docker_agent.py``."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.face import journals

ROOT = Path(__file__).parents[3]


CTRL_C = """
import asyncio, sys
from pathlib import Path
import anyio
from agentctl import CostTracker, DockerAgent, ScriptedProvider
from tests.support.face import PRICED

async def hang(request):
    Path("reached").touch()
    try:
        await anyio.sleep_forever()
    except BaseException:
        Path("told").touch()
        if sys.argv[1] == "stubborn":
            with anyio.CancelScope(shield=True):
                await anyio.sleep_forever()
        raise

tracker = CostTracker()
agent = DockerAgent(ScriptedProvider([hang], facts=PRICED), tracker)

async def main():
    agent.execute("wait for it")

try:
    if sys.argv[1] == "loop":
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
    elif sys.argv[1] == "invoke":
        ScriptedProvider([hang]).invoke("wait for it")
    else:
        agent.execute("wait for it")
except KeyboardInterrupt:
    print("stopped, in doubt:", tracker.in_doubt)
    raise
"""


def until(there: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    end = time.monotonic() + 30
    while not there():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def interrupted(folder: Path, how: str, *, twice: bool = False) -> tuple[int, str]:
    """Start a program, press Ctrl-C while its run waits for the model, and return how it ended."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    program = [sys.executable, "-c", CTRL_C, how]
    with subprocess.Popen(
        program, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as one:
        until((folder / "reached").exists)
        one.send_signal(signal.SIGINT)
        if twice:
            until((folder / "told").exists)
            one.send_signal(signal.SIGINT)
        out, _ = one.communicate(timeout=30)
    return one.returncode, out.decode()


@pytest.mark.parametrize("how", ["plain", "loop"])
def test_ctrl_c_stops_the_run_properly_and_is_raised(tmp_path: Path, how: str) -> None:
    code, out = interrupted(tmp_path, how)
    assert code == -signal.SIGINT
    assert re.fullmatch(r"stopped, in doubt: 0\.\d+\n", out)
    (lines,) = journals()
    assert (lines[-1]["event"], lines[-1]["result"]["status"]) == ("run_finished", "interrupted")
    assert lines[-1]["result"]["error"]["message"] == "stopped by Ctrl-C"


def test_ctrl_c_hangs_up_a_call_by_hand(tmp_path: Path) -> None:
    code, out = interrupted(tmp_path, "invoke")
    assert (code, out) == (-signal.SIGINT, "stopped, in doubt: 0\n")
    assert (tmp_path / "told").exists()


def test_a_second_ctrl_c_does_not_wait_for_what_will_not_stop(tmp_path: Path) -> None:
    code, out = interrupted(tmp_path, "stubborn", twice=True)
    assert code == -signal.SIGINT
    assert out == "stopped, in doubt: 0\n"  # nobody could write it down any more: the next process's ledger does
