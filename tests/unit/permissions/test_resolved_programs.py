"""The programs of a command in a question: each by the path of the file that would run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentctl.core.impact import Impact
from agentctl.permissions.resolved_programs import add_programs


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """Give a folder with the programs ``git``, a link to ``real-git``, and ``look``."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("real-git", "look", "timeout", "true"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    (folder / "git").symlink_to("real-git")
    (folder / "plain").write_text("")
    return folder


def details(command: str, bin_folder: Path) -> list[str]:
    asked = Impact("runs a command in /w", ("last",), folder=str(bin_folder.parent), search_path=str(bin_folder))
    found = add_programs(asked, command)
    assert found.details[-1] == "last"
    return [detail.replace(str(bin_folder), "BIN") for detail in found.details[:-1]]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("git log -5", ["git is BIN/real-git"]),
        ("git log | look; git status", ["git is BIN/real-git", "look is BIN/look"]),
        ("timeout 5 git log", ["timeout is BIN/timeout", "git is BIN/real-git"]),
        ("nosuch -x", ["nosuch is not there"]),
        ("plain", ["plain is not there"]),
        ("true && bin/look", ["true is part of the shell", "bin/look is BIN/look"]),
        ("./bin/git", ["./bin/git is BIN/real-git"]),
        ("bin", ["bin is not there"]),
        (
            "cd /tmp && ./bin/look",
            ["cd is part of the shell", "./bin/look depends on the folder that the command goes to"],
        ),
        ("cd /tmp && git log", ["cd is part of the shell", "git is BIN/real-git"]),
        ("git $X", ["it has an expansion, so the shell decides what runs"]),
        ("X=1 git log", ["it has an assignment, so the shell decides what runs"]),
        ("git log\nlook", ["it has a line break or another control character, so the shell decides what runs"]),
    ],
)
def test_program_is_told_by_the_file_that_would_run(command: str, expected: list[str], bin_folder: Path) -> None:
    assert details(command, bin_folder) == expected


def test_names_of_the_programs_stand_in_the_effect(bin_folder: Path) -> None:
    asked = Impact("runs a command in /a command", search_path=str(bin_folder))
    assert add_programs(asked, "git log | look").does == "runs git, look in /a command"
    assert add_programs(asked, "git $X").does == "runs a command in /a command"


def test_more_programs_than_fit_are_counted(bin_folder: Path) -> None:
    said = details("; ".join(f"p{number}" for number in range(12)), bin_folder)
    assert said == [*(f"p{number} is not there" for number in range(8)), "and 4 more programs"]


def test_absolute_name_is_told_after_a_change_of_folder(bin_folder: Path) -> None:
    real = os.path.realpath(bin_folder)
    assert details(f"cd /tmp && {real}/look", bin_folder)[-1] == "BIN/look is BIN/look"
