"""A table row becomes an exact price or none: a row that is not understood is never cheap."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.budget.rules import Ask, worst_case
from agentctl.core.messages import Usage
from agentctl.core.pricing import ModelFacts, Price, Tier, charge_nano, contradiction
from agentctl.providers.price_table import plausible_tokens, price_of, row_at_tier, unknown_fee

PLAIN: Mapping[str, object] = {"input_cost_per_token": Decimal("1e-6"), "output_cost_per_token": Decimal("0.00002")}


def dollars(*texts: str | None) -> Price:
    """Return a price of classes in order."""
    first, second, *optional = (None if text is None else Decimal(text) for text in texts)
    assert first is not None
    assert second is not None
    return Price(first, second, *optional)  # type: ignore[arg-type]


def test_every_class_is_read_and_no_digit_is_lost() -> None:
    row = {
        "input_cost_per_token": Decimal("1.5E-7"),
        "output_cost_per_token": Decimal("0.00003"),
        "cache_read_input_token_cost": Decimal("7.50000000000000001E-8"),
        "cache_creation_input_token_cost": Decimal("0.0000001875"),
        "output_cost_per_reasoning_token": Decimal("4E-5"),
    }
    price = price_of(row)
    assert price == dollars("0.15", "30", "0.0750000000000000001", "0.1875", "40")
    assert price is not None
    assert list(price.as_row().values()) == ["0.15", "30", "0.0750000000000000001", "0.1875", "40"]


def test_dearer_of_two_keys_for_cached_tokens_counts() -> None:
    two = {"cache_read_input_token_cost": Decimal("2E-7"), "input_cost_per_token_cache_hit": Decimal("3E-7")}
    assert price_of({**PLAIN, **two}) == dollars("1", "20", "0.3")
    assert price_of({**dict(reversed(two.items())), **PLAIN}) == dollars("1", "20", "0.3")
    assert price_of({**PLAIN, **two, "input_cost_per_token_cache_hit": 0}) == dollars("1", "20", "0.2")


@pytest.mark.parametrize("nothing", [0, Decimal("0.0"), None])
def test_missing_price_is_unknown_and_never_free(nothing: object) -> None:
    for key in PLAIN:
        assert price_of({**PLAIN, key: nothing}) is None
        assert price_of({name: value for name, value in PLAIN.items() if name != key}) is None
    optional = ("cache_read_input_token_cost", "cache_creation_input_token_cost", "output_cost_per_reasoning_token")
    assert price_of({**PLAIN, **dict.fromkeys(optional, nothing)}) == dollars("1", "20")


@pytest.mark.parametrize(
    "wrong",
    [Decimal("0.15"), Decimal("1E-11"), Decimal(-1), -1, True, "1e-6", [1], {}, float("nan"), Decimal("Infinity")],
)
@pytest.mark.parametrize("key", ["input_cost_per_token", "output_cost_per_token", "cache_creation_input_token_cost"])
def test_impossible_price_makes_the_whole_row_unknown(key: str, wrong: object) -> None:
    assert price_of({**PLAIN, key: wrong}) is None


def test_tiers_begin_above_their_number_of_tokens() -> None:
    row = {
        **PLAIN,
        "cache_read_input_token_cost": Decimal("1E-7"),
        "input_cost_per_token_above_272k_tokens": Decimal("4E-6"),
        "input_cost_per_token_above_128k_tokens": Decimal("2E-6"),
        "output_cost_per_token_above_128k_tokens": Decimal("3E-5"),
        "cache_read_input_token_cost_above_128k_tokens": Decimal("2E-7"),
        "output_cost_per_token_above_500_tokens": Decimal("2.5E-5"),
    }
    price = price_of(row)
    assert price is not None
    assert price.tiers == (
        Tier(500, dollars("1", "25", "1")),
        Tier(128_000, dollars("2", "30", "0.2")),
        Tier(272_000, dollars("4", "20", "4")),
    )
    inclusive = price_of(row, inclusive=True)
    assert inclusive is not None
    assert [tier.above for tier in inclusive.tiers] == [499, 127_999, 271_999]


def test_a_class_that_a_tier_leaves_out_costs_the_dearest_it_can() -> None:
    row = {
        **PLAIN,
        "cache_creation_input_token_cost": Decimal("1.25E-6"),
        "output_cost_per_reasoning_token": Decimal("6E-5"),
        "input_cost_per_token_above_200k_tokens": Decimal("2E-6"),
    }
    price = price_of(row)
    assert price is not None
    assert price.tiers == (Tier(200_000, dollars("2", "20", None, "2", "60")),)


def test_a_list_of_ranges_is_a_list_of_tiers() -> None:
    steps = [
        {
            "range": [0, Decimal(32000)],
            "input_cost_per_token": Decimal("1E-6"),
            "output_cost_per_token": Decimal("5E-6"),
        },
        {
            "range": [Decimal(32000), Decimal(128000)],
            "input_cost_per_token": Decimal("2E-6"),
            "output_cost_per_token": Decimal("9E-6"),
            "cache_read_input_token_cost": Decimal("1E-7"),
        },
    ]
    price = price_of({"tiered_pricing": steps})
    assert price is not None
    assert (price.input, price.output) == (Decimal(1), Decimal(5))
    assert price.tiers == (Tier(32000, dollars("2", "9", "0.1")),)
    assert unknown_fee({"tiered_pricing": steps}) is None
    for bounds in (None, [], ["x"], [-1], [10**12], 5):
        assert price_of({**PLAIN, "tiered_pricing": [{**PLAIN, "range": bounds}]}) is None
    assert unknown_fee({"tiered_pricing": [{**steps[0], "input_cost_per_query": Decimal(1)}]}) == "tiered_pricing"


def test_a_regional_endpoint_may_cost_more() -> None:
    row = {
        **PLAIN,
        "regional_processing_uplift_multiplier_eu": Decimal("1.1"),
        "regional_endpoint_uplift_multiplier": 1,
    }
    assert price_of(row) == dollars("1", "20")
    assert price_of(row, regional=True) == dollars("1.1", "22")
    for wrong in ("x", -1, 100):
        assert price_of({**row, "regional_endpoint_uplift_multiplier": wrong}, regional=True) is None
    assert unknown_fee(row) is None


@pytest.mark.parametrize(
    "key",
    [
        "input_cost_per_request",
        "citation_cost_per_token",
        "input_cost_per_second",
        "cost_per_second",
        "explicit_cache_read_input_token_cost",
        "input_cost_per_token_turbo",
        "input_cost_per_token_above_200k_tokens_turbo",
        "request_fee",
        "flat_price",
        "surcharge",
    ],
)
def test_unknown_fee_is_named(key: str) -> None:
    assert unknown_fee({**PLAIN, key: Decimal("0.005")}) == key
    nothings: tuple[object, ...] = (0, None, Decimal(0), {"a": 0}, [], "")
    for nothing in nothings:
        assert unknown_fee({**PLAIN, key: nothing}) is None


@pytest.mark.parametrize(
    "key",
    [
        "input_cost_per_token_priority",
        "output_cost_per_token_above_272k_tokens_flex",
        "cache_read_input_token_cost_batches",
        "output_cost_per_token_ultrafast",
        "input_cost_per_token_balanced",
        "input_cost_per_token_decisions",
        "input_cost_per_audio_token",
        "output_cost_per_image",
        "input_cost_per_video_per_second",
        "input_cost_per_character",
        "search_context_cost_per_query",
        "google_maps_grounding_cost_per_query",
        "code_interpreter_cost_per_session",
        "input_dbu_cost_per_token",
    ],
)
def test_price_of_an_unused_feature_is_not_a_fee(key: str) -> None:
    assert unknown_fee({**PLAIN, key: {"search_context_size_low": Decimal("0.01")}}) is None
    assert price_of({**PLAIN, key: Decimal("0.005")}) == dollars("1", "20")


def test_a_cache_write_that_lasts_an_hour_has_a_price_and_is_in_no_worst_case() -> None:
    row = {
        **PLAIN,
        "cache_creation_input_token_cost": Decimal("1.25E-6"),
        "cache_creation_input_token_cost_above_1hr": Decimal("2E-6"),
        "cache_creation_input_token_cost_above_1hr_above_200k_tokens": Decimal("4E-6"),
    }
    price = price_of(row)
    assert price is not None
    assert (price.cache_write_hour, price.tiers[0].price.cache_write_hour) == (Decimal(2), Decimal(4))
    assert (price.dearest_input, price.as_row()["cache_write_hour"], unknown_fee(row)) == (Decimal("1.25"), "2", None)


def test_service_tier_has_its_own_prices_or_none() -> None:
    row = {
        **PLAIN,
        "input_cost_per_token_above_200k_tokens": Decimal("4E-6"),
        "input_cost_per_token_priority": Decimal("3E-6"),
        "input_cost_per_token_above_200k_tokens_priority": Decimal("5E-6"),
    }
    price = price_of(row_at_tier(row, "priority"))
    assert price is not None
    assert (price.input, price.output, price.tiers[0].price.input) == (Decimal(3), Decimal(20), Decimal(5))
    assert row_at_tier(row, "ultrafast") == row_at_tier(PLAIN, "priority") == {}


def test_cheaper_hours_are_not_a_fee_and_dearer_ones_are() -> None:
    cheaper = {"input_cost_per_token": Decimal("5E-7"), "windows": [{"hours_utc": "00:00-06:00"}]}
    assert unknown_fee({**PLAIN, "off_peak_pricing": cheaper}) is None
    assert price_of({**PLAIN, "off_peak_pricing": cheaper}) == dollars("1", "20")
    for dearer in ({"input_cost_per_token": Decimal("2E-6")}, {"cache_read_input_token_cost": 1}, {"fee": "x"}):
        assert unknown_fee({**PLAIN, "off_peak_pricing": dearer}) == "off_peak_pricing"


def test_only_known_multipliers_are_known() -> None:
    assert unknown_fee({**PLAIN, "provider_specific_entry": {"us": Decimal("1.1"), "fast": 2}}) is None
    assert unknown_fee({**PLAIN, "provider_specific_entry": {"night": 2}}) == "provider_specific_entry"
    assert unknown_fee({**PLAIN, "moonlight_multiplier": 2}) == "moonlight_multiplier"


def test_plausible_token_counts() -> None:
    assert plausible_tokens(128_000) == 128_000
    for wrong in (0, -1, None, True, Decimal(5), 1e5, "128000", 10**10):
        assert plausible_tokens(wrong) is None


#: Whatever JSON can hold, numbers of any size too.
NUMBERS = (
    st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.sampled_from([Decimal("1E-7"), Decimal("1E+999999"), Decimal("-1E-999999"), float("nan"), float("inf")])
)
JUNK = st.none() | st.text() | st.booleans() | NUMBERS | st.lists(st.integers())
KEYS = st.sampled_from(
    [
        *("input_cost_per_token", "output_cost_per_token", "cache_read_input_token_cost", "mode", "tiered_pricing"),
        *("input_cost_per_token_above_200k_tokens", "input_cost_per_request", "off_peak_pricing"),
        *("provider_specific_entry", "regional_endpoint_uplift_multiplier", "output_cost_per_token_above_k_tokens"),
    ]
)


@given(st.dictionaries(KEYS, JUNK | st.dictionaries(KEYS, JUNK) | st.lists(st.dictionaries(KEYS, JUNK))))
def test_no_row_breaks_the_reader_or_comes_out_free(row: dict[str, object]) -> None:
    price = price_of(row, regional=True)
    assert unknown_fee(row) is None or isinstance(unknown_fee(row), str)
    if price is not None:
        assert min(price.input, price.output, *(tier.price.input for tier in price.tiers)) > 0


#: Rows as the table has them: prices that can be, in every class, with tiers and another service tier.
UNITS = st.decimals(Decimal("0.001"), Decimal(1000), places=4).map(lambda dollars: dollars.scaleb(-6))
PRICED = st.fixed_dictionaries(
    {"input_cost_per_token": UNITS, "output_cost_per_token": UNITS},
    optional={
        **dict.fromkeys(("cache_read_input_token_cost", "cache_creation_input_token_cost"), UNITS),
        **dict.fromkeys(("output_cost_per_reasoning_token", "input_cost_per_token_cache_hit"), UNITS),
        **dict.fromkeys(("input_cost_per_token_above_200k_tokens", "output_cost_per_token_above_200k_tokens"), UNITS),
        **dict.fromkeys(("cache_read_input_token_cost_above_272k_tokens", "input_cost_per_token_priority"), UNITS),
        "regional_processing_uplift_multiplier_eu": st.sampled_from([1, Decimal("1.1")]),
        "tiered_pricing": UNITS.map(lambda unit: [{"range": [128_000, 256_000], "input_cost_per_token": unit}]),
    },
)


@given(PRICED, st.data())
def test_no_believable_usage_of_any_row_costs_more_than_its_hold(row: dict[str, object], data: st.DataObject) -> None:
    price = price_of(row, regional=data.draw(st.booleans()), inclusive=data.draw(st.booleans()))
    assert price is not None
    facts = ModelFacts("p", "m", price, context_window=1_000_000, output_ceiling=64_000)
    near = st.sampled_from([128_000, 200_000, 272_000]).flatmap(lambda at: st.integers(at - 2, at + 2))
    bound, granted = data.draw(st.integers(1, 10**6) | near), data.draw(st.integers(256, 64_000))
    ask = Ask("a", "r", facts, input_bound=bound, least=256, most=granted, hour_limit_nano=None)
    given_in, given_out = data.draw(st.integers(1, bound) | st.just(bound)), data.draw(st.integers(1, granted))
    cached = data.draw(st.integers(0, given_in))
    written, thought = data.draw(st.integers(0, given_in - cached)), data.draw(st.integers(0, given_out))
    usage = Usage(given_in, given_out, cached, written, thought)
    assert not contradiction(usage, answered=True)
    assert charge_nano(price, usage) <= (worst_case(ask, granted).nano or 0)
