"""Substitutes are recorded in the ledger, and every later hold covers the dearest price seen there."""

from __future__ import annotations

import random
import string
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agentctl.budget.conclusions import Charge, Settlement, dearest_charge
from agentctl.budget.rules import Ask, Hold
from agentctl.core.errors import UnknownPrice, UsageError
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Completion, Usage
from agentctl.core.pricing import FREE, ModelFacts, Price, PriceOf, no_price, worst_nano
from agentctl.core.substitutes import Substitute, dearest_of
from agentctl.ledger.check import check
from agentctl.ledger.forecast import forecast_first_call
from agentctl.ledger.reconcile import clear_substitutes
from agentctl.ledger.sqlite import ThreadedLedger
from tests.support.ledger.engines import database_at, ledger_at
from tests.support.ledger.parts import HandClock, ask

CHEAP, DEAR = Price(Decimal(0), Decimal(1)), Price(Decimal(1), Decimal(100), source="dear", version="1", digest="d")
FACTS = ModelFacts("p", "asked", CHEAP, context_window=1_000, output_ceiling=500)
USAGE = Usage(10, 20)
NO_DOLLARS = CostLimit(max_cost_per_task=None, max_cost_per_hour=None, max_tokens_per_task=None)


def table(**prices: Price) -> PriceOf:
    """Return what knows these models, and no other."""
    return lambda model, *, tier="": None if tier else prices.get(model)


def wanted(name: str, *, facts: ModelFacts = FACTS, **more: Any) -> Ask:  # noqa: ANN401
    return ask(name, tokens=100, facts=facts, **more)


async def held(ledger: ThreadedLedger, name: str, **more: Any) -> Hold:  # noqa: ANN401
    hold = await ledger.reserve(wanted(name, **more))
    assert isinstance(hold, Hold)
    return hold


async def answer(
    ledger: ThreadedLedger,
    name: str,
    by: str | None,
    *,
    facts: ModelFacts = FACTS,
    price_of: PriceOf = no_price,
    usage: Usage = USAGE,
) -> Settlement:
    """Hold, send and settle a call that ``by`` answers."""
    await held(ledger, name, facts=facts, price_of=price_of)
    assert await ledger.mark_sent(name)
    charge = dearest_charge(usage, Completion(model=by), facts, price_of)
    assert charge is not None
    return await ledger.settle(name, charge)


def worst(*prices: Price) -> int:
    return worst_nano(dearest_of(prices), input_tokens=10, output_tokens=100)


def row(path: Path, name: str, columns: str) -> tuple[Any, ...]:
    with closing(database_at(path)) as db:
        return tuple(db.execute(f"SELECT {columns} FROM attempts WHERE id = ?", (name,)).fetchone())  # noqa: S608


async def test_price_of_a_dearer_answering_model_is_held_from_then_on_in_every_process(
    ledger: ThreadedLedger, path: Path, clock: HandClock
) -> None:
    dear = table(big=DEAR)
    assert (await held(ledger, "before")).nano == worst(CHEAP)
    await answer(ledger, "a", "big", price_of=dear)
    assert (await held(ledger, "b", price_of=dear)).nano == worst(DEAR)
    other = ledger_at(path, clock=clock)
    assert (await held(other, "c")).nano == worst(DEAR)  # it knows no such model: the price that was recorded counts
    await other.aclose()
    assert row(path, "c", "hold_nano, ceiling_nano") == (
        worst(DEAR),
        worst_nano(DEAR, input_tokens=1_000, output_tokens=500),
    )


async def test_a_record_binds_one_model_name_at_one_address_of_one_provider(ledger: ThreadedLedger) -> None:
    await answer(ledger, "a", "big", price_of=table(big=DEAR))
    others = (
        replace(FACTS, provider="q"),
        replace(FACTS, model="m"),
        replace(FACTS, base_url="http://box/v1"),
    )
    for number, other in enumerate(others):
        assert (await held(ledger, f"b{number}", facts=other)).nano == worst(CHEAP)


async def test_hold_takes_the_dearest_class_of_several_models(ledger: ThreadedLedger) -> None:
    wide = Price(Decimal(1000), Decimal(0))
    prices = table(big=DEAR, wide=wide, small=FREE)
    for name in ("big", "wide", "small"):
        await answer(ledger, name, name, price_of=prices)
    assert (await held(ledger, "next", price_of=prices)).nano == worst(CHEAP, DEAR, wide)


async def test_a_release_at_the_asked_price_and_a_cheaper_model_change_no_hold(
    ledger: ThreadedLedger, path: Path
) -> None:
    prices = table(**{"asked-2024-08-06": replace(CHEAP, source="other"), "small": FREE})
    await answer(ledger, "a", "asked-2024-08-06", price_of=prices)
    await answer(ledger, "b", "asked-2099-01-01", price_of=prices)
    assert check(path).substitutes == ()
    await answer(ledger, "c", "small", price_of=prices)
    assert (await held(ledger, "d", price_of=prices)).nano == worst(CHEAP)
    assert [one.answered.model for one in check(path).substitutes] == ["small"]


async def test_a_price_that_changes_in_the_table_is_held_as_it_is_now(ledger: ThreadedLedger) -> None:
    await answer(ledger, "a", "big", price_of=table(big=DEAR))
    dearer = replace(DEAR, output=Decimal(200))
    assert (await held(ledger, "b", price_of=table(big=dearer))).nano == worst(dearer)
    cheaper = replace(DEAR, output=Decimal(50))
    assert (await held(ledger, "c", price_of=table(big=cheaper))).nano == worst(cheaper)


async def test_hold_after_an_answer_of_unknown_price_is_refused_until_it_has_a_price(
    ledger: ThreadedLedger, path: Path
) -> None:
    assert await answer(ledger, "a", "mystery") == Settlement("doubt", worst(CHEAP), 30)
    with pytest.raises(UnknownPrice, match=r"^p/asked was answered by mystery, whose price is unknown") as caught:
        await ledger.reserve(wanted("b"))
    assert caught.value.hint.endswith('[prices."p/mystery"]\ninput = 1.00\noutput = 3.00')
    assert "--max-cost none" in caught.value.hint
    assert row(path, "a", "phase, answered_model, input_tokens, output_tokens, provider_fault, settled_by") == (
        *("doubt", "mystery", 10, 20, 0),
        None,
    )
    assert (await held(ledger, "c", price_of=table(mystery=DEAR))).nano == worst(DEAR)
    found = check(path)
    assert (found.wrong, [one.answered for one in found.substitutes]) == ((), [Substitute("mystery", None)])


async def test_a_name_too_long_for_an_index_is_recorded_and_settled_all_the_same(ledger: ThreadedLedger) -> None:
    name = "".join(random.Random(1).choices(string.ascii_letters, k=9_000))
    assert (await answer(ledger, "a", name)).phase == "doubt"
    with pytest.raises(UnknownPrice, match=name[:200]):
        await held(ledger, "b")


async def test_answer_of_unknown_price_counts_at_the_asked_price_if_that_is_more(
    ledger: ThreadedLedger,
) -> None:
    settled = await answer(ledger, "a", "mystery", usage=Usage(10, 200))
    assert settled == Settlement("doubt", 200_000, 210, overrun=True)
    assert await ledger.settle("a", Charge(Usage(10, 200), 200_000, "asked")) == Settlement(
        "settled", 200_000, 210, overrun=True
    )


async def test_unlimited_calls_after_an_answer_of_unknown_price_have_unknown_costs(
    ledger: ThreadedLedger, path: Path
) -> None:
    await ledger.open_run("free", NO_DOLLARS, task="t", agent="a", labels={})
    first = await ledger.reserve(wanted("a", run="free"))
    assert isinstance(first, Hold)
    assert await ledger.mark_sent("a")
    charge = dearest_charge(USAGE, Completion(model="mystery"), FACTS, no_price)
    assert charge is not None
    assert (await ledger.settle("a", charge)).phase == "doubt"
    hold = await ledger.reserve(wanted("b", run="free"))
    assert isinstance(hold, Hold)
    assert hold.nano is None
    assert await ledger.mark_sent("b")
    assert await ledger.settle("b", charge) == Settlement("settled", None, 30)
    found = check(path)
    assert (found.wrong, dict(found.not_recomputed)) == ((), {"unknown_price": 1})


async def test_free_model_that_a_paid_one_answered_for_is_no_longer_free(ledger: ThreadedLedger) -> None:
    free = replace(FACTS, price=FREE)
    await answer(ledger, "a", "big", facts=free, price_of=table(big=DEAR))
    assert (await held(ledger, "b", facts=free)).nano == worst(DEAR)


async def test_charge_above_its_hold_by_price_alone_stops_but_marks_no_broken_clamp(
    ledger: ThreadedLedger, path: Path
) -> None:
    settled = await answer(ledger, "a", "big", price_of=table(big=DEAR))
    assert (settled.overrun, check(path).overruns) == (True, ())
    assert (await held(ledger, "b")).nano == worst(DEAR)  # and not the model's ceiling
    await ledger.mark_sent("b")
    past = dearest_charge(Usage(10, 101), Completion(model="big"), FACTS, table(big=DEAR))
    assert past is not None
    assert (await ledger.settle("b", past)).overrun
    assert [one.model for one in check(path).overruns] == ["asked"]


async def test_a_record_stands_until_it_is_cleared_and_comes_back_with_the_next_answer(
    ledger: ThreadedLedger, path: Path
) -> None:
    dear = table(big=DEAR)
    await answer(ledger, "a", "big", price_of=dear)
    assert clear_substitutes(path, "p", "asked", dry_run=True)
    assert (await held(ledger, "b", price_of=dear)).nano == worst(DEAR)
    assert (clear_substitutes(path, "p", "asked"), clear_substitutes(path, "p", "asked")) == (True, False)
    assert check(path).substitutes == ()
    assert (await held(ledger, "c", price_of=dear)).nano == worst(CHEAP)
    await answer(ledger, "d", "big", price_of=dear)
    assert (await held(ledger, "e", price_of=dear)).nano == worst(DEAR)
    with pytest.raises(UsageError, match="no other model has answered in place of p/skaed") as caught:
        clear_substitutes(path, "p", "skaed")
    assert caught.value.hint == 'did you mean "p/asked"?'


async def test_records_are_listed_with_their_prices_and_since_when(
    ledger: ThreadedLedger, path: Path, clock: HandClock
) -> None:
    there, prices = replace(FACTS, base_url="http://box/v1"), table(big=DEAR)
    await answer(ledger, "a", "big", facts=there, price_of=prices)
    clock.pass_by(60)
    await answer(ledger, "b", "big", facts=there, price_of=prices)
    (found,) = check(path, clock=clock).substitutes
    assert (found.provider, found.base_url, found.model, found.answered.model) == ("p", "http://box/v1", "asked", "big")
    assert (found.answered.price, found.since.timestamp()) == (
        replace(DEAR, source="", version="", digest=""),
        clock.wall_s - 60,
    )


async def test_an_estimate_is_judged_at_the_dearest_price_and_refused_where_it_is_unknown(
    ledger: ThreadedLedger, path: Path, clock: HandClock
) -> None:
    await answer(ledger, "a", "big", price_of=table(big=DEAR))
    limits = CostLimit(max_cost_per_task=Decimal(1))
    seen = forecast_first_call(path, wanted("b", run="new"), limits, agent="a", clock=clock)
    assert (seen.price, getattr(seen.answer, "nano", None)) == (
        replace(DEAR, source="dear", version="1", digest="d"),
        worst(DEAR),
    )
    await answer(ledger, "c", "mystery", price_of=table(big=DEAR))
    with pytest.raises(UnknownPrice):
        forecast_first_call(path, wanted("b", run="new"), limits, agent="a", clock=clock)
    assert forecast_first_call(path, wanted("b", run="new"), NO_DOLLARS, agent="a", clock=clock).price is None


async def test_a_record_that_cannot_be_read_is_of_unknown_price(ledger: ThreadedLedger, path: Path) -> None:
    await answer(ledger, "a", "big", price_of=table(big=DEAR))
    with closing(database_at(path)) as db, db:
        db.execute("UPDATE substitutes SET prices = '[1]'")
    with pytest.raises(UnknownPrice):
        await ledger.reserve(wanted("b"))


async def test_answer_in_doubt_counts_at_the_price_of_its_model_and_is_recorded(
    ledger: ThreadedLedger, path: Path
) -> None:
    await held(ledger, "a")
    assert await ledger.mark_sent("a")
    left = await ledger.doubt("a", "no usage was reported", substitute=Substitute("big", DEAR))
    assert left == Settlement("doubt", worst(DEAR), 110, overrun=True)
    assert (await held(ledger, "b")).nano == worst(DEAR)
    assert (check(path).wrong, check(path).overruns) == ((), ())
    assert await ledger.mark_sent("b")
    small = await ledger.doubt("b", "Ctrl-C", provider_fault=False, substitute=Substitute("small", FREE))
    assert small == Settlement("doubt", worst(DEAR), 110)
    await held(ledger, "c")
    assert await ledger.mark_sent("c")
    assert (await ledger.doubt("c", "cut", substitute=Substitute("mystery", None))).nano == worst(DEAR)
    with pytest.raises(UnknownPrice):
        await ledger.reserve(wanted("d"))


async def test_settling_a_charge_above_its_hold_by_price_again_reports_it_again(ledger: ThreadedLedger) -> None:
    first = await answer(ledger, "a", "big", price_of=table(big=DEAR))
    charge = dearest_charge(USAGE, Completion(model="big"), FACTS, table(big=DEAR))
    assert charge is not None
    assert (first.overrun, await ledger.settle("a", charge)) == (True, first)
