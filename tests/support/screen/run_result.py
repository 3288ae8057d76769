"""The result of a run, to be rendered, and a painter without colours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from agentctl.cli.ui.format import painter
from agentctl.core.messages import Usage
from agentctl.core.results import LimitUse, RunResult

PLAIN = painter("never", terminal=True)
AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = LimitUse("max_cost_per_hour", "nano_usd", 10_000_000_000, 1_210_000_000)
RESULT = RunResult(
    run_id="7f3a90c1d2e4",
    status="done",
    answer="yes",
    complete=True,
    task="look",
    agent="system",
    provider="scripted",
    provider_chosen_by="flag",
    model="priced",
    models=("priced",),
    turns=3,
    started_at=AT,
    finished_at=AT + timedelta(seconds=4.2),
    duration_s=4.2,
    usage=Usage(5000, 120),
    cost_nano=12_300_000,
    in_doubt_nano=0,
    price_source="script",
    limits=(LimitUse("max_cost_per_task", "nano_usd", 500_000_000, 12_300_000), HOUR),
)
