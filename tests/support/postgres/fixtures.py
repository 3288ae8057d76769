"""Servers for the tests of a session, started when a test first asks for one, and a database for each test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # psycopg takes a while to load, and few tests need it
    from tests.support.postgres.fleet import Fleet
    from tests.support.postgres.server import Server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A server that writes nothing to a disk."""
    from tests.support.postgres.server import Server

    with Server() as server:
        yield server


@pytest.fixture
def own_postgres() -> Iterator[Server]:
    """A server that a test may stop, kill or change."""
    from tests.support.postgres.server import Server

    with Server() as server:
        yield server


@pytest.fixture
def database(postgres: Server) -> Iterator[str]:
    """An empty database, dropped after the test."""
    from tests.support.postgres.server import database_of

    with database_of(postgres) as name:
        yield name


@pytest.fixture(scope="session")
def fleet_template_name(postgres: Server) -> str:
    """The name of a database with an empty ledger, to copy from."""
    from tests.support.postgres.fleet import new_fleet

    return new_fleet(postgres).database


@pytest.fixture
def own_fleet(postgres: Server, fleet_template_name: str) -> Iterator[Fleet]:
    """A ledger of the test's own, by the server's clock."""
    from tests.support.postgres.fleet import fleet_copied

    with fleet_copied(postgres, fleet_template_name) as made:
        yield made
