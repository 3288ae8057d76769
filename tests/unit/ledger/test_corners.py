"""Edge cases of the ledger: each test fails for one plausible mistake in the code."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from agentctl.budget.conclusions import Charge, Settlement
from agentctl.budget.rules import Amounts, Hold, Wait, judge, worst_case
from agentctl.core.errors import Verdict
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Usage
from agentctl.core.pricing import to_nano
from agentctl.ledger.clock import ClockReading
from agentctl.ledger.engines import open_database
from agentctl.ledger.sqlite import ThreadedLedger
from agentctl.ledger.sums import limits_of
from tests.support.ledger.engines import database_at, ledger_at
from tests.support.ledger.parts import HandClock, ask

FREE_HAND = CostLimit(max_cost_per_task=None, max_tokens_per_task=None)


async def send(ledger: ThreadedLedger, name: str, run: str = "run", *, tokens: int) -> None:
    assert isinstance(await ledger.reserve(ask(name, run, tokens=tokens)), Hold)
    assert await ledger.mark_sent(name)


async def spent(ledger: ThreadedLedger, name: str, run: str = "run", *, tokens: int) -> None:
    await send(ledger, name, run, tokens=tokens)
    await ledger.settle(name, Charge(Usage(10, tokens), tokens * 1_000_000, "m"))


def look(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(database_at(path)) as db:
        return db.execute(sql).fetchall()


async def test_concluded_call_is_not_concluded_again_for_less_or_for_more(ledger: ThreadedLedger) -> None:
    await spent(ledger, "settled", tokens=100)
    await ledger.void("settled", "late")
    assert await ledger.doubt("settled", "late") == Settlement("settled", 100_000_000, 110)
    await send(ledger, "doubted", tokens=200)
    await ledger.doubt("doubted", "cut")
    await ledger.void("doubted", "late")
    await send(ledger, "voided", tokens=300)
    await ledger.void("voided", "refused")
    assert await ledger.doubt("voided", "late") == Settlement("void", 0, 0)
    assert (await ledger.spend("run")).run_nano == Amounts(spent=100_000_000, in_doubt=200_000_000)


async def test_closing_voids_what_was_held_and_doubts_what_was_sent(ledger: ThreadedLedger, path: Path) -> None:
    await ledger.reserve(ask("held", tokens=100))
    await send(ledger, "sent", tokens=100)
    await ledger.aclose()
    assert look(path, "SELECT id, phase, provider_fault FROM attempts ORDER BY id") == [
        ("held", "void", 0),
        ("sent", "doubt", 0),
    ]
    assert list(path.with_suffix(".owners").iterdir()) == []
    await ledger.aclose()


async def test_process_wrongly_declared_dead_sends_nothing_unheld_and_its_usage_counts(
    ledger: ThreadedLedger, path: Path, clock: HandClock
) -> None:
    await send(ledger, "sent", tokens=100)
    await ledger.reserve(ask("held", tokens=100))
    shutil.rmtree(path.with_suffix(".owners"))
    other = ledger_at(path, clock=clock)
    await other.reserve(ask("other", tokens=1))
    assert not await ledger.mark_sent("held")
    await ledger.settle("sent", Charge(Usage(10, 40), 40_000_000, "m"))
    await other.aclose()
    assert (await ledger.spend("run")).run_nano == Amounts(spent=40_000_000)


async def test_a_dead_process_is_not_waited_for_in_the_queue(
    ledger: ThreadedLedger, path: Path, clock: HandClock
) -> None:
    for name in ("x", "y"):
        await ledger.open_run(name, FREE_HAND, task="", agent="", labels={})
    await send(ledger, "a", "x", tokens=900)
    dead = ledger_at(path, clock=clock)
    assert isinstance(await dead.reserve(ask("old", "x", tokens=300, hour=Decimal(1))), Wait)
    (owner,) = {n for (n,) in look(path, "SELECT owner_id FROM waiters")}
    (path.with_suffix(".owners") / str(owner)).unlink()
    assert isinstance(await ledger.reserve(ask("young", "y", tokens=90, hour=Decimal(1))), Hold)
    await dead.aclose()


@pytest.mark.parametrize(
    "limits",
    [
        CostLimit(max_cost_per_task=Decimal(1), max_tokens_per_task=None),
        CostLimit(max_cost_per_task=None, max_tokens_per_task=1_000),
    ],
)
async def test_oldest_waiter_of_a_run_goes_first_in_dollars_and_in_tokens(
    ledger: ThreadedLedger, limits: CostLimit
) -> None:
    await ledger.open_run("shared", limits, task="", agent="", labels={})
    await send(ledger, "a", "shared", tokens=900)
    assert isinstance(await ledger.reserve(ask("old", "shared", tokens=300)), Wait)
    await ledger.settle("a", Charge(Usage(10, 650), 650_000_000, "m"))
    assert isinstance(await ledger.reserve(ask("young", "shared", tokens=60)), Wait)
    assert isinstance(await ledger.reserve(ask("old", "shared", tokens=300)), Hold)


async def test_the_hour_is_free_when_enough_amounts_have_left_it(ledger: ThreadedLedger, clock: HandClock) -> None:
    await ledger.open_run("x", FREE_HAND, task="", agent="", labels={})
    start = clock.wall_s
    for name in ("a", "b", "c"):
        await spent(ledger, name, "x", tokens=300)
        clock.pass_by(60)
    refused = await ledger.reserve(ask("d", "x", tokens=600, hour=Decimal(1)))
    assert isinstance(refused, Verdict)
    assert refused.free_at is not None
    assert refused.free_at.timestamp() - start == 3660
    never = await ledger.reserve(ask("e", "x", tokens=1_001, hour=Decimal(1)))
    assert isinstance(never, Verdict)
    assert never.free_at is None
    clock.pass_by(start + 3660 - clock.wall_s)
    assert isinstance(await ledger.reserve(ask("d", "x", tokens=600, hour=Decimal(1))), Hold)


async def test_the_ledgers_time_never_runs_back(ledger: ThreadedLedger, path: Path, clock: HandClock) -> None:
    await spent(ledger, "a", tokens=1)
    clock.wall_s -= 7_200
    await spent(ledger, "b", tokens=1)
    clock.wall_s, clock.boot_s, clock.boot_id = clock.wall_s - 7_200, 1.0, "boot-2"
    await spent(ledger, "c", tokens=1)
    times = [int(str(at)) for (at,) in look(path, "SELECT at_us FROM entries ORDER BY id")]
    assert times == sorted(times)


async def test_late_doubt_counts_in_the_hour_from_when_it_came(ledger: ThreadedLedger, clock: HandClock) -> None:
    await send(ledger, "a", tokens=900)
    clock.pass_by(5_000)
    await ledger.doubt("a", "woke up late")
    clock.pass_by(3_599)
    assert (await ledger.spend("run")).hour_nano.in_doubt == 900_000_000


async def test_an_overrun_that_was_cleared_is_forgotten(ledger: ThreadedLedger, path: Path) -> None:
    await ledger.open_run("rich", FREE_HAND, task="", agent="", labels={})
    await send(ledger, "a", "rich", tokens=100)
    await ledger.settle("a", Charge(Usage(10, 900), 900_000_000, "m"))
    with closing(database_at(path)) as db, db:
        db.execute("UPDATE overruns SET cleared_us = 1")
    held = await ledger.reserve(ask("b", "rich", tokens=1))
    assert isinstance(held, Hold)
    assert held.nano == 1_000_000


async def test_ceiling_held_after_an_overrun_may_reach_the_limit_exactly(ledger: ThreadedLedger, path: Path) -> None:
    with closing(open_database(path)) as store, store.write() as tick:
        (room, *_) = limits_of(tick, ask("a"))
    needs = worst_case(ask("a"), 256, at_ceiling=True).nano
    assert needs is not None
    assert judge(ask("a"), (room._replace(ceiling=needs),), at_ceiling=True) == worst_case(
        ask("a"), 256, at_ceiling=True
    )
    assert isinstance(judge(ask("a"), (room._replace(ceiling=needs - 1),), at_ceiling=True), Verdict)


# --- the file ---------------------------------------------------------------------------------------------------


def test_a_commit_is_on_disk_and_the_write_lock_is_taken_before_anything_is_read(path: Path) -> None:
    refused: list[str] = []

    def clock() -> ClockReading:
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as db:
            try:
                db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                refused.append(str(error))
        return HandClock()()

    store = open_database(path, clock=clock)
    with store.write() as tick:
        assert refused == ["database is locked"]
        assert tick.db.execute("PRAGMA synchronous").fetchone() == (2,)
    store.close()


def test_a_writer_queues_before_it_begins(path: Path) -> None:
    store = open_database(path)
    with store.write():
        fd = os.open(path.with_suffix(".queue"), os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(fd)
    store.close()


def test_a_limit_is_never_made_larger_by_rounding() -> None:
    assert to_nano(Decimal("0.0000000019")) == 1
