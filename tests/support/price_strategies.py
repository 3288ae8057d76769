"""Hypothesis strategies for prices, price tables and usages."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from hypothesis import strategies as st

from agentctl.core.messages import Usage
from agentctl.core.pricing import Price, Tier

#: Input tokens above which a tier's prices begin.
BOUNDARIES = (0, 1, 128_000, 200_000, 272_000)

input_tokens = st.integers(0, 10**6) | st.builds(int.__add__, st.sampled_from(BOUNDARIES), st.integers(-1, 1)).filter(
    lambda tokens: tokens >= 0
)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Draw a usage whose cached, cache-write and reasoning tokens are within its totals."""
    total_in, total_out = draw(input_tokens), draw(st.integers(0, 10**5))
    cached = draw(st.integers(0, total_in))
    written = draw(st.integers(0, total_in - cached))
    return Usage(total_in, total_out, cached, written, draw(st.integers(0, total_out)))


units = st.integers(0, 2 * 10**9).map(lambda unit: Decimal(unit).scaleb(-7))
optional_units = st.none() | units
flat_prices = st.builds(
    Price,
    units,
    units,
    cached_input=optional_units,
    cache_write=optional_units,
    reasoning=optional_units,
    cache_write_hour=optional_units,
)
tiers = st.dictionaries(st.sampled_from((0, 50_000, 200_000)), flat_prices, max_size=2).map(
    lambda found: tuple(Tier(above, price) for above, price in found.items())
)
price_shapes = st.builds(replace, flat_prices, tiers=tiers)
#: Prices by model and service tier.
PriceTable = dict[tuple[str, str], Price]
PLACES = tuple((model, tier) for model in ("asked", "answered") for tier in ("", "priority"))
price_tables: st.SearchStrategy[PriceTable] = st.tuples(*[st.none() | price_shapes] * 4).map(
    lambda found: {place: price for place, price in zip(PLACES, found, strict=True) if price is not None}
)
