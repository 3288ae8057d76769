"""Servers for the tests of a session, started when a test first asks for one, and a database for each test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # psycopg takes a while to load, and few tests need it
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
