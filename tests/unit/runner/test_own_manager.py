"""A context manager handed into a run: its stats describe the sent requests, and its measure is used."""

from __future__ import annotations

import pytest

from agentctl import ContextManager
from agentctl.context.tokens import PLAIN, Measure
from agentctl.core.events import ContextMeasured, ContextPruned
from agentctl.ledger import SqliteLedger
from tests.support.economy import looking, provider_of, run_of, tools
from tests.support.formats import Wire

LETTERS = Measure(count=lambda text: len(text) // 4, way="letters / 4")


@pytest.mark.slow
@pytest.mark.parametrize("measure", [PLAIN, LETTERS], ids=lambda measure: str(measure.way))
async def test_manager_counts_the_cuts_made_and_warns_once_before_each(
    wire: Wire, ledger: SqliteLedger, measure: Measure
) -> None:
    warned = list[str]()
    manager = ContextManager(8_000, measure=measure, warn=warned.append)
    provider = provider_of(wire(looking(40)), "anthropic")  # has a price, so a cut is tried where a summary has room
    result, diary = await run_of(ledger, provider, tools(8), context=manager)
    await provider.aclose()
    cuts = diary.of(ContextPruned)
    assert result.status == "done"
    assert cuts
    assert {one.summary for one in cuts} == {"lines"}
    assert manager.get_context_stats(())["cuts"] == len(cuts)
    assert all("of its limit of 8,000 tokens" in said for said in warned)
    assert len(warned) <= len(cuts) + 1
    assert {one.counted_by for one in diary.of(ContextMeasured)} == {measure.way}
