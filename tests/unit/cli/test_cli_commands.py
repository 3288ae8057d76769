"""The commands beside ``run``: costs, runs, config, completion, help; and unknown words."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from agentctl.cli.exit_codes import SENTENCES, ExitStatus, exit_status
from agentctl.core.errors import AgentctlError, Interrupted, UsageError
from agentctl.core.version import __version__
from tests.support.command_line import Ended

Here = Callable[..., Ended]


def subclasses(kind: type[AgentctlError]) -> set[type[AgentctlError]]:
    return {kind}.union(*(subclasses(below) for below in kind.__subclasses__()))


def test_every_error_has_an_exit_code_and_every_code_a_sentence() -> None:
    statuses = {str(kind.status) for kind in subclasses(AgentctlError) if kind is not Interrupted}
    assert statuses <= set(ExitStatus.__members__)
    assert set(SENTENCES) == set(ExitStatus)
    assert exit_status(UsageError("x")) is ExitStatus.usage
    assert exit_status(Interrupted("x", cause="SIGTERM")) is ExitStatus.terminated
    assert exit_status(Interrupted("x", cause="SIGHUP")) is ExitStatus.hung_up
    assert exit_status(KeyboardInterrupt()) is ExitStatus.interrupted
    assert exit_status(ZeroDivisionError()) is ExitStatus.internal


def test_help_exit_codes_lists_them_all(here: Here) -> None:
    ended = here("help", "exit-codes")
    assert ended.code == 0
    rows = re.findall(r"^\| (\d+) +\| (\w+) ", ended.out, re.MULTILINE)
    assert rows == [(str(s.value), s.shown) for s in ExitStatus]


def test_help_lists_its_topics_and_knows_the_commands(here: Here) -> None:
    assert "agentctl help exit-codes" in here("help").out
    assert "agentctl help setup" in here("help").out
    assert "MAX_COST_PER_TASK=0.50" in here("help", "setup").out
    assert "--last-hour" in here("help", "costs").out
    wrong = here("help", "exit-code")
    assert (wrong.code, wrong.err) == (2, 'error: no help topic "exit-code"\nhint: did you mean "exit-codes"?\n')


def test_version_and_help_have_short_names(here: Here) -> None:
    assert here("-V").out == here("--version").out == f"agentctl {__version__}\n"
    assert here("-h").out == here("--help").out
    assert here("runs", "show", "-h").code == 0


def test_help_lists_the_commands_in_the_order_of_need(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = here("--help").out
    assert here("--help").out == text
    listed = text.split("Commands:\n")[1].split("\n\n")[0]
    found = [line.split()[0] for line in listed.splitlines() if line[:2] == "  " and line[2] != " "]
    assert found == [
        *("run", "costs", "budget", "ledger", "runs", "cassette", "agents", "tools", "mcp", "policy"),
        *("providers", "models", "config", "trust", "doctor", "schema", "completion", "help"),
    ]
    assert "install-completion" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_help_without_a_command_is_the_output_with_0(here: Here) -> None:
    for words in ((), ("ledger",), ("runs",), ("providers",), ("config",)):
        ended = here(*words)
        assert (ended.code, ended.out, ended.err) == (0, here(*words, "--help").out, "")
        assert ended.out.startswith(" ".join(["Usage: agentctl", *words]))


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["rum"], 'did you mean "run"?'),
        (["runs", "lst"], 'did you mean "list"?'),
        (["List all containers"], "did you mean: agentctl run 'List all containers'"),
        (["costs", "--last-our"], 'did you mean "--last-hour"?'),
    ],
)
def test_a_misspelt_word_gets_the_nearest_one(here: Here, words: list[str], hint: str) -> None:
    ended = here(*words)
    assert (ended.code, ended.out, ended.err.splitlines()[1]) == (2, "", f"hint: {hint}")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("list", "agentctl runs list"),
        ("LS", "agentctl runs list"),
        ("show", "agentctl runs show"),
        ("costs", "agentctl costs"),
        ("providers", "agentctl providers list"),
        ("Providers  list", "agentctl providers list"),
        ("config", "agentctl config show"),
        ("help", "agentctl help"),
    ],
)
def test_lone_verb_is_not_a_task_and_nothing_is_sent(here: Here, state: Path, word: str, meant: str) -> None:
    ended = here("run", word)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f'error: "{word}" is a command, not a task; nothing was sent\nhint: did you mean "{meant}"?\n'
    assert not state.exists()


@pytest.mark.parametrize("words", [["costs", "--jsno"], ["runs", "lst"], ["nope"], ["config", "check", "extra"]])
def test_wrong_words_are_a_document_once_json_was_asked_for(here: Here, words: list[str]) -> None:
    ended = here(*words, "--json")
    assert list(ended.document) == ["schema", "version", "status", "exit_code", "error"]
    assert (ended.code, ended.document["status"], ended.document["exit_code"]) == (2, "usage", 2)


def test_costs_without_runs_are_zero(here: Here, state: Path) -> None:
    ended = here("costs")
    assert ended.code == 0
    assert ended.out == "today: 0 runs, 0 calls, $0\nhour: $0 used, $10.00 left of $10 (max_cost_per_hour)\n"
    assert not state.exists()


def test_costs_adds_up_what_runs_spent(here: Here) -> None:
    here("run", "count them", script="answer")
    here("run", "look around", script="tools")
    table = here("costs", "--last-hour").out
    assert "the last hour: 2 runs, 4 calls, $0.052\n" in table
    assert "hour: $0.052 used, $9.94 left of $10 (max_cost_per_hour)\n" in table
    document = here("costs", "--last-hour", "--json").document
    assert document["schema"] == "agentctl.costs/1"
    cost = {"usd": 0.052, "nano_usd": 52_000_000, "known_usd": 0.052, "known_nano_usd": 52_000_000, "unknown_calls": 0}
    nothing = {"in_doubt_usd": 0.0, "in_doubt_nano_usd": 0, "held_usd": 0.0, "held_nano_usd": 0}
    figures = {"runs": 2, "calls": 4, "input_tokens": 4000, "cached_input_tokens": 0, "output_tokens": 400}
    assert document["total"] == {**cost, **nothing, **figures}
    assert document["max_cost_per_hour"] == {"limit": 10.0, "used": 0.052, "left": 9.948}
    assert sorted(row["calls"] for row in document["rows"]) == [1, 3]
    assert document["until"].endswith("Z")
    assert here("costs", "--since", "2h", "--json").document["total"]["nano_usd"] == 52_000_000


def test_costs_refuses_two_windows_and_wrong_durations(here: Here) -> None:
    assert here("costs", "--last-hour", "--since", "2h").code == 2
    ended = here("costs", "--since", "yesterday")
    assert (ended.code, ended.err.split(";")[0]) == (2, 'error: --since "yesterday" is not a time')


def test_costs_of_a_corrupt_ledger_are_refused_with_74(here: Here, state: Path) -> None:
    state.mkdir()
    (state / "ledger.db").write_bytes(b"no database at all" * 100)
    assert here("costs").code == 74
    assert here("costs", "--json").document["status"] == "state"


def test_runs_lists_the_newest_first(here: Here) -> None:
    assert here("runs", "list").out == "no runs yet\n"
    here("run", "count them", script="answer")
    here("run", "look around\nand further", script="auth")
    lines = here("runs", "ls").out.splitlines()
    assert [line.split()[3] for line in lines[1:]] == ["auth", "done"]
    assert lines[1].endswith("  look around and further")
    runs = here("runs", "list", "--json").document["runs"]
    assert [run["status"] for run in runs] == ["auth", "done"]
    assert runs[1]["cost"] == {"usd": 0.013, "nano_usd": 13_000_000}
    limited = here("runs", "list", "--limit", "1")
    assert len(limited.out.splitlines()) == 2
    assert limited.err == "showing 1 of 2 runs; --limit 0 shows all\n"


def test_runs_show_prints_the_last_run_or_one_by_prefix(here: Here) -> None:
    run_id = here("run", "look around", "--json", script="tools").document["run_id"]
    here("run", "count them", script="answer")
    assert "task: count them" in here("runs", "show").out
    story = here("runs", "show", run_id[:6]).out
    for part in (
        f"run {run_id}",
        "task: look around",
        "call: 1,000 tokens in, 100 out, $0.013",
        "> system_memory()",
        "> nosuch_tool()",
        "failed: ",
        "answer:\ndone looking",
        "done · 3 turns · $0.039",
    ):
        assert part in story


def test_runs_show_gives_the_records_as_json_and_as_lines(here: Here) -> None:
    here("run", "count them", script="answer")
    records = here("runs", "show", "--json").document["records"]
    assert records[0]["event"] == "run_started"
    assert records[-1]["event"] == "run_finished"
    assert here("runs", "show", "-o", "jsonl").lines == records


def test_runs_show_of_an_unknown_id_is_a_usage_error(here: Here) -> None:
    assert here("runs", "show").code == 2
    here("run", "count them", script="answer")
    assert here("runs", "show", "zzz").code == 2


def test_config_shows_each_value_and_where_it_came_from(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_COST_PER_TASK", "0.25")
    line = next(line for line in here("config", "show").out.splitlines() if line.startswith("max_cost_per_task"))
    assert line.split() == ["max_cost_per_task", "0.25", "0.50", "environment", "MAX_COST_PER_TASK"]
    settings = here("config", "show", "-o", "json").document["settings"]
    assert settings["max_cost_per_task"] == {
        "value": "0.25", "source": "environment MAX_COST_PER_TASK", "default": "0.50", "is_set": True,
    }  # fmt: skip


def test_config_never_shows_a_key(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-to-be-seen-1234567890")
    for words in (["show"], ["show", "--json"], ["check"], ["path"]):
        assert "not-to-be-seen" not in here("config", *words).out


def test_config_path_names_the_files(here: Here, state: Path) -> None:
    assert str(state / "ledger.db") in here("config", "path").out
    assert here("config", "path", "--json").document["paths"]["ledger"] == {
        "path": str(state / "ledger.db"),
        "exists": False,
    }


def test_config_check_says_what_is_wrong_and_what_a_run_would_use(here: Here, tmp_path: Path) -> None:
    right = here("config", "check")
    assert (right.code, right.out.split(" (")[0]) == (0, "the settings are valid; a run would use builtin")
    (tmp_path / "wrong.toml").write_text("max_turn = 3\n")
    wrong = here("config", "check", "--config", "wrong.toml")
    assert (wrong.code, wrong.out) == (2, "")
    assert 'did you mean "max_turns"?' in wrong.err
    document = here("config", "check", "--config", "wrong.toml", "--json").document
    assert (document["ok"], len(document["problems"])) == (False, 1)
