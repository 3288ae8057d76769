"""Describe what a breaker refuses: the limit, both numbers, when it is free again, and a hint. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from decimal import ROUND_CEILING, Decimal
from typing import NamedTuple

from agentctl.budget.conclusions import Charge, Settlement
from agentctl.budget.rules import Hold, Spend, Wait, ceiling_of, extra_ceilings
from agentctl.core.errors import (
    AgentctlError,
    BudgetExceeded,
    LimitName,
    ProviderUnavailable,
    Unit,
    UnknownPrice,
    Verdict,
)
from agentctl.core.limits import RUN_LIMITS, WINDOWS, CostLimit, has_dollar_limit
from agentctl.core.messages import Completion
from agentctl.core.pricing import ModelFacts, price_command, price_config_lines, to_usd
from agentctl.core.results import BreakerInfo, LimitUse
from agentctl.core.substitutes import Substitute

_FLAGS = {"max_cost_per_task": "--max-cost", "max_tokens_per_task": "--max-tokens"}
_MOST_TO_PASTE = 200
_LEASE_IS_FIXED = "a lease cannot be raised; how a job gets a larger share: agentctl help fleet"
RUN_AGAIN = "run the task again with "
OR_WAIT = "   (or wait until "
UNITS: Mapping[LimitName, Unit] = {"max_tokens_per_task": "tokens", "max_calls_per_minute": "calls"}


class RefusalContext(NamedTuple):
    """The run's part of a refusal: nano-dollars in doubt (None: no price), and the last failed call's message."""

    run_id: str = ""
    in_doubt_nano: int | None = 0
    last_failure: str = ""


NO_CONTEXT = RefusalContext()


class DoubtExceeded(ProviderUnavailable):
    """Amounts in doubt leave no room under a limit, so an immediate retry would not help."""

    retryable = False


class NotRecovered(DoubtExceeded):
    """The provider is paused after failed calls, and did not recover in the time that a call waits for it."""


class Overrun(BudgetExceeded):
    """A call cost more than its hold; the run ends in any case."""


class ClampExceeded(ProviderUnavailable):
    """The provider exceeded the clamp; a retry would cost again."""

    retryable = False


def _flag_of(limit: LimitName) -> str:
    """Return the flag that sets a limit."""
    return "--" + limit.replace("_", "-")


def format_amount(amount: int, unit: Unit, *, exact: bool = False) -> str:
    """Return an amount of dollars, tokens or calls as text; unless ``exact``, dollars are rounded up to six decimals.

    Rounding up means that an amount above a ceiling never reads the same as the ceiling.
    """
    if unit != "nano_usd":
        return f"{amount:,} {unit.removesuffix('s') if amount == 1 else unit}"
    usd = to_usd(amount)
    dollars = (usd if exact else usd.quantize(Decimal("0.000001"), ROUND_CEILING)).normalize()
    return f"${dollars:.2f}" if dollars == round(dollars, 2) else f"${dollars:f}"


def _format_ceiling(verdict: Verdict, above: str = "") -> str:
    """Return a limit's ceiling as text, to the nano-dollar: ``max_cost_per_task is $0.50``.

    ``above`` is the run that has the limit, if it is not the one that asked.
    """
    name = f"{verdict.limit} of run {above}" if above else verdict.limit
    if verdict.ceiling is None:
        return f"{name} is not set"
    return f"{name} is {format_amount(verdict.ceiling, verdict.unit, exact=True)}"


def _run_above(verdict: Verdict, run_id: str) -> str:
    """Return the run above ``run_id`` whose limit refused, "" if the limit is its own or the asking run is unknown.

    A lease is no run.
    """
    is_own = verdict.run_id == run_id or not run_id or verdict.limit == "max_cost_per_lease"
    return "" if is_own else verdict.run_id


def refuse_unbounded(facts: ModelFacts, limits: CostLimit, *, near: str = "") -> None:
    """Refuse a model without price or bound under a dollar limit; ``near`` asks whether another model was meant.

    Raises:
        UnknownPrice: the model has no price, or its cost has no bound.
    """
    if not facts.metered or not has_dollar_limit(limits):
        return
    name = f"{facts.provider}/{facts.model}"
    if facts.unbounded is not None:
        raise UnknownPrice(
            f"the cost of {name} has no upper bound ({facts.unbounded}), and a dollar limit is set",
            hint=f"choose another model, or {_lift_all_hint(limits)}",
        )
    if facts.price is None:
        raise UnknownPrice(
            f"the price of {name} is unknown, and a dollar limit is set",
            hint=(f"{near}   Otherwise add" if near else "add")
            + f" its prices, in dollars per million tokens: {price_command(name)}   (or {_lift_all_hint(limits)})"
            f"   A file for --config takes them at its end:\n{price_config_lines(name)}",
        )


def unpriced_error(facts: ModelFacts, substitute: Substitute, limits: Collection[LimitName]) -> UnknownPrice:
    """Return the error for a model in whose place one of unknown price answered; ``limits`` are those in dollars."""
    clear = f"agentctl ledger reconcile --clear-substitute {shlex.quote(facts.name)}"
    name = f"{facts.provider}/{substitute.model}"
    return UnknownPrice(
        f"{facts.name_and_address} was answered by {substitute.name}, whose price is unknown,"
        " and a dollar limit is set",
        hint=f"if it no longer answers: {clear}   Otherwise add its prices, in dollars per million tokens:"
        f" {price_command(name)}   (or {_lift_hint(limits)})"
        f"   A file for --config takes them at its end:\n{price_config_lines(name)}",
    )


def _lift_all_hint(limits: CostLimit) -> str:
    names: tuple[LimitName, ...] = ("max_cost_per_task", *WINDOWS)
    return _lift_hint([name for name in names if getattr(limits, name) is not None])


def _lift_hint(limits: Collection[LimitName]) -> str:
    flags = dict.fromkeys(f"{_FLAGS.get(name, _flag_of(name))} none" for name in limits)
    return f"disable the dollar limits: {' '.join(flags)}"


def refusal_error(verdict: Verdict, facts: ModelFacts, so_far: RefusalContext = NO_CONTEXT) -> AgentctlError:
    """Return the error for a refusal: the budget's, or the provider's when amounts in doubt are the cause."""
    above = _run_above(verdict, so_far.run_id)
    would_be = format_amount(verdict.would_be, verdict.unit)
    said = f"{_format_ceiling(verdict, above)}; the next call could make it {would_be}"
    flag = f"{_flag_of(verdict.limit)} of run {above}, which this run belongs to" if above else _flag_of(verdict.limit)
    if verdict.doubtful:
        raised = "" if verdict.limit == "max_cost_per_lease" else f" or raise {flag}"
        last, doubt = _quote_failure(so_far.last_failure), format_amount(verdict.in_doubt, verdict.unit)
        said += f", of which {doubt} is in doubt"
        if verdict.ceiling is not None and verdict.would_be <= verdict.ceiling:  # it fits: there is too much doubt
            said = f"{_format_ceiling(verdict, above)}; half or more of it, {doubt}, is in doubt"
        return DoubtExceeded(
            f"{said} after failed calls{last}",
            hint=f"check that {facts.name_and_address} works again, then retry{raised}; "
            + _release_hint(facts.provider, so_far.run_id, of_others=_is_of_others(verdict, so_far)),
            billed="no",
        )
    free = f", or wait until {verdict.free_at:%Y-%m-%d %H:%M:%S} UTC" if verdict.free_at else ""
    hint = _LEASE_IS_FIXED if verdict.limit == "max_cost_per_lease" else f"raise {flag}{free}"
    return BudgetExceeded(said, verdict=verdict, hint=hint)


def wait_error(waited: Wait, facts: ModelFacts, so_far: RefusalContext = NO_CONTEXT) -> AgentctlError:
    """Return the error for a wait that ended without a grant."""
    if waited.verdict is not None:
        return refusal_error(waited.verdict, facts, so_far)
    said = f"{facts.name_and_address} did not recover after failed calls{_quote_failure(so_far.last_failure)}"
    hint = "try again later"
    if so_far.in_doubt_nano != 0:
        hint += f"; {_release_hint(facts.provider, so_far.run_id)}"
    return NotRecovered(said, hint=hint, billed="no")


def _is_of_others(verdict: Verdict, so_far: RefusalContext) -> bool:
    """Return whether amounts of other runs may be in doubt under the limit, too."""
    if verdict.limit in RUN_LIMITS and not _run_above(verdict, so_far.run_id):
        return False
    return so_far.in_doubt_nano is None or verdict.in_doubt > so_far.in_doubt_nano


def _release_hint(provider: str, run_id: str, *, of_others: bool = False) -> str:
    """Return the hint that frees amounts in doubt; the command comes last, so that it can be pasted as it is."""
    command = "agentctl ledger reconcile"
    if of_others:
        lists = "agentctl ledger check   lists what other runs have in doubt"
        nothing = f"if {provider} billed none of it, at any address"
        return f"{lists}; {nothing}: {command} --provider {shlex.quote(provider)} --actual 0"
    return f"if {provider} shows that nothing was billed: {command} --run {run_id} --actual 0"


def _quote_failure(last: str) -> str:
    return f" (last failure: {last})" if last else ""


def pricier_substitute(charge: Charge, *, input_bound: int, granted_output: int) -> Substitute | None:
    """Return the model that answered in place of the requested one, if its price alone put the charge above the hold.

    None: the tokens exceed the hold, or something other than that price set the charge.
    """
    within = charge.usage.input_tokens <= input_bound and charge.usage.output_tokens <= granted_output
    by_price = charge.by in ("answered", None) and charge.substitute is not None and charge.substitute.price is not None
    return charge.substitute if within and by_price and not charge.breaks_hold else None


def overrun_error(
    hold: Hold,
    settlement: Settlement,
    completion: Completion,
    facts: ModelFacts,
    charge: Charge | None = None,
    *,
    limits: CostLimit,
    spend: Spend,
    substitute: Substitute | None = None,
) -> Overrun:
    """Return the error for a charge above its hold, with the paid answer as its partial result.

    ``charge`` is the reported one, None without a report. ``spend`` is what counts against ``limits``, the charge
    included. ``substitute`` is the model that answered without a report, in place of the requested one.
    """
    verdict = _overrun_verdict(hold, settlement, limits, spend)
    cost = format_amount(verdict.charge or 0, verdict.unit)
    held = format_amount(verdict.hold or 0, verdict.unit, exact=True)
    said = f"reported {cost} for a call with a hold of {held}; it is recorded in full"
    if charge is not None and charge.capped:
        said = f"reported more than the ledger can store for a call with a hold of {held}; {cost} is recorded"
    elif charge is not None and (verdict.charge or 0) <= (verdict.hold or 0):
        said = f"reported {_describe_breach(hold, charge)}; its {cost} is recorded in full"
    elif charge is None:
        said = f"may have charged {cost} for a call with a hold of {held}; it counts in full"
    if completion.fee:
        said = f"charged for a service that was not requested, {completion.fee}; the model's ceiling counts, {cost}"
    used = format_amount(verdict.spent + verdict.in_doubt, verdict.unit)
    bounds = {"input_bound": hold.input_bound, "granted_output": hold.granted_output}
    substitute = substitute if charge is None else pricier_substitute(charge, **bounds)
    hint = "check the model's price and whether the provider respects max_tokens; the model's ceiling is held until: "
    clear = "--clear-overrun"
    if substitute is not None:
        said += f" ({substitute.name} answered in place of {facts.name})"
        hint = f"ask a model by its own name; {facts.name} is held at the price of {substitute.name} until: "
        clear = "--clear-substitute"
    return Overrun(
        f"provider_overrun: {facts.provider} {said}; {_format_ceiling(verdict)}, and {used} counts as spent",
        verdict=verdict,
        hint=f"{hint}agentctl ledger reconcile {clear} {shlex.quote(facts.name)}",
        partial=completion.text,
    )


def _describe_breach(hold: Hold, charge: Charge) -> str:
    """Describe the assumption of a hold that a report breaks, although the whole hold covers it."""
    used, clamp = charge.usage, hold.granted_output
    if used.output_tokens > clamp:
        return f"{format_amount(used.output_tokens, 'tokens')} of output for a max_tokens of {clamp:,}"
    return f"{format_amount(used.input_tokens, 'tokens')} of input for a request of at most {hold.input_bound:,}"


def _overrun_verdict(hold: Hold, settlement: Settlement, limits: CostLimit, spend: Spend) -> Verdict:
    """Return the verdict on an overrun, against the run's first limit in its unit; dollars come before tokens."""
    nano, over_tokens = settlement.nano, settlement.tokens > hold.tokens
    in_dollars = nano is not None and hold.nano is not None and (nano > hold.nano or not over_tokens)
    unit: Unit = "nano_usd" if in_dollars else "tokens"
    names: tuple[LimitName, ...] = ("max_cost_per_task", *WINDOWS) if in_dollars else ("max_tokens_per_task",)
    limit = next((name for name in names if ceiling_of(limits, name) is not None), names[0])
    amounts = spend.of(limit)
    return Verdict(
        limit,
        unit,
        ceiling=ceiling_of(limits, limit),
        spent=amounts.spent,
        in_doubt=amounts.in_doubt,
        held=amounts.held,
        would_be=amounts.total,
        hold=hold.nano if in_dollars else hold.tokens,
        charge=nano if in_dollars else settlement.tokens,
    )


def limit_uses(limits: CostLimit, spend: Spend) -> tuple[LimitUse, ...]:
    """Return each limit and how much of it is used: spent + in doubt, without holds."""
    names: tuple[LimitName, ...] = (
        "max_cost_per_task",
        "max_cost_per_hour",
        "max_tokens_per_task",
        *extra_ceilings(limits),
    )
    return tuple(
        LimitUse(
            name, UNITS.get(name, "nano_usd"), ceiling_of(limits, name), spend.of(name).spent + spend.of(name).in_doubt
        )
        for name in names
    )


def breaker_info(
    error: BudgetExceeded,
    *,
    task: str,
    set_by: str | None = None,
    run_id: str = "",
    with_data: bool = False,
    goes_on: bool = False,
) -> BreakerInfo:
    """Return why a breaker of ``run_id`` tripped, with a hint; ``set_by`` is the file that tightened its limit.

    ``with_data``: the run had data, so a command to paste must say that it needs the same data. ``goes_on``: it is a
    resumed run, whose task run again would be paid for again.
    """
    verdict = error.verdict
    above = _run_above(verdict, run_id)
    wait = f"{OR_WAIT}{verdict.free_at:%Y-%m-%d %H:%M:%S} UTC)" if verdict.free_at is not None else ""
    flag = _FLAGS.get(verdict.limit, _flag_of(verdict.limit))
    if verdict.charge is not None:  # an overrun: a higher limit would not help
        hint = error.hint
    elif verdict.limit == "max_cost_per_lease":
        hint = _LEASE_IS_FIXED
    elif above:  # no flag of this run would help
        hint = f"restart run {above} with {flag} {_higher_limit(verdict)}: this run draws on its limit{wait}"
    elif set_by is not None and verdict.ceiling is not None:
        lowered = format_amount(verdict.ceiling, verdict.unit, exact=True)
        hint = f"{verdict.limit} was lowered to {lowered} by {set_by}: raise it there"
    else:
        raised = f"{flag} {_higher_limit(verdict)}"
        can_be_pasted = len(task) <= _MOST_TO_PASTE and task.isprintable() and not with_data
        again = f"agentctl run {raised} {shlex.quote(task)}" if can_be_pasted else f"{RUN_AGAIN}{raised}"
        again = f"agentctl run --resume {run_id} {raised}" if goes_on else again
        again += " and the same data" if with_data else ""
        hint = f"{again}{wait}"
    return BreakerInfo(
        limit=verdict.limit,
        unit=verdict.unit,
        ceiling=verdict.ceiling,
        spent=verdict.spent + verdict.in_doubt,
        held=verdict.held,
        would_be=verdict.would_be,
        free_at=verdict.free_at,
        hint=hint,
        hold=verdict.hold,
        charge=verdict.charge,
        run_id=above,
    )


def _higher_limit(verdict: Verdict) -> str:
    """Return a sufficient limit: twice the ceiling, or what the next call needs if that is more; rounded up."""
    most = max(2 * (verdict.ceiling or 0), verdict.would_be)
    if verdict.unit != "nano_usd":
        step = 1000 if verdict.unit == "tokens" else 1
        return str(-(-most // step) * step)
    dollars = to_usd(most)
    cents, digits = Decimal("0.01"), Decimal(1).scaleb(max(-9, min(-2, dollars.adjusted() - 1)))
    rounded = dollars.quantize(digits, ROUND_CEILING)
    return f"{rounded.quantize(cents) if rounded == rounded.quantize(cents) else rounded:f}"


def reason_line(error: BaseException) -> str:
    """Return an error as one line for the ledger; "interrupted" for anything but an ``Exception``."""
    if not isinstance(error, Exception):
        return "interrupted"
    return (str(error) or type(error).__name__).splitlines()[0]


def error_kind(error: BaseException) -> str:
    """Return the kind of an error as events have it; "interrupted" for anything but an ``Exception``."""
    if isinstance(error, AgentctlError):
        return error.kind
    return "internal" if isinstance(error, Exception) else "interrupted"
