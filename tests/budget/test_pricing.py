"""Prices are exact: rounded up once, and no charge within its bound is above its worst case."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from agentctl.messages import Usage
from agentctl.pricing import Price, charge_nano, most_output, to_nano, to_usd, worst_nano

units = st.decimals(min_value=0, max_value=200, places=7)
prices = st.builds(
    Price, units, units, cached_input=st.none() | units, cache_write=st.none() | units, reasoning=st.none() | units
)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    total_in, total_out = draw(st.integers(0, 10**6)), draw(st.integers(0, 10**5))
    cached = draw(st.integers(0, total_in))
    written = draw(st.integers(0, total_in - cached))
    return Usage(total_in, total_out, cached, written, draw(st.integers(0, total_out)))


def test_a_charge_is_counted_by_class_and_rounded_up_once() -> None:
    price = Price(Decimal("2.5"), Decimal(10), cached_input=Decimal("1.25"), cache_write=Decimal("3.125"))
    usage = Usage(1_000, 100, cached_input_tokens=600, cache_write_tokens=100, reasoning_tokens=40)
    assert charge_nano(price, usage) == 300 * 2_500 + 600 * 1_250 + 100 * 3_125 + 100 * 10_000
    assert charge_nano(Price(Decimal("0.0000001"), Decimal(0)), Usage(1, 0)) == 1


@given(prices, usages())
def test_what_was_charged_is_never_above_the_worst_case(price: Price, usage: Usage) -> None:
    worst = worst_nano(price, input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
    assert 0 <= charge_nano(price, usage) <= worst


@given(prices, st.integers(0, 10**6), st.integers(0, 10**12))
def test_the_most_output_fits_the_room_and_one_token_more_does_not(price: Price, tokens: int, room: int) -> None:
    output = most_output(price, input_tokens=tokens, room_nano=room)
    if output is None:
        assert price.dearest_output == 0
        assert worst_nano(price, input_tokens=tokens, output_tokens=10**9) <= room
    elif output < 0:
        assert worst_nano(price, input_tokens=tokens, output_tokens=0) > room
    else:
        assert worst_nano(price, input_tokens=tokens, output_tokens=output) <= room
        assert worst_nano(price, input_tokens=tokens, output_tokens=output + 1) > room


@given(st.integers(0, 10**15))
def test_dollars_and_nano_dollars_are_the_same_money(nano: int) -> None:
    assert to_nano(to_usd(nano)) == nano
