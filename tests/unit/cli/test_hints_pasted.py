"""Every command in a hint of the package is found in its source, run in a shell, and parsed.

A command in a text begins at the text's start, or behind ``: ``, ``? ``, ``(``, ``, or ``, ``; `` or three blanks. It
ends before three blanks, `` (``, ``; `` and ``, ``. Words in capitals, and ``…``, stand for a value.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import typer  # noqa: TID251 - its parser is what reads the lines

from tests.support.command_parser import ROOT_COMMAND, parse_command

PACKAGE = Path(__file__).parents[3] / "agentctl"
# Tables of what people ask for, in which commands are questions.
NOT_READ = (
    "cli/help/",  # test_cli_help_topics runs them
    *(
        f"providers/builtin/{name}"
        for name in ("docker_lookups", "engine_lookups", "system_lookups", "text_lookups", "lexicon")
    ),
    "permissions/known_programs.py",  # names of programs
    "core/synonyms.py",  # the same, and what they do
)
COMMANDS = "|".join(getattr(ROOT_COMMAND, "commands", {}))
OURS = rf"agentctl (?:{COMMANDS})\b|sudo "
PROGRAMS = rf"{OURS}|docker |git (?:config|status|init)\b|ollama |sqlite3 |ssh |curl |apt-get |mv "
PROGRAMS += r"|export [A-Z{]|unset [A-Z{]"
BEGIN = re.compile(rf"(?:^|(?<=: )|(?<=\? )|(?<= {{3}})|(?<=\()|(?<=, or )|(?<=; ))(?={PROGRAMS})")
END = re.compile(r" {3}| \(|; |, |\n| …")
PROSE = ("git status was not run",)
# What a field of such a text may hold, by its expression; "sample", or 'a b' in quotes, for all others.
FIELDS = {
    "f'{request.command} {flag}'": "agentctl costs --since",
    "clear": "--clear-substitute",
    "flag": "--max-cost",
    "_more(verdict)": "1.00",
    "hint": "",
    "wait": "",
    "there": "",
    "what": "",
    "2 * settings.max_cost_per_hour or 10": "20",
    "to_usd(conclusion.nano)": "0.01",
    "action": "stop",
    "allows": "1",
    "name.upper()": "NAME",
}
STAND_IN = r"""#!/bin/sh
{ printf %s "$CASE"; printf '\037%s' "${0##*/}" "$@"; printf '\n'; } >>"$LOG"
if [ "${0##*/}" = sudo ]; then exec "$@"; fi
"""
STAND_INS = (
    *("agentctl", "sudo", "apt-get", "dnf", "apk", "pacman", "zypper", "sysctl", "systemctl", "journalctl", "usermod"),
    *("chown", "chmod", "mv", "docker", "podman", "grep", "git", "ollama", "sqlite3", "ssh"),
)


class Hint(NamedTuple):
    """A command, and where it is said."""

    where: str
    command: str


@cache
def texts(file: Path) -> tuple[tuple[int, str], ...]:
    """Return the texts of a module, but for docstrings, with a sample in each field."""
    return tuple(_texts(file))


def _texts(file: Path) -> Iterator[tuple[int, str]]:
    tree = ast.parse(file.read_text())
    skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(inner) for inner in ast.walk(node) if inner is not node}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(map(sample, node.values))


def sample(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    expression = ast.unparse(part.value)
    if expression in ("path", "folder", "file", "workspace"):
        return "a(b"  # a path that is not quoted breaks the shell's line
    if expression.isupper() or expression.startswith(("ENV_NAMES", "found[", "found.")):
        return "NAME"
    return FIELDS.get(expression, "'a b'" if "quote" in expression else "sample")


def commands_in(text: str) -> Iterator[str]:
    """Yield each command that a text tells to type."""
    if text.startswith(PROSE):
        return
    for begin in BEGIN.finditer(text):
        rest = text[begin.end() :]
        end = END.search(rest)
        command = rest[: end.start()] if end else rest
        if command.count(")") > command.count("("):  # the text's own bracket around it
            command = command.rpartition(")")[0]
        yield command.strip()


def hints() -> list[Hint]:
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        name = str(file.relative_to(PACKAGE))
        if not name.startswith(NOT_READ):
            found += [Hint(f"{name}:{line}", one) for line, text in texts(file) for one in commands_in(text)]
    return found


def test_every_command_stands_where_it_is_found() -> None:
    """Otherwise the test below would miss the command."""
    unseen = []
    for file in sorted(PACKAGE.rglob("*.py")):
        if not str(file.relative_to(PACKAGE)).startswith(NOT_READ):
            for line, text in texts(file):
                rest = text
                for command in commands_in(text):
                    rest = rest.replace(command, "", 1)
                if re.search(rf"\b(?:{OURS})", rest):
                    unseen.append(f"{file.name}:{line} {text}")
    assert unseen == []


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


def test_every_command_in_a_hint_runs_as_printed(programs: Path) -> None:
    found = hints()
    assert len(found) > 120
    assert {file.partition(":")[0] for file, _ in found} >= {
        "sandbox/self_test.py",
        "budget/breaker.py",
        "tools/docker/client.py",
        "settings/untrusted_files.py",
    }
    failed, started = pasted(found, programs)
    assert failed == {}
    wrong = {f"{hint.where} {hint.command}": what_is_wrong(words) for hint, words in started}
    assert {hint: what for hint, what in wrong.items() if what} == {}
    silent = {hint.command.split()[0] for hint in found} - {words[0] for _, words in started}
    assert silent <= {"export", "unset"}


TEXTS = {
    "agentctl ledger check   lists what is in doubt": ["agentctl ledger check"],
    "is it running? ollama serve": ["ollama serve"],
    "did you mean: agentctl trust .env": ["agentctl trust .env"],
    "wait, or docker login": ["docker login"],
    "export A=b   or for good: agentctl trust": ["export A=b", "agentctl trust"],
    "there is none   (docker ps -a)": ["docker ps -a"],
    "export a shorter period": [],
    "the ledger (agentctl costs) has it": ["agentctl costs"],
    'sudo chown "$(id -u)" x && chmod 600 x': ['sudo chown "$(id -u)" x && chmod 600 x'],
}


@pytest.mark.parametrize("text", TEXTS)
def test_the_commands_of_a_text_are_found(text: str) -> None:
    assert list(commands_in(text)) == TEXTS[text]
