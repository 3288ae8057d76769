"""Ledgers on the tests' PostgreSQL, with the server's own clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import LiteralString, NamedTuple

from agentctl.core.ledger_address import PostgresAddress
from agentctl.ledger.postgres import migrate
from tests.support.postgres.server import RUNNER, Server, database_of

_CLOCK = f"""
CREATE TABLE IF NOT EXISTS agentctl.clock_turned (by_s double precision NOT NULL);
INSERT INTO agentctl.clock_turned SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM agentctl.clock_turned);
GRANT SELECT ON agentctl.clock_turned TO {RUNNER};
CREATE OR REPLACE FUNCTION agentctl.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
$$ SELECT pg_catalog.clock_timestamp() + make_interval(secs => by_s) FROM agentctl.clock_turned $$;
"""  # noqa: S608 - our own name


class Fleet(NamedTuple):
    """A database with a ledger; runs connect as the role that may only select, insert and update."""

    server: Server
    database: str

    def address(self, state_dir: Path, *, port: int = 0, **changes: object) -> PostgresAddress:
        """Return the address for the runs of one machine, whose own files are in ``state_dir``."""
        url = self.server.dsn(self.database, user=RUNNER, port=port)
        return PostgresAddress(url, state_dir, **changes)  # type: ignore[arg-type]

    def query(self, sql: LiteralString, *values: object) -> list[tuple[object, ...]]:
        """Run a statement as the superuser and return its rows."""
        return self.server.execute(sql, *values, database=self.database)

    def turn_clock(self, by_s: float) -> None:
        """Set the server's clock forward, or back, in this database: of two functions its schema's is the first.

        The first time is before anybody connects: plans that were made already go on with the other one.
        """
        with self.server.connect(self.database) as db:
            db.execute(_CLOCK.encode())
            db.execute("UPDATE agentctl.clock_turned SET by_s = by_s + %s", (by_s,))

    def phases(self) -> dict[object, object]:
        """Return the phase of each attempt."""
        return dict(self.query("SELECT id, phase FROM agentctl.attempts"))  # type: ignore[arg-type]

    def forget(self, run: str, *attempts: str) -> None:
        """Remove a run and its attempts, as a fail-over does that loses the last commits."""
        with self.server.connect(self.database) as db:
            db.execute("SET session_replication_role = replica; SET search_path = agentctl")
            for attempt in attempts:
                db.execute("DELETE FROM entries WHERE attempt_id = %s", (attempt,))
                db.execute("DELETE FROM attempts WHERE id = %s", (attempt,))
            if attempts:
                db.execute("DELETE FROM scope_totals; DELETE FROM window_totals")
            db.execute("DELETE FROM scope_paths WHERE scope_id = %s", (run,))
            db.execute("DELETE FROM scopes WHERE id = %s", (run,))

    def entries(self) -> list[tuple[object, ...]]:
        """Return what was written of each attempt, in order."""
        return self.query("SELECT attempt_id, phase, nano, tokens FROM agentctl.entries ORDER BY id")


def new_fleet(server: Server) -> Fleet:
    """Create a ledger in a new database."""
    database = server.create_database()
    migrate(PostgresAddress(server.dsn(database), Path("/nonexistent")), role=RUNNER)
    return Fleet(server, database)


@contextmanager
def fleet_copied(server: Server, template: str) -> Iterator[Fleet]:
    """Copy the database of an empty ledger, and drop the copy at the end."""
    with database_of(server, template=template) as database:
        yield Fleet(server, database)
