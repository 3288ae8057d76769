"""The reserve for a last answer: made with a hold, exchanged for the real call, never in the way of a turn."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import Amounts, AnswerReserve, Ask, Hold, Wait
from agentctl.core.errors import StateError, Verdict
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Usage
from agentctl.core.pricing import FREE
from agentctl.ledger.sqlite import ThreadedLedger
from tests.support.ledger.engines import database_at
from tests.support.ledger.parts import DOLLAR, FACTS, HandClock, ask

FREE_HAND = CostLimit(max_cost_per_task=None, max_tokens_per_task=None)


def keeping(name: str, tokens: int, keep: int, run: str = "run", *, hour: Decimal | None = None) -> Ask:
    """Ask for exactly ``tokens``, and for ``keep`` beside them."""
    return ask(name, run, tokens=tokens, hour=hour)._replace(keep=AnswerReserve(10, keep))


def answer(name: str, tokens: int, run: str = "run", *, hour: Decimal | None = None) -> Ask:
    return ask(name, run, tokens=tokens, hour=hour)._replace(purpose="answer", keep=AnswerReserve(10, tokens))


async def opened(ledger: ThreadedLedger, run: str = "mine", dollars: str | None = "1") -> None:
    most = None if dollars is None else Decimal(dollars)
    limits = CostLimit(max_cost_per_task=most, max_tokens_per_task=None)
    await ledger.open_run(run, limits, task="", agent="", labels={})


async def settled(ledger: ThreadedLedger, held: object, tokens: int) -> None:
    assert isinstance(held, Hold), held
    assert await ledger.mark_sent(held.id)
    await ledger.settle(held.id, Charge(Usage(10, tokens), tokens * 1_000_000))


def rows(path: Path, columns: str, table: str = "attempts") -> list[tuple[object, ...]]:
    with closing(database_at(path)) as db:
        order = "id" if table == "entries" else "rowid"
        return db.execute(f"SELECT {columns} FROM {table} ORDER BY {order}").fetchall()  # noqa: S608


async def test_reserve_counts_as_held_and_is_never_sent_itself(ledger: ThreadedLedger, path: Path) -> None:
    await opened(ledger)
    assert isinstance(await ledger.reserve(keeping("one", 300, 100, "mine")), Hold)
    assert (await ledger.spend("mine")).run_nano == Amounts(held=400_000_000)
    (kept,) = [str(row[0]) for row in rows(path, "id, phase") if row[1] == "kept"]
    assert not await ledger.mark_sent(kept)
    refused = await ledger.reserve(ask("two", "mine", tokens=601))
    assert isinstance(refused, Wait)
    assert refused.verdict is not None
    assert refused.verdict.would_be == 1_001_000_000


async def test_grant_leaves_room_for_the_reserve_and_both_reach_the_limit_exactly(ledger: ThreadedLedger) -> None:
    await opened(ledger)
    held = await ledger.reserve(keeping("one", 300, 100, "mine")._replace(most=9_999))
    assert isinstance(held, Hold)
    assert held.nano == 900_000_000
    assert (await ledger.spend("mine")).run_nano == Amounts(held=DOLLAR)


async def test_each_hold_resizes_the_reserve_in_the_same_row(ledger: ThreadedLedger, path: Path) -> None:
    await opened(ledger)
    await settled(ledger, await ledger.reserve(keeping("one", 200, 100, "mine")), 200)
    await settled(ledger, await ledger.reserve(keeping("two", 200, 150, "mine")), 200)
    assert isinstance(await ledger.reserve(keeping("three", 200, 120, "mine")), Hold)
    assert (await ledger.spend("mine")).run_nano == Amounts(spent=400_000_000, held=320_000_000)
    kept = [row for row in rows(path, "attempt_id, phase, nano", "entries") if row[1] == "kept"]
    assert [row[2] for row in kept] == [100_000_000, 150_000_000, 120_000_000]
    assert len({row[0] for row in kept}) == 1


async def test_reserve_grows_no_further_than_there_is_room(ledger: ThreadedLedger) -> None:
    await opened(ledger)
    await settled(ledger, await ledger.reserve(keeping("one", 500, 100, "mine")), 500)
    assert isinstance(await ledger.reserve(keeping("two", 400, 150, "mine")), Hold)
    assert (await ledger.spend("mine")).run_nano == Amounts(spent=500_000_000, held=DOLLAR // 2)


async def test_limit_too_small_for_both_gets_no_reserve(ledger: ThreadedLedger, path: Path) -> None:
    await opened(ledger)
    held = await ledger.reserve(keeping("one", 950, 100, "mine"))
    assert isinstance(held, Hold)
    assert [row[0] for row in rows(path, "phase")] == ["held"]


async def test_turn_that_needs_the_reserve_is_refused_and_the_reserve_is_exchanged(
    ledger: ThreadedLedger, path: Path
) -> None:
    await opened(ledger)
    await settled(ledger, await ledger.reserve(keeping("one", 700, 200, "mine")), 700)
    assert isinstance(await ledger.reserve(keeping("two", 256, 200, "mine")), Verdict)
    last = await ledger.reserve(answer("last", 300, "mine"))  # what it kept, and what else is left
    await settled(ledger, last, 300)
    assert (await ledger.spend("mine")).run_nano == Amounts(spent=DOLLAR)
    assert rows(path, "purpose, phase, reason") == [
        ("answer", "void", "exchanged for the last answer"),
        ("turn", "settled", None),
        ("answer", "settled", None),
    ]


async def test_a_last_answer_above_what_is_left_is_refused_like_any_call(ledger: ThreadedLedger) -> None:
    await opened(ledger)
    await settled(ledger, await ledger.reserve(keeping("one", 700, 200, "mine")), 700)
    assert isinstance(await ledger.reserve(answer("last", 301, "mine")), Verdict)
    assert (await ledger.spend("mine")).run_nano == Amounts(spent=700_000_000, held=200_000_000)


async def test_turn_of_another_run_comes_before_the_reserve(
    ledger: ThreadedLedger, path: Path, clock: HandClock
) -> None:
    """Both runs have the hourly limit; the youngest reserve is evicted first, and no more than is needed."""
    hour = Decimal(1)
    for run in ("first", "second", "third"):
        await opened(ledger, run, None)
    await settled(ledger, await ledger.reserve(keeping("a", 100, 150, "first", hour=hour)), 100)
    clock.pass_by(1)
    await settled(ledger, await ledger.reserve(keeping("b", 100, 150, "second", hour=hour)), 100)
    assert isinstance(await ledger.reserve(ask("c", "third", tokens=600, hour=hour)), Hold)
    assert rows(path, "id, phase, reason")[-1] == ("c", "held", None)
    gone = [row[0] for row in rows(path, "run_id, phase, reason") if row[2] == "another run needed the room"]
    assert gone == ["second"]
    assert (await ledger.spend("third")).hour_nano == Amounts(spent=200_000_000, held=750_000_000)


async def test_dropped_reserve_can_be_made_again(ledger: ThreadedLedger) -> None:
    hour = Decimal(1)
    await opened(ledger, "first", None)
    await opened(ledger, "second", None)
    await settled(ledger, await ledger.reserve(keeping("a", 100, 200, "first", hour=hour)), 100)
    needy = await ledger.reserve(ask("b", "second", tokens=800, hour=hour))
    await settled(ledger, needy, 300)
    assert isinstance(await ledger.reserve(keeping("c", 100, 200, "first", hour=hour)), Hold)
    assert (await ledger.spend("first")).run_nano == Amounts(spent=100_000_000, held=300_000_000)


async def test_reserve_ends_with_its_run_and_with_its_process(ledger: ThreadedLedger, path: Path) -> None:
    await opened(ledger, "closed")
    await opened(ledger, "left")
    await settled(ledger, await ledger.reserve(keeping("a", 100, 100, "closed")), 100)
    await settled(ledger, await ledger.reserve(keeping("b", 100, 100, "left")), 100)
    await ledger.close_run("closed", "done")
    assert (await ledger.spend("closed")).run_nano == Amounts(spent=100_000_000)
    await ledger.aclose()
    assert [row for row in rows(path, "phase, nano") if row[0] not in ("settled",)] == [("void", 0), ("void", 0)]


async def test_reserve_is_dropped_when_it_would_be_too_small(ledger: ThreadedLedger) -> None:
    await opened(ledger)
    await settled(ledger, await ledger.reserve(keeping("one", 100, 100, "mine")), 100)
    assert isinstance(await ledger.reserve(ask("two", "mine", tokens=100)._replace(keep=AnswerReserve(0, 0))), Hold)
    assert (await ledger.spend("mine")).run_nano == Amounts(spent=100_000_000, held=100_000_000)


async def test_reserves_of_others_give_no_room_under_a_runs_own_limit(ledger: ThreadedLedger) -> None:
    await opened(ledger, "other", None)
    assert isinstance(await ledger.reserve(keeping("theirs", 100, 200, "other")), Hold)
    await opened(ledger)
    await settled(ledger, await ledger.reserve(ask("one", "mine", tokens=900)), 900)
    refused = await ledger.reserve(ask("two", "mine", tokens=200))
    assert isinstance(refused, Verdict)
    assert (await ledger.spend("other")).run_nano == Amounts(held=300_000_000)


async def test_a_hold_stores_what_stood_beside_it_when_it_was_admitted(ledger: ThreadedLedger, path: Path) -> None:
    hour = Decimal(1)
    await opened(ledger, "first", None)
    await opened(ledger, "second", None)
    await settled(ledger, await ledger.reserve(keeping("a", 100, 300, "first", hour=hour)), 100)
    await settled(ledger, await ledger.reserve(keeping("b", 500, 350, "second", hour=hour)), 500)
    assert isinstance(await ledger.reserve(keeping("c", 256, 50, "second", hour=hour)), Hold)
    hours = {row[0]: json.loads(str(row[1]))["max_cost_per_hour"] for row in rows(path, "id, admitted")}
    assert hours["a"] == [DOLLAR, 300_000_000]
    assert hours["b"] == [DOLLAR, 400_000_000]  # its own wish to keep something had no room
    assert hours["c"] == [DOLLAR, 600_000_000]  # what the first kept is gone, and nothing is kept in its place


async def test_provider_in_doubt_is_not_asked_for_a_last_answer(ledger: ThreadedLedger, clock: HandClock) -> None:
    await opened(ledger, "mine", None)
    for name in ("one", "two"):
        assert isinstance(await ledger.reserve(keeping(name, 100, 100, "mine")), Hold)
        assert await ledger.mark_sent(name)
        await ledger.doubt(name, "cut", provider_fault=True)
    clock.pass_by(100)  # the pause is over: a turn would be sent as a probe
    assert not isinstance(await ledger.reserve(answer("last", 100, "mine")), Hold)
    assert isinstance(await ledger.reserve(keeping("probe", 100, 100, "mine")), Hold)


async def test_hold_that_needs_reserves_and_sent_calls_of_others_waits(ledger: ThreadedLedger, path: Path) -> None:
    hour = Decimal(1)
    for run in ("first", "second"):
        await opened(ledger, run, None)
    held = await ledger.reserve(keeping("a", 500, 200, "first", hour=hour))
    asked = ask("b", "second", tokens=900, hour=hour)
    waiting = await ledger.reserve(asked)
    assert isinstance(waiting, Wait)
    assert waiting.verdict is not None
    assert waiting.verdict.would_be == 1_400_000_000  # what is kept makes way
    assert [row[0] for row in rows(path, "phase")] == ["kept", "held"]
    await settled(ledger, held, 100)
    assert isinstance(await ledger.reserve(asked), Hold)


async def test_reserves_of_others_are_not_in_the_figures_of_a_refusal(ledger: ThreadedLedger, clock: HandClock) -> None:
    hour = Decimal(1)
    for run in ("first", "second"):
        await opened(ledger, run, None)
    await settled(ledger, await ledger.reserve(keeping("a", 400, 600, "first", hour=hour)), 400)
    refused = await ledger.reserve(ask("b", "second", tokens=900, hour=hour))
    assert isinstance(refused, Verdict)
    assert (refused.would_be, refused.held) == (1_300_000_000, 0)
    assert refused.free_at is not None
    clock.pass_by(3_600)
    assert isinstance(await ledger.reserve(ask("b", "second", tokens=900, hour=hour)), Hold)


async def test_free_reserve_is_not_evicted_for_another_runs_dollars(ledger: ThreadedLedger, path: Path) -> None:
    hour = Decimal(1)
    for run in ("first", "free", "second"):
        await opened(ledger, run, None)
    await settled(ledger, await ledger.reserve(keeping("a", 100, 200, "first", hour=hour)), 100)
    free = keeping("b", 100, 200, "free")._replace(facts=replace(FACTS, provider="q", price=FREE))
    assert isinstance(await ledger.reserve(free), Hold)
    assert isinstance(await ledger.reserve(ask("c", "second", tokens=800, hour=hour)), Hold)
    assert [row[0] for row in rows(path, "run_id, reason") if row[1] == "another run needed the room"] == ["first"]


async def test_reserve_dearer_in_one_unit_and_cheaper_in_another_refuses_no_turn(ledger: ThreadedLedger) -> None:
    """Fewer tokens, as the conversation was cut, and more dollars, as an answer was long: the old reserve is enough."""
    await opened(ledger)
    first = keeping("one", 500, 100, "mine")._replace(keep=AnswerReserve(1_000, 100))
    await settled(ledger, await ledger.reserve(first), 500)
    assert isinstance(await ledger.reserve(keeping("two", 400, 300, "mine")), Hold)
    assert (await ledger.spend("mine")).run_nano == Amounts(spent=500_000_000, held=DOLLAR // 2)


async def test_reserve_stays_where_the_hold_that_evicts_it_cannot_be_written(
    ledger: ThreadedLedger, path: Path
) -> None:
    """An id that is in the ledger already fails at the last step: the exchange and the eviction are undone."""
    hour = Decimal(1)
    for run in ("first", "second"):
        await opened(ledger, run, None)
    await settled(ledger, await ledger.reserve(keeping("a", 100, 200, "first", hour=hour)), 100)
    await settled(ledger, await ledger.reserve(keeping("b", 100, 200, "second", hour=hour)), 100)
    before = rows(path, "id, phase, nano"), rows(path, "attempt_id, phase", "entries")
    for again in (answer("a", 200, "second", hour=hour), ask("a", "second", tokens=500, hour=hour)):
        with pytest.raises(StateError):
            await ledger.reserve(again)
        assert (rows(path, "id, phase, nano"), rows(path, "attempt_id, phase", "entries")) == before
