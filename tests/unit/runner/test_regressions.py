"""Regressions of model calls: each test stands for one fixed bug."""

from __future__ import annotations

import asyncio  # noqa: TID251 - a caller's own task.cancel() heeds no shield of anyio's
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
import trio
from trio.testing import MockClock

from agentctl.budget.rules import Amounts
from agentctl.core.errors import AuthFailed, BudgetExceeded, ProviderUnavailable, StateError
from agentctl.core.events import AnswerStreamed, CallHeld, CallSent, CallWaited, Emit, Event, LimitWarned
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Completion, Delta, Request, Usage
from agentctl.core.pricing import Price
from agentctl.ledger import SqliteLedger
from agentctl.ledger.clock import ClockReading, system_clock
from agentctl.protocols import LLMProvider
from agentctl.providers.scripted import Part, ScriptedProvider, Step
from agentctl.runner.model_calls import ModelCalls
from agentctl.runner.streaming import HANG_UP_S
from tests.support.model_calls import ANSWER, COST, FACTS, HELLO, PRICE, Desk

CUT = Completion("half", usage=Usage(100, 4_096), stop="length")
DOWN = ProviderUnavailable("503")


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    ledger = SqliteLedger(tmp_path / "ledger.db", pause_s=0.01)
    yield Desk(ledger)
    await ledger.aclose()


async def calls_of(desk: Desk, provider: LLMProvider, *, emit: Emit | None = None, **more: float) -> ModelCalls:
    """Open a run whose provider and emit are handed in; nothing is tried again."""
    limits = CostLimit()
    await desk.calls(limits=limits)
    return ModelCalls(
        provider=provider,
        ledger=desk.ledger,
        run_id=desk.run,
        limits=limits,
        emit=emit or desk.emit,
        retries=0,
        **more,  # type: ignore[arg-type]
    )


def at(kind: type[Event], deed: Callable[[], Awaitable[None]]) -> Emit:
    """Return an emit that does something when it hears of ``kind``."""

    async def emit(event: Event) -> None:
        if type(event) is kind:
            await deed()

    return emit


async def disk_full() -> None:
    raise StateError("disk full")


def script(*steps: Step) -> ScriptedProvider:
    return ScriptedProvider(steps, facts=FACTS)


def attempts(desk: Desk, columns: str = "phase") -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(desk.ledger.path)) as db:
        return db.execute(f"SELECT {columns} FROM attempts ORDER BY rowid").fetchall()  # noqa: S608 - our own names


def in_virtual_time(tmp_path: Path, deed: Callable[[Desk], Awaitable[None]]) -> None:
    """Run ``deed`` where an hour of sleep takes no time."""

    async def main() -> None:
        ledger = SqliteLedger(tmp_path / "ledger.db")
        await deed(Desk(ledger))
        await ledger.aclose()

    trio.run(main, clock=MockClock(autojump_threshold=0))


# --- hanging up -------------------------------------------------------------------------------------------------


class Slammed(ScriptedProvider):
    """Answers, and then raises when its stream is closed."""

    def __init__(self, closing: Callable[[], Awaitable[None]]) -> None:
        super().__init__([], facts=FACTS)
        self._closing = closing

    async def stream(self, request: Request) -> AsyncIterator[Delta | Completion]:
        try:
            yield ANSWER
        finally:
            await self._closing()


class Talkative(ScriptedProvider):
    """Goes on after it was closed."""

    async def stream(self, request: Request) -> AsyncIterator[Delta | Completion]:
        try:
            yield ANSWER
        finally:
            yield ANSWER


class Bare:
    """A stream that is not a generator and cannot be closed."""

    facts = FACTS

    def __init__(self) -> None:
        self._left = [ANSWER]

    def stream(self, request: Request) -> AsyncIterator[Delta | Completion]:
        return self

    def __aiter__(self) -> AsyncIterator[Delta | Completion]:
        return self

    async def __anext__(self) -> Delta | Completion:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


async def reset() -> None:
    raise ProviderUnavailable("reset while closing")


@pytest.mark.parametrize(
    "provider", [Slammed(reset), Talkative([], facts=FACTS), Bare()], ids=lambda p: type(p).__name__
)
async def test_an_answer_stands_and_is_settled_whatever_the_stream_says_to_being_closed(
    desk: Desk, provider: LLMProvider
) -> None:
    calls = await calls_of(desk, provider)
    assert await calls.ask(HELLO) == ANSWER
    assert (await desk.spend()).run_nano == Amounts(spent=COST)


def test_a_stream_that_never_finishes_closing_is_given_up_and_its_answer_stands(tmp_path: Path) -> None:
    async def deed(desk: Desk) -> None:
        calls, started = await calls_of(desk, Slammed(lambda: anyio.sleep(3_600))), anyio.current_time()
        assert await calls.ask(HELLO) == ANSWER
        assert anyio.current_time() - started == HANG_UP_S
        assert (await desk.spend()).run_nano == Amounts(spent=COST)

    in_virtual_time(tmp_path, deed)


async def test_ctrl_c_while_the_stream_is_being_closed_does_not_lose_the_charge(desk: Desk) -> None:
    with anyio.CancelScope() as scope:

        async def cancelled() -> None:
            scope.cancel()
            await anyio.sleep(0.01)

        await (await calls_of(desk, Slammed(cancelled))).ask(HELLO)
    assert (await desk.spend()).run_nano == Amounts(spent=COST)


# --- waiting and the queue --------------------------------------------------------------------------------------


async def impatient_and_patient(desk: Desk, ledger: SqliteLedger, *, patience_s: float) -> Exception | Completion:
    """Let a call hold all the room there is, ask once more meanwhile, and return how the second one ended."""
    go_on, under_way, waiting = anyio.Event(), anyio.Event(), anyio.Event()
    ended: list[Exception | Completion] = []

    async def slow(_: Request) -> Completion:
        under_way.set()
        await go_on.wait()
        return ANSWER

    async def told() -> None:
        waiting.set()

    tight = CostLimit(max_cost_per_task=Decimal("0.006"))
    first = await desk.calls(slow, ANSWER, limits=tight)
    second = ModelCalls(
        provider=desk.provider,
        ledger=ledger,
        run_id=desk.run,
        limits=tight,
        emit=at(CallWaited, told),
        budget_wait_s=patience_s,
    )

    async def ask_again() -> None:
        try:
            ended.append(await second.ask(HELLO))
        except (BudgetExceeded, StateError) as error:
            ended.append(error)
        waiting.set()

    async with anyio.create_task_group() as group:
        group.start_soon(first.ask, HELLO)
        await under_way.wait()
        group.start_soon(ask_again)
        await waiting.wait()
        go_on.set()
    return ended[0]


class Unwritable(SqliteLedger):
    """A ledger whose queue cannot be left, because the disk is full at that moment."""

    async def leave_queue(self, attempt_id: str) -> None:
        raise StateError("disk full")


async def test_call_without_any_patience_does_not_stay_in_the_queue(desk: Desk) -> None:
    assert isinstance(await impatient_and_patient(desk, desk.ledger, patience_s=0), BudgetExceeded)
    with closing(sqlite3.connect(desk.ledger.path)) as db:
        assert db.execute("SELECT count(*) FROM waiters").fetchone() == (0,)


@pytest.mark.parametrize(("patience_s", "ends"), [(60, Completion), (0, BudgetExceeded)])
async def test_disk_full_on_leaving_the_queue_loses_neither_the_hold_nor_the_reason(
    desk: Desk, patience_s: float, ends: type
) -> None:
    unwritable = Unwritable(desk.ledger.path)
    assert isinstance(await impatient_and_patient(desk, unwritable, patience_s=patience_s), ends)
    assert (await desk.spend()).run_nano.held == 0
    await unwritable.aclose()


class Gate:
    """A clock that blocks an operation of the ledger inside its transaction while it is shut."""

    def __init__(self) -> None:
        self._read = system_clock()
        self._open = threading.Event()
        self.reached = threading.Event()
        self.open()

    def __call__(self) -> ClockReading:
        if not self._open.is_set():
            self.reached.set()
        assert self._open.wait(30)
        return self._read()

    def open(self) -> None:
        self._open.set()

    async def shut(self) -> None:
        self._open.clear()


@pytest.mark.parametrize("deed", ["reserving", "marking as sent"])
async def test_a_task_cancelled_by_its_caller_while_the_ledger_is_writing_holds_nothing(
    tmp_path: Path, deed: str
) -> None:
    gate = Gate()
    desk = Desk(SqliteLedger(tmp_path / "ledger.db", clock=gate))
    provider = script(ANSWER)
    calls = await calls_of(desk, provider, emit=at(CallHeld, gate.shut))
    if deed == "reserving":
        await gate.shut()
    task = asyncio.create_task(calls.ask(HELLO))
    await anyio.to_thread.run_sync(gate.reached.wait)
    task.cancel()
    gate.open()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (attempts(desk), provider.heard) == ([("void",)], [])
    await desk.ledger.aclose()


async def test_ledger_too_slow_to_send_in_time_is_reported_instead_of_asked_forever(desk: Desk) -> None:
    calls = await desk.calls(ANSWER, deadline_s=0)
    with pytest.raises(StateError, match="3 holds in a row expired before their requests could be sent"):
        await calls.ask(HELLO)
    assert (attempts(desk), desk.provider.heard) == ([("void",)] * 3, [])


def test_the_deadline_of_a_call_runs_from_its_hold_and_not_from_its_first_piece(tmp_path: Path) -> None:
    async def rest(_: Request) -> None:
        await anyio.sleep(50)

    pieces: list[Part] = [part for _ in range(6) for part in (Delta("."), rest)]

    async def deed(desk: Desk) -> None:
        slow_screen = at(CallHeld, lambda: anyio.sleep(400))
        calls = await calls_of(desk, script([*pieces, ANSWER]), emit=slow_screen, deadline_s=600.0)
        with pytest.raises(ProviderUnavailable, match="did not finish its answer in 600 s"):
            await calls.ask(HELLO)
        assert attempts(desk) == [("doubt",)]

    in_virtual_time(tmp_path, deed)


# --- asking twice for one answer --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "then",
    [AuthFailed("rejected", billed="no"), ProviderUnavailable("503", billed="no"), [Delta("and"), DOWN]],
    ids=["auth", "down", "cut short"],
)
async def test_a_cut_answer_that_was_paid_for_stands_when_the_longer_one_fails(desk: Desk, then: Step) -> None:
    calls = await desk.calls(CUT, then, retries=0)
    assert await calls.ask(HELLO) == CUT
    assert len(desk.provider.heard) == 2


async def test_an_overrun_ends_the_run_also_when_it_comes_with_the_longer_answer(desk: Desk) -> None:
    calls = await desk.calls(CUT, Completion("dear", usage=Usage(100_000, 16_000)))
    with pytest.raises(BudgetExceeded, match="provider_overrun") as caught:
        await calls.ask(HELLO)
    assert caught.value.partial == "dear"


async def test_an_answer_cut_short_because_it_was_a_probe_is_asked_for_again_in_full(desk: Desk) -> None:
    probed = Completion("cut", usage=Usage(100, 256), stop="length")
    calls = await desk.calls(DOWN, DOWN, probed, ANSWER, max_output_tokens=4_096)
    assert await calls.ask(HELLO) == ANSWER
    assert [r.max_output_tokens for r in desk.provider.heard] == [4_096, 4_096, 256, 4_096]


# --- who is to blame --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "left"), [(CallSent, ("void", 0)), (AnswerStreamed, ("doubt", 0))], ids=["before sending", "after"]
)
async def test_a_journal_that_fails_is_not_the_providers_fault(
    desk: Desk, event: type[Event], left: tuple[str, int]
) -> None:
    provider = script([Delta("h"), ANSWER])
    calls = await calls_of(desk, provider, emit=at(event, disk_full))
    with pytest.raises(StateError, match="disk full"):
        await calls.ask(HELLO)
    assert attempts(desk, "phase, provider_fault") == [left]
    assert len(provider.heard) == (0 if event is CallSent else 1)


async def test_exception_raised_by_a_provider_is_its_fault(desk: Desk) -> None:
    def bug(_: Request) -> Completion:
        raise KeyError("choices")

    with pytest.raises(KeyError):
        await (await calls_of(desk, script(bug))).ask(HELLO)
    assert attempts(desk, "phase, provider_fault") == [("doubt", 1)]


# --- what providers say -----------------------------------------------------------------------------------------


async def test_lone_surrogate_in_a_models_name_or_an_error_does_not_keep_a_call_open(desk: Desk) -> None:
    calls = await desk.calls(replace(ANSWER, model="m\ud800"), ProviderUnavailable("bad \ud800"), retries=0)
    await calls.ask(HELLO)
    with pytest.raises(ProviderUnavailable):
        await calls.ask(HELLO)
    assert attempts(desk, "phase, answered_model, reason") == [("settled", "m\ufffd", None), ("doubt", None, "bad ?")]


@pytest.mark.parametrize(("factor", "charged"), [(2, 2), (Decimal("0.5"), 1)], ids=["dearer", "cheaper"])
async def test_the_dearer_of_the_asked_and_the_answering_models_price_is_charged(
    desk: Desk, factor: Decimal, charged: int
) -> None:
    other = Price(PRICE.input * factor, PRICE.output * factor)
    calls = await desk.calls(replace(ANSWER, model="m-large"), price_of={"m-large": other}.get)
    await calls.ask(HELLO)
    assert (calls.cost_nano, (await desk.spend()).run_nano) == (COST * charged, Amounts(spent=COST * charged))


@pytest.mark.parametrize(("said", "charged"), [(3 * COST, 3 * COST), (COST // 2, COST), (0, COST)])
async def test_amount_billed_by_the_provider_is_charged_if_it_is_more(desk: Desk, said: int, charged: int) -> None:
    calls = await desk.calls(replace(ANSWER, billed_nano=said))
    await calls.ask(HELLO)
    assert (await desk.spend()).run_nano == Amounts(spent=charged)


async def test_eighty_percent_is_warned_of_also_when_it_is_in_doubt(desk: Desk) -> None:
    calls = await desk.calls(DOWN, limits=CostLimit(max_cost_per_task=Decimal("0.045")), retries=0)
    with pytest.raises(ProviderUnavailable):
        await calls.ask(HELLO)
    assert [e.use.name for e in desk.events if isinstance(e, LimitWarned)] == ["max_cost_per_task"]


async def test_message_of_the_last_failed_call_is_kept_when_doubt_ends_the_run(desk: Desk) -> None:
    down = ProviderUnavailable("p: bad gateway (HTTP 502)")
    calls = await desk.calls(*[down] * 9, limits=CostLimit(max_cost_per_task=Decimal("0.06")))
    with pytest.raises(
        ProviderUnavailable, match=r"in doubt after failed calls \(last failure: p: bad gateway"
    ) as caught:
        await calls.ask(HELLO)
    assert not caught.value.retryable
