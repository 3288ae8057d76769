"""``agentctl run``: what stdout and stderr hold, and why it ended."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from agentctl.cli.app import main
from agentctl.runner.orchestrator import Orchestrator
from tests.support.command_line import Commands, Ended
from tests.support.output_schemas import check_output

Here = Callable[..., Ended]


def test_stdout_holds_the_answer_and_nothing_else(agentctl: Commands) -> None:
    ended = agentctl("run", "count", "them", script="answer")
    assert (ended.code, ended.out) == (0, "42 containers\nof which 7 run\n")
    assert ended.err.splitlines()[0].startswith("scripted/priced · ")
    assert ended.err.splitlines()[-1].startswith("done · 1 turn · $0.013 of $0.50 · hour $0.013 of $10 · ")


def test_the_words_of_the_task_are_joined(agentctl: Commands) -> None:
    assert agentctl("run", "say", "it twice", script="echo").out == "say it twice\n"


def test_an_answer_that_ends_with_a_newline_gets_no_second_one(agentctl: Commands) -> None:
    assert agentctl("run", "x y", script="newline").out == "ends with a newline\n"


def test_answer_of_a_model_cannot_move_the_cursor(agentctl: Commands) -> None:
    assert agentctl("run", "x y", script="escapes").out == "red \\x1b[31mtext\\x1b[0m and a bell \\x07\n"


def test_an_answer_survives_a_locale_without_its_letters(agentctl: Commands) -> None:
    ended = agentctl("run", "x y", script="unicode", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (ended.code, ended.out) == (0, "na\\xefve caf\\xe9, \\u65e5\\u672c\\u8a9e\n")


def test_each_turn_has_one_line_and_tools_show_with_v(here: Here) -> None:
    ended = here("run", "-v", "look around", script="tools")
    assert ended.out == "done looking\n"
    assert "turn 1 · system_memory() · $0.013" in ended.err
    assert "  system_memory() · " in ended.err
    assert "failed: nosuch_tool()" in ended.err
    assert "turn 3 · answer · $0.039" in ended.err
    assert "\nall   3 calls  3,000       0  300  $0.039\n" in ended.err


def test_quiet_says_nothing_unless_it_fails(here: Here) -> None:
    assert here("run", "-q", "look around", script="tools") == Ended(0, "done looking\n", "")
    failed = here("run", "-q", "look around", script="auth")
    assert (failed.code, failed.out) == (77, "")
    assert failed.err == "error: the key was rejected\nhint: set another\n"


def test_builtin_answers_without_a_model_and_shows_no_meters(agentctl: Commands) -> None:
    ended = agentctl("run", "How much disk is free?")
    assert ended.code == 0
    assert ended.out
    first, *_, last = ended.err.splitlines()
    assert first.startswith("builtin · ")
    assert last.startswith("done · ")
    assert "$" not in ended.err
    assert "turn" not in ended.err
    assert 'builtin matched your words to a read-only lookup: system_disks(), same as "df -h".' in ended.err


def test_the_document_has_every_field_in_its_order(agentctl: Commands) -> None:
    document = agentctl("run", "count them", "--json", "--label", "team=web", script="answer").document
    assert list(document) == FIELDS
    assert document["cost"] == {"usd": 0.013, "nano_usd": 13_000_000, "in_doubt_usd": 0.0, "price_source": "script"}
    assert document["limits"]["max_cost_per_task"] == {"limit": 0.5, "used": 0.013}
    assert document["labels"] == {"workdir": str(agentctl.folder), "team": "web"}
    assert document["answer"] == "42 containers\nof which 7 run"
    assert document["error"] is None


def test_money_is_a_json_number_without_noise(agentctl: Commands) -> None:
    assert '"usd": 0.039,' in agentctl("run", "look around", "--json", script="tools").out


@pytest.mark.parametrize("form", [["--json"], ["-o", "json"], ["--format=json"], ["-ojson"]])
def test_json_is_one_document_also_when_the_run_fails(here: Here, form: list[str]) -> None:
    ended = here("run", "count them", *form, script="auth")
    assert list(ended.document) == FIELDS
    assert (ended.code, ended.document["exit_code"], ended.document["status"]) == (77, 77, "auth")
    assert ended.document["error"] == {"kind": "auth", "message": "the key was rejected", "hint": "set another"}
    assert ended.document["cost"]["nano_usd"] == 0


@pytest.mark.parametrize(
    "words",
    [
        ["--jsno"],
        ["--max-cost", "-1"],
        ["--max-turns", "many"],
        ["--provider", "openia"],
        ["--color", "mauve"],
        ["--label", "nameless"],
        ["--config", "absent.toml"],
        ["--env-file", "absent.env"],
        ["--input", "absent.txt"],
        ["--model"],
    ],
    ids=lambda words: " ".join(words),
)
def test_a_wrong_flag_is_one_document_too(here: Here, words: list[str]) -> None:
    ended = here("run", "count them", "--json", *words)
    assert (ended.code, list(ended.document), ended.document["exit_code"]) == (2, FIELDS, 2)
    assert ended.document["error"]["kind"] == "usage"
    assert ended.err.startswith(f"error: {ended.document['error']['message']}")


def test_a_misspelt_flag_gets_the_nearest_one(here: Here) -> None:
    ended = here("run", "count them", "--max-costs", "1")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == 'error: No such option: --max-costs\nhint: did you mean "--max-cost"?\n'


def test_the_form_can_come_from_the_settings(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTCTL_OUTPUT", "json")
    assert here("run", "count them", "--max-turns", "0").err.startswith("error: max_turns")
    assert here("run", "count them", script="answer").document["status"] == "done"


def test_jsonl_is_one_event_a_line_and_ends_with_the_document(agentctl: Commands) -> None:
    ended = agentctl("run", "look around", "-o", "jsonl", script="tools")
    events = [line["event"] for line in ended.lines]
    assert events[0] == "run_started"
    assert events[-1] == "run_finished"
    assert {"call_held", "call_sent", "call_settled", "tool_finished", "model_answered"} <= set(events)
    assert [line["seq"] for line in ended.lines] == list(range(1, len(events) + 1))
    assert set(ended.lines[-1]) == {*FIELDS, "event", "seq", "at"}
    assert ended.lines[-1]["answer"] == "done looking"


def test_jsonl_of_a_run_that_never_began_is_its_last_line(here: Here) -> None:
    (line,) = here("run", "list", "-o", "jsonl").lines
    assert (line["event"], line["status"], line["run_id"]) == ("run_finished", "usage", None)


def test_a_breaker_shows_the_table_and_a_command_to_paste(agentctl: Commands) -> None:
    ended = agentctl("run", "look around", "--max-cost", "0.10", "--max-output-tokens", "300", script="costly")
    assert (ended.code, ended.out) == (3, "")
    assert "error: max_cost_per_task is $0.1" in ended.err
    assert "max_cost_per_task" in ended.err
    assert "tripped" in ended.err
    again = "agentctl run 'look around' --max-output-tokens 300 --max-cost-per-task 0.2"
    assert f"hint: {again}" in ended.err
    assert ended.err.splitlines()[-1].startswith("budget · ")


def test_a_breaker_stands_in_the_document(here: Here) -> None:
    ended = here("run", "look around", "--max-cost", "0.10", "--max-output-tokens", "300", "--json", script="costly")
    breaker = ended.document["breaker"]
    assert set(breaker) >= {"limit", "ceiling", "spent", "held", "would_be", "free_at", "hint"}
    assert (breaker["hold"], breaker["charge"]) == (None, None)
    assert (breaker["limit"], breaker["ceiling"]) == ("max_cost_per_task", 0.1)
    assert breaker["would_be"] > 0.1
    assert ended.document["complete"] is False


def test_none_lifts_a_limit(here: Here) -> None:
    limits = here("run", "look around", "--max-cost", "none", "--json", script="answer").document["limits"]
    assert limits["max_cost_per_task"]["limit"] is None


def test_partial_answer_before_a_failure_goes_to_stderr(here: Here) -> None:
    ended = here("run", "look around", "--max-turns", "2", script="costly")
    assert (ended.code, ended.out) == (1, "")
    assert "--- so far ---\nLooking with system_info.\n" in ended.err


def test_colour_follows_the_flag_then_the_environment(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[" not in here("run", "count them", script="answer").err
    assert "\x1b[32mdone\x1b[0m" in here("run", "count them", "--color", "always", script="answer").err
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[32mdone\x1b[0m" in here("run", "count them", script="answer").err
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in here("run", "count them", script="answer").err
    assert "\x1b[" not in here("run", "count them", "--color", "always", script="answer").out


def test_a_bug_ends_with_70_and_says_where_to_look(here: Here) -> None:
    ended = here("run", "count them", script="bug")
    assert (ended.code, ended.out) == (70, "")
    assert "a bug in the provider" in ended.err
    assert "hint: " in ended.err


def test_a_bug_of_ours_is_one_sentence_and_a_log_only_the_user_can_read(
    capsys: pytest.CaptureFixture[str], state: Path
) -> None:
    def broken(*given: object, **named: object) -> Orchestrator:
        raise ZeroDivisionError("assembled by nobody")

    assert main(["run", "--json", "count them"], assemble=broken) == 70
    captured = capsys.readouterr()
    check_output(captured.out)
    (log,) = state.glob("crash-*.log")
    assert captured.err.endswith(
        f"error: internal error: ZeroDivisionError: assembled by nobody\nhint: report this bug with the log {log}\n"
    )
    assert (json.loads(captured.out)["status"], list(json.loads(captured.out))) == ("internal", FIELDS)
    assert (log.stat().st_mode & 0o777, "Traceback" in log.read_text()) == (0o600, True)


def test_ci_run_says_what_the_hourly_limit_covers(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    said = "max_cost_per_hour covers this CI runner only: every runner has its own ledger"
    assert said in here("run", "--provider", "ollama", "count them", script="answer").err
    assert said not in here("run", "--provider", "builtin", "How much disk is free?").err


def test_a_secret_leaves_neither_by_stdout_nor_by_stderr(agentctl: Commands, tmp_path: Path) -> None:
    key = "sk-" + "a1" * 20
    for words in (["-v"], ["--json"], ["-o", "jsonl"]):
        ended = agentctl("run", f"repeat {key}", *words, script="echo", OPENAI_API_KEY=key)
        assert ended.code == 0
        assert key not in ended.out + ended.err
        assert "[redacted]" in ended.out


FIELDS = json.loads("""[
    "schema", "version", "run_id", "status", "exit_code", "complete", "answer", "structured", "task", "agent",
    "provider", "provider_chosen_by", "model", "models", "client", "fallbacks", "turns", "started_at", "finished_at",
    "duration_s", "labels", "resumed_from", "replayed", "usage", "cost", "limits", "ledger", "breaker", "tools",
    "denied", "denied_calls", "pending", "sandbox", "sandbox_failures", "left_out", "mcp", "delegated",
    "changed_files_run_later", "input", "warnings", "error"
]""")
