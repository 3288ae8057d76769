"""The outcome of a usage report: a charge, an overrun in full, or a doubt that is never below the report."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import anyio
import pytest

from agentctl.budget.breaker import Overrun
from agentctl.budget.input_bound import plain_bound
from agentctl.budget.rules import Amounts, Ask
from agentctl.core.errors import BudgetExceeded, ProviderUnavailable
from agentctl.core.events import CallHeld, CallSettled
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Completion, Delta, Message, Reported, Request, Usage
from agentctl.core.pricing import FREE, MOST_AMOUNT, ModelFacts, Price, charge_nano, worst_nano
from agentctl.ledger import SqliteLedger
from agentctl.ledger.check import check
from agentctl.ledger.forecast import Percentiles, forecast_first_call
from agentctl.ledger.report import CostQuery, costs_report
from tests.support.model_calls import ANSWER, FACTS, HELLO, PRICE, Desk

CLASSES = Price(
    Decimal(1), Decimal(10), cached_input=Decimal("0.1"), cache_write=Decimal("1.25"), reasoning=Decimal(12)
)
FREE_HAND = CostLimit(max_cost_per_task=None, max_cost_per_hour=None, max_tokens_per_task=None)
CLAMP = 4_096


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    ledger = SqliteLedger(tmp_path / "ledger.db", pause_s=0.01)
    yield Desk(ledger)
    await ledger.aclose()


class Row(NamedTuple):
    phase: str
    nano: int
    tokens: int
    hold_nano: int
    hold_tokens: int
    input_bound: int
    granted_output: int
    reason: str | None


def rows(desk: Desk) -> list[Row]:
    with closing(sqlite3.connect(desk.ledger.path)) as db:
        found = db.execute(f"SELECT {', '.join(Row._fields)} FROM attempts WHERE purpose <> 'answer' ORDER BY rowid")  # noqa: S608
        return [Row(*row) for row in found]


def told(usage: Usage, **more: object) -> Completion:
    return Completion("paid for", usage=usage, model="m", **more)  # type: ignore[arg-type]


BOUND = plain_bound(Request("m", HELLO))
WINDOW, CEILING = 128_000, 16_384
INPUTS = (1, BOUND - 1, BOUND, BOUND + 1, WINDOW, WINDOW + 1, 2**53 - 1, 2**53, 2**63 - 1, 2**63, 2**70)
OUTPUTS = (1, CLAMP - 1, CLAMP, CLAMP + 1, CEILING, CEILING + 1, 2**53 - 1, 2**53, 2**63 - 1, 2**63, 2**70)


@pytest.mark.slow
@pytest.mark.parametrize("tokens_in", INPUTS)
@pytest.mark.parametrize("tokens_out", OUTPUTS)
async def test_report_is_recorded_at_its_price_and_one_above_its_hold_is_the_last(
    desk: Desk, tokens_in: int, tokens_out: int
) -> None:
    usage = Usage(tokens_in, tokens_out)
    calls = await desk.calls(told(usage), ANSWER, limits=FREE_HAND, max_output_tokens=CLAMP)
    is_above = tokens_in > BOUND or tokens_out > CLAMP
    if is_above:
        with pytest.raises(Overrun, match="provider_overrun") as caught:
            await calls.ask(HELLO)
        assert caught.value.partial == "paid for"
    else:
        assert (await calls.ask(HELLO)).usage == usage
    (row,) = rows(desk)
    price, stored = charge_nano(PRICE, usage), min(tokens_in + tokens_out, MOST_AMOUNT)
    assert (row.phase, row.nano, row.tokens) == ("settled", min(price, MOST_AMOUNT), stored)
    assert (row.input_bound, row.granted_output) == (BOUND, CLAMP)
    assert len(desk.provider.heard) == 1
    assert (await desk.spend()).run_nano == Amounts(spent=row.nano)
    assert ("more was reported than the ledger can store" in (row.reason or "")) is (price > MOST_AMOUNT)


@pytest.mark.parametrize("tokens_in", [WINDOW + 1, 2**53, 2**63, 2**70])
async def test_hold_after_an_overrun_is_no_less_than_the_usage_seen(desk: Desk, tokens_in: int) -> None:
    """The ceiling of the tables would be less: they were wrong once."""
    calls = await desk.calls(told(Usage(tokens_in, 9)), limits=FREE_HAND)
    with pytest.raises(Overrun):
        await calls.ask(HELLO)
    again = await desk.calls(ANSWER, limits=FREE_HAND)
    await again.ask(HELLO)
    first, second = rows(desk)
    assert second.hold_nano >= first.nano
    assert second.hold_tokens >= min(tokens_in + CEILING, MOST_AMOUNT)
    limited = await desk.calls(ANSWER, limits=CostLimit(max_cost_per_task=Decimal("0.10")))
    with pytest.raises(BudgetExceeded):
        await limited.ask(HELLO)
    assert desk.provider.heard == []


async def test_hold_after_an_overrun_within_the_tables_is_their_ceiling(desk: Desk) -> None:
    calls = await desk.calls(told(Usage(50_000, 9)), limits=FREE_HAND)
    with pytest.raises(Overrun):
        await calls.ask(HELLO)
    again = await desk.calls(ANSWER, limits=FREE_HAND)
    await again.ask(HELLO)
    assert rows(desk)[1].hold_nano == worst_nano(PRICE, input_tokens=WINDOW, output_tokens=CEILING)


async def test_a_hold_at_the_ceiling_covers_a_report_above_the_clamp(desk: Desk) -> None:
    calls = await desk.calls(told(Usage(50_000, 9)), limits=FREE_HAND)
    with pytest.raises(Overrun):
        await calls.ask(HELLO)
    again = await desk.calls(told(Usage(50_000, 10_000)), ANSWER, limits=FREE_HAND)
    await again.ask(HELLO)
    await again.ask(HELLO)
    assert [row.phase for row in rows(desk)] == ["settled"] * 3


async def test_exact_report_above_a_wrong_table_window_is_not_in_doubt(desk: Desk) -> None:
    """A price line of the user's own can say anything; the hold covers what is charged."""
    facts = replace(FACTS, context_window=64)
    told_twice = told(Usage(900, 200))
    calls = await desk.calls(told_twice, told_twice, facts=facts, max_output_tokens=CLAMP)
    for _ in range(2):
        await calls.ask(HELLO)
    cost = charge_nano(PRICE, Usage(900, 200))
    assert [(row.phase, row.nano) for row in rows(desk)] == [("settled", cost)] * 2
    assert calls.in_doubt_nano == 0


async def test_a_report_that_the_tables_do_not_allow_costs_the_dearest_class(desk: Desk) -> None:
    """Its cached part cannot be trusted; a report within the model's tables is charged by its classes."""
    facts = replace(FACTS, price=CLASSES)
    odd, large = Usage(130_000, 500, 129_000), Usage(100_000, 500, 99_000, 0, 400)
    for usage in (odd, large):
        calls = await desk.calls(told(usage), facts=replace(facts, model=f"m{usage.input_tokens}"), limits=FREE_HAND)
        with pytest.raises(Overrun):
            await calls.ask(HELLO)
    assert [row.nano for row in rows(desk)] == [
        worst_nano(CLASSES, input_tokens=130_000, output_tokens=500),
        charge_nano(CLASSES, large),
    ]
    found = check(desk.ledger.path)
    assert (found.wrong, found.recomputed) == ((), 2)


async def test_a_free_model_that_is_a_token_above_its_clamp_ends_nothing(desk: Desk) -> None:
    """Some servers count the token that ends an answer; no dollars depend on it, and the tokens are within the hold."""
    free = ModelFacts("own", "m", FREE, context_window=WINDOW, output_ceiling=CEILING)
    calls = await desk.calls(told(Usage(100, CLAMP + 1)), ANSWER, facts=free, max_output_tokens=CLAMP)
    await calls.ask(HELLO)
    await calls.ask(HELLO)
    assert [(row.phase, row.nano) for row in rows(desk)] == [("settled", 0)] * 2
    beyond = await desk.calls(told(Usage(100, 50_000)), ANSWER, facts=free, max_output_tokens=CLAMP)
    with pytest.raises(Overrun):
        await beyond.ask(HELLO)


CONTRADICTIONS = {
    "more cached than input": Usage(100, 20, 101),
    "more written than input": Usage(100, 20, 60, 41),
    "more reasoning than output": Usage(100, 20, reasoning_tokens=21),
    "no input": Usage(0, 20),
    "no output": Usage(100, 0),
    "negative": Usage(100, -20),
    "text": Usage("100", 20),  # type: ignore[arg-type]
    "a truth value": Usage(True, 20),
    "a fraction": Usage(100, 20.5),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
async def test_a_report_that_contradicts_itself_is_in_doubt_at_its_hold_and_ends_nothing(desk: Desk, name: str) -> None:
    calls = await desk.calls(told(CONTRADICTIONS[name]), ANSWER)
    assert (await calls.ask(HELLO)).usage is None
    await calls.ask(HELLO)
    first, second = rows(desk)
    assert (first.phase, first.nano, second.phase) == ("doubt", first.hold_nano, "settled")
    assert first.reason
    assert "reported" in first.reason


LARGE = {
    "input of a million and more cached": (Usage(10**6, 20, 2 * 10**6), (2 * 10**6, CLAMP)),
    "no input and a million out": (Usage(0, 10**6), (BOUND, 10**6)),
    "a million in and no output": (Usage(10**6, 0), (10**6, CLAMP)),
    "a million of reasoning in ten": (Usage(100, 10, reasoning_tokens=10**6), (BOUND, 10**6)),
    "text and a million out": (Usage("100", 10**6), (BOUND, 10**6)),  # type: ignore[arg-type]
    "no input and 2^70 out": (Usage(0, 2**70), (BOUND, MOST_AMOUNT)),
}


@pytest.mark.parametrize("name", LARGE)
async def test_a_report_that_contradicts_itself_counts_no_less_than_what_it_says(desk: Desk, name: str) -> None:
    """Missing parts count as they were held. Above the hold it is an overrun like any other."""
    usage, (tokens_in, tokens_out) = LARGE[name]
    facts = replace(FACTS, price=CLASSES)
    calls = await desk.calls(told(usage), ANSWER, facts=facts, limits=FREE_HAND)
    with pytest.raises(Overrun, match="provider_overrun") as caught:
        await calls.ask(HELLO)
    assert caught.value.partial == "paid for"
    worst = min(worst_nano(CLASSES, input_tokens=tokens_in, output_tokens=tokens_out), MOST_AMOUNT)
    (row,) = rows(desk)
    assert (row.phase, row.nano, row.tokens) == ("doubt", worst, min(tokens_in + tokens_out, MOST_AMOUNT))
    again = await desk.calls(ANSWER, facts=facts, limits=FREE_HAND)
    await again.ask(HELLO)
    assert rows(desk)[1].hold_nano >= worst
    assert (await desk.spend()).run_nano.in_doubt == 0


async def test_readable_part_of_a_broken_report_counts(desk: Desk) -> None:
    """A reader that cannot parse all of it returns the part it could."""
    broken = Completion("hi", reported=Reported(Usage(0, 50_000), "prompt_tokens is not a count of tokens: 'many'"))
    calls = await desk.calls(broken, ANSWER)
    with pytest.raises(Overrun):
        await calls.ask(HELLO)
    (row,) = rows(desk)
    assert (row.phase, row.nano) == ("doubt", worst_nano(PRICE, input_tokens=BOUND, output_tokens=50_000))
    assert row.reason == "prompt_tokens is not a count of tokens: 'many'"


async def test_a_bill_without_tokens_counts(desk: Desk) -> None:
    calls = await desk.calls(Completion("hi", billed_nano=3 * 10**9), ANSWER, limits=FREE_HAND)
    with pytest.raises(Overrun):
        await calls.ask(HELLO)
    assert [(row.phase, row.nano) for row in rows(desk)] == [("doubt", 3 * 10**9)]


async def test_a_fee_counts_at_the_ceiling_and_at_no_less_than_the_report(desk: Desk) -> None:
    for usage, model in ((Usage(100, 20), "small"), (Usage(10**6, 20), "large")):
        calls = await desk.calls(told(usage, fee="2 web_searches"), facts=replace(FACTS, model=model), limits=FREE_HAND)
        with pytest.raises(Overrun, match="2 web_searches"):
            await calls.ask(HELLO)
    small, large = rows(desk)
    assert small.nano == worst_nano(PRICE, input_tokens=WINDOW, output_tokens=CEILING)
    assert large.nano == worst_nano(PRICE, input_tokens=10**6, output_tokens=CLAMP) > small.nano


# --- answers that break off after a report ----------------------------------------------------------------------

SMALL, HUGE = Reported(Usage(1_000, 7)), Reported(Usage(130_000, 7))


@pytest.mark.parametrize("reported", [SMALL, HUGE])
async def test_usage_reported_before_an_answer_broke_off_counts(desk: Desk, reported: Reported) -> None:
    calls = await desk.calls([reported, Delta("half"), ProviderUnavailable("reset")], ANSWER, retries=0)
    with pytest.raises(Overrun if reported is HUGE else ProviderUnavailable) as caught:
        await calls.ask(HELLO)
    (row,) = rows(desk)
    worst = worst_nano(PRICE, input_tokens=max(BOUND, reported.usage.input_tokens), output_tokens=CLAMP)
    assert (row.phase, row.nano) == ("doubt", worst)
    assert getattr(caught.value, "partial", "half") == "half"
    assert len(desk.provider.heard) == 1


async def test_usage_reported_before_the_silence_counts(desk: Desk) -> None:
    calls = await desk.calls([HUGE, lambda _: anyio.sleep_forever()], retries=0, silence_s=0.05)
    with pytest.raises(Overrun):
        await calls.ask(HELLO)
    assert rows(desk)[0].nano == worst_nano(PRICE, input_tokens=130_000, output_tokens=CLAMP)


async def test_usage_reported_before_ctrl_c_counts_and_the_interruption_goes_on(desk: Desk) -> None:
    under_way = anyio.Event()

    async def hang(_: Request) -> None:
        under_way.set()
        await anyio.sleep_forever()

    calls = await desk.calls([HUGE, Delta("h"), hang])
    async with anyio.create_task_group() as group:
        group.start_soon(calls.ask, HELLO)
        await under_way.wait()
        group.cancel_scope.cancel()
    assert rows(desk)[0].nano == worst_nano(PRICE, input_tokens=130_000, output_tokens=CLAMP)


async def test_a_report_before_a_refusal_without_a_word_of_an_answer_does_not_make_it_cost(desk: Desk) -> None:
    calls = await desk.calls([SMALL, ProviderUnavailable("overloaded", billed="no")], retries=0)
    with pytest.raises(ProviderUnavailable):
        await calls.ask(HELLO)
    assert [(row.phase, row.nano) for row in rows(desk)] == [("void", 0)]


# --- what the next bound is built on ----------------------------------------------------------------------------

LONG = (Message("system", "word " * 2_000), *HELLO)
MORE = (*LONG, Message("assistant", "paid for"), Message("user", "and?"))
EVEN_MORE = (*MORE, Message("assistant", "paid for"), Message("user", "go on"))


def bounds(desk: Desk) -> list[int]:
    return [event.input_bound for event in desk.events if isinstance(event, CallHeld)]


async def test_a_report_that_fell_is_charged_and_never_built_on(desk: Desk) -> None:
    fine = told(Usage(2_100, 20))
    calls = await desk.calls(replace(fine, fell=True), fine, fine)
    for messages in (LONG, MORE, EVEN_MORE):
        await calls.ask(messages)
    assert [row.phase for row in rows(desk)] == ["settled"] * 3
    assert bounds(desk) == [plain_bound(Request("m", messages)) for messages in (LONG, MORE, EVEN_MORE)]


async def test_a_report_above_a_tight_bound_alone_is_charged_and_never_built_on(desk: Desk) -> None:
    """Its hold covers it, and the bytes still bound it: what was reported before was too low."""
    calls = await desk.calls(told(Usage(700, 20)), told(Usage(3_000, 20)), told(Usage(3_100, 20)))
    for messages in (LONG, MORE, EVEN_MORE):
        await calls.ask(messages)
    first, second, third = rows(desk)
    assert second.input_bound < 3_000 < plain_bound(Request("m", MORE))
    assert third.input_bound == plain_bound(Request("m", EVEN_MORE))
    assert {row.phase for row in (first, second, third)} == {"settled"}
    assert len(desk.provider.heard) == 3


# --- amounts at the end of 64 bits ------------------------------------------------------------------------------


async def test_sums_of_the_largest_amounts_are_exact_wherever_they_are_shown(desk: Desk) -> None:
    """Two of each in every run; the holds after the first are as large."""
    charged, doubtful = told(Usage(2**63, 2**63)), told(Usage(0, 2**70))
    for _ in range(5):
        calls = await desk.calls(charged, charged, doubtful, doubtful, limits=FREE_HAND)
        for _ in range(4):
            with suppress(Overrun):
                await calls.ask(HELLO)
        await desk.ledger.close_run(desk.run, "done")
    report = costs_report(desk.ledger.path, CostQuery(by=("provider",)))
    (group,) = report.rows
    assert (group.calls, group.known_nano, group.in_doubt_nano) == (20, 10 * MOST_AMOUNT, 10 * MOST_AMOUNT)
    assert (group.input_tokens, group.output_tokens) == (10 * MOST_AMOUNT, 10 * MOST_AMOUNT)
    assert (report.hour.spent, report.hour.in_doubt) == (10 * MOST_AMOUNT, 10 * MOST_AMOUNT)
    found = check(desk.ledger.path)
    assert (found.wrong, found.recomputed, [doubt.nano for doubt in found.doubts]) == ((), 10, [2 * MOST_AMOUNT] * 5)
    settled = [event for event in desk.events if isinstance(event, CallSettled)]
    assert [event.usage for event in settled] == [Usage(MOST_AMOUNT, MOST_AMOUNT)] * 10
    asked = Ask("next", "none", FACTS, input_bound=1, least=1, most=1, hour_limit_nano=None)
    statistics = forecast_first_call(desk.ledger.path, asked, FREE_HAND, agent="a").statistics
    assert statistics.nano == statistics.tokens == Percentiles(4 * MOST_AMOUNT, 4 * MOST_AMOUNT)


async def test_waiters_for_the_largest_amounts_are_added_up(desk: Desk) -> None:
    """A limit that two waiters' needs pass together, and a sum of SQLite's would not fit."""
    calls = await desk.calls(told(Usage(2**63, 9)), limits=FREE_HAND)
    with pytest.raises(Overrun):
        await calls.ask(HELLO)
    with closing(sqlite3.connect(desk.ledger.path)) as db:
        ((owner,),) = db.execute("SELECT id FROM owners")
        for name in ("one", "two"):
            row = (name, owner, desk.run, 0, 2**60, MOST_AMOUNT, MOST_AMOUNT)
            db.execute("INSERT INTO waiters VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        db.commit()
    other = await desk.calls(ANSWER, facts=replace(FACTS, model="other"))
    with pytest.raises(BudgetExceeded):
        await other.ask(HELLO)


async def test_a_window_of_any_size_can_be_held(desk: Desk) -> None:
    calls = await desk.calls(
        told(Usage(50_000, 9)), facts=ModelFacts("p", "m", PRICE, context_window=10**18), limits=FREE_HAND
    )
    with pytest.raises(Overrun):
        await calls.ask(HELLO)
    again = await desk.calls(
        ANSWER, facts=ModelFacts("p", "m", PRICE, context_window=10**18, output_ceiling=10**18), limits=FREE_HAND
    )
    await again.ask(HELLO)
    assert rows(desk)[1].hold_nano == MOST_AMOUNT
