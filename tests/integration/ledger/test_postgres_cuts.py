"""A connection that is cut within a transaction, at five points of each operation: nothing is written twice or lost.

An operation that looks up its id first is done as if nothing had happened. ``mark_sent`` is not: a mark that is not
certain is void.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agentctl.budget.conclusions import Charge, Settlement
from agentctl.budget.rules import Hold
from agentctl.core.errors import LimitName
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Usage
from agentctl.ledger.postgres import PostgresLedger
from tests.support.ledger.parts import ask
from tests.support.postgres.fleet import Fleet, fleet_copied
from tests.support.postgres.proxy import POINTS, Point, Proxy
from tests.support.postgres.server import Server

CHARGE = Charge(Usage(10, 100), 100_000_000, "m")
LIMITS = CostLimit(max_cost_per_task=Decimal(2))  # room for a hold that is lost and made again
WRITES = "READ COMMITTED"  # in the first statement of each transaction of an operation
NONE: Mapping[LimitName, int] = {}
COMMITTED = ("after commit", "mid-answer")

#: Each step with each point takes a while: usually each step once, and each point once.
CASES: list[tuple[str, Point]] = [
    *(("open_run", "before begin"), ("open_run", "after commit"), ("reserve", "after commit")),
    *(("settle", "mid-answer"), ("void", "after commit"), ("doubt", "before commit")),
    *(("close_run", "after begin"), ("reopen_run", "after commit")),
]
ALL_CASES = [(step, point) for step in dict(CASES) for point in POINTS]
#: The entries of the whole book, as SQLite's ledger has them.
BOOK = [
    *[("a", "held", 256_000_000, 266), ("a", "sent", 256_000_000, 266), ("a", "settled", 100_000_000, 110)],
    *[("b", "held", 256_000_000, 266), ("b", "sent", 256_000_000, 266), ("b", "void", 0, 0)],
    *[("c", "held", 256_000_000, 266), ("c", "sent", 256_000_000, 266), ("c", "doubt", 256_000_000, 266)],
]


class Calls:
    """Three calls of a run, one settled, one void, one in doubt; the step called ``cut`` is cut at ``point``."""

    def __init__(
        self, ledger: PostgresLedger, proxy: Proxy, cut: str, point: Point, further: Mapping[LimitName, int] = NONE
    ) -> None:
        self.ledger, self.proxy, self.cut, self.point, self.further = ledger, proxy, cut, point, further

    async def do(self, step: str, *words: Any, **more: Any) -> Any:  # noqa: ANN401 - any operation
        """Do a step; cut it if it is the one, once."""
        is_cut, self.cut = step == self.cut, "" if step == self.cut else self.cut
        if is_cut:
            self.proxy.arm(self.point, WRITES)
        answer = await getattr(self.ledger, step)(*words, **more)
        assert not self.proxy.disarm(), f"{step} was not cut"
        return answer

    async def call(self, name: str) -> bool:
        """Hold and mark one."""
        hold = await self.do("reserve", ask(name, further=self.further))
        assert isinstance(hold, Hold)
        assert (hold.id, hold.granted_output, hold.nano) == (name, 256, 256_000_000)
        sent: bool = await self.do("mark_sent", name)
        return sent

    async def make(self) -> None:
        """Make them all."""
        await self.do("open_run", "run", LIMITS, task="t", agent="a", labels={})
        assert await self.call("a")
        assert await self.do("settle", "a", CHARGE) == Settlement("settled", 100_000_000, 110)
        assert await self.call("b")
        await self.do("void", "b", "refused")
        assert await self.call("c")
        assert await self.do("doubt", "c", "cut") == Settlement("doubt", 256_000_000, 266)
        await self.do("close_run", "run", "done")
        past = await self.do("reopen_run", "run", LIMITS)
        assert (past.cost_nano, past.in_doubt_nano) == (100_000_000, 256_000_000)


@asynccontextmanager
async def proxied(fleet: Fleet, folder: Path) -> AsyncIterator[tuple[PostgresLedger, Proxy]]:
    with Proxy(fleet.server.port) as proxy:
        ledger = PostgresLedger(fleet.address(folder, port=proxy.port))
        try:
            yield ledger, proxy
        finally:
            await ledger.aclose()


@pytest.mark.parametrize(("step", "point"), CASES)
async def test_operation_is_done_once_wherever_its_connection_is_cut(
    own_fleet: Fleet, tmp_path: Path, step: str, point: Point
) -> None:
    await make_with_cut(own_fleet, tmp_path, step, point)


@pytest.mark.parametrize("point", ["after begin", "after commit"])
async def test_hold_that_takes_several_round_trips_is_made_once(own_fleet: Fleet, tmp_path: Path, point: Point) -> None:
    await make_with_cut(own_fleet, tmp_path, "reserve", point, {"max_calls_per_minute": 100})


async def test_each_operation_is_done_once_wherever_its_connection_is_cut(
    postgres: Server, fleet_template_name: str, tmp_path: Path, is_full: bool
) -> None:
    for step, point in set(ALL_CASES) - set(CASES) if is_full else ():
        with fleet_copied(postgres, fleet_template_name) as fleet:
            await make_with_cut(fleet, tmp_path, step, point)


async def make_with_cut(
    fleet: Fleet, folder: Path, step: str, point: Point, further: Mapping[LimitName, int] = NONE
) -> None:
    async with proxied(fleet, folder) as (ledger, proxy):
        await Calls(ledger, proxy, step, point, further).make()
    assert len(proxy.cuts) == 1
    assert fleet.entries() == BOOK
    assert fleet.query("SELECT id, closed_us IS NOT NULL FROM agentctl.scopes") == [("run", True)]  # with its owner


@pytest.mark.parametrize("point", POINTS)
async def test_mark_that_is_not_certain_is_void_and_nothing_is_sent(
    own_fleet: Fleet, tmp_path: Path, point: Point
) -> None:
    async with proxied(own_fleet, tmp_path) as (ledger, proxy):
        calls = Calls(ledger, proxy, "mark_sent", point)
        await calls.do("open_run", "run", CostLimit(), task="t", agent="a", labels={})
        assert not await calls.call("a")
        marked = [("a", "sent", 256_000_000, 266)] if point in COMMITTED else []
        assert own_fleet.entries() == [("a", "held", 256_000_000, 266), *marked, ("a", "void", 0, 0)]
        assert not await ledger.mark_sent("a")
        assert await calls.call("b")
        assert own_fleet.phases() == {"a": "void", "b": "sent"}
