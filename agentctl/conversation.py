"""The conversation of one run: it grows, is cut when it must be, and each cut is told."""

from __future__ import annotations

from agentctl.context import PLAIN, Measure, shortened
from agentctl.errors import ContextOverflow
from agentctl.events import ContextMeasured, ContextPruned, Emit, MessageAdded, Noted
from agentctl.gauge import Gauge
from agentctl.messages import Completion, Message, ToolSpec
from agentctl.protocols import Pruner
from agentctl.window import Watch, shorter


class Conversation:
    """What is sent is what is kept: between two cuts each request begins with the one before.

    ``limit`` is how many tokens a request may have; 0: nobody is told how full it is. ``gauge`` says how to count
    before each request, and learns from what is reported; without one ``measure`` counts. ``watch`` looks whether the
    server reads all that is sent; None: it does.
    """

    def __init__(
        self,
        *,
        prune: Pruner,
        emit: Emit,
        limit: int = 0,
        measure: Measure = PLAIN,
        gauge: Gauge | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._prune, self._emit, self._limit, self._measure = prune, emit, limit, measure
        self._gauge, self._watch = gauge, watch
        self._most: int | None = None
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
        fitted = self._prune(before, offered, measure=measure, most=self._most)
        if fitted != before:
            gone, short = len(before) - len(fitted), shortened(before, fitted)
            await self._emit(ContextPruned(measure.conversation(before), measure.conversation(fitted), gone, short))
            self._messages = fitted
        if self._limit:
            tokens = measure.request(fitted, offered)
            await self._emit(
                ContextMeasured(len(fitted), tokens, min(self._limit, self._most or self._limit), measure.way)
            )
        return fitted

    async def refused(self, error: ContextOverflow, offered: tuple[ToolSpec, ...]) -> tuple[Message, ...]:
        """Return what is sent in place of what a provider refused as too long; from now on nothing as long is.

        Raises:
            ContextOverflow: the refusal may have been billed, or nothing shorter can be sent.
        """
        before, measure = self._messages, self._measure
        if error.billed != "no":
            raise error
        sent = measure.request(before, offered)
        self._most = shorter(error, sent)
        instead = "with fewer" if self._most < sent else "for a shorter answer"
        await self._emit(Noted(f"too long for the model's window (about {sent:,} tokens): asking again {instead}"))
        try:
            fitted = await self.ready(offered)
        except ContextOverflow as unfit:
            raise error from unfit
        if fitted == before and self._most < sent:
            raise error
        return fitted

    async def answered(self, answer: Completion, offered: tuple[ToolSpec, ...]) -> None:
        """Look whether the server read all that was sent, and learn from what it reports of it.

        Raises:
            ContextOverflow: it cut the prompt.
        """
        if self._watch is not None and (doubt := self._watch.look(self._messages, offered, answer)):
            await self._emit(Noted(doubt, "warning"))
        if self._gauge is not None:
            self._gauge.learn(self._messages, offered, answer.usage)
