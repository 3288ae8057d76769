"""Prices from the rows of litellm's table: exact, with tiers, and unknown where a row cannot be right. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal, localcontext
from types import MappingProxyType
from typing import TypeGuard

from agentctl.core.pricing import Price, Tier
from agentctl.settings.prices import LEAST_PRICE, MOST_PRICE, PriceLine

PriceRow = Mapping[str, object]

#: A user's price that is more than this many times the table's, or less than this part of it, has another unit.
FAR_OFF = 300

_PER_MILLION = 6  # decimal places from a token to a million
_LEAST, _MOST = LEAST_PRICE.scaleb(-_PER_MILLION), MOST_PRICE.scaleb(-_PER_MILLION)
_MOST_UPLIFT = 10
_MOST_WINDOW = 10**9

_CLASSES: Mapping[str, str] = MappingProxyType(
    {
        "input_cost_per_token": "input",
        "output_cost_per_token": "output",
        "cache_read_input_token_cost": "cached_input",
        "input_cost_per_token_cache_hit": "cached_input",
        "cache_creation_input_token_cost": "cache_write",
        "cache_creation_input_token_cost_above_1hr": "cache_write_hour",
        "output_cost_per_reasoning_token": "reasoning",
    }
)

_PARENTS = (("cached_input", "input"), ("cache_write", "input"), ("cache_write_hour", "input"), ("reasoning", "output"))

#: A key that contains one of these words is about money.
_MONEY = ("cost", "pric", "fee", "charge", "uplift", "multiplier")

#: Keys of what a request never uses: it always asks for the default service tier, and never sends images, audio, files,
#: batches or tools of the provider. A DBU is a unit that the same row gives in dollars too.
_UNUSED = r"""(?x)
    .*_(priority | flex | batches | balanced | ultrafast | decisions)
  | .*(audio | image | video | character | pixel).*
  | search_context_cost_per_query | google_maps_grounding_cost_per_query
  | code_interpreter_cost_per_session | computer_use_(input|output)_cost_per_1k_tokens
  | file_search_cost_per_(1k_calls | gb_per_day) | vector_store_cost_per_gb_per_day
  | (input|output)_dbu_cost_per_token
"""
_UPLIFT = r"regional_(processing|endpoint)_uplift_multiplier(_[a-z]+)?"

#: Multipliers of what a request never asks for: a region, and the fast mode.
_NEVER_REQUESTED = frozenset({"us", "fast"})


#: litellm's other names for a provider, as its rows have them.
_OWNER_ALIASES: Mapping[str, str] = MappingProxyType({"bedrock_converse": "bedrock"})
_SECOND_OWNERS: Mapping[str, str] = MappingProxyType({"ai21_chat": "ai21", "cohere": "cohere_chat"})

#: The prefixes that litellm itself adds to a model's name, or removes from it.
_NAME_PREFIXES: Mapping[str, str] = MappingProxyType(
    {"amazon_nova": "amazon-nova/", "fireworks_ai": "fireworks_ai/accounts/fireworks/models/"}
)
_ROUTES = ("converse/", "invoke/")


class _ImplausiblePrice(Exception):
    """A number that cannot be a price."""


def price_of(row: PriceRow, *, regional: bool = False, inclusive: bool = False) -> Price | None:
    """Return the row's price, or None if it is unknown: input or output is missing, 0 or implausible.

    A class at 0 costs its parent class. ``regional`` adds what a regional endpoint may cost more; ``inclusive``
    tiers begin with the number of tokens that they name, not above it.
    """
    try:
        levels = _levels(row, _uplift(row) if regional else Decimal(1))
    except _ImplausiblePrice:
        return None
    base = levels.pop(0, {})
    if "input" not in base or "output" not in base:
        return None
    tiers = tuple(Tier(above - inclusive, _price(_above(base, level))) for above, level in sorted(levels.items()))
    return _price(base, tiers)


def unknown_fee(row: PriceRow) -> str | None:
    """Return the first key that costs something and that agentctl does not know."""
    for key, value in row.items():
        if key == "provider_specific_entry":
            is_known = not isinstance(value, Mapping) or _NEVER_REQUESTED.issuperset(
                k for k in value if _counts(value[k])
            )
        elif key == "tiered_pricing":
            is_known = all(set(step) <= {*_CLASSES, "range"} or not _counts(step) for step in _steps(row))
        elif key == "off_peak_pricing":
            is_known = not isinstance(value, Mapping) or all(
                _at_most(value[part], row.get(part)) for part in value if _is_money(part)
            )
        else:
            is_known = not _is_money(key) or not _counts(value) or _place(key) is not None or _is_unused(key)
        if not is_known:
            return key
    return None


def row_at_tier(row: PriceRow, tier: str) -> PriceRow:
    """Return the row with the prices of another service tier; empty if it has none."""
    end = f"_{tier}"
    named = {key.removesuffix(end): row[key] for key in row if key.endswith(end) and _place(key.removesuffix(end))}
    return {**row, **named} if _counts(named.get("input_cost_per_token")) else {}


def find_unit_error(line: PriceLine, row: PriceRow) -> tuple[str, Decimal, Decimal] | None:
    """Return the class whose price is in another unit than the table's, with both prices; 0 means free."""
    table = None if line.certain else price_of(row)
    for name in ("input", "output", "cached_input", "cache_write", "reasoning"):
        given, known = getattr(line, name), getattr(table, name, None)
        if given and known and not known / FAR_OFF < given < known * FAR_OFF:
            return name, given, known
    return None


def plausible_tokens(value: object) -> int | None:
    """Return a number of tokens if it is plausible, else None."""
    return value if type(value) is int and 0 < value <= _MOST_WINDOW else None


def is_of(row: PriceRow, provider: str) -> bool:
    """Return whether a row is the provider's."""
    owner = str(row.get("litellm_provider"))
    owner = "vertex_ai" if owner.startswith("vertex_ai-") else _OWNER_ALIASES.get(owner, owner)
    return owner in (provider, _SECOND_OWNERS.get(provider))


def row_names(provider: str, model: str) -> Iterator[str]:
    """Yield the names under which litellm may have a row for a provider's model."""
    yield f"{provider}/{model}"
    yield model
    if "/" not in model and provider in _NAME_PREFIXES:
        yield _NAME_PREFIXES[provider] + model
    if provider == "bedrock":
        yield from (model.removeprefix(route) for route in _ROUTES if model.startswith(route))


def bare_name(provider: str, name: str) -> str:
    """Return the name of a row without the prefixes that litellm adds: as requests to the provider name the model."""
    prefixes = (f"{provider}/", _NAME_PREFIXES.get(provider, f"{provider}/"))
    return next((name.removeprefix(prefix) for prefix in prefixes if name.startswith(prefix)), name)


def _is_money(key: str) -> bool:
    return any(word in key for word in _MONEY)


def _is_unused(key: str) -> bool:
    return re.fullmatch(_UNUSED, key) is not None or re.fullmatch(_UPLIFT, key) is not None


def _counts(value: object) -> bool:
    """Return whether a value, or one inside it, is neither 0, "" nor null."""
    if isinstance(value, Mapping):
        return any(map(_counts, value.values()))
    if isinstance(value, list):
        return any(map(_counts, value))
    return value is not None and value != 0 and value != ""


def _at_most(value: object, other: object) -> bool:
    return not _counts(value) or (_is_number(value) and _is_number(other) and value <= other)


def _is_number(value: object) -> TypeGuard[int | Decimal]:
    return isinstance(value, int | Decimal)


def _place(key: str) -> tuple[str, int] | None:
    """Return the token class that a key prices, and above how many tokens."""
    if key in _CLASSES:
        return _CLASSES[key], 0
    found = re.fullmatch(r"(.+)_above_([0-9]{1,9})(k?)_tokens", key)
    if found is None or found[1] not in _CLASSES:
        return None
    return _CLASSES[found[1]], int(found[2]) * (1000 if found[3] else 1)


def _steps(row: PriceRow) -> list[PriceRow]:
    steps = row.get("tiered_pricing")
    return [step for step in steps if isinstance(step, Mapping)] if isinstance(steps, list) else []


def _entries(row: PriceRow) -> Iterator[tuple[int, str, object]]:
    """Yield the prices of a row: above how many tokens, which class, how much a token."""
    for key, value in row.items():
        if (place := _place(key)) is not None:
            yield place[1], place[0], value
    for step in _steps(row):
        bounds = step.get("range")
        if not isinstance(bounds, list) or not bounds or not _is_number(bounds[0]):
            raise _ImplausiblePrice
        if not 0 <= bounds[0] <= _MOST_WINDOW:
            raise _ImplausiblePrice
        for key in step:
            if key in _CLASSES:
                yield int(bounds[0]), _CLASSES[key], step[key]


def _levels(row: PriceRow, uplift: Decimal) -> dict[int, dict[str, Decimal]]:
    """Return the known prices by tier (0: the base) and class; of two for one class the higher."""
    levels: dict[int, dict[str, Decimal]] = {}
    for above, name, value in _entries(row):
        if value is None or value == 0:
            continue
        if not _is_number(value):
            raise _ImplausiblePrice
        if not _LEAST <= Decimal(value) <= _MOST:
            raise _ImplausiblePrice
        with localcontext() as exact:
            exact.prec = 60
            dollars = (Decimal(value).scaleb(_PER_MILLION) * uplift).normalize()
        level = levels.setdefault(above, {})
        level[name] = max(Decimal(f"{dollars:f}"), level.get(name, Decimal(0)))
    return levels


def _price(by_class: Mapping[str, Decimal], tiers: tuple[Tier, ...] = ()) -> Price:
    return Price(
        by_class["input"],
        by_class["output"],
        cached_input=by_class.get("cached_input"),
        cache_write=by_class.get("cache_write"),
        reasoning=by_class.get("reasoning"),
        tiers=tiers,
        cache_write_hour=by_class.get("cache_write_hour"),
    )


def _above(base: Mapping[str, Decimal], level: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Return a tier's prices; a class it does not name costs the higher of the base's class and its own parent."""
    full = {"input": base["input"], "output": base["output"], **level}
    for name, parent in _PARENTS:
        if name in base and name not in level:
            full[name] = max(base[name], full[parent])
    return full


def _uplift(row: PriceRow) -> Decimal:
    most = Decimal(1)
    for key, value in row.items():
        if re.fullmatch(_UPLIFT, key) and _counts(value):
            if not _is_number(value) or not 0 < value <= _MOST_UPLIFT:
                raise _ImplausiblePrice
            most = max(most, Decimal(value))
    return most
