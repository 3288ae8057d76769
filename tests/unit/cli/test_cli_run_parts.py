"""Runs that were resumed, forked, killed or damaged: what ``runs show`` and ``runs export`` say of their parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentctl.core.errors import StateError, UsageError
from agentctl.core.events import TurnStarted
from agentctl.core.results import ErrorInfo
from agentctl.journal.replay import read_past
from tests.support.command_line import Here
from tests.support.journal_files import JournalFile, write_fork

TRIPPED = ErrorInfo("budget", "max_cost_per_task is $0.50")


@pytest.fixture
def resumed(state: Path) -> JournalFile:
    """A run that tripped, was resumed with words, was killed, and was resumed to its end."""
    run = JournalFile(state).start().turn("system_memory").end("budget", "So far.", error=TRIPPED)
    run.resume("Be brief", usd=1.0).turn("system_load", text="I look again.")
    return run.resume(usd=2.0).turn(text="All is well.").end()


@pytest.fixture
def forked(state: Path) -> JournalFile:
    """A run that was forked from another one after its two turns."""
    source = JournalFile(state).start().turn("system_memory").turn(text="It is well.").end(answer="It is well.")
    return write_fork(state, source, "bbb2")


# --- runs show --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("resumed")
def test_a_resumed_run_is_shown_with_when_each_part_began_and_by_what(here: Here) -> None:
    out = here("runs", "show", "aaa1").out
    parts = [block.splitlines() for block in out.split("\n--- ")[1:]]
    assert [part[0].split(" · ")[0] for part in parts] == ["resumed after 1 turn", "resumed after 2 turns"]
    assert parts[0][1:4] == [
        "words: Be brief",
        "limit: max_cost_per_task $1 ($0.013 used)",
        "limit: max_tokens_per_task 100,000",
    ]
    assert parts[1][1] == "limit: max_cost_per_task $2 ($0.026 used)"
    assert out.count("this part has no end: its process died") == 1
    assert out.index("system_load()") < out.index("this part has no end") < out.index("after 2 turns")
    assert out.rstrip().endswith("done · 3 turns · $0.039 · 4.2 s")


@pytest.mark.usefixtures("resumed")
def test_json_of_a_resumed_run_has_its_parts(here: Here) -> None:
    document = here("runs", "show", "aaa1", "--json").document
    first, second = document["parts"]
    assert (first["source"], first["fork"], first["turns"], first["words"]) == ("aaa1", False, 1, "Be brief")
    assert first["limits"]["max_cost_per_task"] == {"limit": 1.0, "used": 0.013}
    assert (second["words"], second["turns"]) == ("", 2)
    resumptions = [one for one in document["records"] if one["event"] == "run_resumed"]
    assert [part["at"] for part in document["parts"]] == [one["at"] for one in resumptions]


def test_a_run_that_was_not_resumed_has_no_parts(here: Here, state: Path) -> None:
    JournalFile(state).start().turn(text="Well.").end()
    assert "parts" not in here("runs", "show", "--json").document
    assert "---" not in here("runs", "show").out


def test_a_part_that_runs_or_died_has_no_end_from_the_part_before(here: Here, state: Path) -> None:
    JournalFile(state).start().turn("system_memory").end("budget").resume("go on").turn("system_load")
    shown = here("runs", "show").out
    assert shown.endswith("\nthe run has not ended: it is still running, or its process died\n")
    document = here("runs", "export", "--format", "json").document
    assert (document["status"], document["answer"], document["cost"]["nano_usd"]) == (None, None, 26_000_000)
    assert here("runs", "show", "--context", "--json").document["status"] is None


@pytest.mark.usefixtures("forked")
def test_a_fork_is_shown_with_the_command_that_shows_its_origin(here: Here) -> None:
    out = here("runs", "show").out
    assert "\n--- forked from run aaa1 after 2 turns · " in out
    assert "\nits turns: agentctl runs show aaa1\nwords: And now?\n" in out
    assert "system_memory" not in out


def test_changes_that_were_accepted_are_shown(here: Here, state: Path) -> None:
    run = JournalFile(state).start().turn("system_memory")
    run.resume("go on")
    text = run.path.read_text().replace('"changes": []', '"changes": ["the tools have changed"]')
    run.path.write_text(text)
    assert "\nchanged: the tools have changed\n" in here("runs", "show").out
    assert here("runs", "show", "--json").document["parts"][0]["changes"] == ["the tools have changed"]


# --- runs export ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("forked")
def test_export_of_a_fork_has_the_turns_before_it_with_the_run_that_they_are_of(here: Here) -> None:
    document = here("runs", "export", "--format", "json").document
    assert [(turn["turn"], turn["run_id"]) for turn in document["turns"]] == [(1, "aaa1"), (2, "aaa1"), (3, "bbb2")]
    assert (document["run_id"], document["status"], document["answer"]) == ("bbb2", "done", "Still well.")
    assert document["turns"][0]["tools"][0]["name"] == "system_memory"
    assert document["cost"]["nano_usd"] == 13_000_000, "the past's money is that of the other run"
    (part,) = document["parts"]
    assert (part["source"], part["fork"], part["turns"]) == ("aaa1", True, 2)


@pytest.mark.parametrize(
    ("form", "heading"), [("md", "## Turn 1 of run `aaa1`\n"), ("html", "Turn 1 of run aaa1</h2>")]
)
@pytest.mark.usefixtures("forked")
def test_a_page_of_a_fork_marks_the_turns_before_it(here: Here, form: str, heading: str) -> None:
    text = here("runs", "export", "--format", form).out
    assert heading in text
    assert "run aaa1 after 2 turns" in text
    assert "the cost is without the turns of that run" in text
    assert text.count("It is well.") == 1, "the answer of the other run, which is no longer the last turn"
    assert text.count("Still well.") == 1


def test_a_fork_that_has_not_ended_counts_its_own_requests_only(here: Here, state: Path) -> None:
    source = JournalFile(state).start().turn("system_memory").end("budget")
    JournalFile(state, "bbb2").start(prompt=None).resume("x", source="aaa1", until=source.seq, turns=1).turn(
        "system_load"
    )
    document = here("runs", "export", "bbb2", "--format", "json").document
    assert (document["cost"]["nano_usd"], document["turns_in_all"]) == (13_000_000, 2)


def test_export_of_a_fork_whose_origin_was_removed_says_what_is_missing(here: Here, forked: JournalFile) -> None:
    (forked.path.parent / "aaa1.jsonl").unlink()
    ended = here("runs", "export", "--format", "json")
    assert ended.err == "warning: run bbb2 goes on from run aaa1, whose journal is missing\n"
    assert (ended.code, [turn["turn"] for turn in ended.document["turns"]]) == (0, [3])


def test_forks_of_one_another_are_read_to_a_bound(here: Here, state: Path) -> None:
    JournalFile(state, "aaa1").start(prompt=None).resume("x", source="bbb2", until=9, turns=1)
    JournalFile(state, "bbb2").start(prompt=None).resume("x", source="aaa1", until=9, turns=1)
    ended = here("runs", "export", "bbb2", "--format", "json")
    assert (ended.code, "goes on from run" in ended.err) == (0, True)


def test_a_source_that_is_no_id_opens_no_other_file(here: Here, state: Path) -> None:
    JournalFile(state, "aaa1").start().turn("system_memory")
    JournalFile(state, "bbb2").start(prompt=None).resume("x", source="../runs/aaa1", until=9, turns=1)
    ended = here("runs", "export", "bbb2", "--format", "json")
    assert (ended.code, ended.document["turns"]) == (0, [])
    assert "run ../runs/aaa1, whose journal is missing" in ended.err


def test_a_turn_that_had_asked_for_nothing_is_not_exported_twice(here: Here, state: Path) -> None:
    run = JournalFile(state, "ccc3").start().turn("system_memory")
    run.add(TurnStarted(2)).end("budget").resume("go on", turns=1).turn(text="Well.").end()
    document = here("runs", "export", "ccc3", "--format", "json").document
    assert [turn["turn"] for turn in document["turns"]] == [1, 2]
    assert document["turns"][1]["prompts"] == ["go on"]


def test_an_earlier_answer_with_the_same_words_is_shown_in_its_turn(here: Here, state: Path) -> None:
    run = JournalFile(state).start().turn(text="Well.").end(answer="Well.")
    run.resume("And now?").turn(text="Well.").end(answer="Well.")
    assert here("runs", "export").out.count("\nWell.\n") == 2


def test_last_exports_the_last_run_and_goes_with_no_id(here: Here, state: Path) -> None:
    JournalFile(state).start().turn(text="Well.").end()
    assert here("runs", "export", "--last", "--format", "json").document["run_id"] == "aaa1"
    refused = here("runs", "export", "aaa1", "--last")
    assert (refused.code, refused.err) == (2, "error: --last cannot be combined with an ID\nhint: give one of them\n")


@pytest.mark.parametrize(
    ("pattern", "count"),
    [("db-1", 2), ("All is well", 1), ("7", 1), ("nothing", 0)],
    ids=["text and argument", "the answer, which is the last turn's text too", "number", "nothing"],
)
def test_redactions_are_counted_once_and_where_they_are_exported(
    here: Here, state: Path, pattern: str, count: int
) -> None:
    run = JournalFile(state).start("look").turn(("docker_logs", {"name": "db-1", "lines": 7}), result="db-1 is up")
    run.turn(text="All is well.").end()
    document = here("runs", "export", "--format", "json", "--redact", pattern).document
    assert document["redactions"] == count
    only_last = here("runs", "export", "--format", "json", "--redact", pattern, "--turns", "2").document
    assert only_last["redactions"] == (1 if pattern == "All is well" else 0)


# --- a damaged journal ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", [b"{\n", b"[]\n", b"\0\0\n", b"\xff\n"])
def test_a_whole_last_line_that_is_broken_is_told_and_left_out(here: Here, state: Path, broken: bytes) -> None:
    run = JournalFile(state).start().turn(text="All is well.").tear(broken)
    said = f"warning: line {run.seq + 1} of {run.path}, the last, is broken and was left out\n"
    for words in (("show",), ("show", "--json"), ("show", "-o", "jsonl"), ("show", "--context"), ("export",)):
        ended = here("runs", *words)
        assert (ended.code, ended.err) == (0, said), words
    assert "All is well." in here("runs", "show").out


def test_half_a_last_line_is_no_damage(here: Here, state: Path) -> None:
    JournalFile(state).start().turn(text="All is well.").tear(b'{"event": "run_fin')
    assert here("runs", "show").err == ""


def test_a_run_is_not_resumed_over_a_broken_line(state: Path) -> None:
    run = JournalFile(state).start().turn("system_memory")
    assert read_past(run.path).turns == 1
    with pytest.raises(StateError, match=f"line {run.seq + 1} of .* is broken"):
        read_past(run.tear(b"{\n").path)


def test_a_fork_without_its_origin_cannot_be_resumed(forked: JournalFile) -> None:
    assert read_past(forked.path).turns == 3
    (forked.path.parent / "aaa1.jsonl").unlink()
    with pytest.raises(UsageError, match="goes on from run aaa1, whose journal is missing"):
        read_past(forked.path)


@pytest.mark.parametrize("words", [(), ("--fork",)])
def test_a_run_without_a_model_does_not_go_on_and_says_why(here: Here, words: tuple[str, ...]) -> None:
    assert here("run", "--provider", "builtin", "How much disk is free?").code == 0
    ended = here("runs", "resume", "--last", *words, "How much memory is free?")
    assert (ended.code, ended.out) == (2, "")
    assert "used no model, so there is no conversation to go on with" in ended.err
