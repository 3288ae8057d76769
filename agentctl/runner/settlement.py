"""Conclude attempts in the ledger: charged by their usage, void if they certainly cost nothing, else in doubt.

A report never counts less than it says. A report within the hold is a charge, even if it contradicts the tables. A
report above the hold is recorded in full, and the run ends. If its numbers contradict each other, or cannot be read,
the attempt is in doubt: at the hold, or at the readable part of the report if that is more.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Literal, cast

import anyio

from agentctl.budget.breaker import Overrun, error_kind, format_amount, overrun_error, reason_line
from agentctl.budget.conclusions import Charge, Conclusion, Doubt, Settlement, Void, conclusion_kind
from agentctl.budget.input_bound import BoundBasis, SettledRequest
from agentctl.budget.rules import Amounts, Hold, PastSpending, Spend, is_warning_due
from agentctl.core.errors import LedgerBusy, LedgerGone, ProviderError, StateError
from agentctl.core.events import (
    AnswerReceived,
    CallDoubted,
    CallSettled,
    CallUnsettled,
    CallVoided,
    Emit,
    LimitsMeasured,
    LimitWarned,
    ModelSubstituted,
)
from agentctl.core.leases import Lease
from agentctl.core.limits import CostLimit, Parent
from agentctl.core.messages import Completion, Reported, Request, Usage
from agentctl.core.pricing import (
    ModelFacts,
    PriceOf,
    to_usd,
)
from agentctl.core.results import LimitUse
from agentctl.core.substitutes import Substitute, costs_of, substitute_of
from agentctl.permissions.guards import are_fit
from agentctl.protocols import Ledger, Outcome
from agentctl.runner.attempt_charges import amounts_in_doubt, charge_for, least_charge, own_count, report_flaw
from agentctl.runner.lease_terms import all_uses, further_limits
from agentctl.runner.streaming import AttemptProgress

_FAULT_WAIT_S = 1.0  # for a full disk or a ledger that is being moved: that may be over soon
_PAUSE_S = 0.25


class AttemptSettler:
    """Concludes the attempts of one run, each once, and adds up their costs.

    ``known`` is the settled request on which the next bound can build; ``uses`` is how much of each limit was used
    then. ``price_of`` returns the prices of the provider's other models and service tiers, in case another one answers.
    Amounts are in nano-dollars, None if a price is unknown. ``wait_s`` is how long a conclusion waits for a lock of the
    ledger, in seconds. ``parent`` is the run or the lease above the run.
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
        wait_s: float,
        parent: Parent | Lease | None = None,
    ) -> None:
        self._ledger, self._run_id, self._limits, self._emit = ledger, run_id, limits, emit
        self._parent, self._further = parent, further_limits(limits, parent)
        self._doubt, self._price_of, self._wait_s = doubt, price_of, wait_s
        self._warned: set[str] = set()
        self._reported_substitutes: set[str] = set()
        self._basis = BoundBasis()
        self.usage = Usage()
        self.cost_nano: int | None = 0
        self.in_doubt_nano: int | None = 0
        self.models: tuple[str, ...] = ()
        self.uses: tuple[LimitUse, ...] = ()
        self._spend = Spend(Amounts(), Amounts(), Amounts())

    async def begin_with(self, past: PastSpending) -> None:
        """Go on from what earlier parts of the run spent: what is added up here, and the use of each limit, include it.

        The levels that were passed before are not warned of again.
        """
        self.usage, self.cost_nano, self.in_doubt_nano, self.models = past
        self._spend = spend = await self._ledger.spend(self._run_id, self._further)
        self.uses = all_uses(self._limits, self._parent, spend)
        self._warned = {use.name for use in self.uses if is_warning_due(spend.of(use.name), use.ceiling)}

    @property
    def known(self) -> SettledRequest | None:
        """The settled request on which the next bound can build."""
        return self._basis.known

    def switch(self, price_of: PriceOf) -> None:
        """Settle the calls of another provider from here on: no bound builds on a request of the last one."""
        self._price_of, self._basis = price_of, BoundBasis()

    async def conclude(self, facts: ModelFacts, hold: Hold, request: Request, sent: AttemptProgress) -> Completion:
        """Settle an answered attempt, then return the answer; it is not parsed before it is settled.

        A usage report that is not charged is removed from the answer, so that nothing is learned from it.

        Raises:
            Overrun: the charge, or the report, is above the hold, or has a fee of unknown price; it is recorded anyway.
            StateError: the conclusion could not be written in time.
        """
        completion = cast("Completion", sent.completion)
        with anyio.CancelScope(shield=True):  # what is billed is recorded, even under Ctrl-C
            if facts.metered:
                await self._record_answer(hold, completion)
            flaw = report_flaw(completion, answered=sent.answered) if facts.metered else ""
            counted = own_count(facts, hold, request, completion, self._price_of) if flaw else None
            if counted is not None:  # nothing that costs is unknown, so nothing is in doubt
                return await self._conclude_counted(facts, hold, request, replace(completion, usage=counted))
            charge = None if flaw else charge_for(facts, hold, request, completion, self._price_of)
            if charge is None:
                flaw = flaw or f"served in the tier {completion.tier}, whose price is unknown"
                return await self._conclude_uncharged(facts, hold, completion, flaw)
            settlement = await self._write(hold, charge, completion)
            if facts.metered:
                is_bound = charge.usage.input_tokens <= hold.input_bound
                self._basis = self._basis.after(request, completion, charge.usage, is_bound=is_bound)
            await self._report_settled(hold, charge, settlement, completion.model or facts.model)
            await self._report_substitute(charge.substitute, hold, facts)
            if facts.metered:
                await self._warn()
        if settlement.overrun:
            raise self._overrun(hold, settlement, completion, facts, charge)
        return completion

    async def _record_answer(self, hold: Hold, answer: Completion) -> None:
        """Write the answer to the journal, before its cost: where the process dies between, nothing is asked twice."""
        calls = answer.tool_calls
        unfit = tuple(place for place, call in enumerate(calls) if not are_fit(call.arguments))
        if unfit:
            calls = tuple(replace(call, arguments={}) if place in unfit else call for place, call in enumerate(calls))
        received = AnswerReceived(
            *(hold.id, answer.text, calls, answer.stop, answer.model, answer.usage, answer.thoughts),
            reasoning=answer.reasoning,
            unfit=unfit,
        )
        with suppress(Exception):  # a journal that fails reports it at its next record; the charge comes first
            await self._emit(received)

    async def _conclude_counted(
        self, facts: ModelFacts, hold: Hold, request: Request, completion: Completion
    ) -> Completion:
        """Settle a free attempt by agentctl's own count; return the answer without it, as it teaches nothing."""
        self._basis = self._basis.without_report()
        charge = charge_for(facts, hold, request, replace(completion, reported=None), self._price_of)
        if charge is None:
            return await self._conclude_uncharged(facts, hold, replace(completion, usage=None), "no usage was reported")
        settlement = await self._write(hold, charge, completion)
        await self._report_settled(hold, charge, settlement, completion.model or facts.model, counted=True)
        await self._warn()
        return replace(completion, usage=None)

    async def _conclude_uncharged(self, facts: ModelFacts, hold: Hold, completion: Completion, flaw: str) -> Completion:
        """Record an answered attempt as in doubt, and return the answer without its usage."""
        has_fee = completion.fee is not None
        self._basis = self._basis.without_report()
        least = least_charge(completion, hold, facts, self._price_of)
        substitute = substitute_of(facts, completion.model, self._price_of, tier=completion.tier)
        doubt = Doubt(flaw, ceiling=has_fee, least=least, substitute=substitute)
        left = await self._leave_in_doubt(hold, doubt, completion)
        await self._report_substitute(substitute, hold, facts)
        if has_fee or left.overrun:
            raise self._overrun(hold, left, completion, facts, least, substitute)
        return replace(completion, usage=None)

    def _overrun(
        self,
        hold: Hold,
        settlement: Settlement,
        completion: Completion,
        facts: ModelFacts,
        charge: Charge | None,
        substitute: Substitute | None = None,
    ) -> Overrun:
        limits, spend = self._limits, self._spend
        return overrun_error(
            hold, settlement, completion, facts, charge, limits=limits, spend=spend, substitute=substitute
        )

    async def _report_settled(
        self, hold: Hold, charge: Charge, settlement: Settlement, name: str | None, *, counted: bool = False
    ) -> None:
        """Add up and report a settlement, which may be in doubt because a model of unknown price answered."""
        if settlement.phase != "doubt":
            self._add(charge.usage, settlement.nano, name)
            await self._emit(CallSettled(hold.id, charge.usage, settlement.nano, settlement.overrun, counted))
            return
        self._add_name(name)
        self._add_doubt(settlement.nano)
        said = f"{name} answered, whose price is unknown"
        await self._emit(CallDoubted(hold.id, settlement.nano, settlement.tokens, said))

    def _add(self, usage: Usage, nano: int | None, name: str | None) -> None:
        self.usage += usage
        self.cost_nano = None if nano is None or self.cost_nano is None else self.cost_nano + nano
        self._add_name(name)

    def _add_name(self, name: str | None) -> None:
        if name is not None and name not in self.models:
            self.models += (name,)

    async def _report_substitute(self, substitute: Substitute | None, hold: Hold, facts: ModelFacts) -> None:
        """Report, once per run, that another model answered than the requested one."""
        if substitute is None or substitute.name in self._reported_substitutes:
            return
        self._reported_substitutes.add(substitute.name)
        await self._emit(ModelSubstituted(hold.id, facts.name, substitute.name, costs_of(substitute, facts)))

    async def conclude_failed(
        self, facts: ModelFacts, hold: Hold, sent: AttemptProgress | None, error: BaseException
    ) -> None:
        """Conclude a failed attempt: void if it certainly cost nothing, else in doubt.

        Raises:
            Overrun: the usage reported before the failure is above the hold; it is recorded anyway.
            StateError: the conclusion could not be written in time.
        """
        if sent is None:
            await self._ledger.void(hold.id, "not sent")
            await self._emit(CallVoided(hold.id, "not sent"))
            return
        if not facts.metered or (not sent.answered and self._is_free(facts, sent.outcome, error)):
            reason = reason_line(error)
            if sent.outcome == "unsent" and not isinstance(error, ProviderError):
                reason = f"not sent: {reason}"
            await self._write(hold, Void(reason))
            await self._emit(CallVoided(hold.id, reason, error_kind(error)))
            return
        self._basis = self._basis.without_report()
        fault = sent.failed or isinstance(error, ProviderError)
        reported = None if sent.reported is None else Reported(sent.reported)
        begun = replace(sent.begun or Completion(""), text="".join(sent.pieces), reported=reported, model=sent.model)
        least = least_charge(begun, hold, facts, self._price_of)
        substitute = substitute_of(facts, sent.model, self._price_of, tier=begun.tier)
        has_fee = begun.fee is not None
        doubt = Doubt(reason_line(error), sent.ran_past or has_fee, fault, least, substitute)
        left = await self._leave_in_doubt(hold, doubt, kind=error_kind(error))
        await self._report_substitute(substitute, hold, facts)
        if (left.overrun or has_fee) and isinstance(error, Exception):
            raise self._overrun(hold, left, begun, facts, least, substitute) from error

    def _is_free(self, facts: ModelFacts, outcome: Outcome, error: BaseException) -> bool:
        """Return whether a failed attempt certainly cost nothing: unsent, or refused for free by a known endpoint."""
        free = isinstance(error, ProviderError) and error.billed == "no"
        if outcome == "unsent" or (isinstance(error, ProviderError) and free and error.unsent):
            return True
        return (free or outcome == "refused") and facts.known_endpoint and self._doubt == "normal"

    async def _leave_in_doubt(
        self, hold: Hold, doubt: Doubt, answer: Completion | None = None, *, kind: str = ""
    ) -> Settlement:
        left = await self._write(hold, doubt, answer)
        self._add_doubt(left.nano)
        await self._emit(CallDoubted(hold.id, left.nano, left.tokens, doubt.reason, kind))
        await self._warn()
        return left

    async def _warn(self) -> None:
        """Report how much of each limit is used, and warn once per limit at 80 %.

        If the ledger cannot be read now, the next hold reports that; what was settled stays settled.
        """
        try:
            self._spend = spend = await self._ledger.spend(self._run_id, self._further)
        except StateError:
            return
        self.uses = all_uses(self._limits, self._parent, spend)
        await self._emit(LimitsMeasured(self.uses))
        for use in self.uses:
            if use.name not in self._warned and is_warning_due(spend.of(use.name), use.ceiling):
                self._warned.add(use.name)
                await self._emit(LimitWarned(use))

    def _add_doubt(self, nano: int | None) -> None:
        known = nano is not None and self.in_doubt_nano is not None
        self.in_doubt_nano = (self.in_doubt_nano or 0) + (nano or 0) if known else None

    async def _write(self, hold: Hold, conclusion: Conclusion, answer: Completion | None = None) -> Settlement:
        """Write a conclusion to the ledger, waiting as long as that may help.

        After the first failure the conclusion is in the ledger's spool, so that nothing is lost if the wait ends: it is
        settled when the next run starts.

        Raises:
            StateError: the conclusion could not be written in time.
        """
        started, file = anyio.current_time(), None
        while True:
            try:
                return await self._try(hold.id, conclusion)
            except StateError as error:
                wait_s = self._wait_s if isinstance(error, LedgerBusy) else min(_FAULT_WAIT_S, self._wait_s)
                if file is None:
                    file = await self._spool(hold, conclusion, answer, error)
                left = started + wait_s - anyio.current_time()
                if left <= 0:
                    self._count_unwritten(hold, conclusion)
                    raise unwritten_error(error, hold, conclusion, file) from error
            await anyio.sleep(min(_PAUSE_S, left))

    async def _try(self, hold_id: str, conclusion: Conclusion) -> Settlement:
        match conclusion:
            case Charge():
                return await self._ledger.settle(hold_id, conclusion)
            case Doubt():
                return await self._ledger.doubt(hold_id, **conclusion._asdict())
            case _:
                await self._ledger.void(hold_id, conclusion.reason)
                return Settlement("void", 0, 0)

    async def _spool(self, hold: Hold, conclusion: Conclusion, answer: Completion | None, error: StateError) -> str:
        """Write a conclusion beside the ledger, and with the answer to the journal; return the file, "" if none."""
        file = ""
        with suppress(StateError):
            file = await self._ledger.spool(hold.id, conclusion)
        event = CallUnsettled(
            hold.id,
            error.message,
            self._wait_s if isinstance(error, LedgerBusy) else 0.0,
            conclusion_kind(conclusion),
            file,
        )
        if isinstance(conclusion, Charge):
            event = event._replace(usage=conclusion.usage, nano=conclusion.nano, tokens=conclusion.usage.total_tokens)
        elif isinstance(conclusion, Doubt):
            nano, tokens = amounts_in_doubt(hold, conclusion)
            event = event._replace(nano=nano, tokens=tokens)
        if answer is not None:
            event = event._replace(text=answer.text, tool_calls=answer.tool_calls)
        with suppress(Exception):  # a journal that fails reports it at its next record; the charge comes first
            await self._emit(event)
        return file

    def _count_unwritten(self, hold: Hold, conclusion: Conclusion) -> None:
        """Add up a conclusion that is not in the ledger yet."""
        if isinstance(conclusion, Charge):
            self._add(conclusion.usage, conclusion.nano, conclusion.model)
        elif isinstance(conclusion, Doubt):
            self._add_doubt(amounts_in_doubt(hold, conclusion)[0])


def unwritten_error(error: StateError, hold: Hold, conclusion: Conclusion, file: str) -> StateError:
    """Return the error for a conclusion that could not be written: the call's cost, and what counts now.

    ``file`` contains the conclusion, "" if it could not be written either.
    """
    held = format_amount(hold.tokens, "tokens") if hold.nano is None else format_amount(hold.nano, "nano_usd")
    match conclusion:
        case Charge(usage=usage, nano=None):
            cost = f"cost {format_amount(usage.total_tokens, 'tokens')}"
        case Charge(nano=int(nano)):
            cost = f"cost {format_amount(nano, 'nano_usd')}"
        case Doubt():
            counted, tokens = amounts_in_doubt(hold, conclusion)
            amount = format_amount(tokens, "tokens") if counted is None else format_amount(counted, "nano_usd")
            cost = f"cost {amount} at most"
        case _:
            cost = "cost nothing"
    hint = error.hint
    if isinstance(error, LedgerGone):
        counts = ", and no ledger counts it now" + (f"; {file} keeps it until the ledger is back" if file else "")
    elif file:
        counts = f"; the next run settles it, and until then its hold of {held} remains"
    else:
        counts = f", and its hold of {held} remains"
        if isinstance(conclusion, Charge) and conclusion.nano is not None:
            hint += f"; then: agentctl ledger reconcile {hold.id} --actual {to_usd(conclusion.nano):f}"
    return StateError(f"{error.message}; the last call {cost}{counts}", hint=hint)
