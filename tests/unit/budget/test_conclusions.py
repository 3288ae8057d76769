"""A charge is at the dearest price that may apply, and carries what it takes to compute it again."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.budget.conclusions import Charge, dearest_charge
from agentctl.core.messages import Completion, Usage
from agentctl.core.pricing import FREE, ModelFacts, Price, Tier, charge_nano
from agentctl.core.substitutes import Substitute
from tests.support.price_strategies import PriceTable, price_shapes, price_tables, usages

USAGE = Usage(100, 10, cached_input_tokens=20, cache_write_tokens=40)
CHEAP, DEAR = Price(Decimal(1), Decimal(2), source="cheap"), Price(Decimal(3), Decimal(4), source="dear")
FACTS = ModelFacts("p", "asked", CHEAP)


def charge_of(table: PriceTable, answer: Completion, usage: Usage = USAGE) -> Charge | None:
    """Charge a call to the model ``asked`` by a table of prices by model and service tier."""

    def price_of(model: str, /, *, tier: str = "") -> Price | None:
        return table.get((model, tier))

    return dearest_charge(usage, answer, replace(FACTS, price=table.get(("asked", ""))), price_of)


def test_the_asked_model_alone_is_charged_at_its_own_price() -> None:
    for answered in (None, "asked"):
        answer = Completion(model=answered)
        assert charge_of({("asked", ""): CHEAP, ("answered", ""): DEAR}, answer) == Charge(
            USAGE, charge_nano(CHEAP, USAGE), answered, "asked", CHEAP, "asked"
        )


@pytest.mark.parametrize("dear", ["asked", "answered"])
def test_dearer_of_two_models_sets_the_charge(dear: str) -> None:
    table = {("asked", ""): CHEAP, ("answered", ""): CHEAP} | {(dear, ""): DEAR}
    found = charge_of(table, Completion(model="answered"))
    assert found is not None
    assert (found.nano, found.by, found.price, found.priced_model) == (charge_nano(DEAR, USAGE), dear, DEAR, dear)
    assert found.model == "answered"


def test_a_dearer_service_tier_sets_the_charge_and_stands_in_it() -> None:
    found = charge_of({("asked", ""): CHEAP, ("asked", "priority"): DEAR}, Completion(model="asked", tier="priority"))
    assert found is not None
    assert (found.nano, found.by, found.price, found.tier) == (charge_nano(DEAR, USAGE), "asked", DEAR, "priority")


def test_a_service_tier_that_is_cheaper_by_the_table_lowers_no_charge() -> None:
    found = charge_of({("asked", ""): DEAR, ("asked", "priority"): CHEAP}, Completion(tier="priority"))
    assert found is not None
    assert (found.nano, found.price, found.tier) == (charge_nano(DEAR, USAGE), DEAR, "priority")


def test_a_service_tier_without_a_price_says_nothing_of_what_it_cost() -> None:
    assert charge_of({("asked", ""): CHEAP}, Completion(tier="turbo")) is None
    assert charge_of({("asked", ""): CHEAP, ("answered", ""): DEAR}, Completion(model="answered", tier="turbo")) is None
    assert charge_of({("asked", ""): CHEAP}, Completion(tier="")) is not None


def test_charge_without_a_known_price_is_unknown_and_never_zero() -> None:
    answer = Completion(model="answered", tier="turbo", hour_writes=7, billed_nano=5)
    assert charge_of({}, answer) == Charge(
        *(USAGE, None, "answered", None, None, None),
        tier="turbo",
        hour_writes=7,
        billed_nano=5,
        substitute=Substitute("answered", None, "turbo"),
    )


@pytest.mark.parametrize(("more", "by"), [(1, "billed"), (0, "asked"), (-1, "asked")])
def test_billed_amount_sets_the_charge_only_where_it_is_more(more: int, by: str) -> None:
    counted = charge_nano(CHEAP, USAGE)
    found = charge_of({("asked", ""): CHEAP}, Completion(billed_nano=counted + more))
    assert found is not None
    assert (found.nano, found.by, found.price, found.billed_nano) == (
        counted + max(0, more),
        by,
        CHEAP,
        counted + more,
    )


def test_hour_long_cache_writes_have_their_own_price_and_never_exceed_all_writes() -> None:
    price = replace(CHEAP, cache_write=Decimal(2), cache_write_hour=Decimal(5))
    for said, counted in ((0, 0), (30, 30), (40, 40), (41, 40), (-1, 0)):
        found = charge_of({("asked", ""): price}, Completion(hour_writes=said))
        assert found is not None
        assert found.hour_writes == counted
        assert found.nano == 40 * 1_000 + 20 * 1_000 + (40 - counted) * 2_000 + counted * 5_000 + 10 * 2_000


@given(price_tables, usages(), st.sampled_from(("", "priority")), st.none() | st.integers(0, 10**12), st.data())
def test_charge_is_the_dearest_that_may_apply_and_records_its_basis(
    table: PriceTable, usage: Usage, tier: str, billed: int | None, data: st.DataObject
) -> None:
    hours = data.draw(st.integers(0, usage.cache_write_tokens))
    answered = data.draw(st.sampled_from((None, "asked", "answered")))
    found = charge_of(table, Completion(model=answered, tier=tier, hour_writes=hours, billed_nano=billed), usage)
    may_apply = {("asked", ""), ("asked", tier), (answered or "asked", ""), (answered or "asked", tier)}
    known = [charge_nano(table[key], usage, hour_writes=hours) for key in may_apply if key in table]
    if found is None:
        assert tier
        assert not {("asked", tier), (answered, tier)} & set(table)
    elif not known:
        assert (found.nano, found.by, found.price) == (None, None, None)
    else:
        assert found.nano == max([*known, billed or 0])
        assert found.price is not None
        again = charge_nano(found.price, found.usage, hour_writes=found.hour_writes)
        assert found.nano == (found.billed_nano if found.by == "billed" else again)


@given(price_shapes)
def test_a_price_can_be_read_back_from_its_row_exactly(price: Price) -> None:
    price = replace(price, source="here", version="1", digest="d")
    read = Price.from_row(json.loads(json.dumps(price.as_row())), source="here", version="1", digest="d")
    assert read.as_row() == price.as_row()
    assert replace(read, tiers=()) == replace(price, tiers=())
    by_number = {tier.above: replace(tier.price, source="") for tier in price.tiers}
    assert {tier.above: tier.price for tier in read.tiers} == by_number


@pytest.mark.parametrize("value", ["", "x", "NaN", "Infinity", "-1", 1, 0.5, True, [], {}, "1e"])
def test_a_row_that_holds_no_exact_price_is_refused(value: object) -> None:
    row = Price(Decimal(1), Decimal(2), tiers=(Tier(5, FREE),)).as_row()
    for name in ("input", "output", "cached_input", "cache_write", "reasoning", "cache_write_hour"):
        with pytest.raises(ValueError, match=f"{name} is not a price"):
            Price.from_row({**row, name: value})
        with pytest.raises(ValueError, match="not a price"):
            Price.from_row({**row, "above_5": {**FREE.as_row(), name: value}})
    for name in ("input", "output"):
        with pytest.raises(ValueError, match="input and output"):
            Price.from_row({**row, name: None})
