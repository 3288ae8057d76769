"""The rules of the budget as pure functions: limits, wish, grant, verdict, and whether usage can be believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Literal, NamedTuple

from agentctl.errors import LimitName, Unit, Verdict
from agentctl.limits import FURTHER, OWN, CostLimit
from agentctl.messages import Completion, Usage
from agentctl.pricing import ModelFacts, Price, PriceOf, charge_nano, most_output, to_nano, worst_nano

Purpose = Literal["turn", "summary", "answer", "probe"]
ChargedBy = Literal["asked", "answered", "billed"]

WARN_AT = Decimal("0.8")


def ceiling_of(limits: CostLimit, limit: LimitName) -> int | None:
    """Return one ceiling in its own unit: nano-dollars, tokens or calls; None: there is none."""
    found = getattr(limits, limit)
    return to_nano(found) if isinstance(found, Decimal) else found


def further(limits: CostLimit) -> Mapping[LimitName, int]:
    """Return the ceilings that nobody has who does not ask for them, as far as they are set, in their own units."""
    return {name: found for name in FURTHER if (found := ceiling_of(limits, name)) is not None}


@dataclass(frozen=True, slots=True)
class Parent:
    """The run that a nested one belongs to, and the secret (capability) that lets it draw on that run's limits."""

    run_id: str
    capability: str = field(repr=False)


class Keep(NamedTuple):
    """What is set aside for a last answer, should a limit stop the run: tokens in and out.

    No output: nothing is set aside, and what was is given back.
    """

    input_bound: int
    output: int


@dataclass(frozen=True, slots=True)
class Ask:
    """What an attempt wants to reserve: the bound of its input and its wished output, in tokens.

    ``further`` are the ceilings, beside the hour's, of everyone's dollars (nano) and of the run's calls a minute.
    ``keep`` is what to set aside with it for a last answer; for the last answer itself, what it is exchanged for.
    ``then`` is what a summary must leave for the request behind it.
    ``can_count``: the input can be counted where ``input_bound`` is too much; ``counted_bound`` is what it came to,
    and ``is_counted`` whether that is the bound.
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
    further: Mapping[LimitName, int] = field(default_factory=dict)
    keep: Keep | None = None
    then: Keep | None = None
    can_count: bool = False
    counted_bound: int | None = None
    is_counted: bool = False


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


@dataclass(frozen=True, slots=True)
class Wait:
    """No answer yet: ask again after ``seconds``; ``verdict`` is what it comes to if nothing moves in time.

    ``reason`` "bound": nothing stands in the way but the bound itself; ask again with a counted one.
    """

    reason: Literal["holds", "provider", "bound"]
    seconds: float
    verdict: Verdict | None = None


class Charge(NamedTuple):
    """What an attempt cost, and what it was charged at; ``nano`` (nano-dollars) None: the price is unknown.

    ``model`` is the one that answered. ``by`` says what set the amount: the price of the asked or of the answering
    model, or what the provider says that it billed; None where nothing did. ``price`` is the dearest price that applied
    (under ``by`` "billed" it came to less), ``priced_model`` whose it is. ``tier`` is the service tier that served
    the request, "" for the usual one; ``hour_writes`` are the tokens among the cache writes that last an hour.
    """

    usage: Usage
    nano: int | None
    model: str | None = None
    by: ChargedBy | None = None
    price: Price | None = None
    priced_model: str | None = None
    tier: str = ""
    hour_writes: int = 0
    billed_nano: int | None = None


class Doubt(NamedTuple):
    """That nobody knows what an attempt cost. ``ceiling``: it broke its clamp, so the model's ceiling counts."""

    reason: str
    ceiling: bool = False
    provider_fault: bool = True


class Void(NamedTuple):
    """That an attempt surely cost nothing."""

    reason: str


Conclusion = Charge | Doubt | Void


def kind_of(conclusion: Conclusion) -> Literal["charge", "doubt", "void"]:
    """Name the kind of a conclusion."""
    match conclusion:
        case Charge():
            return "charge"
        case Doubt():
            return "doubt"
        case Void():
            return "void"


class Settlement(NamedTuple):
    """How an attempt stands in the book after it was settled; ``overrun`` if it cost more than its hold."""

    phase: Literal["settled", "void", "doubt"]
    nano: int | None
    tokens: int
    overrun: bool = False


class Amounts(NamedTuple):
    """Sums in one unit."""

    spent: int = 0
    in_doubt: int = 0
    held: int = 0

    @property
    def total(self) -> int:
        """Everything that counts against a limit."""
        return self.spent + self.in_doubt + self.held


class Spend(NamedTuple):
    """What counts now: of the run in nano-dollars and tokens, of the hour in nano-dollars; ``further`` by limit."""

    run_nano: Amounts
    run_tokens: Amounts
    hour_nano: Amounts
    further: Mapping[LimitName, Amounts] = MappingProxyType({})

    def of(self, limit: LimitName) -> Amounts:
        """Return what counts against one limit, in its own unit."""
        named = {
            "max_cost_per_task": self.run_nano,
            "max_tokens_per_task": self.run_tokens,
            "max_cost_per_hour": self.hour_nano,
        }
        return named.get(limit) or self.further.get(limit, Amounts())


@dataclass(frozen=True, slots=True)
class Room:
    """One limit as it stands inside the transaction, in its own unit.

    ``movable`` is the part of ``amounts.held`` that others will give back soon (held or sent, not kept);
    ``queued`` is what those who wait longer need. ``ceiling`` None: no such limit. ``run_id`` is the run whose limit it
    is; "" for a window that the asking process set itself.
    """

    limit: LimitName
    unit: Unit
    ceiling: int | None
    amounts: Amounts
    movable: int = 0
    queued: int = 0
    run_id: str = ""


class Worst(NamedTuple):
    """The worst case of an attempt; ``nano`` is None when the price is unknown (only without a dollar limit)."""

    output: int
    nano: int | None
    tokens: int


SUMMARY_SHARE = 5  # a summary takes at most this part of what is left
UNKNOWN_CEILING = 10_000_000  # tokens: what a model may do of which we know no ceiling, once it broke a clamp


def _fits(ask: Ask, room: Room, *, held: int, in_doubt: int, queued: int) -> int | None:
    """Return the most output tokens that ``room`` allows; None: no bound; negative: not even the input."""
    if room.ceiling is None:
        return None
    left = room.ceiling - room.amounts.spent - in_doubt - held - queued
    if room.unit == "tokens":
        return left - ask.input_bound
    if room.unit == "calls":
        return None if left > 0 else -1
    price = ask.facts.price
    if price is None:
        return -1
    return most_output(price, input_tokens=ask.input_bound, room_nano=left)


def worst_case(ask: Ask, output: int, *, at_ceiling: bool = False) -> Worst:
    """Return what the attempt costs at worst with ``output`` tokens granted.

    ``at_ceiling``: the model broke its clamp before, so its own ceilings are what it may do.
    """
    facts = ask.facts
    if not facts.metered:
        return Worst(output, 0, 0)
    tokens_in, tokens_out = ask.input_bound, output
    if at_ceiling:
        tokens_in = max(tokens_in, facts.context_window or UNKNOWN_CEILING)
        tokens_out = max(output, facts.output_ceiling or UNKNOWN_CEILING)
    nano = None if facts.price is None else worst_nano(facts.price, input_tokens=tokens_in, output_tokens=tokens_out)
    return Worst(output, nano, tokens_in + tokens_out)


def judge(ask: Ask, rooms: tuple[Room, ...], *, at_ceiling: bool = False) -> Worst | Wait | Verdict:
    """Grant the most output that fits all limits, or say to wait, or name the limit that refuses.

    A limit may be reached exactly (``<=``). Nothing is granted below ``ask.least``, and for a summary nothing that is
    more than a fifth of what is left of any limit, or in the way of the request behind it.
    """
    if not ask.facts.metered:
        return worst_case(ask, ask.most)
    if ask.purpose == "summary":
        dear = next((room for room in rooms if _is_dear(ask, room, at_ceiling=at_ceiling)), None)
        if dear is not None:
            return _refusal(ask, dear, doubtful=False, at_ceiling=at_ceiling)
    for room in rooms:
        if room.limit in OWN and room.ceiling and room.amounts.in_doubt * 2 >= room.ceiling:
            return _refusal(ask, room, doubtful=True, at_ceiling=at_ceiling)
    if at_ceiling:
        worst = worst_case(ask, ask.most, at_ceiling=True)
        tight = [r for r in rooms if r.ceiling is not None and _after(r, worst) + r.queued > r.ceiling]
        if not tight:
            return worst
        if all(_after(r, worst) - r.movable <= (r.ceiling or 0) for r in tight):
            return Wait("holds", 0.1, _refusal(ask, tight[0], doubtful=False, at_ceiling=True, queued=True))
        hard = next(r for r in tight if _after(r, worst) - r.movable > (r.ceiling or 0))
        return _refusal(ask, hard, doubtful=False, at_ceiling=True)
    allowed = [_fits(ask, r, held=r.amounts.held, in_doubt=r.amounts.in_doubt, queued=r.queued) for r in rooms]
    output = min([ask.most, *(a for a in allowed if a is not None)])
    if output >= ask.least:
        return worst_case(ask, output)
    tight = [r for r, a in zip(rooms, allowed, strict=True) if a is not None and a < ask.least]
    eased = [_fits(ask, r, held=r.amounts.held - r.movable, in_doubt=r.amounts.in_doubt, queued=0) for r in tight]
    if all(e is None or e >= ask.least for e in eased):
        return Wait("holds", 0.1, _refusal(ask, tight[0], doubtful=False, at_ceiling=False, queued=True))
    hard = next(r for r, e in zip(tight, eased, strict=True) if e is not None and e < ask.least)
    certain = [_fits(ask, r, held=r.amounts.held - r.movable, in_doubt=0, queued=0) for r in tight]
    doubtful = all(c is None or c >= ask.least for c in certain)
    return _refusal(ask, hard, doubtful=doubtful, at_ceiling=False)


def _is_dear(ask: Ask, room: Room, *, at_ceiling: bool) -> bool:
    """Whether a summary would take too much of a limit."""
    if room.ceiling is None:
        return False
    left = room.ceiling - room.amounts.total - room.queued
    asked = _asked(room, worst_case(ask, ask.most, at_ceiling=at_ceiling))
    behind = 0
    if ask.then is not None:
        following = replace(ask, input_bound=ask.then.input_bound)
        behind = _asked(room, worst_case(following, ask.then.output, at_ceiling=at_ceiling))
    return asked * SUMMARY_SHARE > left or asked + behind > left


def _asked(room: Room, worst: Worst) -> int:
    return {"nano_usd": worst.nano or 0, "tokens": worst.tokens, "calls": 1}[room.unit]


def _after(room: Room, worst: Worst) -> int:
    return room.amounts.total + _asked(room, worst)


def _refusal(ask: Ask, room: Room, *, doubtful: bool, at_ceiling: bool, queued: bool = False) -> Verdict:
    worst = worst_case(ask, ask.least, at_ceiling=at_ceiling)
    amounts = room.amounts
    return Verdict(
        limit=room.limit,
        unit=room.unit,
        ceiling=room.ceiling or 0,
        spent=amounts.spent,
        in_doubt=amounts.in_doubt,
        held=amounts.held,
        would_be=_after(room, worst) + (room.queued if queued else 0),
        doubtful=doubtful,
        run_id=room.run_id,
    )


def _whole(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**53


def believable(usage: Usage | None, facts: ModelFacts, *, answered: bool) -> bool:
    """Whether a usage report can be charged: whole numbers, parts within their wholes, input > 0, output > 0 if an
    answer came, nothing beyond the model's context and output ceilings.
    """
    if usage is None:
        return False
    numbers = (
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
    )
    if not all(map(_whole, numbers)) or usage.input_tokens == 0 or (answered and usage.output_tokens == 0):
        return False
    if usage.cached_input_tokens + usage.cache_write_tokens > usage.input_tokens:
        return False
    if usage.reasoning_tokens > usage.output_tokens:
        return False
    window, ceiling = facts.context_window or UNKNOWN_CEILING, facts.output_ceiling or UNKNOWN_CEILING
    return usage.input_tokens <= window and usage.output_tokens <= ceiling


class _Rate(NamedTuple):
    """A price that may apply to an answer, and whose it is."""

    by: ChargedBy
    model: str | None
    price: Price | None


def dearest_charge(usage: Usage, completion: Completion, facts: ModelFacts, price_of: PriceOf) -> Charge | None:
    """Return the charge for ``usage`` at the dearest price that may apply, or what was billed if that is more.

    Prices that may apply: of the asked and of the answering model, each in the usual service tier and in the one that
    served the request. None: nobody knows the price in that tier, so the usage does not say what it cost.
    """
    answered, tier = completion.model, completion.tier
    hour_writes = max(0, min(completion.hour_writes, usage.cache_write_tokens))
    charge = Charge(usage, None, answered, tier=tier, hour_writes=hour_writes, billed_nano=completion.billed_nano)
    usual = [_Rate("asked", facts.model, facts.price)]
    if answered is not None and answered != facts.model:
        usual.append(_Rate("answered", answered, price_of(answered)))
    tiered = [rate._replace(price=price_of(rate.model, tier=tier)) for rate in usual if tier and rate.model is not None]
    amounts = [
        (charge_nano(rate.price, usage, hour_writes=hour_writes), rate)
        for rate in (*usual, *tiered)
        if rate.price is not None
    ]
    if not amounts:
        return charge
    if tier and all(rate.price is None for rate in tiered):
        return None
    nano, rate = max(amounts, key=lambda amount: amount[0])
    billed = charge.billed_nano is not None and charge.billed_nano > nano
    return charge._replace(
        nano=charge.billed_nano if billed else nano,
        by="billed" if billed else rate.by,
        price=rate.price,
        priced_model=rate.model,
    )


def warned(amounts: Amounts, ceiling: int | None) -> bool:
    """Whether spent + in doubt (not holds) has reached 80 % of a limit."""
    return ceiling is not None and ceiling > 0 and (amounts.spent + amounts.in_doubt) >= WARN_AT * ceiling
