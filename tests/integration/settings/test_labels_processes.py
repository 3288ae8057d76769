"""Tests that start processes, beside ``tests/unit/settings/test_labels.py``."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from agentctl.settings.labels import git_labels
from tests.support.machine import need

REMOTE = "https://ci:glpat-0123456789abcdefghij@github.com/acme/shop.git"


def git(folder: Path, *words: str) -> str:
    """Run the real git, with nothing of the user's."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    own = ("-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "init.defaultBranch=main")
    done = subprocess.run(
        ["git", *own, *words], cwd=folder, env=environ, check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a commit and a remote, whose address holds a token."""
    need("git")
    folder = tmp_path / "shop"
    folder.mkdir()
    git(folder, "init", "-q")
    git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    git(folder, "remote", "add", "upstream", "https://example.org/else/where")
    git(folder, "remote", "add", "origin", REMOTE)
    return folder


def test_a_repository_says_its_name_and_branch_from_any_folder_in_it(repository: Path) -> None:
    git(repository, "checkout", "-q", "-b", "feature/bills")
    deep = repository / "src" / "deep"
    deep.mkdir(parents=True)
    assert git_labels(deep) == git_labels(repository) == {"repo": "acme/shop", "ref": "feature/bills"}


def test_a_work_tree_has_the_branch_of_its_own_and_the_remote_of_all(repository: Path) -> None:
    git(repository, "worktree", "add", "-q", "-b", "aside", "../aside")
    assert git_labels(repository.parent / "aside") == {"repo": "acme/shop", "ref": "aside"}


def test_a_detached_head_is_a_commit_by_its_first_digits(repository: Path) -> None:
    git(repository, "checkout", "-q", "--detach")
    assert git_labels(repository)["ref"] == git(repository, "rev-parse", "HEAD")[:12]


def test_a_repository_without_a_commit_or_a_remote_says_what_it_can(tmp_path: Path) -> None:
    need("git")
    git(tmp_path, "init", "-q")
    assert git_labels(tmp_path) == {"ref": "main"}
