"""The tests' own PostgreSQL: the proxy cuts where it says, a standby takes over, PgBouncer shares sessions."""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.support.certificates import Certificate
from tests.support.postgres.pgbouncer import PgBouncer
from tests.support.postgres.proxy import POINTS, Point, Proxy
from tests.support.postgres.server import Server

Connection = psycopg.Connection[tuple[object, ...]]


def by_statements(db: Connection) -> None:
    with db.transaction():
        db.execute("INSERT INTO t VALUES (1)")


def by_itself(db: Connection) -> None:
    db.execute("INSERT INTO t VALUES (1)")


def in_a_pipeline(db: Connection) -> None:
    with db.pipeline():
        done = [db.execute(statement) for statement in ("BEGIN", "INSERT INTO t VALUES (1)", "COMMIT")]
    # psycopg leaves a pipeline without an error once there is nothing more to fetch.
    if done[-1].pgresult is None:
        raise psycopg.OperationalError("no answer to COMMIT")


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("transact", [by_statements, by_itself, in_a_pipeline])
def test_proxy_cuts_before_or_after_the_commit_as_it_says(
    postgres: Server, database: str, transact: Callable[[Connection], None], point: Point
) -> None:
    postgres.execute("CREATE TABLE t (n int)", database=database)
    with Proxy(postgres.port) as proxy, psycopg.connect(postgres.dsn(database, port=proxy.port)) as db:
        db.autocommit = True
        transact(db)
        proxy.arm(point)
        with pytest.raises(psycopg.OperationalError):
            transact(db)
        assert not proxy.disarm()
    committed = point in ("after commit", "mid-answer")
    assert postgres.execute("SELECT count(*) FROM t", database=database) == [(1 + committed,)]


def test_partition_holds_bytes_back_and_lets_them_go(postgres: Server) -> None:
    with Proxy(postgres.port) as proxy, psycopg.connect(postgres.dsn(port=proxy.port), autocommit=True) as db:
        proxy.pause()
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(lambda: db.execute("SELECT 7").fetchall())
            with pytest.raises(TimeoutError):
                asked.result(0.1)
            proxy.resume()
            assert asked.result(60) == [(7,)]


def test_standby_has_what_was_committed_when_its_primary_died(own_postgres: Server) -> None:
    own_postgres.execute("CREATE TABLE t (n int)")
    standby = own_postgres.standby(synchronous=True)
    try:
        own_postgres.execute("INSERT INTO t VALUES (1)")
        own_postgres.kill()
        standby.promote()
        assert standby.execute("SELECT n, pg_is_in_recovery() FROM t") == [(1, False)]
        own_postgres.start()
        own_postgres.stop(signal.SIGQUIT)
    finally:
        standby.close()


def test_pgbouncer_gives_each_transaction_any_session(postgres: Server, database: str) -> None:
    with PgBouncer(postgres, "postgres", sessions=1) as bouncer:
        clients = [psycopg.connect(postgres.dsn(database, port=bouncer.port), autocommit=True) for _ in range(3)]
        found = {db.execute("SELECT pg_backend_pid()").fetchone() for db in clients}
        for db in clients:
            db.close()
    assert len(found) == 1


def test_server_with_a_certificate_is_trusted_by_its_name_only(certificate: Certificate) -> None:
    with Server(certificate=certificate, hba="hostssl all all 127.0.0.1/32 trust") as server:
        trusted = f"sslmode=verify-full&sslrootcert={certificate.path}"
        with psycopg.connect(f"{server.dsn()}?{trusted}") as db:
            assert db.pgconn.ssl_in_use
        with pytest.raises(psycopg.OperationalError, match="localhost"):
            psycopg.connect(f"{server.dsn()}?{trusted}".replace("127.0.0.1", "localhost"))
        with pytest.raises(psycopg.OperationalError, match="no encryption"):
            psycopg.connect(f"{server.dsn()}?sslmode=disable")
