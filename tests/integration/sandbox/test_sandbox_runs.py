"""The whole command line with a scripted model: with a sandbox, without one, and with none asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentctl.runner.agent_spec import AgentSpec
from tests.support.json_run import JsonRun
from tests.support.scripted_cli import answer, call

WITH_A_SHELL = AgentSpec("system", "Does all.", "Do it.", tools=("run_shell", "read_file"))
NO_BWRAP = "/nowhere"
TOOLS = ("--tools", "run_shell,write_file,read_file")


@pytest.mark.needs("sandbox")
def test_sandboxed_commands_run_without_a_question_and_the_result_names_the_sandbox(
    json_run: JsonRun, tmp_path: Path
) -> None:
    json_run.run([call("run_shell", command="echo hello > made; cat made; id -u"), answer("done")], *TOOLS)
    assert (json_run.code, json_run.document["sandbox"], json_run.document["left_out"]) == (0, "bwrap", [])
    assert json_run.last_result == f"exit code: 0\nstdout:\nhello\n{os.geteuid()}"
    assert (tmp_path / "made").read_text() == "hello\n"


@pytest.mark.needs("sandbox")
def test_the_state_of_agentctl_cannot_be_seen_from_a_command(json_run: JsonRun) -> None:
    state = os.environ["AGENTCTL_STATE_DIR"]
    json_run.run([call("run_shell", command=f"ls -R {state}; echo end"), answer("done")], *TOOLS)
    assert Path(state, "ledger.db").exists()
    assert "ledger" not in json_run.last_result.partition("stdout")[2]


@pytest.fixture
def unsandboxable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Work in the user's home, which no tier can protect; return the reason."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return f"the workspace {tmp_path} is your home folder"


def test_shell_tool_without_a_sandbox_is_left_out_and_reported(json_run: JsonRun, unsandboxable: str) -> None:
    json_run.run([answer("nothing to do")], agents=(WITH_A_SHELL,))
    assert (json_run.code, json_run.document["left_out"], json_run.document["sandbox"]) == (0, ["run_shell"], None)
    assert json_run.offered == ["read_file"]
    assert f"run_shell is left out: {unsandboxable}" in json_run.err


def test_a_task_that_needs_what_is_left_out_is_exit_6(json_run: JsonRun, unsandboxable: str) -> None:
    json_run.run([call("run_shell", command="true"), answer("could not")], agents=(WITH_A_SHELL,))
    assert (json_run.code, json_run.document["status"]) == (6, "sandbox")
    assert unsandboxable in json_run.last_result


@pytest.mark.needs("landlock")
def test_landlock_is_used_and_named_where_bubblewrap_is_missing(
    json_run: JsonRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", NO_BWRAP)
    script = [call("run_shell", command="echo hello >made; cat made /etc/shadow; echo x >/opt/x"), answer("done")]
    json_run.run(script, *TOOLS)
    assert (json_run.code, json_run.document["sandbox"], json_run.document["left_out"]) == (0, "landlock", [])
    assert "the sandbox is landlock, because bubblewrap (bwrap) is not installed" in json_run.err
    assert "stdout:\nhello\n" in json_run.last_result
    assert "only the workspace, $HOME and $TMPDIR can be written in here, not /tmp" in json_run.last_result
    assert ((tmp_path / "made").read_text(), Path("/opt/x").exists()) == ("hello\n", False)


@pytest.mark.parametrize("words", [("--sandbox", "bwrap"), ("--sandbox", "landlock"), TOOLS])
def test_a_sandbox_asked_for_by_name_or_a_tool_that_needs_it_is_exit_6(
    json_run: JsonRun, unsandboxable: str, words: tuple[str, ...]
) -> None:
    json_run.run([answer("never said")], *words)
    assert (json_run.code, json_run.document["status"]) == (6, "sandbox")
    assert unsandboxable in json_run.document["error"]["message"]
    assert "--sandbox none" in json_run.document["error"]["hint"]
    assert json_run.provider.heard == []


def test_bubblewrap_asked_for_by_name_is_not_replaced(json_run: JsonRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", NO_BWRAP)
    json_run.run([answer("never said")], "--sandbox", "bwrap")
    assert (json_run.code, json_run.document["status"]) == (6, "sandbox")
    assert "bubblewrap (bwrap) is not installed" in json_run.document["error"]["message"]


def test_command_in_a_run_with_sandbox_none_is_denied_without_a_terminal(json_run: JsonRun, tmp_path: Path) -> None:
    json_run.run([call("run_shell", command="touch made"), answer("could not")], *TOOLS, "--sandbox", "none")
    assert (json_run.code, json_run.document["sandbox"], json_run.document["denied"]) == (5, "none", ["run_shell"])
    assert not (tmp_path / "made").exists()
    json_run.run([call("run_shell", command="touch made"), answer("did")], *TOOLS, "--sandbox", "none", "--yes")
    assert (json_run.code, (tmp_path / "made").exists()) == (0, True)


@pytest.mark.needs("sandbox")
def test_a_read_only_run_has_a_shell_that_changes_nothing(json_run: JsonRun, tmp_path: Path) -> None:
    script = [call("run_shell", command="touch made; ls"), answer("looked")]
    json_run.run(script, "--tools", "run_shell,read_file", "--read-only")
    assert json_run.code == 0
    assert "nothing but /tmp can be written" in json_run.last_result or "Read-only file system" in json_run.last_result
    assert not (tmp_path / "made").exists()


@pytest.mark.needs("sandbox")
def test_a_file_is_written_unasked_but_for_one_that_is_obeyed_later(json_run: JsonRun, tmp_path: Path) -> None:
    json_run.run([call("write_file", path="a.txt", text="x"), answer("did")], *TOOLS)
    assert (json_run.code, (tmp_path / "a.txt").read_text()) == (0, "x")
    (tmp_path / "all").symlink_to(".")
    json_run.run([call("write_file", path="all/.git/hooks/pre-commit", text="evil"), answer("could not")], *TOOLS)
    assert (json_run.code, json_run.document["denied"]) == (5, ["write_file"])
    assert not (tmp_path / ".git").exists()
    assert ".git/hooks/pre-commit belongs to git" in json_run.last_result
    json_run.run([call("write_file", path="all/.envrc", text="evil"), answer("could not")], *TOOLS)
    assert (json_run.code, json_run.document["denied"]) == (5, ["write_file"])
    assert "--allow 'write_file(path=.envrc)'" in json_run.last_result
