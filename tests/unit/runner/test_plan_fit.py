"""A run's plan and the context manager that may be handed in."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from agentctl import ContextManager
from agentctl.context.pruning import prune
from agentctl.context.tokens import PLAIN
from agentctl.core.errors import ContextOverflow
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Message, ToolSpec
from agentctl.core.pricing import FREE, ModelFacts, Price
from agentctl.runner.plan import Plan
from tests.support.context.parts import SYSTEM, TASK, turn

FACTS = ModelFacts("scripted", "large", FREE, context_window=128_000, output_ceiling=500)
SMALL = ModelFacts("scripted", "small", FREE, context_window=2_000, output_ceiling=500)
BUILTIN = ModelFacts("builtin", None, FREE, metered=False)
TOOLS = (ToolSpec("ls", "Lists files.", {"type": "object"}),)
MESSAGES = (SYSTEM, TASK, *(message for n in range(30) for message in turn(n, "x" * 2_000)))


def manager(max_tokens: int = 4_000, keep: int = 2) -> ContextManager:
    return ContextManager(max_tokens, keep, keep, warn=lambda _: None)


def test_settings_numbers_count_without_a_manager() -> None:
    plan = Plan(max_context_tokens=4_000, keep_user=2, keep_assistant=2)
    assert plan.context_limit(FACTS) == 4_000
    assert plan.fit(FACTS, MESSAGES, TOOLS) == prune(
        MESSAGES, max_tokens=4_000, keep_user=2, keep_assistant=2, tools_tokens=PLAIN.schemas(TOOLS)
    )


def test_manager_replaces_the_settings_numbers_and_remembers_its_cuts() -> None:
    given = manager()
    plan = Plan(max_context_tokens=100, context=given)
    fitted = plan.fit(FACTS, MESSAGES, TOOLS)
    assert plan.context_limit(FACTS) == 4_000
    assert fitted == Plan(max_context_tokens=4_000, keep_user=2, keep_assistant=2).fit(FACTS, MESSAGES, TOOLS)
    stats = given.get_context_stats(fitted, TOOLS)
    assert stats["messages_cut"] == len(MESSAGES) - len(fitted)
    assert stats["tokens_saved"] == PLAIN.conversation(MESSAGES) - PLAIN.conversation(fitted)


@pytest.mark.parametrize("plan", [Plan(), Plan(context=manager(8_000))], ids=["settings", "manager"])
def test_request_must_fit_a_smaller_window(plan: Plan) -> None:
    assert plan.context_limit(SMALL) == 1_744  # the least answer has room in the window
    assert PLAIN.conversation(plan.fit(SMALL, MESSAGES, ())) <= 1_744
    with pytest.raises(ContextOverflow) as caught:
        plan.fit(SMALL, (Message("user", "x" * 20_000),), ())
    assert caught.value.message == "the conversation does not fit the 1,744 tokens of small, even when cut"


@pytest.mark.parametrize(
    ("facts", "most", "limit"),
    [
        (replace(SMALL, context_window=8_192), None, 7_936),
        (replace(SMALL, context_window=8_192, output_ceiling=None), 100, 8_000),
        (replace(SMALL, context_window=8_192, output_ceiling=None, reasoning=True), None, 6_144),
        (replace(SMALL, context_window=300), None, 150),
        (replace(SMALL, context_window=None), None, 8_000),
    ],
    ids=["gpt-4", "a short answer will do", "reasoning", "tiny", "unknown"],
)
def test_minimum_answer_has_room_beside_the_request(facts: ModelFacts, most: int | None, limit: int) -> None:
    assert Plan(max_output_tokens=most).context_limit(facts) == limit


GPT = replace(FACTS, provider="openai", model="gpt-4o", price=Price(Decimal("2.5"), Decimal(10)))


@pytest.mark.parametrize(
    ("facts", "plan", "most_turns", "turns"),
    [
        (GPT, Plan(), 30, (13, 15)),
        (GPT, Plan(), 16, (13, 15)),
        (GPT, Plan(), 15, None),
        (FACTS, Plan(max_context_tokens=32_000), 30, (4, 4)),
        (GPT, Plan(cut_to_percent=80), 30, (13, 13)),
        (GPT, Plan(limits=CostLimit(max_tokens_per_task=5_000)), 30, (1, 1)),
        (GPT, Plan(limits=CostLimit(max_tokens_per_task=None)), 30, None),
        (GPT, Plan(limits=CostLimit(max_cost_per_task=Decimal("0.20"))), 30, None),
        (GPT, Plan(limits=CostLimit(max_cost_per_task=None, max_cost_per_hour=Decimal("0.20"))), 30, None),
        (GPT, Plan(limits=CostLimit(max_cost_per_task=None, max_cost_per_hour=None)), 30, (13, 15)),
        (replace(GPT, price=None), Plan(), 30, (13, 15)),
        (BUILTIN, Plan(), 30, None),
    ],
)
def test_token_limit_is_given_in_turns_where_it_stops_a_run_first(
    facts: ModelFacts, plan: Plan, most_turns: int, turns: tuple[int, int] | None
) -> None:
    assert plan.token_turns(facts, most_turns) == turns


def test_window_smaller_than_the_setting_is_reported_in_one_sentence() -> None:
    said = "the window of small is 2,000 tokens: at most 1,744 are sent, not the 8,000 of max_context_tokens"
    assert Plan().window_note(SMALL) == said
    assert Plan(max_context_tokens=2_000).window_note(SMALL) == ""
    assert Plan().window_note(replace(SMALL, context_window=None)) == ""
    assert Plan().window_note(BUILTIN) == ""


def test_request_must_fit_a_lower_limit_learned_from_the_provider() -> None:
    plan = Plan(max_context_tokens=4_000)
    assert 1_500 < PLAIN.conversation(plan.fit(FACTS, MESSAGES, ())) <= 4_000
    assert PLAIN.conversation(plan.fit(FACTS, MESSAGES, (), most=1_000)) <= 1_000
    assert plan.fit(FACTS, MESSAGES, (), most=9_000) == plan.fit(FACTS, MESSAGES, ())


def test_plan_that_cannot_fit_names_the_number_to_raise_in_settings_or_manager() -> None:
    task = (Message("user", "x" * 40_000),)
    with pytest.raises(ContextOverflow) as caught:
        Plan().fit(FACTS, task, ())
    assert caught.value.hint == "raise it: MAX_CONTEXT_TOKENS=21000, or shorten the task"
    with pytest.raises(ContextOverflow) as caught:
        Plan(context=manager()).fit(FACTS, task, ())
    assert caught.value.hint == "raise it: ContextManager(max_tokens=21000), or shorten the task"


def test_provider_without_a_model_has_no_context_limit() -> None:
    assert Plan(context=manager(1)).fit(BUILTIN, MESSAGES, ()) is MESSAGES


def test_no_limit_is_named_that_the_window_of_the_model_does_not_hold() -> None:
    with pytest.raises(ContextOverflow) as caught:
        Plan().fit(FACTS, (Message("user", "x" * 2_000_000),), ())
    assert "MAX_CONTEXT_TOKENS" not in caught.value.hint
    assert caught.value.hint == "choose a model with a larger context window, or shorten the task"
    assert f"{FACTS.context_window:,} tokens of" in caught.value.message
