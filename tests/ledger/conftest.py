"""A ledger with a clock that tests turn by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from agentctl.ledger import SqliteLedger
from agentctl.limits import CostLimit
from tests.ledger.parts import HandClock


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.db"


@pytest.fixture
async def ledger(path: Path, clock: HandClock) -> AsyncIterator[SqliteLedger]:
    book = SqliteLedger(path, clock=clock)
    await book.open_run("run", CostLimit(max_cost_per_task=Decimal(1)), task="t", agent="a", labels={})
    yield book
    await book.aclose()
