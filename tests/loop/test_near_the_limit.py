"""When a run says that its context is nearly full: once, and not where something was cut before."""

from __future__ import annotations

import pytest

from agentctl.conversation import Conversation
from agentctl.events import ContextMeasured, Event
from agentctl.measure import Measure
from agentctl.messages import Message, ToolSpec

WORD = Message("user", "x" * 384)  # 100 tokens with its frame


def newest(
    messages: tuple[Message, ...], tools: tuple[ToolSpec, ...], *, measure: Measure, **more: object
) -> tuple[Message, ...]:
    return messages if len(messages) < 10 else messages[-2:]


async def near(*, warn_percent: int, limit: int = 1000, turns: int = 20) -> list[int]:
    """Return at how many tokens a run says that it is near, cut whenever ten messages of 100 have come together."""
    told: list[Event] = []

    async def emit(event: Event) -> None:
        told.append(event)

    conversation = Conversation(prune=newest, emit=emit, limit=limit, warn_percent=warn_percent)
    for _ in range(turns):
        await conversation.add(WORD)
        await conversation.ready(())
    return [event.tokens for event in told if isinstance(event, ContextMeasured) and event.near]


@pytest.mark.parametrize(("percent", "tokens"), [(1, 100), (50, 500), (75, 800), (80, 800), (90, 900)])
async def test_it_is_said_once_from_the_percent_on(percent: int, tokens: int) -> None:
    assert await near(warn_percent=percent) == [tokens]


async def test_it_is_not_said_once_something_was_cut() -> None:
    assert await near(warn_percent=91) == []
    assert await near(warn_percent=45, limit=2000, turns=9) == [900]
    assert await near(warn_percent=46, limit=2000, turns=40) == []


async def test_where_there_is_no_limit_nothing_is_near() -> None:
    assert await near(warn_percent=1, limit=0) == []
