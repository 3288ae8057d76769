"""Forecast: the answer that the ledger would give, without writing anything."""

from __future__ import annotations

import threading
from contextlib import closing
from decimal import Decimal
from functools import partial
from pathlib import Path

import anyio
import pytest

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import Amounts, AnswerReserve, Hold, Wait, WorstCase
from agentctl.core.errors import StateError, Verdict
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Usage
from agentctl.ledger.clock import ClockReading
from agentctl.ledger.forecast import Forecast, forecast_first_call
from agentctl.ledger.schema import APPLICATION_ID, MIGRATIONS
from tests.support.estimate import FREE_HAND, as_it_stands, dollars, hold, spend
from tests.support.ledger.engines import database_at, ledger_at
from tests.support.ledger.parts import DOLLAR, HandClock, ask

HOUR = Decimal(1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.db"


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def look(
    path: Path, clock: HandClock, limits: CostLimit | None = None, *, least: int = 256, most: int = 256
) -> Forecast:
    """Ask as a run with these limits would."""
    limits = limits or dollars("1")
    wanted = ask("estimate", "estimate", hour=limits.max_cost_per_hour)._replace(least=least, most=most)
    return forecast_first_call(path, wanted, limits, agent="a", clock=clock)


def test_forecast_without_a_ledger_has_every_limit_free_and_makes_none(path: Path, clock: HandClock) -> None:
    found = look(path, clock)
    assert [room.amounts for room in found.rooms] == [Amounts()] * len(found.rooms)
    assert found.answer == WorstCase(256, 256 * DOLLAR // 1000, 266)
    assert found.as_of.timestamp() == clock.wall_s
    assert not path.parent.exists()


async def test_closed_ledger_is_left_byte_for_byte(path: Path, clock: HandClock) -> None:
    session = ledger_at(path, clock=clock)
    await spend(session, "before", tokens=300)
    await session.aclose()
    before = as_it_stands(path.parent)
    found = look(path, clock)
    assert {room.limit: room.amounts.spent for room in found.rooms}["max_cost_per_hour"] == 300 * DOLLAR // 1000
    assert as_it_stands(path.parent) == before


async def test_holds_of_others_are_seen_and_their_files_stay(path: Path, clock: HandClock) -> None:
    session = ledger_at(path, clock=clock)
    await hold(session, "other", tokens=300)
    before = as_it_stands(path.parent)
    assert before["ledger.db-wal"][2]
    found = look(path, clock)
    assert {room.limit: room.amounts.held for room in found.rooms}["max_cost_per_hour"] == 300 * DOLLAR // 1000
    after = as_it_stands(path.parent)
    shared = {"ledger.db-shm"}  # where readers sign in: memory of those who have it open, no record
    assert {name: after[name] for name in after if name not in shared} == {
        name: before[name] for name in before if name not in shared
    }
    await session.aclose()


@pytest.mark.parametrize("spent", [0, 500, 743, 744, 745, 900, 1000, 2000])
@pytest.mark.parametrize("most", [256, 400])
async def test_forecast_agrees_with_the_ledger(path: Path, clock: HandClock, spent: int, most: int) -> None:
    """The hour's limit is 1,000 tokens of a thousandth each; the least that would do is 256 of them."""
    session = ledger_at(path, clock=clock)
    if spent:
        await spend(session, "before", tokens=spent)
    clock.pass_by(60)
    found = look(path, clock, most=most).answer
    await session.open_run("real", dollars("1"), task="t", agent="a", labels={})
    real = await session.reserve(ask("real", "real", hour=HOUR)._replace(most=most))
    if isinstance(real, Hold):
        assert isinstance(found, WorstCase)
        assert (found.output, found.nano, found.tokens) == (real.granted_output, real.nano, real.tokens)
    else:
        assert isinstance(real, Verdict)
        assert found == real
        assert (real.free_at is None) == (spent > 2000)
    await session.aclose()


async def test_limits_of_the_run_itself_refuse_too(path: Path, clock: HandClock) -> None:
    for limits, name in (
        (CostLimit(max_cost_per_task=0.1, max_cost_per_hour=None), "max_cost_per_task"),
        (CostLimit(max_tokens_per_task=200), "max_tokens_per_task"),
    ):
        found = look(path, clock, limits).answer
        assert isinstance(found, Verdict)
        assert found.limit == name


async def test_holds_of_others_in_the_way_forecast_a_wait(path: Path, clock: HandClock) -> None:
    session = ledger_at(path, clock=clock)
    await hold(session, "other", tokens=900)
    found = look(path, clock).answer
    assert isinstance(found, Wait)
    assert found.reason == "holds"
    await session.aclose()


async def test_reserves_of_others_give_way_as_in_the_ledger(path: Path, clock: HandClock) -> None:
    session = ledger_at(path, clock=clock)
    await session.open_run("other", FREE_HAND, task="t", agent="a", labels={})
    held = await session.reserve(ask("one", "other", tokens=100, keep=AnswerReserve(10, 700)))
    assert isinstance(held, Hold)
    assert await session.mark_sent(held.id)
    await session.settle(held.id, Charge(Usage(10, 100), 100 * DOLLAR // 1000, "m"))
    found = look(path, clock)
    assert {room.limit: room.amounts.held for room in found.rooms}["max_cost_per_hour"] == 700 * DOLLAR // 1000
    assert found.answer == WorstCase(256, 256 * DOLLAR // 1000, 266)
    await session.open_run("real", dollars("1"), task="t", agent="a", labels={})
    assert isinstance(await session.reserve(ask("real", "real", hour=HOUR)), Hold)
    await session.aclose()


async def test_a_provider_in_doubt_rests_and_is_then_probed(path: Path, clock: HandClock) -> None:
    session = ledger_at(path, clock=clock)
    for name in ("one", "two"):
        held = await hold(session, name)
        await session.doubt(held.id, "cut")
    found = look(path, clock, FREE_HAND, most=1000)
    assert found.pause_s == 2.0
    assert isinstance(found.answer, WorstCase)
    assert found.answer.output == 256
    clock.pass_by(5)
    assert look(path, clock, FREE_HAND, most=1000).pause_s == 0
    await session.aclose()


async def test_a_model_that_broke_its_clamp_is_judged_at_its_ceiling(path: Path, clock: HandClock) -> None:
    session = ledger_at(path, clock=clock)
    held = await hold(session, "one")
    await session.doubt(held.id, "ran past", ceiling=True)
    found = look(path, clock, dollars("15")).answer
    assert isinstance(found, Verdict)
    assert found.would_be > 19 * DOLLAR
    await session.aclose()


def test_a_count_is_asked_for_where_the_ledger_would_ask_for_it(path: Path, clock: HandClock) -> None:
    limits = CostLimit(max_cost_per_task=None, max_tokens_per_task=300)
    asked = ask("estimate", "estimate", input_bound=200, least=10, most=256, can_count=True)
    seen = [
        forecast_first_call(path, one, limits, agent="a", clock=clock)
        for one in (asked, asked._replace(counted_bound=40), asked._replace(input_bound=44, counted_bound=40))
    ]
    assert [one.answer for one in seen[:1]] == [Wait("bound", 0.0)]
    assert [(one.answer.output, one.input_bound) for one in seen[1:] if isinstance(one.answer, WorstCase)] == [
        (256, 40),
        (256, 44),
    ]


async def test_forecast_reads_while_others_write(path: Path, clock: HandClock) -> None:
    """Open and close the ledger again and again: the log comes and goes under the reader."""
    done, seen = threading.Event(), list[int]()

    def read() -> None:
        while not done.is_set():
            found = look(path, clock, dollars("1000"))
            seen.append({room.limit: room.amounts.spent for room in found.rooms}["max_cost_per_hour"])

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(30):
            session = ledger_at(path, clock=clock)
            await spend(session, f"run {number}", tokens=10)
            await session.aclose()
    finally:
        done.set()
        await anyio.to_thread.run_sync(reader.join)
    seen.append(look(path, clock, dollars("1000")).rooms[1].amounts.spent)
    assert seen == sorted(seen)
    assert seen[-1] == 300 * DOLLAR // 1000


def test_rows_written_during_the_read_are_seen(path: Path, clock: HandClock) -> None:
    """The reader asks for the time in the middle of its read: at that moment another process spends, and stays open."""
    books = [ledger_at(path, clock=clock)]
    anyio.run(partial(spend, books[0], "before", tokens=100))
    anyio.run(books[0].aclose)

    def interrupted() -> ClockReading:
        if len(books) == 1:
            books.append(ledger_at(path, clock=clock))
            anyio.run(partial(spend, books[1], "meanwhile", tokens=200))
        return clock()

    found = forecast_first_call(path, ask("estimate", "estimate"), FREE_HAND, agent="a", clock=interrupted)
    anyio.run(books[1].aclose)
    assert {room.limit: room.amounts.spent for room in found.rooms}["max_cost_per_hour"] == 300 * DOLLAR // 1000


async def test_foreign_file_is_reported_and_left(path: Path, clock: HandClock) -> None:
    path.parent.mkdir()
    with closing(database_at(path)) as db:
        db.execute("CREATE TABLE theirs (x)")
    before = as_it_stands(path.parent)
    with pytest.raises(StateError, match="is a database of another program"):
        look(path, clock)
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(StateError, match="cannot be used"):
        look(path, clock)
    path.write_bytes(b"")
    assert isinstance(look(path, clock).answer, WorstCase)
    assert set(as_it_stands(path.parent)) == set(before)


@pytest.mark.parametrize("version", range(len(MIGRATIONS)))
def test_ledger_of_an_older_schema_is_read_without_migration(path: Path, clock: HandClock, version: int) -> None:
    path.parent.mkdir()
    with closing(database_at(path)) as db:
        for script in MIGRATIONS[:version]:
            db.executescript(script)
        db.executescript(f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={version}")
    before = as_it_stands(path.parent)
    assert isinstance(look(path, clock).answer, WorstCase)
    assert as_it_stands(path.parent) == before


async def test_emptied_ledger_is_not_taken_for_an_unused_one(path: Path, clock: HandClock) -> None:
    session = ledger_at(path, clock=clock)
    await spend(session, "before")
    await session.aclose()
    path.write_bytes(b"")
    with pytest.raises(StateError, match="is empty, but it has been used"):
        look(path, clock)


async def test_a_ledger_of_a_newer_schema_is_not_guessed_at(path: Path, clock: HandClock) -> None:
    session = ledger_at(path, clock=clock)
    await spend(session, "before")
    await session.aclose()
    with closing(database_at(path)) as db:
        db.executescript("PRAGMA user_version=99")
    with pytest.raises(StateError, match="was written by a newer agentctl"):
        look(path, clock)
