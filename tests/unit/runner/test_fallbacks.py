"""Fallbacks: after which errors another provider goes on, and what of the last one's conversation it gets."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from agentctl.budget.breaker import ClampExceeded, DoubtExceeded, NotRecovered
from agentctl.budget.input_bound import plain_bound
from agentctl.core.errors import (
    AgentctlError,
    AuthFailed,
    ContextOverflow,
    ModelGone,
    ProviderUnavailable,
    QuotaExceeded,
    RateLimited,
    Refused,
    Rejected,
    RunTimeout,
    Silent,
    StateError,
    Unreachable,
)
from agentctl.core.events import CallHeld, Event
from agentctl.core.impact import DeniedCall
from agentctl.core.messages import Completion, Message, Request, Thought, ToolCall, Usage
from agentctl.core.pricing import Price, charge_nano, no_price
from agentctl.journal.past_run import PastAnswer, PastCall, PastReport, PastRun, PastTurn
from agentctl.ledger import SqliteLedger
from agentctl.providers.scripted import ScriptedProvider
from agentctl.runner.conversation import Conversation
from agentctl.runner.fallbacks import _short_id, may_fall_back, translate_past
from agentctl.runner.reservation import CallTerms
from agentctl.settings.parsers import model_names
from tests.support.model_calls import FACTS, PRICE, Desk


@pytest.mark.parametrize(
    ("error", "first", "later"),
    [
        *((kind, True, True) for kind in (ProviderUnavailable, Unreachable, Silent, ModelGone, RateLimited)),
        *((kind, True, True) for kind in (QuotaExceeded, NotRecovered)),
        *((kind, False, True) for kind in (AuthFailed, Rejected)),
        *((kind, False, False) for kind in (ClampExceeded, DoubtExceeded, ContextOverflow, Refused, RunTimeout)),
        (StateError, False, False),
    ],
)
def test_fallbacks_follow_failures_of_a_provider_and_nothing_else(
    error: type[AgentctlError], first: bool, later: bool
) -> None:
    assert may_fall_back(error("x"), is_fallback=False) is first
    assert may_fall_back(error("x"), is_fallback=True) is later


async def test_another_provider_gets_no_signed_thoughts_and_ids_that_it_takes() -> None:
    async def emit(event: Event) -> None:
        return None

    def prune(messages: tuple[Message, ...], *_: object, **__: object) -> tuple[Message, ...]:
        return messages

    conversation = Conversation(prune=prune, emit=emit)
    plain = Message("user", "look")
    await conversation.add(plain)
    call = ToolCall("toolu_01ABCDEFGHIJKLMNOP", "system_memory", {})
    await conversation.add(Message("assistant", "I look.", (call,), thoughts=(Thought("hm", "signature"),)))
    await conversation.add(Message("tool", "half", tool_call_id=call.id))
    conversation.adopt(Conversation(prune=prune, emit=emit, limit=5), ids=_short_id)
    first, said, result = conversation.messages
    assert first is plain
    assert (said.thoughts, said.text) == ((), "I look.")
    assert said.tool_calls[0].id == result.tool_call_id
    assert len(result.tool_call_id or "") == 9
    assert (result.tool_call_id or "").isalnum()
    assert _short_id("abcDEF123") == "abcDEF123"
    assert conversation.limit == 5


def test_the_past_of_another_provider_has_no_signed_thoughts_and_ids_that_it_takes() -> None:
    thought = (Thought("hm", "signed", "", 0, 0),)
    one, two = (ToolCall(f"toolu_{number}", "look", {}) for number in (1, 2))
    asked, result = Message("assistant", "", (one,), None, thought), Message("tool", "seen", (), one.id)
    answer = Completion("", (two,), usage=Usage(9, 1), thoughts=thought, stop="tool_calls")
    past = PastRun(
        *("run", Path("run.jsonl"), 9, {}, None, {}, (Message("user", "go"), asked, result), 1),
        answers=(PastAnswer(answer, "a"),),
        calls={one.id: PastCall(one, "seen"), two.id: PastCall(two)},
        history=(PastTurn((Message("user", "go"),), (one,), (result,)),),
        flags={},
        digests={},
        limits={},
        denied={two.id: DeniedCall("look", "no")},
        reports=(PastReport((), Usage(9, 1), "their own"),),
    )
    first, second = _short_id(one.id), _short_id(two.id)
    found = translate_past(past, _short_id)
    assert found.messages[1] == Message("assistant", "", (replace(one, id=first),))
    assert (found.messages[2].tool_call_id, found.history[0].calls[0].id) == (first, first)
    assert found.history[0].results[0] is found.messages[2], "it is looked for by identity"
    assert found.answers[0].completion == Completion("", (replace(two, id=second),), stop="tool_calls")
    assert [(id, made.call.id) for id, made in found.calls.items()] == [(first, first), (second, second)]
    assert (list(found.denied), found.reports) == ([second], ())
    assert translate_past(found, _short_id).messages == found.messages


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("none", ()),
        (["none"], ()),
        ("a/b, c ,a/b", ("a/b", "c")),
        (["ollama/qwen2.5:7b", "openrouter/meta/llama-3"], ("ollama/qwen2.5:7b", "openrouter/meta/llama-3")),
        ("", ()),
    ],
)
def test_names_of_models_are_read_in_order(value: object, found: tuple[str, ...]) -> None:
    assert model_names(value) == found


@pytest.mark.parametrize("value", [5, ["a", 5], "a b", "a,none", "x" * 201, {"a": "b"}])
def test_what_is_no_list_of_models_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="models separated by commas"):
        model_names(value)


async def test_calls_of_another_provider_start_anew_within_the_same_sums(tmp_path: Path) -> None:
    """Its model may be called the same and count otherwise: no bound builds on what the last provider reported."""
    ledger = SqliteLedger(tmp_path / "ledger.db", pause_s=0.01)
    desk = Desk(ledger)
    asked = (Message("user", "word " * 2000),)
    calls = await desk.calls(Completion("hi", usage=Usage(700, 20), model="m"))
    await calls.ask(asked)
    dear = replace(FACTS, provider="q", price=Price(Decimal(3), Decimal(30)))
    other = ScriptedProvider([Completion("ho", usage=Usage(900, 30), model="m")], facts=dear)
    calls.switch(other, CallTerms(no_price, None, 60.0, False, 5.0))
    longer = (*asked, Message("assistant", "hi"), Message("user", "and?"))
    await calls.ask(longer)
    first, second = [event for event in desk.events if isinstance(event, CallHeld)]
    assert second.input_bound == plain_bound(Request("m", longer)) > 10_000
    assert (first.provider, second.provider) == ("p", "q")
    spent = charge_nano(PRICE, Usage(700, 20)) + charge_nano(dear.price or PRICE, Usage(900, 30))
    assert calls.cost_nano == (await desk.spend()).run_nano.spent == spent
    await ledger.aclose()
