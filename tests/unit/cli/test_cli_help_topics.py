"""The topics of ``agentctl help`` are the pages of docs/: every line to type parses, every table is the program's."""

from __future__ import annotations

import re
import shlex

import pytest
import typer  # noqa: TID251 - its parser is what reads the lines

from agentctl.cli.exit_codes import SENTENCES
from agentctl.cli.help.pages import topics
from agentctl.cli.options import approval_mode
from agentctl.cli.run.command_words import COMMAND_WORDS
from agentctl.cli.run.task_input import task_of_words
from agentctl.core.errors import UsageError
from agentctl.core.tool_rules import parse_rule
from agentctl.settings import DOCUMENTED_NAMES, ENV_NAMES, Settings
from agentctl.settings.names import DECLARED, SECRET_FIELDS, flag_name
from tests.support.command_line import ROOT, Here
from tests.support.command_parser import ROOT_COMMAND, parse_command
from tests.support.settings_files import written_default

#: The topics that differ from their page's file name, and those that a one-word task could mean.
NAMED_TOPICS = ("setup", "budget", "permission", "context", "formatting", "environment", "exit-codes")


def examples(text: str) -> list[list[str]]:
    """Return the words of each agentctl command at the start of a line of a page's shell blocks."""
    found = []
    for block in re.findall(r"^```(?:bash|shell|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            match = re.match(r"(?:\$ )?(?:sudo )?(?:[A-Z_]+=\S+ )*agentctl (.*)$", line)
            if match:
                words = shlex.split(match[1], comments=True)
                end = next((at for at, word in enumerate(words) if re.match(r"[|<>;&]|2>", word)), len(words))
                found.append(words[:end])
    return found


def pages(here: Here) -> dict[str, str]:
    return {topic: here("help", topic).out for topic in topics()}


def test_a_topic_without_a_terminal_is_its_page_word_for_word(here: Here) -> None:
    for topic, page in topics().items():
        ended = here("help", topic)
        assert (ended.code, ended.out) == (0, page.read_text()), topic


def test_the_names_of_the_topics_stay_valid() -> None:
    named = ["setup", "budget", "permission", "context", "formatting", "environment", "exit-codes", "builtin"]
    assert list(topics())[: len(named)] == named


def test_every_page_is_listed_as_a_topic_with_its_title(here: Here) -> None:
    listed = [line.split(maxsplit=3)[2:] for line in here("help").out.splitlines()[:-1]]
    assert set(topics().values()) == set((ROOT / "docs").glob("*.md"))
    assert listed == [[topic, page.read_text().splitlines()[0].removeprefix("# ")] for topic, page in topics().items()]


def test_a_page_is_found_by_its_file_name_where_no_command_has_it(here: Here) -> None:
    assert here("help", "permissions-and-sandbox").out == here("help", "permission").out
    assert here("help", "settings").out == here("help", "environment").out
    assert "Usage: agentctl providers" in here("help", "providers").out


def test_no_line_of_prose_is_wider_than_a_terminal_may_be() -> None:
    for topic, page in topics().items():
        wide = [line for line in page.read_text().splitlines() if len(line) > 140 and not line.startswith("|")]
        assert wide == [], topic


def test_every_line_to_type_parses(here: Here) -> None:
    lines = {topic: examples(text) for topic, text in pages(here).items()}
    for topic in ("setup", "budget", "permission", "context", "formatting"):
        assert len(lines[topic]) > 4, topic
    for words in (words for each in lines.values() for words in each):
        assert words[0] in ROOT_COMMAND.commands, words  # type: ignore[attr-defined]
        given = parse_command(words)
        for rule in (*(given.get("allow") or ()), *(given.get("deny") or ())):  # type: ignore[misc]
            assert parse_rule(str(rule))
        if words[0] == "run":
            approval_mode(given.get("approve"), yes=bool(given.get("yes")))  # type: ignore[arg-type]


def test_command_that_does_not_parse_is_found() -> None:
    with pytest.raises(typer.TyperException):
        parse_command(["run", "--alow", "x"])
    with pytest.raises(KeyError):
        parse_command(["runs", "lst"])


def test_every_rule_of_the_permission_topic_is_valid(here: Here) -> None:
    table = here("help", "permission").out.partition("| Rule ")[2].partition("\n\n")[0]
    named = re.findall(r"^\| `(.+?)` +\|", table, re.MULTILINE)
    assert len(named) == 6
    for rule in named:
        assert here("policy", "check", "docker_ps", "--deny", rule).code in (0, 5), rule


def test_every_setting_is_in_the_environment_topic_with_its_default(here: Here) -> None:
    text = re.sub(r"\n  +", " ", here("help", "environment").out)
    for name in DOCUMENTED_NAMES:
        assert f"`{name}`" in text, name
    for field in ENV_NAMES:
        line = next(line for line in text.splitlines() if f"`{ENV_NAMES[field][-1]}`" in line)
        assert line.startswith(f"- `{field}`")
        assert DECLARED[field].help
        assert DECLARED[field].help.rpartition(": ")[2] in line
        default = Settings.model_fields[field].default
        if field not in SECRET_FIELDS and isinstance(default, str | int) and not isinstance(default, bool):
            assert f" = `{default}`" in line


def test_the_environment_does_not_leak_into_its_topic(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    before = here("help", "environment").out
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-to-be-seen-1234567890")
    monkeypatch.setenv("MAX_COST_PER_TASK", "0.07")
    assert here("help", "environment").out == before


def test_the_limits_of_the_budget_topic_are_the_defaults(here: Here) -> None:
    text = re.sub(r" +\|", " |", here("help", "budget").out)
    for line in (
        "| `max_cost_per_task` | 0.50 USD | `--max-cost` | `MAX_COST_PER_TASK` |",
        "| `max_cost_per_hour` | 10.0 USD | `--max-cost-per-hour` | `MAX_COST_PER_HOUR` |",
        "| `max_tokens_per_task` | 100000 tokens | `--max-tokens` | `MAX_TOKENS_PER_TASK` |",
        "| `max_cost_per_day` | none (USD) | `--max-cost-per-day` | `AGENTCTL_MAX_COST_PER_DAY` |",
        "| `max_calls_per_minute` | none (calls) | `--max-calls-per-minute` | `AGENTCTL_MAX_CALLS_PER_MINUTE` |",
    ):
        assert line in text.splitlines()


def test_the_limits_of_the_setup_topic_are_the_defaults(here: Here) -> None:
    text = here("help", "setup").out
    for field in ("max_cost_per_task", "max_cost_per_hour", "max_tokens_per_task"):
        default = written_default(field)
        assert f"| `{flag_name(field)} {default}`" in text
        assert f"| `{ENV_NAMES[field][-1]}={default}`" in text


def test_schemas_of_the_topic_are_those_of_the_commands(here: Here) -> None:
    text = here("help", "formatting").out
    for words in (
        *(("costs",), ("runs", "list"), ("agents", "list"), ("tools", "list"), ("policy", "check", "docker_ps")),
        *(("providers", "list"), ("config", "path"), ("doctor", "--offline"), ("costs", "--wrong")),
        *(("ledger", "check"), ("run", "--estimate", "How much disk is free?")),
    ):
        assert f"\n| `{here(*words, '--json').document['schema']}` " in text


def test_exit_codes_are_a_topic(here: Here) -> None:
    rows = re.findall(r"^\| \d+ +\| \w+ +\| (.+) \|$", here("help", "exit-codes").out, re.MULTILINE)
    assert rows == list(SENTENCES.values())
    ended = here("help", "enviroment")
    assert (ended.code, ended.err.splitlines()[1]) == (2, 'hint: did you mean "environment"?')
    assert "policy check" in here("help", "policy").out or "check" in here("help", "policy").out


def test_no_lone_command_becomes_a_task() -> None:
    commands = ROOT_COMMAND.commands  # type: ignore[attr-defined]
    words = [*commands, *NAMED_TOPICS]
    words += [f"{name} {verb}" for name, group in commands.items() for verb in getattr(group, "commands", ())]
    for word in words:
        with pytest.raises(UsageError, match="is a command, not a task"):
            task_of_words([word], task_file=None, source=None)


def test_suggested_commands_exist() -> None:
    for meant in COMMAND_WORDS.values():
        words = meant.split()[1:]
        assert words[0] in ROOT_COMMAND.commands or words[0].startswith("--"), meant  # type: ignore[attr-defined]


@pytest.mark.parametrize("group", ["agents", "tools", "policy"])
def test_a_group_without_a_verb_prints_its_help_with_0(here: Here, group: str) -> None:
    ended = here(group)
    assert (ended.code, ended.err) == (0, "")
    assert f"Usage: agentctl {group}" in ended.out


def test_help_takes_a_command_of_a_group_and_a_topic_in_several_words(here: Here) -> None:
    assert here("help", "runs", "list").out == here("runs", "list", "-h").out
    assert here("help", "exit", "codes").out == here("help", "exit-codes").out
    wrong = here("help", "runs", "lst")
    assert (wrong.code, wrong.err) == (2, 'error: no help on "runs lst"\nhint: did you mean "list"?\n')
    assert here("help", "run", "docker").err.endswith("hint: agentctl help run\n")


@pytest.mark.parametrize("group", ["runs", "ledger", "config"])
def test_flag_behind_a_group_alone_names_the_help_of_the_group(here: Here, group: str) -> None:
    assert here(group, "--nosuch").err == f"error: No such option: --nosuch\nhint: agentctl {group} --help\n"
