"""Models that answered in the place of others: recorded with their price, and held from then on where that is dearer.

A gateway may answer with another model than was asked, and bills that one. Nothing tells so before the first answer;
from that answer on, each hold for the same provider, address and model name is at the dearest price seen there, in
every process, until a person clears the record.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from agentctl.budget.breaker import unpriced_error
from agentctl.budget.rules import Ask, Charge, Settlement
from agentctl.core.pricing import MOST_AMOUNT, Price
from agentctl.core.substitutes import Substitute, dearest_of
from agentctl.ledger import attempts as rows
from agentctl.ledger.attempts import plain
from agentctl.ledger.clock import as_datetime
from agentctl.ledger.database import Transaction
from agentctl.ledger.sums_ import limits_of

_RECORD = """
INSERT INTO substitutes (provider, base_url, model, answered_model, tier, prices, price_source, price_version,
    price_digest, attempt_id, at_us)
SELECT provider, base_url, coalesce(model, ''), :answered, :tier, :prices, :source, :version, :digest, id, :now
FROM attempts WHERE id = :attempt
ON CONFLICT DO UPDATE SET prices = excluded.prices, price_source = excluded.price_source,
    price_version = excluded.price_version, price_digest = excluded.price_digest, attempt_id = excluded.attempt_id,
    at_us = iif(cleared_us IS NULL, at_us, excluded.at_us), cleared_us = NULL
WHERE cleared_us IS NOT NULL OR prices IS NOT excluded.prices
"""
_SUBSTITUTES_OF_ONE = """
SELECT answered_model, tier, prices, price_source, price_version, price_digest FROM substitutes
WHERE provider = ? AND base_url = ? AND model = ? AND cleared_us IS NULL ORDER BY at_us, answered_model
"""
_ALL = """
SELECT provider, base_url, model, answered_model, tier, prices, at_us FROM substitutes
WHERE cleared_us IS NULL ORDER BY provider, model, base_url, at_us, answered_model
"""


class ModelSubstitute(NamedTuple):
    """A record that stands: ``answered`` is who answered for ``model``; ``price`` None: it is unknown.

    ``base_url`` "" is the provider's own address.
    """

    provider: str
    base_url: str
    model: str
    answered: Substitute
    since: datetime


def record(tx: Transaction, attempt_id: str, substitute: Substitute | None) -> None:
    """Keep who answered in the place of the model that an attempt asked (None: nobody), again once it was cleared."""
    if substitute is None:
        return
    price = substitute.price
    tx.db.execute(
        _RECORD,
        {
            "answered": plain(substitute.model),
            "tier": plain(substitute.tier),
            "prices": None if price is None else json.dumps(price.as_row()),
            "source": None if price is None else price.source,
            "version": None if price is None else price.version,
            "digest": None if price is None else price.digest,
            "attempt": attempt_id,
            "now": tx.now_us,
        },
    )


def is_unpriced(charge: Charge) -> bool:
    """Whether a model of unknown price answered: then the amount, by the asked price, is only the least it cost."""
    return charge.substitute is not None and charge.substitute.price is None


def settle(tx: Transaction, attempt_id: str, row: rows.AttemptRow, charge: Charge) -> Settlement:
    """Conclude an attempt with what its usage cost, and record who answered it.

    Where a model of unknown price answered, it stays in doubt at its hold, or at what the usage costs by the asked
    price if that is more; where nothing was held in dollars, its cost is unknown.
    """
    record(tx, attempt_id, charge.substitute)
    if not is_unpriced(charge):
        return rows.settle(tx, attempt_id, row, charge)
    if row.hold_nano is None:
        unpriced_charge = charge._replace(nano=None, by=None, price=None, priced_model=None)
        return rows.settle(tx, attempt_id, row, unpriced_charge)
    nano, tokens = max(charge.nano or 0, row.hold_nano), min(charge.usage.total_tokens, MOST_AMOUNT)
    said = "answered by a model whose price is unknown"
    rows.doubt(tx, attempt_id, nano, tokens, said, provider_fault=False)
    rows.record_charge(tx, attempt_id, charge, settled_by=None)
    overrun = row.is_exceeded_by(charge)
    if overrun:
        rows.record_overrun(tx, attempt_id, row, charge)
    return Settlement("doubt", nano, tokens, overrun=overrun)


def at_dearest_price(tx: Transaction, ask: Ask) -> Ask:
    """Return the ask at the dearest of its own price and those seen in its place; unknown (None) if one of them is.

    A price is what the caller's table says today, else what it was when it was recorded.

    Raises:
        UnknownPrice: the price of one of them is unknown, and the ask falls under a limit in dollars.
    """
    facts = ask.facts
    asked = (plain(facts.provider), plain(facts.base_url), plain(facts.model or ""))
    seen = [
        Substitute(model, _price_in(*price), tier).reprice(ask.price_of)
        for model, tier, *price in tx.db.execute(_SUBSTITUTES_OF_ONE, asked)
    ]
    if not seen or facts.price is None:
        return ask
    unknown = next((one for one in seen if one.price is None), None)
    if unknown is None:
        price = dearest_of((facts.price, *(one.price for one in seen if one.price is not None)))
        return replace(ask, facts=replace(facts, price=price))
    in_dollars = [room.limit for room in limits_of(tx, ask) if room.unit == "nano_usd" and room.ceiling is not None]
    if in_dollars:
        raise unpriced_error(facts, unknown, in_dollars)
    return replace(ask, facts=replace(facts, price=None))


def uncleared_substitutes(tx: Transaction) -> tuple[ModelSubstitute, ...]:
    """Return the records that nobody has cleared."""
    return tuple(
        ModelSubstitute(provider, base_url, model, Substitute(answered, _price_in(prices), tier), as_datetime(at_us))
        for provider, base_url, model, answered, tier, prices, at_us in tx.db.execute(_ALL)
    )


def _price_in(
    prices: str | None, source: str | None = None, version: str | None = None, digest: str | None = None
) -> Price | None:
    """Return a price as it was recorded; what cannot be read is unknown."""
    if prices is None:
        return None
    try:
        return Price.from_row(json.loads(prices), source=source or "", version=version or "", digest=digest or "")
    except (ValueError, AttributeError, RecursionError):
        return None
