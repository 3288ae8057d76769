"""In the Landlock tier, what other programs obey is as before once a command is over, also if agentctl was killed."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from agentctl.protocols import Sandbox
from agentctl.sandbox.protected_files import ProtectedFiles
from agentctl.sandbox.select import open_sandbox
from tests.integration.sandbox.conftest import REPOSITORY, Trace
from tests.integration.sandbox.parts import wait_until
from tests.integration.sandbox.test_landlock import state_of

pytestmark = pytest.mark.needs("landlock", "git")
RUN = """
import sys, anyio
from pathlib import Path
from agentctl.sandbox.select import open_sandbox

async def main():
    workspace, command, files = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    sandbox = await open_sandbox("landlock", workspace=workspace, network=False, read_only=False, files=files)
    result = await sandbox.run(command, timeout=60)
    sandbox.close()
    print(result.stdout, end="")
anyio.run(main)
"""
ATTACK = """
echo x >>.envrc; chmod 755 .envrc; rm -r .vscode; ln -s /nowhere .vscode; mv Makefile M; echo x >.bashrc
printf '#!/bin/sh\\n' >.git/hooks/pre-commit; chmod +x .git/hooks/pre-commit; git config core.pager evil
mkdir -p deep/.git/hooks; echo x >deep/.git/hooks/pre-push
"""


def git(folder: Path, *words: str) -> str:
    argv = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e", *words]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    (folder / ".vscode/inner").mkdir(parents=True)
    for place in (".vscode/tasks.json", ".vscode/inner/a", ".envrc", "Makefile", "file"):
        (folder / place).write_text("mine")
    (folder / ".envrc").chmod(0o640)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    return folder


async def opened(workspace: Path, files: Path) -> Sandbox:
    return await open_sandbox("landlock", workspace=workspace, network=False, read_only=False, files=files)


def obeyed(workspace: Path) -> dict[str, tuple[object, ...]]:
    """Return the mode and the content of what other programs obey in the workspace."""
    found: dict[str, tuple[object, ...]] = {}
    for place in (".envrc", ".vscode", ".bashrc", ".git/hooks", ".git/config", "deep/.git"):
        there = workspace / place
        for path in (there, *sorted(there.rglob("*"))) if there.exists() else ():
            with suppress(FileNotFoundError):  # it is being put back at this moment
                found[str(path)] = (stat.filemode(path.lstat().st_mode), path.read_bytes() if path.is_file() else b"")
    return found


async def test_changed_files_are_put_back_and_new_ones_are_moved_away(workspace: Path, tmp_path: Path) -> None:
    before = obeyed(workspace)
    sandbox = await opened(workspace, tmp_path / "run")
    result = await sandbox.run(ATTACK + "echo x >file; rm -r deep/nothing; git status --porcelain", timeout=30)
    sandbox.close()
    assert obeyed(workspace) == before
    assert (workspace / "file").read_text() == "x\n"
    assert not (workspace / "deep/.git").exists()
    moved = {notice.path: Path(str(notice.moved_to)) for notice in result.notices if notice.moved_to}
    assert moved[".envrc"].read_text() == "minex\n"
    assert moved[".bashrc"].read_text() == "x\n"
    assert moved[".vscode"].readlink() == Path("/nowhere")
    assert {*moved} >= {".git/hooks/pre-commit", ".git/config", "deep/.git"}
    assert [note for note in result.notes if note.startswith("changed by the command and put back: ")]


async def test_ordinary_work_with_git_stays(workspace: Path, tmp_path: Path) -> None:
    sandbox = await opened(workspace, tmp_path / "run")
    commit = "git -c user.name=n -c user.email=e commit -q -am second"
    result = await sandbox.run(
        f"echo x >file; {commit}; git tag t; git checkout -q -b other; git log --format=%s", timeout=30
    )
    again = await sandbox.run(
        "git stash list; git branch --format='%(refname:short)'; git status --porcelain", timeout=30
    )
    sandbox.close()
    assert (result.stdout, result.notices, result.notes) == ("second\nfirst\n", (), ())
    assert again.stdout.split()[-1] == "other"
    assert git(workspace, "log", "-1", "--format=%s %D").startswith("second HEAD -> other, tag: t, ")


def environ(workspace: Path) -> dict[str, str]:
    """Return an environment with a temporary folder in which no other run looks for what a killed one left."""
    place = workspace.parent / "temporary"
    place.mkdir(exist_ok=True)
    return {**os.environ, "TMPDIR": str(place), "PYTHONPATH": str(REPOSITORY)}  # agentctl need not be installed


def killed(workspace: Path, trace: Trace, kill: Callable[[int], None]) -> None:
    """Run the attack, and kill agentctl when it is done but the command is not over."""
    command = f"{ATTACK}\ntouch ready; sleep {trace.token}"
    argv = [sys.executable, "-c", RUN, str(workspace), command, str(workspace.parent / "run")]
    worker = subprocess.Popen(argv, cwd=REPOSITORY, env=environ(workspace))
    try:
        wait_until(lambda: (workspace / "ready").exists())
        kill(worker.pid)
    finally:
        worker.kill()
        worker.wait()
    wait_until(lambda: not trace.alive())


def test_changes_are_undone_when_agentctl_is_killed(workspace: Path, trace: Trace) -> None:
    before = obeyed(workspace)
    killed(workspace, trace, lambda pid: os.kill(pid, signal.SIGKILL))
    wait_until(lambda: obeyed(workspace) == before)
    wait_until(lambda: is_kept(workspace.parent / "run"))


def is_kept(files: Path) -> bool:
    """Whether what the attack wrote is in the files of the run."""
    try:
        texts = [path.read_text(errors="replace") for path in files.rglob("*") if path.is_file()]
    except FileNotFoundError:  # it is just being moved
        return False
    return "minex\n" in texts and any("pager = evil" in text for text in texts)


def guard_of(pid: int) -> int:
    """Return the guard of this agentctl."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[-2:] == [b"agentctl-guard", b""] and words[-3] == b"%d" % pid and b"confined_program" in words[-4]:
            return int(place.name)
    raise AssertionError("it has none")


def test_changes_are_undone_by_the_next_run_when_the_guard_was_killed_too(workspace: Path, trace: Trace) -> None:
    before = obeyed(workspace)

    def kill(pid: int) -> None:
        guard = guard_of(pid)
        os.kill(pid, signal.SIGSTOP)
        os.kill(guard, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        for line in trace.alive():  # nobody is left to do it
            os.kill(int(line.split()[0]), signal.SIGKILL)

    killed(workspace, trace, kill)
    assert obeyed(workspace) != before
    argv = [
        sys.executable,
        "-c",
        RUN,
        str(workspace),
        "cat .envrc .git/hooks/pre-commit",
        str(workspace.parent / "next"),
    ]
    done = subprocess.run(argv, cwd=REPOSITORY, env=environ(workspace), capture_output=True, text=True, check=True)
    assert (done.stdout, obeyed(workspace)) == ("mine", before)
    assert is_kept(workspace.parent / "run")


async def test_workspace_that_cannot_be_protected_is_read_only(tmp_path: Path) -> None:
    workspace = tmp_path / "work"
    workspace.mkdir()
    git(workspace, "init", "-q", "--bare")
    before = state_of(workspace)
    sandbox = await opened(workspace, tmp_path / "run")
    result = await sandbox.run("echo x >hooks/pre-commit; echo x >>config; echo said", timeout=30)
    sandbox.close()
    assert (result.stdout, state_of(workspace)) == ("said\n", before)


async def test_a_git_folder_is_not_put_back_through_a_link(workspace: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (workspace / "nested").mkdir()
    git(workspace / "nested", "init", "-q")
    sandbox = await opened(workspace, tmp_path / "files")
    await sandbox.run(
        f"mkdir other; mv nested/.git other; rmdir nested; ln -s {outside} nested; git -C other config core.pager x",
        timeout=60,
    )
    sandbox.close()
    assert list(outside.iterdir()) == []
    assert "pager" not in (workspace / "nested/.git/config").read_text()


async def test_a_moved_link_does_not_lead_the_next_move_outside(workspace: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    sandbox = await opened(workspace, tmp_path / "files")
    folder = ".npmrc.moved-by-agentctl/named.d"
    result = await sandbox.run(f"ln -s {outside} .npmrc; mkdir -p {folder}; echo x >{folder}/.env", timeout=60)
    sandbox.close()
    assert list(outside.iterdir()) == []
    assert [notice.path for notice in result.notices] == [".npmrc", f"{folder}/.env"]
    assert all(os.path.lexists(notice.moved_to or "") for notice in result.notices)


async def test_a_file_behind_a_link_in_a_configured_path_is_not_renamed(workspace: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "monitor").write_text("theirs")
    git(workspace, "config", "core.fsmonitor", "tools/monitor")
    sandbox = await opened(workspace, tmp_path / "files")
    await sandbox.run(f"ln -s {outside} tools", timeout=60)
    sandbox.close()
    assert [path.name for path in outside.iterdir()] == ["monitor"]


def test_a_file_that_is_put_back_keeps_its_owner(workspace: Path, tmp_path: Path) -> None:
    owner = 65534 if os.geteuid() == 0 else os.geteuid()
    os.chown(workspace, owner, -1)
    copies = tmp_path / "copies"
    copies.mkdir()
    protected = ProtectedFiles(str(workspace), str(copies))
    protected.look([".envrc", ".vscode"])
    (workspace / ".envrc").unlink()
    loaded = ProtectedFiles.load(str(copies))
    assert loaded is not None
    loaded.restore(".envrc")
    status = (workspace / ".envrc").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (os.geteuid(), os.getegid(), 0o640)


async def test_no_pipe_stays_where_git_would_wait_for_it(workspace: Path, tmp_path: Path) -> None:
    sandbox = await opened(workspace, tmp_path / "files")
    await sandbox.run(
        "cd .git && rm -f COMMIT_EDITMSG && mkfifo commondir COMMIT_EDITMSG logs/pipe .hidden", timeout=60
    )
    sandbox.close()
    assert [path for path in (workspace / ".git").rglob("*") if path.is_fifo()] == []
    assert git(workspace, "log", "--format=%s") == "first\n"
