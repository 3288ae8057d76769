"""Prices are exact: rounded up once, and no charge within its bound is above its worst case."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from agentctl.core.messages import Usage
from agentctl.core.pricing import FREE, Price, Tier, charge_nano, most_output, to_nano, to_usd, worst_nano
from tests.support.price_strategies import BOUNDARIES, input_tokens, usages

units = st.decimals(min_value=0, max_value=200, places=7)
flat_prices = st.builds(
    Price, units, units, cached_input=st.none() | units, cache_write=st.none() | units, reasoning=st.none() | units
)
tiers = st.dictionaries(st.sampled_from(BOUNDARIES), flat_prices, max_size=3).map(
    lambda found: tuple(Tier(above, price) for above, price in found.items())
)
prices = st.builds(replace, flat_prices, tiers=tiers)


def test_a_charge_is_counted_by_class_and_rounded_up_once() -> None:
    price = Price(Decimal("2.5"), Decimal(10), cached_input=Decimal("1.25"), cache_write=Decimal("3.125"))
    usage = Usage(1_000, 100, cached_input_tokens=600, cache_write_tokens=100, reasoning_tokens=40)
    assert charge_nano(price, usage) == 300 * 2_500 + 600 * 1_250 + 100 * 3_125 + 100 * 10_000
    assert charge_nano(Price(Decimal("0.0000001"), Decimal(0)), Usage(1, 0)) == 1


def test_a_long_request_is_charged_wholly_at_its_tier() -> None:
    above = Price(Decimal("2.5"), Decimal(15), cached_input=Decimal("0.25"))
    price = Price(Decimal("1.25"), Decimal(10), tiers=(Tier(272_000, Price(Decimal(9), FREE.output)), Tier(9, above)))
    assert charge_nano(price, Usage(9, 1)) == 9 * 1_250 + 10_000
    assert charge_nano(price, Usage(10, 1, cached_input_tokens=4)) == 6 * 2_500 + 4 * 250 + 15_000
    assert charge_nano(price, Usage(272_000, 1)) == 272_000 * 2_500 + 15_000
    assert charge_nano(price, Usage(272_001, 1)) == 272_001 * 9_000


def test_the_worst_case_reaches_only_the_tiers_that_the_bound_reaches() -> None:
    price = Price(Decimal(1), Decimal(2), tiers=(Tier(100, Price(Decimal(3), Decimal(7))),))
    assert worst_nano(price, input_tokens=100, output_tokens=10) == 100 * 1_000 + 10 * 2_000
    assert worst_nano(price, input_tokens=101, output_tokens=10) == 101 * 3_000 + 10 * 7_000
    assert most_output(price, input_tokens=100, room_nano=120_000) == 10
    assert most_output(price, input_tokens=101, room_nano=303_000 + 7_000) == 1
    assert most_output(price, input_tokens=101, room_nano=302_999) == -1


def test_a_price_is_free_only_if_every_tier_is() -> None:
    assert FREE.is_free
    assert not replace(FREE, tiers=(Tier(100, Price(Decimal(0), Decimal(1))),)).is_free
    assert replace(FREE, tiers=(Tier(100, FREE),)).is_free


def test_the_row_for_the_ledger_shows_the_tiers() -> None:
    price = Price(Decimal("1.25"), Decimal(10), tiers=(Tier(200_000, Price(Decimal("2.50"), Decimal(15))),))
    classes = {"cached_input": None, "cache_write": None, "reasoning": None}
    above = {"input": "2.50", "output": "15", **classes}
    assert json.loads(json.dumps(price.as_row())) == {
        "input": "1.25",
        "output": "10",
        **classes,
        "above_200000": above,
    }


@given(prices, usages())
def test_charge_is_never_above_the_worst_case(price: Price, usage: Usage) -> None:
    worst = worst_nano(price, input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
    assert 0 <= charge_nano(price, usage) <= worst


@given(prices, usages(), st.integers(0, 10**6), st.integers(0, 10**5))
def test_no_usage_within_the_bound_costs_more_than_the_worst_case(
    price: Price, usage: Usage, more_input: int, more_output: int
) -> None:
    bound, clamp = usage.input_tokens + more_input, usage.output_tokens + more_output
    assert charge_nano(price, usage) <= worst_nano(price, input_tokens=bound, output_tokens=clamp)


@given(prices, usages(), st.integers(0, 10**6), st.integers(0, 10**12))
def test_no_usage_within_bound_and_grant_costs_more_than_the_room(
    price: Price, usage: Usage, more_input: int, room: int
) -> None:
    granted = most_output(price, input_tokens=usage.input_tokens + more_input, room_nano=room)
    if granted is None or granted >= usage.output_tokens:
        assert charge_nano(price, usage) <= room


@given(prices, input_tokens, st.integers(0, 10**12))
def test_the_most_output_fits_the_room_and_one_token_more_does_not(price: Price, tokens: int, room: int) -> None:
    output = most_output(price, input_tokens=tokens, room_nano=room)
    if output is None:
        assert price.up_to(tokens).dearest_output == 0
        assert worst_nano(price, input_tokens=tokens, output_tokens=10**9) <= room
    elif output < 0:
        assert worst_nano(price, input_tokens=tokens, output_tokens=0) > room
    else:
        assert worst_nano(price, input_tokens=tokens, output_tokens=output) <= room
        assert worst_nano(price, input_tokens=tokens, output_tokens=output + 1) > room


@given(st.integers(0, 10**15))
def test_dollars_and_nano_dollars_are_the_same_money(nano: int) -> None:
    assert to_nano(to_usd(nano)) == nano
