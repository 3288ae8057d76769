"""The conversation of one run: it grows, is cut when it must be, and each cut is told."""

from __future__ import annotations

from agentctl.context import PLAIN, Measure, shortened
from agentctl.events import ContextMeasured, ContextPruned, Emit, MessageAdded
from agentctl.gauge import Gauge
from agentctl.messages import Message, ToolSpec, Usage
from agentctl.protocols import Pruner


class Conversation:
    """What is sent is what is kept: between two cuts each request begins with the one before.

    ``limit`` is how many tokens a request may have; 0: nobody is told how full it is. ``gauge`` says how to count
    before each request, and learns from what is reported; without one ``measure`` counts.
    """

    def __init__(
        self, *, prune: Pruner, emit: Emit, limit: int = 0, measure: Measure = PLAIN, gauge: Gauge | None = None
    ) -> None:
        self._prune, self._emit, self._limit, self._measure, self._gauge = prune, emit, limit, measure, gauge
        self._messages: tuple[Message, ...] = ()

    @property
    def messages(self) -> tuple[Message, ...]:
        """All that is left of it, in order."""
        return self._messages

    @property
    def measure(self) -> Measure:
        """How its tokens are counted now."""
        return self._measure if self._gauge is None else self._gauge.measure

    async def add(self, message: Message) -> None:
        """Take in what was said."""
        self._messages = (*self._messages, message)
        await self._emit(MessageAdded(message))

    async def ready(self, offered: tuple[ToolSpec, ...]) -> tuple[Message, ...]:
        """Return what is sent beside the schemas of ``offered``, cut where it does not fit.

        Raises:
            ContextOverflow: it cannot be made to fit.
        """
        if self._gauge is not None:
            self._measure = await self._gauge.ready(self._messages, offered, self._limit)
        before, measure = self._messages, self._measure
        fitted = self._prune(before, offered, measure=measure)
        if fitted != before:
            gone, short = len(before) - len(fitted), shortened(before, fitted)
            await self._emit(ContextPruned(measure.conversation(before), measure.conversation(fitted), gone, short))
            self._messages = fitted
        if self._limit:
            tokens = measure.request(fitted, offered)
            await self._emit(ContextMeasured(len(fitted), tokens, self._limit, measure.way))
        return fitted

    def answered(self, offered: tuple[ToolSpec, ...], usage: Usage | None) -> None:
        """Learn from what the provider reports of a request with all the messages so far and the schemas."""
        if self._gauge is not None:
            self._gauge.learn(self._messages, offered, usage)
