"""The conversation of one run: it grows, is cut when it must be, and each cut is told."""

from __future__ import annotations

from dataclasses import replace

from agentctl.context import PLAIN, Measure, shortened
from agentctl.digest import notes, split
from agentctl.errors import ContextOverflow
from agentctl.events import ContextMeasured, ContextPruned, Emit, MessageAdded
from agentctl.messages import Message, ToolSpec
from agentctl.protocols import Pruner
from agentctl.summaries import Cutting, Summaries


class Conversation:
    """What is sent is what is kept: between two cuts each request begins with the one before.

    ``limit`` is how many tokens a request may have; 0: nobody is told how full it is. ``summaries`` asks the model what
    must be kept of what is cut; None: nobody does.
    """

    def __init__(
        self,
        *,
        prune: Pruner,
        emit: Emit,
        limit: int = 0,
        measure: Measure = PLAIN,
        summaries: Summaries | None = None,
    ) -> None:
        self._prune, self._emit, self._limit, self._measure = prune, emit, limit, measure
        self._summaries = summaries
        self._messages: tuple[Message, ...] = ()
        self._sent: tuple[Message, ...] = ()
        self._was_cut = False

    @property
    def messages(self) -> tuple[Message, ...]:
        """All that is left of it, in order."""
        return self._messages

    async def add(self, message: Message) -> None:
        """Take in what was said; words that end like our notes on a cut get a line end, and are not taken for them."""
        if message.role == "user" and split(message.text)[1].messages:
            message = replace(message, text=f"{message.text}\n")
        self._messages = (*self._messages, message)
        await self._emit(MessageAdded(message))

    async def ready(self, offered: tuple[ToolSpec, ...]) -> tuple[Message, ...]:
        """Return what is sent beside the schemas of ``offered``, cut where it does not fit.

        Raises:
            ContextOverflow: it cannot be made to fit.
            Overrun: a summary of what is cut cost more than was held.
            StateError: the ledger cannot be written.
        """
        before, measure = self._messages, self._measure
        fitted = self._fit(offered)
        is_cut = fitted != before
        if is_cut:
            cutting = Cutting(self._sent, offered, before, fitted, again=self._was_cut)
            told = await self._summaries.told(cutting, measure) if self._summaries else None
            await self._emit(self._pruned(before, told or fitted, by_model=told is not None))
            fitted = self._messages = told or fitted
        self._was_cut, self._sent = is_cut, fitted
        if self._limit:
            tokens = measure.conversation(fitted) + measure.schemas(offered)
            await self._emit(ContextMeasured(len(fitted), tokens, self._limit, measure.way))
        return fitted

    def _fit(self, offered: tuple[ToolSpec, ...]) -> tuple[Message, ...]:
        """Cut what does not fit, with room to spare for a summary where one may come and there is any."""
        messages, measure = self._messages, self._measure
        spare = self._summaries.spare(measure) if self._summaries else 0
        try:
            return self._prune(messages, offered, measure=measure, spare=spare)
        except ContextOverflow:
            if not spare:
                raise
            return self._prune(messages, offered, measure=measure)

    def _pruned(self, before: tuple[Message, ...], after: tuple[Message, ...], *, by_model: bool) -> ContextPruned:
        tokens = self._measure.conversation(before), self._measure.conversation(after)
        gone, short = len(before) - len(after), shortened(before, after)
        if not by_model:
            return ContextPruned(*tokens, gone, short)
        return ContextPruned(*tokens, gone, short, "model", words=notes(after)[1].summary)
