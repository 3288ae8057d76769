"""A summary costs a small part of what is left, or is not sent; its hold is never below its cost."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentctl.budget.input_bound import JOINT, PER_PART, BoundBasis, bound, message_bytes, plain_bound
from agentctl.budget.output_range import OutputRange, choose_summary_output
from agentctl.budget.rules import Amounts, AnswerReserve, Ask, LimitState, WorstCase, judge, worst_case
from agentctl.core.errors import Verdict
from agentctl.core.messages import Completion, Message, Request, ToolCall, Usage
from agentctl.core.pricing import ModelFacts, Price
from tests.support.counting_server import TOOLS, CountingServer, servers, texts
from tests.support.limit_states import limit_states

FACTS = ModelFacts("p", "m", Price(Decimal(2), Decimal(10)), context_window=100_000, output_ceiling=8_000)
ASK = Ask("a", "r", FACTS, input_bound=1_000, least=500, most=500, hour_limit_nano=None, purpose="summary")
ASK = ASK._replace(then=AnswerReserve(800, 256))


@given(limit_states(), st.booleans())
def test_permitted_summary_is_at_most_a_fifth_and_leaves_room_for_the_next_request(
    rooms: tuple[LimitState, ...], at_ceiling: bool
) -> None:
    answer = judge(ASK, rooms, at_ceiling=at_ceiling)
    assert isinstance(answer, (WorstCase, Verdict)), "it never waits"
    if isinstance(answer, Verdict):
        return
    behind = worst_case(ASK._replace(input_bound=800), 256, at_ceiling=at_ceiling)
    for room in rooms:
        if room.ceiling is None:
            continue
        left = room.ceiling - room.amounts.total - room.queued
        own, then = (one.tokens if room.unit == "tokens" else one.nano or 0 for one in (answer, behind))
        assert own <= left // 5
        assert own + then <= left


@pytest.mark.parametrize(("ceiling", "let"), [(5 * 1_500, True), (5 * 1_500 - 1, False)])
def test_summary_of_exactly_a_fifth_is_permitted(ceiling: int, let: bool) -> None:
    room = LimitState("max_tokens_per_task", "tokens", 10_000 + ceiling, Amounts(7_000, 1_000, 2_000))
    assert isinstance(judge(ASK, (room,)), WorstCase) is let


def test_next_request_that_needs_more_than_is_left_forbids_a_summary() -> None:
    room = LimitState("max_tokens_per_task", "tokens", 10_000, Amounts())
    assert isinstance(judge(ASK._replace(then=AnswerReserve(8_244, 256)), (room,)), WorstCase)
    assert isinstance(judge(ASK._replace(then=AnswerReserve(8_245, 256)), (room,)), Verdict)


def test_one_of_five_calls_a_minute_may_be_a_summary() -> None:
    def room(spent: int) -> LimitState:
        return LimitState("max_calls_per_minute", "calls", 10, Amounts(spent))

    assert isinstance(judge(ASK, (room(5),)), WorstCase)
    assert isinstance(judge(ASK, (room(6),)), Verdict)


def test_clamp_is_the_summarys_size_plus_thoughts_of_a_reasoning_model() -> None:
    assert choose_summary_output(FACTS, 500) == OutputRange(500, 500)
    assert choose_summary_output(FACTS, 500, 300) == OutputRange(300, 300)
    assert choose_summary_output(replace(FACTS, reasoning=True), 500) == OutputRange(2_548, 2_548)
    assert choose_summary_output(replace(FACTS, reasoning=True, output_ceiling=2_100), 500) == OutputRange(2_100, 2_100)
    budgeted = replace(FACTS, thinking_budget=4_000, least_thinking_budget=1_024)
    assert choose_summary_output(budgeted, 500) == OutputRange(1_780, 1_780)


@settings(max_examples=60)
@given(servers, st.lists(st.tuples(texts, texts, st.integers(0, 3000)), min_size=1, max_size=5), texts, st.booleans())
def test_true_input_of_a_summary_and_of_later_requests_is_never_above_the_bound(
    server: CountingServer, story: list[tuple[str, str, int]], request: str, fails: bool
) -> None:
    ground = BoundBasis()
    history: tuple[Message, ...] = (Message("system", "You look after machines. " * 500), Message("user", "Why?"))

    def ask(messages: tuple[Message, ...], said: str, thought: int, number: int) -> Completion:
        nonlocal ground
        asked = Request("m", messages, TOOLS)
        truth = server.count(asked)
        assert truth <= bound(asked, ground.known)
        answer = Completion(said, (ToolCall(f"c{number}", "plain", {"all": said}),), model="m")
        usage = Usage(truth, thought + server.tokens(said) + 21)
        ground = ground.without_report() if fails and number < 0 else ground.after(asked, answer, usage)
        return answer

    for number, (said, told, thought) in enumerate(story):
        answer = ask(history, said, thought, number)
        result = Message("tool", told, tool_call_id=f"c{number}")
        if number % 2:
            ask((*history, Message("user", request)), said, thought, -1)
            task = Message("user", f"Why?\n\n[Cut here: {said}]")
            history = (history[0], task, *(*history, answer.as_message(), result)[-2:])
        else:
            history = (*history, answer.as_message(), result)


def test_request_without_the_summarys_answer_is_bounded_by_the_report_before_it() -> None:
    asked = Request("m", (Message("system", "be brief " * 100), Message("user", "list " * 2000)), TOOLS)
    ground = BoundBasis().after(asked, Completion("x" * 4_000, model="m"), Usage(2_500, 1_000))
    more = Message("user", "sum it up")
    summary = replace(asked, messages=(*asked.messages, more))
    assert bound(summary, ground.known) == 2_500 + message_bytes(more) + JOINT + PER_PART
    another = Message("assistant", "another answer")
    with_another = replace(summary, messages=(*asked.messages, another, more))
    assert bound(with_another, ground.known) == bound(summary, ground.known) + message_bytes(another) + PER_PART
    others = (replace(summary, tools=()), replace(summary, model="other"), replace(summary, settings={"stop": "x"}))
    assert [bound(other, ground.known) for other in others] == [plain_bound(other) for other in others]
