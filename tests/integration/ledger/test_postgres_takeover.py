"""A server that dies, and its standby that takes over, while clients spend: thirty of them with --full."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tests.support.postgres.clients import WORST, Client, Plan, billed_nano, bills_of, wrongs
from tests.support.postgres.fleet import Fleet, new_fleet
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


async def spend_while(
    plans: list[Plan], books: Path, happens: Callable[[], None], *, is_enough: Callable[[], bool]
) -> tuple[Counter[str], float]:
    """Let clients spend; then something happens, and they go on until it is enough. Return what came of their calls."""
    clients = [Client(plan) for plan in plans]
    over = False
    async with anyio.create_task_group() as tasks:
        for client in clients:
            tasks.start_soon(client.spend, lambda: over)
        await anyio.to_thread.run_sync(wait_until, lambda: billed_nano(books) > SPENT_BEFORE)
        await anyio.to_thread.run_sync(happens)
        await anyio.to_thread.run_sync(wait_until, is_enough)
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
