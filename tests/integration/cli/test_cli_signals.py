"""Ctrl-C, SIGTERM, SIGHUP and SIGQUIT: in a call, in a tool, twice, too early and too late, and where ignored."""

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
from tests.integration.cli.parts import signal_until_it_ends, wait_for_file
from tests.support import fork_server
from tests.support.command_line import DRIVER, KEY, Commands
from tests.support.machine import need
from tests.support.probe_host import Host


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
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated"), (signal.SIGHUP, 129, "hung up")],
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
    ("number", "code", "status"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated"), (signal.SIGHUP, 129, "hung up")],
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
        signal_until_it_ends(process, signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.endswith(b"forced exit: calls already sent count as spent\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
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


@pytest.mark.parametrize("numbers", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGTERM, signal.SIGHUP)])
def test_a_second_signal_of_the_same_request_forces_nothing(
    agentctl: Commands, state: Path, numbers: tuple[signal.Signals, ...]
) -> None:
    """``timeout`` signals the process and its group; a session that closes sends both."""
    with agentctl.start("run", "count them", "--json", script="slow to stop") as process:
        wait_for_file(agentctl.folder / "reached", process)
        process.send_signal(numbers[0])
        wait_for_file(agentctl.folder / "unmoved", process)
        os.killpg(process.pid, numbers[1])
        (agentctl.folder / "go").touch()
        out, err = process.communicate(timeout=30)
    assert (process.returncode, json.loads(out)["exit_code"]) == (143, 143)
    assert b"forced exit" not in err
    assert costs_window(state / "ledger.db", seconds=3600).held_nano == 0


def test_a_second_sigterm_much_later_ends_at_once(agentctl: Commands) -> None:
    with agentctl.start("run", "count them", script="stubborn") as process:
        wait_for_file(agentctl.folder / "reached", process)
        process.send_signal(signal.SIGTERM)
        wait_for_file(agentctl.folder / "unmoved", process)
        signal_until_it_ends(process, signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err.splitlines()[-1]) == (143, b"forced exit: calls already sent count as spent")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_was_ignored_at_the_start_stays_ignored(agentctl: Commands, number: signal.Signals) -> None:
    """``nohup agentctl run ...``, and a background job of a script."""
    ignoring = f"import signal, sys, runpy; signal.signal({int(number)}, signal.SIG_IGN); "
    program = f"{ignoring}sys.argv[:] = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    words = ["-c", program, str(DRIVER), "mid-call", "run", "count them", "--json"]
    environ = {**os.environ, **agentctl.environ}
    with fork_server.Forked(words, cwd=agentctl.folder, env=environ, stdout=-1, stderr=-1) as process:
        wait_for_file(agentctl.folder / "reached", process)
        process.send_signal(number)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    assert (process.returncode, json.loads(out)["error"]["message"]) == (143, "stopped by SIGTERM")


def test_sigquit_ends_as_sigquit_does_and_keeps_the_journal(agentctl: Commands, state: Path) -> None:
    with agentctl.start("run", "count them", script="mid-call") as process:
        wait_for_file(agentctl.folder / "reached", process)
        process.send_signal(signal.SIGQUIT)
        process.communicate(timeout=30)
    assert process.returncode == -signal.SIGQUIT
    lines = next((state / "runs").iterdir()).read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines][-1] == "call_sent"
    assert agentctl("run", "count them", script="answer").code == 0
    report = costs_window(state / "ledger.db", seconds=3600)
    assert (report.held_nano, report.in_doubt_nano > 0) == (0, True), "as of any process that is gone"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_after_the_run_cuts_no_document(agentctl: Commands, number: signal.Signals) -> None:
    with agentctl.start("run", "count them", "--json", script="huge") as process:
        assert process.stdout is not None
        begun = process.stdout.read(10)  # more than a pipe holds is still to come
        process.send_signal(number)
        document = json.loads(begun + process.stdout.read())
        assert (process.wait(30), document["exit_code"], len(document["answer"])) == (0, 0, 1_000_000)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_another_command_prints_cuts_no_document(
    agentctl: Commands, state: Path, number: signal.Signals
) -> None:
    assert agentctl("run", "count them", "--json", script="huge").code == 0
    with agentctl.start("runs", "show", "--json") as process:
        assert process.stdout is not None
        begun = process.stdout.read(10)
        process.send_signal(number)
        document = json.loads(begun + process.stdout.read())
        assert (process.wait(30), document["schema"]) == (0, "agentctl.runs/1")


def test_a_signal_after_the_run_ends_a_command_whose_output_nobody_reads(agentctl: Commands) -> None:
    with agentctl.start("run", "count them", "--json", script="huge") as process:
        assert process.stdout is not None
        process.stdout.read(10)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
        assert process.stderr is not None
        assert process.stderr.read().endswith(b"stopped by SIGTERM while the output was written\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("words", [("providers", "test", "openai"), ("providers", "test", "--free"), ("doctor",)])
def test_a_signal_in_another_command_ends_it_with_a_document(
    agentctl: Commands, state: Path, number: signal.Signals, code: int, words: tuple[str, ...]
) -> None:
    with Host() as host:
        host.pages["/v1/models"] = host.silence
        env = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{host.url}/v1"}
        with agentctl.start(*words, "--json", env=env) as process:
            while not host.heard:
                assert process.poll() is None, process.communicate()
                time.sleep(0.01)
            process.send_signal(number)
            out, err = process.communicate(timeout=30)
    document = json.loads(out)
    assert (process.returncode, document["status"], document["exit_code"]) == (code, "interrupted", code)
    assert document["error"]["message"].startswith("stopped by ")
    assert b"Traceback" not in err
