"""The hint after a breaker has tripped."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agentctl.budget.breaker import RefusalContext, breaker_info, refusal_error
from agentctl.core.errors import BudgetExceeded, LimitName, Unit, Verdict
from agentctl.core.pricing import ModelFacts
from agentctl.core.results import BreakerInfo


def trip(
    limit: LimitName, unit: Unit, ceiling: int, would_be: int, *, spent: int = 0, free_at: datetime | None = None
) -> BudgetExceeded:
    verdict = Verdict(limit, unit, ceiling, spent, 0, 0, would_be, free_at=free_at)
    return BudgetExceeded("x", verdict=verdict, hint="look at the price")


@pytest.mark.parametrize(
    ("ceiling", "would_be", "flag"),
    [
        (500_000_000, 500_000_001, "1.00"),
        (0, 1, "0.000000001"),
        (45_000_000, 46_000_000, "0.09"),
        (100_000, 200_000, "0.00020"),
        (1_000_000, 9_999_999, "0.01"),
        (500_000_000, 7_123_000_000, "7.13"),
        (123_456_000_000, 1, "246.92"),
    ],
)
def test_the_suggested_limit_is_double_or_enough_and_rounded_up(ceiling: int, would_be: int, flag: str) -> None:
    info = breaker_info(trip("max_cost_per_task", "nano_usd", ceiling, would_be), task="go")
    assert info.hint == f"agentctl run --max-cost {flag} go"


def test_tokens_are_suggested_in_thousands() -> None:
    info = breaker_info(trip("max_tokens_per_task", "tokens", 1_200, 1_300), task="why, 'oh why'?")
    assert info.hint == """agentctl run --max-tokens 3000 'why, '"'"'oh why'"'"'?'"""


def test_a_window_says_on_which_day_and_when_there_is_room_again() -> None:
    at = datetime(2026, 11, 22, 13, 5, 7, tzinfo=UTC)
    info = breaker_info(trip("max_cost_per_hour", "nano_usd", 10**10, 10**10 + 5, spent=10**10, free_at=at), task="go")
    hint = "agentctl run --max-cost-per-hour 20.00 go   (or wait until 2026-11-22 13:05:07 UTC)"
    assert info == BreakerInfo("max_cost_per_hour", "nano_usd", 10**10, 10**10, 0, 10**10 + 5, at, hint)
    verdict = Verdict("max_cost_per_month", "nano_usd", 10**10, 10**10, 0, 0, 10**10 + 5, free_at=at)
    assert refusal_error(verdict, ModelFacts("p", "m")).hint.endswith("or wait until 2026-11-22 13:05:07 UTC")


@pytest.mark.parametrize("task", ["x" * 201, "two\nlines", "\x1b[2J"])
def test_a_task_that_cannot_be_pasted_is_left_out(task: str) -> None:
    hint = breaker_info(trip("max_cost_per_task", "nano_usd", 10**9, 10**9 + 1), task=task).hint
    assert hint == "run the task again with --max-cost 2.00"


def test_an_overrun_hints_at_no_higher_limit() -> None:
    verdict = Verdict("max_cost_per_task", "nano_usd", 50, 9, 0, 0, 9, hold=5, charge=9)
    error = BudgetExceeded("x", verdict=verdict, hint="look at the price")
    hint = "look at the price"
    assert breaker_info(error, task="go") == BreakerInfo(
        "max_cost_per_task", "nano_usd", 50, 9, 0, 9, None, hint, hold=5, charge=9
    )


@pytest.mark.parametrize("in_doubt", [0, 90])
def test_the_limit_of_a_lease_is_no_runs_and_cannot_be_raised(in_doubt: int) -> None:
    verdict = Verdict("max_cost_per_lease", "nano_usd", 100, 0, in_doubt, 0, 200, in_doubt > 0, run_id="lease-a-1")
    error = refusal_error(verdict, ModelFacts("p", "m"), RefusalContext("run"))
    assert error.message.startswith("max_cost_per_lease is $0.0000001; the next call could make it $0.000001")
    assert "raise " not in error.hint.replace("cannot be raised", "")
    trip = BudgetExceeded(error.message, verdict=verdict, hint=error.hint)
    info = breaker_info(trip, task="go", run_id="run")
    assert (info.hint, info.run_id) == (
        "a lease cannot be raised; how a job gets a larger share: agentctl help fleet",
        "",
    )
