"""Statistics of similar runs: finished ones of the same agent and model, if there are enough."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from agentctl.ledger import forecast as likeness
from agentctl.ledger.forecast import Percentiles, RunStatistics, forecast_first_call, percentiles
from tests.support.estimate import FREE_HAND, spend
from tests.support.ledger.engines import database_at, ledger_at
from tests.support.ledger.parts import DOLLAR, FACTS, HandClock, ask

MILLI = DOLLAR // 1000
OTHER = replace(FACTS, model="another")
UNPRICED = replace(FACTS, price=None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def statistics(path: Path, clock: HandClock) -> RunStatistics:
    return forecast_first_call(path, ask("estimate", "estimate"), FREE_HAND, agent="a", clock=clock).statistics


async def test_percentiles_50_and_90_are_of_finished_runs(path: Path) -> None:
    clock = HandClock()
    session = ledger_at(path, clock=clock)
    for tokens in range(10, 110, 10):
        await spend(session, f"run {tokens}", tokens=tokens)
    for number in range(6):  # none of these is alike
        await spend(session, f"agent {number}", tokens=5000, agent="b")
        await spend(session, f"model {number}", tokens=5000, facts=OTHER)
        await spend(session, f"failed {number}", tokens=5000, status="failed")
        await spend(session, f"open {number}", tokens=5000, status=None)
    assert statistics(path, clock) == RunStatistics(10, Percentiles(50 * MILLI, 90 * MILLI), Percentiles(60, 100))
    await session.aclose()


async def test_fewer_than_five_runs_are_counted_and_no_ground_for_a_guess(path: Path) -> None:
    clock = HandClock()
    session = ledger_at(path, clock=clock)
    for number in range(4):
        await spend(session, f"run {number}")
    assert statistics(path, clock) == RunStatistics(4)
    await spend(session, "run 4")
    assert statistics(path, clock).nano == Percentiles(100 * MILLI, 100 * MILLI)
    await session.aclose()


async def test_runs_older_than_90_days_are_left_out(path: Path) -> None:
    clock = HandClock()
    session = ledger_at(path, clock=clock)
    for number in range(5):
        await spend(session, f"run {number}")
    clock.pass_by(89 * 86_400)
    assert statistics(path, clock).runs == 5
    clock.pass_by(2 * 86_400)
    assert statistics(path, clock) == RunStatistics()
    await session.aclose()


async def test_runs_of_unknown_cost_count_for_tokens_only(path: Path) -> None:
    clock = HandClock()
    session = ledger_at(path, clock=clock)
    for number in range(5):
        await spend(session, f"run {number}", facts=UNPRICED)
    assert statistics(path, clock) == RunStatistics(5, None, Percentiles(110, 110))
    await session.aclose()


def test_percentiles_are_amounts_that_were_spent() -> None:
    assert percentiles([4, 3, 2, 1]) is None
    assert percentiles([5, 4, 3, 2, 1]) == Percentiles(3, 5)
    assert percentiles(range(1, 101)) == Percentiles(50, 90)


async def test_statistics_read_no_whole_table(path: Path) -> None:
    session = ledger_at(path)
    await spend(session, "run")
    await session.aclose()
    names = dict.fromkeys(("provider", "model", "agent", "since", "calls", "runs"), "1")
    with closing(database_at(path)) as db:
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {likeness._COSTS_OF_RUNS}", names)]
    assert any("attempts_provider" in step for step in plan)
    assert any("attempts_run" in step for step in plan)
    assert [step for step in plan if step.startswith("SCAN") and step.split()[1] in ("attempts", "a", "s")] == []
