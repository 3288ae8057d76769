"""The limits beside the hour's: a minute, a day and a month of everyone's dollars, a minute of one run's requests."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import Amounts, Ask, Hold
from agentctl.core.errors import LimitName, Verdict
from agentctl.core.limits import WINDOWS, CostLimit
from agentctl.core.messages import Usage
from agentctl.ledger import SqliteLedger
from agentctl.ledger.clock import as_datetime
from tests.support.ledger.parts import DOLLAR, HandClock, ask

FREE_HAND = CostLimit(max_cost_per_task=None, max_tokens_per_task=None)
OTHERS = tuple(name for name in WINDOWS if name != "max_cost_per_hour")


@pytest.fixture
def hands() -> HandClock:
    return HandClock()


@pytest.fixture
def session(tmp_path: Path, hands: HandClock) -> SqliteLedger:
    return SqliteLedger(tmp_path / "ledger.db", clock=hands)


async def opened(session: SqliteLedger, run: str = "run") -> None:
    await session.open_run(run, FREE_HAND, task="", agent="", labels={})


def under(name: str, limit: LimitName, ceiling: int, *, tokens: int = 256, run: str = "run") -> Ask:
    return ask(name, run, tokens=tokens)._replace(further={limit: ceiling})


async def spent(session: SqliteLedger, asked: Ask) -> Hold:
    held = await session.reserve(asked)
    assert isinstance(held, Hold), held
    assert await session.mark_sent(held.id)
    await session.settle(held.id, Charge(Usage(10, asked.least), asked.least * 1_000_000))
    return held


@pytest.mark.parametrize("limit", OTHERS)
async def test_an_amount_counts_until_its_window_has_passed_since_it_was_settled(
    session: SqliteLedger, hands: HandClock, limit: LimitName
) -> None:
    await opened(session)
    await spent(session, under("first", limit, DOLLAR, tokens=600))
    hands.pass_by(WINDOWS[limit] - 1)
    refused = await session.reserve(under("early", limit, DOLLAR, tokens=401))
    assert isinstance(refused, Verdict)
    assert (refused.limit, refused.ceiling, refused.spent, refused.would_be) == (
        limit,
        DOLLAR,
        600_000_000,
        1_001_000_000,
    )
    assert refused.free_at == as_datetime(int(hands.wall_s * 1_000_000)) + timedelta(seconds=1)
    assert isinstance(await session.reserve(under("exactly", limit, DOLLAR, tokens=400)), Hold)
    await session.void("exactly", "not needed")
    hands.pass_by(1)
    assert isinstance(await session.reserve(under("late", limit, DOLLAR, tokens=1000)), Hold)
    await session.aclose()


@pytest.mark.parametrize("limit", OTHERS)
async def test_a_window_is_over_the_spending_of_everyone(
    session: SqliteLedger, hands: HandClock, limit: LimitName
) -> None:
    await opened(session)
    await opened(session, "another")
    await spent(session, ask("theirs", "another", tokens=700))
    refused = await session.reserve(under("ours", limit, DOLLAR, tokens=301))
    assert isinstance(refused, Verdict)
    assert (refused.limit, refused.spent) == (limit, 700_000_000)
    assert (await session.spend("run", (limit,))).of(limit) == Amounts(spent=700_000_000)
    await session.aclose()


async def test_the_grant_fits_the_smallest_of_all_windows(session: SqliteLedger) -> None:
    await opened(session)
    many: dict[LimitName, int] = {name: ceiling * DOLLAR for name, ceiling in zip(OTHERS, (1, 2, 3), strict=True)}
    held = await session.reserve(ask("one", tokens=256)._replace(most=9_000, further=many))
    assert isinstance(held, Hold)
    assert held.nano == DOLLAR
    await session.aclose()


async def test_calls_a_minute_are_the_runs_own(session: SqliteLedger, hands: HandClock) -> None:
    await opened(session)
    await opened(session, "another")
    for number in range(3):
        await spent(session, under(f"call {number}", "max_calls_per_minute", 3))
        hands.pass_by(1)
    refused = await session.reserve(under("fourth", "max_calls_per_minute", 3))
    assert isinstance(refused, Verdict)
    assert (refused.limit, refused.unit, refused.ceiling, refused.would_be) == ("max_calls_per_minute", "calls", 3, 4)
    assert isinstance(await session.reserve(under("theirs", "max_calls_per_minute", 3, run="another")), Hold)
    hands.pass_by(57.5)
    assert isinstance(await session.reserve(under("fifth", "max_calls_per_minute", 3)), Hold)
    await session.aclose()


async def test_a_call_that_is_held_counts_in_its_minute(session: SqliteLedger) -> None:
    await opened(session)
    assert isinstance(await session.reserve(under("first", "max_calls_per_minute", 1)), Hold)
    refused = await session.reserve(under("second", "max_calls_per_minute", 1))
    assert isinstance(refused, Verdict)
    assert (refused.limit, refused.spent, refused.held, refused.would_be) == ("max_calls_per_minute", 0, 1, 2)
    await session.aclose()


async def test_unsent_hold_does_not_count_as_a_call(session: SqliteLedger) -> None:
    await opened(session)
    for number in range(5):
        held = await session.reserve(under(f"call {number}", "max_calls_per_minute", 1))
        assert isinstance(held, Hold)
        await session.void(held.id, "no connection")
    await session.aclose()


async def test_time_to_wait_covers_every_window_in_the_way(session: SqliteLedger, hands: HandClock) -> None:
    """The hour has room again in an hour, the day only tomorrow: waiting an hour would not help."""
    await opened(session)
    asked = under("first", "max_cost_per_day", DOLLAR, tokens=600)._replace(hour_limit_nano=DOLLAR)
    await spent(session, asked)
    refused = await session.reserve(asked._replace(attempt_id="second"))
    assert isinstance(refused, Verdict)
    assert refused.limit == "max_cost_per_hour"
    assert refused.free_at == as_datetime(hands().wall_us) + timedelta(days=1)
    never = asked._replace(attempt_id="third", further={"max_cost_per_month": DOLLAR // 2})
    refused = await session.reserve(never)
    assert isinstance(refused, Verdict)
    assert refused.free_at is None
