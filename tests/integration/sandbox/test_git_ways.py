"""No command makes git run a program outside, afterwards and with bubblewrap also while the command runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agentctl.protocols import Sandbox
from agentctl.sandbox.bwrap import Bwrap
from agentctl.sandbox.mount_plan import SandboxConfig
from agentctl.sandbox.select import SandboxMode, open_sandbox
from agentctl.sandbox.self_test import find_bwrap, options_of
from tests.integration.sandbox.git_ways import WAYS, Way

_LOOP = """
exec >/dev/null 2>&1
while sleep 0.05; do git status; for folder in sub n b; do [ -d $folder ] && git -C $folder status; done; done
"""
_AFTER = """
chmod -R u+rwX . 2>/dev/null
git status; git checkout -- .; git diff; git add -A; $C --allow-empty -m mine; git checkout -q HEAD -- .; git log -1
git rebase --continue; git cherry-pick --continue; git stash; git stash pop; git submodule status; git fetch --all
find . -type d -name .git -prune -o -type d -print | while read -r folder; do
    [ -e "$folder/.git" ] || [ -e "$folder/HEAD" ] || continue # else it is in the repository above
    (cd "$folder" && git status && git log -1 && git add -A && $C --allow-empty -m mine)
done
[ ! -d ../w ] || (cd ../w && git status && $C --allow-empty -m mine)
"""


@contextmanager
def git_at_work(workspace: Path, environment: dict[str, str]) -> Iterator[None]:
    """Run ``git status`` outside all the time, as prompts, editors and file managers do."""
    loop = subprocess.Popen(["/bin/sh", "-c", _LOOP], cwd=workspace, env=environment, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(loop.pid, 9)
        loop.wait()


def shell(command: str, folder: Path, environment: dict[str, str]) -> None:
    argv = ["/bin/sh", "-c", command]
    subprocess.run(argv, cwd=folder, env=environment, capture_output=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a repository with one commit, to copy."""
    folder = tmp_path_factory.mktemp("repository")
    commit = "git -c user.name=a -c user.email=a@b.c commit -qm one"
    shell(f"git init -q -b main . && echo 1 >file && git add file && {commit}", folder, {"PATH": os.environ["PATH"]})
    return folder


async def attacked(way: Way, repository: Path, folder: Path, guarded: SandboxMode | None) -> bool:
    """Return whether the way's program has run outside, in a workspace of its own; ``guarded`` is the tier."""
    mark, workspace = folder / "MARK", folder / "work"
    shutil.copytree(repository, workspace)
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "MARK": str(mark), "GIT_EDITOR": "true",
        "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "protocol.file.allow", "GIT_CONFIG_VALUE_0": "always",
        "C": "git -c user.name=a -c user.email=a@b.c commit -q",
    }  # fmt: skip
    shell(way.before, workspace, environment)
    sandbox: Sandbox
    if guarded is not None:
        sandbox = await open_sandbox(guarded, workspace=workspace, network=False, read_only=False, files=folder / "run")
    else:
        program = find_bwrap(str(workspace))
        sandbox = Bwrap(program, await options_of(program), SandboxConfig(str(workspace), str(workspace)))
    inside = f"MARK={mark}; C='{environment['C']}'; {way.command}"
    if guarded == "landlock":  # it protects nothing while the command runs, and says so
        result = await sandbox.run(inside, timeout=30)
    else:
        with git_at_work(workspace, environment):
            result = await sandbox.run(f"{inside}; sleep 0.15", timeout=30)
    sandbox.close()
    assert not result.timed_out
    during = mark.exists()
    assert not (guarded and during), "it ran while the command did"
    shell(_AFTER, workspace, environment)
    return mark.exists()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_git_outside_runs_nothing_that_a_command_has_written(
    way: Way, repository: Path, tmp_path: Path, wanted: SandboxMode, is_full: bool
) -> None:
    if way.works and is_full and wanted == "bwrap":
        is_open = await attacked(way, repository, tmp_path / "unguarded", None)
        assert is_open, "the way does not even work without a guard"
    assert not await attacked(way, repository, tmp_path / "guarded", wanted)


def test_table_has_at_least_twenty_five_ways() -> None:
    assert len([way for way in WAYS.values() if way.works]) >= 25
