"""``agentctl runs diff``: what differs is named once, what is the same is not shown, and a script can ask."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.cli.runs.comparison.differences import runs_diff
from agentctl.cli.runs.comparison.run_facts import CallFacts, RunFacts, read_facts
from agentctl.core.events import ContextPruned
from agentctl.core.results import ErrorInfo
from tests.support.command_line import Here
from tests.support.journal_files import AT, DIGESTS, JournalFile, limits, write_fork

PROMPT = "You look after the machine.\nBe brief."


@pytest.fixture
def two(state: Path) -> None:
    """Two runs that differ in everything that is compared."""
    a = JournalFile(state, "aaa1").start("look at web", labels={"team": "web", "job": "1"})
    a.turn("docker_ps").turn(("docker_logs", {"container": "web"})).turn("system_memory", failed="timed out")
    a.turn(text="x").end(answer="It is well.")
    b = JournalFile(state, "bbb2", at=AT + timedelta(hours=1)).start(
        "look at db",
        prompt=PROMPT,
        model="gpt-4o",
        labels={"team": "web", "job": "2"},
        limits=limits(2),
        flags={"max_cost_per_task": "2", "allow": ["docker_restart(name=web)"]},
        digests=DIGESTS | {"tools": "t1"},
    )
    b.turn("docker_ps").turn(("docker_logs", {"container": "db"})).add(ContextPruned(7000, 3000, 4))
    b.turn("system_memory").turn("docker_stats").turn(text="x")
    b.end("budget", "Cut.", error=ErrorInfo("budget", "max_cost_per_task is $2"))


@pytest.mark.usefixtures("two")
def test_json_names_everything_that_differs(here: Here) -> None:
    document = here("runs", "diff", "aaa1", "bbb2", "--json").document
    assert document["differences"] == [
        *("model", "labels", "status", "error", "settings.max_cost_per_task", "settings.allow"),
        *("limits.max_cost_per_task", "digests.tools", "task", "system_prompt", "answer", "tool_calls"),
        *("amounts.turns", "amounts.requests", "amounts.tool_calls", "amounts.input_tokens", "amounts.output_tokens"),
        *("amounts.nano_usd", "amounts.context_cuts", "amounts.messages_cut"),
    ]
    assert (document["differs"], document["a"]["run_id"], document["b"]["exit_code"]) == (True, "aaa1", 3)
    assert document["limits"]["max_cost_per_task"] == {"a": 0.5, "b": 2.0, "differs": True}
    assert document["limits"]["max_tokens_per_task"]["differs"] is False
    assert document["values"]["agent"] == {"a": "system", "b": "system", "differs": False}
    assert document["texts"]["task"]["diff"] == ["--- a", "+++ b", "@@ -1 +1 @@", "-look at web", "+look at db"]
    assert document["amounts"]["nano_usd"] == {"a": 52_000_000, "b": 65_000_000, "change": 13_000_000}
    assert document["amounts"]["duration_s"] == {"a": 4.2, "b": 4.2, "change": 0.0}


@pytest.mark.usefixtures("two")
def test_tool_calls_stand_side_by_side_with_what_they_differ_in(here: Here) -> None:
    calls = here("runs", "diff", "aaa1", "bbb2", "--json").document["tool_calls"]
    assert [(call["change"], (call["a"] or call["b"])["name"]) for call in calls] == [
        ("same", "docker_ps"),
        ("arguments", "docker_logs"),
        ("outcome", "system_memory"),
        ("only_b", "docker_stats"),
    ]
    assert calls[1]["a"] == {"turn": 2, "name": "docker_logs", "arguments": {"container": "web"}, "outcome": "done"}
    assert (calls[2]["a"]["outcome"], calls[2]["b"]["outcome"]) == ("failed", "done")
    assert (calls[3]["a"], calls[3]["b"]["turn"]) == (None, 4)


@pytest.mark.usefixtures("two")
def test_text_shows_the_differences_alone(here: Here) -> None:
    ended = here("runs", "diff", "aaa1", "bbb2")
    lines = ended.out.splitlines()
    assert (ended.code, ended.err) == (0, "")
    assert lines[0].startswith("a  aaa1 · 2026-11-29 ")
    assert lines[0].endswith("done (exit 0)")
    assert lines[1].endswith("budget (exit 3)")
    rows = [line.split() for line in lines]
    assert ["model", "priced", "gpt-4o"] in rows
    assert ["label", "job", "1", "2"] in rows
    assert ["max_cost_per_task", "$0.50", "$2"] in rows
    assert ["tools", "offered", "(digest)", "t0", "t1"] in rows
    assert ["cost", "$0.052", "$0.065", "+$0.013", "(+25", "%)"] in rows
    assert "agent" not in [row[0] for row in rows if row], "both have the same"
    diffs = ended.out[ended.out.index("\ntask\n") :]
    for line in ("- look at web", "+ look at db", "+ Be brief.", "- It is well.", "+ Cut."):
        assert f"\n{line}\n" in diffs
    calls = ended.out[ended.out.index("\ntool calls\n") :].splitlines()[2:]
    assert calls[:6] == [
        "  (1 call the same)",
        '- turn 2 · docker_logs(container="web")',
        '+ turn 2 · docker_logs(container="db")',
        "- turn 3 · system_memory() · failed",
        "+ turn 3 · system_memory()",
        "+ turn 4 · docker_stats()",
    ]
    assert lines[-1] == "the same: agent, provider, client, sandbox, folder, agentctl"


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(("other", "code"), [("bbb2", 1), ("aaa1", 0)])
def test_exit_code_tells_whether_runs_differ_if_asked(here: Here, other: str, code: int) -> None:
    assert here("runs", "diff", "aaa1", other).code == 0
    assert here("runs", "diff", "aaa1", other, "--exit-code").code == code
    document = here("runs", "diff", "aaa1", other, "--exit-code", "--json")
    assert (document.code, document.document["differs"]) == (code, bool(code))


def test_runs_that_differ_in_their_times_alone_do_not_differ(here: Here, state: Path) -> None:
    JournalFile(state, "aaa1").start().turn("docker_ps").turn(text="x").end()
    JournalFile(state, "bbb2", at=AT + timedelta(hours=1)).start().turn("docker_ps").turn(text="x").end(duration_s=99.0)
    ended = here("runs", "diff", "aaa1", "bbb2", "--exit-code")
    assert (ended.code, ended.out.splitlines()[-1]) == (0, "the runs do not differ")


def test_a_fork_is_compared_with_the_turns_that_it_goes_on_from(here: Here, state: Path) -> None:
    source = JournalFile(state).start().turn("system_memory").turn(text="Well.").end(answer="Well.")
    write_fork(state, source, "bbb2")
    document = here("runs", "diff", "aaa1", "bbb2", "--json").document
    assert [call["change"] for call in document["tool_calls"]] == ["same"]
    assert document["texts"]["system_prompt"]["differs"] is False
    assert document["amounts"]["nano_usd"]["b"] == 13_000_000


def test_a_resumed_run_is_compared_by_its_last_limits_and_a_dying_one_by_what_it_has(here: Here, state: Path) -> None:
    JournalFile(state, "aaa1").start().turn("docker_ps").end("budget").resume("go on", usd=2).turn(text="x").end()
    JournalFile(state, "bbb2").start().turn("docker_ps")
    document = here("runs", "diff", "aaa1", "bbb2", "--json").document
    assert document["limits"]["max_cost_per_task"] == {"a": 2.0, "b": 0.5, "differs": True}
    assert (document["b"]["status"], document["b"]["exit_code"]) == (None, None)
    assert (document["amounts"]["turns"]["b"], document["amounts"]["nano_usd"]["b"]) == (1, 13_000_000)
    assert "b  bbb2" in here("runs", "diff", "aaa1", "bbb2").out


def test_an_unknown_price_is_no_change(here: Here, state: Path) -> None:
    JournalFile(state, "aaa1").start().turn(text="x").end(cost_nano=None)
    JournalFile(state, "bbb2").start().turn(text="x").end()
    document = here("runs", "diff", "aaa1", "bbb2", "--json").document
    assert document["amounts"]["nano_usd"] == {"a": None, "b": 13_000_000, "change": None}
    rows = [line.split() for line in here("runs", "diff", "aaa1", "bbb2").out.splitlines()]
    assert ["cost", "unknown", "$0.013"] in rows


def test_text_of_a_run_moves_no_cursor(here: Here, state: Path) -> None:
    JournalFile(state, "aaa1").start("a\x1b[2Jb").turn(("x\x1b]0;t\x07", {"\x1b[1m": "\x1b[1m"})).turn(text="x").end()
    JournalFile(state, "bbb2").start(model="\x1b[31mred").turn(text="x").end(answer="\u202eright")
    assert not {"\x1b", "\x07", "\u202e"} & set(here("runs", "diff", "aaa1", "bbb2").out)


@pytest.mark.parametrize("records", [[], [{"event": "moon_landed"}], [{"event": "run_started", "limits": 7}]])
def test_a_journal_of_any_shape_is_compared(records: list[dict[str, object]]) -> None:
    facts = read_facts(records, "r")
    assert runs_diff(facts, facts)["differs"] is False


def test_unknown_runs_are_a_usage_error(here: Here, state: Path) -> None:
    JournalFile(state, "aaa1").start()
    assert here("runs", "diff", "aaa1", "zzz").code == 2
    assert here("runs", "diff", "aaa1").code == 2


Calls = Sequence[tuple[str, int]]
_CALLS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), max_size=12)


def facts_of(calls: Calls) -> RunFacts:
    found = tuple(CallFacts(turn, name, {"n": number}) for turn, (name, number) in enumerate(calls, start=1))
    return read_facts([], "r")._replace(calls=found)


@given(a=_CALLS, b=_CALLS)
def test_each_call_of_both_runs_stands_in_the_diff_once_and_in_order(a: Calls, b: Calls) -> None:
    pairs = runs_diff(facts_of(a), facts_of(b))["tool_calls"]
    assert [call["turn"] for pair in pairs if (call := pair["a"])] == list(range(1, len(a) + 1))
    assert [call["turn"] for pair in pairs if (call := pair["b"])] == list(range(1, len(b) + 1))
    assert any(pair["change"] != "same" for pair in pairs) == (a != b)


def test_a_call_that_was_added_in_the_middle_moves_no_other() -> None:
    a = [("a", 1), ("b", 1), ("a", 2)] * 40
    pairs = runs_diff(facts_of(a), facts_of([*a[:60], ("c", 0), *a[60:]]))["tool_calls"]
    assert [at for at, pair in enumerate(pairs) if pair["change"] != "same"] == [60]


def test_two_runs_that_are_too_long_to_align_are_compared_place_by_place() -> None:
    a, b = [("a", at % 3) for at in range(1100)], [("a", at % 2) for at in range(1100)]
    pairs = runs_diff(facts_of(a), facts_of(b))["tool_calls"]
    assert (len(pairs), {pair["change"] for pair in pairs}) == (1100, {"same", "arguments"})
