"""Labels of a run: from git's files, however odd, and which labels are valid."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.core.errors import UsageError
from agentctl.settings.labels import MOST_VALUE, check_labels, clean_labels, git_labels, ref_of, repo_of, run_labels

REMOTE = "https://ci:glpat-0123456789abcdefghij@github.com/acme/shop.git"


def test_folder_without_a_repository_has_no_labels(tmp_path: Path) -> None:
    assert git_labels(tmp_path) == {}
    assert git_labels(tmp_path / "not there") == {}


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://github.com/acme/shop.git", "acme/shop"),
        ("https://github.com/acme/shop/", "acme/shop"),
        (REMOTE, "acme/shop"),
        ("https://user:p@ss/w@rd@host.example/a/b.git", "host.example/a/b"),
        ("git@github.com:acme/shop.git", "acme/shop"),
        ("user:secret@host.example:a/b", "host.example/a/b"),
        ("ssh://git@git.example.org:2222/team/shop.git", "git.example.org/team/shop"),
        ("https://gitlab.com/group/sub/shop", "group/sub/shop"),
        ("https://HOST.example/x?private_token=secret#frag", "host.example/x"),
        ("git://host.example/x", "host.example/x"),
        ("/srv/git/shop.git", "/srv/git/shop"),
        ("../shop.git/", "../shop"),
        ("file:///srv/git/shop", "/srv/git/shop"),
        ("https://github.com", None),
        ("https://:secret@/", None),
        ("ext::sh -c 'touch /tmp/x'", None),
        ("https://host/\x1b[31mred", None),
        ("https://host/" + "x" * 1000, None),
        ("", None),
        ("?", None),
    ],
)
def test_address_becomes_a_name_without_its_login(address: str, name: str | None) -> None:
    assert repo_of(address) == name


@given(st.text(), st.text(), st.sampled_from(["https://", "ssh://", ""]))
def test_text_before_the_last_at_sign_is_in_no_name(user: str, path: str, scheme: str) -> None:
    found = repo_of(f"{scheme}{user}SECRET@{path}".replace("?", "").replace("#", ""))
    assert found is None or "SECRET" not in found or "SECRET" in path


@given(st.text())
def test_labels_survive_any_address_and_any_branch(text: str) -> None:
    labels = clean_labels({"repo": repo_of(text), "ref": ref_of(text)})
    assert all(value.isprintable() and 0 < len(value) <= MOST_VALUE for value in labels.values())


def test_hostile_files_of_a_repository_do_no_harm(tmp_path: Path) -> None:
    dot = tmp_path / ".git"
    dot.mkdir()
    (dot / "HEAD").write_bytes(b"ref: refs/heads/\x1b]0;owned\x07main\xff\xfe" + b"x" * 100_000)
    (dot / "config").write_bytes(b'[remote "origin"]\n\turl = https://a:b@host/\x00\x1b[2J\n' + b"\xff" * 1_000_000)
    labels = git_labels(tmp_path)
    assert labels["ref"].startswith("]0;ownedmain")
    assert len(labels["ref"]) == MOST_VALUE
    assert "repo" not in labels


def test_file_that_is_not_regular_is_not_waited_for(tmp_path: Path) -> None:
    dot = tmp_path / ".git"
    dot.mkdir()
    os.mkfifo(dot / "config")
    (dot / "HEAD").symlink_to("/dev/zero")
    assert git_labels(tmp_path) == {}
    (dot / "HEAD").unlink()
    (dot / "HEAD").write_text("ref: refs/heads/main\n")
    assert git_labels(tmp_path) == {"ref": "main"}


def test_pipe_in_place_of_a_git_file_is_not_read(tmp_path: Path) -> None:
    dot = tmp_path / ".git"
    dot.mkdir()
    os.mkfifo(dot / "HEAD")
    pipe = os.open(dot / "HEAD", os.O_RDWR | os.O_NONBLOCK)
    try:
        os.write(pipe, b"ref: refs/heads/main\n")
        assert git_labels(tmp_path) == {}
        assert os.read(pipe, 100) == b"ref: refs/heads/main\n"
    finally:
        os.close(pipe)


@pytest.mark.parametrize("said", ["gitdir: /nowhere/at/all", "gitdir: \0", "gitdir:", "nonsense", "", "gitdir: ."])
def test_a_file_that_names_no_repository_says_nothing(tmp_path: Path, said: str) -> None:
    (tmp_path / ".git").write_text(said)
    assert git_labels(tmp_path) == {}


def test_head_that_is_neither_reference_nor_commit_is_none(tmp_path: Path) -> None:
    dot = tmp_path / ".git"
    dot.mkdir()
    for said in ("nonsense", "ref: refs/heads/.invalid", "deadbeef"):
        (dot / "HEAD").write_text(said)
        assert git_labels(tmp_path) == {}


def test_only_the_remote_called_origin_counts(tmp_path: Path) -> None:
    dot = tmp_path / ".git"
    dot.mkdir()
    (dot / "HEAD").write_text("ref: refs/heads/main\n")
    (dot / "config").write_text(
        '[remote "fork"]\nurl = https://host/fork\n[REMOTE "origin"] ; ours\nURL=https://host/old\n'
        '  url = "https://host/ours"\n[branch "main"]\nurl = https://host/none\n'
    )
    assert git_labels(tmp_path)["repo"] == "host/ours"


def test_a_key_in_a_name_is_redacted_before_it_is_a_label(tmp_path: Path) -> None:
    key = "sk-0123456789abcdef"
    found = run_labels({}, workdir=str(tmp_path / key), job={"ref": f"leak/{key}"}, secrets=(key,))
    assert found == {"workdir": f"{tmp_path}/[redacted]", "ref": "leak/[redacted]"}


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"Team": "web"}, 'cannot be called "Team"'),
        ({"te am": "web"}, 'cannot be called "te am"'),
        ({"": "web"}, 'cannot be called ""'),
        ({"x" * 65: "web"}, "cannot be called"),
        ({"team": "x" * 257}, "the value of the label team is not allowed"),
        ({"team": "a\nb"}, "the value of the label team is not allowed"),
        ({"team": "\udcff"}, "the value of the label team is not allowed"),
        ({f"l{number}": "" for number in range(33)}, "33 labels are too many"),
    ],
)
def test_a_label_that_cannot_be_kept_is_refused(labels: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_labels(labels)


def test_a_label_that_can_be_kept_is_kept_as_it_is() -> None:
    labels = {"team": "web & db", "pr": "17", "a.b-c_d": "", "ort": "Zürich"}
    assert check_labels(labels) == labels


@pytest.mark.parametrize(
    ("folder", "label"),
    [
        ("/srv/caf\udce9", "/srv/caf\\xe9"),
        ("/srv/caf\udce8", "/srv/caf\\xe8"),
        ("/srv/café", "/srv/café"),
        ("/srv/new\nline", "/srv/new\\nline"),
        ("/srv/bell\x07", "/srv/bell\\x07"),
        ("/srv/right\u202eleft", "/srv/right\\u202eleft"),
    ],
)
def test_a_folder_keeps_its_own_label_whatever_its_name_consists_of(folder: str, label: str) -> None:
    assert run_labels({}, workdir=folder, job={}) == {"workdir": label}
    assert check_labels({"workdir": label}) == {"workdir": label}


def test_folders_with_long_names_keep_labels_of_their_own() -> None:
    longest = "/" + "a" * (MOST_VALUE - 1)
    assert run_labels({}, workdir=longest, job={})["workdir"] == longest
    alike = [f"/{'a' * 200}{middle}{'z' * 200}" for middle in "bcd"]
    labels = {run_labels({}, workdir=folder, job={})["workdir"] for folder in alike}
    assert len(labels) == 3
    assert all(len(label) <= MOST_VALUE and label.startswith("/aaa") and label.endswith("zzz") for label in labels)
