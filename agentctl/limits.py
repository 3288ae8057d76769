"""The ceilings of a run, as a user gives them."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal
from math import isfinite
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agentctl.errors import UsageError

Dollars = Annotated[Decimal, Field(ge=0, allow_inf_nan=False, max_digits=15, decimal_places=9)]


class CostLimit(BaseModel):
    """The ceilings of a run, in US dollars and tokens (input and output); None lifts one.

    ``max_cost_per_hour`` binds this process over the spending of everyone on the same ledger. Amounts are exact: 0.1 is
    0.1; what a float has beyond nine decimal places is cut off, so that no limit is made larger.

    Raises:
        UsageError: an amount is negative or no number, or tokens are no whole number.

    >>> CostLimit(max_cost_per_task=0.1, max_cost_per_hour=20.0)
    CostLimit(max_cost_per_task=Decimal('0.1'), max_cost_per_hour=Decimal('20.0'), max_tokens_per_task=100000)
    >>> CostLimit(max_tokens_per_task=None).max_tokens_per_task is None
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    max_cost_per_task: Dollars | None = Decimal("0.50")
    max_cost_per_hour: Dollars | None = Decimal("10.0")
    max_tokens_per_task: Annotated[int, Field(ge=0, le=10**15)] | None = 100_000

    def __init__(
        self,
        *,
        max_cost_per_task: Decimal | float | str | None = Decimal("0.50"),
        max_cost_per_hour: Decimal | float | str | None = Decimal("10.0"),
        max_tokens_per_task: int | None = 100_000,
    ) -> None:
        try:
            super().__init__(
                max_cost_per_task=_exact(max_cost_per_task),
                max_cost_per_hour=_exact(max_cost_per_hour),
                max_tokens_per_task=max_tokens_per_task,
            )
        except ValidationError as error:
            wrong = error.errors()[0]
            name = str(wrong["loc"][0])
            allowed = (
                "a whole number of tokens" if name == "max_tokens_per_task" else "dollars with nine decimal places"
            )
            raise UsageError(
                f"{name} cannot be {wrong['input']!r}", hint=f"give {allowed}, 0 or more; None lifts it"
            ) from None


def _exact(dollars: Decimal | float | str | None) -> object:
    """Return what a float is written as, to the nano-dollar below; a truth value is no amount."""
    if isinstance(dollars, bool):
        return str(dollars)
    if not isinstance(dollars, float) or not isfinite(dollars):
        return dollars
    amount = Decimal(str(dollars))
    return amount if int(amount.as_tuple().exponent) >= -9 else amount.quantize(Decimal("1e-9"), ROUND_FLOOR)
