"""Files of a git folder that may be kept, and paths that a configuration names, compared with git itself."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentctl.sandbox.git_files import (
    is_git_name,
    may_be_kept,
)

HASH = b"0123456789abcdef0123456789abcdef01234567"


def git(folder: Path, *words: str, give: bytes = b"") -> bytes:
    settings_ = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    return subprocess.run(["git", *settings_, *words], cwd=folder, input=give, capture_output=True, check=True).stdout


def index_of(*names: bytes) -> bytes:
    entries = b""
    for name in names:
        entry = (
            b"\0" * 24 + (0o100644).to_bytes(4, "big") + b"\0" * 12 + b"\1" * 20 + len(name).to_bytes(2, "big") + name
        )
        entries += entry + b"\0" * (8 - len(entry) % 8)
    data = b"DIRC" + (2).to_bytes(4, "big") + len(names).to_bytes(4, "big") + entries
    return data + hashlib.sha1(data, usedforsecurity=False).digest()


LEADING_OUT = [".git/config", "a/.git/hooks/x", ".GIT/x", "a/.Git", ".GiT", "git~1/config", ".git./config", ".git /x"]
LEADING_OUT += [".g\u200cit/config", "../x", "a/../../x", "/etc/x", "a//b", "./a", "a/.", ""]


@pytest.mark.parametrize("name", LEADING_OUT)
def test_an_index_with_such_a_path_is_not_kept(name: str) -> None:
    assert not may_be_kept("index", index_of(b"a", name.encode(), b"z"))
    assert may_be_kept("index", index_of(b"a", b"z"))


@settings(max_examples=300)
@given(st.binary(max_size=200), st.integers(0, 400))
def test_a_broken_index_is_not_kept_and_breaks_nothing(noise: bytes, at: int) -> None:
    good = index_of(b"a", b"b/c", b".gitignore")
    assert may_be_kept("index", good)
    may_be_kept("index", good[:at] + noise + good[at:])
    assert not may_be_kept("index", noise)


KEPT = {
    "HEAD": [b"ref: refs/heads/main\n", HASH + b"\n", HASH],
    "refs/heads/main": [HASH + b"\n"],
    "refs/remotes/origin/HEAD": [b"ref: refs/remotes/origin/main\n"],
    "packed-refs": [
        b"# pack-refs with: peeled fully-peeled sorted \n" + HASH + b" refs/tags/v1\n^" + HASH + b"\n", b""
    ],
    "logs/HEAD": [HASH + b" " + HASH + b" a <a@b.c> 1 +0000\tcommit: x\n", b""],
    "MERGE_HEAD": [HASH + b"\n" + HASH + b"\n"],
    "ORIG_HEAD": [HASH],
    "COMMIT_EDITMSG": [b"anything\n"],
}  # fmt: skip
DROPPED = {
    "HEAD": [b"ref: ../evil", b"ref: refs/../../evil", b"/etc/passwd", b"", b"ref: refs/heads/a\nx", b"ref: refs/.a"],
    "refs/heads/main": [b"ref: HEAD/../x", b"x", b"", HASH + b"\n" + HASH],
    "refs/heads/a.lock": [HASH],
    "refs/heads/../x": [HASH],
    "packed-refs": [HASH + b" refs/../x\n", HASH + b" refs/heads/a", b"x\n", HASH + b" HEAD\n"],
    "logs/HEAD": [b"x\n", HASH + b" " + HASH + b" no end"],
    "logs/x": [b""],
    "MERGE_HEAD": [b"-x\n"],
    "commondir": [b"x"],
    "config": [b""],
    "hooks/pre-commit": [b""],
    "rebase-merge/git-rebase-todo": [b"exec x\n"],
    "sequencer/todo": [b"pick x\n"],
    "info/attributes": [b"* filter=x\n"],
    "sharedindex.x": [index_of(b"a")],
    "gitdir": [b"x"],
    "shallow": [HASH],
}


@pytest.mark.parametrize(("path", "data"), [(path, data) for path, all_ in KEPT.items() for data in all_])
def test_files_that_git_writes_are_kept(path: str, data: bytes) -> None:
    assert may_be_kept(path, data)


@pytest.mark.parametrize(("path", "data"), [(path, data) for path, all_ in DROPPED.items() for data in all_])
def test_files_that_git_would_obey_are_not_kept(path: str, data: bytes) -> None:
    assert not may_be_kept(path, data)


def test_the_names_that_some_system_takes_for_git() -> None:
    assert all(
        map(is_git_name, [".git", ".GIT", ".Git", "git~1", "GIT~1", ".git.", ".git ", ".g\u200dit", "\ufeff.git"])
    )
    assert not any(map(is_git_name, [".gitignore", "git", ".github", "x.git", "git~2", ".git2", ""]))
