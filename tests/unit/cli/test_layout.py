"""The live region as rows: it always fits, and shows the figures that matter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import reduce

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agentctl.cli.ui.cells import cell_width, truncate, wrap
from agentctl.cli.ui.layout import Row, region_rows, usage_bars
from agentctl.cli.ui.lines import ScreenLine, event_lines
from agentctl.cli.ui.meter import MOST_STREAMED, Meter, describe_wait, follow
from agentctl.core.events import (
    AnswerStreamed,
    ApprovalAsked,
    CallDoubted,
    CallHeld,
    CallRetried,
    CallSent,
    CallSettled,
    CallVoided,
    CallWaited,
    ContextMeasured,
    Event,
    LimitsMeasured,
    ModelAnswered,
    Record,
    RunStarted,
    ToolFinished,
    ToolStarted,
    TurnStarted,
)
from agentctl.core.messages import ToolCall, Usage
from agentctl.core.results import LimitUse
from agentctl.core.text import safe_text

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
TASK = LimitUse("max_cost_per_task", "nano_usd", 500_000_000, 0)
HOUR = LimitUse("max_cost_per_hour", "nano_usd", 10_000_000_000, 1_210_000_000)
TOKENS = LimitUse("max_tokens_per_task", "tokens", 100_000, 0)
STARTED = RunStarted(
    "restart web", "docker", "words", "openai", "key OPENAI_API_KEY", "gpt-4o-mini", True, "/srv", (TASK, HOUR, TOKENS)
)
PS = ToolCall("1", "docker_ps", {"all": True})


def after(*events: Event, first: RunStarted = STARTED) -> Meter:
    """Return the meter after these, a second between two."""
    told = (Record("r", n, AT + timedelta(seconds=n), event) for n, event in enumerate((first, *events)))
    return reduce(follow, told, Meter())


def plain(found: tuple[Row, ...]) -> list[str]:
    return ["".join(span.text for span in row).rstrip() for row in found]


def shown(meter: Meter, *, width: int = 80, height: int = 24, seconds: float = 10) -> list[str]:
    return plain(region_rows(meter, AT + timedelta(seconds=seconds), width=width, height=height))


def test_a_wait_names_what_is_waited_for() -> None:
    recovers = CallWaited("provider", 2.0, "openai", "gpt-4o-mini", "http://box:4000/v1", 600.0)
    there = " waiting for openai/gpt-4o-mini at http://box:4000/v1 to recover from failed calls"
    assert [line[1:] for line in shown(after(recovers), width=120) if there in line] == [f"{there}  9.0 s"]
    told = event_lines(recovers, Meter(), verbose=False)
    assert told == (ScreenLine(f"{there.lstrip()}, 10 min 00 s at most"),)
    assert (
        describe_wait(recovers._replace(base_url="", model=None)) == "waiting for openai to recover from failed calls"
    )
    holds = CallWaited("holds", 0.1, "openai", "gpt-4o-mini", at_most_s=60.0)
    assert any("waiting for holds of other runs to end" in line for line in shown(after(holds)))
    assert event_lines(holds, Meter(), verbose=False) == (
        ScreenLine("waiting for holds of other runs to end, 1 min 00 s at most"),
    )


def test_live_view_shows_agent_model_task_and_cost() -> None:
    meter = after(
        TurnStarted(1),
        ContextMeasured(2, 3120, 8000),
        CallHeld("a", "openai", "gpt-4o-mini", 3000, 4096, 40_000_000, 7096),
        CallSent("a"),
        AnswerStreamed("I will look at\nthe containers."),
    )
    assert shown(meter) == [
        "─" * 80,
        "restart web",
        "docker · openai/gpt-4o-mini (key OPENAI_API_KEY) · turn 1",
        "",
        "  I will look at",
        "  the containers.",
        "",
        "◑ gpt-4o-mini is answering  5.0 s",
        "",
        "task     $0 of $0.50     " + "╍" * 4 + "─" * 45 + "   0 %",
        "hour     $1.21 of $10    " + "━" * 6 + "╍" + "─" * 42 + "  12 %",
        "tokens   0 of 100,000    " + "─" * 49 + "   0 %",
        "context  3,120 of 8,000  " + "━" * 20 + "─" * 29 + "  39 %",
        "0 in · 0 out · 10.0 s · $0.04 held",
    ]


def test_money_in_doubt_and_the_rate_of_spending_are_shown() -> None:
    meter = after(
        CallSent("a"),
        CallSettled("a", Usage(5000, 200, 1024), 60_000_000),
        CallSent("b"),
        CallDoubted("b", 40_000_000, 900, "cut"),
        LimitsMeasured((TASK, HOUR, TOKENS)),
    )
    assert shown(meter)[-1] == "5,000 in (1,024 cached) · 200 out · 10.0 s · $0.60/min · $0.04 in doubt"
    assert next((gauge.name, gauge.used) for gauge in usage_bars(meter)) == ("task", 100_000_000)


def test_the_bars_turn_yellow_at_80_percent_and_red_near_the_end() -> None:
    def style(used: int) -> str | None:
        return usage_bars(after(LimitsMeasured((LimitUse("max_cost_per_task", "nano_usd", 100, used),))))[0].style

    assert [style(used) for used in (0, 79, 80, 94, 95, 200)] == ["green", "green", "yellow", "yellow", "red", "red"]


def test_running_tools_are_shown_with_their_time_and_go_when_they_end() -> None:
    other = ToolCall("2", "docker_images", {})
    both = after(ToolStarted(PS), ToolStarted(other))
    assert [row for row in shown(both) if "docker_" in row] == [
        "◑ docker_ps(all=true)  9.0 s",
        "◑ docker_images()  8.0 s",
    ]
    one = follow(both, Record("r", 9, AT, ToolFinished(PS, "x", 1.0)))
    assert [row for row in shown(one) if "docker_" in row] == ["◑ docker_images()  8.0 s"]


def test_many_tools_at_once_are_counted() -> None:
    busy = after(*(ToolStarted(ToolCall(f"{n}", f"tool_{n}", {})) for n in range(9)))
    assert "  and 6 more" in shown(busy)


def test_provider_without_a_model_shows_no_money_no_tokens_and_no_context() -> None:
    builtin = STARTED._replace(metered=False, provider="builtin", model=None)
    meter = after(ToolStarted(PS), first=builtin)
    assert shown(meter) == ["◑ docker_ps(all=true)  9.0 s"]


def test_a_low_window_keeps_the_figures_and_a_wide_one_puts_two_side_by_side() -> None:
    meter = after(TurnStarted(1), ContextMeasured(2, 100, 8000), ToolStarted(PS))
    assert shown(meter, height=4)[-2].startswith("task $0 of $0.50 · hour $1.21 of $10 · tokens 0 of 100,000")
    wide = shown(meter, width=140)
    assert [row for row in wide if row.startswith("task") and "hour" in row]


@pytest.mark.parametrize("width", [60, 80, 95, 96, 100, 140, 200, 300])
def test_live_view_uses_the_whole_width(width: int) -> None:
    meter = after(TurnStarted(1), ContextMeasured(2, 100, 8000), CallSent("a"), AnswerStreamed("word " * 200))
    rows = shown(meter, width=width)
    answer = [row for row in rows if row.startswith("  word")]
    assert all(width - 5 <= len(row) <= width for row in answer[:-1])
    assert {len(row) for row in rows if row.startswith(("task", "tokens", "─"))} == {width}


def test_live_view_gives_a_third_of_a_high_terminal_to_the_answer() -> None:
    meter = after(TurnStarted(1), CallSent("a"), AnswerStreamed("line\n" * 100))
    assert [shown(meter, height=height).count("  line") for height in (24, 60)] == [8, 20]


def test_answer_that_begins_anew_replaces_what_was_streamed() -> None:
    meter = after(CallSent("a"), AnswerStreamed("The user wants", "unsure"), AnswerStreamed("It says", "restart"))
    assert meter.answer == "It says"


def test_cut_stream_stays_inside_its_code_fence() -> None:
    meter = after(AnswerStreamed("```sh\n" + "echo one\n" * 2_000))
    assert meter.answer.startswith("```sh\necho one\n")
    assert MOST_STREAMED - 400 <= len(meter.answer) <= MOST_STREAMED + 400
    closed = follow(meter, Record("r", 1, AT, AnswerStreamed("```\n" + "word\n" * 4_000)))
    assert closed.answer.startswith("word\n")


def test_the_streamed_answer_is_kept_within_bounds_and_cleared_for_the_next() -> None:
    long = after(*(AnswerStreamed("x" * 1000) for _ in range(100)))
    assert len(long.answer) == MOST_STREAMED
    assert follow(long, Record("r", 1, AT, CallSent("b"))).answer == ""


HOSTILE = st.text(st.characters() | st.sampled_from("\x1b\n\t\u202e界👩\ufe0f\u0301 "), max_size=200)
NUMBERS = st.integers(0, 10**12)
CALLS = st.builds(ToolCall, st.sampled_from("abc"), HOSTILE, st.dictionaries(HOSTILE, HOSTILE, max_size=2))
IDS = st.sampled_from("abc")
USES = st.builds(
    LimitUse,
    st.sampled_from(["max_cost_per_task", "max_cost_per_hour", "max_tokens_per_task"]),
    st.sampled_from(["nano_usd", "tokens"]),
    st.none() | NUMBERS,
    NUMBERS,
)
USAGE = st.builds(Usage, NUMBERS, NUMBERS, NUMBERS)
EVENTS = st.lists(
    st.one_of(
        st.builds(TurnStarted, NUMBERS),
        st.builds(ContextMeasured, NUMBERS, NUMBERS, NUMBERS),
        st.builds(CallHeld, IDS, HOSTILE, st.none() | HOSTILE, NUMBERS, NUMBERS, st.none() | NUMBERS, NUMBERS),
        st.builds(CallSent, IDS),
        st.builds(CallSettled, IDS, USAGE, st.none() | NUMBERS),
        st.builds(CallVoided, IDS, HOSTILE),
        st.builds(CallDoubted, IDS, st.none() | NUMBERS, NUMBERS, HOSTILE),
        st.builds(CallRetried, IDS, HOSTILE, st.floats(0, 100)),
        st.builds(LimitsMeasured, st.lists(USES, max_size=3).map(tuple)),
        st.builds(AnswerStreamed, HOSTILE),
        st.builds(ModelAnswered, NUMBERS, HOSTILE, st.just(()), st.just("stop"), st.none() | HOSTILE),
        st.builds(ApprovalAsked, CALLS, HOSTILE, HOSTILE, HOSTILE),
        st.builds(ToolStarted, CALLS),
        st.builds(ToolFinished, CALLS, HOSTILE, st.floats(0, 100)),
    ),
    max_size=12,
)


@given(EVENTS, HOSTILE, st.booleans(), st.integers(1, 200), st.integers(1, 60))
def test_rows_fit_the_width_and_the_height_of_the_terminal(
    events: list[Event], text: str, metered: bool, width: int, height: int
) -> None:
    first = STARTED._replace(task=text, model=text, provider_chosen_by=text, metered=metered)
    found = shown(after(*events, first=first), width=width, height=height)
    assert len(found) <= height
    assert all(cell_width(row) <= width and safe_text(row) == row and "\n" not in row for row in found)


@given(EVENTS)
def test_held_amount_is_the_sum_of_open_calls(events: list[Event]) -> None:
    meter = after(*events)
    still = [attempt.held_nano or 0 for attempt in meter.attempts if attempt.state in ("held", "sent")]
    assert meter.held_nano == sum(still)


@given(HOSTILE, st.integers(2, 60))
@example("00\x08\xa0", 2)
def test_wrapping_loses_nothing_but_spaces(text: str, width: int) -> None:
    text = text.replace("\t", " ")
    assert "".join(wrap(text, width, at_spaces=False)) == text.replace("\n", "")
    at_spaces = list(wrap(text, width))
    assert "".join("".join(at_spaces).split()) == "".join(text.split())
    assert all(cell_width(row) <= width for row in at_spaces)


@given(HOSTILE, st.integers(0, 60))
def test_a_cut_line_fits(text: str, width: int) -> None:
    assert cell_width(truncate(text, width)) <= width


def test_a_long_wait_for_an_answer_is_one_for_its_first_token() -> None:
    asking = after(CallHeld("a", "openai", "gpt-4o-mini", 1, 1, 1, 2), CallSent("a"))
    assert any("waiting for gpt-4o-mini  5.0 s" in line for line in shown(asking, seconds=7))
    assert any("waiting for the first token, 1 min 10 s" in line for line in shown(asking, seconds=72))
    narrow = shown(asking, seconds=72, width=30)
    assert all(len(line) <= 30 for line in narrow)
