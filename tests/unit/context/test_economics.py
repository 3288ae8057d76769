"""The cost and saving of a cut, to the nano-dollar, and when a model's summary is worth its price."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.context.economics import CacheEconomics, CutBalance, CutSize, cut_size
from agentctl.context.tokens import PLAIN
from agentctl.core.events import ContextPruned
from agentctl.core.messages import Completion, Message, ToolSpec, Usage
from agentctl.core.pricing import FREE, ModelFacts, Price, Tier, charge_nano
from agentctl.runner.conversation import Conversation
from agentctl.runner.plan import Plan
from tests.support.context.parts import SYSTEM, TASK, turn
from tests.support.loop import Diary

CLAUDE = Price(Decimal(3), Decimal(15), cached_input=Decimal("0.3"), cache_write=Decimal("3.75"))
GPT = Price(Decimal("2.5"), Decimal(10), cached_input=Decimal("1.25"))
PLAIN_PRICE = Price(Decimal("2.5"), Decimal(10))
CUT = CutSize(before=8_000, after=4_000, again=3_000, fresh=500)
CACHED = Usage(7_500, 100, cached_input_tokens=7_000)


def after(price: Price | None, *usages: Usage | None, most_turns: int = 0) -> CacheEconomics:
    """Return the statistics of a run after its answers."""
    known = CacheEconomics(price=price, most_turns=most_turns)
    for usage in usages:
        known = known.after_answer(usage)
    return known


def test_cut_costs_the_tokens_read_again_and_saves_those_no_longer_sent() -> None:
    assert after(CLAUDE, *[CACHED] * 9).weigh(CUT) == CutBalance(3_000 * 3_450, 4_000 * 300, 9)
    assert after(GPT, *[CACHED] * 9).weigh(CUT) == CutBalance(3_000 * 1_250, 4_000 * 1_250, 9)


def test_cut_without_a_cache_costs_nothing_and_saves_the_full_price() -> None:
    assert after(PLAIN_PRICE, *[CACHED] * 9).weigh(CUT) == CutBalance(0, 4_000 * 2_500, 9)


def test_caching_is_known_from_reports_and_before_the_second_from_the_price() -> None:
    told, silent = CACHED, Usage(7_500, 100)
    assert [after(GPT, *usages).caches for usages in ((), (silent,), (silent, silent), (silent, told, silent))] == [
        True, True, False, True,
    ]  # fmt: skip
    assert after(CLAUDE, silent, Usage(7_500, 100, cache_write_tokens=7_000)).caches
    assert not after(PLAIN_PRICE, told, told).caches
    assert not after(GPT, None, None).caches


def test_a_summary_costs_the_request_before_the_cut_and_what_the_model_writes() -> None:
    known = after(CLAUDE, *[CACHED] * 9)
    more = (known.weigh(CUT._replace(written=500)).cost_nano or 0) - (known.weigh(CUT).cost_nano or 0)
    assert more == charge_nano(CLAUDE, Usage(7_650, 500, cached_input_tokens=7_500))


def test_expected_turns_equal_past_turns_up_to_the_turn_limit() -> None:
    assert [after(GPT, *[CACHED] * n, most_turns=30).turns for n in (0, 5, 15, 25, 30)] == [0, 5, 15, 5, 0]
    assert after(GPT, *[CACHED] * 40).turns == 40


def test_an_unknown_price_has_an_unknown_cost_and_asks_for_no_summary() -> None:
    known = after(None, *[CACHED] * 9)
    assert known.weigh(CUT) == CutBalance(None, None, 9)
    assert not known.summary_pays(CUT._replace(written=500))
    assert not after(FREE, *[CACHED] * 99).summary_pays(CUT._replace(written=500))


@pytest.mark.parametrize(("price", "turns", "pays"), [(GPT, 40, True), (GPT, 4, False), (CLAUDE, 20, False)])
def test_a_summary_is_worth_it_where_turns_are_many_and_small(price: Price, turns: int, pays: bool) -> None:
    assert after(price, *[CACHED] * turns).summary_pays(CUT._replace(written=500)) is pays


@pytest.mark.parametrize(("since", "pays"), [(3, False), (10, True)])
def test_pace_is_measured_since_the_last_cut(since: int, pays: bool) -> None:
    known = after(GPT, *[CACHED] * 40).after_cut(4_000)
    for _ in range(since):  # 4,000 tokens have come since: as many turns away is the next cut
        known = known.after_answer(CACHED)
    assert known.summary_pays(CUT._replace(written=500)) is pays


def test_a_long_request_is_weighed_at_the_price_of_its_tier() -> None:
    tiered = Price(Decimal(1), Decimal(1), tiers=(Tier(5_000, Price(Decimal(2), Decimal(2))),))
    assert after(tiered, *[CACHED] * 9).weigh(CUT).saves_nano == 4_000 * 2_000


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.decimals(0, 1000, places=6), st.integers(2, 500))
def test_a_cut_is_whole_nano_dollars_and_never_negative(gone: int, again: int, unit: Decimal, turns: int) -> None:
    known = after(Price(unit, unit, cached_input=unit / 8, cache_write=unit), *[CACHED] * turns)
    cost, saves, _ = known.weigh(CutSize(gone + again, again, again))
    assert isinstance(cost, int)
    assert isinstance(saves, int)
    assert cost >= 0
    assert saves >= 0


def test_cut_reads_again_only_kept_messages_that_were_sent_before() -> None:
    first, second, third = (turn(number, "x" * 400) for number in range(3))
    before = (SYSTEM, TASK, *first, *second, *third)
    told = Message("user", f"{TASK.text} (cut)")
    cut = cut_size(before, (SYSTEM, told, *second, *third), sent=6, measure=PLAIN, tools_tokens=7)
    assert cut.again == PLAIN.conversation((told, *second))
    assert cut.fresh == PLAIN.conversation(third)
    assert (cut.before - cut.after, cut.before) == (
        PLAIN.conversation((TASK, *first)) - PLAIN.message(told),
        PLAIN.conversation(before) + 7,
    )


async def test_each_cut_is_reported_with_its_dollars() -> None:
    diary, tool = Diary(), (ToolSpec("log", "reads", {}),)
    plan, facts = Plan(max_context_tokens=1_000, keep_user=1, keep_assistant=1), ModelFacts("scripted", "m")
    talk = Conversation(
        prune=lambda *said, **more: plan.fit(facts, *said, **more),
        emit=diary.emit,
        economics=CacheEconomics(price=GPT, most_turns=30),
    )
    for message in (SYSTEM, TASK):
        await talk.add(message)
    for number in range(8):
        await talk.prepare(tool)
        usage = Usage(500, 10, cached_input_tokens=400 if number else 0)
        await talk.learn(Completion(usage=usage), tool)
        for message in turn(number, f"{number}" * 600):
            await talk.add(message)
    (told,) = diary.of(ContextPruned)
    kept = told.tokens_after - PLAIN.beside(tool) - PLAIN.message(SYSTEM) - PLAIN.conversation(turn(5, "5" * 600))
    assert told.saves_nano == (told.tokens_before - told.tokens_after) * 1_250
    assert (told.cost_nano, told.turns) == (kept * 1_250, 6)
