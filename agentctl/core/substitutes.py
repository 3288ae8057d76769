"""Models that answered in place of the requested one, and one price that covers several. Pure.

A gateway may answer with another model than requested, or a provider may serve a request in another service tier. The
cost is known only from the first such answer on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Literal, NamedTuple

from agentctl.core.pricing import ModelFacts, Price, PriceOf, Tier, worst_nano


class Substitute(NamedTuple):
    """A model that answered in place of the requested one, or the service tier that served it, at another price.

    ``price`` None: it is unknown. ``tier`` "" is the usual one.
    """

    model: str
    price: Price | None
    tier: str = ""

    @property
    def name(self) -> str:
        """The model, with its tier if that is not the usual one."""
        return f"{self.model} in the service tier {self.tier}" if self.tier else self.model

    def worst_nano(self, nano: int | None, input_bound: int, granted_output: int) -> int | None:
        """Return the larger of ``nano``, the worst case at the held price, and that at this price; None stays None."""
        if nano is None or self.price is None:
            return nano
        return max(nano, worst_nano(self.price, input_tokens=input_bound, output_tokens=granted_output))

    def reprice(self, price_of: PriceOf) -> Substitute:
        """Return the substitute with the price that ``price_of`` has now; an unknown one stays as it is."""
        price = _served_at(self.model, self.tier, price_of, price_of(self.model))
        return self if price is None else self._replace(price=price)


def dearest_of(prices: Sequence[Price]) -> Price:
    """Return one price that charges at least as much as each of ``prices``, for any usage and at worst.

    It is the highest in each class, in each tier that any of them has, with the service tiers of all. If that equals
    one of them, it is returned.
    """
    steps = sorted({tier.above for price in prices for tier in price.tiers})
    tiers = tuple(Tier(above, _dearest_classes([price.at(above + 1) for price in prices])) for above in steps)
    served = tuple(dict.fromkeys(one for price in prices for one in price.service_tiers))
    dearest = replace(_dearest_classes(prices), tiers=tiers, service_tiers=served)
    same = (price for price in prices if price.service_tiers == served and same_amounts(price, dearest))
    return next(same, dearest)


def same_amounts(price: Price, other: Price) -> bool:
    """Return whether two prices charge the same for any usage, whatever their sources."""
    steps = {0, *(tier.above + 1 for one in (price, other) for tier in one.tiers)}
    return all(_classes(price.at(step)) == _classes(other.at(step)) for step in steps)


def _classes(price: Price) -> tuple[Decimal, ...]:
    """Return the prices of input, cached input, cache write, hour-long cache write, output and reasoning.

    A class without a price has that of its parent: input, cache write or output.
    """
    written = price.input if price.cache_write is None else price.cache_write
    return (
        price.input,
        price.input if price.cached_input is None else price.cached_input,
        written,
        written if price.cache_write_hour is None else price.cache_write_hour,
        price.output,
        price.output if price.reasoning is None else price.reasoning,
    )


def _dearest_classes(prices: Sequence[Price]) -> Price:
    """Return the highest price of each class, without tiers; a class that none of them prices separately stays
    unset.
    """
    dearest = [max(amounts) for amounts in zip(*map(_classes, prices), strict=True)]
    cached, written, hour, reasoning = (
        None if all(getattr(price, name) is None for price in prices) else amount
        for name, amount in zip(
            ("cached_input", "cache_write", "cache_write_hour", "reasoning"), (*dearest[1:4], dearest[5]), strict=True
        )
    )
    return Price(
        dearest[0],
        dearest[4],
        cached,
        written,
        reasoning,
        source=" and ".join(dict.fromkeys(price.source for price in prices)),
        version=_common_text([price.version for price in prices]),
        digest=_common_text([price.digest for price in prices]),
        cache_write_hour=hour,
    )


def _common_text(texts: Sequence[str]) -> str:
    return texts[0] if len(set(texts)) == 1 else ""


#: Suffixes by which a provider names one release of a model: a date, or "latest".
_RELEASE = r"[-@:](latest|(19|20)\d\d-?(0[1-9]|1[0-2])-?[0-3]\d|\d\d(0[1-9]|1[0-2])|(0[1-9]|1[0-2])[0-3]\d)$"


def _is_release(answered: str, asked: str) -> bool:
    """Return whether ``answered`` is a release of the model that was requested without a date."""
    undated = asked.removesuffix("-latest").removesuffix(":latest")
    return answered == undated or re.sub(_RELEASE, "", answered) == undated


def _served_at(model: str, tier: str, price_of: PriceOf, usual: Price | None) -> Price | None:
    """Return the higher of a model's ``usual`` price and the one in ``tier``; None if both are unknown."""
    tiered = price_of(model, tier=tier) if tier else None
    known = [price for price in (usual, tiered) if price is not None]
    return dearest_of(known) if known else None


def substitute_of(facts: ModelFacts, answered: str | None, price_of: PriceOf, *, tier: str = "") -> Substitute | None:
    """Return the model that answered in place of the requested one; None if it is the same, or costs the same.

    A release of the requested model ("gpt-4o-2099-01-01" for "gpt-4o") without a price of its own costs as much as the
    requested one: as the price of a name without a date covers its releases.
    """
    asked = facts.model
    if asked is None or not facts.metered:
        return None
    own = f"{facts.provider}/"
    name, plain = (answered or asked).removeprefix(own).lower(), asked.removeprefix(own).lower()
    if answered is None or name == plain:
        model, usual = asked, facts.price
    else:
        model, usual = answered, price_of(answered)
        if usual is None and _is_release(name, plain):
            model, usual = asked, facts.price
    if model == asked and not tier:
        return None
    price = _served_at(model, tier, price_of, usual)
    if model == asked and price is None:
        return None
    if price is not None and facts.price is not None and same_amounts(price, facts.price):
        return None
    return Substitute(model, price, tier)


def costs_of(substitute: Substitute, facts: ModelFacts) -> Literal["more", "less", "unknown"]:
    """Return how a substitute's cost compares with the requested model's: "more" if it is higher in any class of
    tokens.
    """
    price = substitute.price
    if price is None:
        return "unknown"
    asked = facts.price
    return "less" if asked is not None and same_amounts(dearest_of((asked, price)), asked) else "more"
