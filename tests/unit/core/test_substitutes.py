"""The dearest of several prices covers each of them, and a model that answers at the asked price is no substitute."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.core.messages import Usage
from agentctl.core.pricing import FREE, ModelFacts, Price, Tier, charge_nano, most_output, worst_nano
from agentctl.core.substitutes import Substitute, dearest_of, same_amounts, substitute_of
from tests.support.price_strategies import input_tokens, price_shapes, usages

CHEAP, DEAR = Price(Decimal("0.1"), Decimal("0.4"), source="cheap"), Price(Decimal("2.5"), Decimal(10), source="dear")
TABLE = {("gpt-4o", ""): DEAR, ("gpt-4o-2024-08-06", ""): replace(DEAR, source="other"), ("gpt-4o", "priority"): CHEAP}
several = st.lists(price_shapes, min_size=1, max_size=4)


def price_of(model: str, /, *, tier: str = "") -> Price | None:
    return TABLE.get((model, tier))


def substitute(asked: str, answered: str | None, *, tier: str = "", price: Price | None = DEAR) -> Substitute | None:
    return substitute_of(ModelFacts("openai", asked, price), answered, price_of, tier=tier)


@given(several, input_tokens, st.integers(0, 10**6))
def test_the_worst_case_at_the_dearest_price_is_that_of_each_at_least(
    prices: list[Price], tokens_in: int, tokens_out: int
) -> None:
    dearest = dearest_of(prices)
    worst = worst_nano(dearest, input_tokens=tokens_in, output_tokens=tokens_out)
    assert worst >= max(worst_nano(price, input_tokens=tokens_in, output_tokens=tokens_out) for price in prices)


@given(several, usages(), st.data())
def test_a_charge_at_the_dearest_price_is_that_of_each_at_least(
    prices: list[Price], usage: Usage, data: st.DataObject
) -> None:
    hour = data.draw(st.integers(0, usage.cache_write_tokens))
    charge = charge_nano(dearest_of(prices), usage, hour_writes=hour)
    assert charge >= max(charge_nano(price, usage, hour_writes=hour) for price in prices)


@given(several, input_tokens, st.integers(0, 10**12))
def test_grant_at_the_dearest_price_fits_at_each_price(prices: list[Price], tokens_in: int, room: int) -> None:
    granted = most_output(dearest_of(prices), input_tokens=tokens_in, room_nano=room)
    if granted is None or granted < 0:
        return
    for price in prices:
        assert worst_nano(price, input_tokens=tokens_in, output_tokens=granted) <= room


@given(price_shapes, price_shapes)
def test_dearest_price_is_idempotent_and_commutative(a: Price, b: Price) -> None:
    assert dearest_of([a]) is a
    assert dearest_of([a, replace(a, source="again")]) is a
    assert same_amounts(dearest_of([a, b]), dearest_of([b, a]))
    assert same_amounts(dearest_of([dearest_of([a, b]), a]), dearest_of([a, b]))


def test_a_tier_of_one_price_is_at_least_the_whole_price_of_the_other() -> None:
    long = Price(Decimal(1), Decimal(2), tiers=(Tier(200, Price(Decimal(2), Decimal(3))),))
    flat = Price(Decimal("1.5"), Decimal(9))
    assert dearest_of([long, flat]) == Price(
        Decimal("1.5"), Decimal(9), source="declared", tiers=(Tier(200, Price(Decimal(2), Decimal(9))),)
    )
    assert dearest_of([FREE, DEAR]) is DEAR
    mixed = dearest_of([replace(CHEAP, output=Decimal(99)), DEAR])
    assert (mixed.input, mixed.output, mixed.source) == (Decimal("2.5"), Decimal(99), "cheap and dear")


def test_dearest_price_has_the_service_tiers_of_all() -> None:
    """A request that names none may be served in any of them, whichever model answers."""
    served = replace(CHEAP, service_tiers=(replace(DEAR, output=Decimal(200)),))
    for prices in ([served, DEAR], [DEAR, served], [CHEAP, served]):
        assert dearest_of(prices).dearest_output == 200
    assert dearest_of([served, CHEAP]) is served


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("gpt-4o", None),
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o", "GPT-4o"),
        ("gpt-4o", "openai/gpt-4o"),
        ("gpt-4o", "gpt-4o-2024-08-06"),
        ("gpt-4o", "gpt-4o-2099-01-01"),
        ("grok-9", "grok-9-0709"),
        ("mistral-small", "mistral-small-2506"),
        ("claude-haiku-9", "claude-haiku-9-20991001"),
        ("qwen-latest", "qwen-2506"),
        ("qwen-latest", "qwen"),
        ("llama9", "llama9:latest"),
    ],
)
def test_asked_model_and_its_releases_at_the_same_price_are_not_substitutes(asked: str, answered: str | None) -> None:
    assert substitute(asked, answered) is None


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("gpt-4o", "mystery"),
        ("gpt-4o", "gpt-4o-audio"),
        ("gpt-4o", "gpt-4o-2024-08-06-large"),
        ("gpt-4o-2024-05-13", "gpt-4o-2099-01-01"),
        ("mixtral-8x7b", "mixtral-8x7b-32768"),
        ("gpt-4", "gpt-4o"),
        ("m", "m2"),
        ("deepseek", "deepseek-v9"),
    ],
)
def test_any_other_name_without_a_price_is_a_substitute_of_unknown_price(asked: str, answered: str) -> None:
    expected = Substitute(answered, TABLE.get((answered, "")))
    assert substitute(asked, answered, price=CHEAP) == expected


def test_a_release_with_a_price_of_its_own_has_that_price() -> None:
    assert substitute("gpt-4o", "gpt-4o-2024-08-06", price=CHEAP) == Substitute(
        "gpt-4o-2024-08-06", TABLE["gpt-4o-2024-08-06", ""]
    )


def test_a_service_tier_at_another_price_is_a_substitute_at_the_dearer_of_both() -> None:
    tiered = {**TABLE, ("gpt-4o", "priority"): replace(DEAR, output=Decimal(20))}
    facts = ModelFacts("openai", "gpt-4o", DEAR)
    found = substitute_of(facts, "gpt-4o", lambda model, *, tier="": tiered.get((model, tier)), tier="priority")
    assert found == Substitute("gpt-4o", replace(DEAR, output=Decimal(20)), "priority")
    assert found.name == "gpt-4o in the service tier priority"
    assert substitute("gpt-4o", "gpt-4o", tier="priority") is None  # cheaper by the table
    assert substitute("gpt-4o", "gpt-4o", tier="turbo") is None


def test_model_without_tokens_has_no_substitute() -> None:
    assert substitute_of(ModelFacts("builtin", None, FREE, metered=False), "m", price_of) is None


def test_a_substitute_is_priced_by_the_table_of_today_where_it_knows_one() -> None:
    assert Substitute("gpt-4o", None).reprice(price_of).price is DEAR
    assert Substitute("mystery", CHEAP).reprice(price_of).price is CHEAP
    assert Substitute("mystery", None).reprice(price_of).price is None
