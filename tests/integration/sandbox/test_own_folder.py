"""The folder for a run's copies: held while the run lives, removed by the next one after ``kill -9``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agentctl.sandbox.git_folder import OwnFolder

KILLED = """
import os, sys
from pathlib import Path
from agentctl.sandbox.git_folder import OwnFolder
own = OwnFolder(Path(sys.argv[1]), None)
Path(own.path, "copy").mkdir()
print(own.path, flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_folder_that_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path], capture_output=True, text=True)
    left = Path(done.stdout.strip())
    assert (done.returncode, left.is_dir()) == (-9, True)
    following = OwnFolder(tmp_path, None)
    assert list(tmp_path.iterdir()) == [Path(following.path)]
    following.remove()
    following.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_a_run_holds_stays(tmp_path: Path) -> None:
    held, other = OwnFolder(tmp_path, None), OwnFolder(tmp_path, None)
    assert {path.name for path in tmp_path.iterdir()} == {Path(held.path).name, Path(other.path).name}
    held.remove()
    other.remove()


def test_entry_that_only_has_such_a_name_stays(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "agentctl-git-link").symlink_to(elsewhere)
    (shared / "agentctl-git-file").write_text("x")
    OwnFolder(shared, None).remove()
    assert sorted(path.name for path in shared.iterdir()) == ["agentctl-git-file", "agentctl-git-link"]
    assert elsewhere.is_dir()


@pytest.mark.needs("root")
def test_a_folder_of_another_user_is_removed_only_by_a_run_for_that_user(tmp_path: Path) -> None:
    (tmp_path / "agentctl-git-theirs").mkdir()
    os.chown(tmp_path / "agentctl-git-theirs", 65534, 65534)
    OwnFolder(tmp_path, None).remove()
    assert (tmp_path / "agentctl-git-theirs").is_dir()
    own = OwnFolder(tmp_path, (65534, 65534))
    assert Path(own.path).stat().st_uid == 65534
    own.remove()
    assert list(tmp_path.iterdir()) == []
