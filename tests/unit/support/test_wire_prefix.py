"""Between two cuts each request begins with the bytes of the one before: that is what caches pay for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from agentctl.core.events import ContextPruned
from agentctl.core.limits import CostLimit
from agentctl.ledger import SqliteLedger
from tests.support.economy import cuts_of, looking, provider_of, run_of, tools, written
from tests.support.wire.plugin import OpenWire

PROVIDERS = ("openai", "anthropic", "ollama", "groq")


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqliteLedger]:
    book = SqliteLedger(tmp_path / "ledger.db")
    yield book
    await book.aclose()


@pytest.mark.slow
@pytest.mark.parametrize("name", PROVIDERS)
async def test_each_request_begins_with_the_bytes_of_the_one_before(
    wire: OpenWire, ledger: SqliteLedger, name: str
) -> None:
    server = wire(looking(26, input_tokens=2_000, output_tokens=20))
    provider = provider_of(server, name)
    limits = CostLimit(max_cost_per_task=None, max_cost_per_hour=None, max_tokens_per_task=64_000)
    result, _ = await run_of(ledger, provider, tools(1), limits=limits, max_context_tokens=60_000)
    await provider.aclose()
    heard = [one.raw for one in server.books.chat_requests]
    assert (result.status, len(heard)) == ("done", 27)
    assert heard[-1].count(b"[Budget: ") == 2
    said = [written(raw, "messages") for raw in heard]
    assert all(after.startswith(f"{before[:-1]},") for before, after in pairwise(said))
    for part in ("tools", *(("system",) if name == "anthropic" else ())):
        assert len({written(raw, part) for raw in heard}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", PROVIDERS)
async def test_a_cut_breaks_it_exactly_where_an_event_says_so(wire: OpenWire, ledger: SqliteLedger, name: str) -> None:
    server = wire(looking(24))
    provider = provider_of(server, name)
    result, diary = await run_of(ledger, provider, tools(8), max_context_tokens=3_000, summaries="never")
    await provider.aclose()
    heard = [one.raw for one in server.books.chat_requests]
    said = [written(raw, "messages") for raw in heard]
    kept = [after.startswith(f"{before[:-1]},") for before, after in pairwise(said)]
    assert result.status == "done"
    assert kept == [not cut for cut in cuts_of(diary)[1:]]
    assert 2 <= len(diary.of(ContextPruned)) <= 6
    assert len({written(raw, "tools") for raw in heard}) == 1
