"""The conversation of one run: it grows, is cut when it must be, and each cut is told."""

from __future__ import annotations

from agentctl.context import PLAIN, Measure, shortened
from agentctl.economy import Economy, cut_size
from agentctl.events import ContextMeasured, ContextPruned, Emit, MessageAdded
from agentctl.messages import Message, ToolSpec, Usage
from agentctl.protocols import Pruner


class Conversation:
    """What is sent is what is kept: between two cuts each request begins with the one before.

    ``limit`` is how many tokens a request may have; 0: nobody is told how full it is.
    """

    def __init__(
        self,
        *,
        prune: Pruner,
        emit: Emit,
        limit: int = 0,
        measure: Measure = PLAIN,
        economy: Economy | None = None,
    ) -> None:
        self._prune, self._emit, self._limit, self._measure = prune, emit, limit, measure
        self._economy = economy or Economy()
        self._messages: tuple[Message, ...] = ()
        self._sent: tuple[Message, ...] = ()

    @property
    def messages(self) -> tuple[Message, ...]:
        """All that is left of it, in order."""
        return self._messages

    async def add(self, message: Message) -> None:
        """Take in what was said."""
        self._messages = (*self._messages, message)
        await self._emit(MessageAdded(message))

    def answered(self, usage: Usage | None) -> None:
        """Take note of what the answer to the last request reported."""
        self._economy = self._economy.after(usage)

    async def ready(self, offered: tuple[ToolSpec, ...]) -> tuple[Message, ...]:
        """Return what is sent beside the schemas of ``offered``, cut where it does not fit.

        Raises:
            ContextOverflow: it cannot be made to fit.
        """
        before, measure = self._messages, self._measure
        fitted = self._prune(before, offered, measure=measure)
        if fitted != before:
            gone, short = len(before) - len(fitted), shortened(before, fitted)
            cut = cut_size(before, fitted, sent=len(self._sent), measure=measure, tools_tokens=measure.schemas(offered))
            cost, saves, turns = self._economy.weigh(cut)
            self._economy = self._economy.cut_to(cut.after)
            sizes = measure.conversation(before), measure.conversation(fitted)
            await self._emit(ContextPruned(*sizes, gone, short, "lines", cost, saves, turns))
            self._messages = fitted
        if self._limit:
            tokens = measure.conversation(fitted) + measure.schemas(offered)
            await self._emit(ContextMeasured(len(fitted), tokens, self._limit, measure.way))
        self._sent = fitted
        return fitted
