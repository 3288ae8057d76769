"""Models that reported more input than their published vocabulary counts: their bounds are of bytes from then on.

A miscount is an attempt whose bound was counted and whose report is above it. That is seen in the attempts themselves,
however they ended, in every process and for good, until a person clears it. A report above a bound by bytes says
nothing of a vocabulary.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from agentctl.core.pricing import ModelFacts
from agentctl.ledger.attempts import plain
from agentctl.ledger.clock import as_datetime
from agentctl.ledger.database import Transaction

# What an attempt reported stands in its own row where it was charged, and in its overrun where it is in doubt.
_MISCOUNTED = """
SELECT a.id, a.provider, a.base_url, coalesce(a.model, '') AS model, a.ended_us, a.miscount_cleared_us
FROM attempts AS a WHERE a.counted = 1 AND a.input_tokens > a.input_bound
UNION SELECT a.id, a.provider, a.base_url, coalesce(a.model, ''), a.ended_us, a.miscount_cleared_us
FROM overruns AS o JOIN attempts AS a ON a.id = o.attempt_id
WHERE a.counted = 1 AND o.input_tokens > a.input_bound
"""
_MISCOUNTS_OF_ONE = """
SELECT 1 FROM attempts AS a WHERE a.provider = ?1 AND a.base_url = ?2 AND coalesce(a.model, '') = ?3
    AND a.counted = 1 AND a.input_tokens > a.input_bound AND a.miscount_cleared_us IS NULL
UNION ALL SELECT 1 FROM overruns AS o JOIN attempts AS a ON a.id = o.attempt_id
    WHERE a.provider = ?1 AND a.base_url = ?2 AND coalesce(a.model, '') = ?3
    AND a.counted = 1 AND o.input_tokens > a.input_bound AND a.miscount_cleared_us IS NULL
UNION ALL SELECT 1 FROM substitutes
    WHERE provider = ?1 AND base_url = ?2 AND model = ?3 AND cleared_us IS NULL
LIMIT 1
"""


class ModelMiscount(NamedTuple):
    """A model whose bounds are not counted any more; ``base_url`` "" is the provider's own address."""

    provider: str
    base_url: str
    model: str
    attempts: int
    last_at: datetime


def may_count(tx: Transaction, facts: ModelFacts) -> bool:
    """Whether a bound may be counted by the vocabulary that this model is known for.

    Not after a report above such a bound, until it is cleared, and not where another model has answered.
    """
    asked = (plain(facts.provider), plain(facts.base_url), plain(facts.model or ""))
    return tx.db.execute(_MISCOUNTS_OF_ONE, asked).fetchone() is None


def uncleared_miscounts(tx: Transaction) -> tuple[ModelMiscount, ...]:
    """Return the models of which a miscount stands that nobody has cleared."""
    found = tx.db.execute(
        "SELECT provider, base_url, model, count(*), max(ended_us)"  # noqa: S608 - our own words
        f" FROM ({_MISCOUNTED}) WHERE miscount_cleared_us IS NULL GROUP BY 1, 2, 3 ORDER BY 1, 3, 2"
    )
    return tuple(
        ModelMiscount(provider, base_url, model, count, as_datetime(at_us))
        for provider, base_url, model, count, at_us in found
    )


def miscounts(tx: Transaction) -> list[tuple[str, str, str, bool]]:
    """Return each miscount: the attempt's id, provider and model, and whether it stands."""
    sql = f"SELECT id, provider, model, miscount_cleared_us IS NULL FROM ({_MISCOUNTED})"  # noqa: S608 - our own words
    return [(attempt_id, provider, model, bool(stands)) for attempt_id, provider, model, stands in tx.db.execute(sql)]
