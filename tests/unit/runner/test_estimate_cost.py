"""The cost range of a run: the floor is one call, the ceiling the rest of the limits."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from agentctl.budget.rules import Amounts, Ask, LimitState, WorstCase, judge
from agentctl.core.pricing import FREE, ModelFacts, Price
from agentctl.runner.estimate import Cost, cost_of, remaining_of
from tests.support.ledger.parts import DOLLAR

FACTS = ModelFacts("p", "m", Price(Decimal(1), Decimal(3)))
TASK = LimitState("max_cost_per_task", "nano_usd", DOLLAR // 2, Amounts())
HOUR = LimitState("max_cost_per_hour", "nano_usd", 10 * DOLLAR, Amounts(9 * DOLLAR, 400_000_000, 500_000_000))
TOKENS = LimitState("max_tokens_per_task", "tokens", 1_000_000, Amounts())


def test_the_floor_is_one_call_and_the_ceiling_the_least_that_is_left() -> None:
    assert cost_of(FACTS, (TASK, TOKENS), likely=1000, least=256) == Cost(1_768_000, DOLLAR // 2, "max_cost_per_task")
    assert cost_of(FACTS, (TASK, HOUR), likely=0, least=0) == Cost(0, 100_000_000, "max_cost_per_hour")


def test_token_limit_bounds_the_cost_at_the_dearest_price() -> None:
    few = TOKENS._replace(ceiling=1000)
    assert cost_of(FACTS, (TASK, few), likely=1, least=1).ceiling == 3_000_000
    dear = replace(FACTS, price=Price(Decimal(1), Decimal(3), reasoning=Decimal(7)))
    assert cost_of(dear, (TASK, few), likely=1, least=1) == Cost(4000, 7_000_000, "max_tokens_per_task")


def test_rolling_window_shorter_than_a_run_is_not_a_ceiling() -> None:
    minute = LimitState("max_cost_per_minute", "nano_usd", 1000, Amounts())
    calls = LimitState("max_calls_per_minute", "calls", 1, Amounts())
    month = LimitState("max_cost_per_month", "nano_usd", 2000, Amounts(500))
    assert cost_of(FACTS, (TASK, minute, calls), likely=1, least=1).ceiling_by == "max_cost_per_task"
    assert cost_of(FACTS, (TASK, minute, month), likely=1, least=1) == Cost(4000, 1500, "max_cost_per_month")


def test_free_model_costs_nothing_and_an_unknown_price_is_not_free() -> None:
    rooms = (TASK, HOUR, TOKENS)
    assert cost_of(replace(FACTS, price=FREE), rooms, likely=1000, least=256) == Cost(0, 0)
    assert cost_of(replace(FACTS, metered=False, price=None), rooms, likely=0, least=0) == Cost(0, 0)
    none = tuple(room._replace(ceiling=None) for room in rooms)
    assert cost_of(replace(FACTS, price=None), none, likely=1000, least=256) == Cost(None, None)
    assert cost_of(FACTS, none, likely=1000, least=256) == Cost(1_768_000, None)


def test_exceeded_limit_leaves_zero_and_not_less() -> None:
    assert remaining_of(HOUR._replace(ceiling=1)) == 0
    assert remaining_of(HOUR._replace(ceiling=None)) is None


@given(st.integers(0, 10**6), st.integers(0, 10**7), st.integers(1, 10**5), st.integers(1, 300))
def test_permitted_call_costs_no_more_than_the_ceiling(spent: int, tokens: int, bound: int, price: int) -> None:
    facts = replace(FACTS, price=Price(Decimal(price) / 7, Decimal(price)))
    rooms = (TASK._replace(amounts=Amounts(spent * 1000)), TOKENS._replace(ceiling=tokens))
    asked = Ask("a", "r", facts, input_bound=bound, least=256, most=4096, hour_limit_nano=None)
    answer = judge(asked, rooms)
    ceiling = cost_of(facts, rooms, likely=bound, least=256).ceiling
    if isinstance(answer, WorstCase):
        assert answer.nano is not None
        assert ceiling is not None
        assert answer.nano <= ceiling
