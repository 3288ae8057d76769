"""Hooks under signals: one before a call, one at the end of a run, and a second signal while that one hangs."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.integration.cli.parts import wait_for_file
from tests.support.command_line import Commands

TASK = ("run", "--provider", "builtin", "--json", "How much disk is free?")
HANGS = 'sleep 983 & echo $! > "$1/$2.new"; mv "$1/$2.new" "$1/$2"; wait'
COPIES = 'cat > "$1/$2.new"; mv "$1/$2.new" "$1/$2"'


@pytest.fixture
def folder(tmp_path: Path, config: Path) -> Path:
    """The place of what hooks write; the workspace is another folder."""
    config.mkdir(parents=True, exist_ok=True)
    made = tmp_path / "hooks"
    made.mkdir()
    return made


def add(config: Path, folder: Path, on: str, script: str) -> None:
    command = json.dumps(["/bin/sh", "-c", script, "hook", str(folder), on])
    match = 'match = "*"\n' if on == "pre_tool" else ""
    with (config / "config.toml").open("a") as file:
        file.write(f'[[hook]]\non = "{on}"\n{match}command = {command}\ntimeout = "5m"\n')


def start(agentctl: Commands, tmp_path: Path) -> subprocess.Popen[bytes]:
    agentctl.folder = tmp_path / "work"
    agentctl.folder.mkdir()
    return agentctl.start(*TASK)


def is_gone(file: Path) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{file.read_text().strip()}/status").read_text()
    except FileNotFoundError:
        return True


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_hook_before_a_call_and_the_end_is_told(
    agentctl: Commands, config: Path, folder: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    add(config, folder, "pre_tool", HANGS)
    add(config, folder, "run_finished", COPIES)
    with start(agentctl, tmp_path) as process:
        wait_for_file(folder / "pre_tool", process)
        process.send_signal(number)
        out, _ = process.communicate(timeout=30)
    document = json.loads(out)
    assert (process.returncode, document["exit_code"], document["tools"]) == (code, code, [])
    assert is_gone(folder / "pre_tool")
    told = json.loads((folder / "run_finished").read_text())
    assert (told["exit_code"], told["run_id"]) == (code, document["run_id"])


def test_ctrl_c_ends_a_hook_at_the_end_and_keeps_the_answer(
    agentctl: Commands, config: Path, folder: Path, tmp_path: Path
) -> None:
    add(config, folder, "run_finished", HANGS)
    with start(agentctl, tmp_path) as process:
        wait_for_file(folder / "run_finished", process)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    document = json.loads(out)
    assert (process.returncode, document["status"], document["complete"]) == (0, "done", True)
    assert document["warnings"] == ["a hook at the end of the run was stopped by Ctrl-C"]
    assert is_gone(folder / "run_finished")


def test_a_second_ctrl_c_ends_a_run_whose_last_hook_hangs_at_once(
    agentctl: Commands, config: Path, folder: Path, tmp_path: Path
) -> None:
    add(config, folder, "pre_tool", HANGS)
    add(config, folder, "run_finished", HANGS)
    with start(agentctl, tmp_path) as process:
        wait_for_file(folder / "pre_tool", process)
        process.send_signal(signal.SIGINT)
        wait_for_file(folder / "run_finished", process)
        while process.poll() is None:  # one that comes too soon is taken for the first one
            process.send_signal(signal.SIGINT)
            signal.sigtimedwait([], 0.02)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"forced exit" in err
    for _ in range(500):  # its guard ends it when agentctl is gone
        if is_gone(folder / "run_finished"):
            break
        signal.sigtimedwait([], 0.01)
    assert is_gone(folder / "run_finished")
