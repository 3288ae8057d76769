"""The last answer: its reserve, its request, and the notes where there is no room for one."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.budget.input_bound import plain_bound
from agentctl.budget.last_answer import BudgetNotices, LastAnswerPlanner, last_request, summarize_findings
from agentctl.budget.output_range import OutputRange
from agentctl.budget.rules import AnswerReserve
from agentctl.context.digest import Digest
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Message, Request, ToolCall, Usage
from agentctl.core.pricing import ModelFacts, Price, worst_nano
from agentctl.core.results import LimitUse

PRICE = Price(Decimal("2.5"), Decimal(10))
FACTS = ModelFacts("p", "m", PRICE, context_window=128_000, output_ceiling=16_384)
SYSTEM, TASK = Message("system", "Be brief."), Message("user", "Why is it slow?")


def turn(number: int, result: str) -> tuple[Message, ...]:
    asked = ToolCall(f"call-{number}", "read_file", {"path": f"log.{number}"})
    return Message("assistant", f"Looking at {number}.", (asked,)), Message("tool", result, tool_call_id=asked.id)


def closing(facts: ModelFacts = FACTS, **limits: object) -> LastAnswerPlanner:
    return LastAnswerPlanner(facts=facts, limits=CostLimit(**limits), wanted=OutputRange(256, 4096))  # type: ignore[arg-type]


texts = st.text(max_size=2_000) | st.text(alphabet='\ufdfa\ud800é\n"x', max_size=400)
conversations = st.lists(texts, min_size=1, max_size=12).map(
    lambda results: (SYSTEM, TASK, *(message for at, text in enumerate(results) for message in turn(at, text)))
)


@given(conversations, st.integers(0, 40_000))
def test_the_last_request_keeps_within_its_bound_and_says_the_task(messages: tuple[Message, ...], most: int) -> None:
    request = last_request(messages, most=most)
    if request is None:
        return
    assert plain_bound(Request(None, request)) <= most
    assert [message.role for message in request] == ["system", "user"]
    assert request[1].text.startswith("Task: Why is it slow?\n\nNotes:\n")
    assert not any(message.tool_calls for message in request)


def test_reserve_has_room_for_the_notes_on_the_cut() -> None:
    told = Digest(40, (), "Line 17 of log 3 tells of it. " * 40).text(500)
    messages = (SYSTEM, replace(TASK, text=TASK.text + told), *turn(1, "alpha " * 200), *turn(2, "omega " * 200))
    kept = closing(max_cost_per_task=50).plan_reserve(messages)
    request = last_request(messages, most=kept.input_bound)
    assert request is not None
    assert all(words in request[1].text for words in ("alpha " * 200, "omega " * 200, "Line 17 of log 3"))


def test_last_request_has_everything_that_fits_or_the_newest() -> None:
    messages = (SYSTEM, TASK, *turn(1, "alpha " * 200), *turn(2, "omega " * 200))
    whole = last_request(messages, most=20_000)
    assert whole is not None
    assert "alpha " * 200 in whole[1].text
    assert "omega " * 200 in whole[1].text
    between = (message for at in range(3, 9) for message in turn(at, "beta " * 200))
    cut = last_request((SYSTEM, TASK, *turn(1, "alpha " * 200), *between, *turn(2, "omega " * 200)), most=5_500)
    assert cut is not None
    assert "omega " * 50 in cut[1].text
    assert "alpha " * 20 not in cut[1].text
    assert 'read_file(path="log.1") -> alpha' in cut[1].text
    assert last_request(messages, most=1_800) is None


@given(conversations, st.integers(1, 2_000), st.integers(100, 200_000), st.integers(0, 8_000), st.integers(0, 2_000))
def test_reserve_is_at_most_an_eighth_of_each_limit_and_fits_the_dearest_call(
    messages: tuple[Message, ...], cents: int, tokens: int, most_in: int, most_out: int
) -> None:
    dollars = Decimal(cents) / 100
    end = closing(max_cost_per_task=dollars, max_tokens_per_task=tokens)
    end.record(Usage(most_in, 3))
    end.record(Usage(7, most_out))
    kept = end.plan_reserve(messages)
    if kept == AnswerReserve(0, 0):
        return
    assert worst_nano(PRICE, input_tokens=kept.input_bound, output_tokens=kept.output) * 8 <= dollars * 10**9
    assert (kept.input_bound + kept.output) * 8 <= tokens
    assert kept.input_bound >= most_in
    assert kept.output >= max(256, most_out)


def test_run_whose_calls_take_more_than_an_eighth_reserves_nothing() -> None:
    messages = (SYSTEM, TASK, *turn(1, "idle"))
    end = closing(max_cost_per_task=Decimal("0.10"))
    assert end.plan_reserve(messages).output == 256
    end.record(Usage(4_000, 1_000))
    assert end.plan_reserve(messages) == AnswerReserve(0, 0)
    assert end.compose_request(messages) is None


def test_reserve_covers_the_largest_call_so_far_or_is_empty() -> None:
    messages = (SYSTEM, TASK, *turn(1, "idle"))
    end = closing(max_cost_per_task=Decimal(1), max_tokens_per_task=None)
    small = end.plan_reserve(messages)
    assert small.input_bound < 9_000
    end.record(Usage(9_000, 700))
    assert end.plan_reserve(messages) == AnswerReserve(9_000, 700)
    end.record(Usage(60_000, 700))
    assert end.plan_reserve(messages) == AnswerReserve(0, 0)


def test_reserve_without_a_binding_limit_covers_the_whole_conversation() -> None:
    messages = (SYSTEM, TASK, *turn(1, "x" * 30_000))
    end = closing(max_cost_per_task=Decimal(100), max_cost_per_hour=None, max_tokens_per_task=None)
    request = end.compose_request(messages)
    assert request is not None
    assert "x" * 30_000 in request[1].text


def test_notes_have_a_line_for_each_call_and_none_without_calls() -> None:
    assert summarize_findings((SYSTEM, TASK)) == ""
    assert summarize_findings((SYSTEM, TASK, *turn(1, "slow disk"))) == '- read_file(path="log.1") -> slow disk'
    table = "\n".join(f"row {at}" for at in range(20))
    assert summarize_findings((SYSTEM, TASK, *turn(1, table))).splitlines() == [
        '- read_file(path="log.1") -> row 0',
        "",
        *(f"row {at}" for at in range(12)),
        "… 8 more lines",
    ]
    many = (SYSTEM, TASK, *(message for at in range(20) for message in turn(at, f"line {at}")))
    lines = summarize_findings(many).splitlines()
    assert lines[0] == "- … 8 earlier calls"
    assert (len(lines), lines[-1]) == (13, '- read_file(path="log.19") -> line 19')


def use(used: int, name: str = "max_cost_per_task", unit: str = "nano_usd") -> LimitUse:
    return LimitUse(name, unit, 500_000_000, used)  # type: ignore[arg-type]


def test_budget_notices_come_once_at_half_and_once_at_four_fifths() -> None:
    left = BudgetNotices()
    assert left.notice([use(249_999_999)]) == ""
    assert left.notice([use(250_000_000)]) == (
        "[Budget: 50 % of max_cost_per_task is used, $0.25 of $0.50; $0.25 left. Plan for what is left of it.]"
    )
    assert left.notice([use(399_999_999)]) == ""
    assert left.notice([use(400_000_000)]).startswith("[Budget: 80 % of max_cost_per_task is used, $0.40 of $0.50; ")
    assert left.notice([use(500_000_000)]) == ""


@pytest.mark.parametrize("used", [0, 600_000_000])
def test_limits_of_calls_and_unset_limits_give_no_notice(used: int) -> None:
    silent = LimitUse("max_cost_per_day", "nano_usd", None, used)
    assert BudgetNotices().notice([silent, use(used, "max_calls_per_minute", "calls")]) == ""
