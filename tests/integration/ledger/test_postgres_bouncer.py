"""A fleet's ledger behind PgBouncer in transaction mode: few sessions for many clients, and nothing left in them."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests.integration.ledger.test_postgres_takeover import SPENT_BEFORE, plans_for, spend_while
from tests.support.command_line import Commands, Here
from tests.support.postgres.clients import WORST, billed_nano, wrongs
from tests.support.postgres.fleet import Fleet
from tests.support.postgres.pgbouncer import PgBouncer
from tests.support.postgres.server import RUNNER

CLIENTS, SESSIONS = 8, 2
#: What a transaction could leave in its session, for the next client to find.
_STATE = """
SELECT current_setting('lock_timeout'), current_setting('statement_timeout'), current_setting('search_path'),
    current_setting('idle_in_transaction_session_timeout'), current_setting('synchronous_commit'),
    current_setting('transaction_isolation'), current_setting('transaction_read_only'),
    (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_cursors WHERE name <> ''),
    (SELECT count(*) FROM pg_listening_channels()), pg_my_temp_schema() <> 0,
    (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory')
"""


def state_of_sessions(url: str, count: int) -> list[tuple[object, ...]]:
    """Return the state of so many sessions: each is busy while the others are asked."""
    with ExitStack() as stack:
        clients = [stack.enter_context(psycopg.connect(url)) for _ in range(count)]
        asked = [db.execute(b"SELECT pg_backend_pid()").fetchone() for db in clients]
        assert len(set(asked)) == count
        return [db.execute(_STATE).fetchone() or () for db in clients]


@pytest.mark.parametrize("cuts", [0, 3], ids=["whole", "killed three times"])
async def test_many_clients_spend_by_few_sessions_and_leave_nothing_in_them(
    own_fleet: Fleet, tmp_path: Path, cuts: int
) -> None:
    with PgBouncer(own_fleet.server, RUNNER, sessions=SESSIONS) as bouncer:
        url = own_fleet.server.dsn(own_fleet.database, user=RUNNER, port=bouncer.port)

        def happens() -> None:
            for _ in range(cuts):
                bouncer.kill()
                bouncer.start()

        def is_enough() -> bool:
            return billed_nano(tmp_path) > 3 * SPENT_BEFORE

        plans = plans_for(url, tmp_path, CLIENTS)
        outcomes, _ = await spend_while(plans, tmp_path, happens, is_enough=is_enough)
        assert is_enough(), outcomes
        assert wrongs(own_fleet, tmp_path, limit=100 * WORST) == []
        (fresh,) = state_of_sessions(own_fleet.server.dsn(own_fleet.database, user=RUNNER), 1)
        assert state_of_sessions(url, SESSIONS) == [fresh] * SESSIONS
    if not cuts:
        assert set(outcomes) <= {"sent", "settled", "doubt", "refused"}, outcomes


def test_runs_at_once_and_reports_of_them_go_through_it(
    shell: Commands, here: Here, own_fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PgBouncer(own_fleet.server, RUNNER, sessions=1) as bouncer:
        url = own_fleet.server.dsn(own_fleet.database, user=RUNNER, port=bouncer.port)
        monkeypatch.setenv("AGENTCTL_LEDGER", url)
        asked = [shell.start("run", "look around", "--json", "--label", f"n={n}", script="tools") for n in range(3)]
        costs: list[int] = []
        for run in asked:
            out, err = run.communicate(timeout=60)
            assert run.returncode == 0, err
            document = json.loads(out)
            assert document["answer"] == "done looking"
            costs.append(document["cost"]["nano_usd"])
        assert sum(costs) > 0
        rows = here("costs", "--json", "--by", "label:n").document["rows"]
        assert [row["cost"]["nano_usd"] for row in rows] == costs
        for words in (("costs",), ("ledger", "check"), ("runs", "list"), ("costs", "--last-hour")):
            assert here(*words).code == 0, words
