"""The rules of the budget: what an attempt asks for, what counts against each limit, and grant, wait or refusal. Pure.

``judge`` decides on an ``Ask``: a grant, a wait or a verdict. Nothing here reads a clock, a file or the ledger: amounts
come in and go out. The ways in which an attempt can end, and its charge, are in ``conclusions``.
"""

# Annotations are not postponed here: to compile them from text takes longer at every start.

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Literal, NamedTuple

from agentctl.core.errors import LimitName, Unit, Verdict
from agentctl.core.limits import OPTIONAL_LIMITS, RUN_LIMITS, CostLimit
from agentctl.core.messages import Usage
from agentctl.core.pricing import MOST_AMOUNT, ModelFacts, PriceOf, most_output, no_price, to_nano, worst_nano

Purpose = Literal["turn", "summary", "answer", "probe"]

WARN_AT = Decimal("0.8")  # of a limit
SUMMARY_SHARE = 5  # a summary takes at most a fifth of the rest of a limit
UNKNOWN_CEILING = 10_000_000  # tokens: the assumed ceiling of a model without a known one, once it broke a clamp


def ceiling_of(limits: CostLimit, limit: LimitName) -> int | None:
    """Return the ceiling of one limit in its own unit (nano-dollars, tokens or calls); None if it is not set."""
    found = getattr(limits, limit)
    return to_nano(found) if isinstance(found, Decimal) else found


def extra_ceilings(limits: CostLimit) -> Mapping[LimitName, int]:
    """Return the optional ceilings that are set, in their own units."""
    return {name: found for name in OPTIONAL_LIMITS if (found := ceiling_of(limits, name)) is not None}


class PeakUsage(NamedTuple):
    """The most that attempts with a model reported above their holds: tokens in and out, and nano-dollars."""

    input_tokens: int
    output_tokens: int
    nano: int


class AnswerReserve(NamedTuple):
    """The reserve for a last answer, should a limit stop the run: tokens in and out. Without output nothing is
    reserved, and an earlier reserve is released.
    """

    input_bound: int
    output: int


class Ask(NamedTuple):
    """A request for a reservation: the bound of an attempt's input and the output that it asks for, in tokens.

    ``further`` are the ceilings, besides that of the hour, on all runs' dollars (nano) and on the run's calls a minute.
    ``keep`` is the reserve for a last answer to hold with it; for the last answer itself, the one to exchange it for.
    ``then`` is what a summary must leave for the next request. ``seen`` is the highest report of a model that once
    broke its clamp: its ceiling is held, or this report if that is more. ``can_count``: the input can be counted where
    ``input_bound`` is too high; ``counted_bound`` is that count, and ``is_counted`` says whether it is the bound.
    ``price_of`` prices models that have answered in place of this one.
    """

    attempt_id: str
    run_id: str
    facts: ModelFacts
    input_bound: int
    least: int
    most: int
    hour_limit_nano: int | None
    deadline_s: float = 600.0
    purpose: Purpose = "turn"
    further: Mapping[LimitName, int] = MappingProxyType({})
    keep: AnswerReserve | None = None
    then: AnswerReserve | None = None
    can_count: bool = False
    counted_bound: int | None = None
    is_counted: bool = False
    seen: PeakUsage | None = None
    price_of: PriceOf = no_price


class Hold(NamedTuple):
    """A reservation: the worst case of one attempt, and the output tokens granted to it."""

    id: str
    run_id: str
    input_bound: int
    granted_output: int
    nano: int | None
    tokens: int
    deadline_at: datetime
    probe: bool = False


class PastSpending(NamedTuple):
    """What a run itself has spent so far, without the runs below it; None: a price is unknown."""

    usage: Usage = Usage()
    cost_nano: int | None = 0
    in_doubt_nano: int | None = 0
    models: tuple[str, ...] = ()


class Wait(NamedTuple):
    """A postponed decision: ask again after ``seconds``; ``verdict`` applies if nothing is released in time.

    ``reason`` "bound": only the bound itself is too high; ask again with a counted one.
    """

    reason: Literal["holds", "provider", "bound"]
    seconds: float
    verdict: Verdict | None = None


class Amounts(NamedTuple):
    """Sums in one unit."""

    spent: int = 0
    in_doubt: int = 0
    held: int = 0

    @property
    def total(self) -> int:
        """The sum that counts against a limit."""
        return self.spent + self.in_doubt + self.held


class Spend(NamedTuple):
    """The amounts that count now: nano-dollars and tokens of the run, nano-dollars of the hour, others by limit."""

    run_nano: Amounts
    run_tokens: Amounts
    hour_nano: Amounts
    further: Mapping[LimitName, Amounts] = MappingProxyType({})

    def of(self, limit: LimitName) -> Amounts:
        """Return the amounts that count against one limit, in its own unit."""
        named = {
            "max_cost_per_task": self.run_nano,
            "max_tokens_per_task": self.run_tokens,
            "max_cost_per_hour": self.hour_nano,
        }
        return named.get(limit) or self.further.get(limit, Amounts())


class LimitState(NamedTuple):
    """The state of one limit inside the transaction, in its own unit.

    ``movable`` is the part of ``amounts.held`` that other runs will release soon (held or sent, not kept); ``queued``
    is the amount that requests that have waited longer need. ``ceiling`` None: no such limit. ``run_id`` is the run
    that the limit belongs to; "" for a window that the asking process set itself.
    """

    limit: LimitName
    unit: Unit
    ceiling: int | None
    amounts: Amounts
    movable: int = 0
    queued: int = 0
    run_id: str = ""


class WorstCase(NamedTuple):
    """The worst case of an attempt; ``nano`` is None when the price is unknown (only without a dollar limit)."""

    output: int
    nano: int | None
    tokens: int


def _most_output_in(ask: Ask, state: LimitState, *, held: int, in_doubt: int, queued: int) -> int | None:
    """Return the most output tokens that ``state`` allows; None: no bound; negative: not even the input."""
    if state.ceiling is None:
        return None
    left = state.ceiling - state.amounts.spent - in_doubt - held - queued
    if state.unit == "tokens":
        return left - ask.input_bound
    if state.unit == "calls":
        return None if left > 0 else -1
    price = ask.facts.price
    if price is None:
        return -1
    return most_output(price, input_tokens=ask.input_bound, room_nano=left)


def worst_case(ask: Ask, output: int, *, at_ceiling: bool = False) -> WorstCase:
    """Return the most that the attempt can cost with ``output`` tokens granted.

    ``at_ceiling``: the model broke its clamp before, so its own ceilings count, and at least what it then reported.
    """
    facts = ask.facts
    if not facts.metered:
        return WorstCase(output, 0, 0)
    tokens_in, tokens_out, least_nano = ask.input_bound, output, 0
    if at_ceiling:
        seen = ask.seen or PeakUsage(0, 0, 0)
        tokens_in = max(tokens_in, facts.context_window or UNKNOWN_CEILING, seen.input_tokens)
        tokens_out = max(output, facts.output_ceiling or UNKNOWN_CEILING, seen.output_tokens)
        least_nano = seen.nano
    nano = None
    if facts.price is not None:
        priced = worst_nano(facts.price, input_tokens=tokens_in, output_tokens=tokens_out)
        nano = min(max(priced, least_nano), MOST_AMOUNT)
    return WorstCase(output, nano, min(tokens_in + tokens_out, MOST_AMOUNT))


def judge(ask: Ask, states: tuple[LimitState, ...], *, at_ceiling: bool = False) -> WorstCase | Wait | Verdict:
    """Grant the most output that fits all limits, or return a wait, or the limit that refuses.

    A limit may be reached exactly (``<=``). Nothing is granted below ``ask.least``. A summary is granted at most a
    fifth of what is left of any limit, and only if the request after it still has room.
    """
    if not ask.facts.metered:
        return worst_case(ask, ask.most)
    if ask.purpose == "summary":
        dear = next((state for state in states if _is_too_dear(ask, state, at_ceiling=at_ceiling)), None)
        if dear is not None:
            return _refusal(ask, dear, doubtful=False, at_ceiling=at_ceiling)
    for state in states:
        if state.limit in RUN_LIMITS and state.ceiling and state.amounts.in_doubt * 2 >= state.ceiling:
            return _refusal(ask, state, doubtful=True, at_ceiling=at_ceiling)
    if at_ceiling:
        worst = worst_case(ask, ask.most, at_ceiling=True)
        tight = [r for r in states if r.ceiling is not None and _total_after(r, worst) + r.queued > r.ceiling]
        if not tight:
            return worst
        if all(_total_after(r, worst) - r.movable <= (r.ceiling or 0) for r in tight):
            return Wait("holds", 0.1, _refusal(ask, tight[0], doubtful=False, at_ceiling=True, queued=True))
        hard = next(r for r in tight if _total_after(r, worst) - r.movable > (r.ceiling or 0))
        return _refusal(ask, hard, doubtful=False, at_ceiling=True)
    allowed = [
        _most_output_in(ask, r, held=r.amounts.held, in_doubt=r.amounts.in_doubt, queued=r.queued) for r in states
    ]
    output = min([ask.most, *(a for a in allowed if a is not None)])
    if output >= ask.least:
        return worst_case(ask, output)
    tight = [r for r, a in zip(states, allowed, strict=True) if a is not None and a < ask.least]
    eased = [
        _most_output_in(ask, r, held=r.amounts.held - r.movable, in_doubt=r.amounts.in_doubt, queued=0) for r in tight
    ]
    if all(e is None or e >= ask.least for e in eased):
        return Wait("holds", 0.1, _refusal(ask, tight[0], doubtful=False, at_ceiling=False, queued=True))
    hard = next(r for r, e in zip(tight, eased, strict=True) if e is not None and e < ask.least)
    certain = [_most_output_in(ask, r, held=r.amounts.held - r.movable, in_doubt=0, queued=0) for r in tight]
    doubtful = all(c is None or c >= ask.least for c in certain)
    return _refusal(ask, hard, doubtful=doubtful, at_ceiling=False)


def _is_too_dear(ask: Ask, state: LimitState, *, at_ceiling: bool) -> bool:
    """Return whether a summary would take too much of a limit."""
    if state.ceiling is None:
        return False
    left = state.ceiling - state.amounts.total - state.queued
    asked = _amount_in(state, worst_case(ask, ask.most, at_ceiling=at_ceiling))
    behind = 0
    if ask.then is not None:
        following = ask._replace(input_bound=ask.then.input_bound)
        behind = _amount_in(state, worst_case(following, ask.then.output, at_ceiling=at_ceiling))
    return asked * SUMMARY_SHARE > left or asked + behind > left


def _amount_in(state: LimitState, worst: WorstCase) -> int:
    return {"nano_usd": worst.nano or 0, "tokens": worst.tokens, "calls": 1}[state.unit]


def _total_after(state: LimitState, worst: WorstCase) -> int:
    return state.amounts.total + _amount_in(state, worst)


def _refusal(ask: Ask, state: LimitState, *, doubtful: bool, at_ceiling: bool, queued: bool = False) -> Verdict:
    worst = worst_case(ask, ask.least, at_ceiling=at_ceiling)
    amounts = state.amounts
    return Verdict(
        limit=state.limit,
        unit=state.unit,
        ceiling=state.ceiling or 0,
        spent=amounts.spent,
        in_doubt=amounts.in_doubt,
        held=amounts.held,
        would_be=_total_after(state, worst) + (state.queued if queued else 0),
        doubtful=doubtful,
        run_id=state.run_id,
    )


def is_warning_due(amounts: Amounts, ceiling: int | None) -> bool:
    """Return whether spent + in doubt (not holds) has reached 80 % of a limit."""
    return ceiling is not None and ceiling > 0 and (amounts.spent + amounts.in_doubt) >= WARN_AT * ceiling
