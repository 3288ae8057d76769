"""Edge cases of model calls: each test fails for one plausible mistake in the code."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from decimal import Decimal
from pathlib import Path

import anyio
import pytest

from agentctl.budget.conclusions import Charge
from agentctl.budget.input_bound import (
    FIXED,
    JOINT,
    PER_PART,
    SettledRequest,
    bound,
    message_bytes,
    plain_bound,
    tool_bytes,
)
from agentctl.budget.rules import Amounts, Ask, Hold
from agentctl.core.errors import BrokenOff, BudgetExceeded, ProviderUnavailable, RateLimited, StateError
from agentctl.core.events import AnswerStreamed, CallHeld, CallSent, CallSettled, CallWaited, Event, Noted
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Completion, Delta, KeepAlive, Message, Request, ToolCall, ToolSpec, Usage
from agentctl.core.pricing import ModelFacts
from agentctl.ledger import SqliteLedger
from agentctl.providers.scripted import Part, ScriptedProvider
from tests.support.model_calls import ANSWER, COST, FACTS, HELLO, PRICE, Desk

PIECES: list[Part] = [Delta("h"), ANSWER]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    ledger = SqliteLedger(tmp_path / "ledger.db", pause_s=0.01)
    yield Desk(ledger)
    await ledger.aclose()


def phases(desk: Desk) -> list[str]:
    with closing(sqlite3.connect(desk.ledger.path)) as db:
        return [phase for (phase,) in db.execute("SELECT phase FROM attempts")]


@pytest.mark.parametrize(
    ("at", "left"),
    [(CallHeld, {"void"}), (CallSent, {"void", "doubt"}), (AnswerStreamed, {"doubt"}), (CallSettled, {"settled"})],
)
@pytest.mark.parametrize("how", ["cancelled", "disk full"])
async def test_hold_is_concluded_whatever_stops_its_call_and_wherever(
    desk: Desk, at: type[Event], left: set[str], how: str
) -> None:
    calls = await desk.calls(PIECES)
    with anyio.CancelScope() as scope:

        async def stop(event: Event) -> None:
            desk.events.append(event)
            if type(event) is at and how == "cancelled":
                scope.cancel()
                await anyio.lowlevel.checkpoint()
            elif type(event) is at:
                raise StateError("disk full")

        calls._emit = stop
        with suppress(StateError):
            await calls.ask(HELLO)
    (phase,) = phases(desk)
    assert phase in left
    assert (await desk.spend()).run_nano.held == 0


async def test_a_refusal_after_signs_of_life_costs_nothing(desk: Desk) -> None:
    refusal = RateLimited("slow down", hint="later", billed="no")
    calls = await desk.calls([KeepAlive(""), KeepAlive(""), refusal], retries=0)
    with pytest.raises(RateLimited):
        await calls.ask(HELLO)
    assert phases(desk) == ["void"]
    assert AnswerStreamed not in map(type, desk.events)


async def test_ctrl_c_after_the_last_piece_does_not_lose_the_charge(desk: Desk) -> None:
    with anyio.CancelScope() as scope:

        def answer_and_cancel(_: Request) -> Completion:
            scope.cancel()
            return ANSWER

        await (await desk.calls(answer_and_cancel)).ask(HELLO)
    assert (await desk.spend()).run_nano == Amounts(spent=COST)
    assert "CallSettled" in desk.names()


async def test_call_cancelled_while_waiting_leaves_the_queue(desk: Desk) -> None:
    go_on, under_way, waiting = anyio.Event(), anyio.Event(), anyio.Event()

    async def slow(_: Request) -> Completion:
        under_way.set()
        await go_on.wait()
        return ANSWER

    async def told(event: Event) -> None:
        if isinstance(event, CallWaited):
            waiting.set()

    calls = await desk.calls(slow, ANSWER, limits=CostLimit(max_cost_per_task=Decimal("0.006")))
    calls._emit = told
    async with anyio.create_task_group() as outer:
        outer.start_soon(calls.ask, HELLO)
        await under_way.wait()
        async with anyio.create_task_group() as inner:
            inner.start_soon(calls.ask, HELLO)
            await waiting.wait()
            inner.cancel_scope.cancel()
        with closing(sqlite3.connect(desk.ledger.path)) as db:
            assert db.execute("SELECT count(*) FROM waiters").fetchone() == (0,)
        go_on.set()


async def test_the_deadline_ends_a_call_that_never_falls_silent(desk: Desk) -> None:
    class Chatty(ScriptedProvider):
        async def stream(self, request: Request) -> AsyncIterator[Delta | Completion]:
            while True:
                yield Delta(".")
                await anyio.sleep(0.005)

    calls = await desk.calls(deadline_s=0.2, silence_s=5, retries=0)
    calls._provider = Chatty([], facts=FACTS)
    with anyio.fail_after(5), pytest.raises(ProviderUnavailable, match=r"did not finish its answer in 0\.2 s"):
        await calls.ask(HELLO)
    assert phases(desk) == ["doubt"]


async def test_data_after_the_complete_answer_is_not_read(desk: Desk) -> None:
    calls = await desk.calls([ANSWER, Delta("more"), Completion("other", usage=Usage(1, 1))])
    assert await calls.ask(HELLO) == ANSWER
    assert (await desk.spend()).run_nano == Amounts(spent=COST)


async def test_unknown_exception_is_in_doubt_and_not_retried(desk: Desk) -> None:
    def bug(_: Request) -> Completion:
        raise KeyError("choices")

    calls = await desk.calls(bug, ANSWER)
    with pytest.raises(KeyError):
        await calls.ask(HELLO)
    assert (len(desk.provider.heard), phases(desk)) == (1, ["doubt"])


async def test_cut_answer_is_not_reported_as_complete_when_a_limit_forbids_to_ask_again(desk: Desk) -> None:
    cut = Completion("half", usage=Usage(100, 4_096), stop="length")
    calls = await desk.calls(cut, ANSWER, limits=CostLimit(max_cost_per_task=Decimal("0.0425")))
    with pytest.raises(BudgetExceeded) as caught:
        await calls.ask(HELLO)
    assert (caught.value.partial, len(desk.provider.heard)) == ("half", 1)


async def test_cut_tool_calls_are_run_when_a_limit_forbids_to_ask_again(desk: Desk) -> None:
    cut = Completion("half", (ToolCall("1", "f", {}),), Usage(100, 4_096), stop="length")
    calls = await desk.calls(cut, ANSWER, limits=CostLimit(max_cost_per_task=Decimal("0.0425")))
    assert await calls.ask(HELLO) == cut


# --- the bound --------------------------------------------------------------------------------------------------


def test_the_plain_bound_is_the_designs_formula() -> None:
    call = ToolCall("1", "f", {"a": 1})
    sent = (Message("user", "hello"), Message("assistant", "", (call,)), Message("tool", "x", tool_call_id="1"))
    tool = ToolSpec("f", "does", {"type": "object"})
    weight = sum(map(message_bytes, sent)) + tool_bytes(tool)
    assert plain_bound(Request("m", sent, (tool,))) == weight + FIXED + PER_PART * (3 + 1 + 1)
    assert (
        plain_bound(Request("m", sent, (tool,), settings={"stop": "x" * 100}))
        > plain_bound(Request("m", sent, (tool,))) + 100
    )


@pytest.mark.parametrize("output", [1, 9_000])
def test_the_tight_bound_is_the_designs_formula(output: int) -> None:
    before = (Message("system", "word " * 10_000),)
    answer = Message("assistant", "so it is " * 30, (ToolCall("1", "f", {}),))
    new = (Message("tool", "done", tool_call_id="1"), Message("user", "and?"))
    known = SettledRequest(Request("m", before), answer, Usage(12_000, output))
    said = max(output, message_bytes(answer))
    after = sum(map(message_bytes, new)) + JOINT + PER_PART * 4  # the answer, its call, and two new messages
    assert bound(Request("m", (*before, answer, *new)), known) == 12_000 + said + after


def test_references_within_references_count_as_if_written_out() -> None:
    leaf = {"type": "string", "description": "d" * 500}
    middle = {"properties": {f"p{i}": {"$ref": "#/$defs/Leaf"} for i in range(5)}}
    schema = {
        "$defs": {"Leaf": leaf, "Middle": middle},
        "properties": {f"m{i}": {"$ref": "#/$defs/Middle"} for i in range(5)},
    }
    assert tool_bytes(ToolSpec("t", "", schema)) > 25 * 500


async def test_a_refusal_that_cost_nothing_takes_no_ground_from_the_next_bound(desk: Desk) -> None:
    """A 429 says nothing of how an earlier request was counted."""
    refused = RateLimited("slow down", billed="no", retry_after=0.001)
    calls = await desk.calls(ANSWER, refused, ANSWER)
    await calls.ask(HELLO)
    more = (*HELLO, ANSWER.as_message(), Message("user", "and now?"))
    await calls.ask(more)
    bounds = [event.input_bound for event in desk.events if isinstance(event, CallHeld)]
    assert bounds[1] == bounds[2] < plain_bound(Request("m", more))


@pytest.mark.parametrize(("turns", "asked"), [(10, 1), (11, 0)])
async def test_a_reasoning_model_is_not_asked_for_a_last_answer_without_room_to_think(
    desk: Desk, turns: int, asked: int
) -> None:
    """Of the last 2,800 tokens fewer than 1,000 are left for the answer, which reasoning alone would use up."""
    thinker = ModelFacts("p", "m", PRICE, context_window=128_000, output_ceiling=64_000, reasoning=True)
    limits = CostLimit(max_cost_per_task=None, max_cost_per_hour=None, max_tokens_per_task=60_000)
    turn = Completion("hi", usage=Usage(1_100, 4_096), model="m")
    calls = await desk.calls(*[turn] * turns, ANSWER, facts=thinker, limits=limits, max_output_tokens=4_096)
    for _ in range(turns):
        await calls.ask(HELLO)
    asking = Noted("asking for a last answer")
    answer = await calls.last_answer((*HELLO, Message("tool", "found it " * 60, tool_call_id="1")), asking)
    assert (answer is not None, len(desk.provider.heard)) == (bool(asked), turns + asked)
    assert (desk.events.count(asking), calls.asked_last) == (asked, bool(asked))


async def test_a_last_request_that_is_too_long_for_what_is_left_is_asked_shorter(desk: Desk) -> None:
    limits = CostLimit(max_cost_per_task=None, max_cost_per_hour=Decimal("0.10"), max_tokens_per_task=None)
    calls = await desk.calls(ANSWER, limits=limits)
    await desk.ledger.open_run("other", CostLimit(max_cost_per_task=None), task="", agent="", labels={})
    other = Ask("theirs", "other", FACTS, input_bound=1, least=10_000, most=10_000, hour_limit_nano=None)
    assert isinstance(await desk.ledger.reserve(other), Hold)
    assert await desk.ledger.mark_sent("theirs")
    await desk.ledger.settle("theirs", Charge(Usage(1, 9_250), 92_500_000))
    looked = (
        *HELLO,
        Message("assistant", "Looking.", (ToolCall("c", "f", {}),)),
        Message("tool", "x\n" * 9_000, (), "c"),
    )
    assert await calls.last_answer(looked) == ANSWER
    (heard,) = desk.provider.heard
    assert plain_bound(heard) < 5_000
    assert (await desk.spend()).hour_nano.total <= 100_000_000


BROKEN = Completion("so fa", (ToolCall("1", "f", {}),), Usage(100, 20), "m", "broken", reason="abort")


async def test_an_answer_that_broke_off_is_charged_once_and_not_asked_for_again(desk: Desk) -> None:
    calls = await desk.calls(BROKEN, ANSWER)
    with pytest.raises(BrokenOff, match=r"^p broke off its answer: the finish reason is abort$") as caught:
        await calls.ask(HELLO)
    assert (caught.value.retryable, calls.unfinished, calls.cost_nano, calls.in_doubt_nano) == (False, "so fa", COST, 0)
    assert (len(desk.provider.heard), phases(desk)) == (1, ["settled"])


async def test_an_answer_that_broke_off_is_no_last_answer_and_no_summary(desk: Desk) -> None:
    calls = await desk.calls(BROKEN, BROKEN)
    assert await calls.last_answer((*HELLO, Message("tool", "found it " * 60, tool_call_id="1"))) is None
    with pytest.raises(BrokenOff):
        await calls.summary(HELLO, (), most=300, then=1_000)
    assert phases(desk) == ["settled", "settled"]


async def test_a_cut_answer_outlives_a_longer_one_that_broke_off(desk: Desk) -> None:
    cut = Completion("the first hal", usage=Usage(100, 20), model="m", stop="length")
    calls = await desk.calls(cut, BROKEN)
    assert await calls.ask(HELLO) == cut
    assert phases(desk) == ["settled", "settled"]


async def test_invoke_raises_for_an_answer_that_broke_off() -> None:
    with pytest.raises(BrokenOff, match="abort"):
        await ScriptedProvider([BROKEN]).ainvoke("hello")
