"""git status of real repositories, hostile ones included."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from agentctl.core.errors import ToolError
from agentctl.tools.git import status, summary
from agentctl.tools.toolbox import toolbox
from tests.support.machine import need


def _git(folder: Path, *words: str) -> None:
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    who = ("-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "protocol.file.allow=always")
    subprocess.run(["git", *who, *words], cwd=folder, env=environ, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    made = tmp_path / "repo"
    made.mkdir()
    _git(made, "init", "-q", "-b", "main")
    (made / "a.txt").write_text("a\n")
    _git(made, "add", ".")
    _git(made, "commit", "-qm", "first")
    return made


async def _ask(workspace: Path, **arguments: object) -> str:
    return await toolbox(workspace=workspace).get("git_status")(arguments)


async def test_clean_repository_is_reported_as_clean(repository: Path) -> None:
    assert await _ask(repository) == "On branch main\nNothing to commit: the working tree is clean."


async def test_changes_are_described_in_words(repository: Path) -> None:
    (repository / "a.txt").write_text("b\n")
    (repository / "new.txt").write_text("n\n")
    (repository / "staged.txt").write_text("s\n")
    _git(repository, "add", "staged.txt")
    text = await _ask(repository.parent, path="repo")
    assert text.splitlines() == [
        "On branch main",
        "1 added, staged, 1 changed, not staged, 1 untracked",
        "",
        "state                file",
        "changed, not staged  a.txt",
        "added, staged        staged.txt",
        "untracked            new.txt",
    ]


async def test_distance_to_the_upstream_is_reported(repository: Path, tmp_path: Path) -> None:
    _git(tmp_path, "clone", "-q", str(repository), "clone")
    clone = tmp_path / "clone"
    assert (await _ask(clone)).splitlines()[0] == "On branch main, following origin/main, up to date"
    (clone / "b").touch()
    _git(clone, "add", "b")
    _git(clone, "commit", "-qm", "second")
    assert (await _ask(clone)).splitlines()[0] == "On branch main, following origin/main, ahead 1"
    _git(clone, "checkout", "-q", "--detach")
    assert (await _ask(clone)).splitlines()[0] == "On no branch (detached HEAD)"


async def test_repository_without_commits_is_reported(tmp_path: Path) -> None:
    _git(tmp_path, "init", "-q", "-b", "trunk")
    assert (await _ask(tmp_path)).splitlines()[0] == "On branch trunk, no commits yet"


async def test_folder_in_a_repository_reports_the_repository(repository: Path) -> None:
    (repository / "sub").mkdir()
    (repository / "new").touch()
    assert "new" in await _ask(repository / "sub")


async def test_missing_repository_and_missing_git_are_reported(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="is not in a git repository's working tree"):
        await _ask(tmp_path)
    with pytest.raises(ToolError) as caught:
        await status(tmp_path, {"PATH": str(tmp_path)})
    assert caught.value.message == "git is not installed"
    assert caught.value.hint == "install it: sudo apt-get install git"


async def test_a_folder_outside_is_refused(repository: Path) -> None:
    with pytest.raises(ToolError, match="outside the workspace"):
        await _ask(repository, path="..")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("filter.x.clean", "touch PWNED; cat"),
        ("filter.x.process", "touch PWNED"),
        ("FILTER.X.Smudge", "touch PWNED; cat"),
        ("core.fsmonitor", "touch PWNED; false"),
        ("core.sshCommand", "touch PWNED"),
        ("diff.external", "touch PWNED"),
        ("remote.origin.uploadpack", "touch PWNED"),
    ],
)
async def test_a_repository_that_names_a_program_is_refused_and_runs_nothing(
    repository: Path, name: str, value: str
) -> None:
    (repository / ".gitattributes").write_text("* filter=x\n* filter=X\n")
    (repository / "a.txt").write_text("b\n")  # as long as before: only its content tells
    _git(repository, "config", name, value)
    with pytest.raises(ToolError) as caught:
        await _ask(repository)
    assert "own configuration names a program" in caught.value.message
    assert name.lower() in caught.value.message.lower()
    assert not list(repository.rglob("PWNED"))


async def test_program_in_an_included_file_is_refused_as_well(repository: Path) -> None:
    (repository / "extra").write_text('[filter "x"]\n clean = touch PWNED; cat\n')
    _git(repository, "config", "include.path", "../extra")
    with pytest.raises(ToolError, match=r"filter\.x\.clean, include\.path"):
        await _ask(repository)


async def test_a_setting_of_one_worktree_is_refused_as_well(repository: Path) -> None:
    _git(repository, "config", "extensions.worktreeConfig", "true")
    _git(repository, "config", "--worktree", "filter.x.clean", "touch PWNED; cat")
    with pytest.raises(ToolError, match=r"filter\.x\.clean"):
        await _ask(repository)


async def test_gits_own_watcher_is_not_refused_as_a_program(repository: Path) -> None:
    _git(repository, "config", "core.fsmonitor", "true")
    assert "clean" in await _ask(repository)


async def test_hooks_do_not_run(repository: Path) -> None:
    hook = repository / ".git" / "hooks" / "post-index-change"
    hook.write_text(f"#!/bin/sh\ntouch {repository}/PWNED\n")
    hook.chmod(0o755)
    _git(repository, "config", "core.hooksPath", str(hook.parent))
    os.utime(repository / "a.txt", (1, 1))
    assert "clean" in await _ask(repository)
    assert not (repository / "PWNED").exists()


async def test_a_hostile_submodule_runs_nothing(repository: Path, tmp_path: Path) -> None:
    _git(tmp_path, "clone", "-q", str(repository), "inner")
    _git(repository, "submodule", "add", "-q", str(tmp_path / "inner"), "sub")
    _git(repository, "commit", "-qm", "sub")
    _git(repository / "sub", "config", "filter.x.clean", f"touch {tmp_path}/PWNED; cat")
    _git(repository / "sub", "config", "core.fsmonitor", f"touch {tmp_path}/PWNED; false")
    (repository / ".git" / "modules" / "sub" / "info" / "attributes").write_text("* filter=x\n")
    (repository / "sub" / "a.txt").write_text("b\n")
    assert "clean" in await _ask(repository)
    assert not (tmp_path / "PWNED").exists()
    with pytest.raises(ToolError, match="names a program"):
        await _ask(repository, path="sub")


async def test_a_missing_object_is_fetched_from_nowhere(repository: Path, tmp_path: Path) -> None:
    _git(repository, "config", "core.repositoryformatversion", "1")
    _git(repository, "config", "extensions.partialClone", "evil")
    _git(repository, "config", "remote.evil.promisor", "true")
    _git(repository, "config", "remote.evil.url", f"ext::touch {tmp_path}/PWNED")
    _git(repository, "config", "protocol.ext.allow", "always")
    for found in (repository / ".git" / "objects").glob("??/*"):
        found.unlink()
    with contextlib.suppress(ToolError):
        await _ask(repository)
    assert not (tmp_path / "PWNED").exists()


async def test_a_worktree_elsewhere_is_refused(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "private-name").touch()
    _git(repository, "config", "core.worktree", str(tmp_path / "elsewhere"))
    with pytest.raises(ToolError) as caught:
        await _ask(repository)
    assert "private-name" not in caught.value.message


async def test_the_callers_git_variables_have_no_effect(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.fsmonitor")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "touch PWNED")
    assert "clean" in await _ask(repository)


async def test_odd_names_stay_on_their_line(repository: Path) -> None:
    (repository / "two\nlines").touch()
    (repository / "esc\x1b[2J").touch()
    text = await _ask(repository)
    assert len(text.splitlines()) == 6
    assert "\x1b" not in text


async def test_someone_elses_repository_is_not_trusted(repository: Path) -> None:
    need("root")
    for folder, _, _ in os.walk(repository):
        os.chown(folder, 65534, 65534)
    with pytest.raises(ToolError) as caught:
        await _ask(repository)
    assert "belongs to another user" in caught.value.message
    assert caught.value.hint.startswith("if you trust it: git config --global --add safe.directory ")


def test_all_kinds_of_change_have_words() -> None:
    lines = ["## main", "MM both", "UU clash", "R  old -> new", " D gone", "!! junk", "?? more"]
    assert summary("\n".join(lines)).splitlines()[4:] == [
        "changed, staged and changed, not staged  both",
        "in conflict                              clash",
        "renamed, staged                          old -> new",
        "deleted, not staged                      gone",
        "ignored                                  junk",
        "untracked                                more",
    ]


def test_a_flood_of_changes_is_cut_and_says_so() -> None:
    text = summary("\n".join(["## main", *(f"?? file{number}" for number in range(300))]))
    assert "300 untracked" in text
    assert text.endswith("200 of 300 entries shown.")
