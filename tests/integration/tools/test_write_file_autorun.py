"""``write_file`` before files that other programs run or obey: who is asked, what is refused, what is reported."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from agentctl.api.agent import _LogObserver
from agentctl.cli.runs.transcript import transcript
from agentctl.cli.ui.lines import changed_file_lines
from agentctl.core.events import ObeyedFilesChanged, Record
from agentctl.core.messages import Completion, ToolCall
from agentctl.core.results import FileNotice
from agentctl.permissions.decision import Decision, Permissions
from agentctl.protocols import AutorunAware
from agentctl.tools.toolbox import toolbox
from tests.support.autorun_files import ASKS, NEVER, REPORTED, file_paths
from tests.support.json_run import JsonRun, events_of
from tests.support.screen.run_result import PLAIN, RESULT
from tests.support.scripted_cli import USED, answer

WRITE = ("--tools", "write_file", "--max-turns", "30", "--max-cost", "50")


def writes(paths: list[str]) -> list[Completion]:
    """Turns that write every path, sixteen at most in each."""
    calls = [ToolCall(str(n), "write_file", {"path": path, "text": "x"}) for n, path in enumerate(paths)]
    return [Completion("Writing.", tuple(calls[n : n + 16]), USED, "tool_calls") for n in range(0, len(calls), 16)]


def test_every_name_that_asks_is_refused_without_a_terminal(json_run: JsonRun, tmp_path: Path) -> None:
    paths = file_paths(ASKS)
    assert len(paths) >= 40
    json_run.run([*writes(paths), answer("could not")], *WRITE)
    assert (json_run.code, json_run.document["denied"], list(tmp_path.iterdir())) == (5, ["write_file"], [])
    denied = events_of(json_run, "tool_denied")
    assert [event["call"]["arguments"]["path"] for event in denied] == paths
    assert all("needs approval" in event["reason"] for event in denied)
    assert json_run.document["changed_files_run_later"] == []


def test_yes_lets_names_that_ask_be_written_and_names_them_at_the_end(json_run: JsonRun, tmp_path: Path) -> None:
    json_run.run([*writes([".envrc", "x.pth", "plain.txt"]), answer("did")], *WRITE, "--yes")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".envrc", "plain.txt", "x.pth"]
    assert json_run.document["changed_files_run_later"] == [
        {"path": ".envrc", "obeyed_by": "direnv", "moved_to": None, "restore_command": None},
        {"path": "x.pth", "obeyed_by": "python", "moved_to": None, "restore_command": None},
    ]
    assert "changed files that other programs run later: .envrc (direnv); x.pth (python)" in json_run.err


def test_git_s_own_and_agentctl_s_own_files_are_refused_whatever_the_flags_say(
    json_run: JsonRun, tmp_path: Path
) -> None:
    paths = file_paths(NEVER)
    json_run.run([*writes(paths), answer("could not")], *WRITE, "--yes", "--allow", "write_file")
    assert (json_run.code, json_run.document["denied"]) == (5, ["write_file"])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_build_files_are_written_unasked_and_reported_everywhere(json_run: JsonRun, tmp_path: Path) -> None:
    paths = [path for path in file_paths(REPORTED) if not path.startswith(".")]
    json_run.run([*writes([*paths, "Makefile", "plain.txt"]), answer("did")], *WRITE)
    assert json_run.code == 0
    reported = json_run.document["changed_files_run_later"]
    assert [entry["path"] for entry in reported] == paths  # the Makefile, written twice, once
    assert {"path": "package.json", "obeyed_by": "npm", "moved_to": None, "restore_command": None} in reported
    assert "changed files that other programs run later: " in json_run.err
    changed = [event["files"][0]["path"] for event in events_of(json_run, "obeyed_files_changed")]
    assert changed == [*paths, "Makefile"]


def test_quiet_says_nothing_of_changed_files_but_the_document_does(json_run: JsonRun) -> None:
    json_run.run([*writes(["Makefile"]), answer("did")], *WRITE, "-q")
    assert (json_run.err, len(json_run.document["changed_files_run_later"])) == ("", 1)


def test_a_module_that_agentctl_would_import_asks(
    json_run: JsonRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    json_run.run([*writes(["anyio_extra.py", "deep/plain.py"]), answer("did")], *WRITE)
    assert (json_run.code, sorted(path.name for path in tmp_path.iterdir())) == (0, ["deep"])
    assert json_run.document["denied"] == ["write_file"]


def test_moved_files_have_a_line_of_their_own_and_many_are_cut() -> None:
    left = tuple(FileNotice(f"m{n}/Makefile", "make") for n in range(30))
    moved = (
        FileNotice(".en\x1bvrc", "direnv", "files/1", "mv -nT files/1 work/.en\x1bvrc"),
        *(FileNotice(f"n{n}/.envrc", "direnv", f"files/n{n}", f"mv -nT files/n{n} work") for n in range(20)),
    )
    lines = [line.render(PLAIN) for line in changed_file_lines(replace(RESULT, changed_files_run_later=left + moved))]
    assert lines[0].startswith("warning: changed files that other programs run later: m0/Makefile (make); m1/")
    assert lines[0].endswith("m19/Makefile (make); and 10 more")
    assert lines[1].startswith(
        "warning: moved out of the workspace, because they control other programs: .en\\x1bvrc (direnv); "
    )
    assert lines[1].endswith("n18/.envrc (direnv); and 1 more")
    assert lines[2:4] == ["to restore a file:", "  mv -nT files/1 work/.en\\x1bvrc"]  # nothing behind it: it is pasted
    assert lines[-1] == "  mv -nT files/n18 work"
    assert changed_file_lines(RESULT) == ()


async def refused(workspace: Path, path: str) -> Decision:
    """Return what is decided about writing ``path``, without anything else to know of."""
    tool = toolbox(workspace=workspace).get("write_file")
    assert isinstance(tool, AutorunAware)
    arguments = await tool.prepare({"path": path, "text": "x"})
    obeyed = await tool.find_autorun(arguments)
    return Permissions().decide("write_file", "write", arguments, contained=True, autorun=obeyed)


async def test_a_bare_repository_is_git_s_own_under_any_name(tmp_path: Path) -> None:
    git = ["git", "-c", "init.defaultBranch=main"]
    await anyio.run_process([*git, "init", "-q", "--bare", str(tmp_path / "deep/store")])
    for path in ("deep/store/config", "deep/store/hooks/post-receive", "deep/store/refs/heads/x"):
        assert await refused(tmp_path, path) == (
            "deny", f"{path} belongs to git, and no tool may write it; continue without it"
        )  # fmt: skip
    for part in ("objects", "refs"):
        (tmp_path / "half" / part).mkdir(parents=True)
    for path in ("half/HEAD", "half/head"):  # the last part that was missing
        assert (await refused(tmp_path, path)).kind == "deny"
    assert (await refused(tmp_path, "half/config")).kind == "allow"
    assert (await refused(tmp_path / "deep/store", "config")).kind == "deny"
    await anyio.run_process([*git, "init", "-q", str(tmp_path / "work")])
    assert (await refused(tmp_path / "work/.git/hooks", "pre-commit")).kind == "deny"
    assert (await refused(tmp_path / "work", "HEAD")).kind == "allow"


async def test_a_file_to_which_an_obeyed_link_leads_asks(tmp_path: Path) -> None:
    for folder in ("conf", "editor", ".husky", "scripts"):
        (tmp_path / folder).mkdir()
    (tmp_path / ".envrc").symlink_to("conf/env.sh")
    (tmp_path / ".vscode").symlink_to("editor")
    (tmp_path / ".husky/pre-commit").symlink_to("../scripts/check.sh")
    (tmp_path / "Makefile").symlink_to("conf/build.mk")
    for path, program in (
        ("conf/env.sh", "direnv"), ("editor/tasks.json", "VS Code"), ("scripts/check.sh", "husky"),
    ):  # fmt: skip
        assert await refused(tmp_path, path) == ("ask", f"{program} runs or obeys {path}")
    assert (await refused(tmp_path, "scripts/other.sh")).kind == "allow"
    assert (await refused(tmp_path, "conf/build.mk")).kind == "allow"


async def test_file_named_by_git_s_configuration_asks_and_is_then_run_by_git(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path)]
    await anyio.run_process(["git", "init", "-q", str(tmp_path)])
    for key, value in (("core.hooksPath", "tools/hooks"), ("include.path", "../conf/git.inc")):
        await anyio.run_process([*git, "config", key, value])
    named = "git (its configuration names it) runs or obeys"
    for path in ("tools/hooks/pre-commit", "tools/hooks/sub/x", "conf/git.inc"):
        assert await refused(tmp_path, path) == ("ask", f"{named} {path}")
    for path in ("tools/other", "conf/other.inc"):
        assert (await refused(tmp_path, path)).kind == "allow"
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/git.inc").write_text("[alias]\n    x = !touch proof\n")  # that git obeys it is no assumption
    await anyio.run_process([*git, "x"])
    assert (tmp_path / "proof").exists()


def test_the_story_of_a_run_names_changed_files() -> None:
    files = [
        {"path": "Make\x1bfile", "obeyed_by": "make", "moved_to": None},
        {"path": ".envrc", "obeyed_by": "direnv", "moved_to": "/run/files/1"},
        "strange",
    ]
    lines = list(transcript([{"event": "obeyed_files_changed", "files": files}], run_id="x"))
    assert lines[:2] == [
        "  changed file that other programs run later: Make\\x1bfile (make)",
        "  file that controls other programs: .envrc (direnv), moved to /run/files/1",
    ]
    assert len(lines) == 3  # and that the run has no end


async def test_an_agent_of_python_logs_changed_files(
    caplog: pytest.LogCaptureFixture,
) -> None:
    event = ObeyedFilesChanged(None, (FileNotice("Makefile", "make"), FileNotice(".envrc", "direnv", "/run/1")))
    await _LogObserver(()).observe(Record("r1", 1, datetime.now(UTC), event))
    assert [record.getMessage() for record in caplog.records] == [
        "Makefile was changed; make runs or obeys it (run r1)",
        ".envrc was moved to /run/1; direnv runs or obeys it (run r1)",
    ]
