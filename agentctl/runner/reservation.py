"""From an ask to a hold: granted at once, waited for, or refused with the reason."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial

import anyio
import anyio.to_thread

from agentctl.budget.breaker import RefusalContext, refusal_error, wait_error
from agentctl.budget.input_bound import SettledRequest, bound, vocabulary_weights
from agentctl.budget.rules import Ask, Hold, Wait
from agentctl.context.counter import Load
from agentctl.core.errors import StateError, Verdict
from agentctl.core.events import CallWaited, Emit
from agentctl.core.messages import Request
from agentctl.protocols import Ledger

Count = Callable[[], Awaitable[int | None]]
"""Returns the most input tokens of a request by a vocabulary; None: there is none."""


class InputCounter:
    """Bounds requests by the vocabulary of the model's own provider, loaded at the first use.

    It takes about a second and 85 MB, so it is for requests to which a bound by bytes is in the way.
    """

    def __init__(self, load: Load | None) -> None:
        self._load = load

    def of(self, request: Request, known: SettledRequest | None, may_cut: bool) -> Count | None:
        """Return what counts ``request`` in a worker thread; None where nothing can count it."""
        return None if self._load is None else partial(self._count, self._load, request, known, may_cut)

    async def _count(self, load: Load, request: Request, known: SettledRequest | None, may_cut: bool) -> int | None:
        def counted() -> int | None:
            count = load()
            return None if count is None else bound(request, known, may_cut=may_cut, weighing=vocabulary_weights(count))

        found = None
        with suppress(Exception):  # bytes are a bound as well
            found = await anyio.to_thread.run_sync(counted, abandon_on_cancel=True)
        if found is None:
            self._load = None
        return found


async def reserve_or_wait(
    ask: Ask,
    *,
    ledger: Ledger,
    patience: Mapping[str, float],
    so_far: RefusalContext,
    emit: Emit,
    count: Count | None = None,
) -> Hold:
    """Reserve the worst case of ``ask``, waiting as many seconds for each reason as ``patience`` has for it.

    ``count`` is asked where the ledger says that the bound itself is in the way; None: nothing else bounds the input.

    Raises:
        BudgetExceeded: a limit would be passed.
        ProviderError: amounts in doubt are in the way, or what was waited for did not come.
        StateError: the ledger cannot be written.
    """
    started, told = anyio.current_time(), set[str]()
    ask = replace(ask, can_count=count is not None)
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
                    ask = replace(ask, counted_bound=counted, can_count=counted is not None)
                case Wait():
                    left = started + patience[answer.reason] - anyio.current_time()
                    if left <= 0:
                        raise wait_error(answer, ask.facts, so_far)
                    if answer.reason not in told:
                        told.add(answer.reason)
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
            await ledger.leave_queue(ask.attempt_id)  # and the hold, if it was granted unheard
        raise
