"""Ctrl-C and SIGTERM: in the middle of a call, in the middle of a tool, twice, and too early."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from agentctl.ledger.report import costs_window
from tests.integration.cli.parts import wait_for_file
from tests.support.command_line import Commands
from tests.support.machine import need


def is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.fixture
def hanging_repository(tmp_path: Path) -> Path:
    """A repository whose configuration is a pipe that nobody writes to: git waits for it until it is killed."""
    need("git")
    git = shutil.which("git", path="/usr/local/bin:/usr/bin:/bin")
    assert git is not None
    subprocess.run([git, "init", "-q", str(tmp_path)], check=True)
    config = tmp_path / ".git" / "config"
    config.unlink()
    os.mkfifo(config)
    return tmp_path


def child_of(process: subprocess.Popen[bytes]) -> int:
    """Wait for git itself to run and return its pid."""
    for _ in range(3000):
        for task in Path(f"/proc/{process.pid}/task").iterdir():
            for pid in map(int, (task / "children").read_text().split()):
                if Path(f"/proc/{pid}/comm").read_text() == "git\n":
                    return pid
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    pytest.fail("git never ran")


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_in_mid_call_ends_the_call_and_keeps_the_hold(
    agentctl: Commands, state: Path, number: signal.Signals, code: int, word: str
) -> None:
    with agentctl.start("run", "count them", "--json", script="mid-call") as process:
        wait_for_file(agentctl.folder / "reached", process)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    document = json.loads(out)
    assert (process.returncode, document["status"], document["exit_code"]) == (code, "interrupted", code)
    assert document["cost"]["in_doubt_usd"] > 0
    assert (document["answer"], document["complete"]) == ("so far so good", False), "what is paid for is not lost"
    assert "the cost of a call is unknown (interrupted)" in err.decode()
    assert err.decode().splitlines()[-1].startswith(f"{word} · 1 turn · ")
    report = costs_window(state / "ledger.db", seconds=3600)
    assert (report.held_nano, report.in_doubt_nano > 0) == (0, True)
    assert '"event":"run_finished"' in next((state / "runs").iterdir()).read_text().splitlines()[-1]


def test_text_mode_prints_no_answer_when_interrupted(agentctl: Commands) -> None:
    with agentctl.start("run", "look around", script="later-call") as process:
        wait_for_file(agentctl.folder / "reached", process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, b"")
    assert b"--- so far ---\nLooking with system_memory.\n" in err
    assert b"error: stopped by Ctrl-C\n" in err
    assert b"Traceback" not in err


@pytest.mark.parametrize(
    ("number", "code", "status"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_in_mid_tool_leaves_no_child_behind(
    agentctl: Commands, hanging_repository: Path, number: signal.Signals, code: int, status: str
) -> None:
    with agentctl.start("run", "look around", "--tools", "git_status", script="mid-tool") as process:
        child = child_of(process)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, b"")
    assert not is_alive(child)
    assert err.decode().splitlines()[-1].startswith(f"{status} · 1 turn · $0.013 of ")


def test_a_second_ctrl_c_ends_at_once(agentctl: Commands) -> None:
    with agentctl.start("run", "count them", script="stubborn") as process:
        wait_for_file(agentctl.folder / "reached", process)
        process.send_signal(signal.SIGINT)
        wait_for_file(agentctl.folder / "unmoved", process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.endswith(b"forced exit: calls already sent count as spent\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_the_task_is_still_being_read_sends_nothing(
    agentctl: Commands, state: Path, number: signal.Signals, code: int
) -> None:
    with agentctl.start("run", "--json", stdin=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"still waiting for the task on stdin\n"
        process.send_signal(number)
        assert process.stdout is not None
        document = json.loads(process.stdout.read())
        assert process.wait(30) == code
    assert (document["run_id"], document["exit_code"]) == (None, code)
    assert not state.exists()
