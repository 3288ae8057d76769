"""What runs of the same kind came to: a guess at what the next one will cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from agentctl.core.pricing import ModelFacts
from agentctl.ledger.attempts import plain
from agentctl.ledger.database import Transaction
from agentctl.ledger.sums import exact_sum, whole

DAYS = 90
LEAST_RUNS = 5
_MOST_CALLS = 20_000  # the latest; whoever made more has enough runs among them
_MOST_RUNS = 2_000

#: The index attempts_provider finds the calls, attempts_run adds up their runs.
_SQL = """
WITH calls AS (
    SELECT run_id, model FROM attempts
    WHERE provider = :provider AND phase IN ('settled', 'doubt') AND ended_us > :since
    ORDER BY ended_us DESC LIMIT :calls
), runs AS (
    SELECT DISTINCT run_id FROM calls WHERE model IS :model LIMIT :runs
)
SELECT max(a.nano IS NULL), {nano}, {tokens}
FROM runs JOIN scopes AS s ON s.id = runs.run_id AND s.agent = :agent AND s.status = 'done'
JOIN attempts AS a ON a.run_id = s.id AND a.phase <> 'void'
GROUP BY s.id
""".replace("{nano}", exact_sum("a.nano")).replace("{tokens}", exact_sum("a.tokens"))


class Percentiles(NamedTuple):
    """What half of the runs, and what nine of ten, came to at most."""

    p50: int
    p90: int


class RunStatistics(NamedTuple):
    """The finished runs of the same agent and model in the last 90 days: nano-dollars and tokens, in doubt included.

    None where fewer than five are known.
    """

    runs: int = 0
    nano: Percentiles | None = None
    tokens: Percentiles | None = None


def likeness(tx: Transaction, facts: ModelFacts, agent: str) -> RunStatistics:
    """Return what the runs of ``agent`` with this model came to, of the latest calls in the book."""
    wanted = {
        "provider": plain(facts.provider),
        "model": None if facts.model is None else plain(facts.model),
        "agent": plain(agent),
        "since": tx.now_us - DAYS * 86_400 * 1_000_000,
        "calls": _MOST_CALLS,
        "runs": _MOST_RUNS,
    }
    found = tx.db.execute(_SQL, wanted).fetchall()
    return RunStatistics(
        len(found),
        percentiles([whole(*nano) for unknown, *nano, _, _ in found if not unknown]),
        percentiles([whole(*tokens) for _, _, _, *tokens in found]),
    )


def percentiles(amounts: Sequence[int]) -> Percentiles | None:
    """Return P50 and P90 by the nearest rank: amounts that were really spent."""
    if len(amounts) < LEAST_RUNS:
        return None
    ranked = sorted(amounts)
    return Percentiles(*(ranked[-(-len(ranked) * part // 100) - 1] for part in (50, 90)))
