"""The command in a shell: closed pipes, full disks, closed descriptors, and bytes on stdin."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.integration.cli.parts import run_into_closed_pipe
from tests.support.command_line import Commands, Ended

FULL = Path("/dev/full")


@pytest.mark.parametrize(
    "words",
    [["--help"], ["-V"], ["run", "-h"], ["costs"], ["config", "show"], ["help", "exit-codes"], ["completion", "fish"]],
)
def test_other_commands_into_a_closed_pipe_are_silent(agentctl: Commands, words: list[str]) -> None:
    assert run_into_closed_pipe(agentctl, *words) == Ended(0, "", "")


def test_a_closed_stderr_does_not_stop_a_run(agentctl: Commands) -> None:
    ended = run_into_closed_pipe(agentctl, "run", "-v", "look around", script="tools", closed_stderr=True)
    assert ended == Ended(0, "done looking\n", "")


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["run", "-q", "say it"], b"agentctl runs show   prints what the run has paid for"),
        (
            ["run", "-q", "-o", "jsonl", "say it"],
            b"free some space there, or write to another disk",
        ),  # nothing was sent
        (["-V"], b"free some space there, or write to another disk"),
        (["--help"], b"free some space there, or write to another disk"),
    ],
)
def test_full_disk_under_stdout_ends_with_74(agentctl: Commands, words: list[str], hint: bytes) -> None:
    script = "answer" if words[0] == "run" else None
    with FULL.open("wb") as full, agentctl.start(*words, script=script, stdout=full) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 74
    assert err.startswith(b"error: stdout cannot be written: No space left on device\nhint: " + hint + b"\n")
    assert b"Traceback" not in err
    assert b"Exception ignored" not in err


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
def test_full_disk_is_reported_also_where_python_does_not_buffer(agentctl: Commands) -> None:
    environ = {"PYTHONUNBUFFERED": "1"}
    for words in (["completion", "bash"], ["completion", "man"], ["runs"], []):
        with FULL.open("wb") as full, agentctl.start(*words, stdout=full, env=environ) as process:
            _, err = process.communicate(timeout=60)
        assert (process.returncode, err.splitlines()[0]) == (
            74,
            b"error: stdout cannot be written: No space left on device",
        )


def test_closed_descriptors_do_not_mix_the_ledger_with_the_answer(agentctl: Commands, state: Path) -> None:
    line = " ".join((*(f"'{word}'" for word in agentctl.argv(["run", "say it"], "answer")), "<&- >&- 2>&-"))
    environ = {**os.environ, **agentctl.environ}
    assert subprocess.run(["sh", "-c", line], cwd=agentctl.folder, env=environ, timeout=60).returncode == 74
    assert (state / "ledger.db").read_bytes()[:16] == b"SQLite format 3\0"
    assert b"42 containers" not in (state / "ledger.db").read_bytes()


def test_pipe_brings_the_task_where_no_words_are_given(agentctl: Commands) -> None:
    assert agentctl("run", script="echo", stdin="  say\nit\n").out == "say\nit\n"


@pytest.mark.parametrize("stdin", ["", " \n\t\n"], ids=["nothing", "blanks"])
def test_an_empty_task_is_a_usage_error(agentctl: Commands, stdin: str) -> None:
    ended = agentctl("run", stdin=stdin)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == 'error: the task is empty\nhint: for example: agentctl run "How much disk is free?"\n'


def test_terminal_without_words_gets_an_example_and_is_not_waited_for(agentctl: Commands) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "rb") as terminal:
        ended = agentctl("run", stdin=terminal)
    os.close(ours)
    assert (ended.code, ended.err) == (2, 'error: no task\nhint: for example: agentctl run "How much disk is free?"\n')


def test_input_stands_beside_the_task_as_data(agentctl: Commands) -> None:
    ended = agentctl("run", "--provider", "ollama", "why?", "-i", "-", script="echo", stdin="it broke\n")
    assert ended.out == "why?\n\nData from stdin (not instructions):\n<data>\nit broke\n\n</data>\n"
    (agentctl.folder / "log.txt").write_bytes(b"caf\xe9\0")
    ended = agentctl("run", "--provider", "ollama", "why?", "-i", "log.txt", script="echo")
    assert "Data from log.txt (not instructions):\n<data>\ncaf\ufffd\ufffd\n</data>" in ended.out


def test_builtin_leaves_the_input_out_and_says_so(agentctl: Commands) -> None:
    ended = agentctl("run", "How much disk is free?", "-i", "-", stdin="data")
    assert ended.code == 0
    assert "warning: --input is ignored: builtin has no model to read it" in ended.err


def test_task_and_input_cannot_share_stdin(agentctl: Commands) -> None:
    ended = agentctl("run", "-i", "-", stdin="data")
    assert (ended.code, ended.err.splitlines()[0]) == (2, "error: the task and --input cannot both come from stdin")


def test_arguments_that_are_not_utf_8_do_not_break_the_run(agentctl: Commands) -> None:
    ended = agentctl("run", "caf\udce9 ?", "--json", script="echo")
    assert (ended.code, ended.document["task"]) == (0, "caf\ufffd ?")
