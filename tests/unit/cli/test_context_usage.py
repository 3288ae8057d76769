"""The context usage of a run, read from its journal: of this version, of an older one, or a foreign file."""

from __future__ import annotations

import json
from itertools import chain
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentctl.cli.runs.context_chart import SCHEMA, context_document, render_chart
from agentctl.cli.runs.context_usage import ContextUsage, TurnCharge, read_context_usage
from agentctl.cli.ui.cells import cell_width
from agentctl.cli.ui.lines import describe_pruning, event_lines
from agentctl.cli.ui.meter import Meter
from agentctl.core.events import ContextPruned

Fields = dict[str, Any]

STARTED: Fields = {"event": "run_started", "provider": "openai", "model": "gpt-4o-mini", "metered": True}
ENDED: Fields = {"event": "run_finished", "result": {"status": "done"}}
CUT: Fields = {"event": "context_pruned", "tokens_before": 9000, "tokens_after": 4000, "messages_cut": 6}
DEARER = "makes each turn about $0.002 more expensive"
MARK = '[... 9 characters, lines 3 to 4 of 9, are left out here; read_file(path="run:3-x.txt", from_line=3) ...]'


def turn(number: int, tokens: int, *, limit: int = 10_000, cut: Fields | None = None, **more: object) -> list[Fields]:
    measured = {"event": "context_measured", "messages": 2 * number, "tokens": tokens, "limit": limit, **more}
    usage = {"input_tokens": tokens * 2, "cached_input_tokens": tokens}
    return [
        {"event": "turn_started", "turn": number},
        *([] if cut is None else [cut]),
        measured,
        {"event": "call_settled", "usage": usage, "cost_nano": 1_000_000},
    ]


def shown(records: list[Fields], *, width: int | None = None, blocks: bool = True) -> list[str]:
    return list(render_chart(read_context_usage(records), run_id="7f3a", width=width, blocks=blocks))


def told(found: ContextUsage) -> dict[str, Any]:
    """Return the document as a script reads it."""
    read = json.loads(json.dumps(context_document(found, run_id="7f3a"), allow_nan=False))
    assert isinstance(read, dict)
    return read


def test_call_before_the_measurement_is_a_summary_and_its_price_is_shown() -> None:
    second = turn(2, 5000, cut={**CUT, "summary": "model", "cost_nano": 8_000_000, "saves_nano": 3_400_000})
    asked = {"event": "call_settled", "usage": {"input_tokens": 18_000}, "cost_nano": 12_000_000}
    second.insert(1, asked)
    found = read_context_usage([STARTED, *turn(1, 9000), *second, ENDED])
    assert found.turns[1].summaries == (TurnCharge(18_000, 0, 12_000_000),)
    assert found.turns[1].own == TurnCharge(10_000, 5000, 1_000_000)
    said = shown([STARTED, *turn(1, 9000), *second, ENDED], width=140)
    assert (
        "      6 messages cut, about 9,000 tokens to 4,000, summarized by the model; costs about $0.008, "
        "saves about $0.0034 a turn"
    ) in said
    assert "      summarized: 1 call, $0.012" in said
    assert "1 cut · 6 messages cut · about 5,000 fewer tokens to send · cost about $0.008" in said
    assert "summaries by the model: 1 call, $0.012" in said
    totals = told(found)["totals"]
    assert totals["summaries_cost"] == {"usd": 0.012, "nano_usd": 12_000_000}
    assert totals["cuts_cost"] == {"usd": 0.008, "nano_usd": 8_000_000}


def test_unknown_values_are_null_and_left_out_of_the_chart() -> None:
    records = [STARTED, *turn(1, 9000), *turn(2, 4000, cut={**CUT, "cost_nano": None, "saves_nano": None}), ENDED]
    assert "$" not in "\n".join(shown(records))
    found = told(read_context_usage(records))
    assert found["turns"][1]["cuts"][0]["cost"] == {"usd": None, "nano_usd": None}
    assert found["totals"]["cuts_cost"] == {"usd": None, "nano_usd": None}


def test_a_journal_of_an_older_version_is_drawn_without_what_it_does_not_say() -> None:
    older: list[Fields] = [
        {"event": "run_started", "provider": "ollama", "model": "llama3"},
        {"event": "turn_started", "turn": 1},
        {"event": "context_measured", "messages": 2, "tokens": 5000, "limit": 8000},
        {"event": "turn_started", "turn": 2},
        {"event": "context_pruned", "tokens_before": 7000, "tokens_after": 3000, "messages_cut": 2},
        {"event": "context_measured", "messages": 3, "tokens": 4000, "limit": 8000},
        ENDED,
    ]
    said = shown(older)
    assert not any("counted by" in line for line in said)
    assert said[2].split() == ["turn", "tokens", "of", "8,000"]
    assert [line.split()[:2] for line in said if line.endswith("%")] == [["1", "5,000"], ["2", "4,000"]]
    assert "      2 messages cut, about 7,000 tokens to 3,000" in said
    oldest = [older[0], {"event": "turn_started", "turn": 1}, ENDED]
    assert shown(oldest)[1:] == ["the journal does not record how full the context was"]
    assert shown([older[0]])[1:] == ["nothing was sent"]


def test_results_that_were_cut_are_counted_and_those_that_are_kept_whole() -> None:
    texts = ["whole", f"a\n{MARK}\nb", "a\n[... 1,000 characters: the middle is cut here; ask for less ...]\nb"]
    answers = [{"event": "message_added", "message": {"role": "tool", "text": text}} for text in texts]
    quoted = {"event": "message_added", "message": {"role": "user", "text": MARK}}
    found = read_context_usage([STARTED, *turn(1, 5000), *answers, quoted, ENDED])
    assert (found.results_cut, found.results_kept) == (2, 1)
    said = list(render_chart(found, run_id="7f3a", width=None, blocks=True))
    assert "2 tool results cut (1 saved in full in files of the run)" in said
    assert "no message was cut" in said, "though results were"


def test_change_of_counting_method_is_reported_once() -> None:
    turns = [turn(n, 4000, counted_by="bytes" if n < 3 else "o200k") for n in range(1, 6)]
    said = shown([STARTED, *chain.from_iterable(turns), ENDED])
    assert sum("counted by o200k" in line for line in said) == 1
    assert "tokens are estimates by bytes" in said[1]
    lowered = [*turn(1, 4000), *turn(2, 4000, limit=6000), *turn(3, 4000, limit=6000)]
    assert sum("limit 6,000 tokens from here on" in line for line in shown([STARTED, *lowered, ENDED])) == 1


@pytest.mark.parametrize("width", [48, 60, 80, 100, 140])
@pytest.mark.parametrize("blocks", [True, False])
def test_two_hundred_turns_take_a_row_each_and_no_row_is_too_wide(width: int, blocks: bool) -> None:
    turns = [turn(n, 400_000 + 7 * n, limit=1_000_000, cut=CUT if n % 50 == 0 else None) for n in range(1, 201)]
    records = [STARTED, *chain.from_iterable(turns), ENDED]
    said = shown(records, width=width, blocks=blocks)
    assert max(map(cell_width, said)) <= width
    assert sum(line.endswith(" 40 %") for line in said) == 200
    assert len(said) < 200 + 30
    if width >= 60:  # below it there is room for the figures only
        assert sum(("█" if blocks else "#") in line for line in said) == 200
    assert blocks or "".join(said).isascii()


def test_fullest_turn_has_the_longest_bar_and_a_full_one_is_not_wider() -> None:
    said = shown([STARTED, *turn(1, 2500), *turn(2, 10_000), *turn(3, 30_000), ENDED], width=80, blocks=False)
    rows = [line for line in said if "|" in line]
    assert [row.count("#") for row in rows] == [10, 40, 40]
    assert [row.split("|")[1].strip() for row in rows] == ["25 %", "100 %", "300 %"]
    assert "largest request: turn 3, 30,000 of 10,000 tokens" in said


def test_a_turn_whose_request_could_not_be_made_to_fit_was_not_sent() -> None:
    overflow = {"event": "run_finished", "result": {"status": "context_overflow"}}
    said = shown([STARTED, *turn(1, 9000), {"event": "turn_started", "turn": 2}, overflow])
    assert [line.split() for line in said if line.endswith("not sent")] == [["2", "not", "sent"]]
    assert said[-1] != "the run has not ended: it is still running, or its process died"


def test_names_from_a_journal_are_made_safe() -> None:
    said = shown([{**STARTED, "model": "m\x1b[2J"}, *turn(1, 5, counted_by="x\x1b]0;y\x07"), ENDED])
    assert not any("\x1b" in line or "\x07" in line for line in said)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**30) | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
FIELDS = st.sampled_from(
    (
        "turn",
        "tokens",
        "limit",
        "usage",
        "cost_nano",
        "tokens_before",
        "messages_cut",
        "message",
        "result",
        "counted_by",
    )
)
EVENTS = st.sampled_from(
    ("run_started", "turn_started", "context_measured", "context_pruned", "call_settled", "message_added", "new")
)


@settings(max_examples=60)
@given(st.lists(st.tuples(EVENTS, st.dictionaries(FIELDS, ANYTHING)), max_size=6), st.integers(1, 150))
def test_journal_of_any_content_is_drawn_or_refused(events: list[tuple[str, Fields]], width: int) -> None:
    found: ContextUsage = read_context_usage({**fields, "event": event} for event, fields in events)
    assert list(render_chart(found, run_id="7f3a", width=width, blocks=False))
    assert told(found)["schema"] == SCHEMA


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (ContextPruned(9, 4, 1, cost_nano=0, saves_nano=0), "1 message cut, about 9 tokens to 4"),
        (ContextPruned(9, 4, 1, saves_nano=2_000_000), "1 message cut, about 9 tokens to 4; saves about $0.002 a turn"),
        (
            ContextPruned(9, 4, 1, summary="model", cost_nano=1_000_000, saves_nano=-2_000_000),
            f"1 message cut, about 9 tokens to 4, summarized by the model; costs about $0.001, {DEARER}",
        ),
    ],
)
def test_cut_is_shown_with_the_known_part_of_its_dollars(event: ContextPruned, said: str) -> None:
    assert describe_pruning(event) == said
    (line,) = event_lines(event, Meter(), verbose=False)
    assert line.text == f"context: {said}"
