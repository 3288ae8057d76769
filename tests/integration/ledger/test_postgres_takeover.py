"""A server that dies, and its standby that takes over, while clients spend: thirty of them with --full."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from agentctl.budget.rules import Hold
from agentctl.core.errors import StateError
from agentctl.ledger.postgres import PostgresLedger
from agentctl.ledger.postgres.fleet_database import FleetDatabase
from agentctl.ledger.postgres.fleet_session import FleetSession
from tests.support.ledger.parts import ask
from tests.support.postgres.clients import FREE_HAND, WORST, Client, Plan, billed_nano, bills_of, drift, wrongs
from tests.support.postgres.fleet import Fleet, new_fleet
from tests.support.postgres.proxy import Proxy
from tests.support.postgres.server import RUNNER, Server

MANY, FEW = 30, 8
SPENT_BEFORE = 3 * WORST


@pytest.fixture
def clients(is_full: bool) -> int:
    """How many spend."""
    return MANY if is_full else FEW


def address_of(fleet: Fleet, *servers: Server) -> str:
    """Return an address that names all servers; a client takes the one that can be written to."""
    places = ",".join(f"127.0.0.1:{server.port}" for server in servers)
    return f"postgresql://{RUNNER}@{places}/{fleet.database}?target_session_attrs=read-write"


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for something, for a minute at most."""
    gives_up = time.monotonic() + 60
    while not holds() and time.monotonic() < gives_up:
        time.sleep(0.02)


def uncounted(fleet: Fleet, books: Path) -> dict[str, int]:
    """Return what the provider billed and the ledger does not count, by attempt."""
    counted = {str(name): int(str(nano)) for name, nano in fleet.query("SELECT id, nano FROM agentctl.attempts")}
    missing = {name: bill.nano - counted.get(name, 0) for name, bill in bills_of(books).items()}
    return {name: nano for name, nano in missing.items() if nano > 0}


async def spend_while(
    plans: list[Plan],
    books: Path,
    happens: Callable[[], None],
    *,
    is_enough: Callable[[], bool] = lambda: True,
    until_refused: bool = False,
) -> tuple[Counter[str], float]:
    """Let clients spend; then something happens, and they go on until it is enough. Return what came of their calls.

    ``until_refused``: until the limit has refused each of them afterwards.
    """
    clients = [Client(plan) for plan in plans]
    over = False
    async with anyio.create_task_group() as tasks:
        for client in clients:
            tasks.start_soon(client.spend, lambda: over)
        await anyio.to_thread.run_sync(wait_until, lambda: billed_nano(books) > SPENT_BEFORE)
        await anyio.to_thread.run_sync(happens)
        await anyio.to_thread.run_sync(wait_until, is_enough)
        if until_refused:
            before = [client.outcomes["refused"] for client in clients]

            def all_refused() -> bool:
                return all(client.outcomes["refused"] > n for client, n in zip(clients, before, strict=True))

            await anyio.to_thread.run_sync(wait_until, all_refused)
            assert all_refused(), [client.outcomes for client in clients]
        (books / "stop").touch()
        over = True
    async with anyio.create_task_group() as tasks:
        for client in clients:
            tasks.start_soon(client.ledger.aclose)
    return sum((client.outcomes for client in clients), Counter()), max(client.longest_s for client in clients)


def plans_for(url: str, books: Path, count: int, **changes: object) -> list[Plan]:
    """Return the plans of so many clients, whose limit is a hundred calls."""
    return [
        Plan(f"run-{n}", url, str(books / f"state-{n}"), str(books), 100 * WORST, pace_s=0.02, **changes)  # type: ignore[arg-type]
        for n in range(count)
    ]


async def test_server_that_was_killed_and_comes_back_has_lost_nothing(tmp_path: Path, clients: int) -> None:
    with Server() as server:
        fleet = new_fleet(server)

        def happens() -> None:
            for _ in range(2):
                server.kill()
                server.start()

        def is_enough() -> bool:
            return billed_nano(tmp_path) > 2 * SPENT_BEFORE

        plans = plans_for(address_of(fleet, server), tmp_path, clients)
        outcomes, _ = await spend_while(plans, tmp_path, happens, is_enough=is_enough)
        assert is_enough(), outcomes
        assert wrongs(fleet, tmp_path, limit=100 * WORST) == []


async def test_synchronous_standby_that_takes_over_has_every_call_that_was_sent(tmp_path: Path, clients: int) -> None:
    with Server() as server, closing(server.standby(synchronous=True)) as standby:
        fleet = new_fleet(server)
        sent_before: set[str] = set()

        def happens() -> None:
            server.kill()
            sent_before.update(bills_of(tmp_path))
            standby.promote()

        def is_enough() -> bool:
            return billed_nano(tmp_path) > 2 * SPENT_BEFORE

        plans = plans_for(address_of(fleet, server, standby), tmp_path, clients)
        outcomes, _ = await spend_while(plans, tmp_path, happens, is_enough=is_enough)
        assert is_enough(), outcomes
        survivor = fleet._replace(server=standby)
        assert wrongs(survivor, tmp_path, limit=100 * WORST) == []
        assert sent_before <= survivor.phases().keys()


@contextmanager
def session_on(fleet: Fleet, state_dir: Path, url: str) -> Iterator[FleetSession]:
    """Give one more client, which accepts that a fail-over loses something."""
    address = replace(fleet.address(state_dir), url=url, accept_lost_holds=True)
    with closing(FleetSession(FleetDatabase(address), owner_id="aside", pause_s=0.0)) as session:
        session.open_run("aside", FREE_HAND, task="", agent="", labels={})
        yield session


async def test_asynchronous_standby_that_takes_over_lacks_only_what_it_was_behind(tmp_path: Path, clients: int) -> None:
    limit = 60 * WORST
    with (
        Server() as server,
        Proxy(server.port) as stream,
        closing(server.standby(synchronous=False, port=stream.port)) as standby,
    ):
        fleet = new_fleet(server)
        survivor, url = fleet._replace(server=standby), address_of(fleet, server, standby)
        cautious = PostgresLedger(fleet.address(tmp_path / "cautious"))
        await cautious.open_run("cautious", FREE_HAND, task="", agent="", labels={})
        with pytest.raises(StateError, match="COMMIT does not wait for the standby"):
            await cautious.reserve(ask("cautious", "cautious"))
        await cautious.aclose()
        follower = PostgresLedger(survivor.address(tmp_path / "follower"))
        with pytest.raises(StateError, match="is a standby"):
            await follower.open_run("follower", FREE_HAND, task="", agent="", labels={})
        await follower.aclose()
        early, late = set[str](), set[str]()
        with session_on(fleet, tmp_path / "state-aside", url) as aside:

            def happens() -> None:
                early.update(bills_of(tmp_path))
                (place,) = server.execute("SELECT pg_current_wal_flush_lsn()::text")
                server.wait_for("SELECT 1 FROM pg_stat_replication WHERE flush_lsn >= %s::pg_lsn", *place)
                stream.pause()
                assert isinstance(aside.reserve(ask("in flight", "aside")), Hold)
                assert aside.mark_sent("in flight")
                wait_until(lambda: len(bills_of(tmp_path)) > len(early) + 2 * clients)
                stream.cut_all()
                server.kill()
                late.update(bills_of(tmp_path).keys() - early)
                standby.promote()
                assert "in flight" not in survivor.phases()
                aside._database.close()  # its connection ended with the server
                assert isinstance(aside.reserve(ask("next", "aside")), Hold)
                aside.void("next", "the others need not wait for it")

            plans = plans_for(url, tmp_path, clients, accept_lost_holds=True)
            plans = [replace(plan, hour_nano=limit) for plan in plans]
            outcomes, _ = await spend_while(plans, tmp_path, happens, until_refused=True)
        steps = [(name, phase) for name, phase, _, _ in survivor.entries() if name in ("in flight", "next")]
        assert steps[:3] == [("in flight", "held"), ("in flight", "doubt"), ("next", "held")]
        lost = uncounted(survivor, tmp_path)
        assert lost.keys() <= late, "what is lost was sent while the standby was behind"
        assert billed_nano(tmp_path) <= limit + sum(lost.values()), outcomes
        assert drift(survivor) == ()
        server.start()  # the old primary comes back, and stands first in the address
        again = FleetDatabase(replace(fleet.address(tmp_path / "state-0"), url=url))
        with closing(again), pytest.raises(StateError, match="was primary before a fail-over"), again.write():
            pass


async def test_old_primary_that_lives_on_sends_nothing_once_its_standby_was_promoted(
    tmp_path: Path, clients: int, is_full: bool
) -> None:
    if not is_full:
        pytest.skip("its clients wait for timeouts of seconds: --full")
    with Server() as server, closing(server.standby(synchronous=True)) as standby:
        fleet = new_fleet(server)
        sent_before: set[str] = set()

        def happens() -> None:
            standby.promote()
            sent_before.update(bills_of(tmp_path))

        def is_enough() -> bool:
            return billed_nano(tmp_path) > 3 * SPENT_BEFORE

        old = plans_for(address_of(fleet, server), tmp_path, clients // 2, budget_wait_s=1.0)
        new = plans_for(address_of(fleet, standby), tmp_path, clients // 2)
        plans = [*old, *(replace(plan, name=f"new-{n}") for n, plan in enumerate(new))]
        outcomes, _ = await spend_while(plans, tmp_path, happens, is_enough=is_enough)
        assert is_enough(), outcomes
        survivor = fleet._replace(server=standby)
        later = bills_of(tmp_path).keys() - sent_before
        assert later <= survivor.phases().keys()
        assert billed_nano(tmp_path) <= 100 * WORST
