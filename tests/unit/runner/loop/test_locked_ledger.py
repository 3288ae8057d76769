"""A run whose ledger is locked: a paid answer is printed, and after exit 74 nothing more is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import anyio
import pytest

from agentctl.api.cost_tracker import CostTracker
from agentctl.cli.documents import run_document
from agentctl.core.events import CallUnsettled, ModelAnswered, Noted, Record, RunFinished
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Usage
from agentctl.core.pricing import ModelFacts, Price
from agentctl.ledger import SqliteLedger
from agentctl.providers.scripted import ScriptedProvider, Step
from agentctl.runner.orchestrator import Orchestrator
from tests.support.ledger.write_lock import LockHolder
from tests.support.loop import USED, Diary, asks, call, says
from tests.unit.runner.loop.parts import House

TASK = "List all containers"
PRICE = Price(Decimal(1), Decimal(10))
FACTS = ModelFacts("p", "m", PRICE, context_window=128_000, output_ceiling=16_384)
COST = 200 * 1_000 + 20 * 10_000
WAIT_S = 0.2


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    ledger = SqliteLedger(tmp_path / "ledger.db", busy_s=0.02)
    yield House(ledger)
    await ledger.aclose()


@pytest.fixture
async def stranger(house: House) -> AsyncIterator[LockHolder]:
    other = LockHolder(house.ledger.path)
    yield other
    other.unlock()


class Watcher(Diary):
    """An observer that does something when it hears of a kind of event."""

    def __init__(self, kind: type, deed: Callable[[], object]) -> None:
        super().__init__()
        self._kind, self._deed = kind, deed

    async def observe(self, record: Record) -> None:
        await super().observe(record)
        if isinstance(record.event, self._kind):
            self._deed()


async def next_run(house: House) -> tuple[int, int, int]:
    """Let another process start a run; return what the first has spent, in doubt and held, in nano-dollars."""
    await house.ledger.aclose()
    other = SqliteLedger(house.ledger.path)
    await other.open_run("next", CostLimit(), task="t", agent="a", labels={})
    found = (await other.spend("7f3a")).run_nano
    await other.aclose()
    return found.spent, found.in_doubt, found.held


async def test_a_lock_that_stays_ends_the_run_with_its_answer_and_the_next_run_settles_it(
    house: House, stranger: LockHolder
) -> None:
    provider = ScriptedProvider([stranger.lock_then(says("all is up")), says("never asked for")], facts=FACTS)
    tracker = CostTracker()
    orchestrator, _ = house.build([], tracker, provider=provider, settle_wait_s=WAIT_S)  # type: ignore[arg-type]
    result = await orchestrator.run(TASK)
    assert (result.status, result.answer, result.complete) == ("state", "all is up", False)
    assert (result.usage, result.cost_nano, result.in_doubt_nano) == (USED, COST, 0)
    assert result.error is not None
    assert "the last call cost $0.0004; the next run settles it" in result.error.message
    document = run_document(result)
    assert (document["exit_code"], document["answer"], document["complete"]) == (74, "all is up", False)
    assert (document["usage"], document["cost"]) == (
        {"input_tokens": 200, "cached_input_tokens": 0, "output_tokens": 20, "reasoning_tokens": 0},
        {"usd": 0.0004, "nano_usd": COST, "in_doubt_usd": 0, "price_source": "declared"},
    )
    assert [type(event) for event in house.diary.events[-2:]] == [CallUnsettled, RunFinished]
    (told,) = house.diary.of(CallUnsettled)
    assert (told.text, told.usage, told.nano) == ("all is up", USED, COST)
    assert (tracker.cost, tracker.calls) == (Decimal("0.0004"), 1), "the Python face counts it, too"
    assert len(provider.heard) == 1
    stranger.unlock()
    assert await next_run(house) == (COST, 0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("ends", ["turn", "last answer"])
async def test_charge_that_cannot_be_written_stops_further_requests(
    house: House, stranger: LockHolder, ends: str
) -> None:
    """Neither another turn nor a last answer is sent, though tools have results."""
    turn = replace(asks(call("docker_ps")), usage=Usage(200, 250))
    turns = [replace(turn, tool_calls=(replace(call("docker_ps"), id=f"c{n}", arguments={"n": n}),)) for n in range(7)]
    last = stranger.lock_then(says("the last words"))
    script: list[Step] = (
        [*turns, last] if ends == "last answer" else [turns[0], stranger.lock_then(replace(turns[1], text="so"))]
    )
    facts = replace(FACTS, price=Price(Decimal(0), Decimal(1_000)), output_ceiling=4_096)
    provider = ScriptedProvider([*script, says("never asked for")], facts=facts)
    limits = CostLimit(max_cost_per_task=Decimal("2.1"))
    orchestrator, _ = house.build([], provider=provider, limits=limits, settle_wait_s=WAIT_S)
    result = await orchestrator.run(TASK)
    assert (result.status, result.answer) == ("state", "the last words" if ends == "last answer" else "so")
    assert len(provider.heard) == len(script)
    assert (provider.heard[-1].tools == ()) == (ends == "last answer")
    stranger.unlock()
    assert (await next_run(house))[1:] == (0, 0)


async def test_lock_released_in_time_does_not_affect_the_run(house: House, stranger: LockHolder) -> None:
    watcher = Watcher(CallUnsettled, stranger.unlock)
    tracker = CostTracker()
    provider = ScriptedProvider([asks(call("docker_ps")), stranger.lock_then(says("all is up"))], facts=FACTS)
    orchestrator, _ = house.build([], watcher, tracker, provider=provider)  # type: ignore[arg-type]
    result = await orchestrator.run(TASK)
    assert (result.status, result.answer, result.complete, result.error) == ("done", "all is up", True, None)
    assert (tracker.cost, tracker.calls) == (Decimal("0.0008"), 2), "counted once"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "status"), [("SIGTERM", "terminated"), ("Ctrl-C", "interrupted"), ("--timeout", "timeout")]
)
@pytest.mark.parametrize("kind", ["the answer", "a turn"])
async def test_run_stopped_while_it_waits_has_the_charge_and_the_partial_answer(
    house: House, stranger: LockHolder, how: str, status: str, kind: str
) -> None:
    """An answer that is charged stands, though the run was told to stop meanwhile; a turn is the last one."""
    found = list[Orchestrator]()

    def stop() -> None:
        if how != "--timeout":
            found[0].interrupt("SIGTERM" if how == "SIGTERM" else "Ctrl-C")
        else:
            assert found[0]._scope is not None
            found[0]._scope.deadline = anyio.current_time() - 1
        stranger.unlock()

    said = says("all is up") if kind == "the answer" else asks(call("docker_ps"), text="all is up")
    provider = ScriptedProvider([stranger.lock_then(said), says("never asked for")], facts=FACTS)
    orchestrator, _ = house.build([], Watcher(CallUnsettled, stop), provider=provider)
    found.append(orchestrator)
    result = await orchestrator.run(TASK)
    ended = ("done", "all is up", True) if kind == "the answer" else (status, "all is up", False)
    assert (result.status, result.answer, result.complete) == ended
    assert len(provider.heard) == 1
    assert (result.cost_nano, result.in_doubt_nano) == (COST, 0)
    assert await next_run(house) == (COST, 0, 0)


async def test_lock_after_the_answer_does_not_affect_the_run(house: House, stranger: LockHolder) -> None:
    """Then the ledger lacks only the end of the run, no charge."""
    provider = ScriptedProvider([says("all is up")], facts=FACTS)
    orchestrator, _ = house.build([], Watcher(ModelAnswered, stranger.lock), provider=provider)
    result = await orchestrator.run(TASK)
    assert (result.status, result.answer, result.complete, result.error) == ("done", "all is up", True, None)
    (noted,) = [event for event in house.diary.of(Noted) if event.level == "warning"]
    assert "the end of the run could not be recorded in the ledger: the ledger " in noted.text
    assert "locked by process" in noted.text
    stranger.unlock()
    assert await next_run(house) == (COST, 0, 0)


async def test_a_lock_before_the_first_call_is_not_waited_for(house: House, stranger: LockHolder) -> None:
    """A hold has its usual timeout, since nothing is paid for yet."""
    provider = ScriptedProvider([asks(call("docker_ps")), says("never asked for")], facts=FACTS)
    orchestrator, _ = house.build([], Watcher(ModelAnswered, stranger.lock), provider=provider)
    result = await orchestrator.run(TASK)
    assert (result.status, len(provider.heard)) == ("state", 1)
    assert house.diary.of(CallUnsettled) == []
