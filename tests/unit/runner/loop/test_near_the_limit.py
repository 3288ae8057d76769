"""The warning of a nearly full context: once, and not after a cut."""

from __future__ import annotations

import pytest

from agentctl.context.tokens import Measure
from agentctl.core.events import ContextMeasured, Event
from agentctl.core.messages import Message, ToolSpec
from agentctl.runner.conversation import Conversation

WORD = Message("user", "x" * 384)  # 100 tokens with its frame


class Newest:
    """Leaves the newest two when ``first`` messages have come together, and later on when ten have."""

    def __init__(self, first: int) -> None:
        self._most = first

    def __call__(
        self, messages: tuple[Message, ...], tools: tuple[ToolSpec, ...], *, measure: Measure, **more: object
    ) -> tuple[Message, ...]:
        if len(messages) < self._most:
            return messages
        self._most = 10
        return messages[-2:]


async def near(*, warn_percent: int, limit: int = 1000, first: int = 10) -> list[int]:
    """Return at how many tokens a run of 20 messages of 100 says that it is near."""
    told: list[Event] = []

    async def emit(event: Event) -> None:
        told.append(event)

    conversation = Conversation(prune=Newest(first), emit=emit, limit=limit, warn_percent=warn_percent)
    for _ in range(20):
        await conversation.add(WORD)
        await conversation.prepare(())
    return [event.tokens for event in told if isinstance(event, ContextMeasured) and event.near]


@pytest.mark.parametrize(("percent", "tokens"), [(1, 100), (50, 500), (75, 800), (80, 800), (90, 900)])
async def test_warning_comes_once_from_the_set_percentage_on(percent: int, tokens: int) -> None:
    assert await near(warn_percent=percent) == [tokens]


async def test_warning_does_not_come_after_a_cut() -> None:
    assert await near(warn_percent=80, first=5) == []
    assert await near(warn_percent=40, first=5) == [400]


async def test_run_without_a_limit_gets_no_warning() -> None:
    assert await near(warn_percent=1, limit=0) == []
