"""Settlement of a paid answer when the ledger cannot be written: wait, spool, settled by the next run."""

from __future__ import annotations

import asyncio  # noqa: TID251 - a caller's own task.cancel() heeds no shield of anyio's
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from agentctl.budget.breaker import ClampExceeded
from agentctl.budget.conclusions import Charge, Settlement
from agentctl.budget.rules import Amounts
from agentctl.core.errors import AuthFailed, LedgerBusy, ProviderUnavailable, StateError
from agentctl.core.events import CallHeld, CallSettled, CallUnsettled, Event
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Completion, Delta, Request, ToolCall, Usage
from agentctl.core.pricing import FREE, ModelFacts
from agentctl.ledger import SqliteLedger
from agentctl.ledger.clock import ClockReading, system_clock
from agentctl.ledger.locks import queue_lock
from agentctl.providers.scripted import Step
from agentctl.runner.model_calls import ModelCalls
from tests.support.ledger.write_lock import LockHolder
from tests.support.model_calls import ANSWER, COST, FACTS, HELLO, Desk

WAIT_S = 0.3
DOWN = ProviderUnavailable("the answer broke off")
KEY = AuthFailed("the key was rejected", billed="no")


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    ledger = SqliteLedger(tmp_path / "ledger.db", pause_s=0.01, busy_s=0.02)
    yield Desk(ledger)
    await ledger.aclose()


@pytest.fixture
async def stranger(desk: Desk) -> AsyncIterator[LockHolder]:
    other = LockHolder(desk.ledger.path)
    yield other
    other.unlock()


async def calls_of(desk: Desk, *script: Step, **more: object) -> ModelCalls:
    return await desk.calls(*script, **{"retries": 0, "settle_wait_s": WAIT_S, **more})  # type: ignore[arg-type]


def on(desk: Desk, kind: type[Event], deed: Callable[[], object]) -> Callable[[Event], Awaitable[None]]:
    """Return an emit that does something once it has heard of ``kind``."""

    async def emit(event: Event) -> None:
        await desk.emit(event)
        if isinstance(event, kind):
            deed()

    return emit


def rows(desk: Desk, columns: str = "phase, nano") -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(desk.ledger.path)) as db:
        return db.execute(f"SELECT {columns} FROM attempts ORDER BY rowid").fetchall()  # noqa: S608 - our own names


def spooled(desk: Desk) -> list[str]:
    folder = desk.ledger.path.with_suffix(".unsettled")
    return sorted(path.name for path in folder.glob("*.json")) if folder.exists() else []


def unsettled(desk: Desk) -> CallUnsettled:
    (event,) = [event for event in desk.events if isinstance(event, CallUnsettled)]
    return event


async def next_run(desk: Desk) -> Amounts:
    """Start another process's run on the ledger, and return what counts for the first one then."""
    await desk.ledger.aclose()  # the first process ends
    other = SqliteLedger(desk.ledger.path)
    try:
        await other.open_run(os.urandom(4).hex(), CostLimit(), task="t", agent="a", labels={})
        return (await other.spend(desk.run)).run_nano
    finally:
        await other.aclose()


# --- a lock ---------------------------------------------------------------------------------------------------------


async def test_an_answer_waits_for_a_foreign_lock_and_stands_when_it_is_let_go(
    desk: Desk, stranger: LockHolder
) -> None:
    calls = await calls_of(desk, stranger.lock_then(ANSWER), settle_wait_s=60)
    calls._emit = on(desk, CallUnsettled, stranger.unlock)
    assert await calls.ask(HELLO) == ANSWER
    assert desk.names() == [
        *("CallHeld", "CallSent", "AnswerReceived"),
        *("CallUnsettled", "CallSettled", "LimitsMeasured"),
    ]
    assert (calls.usage, calls.cost_nano, calls.unfinished) == (ANSWER.usage, COST, "hi"), "counted once"
    assert (rows(desk), spooled(desk)) == ([("settled", COST)], []), "what was spooled meanwhile is gone"


async def test_wait_is_reported_with_its_reason_and_keeps_the_answer(desk: Desk, stranger: LockHolder) -> None:
    asked = replace(ANSWER, tool_calls=(ToolCall("c", "docker_ps", {"all": True}),))
    calls = await calls_of(desk, stranger.lock_then(asked), settle_wait_s=60)
    calls._emit = on(desk, CallUnsettled, stranger.unlock)
    await calls.ask(HELLO)
    (held,) = [event for event in desk.events if isinstance(event, CallHeld)]
    file = desk.ledger.path.with_suffix(".unsettled") / f"{held.attempt_id}.json"
    event = unsettled(desk)
    assert event == CallUnsettled(
        held.attempt_id, event.reason, 60, "charge", str(file), COST, 120, ANSWER.usage, "hi", asked.tool_calls
    )
    assert f"locked by process {os.getpid()} (" in event.reason


async def test_answer_not_written_in_time_is_spooled_and_settled_by_the_next_run(
    desk: Desk, stranger: LockHolder
) -> None:
    calls = await calls_of(desk, stranger.lock_then(ANSWER), ANSWER)
    with pytest.raises(StateError) as caught:
        await calls.ask(HELLO)
    (hold,) = rows(desk, "nano")
    assert (
        "the last call cost $0.0003; the next run settles it, and until then its hold of $0.0" in caught.value.message
    )
    assert caught.value.message.endswith("remains")
    assert caught.value.hint == "another program has the ledger open for writing; close it and try again"
    assert (calls.unfinished, calls.usage, calls.cost_nano, calls.in_doubt_nano) == ("hi", ANSWER.usage, COST, 0)
    assert (len(spooled(desk)), len(desk.provider.heard)) == (1, 1)
    stranger.unlock()
    assert (await desk.spend()).run_nano == Amounts(held=int(str(hold[0]))), "its hold counts until then"
    assert await next_run(desk) == Amounts(spent=COST)
    assert (rows(desk), spooled(desk)) == ([("settled", COST)], [])


async def test_a_queue_that_does_not_move_is_waited_for_like_a_lock(desk: Desk, stranger: LockHolder) -> None:
    taken = queue_lock(desk.ledger.path.with_suffix(".queue"))

    def take(_: Request) -> None:
        taken.__enter__()

    calls = await calls_of(desk, [take, ANSWER], settle_wait_s=60)
    calls._emit = on(desk, CallUnsettled, lambda: taken.__exit__(None, None, None))
    assert await calls.ask(HELLO) == ANSWER
    assert f"queue has not moved for 0.02 s; process {os.getpid()} holds it" in unsettled(desk).reason


DEARER = Completion("hi", usage=Usage(100, 16_384), model="m")  # above its grant, and so above its hold
ENDS: dict[str, tuple[Step, str, str, object]] = {  # what comes; how it ends; what is said of it; what it costs then
    "a charge": (ANSWER, "settled", "cost $0.0003;", COST),
    "an overrun": (DEARER, "settled", "cost $0.16394;", 163_940_000),
    "no usage": (replace(ANSWER, usage=None), "doubt", "at most;", None),
    "a cut": ([Delta("h"), DOWN], "doubt", "at most;", None),
    "an error": (DOWN, "doubt", "at most;", None),
    "past its clamp": ([Delta("h"), ClampExceeded("it went on")], "doubt", "at most;", 16_384 * 10_000 + 128_000_000),
    "a refusal": (KEY, "void", "cost nothing;", 0),
}


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("in_time", [True, False], ids=["in time", "by the next run"])
async def test_outcome_of_an_attempt_is_written_once(desk: Desk, stranger: LockHolder, end: str, in_time: bool) -> None:
    step, phase, said, nano = ENDS[end]
    calls = await calls_of(
        desk,
        stranger.lock_then(step),
        facts=replace(FACTS, known_endpoint=True),
        settle_wait_s=60 if in_time else WAIT_S,
        max_output_tokens=4_096,
    )
    calls._emit = on(desk, CallUnsettled, stranger.unlock if in_time else lambda: None)
    error: BaseException | None = None
    try:
        await calls.ask(HELLO)
    except Exception as caught:  # noqa: BLE001 - compared below
        error = caught
    ((hold,),) = rows(desk, "hold_nano")
    stranger.unlock()
    if not in_time:
        assert isinstance(error, StateError)
        assert f"the last call cost {'$0.0' if phase == 'doubt' else ''}" in error.message
        assert f"{said} the next run settles it" in error.message
        assert calls.in_doubt_nano == (hold if phase == "doubt" else 0)
        await next_run(desk)
    elif phase != "settled" and end != "no usage":
        assert isinstance(error, (ProviderUnavailable, AuthFailed))
    assert rows(desk) == [(phase, hold if nano is None else nano)]
    assert spooled(desk) == []
    with closing(sqlite3.connect(desk.ledger.path)) as db:
        assert db.execute("SELECT count(*) FROM overruns").fetchone() == (int(end in ("an overrun", "past its clamp")),)


async def test_unsent_attempt_neither_waits_nor_is_spooled(desk: Desk, stranger: LockHolder) -> None:
    calls = await calls_of(desk, ANSWER, settle_wait_s=60)
    calls._emit = on(desk, CallHeld, stranger.lock)
    with pytest.raises(LedgerBusy):
        await calls.ask(HELLO)
    assert (desk.provider.heard, spooled(desk), desk.names()) == ([], [], ["CallHeld"])
    stranger.unlock()
    assert await next_run(desk) == Amounts()


async def test_a_lookup_without_a_model_waits_as_well(desk: Desk, stranger: LockHolder) -> None:
    builtin = ModelFacts("builtin", None, FREE, metered=False)
    calls = await calls_of(desk, stranger.lock_then(Completion("facts")), facts=builtin, settle_wait_s=60)
    calls._emit = on(desk, CallUnsettled, stranger.unlock)
    assert (await calls.ask(HELLO)).text == "facts"


# --- while it waits -------------------------------------------------------------------------------------------------


async def test_run_stopped_while_waiting_has_the_charge_and_the_answer(desk: Desk, stranger: LockHolder) -> None:
    calls = await calls_of(desk, stranger.lock_then(ANSWER), settle_wait_s=60)
    with anyio.CancelScope() as scope:

        def stop() -> None:
            scope.cancel()
            stranger.unlock()

        calls._emit = on(desk, CallUnsettled, stop)
        await calls.ask(HELLO)
        await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert (calls.unfinished, rows(desk)) == ("hi", [("settled", COST)])


async def test_wait_ends_in_time_after_the_deadline_of_the_run(desk: Desk, stranger: LockHolder) -> None:
    calls = await calls_of(desk, stranger.lock_then(ANSWER))
    with pytest.raises(StateError, match="the next run settles it"), anyio.move_on_after(WAIT_S / 3):
        await calls.ask(HELLO)
    stranger.unlock()
    assert await next_run(desk) == Amounts(spent=COST)


async def test_a_callers_own_cancel_while_waiting_leaves_the_charge_to_the_next_run(
    desk: Desk, stranger: LockHolder
) -> None:
    calls = await calls_of(desk, stranger.lock_then(ANSWER), settle_wait_s=60)
    task = asyncio.ensure_future(calls.ask(HELLO))
    calls._emit = on(desk, CallUnsettled, lambda: asyncio.get_running_loop().call_later(0.05, task.cancel))
    with pytest.raises(asyncio.CancelledError):
        await task
    stranger.unlock()
    assert calls.unfinished == "hi"
    assert await next_run(desk) == Amounts(spent=COST)


async def test_a_journal_that_fails_while_waiting_does_not_lose_the_charge(desk: Desk, stranger: LockHolder) -> None:
    calls = await calls_of(desk, stranger.lock_then(ANSWER), settle_wait_s=60)

    def full() -> None:
        stranger.unlock()
        raise StateError("disk full")

    calls._emit = on(desk, CallUnsettled, full)
    assert await calls.ask(HELLO) == ANSWER
    assert rows(desk) == [("settled", COST)]


# --- after it -------------------------------------------------------------------------------------------------------


async def test_an_answer_is_kept_though_the_journal_cannot_say_that_it_was_charged(desk: Desk) -> None:
    calls = await calls_of(desk, ANSWER)

    def full() -> None:
        raise StateError("disk full")

    calls._emit = on(desk, CallSettled, full)
    with pytest.raises(StateError, match="disk full"):
        await calls.ask(HELLO)
    assert (calls.unfinished, rows(desk)) == ("hi", [("settled", COST)])


async def test_answer_stands_when_the_spending_cannot_be_read_after_its_charge(tmp_path: Path) -> None:
    read, broken = system_clock(), list[str]()

    def clock() -> ClockReading:
        if broken:
            raise OSError(5, broken.pop())
        return read()

    desk = Desk(SqliteLedger(tmp_path / "ledger.db", clock=clock))
    calls = await calls_of(desk, ANSWER)
    calls._emit = on(desk, CallSettled, lambda: broken.append("the clock cannot be read"))
    assert await calls.ask(HELLO) == ANSWER
    assert desk.names() == ["CallHeld", "CallSent", "AnswerReceived", "CallSettled"]
    assert broken == []
    await desk.ledger.aclose()


async def test_longer_of_two_answers_to_a_repeated_request_is_kept(desk: Desk, stranger: LockHolder) -> None:
    cut = Completion("half", usage=Usage(100, 4_096), stop="length")
    calls = await calls_of(desk, cut, stranger.lock_then(replace(ANSWER, text="half and the rest")))
    with pytest.raises(StateError):
        await calls.ask(HELLO)
    assert calls.unfinished == "half and the rest"


# --- a ledger that is not there -------------------------------------------------------------------------------------


def take_away(path: Path, how: str) -> Path:
    """Move, delete or replace a ledger that is in use; return where it is now."""
    away = path.with_name("away.db")
    if how == "its folder is moved":
        path.parent.rename(path.parent.with_name("away"))
        return path.parent.with_name("away") / path.name
    path.rename(away)
    if how == "replaced":
        path.write_bytes(away.read_bytes())
    return away


@pytest.mark.parametrize("how", ["moved", "replaced", "its folder is moved"])
async def test_ledger_that_is_gone_is_not_reported_to_hold_anything(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "state"
    path = folder / "ledger.db"
    desk = Desk(SqliteLedger(path))
    away = list[Path]()

    def lose(_: Request) -> Completion:
        away.append(take_away(path, how))
        return ANSWER

    calls = await calls_of(desk, lose)
    with pytest.raises(StateError) as caught:
        await calls.ask(HELLO)
    said = caught.value.message
    assert "was moved, deleted or replaced while it was in use" in said
    assert "the last call cost $0.0003, and no ledger counts it now" in said
    assert "its hold of" not in said
    assert ("keeps it until the ledger is back" in said) == (how != "its folder is moved")
    assert calls.unfinished == "hi"
    if how == "its folder is moved":
        assert not folder.exists(), "nothing is made where it was"
        away[0].parent.rename(folder)
        assert (await next_run(desk)).in_doubt > COST
    else:
        away[0].replace(path)
        assert await next_run(desk) == Amounts(spent=COST)


async def test_a_ledger_that_is_moved_away_and_back_at_once_takes_the_charge(desk: Desk) -> None:
    path = desk.ledger.path

    def lose(_: Request) -> Completion:
        path.rename(path.with_name("away.db"))
        return ANSWER

    calls = await calls_of(desk, lose, settle_wait_s=60)
    calls._emit = on(desk, CallUnsettled, lambda: path.with_name("away.db").rename(path))
    assert await calls.ask(HELLO) == ANSWER
    assert (rows(desk), spooled(desk), unsettled(desk).seconds) == ([("settled", COST)], [], 0)


class NoSpool(SqliteLedger):
    """A ledger on a disk on which nothing can be written any more."""

    is_broken = False

    async def settle(self, hold_id: str, charge: Charge) -> Settlement:
        if self.is_broken:
            raise StateError("read-only disk", hint="make it writable")
        return await super().settle(hold_id, charge)

    async def doubt(self, hold_id: str, reason: str, **more: Any) -> Settlement:  # noqa: ANN401
        raise StateError("read-only disk", hint="make it writable")

    async def spool(self, hold_id: str, conclusion: object) -> str:
        raise StateError("read-only disk")


async def test_hold_counts_where_nothing_can_be_written_and_the_hint_settles_it(tmp_path: Path) -> None:
    desk = Desk(NoSpool(tmp_path / "ledger.db"))
    calls = await calls_of(desk, ANSWER, DOWN, settle_wait_s=0)
    desk.ledger.is_broken = True  # type: ignore[attr-defined]
    with pytest.raises(StateError) as caught:
        await calls.ask(HELLO)
    ((name,),) = rows(desk, "id")
    assert "read-only disk; the last call cost $0.0003, and its hold of $0.0" in caught.value.message
    assert caught.value.message.endswith("remains")
    assert caught.value.hint == f"make it writable; then: agentctl ledger reconcile {name} --actual 0.0003"
    with pytest.raises(StateError) as caught:
        await calls.ask(HELLO)
    assert "the last call cost $0.0" in caught.value.message
    assert "at most, and its hold of $0.0" in caught.value.message
    assert caught.value.hint == "make it writable", "what it cost nobody knows"
    assert await next_run(desk) == Amounts(in_doubt=sum(int(str(nano)) for (nano,) in rows(desk, "hold_nano")))
    await desk.ledger.aclose()


async def test_hold_of_unknown_price_is_reported_in_tokens(desk: Desk, stranger: LockHolder) -> None:
    free_hand = CostLimit(max_cost_per_task=None, max_cost_per_hour=None)
    unknown = ModelFacts("p", "m", None)
    calls = await calls_of(desk, stranger.lock_then(ANSWER), facts=unknown, limits=free_hand)
    with pytest.raises(StateError) as caught:
        await calls.ask(HELLO)
    assert "the last call cost 120 tokens; the next run settles it, and until then its hold of " in caught.value.message
    assert " tokens remains" in caught.value.message
    assert calls.cost_nano is None


async def test_summary_that_cannot_be_charged_is_not_an_answer_and_is_in_the_journal(
    desk: Desk, stranger: LockHolder
) -> None:
    calls = await calls_of(desk, ANSWER, stranger.lock_then(replace(ANSWER, text="what was cut")))
    await calls.ask(HELLO)
    with pytest.raises(StateError, match="the next run settles it"):
        await calls.summary(HELLO, (), most=500, then=1_000)
    assert (calls.unfinished, unsettled(desk).text) == ("", "what was cut")
    stranger.unlock()
    assert await next_run(desk) == Amounts(spent=2 * COST)
