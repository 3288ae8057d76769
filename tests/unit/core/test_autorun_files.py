"""The list of files that other programs run or obey."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import pytest

from agentctl.core.autorun_files import AutorunFile, autorun_rows, find_autorun, is_autorun_name
from tests.support.autorun_files import ASKS, NEVER, ORDINARY, REPORTED

SETTINGS = ("core.hooksPath", "include.path")


def class_of(path: str, also: Collection[str] = ()) -> str | None:
    obeyed = find_autorun(path, also=also)
    return None if obeyed is None else obeyed.policy


@pytest.mark.parametrize(
    ("policy", "listed"), [("never", NEVER), ("asks", ASKS), ("reported", REPORTED), (None, ORDINARY)]
)
def test_each_path_is_in_its_class_at_any_depth(policy: str | None, listed: str) -> None:
    paths = listed.split()
    found = {path: class_of(path) for path in paths}
    deeper = {path: class_of(f"a/b/{path}") for path in paths}
    assert found == deeper == dict.fromkeys(paths, policy)


def test_the_program_that_obeys_is_named() -> None:
    assert find_autorun("src/.vscode/tasks.json") == find_autorun("src/.vscode") == AutorunFile("asks", "VS Code")
    assert find_autorun(".envrc") == AutorunFile("asks", "direnv")
    assert find_autorun(".github/workflows/x.yml") == AutorunFile("reported", "GitHub Actions")


@pytest.mark.parametrize(
    "path",
    [
        ".ENVRC", ".EnvRc", ".envrc.", ".envrc ", ".envrc. .", "./.envrc", "a//.envrc", ".envrc/",
        "\uff0e\uff45nvrc",  # full width: the same under NFKC
        "\u2024envrc",  # one dot leader
        ".env\u200drc", ".e\ufeffnvrc", ".envrc\ufe0f",  # invisible characters
        ".V\u017fCode/tasks.json",  # the long s folds to s
    ],
)  # fmt: skip
def test_a_name_that_some_file_system_takes_for_the_same_is_the_same(path: str) -> None:
    assert class_of(path) == "asks"


def test_the_most_severe_class_wins() -> None:
    assert find_autorun(".github/workflows/.git/config") == AutorunFile("never", "git")
    assert find_autorun(".vscode/Makefile") == AutorunFile("asks", "VS Code")
    assert find_autorun(".circleci/.envrc") == AutorunFile("asks", "direnv")


@pytest.mark.parametrize("folder", ["node_modules/left-pad", "lib/site-packages/x", "vendor/x", ".tox/py311"])
def test_installed_packages_are_not_reported_but_ask(folder: str) -> None:
    assert find_autorun(f"{folder}/package.json") is find_autorun(f"{folder}/Makefile") is None
    assert find_autorun(f"{folder}/.npmrc") == AutorunFile("asks", "npm")
    assert find_autorun(f"{folder}/.git/config") == AutorunFile("never", "git")


def test_path_named_by_the_caller_asks_with_everything_below_it() -> None:
    also = ["tools/hooks", "conf/Git.inc", "Makefile"]
    for path in ("tools/hooks", "tools/hooks/pre-commit", "TOOLS/Hooks/x/y", "conf/git.inc", "Makefile"):
        assert class_of(path, also) == "asks", path
    assert find_autorun("tools/hooksmith", also=also) is find_autorun("a/tools/hooks/x", also=also) is None
    assert find_autorun("x/y.py", also={"x": "python"}) == AutorunFile("asks", "python")
    assert find_autorun("x/.git", also=["x"]) == AutorunFile("never", "git")
    assert find_autorun("x", also=["", "."]) is None


def test_the_cheap_check_passes_the_last_name_of_every_row() -> None:
    for _, _, pattern in autorun_rows():
        assert is_autorun_name(pattern.rstrip("/").rpartition("/")[2].replace("*", "x")), pattern
    assert all(map(is_autorun_name, (".ENVRC", ".envrc. ", "\uff0eenv")))
    plain = ["main.py", "README.md", "a", "", "...", "src", "x.mkd", "lib.c", "node_modules", "\udcff"]
    assert [name for name in plain if is_autorun_name(name)] == []


def test_a_row_is_written_in_the_form_in_which_names_are_compared() -> None:
    written = [pattern for _, _, pattern in autorun_rows()]
    assert [pattern for pattern in written if pattern != pattern.lower() or pattern.count("*") > 1] == []
    assert sorted({pattern for pattern in written if written.count(pattern) > 1}) == []
    assert [pattern for pattern in written if find_autorun(pattern.rstrip("/").replace("*", "x")) is None] == []


def test_the_table_of_the_permissions_page_agrees_with_the_list() -> None:
    page = (Path(__file__).parents[3] / "docs" / "permissions-and-sandbox.md").read_text()
    table = page.partition("| Class    | For example |")[2].partition("\n\n")[0]
    rows_of = {line.split("|")[1].strip(): re.sub("[`;]", "", line.split("|")[2]) for line in table.splitlines()[2:]}
    assert list(rows_of) == ["never", "asks", "reported"]
    for policy, row in rows_of.items():
        named = [word for word in row.split() if re.search(r"[.*/]|file$", word) and word not in SETTINGS]
        assert len(named) >= 3
        assert {word: class_of(word.rstrip("/").replace("*", "x")) for word in named} == dict.fromkeys(named, policy)
