"""Whom not to trust now: providers in doubt get a pause and one probe, a model that broke its clamp its ceiling."""

from __future__ import annotations

from agentctl.budget.rules import Ask, PeakUsage, Wait
from agentctl.core.pricing import ModelFacts
from agentctl.ledger.attempts import plain
from agentctl.ledger.database import Transaction

DOUBTS_IN_A_ROW = 2
MOST_PAUSE_S = 30.0
PROBE_POLL_S = 0.2


def provider_health(tx: Transaction, facts: ModelFacts, *, pause_s: float) -> Wait | bool:
    """Return True for a sound provider; after two doubts in a row a pause, then False: send a single probe.

    Counted over all processes, for one model at one address: what another server or model does says nothing of this
    one. What is not the provider's doing (a killed process, Ctrl-C, a manual settlement) is left out. A free call
    cannot cost anything: it is always made, and counts for nobody else.
    """
    if facts.price is not None and facts.price.is_free:
        return True
    asked = (plain(facts.provider), plain(facts.base_url), plain(facts.model or ""))
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
    """Return the most that this provider and model reported above a hold, None if nothing of it stands uncleared."""
    found, *seen = tx.db.execute(
        "SELECT count(*), max(input_tokens), max(output_tokens), max(nano) FROM overruns"
        " WHERE provider = ? AND model = ? AND cleared_us IS NULL",
        (plain(ask.facts.provider), plain(ask.facts.model or "")),
    ).fetchone()
    return PeakUsage(*seen) if found else None
