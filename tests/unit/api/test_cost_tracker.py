"""The cost tracker: exact prices, exact limits, sums over runs, and the hour shared by all runs."""

from __future__ import annotations

import logging
import re
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl import BuiltinProvider, CostLimit, CostTracker, DockerAgent, ScriptedProvider
from agentctl.budget.input_bound import plain_bound
from agentctl.core.errors import ProviderUnavailable, UsageError
from agentctl.core.messages import Completion, Request, Usage
from agentctl.core.pricing import FREE, ModelFacts, Price, to_nano
from agentctl.providers.catalog import ROUTER, SEARCH
from agentctl.providers.llm_provider import FixedPriceProvider
from agentctl.providers.scripted import Step
from agentctl.runner.assemble import make_provider
from agentctl.settings import ProviderChoice, load_settings
from tests.support.face import COST, PRICED, USED, says


@given(st.floats(0, 999_999, allow_nan=False))
def test_a_float_is_the_amount_that_it_is_written_as_and_no_limit_is_made_larger(amount: float) -> None:
    exact = CostLimit(max_cost_per_task=amount).max_cost_per_task
    assert exact is not None
    assert exact <= Decimal(str(amount))
    assert to_nano(exact) == to_nano(Decimal(str(amount)))


def test_limits_are_exact_from_floats_strings_and_decimals() -> None:
    assert CostLimit(max_cost_per_task=0.1).max_cost_per_task == Decimal("0.1")
    assert CostLimit(max_cost_per_task=0.1 + 0.2).max_cost_per_task == Decimal("0.3")
    assert CostLimit(max_cost_per_task="0.1") == CostLimit(max_cost_per_task=Decimal("0.1"))
    assert CostLimit(max_cost_per_hour=None).max_cost_per_hour is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_cost_per_task": -0.01},
        {"max_cost_per_hour": float("nan")},
        {"max_cost_per_hour": float("inf")},
        {"max_cost_per_task": "much"},
        {"max_cost_per_task": True},
        {"max_tokens_per_task": -1},
        {"max_tokens_per_task": 0.5},
    ],
)
def test_a_wrong_limit_says_which_and_what_to_give(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(UsageError, match=name) as caught:
        CostLimit(**wrong)
    assert "0 or more" in caught.value.hint


@pytest.mark.parametrize("given", [0.03, "0.03", Decimal("0.03")])
def test_prices_are_dollars_per_thousand_tokens_exactly(given: Any) -> None:  # noqa: ANN401
    price = CostTracker(cost_per_1k_input=given, cost_per_1k_output=0.00015).price
    assert price == Price(Decimal(30), Decimal("0.15"), source="CostTracker")
    assert CostTracker(0, 0).price == Price(Decimal(0), Decimal(0), source="CostTracker")
    assert CostTracker().price is None


@pytest.mark.parametrize("wrong", [-0.01, float("nan"), float("inf"), "sNaN", "cheap", True, 30.0, 1e-9, [1]])
def test_a_wrong_price_is_refused_with_the_unit(wrong: Any) -> None:  # noqa: ANN401
    with pytest.raises(UsageError, match="cost_per_1k_output cannot be") as caught:
        CostTracker(0.03, wrong)
    assert caught.value.hint == "pass dollars per 1,000 tokens: 0 (free), or 0.000001 to 1"


def test_price_of_one_direction_alone_is_refused() -> None:
    with pytest.raises(UsageError, match="cost_per_1k_output is missing"):
        CostTracker(cost_per_1k_input=0.03)
    with pytest.raises(UsageError, match="cost_per_1k_input is missing"):
        CostTracker(cost_per_1k_output=0.03)
    with pytest.raises(UsageError, match="limits must be a CostLimit, not 1"):
        CostTracker(limits=1)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="history_file must be a path, not ''"):
        CostTracker(history_file="")


def facts_at(facts: ModelFacts) -> ModelFacts:
    return FixedPriceProvider(ScriptedProvider([], facts=facts), Price(Decimal(1), Decimal(2))).facts


def test_the_price_replaces_what_is_known_unknown_or_free_but_not_what_has_no_tokens() -> None:
    mine = Price(Decimal(1), Decimal(2))
    assert facts_at(ModelFacts("a", "b")).price == mine
    assert facts_at(ModelFacts("a", "b", price=FREE)).price == mine
    assert facts_at(ModelFacts("a", "b", unbounded=SEARCH)).unbounded is None
    assert facts_at(ModelFacts("a", "b", unbounded=ROUTER)).unbounded == ROUTER
    assert FixedPriceProvider(BuiltinProvider(), mine).facts == BuiltinProvider().facts
    assert FixedPriceProvider(BuiltinProvider(), mine).price_of("another") is None
    own = FixedPriceProvider(ScriptedProvider([], facts=ModelFacts("a", "b")), mine)
    assert (own.price_of("b"), own.price_of("b", tier="priority"), own.price_of("another")) == (mine, mine, mine)


def test_a_provider_of_the_settings_gets_the_price_before_it_is_judged() -> None:
    loaded = load_settings(flags={"llm_provider": "anthropic"}, environ={"ANTHROPIC_API_KEY": "sk-0123456789"})
    choice = ProviderChoice("anthropic", "claude-3-sonnet-20240229", "test")
    with pytest.raises(UsageError, match="price of anthropic/claude-3-sonnet-20240229 is unknown"):
        make_provider(loaded, choice, CostLimit())
    price = CostTracker(0.03, 0.06).price
    assert make_provider(loaded, choice, CostLimit(), price=price).facts.price == price


async def test_the_sums_are_over_all_runs_and_the_limits_are_each_runs_own() -> None:
    tracker = CostTracker(limits=CostLimit(max_cost_per_task=0.15))
    agent = DockerAgent(ScriptedProvider([says("a"), says("b"), says("c")], facts=PRICED), tracker)
    for task in ("one", "two", "three"):
        assert (await agent.execute_async(task)).status == "done"
    assert tracker.cost == Decimal(3 * COST) / 10**9
    assert (tracker.calls, tracker.input_tokens, tracker.output_tokens) == (3, 3000, 300)
    assert [(one.task, one.nano, one.model) for one in tracker.records] == [
        ("one", COST, "priced"),
        ("two", COST, "priced"),
        ("three", COST, "priced"),
    ]
    assert tracker.hourly_cost() == tracker.cost
    assert tracker.summary() == (
        "3 calls · 3,000 tokens in · 300 tokens out · $0.039\nthe last hour, all processes: $0.039 of $10.00"
    )


def test_runs_at_once_add_up() -> None:
    tracker = CostTracker(0.01, 0.03)
    agent = DockerAgent(ScriptedProvider([says("x")] * 8), tracker)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(agent.execute, ["same"] * 8))
    assert [result.cost_nano for result in results] == [COST] * 8
    assert tracker.cost == Decimal(8 * COST) / 10**9
    assert tracker.hourly_cost() == tracker.cost


async def test_the_hour_is_everyones_and_another_ledger_has_another_hour(tmp_path: Path) -> None:
    limits = CostLimit(max_cost_per_hour=0.15)
    await DockerAgent(ScriptedProvider([says("x")], facts=PRICED), CostTracker()).execute_async("someone else's")
    mine = CostTracker(limits=limits)
    assert mine.hourly_cost() == Decimal("0.013")
    apart = CostTracker(limits=limits, ledger=tmp_path / "apart.db")
    assert apart.hourly_cost() == 0
    await DockerAgent(ScriptedProvider([says("x")], facts=PRICED), apart).execute_async("apart")
    assert (tmp_path / "apart.db").exists()
    assert (apart.hourly_cost(), mine.hourly_cost()) == (Decimal("0.013"), Decimal("0.013"))


async def test_amount_in_doubt_is_kept_apart_and_an_unknown_one_is_none() -> None:
    script: list[Step] = [ProviderUnavailable("the answer broke off"), says("whole")]
    tracker = CostTracker()
    result = await DockerAgent(ScriptedProvider(script, facts=PRICED), tracker).execute_async("try")
    assert result.status == "done"
    assert (tracker.calls, tracker.cost) == (2, Decimal("0.013"))
    assert tracker.in_doubt == Decimal(result.in_doubt_nano or 0) / 10**9 > 0
    assert [(one.in_doubt, one.input_tokens) for one in tracker.records] == [(True, None), (False, 1000)]
    assert "in doubt $0." in tracker.summary()
    free_hand = CostLimit(max_cost_per_task=None, max_cost_per_hour=None)
    unknown = CostTracker(limits=free_hand)
    await DockerAgent(ScriptedProvider([says("x")], facts=ModelFacts("a", "b")), unknown).execute_async("try")
    assert (unknown.cost, unknown.calls, unknown.input_tokens) == (None, 1, 1000)
    assert "cost unknown" in unknown.summary()


async def test_a_declared_free_model_is_priced_as_asked() -> None:
    tracker = CostTracker(0.01, 0.03)
    result = await DockerAgent(ScriptedProvider([says("x")]), tracker).execute_async("try")
    assert (result.cost_nano, result.price_source) == (COST, "CostTracker")


async def test_eighty_percent_are_warned_of_in_the_tracker_and_the_log(caplog: pytest.LogCaptureFixture) -> None:
    tracker = CostTracker(limits=CostLimit(max_tokens_per_task=10_000, max_cost_per_hour=None))

    def heavy(request: Request) -> Completion:
        return Completion("heavy", usage=Usage(plain_bound(request), request.max_output_tokens or 0))

    with caplog.at_level(logging.WARNING, "agentctl"):
        await DockerAgent(ScriptedProvider([heavy]), tracker).execute_async("use it all")
    (said,) = tracker.warnings
    assert re.fullmatch(r"max_tokens_per_task: [89],\d+ tokens of 10,000 tokens used \(run \w+\)", said)
    assert said in tracker.summary()
    assert "80 % of max_tokens_per_task is used" in caplog.text


async def test_only_the_last_thousand_calls_are_kept_one_by_one() -> None:
    from datetime import UTC, datetime

    from agentctl.core.events import CallSettled, Record

    tracker = CostTracker()
    for number in range(1003):
        await tracker.observe(Record("run", number, datetime.now(UTC), CallSettled(str(number), USED, COST)))
    assert (len(tracker.records), tracker.calls, tracker.cost) == (1000, 1003, Decimal(1003 * COST) / 10**9)
