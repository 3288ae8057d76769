"""Labels from the command line, from git and from CI: on every run, in the document, the journal and the ledger."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.command_line import Commands, Here

TASK = "How much memory is used?"
GITHUB = {"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "acme/shop", "GITHUB_REF_NAME": "main", "GITHUB_JOB": "review"}


def repository(folder: Path) -> None:
    """Make what git would: the files alone, since nothing else is read."""
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/feature/bills\n")
    (folder / ".git" / "config").write_text('[remote "origin"]\n\turl = https://bot:SECRET@git.example.org/a/b.git\n')


def labels_in_the_ledger(state: Path) -> list[dict[str, str]]:
    with closing(sqlite3.connect(state / "ledger.db")) as db:
        return [json.loads(row[0]) for row in db.execute("SELECT labels FROM scopes ORDER BY opened_us")]


def test_a_run_is_labelled_with_its_repository_and_where_it_took_place(agentctl: Commands, state: Path) -> None:
    repository(agentctl.folder)
    ended = agentctl("run", TASK, "--json", "--label", "pr=17")
    labels = {"repo": "git.example.org/a/b", "ref": "feature/bills", "workdir": str(agentctl.folder), "pr": "17"}
    assert ended.code == 0
    assert ended.document["labels"] == labels
    assert labels_in_the_ledger(state) == [labels]
    (journal,) = (state / "runs").rglob("*.jsonl")
    started, *_ = map(json.loads, journal.read_text().splitlines())
    assert started["labels"] == labels
    assert "SECRET" not in journal.read_text()


def test_ci_says_more_than_git_and_a_person_more_than_both(agentctl: Commands) -> None:
    repository(agentctl.folder)
    ended = agentctl("run", TASK, "--json", "--provider", "builtin", "--label", "ref=mine", **GITHUB)
    assert ended.document["labels"] == {
        "repo": "acme/shop",
        "ref": "mine",
        "job": "review",
        "workdir": str(agentctl.folder),
    }


def test_labels_can_be_turned_off(agentctl: Commands, state: Path) -> None:
    repository(agentctl.folder)
    ended = agentctl("run", TASK, "--json", "--label", "pr=17", AGENTCTL_AUTO_LABELS="false")
    assert ended.document["labels"] == {"pr": "17"}
    assert labels_in_the_ledger(state) == [{"pr": "17"}]


@pytest.mark.parametrize("word", ["Team=web", "te am=web", "team", "=web", "team=\x1b[31m", "team=" + "x" * 300])
def test_a_label_that_cannot_be_kept_is_exit_2(here: Here, state: Path, word: str) -> None:
    ended = here("run", TASK, "--label", word)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
    assert "\x1b" not in ended.err
    assert not (state / "ledger.db").exists()
