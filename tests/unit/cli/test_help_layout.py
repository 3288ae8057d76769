"""The help of each command: examples first and all of them valid, the common flags next, and nothing cut."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer  # noqa: TID251 - its contexts name the commands
from typer.core import TyperArgument, TyperGroup  # noqa: TID251

from agentctl.cli.commands import help_text
from agentctl.cli.completion.manual import manual
from tests.support.cassettes import write_cassette
from tests.support.command_line import ROOT, Ended
from tests.support.command_parser import ROOT_COMMAND, parse_command

Here = Callable[..., Ended]
WIDTHS = (60, 80, 100, 140)
#: Examples that need what this test does not have: a key, a terminal, a file, a run's id.
NEED_MORE = (
    "set-key",
    "trust",
    "providers test",
    "reconcile",
    "ledger migrate",
    "ledger import",
    "01KB2",
    "resume",
    "runs watch",
    "run -c",
    "may.csv",
    "prices.json",
    "app.log",
    "./reviewer.md",
    "mcp",
    "budget",
)


def contexts() -> Iterator[Any]:
    """Yield a context for the root, each group and each command."""
    pending: list[Any] = [ROOT_COMMAND.make_context("agentctl", [], resilient_parsing=True)]
    while pending:
        context = pending.pop()
        yield context
        if isinstance(context.command, TyperGroup):
            for name in context.command.list_commands(context):
                command = context.command.get_command(context, name)
                assert command is not None
                pending.append(typer.Context(command, info_name=name, parent=context))


COMMANDS = {context.command_path.removeprefix("agentctl").strip(): context for context in contexts()}
EXAMPLES = [example for context in COMMANDS.values() for example in help_text(context.command).examples]


def commands_of(line: str) -> list[list[str]]:
    """Return the words of each agentctl in a line of a shell: those before a pipe, a redirection or a bracket."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|<>();&")
    lexer.whitespace_split, lexer.commenters = True, "#"
    found: list[list[str]] = [[]]
    for word in lexer:
        if word[0] in "|<>();&":
            found.append([])
        else:
            found[-1].append(word)
    return [words[1:] for words in found if words[:1] == ["agentctl"]]


def test_the_words_of_an_example_end_at_a_pipe_but_not_in_quotes() -> None:
    assert commands_of("agentctl run 'a|b (c)' -y | jq .cost  # d") == [["run", "a|b (c)", "-y"]]
    assert commands_of("source <(agentctl completion zsh)") == [["completion", "zsh"]]


@pytest.mark.parametrize("path", COMMANDS)
def test_every_help_has_examples_of_its_command_that_parse(path: str) -> None:
    examples = help_text(COMMANDS[path].command).examples
    assert examples
    for line in examples:
        found = commands_of(line)
        assert found, line
        for words in found:
            parse_command(words)
        assert any(words[: len(path.split())] == path.split() for words in found), line
        assert len(line.partition("  # ")[0]) <= 58, "it must fit a terminal of 60 columns"


@pytest.mark.parametrize("line", [line for line in EXAMPLES if not any(word in line for word in NEED_MORE)])
def test_every_example_that_can_be_run_here_is_no_wrong_usage(
    here: Here, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / ".env").write_text("AGENTCTL_MAX_TURNS=5\n")
    (tmp_path / ".mcp.json").write_text('{"mcpServers": {}}')
    write_cassette(tmp_path / "run.cassette")
    if words := [word for word in ("show git", "rm git") if f"mcp {word}" in line]:
        here("mcp", "add", words[0].split()[1], "--", "uvx")
    here("run", "look around", script="answer")
    for words in commands_of(line):
        ended = here(*words, *(["--offline"] if words == ["doctor"] else []), script="answer")
        assert ended.code != 2, ended.err


@pytest.mark.parametrize("width", WIDTHS)
def test_help_is_as_wide_as_the_terminal_and_cuts_no_word(
    here: Here, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for path, context in COMMANDS.items():
        text = here(*path.split(), "--help").out
        assert max(map(len, text.splitlines())) <= width, path
        shown = " ".join(text.split())
        parts = help_text(context.command)
        said = [parts.about, *parts.details.split("\n\n"), *(param.help for param in context.command.params)]
        below = [context.command.get_command(context, name) for name in getattr(context.command, "commands", ())]
        for one in [*said, *(help_text(command).about for command in below)]:
            assert " ".join((one or "").split()) in shown, (path, one)
        assert "…" not in text


def test_every_text_of_the_help_is_a_phrase() -> None:
    for path, context in COMMANDS.items():
        for param in context.command.params:
            if not param.hidden:
                assert re.fullmatch(r"[A-Z'][^\n]{5,170}\.", param.help or ""), (path, param.name, param.help)


def test_help_of_run_begins_with_examples_and_the_ten_common_flags(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = here("run", "--help").out
    titles = re.findall(r"^(\w[\w ]*):$", text, re.MULTILINE)
    assert titles == ["Examples", "Arguments", "Common options", "Limits", "Context", "Permissions", "Input", "Output"]
    common = text.split("Common options:\n")[1].split("\n\n")[0]
    flags = re.findall(r"^  (?:-\w, )?(--[\w-]+)", common, re.MULTILINE)
    assert flags == [
        *("--provider", "--model", "--max-cost-per-task", "--agent", "--workdir", "--read-only", "--allow"),
        *("--yes", "--input", "--json"),
    ]
    assert text.index("--json") < text.index("Limits:") < 2000
    assert "docker_restart(name=web)' (may be" in text
    assert len(text.splitlines()) <= 128


def test_a_comment_stands_above_its_example_where_the_line_is_too_long(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert "\n  # a CI gate: exit 3\n  agentctl costs --today --fail-above 5\n" in here("costs", "--help").out
    monkeypatch.setenv("COLUMNS", "80")
    assert "\n  agentctl costs --today --fail-above 5  # a CI gate: exit 3\n" in here("costs", "--help").out


def test_help_is_plain_in_a_pipe_and_styled_where_colour_is_forced(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = here("run", "--help").out
    assert "\x1b" not in plain
    monkeypatch.setattr("typer.rich_utils.FORCE_TERMINAL", True)
    monkeypatch.setenv("TERM", "xterm-256color")
    styled = here("run", "--help").out
    assert "\x1b[1mExamples:\x1b[0m" in styled
    assert re.sub(r"\x1b\[[\d;]*m", "", styled) == plain
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[36m" not in here("run", "--help").out
    monkeypatch.setenv("TERM", "dumb")
    assert here("run", "--help").out == plain


def test_the_manual_holds_every_command_flag_and_exit_code() -> None:
    page = re.sub(r"\\f[BIR]|\\(?=-)", "", manual(COMMANDS[""]))
    for path, context in COMMANDS.items():
        if path:
            assert f'.SS "agentctl {path}"' in page
        for param in context.command.params:
            if isinstance(context.command, TyperGroup) or param.hidden or isinstance(param, TyperArgument):
                continue
            assert all(name in page for name in [*param.opts, *param.secondary_opts]), (path, param.name)
    for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "EXIT STATUS", "ENVIRONMENT", "FILES", "SEE ALSO"):
        assert f"\n.SH {section}\n" in page
    assert "\n.TP\n77 (auth)\n" in page
    assert "docker_restart(name=web)\\(aq" in page
