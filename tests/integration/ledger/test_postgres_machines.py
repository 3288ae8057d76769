"""One run, or one lease, on several machines: their calls count in it together, and its end holds for all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import anyio
import pytest

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import Hold, Wait
from agentctl.core.errors import ActionDenied, Verdict
from agentctl.core.leases import Lease, LeaseError
from agentctl.core.limits import CostLimit, Parent
from agentctl.core.messages import Usage
from agentctl.ledger.check import check
from agentctl.ledger.lease_books import close_lease
from agentctl.ledger.postgres import PostgresLedger
from tests.support.ledger.parts import DOLLAR, ask
from tests.support.postgres.fleet import Fleet

WORST = 256_000_000
CHARGE = Charge(Usage(10, 246), 246_000_000, "m")
FREE = CostLimit(max_cost_per_task=None, max_tokens_per_task=None)
MACHINES = 4


@asynccontextmanager
async def opened(
    fleet: Fleet, folder: Path, run: str, parent: Parent | Lease | None = None, *, limits: CostLimit = FREE
) -> AsyncIterator[PostgresLedger]:
    """Open the ledger on a machine of its own, with a run that others can be below."""
    ledger = PostgresLedger(fleet.address(folder / run), pause_s=0.0)
    try:
        await ledger.open_run(run, limits, task="t", agent="a", labels={}, parent=parent, capability=f"secret of {run}")
        yield ledger
    finally:
        await ledger.aclose()


def below(run: str) -> Parent:
    return Parent(run, f"secret of {run}")


async def spend(ledger: PostgresLedger, run: str) -> int:
    """Call until a limit refuses, and return what that cost."""
    spent = 0
    while True:
        answer = await ledger.reserve(ask(f"{run}-{spent}", run))
        if isinstance(answer, Wait):  # for a hold of another machine
            await anyio.sleep(0.01)
            continue
        if isinstance(answer, Verdict):
            return spent
        assert spent <= 2 * DOLLAR
        assert await ledger.mark_sent(answer.id)
        await ledger.settle(answer.id, CHARGE)
        spent += CHARGE.nano or 0


async def test_runs_on_other_machines_spend_together_what_the_run_above_them_has(
    own_fleet: Fleet, tmp_path: Path
) -> None:
    spent: list[int] = []

    async def machine(number: int) -> None:
        child, grandchild = f"child-{number}", f"grandchild-{number}"
        async with (
            opened(own_fleet, tmp_path, child, below("top")) as above,
            opened(own_fleet, tmp_path, grandchild, below(child)) as ledger,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(count, above, child)
            tasks.start_soon(count, ledger, grandchild)

    async def count(ledger: PostgresLedger, run: str) -> None:
        spent.append(await spend(ledger, run))

    async with opened(own_fleet, tmp_path, "top", limits=CostLimit(max_cost_per_task=Decimal(2))) as top:
        async with anyio.create_task_group() as tasks:
            for number in range(MACHINES):
                tasks.start_soon(machine, number)
        assert 2 * DOLLAR - WORST < sum(spent) <= 2 * DOLLAR
        assert (await top.spend("top")).run_nano.spent == sum(spent)
    assert check(own_fleet.address(tmp_path)).wrong == ()


async def test_run_sends_nothing_more_once_the_machine_of_the_run_above_it_is_gone(
    own_fleet: Fleet, tmp_path: Path
) -> None:
    async with opened(own_fleet, tmp_path, "top") as top, opened(own_fleet, tmp_path, "child", below("top")) as child:
        assert isinstance(await child.reserve(ask("a", "child")), Hold)
        session = top._session
        assert session is not None
        own_fleet.query("UPDATE agentctl.owners SET lease_until_us = 0 WHERE id = %s", session._owner_id)
        assert not await child.mark_sent("a")
        with pytest.raises(ActionDenied, match="run top, which this run belongs to, has ended"):
            await child.reserve(ask("b", "child"))


async def test_one_lease_on_several_machines_is_spent_once_and_closed_for_all(own_fleet: Fleet, tmp_path: Path) -> None:
    lease, spent = Lease("a1b2-3", 2 * DOLLAR, 0, 2**33 * 1_000_000, "digest"), list[int]()

    async def machine(run: str) -> None:
        async with opened(own_fleet, tmp_path, run, lease) as ledger:
            spent.append(await spend(ledger, run))

    async with anyio.create_task_group() as tasks:
        for number in range(MACHINES):
            tasks.start_soon(machine, f"run-{number}")
    assert 2 * DOLLAR - WORST < sum(spent) <= 2 * DOLLAR
    async with opened(own_fleet, tmp_path, "late", lease) as ledger:
        book = close_lease(own_fleet.address(tmp_path), lease)
        assert (book.spent_nano, book.in_doubt_nano, book.calls) == (sum(spent), 0, len(own_fleet.phases()))
        with pytest.raises(LeaseError, match="was closed in this ledger"):
            await ledger.reserve(ask("late", "late", tokens=1))


async def test_lease_that_expires_in_mid_run_marks_and_holds_nothing_more(own_fleet: Fleet, tmp_path: Path) -> None:
    lease = Lease("a1b2-3", 2 * DOLLAR, 0, 2**33 * 1_000_000, "digest")
    async with opened(own_fleet, tmp_path, "run", lease) as ledger:
        for name in "abc":
            assert isinstance(await ledger.reserve(ask(name)), Hold)
        assert await ledger.mark_sent("a")
        assert await ledger.mark_sent("b")
        own_fleet.query("UPDATE agentctl.scopes SET expires_us = 1 WHERE kind = 'lease'")
        assert not await ledger.mark_sent("c")
        with pytest.raises(LeaseError, match="expired"):
            await ledger.reserve(ask("d"))
        await ledger.settle("a", CHARGE)
    assert own_fleet.phases() == {"a": "settled", "b": "doubt", "c": "void"}
