"""The conversation of one run: it grows, is cut when it must be, and each cut is told."""

from __future__ import annotations

from agentctl.context import PLAIN, Measure, shortened
from agentctl.events import ContextMeasured, ContextPruned, Emit, MessageAdded
from agentctl.messages import Message, ToolSpec
from agentctl.protocols import Pruner


class Conversation:
    """What is sent is what is kept: between two cuts each request begins with the one before.

    ``limit`` is how many tokens a request may have; 0: nobody is told how full it is. It is near it from
    ``warn_percent`` on, which is told once, unless something was cut before.
    """

    def __init__(
        self, *, prune: Pruner, emit: Emit, limit: int = 0, measure: Measure = PLAIN, warn_percent: int = 100
    ) -> None:
        self._prune, self._emit, self._limit, self._measure = prune, emit, limit, measure
        self._warn_percent, self._told = warn_percent, False
        self._messages: tuple[Message, ...] = ()

    @property
    def messages(self) -> tuple[Message, ...]:
        """All that is left of it, in order."""
        return self._messages

    async def add(self, message: Message) -> None:
        """Take in what was said."""
        self._messages = (*self._messages, message)
        await self._emit(MessageAdded(message))

    async def ready(self, offered: tuple[ToolSpec, ...]) -> tuple[Message, ...]:
        """Return what is sent beside the schemas of ``offered``, cut where it does not fit.

        Raises:
            ContextOverflow: it cannot be made to fit.
        """
        before, measure = self._messages, self._measure
        fitted = self._prune(before, offered, measure=measure)
        if fitted != before:
            gone, short = len(before) - len(fitted), shortened(before, fitted)
            await self._emit(ContextPruned(measure.conversation(before), measure.conversation(fitted), gone, short))
            self._messages, self._told = fitted, True
        if self._limit:
            tokens = measure.conversation(fitted) + measure.schemas(offered)
            near = not self._told and 100 * tokens >= self._warn_percent * self._limit
            self._told = self._told or near
            await self._emit(ContextMeasured(len(fitted), tokens, self._limit, measure.way, near))
        return fitted
