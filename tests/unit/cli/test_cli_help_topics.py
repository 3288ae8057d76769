"""The topics of ``agentctl help``: every line to type parses, every table is made from the program's own."""

from __future__ import annotations

import os
import re
import shlex

import pytest
import typer  # noqa: TID251 - its parser is what reads the lines

from agentctl.cli.exit_codes import SENTENCES
from agentctl.cli.help.command import _TOPICS
from agentctl.cli.options import approval_mode
from agentctl.cli.run.task_input import COMMAND_WORDS, read_task
from agentctl.core.errors import UsageError
from agentctl.core.tool_rules import parse_rule
from agentctl.settings import DOCUMENTED_NAMES, ENV_NAMES, Settings
from agentctl.settings.names import DECLARED, SECRET_FIELDS
from tests.support.command_line import Here
from tests.support.command_parser import ROOT_COMMAND, parse_command


def examples(text: str) -> list[list[str]]:
    """Return the words of each line to type; what stands behind three blanks is a remark."""
    found = []
    for line in text.splitlines():
        match = re.match(r"^  ((?:[A-Z_]+=\S+ )*)agentctl (.*)$", line)
        if match:
            typed = re.split(r"\s{3,}|\s>\S", match[2])[0]
            found.append(shlex.split(typed))
    return found


def topics(here: Here) -> dict[str, str]:
    return {topic: here("help", topic).out for topic in _TOPICS}


def test_every_topic_is_listed_told_and_as_wide_as_a_terminal_may_be(here: Here) -> None:
    listed = here("help").out
    for topic, text in topics(here).items():
        assert f"agentctl help {topic}" in listed
        assert text.strip()
        widest = max(text.replace(os.environ["HOME"], "/home/user").splitlines(), key=len)
        assert len(widest) <= 140, widest


def test_every_line_to_type_parses(here: Here) -> None:
    lines = {topic: examples(text) for topic, text in topics(here).items()}
    for topic in ("setup", "budget", "permission", "context", "formatting"):
        assert len(lines[topic]) > 4, topic
    for words in (words for each in lines.values() for words in each):
        assert words[0] in ROOT_COMMAND.commands, words  # type: ignore[attr-defined]
        given = parse_command(words)
        for rule in (*(given.get("allow") or ()), *(given.get("deny") or ())):  # type: ignore[misc]
            assert parse_rule(str(rule))
        approval_mode(given.get("approve"), yes=bool(given.get("yes")))  # type: ignore[arg-type]


def test_what_does_not_parse_is_noticed() -> None:
    with pytest.raises(typer.TyperException):
        parse_command(["run", "--alow", "x"])
    with pytest.raises(KeyError):
        parse_command(["runs", "lst"])


@pytest.mark.parametrize("topic", ["permission", "budget", "context", "setup"])
def test_the_lines_that_only_look_are_run(here: Here, topic: str) -> None:
    looking = [
        words
        for words in examples(here("help", topic).out)
        if words[0] in ("tools", "policy", "costs", "config", "doctor") or words[:2] == ["providers", "list"]
    ]
    assert looking
    for words in looking:
        assert here(*words).code in ((0, 5) if words[0] == "policy" else (0,)), words


def test_every_rule_of_the_topic_is_one_and_names_a_tool_that_there_is(here: Here) -> None:
    text = here("help", "permission").out
    rules = re.findall(r"^  ([a-z_*]+(?:\(.*?\))?)   +any|^  (\S+\(.*?\)) {3,}", text, re.MULTILINE)
    named = [rule for pair in rules for rule in pair if rule]
    assert len(named) >= 4
    for rule in named:
        assert here("policy", "check", "docker_ps", "--deny", rule).code in (0, 5), rule


def test_every_variable_has_a_meaning_and_stands_in_the_topic_with_its_default(here: Here) -> None:
    text = here("help", "environment").out
    for name in DOCUMENTED_NAMES:
        assert re.search(rf"\b{name}\b", text), name
    for field in ENV_NAMES:
        line = next(line for line in text.splitlines() if re.search(rf"\b{ENV_NAMES[field][-1]}\b", line))
        assert DECLARED[field].help
        assert DECLARED[field].help in line
        default = Settings.model_fields[field].default
        if field not in SECRET_FIELDS and isinstance(default, str | int) and not isinstance(default, bool):
            assert line.endswith(f" [{default}]")


def test_the_environment_does_not_leak_into_its_topic(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    before = here("help", "environment").out
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-to-be-seen-1234567890")
    monkeypatch.setenv("MAX_COST_PER_TASK", "0.07")
    assert here("help", "environment").out == before


def test_the_limits_of_the_topic_are_the_defaults(here: Here) -> None:
    text = here("help", "budget").out
    for line in (
        "  max_cost_per_task     0.50 USD       --max-cost              MAX_COST_PER_TASK",
        "  max_cost_per_hour     10.0 USD       --max-cost-per-hour     MAX_COST_PER_HOUR",
        "  max_tokens_per_task   100000 tokens  --max-tokens            MAX_TOKENS_PER_TASK",
        "  max_cost_per_day      unset (USD)    --max-cost-per-day      AGENTCTL_MAX_COST_PER_DAY",
        "  max_calls_per_minute  unset (calls)  --max-calls-per-minute  AGENTCTL_MAX_CALLS_PER_MINUTE",
    ):
        assert line in text.splitlines()


def test_the_schemas_of_the_topic_are_what_the_commands_say(here: Here) -> None:
    text = here("help", "formatting").out
    for words in (
        *(("costs",), ("runs", "list"), ("agents", "list"), ("tools", "list"), ("policy", "check", "docker_ps")),
        *(("providers", "list"), ("config", "path"), ("doctor", "--offline"), ("costs", "--wrong")),
        *(("ledger", "check"), ("run", "--estimate", "How much disk is free?")),
    ):
        assert f"\n  {here(*words, '--json').document['schema']} " in text


def test_exit_codes_are_a_topic_still(here: Here) -> None:
    assert len(here("help", "exit-codes").out.splitlines()) == len(SENTENCES)
    ended = here("help", "enviroment")
    assert (ended.code, ended.err.splitlines()[1]) == (2, 'hint: did you mean "environment"?')
    assert "policy check" in here("help", "policy").out or "check" in here("help", "policy").out


def test_no_lone_command_becomes_a_task() -> None:
    commands = ROOT_COMMAND.commands  # type: ignore[attr-defined]
    words = [*commands, *_TOPICS]
    words += [f"{name} {verb}" for name, group in commands.items() for verb in getattr(group, "commands", ())]
    for word in words:
        with pytest.raises(UsageError, match="is a command, not a task"):
            read_task([word], input_is_stdin=False, notify=print)


def test_what_is_meant_is_a_command() -> None:
    for meant in COMMAND_WORDS.values():
        words = meant.split()[1:]
        assert words[0] in ROOT_COMMAND.commands or words[0].startswith("--"), meant  # type: ignore[attr-defined]


@pytest.mark.parametrize("group", ["agents", "tools", "policy"])
def test_a_group_without_a_verb_prints_its_help_to_stderr_with_2(here: Here, group: str) -> None:
    ended = here(group)
    assert (ended.code, ended.out) == (2, "")
    assert f"Usage: agentctl {group}" in ended.err
