"""Compute the charge for an attempt's usage report, and the amounts of an attempt in doubt. Pure."""

from __future__ import annotations

from dataclasses import replace

from agentctl.budget.conclusions import Charge, Doubt, dearest_charge
from agentctl.budget.input_bound import estimate_input, plain_bound
from agentctl.budget.rules import Hold
from agentctl.core.messages import Completion, Request, Usage
from agentctl.core.pricing import (
    FREE,
    MOST_AMOUNT,
    ModelFacts,
    PriceOf,
    contradiction,
    exceeds_tables,
    rates_of,
    storable_usage,
    worst_nano,
)
from agentctl.core.substitutes import substitute_of


def report_flaw(completion: Completion, *, answered: bool) -> str:
    """Return why an answer cannot be charged by its usage report, "" if it can."""
    if completion.fee is not None:
        return f"charged for what was never asked of it: {completion.fee}"
    if completion.usage is None:
        return completion.reported.why if completion.reported else "no usage was reported"
    return contradiction(completion.usage, answered=answered)


def own_count(
    facts: ModelFacts, hold: Hold, request: Request, completion: Completion, price_of: PriceOf
) -> Usage | None:
    """Return agentctl's own count of an answer for which nothing was reported, None unless it is certainly free.

    The count is an estimate, and never above the hold.
    """
    seen = completion.usage or (completion.reported.usage if completion.reported else Usage())
    if seen != Usage() or completion.billed_nano or completion.fee is not None or completion.tier:
        return None
    rates = rates_of(completion, facts, price_of)
    if not rates or not all(rate.price.is_free for rate in rates):
        return None
    tokens_out = estimate_input(Request(facts.model, (completion.as_message(),)))
    return Usage(min(estimate_input(request), hold.input_bound), min(tokens_out, hold.granted_output))


def charge_for(
    facts: ModelFacts, hold: Hold, request: Request, completion: Completion, price_of: PriceOf
) -> Charge | None:
    """Return the charge for the reported usage, None if the price of the tier that served it is unknown.

    If neither the hold nor the tables allow a report, it is charged in the most expensive class, as its cached tokens
    may not have been cached. A free model may exceed its clamp by one token, as no dollars depend on it.
    """
    if not facts.metered:
        return Charge(Usage(), 0, completion.model, by="asked", price=facts.price or FREE)
    usage = completion.usage or Usage()
    bound = plain_bound(request) if usage.input_tokens > hold.input_bound else hold.input_bound
    is_free = facts.price is not None and facts.price.is_free
    broken = not is_free and _breaks_hold(usage, hold, plain_bound=bound)
    is_odd = (broken or usage.total_tokens > hold.tokens) and exceeds_tables(usage, facts)
    charge = dearest_charge(usage, completion, facts, price_of, dearest_class=is_odd)
    return None if charge is None else charge._replace(breaks_hold=broken)


def _breaks_hold(usage: Usage, hold: Hold, *, plain_bound: int) -> bool:
    """Return whether a report breaks an assumption of its hold, whatever it costs: the clamp, or the bound by bytes.

    A tight bound relies on earlier reports: if only that is too low, they were wrong, and the bound by bytes is still
    valid. A hold at the model's ceiling assumes neither.
    """
    if hold.tokens > hold.input_bound + hold.granted_output:
        return False
    return usage.output_tokens > hold.granted_output or usage.input_tokens > max(hold.input_bound, plain_bound)


def least_charge(completion: Completion, hold: Hold, facts: ModelFacts, price_of: PriceOf) -> Charge | None:
    """Return the least that an attempt in doubt cost, by the readable part of its report; None without a report.

    Figures that the report omits count as in the hold, and each token as the most expensive class.
    """
    reported = completion.usage or (completion.reported.usage if completion.reported else None)
    if reported is None and completion.billed_nano is None:
        return None
    seen = storable_usage(reported or Usage())
    tokens_in, tokens_out = max(seen.input_tokens, hold.input_bound), max(seen.output_tokens, hold.granted_output)
    usage = replace(seen, input_tokens=tokens_in, output_tokens=tokens_out)
    prices = [rate.price for rate in rates_of(completion, facts, price_of)]
    amounts = [worst_nano(price, input_tokens=tokens_in, output_tokens=tokens_out) for price in prices]
    nano = max([*amounts, completion.billed_nano or 0]) if amounts else None
    capped = max(nano or 0, usage.total_tokens) > MOST_AMOUNT
    nano = None if nano is None else min(nano, MOST_AMOUNT)
    substitute = substitute_of(facts, completion.model, price_of, tier=completion.tier)
    return Charge(usage, nano, completion.model, capped=capped, substitute=substitute)


def amounts_in_doubt(hold: Hold, doubt: Doubt) -> tuple[int | None, int]:
    """Return what an attempt in doubt counts, in nano-dollars and tokens: its hold, or its report if that is more."""
    nano, tokens, least = hold.nano, hold.tokens, doubt.least
    if least is not None:
        nano, tokens = None if nano is None else max(nano, least.nano or 0), max(tokens, least.usage.total_tokens)
    if doubt.substitute is not None:
        nano = doubt.substitute.worst_nano(nano, hold.input_bound, hold.granted_output)
    return nano, tokens
