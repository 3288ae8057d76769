"""Ask a model: bound, reserve, mark sent, send, settle, retry. The one choke point for money.

One attempt is one request on the wire. Its worst case is reserved in the ledger before it is sent. Whatever happens
after that, the hold is concluded once: charged by its usage, void if it certainly cost nothing, else in doubt.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import anyio

from agentctl.budget.breaker import DoubtExceeded, Overrun, RefusalContext, refuse_unbounded
from agentctl.budget.input_bound import estimate_input, plain_bound
from agentctl.budget.last_answer import LastAnswerPlanner
from agentctl.budget.output_range import (
    OutputRange,
    affords,
    choose_output,
    choose_retry_output,
    choose_summary_output,
    choose_turn_output,
    fit_window,
)
from agentctl.budget.rules import AnswerReserve, Hold, PastSpending, Purpose
from agentctl.core.errors import AgentctlError, BudgetExceeded, ProviderError, QuotaExceeded, StateError
from agentctl.core.events import CallRetried, CallSent, CallSettled, Emit, Event, Noted, discard_event
from agentctl.core.leases import Lease
from agentctl.core.limits import CostLimit, Parent
from agentctl.core.messages import AnswerFormat, Completion, Message, Request, ToolSpec, Usage
from agentctl.core.pricing import ModelFacts, PriceOf, no_price
from agentctl.core.results import LimitUse
from agentctl.protocols import Ledger, LLMProvider
from agentctl.runner.past_answers import PastAnswers
from agentctl.runner.reservation import MOST_LOST, CallTerms, HoldLost, Reservations, held_event, too_slow_error
from agentctl.runner.settlement import AttemptSettler
from agentctl.runner.streaming import AttemptProgress, StreamTimeouts, client_of, read_stream, retry_pause, shaped

if TYPE_CHECKING:
    from agentctl.context.counter import Load
    from agentctl.journal.past_run import PastAnswer

FIRST_PAUSE_S = 0.5
MOST_PAUSE_S = 60.0


class ModelCalls:
    """Asks one provider on behalf of one run, and adds up the costs.

    Times are in seconds: ``silence_s`` without a piece of an answer, ``deadline_s`` for a whole attempt (with
    ``waits_for_load`` also for the first token of a server that may have to load its model),
    ``budget_wait_s`` for the holds of other runs, ``provider_wait_s`` (None: ``deadline_s``) for a provider that is
    paused after failed calls, ``settle_wait_s`` for the ledger's lock once an answer is paid for.
    ``retries`` are further attempts, each with a hold of its own. ``price_of`` returns the prices of the provider's
    other models and service tiers, in case another one answers; the default is the provider's own. ``load_count`` loads
    the vocabulary of the model's own provider, in case a bound by bytes is too high. ``unfinished`` is the text of the
    last attempt, also if it was cut off. ``asked_last`` says whether the request for a last answer was sent. ``pause``
    waits before a retry. ``parent`` is the run or lease above.
    """

    def __init__(
        self,
        *,
        provider: LLMProvider,
        ledger: Ledger,
        run_id: str,
        limits: CostLimit,
        emit: Emit,
        silence_s: float = 60.0,
        waits_for_load: bool = False,
        deadline_s: float = 600.0,
        budget_wait_s: float = 60.0,
        max_output_tokens: int | None = None,
        doubt: Literal["normal", "strict"] = "normal",
        retries: int = 3,
        first_pause_s: float = FIRST_PAUSE_S,
        settle_wait_s: float = 120.0,
        load_count: Load | None = None,
        price_of: PriceOf | None = None,
        provider_wait_s: float | None = None,
        pause: Callable[[float], Awaitable[None]] = anyio.sleep,
        parent: Parent | Lease | None = None,
    ) -> None:
        self._ledger, self._run_id, self._limits = ledger, run_id, limits
        self._emit, self._pause = emit, pause
        self._silence_s, self._deadline_s, self._waits = silence_s, deadline_s, waits_for_load
        self._max_output_tokens = max_output_tokens
        self._retries = retries
        self._first_pause_s, self._last_failure = first_pause_s, ""
        self._begin_with(provider)
        self.unfinished, self.asked_last = "", False
        self._notice: Noted | None = None
        own: PriceOf = getattr(provider, "price_of", no_price)
        self._reservations = Reservations(
            ledger=ledger,
            run_id=run_id,
            limits=limits,
            emit=self._observe,
            price_of=price_of or own,
            budget_wait_s=budget_wait_s,
            provider_wait_s=deadline_s if provider_wait_s is None else provider_wait_s,
            load_count=load_count,
        )
        self.past = PastAnswers(run_id)
        self._settler = AttemptSettler(
            ledger=ledger,
            run_id=run_id,
            limits=limits,
            parent=parent,
            emit=self._observe,
            doubt=doubt,
            price_of=price_of or own,
            wait_s=settle_wait_s,
        )

    def _begin_with(self, provider: LLMProvider) -> None:
        self._provider = provider
        self._window: int | None = None
        self._affordable: int | None = None
        self._dearest_output: int | None = None
        self._thinks = False
        self._keep: AnswerReserve | None = None
        wanted = choose_output(provider.facts, self._max_output_tokens)
        self._last_answers = LastAnswerPlanner(facts=provider.facts, limits=self._limits, wanted=wanted)

    def switch(self, provider: LLMProvider, terms: CallTerms) -> None:
        """Ask another provider from here on; what was spent so far stays, what was learned of the last one goes."""
        self._begin_with(provider)
        self._silence_s, self._waits = terms.silence_s, terms.waits_for_load
        self._reservations.switch(terms)
        self._settler.switch(terms.price_of)

    @property
    def facts(self) -> ModelFacts:
        """The facts of the requested model."""
        return self._provider.facts

    @property
    def usage(self) -> Usage:
        """The settled usage, in tokens by class."""
        return self._settler.usage

    @property
    def cost_nano(self) -> int | None:
        """The settled cost, in nano-dollars; None if a price is unknown."""
        return self._settler.cost_nano

    @property
    def in_doubt_nano(self) -> int | None:
        """The amounts in doubt, in nano-dollars; None if a price is unknown."""
        return self._settler.in_doubt_nano

    @property
    def models(self) -> tuple[str, ...]:
        """The models that answered."""
        return self._settler.models

    @property
    def uses(self) -> tuple[LimitUse, ...]:
        """How much of each limit was used after the last charge."""
        return self._settler.uses

    async def begin_with(self, spent: PastSpending, answers: Sequence[PastAnswer], turn: int) -> None:
        """Go on from what earlier parts of the run spent, with the ``answers`` to ``turn`` that were not acted on."""
        self.past.add(answers, turn)
        await self._settler.begin_with(spent)

    @property
    def _so_far(self) -> RefusalContext:
        return RefusalContext(self._run_id, self.in_doubt_nano, self._last_failure)

    async def _observe(self, event: Event) -> None:
        if isinstance(event, CallSettled):
            self._last_answers.record(event.usage)
        await self._emit(event)

    async def last_answer(self, messages: tuple[Message, ...], notice: Noted | None = None) -> Completion | None:
        """Return a final answer to ``messages`` from the amount reserved for it; None if it cannot be obtained.

        This is one request, without tools and without a retry, sent after a limit has refused the next turn. If it is
        too long for what is left, a shorter one is sent. ``notice`` is emitted when it is sent.

        Raises:
            Overrun: it cost more than its hold.
            StateError: the ledger cannot be written; what was sent stays held.
        """
        if not self.facts.metered:
            return None
        self._keep, self._notice = self._last_answers.plan_reserve(messages), notice
        least = choose_output(self.facts, self._max_output_tokens).least
        wanted = OutputRange(min(least, self._keep.output), self._keep.output)
        if self._affordable is not None:
            wanted = fit_window(wanted, self._affordable)
        most: int | None = None
        while (request := self._last_answers.compose_request(messages, most=most)) is not None:
            asked = Request(self.facts.model, request, attempt_id=os.urandom(16).hex(), followed=False)
            try:
                return (await self._attempt(asked, wanted, "answer"))[0]
            except (Overrun, StateError):
                raise
            except BudgetExceeded:  # nothing was sent
                most = plain_bound(asked) // 2
            except (AgentctlError, HoldLost):
                return None
        return None

    async def summary(
        self, messages: tuple[Message, ...], tools: tuple[ToolSpec, ...], *, most: int, then: int
    ) -> Completion | None:
        """Return the model's summary of ``messages`` in about ``most`` tokens; None if no request could be sent now.

        This is one attempt, without waiting. It takes at most a fifth of what is left of any limit, and leaves room for
        the next request, of at most ``then`` input tokens, and for the reserve of the last answer. Its pieces are not
        emitted.

        Raises:
            Overrun: it cost more than its hold.
            ProviderError: no answer came.
            StateError: the ledger cannot be written; what was sent stays held.
        """
        facts = self.facts
        request = Request(facts.model, messages, tools, attempt_id=os.urandom(16).hex(), followed=False)
        following = AnswerReserve(then, choose_output(facts, self._max_output_tokens).least)
        wanted = choose_summary_output(facts, most, self._max_output_tokens)
        room = self._room(request)
        if room is not None and room < wanted.least:
            return None
        self._keep = None  # an earlier reserve stays
        try:
            return (await self._attempt(request, wanted, "summary", then=following))[0]
        except Overrun as error:
            error.partial = ""  # a summary is not an answer
            raise
        except (BudgetExceeded, DoubtExceeded, HoldLost):
            return None
        except ProviderError as error:
            self._last_failure = error.message
            raise

    async def ask(
        self,
        messages: tuple[Message, ...],
        tools: tuple[ToolSpec, ...] = (),
        *,
        purpose: Purpose = "turn",
        with_reserve: bool = False,
        is_last: bool = False,
        answer_format: AnswerFormat | None = None,
    ) -> Completion:
        """Return the answer to ``messages``; its cost is on disk before this returns.

        ``with_reserve``: its hold also reserves an amount for a last answer, if the limits have room for both.
        ``is_last``: no turn follows, so an earlier reserve gives way to its hold. ``answer_format``: see ``formatted``.

        A turn with ``tools`` asks for a few times the output that the run has needed so far. A cut answer is requested
        again once: with at least twice the output if the user set no limit on it, with the full wanted output if a
        limit granted less. If a limit forbids that, the error has the cut answer. The model's window bounds the output.

        Raises:
            BudgetExceeded: a limit would be passed; nothing was sent.
            UnknownPrice: a dollar limit is set, and the model has no price or no bound.
            ProviderError: no answer after the retries, or amounts in doubt leave no room.
            StateError: the ledger cannot be written; nothing was sent.
        """
        refuse_unbounded(self.facts, self._limits)
        keep = with_reserve and self.facts.metered
        self._keep = self._last_answers.plan_reserve(messages) if keep else AnswerReserve(0, 0) if is_last else None
        followed = purpose == "turn" and not is_last
        request = Request(self.facts.model, messages, tools, followed=followed, answer_format=answer_format)
        dearest = self._dearest_output if tools else None
        wanted = choose_turn_output(self.facts, self._max_output_tokens, dearest, thinks=self._thinks)
        completion, hold = await self._persist(request, fit_window(wanted, self._room(request)), purpose)
        if completion.stop != "length" or not self.facts.metered:
            return completion
        granted = hold.granted_output
        more = choose_retry_output(
            self.facts, self._max_output_tokens, wanted=wanted, granted=granted, probe=hold.probe, text=completion.text
        )
        if more is None:
            return completion
        most = fit_window(OutputRange(wanted.least, more.most), self._room(request, completion.usage)).most
        if most <= granted:
            return completion
        more = OutputRange(min(more.least, most), most)
        try:
            return (await self._persist(request, more, purpose))[0]
        except Overrun:
            raise
        except BudgetExceeded as error:
            self.unfinished = completion.text
            if completion.tool_calls:
                return completion  # its calls can be run; the next turn meets the limit
            error.partial = completion.text
            raise
        except ProviderError:
            self.unfinished = completion.text
            return completion  # it is paid for
        except BaseException:  # interrupted: the first answer may be longer than the beginning of the second
            self.unfinished = max(completion.text, self.unfinished, key=len)
            raise

    def _room(self, request: Request, reported: Usage | None = None) -> int | None:
        """Return the output tokens for which the window has room and the provider's credits pay.

        ``reported`` is a usage report of this request, if there is one. Return None if neither limit is known.
        """
        known = (self.facts.context_window, self._window)
        window = min((size for size in known if size is not None), default=None)
        if window is None or not self.facts.metered:
            return self._affordable
        room = window - (reported.input_tokens if reported else estimate_input(request, self._settler.known))
        return room if self._affordable is None else min(room, self._affordable)

    async def _persist(self, request: Request, wanted: OutputRange, purpose: Purpose) -> tuple[Completion, Hold]:
        """Attempt a request, and retry if that may help; each attempt has a reservation of its own.

        If the provider's credits or its limit a minute allow a shorter but useful answer, that is requested, once.
        """
        tried = lost = 0
        is_lowered = False
        while True:
            attempt = replace(request, attempt_id=os.urandom(16).hex())
            try:
                completion, hold = await self._attempt(attempt, wanted, purpose)
                if completion.usage is not None:
                    self._dearest_output = max(self._dearest_output or 0, completion.usage.output_tokens)
                    self._thinks = self._thinks or completion.usage.reasoning_tokens > 0
                return completion, hold
            except HoldLost:
                lost += 1
                if lost >= MOST_LOST:
                    raise too_slow_error(lost) from None
            except ProviderError as error:
                tried, self._last_failure = tried + 1, error.message
                self._window = error.window or self._window
                if not is_lowered and affords(error.affordable, wanted):
                    is_lowered, wanted = True, fit_window(wanted, error.affordable)
                    if isinstance(error, QuotaExceeded):
                        self._affordable = error.affordable
                    await self._emit(CallRetried(attempt.attempt_id, error.message, 0.0))
                    continue
                pause = retry_pause(error, tried, self._first_pause_s)
                too_long = pause > MOST_PAUSE_S or anyio.current_time() + pause >= anyio.current_effective_deadline()
                if not error.retryable or tried > self._retries or too_long:
                    raise
                await self._emit(CallRetried(attempt.attempt_id, error.message, round(pause, 3)))
                await self._pause(pause)

    async def _attempt(
        self, request: Request, wanted: OutputRange, purpose: Purpose, *, then: AnswerReserve | None = None
    ) -> tuple[Completion, Hold]:
        """Reserve one request at its worst case (input bound and output), mark it sent, send it, and settle it.

        An answer that an earlier part of the run has paid for is returned in its place.
        """
        if (known := self.past.take(purpose, is_last=not request.followed)) is not None:
            return known
        is_answer, request = purpose != "summary", shaped(self._provider, request)
        bounds = StreamTimeouts(self._silence_s, self._deadline_s, first_s=self._deadline_s if self._waits else None)
        timeouts = bounds.of_attempt(self.facts, is_summary=not is_answer)
        hold = await self._reservations.reserve(
            request,
            wanted,
            purpose,
            facts=self.facts,
            known=self._settler.known,
            deadline_s=timeouts.whole_s,
            keep=self._keep,
            then=then,
            so_far=self._so_far,
        )
        self.past.clear()
        timeouts = timeouts._replace(deadline=anyio.current_time() + timeouts.whole_s)
        sent: AttemptProgress | None = None
        self.unfinished = ""
        try:
            facts = self.facts
            await self._emit(held_event(hold, facts, purpose))
            if not await self._ledger.mark_sent(hold.id):
                raise HoldLost
            self.asked_last = purpose == "answer"
            if self.asked_last and self._notice is not None:
                await self._emit(self._notice)
            await self._emit(CallSent(hold.id, client_of(self._provider)))
            sent = AttemptProgress()
            clamp = hold.granted_output if facts.metered else None
            clamped = replace(request, max_output_tokens=clamp, send_by=self._reservations.send_by(hold.id))
            await read_stream(self._provider, clamped, sent, timeouts, self._emit if is_answer else discard_event)
        except BaseException as error:
            self.unfinished = "".join(sent.pieces) if sent and is_answer else ""
            with anyio.CancelScope(shield=True):
                await self._settler.conclude_failed(self.facts, hold, sent, error)
            raise
        if sent.completion is not None and is_answer:
            self.unfinished = sent.completion.text  # it is paid for, whatever happens from here on
        answer = await self._settler.conclude(self.facts, hold, request, sent)
        return answer.check_whole(self.facts.provider), hold
