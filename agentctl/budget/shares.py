"""Split an amount over jobs, exactly: the shares add up to the whole, to the nano-dollar. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from agentctl.core.errors import UsageError

MOST_JOBS = 1_000
_MOST_EXPONENT = 18


def split_amount(total_nano: int, weights: Sequence[Decimal]) -> tuple[int, ...]:
    """Return one share for each weight, proportional to it, in nano-dollars; together they are ``total_nano``.

    Each share is rounded down; what is left goes, one nano-dollar each, to those that lost most by that, the first
    ones first.

    Raises:
        UsageError: there is no job or too many, a weight is not above 0 or out of range, or a share would be nothing.
    """
    if not 1 <= len(weights) <= MOST_JOBS:
        raise UsageError(f"a budget is split over 1 to {MOST_JOBS:,} jobs, not {len(weights):,}")
    if any(not weight.is_finite() or weight <= 0 for weight in weights):
        raise UsageError("a weight must be a number above 0", hint="for example: --weights 1,1,2.5")
    if any(abs(weight.adjusted()) > _MOST_EXPONENT for weight in weights):  # a fraction would need all its digits
        raise UsageError(f"a weight must be between 1e-{_MOST_EXPONENT} and 1e{_MOST_EXPONENT}")
    whole = sum(map(Fraction, weights))
    exact = [total_nano * Fraction(weight) / whole for weight in weights]
    shares = [int(one) for one in exact]
    left = total_nano - sum(shares)
    by_loss = sorted(range(len(shares)), key=lambda place: (shares[place] - exact[place], place))
    for place in by_loss[:left]:
        shares[place] += 1
    if min(shares) < 1:
        raise UsageError("the total is too small: a job would get nothing", hint="raise --total, or use fewer jobs")
    return tuple(shares)
