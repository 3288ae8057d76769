"""Reserve requests in the ledger: granted at once, waited for, or refused with the reason."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import anyio
import anyio.to_thread

from agentctl.budget.breaker import RefusalContext, refusal_error, wait_error
from agentctl.budget.input_bound import SettledRequest, bound, vocabulary_weights
from agentctl.budget.output_range import OutputRange
from agentctl.budget.rules import AnswerReserve, Ask, Hold, Purpose, Wait, ceiling_of, extra_ceilings
from agentctl.core.errors import StateError, Verdict
from agentctl.core.events import CallHeld, CallWaited, Emit
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Request
from agentctl.core.pricing import ModelFacts, PriceOf
from agentctl.protocols import Ledger

if TYPE_CHECKING:
    from agentctl.context.counter import Load

Count = Callable[[], Awaitable[int | None]]
"""Returns the most input tokens of a request by a vocabulary; None: there is no vocabulary."""


MOST_LOST = 3  # holds in a row


class HoldLost(Exception):
    """The hold expired, or its run was considered dead, before the request was sent: reserve again."""


def too_slow_error(lost: int) -> StateError:
    """Return the error after ``lost`` holds in a row have expired."""
    return StateError(
        f"{lost} holds in a row expired before their requests could be sent: the ledger is too slow",
        hint="check whether its disk is overloaded, or move it: AGENTCTL_STATE_DIR=/another/disk",
    )


def held_event(hold: Hold, facts: ModelFacts, purpose: Purpose) -> CallHeld:
    """Return the event of a reserved request."""
    granted = hold.granted_output
    return CallHeld(
        *(hold.id, facts.provider, facts.model, hold.input_bound, granted, hold.nano, hold.tokens),
        purpose=purpose,
        probe=hold.probe,
    )


class CallTerms(NamedTuple):
    """What the calls of one provider need: its prices, its vocabulary, and how long to wait for it, in seconds."""

    price_of: PriceOf
    load_count: Load | None
    silence_s: float
    waits_for_load: bool
    provider_wait_s: float


@runtime_checkable
class LeasedLedger(Protocol):
    """A ledger that gives away the room of a process that stopped: what is marked is sent soon or never."""

    def send_by(self, hold_id: str) -> float:
        """Return when the first byte of a marked request must have left, by ``boot_s``."""
        ...


class Reservations:
    """Reserves the worst case of each request of one run.

    ``budget_wait_s`` is how long to wait for other runs' holds, ``provider_wait_s`` for a paused provider, in seconds.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        run_id: str,
        limits: CostLimit,
        emit: Emit,
        price_of: PriceOf,
        budget_wait_s: float,
        provider_wait_s: float,
        load_count: Load | None,
    ) -> None:
        self._ledger, self._run_id, self._limits = ledger, run_id, limits
        self._emit, self._price_of = emit, price_of
        self._wait_s = {"holds": budget_wait_s, "provider": provider_wait_s}
        self._counter = InputCounter(load_count)

    def switch(self, terms: CallTerms) -> None:
        """Reserve for another provider from here on."""
        self._price_of, self._counter = terms.price_of, InputCounter(terms.load_count)
        self._wait_s["provider"] = terms.provider_wait_s

    def send_by(self, hold_id: str) -> float | None:
        """Return when the first byte of a marked request must have left, by ``boot_s``; None: at any time."""
        return self._ledger.send_by(hold_id) if isinstance(self._ledger, LeasedLedger) else None

    async def reserve(
        self,
        request: Request,
        wanted: OutputRange,
        purpose: Purpose,
        *,
        facts: ModelFacts,
        known: SettledRequest | None,
        deadline_s: float,
        keep: AnswerReserve | None,
        then: AnswerReserve | None,
        so_far: RefusalContext,
    ) -> Hold:
        """Reserve the worst case of ``request`` and return its hold; a last answer and a summary do not wait.

        Raises:
            BudgetExceeded: a limit would be passed.
            ProviderError: amounts in doubt leave no room, or the wait ended without a grant.
            StateError: the ledger cannot be written.
        """
        ask = Ask(
            attempt_id=request.attempt_id,
            run_id=self._run_id,
            facts=facts,
            input_bound=bound(request, known, may_cut=facts.may_cut) if facts.metered else 0,
            least=wanted.least,
            most=wanted.most,
            hour_limit_nano=ceiling_of(self._limits, "max_cost_per_hour"),
            deadline_s=deadline_s,
            purpose=purpose,
            further=extra_ceilings(self._limits),
            keep=keep,
            then=then,
            price_of=self._price_of,
        )
        wait_s = self._wait_s
        if purpose in ("answer", "summary"):
            wait_s = dict.fromkeys(wait_s, 0.0)
        count = None if purpose == "summary" else self._counter.of(request, known, facts.may_cut)
        return await reserve_or_wait(
            ask, ledger=self._ledger, wait_s=wait_s, so_far=so_far, emit=self._emit, count=count
        )


class InputCounter:
    """Bounds requests by the vocabulary of the model's own provider, loaded at first use.

    Loading takes about a second and 85 MB, so this is only for requests whose bound by bytes is too high.
    """

    def __init__(self, load: Load | None) -> None:
        self._load = load

    def of(self, request: Request, known: SettledRequest | None, may_cut: bool) -> Count | None:
        """Return a function that counts ``request`` in a worker thread; None without a vocabulary."""
        return None if self._load is None else partial(self._count, self._load, request, known, may_cut)

    async def _count(self, load: Load, request: Request, known: SettledRequest | None, may_cut: bool) -> int | None:
        def counted() -> int | None:
            count = load()
            return None if count is None else bound(request, known, may_cut=may_cut, weights=vocabulary_weights(count))

        found = None
        with suppress(Exception):  # the bound by bytes is valid, too
            found = await anyio.to_thread.run_sync(counted, abandon_on_cancel=True)
        if found is None:
            self._load = None
        return found


async def reserve_or_wait(
    ask: Ask,
    *,
    ledger: Ledger,
    wait_s: Mapping[str, float],
    so_far: RefusalContext,
    emit: Emit,
    count: Count | None = None,
) -> Hold:
    """Reserve the worst case of ``ask`` and return its hold, waiting at most ``wait_s`` seconds for each reason.

    ``count`` is called if the ledger answers that the bound is too high; None: there is no other bound.

    Raises:
        BudgetExceeded: a limit would be passed.
        ProviderError: amounts in doubt leave no room, or the wait ended without a grant.
        StateError: the ledger cannot be written.
    """
    started, reported = anyio.current_time(), set[str]()
    ask = ask._replace(can_count=count is not None)
    try:
        while True:
            answer = await ledger.reserve(ask)
            match answer:
                case Hold():
                    return answer
                case Verdict():
                    raise refusal_error(answer, ask.facts, so_far)
                case Wait(reason="bound") if count is not None and ask.can_count:
                    counted = await count()
                    ask = ask._replace(counted_bound=counted, can_count=counted is not None)
                case Wait():
                    left = started + wait_s[answer.reason] - anyio.current_time()
                    if left <= 0:
                        raise wait_error(answer, ask.facts, so_far)
                    if answer.reason not in reported:
                        reported.add(answer.reason)
                        facts, most = ask.facts, anyio.current_effective_deadline() - anyio.current_time()
                        await emit(
                            CallWaited(
                                answer.reason,
                                answer.seconds,
                                facts.provider,
                                facts.model,
                                facts.base_url,
                                round(max(0.0, min(left, most)), 3),
                            )
                        )
                    await anyio.sleep(min(answer.seconds, left))
    except BaseException:
        with anyio.CancelScope(shield=True), suppress(StateError):
            await ledger.leave_queue(ask.attempt_id)  # and release the hold, if it was granted meanwhile
        raise
