"""A task from its first word to its last event, however it ends."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

import anyio
import pytest

from agentctl.core.errors import AuthFailed, EngineUnavailable, ProviderUnavailable, StateError, StopCause
from agentctl.core.events import (
    BreakerTripped,
    CallDoubted,
    CallSent,
    Event,
    ModelAnswered,
    Noted,
    Record,
    RunFinished,
    RunStarted,
)
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Completion, Delta, Request, Usage
from agentctl.core.pricing import FREE, ModelFacts, Price
from agentctl.core.results import ErrorInfo, LimitUse, RunResult, ToolCount
from agentctl.core.tool_rules import parse_rule
from agentctl.ledger import SqliteLedger
from agentctl.ledger.clock import ClockReading, system_clock
from agentctl.permissions.decision import Permissions
from agentctl.permissions.guards import LoopLimits
from agentctl.providers.scripted import Part, ScriptedProvider, Step
from agentctl.runner.agent_spec import MOST_TOOLS, find_agent, load_agents
from agentctl.runner.routing import ranked_tools
from tests.support.loop import Box, Deed, Diary, asks, call, fails, says
from tests.unit.runner.loop.conftest import UNMETERED
from tests.unit.runner.loop.parts import START, House

DEAR = Price(Decimal(1), Decimal(10))
T = TypeVar("T")


class Journal(Diary):
    """An observer whose disk is full from its nth record on."""

    def __init__(self, fails_at: int) -> None:
        super().__init__()
        self._fails_at = fails_at

    async def observe(self, record: Record) -> None:
        if record.seq >= self._fails_at:
            raise StateError("the journal cannot be written: no space left", hint="free some space")
        await super().observe(record)


@pytest.fixture
def house(ledger: SqliteLedger) -> House:
    return House(ledger)


async def test_complete_run_emits_its_events_and_returns_its_result(house: House) -> None:
    orchestrator, provider = house.build(
        [asks(call("docker_ps", all=True)), Completion("One: web.", usage=Usage(300, 30), model="scripted-1")],
        labels={"team": "ops"},
        workdir="/srv",
        version="0.1.0",
        provider_chosen_by="flag",
    )
    result = await orchestrator.run("List all containers")
    limits = (
        LimitUse("max_cost_per_task", "nano_usd", 500_000_000, 0),
        LimitUse("max_cost_per_hour", "nano_usd", 10_000_000_000, 0),
        LimitUse("max_tokens_per_task", "tokens", 100_000, 550),
    )
    assert result == RunResult(
        run_id="7f3a",
        status="done",
        answer="One: web.",
        complete=True,
        task="List all containers",
        agent="docker",
        provider="scripted",
        provider_chosen_by="flag",
        model="scripted",
        models=("scripted", "scripted-1"),
        turns=2,
        started_at=START + timedelta(seconds=1),
        finished_at=START + timedelta(seconds=house.ticks),
        duration_s=float(house.ticks - 1),
        usage=Usage(500, 50),
        cost_nano=0,
        in_doubt_nano=0,
        price_source="declared free",
        limits=limits,
        labels={"team": "ops"},
        tools=(ToolCount("docker_ps", 1, 0),),
    )
    assert house.last == result
    unused = (*limits[:2], LimitUse("max_tokens_per_task", "tokens", 100_000, 0))
    assert isinstance(house.diary.events[0], RunStarted)
    assert house.diary.events[0] == RunStarted(
        "List all containers", "docker", "task words", "scripted", "flag", "scripted", True, "/srv", unused,
        {"team": "ops"}, "0.1.0", token_turns=(13, 15), digests=house.diary.events[0].digests,
    )  # fmt: skip
    assert set(house.diary.events[0].digests) == {"tools", "agent", "model", "prices", "sandbox"}
    assert [record.seq for record in house.diary.records] == list(range(1, len(house.diary.records) + 1))
    assert {record.run_id for record in house.diary.records} == {"7f3a"}
    assert house.asked_for == [ranked_tools(find_agent("docker", load_agents()), "List all containers")[:MOST_TOOLS]]
    assert (house.box.closed, house.closed) == (1, ["ledger"])
    system, user = provider.heard[0].messages
    assert system.text == find_agent("docker", load_agents()).instructions
    assert user.text == "List all containers\n\n[It is 2026-11-22 12:00 UTC.]"


async def test_the_agent_can_be_chosen_by_hand(house: House) -> None:
    orchestrator, _ = house.build([says("ok")], agent="system")
    assert (await orchestrator.run("List all containers")).agent == "system"
    started = house.diary.events[0]
    assert isinstance(started, RunStarted)
    assert (started.agent, started.agent_chosen_by) == ("system", "flag")


async def test_tools_named_by_the_user_replace_the_agents_own(house: House) -> None:
    orchestrator, _ = house.build([says("ok")], permissions=Permissions(only=("docker_ps",)))
    await orchestrator.run("How much disk is free?")
    assert house.asked_for == [("docker_ps",)]


async def test_more_tools_than_a_model_may_have_are_a_usage_error(house: House) -> None:
    orchestrator, _ = house.build([says("never")], permissions=Permissions(only=tuple(f"tool_{n}" for n in range(9))))
    result = await orchestrator.run("How much disk is free?")
    assert (result.status, result.error) == (
        "usage",
        ErrorInfo("usage", "9 tools are too many for a model", "name at most 8 of them"),
    )


async def test_request_must_fit_a_window_smaller_than_the_setting(house: House) -> None:
    facts = ModelFacts("scripted", "small", FREE, context_window=2_000, output_ceiling=500)
    orchestrator, provider = house.build([], provider=ScriptedProvider([says("never")], facts=facts))
    result = await orchestrator.run("x " * 6_000)
    assert provider.heard == []
    assert (result.status, result.error) == (
        "context",
        ErrorInfo(
            "context",
            "the conversation does not fit the 1,744 tokens of small, even when cut",
            "choose a model with a larger context window, or shorten the task",
        ),
    )


async def test_provider_without_a_model_gets_every_tool(house: House) -> None:
    provider = ScriptedProvider([asks(call("docker_ps")), says("web  up")], facts=UNMETERED)
    orchestrator, _ = house.build([], provider=provider)
    result = await orchestrator.run("How much disk is free?")
    assert house.asked_for == [None]
    assert (result.status, result.metered, result.model, result.usage) == ("done", False, None, Usage())


@pytest.mark.parametrize(
    ("task", "agent", "message"),
    [("  ", None, "there is no task"), ("x", "dokcer", 'no agent is called "dokcer"')],
)
async def test_a_wrong_word_is_a_usage_error_and_nothing_is_sent(
    house: House, task: str, agent: str | None, message: str
) -> None:
    orchestrator, provider = house.build([says("never")], agent=agent)
    result = await orchestrator.run(task)
    assert result.status == "usage"
    assert result.error is not None
    assert result.error.message == message
    assert provider.heard == []
    assert [type(event) for event in house.diary.events] == [RunFinished]
    assert not house.ledger.path.exists()


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (AuthFailed("the key was rejected", hint="set OPENAI_API_KEY", billed="no"), "auth", "auth"),
        (ProviderUnavailable("no route", billed="no"), "unavailable", "provider"),
    ],
)
async def test_an_error_of_the_provider_is_the_runs_result(house: House, error: Step, status: str, kind: str) -> None:
    orchestrator, _ = house.build([error])
    result = await orchestrator.run("List all containers")
    assert result.status == status
    assert result.error is not None
    assert result.error.kind == kind
    assert not result.complete


async def test_engine_that_is_gone_ends_with_its_error_and_hint(house: House) -> None:
    house.box = Box(Deed("docker_ps", fails(EngineUnavailable("the engine is not running", hint="start it"))))
    orchestrator, _ = house.build([asks(call("docker_ps")), says("I cannot tell.")])
    result = await orchestrator.run("List all containers")
    assert (result.status, result.error) == (
        "unavailable",
        ErrorInfo("engine", "the engine is not running", "start it"),
    )
    assert result.answer == "I cannot tell."


async def test_a_bug_is_an_internal_error_that_names_its_place(house: House) -> None:
    def bug(request: Request) -> Completion:
        raise KeyError("oops")

    orchestrator, _ = house.build([bug])
    result = await orchestrator.run("List all containers")
    assert result.status == "internal"
    assert result.error is not None
    assert result.error.message.startswith("KeyError: 'oops' (test_orchestrator.py:")
    assert house.last == result


def hanging(reached: anyio.Event) -> Part:
    """A step that never answers."""

    async def hang(request: Request) -> Completion:
        reached.set()
        await anyio.sleep_forever()
        return says("never")

    return hang


@pytest.mark.parametrize(
    ("cause", "status"), [("Ctrl-C", "interrupted"), ("SIGTERM", "terminated"), ("SIGHUP", "hung_up")]
)
async def test_interrupt_in_mid_call_keeps_the_hold_and_the_partial_answer(
    house: House, cause: StopCause, status: str
) -> None:
    reached = anyio.Event()
    script: list[Step] = [asks(call("docker_ps"), text="Looking."), (Delta("One"), hanging(reached))]
    orchestrator, _ = house.build([], provider=ScriptedProvider(script, price=DEAR))
    results: list[RunResult] = []

    async def go() -> None:
        results.append(await orchestrator.run("List all containers"))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(go)
            await reached.wait()
            orchestrator.interrupt(cause)
    (result,) = results
    assert (result.status, result.answer, result.complete, result.turns) == (status, "One", False, 2)
    (doubt,) = house.diary.of(CallDoubted)
    assert result.in_doubt_nano == doubt.nano
    assert result.limits[0].used == (result.cost_nano or 0) + (doubt.nano or 0) > 0
    assert house.last == result
    assert house.box.closed == 1


async def test_an_interrupt_in_mid_tool_stops_the_tool(house: House) -> None:
    reached, stopped = anyio.Event(), anyio.Event()

    async def hang(_: Mapping[str, object]) -> str:
        try:
            reached.set()
            await anyio.sleep_forever()
        finally:
            stopped.set()
        return "never"

    house.box = Box(Deed("docker_ps", hang))
    orchestrator, provider = house.build([asks(call("docker_ps", "1"), call("docker_ps", "2", all=True))])
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(orchestrator.run, "List all containers")
            await reached.wait()
            orchestrator.interrupt()
    assert stopped.is_set()
    assert house.last.status == "interrupted"
    assert len(provider.heard) == 1


async def test_an_interrupt_before_the_run_begins_sends_nothing(house: House) -> None:
    orchestrator, provider = house.build([says("first"), says("second")])
    orchestrator.interrupt()
    assert (await orchestrator.run("List all containers")).status == "interrupted"
    assert provider.heard == []
    assert (await orchestrator.run("List all containers")).status == "done", "it counts once"


async def test_a_run_out_of_time_is_stopped_in_mid_call(house: House) -> None:
    orchestrator, _ = house.build([hanging(anyio.Event())], timeout_s=0.2)
    with anyio.fail_after(10):
        result = await orchestrator.run("List all containers")
    assert (result.status, result.error) == (
        "timeout",
        ErrorInfo("timeout", "the run took longer than 0.2 s", "raise --timeout, or ask for less"),
    )


async def test_a_run_cancelled_from_outside_is_written_down_and_the_cancellation_goes_on(house: House) -> None:
    reached = anyio.Event()
    orchestrator, _ = house.build([hanging(reached)])
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(orchestrator.run, "List all containers")
            await reached.wait()
            group.cancel_scope.cancel()
    assert house.last.status == "interrupted"
    assert house.last.error == ErrorInfo("interrupted", "cancelled by the caller")
    assert (house.box.closed, house.closed) == (1, ["ledger"])


FULL = ErrorInfo("state", "the journal cannot be written: no space left", "free some space")


async def test_a_journal_that_cannot_be_written_from_the_start_sends_nothing(house: House) -> None:
    orchestrator, provider = house.build([says("never")], Journal(fails_at=1))
    result = await orchestrator.run("List all containers")
    assert (result.status, result.error) == ("state", FULL)
    assert provider.heard == []
    assert house.last == result


@pytest.mark.parametrize("fails_at", range(2, 24))
async def test_a_journal_that_fails_on_the_way_stops_the_run_and_the_others_hear_of_it(
    house: House, fails_at: int
) -> None:
    journal = Journal(fails_at)
    orchestrator, provider = house.build(
        [asks(call("docker_ps")), asks(call("docker_ps", all=True)), says("ok")], journal
    )
    result = await orchestrator.run("List all containers")
    assert (result.status, result.error, result.complete) == ("state", FULL, False)
    assert house.last == result
    sent = [record for record in house.diary.records if isinstance(record.event, CallSent) and record.seq < fails_at]
    assert len(provider.heard) == len(sent), "what is sent is on the journal's disk before"
    assert [record.seq for record in house.diary.records] == list(range(1, len(house.diary.records) + 1))


async def test_a_journal_that_only_misses_the_end_makes_it_a_state_error(house: House) -> None:
    orchestrator, _ = house.build([says("ok")])
    await orchestrator.run("List all containers")
    last = house.diary.records[-1].seq
    again, _ = house.build([says("ok")], Journal(fails_at=last))
    result = await again.run("List all containers")
    assert (result.status, result.answer, result.complete) == ("state", "ok", False)
    assert house.last == result


async def test_a_ledger_that_cannot_be_opened_is_a_state_error(tmp_path: Path) -> None:
    broken = tmp_path / "ledger.db"
    broken.write_bytes(b"this is no database" * 100)
    house = House(SqliteLedger(broken))
    orchestrator, provider = house.build([says("never")])
    result = await orchestrator.run("List all containers")
    assert result.status == "state"
    assert result.error is not None
    assert str(broken) in result.error.message
    assert provider.heard == []
    assert house.last == result
    assert [use.ceiling for use in result.limits] == [500_000_000, 10_000_000_000, 100_000]


async def test_a_breaker_ends_the_run_with_both_numbers_and_a_line_to_paste(house: House) -> None:
    limits = CostLimit(max_cost_per_task=Decimal("0.045"))
    script = [Completion("Looking.", (call("docker_ps"),), Usage(2_000, 4_000), stop="tool_calls"), says("never")]
    orchestrator, provider = house.build([], provider=ScriptedProvider(script, price=DEAR), limits=limits)
    result = await orchestrator.run("List all containers")
    assert (result.status, result.complete) == ("budget", False)
    assert result.answer == "Looking.\n\nFound so far:\n- docker_ps() -> web up"
    assert len(provider.heard) == 1
    breaker = result.breaker
    assert breaker is not None
    assert (breaker.limit, breaker.ceiling, breaker.spent) == ("max_cost_per_task", 45_000_000, 42_000_000)
    assert breaker.would_be > 45_000_000
    assert breaker.hint == "agentctl run --max-cost 0.09 'List all containers'"
    assert result.error is not None
    assert result.error.hint == breaker.hint
    assert house.diary.of(BreakerTripped) == [BreakerTripped(breaker)]
    assert result.limits[0] == LimitUse("max_cost_per_task", "nano_usd", 45_000_000, 42_000_000)


async def test_a_limit_lowered_by_a_file_names_the_file_when_it_trips(house: House) -> None:
    limits = CostLimit(max_cost_per_task=Decimal("0.0001"))
    orchestrator, provider = house.build(
        [],
        provider=ScriptedProvider([says("never")], price=DEAR),
        limits=limits,
        limits_set_by={"max_cost_per_task": "./.env"},
    )
    result = await orchestrator.run("List all containers")
    assert provider.heard == []
    assert result.breaker is not None
    assert result.breaker.hint == "max_cost_per_task was lowered to $0.0001 by ./.env: raise it there"
    assert result.limits[0].set_by == "./.env"


async def test_fewer_turns_than_needed_end_with_the_flag_to_raise(house: House) -> None:
    orchestrator, _ = house.build([asks(call("docker_ps", n=n)) for n in range(9)], loop=LoopLimits(max_turns=2))
    result = await orchestrator.run("List all containers")
    assert (result.status, result.turns) == ("failed", 2)
    assert result.error == ErrorInfo("failed", "no answer after 2 turns", "raise --max-turns, or ask for less at once")


async def test_a_denied_call_is_named_in_the_result(house: House) -> None:
    orchestrator, _ = house.build(
        [asks(call("docker_ps")), says("I may not.")], permissions=Permissions(deny=(parse_rule("docker_ps"),))
    )
    result = await orchestrator.run("List all containers")
    assert (result.status, result.denied, result.tools) == ("denied", ("docker_ps",), ())


async def test_an_answer_without_usage_counts_in_full_and_is_still_an_answer(house: House) -> None:
    orchestrator, _ = house.build([], provider=ScriptedProvider([Completion("ok")], price=DEAR))
    result = await orchestrator.run("List all containers")
    assert (result.status, result.answer, result.cost_nano) == ("done", "ok", 0)
    assert result.in_doubt_nano is not None
    assert result.in_doubt_nano > 0
    assert result.limits[0].used == result.in_doubt_nano


async def test_every_record_of_parallel_tools_has_its_own_number(house: House) -> None:
    calls = [call("docker_ps", f"c{n}", n=n) for n in range(12)]
    orchestrator, _ = house.build([asks(*calls), says("ok")])
    await orchestrator.run("List all containers")
    assert [record.seq for record in house.diary.records] == list(range(1, len(house.diary.records) + 1))


def events_after(diary: Diary, kind: type[Event]) -> list[Event]:
    """The events after the last one of a kind."""
    places = [place for place, event in enumerate(diary.events) if isinstance(event, kind)]
    return diary.events[places[-1] + 1 :]


async def test_no_event_comes_after_the_end(house: House) -> None:
    orchestrator, _ = house.build([says("ok")])
    await orchestrator.run("List all containers")
    assert events_after(house.diary, RunFinished) == []
    assert isinstance(house.last, RunResult)


@pytest.mark.slow
async def test_last_answer_that_cannot_be_charged_is_reported_beside_the_limit(house: House) -> None:
    """The answer was sent and paid for; that no ledger counts it matters more than the limit."""
    turn = replace(asks(call("docker_ps")), usage=Usage(200, 250))
    turns = [replace(turn, tool_calls=(replace(call("docker_ps"), id=f"c{n}", arguments={"n": n}),)) for n in range(7)]
    path = house.ledger.path

    def lose_the_ledger(_: Request) -> Completion:
        path.rename(path.with_name("moved.db"))
        return says("all is up")

    facts = ModelFacts("p", "m", Price(Decimal(0), Decimal(1_000)), context_window=128_000, output_ceiling=4_096)
    provider = ScriptedProvider([*turns, lose_the_ledger], facts=facts)
    limits = CostLimit(max_cost_per_task=Decimal("2.1"))
    orchestrator, _ = house.build([], provider=provider, limits=limits)
    result = await orchestrator.run("List all containers")
    path.with_name("moved.db").rename(path)
    assert provider.heard[-1].tools == ()
    assert (result.status, result.answer, result.complete) == ("state", "all is up", False)
    assert result.error is not None
    assert "and no ledger counts it now" in result.error.message
    assert "its hold of" not in result.error.message


async def test_run_is_closed_though_its_spending_cannot_be_read(tmp_path: Path) -> None:
    """Otherwise its reserve for a last answer would count against every run while its process lives."""
    read, broken = system_clock(), list[str]()

    def clock() -> ClockReading:
        if broken:
            raise OSError(errno.EIO, broken.pop())
        return read()

    class Breaking(Diary):
        async def observe(self, record: Record) -> None:
            if isinstance(record.event, ModelAnswered) and not record.event.tool_calls:
                broken.append("the clock cannot be read")

    ledger = SqliteLedger(tmp_path / "ledger.db", clock=clock)
    orchestrator, _ = House(ledger).build([asks(call("docker_ps")), says("all is up")], Breaking())
    result = await orchestrator.run("List all containers")
    assert (result.status, result.answer, result.complete) == ("done", "all is up", True), "all of it is charged"
    with closing(sqlite3.connect(ledger.path)) as db:
        assert db.execute("SELECT status FROM scopes").fetchall() == [("done",)]
        assert db.execute("SELECT count(*) FROM attempts WHERE phase = 'kept'").fetchone() == (0,)
    await ledger.aclose()


async def test_last_answer_forbidden_by_the_same_limit_is_not_reported(house: House) -> None:
    orchestrator, provider = house.build([asks(call("docker_ps"))], limits=CostLimit(max_calls_per_minute=1))
    result = await orchestrator.run("List all containers")
    assert (result.status, len(provider.heard)) == ("budget", 1)
    assert "docker_ps" in result.answer
    assert not [event for event in house.diary.events if isinstance(event, Noted)]


async def test_name_of_a_container_that_looks_like_a_file_is_asked_for(house: House) -> None:
    asked: list[str] = []

    async def find(task: str) -> tuple[str, ...]:
        asked.append(task)
        return ("payments.api",)

    task = "what is wrong with payments.api"
    for chosen, agent in ((None, "docker"), ("system", "system")):
        orchestrator, _ = house.build([says("ok")], find_containers=find, agent=chosen)
        assert (await orchestrator.run(task)).agent == agent
    assert asked == [task], "not where the user chose the agent"
