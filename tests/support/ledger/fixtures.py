"""A ledger with a clock that tests turn by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from agentctl.core.limits import CostLimit
from agentctl.ledger import SqliteLedger
from agentctl.ledger.ledger_session import LedgerSession
from tests.support.ledger.corrections import opened
from tests.support.ledger.parts import HandClock


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.db"


@pytest.fixture
async def ledger(path: Path, clock: HandClock) -> AsyncIterator[SqliteLedger]:
    session = SqliteLedger(path, clock=clock)
    await session.open_run("run", CostLimit(max_cost_per_task=Decimal(1)), task="t", agent="a", labels={})
    yield session
    await session.aclose()


@pytest.fixture
def owner(path: Path, clock: HandClock) -> Iterator[Callable[[str], LedgerSession]]:
    """Open the ledger as an owner of that name: each is a process that can die."""
    books: dict[str, LedgerSession] = {}

    def session(name: str) -> LedgerSession:
        if name not in books:
            books[name] = opened(path, clock, owner=name)
        return books[name]

    yield session
    for one in books.values():
        one.close()
