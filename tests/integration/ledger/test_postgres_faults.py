"""A server that is full, busy, read-only, gone, or was replaced by its standby: nothing is granted that may be lost."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, closing
from decimal import Decimal
from pathlib import Path
from shutil import rmtree
from typing import LiteralString

import anyio
import anyio.to_thread
import pytest

from agentctl.budget.conclusions import Charge, Settlement
from agentctl.budget.rules import Hold
from agentctl.core.errors import StateError
from agentctl.core.ledger_address import PostgresAddress
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Usage
from agentctl.ledger.postgres import PostgresLedger, ddl, migrate
from agentctl.ledger.report import costs_window
from tests.support.disks import fill_disk, small_disk
from tests.support.ledger.parts import ask
from tests.support.machine import NOBODY
from tests.support.postgres.clients import drift
from tests.support.postgres.fleet import Fleet, fleet_copied, new_fleet
from tests.support.postgres.programs import own_folder
from tests.support.postgres.server import RUNNER, Server

GAVE_UP = "canceling wait for synchronous replication"
CHARGE = Charge(Usage(10, 100), 100_000_000, "m")


@asynccontextmanager
async def opened(address: PostgresAddress, run: str = "run") -> AsyncIterator[PostgresLedger]:
    """Open a ledger with a run that has two dollars."""
    ledger = PostgresLedger(address, pause_s=0.0)
    try:
        await ledger.open_run(run, CostLimit(max_cost_per_task=Decimal(2)), task="t", agent="a", labels={})
        yield ledger
    finally:
        await ledger.aclose()


#: Raise an error in the transaction of a hold; a sequence counts, which no rollback takes back.
_RAISE = """
CREATE SEQUENCE agentctl.raised;
GRANT USAGE ON SEQUENCE agentctl.raised TO ledger_runner;
CREATE FUNCTION agentctl.raise_now() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('agentctl.raised') <= {times} THEN RAISE EXCEPTION 'provoked' USING ERRCODE = '{code}'; END IF;
    RETURN NEW;
END $$;
{trigger} FOR EACH ROW EXECUTE FUNCTION agentctl.raise_now();
"""


_AT_HOLD = "CREATE TRIGGER raise_now BEFORE INSERT ON agentctl.attempts"
_AT_COMMIT = """
CREATE CONSTRAINT TRIGGER raise_now AFTER INSERT ON agentctl.entries DEFERRABLE INITIALLY DEFERRED
"""


def provoke(fleet: Fleet, code: str, times: int, trigger: str = _AT_HOLD) -> None:
    """Let so many holds, or commits, fail with an error of the server."""
    with fleet.server.connect(fleet.database) as db:
        db.execute(_RAISE.format(code=code, times=times, trigger=trigger).encode())


@pytest.mark.parametrize("code", ["40001", "40P01", "55P03"])
async def test_hold_that_others_were_in_the_way_of_is_tried_again(own_fleet: Fleet, tmp_path: Path, code: str) -> None:
    async with opened(own_fleet.address(tmp_path)) as ledger:
        provoke(own_fleet, code, 2)
        assert isinstance(await ledger.reserve(ask("a")), Hold)
    assert own_fleet.entries() == [("a", "held", 256_000_000, 266), ("a", "void", 0, 0)]


async def test_hold_is_refused_when_others_are_in_the_way_for_too_long(own_fleet: Fleet, tmp_path: Path) -> None:
    async with opened(own_fleet.address(tmp_path, budget_wait_s=0.1)) as ledger:
        provoke(own_fleet, "40001", 10**6)
        with pytest.raises(StateError, match="provoked") as raised:
            await ledger.reserve(ask("a"))
    assert "budget-wait" in raised.value.hint
    assert own_fleet.entries() == []


@pytest.mark.parametrize("code", ["40001", "57014"])
async def test_commit_that_the_server_refuses_is_made_again_and_writes_once(
    own_fleet: Fleet, tmp_path: Path, code: str
) -> None:
    """A timeout, or others in the way, at the end of a transaction."""
    async with opened(own_fleet.address(tmp_path)) as ledger:
        assert isinstance(await ledger.reserve(ask("a")), Hold)
        provoke(own_fleet, code, 1, _AT_COMMIT)
        assert await ledger.mark_sent("a")
        own_fleet.query("ALTER SEQUENCE agentctl.raised RESTART")
        assert await ledger.settle("a", CHARGE) == Settlement("settled", 100_000_000, 110)
    assert own_fleet.entries() == [
        ("a", "held", 256_000_000, 266),
        ("a", "sent", 256_000_000, 266),
        ("a", "settled", 100_000_000, 110),
    ]


async def test_run_whose_commit_is_late_is_opened_once(own_fleet: Fleet, tmp_path: Path) -> None:
    """The first try is still under way on the server when the second one asks whether it was written."""
    async with opened(own_fleet.address(tmp_path), "first") as ledger:
        session = ledger._session
        assert session is not None
        session._maybe_opened.add("run")  # type: ignore[attr-defined] # as after a COMMIT without an answer
        with own_fleet.server.connect(own_fleet.database) as db:
            db.execute("BEGIN; SET LOCAL search_path = agentctl; SELECT lock_ledger('')")
            first = "INSERT INTO scopes (id, kind, opened_us, opened_by) VALUES ('run', 'run', 0, %s)"
            db.execute(first, (session._owner_id,))

            async def commit() -> None:
                waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"
                await anyio.to_thread.run_sync(own_fleet.server.wait_for, waits, own_fleet.database)
                await anyio.to_thread.run_sync(lambda: db.execute("COMMIT"))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(commit)
                await ledger.open_run("run", CostLimit(), task="t", agent="a", labels={})
    assert own_fleet.query("SELECT id FROM agentctl.scopes ORDER BY id") == [("first",), ("run",)]


@pytest.mark.parametrize(
    ("refuse", "permit", "match", "hint"),
    [
        (
            "REVOKE UPDATE ON agentctl.attempts FROM ledger_runner",
            "GRANT UPDATE ON agentctl.attempts TO ledger_runner",
            "permission denied",
            "--grant",
        ),
        (
            "UPDATE agentctl.ledger_info SET version = version + 1",
            "UPDATE agentctl.ledger_info SET version = version - 1",
            "migrated by a newer agentctl",
            "upgrade",
        ),
    ],
)
async def test_ledger_that_refuses_in_mid_run_sends_nothing_and_loses_no_charge(
    own_fleet: Fleet, tmp_path: Path, refuse: LiteralString, permit: LiteralString, match: str, hint: str
) -> None:
    address = own_fleet.address(tmp_path)
    async with opened(address) as ledger:
        for name in "ab":
            assert isinstance(await ledger.reserve(ask(name)), Hold)
        assert await ledger.mark_sent("a")
        own_fleet.query(refuse)
        for operation in (ledger.mark_sent("b"), ledger.settle("a", CHARGE)):
            with pytest.raises(StateError, match=match) as raised:
                await operation
            assert hint in raised.value.hint
        await ledger.spool("a", CHARGE)
    own_fleet.query(permit)
    async with opened(address, "next"):
        assert own_fleet.phases() == {"a": "settled", "b": "held"}


async def test_migration_waits_until_no_transaction_of_a_run_is_under_way(
    own_fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run has locked the hour, and writes attempts next; the migration would take them the other way round."""
    later = "ALTER TABLE attempts ADD COLUMN more bigint; ALTER TABLE clock ADD COLUMN more bigint"
    monkeypatch.setattr(ddl, "MIGRATIONS", (*ddl.MIGRATIONS, later))
    before = len(ddl.MIGRATIONS) - 1
    with own_fleet.server.connect(own_fleet.database) as db:
        db.execute("BEGIN; SET LOCAL search_path = agentctl; SELECT lock_ledger('')")
        migrated: list[tuple[int, int]] = []
        address = PostgresAddress(own_fleet.server.dsn(own_fleet.database), Path("/nonexistent"))
        thread = threading.Thread(target=lambda: migrated.append(migrate(address)))
        thread.start()
        waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"
        own_fleet.server.wait_for(waits, own_fleet.database)
        db.execute("UPDATE attempts SET nano = nano; COMMIT")
        thread.join()
    assert migrated == [(before, before + 1)]


async def test_full_disk_refuses_the_hold_and_says_where(own_fleet: Fleet, tmp_path: Path) -> None:
    async with opened(own_fleet.address(tmp_path)) as ledger:
        provoke(own_fleet, "53100", 1)
        with pytest.raises(StateError) as raised:
            await ledger.reserve(ask("a"))
        assert "server's disk" in raised.value.hint
        assert isinstance(await ledger.reserve(ask("b")), Hold)
    assert own_fleet.phases() == {"b": "void"}


async def test_disk_that_is_really_full_refuses_what_has_no_room_and_nothing_is_lost(
    postgres: Server, fleet_template_name: str, tmp_path: Path
) -> None:
    folder = own_folder()
    with small_disk(folder / "disk", f"size=24m,mode=0700,uid={NOBODY},gid={NOBODY}") as disk:
        with postgres.connect() as db:
            db.execute(f"CREATE TABLESPACE small LOCATION '{disk}'".encode())
        with fleet_copied(postgres, fleet_template_name) as fleet:
            with postgres.connect() as db:
                db.execute(f"ALTER DATABASE {fleet.database} SET TABLESPACE small".encode())
            async with opened(fleet.address(tmp_path)) as ledger:
                with fill_disk(disk):
                    granted, error = await reserve_many(ledger)
                assert "No space left on device" in error.message
                assert "server's disk" in error.hint
                assert fleet.phases() == dict.fromkeys(granted, "held")
                assert isinstance(await ledger.reserve(ask("again", tokens=1)), Hold)
            assert drift(fleet) == ()
        postgres.execute("DROP TABLESPACE small")
    rmtree(folder)


async def reserve_many(ledger: PostgresLedger) -> tuple[list[str], StateError]:
    """Reserve until the server refuses; return what it has granted, and its error."""
    granted: list[str] = []
    while True:
        name = f"a{len(granted)}"
        try:
            assert isinstance(await ledger.reserve(ask(name, tokens=1)), Hold)
        except StateError as error:
            return granted, error
        granted.append(name)


async def test_hour_that_somebody_keeps_locked_is_waited_for(own_fleet: Fleet, tmp_path: Path, is_full: bool) -> None:
    if not is_full:
        pytest.skip("it waits for timeouts of seconds: --full")
    async with opened(own_fleet.address(tmp_path)) as ledger, anyio.create_task_group() as tasks:
        with own_fleet.server.connect(own_fleet.database) as db:
            db.execute("BEGIN")
            db.execute("SELECT 1 FROM agentctl.clock FOR UPDATE")

            async def let_go() -> None:
                await anyio.to_thread.run_sync(wait_until_logged, own_fleet.server, "lock timeout")
                db.execute("ROLLBACK")

            tasks.start_soon(let_go)
            assert isinstance(await ledger.reserve(ask("a")), Hold)
    assert own_fleet.entries() == [("a", "held", 256_000_000, 266), ("a", "void", 0, 0)]


def wait_until_logged(server: Server, text: str) -> None:
    gives_up = time.monotonic() + 60
    while text not in server.log:
        assert time.monotonic() < gives_up, server.log
        time.sleep(0.05)


async def test_deadlock_with_a_statement_by_hand_is_resolved_without_a_second_hold(
    own_fleet: Fleet, tmp_path: Path
) -> None:
    """Somebody locks the run and then the hour: the other way round than every transaction of ours."""
    async with opened(own_fleet.address(tmp_path)) as ledger:
        with own_fleet.server.connect(own_fleet.database) as db:
            db.execute("SET deadlock_timeout = '60s'")  # ours notices first
            db.execute("BEGIN")
            db.execute("SELECT 1 FROM agentctl.scopes WHERE id = 'run' FOR UPDATE")
            async with anyio.create_task_group() as tasks:

                async def lock_the_hour() -> None:
                    await anyio.to_thread.run_sync(
                        own_fleet.server.wait_for, "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                    )
                    await anyio.to_thread.run_sync(
                        lambda: db.execute("SELECT 1 FROM agentctl.clock FOR UPDATE; ROLLBACK")
                    )

                tasks.start_soon(lock_the_hour)
                assert isinstance(await ledger.reserve(ask("a")), Hold)
    assert own_fleet.entries() == [("a", "held", 256_000_000, 266), ("a", "void", 0, 0)]
    assert "deadlock detected" in own_fleet.server.log


async def test_server_without_a_free_connection_is_waited_for_and_then_refused(tmp_path: Path) -> None:
    with Server(settings={"max_connections": "6"}) as server, ExitStack() as stack:
        fleet = new_fleet(server)
        taken = [stack.enter_context(server.connect(user=RUNNER)) for _ in range(3)]  # and three are the superuser's
        ledger = PostgresLedger(fleet.address(tmp_path, budget_wait_s=0.3))
        with pytest.raises(StateError, match="remaining connection slots"):
            await ledger.open_run("run", CostLimit(), task="t", agent="a", labels={})
        taken[0].close()
        await ledger.open_run("run", CostLimit(), task="t", agent="a", labels={})
        await ledger.aclose()


async def test_database_that_was_made_read_only_is_refused(own_fleet: Fleet, tmp_path: Path) -> None:
    with own_fleet.server.connect() as db:
        db.execute(f"ALTER DATABASE {own_fleet.database} SET default_transaction_read_only = on".encode())
    ledger = PostgresLedger(own_fleet.address(tmp_path))
    with pytest.raises(StateError, match="read-only"):
        await ledger.open_run("run", CostLimit(), task="t", agent="a", labels={})
    await ledger.aclose()


async def test_commit_that_gave_up_waiting_for_its_standby_is_not_certain(tmp_path: Path) -> None:
    """An administrator, or a statement timeout, ends the wait, and COMMIT succeeds with a warning."""
    with Server() as server, closing(server.standby(synchronous=True)) as standby:
        fleet = new_fleet(server)
        async with opened(fleet.address(tmp_path)) as ledger, anyio.create_task_group() as tasks:
            for name in "abc":
                assert isinstance(await ledger.reserve(ask(name)), Hold)
            assert await ledger.mark_sent("a")

            def cancel(times: int) -> None:
                server.wait_for("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
                while server.log.count(GAVE_UP) < times:
                    time.sleep(0.005)
                standby.signal_all(signal.SIGCONT)

            standby.signal_all(signal.SIGSTOP)
            tasks.start_soon(anyio.to_thread.run_sync, cancel, 1)
            assert not await ledger.mark_sent("b")
            standby.signal_all(signal.SIGSTOP)
            tasks.start_soon(anyio.to_thread.run_sync, cancel, 2)
            assert await ledger.settle("a", CHARGE) == Settlement("settled", 100_000_000, 110)
            assert await ledger.mark_sent("c")
        assert fleet.phases() == {"a": "settled", "b": "void", "c": "doubt"}
        with pytest.raises(StateError, match="is a standby") as raised:
            costs_window(Fleet(standby, fleet.database).address(tmp_path), seconds=3600)
        assert "target_session_attrs=read-write" in raised.value.hint
        assert server.log.count(GAVE_UP) == 2


async def test_mark_without_an_answer_of_the_standby_is_voided_later(tmp_path: Path, is_full: bool) -> None:
    if not is_full:
        pytest.skip("it waits for timeouts of seconds: --full")
    with Server() as server, closing(server.standby(synchronous=True)) as standby:
        fleet = new_fleet(server)
        address = fleet.address(tmp_path, budget_wait_s=0.1)
        async with opened(address) as ledger:
            assert isinstance(await ledger.reserve(ask("a")), Hold)
            standby.signal_all(signal.SIGSTOP)
            with pytest.raises(StateError):
                await ledger.mark_sent("a")
            standby.signal_all(signal.SIGCONT)
        async with opened(address, "next"):
            assert fleet.phases() == {"a": "void"}


async def test_hosts_that_say_nothing_are_asked_once_each(tmp_path: Path) -> None:
    """They take connections, as a machine that hangs: one more try would take longer than five seconds."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        ledger = PostgresLedger(PostgresAddress(f"postgresql://me@{place},{place}/book", tmp_path))
        with pytest.raises(StateError) as raised:
            await ledger.open_run("run", CostLimit(), task="t", agent="a", labels={})
        await ledger.aclose()
        assert f"pg_isready -d postgresql://me@{place},{place}/book" in (raised.value.hint or "")
        silent.setblocking(False)
        for _ in range(2):
            silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()
