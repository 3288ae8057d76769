"""A hostile or broken model: everything it can do is bounded and reported."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from agentctl.core.events import CallDoubted, MessageAdded, ModelAnswered, ToolFinished, ToolStarted
from agentctl.core.messages import Completion, ToolCall, Usage
from agentctl.core.pricing import ModelFacts, Price
from agentctl.core.results import ToolCount
from agentctl.ledger import SqliteLedger
from agentctl.providers.scripted import ScriptedProvider
from tests.support.economy import run_of, tools
from tests.support.loop import Deed, Diary, asks, call, says
from tests.unit.runner.loop.conftest import Stage


async def test_ten_thousand_calls_in_one_turn_run_only_sixteen(stage: Stage, diary: Diary) -> None:
    read = Deed("read", lambda _: "x")
    flood = asks(*(call("read", f"c{n}", n=n) for n in range(10_000)))
    loop, provider = stage([flood, says("ok")], read)
    outcome = await loop.run("s", "t")
    assert outcome.status == "done"
    assert len(read.given) == 16
    assert outcome.tools == (ToolCount("read", 17, 1),)
    assert provider.heard[1].messages[-1].text == "error: not run, nor the others of 9984: at most 16 calls in one turn"
    answered = {message.tool_call_id for message in provider.heard[1].messages if message.role == "tool"}
    assert answered == {c.id for c in provider.heard[1].messages[2].tool_calls}, (
        "every call that is kept has its answer"
    )
    assert len(diary.of(ModelAnswered)[0].tool_calls) == 17


async def test_giant_arguments_neither_reach_a_tool_nor_the_record(stage: Stage, diary: Diary) -> None:
    read = Deed("read", lambda _: "x")
    loop, provider = stage([asks(call("read", path="x" * 50_000_000)), says("ok")], read)
    assert (await loop.run("s", "t")).status == "done"
    assert read.given == []
    assert "the arguments are not a JSON object of at most 32768 characters" in provider.heard[1].messages[-1].text
    assert sum(len(repr(event)) for event in diary.events) < 100_000


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (Usage("12", 3), "the reported input_tokens are not a count"),  # type: ignore[arg-type]
        (Usage(12, 3, cached_input_tokens=None), "the reported cached_input_tokens are not a count"),  # type: ignore[arg-type]
    ],
    ids=["text", "nothing"],
)
async def test_report_that_is_not_a_number_is_in_doubt_and_does_not_end_the_run(
    ledger: SqliteLedger, told: Usage, reason: str
) -> None:
    facts = ModelFacts("own", "m", price=Price(Decimal(1), Decimal(2)), may_cut=True)
    steps = [Completion("", (ToolCall("1", "empty", {}),), usage=told), Completion("ok", usage=Usage(10, 1))]
    result, diary = await run_of(ledger, ScriptedProvider(steps, facts=facts), tools(1))
    assert (result.status, result.answer) == ("done", "ok")
    assert [doubted.reason for doubted in diary.of(CallDoubted)] == [reason]


async def test_unknown_tool_gets_the_list_of_tools(stage: Stage, diary: Diary) -> None:
    loop, provider = stage([asks(call("frobnicate", command="id")), says("ok")], Deed("read", lambda _: "x"))
    outcome = await loop.run("s", "t")
    assert outcome.status == "done"
    assert outcome.tools == (ToolCount("frobnicate", 1, 1),)
    assert provider.heard[1].messages[-1].text == 'error: there is no tool "frobnicate" here\nhint: there are: read'
    assert len(diary.of(ToolStarted)) == len(diary.of(ToolFinished)) == 1


async def test_control_characters_in_names_and_ids_are_removed(stage: Stage, diary: Diary) -> None:
    evil = ToolCall("\x1b]0;id\x07", "\x1b[2J\u202eread", {})
    loop, provider = stage([asks(evil), says("ok")], Deed("read", lambda _: "x"))
    assert (await loop.run("s", "t")).status == "done"
    heard = "".join(repr(m.tool_calls) + str(m.tool_call_id) + m.text for m in provider.heard[1].messages)
    recorded = repr(diary.of(MessageAdded)) + repr(diary.of(ToolFinished))
    for trace in ("\x1b", "\\x1b", "\u202e", "\\u202e", "\x07", "\\x07"):
        assert trace not in heard + recorded


async def test_calls_that_share_one_id_each_get_their_own_answer(stage: Stage) -> None:
    say = Deed("say", lambda arguments: str(arguments["n"]))
    loop, provider = stage([asks(*(call("say", "same", n=n) for n in range(3))), says("ok")], say)
    await loop.run("s", "t")
    conversation = provider.heard[1].messages
    ids = [c.id for c in conversation[2].tool_calls]
    assert len(set(ids)) == 3
    assert [(m.tool_call_id, m.text) for m in conversation[3:]] == list(zip(ids, "012", strict=True))


async def test_model_that_always_floods_reaches_the_turn_limit(stage: Stage) -> None:
    read = Deed("read", lambda arguments: json.dumps(dict(arguments)) * 1_000)

    def flood(turn: int) -> object:
        return asks(*(call("read", f"c{turn}.{n}", turn=turn, n=n) for n in range(100)), text="x" * 20_000)

    loop, provider = stage([flood(turn) for turn in range(50)], read, max_turns=6, max_tokens=8_000)
    outcome = await loop.run("s", "t")
    assert outcome.status in {"failed", "budget"}
    assert len(provider.heard) <= 7  # the last one asks for an answer
    assert len(read.given) <= 6 * 16
