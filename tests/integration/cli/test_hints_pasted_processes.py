"""Tests that start processes, beside ``tests/unit/cli/test_hints_pasted.py``."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
import typer  # noqa: TID251 - its parser is what reads the lines

from tests.support.command_parser import parse_command

STAND_IN = r"""#!/bin/sh
{ printf %s "$CASE"; printf '\037%s' "${0##*/}" "$@"; printf '\n'; } >>"$LOG"
if [ "${0##*/}" = sudo ]; then exec "$@"; fi
"""


STAND_INS = (
    *("agentctl", "sudo", "apt-get", "dnf", "apk", "pacman", "zypper", "sysctl", "systemctl", "journalctl", "usermod"),
    *("chown", "chmod", "mv", "docker", "git", "ollama", "sqlite3", "ssh"),
)


class Hint(NamedTuple):
    """A command, and where it is said."""

    where: str
    command: str


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with a stand-in for every program that a hint may name, and nothing else but ``id``."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in STAND_INS:
        (folder / name).write_text(STAND_IN)
        (folder / name).chmod(0o755)
    (folder / "id").symlink_to(shutil.which("id") or "/usr/bin/id")
    return folder


def pasted(found: list[Hint], programs: Path) -> tuple[dict[str, str], list[tuple[Hint, list[str]]]]:
    """Run each command by a shell of its own; return what failed, and the words that each program was given."""
    log = programs.parent / "log"
    failed = {}
    for case, hint in enumerate(found):
        env = {"PATH": str(programs), "LOG": str(log), "CASE": str(case), "USER": "user"}
        done = subprocess.run(["/bin/sh", "-euc", hint.command], env=env, capture_output=True, text=True, timeout=20)
        if done.returncode != 0 or done.stderr:
            failed[f"{hint.where} {hint.command}"] = f"{done.returncode} {done.stderr}"
    lines = [line.split("\037") for line in log.read_text().splitlines()]
    return failed, [(found[int(case)], words) for case, *words in lines]


def what_is_wrong(words: list[str]) -> str | None:
    """Return what is wrong with the words that a program was given, or None."""
    program, *given = words
    if any(re.search(r"\bsudo\b", word) for word in given):
        return "sudo stands twice"
    if program == "sysctl" and not (given[0] == "-w" and re.fullmatch(r"[\w.]+=\w+", given[1])):
        return "no NAME=VALUE"
    if program == "agentctl" and given:  # "sudo agentctl …": with whatever the words were
        try:
            parse_command(given)
        except (typer.TyperException, KeyError) as error:
            return f"{type(error).__name__}: {error}"
    return None


BROKEN = {
    "sudo sysctl -w X=sudo sysctl -w X=0": "no NAME=VALUE",
    "sudo sysctl -w kernel.x": "no NAME=VALUE",
    "agentctl ledger chek": "KeyError",
    "agentctl ledger check lists them": "BadParameter",
    "agentctl run --no-such-flag TASK": "NoSuchOption",
    "sudo apt-get install sudo bubblewrap; nosuch-program": "127",
    "agentctl run 'an open quote": "2",
    "export NAME=a b-c": "2",
}


@pytest.mark.parametrize("command", BROKEN)
def test_a_broken_command_is_noticed(command: str, programs: Path) -> None:
    (programs.parent / "log").touch()
    failed, started = pasted([Hint("here", command)], programs)
    wrong = [what for _, words in started if (what := what_is_wrong(words))]
    assert failed or wrong
