"""Parts of the tests of estimates: a folder byte for byte, and runs of a chosen cost."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import Hold
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Usage
from agentctl.core.pricing import ModelFacts
from agentctl.ledger.sqlite import ThreadedLedger
from tests.support.ledger.parts import FACTS, ask

FREE_HAND = CostLimit(max_cost_per_task=None, max_cost_per_hour=None, max_tokens_per_task=None)


def as_it_stands(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return every file and folder with mode, time and content; nothing for a missing folder."""
    found = [folder, *folder.rglob("*")] if folder.exists() else []
    return {
        os.path.relpath(path, folder): (
            path.stat().st_mode,
            path.stat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in found
    }


async def hold(
    book: ThreadedLedger, run: str, *, tokens: int = 100, facts: ModelFacts = FACTS, agent: str = "a"
) -> Hold:
    """Open a run and hold a call of it: a thousandth of a dollar for each token."""
    await book.open_run(run, FREE_HAND, task="t", agent=agent, labels={})
    held = await book.reserve(ask(f"call of {run}", run, tokens=tokens)._replace(facts=facts))
    assert isinstance(held, Hold)
    assert await book.mark_sent(held.id)
    return held


async def spend(
    book: ThreadedLedger,
    run: str,
    *,
    tokens: int = 100,
    facts: ModelFacts = FACTS,
    agent: str = "a",
    status: str | None = "done",
) -> None:
    """Let a run make one call; ``status`` None leaves it open."""
    held = await hold(book, run, tokens=tokens, facts=facts, agent=agent)
    nano = None if facts.price is None else int(tokens * facts.price.output * 1000)
    await book.settle(held.id, Charge(Usage(10, tokens), nano, facts.model))
    if status is not None:
        await book.close_run(run, status)


def dollars(amount: str) -> CostLimit:
    """Return limits of which the hour's is ``amount`` dollars."""
    return CostLimit(max_cost_per_task=None, max_cost_per_hour=Decimal(amount), max_tokens_per_task=None)
