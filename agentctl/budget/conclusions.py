"""The conclusions of an attempt (charge, doubt, void), and the charge for a usage report. Pure."""

# Annotations are not postponed here: to compile them from text takes longer at every start.

from typing import Literal, NamedTuple

from agentctl.core.messages import Completion, Usage
from agentctl.core.pricing import (
    MOST_AMOUNT,
    ChargedBy,
    ModelFacts,
    Price,
    PriceOf,
    charge_nano,
    rates_of,
    storable_usage,
)
from agentctl.core.substitutes import Substitute, substitute_of


class Charge(NamedTuple):
    """The cost of an attempt, and the price that it was charged at; ``nano`` (nano-dollars) None: price unknown.

    ``model`` is the one that answered. ``by`` says what set the amount: the price of the requested or of the answering
    model, or the amount that the provider says it billed; None if neither did. ``price`` is the highest price
    that applied (under ``by`` "billed" it came to less), ``priced_model`` the model that it belongs to. ``tier`` is the
    service tier that served the request, "" for the usual one; ``hour_writes`` counts the tokens written to a cache for
    an hour. ``breaks_hold``: it is an overrun even if the whole hold would pay for it. ``capped``: more was reported
    than a row of the ledger can store. ``dearest_class``: each token was charged as the most expensive class.
    ``substitute`` is the model that answered in place of the requested one, if it has another price.
    """

    usage: Usage
    nano: int | None
    model: str | None = None
    by: ChargedBy | None = None
    price: Price | None = None
    priced_model: str | None = None
    tier: str = ""
    hour_writes: int = 0
    billed_nano: int | None = None
    breaks_hold: bool = False
    capped: bool = False
    dearest_class: bool = False
    substitute: Substitute | None = None


class Doubt(NamedTuple):
    """An attempt of unknown cost. ``ceiling``: it broke its clamp, so the model's ceiling counts.

    ``least`` is its minimum cost by its usage report. ``substitute`` answered, or began to, in place of
    the requested model: the hold counts at its price, if that is higher.
    """

    reason: str
    ceiling: bool = False
    provider_fault: bool = True
    least: Charge | None = None
    substitute: Substitute | None = None


class Void(NamedTuple):
    """An attempt that certainly cost nothing."""

    reason: str


Conclusion = Charge | Doubt | Void


def conclusion_kind(conclusion: Conclusion) -> Literal["charge", "doubt", "void"]:
    """Return the name of a conclusion's kind."""
    match conclusion:
        case Charge():
            return "charge"
        case Doubt():
            return "doubt"
        case Void():
            return "void"


class Settlement(NamedTuple):
    """An attempt in the ledger after it was settled; ``overrun`` if it, or its report, is above its hold."""

    phase: Literal["settled", "void", "doubt"]
    nano: int | None
    tokens: int
    overrun: bool = False


def dearest_charge(
    usage: Usage, completion: Completion, facts: ModelFacts, price_of: PriceOf, *, dearest_class: bool = False
) -> Charge | None:
    """Return the charge for ``usage`` at the highest price that may apply, or the billed amount if that is more.

    Prices that may apply: those of the requested and of the answering model, each in the usual service tier and in the
    one that served the request. None: the price in that tier is unknown, so the usage does not determine the cost.
    ``dearest_class``: the token classes of the report are not trusted, so each token is charged as the most expensive
    class.
    """
    full, usage, tier = usage, storable_usage(usage), completion.tier
    hour_writes = max(0, min(completion.hour_writes, usage.cache_write_tokens))
    billed_nano = None if completion.billed_nano is None else min(completion.billed_nano, MOST_AMOUNT)
    charge = Charge(usage, None, completion.model, tier=tier, hour_writes=hour_writes, billed_nano=billed_nano)
    charge = charge._replace(dearest_class=dearest_class, capped=usage != full or billed_nano != completion.billed_nano)
    charge = charge._replace(substitute=substitute_of(facts, completion.model, price_of, tier=tier))
    rates = rates_of(completion, facts, price_of)
    if not rates:
        return charge
    if tier and not any(rate.is_tiered for rate in rates):
        return None
    if dearest_class:
        rates += tuple(rate._replace(price=rate.price.at_dearest(usage.input_tokens)) for rate in rates)
    amounts = [(charge_nano(rate.price, usage, hour_writes=hour_writes), rate) for rate in rates]
    nano, rate = max(amounts, key=lambda amount: amount[0])
    billed = billed_nano is not None and billed_nano > nano
    return charge._replace(
        nano=billed_nano if billed else min(nano, MOST_AMOUNT),
        by="billed" if billed else rate.by,
        price=rate.price,
        priced_model=rate.model,
        capped=charge.capped or nano > MOST_AMOUNT or usage.total_tokens > MOST_AMOUNT,
    )
