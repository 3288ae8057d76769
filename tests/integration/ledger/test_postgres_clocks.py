"""Clocks of the server and of clients that are wrong by an hour or a day: the ledger's time is the server's, and never
goes back.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import Hold
from agentctl.core.errors import Verdict
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Usage
from agentctl.ledger.postgres import PostgresLedger
from tests.support.bill.parts import FOUR_CENTS, KEY, PAID, TASK, Here, reaching
from tests.support.ledger.parts import ask
from tests.support.machine import need
from tests.support.postgres.clients import drift
from tests.support.postgres.fleet import Fleet
from tests.support.postgres.server import RUNNER
from tests.support.wire.plugin import OpenWire

HOUR_S, DAY_S = 3_600, 86_400
WRONG_BY_S = (HOUR_S, DAY_S, -HOUR_S, -DAY_S)
#: The columns of times to come: how long after the transaction they are at most.
AHEAD_S = {"deadline_us": 1_800, "lease_until_us": 60, "leaves_hour_us": HOUR_S + 1_800, "expires_us": 0}


def times(fleet: Fleet) -> dict[str, list[int]]:
    """Return every time that stands in the ledger, by table and column."""
    columns = fleet.query(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'agentctl'"
        " AND right(column_name, 3) = '_us' AND column_name NOT IN ('width_us', 'boot_us')"
    )
    found: dict[str, list[int]] = {}
    for table, column in columns:
        sql: Any = f"SELECT {column} FROM agentctl.{table} WHERE {column} > 0"  # noqa: S608 - names of the schema
        found[f"{table}.{column}"] = [int(str(row[0])) for row in fleet.query(sql)]
    return found


def server_us(fleet: Fleet) -> int:
    ((now_us,),) = fleet.query("SELECT (extract(epoch FROM agentctl.clock_timestamp()) * 1000000)::bigint")
    return int(str(now_us))


def assert_times(fleet: Fleet, began_us: int, ended_us: int) -> None:
    """Assert that every time in the ledger is the server's."""
    found = times(fleet)
    assert {name for name, values in found.items() if values} >= {"attempts.sent_us", "entries.at_us", "clock.now_us"}
    for name, values in found.items():
        ahead_us = AHEAD_S.get(name.partition(".")[2], 0) * 1_000_000
        wrong = [value - began_us for value in values if not began_us <= value <= ended_us + ahead_us]
        assert wrong == [], f"{name}, {ended_us - began_us} later"


@pytest.mark.parametrize("wrong_by_s", WRONG_BY_S)
async def test_a_run_on_a_machine_with_another_time_writes_that_of_the_server(
    own_fleet: Fleet, wire: OpenWire, tmp_path: Path, wrong_by_s: int
) -> None:
    own_fleet.turn_clock(wrong_by_s)
    began_us = server_us(own_fleet)
    paid = PAID["openai"]
    model = wire(paid.answer("Half of it is used."), rates=paid.rates, keys=[KEY])
    url = own_fleet.server.dsn(own_fleet.database, user=RUNNER)
    said = await Here(tmp_path).run({**reaching(model, "openai"), "AGENTCTL_LEDGER": url})
    assert (said["status"], said["cost"]["nano_usd"]) == ("done", FOUR_CENTS)
    assert_times(own_fleet, began_us, server_us(own_fleet))


def test_a_command_whose_clock_is_wrong_writes_the_servers_time(
    own_fleet: Fleet, wire: OpenWire, tmp_path: Path, is_full: bool
) -> None:
    if not is_full:
        pytest.skip("it needs faketime: --full")
    need("faketime")
    own_fleet.turn_clock(0)
    began_us = server_us(own_fleet)
    for wrong_by_s in (DAY_S, -HOUR_S):
        paid = PAID["openai"]
        model = wire(paid.answer("Half of it is used."), rates=paid.rates, keys=[KEY])
        url = own_fleet.server.dsn(own_fleet.database, user=RUNNER)
        environ = {**os.environ, **reaching(model, "openai"), "AGENTCTL_LEDGER": url, "AGENTCTL_SANDBOX": "none"}
        done = subprocess.run(
            ["faketime", "-f", f"{wrong_by_s:+}s", sys.executable, "-m", "agentctl", "run", TASK, "--json"],
            env={**environ, "DONT_FAKE_MONOTONIC": "1"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        off = datetime.fromisoformat(json.loads(done.stdout)["finished_at"]) - datetime.now(UTC)
        assert abs(off.total_seconds() - wrong_by_s) < HOUR_S / 2, "the run's own times are the machine's"
        assert_times(own_fleet, began_us, server_us(own_fleet))


@asynccontextmanager
async def spent(fleet: Fleet, folder: Path) -> AsyncIterator[PostgresLedger]:
    """Give a ledger whose hour has room for one call, which was made."""
    fleet.turn_clock(0)
    ledger = PostgresLedger(fleet.address(folder), pause_s=0.0)
    try:
        await ledger.open_run("run", CostLimit(max_cost_per_task=None), task="t", agent="a", labels={})
        assert await grants(ledger, "first")
        assert not await grants(ledger, "at once")
        yield ledger
    finally:
        await ledger.aclose()
    assert drift(fleet) == ()
    at = [int(str(us)) for (us,) in fleet.query("SELECT at_us FROM agentctl.entries ORDER BY id")]
    assert at == sorted(at)


async def grants(ledger: PostgresLedger, name: str, tokens: int = 256) -> bool:
    """Ask for a call, which by default fits into an empty hour only; make it, if it is granted."""
    answer = await ledger.reserve(ask(name, tokens=tokens, hour=Decimal("0.3")))
    if isinstance(answer, Hold):
        assert await ledger.mark_sent(name)
        await ledger.settle(name, Charge(Usage(10, tokens), tokens * 1_000_000, "m"))
        return True
    assert isinstance(answer, Verdict)
    assert answer.limit == "max_cost_per_hour"
    return False


async def test_the_hour_ends_when_the_server_says_so(own_fleet: Fleet, tmp_path: Path) -> None:
    async with spent(own_fleet, tmp_path) as ledger:
        own_fleet.turn_clock(HOUR_S - 60)
        assert not await grants(ledger, "early")
        own_fleet.turn_clock(61)
        assert await grants(ledger, "second")


@pytest.mark.parametrize("back_s", [HOUR_S, DAY_S])
async def test_the_ledgers_time_stands_still_while_the_servers_clock_is_behind(
    own_fleet: Fleet, tmp_path: Path, back_s: int
) -> None:
    async with spent(own_fleet, tmp_path) as ledger:
        own_fleet.turn_clock(-back_s)
        assert not await grants(ledger, "back")
        assert await grants(ledger, "small", tokens=1)
        own_fleet.turn_clock(back_s + HOUR_S - 60)
        assert not await grants(ledger, "early")
        own_fleet.turn_clock(61)
        assert await grants(ledger, "second")


@pytest.mark.parametrize("ahead_s", [HOUR_S + 1, DAY_S])
async def test_what_was_spent_while_the_servers_clock_was_ahead_still_counts_later(
    own_fleet: Fleet, tmp_path: Path, ahead_s: int
) -> None:
    async with spent(own_fleet, tmp_path) as ledger:
        own_fleet.turn_clock(ahead_s)
        assert await grants(ledger, "ahead")
        own_fleet.turn_clock(-ahead_s)
        assert not await grants(ledger, "right again")
        own_fleet.turn_clock(HOUR_S)
        assert not await grants(ledger, "an hour later")
        own_fleet.turn_clock(ahead_s + 1)
        assert await grants(ledger, "third")
