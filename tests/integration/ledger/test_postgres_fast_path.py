"""The fast path of a ledger on PostgreSQL: one round trip a step, and nothing is held or sent that is not certain."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from agentctl.budget.conclusions import Charge, Settlement
from agentctl.budget.rules import AnswerReserve, Hold, Wait
from agentctl.core.errors import StateError, Verdict
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Usage
from agentctl.ledger.postgres import PostgresLedger
from tests.support.ledger.parts import ask
from tests.support.postgres.fleet import Fleet
from tests.support.postgres.proxy import Proxy

CHARGE = Charge(Usage(10, 100), 100_000_000, "m")
SETTLED = Settlement("settled", 100_000_000, 110)
TWO = CostLimit(max_cost_per_task=Decimal(2))
_UNDO = "ALTER TABLE agentctl.entries DISABLE TRIGGER entries_stay; DELETE FROM agentctl.entries"


@asynccontextmanager
async def opened(
    fleet: Fleet, folder: Path, run: str = "run", *, limits: CostLimit = TWO
) -> AsyncIterator[tuple[PostgresLedger, Proxy]]:
    """Open a ledger with a run that has two dollars."""
    with Proxy(fleet.server.port) as proxy:
        ledger = PostgresLedger(fleet.address(folder, port=proxy.port))
        try:
            await ledger.open_run(run, limits, task="t", agent="a", labels={})
            yield ledger, proxy
        finally:
            await ledger.aclose()


async def test_usual_call_takes_one_round_trip_a_step(own_fleet: Fleet, tmp_path: Path) -> None:
    async with opened(own_fleet, tmp_path) as (ledger, proxy):
        began = proxy.round_trips
        assert isinstance(await ledger.reserve(ask("a")), Hold)
        assert await ledger.mark_sent("a")
        assert await ledger.settle("a", CHARGE) == SETTLED
        assert proxy.round_trips == began + 3


@pytest.mark.parametrize("change", ["lease_until_us = 0", "epoch = epoch + 1", "ended_us = 1"])
async def test_owner_that_others_may_take_for_dead_sends_nothing_that_it_holds(
    own_fleet: Fleet, tmp_path: Path, change: str
) -> None:
    async with opened(own_fleet, tmp_path) as (ledger, _):
        assert isinstance(await ledger.reserve(ask("a")), Hold)
        with own_fleet.server.connect(own_fleet.database) as db:
            db.execute(f"UPDATE agentctl.owners SET {change}".encode())  # noqa: S608 - the test's own words
        assert not await ledger.mark_sent("a")
        assert own_fleet.phases() == {"a": "void"}
        assert isinstance(await ledger.reserve(ask("b")), Hold)
        assert await ledger.mark_sent("b")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE agentctl.ledger_info SET replicated = true", "a fail-over of .* can lose holds"),
        ("UPDATE agentctl.ledger_info SET ledger_id = 'another'", "is another ledger than before"),
        ("UPDATE agentctl.ledger_info SET version = 99", "migrated by a newer agentctl"),
        (_UNDO, "has lost entries"),
    ],
)
async def test_ledger_that_changed_after_it_was_seen_takes_no_hold(
    own_fleet: Fleet, tmp_path: Path, change: str, said: str
) -> None:
    async with opened(own_fleet, tmp_path) as (ledger, _):
        for name in ("a", "b"):
            assert isinstance(await ledger.reserve(ask(name)), Hold)
        with own_fleet.server.connect(own_fleet.database) as db:
            db.execute(change.encode())
        with pytest.raises(StateError, match=said):
            await ledger.reserve(ask("c"))
        assert own_fleet.phases() == {"a": "held", "b": "held"}


@pytest.mark.parametrize(
    ("used", "nano"), [(Usage(10, 100), 256_000_001), (Usage(167, 100), 100_000_000)], ids=["dollars", "tokens"]
)
async def test_charge_above_its_hold_is_an_overrun(own_fleet: Fleet, tmp_path: Path, used: Usage, nano: int) -> None:
    async with opened(own_fleet, tmp_path) as (ledger, _):
        assert isinstance(await ledger.reserve(ask("a")), Hold)
        assert await ledger.mark_sent("a")
        settled = await ledger.settle("a", Charge(used, nano, "m"))
        assert settled == Settlement("settled", nano, used.total_tokens, overrun=True)
        assert own_fleet.query("SELECT attempt_id FROM agentctl.overruns") == [("a",)]


async def test_small_request_that_would_fit_waits_behind_an_earlier_one(own_fleet: Fleet, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        first, second, third = [
            (await stack.enter_async_context(opened(own_fleet, tmp_path, f"run{n}")))[0] for n in range(3)
        ]
        assert isinstance(await first.reserve(ask("a", "run0", tokens=500, hour=Decimal(1))), Hold)
        assert await first.mark_sent("a")
        assert isinstance(await second.reserve(ask("b", "run1", tokens=600, hour=Decimal(1))), Wait)
        assert isinstance(await third.reserve(ask("c", "run2", tokens=300, hour=Decimal(1))), Wait)
        assert own_fleet.phases() == {"a": "sent"}


async def test_run_with_half_of_its_tokens_in_doubt_gets_no_more(own_fleet: Fleet, tmp_path: Path) -> None:
    async with opened(own_fleet, tmp_path, limits=CostLimit(max_cost_per_task=None, max_tokens_per_task=1_000)) as (
        ledger,
        _,
    ):
        assert isinstance(await ledger.reserve(ask("a", tokens=490)), Hold)
        assert await ledger.mark_sent("a")
        await ledger.doubt("a", "cut")
        refused = await ledger.reserve(ask("b", tokens=10))
        assert isinstance(refused, Verdict)
        assert refused.doubtful


async def test_reserve_for_the_last_answer_is_left_out_where_it_does_not_fit(own_fleet: Fleet, tmp_path: Path) -> None:
    async with opened(own_fleet, tmp_path) as (ledger, _):
        for name, kept in (("a", 400), ("b", 401)):
            asked = ask(name, tokens=300, hour=Decimal(1), keep=AnswerReserve(10, kept))
            assert isinstance(await ledger.reserve(asked), Hold)
        assert Counter(own_fleet.phases().values()) == {"held": 2, "kept": 1}
        assert own_fleet.query("SELECT nano FROM agentctl.attempts WHERE phase = 'kept'") == [(400_000_000,)]
