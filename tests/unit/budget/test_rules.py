"""Grant and verdict: a permitted call never breaks a ceiling, and a refusal is always necessary."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given

from agentctl.budget.output_range import OutputRange, choose_output
from agentctl.budget.rules import Amounts, Ask, LimitState, Wait, WorstCase, is_warning_due, judge, worst_case
from agentctl.core.errors import UsageError, Verdict
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Usage
from agentctl.core.pricing import FREE, ModelFacts, Price, contradiction
from tests.support.limit_states import limit_states

FACTS = ModelFacts("p", "m", Price(Decimal(2), Decimal(10)), context_window=100_000, output_ceiling=8_000)
ASK = Ask("a", "r", FACTS, input_bound=1_000, least=256, most=4_096, hour_limit_nano=None)


def fits(room: LimitState, worst: WorstCase, *, but: int = 0) -> bool:
    """Return, independently of the code, whether ``worst`` stays within ``room``."""
    own = worst.tokens if room.unit == "tokens" else worst.nano or 0
    return room.ceiling is None or room.amounts.total - but + own <= room.ceiling


@given(limit_states())
def test_a_call_let_through_never_breaks_a_ceiling(rooms: tuple[LimitState, ...]) -> None:
    answer = judge(ASK, rooms)
    if isinstance(answer, WorstCase):
        assert ASK.least <= answer.output <= ASK.most
        assert all(fits(room, answer) for room in rooms)


@given(limit_states())
def test_refusals_happen_only_when_needed(rooms: tuple[LimitState, ...]) -> None:
    answer, least = judge(ASK, rooms), worst_case(ASK, ASK.least)
    crowded = any(not fits(room, least, but=-room.queued) for room in rooms)
    doubted = any(r.ceiling and r.amounts.in_doubt * 2 >= r.ceiling and r.limit != "max_cost_per_hour" for r in rooms)
    if isinstance(answer, WorstCase):
        return
    assert crowded or doubted
    if isinstance(answer, Wait):
        assert all(fits(room, least, but=room.movable) for room in rooms)
    elif not doubted:
        assert any(not fits(room, least, but=room.movable) for room in rooms)


@given(limit_states())
def test_the_grant_is_the_most_that_fits(rooms: tuple[LimitState, ...]) -> None:
    answer = judge(ASK, rooms)
    if isinstance(answer, WorstCase) and answer.output < ASK.most:
        more = worst_case(ASK, answer.output + 1)
        assert any(not fits(room, more, but=-room.queued) for room in rooms)


def room(ceiling: int | None, **stands: int) -> LimitState:
    return LimitState("max_cost_per_task", "nano_usd", ceiling, Amounts(**stands))


def test_a_hold_at_the_models_ceiling_may_reach_a_limit_exactly() -> None:
    worst = worst_case(ASK, ASK.most, at_ceiling=True)
    assert worst.nano is not None
    assert judge(ASK, (room(worst.nano),), at_ceiling=True) == worst
    assert isinstance(judge(ASK, (room(worst.nano - 1),), at_ceiling=True), Verdict)


def test_a_call_waits_where_the_holds_of_others_leave_exactly_the_least() -> None:
    least = worst_case(ASK, ASK.least).nano or 0
    held = room(least, held=1)._replace(movable=1)
    assert isinstance(judge(ASK, (held,)), Wait)
    assert isinstance(judge(ASK, (held._replace(ceiling=least - 1),)), Verdict)


def test_a_limit_may_be_reached_exactly_and_not_passed_by_one() -> None:
    least = worst_case(ASK, ASK.least).nano or 0
    assert judge(ASK, (room(least),)) == worst_case(ASK, ASK.least)
    refused = judge(ASK, (room(least - 1),))
    assert isinstance(refused, Verdict)
    assert (refused.ceiling, refused.would_be) == (least - 1, least)


def test_holds_that_will_move_are_waited_for_and_kept_ones_are_not() -> None:
    full = room(20_000_000, held=19_000_000)
    assert isinstance(judge(ASK, (full._replace(movable=19_000_000),)), Wait)
    assert isinstance(judge(ASK, (full,)), Verdict)


def test_refusal_names_doubt_as_the_cause_when_it_is() -> None:
    in_the_way = judge(ASK, (room(20_000_000, spent=10_500_000, in_doubt=9_000_000),))
    half = judge(ASK, (room(20_000_000, in_doubt=10_000_000),))
    spent = judge(ASK, (room(20_000_000, spent=19_000_000, in_doubt=500_000),))
    assert [v.doubtful for v in (in_the_way, half, spent) if isinstance(v, Verdict)] == [True, True, False]


def test_token_limit_binds_a_free_model() -> None:
    free = ASK._replace(facts=replace(FACTS, price=FREE))
    tokens = LimitState("max_tokens_per_task", "tokens", 1_300, Amounts())
    assert judge(free, (room(0), tokens)) == WorstCase(300, 0, 1_300)
    assert isinstance(judge(free, (room(0), tokens._replace(ceiling=1_255))), Verdict)


def test_reasoning_is_bound_at_its_own_price_where_that_is_dearer() -> None:
    dear = ASK._replace(facts=replace(FACTS, price=Price(Decimal(2), Decimal(10), reasoning=Decimal(40))))
    assert judge(dear, (room(None),)) == WorstCase(4_096, 1_000 * 2_000 + 4_096 * 40_000, 5_096)


def test_a_model_that_broke_its_clamp_is_held_at_its_ceilings() -> None:
    worst = judge(ASK, (room(None),), at_ceiling=True)
    assert worst == WorstCase(4_096, 100_000 * 2_000 + 8_000 * 10_000, 108_000)
    assert isinstance(judge(ASK, (room(279_999_999),), at_ceiling=True), Verdict)


def test_the_output_range_stays_within_the_models_ceiling() -> None:
    assert choose_output(FACTS) == OutputRange(256, 4_096)
    assert choose_output(replace(FACTS, output_ceiling=100)) == OutputRange(100, 100)
    assert choose_output(replace(FACTS, reasoning=True, output_ceiling=None)) == OutputRange(2_048, 16_384)
    assert choose_output(replace(FACTS, thinking_budget=8_000, least_thinking_budget=1_024)) == OutputRange(
        1_280, 4_096
    )


@pytest.mark.parametrize(
    "usage",
    [
        Usage(0, 5),
        Usage(5, 0),
        Usage(-1, 5),
        Usage(5, -1),
        Usage(True, 5),
        Usage(5, 2.0),  # type: ignore[arg-type]
        Usage(5, 5, cached_input_tokens=6),
        Usage(5, 5, reasoning_tokens=6),
    ],
)
def test_usage_that_contradicts_itself_is_not_charged(usage: Usage) -> None:
    assert contradiction(usage, answered=True)


def test_usage_that_does_not_contradict_itself_is_charged_however_large_it_is() -> None:
    assert not contradiction(Usage(5, 5, 2, 3, 5), answered=True)
    assert not contradiction(Usage(5, 0), answered=False)
    assert not contradiction(Usage(10**30, 2**63), answered=True)


def test_the_warning_counts_what_is_spent_and_in_doubt_but_not_holds() -> None:
    assert is_warning_due(Amounts(spent=70, in_doubt=10), 100)
    assert not is_warning_due(Amounts(spent=79, held=21), 100)
    assert not is_warning_due(Amounts(spent=79), None)


@pytest.mark.parametrize("wrong", ["-0.01", "NaN", "Infinity", "1e-12"])
def test_a_limit_is_a_whole_number_of_nano_dollars_from_zero_up(wrong: str) -> None:
    with pytest.raises(UsageError):
        CostLimit(max_cost_per_task=Decimal(wrong))
