"""Output for people: figures, lines, the summary."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.cli.runs.transcript import transcript
from agentctl.cli.ui.format import ceiling, money, painter, plural, seconds
from agentctl.cli.ui.lines import LineLayout, ScreenLine, call_text, event_lines
from agentctl.cli.ui.meter import Meter, MeteredCall, advance
from agentctl.cli.ui.run_table import describe_trip, render_run_table
from agentctl.cli.ui.summary import next_steps, raised_limit, retry_command, round_amounts, summary_line
from agentctl.core.events import (
    ApprovalAsked,
    CallDoubted,
    CallHeld,
    CallSent,
    CallSettled,
    CallVoided,
    ContextPruned,
    Event,
    LimitWarned,
    ModelAnswered,
    Noted,
    RunStarted,
    ToolAllowed,
    ToolDenied,
    ToolFinished,
    TurnStarted,
)
from agentctl.core.messages import ToolCall, Usage
from agentctl.core.results import BreakerInfo, ErrorInfo, LimitUse, RunResult, ToolCount
from tests.support.screen.run_result import AT, HOUR, PLAIN, RESULT

BREAKER = BreakerInfo("max_cost_per_task", "nano_usd", 500_000_000, 470_000_000, 20_000_000, 530_000_000, None, "more")


def shown(event: Event, *, metered: bool = True, verbose: bool = False) -> list[str]:
    meter = advance(Meter(metered=metered), event)
    return [line.render(PLAIN) for line in event_lines(event, meter, verbose=verbose)]


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "$0"),
        (1, "$0.000000001"),
        (31_000, "$0.000031"),
        (12_300_000, "$0.0123"),
        (500_000_000, "$0.50"),
        (999_999_999, "$1.00"),
        (1_210_000_000, "$1.21"),
        (12_345_678_900, "$12.35"),
    ],
)
def test_money_has_only_significant_digits(nano: int, text: str) -> None:
    assert money(nano) == text


@given(st.integers(min_value=1, max_value=10**15))
def test_nonzero_amount_is_never_shown_as_zero(nano: int) -> None:
    shown_usd, usd = Decimal(money(nano).removeprefix("$")), Decimal(nano) / 10**9
    assert shown_usd > 0
    assert abs(shown_usd - usd) <= usd / 10


def test_limits_and_times_read_as_people_write_them() -> None:
    assert [ceiling(nano) for nano in (500_000_000, 10_000_000_000, 1, 0)] == ["$0.50", "$10", "$0.000000001", "$0"]
    assert [seconds(s) for s in (0.04, 4.2, 59.96, 200, 7500)] == [
        "0.0 s",
        "4.2 s",
        "1 min 00 s",
        "3 min 20 s",
        "2 h 05 min",
    ]
    assert [plural(1, "turn"), plural(3, "turn")] == ["1 turn", "3 turns"]


def test_the_summary_is_one_line() -> None:
    assert summary_line(RESULT, PLAIN) == "done · 3 turns · $0.0123 of $0.50 · hour $1.21 of $10 · 4.2 s · run 7f3a90"


def test_the_summary_names_what_is_in_doubt_and_what_is_unknown() -> None:
    doubtful = replace(RESULT, in_doubt_nano=20_000_000, status="unavailable")
    assert summary_line(doubtful, PLAIN).startswith("unavailable · 3 turns · $0.0123 of $0.50 · $0.02 in doubt · hour")
    unknown = replace(RESULT, cost_nano=None, limits=())
    assert summary_line(unknown, PLAIN) == "done · 3 turns · cost unknown · 4.2 s · run 7f3a90"


def test_provider_without_a_model_shows_no_meters() -> None:
    assert summary_line(replace(RESULT, metered=False), PLAIN) == "done · 4.2 s · run 7f3a90"
    assert "$" not in render_run_table(replace(RESULT, metered=False), Meter(metered=False), PLAIN)


def test_trip_line_has_limit_spent_and_next_call() -> None:
    said = "max_cost_per_task is $0.50: $0.47 spent, the next call could make it $0.53"
    assert describe_trip(BREAKER) == said
    assert describe_trip(BREAKER._replace(held=63_000_000)) == said.replace("spent", "spent, $0.063 held")
    finer = BREAKER._replace(spent=470_010_000, would_be=530_010_000)
    assert describe_trip(finer) == "max_cost_per_task is $0.50: $0.4701 spent, the next call could make it $0.5301"
    after = (LimitUse("max_cost_per_task", "nano_usd", 500_000_000, 480_000_000), HOUR)
    assert describe_trip(BREAKER, after) == said.replace("$0.47", "$0.48")
    assert describe_trip(BREAKER._replace(run_id="0a"), after) == said.replace(" is", " of run 0a is")
    tokens = BreakerInfo("max_tokens_per_task", "tokens", 1_500, 1_300, 0, 2_400, None, "more")
    assert describe_trip(tokens) == "max_tokens_per_task is 1,500: 1,300 used, the next call could make it 2,400"


def test_table_of_a_tripped_run_is_dim_and_repeats_no_amount_and_no_run_id() -> None:
    paint = painter("always", terminal=True)
    tripped = replace(RESULT, breaker=BREAKER, limits=(RESULT.limits[0], HOUR._replace(set_by="/srv/app/.env")))
    rows = render_run_table(tripped, Meter(calls=4), paint).split("\n")
    assert rows == [
        "\x1b[2mlimit              ceiling   used\x1b[0m",
        "\x1b[2mmax_cost_per_task                  tripped\x1b[0m",
        "\x1b[2mmax_cost_per_hour      $10  $1.21  12 %, set by /srv/app/.env\x1b[0m",
        "",
        "\x1b[2magent    system\x1b[0m",
        "\x1b[2mshow     agentctl runs show 7f3a90\x1b[0m",
    ]
    assert "\x1b" not in render_run_table(replace(tripped, breaker=None), Meter(calls=4), paint)
    above = replace(tripped, breaker=BREAKER._replace(run_id="0a0b0c"))
    assert "tripped" not in render_run_table(above, Meter(), PLAIN)


def test_summary_below_the_table_repeats_no_amount_of_it() -> None:
    assert summary_line(replace(RESULT, status="budget"), PLAIN, below_table=True) == "budget · 4.2 s · run 7f3a90"
    use = LimitUse("max_cost_per_task", "nano_usd", 10**9, 50_000_000)
    nested = replace(RESULT, status="budget", limits=(use,))
    assert summary_line(nested, PLAIN, below_table=True) == "budget · $0.0377 by nested runs · 4.2 s · run 7f3a90"


def test_summary_is_broken_between_its_parts() -> None:
    assert summary_line(RESULT, PLAIN, width=40).split("\n") == [
        "done · 3 turns · $0.0123 of $0.50",
        "  hour $1.21 of $10 · 4.2 s · run 7f3a90",
    ]


GO_ON = (
    "go on where it stopped (the limit is a total; $0.0123 is used):"
    " agentctl runs resume 7f3a90 --max-cost-per-task 1.00"
)


def tripped(breaker: BreakerInfo, **more: object) -> RunResult:
    error = ErrorInfo("budget", "the message", breaker.hint)
    return replace(RESULT, status="budget", error=error, breaker=breaker, **more)  # type: ignore[arg-type]


def test_next_steps_are_to_raise_the_limit_or_to_wait_for_room() -> None:
    hint = "agentctl run --max-cost 1.00 look   (or wait until 2026-11-22 12:03:00 UTC)"
    command = ["agentctl", "run", "-m", "x", "look"]
    for free_at in (AT + timedelta(minutes=3), AT + timedelta(days=20, microseconds=1)):
        local, today = (free_at + timedelta(microseconds=999_999)).astimezone(), AT.astimezone().date()
        said = f"{local:%H:%M:%S %Z}" if local.date() == today else f"{local:%Y-%m-%d %H:%M:%S %Z}"
        assert next_steps(tripped(BREAKER._replace(hint=hint, free_at=free_at)), command) == [
            "agentctl run -m x look --max-cost-per-task 1.00",
            f"or wait until {said}",
            f"or {GO_ON}",
        ]
    assert next_steps(tripped(BREAKER._replace(hint=hint)), ()) == ["agentctl run --max-cost 1.00 look", f"or {GO_ON}"]


def test_a_resumed_runs_next_step_is_told_once() -> None:
    again = BREAKER._replace(hint="agentctl run --resume 7f3a90 --max-cost 1.00")
    command = ["agentctl", "runs", "resume", "7f3a90"]
    for words in (command, []):
        assert len(next_steps(tripped(again), words)) == 1, words


def test_next_step_names_the_file_that_lowered_the_limit() -> None:
    lowered = BREAKER._replace(hint="max_cost_per_task was lowered to $0.50 by /srv/app/.env: raise it there")
    limits = (RESULT.limits[0]._replace(set_by="/srv/app/.env"), HOUR)
    assert next_steps(tripped(lowered, limits=limits), ["agentctl", "run", "look"]) == [
        "raise max_cost_per_task in /srv/app/.env: that file lowered it",
        f"then {GO_ON}",
    ]


def test_next_step_after_an_overrun_or_another_error_is_its_hint() -> None:
    overrun = BREAKER._replace(hint="check the price", hold=1, charge=2)
    assert next_steps(tripped(overrun), ["agentctl", "run", "look"]) == ["check the price"]
    assert next_steps(replace(RESULT, error=ErrorInfo("auth", "no key", "set it")), ()) == ["set it"]
    assert next_steps(replace(RESULT, error=ErrorInfo("auth", "no key")), ()) == next_steps(RESULT, ()) == []


def test_amounts_of_an_overrun_are_rounded_as_in_the_table() -> None:
    said = "reported $0.031234 for a call with a hold of $0.012345678; max_cost_per_task is $0.002706901"
    rounded = "reported $0.0313 for a call with a hold of $0.0124; max_cost_per_task is $0.002706901"
    assert round_amounts(said) == rounded


def held(id: str, nano: int = 50_000_000) -> CallHeld:
    return CallHeld(id, "scripted", "priced", 1000, 500, nano, 1500)


def test_the_table_has_a_row_for_each_call_and_one_for_all() -> None:
    events: list[Event] = [
        *(held("a"), CallSent("a"), CallSettled("a", Usage(5000, 120, 2048), 12_300_000)),
        *(held("b"), CallVoided("b", "refused")),
        *(held("c"), CallSent("c"), CallDoubted("c", 40_000_000, 1500, "cut")),
        *(held("d"), CallSent("d")),
    ]
    result = replace(RESULT, in_doubt_nano=40_000_000, usage=Usage(5000, 120, 2048))
    table = render_run_table(result, reduce(advance, events, Meter()), PLAIN).split("\n\n")[0]
    assert table.splitlines() == [
        "call  model       in  cached  out     cost   held",
        "1     priced   5,000   2,048  120  $0.0123  $0.05  settled",
        "2     priced                                $0.05  void",
        "3     priced                         $0.04  $0.05  in doubt",
        "4     priced                                $0.05  sent",
        "all   4 calls  5,000   2,048  120  $0.0123         $0.05 still held, $0.04 in doubt",
    ]


def test_a_long_table_shows_the_first_and_the_last_calls_and_says_so() -> None:
    events = [CallSettled(f"{n}", Usage(10, 5), 7) for n in range(1, 101)]
    table = render_run_table(RESULT, reduce(advance, events, Meter()), PLAIN).split("\n\n")[0].splitlines()
    assert len(table) == 1 + 10 + 1 + 10 + 1
    assert [row.split()[0] for row in table[1:-1]] == [*map(str, range(1, 11)), "…", *map(str, range(91, 101))]
    assert "80 more calls" in table[11]


def test_table_names_denied_calls_tools_left_out_and_the_sandbox() -> None:
    result = replace(
        RESULT, denied=("docker_rm",), left_out=("run_shell",), sandbox="bwrap", tools=(ToolCount("f", 3, 1),)
    )
    text = render_run_table(result, Meter(), PLAIN)
    assert "tool  calls  failed\nf         3       1" in text
    assert text.splitlines()[-6:] == [
        "denied   docker_rm",
        "left out run_shell",
        "sandbox  bwrap",
        "agent    system",
        "run      7f3a90c1d2e4",
        "show     agentctl runs show 7f3a90",
    ]


def test_the_line_to_paste_raises_the_limit_that_tripped() -> None:
    assert raised_limit(BREAKER) == "1.00"
    assert raised_limit(BREAKER._replace(ceiling=0, would_be=1)) == "0.01"
    assert raised_limit(BREAKER._replace(unit="tokens", ceiling=1000, would_be=5000)) == "5000"
    assert raised_limit(BREAKER._replace(limit="max_calls_per_minute", unit="calls", ceiling=0, would_be=1)) == "1"
    assert retry_command(["agentctl", "run", "it's"], BREAKER) == """agentctl run 'it'"'"'s' --max-cost-per-task 1.00"""
    for old in (["--max-cost", "0.5"], ["--max-cost=0.5"], ["--max-cost-per-task", "0.5", "--max-cost-per-task=0.4"]):
        again = retry_command(["agentctl", "run", *old, "-m", "x", "look"], BREAKER)
        assert again == "agentctl run -m x look --max-cost-per-task 1.00"
    again = retry_command(["agentctl", "run", "read this: " + "x" * 30_000], BREAKER)
    assert again == "run the task again with --max-cost-per-task 1.00"


def test_the_first_line_says_what_was_chosen_and_by_what() -> None:
    started = RunStarted("t", "docker", "task words", "openai", "key OPENAI_API_KEY", "gpt", True, "/srv", ())
    assert shown(started) == ["openai/gpt · key OPENAI_API_KEY"]
    assert shown(started, verbose=True) == ["openai/gpt · key OPENAI_API_KEY · agent docker (task words) · /srv"]
    assert shown(started._replace(provider="builtin", model=None)) == ["builtin · key OPENAI_API_KEY"]


def test_the_first_line_says_how_many_turns_the_token_limit_has_room_for() -> None:
    tokens = LimitUse("max_tokens_per_task", "tokens", 100_000, 0)
    started = RunStarted("t", "docker", "task words", "openai", "key", "gpt", True, "/srv", (tokens,))
    said = "openai/gpt · key · 100,000 tokens allow about"
    assert shown(started._replace(token_turns=(13, 15))) == [f"{said} 13 to 15 turns with a full context"]
    assert shown(started._replace(token_turns=(1, 1))) == [f"{said} 1 turn with a full context"]


def test_turn_is_one_line_after_the_text_of_the_model() -> None:
    call = ToolCall("1", "docker_ps", {"all": True, "name": "wéb"})
    answered = ModelAnswered(2, "Let me look.\n", (call,), "tool_calls", None)
    assert shown(answered) == ["Let me look.", 'turn 2 · docker_ps(all=true, name="wéb")']
    assert shown(answered, metered=False) == ["Let me look."]
    assert shown(ModelAnswered(3, "The answer", (), "stop", None)) == ["turn 3 · answer"]
    assert shown(ModelAnswered(3, "The answer", (), "stop", None), metered=False) == []


def test_what_a_model_says_before_a_tool_call_stands_behind_a_bar() -> None:
    call = ToolCall("1", "docker_ps", {})
    said, turn = event_lines(ModelAnswered(1, "**web** is\n\n- sick", (call,), "stop", None), Meter(), verbose=False)
    assert [*LineLayout(paint=PLAIN).rows(said, 12)] == ["│ **web** is", "│", "│ - sick"]
    drawn = [*LineLayout(paint=PLAIN, markdown=True).rows(said, 40)]
    assert drawn == ["│ \x1b[1mweb\x1b[0m is", "│", "│ \x1b[1m • \x1b[0msick"]
    assert [*LineLayout(paint=PLAIN).rows(turn, 16)] == ["turn 1 ·", "  docker_ps()"]


def test_wrapped_lines_hang_and_hide_secrets() -> None:
    layout = LineLayout(paint=PLAIN, secrets=("not to be seen",))
    line = ScreenLine("this key is not to be seen\nby anyone here", "yellow", "warning:")
    assert [*layout.rows(line, 24)] == ["warning: this key is", "  [redacted]", "by anyone here"]


def test_foreign_text_is_made_safe() -> None:
    call = ToolCall("1", "x\x1b[2J", {"a": "\x1b]0;title\x07"})
    failed = ToolFinished(call, "", 0.1, ErrorInfo("tool", "bad \x1b[31m"))
    for event in (
        ToolDenied(call, "no\x07"),
        failed,
        Noted("n\x1b", "warning"),
        ModelAnswered(1, "\x9b", (call,), "stop", None),
    ):
        assert all(line.isprintable() for line in shown(event))


def test_long_arguments_are_shortened_on_the_screen() -> None:
    assert len(call_text(ToolCall("1", "f", {"text": "x" * 10_000}))) == 203


def test_warnings_say_both_numbers() -> None:
    use = LimitUse("max_tokens_per_task", "tokens", 100_000, 81_234)
    assert shown(LimitWarned(use)) == ["warning: max_tokens_per_task: 81 % used (81,234 of 100,000)"]
    assert shown(CallDoubted("a", 20_000_000, 100, "the line broke")) == [
        "warning: the cost of a call is unknown (the line broke); $0.02 counts as spent"
    ]


def test_the_meter_is_a_fold_over_the_events() -> None:
    events: list[Event] = [
        TurnStarted(1),
        CallSent("a"),
        CallSettled("a", Usage(10, 5), 7),
        CallSent("b"),
        CallDoubted("b", 3, 20, "cut"),
        ToolFinished(ToolCall("1", "f", {}), "x", 0.1),
        ToolDenied(ToolCall("1", "f", {}), "no"),
    ]
    meter = reduce(advance, events, Meter())
    counted = (meter.turn, meter.calls, meter.tool_calls, meter.denied)
    assert counted == (1, 2, 1, 1)
    assert (meter.cost_nano, meter.in_doubt_nano, meter.tokens, meter.usage) == (7, 3, 35, Usage(10, 5))
    assert meter.attempts == (
        MeteredCall("a", state="settled", usage=Usage(10, 5), nano=7),
        MeteredCall("b", state="in doubt", nano=3),
    )


def test_a_persons_answer_stays_as_one_line() -> None:
    call = ToolCall("1", "docker_restart", {"name": "web"})
    asked = advance(Meter(), ApprovalAsked(call, "write", "why", "rule"))

    def after(event: Event) -> list[str]:
        return [line.render(PLAIN) for line in event_lines(event, advance(asked, event), verbose=False)]

    assert after(ToolAllowed(call, "write", "you")) == ['allowed: docker_restart(name="web") · you']
    assert after(ToolDenied(call, "you said no")) == ['denied: docker_restart(name="web") · you']
    assert shown(ToolAllowed(call, "write", "--yes")) == []
    assert shown(ToolDenied(call, "a rule")) == ['denied: docker_restart(name="web"): a rule']


@pytest.mark.parametrize(("choice", "terminal", "painted"), [("always", False, True), ("auto", True, True)])
def test_paint_follows_the_choice_and_the_terminal(choice: str, terminal: bool, painted: bool) -> None:
    assert ("\x1b[31m" in painter("always" if choice == "always" else "auto", terminal=terminal)("x", "red")) is painted
    assert painter("never", terminal=True)("x", "red") == painter("auto", terminal=False)("x", "red") == "x"


def test_transcript_of_a_run_shows_the_task_and_the_answering_model() -> None:
    call = {"id": "1", "name": "docker_restart", "arguments": {"name": "w\x1beb"}}
    asked = {"event": "approval_asked", "call": call, "effect": "write", "why": "it changes", "rule": "r"}
    told = transcript(
        [
            asked,
            {"event": "tool_allowed", "call": call, "effect": "write", "by": "you"},
            asked,
            {"event": "tool_denied", "call": call, "reason": "you said no"},
            {"event": "tool_allowed", "call": call, "effect": "write", "by": "the rule allow docker_restart"},
            {"event": "run_finished", "result": {"status": "done"}},
        ],
        run_id="r",
    )
    name = '\n> docker_restart(name="w\\u001beb")'
    assert list(told)[:-1] == [
        f"{name}\n  asked: it changes",
        "  allowed: you",
        f"{name}\n  asked: it changes",
        "  denied: you said no",
        f"{name}\n  allowed: the rule allow docker_restart",
    ]


@pytest.mark.parametrize(
    ("gone", "shortened", "said"),
    [
        (2, 0, "2 messages cut"),
        (1, 3, "1 message cut, 3 shortened"),
        (0, 1, "1 message shortened"),
        (0, 0, "0 messages cut"),
    ],
)
def test_cut_is_shown_by_what_it_removed(gone: int, shortened: int, said: str) -> None:
    (line,) = event_lines(ContextPruned(9000, 4000, gone, shortened), Meter(), verbose=False)
    assert line.text == f"context: {said}, about 9,000 tokens to 4,000"
    record = {"event": "context_pruned", "messages_cut": gone, "messages_shortened": shortened}
    assert f"context: {said}" in "\n".join(transcript([record], run_id="7f3a"))


def test_summary_of_a_run_shows_what_its_nested_runs_cost() -> None:
    use = LimitUse("max_cost_per_task", "nano_usd", 10**9, 50_000_000)
    run = replace(RESULT, metered=True, cost_nano=20_000_000, in_doubt_nano=10_000_000, limits=(use,))
    assert "$0.02 of $1 · $0.01 in doubt · $0.02 by nested runs" in summary_line(run, PLAIN)
    assert "nested" not in summary_line(replace(run, in_doubt_nano=30_000_000), PLAIN)
    assert "nested" not in summary_line(replace(run, cost_nano=None), PLAIN)
