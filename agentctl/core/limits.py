"""The ceilings of a run in dollars, tokens and calls, as a user sets them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR, Decimal
from math import isfinite
from types import MappingProxyType
from typing import Annotated, NamedTuple

from agentctl.core.errors import LimitName, UsageError
from agentctl.core.late_modules import late_modules

with late_modules({"secrets": ()}):  # pydantic compares secret values with it; it loads OpenSSL
    from pydantic import BaseModel, ConfigDict, Field, ValidationError

Dollars = Annotated[Decimal, Field(ge=0, allow_inf_nan=False, max_digits=15, decimal_places=9)]

#: The limits over everyone on one ledger, and the seconds for which an amount counts after it was settled.
WINDOWS: Mapping[LimitName, int] = MappingProxyType(
    {
        "max_cost_per_minute": 60,
        "max_cost_per_hour": 3600,
        "max_cost_per_day": 24 * 3600,
        "max_cost_per_month": 30 * 24 * 3600,
    }
)

#: The limits of one run, independent of other runs.
RUN_LIMITS: tuple[LimitName, ...] = ("max_cost_per_task", "max_tokens_per_task", "max_calls_per_minute")

#: Limits that are off unless they are set.
OPTIONAL_LIMITS: tuple[LimitName, ...] = (
    "max_cost_per_minute",
    "max_cost_per_day",
    "max_cost_per_month",
    "max_calls_per_minute",
)


class CostLimit(BaseModel):
    """The ceilings of a run, in US dollars and tokens (input and output); None lifts one.

    ``max_cost_per_hour`` limits this process by the spending of all processes on the same ledger. So do the limits of a
    minute, a day (24 hours) and a month (30 days). They are rolling windows: nothing resets at midnight.
    ``max_calls_per_minute`` counts the requests of the run itself. Amounts are exact: 0.1 is 0.1; a float's digits
    beyond nine decimal places are cut off, so that no limit becomes larger.

    Raises:
        UsageError: an amount is negative or not a number, or tokens or calls are not a whole number.

    >>> CostLimit(max_cost_per_task=0.1, max_cost_per_hour=20.0)
    CostLimit(max_cost_per_task=Decimal('0.1'), max_cost_per_hour=Decimal('20.0'), max_tokens_per_task=100000)
    >>> CostLimit(max_tokens_per_task=None).max_tokens_per_task is None
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    max_cost_per_task: Dollars | None = Decimal("0.50")
    max_cost_per_hour: Dollars | None = Decimal("10.0")
    max_tokens_per_task: Annotated[int, Field(ge=0, le=10**15)] | None = 100_000
    max_cost_per_minute: Dollars | None = None
    max_cost_per_day: Dollars | None = None
    max_cost_per_month: Dollars | None = None
    max_calls_per_minute: Annotated[int, Field(ge=0, le=10**9)] | None = None

    def __init__(
        self,
        *,
        max_cost_per_task: Decimal | float | str | None = Decimal("0.50"),
        max_cost_per_hour: Decimal | float | str | None = Decimal("10.0"),
        max_tokens_per_task: int | None = 100_000,
        max_cost_per_minute: Decimal | float | str | None = None,
        max_cost_per_day: Decimal | float | str | None = None,
        max_cost_per_month: Decimal | float | str | None = None,
        max_calls_per_minute: int | None = None,
    ) -> None:
        try:
            super().__init__(
                max_cost_per_task=_exact(max_cost_per_task),
                max_cost_per_hour=_exact(max_cost_per_hour),
                max_tokens_per_task=max_tokens_per_task,
                max_cost_per_minute=_exact(max_cost_per_minute),
                max_cost_per_day=_exact(max_cost_per_day),
                max_cost_per_month=_exact(max_cost_per_month),
                max_calls_per_minute=max_calls_per_minute,
            )
        except ValidationError as error:
            wrong = error.errors()[0]
            name = str(wrong["loc"][0])
            counted = {"max_tokens_per_task": "tokens", "max_calls_per_minute": "calls"}.get(name)
            allowed = f"a whole number of {counted}" if counted else "dollars with nine decimal places"
            raise UsageError(
                f"{name} cannot be {wrong['input']!r}", hint=f"give {allowed}, 0 or more; None disables it"
            ) from None

    def __repr_args__(self) -> Iterator[tuple[str, object]]:
        return ((name, value) for name, value in self if value is not None or name not in OPTIONAL_LIMITS)


@dataclass(frozen=True, slots=True)
class Parent:
    """The run that a nested one belongs to, and the secret (capability) that lets it draw on that run's limits.

    ``most_runs`` may be on the path to the nested run, itself and the outermost included; None: as many as the ledger
    takes. ``lease_id`` is the lease that must be above it; "": any lease; None: none is required.
    """

    run_id: str
    capability: str = field(repr=False)
    most_runs: int | None = None
    lease_id: str | None = None


class Initiator(NamedTuple):
    """Who runs a process that spends: the user, and the run of a CI system; "" where that is not known."""

    user_name: str = ""
    ci_run: str = ""


def has_dollar_limit(limits: CostLimit) -> bool:
    """Return whether any dollar limit is set."""
    return any(getattr(limits, name) is not None for name in ("max_cost_per_task", *WINDOWS))


def limit_settings(limits: CostLimit) -> Mapping[str, object]:
    """Return the ceilings as settings: an unset one becomes "none", except those of ``OPTIONAL_LIMITS``."""
    given = {name: value for name, value in limits if value is not None or name not in OPTIONAL_LIMITS}
    return {name: "none" if value is None else value for name, value in given.items()}


def _exact(dollars: Decimal | float | str | None) -> object:
    """Return a float as an exact decimal, rounded down to nano-dollars; a bool is rejected."""
    if isinstance(dollars, bool):
        return str(dollars)
    if not isinstance(dollars, float) or not isfinite(dollars):
        return dollars
    amount = Decimal(str(dollars))
    return amount if int(amount.as_tuple().exponent) >= -9 else amount.quantize(Decimal("1e-9"), ROUND_FLOOR)
