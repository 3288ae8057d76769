"""Git inside does what it does outside: what it did is there afterwards, and nothing is lost when it is killed."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from agentctl.protocols import CommandResult
from agentctl.sandbox.select import SandboxMode, open_sandbox
from tests.support import fork_server

Run = Callable[[str], Awaitable[CommandResult]]


def git(folder: Path, *words: str) -> str:
    settings = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    done = subprocess.run(["git", *settings, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.rstrip()


def git_fails(folder: Path) -> str:
    return subprocess.run(["git", "status"], cwd=folder, capture_output=True, text=True, check=False).stderr


def is_sound(folder: Path) -> bool:
    """Whether git finds no fault, no lock is left, and nothing stands where it was not before."""
    check = subprocess.run(["git", "fsck", "--strict", "--no-dangling"], cwd=folder, capture_output=True, text=True)
    assert (check.returncode, check.stdout, check.stderr) == (0, "", "")
    return not [path for path in (folder / ".git").rglob("*.lock") if "objects" not in path.parts]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a repository with one commit, to copy."""
    folder = tmp_path_factory.mktemp("repository")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "config", "user.name", "a")
    git(folder, "config", "user.email", "a@b.c")
    (folder / "file").write_text("one\n")
    git(folder, "add", "file")
    git(folder, "commit", "-qm", "one")
    return folder


@pytest.fixture
def workspace(repository: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    shutil.copytree(repository, folder)
    return folder


@pytest.fixture
async def run_anywhere(workspace: Path, tmp_path: Path, wanted: SandboxMode) -> AsyncIterator[Run]:
    """Run commands in each tier."""
    sandbox = await open_sandbox(wanted, workspace=workspace, network=False, read_only=False, files=tmp_path / "run")

    async def go(command: str) -> CommandResult:
        return await sandbox.run(command, timeout=60)

    yield go
    sandbox.close()


@pytest.fixture
async def run(workspace: Path, tmp_path: Path) -> Run:
    sandbox = await open_sandbox("bwrap", workspace=workspace, network=False, read_only=False, files=tmp_path / "run")
    return lambda command: sandbox.run(command, timeout=60)


BRANCH = "git switch -qc b; echo b >b; git add b; git commit -qm b; git switch -q main"
BOTH = "git switch -qc b; echo b >file; git commit -qam b; git switch -q main; echo c >file; git commit -qam c"
LOG, BRANCHES = "log --format=%s", "branch --format=%(refname:short)"
WORK = {
    "add": ("echo 2 >g; git add g", "diff --cached --name-only", "g"),
    "commit": ("echo 2 >file; git commit -qam two", LOG, "two\none"),
    "commit --amend": ("git commit -q --amend -m again", LOG, "again"),
    "switch": ("git switch -qc next; git branch other", BRANCHES, "main\nnext\nother"),
    "detached": ("git checkout -q --detach", "rev-parse --abbrev-ref HEAD", "HEAD"),
    "a branch below a former one": ("git branch a; git branch -D a; git branch a/b", BRANCHES, "a/b\nmain"),
    "merge": (f"{BRANCH}; git merge -q --no-ff -m m b", f"{LOG} --first-parent", "m\none"),
    "a merge with a conflict": (f"{BOTH}; git merge b", "status --porcelain", "UU file"),
    "tag": ("git tag v1; git tag -am two v2", "tag", "v1\nv2"),
    "stash": ("echo 2 >file; git stash -q", "stash list --format=%s", "WIP on main: "),
    "stash pop": ("echo 2 >file; git stash -q; git stash pop -q", "status --porcelain", " M file"),
    "rebase": (f"{BRANCH}; git commit -q --allow-empty -m c; git rebase -q main b", LOG, "b\nc\none"),
    "cherry-pick": (f"{BRANCH}; git cherry-pick b", LOG, "b\none"),
    "revert": ("git revert --no-edit HEAD", LOG, 'Revert "one"\none'),
    "reset": ("echo 2 >file; git commit -qam two; git reset -q --hard HEAD~1", LOG, "one"),
    "gc": ("for i in 2 3; do echo $i >file; git commit -qam $i; done; git gc -q --prune=now", LOG, "3\n2\none"),
    "a packed branch removed": ("git branch b; git pack-refs --all; git branch -D b", BRANCHES, "main"),
    "mv and rm": ("git mv file f; git commit -qm moved; git rm -q f; git commit -qm gone", LOG, "gone\nmoved\none"),
    "notes": ("git notes add -m hello", "notes show", "hello"),
    "an index of version 4": ("git update-index --index-version 4; echo 2 >g; git add g", "ls-files", "file\ng"),
    "reflog": ("git commit -q --allow-empty -m two", "reflog --format=%gs", "commit: two\ncommit (initial): one"),
}


@pytest.mark.parametrize(("command", "question", "answer"), WORK.values(), ids=WORK)
async def test_git_inside_works_as_outside(
    run_anywhere: Run, workspace: Path, command: str, question: str, answer: str
) -> None:
    result = await run_anywhere(command)
    assert (result.exit_code, result.notes) == (1 if "conflict" in question or "UU" in answer else 0, ())
    said = git(workspace, *question.split(" "))
    assert said == answer or (answer.endswith(": ") and said.startswith(answer))
    assert is_sound(workspace)
    assert [path.name for path in workspace.iterdir() if path.name.startswith(".")] == [".git"]
    again = await run_anywhere("git status --porcelain; git log -1 --format=%s")
    changed, last = git(workspace, "status", "--porcelain"), git(workspace, "log", "-1", "--format=%s")
    assert (again.stdout, again.notes) == (f"{changed}\n{last}\n" if changed else f"{last}\n", ())


@pytest.mark.needs("sandbox")
async def test_a_rebase_that_stops_goes_on_in_the_next_command(run: Run, workspace: Path) -> None:
    before = git(workspace, "rev-parse", "HEAD")
    stopped = await run(
        "git switch -qc b; echo b >file; git commit -qam b; git switch -q main; echo c >file; git commit -qam c;"
        " git switch -q b; git rebase main"
    )
    assert [note for note in stopped.notes if "a rebase is unfinished" in note] == list(stopped.notes)
    assert (git(workspace, "rev-parse", "HEAD"), git(workspace, "branch", "--show-current")) == (before, "main")
    git(workspace, "status")  # may write the index anew: it does not matter
    done = await run("echo d >file; git add file; GIT_EDITOR=true git rebase --continue")
    assert (done.exit_code, done.notes) == (0, ())
    assert git(workspace, "log", "--format=%s") == "b\nc\none"
    assert is_sound(workspace)


@pytest.mark.needs("sandbox")
async def test_a_commit_goes_through_while_git_looks_on_outside(run: Run, workspace: Path) -> None:
    async with anyio.create_task_group() as tasks:
        loop = await anyio.open_process("while :; do git status >/dev/null; done", cwd=workspace)
        try:
            for number in range(4):
                result = await run(f"echo {number} >file; git commit -qam {number}; sleep 0.05")
                assert (result.exit_code, result.notes) == (0, ())
        finally:
            loop.kill()
            await loop.aclose()
        tasks.cancel_scope.cancel()
    assert git(workspace, "log", "-1", "--format=%s") == "3"
    assert is_sound(workspace)


@pytest.mark.needs("sandbox")
async def test_changes_by_git_outside_meanwhile_are_not_overwritten(run: Run, workspace: Path) -> None:
    answers: list[CommandResult] = []

    async def inside() -> None:
        answers.append(await run("echo 2 >inside; git add inside; git commit -qm inside; sleep 1"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(inside)
        await anyio.sleep(0.5)
        git(workspace, "commit", "-q", "--allow-empty", "-m", "outside")
    (note,) = answers[0].notes
    assert "git's changes were not kept: another git process changed" in note
    assert git(workspace, "log", "--format=%s") == "outside\none"
    assert is_sound(workspace)
    commit = note.rpartition("git merge ")[2]
    assert git(workspace, "log", "-1", "--format=%s", commit) == "inside"
    after = await run("git log -1 --format=%s")
    assert after.stdout == "outside\n"


@pytest.mark.needs("sandbox")
async def test_lock_held_by_another_git_is_reported(run: Run, workspace: Path) -> None:
    (workspace / ".git/index.lock").touch()
    result = await run("echo 2 >file; git commit -qam two")
    assert ["another git process holds .git/index.lock" in note for note in result.notes] == [True]
    (workspace / ".git/index.lock").unlink()
    assert git(workspace, "log", "--format=%s") == "one"


@pytest.mark.needs("sandbox")
async def test_a_command_that_is_killed_in_git_loses_nothing(run: Run, workspace: Path, tmp_path: Path) -> None:
    sandbox = await open_sandbox("bwrap", workspace=workspace, network=False, read_only=False, files=tmp_path / "run")
    for wait in (0.05, 0.15, 0.3):
        result = await sandbox.run(
            "i=0; while :; do i=$((i+1)); echo $i >file; git commit -qam $i; git gc -q; done", timeout=wait
        )
        assert result.timed_out
        assert is_sound(workspace)
        git(workspace, "status")
    done = await run("git commit -qam end; git log -1 --format=%s")
    assert done.stdout.splitlines()[-1] == git(workspace, "log", "-1", "--format=%s")


@pytest.mark.needs("sandbox")
async def test_dropped_git_files_are_named(run: Run, workspace: Path) -> None:
    result = await run("mkdir .git/strange; echo x >.git/commondir; git config -f .git/config.worktree a.b c")
    assert result.notes == ("written to .git and dropped: commondir, config.worktree, strange",)
    assert not (workspace / ".git/commondir").exists()
    bad = await run("git commit -q --allow-empty -m two; echo garbage >.git/refs/heads/main")
    assert bad.notes[0] == "git's changes were not kept: refs/heads/main in .git cannot be trusted"
    assert git(workspace, "log", "--format=%s") == "one"
    assert (await run("git log --format=%s")).stdout == "one\n"


@pytest.mark.needs("sandbox")
async def test_trees_deeper_than_the_stack_are_handled(run: Run, workspace: Path) -> None:
    dig = 'python3 -c \'import os\nfor _ in range(1500): os.mkdir("d"); os.chdir("d")\''
    result = await run(f"mkdir .git/deep .git/refs/deep; for p in .git/deep .git/refs/deep; do (cd $p; {dig}); done")
    assert result.exit_code == 0
    assert "git's changes were not kept: refs/deep/" in result.notes[0]
    assert (await run("git log --format=%s; ls .git/refs")).stdout == "one\nheads\ntags\n"
    assert is_sound(workspace)


@pytest.mark.needs("sandbox")
@pytest.mark.parametrize("shape", ["worktree", "link", "inside", "bare", "odd"])
async def test_a_git_folder_of_another_shape_is_read_only(workspace: Path, tmp_path: Path, shape: str) -> None:
    place = workspace
    if shape == "worktree":
        place = tmp_path / "tree"
        git(workspace, "worktree", "add", "-q", str(place))
    elif shape == "link":
        (workspace / ".git").rename(workspace / "store")
        (workspace / ".git").symlink_to("store")
    elif shape == "inside":
        place = workspace / ".git"
    elif shape == "bare":
        place = tmp_path / "bare"
        git(tmp_path, "clone", "-q", "--bare", str(workspace), str(place))
    else:
        (workspace / ".git/refs/heads/link").symlink_to("main")
    sandbox = await open_sandbox("bwrap", workspace=place, network=False, read_only=False, files=tmp_path / "run")
    result = await sandbox.run(
        "git log --format=%s; git commit -q --allow-empty -m two; git config a.b c; touch made", timeout=30
    )
    assert result.stdout == "one\n"
    assert git(place, "log", "--format=%s") == "one"
    assert "a.b" not in git(place, "config", "--list")
    writable = shape in ("worktree", "odd")
    assert (place / "made").exists() is writable
    assert [note for note in result.notes if "read-only" in note] == ([] if shape == "worktree" else list(result.notes))


@pytest.mark.needs("sandbox")
async def test_a_new_repository_can_be_brought_back(tmp_path: Path) -> None:
    place = tmp_path / "empty"
    (place / "sub").mkdir(parents=True)
    sandbox = await open_sandbox("bwrap", workspace=place, network=False, read_only=False, files=tmp_path / "run")
    result = await sandbox.run("git init -q . && git init -q sub && touch file", timeout=30)
    assert sorted(path.name for path in place.rglob("*")) == ["file", "sub"]
    assert [(notice.path, notice.obeyed_by) for notice in result.notices] == [("sub/.git", "git"), (".git", "git")]
    for notice in result.notices:  # whoever looks at them there is safe
        assert "not a git repository" in git_fails(Path(str(notice.moved_to)))
    await anyio.run_process(" && ".join(str(notice.restore_command) for notice in result.notices))
    assert git(place / "sub", "rev-parse", "--git-dir") == git(place, "rev-parse", "--git-dir") == ".git"


HOLD = """
import sys, anyio
from pathlib import Path
from agentctl.sandbox.select import open_sandbox

async def main():
    place = Path(sys.argv[1])
    sandbox = await open_sandbox("bwrap", workspace=place, network=False, read_only=False, files=Path(sys.argv[2]))
    await sandbox.run("touch ready; sleep " + sys.argv[3], timeout=60)

anyio.run(main)
"""


@pytest.mark.needs("sandbox")
def test_a_stand_in_for_git_is_shared_by_runs_and_taken_over_from_a_killed_one(tmp_path: Path) -> None:
    place = tmp_path / "empty"
    place.mkdir()

    def start(seconds: str) -> subprocess.Popen[bytes]:
        (place / "ready").unlink(missing_ok=True)
        words = ["-c", HOLD, str(place), str(tmp_path / f"run{seconds}"), seconds]
        run = fork_server.Forked(words, cwd=place, env={**os.environ, **fork_server.ENVIRON})
        end = time.monotonic() + 60
        while not (place / "ready").exists() and time.monotonic() < end:
            time.sleep(0.02)
        assert (place / ".git").is_dir()
        return run

    killed = start("60")
    killed.kill()
    killed.wait()
    assert (place / ".git").is_dir()
    long, short = start("3"), start("0.1")
    assert short.wait(60) == 0
    assert (place / ".git").is_dir()
    assert long.wait(60) == 0
    assert not (place / ".git").exists()


@pytest.mark.needs("sandbox")
@pytest.mark.needs("root")
async def test_commands_for_another_user_leave_files_owned_by_that_user(workspace: Path, tmp_path: Path) -> None:
    for path in (workspace, *workspace.rglob("*")):
        os.chown(path, 65534, 65534)
    for folder in (tmp_path, *list(tmp_path.parents)[:3]):
        if folder != Path("/tmp"):
            folder.chmod(0o755)
    sandbox = await open_sandbox("bwrap", workspace=workspace, network=False, read_only=False, files=tmp_path / "run")
    result = await sandbox.run("echo 2 >file; git commit -qam two; git branch b; echo x >.envrc", timeout=30)
    assert (result.exit_code, [notice.path for notice in result.notices]) == (0, [".envrc"])
    owners = {path.lstat().st_uid for path in (workspace, *workspace.rglob("*"))}
    assert owners == {65534}
    as_him = ["git", "-c", "safe.directory=*", "log", "--format=%s"]
    assert (await anyio.run_process(as_him, cwd=workspace)).stdout == b"two\none\n"
