"""What of a git folder's files may be kept, and which paths a configuration names: held against git itself."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentctl.sandbox.git_files import (
    configured_paths,
    index_entries,
    index_is_safe,
    is_git_name,
    is_ref_name,
    may_be_kept,
)

HASH = b"0123456789abcdef0123456789abcdef01234567"


def git(folder: Path, *words: str, give: bytes = b"") -> bytes:
    settings_ = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    return subprocess.run(["git", *settings_, *words], cwd=folder, input=give, capture_output=True, check=True).stdout


@pytest.mark.parametrize("version", ["2", "3", "4"])
@pytest.mark.parametrize("format_", ["sha1", "sha256"])
def test_an_index_is_read_as_git_reads_it(tmp_path: Path, version: str, format_: str) -> None:
    git(tmp_path, "init", "-q", f"--object-format={format_}")
    names = ["a", "a.b", "dir/a", "dir/deeper/name", "é", "with space", "x" * 200, "y" * 7, "y" * 8, "y" * 9]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    git(tmp_path, "add", "-A")
    (tmp_path / "later").write_text("x")
    git(tmp_path, "add", "-N", "later")  # has an extended flag
    if version != "2":
        git(tmp_path, "update-index", "--index-version", version)
    data = (tmp_path / ".git/index").read_bytes()
    listed = git(tmp_path, "ls-files", "-s", "-z").split(b"\0")[:-1]
    found = [
        b"%06o %s 0\t%s" % (entry.mode, entry.object_hash.hex().encode(), entry.path) for entry in index_entries(data)
    ]
    assert found == listed
    assert index_is_safe(data)


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


REFS = ["refs/heads/main", "refs/heads/a/b", "refs/tags/v1.0", "refs/stash", "refs/heads/é", "refs/heads/a@b"]
NOT_REFS = ["refs", "refs/", "refs/heads/", "refs/heads/.a", "refs/heads/a.lock", "refs/heads/a..b", "refs/heads/a b"]
NOT_REFS += ["refs/heads/a~", "refs/heads/a^", "refs/heads/a:b", "refs/heads/a?", "refs/heads/a*", "refs/heads/[a"]
NOT_REFS += ["refs/heads/a\\b", "refs/heads/a.", "refs/heads/a@{b", "refs/heads//a", "refs/../HEAD", "heads/a"]
NOT_REFS += ["refs/heads/a\x7f", "refs/heads/a\n"]


@pytest.mark.parametrize("name", [*REFS, *NOT_REFS])
def test_names_of_refs_are_those_that_git_takes(tmp_path: Path, name: str) -> None:
    done = subprocess.run(["git", "check-ref-format", name], cwd=tmp_path, check=False)
    is_one = done.returncode == 0 and name.startswith("refs/")
    assert is_ref_name(name) is is_one is (name in REFS)


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
def test_what_git_writes_is_kept(path: str, data: bytes) -> None:
    assert may_be_kept(path, data)


@pytest.mark.parametrize(("path", "data"), [(path, data) for path, all_ in DROPPED.items() for data in all_])
def test_what_git_would_obey_is_not_kept(path: str, data: bytes) -> None:
    assert not may_be_kept(path, data)


def test_the_names_that_some_system_takes_for_git() -> None:
    assert all(
        map(is_git_name, [".git", ".GIT", ".Git", "git~1", "GIT~1", ".git.", ".git ", ".g\u200dit", "\ufeff.git"])
    )
    assert not any(map(is_git_name, [".gitignore", "git", ".github", "x.git", "git~2", ".git2", ""]))


def test_a_configuration_is_read_as_git_reads_it(tmp_path: Path) -> None:
    text = (
        '[core]\n\thooksPath = .hus"ky" ; a comment\n fsmonitor=./watch\\\\er -x\n\n[include] path = "a ; b"\n'
        '[includeIf "gitdir:~/x \\"y\\"/"]\npath=long\\\ner\n[Filter "z"]\n CLEAN = ./c.sh %f # no\n[alias]\n'
        'run = "!./run.sh \\"a b/c\\""\n[core] attributesFile = ~/at\n[user]\nname = x/y\n[gpg "ssh"] program=bin/s\n'
    )
    file = tmp_path / "config"
    file.write_text(text)
    known = {
        key.decode(): value.decode()
        for key, _, value in (
            line.partition(b"\n") for line in git(tmp_path, "config", "-f", "config", "-lz").split(b"\0")
        )
    }
    assert {key.partition(".")[0] for key in known} >= {"core", "include", "includeif", "filter", "alias", "gpg"}
    found = [(path, kind) for path, kind in configured_paths(text)]
    assert (known["core.hookspath"], "hooks") in found
    assert (known["include.path"], "include") in found
    assert (known['includeif.gitdir:~/x "y"/.path'], "include") in found
    assert (known["core.attributesfile"], "command") in found
    assert [path for path, kind in found if kind == "command"] == [
        "./watch\\er".replace("\\", ""), "./c.sh", "./run.sh", "a b/c", "~/at", "bin/s"
    ]  # fmt: skip
