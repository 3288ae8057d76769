"""From an ask to a hold: granted at once, waited for, or refused with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import anyio

from agentctl.breaker import SoFar, gave_up, tripped
from agentctl.budget import Ask, Hold, Wait
from agentctl.errors import StateError, Verdict
from agentctl.events import CallWaited, Emit
from agentctl.protocols import Ledger


async def held(ask: Ask, *, ledger: Ledger, patience: Mapping[str, float], so_far: SoFar, emit: Emit) -> Hold:
    """Reserve the worst case of ``ask``, waiting as many seconds for each reason as ``patience`` has for it.

    Raises:
        BudgetExceeded: a limit would be passed.
        ProviderError: amounts in doubt are in the way, or what was waited for did not come.
        StateError: the ledger cannot be written.
    """
    started, told = anyio.current_time(), set[str]()
    try:
        while True:
            answer = await ledger.reserve(ask)
            match answer:
                case Hold():
                    return answer
                case Verdict():
                    raise tripped(answer, ask.facts, so_far)
                case Wait():
                    left = started + patience[answer.reason] - anyio.current_time()
                    if left <= 0:
                        raise gave_up(answer, ask.facts, so_far)
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
