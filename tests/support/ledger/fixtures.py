"""A ledger with a clock that tests turn by hand. ``engine`` says which; a test is of a file unless it asks for both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agentctl.core.ledger_address import PostgresAddress
from agentctl.core.limits import CostLimit
from agentctl.ledger.ledger_session import LedgerSession
from agentctl.ledger.sqlite import ThreadedLedger
from tests.support.ledger.corrections import opened
from tests.support.ledger.engines import DatabaseServer, FleetClock, fleet_template, leave_all, ledger_at
from tests.support.ledger.parts import HandClock


@pytest.fixture
def engine() -> str:
    """The engine of the ledger: "sqlite" or "postgres"."""
    return "sqlite"


@pytest.fixture(scope="session")
def fleet(postgres: DatabaseServer) -> Iterator[str]:
    """The name of a database with an empty ledger."""
    with fleet_template(postgres) as name:
        yield name


@pytest.fixture
def address(postgres: DatabaseServer, fleet: str, tmp_path: Path) -> Iterator[PostgresAddress]:
    """An empty ledger on PostgreSQL, dropped after the test."""
    name = postgres.create_database(template=fleet)
    yield PostgresAddress(postgres.dsn(name), tmp_path / "state")
    leave_all()
    postgres.drop_database(name)


@pytest.fixture
def path(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> Any:  # noqa: ANN401 - tests take it for a path
    return tmp_path / "state" / "ledger.db" if engine == "sqlite" else request.getfixturevalue("address")


@pytest.fixture
def clock(engine: str, request: pytest.FixtureRequest) -> HandClock:
    return HandClock() if engine == "sqlite" else FleetClock(request.getfixturevalue("address"))


@pytest.fixture
async def ledger(path: Path, clock: HandClock) -> AsyncIterator[ThreadedLedger]:
    session = ledger_at(path, clock=clock)
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
