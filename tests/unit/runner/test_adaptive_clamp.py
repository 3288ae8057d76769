"""The clamp of a turn follows the output that the run has needed; an answer that it cuts is asked for again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.budget.output_range import OutputRange, choose_output, choose_retry_output, choose_turn_output
from agentctl.core.errors import BudgetExceeded, ProviderUnavailable
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Completion, Message, ToolCall, ToolSpec, Usage
from agentctl.core.pricing import ModelFacts, charge_nano
from agentctl.ledger import SqliteLedger
from agentctl.runner.model_calls import ModelCalls
from tests.support.model_calls import FACTS, HELLO, PRICE, Desk

TOOLS = (ToolSpec("look", "Looks.", {"type": "object"}),)
REASONING = replace(FACTS, reasoning=True, output_ceiling=100_000)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    ledger = SqliteLedger(tmp_path / "ledger.db", pause_s=0.01)
    yield Desk(ledger)
    await ledger.aclose()


def looks(output: int, *, stop: str = "tool_calls") -> Completion:
    calls = (ToolCall("1", "look", {}),) if stop == "tool_calls" else ()
    return Completion("I look", calls, Usage(100, output), "m", stop)  # type: ignore[arg-type]


async def converse(calls: ModelCalls, turns: int) -> Completion:
    """Ask for so many turns; return the last answer."""
    messages: tuple[Message, ...] = HELLO
    for _ in range(turns):
        answer = await calls.ask(messages, TOOLS)
        messages = (*messages, answer.as_message(), Message("tool", "found", tool_call_id="1"))
    return answer


def clamps(desk: Desk) -> list[int | None]:
    return [request.max_output_tokens for request in desk.provider.heard]


async def test_a_turn_asks_for_four_times_the_dearest_output_of_its_run(desk: Desk) -> None:
    calls = await desk.calls(looks(40), looks(500), looks(30), looks(2_000), looks(10))
    await converse(calls, 5)
    assert clamps(desk) == [4_096, 1_024, 2_000, 2_000, 4_096]


async def test_a_turn_of_a_reasoning_model_leaves_room_for_its_thoughts(desk: Desk) -> None:
    calls = await desk.calls(looks(300), looks(2_000), looks(30), facts=REASONING)
    await converse(calls, 3)
    assert clamps(desk) == [16_384, 4_096, 8_000]


async def test_a_turn_of_a_model_that_reports_thoughts_leaves_room_for_them(desk: Desk) -> None:
    thinks = replace(looks(300), usage=Usage(100, 300, reasoning_tokens=200))
    calls = await desk.calls(looks(40), thinks, looks(40))
    await converse(calls, 3)
    assert clamps(desk) == [4_096, 1_024, 4_096]


async def test_an_output_set_by_the_user_stays_the_users(desk: Desk) -> None:
    calls = await desk.calls(looks(40), looks(40), max_output_tokens=3_000)
    await converse(calls, 2)
    assert clamps(desk) == [3_000, 3_000]


async def test_a_request_without_tools_asks_for_the_usual_output(desk: Desk) -> None:
    calls = await desk.calls(looks(40), looks(40, stop="stop"))
    await calls.ask(HELLO, TOOLS)
    await calls.ask(HELLO)
    assert clamps(desk) == [4_096, 4_096]


@pytest.mark.parametrize("needed", [1_025, 3_000, 8_192])
async def test_an_answer_cut_by_the_adapted_clamp_is_never_the_last_word(desk: Desk, needed: int) -> None:
    whole = Completion("the whole", usage=Usage(100, needed), model="m")
    calls = await desk.calls(looks(40), looks(1_024, stop="length"), whole)
    assert await converse(calls, 2) == whole
    assert clamps(desk) == [4_096, 1_024, 8_192]
    paid = sum(charge_nano(PRICE, Usage(100, output)) for output in (40, 1_024, needed))
    assert (calls.cost_nano, (await desk.spend()).run_nano.spent) == (paid, paid)


async def test_cut_answer_is_asked_for_with_double_the_output_where_no_more_fits(desk: Desk) -> None:
    whole = Completion("the whole", usage=Usage(100, 1_500), model="m")
    limits = CostLimit(max_cost_per_task=Decimal("0.054"))  # 4,096 tokens are $0.041, 1,024 of them $0.010
    calls = await desk.calls(looks(40), looks(1_024, stop="length"), whole, limits=limits)
    assert await converse(calls, 2) == whole
    assert clamps(desk)[:2] == [4_096, 1_024]
    assert 2 * 1_024 <= (clamps(desk)[2] or 0) < 8_192


async def test_cut_answer_is_kept_as_partial_where_a_limit_forbids_to_ask_again(desk: Desk) -> None:
    limits = CostLimit(max_cost_per_task=Decimal("0.030"))
    calls = await desk.calls(looks(40), looks(1_024, stop="length"), looks(40), limits=limits)
    with pytest.raises(BudgetExceeded) as caught:
        await converse(calls, 2)
    assert caught.value.partial == "I look"
    assert len(desk.provider.heard) == 2


async def test_output_of_a_cut_answer_counts_for_later_turns(desk: Desk) -> None:
    calls = await desk.calls(looks(40), looks(1_024, stop="length"), looks(1_100), looks(40))
    await converse(calls, 3)
    assert clamps(desk) == [4_096, 1_024, 8_192, 4_096]


async def test_a_probe_that_is_cut_is_asked_for_again_with_any_more(desk: Desk) -> None:
    down = ProviderUnavailable("503")
    probed, whole = Completion("cut", usage=Usage(100, 256), stop="length"), looks(900)
    calls = await desk.calls(looks(40), down, down, probed, whole)
    assert await converse(calls, 2) == whole
    assert clamps(desk) == [4_096, 1_024, 1_024, 256, 8_192]


all_facts = st.builds(
    ModelFacts,
    st.just("p"),
    st.just("m"),
    st.just(PRICE),
    st.just(128_000),
    output_ceiling=st.none() | st.integers(1, 200_000),
    reasoning=st.booleans(),
    thinking_budget=st.none() | st.integers(1_024, 20_000),
    least_thinking_budget=st.none() | st.integers(128, 2_048),
)


@given(all_facts, st.none() | st.integers(1, 50_000), st.none() | st.integers(0, 200_000))
def test_turns_output_range_lies_between_its_floor_and_the_usual_range(
    facts: ModelFacts, own: int | None, dearest: int | None
) -> None:
    usual, wanted = choose_output(facts, own), choose_turn_output(facts, own, dearest)
    assert wanted.least == usual.least <= wanted.most <= usual.most
    floor = max(usual.least, 4_096 if facts.reasoning else 1_024, 4 * (dearest or 0))
    assert wanted.most >= min(usual.most, floor)
    if own is not None or dearest is None:
        assert wanted == usual


@given(all_facts, st.none() | st.integers(1, 50_000), st.none() | st.integers(0, 9_000), st.integers(1, 40_000))
def test_an_answer_gets_as_much_room_as_without_an_adapted_clamp(
    facts: ModelFacts, own: int | None, dearest: int | None, needed: int
) -> None:
    """Without a binding limit the adapted clamp completes every answer that the usual one or its double does."""

    def reach(wanted: OutputRange) -> int:
        again = choose_retry_output(facts, own, wanted=wanted, granted=wanted.most)
        assert again is None or wanted.most < again.least <= again.most
        return wanted.most if needed <= wanted.most or again is None else again.most

    usual, adapted = reach(choose_output(facts, own)), reach(choose_turn_output(facts, own, dearest))
    assert (needed <= adapted) == (needed <= usual)
