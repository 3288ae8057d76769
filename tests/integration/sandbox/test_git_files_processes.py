"""Tests that start processes, beside ``tests/unit/sandbox/test_git_files.py``."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from agentctl.sandbox.git_files import (
    configured_paths,
    index_entries,
    index_is_safe,
    is_ref_name,
)


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
