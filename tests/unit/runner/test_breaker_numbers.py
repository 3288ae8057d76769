"""Every trip names the run's own limit and the sum against it, and labels a hold or a charge as such."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agentctl.budget.breaker import breaker_info, refusal_error
from agentctl.cli.documents import breaker_document
from agentctl.core.errors import BudgetExceeded, LimitName, Verdict
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Completion, Usage
from agentctl.core.pricing import Price, charge_nano
from agentctl.ledger import SqliteLedger
from tests.support.model_calls import ANSWER, FACTS, HELLO, PRICE, Desk

NONE = CostLimit(max_cost_per_task=None, max_cost_per_hour=None, max_tokens_per_task=None)
CENT = 10_000_000
HALF = replace(ANSWER, usage=Usage(1_000, 300))
SPENT = charge_nano(PRICE, Usage(1_000, 300))
DEAR = Price(Decimal(100), Decimal(1000))


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    ledger = SqliteLedger(tmp_path / "ledger.db", pause_s=0.01)
    yield Desk(ledger)
    await ledger.aclose()


def limits(**named: object) -> CostLimit:
    return NONE.model_copy(update=named)


def last_row(desk: Desk) -> tuple[int, int, int, int]:
    """Return what was held for the last attempt, and what it counts, in nano-dollars and tokens."""
    with closing(sqlite3.connect(desk.ledger.path)) as db:
        found = db.execute("SELECT hold_nano, hold_tokens, nano, tokens FROM attempts ORDER BY rowid DESC").fetchone()
    return (*map(int, found),)  # type: ignore[return-value]


async def trip(desk: Desk, *script: Completion, asks: int = 2, **more: Any) -> BudgetExceeded:  # noqa: ANN401
    """Ask until a breaker trips."""
    calls = await desk.calls(*script, **more)
    for _ in range(asks - 1):
        await calls.ask(HELLO)
    with pytest.raises(BudgetExceeded) as caught:
        await calls.ask(HELLO)
    return caught.value


def document_of(error: BudgetExceeded) -> dict[str, object]:
    return dict(breaker_document(breaker_info(error, task="go")))


@pytest.mark.parametrize("limit", ["max_cost_per_task", "max_cost_per_hour", "max_cost_per_day", "max_cost_per_month"])
async def test_a_refusal_in_dollars_has_the_limit_and_the_sum_with_the_next_call(desk: Desk, limit: LimitName) -> None:
    error = await trip(desk, HALF, limits=limits(**{limit: Decimal("0.005")}))
    verdict = error.verdict
    assert (verdict.limit, verdict.ceiling, verdict.spent, verdict.in_doubt) == (limit, 5_000_000, SPENT, 0)
    assert verdict.would_be > 5_000_000
    assert (verdict.hold, verdict.charge) == (None, None)
    assert error.message.startswith(f"{limit} is $0.005; the next call could make it $0.00")
    found = document_of(error)
    assert (found["limit"], found["ceiling"], found["spent"]) == (limit, 0.005, SPENT / 10**9)
    assert (found["held"], found["would_be"]) == (0.0, verdict.would_be / 10**9)
    assert (found["hold"], found["charge"]) == (None, None)


async def test_a_refusal_in_tokens_has_the_limit_and_the_sum_with_the_next_call(desk: Desk) -> None:
    verdict = (await trip(desk, HALF, limits=limits(max_tokens_per_task=1_500))).verdict
    assert (verdict.limit, verdict.unit, verdict.ceiling, verdict.spent) == (
        "max_tokens_per_task",
        "tokens",
        1_500,
        1_300,
    )
    assert verdict.would_be > 1_500


async def test_a_refusal_in_calls_has_the_limit_and_the_calls_with_the_next_one(desk: Desk) -> None:
    verdict = (await trip(desk, ANSWER, limits=limits(max_calls_per_minute=1))).verdict
    assert (verdict.limit, verdict.unit, verdict.ceiling) == ("max_calls_per_minute", "calls", 1)
    assert (verdict.spent, verdict.would_be) == (1, 2)


async def test_refusal_after_an_overrun_has_limit_and_sum_with_the_models_ceiling(desk: Desk) -> None:
    await trip(desk, replace(ANSWER, usage=Usage(100, 5_000)), asks=1, limits=limits(max_cost_per_task=Decimal(1)))
    error = await trip(desk, ANSWER, asks=1, limits=limits(max_cost_per_task=Decimal("0.2")))
    ceiling = charge_nano(PRICE, Usage(128_000, 16_384))
    assert error.verdict == Verdict(
        "max_cost_per_task", "nano_usd", 200_000_000, 0, 0, 0, would_be=ceiling, run_id=desk.run
    )


@pytest.mark.parametrize(
    ("named", "limit", "ceiling"),
    [
        ({"max_cost_per_task": Decimal("0.01"), "max_cost_per_hour": Decimal(10)}, "max_cost_per_task", CENT),
        ({"max_cost_per_hour": Decimal("0.01")}, "max_cost_per_hour", CENT),
        ({"max_cost_per_day": Decimal("0.01")}, "max_cost_per_day", CENT),
        ({}, "max_cost_per_task", None),
    ],
)
async def test_an_overrun_in_dollars_has_the_runs_limit_and_names_hold_and_charge_as_such(
    desk: Desk, named: dict[str, object], limit: str, ceiling: int | None
) -> None:
    answer = replace(ANSWER, model="big")
    more = {"max_output_tokens": 300, "price_of": lambda _, tier="": DEAR}
    error = await trip(desk, answer, asks=1, limits=limits(**named), **more)
    hold, _, cost, _ = last_row(desk)
    assert cost == charge_nano(DEAR, Usage(100, 20)) > hold
    verdict = error.verdict
    assert (verdict.limit, verdict.ceiling, verdict.unit) == (limit, ceiling, "nano_usd")
    assert (verdict.spent, verdict.in_doubt, verdict.held, verdict.would_be) == (cost, 0, 0, cost)
    assert (verdict.hold, verdict.charge) == (hold, cost)
    found = document_of(error)
    assert [found[name] for name in ("ceiling", "spent", "would_be", "hold", "charge")] == [
        None if ceiling is None else 0.01,
        *(amount / 10**9 for amount in (cost, cost, hold, cost)),
    ]
    set_to = f"{limit} is not set" if ceiling is None else f"{limit} is $0.01"
    assert f"$0.03 for a call with a hold of ${hold / 10**9:f}".rstrip("0") in error.message
    assert error.message.endswith(f"; {set_to}, and $0.03 counts as spent")


async def test_an_overrun_in_tokens_has_the_token_limit(desk: Desk) -> None:
    free = replace(FACTS, price=Price(Decimal(0), Decimal(0)))
    answer = replace(ANSWER, usage=Usage(100, 9_000))
    error = await trip(desk, answer, asks=1, facts=free, limits=limits(max_tokens_per_task=50_000))
    _, hold, _, cost = last_row(desk)
    verdict = error.verdict
    assert (verdict.limit, verdict.unit, verdict.ceiling) == ("max_tokens_per_task", "tokens", 50_000)
    assert (verdict.spent, verdict.hold, verdict.charge, cost) == (9_100, hold, 9_100, 9_100)


async def test_a_fee_that_was_never_asked_for_counts_at_the_ceiling_against_the_runs_limit(desk: Desk) -> None:
    answer = replace(ANSWER, fee="web searches")
    error = await trip(desk, answer, asks=1, limits=limits(max_cost_per_task=Decimal("0.1")))
    hold, _, counted, _ = last_row(desk)
    verdict = error.verdict
    assert counted == charge_nano(PRICE, Usage(128_000, 16_384))
    assert (verdict.ceiling, verdict.spent, verdict.in_doubt) == (100_000_000, 0, counted)
    assert (verdict.hold, verdict.charge) == (hold, counted)


def test_amount_barely_above_a_limit_does_not_print_like_the_limit() -> None:
    just_above = Verdict("max_cost_per_task", "nano_usd", CENT, 0, 0, 0, would_be=CENT + 1)
    odd = Verdict("max_cost_per_task", "nano_usd", 2_706_901, 0, 0, 0, would_be=2_706_902)

    assert (
        refusal_error(just_above, FACTS).message == "max_cost_per_task is $0.01; the next call could make it $0.010001"
    )
    assert (
        refusal_error(odd, FACTS).message == "max_cost_per_task is $0.002706901; the next call could make it $0.002707"
    )


def test_doubt_that_leaves_room_is_told_as_too_much_of_the_limit() -> None:
    fits = Verdict("max_tokens_per_task", "tokens", 1_000, 0, 500, 0, would_be=700, doubtful=True)
    breaks = fits._replace(would_be=1_001)
    assert refusal_error(fits, FACTS).message == (
        "max_tokens_per_task is 1,000 tokens; half or more of it, 500 tokens, is in doubt after failed calls"
    )
    assert refusal_error(breaks, FACTS).message == (
        "max_tokens_per_task is 1,000 tokens; the next call could make it 1,001 tokens, "
        "of which 500 tokens is in doubt after failed calls"
    )
