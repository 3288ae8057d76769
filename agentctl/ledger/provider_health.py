"""Judge a provider and model by their earlier attempts, over all processes.

- doubts in a row: a pause, then a single probe;
- overruns: a model that reported more than its hold is held at its ceiling;
- miscounts: a model that reported more input than its published vocabulary counts gets its bounds by bytes. A miscount
  is an attempt with a counted bound and a report above it; a report above a bound by bytes proves nothing;
- substitutes: a gateway may answer with another model than was requested, and bills that one. From the first such
  answer on, each hold for that provider, address and model is at the highest price seen there.

Overruns, miscounts and substitutes hold until a person clears them.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from agentctl.budget.breaker import unpriced_error
from agentctl.budget.conclusions import Charge, Settlement
from agentctl.budget.rules import Ask, PeakUsage, Wait
from agentctl.core.pricing import MOST_AMOUNT, ModelFacts, Price
from agentctl.core.substitutes import Substitute, dearest_of
from agentctl.ledger import attempts
from agentctl.ledger.attempts import storable
from agentctl.ledger.clock import as_datetime
from agentctl.ledger.sums import limits_of
from agentctl.ledger.transaction import Transaction

DOUBTS_IN_A_ROW = 2
MOST_PAUSE_S = 30.0
PROBE_POLL_S = 0.2
_LONGEST_NAME = 200
# The report is in the row of a charged attempt, and in the overrun of one in doubt.
_MISCOUNTED = """
SELECT a.id, a.provider, a.base_url, coalesce(a.model, '') AS model, a.ended_us, a.miscount_cleared_us
FROM attempts AS a WHERE a.counted = 1 AND a.input_tokens > a.input_bound
UNION SELECT a.id, a.provider, a.base_url, coalesce(a.model, ''), a.ended_us, a.miscount_cleared_us
FROM overruns AS o JOIN attempts AS a ON a.id = o.attempt_id
WHERE a.counted = 1 AND o.input_tokens > a.input_bound
"""
_MISCOUNTS_OF_ONE = """
SELECT 1 FROM attempts AS a WHERE a.provider = :provider AND a.base_url = :url AND coalesce(a.model, '') = :model
    AND a.counted = 1 AND a.input_tokens > a.input_bound AND a.miscount_cleared_us IS NULL
UNION ALL SELECT 1 FROM overruns AS o JOIN attempts AS a ON a.id = o.attempt_id
    WHERE a.provider = :provider AND a.base_url = :url AND coalesce(a.model, '') = :model
    AND a.counted = 1 AND o.input_tokens > a.input_bound AND a.miscount_cleared_us IS NULL
UNION ALL SELECT 1 FROM substitutes
    WHERE provider = :provider AND base_url = :url AND model = :model AND cleared_us IS NULL
LIMIT 1
"""
_RECORD_SUBSTITUTE = """
INSERT INTO substitutes (provider, base_url, model, answered_model, tier, prices, price_source, price_version,
    price_digest, attempt_id, at_us)
SELECT provider, base_url, coalesce(model, ''), :answered, :tier, :prices, :source, :version, :digest, id, :now
FROM attempts WHERE id = :attempt
ON CONFLICT (provider, base_url, model, answered_model, tier) DO UPDATE SET
    prices = excluded.prices, price_source = excluded.price_source, price_version = excluded.price_version,
    price_digest = excluded.price_digest, attempt_id = excluded.attempt_id,
    at_us = CASE WHEN substitutes.cleared_us IS NULL THEN substitutes.at_us ELSE excluded.at_us END,
    cleared_us = NULL
WHERE substitutes.cleared_us IS NOT NULL OR substitutes.prices IS NOT excluded.prices
"""
_SUBSTITUTES_OF_ONE = """
SELECT answered_model, tier, prices, price_source, price_version, price_digest FROM substitutes
WHERE provider = ? AND base_url = ? AND model = ? AND cleared_us IS NULL ORDER BY at_us, answered_model
"""
_UNCLEARED_SUBSTITUTES = """
SELECT provider, base_url, model, answered_model, tier, prices, at_us FROM substitutes
WHERE cleared_us IS NULL ORDER BY provider, model, base_url, at_us, answered_model
"""


def pause_or_probe(tx: Transaction, facts: ModelFacts, *, pause_s: float) -> Wait | bool:
    """Return True for a healthy provider; after two doubts in a row the pause, and after it False for a single probe.

    Doubts are counted over all processes, for one model at one address. Those that are not the provider's fault (a
    killed process, Ctrl-C, a manual settlement) are left out. A free call is always made, and does not count.
    """
    if facts.price is not None and facts.price.is_free:
        return True
    asked = (storable(facts.provider), storable(facts.base_url), storable(facts.model or ""))
    recent = tx.db.execute(
        "SELECT phase, ended_us FROM attempts WHERE provider = ? AND base_url = ? AND coalesce(model, '') = ?"
        " AND (phase = 'settled' AND settled_by = 'usage' OR provider_fault = 1) AND hold_nano IS NOT 0"
        " ORDER BY ended_us DESC LIMIT 8",
        asked,
    ).fetchall()
    doubts = next((i for i, (phase, _) in enumerate(recent) if phase == "settled"), len(recent))
    if doubts < DOUBTS_IN_A_ROW:
        return True
    pause = min(pause_s * 2 ** (doubts - DOUBTS_IN_A_ROW), MOST_PAUSE_S)
    left = pause - (tx.now_us - recent[0][1]) / 1_000_000
    if left > 0:
        return Wait("provider", left)
    under_way = tx.db.execute(
        "SELECT 1 FROM attempts WHERE leaves_hour_us IS NULL AND phase IN ('held', 'sent') AND provider = ?"
        " AND base_url = ? AND coalesce(model, '') = ? AND hold_nano IS NOT 0",
        asked,
    ).fetchone()
    return Wait("provider", PROBE_POLL_S) if under_way else False


def uncleared_overrun(tx: Transaction, ask: Ask) -> PeakUsage | None:
    """Return the most that this provider and model reported above a hold, None if no overrun is left uncleared."""
    found, *seen = tx.db.execute(
        "SELECT count(*), max(input_tokens), max(output_tokens), max(nano) FROM overruns"
        " WHERE provider = ? AND model = ? AND cleared_us IS NULL",
        (storable(ask.facts.provider), storable(ask.facts.model or "")),
    ).fetchone()
    return PeakUsage(*seen) if found else None


class ModelMiscount(NamedTuple):
    """A model whose bounds are not counted any more; an empty ``base_url`` is the provider's own address."""

    provider: str
    base_url: str
    model: str
    attempts: int
    last_at: datetime


def may_count(tx: Transaction, facts: ModelFacts) -> bool:
    """Return whether a bound may be counted with the published vocabulary of this model.

    It may not after a report above such a bound, or an answer by another model, until that is cleared.
    """
    asked = {
        "provider": storable(facts.provider),
        "url": storable(facts.base_url),
        "model": storable(facts.model or ""),
    }
    return tx.db.execute(_MISCOUNTS_OF_ONE, asked).fetchone() is None


def uncleared_miscounts(tx: Transaction) -> tuple[ModelMiscount, ...]:
    """Return the models with an uncleared miscount."""
    found = tx.db.execute(
        "SELECT provider, base_url, model, count(*), max(ended_us)"  # noqa: S608 - our own words
        f" FROM ({_MISCOUNTED}) AS m WHERE miscount_cleared_us IS NULL GROUP BY 1, 2, 3 ORDER BY 1, 3, 2"
    )
    return tuple(
        ModelMiscount(provider, base_url, model, count, as_datetime(at_us))
        for provider, base_url, model, count, at_us in found
    )


def miscounts(tx: Transaction) -> list[tuple[str, str, str, bool]]:
    """Return each miscount: the attempt's id, provider and model, and whether it is uncleared."""
    sql = f"SELECT id, provider, model, miscount_cleared_us IS NULL FROM ({_MISCOUNTED}) AS m"  # noqa: S608 - our own words
    return [
        (attempt_id, provider, model, bool(is_uncleared))
        for attempt_id, provider, model, is_uncleared in tx.db.execute(sql)
    ]


class ModelSubstitute(NamedTuple):
    """A model that another one answers for: ``answered``, whose price is None if it is unknown.

    An empty ``base_url`` is the provider's own address.
    """

    provider: str
    base_url: str
    model: str
    answered: Substitute
    since: datetime


def record_substitute(tx: Transaction, attempt_id: str, substitute: Substitute | None) -> None:
    """Record the model that answered instead of the requested one (None: none did), again if it was cleared."""
    if substitute is None:
        return
    price = substitute.price
    tx.db.execute(
        _RECORD_SUBSTITUTE,
        {
            "answered": _name_of(substitute.model),
            "tier": _name_of(substitute.tier),
            "prices": None if price is None else json.dumps(price.as_row()),
            "source": None if price is None else price.source,
            "version": None if price is None else price.version,
            "digest": None if price is None else price.digest,
            "attempt": attempt_id,
            "now": tx.now_us,
        },
    )


def _name_of(said: str) -> str:
    """Return a name that the other side said, so short that an index of PostgreSQL can hold it."""
    name = storable(said)
    if len(name) <= _LONGEST_NAME:
        return name
    import hashlib  # noqa: PLC0415 - an honest name is short

    return f"{name[:_LONGEST_NAME]}…{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def is_unpriced(charge: Charge) -> bool:
    """Return whether a model of unknown price answered; the amount, by the requested price, is then a minimum."""
    return charge.substitute is not None and charge.substitute.price is None


def settle(tx: Transaction, attempt_id: str, row: attempts.AttemptRow, charge: Charge) -> Settlement:
    """Settle an attempt at the cost of its usage, and record the model that answered.

    If a model of unknown price answered, the attempt stays in doubt at its hold, or at the cost of the usage by the
    requested model's price if that is more. If nothing was held in dollars, its cost is unknown.
    """
    record_substitute(tx, attempt_id, charge.substitute)
    if not is_unpriced(charge):
        return attempts.settle(tx, attempt_id, row, charge)
    if row.hold_nano is None:
        unpriced_charge = charge._replace(nano=None, by=None, price=None, priced_model=None)
        return attempts.settle(tx, attempt_id, row, unpriced_charge)
    nano, tokens = max(charge.nano or 0, row.hold_nano), min(charge.usage.total_tokens, MOST_AMOUNT)
    said = "answered by a model whose price is unknown"
    attempts.doubt(tx, attempt_id, nano, tokens, said, provider_fault=False)
    attempts.record_charge(tx, attempt_id, charge, settled_by=None)
    overrun = row.is_exceeded_by(charge)
    if overrun:
        attempts.record_overrun(tx, attempt_id, row, charge)
    return Settlement("doubt", nano, tokens, overrun=overrun)


def at_dearest_price(tx: Transaction, ask: Ask) -> Ask:
    """Return the request at the highest price of its model and its substitutes; without a price if one is unknown.

    A price is that of the caller's table today, else the recorded one.

    Raises:
        UnknownPrice: the price of a substitute is unknown, and the request falls under a limit in dollars.
    """
    facts = ask.facts
    asked = (storable(facts.provider), storable(facts.base_url), storable(facts.model or ""))
    seen = [
        Substitute(model, _price_in(*price), tier).reprice(ask.price_of)
        for model, tier, *price in tx.db.execute(_SUBSTITUTES_OF_ONE, asked)
    ]
    if not seen or facts.price is None:
        return ask
    unknown = next((one for one in seen if one.price is None), None)
    if unknown is None:
        price = dearest_of((facts.price, *(one.price for one in seen if one.price is not None)))
        return ask._replace(facts=replace(facts, price=price))
    in_dollars = [room.limit for room in limits_of(tx, ask) if room.unit == "nano_usd" and room.ceiling is not None]
    if in_dollars:
        raise unpriced_error(facts, unknown, in_dollars)
    return ask._replace(facts=replace(facts, price=None))


def uncleared_substitutes(tx: Transaction) -> tuple[ModelSubstitute, ...]:
    """Return the uncleared substitutes."""
    return tuple(
        ModelSubstitute(provider, base_url, model, Substitute(answered, _price_in(prices), tier), as_datetime(at_us))
        for provider, base_url, model, answered, tier, prices, at_us in tx.db.execute(_UNCLEARED_SUBSTITUTES)
    )


def _price_in(
    prices: str | None, source: str | None = None, version: str | None = None, digest: str | None = None
) -> Price | None:
    """Return a price as it was recorded, None for an unknown one; one that cannot be read is unknown."""
    if prices is None:
        return None
    try:
        return Price.from_row(json.loads(prices), source=source or "", version=version or "", digest=digest or "")
    except (ValueError, AttributeError, RecursionError):
        return None
