"""Reports for a CI system from processes: stopped by a signal, with a stdout that is full, in one file with stderr."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.integration.cli.parts import wait_for_file
from tests.support.command_line import Commands
from tests.support.github_runner import RunnerCommand, commands_of, read_file_command
from tests.support.junit_schema import read_junit


@pytest.fixture
def github(tmp_path: Path) -> dict[str, str]:
    """The variables of a step of GitHub's."""
    files = {"GITHUB_OUTPUT": tmp_path / "output", "GITHUB_STEP_SUMMARY": tmp_path / "summary"}
    for file in files.values():
        file.touch()
    return {"GITHUB_ACTIONS": "true", **{name: str(file) for name, file in files.items()}}


def last_command(err: bytes) -> RunnerCommand:
    """Return the command in the last line, which must be the only annotation."""
    found = [command for command in commands_of(err) if command.name in ("error", "warning")]
    assert commands_of(err.splitlines()[-1]) == found
    return found[0]


def test_a_run_that_is_stopped_has_all_its_reports(agentctl: Commands, github: dict[str, str], tmp_path: Path) -> None:
    words = ("run", "-v", "--junit", "run.xml", "--dotenv", "run.env", "count them")
    with agentctl.start(*words, script="mid-call", env=github) as process:
        wait_for_file(agentctl.folder / "reached", process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, b"")
    said = last_command(err)
    assert (said.name, said.properties) == ("warning", {"title": "agentctl: interrupted"})
    assert said.data.startswith("stopped by Ctrl-C\nhint: ")
    assert [one.name for one in commands_of(err)] == ["group", "endgroup", "warning"], "no mask: stderr is no log here"
    outputs = read_file_command((tmp_path / "output").read_text())
    assert (outputs["status"], outputs["exit_code"], outputs["answer"]) == ("interrupted", "130", "")
    assert "Answer so far:\n\n```text\nso far so good\n```" in (tmp_path / "summary").read_text()
    assert (
        f"AGENT_STATUS=interrupted\nAGENT_EXIT_CODE=130\nAGENT_RUN_ID={outputs['run_id']}\n"
        in (tmp_path / "run.env").read_text()
    )
    suite = read_junit((tmp_path / "run.xml").read_text())
    assert (suite.get("errors"), suite.findtext("system-out")) == ("1", "so far so good")


def test_an_answer_that_stdout_does_not_take_is_no_success(
    agentctl: Commands, github: dict[str, str], tmp_path: Path
) -> None:
    with (
        Path("/dev/full").open("wb") as full,
        agentctl.start("run", "x", script="answer", stdout=full, env=github) as run,
    ):
        _, err = run.communicate(timeout=30)
    assert run.returncode == 74
    assert (last_command(err).name, last_command(err).properties["title"]) == ("error", "agentctl: state")
    outputs = read_file_command((tmp_path / "output").read_text())
    assert outputs["run_id"]
    assert {name: outputs[name] for name in ("status", "exit_code", "cost_usd", "answer")} == {
        **{"status": "state", "exit_code": "74", "cost_usd": "0.013", "answer": ""}
    }


@pytest.mark.parametrize("shared", [True, False])
def test_an_answer_has_no_heading_of_buildkite_where_stdout_is_the_log(agentctl: Commands, shared: bool) -> None:
    stderr = subprocess.STDOUT if shared else subprocess.PIPE
    with agentctl.start("run", "x", script="heading", stderr=stderr, env={"BUILDKITE": "true"}) as run:
        out, _ = run.communicate(timeout=30)
    assert run.returncode == 0
    assert (b"\n --- a/x\n +++ b/x\n" in out, out == b"--- a/x\n+++ b/x\n") == (shared, not shared)
