"""Runs with MCP servers: what a user gets, with servers that others wrote and one that misbehaves, in the sandbox."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import Ended, Here
from tests.support.mcp_servers.opened import HOSTILE
from tests.support.mcp_servers.other_peoples import PYTHON, READABLE, config_of, node_server, python_server

TASK = "what changed last in this repository?"


@pytest.fixture(autouse=True)
def _sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTCTL_SANDBOX", "bwrap")
    monkeypatch.setenv("AGENTCTL_SANDBOX_READ", ",".join((*READABLE, str(HOSTILE.parent))))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit, in the folder of the run."""
    git = ("git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com")
    (tmp_path / "a.txt").write_text("hello\n")
    for words in (("init", "-q"), ("add", "a.txt"), ("commit", "-qm", "say hello")):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    return tmp_path


def hostile_entry(*words: str, **options: object) -> dict[str, Any]:
    return {"command": PYTHON, "args": ["-S", str(HOSTILE), *words], "agentctl": options}


def run(here: Here, script: str, *words: str, **entries: dict[str, Any]) -> Ended:
    model = ("--provider", "ollama", "--model", "m")  # a script answers in its place
    return here("run", "--json", *model, "--mcp-config", config_of(**entries), *words, TASK, script=script)


@pytest.mark.needs("sandbox", "MCP servers")
@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize("script", ["repository", "repository, found"])
def test_a_call_that_a_rule_allows_runs_without_a_terminal_in_the_sandbox(here: Here, script: str) -> None:
    ended = run(here, script, "--allow", "git__*", git=python_server("git"))
    document = ended.document
    assert (ended.code, document["answer"], document["sandbox"]) == (0, "The first commit.", "bwrap"), ended.err
    assert {"name": "git__git_log", "calls": 1, "failed": 0} in document["tools"]
    assert document["left_out"] == [], "of tools that are only found when needed nobody is told that they are missing"
    assert document["mcp"] == {
        "servers": [
            {
                **{"name": "git", "status": "connected", "tools": 12, "sandbox": "bwrap"},
                **{"protocol": "2026-07-28", "why": "", "asked": []},
            }
        ],
        "skipped": [],
    }


@pytest.mark.needs("sandbox", "MCP servers")
@pytest.mark.usefixtures("repository")
def test_a_call_that_no_rule_allows_is_denied_with_the_rule_to_paste(here: Here) -> None:
    ended = run(here, "branch", git=python_server("git"))
    assert ended.code == 5
    assert ended.document["denied"] == ["git__git_create_branch"]
    assert "--allow 'git__git_create_branch(repo_path=.)'" in ended.document["error"]["hint"]


@pytest.mark.slow
@pytest.mark.needs("sandbox", "MCP servers")
def test_four_servers_of_others_run_at_once_and_reach_nothing(here: Here, tmp_path: Path) -> None:
    entries = {
        "time": python_server("time"),
        "everything": node_server("everything"),
        "files": node_server("filesystem"),
    }
    ended = run(here, "three servers", "--allow", "*__*", **entries, fetch=python_server("fetch"))
    assert ended.code == 0, ended.err
    assert [(one["name"], one["status"], one["protocol"]) for one in ended.document["mcp"]["servers"]] == [
        ("time", "connected", "2026-07-28"),
        ("everything", "connected", "2025-11-25"),
        ("files", "connected", "2025-11-25"),
        ("fetch", "connected", "2026-07-28"),
    ]
    assert {tool["name"]: tool["failed"] for tool in ended.document["tools"]} == {
        "time__get_current_time": 0,
        "everything__get-sum": 0,
        "files__write_file": 1,  # the workspace is read-only for it
        "fetch__fetch": 1,  # and there is no network
    }
    assert not (tmp_path / "made").exists()


@pytest.mark.needs("sandbox")
def test_servers_that_cannot_be_used_are_told_and_the_run_goes_on(here: Here) -> None:
    broken = {"command": "no-such-program"}
    ended = run(here, "hostile", "--allow", "h__*", h=hostile_entry(), x=broken, y={"url": 3})
    assert ended.code == 0, ended.err
    servers = {one["name"]: one["status"] for one in ended.document["mcp"]["servers"]}
    assert servers == {"h": "connected", "x": "failed"}
    assert [one["name"] for one in ended.document["mcp"]["skipped"]] == ["y"]
    assert "x is left out: it ended at once: no-such-program is not there" in ended.err


@pytest.mark.needs("sandbox")
def test_a_required_server_that_ends_ends_the_run(here: Here) -> None:
    ended = run(here, "answer", h=hostile_entry("gone", required=True))
    assert (ended.code, ended.document["error"]["kind"]) == (4, "mcp")
    assert "No such database." in ended.document["error"]["message"]
    assert ended.document["mcp"] is None


@pytest.mark.needs("sandbox")
def test_a_server_outside_of_the_sandbox_is_told_at_the_start_and_in_the_result(here: Here) -> None:
    ended = run(here, "hostile", "--allow", "h__*", h=hostile_entry(sandbox="none"))
    assert (ended.code, ended.document["mcp"]["servers"][0]["sandbox"]) == (0, "none")
    assert "the MCP server h runs outside of the sandbox" in ended.err


@pytest.mark.needs("sandbox")
def test_read_only_and_deny_rules_hold_by_the_real_name(here: Here) -> None:
    for words in (("--read-only",), ("--deny", "h__*"), ("--deny", "h__echo", "--allow", "h__*")):
        ended = run(here, "hostile", *words, h=hostile_entry())
        assert ended.code == 5, ended.err
        assert ended.document["denied"] == ["h__echo"]
    ended = run(here, "hostile, directly", "--tools", "h__twice", h=hostile_entry())
    assert ended.document["denied"] == ["h__echo"]


def test_a_rule_about_an_unknown_server_is_refused_before_anything_starts(here: Here) -> None:
    ended = run(here, "answer", "--allow", "gti__*", git=hostile_entry())
    assert ended.code == 2
    assert ended.document["error"]["hint"] == 'did you mean "git"?'


def test_an_estimate_starts_no_server_and_counts_its_tools(here: Here) -> None:
    words = ("run", "--estimate", "--json", "--provider", "ollama", "--model", "m", TASK)
    plain = here(*words).document["first_call"]
    ended = here(*words, "--mcp-config", config_of(h={"command": "/no/such/program"}))
    assert (ended.code, ended.document["mcp_servers"]) == (0, ["h"])
    assert plain["most_input_tokens"] < ended.document["first_call"]["most_input_tokens"]


@pytest.mark.needs("sandbox")
def test_the_records_have_the_real_name_of_a_call(here: Here, state: Path) -> None:
    run(here, "hostile", "--allow", "h__*", h=hostile_entry())
    journal = next((state / "runs").glob("*.jsonl")).read_text()
    named = {json.loads(line).get("call", {}).get("name") for line in journal.splitlines()} - {None}
    assert named == {"h__echo"}


@pytest.mark.needs("sandbox")
def test_a_run_that_goes_on_connects_again_and_says_if_the_tools_have_changed(here: Here, tmp_path: Path) -> None:
    file = tmp_path / "servers.json"
    file.write_text(config_of(h=hostile_entry()))
    model = ("--provider", "ollama", "--model", "m")
    words = ("--json", *model, "--allow", "h__*", "--mcp-config", str(file))
    first = here("run", *words, TASK, script="hostile, directly")
    assert first.code == 0, first.err
    run_id = first.document["run_id"]
    again = here("run", "--resume", run_id, "--json", *model, "And now?", script="hostile, directly")
    assert again.code == 0, again.document["error"]
    assert (again.code, again.document["mcp"]["servers"][0]["status"]) == (0, "connected"), again.err
    file.write_text(config_of(h=hostile_entry("changed")))
    changed = here("run", "--resume", run_id, "--json", *model, "And now?", script="hostile, directly")
    assert changed.code == 2
    assert "the tools that the model is offered have changed" in changed.document["error"]["message"]
    assert "--accept-changes" in changed.document["error"]["hint"]
