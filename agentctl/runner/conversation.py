"""The conversation of one run: prepared for each request, cut when it does not fit, with an event for each cut."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from agentctl.context.digest import read_notes, split_digest
from agentctl.context.economics import CacheEconomics, CutSize, cut_size
from agentctl.context.message_cache import MessageCache
from agentctl.context.pruning import count_shortened, too_small
from agentctl.context.tokens import PLAIN, Measure
from agentctl.core.errors import ContextOverflow
from agentctl.core.events import ContextMeasured, ContextPruned, Emit, MessageAdded, Noted
from agentctl.core.messages import AnswerSpec, Completion, Message, ToolSpec, Usage
from agentctl.protocols import Pruner

if TYPE_CHECKING:  # used only by runs with a language model
    from agentctl.context.counter import TokenCounter
    from agentctl.context.window_check import TruncationDetector
    from agentctl.journal.past_run import PastRun
    from agentctl.runner.model_calls import ModelCalls
    from agentctl.runner.plan import Plan
    from agentctl.runner.summaries import Summarizer


IdForm = Callable[[str], str]
"""Returns an id of a tool call in the form that a provider takes."""


class Conversation:
    """Holds the messages of a run. Between two cuts each request begins with the previous one, so caches work.

    ``limit`` is the most tokens of a request; 0: no size is reported. At ``warn_percent`` of it one warning is emitted,
    unless messages were cut before. ``counter`` chooses how to count before each request, and learns from reported
    usage; without one ``measure`` counts. ``detector`` checks whether the server reads all of a request; None: no
    check. ``summaries`` asks the model for summaries of removed messages; None: agentctl's own notes are used, and
    ``no_summaries`` says why at the first cut, if that is not as the user wants it. ``economics`` weighs what a cut
    costs and saves; None: the price is unknown. ``answer_specs`` is the schema of the answer, as often as the model
    reads it in the next request.
    """

    def __init__(
        self,
        *,
        prune: Pruner,
        emit: Emit,
        limit: int = 0,
        warn_percent: int = 100,
        measure: Measure = PLAIN,
        counter: TokenCounter | None = None,
        detector: TruncationDetector | None = None,
        summaries: Summarizer | None = None,
        no_summaries: str = "",
        economics: CacheEconomics | None = None,
    ) -> None:
        self._prune, self._emit, self._limit, self._measure = prune, emit, limit, measure
        self._counter, self._detector, self._summaries = counter, detector, summaries
        self._no_summaries = no_summaries
        self._economics = economics or CacheEconomics()
        self._warn_percent, self._is_warned = warn_percent, False
        self._most: int | None = None
        self.answer_specs: tuple[AnswerSpec, ...] = ()
        self._messages: tuple[Message, ...] = ()
        self._sent: tuple[Message, ...] = ()
        self._was_cut = self._is_cut_already = False  # by the last request, and for the next one by an earlier part

    @property
    def messages(self) -> tuple[Message, ...]:
        """The remaining messages, in order."""
        return self._messages

    @property
    def limit(self) -> int:
        """The most tokens of a request, as far as the provider has shown; 0: unknown."""
        return min(self._limit, self._most or self._limit)

    @property
    def was_cut(self) -> bool:
        """Whether messages were cut for the last request."""
        return self._was_cut

    @property
    def measure(self) -> Measure:
        """How tokens are counted now."""
        return self._measure if self._counter is None else self._counter.measure

    def adopt(self, other: Conversation, *, ids: IdForm = str) -> None:
        """Go on as ``other``, an empty conversation with another model: its limit, its way of counting, its prices.

        Thoughts that only the last model's provider can read are left out. ``ids`` gives each id of a call the form
        that the new provider takes.
        """
        self._prune, self._limit, self._measure = other._prune, other._limit, other._measure
        self._counter, self._detector, self._summaries = other._counter, other._detector, other._summaries
        self._economics, self._most, self._sent = other._economics, None, ()
        self._messages = tuple(translate(message, ids) for message in self._messages)

    async def add(self, message: Message) -> None:
        """Append a message; a text that ends like agentctl's notes on a cut gets a newline, to tell them apart."""
        if message.role == "user" and split_digest(message.text)[1].messages:
            message = replace(message, text=f"{message.text}\n")
        self._messages = (*self._messages, message)
        await self._emit(MessageAdded(message))

    async def restore(self, past: PastRun, spent: Usage, offered: tuple[ToolSpec, ...]) -> None:
        """Go on with the messages of an earlier part of the run, and with what it knew of their size."""
        messages = past.messages
        if self._counter is not None:
            for report in past.reports:
                await self._counter.learn_again(report.sent, self._beside(offered), report.usage, report.way)
        is_answered = any(answer.purpose == "turn" for answer in past.answers)  # what was sent last is all of it
        places = [place for place, message in enumerate(messages) if message.role == "assistant"]
        self._messages, self._sent = messages, messages if is_answered or not places else messages[: places[-1]]
        cached, asked = spent.cached_input_tokens + spent.cache_write_tokens, past.turns + is_answered
        cut_turn, left = past.cut
        self._was_cut, self._is_cut_already = 0 < cut_turn == asked, cut_turn > asked
        since = past.turns - max(0, cut_turn - 1)
        economics = self._economics._replace(answers=past.turns, since=max(0, since), cached=cached)
        self._economics = economics._replace(left=left)

    async def prepare(self, offered: tuple[ToolSpec, ...]) -> tuple[Message, ...]:
        """Return the messages to send with the schemas of ``offered``, cut if they do not fit.

        Raises:
            ContextOverflow: they cannot be made to fit.
            Overrun: a summary of the removed messages cost more than its hold.
            StateError: the ledger cannot be written.
        """
        if self._counter is not None:
            beside = self._beside(offered)
            self._measure = await self._counter.choose_measure(self._messages, beside, self._earliest_cut())
        before, measure = self._messages, self._measure
        fitted, is_summarized = await self._fit(offered)
        is_cut = fitted != before
        if is_cut:
            await self._emit(self._cut(before, fitted, offered, is_summarized=is_summarized))
            self._messages = fitted
        is_first = not self._sent
        self._was_cut, self._sent, self._is_cut_already = is_cut or self._is_cut_already, fitted, False
        if self._limit:
            tokens, most = measure.request(fitted, self._beside(offered)), min(self._limit, self._most or self._limit)
            near = not self._is_warned and not is_cut and 100 * tokens >= self._warn_percent * most
            self._is_warned = self._is_warned or near or is_cut
            await self._emit(ContextMeasured(len(fitted), tokens, most, measure.way, near))
            always, has_answer = measure.beside(self._beside(offered)), bool(self.answer_specs)
            if is_first and (small := too_small(fitted, always, most, measure, has_answer=has_answer)):
                await self._emit(Noted(small))
        return fitted

    async def check_room(self, spec: AnswerSpec) -> None:
        """Check that a request without tools that asks for the answer by a schema would fit.

        Raises:
            ContextOverflow: it would not, even when cut.
        """
        measure = self._measure
        if self._counter is not None:
            measure = await self._counter.choose_measure(self._messages, (spec,), self._earliest_cut())
        self._prune(self._messages, (spec,), measure=measure, most=self._most, trial=True)

    def _beside(self, offered: tuple[ToolSpec, ...]) -> tuple[ToolSpec, ...]:
        """Return what goes with the messages, in the form in which it is counted: tools, and the answer's schema."""
        return (*offered, *self.answer_specs)

    def _earliest_cut(self) -> int:
        """Return the tokens from which on a request may be cut: the limit, or less where a summary needs room."""
        limit = min(self._limit, self._most or self._limit)
        room = None if self._summaries is None else self._summaries.room(self._measure, self._most)
        return limit if room is None else min(limit, room)

    async def _fit(self, offered: tuple[ToolSpec, ...]) -> tuple[tuple[Message, ...], bool]:
        """Return the remaining conversation, and whether the model summarized the removed part.

        If a summary pays, or is always wanted, cut a little earlier, so that the request for it has room; otherwise cut
        as late as possible.
        """
        messages, measure, summaries, why = self._messages, self._measure, self._summaries, ""
        room = None if summaries is None else summaries.room(measure, self._most)
        if summaries is not None and room is not None:
            fitted, why = messages, "what must stay leaves no room for one"
            with suppress(ContextOverflow):
                fitted = self._prune(messages, self._beside(offered), measure=measure, most=room, trial=True)
            if fitted != messages and (summaries.always or self._pays(fitted, offered, written=summaries.most)):
                from agentctl.runner.summaries import PendingCut  # noqa: PLC0415 - loaded with ``summaries``

                grown = self._size(messages, fitted, offered, written=0).before - self._economics.left
                cutting = PendingCut(self._sent, offered, messages, fitted, self._most, self._was_cut, grown)
                if not (why := summaries.refusal(cutting, measure)):
                    fitted = self._prune(messages, self._beside(offered), measure=measure, most=room)
                    summarized = await summaries.summarize(cutting._replace(fitted=fitted), measure)
                    if summarized is not None:
                        return summarized, summarized is not fitted
        fitted = self._prune(messages, self._beside(offered), measure=measure, most=self._most)
        if fitted != messages and summaries is not None:
            await summaries.explain(why)
        elif fitted != messages and self._no_summaries:
            await self._emit(Noted(self._no_summaries))
            self._no_summaries = ""
        return fitted, False

    def _pays(self, fitted: tuple[Message, ...], offered: tuple[ToolSpec, ...], *, written: int) -> bool:
        return self._economics.summary_pays(self._size(self._messages, fitted, offered, written=written))

    def _size(
        self, before: tuple[Message, ...], after: tuple[Message, ...], offered: tuple[ToolSpec, ...], *, written: int
    ) -> CutSize:
        measure = self._measure
        tools_tokens = measure.beside(self._beside(offered))
        size = cut_size(before, after, sent=len(self._sent), measure=measure, tools_tokens=tools_tokens)
        return size._replace(written=written)

    def _cut(
        self,
        before: tuple[Message, ...],
        after: tuple[Message, ...],
        offered: tuple[ToolSpec, ...],
        *,
        is_summarized: bool,
    ) -> ContextPruned:
        measure, words = self._measure, read_notes(after)[1].summary if is_summarized else ""
        size = self._size(before, after, offered, written=measure.text(words))
        weighed, self._economics = self._economics.weigh(size), self._economics.after_cut(size.after)
        return ContextPruned(
            size.before,
            size.after,
            len(before) - len(after),
            count_shortened(before, after),
            "model" if is_summarized else "lines",
            *weighed,
            words,
            _places(before, after),
        )

    async def shorten(self, error: ContextOverflow, offered: tuple[ToolSpec, ...]) -> tuple[Message, ...]:
        """Return shorter messages after a provider refused the request as too long, and keep the lower limit.

        Raises:
            ContextOverflow: the refusal may have been billed, or nothing shorter can be sent.
        """
        from agentctl.context.window_check import shrink_limit  # noqa: PLC0415 - few requests are refused

        if error.billed != "no":
            raise error
        if self._counter is not None:  # as exactly as possible, and the same way from here on
            self._measure = await self._counter.choose_measure(self._messages, self._beside(offered), 1)
        before, measure = self._messages, self._measure
        sent = measure.request(before, self._beside(offered))
        self._most = shrink_limit(error, sent)
        instead = "with fewer" if self._most < sent else "for a shorter answer"
        try:
            fitted = await self.prepare(offered)
        except ContextOverflow as unfit:
            raise error from unfit
        if fitted == before and self._most < sent:
            raise error
        await self._emit(Noted(f"too long for the model's window (about {sent:,} tokens): asking again {instead}"))
        return fitted

    async def learn(self, answer: Completion, offered: tuple[ToolSpec, ...]) -> None:
        """Update the counts from an answer's usage, and check whether the server read all that was sent.

        Raises:
            ContextOverflow: the server cut the prompt.
        """
        self._economics = self._economics.after_answer(answer.usage)
        if self._detector is not None and (
            doubt := self._detector.check(self._messages, self._beside(offered), answer)
        ):
            await self._emit(Noted(doubt, "warning"))
        if self._counter is not None:
            self._counter.learn(self._messages, self._beside(offered), answer.usage)


def _places(before: tuple[Message, ...], after: tuple[Message, ...]) -> tuple[int | Message, ...]:
    """Return a conversation after a cut: the place of each message that was there before, or the new message."""
    known = {id(message): place for place, message in enumerate(before)}
    return tuple(known.get(id(message), message) for message in after)


def translate(message: Message, ids: IdForm) -> Message:
    """Return a message without signed thoughts, and with the ids of calls in another form."""
    calls = tuple(call if ids(call.id) == call.id else replace(call, id=ids(call.id)) for call in message.tool_calls)
    answered = message.tool_call_id and ids(message.tool_call_id)
    if not message.thoughts and calls == message.tool_calls and answered == message.tool_call_id:
        return message
    return replace(message, thoughts=(), tool_calls=calls, tool_call_id=answered)


def open_conversation(
    plan: Plan, calls: ModelCalls, emit: Emit, counter: TokenCounter | None, *, most_turns: int
) -> Conversation:
    """Return an empty conversation; a language model's has a counter, economics, summaries and a cut detector."""
    facts = calls.facts
    prune = partial(plan.fit, facts, cache=MessageCache())
    if not facts.metered:
        return Conversation(prune=prune, emit=emit, measure=plan.measure or PLAIN)
    from agentctl.context.window_check import TruncationDetector  # noqa: PLC0415 - not for builtin
    from agentctl.runner.summaries import summarizer_for, why_no_summaries  # noqa: PLC0415

    return Conversation(
        prune=prune,
        emit=emit,
        limit=plan.context_limit(facts),
        warn_percent=plan.warn_percent,
        measure=plan.measure or PLAIN,
        counter=counter if plan.measure is None else None,
        summaries=summarizer_for(plan, calls, emit),
        no_summaries=why_no_summaries(plan, facts),
        detector=TruncationDetector(facts),
        economics=CacheEconomics(price=facts.price, most_turns=most_turns),
    )
