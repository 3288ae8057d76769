"""How an attempt ends in the book: charged by believable usage, void when it surely cost nothing, else in doubt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal, cast

import anyio

from agentctl.bound import Ground, Known
from agentctl.breaker import Overrun, limit_uses, overrun, reason_of, shown
from agentctl.budget import (
    UNKNOWN_CEILING,
    Amounts,
    Charge,
    Hold,
    Settlement,
    Spend,
    believable,
    dearest_charge,
    further,
    warned,
)
from agentctl.errors import ProviderError, StateError
from agentctl.events import CallDoubted, CallSettled, CallVoided, Emit, LimitsMeasured, LimitWarned
from agentctl.limits import CostLimit
from agentctl.messages import Completion, Request, Usage
from agentctl.pricing import FREE, ModelFacts, PriceOf
from agentctl.protocols import Ledger
from agentctl.results import LimitUse
from agentctl.stream import Sent


class Settling:
    """Concludes the attempts of one run, each once, and keeps what they came to.

    ``known`` is the ground on which the next bound can be tight; ``uses`` how much of each limit was used then.
    ``price_of`` knows the prices of other models and service tiers of the provider, for when another one answers than
    was asked.
    Amounts in nano-dollars, None when a price is unknown.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        run_id: str,
        limits: CostLimit,
        emit: Emit,
        doubt: Literal["normal", "strict"],
        price_of: PriceOf,
    ) -> None:
        self._ledger, self._run_id, self._limits, self._emit = ledger, run_id, limits, emit
        self._doubt, self._price_of = doubt, price_of
        self._warned: set[str] = set()
        self._ground = Ground()
        self.usage = Usage()
        self.cost_nano: int | None = 0
        self.in_doubt_nano: int | None = 0
        self.models: tuple[str, ...] = ()
        self.uses: tuple[LimitUse, ...] = ()
        self._spend = Spend(Amounts(), Amounts(), Amounts())

    @property
    def known(self) -> Known | None:
        """What the next bound can be built on."""
        return self._ground.known

    async def conclude(self, facts: ModelFacts, hold: Hold, request: Request, sent: Sent) -> Completion:
        """Settle first, whatever the answer says; only then may it be looked at. A report not believed is taken off it.

        Raises:
            Overrun: it cost more than was held, or broke its clamp beyond belief; recorded all the same.
        """
        completion = cast("Completion", sent.completion)
        with anyio.CancelScope(shield=True):  # what is billed is written down, even under Ctrl-C
            usage = completion.usage
            believed = usage is not None and not completion.fee and believable(usage, facts, answered=sent.answered)
            charge: Charge | None = None
            if not facts.metered:
                charge = Charge(Usage(), 0, completion.model, by="asked", price=facts.price or FREE)
            elif usage is not None and believed:
                charge = dearest_charge(usage, completion, facts, self._price_of)
            if charge is None:
                self._ground = self._ground.shaken()
                past = usage is not None and hold.granted_output < usage.output_tokens <= UNKNOWN_CEILING
                said = "no usage was reported" if usage is None else "usage not believable"
                if believed:
                    said = f"served in the tier {completion.tier}, whose price is unknown"
                if completion.fee:
                    past, said = True, f"charged for what was never asked of it: {completion.fee}"
                left = await self._leave_in_doubt(hold, said, ceiling=past)
                if past:  # it broke its clamp, whatever it says: the model's ceiling counts, and the run ends
                    raise self._overrun(hold, left, completion, facts)
                return replace(completion, usage=None)  # nobody learns from it
            with _staying_held(hold):
                settlement = await self._ledger.settle(hold.id, charge)
            if facts.metered:
                self._ground = self._ground.after(request, completion, charge.usage)
            self._add(charge.usage, settlement.nano, completion.model or facts.model)
            await self._emit(CallSettled(hold.id, charge.usage, settlement.nano, settlement.overrun))
            if facts.metered:
                await self._warn()
        if settlement.overrun:
            raise self._overrun(hold, settlement, completion, facts)
        return completion

    def _overrun(self, hold: Hold, settlement: Settlement, completion: Completion, facts: ModelFacts) -> Overrun:
        return overrun(hold, settlement, completion, facts, limits=self._limits, spend=self._spend)

    def _add(self, usage: Usage, nano: int | None, name: str | None) -> None:
        self.usage += usage
        self.cost_nano = None if nano is None or self.cost_nano is None else self.cost_nano + nano
        if name is not None and name not in self.models:
            self.models += (name,)

    async def conclude_failed(self, facts: ModelFacts, hold: Hold, sent: Sent | None, error: BaseException) -> None:
        """Void what surely cost nothing; all else is in doubt."""
        if sent is None or not facts.metered:
            reason = "not sent" if sent is None else reason_of(error)
            await self._ledger.void(hold.id, reason)
            await self._emit(CallVoided(hold.id, reason))
            return
        if not sent.answered and self._surely_free(facts, error):
            await self._ledger.void(hold.id, reason_of(error))
            await self._emit(CallVoided(hold.id, reason_of(error)))
            return
        self._ground = self._ground.shaken()
        fault = sent.failed or isinstance(error, ProviderError)
        await self._leave_in_doubt(hold, reason_of(error), ceiling=sent.ran_past, provider_fault=fault)

    def _surely_free(self, facts: ModelFacts, error: BaseException) -> bool:
        """Whether a failed attempt cost nothing: an error document is believed only from an endpoint we know."""
        if not isinstance(error, ProviderError) or error.billed != "no":
            return False
        return error.unsent or (facts.known_endpoint and self._doubt == "normal")

    async def _leave_in_doubt(
        self, hold: Hold, reason: str, *, ceiling: bool = False, provider_fault: bool = True
    ) -> Settlement:
        with _staying_held(hold):
            left = await self._ledger.doubt(hold.id, reason, ceiling=ceiling, provider_fault=provider_fault)
        known = left.nano is not None and self.in_doubt_nano is not None
        self.in_doubt_nano = (self.in_doubt_nano or 0) + (left.nano or 0) if known else None
        await self._emit(CallDoubted(hold.id, left.nano, left.tokens, reason))
        await self._warn()
        return left

    async def _warn(self) -> None:
        """Tell how much of each limit is used, and say once for each that 80 % are."""
        self._spend = spend = await self._ledger.spend(self._run_id, further(self._limits))
        self.uses = limit_uses(self._limits, spend)
        await self._emit(LimitsMeasured(self.uses))
        for use in self.uses:
            if use.name not in self._warned and warned(spend.of(use.name), use.ceiling):
                self._warned.add(use.name)
                await self._emit(LimitWarned(use))


@contextmanager
def _staying_held(hold: Hold) -> Iterator[None]:
    """Say what becomes of the money when the end of a call that was sent cannot be written: its hold counts on."""
    try:
        yield
    except StateError as error:
        amount = shown(hold.tokens, "tokens") if hold.nano is None else shown(hold.nano, "nano_usd")
        raise StateError(f"{error.message}; the {amount} held for the last call stay held", hint=error.hint) from error
