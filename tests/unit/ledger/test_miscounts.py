"""Counted bounds in the ledger: asked for only where bytes are in the way, and never again after a report above one."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import AnswerReserve, Ask, Hold, Wait
from agentctl.core.errors import UsageError, Verdict
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Usage
from agentctl.core.pricing import ModelFacts, Price
from agentctl.ledger.check import check
from agentctl.ledger.reconcile import clear_miscounts, clear_overrun
from agentctl.ledger.sqlite import ThreadedLedger
from tests.support.ledger.engines import database_at, ledger_at

FACTS = ModelFacts("openai", "m", Price(Decimal(1), Decimal(1)), context_window=100_000, output_ceiling=10_000)
"""A token costs a thousand nano-dollars, whichever it is."""


def asking(name: str, bound: int = 8_000, counted: int | None = None, run: str = "mine", **changes: object) -> Ask:
    asked = Ask(name, run, FACTS, bound, 256, 1_000, None, can_count=True, counted_bound=counted)
    return asked._replace(**changes)  # type: ignore[arg-type]


async def opened(ledger: ThreadedLedger, tokens: int, run: str = "mine") -> None:
    """Open a run that may spend so many tokens, in dollars."""
    limits = CostLimit(max_cost_per_task=Decimal(tokens) / 1_000_000, max_tokens_per_task=None)
    await ledger.open_run(run, limits, task="", agent="", labels={})


def attempts(path: Path) -> list[tuple[object, ...]]:
    with closing(database_at(path)) as db:
        return db.execute("SELECT phase, input_bound, granted_output, counted FROM attempts ORDER BY rowid").fetchall()


async def charged(ledger: ThreadedLedger, hold: object, input_tokens: int, output_tokens: int = 10) -> None:
    assert isinstance(hold, Hold), hold
    assert await ledger.mark_sent(hold.id)
    await ledger.settle(hold.id, Charge(Usage(input_tokens, output_tokens), (input_tokens + output_tokens) * 1_000))


async def test_a_bound_with_room_is_never_counted(ledger: ThreadedLedger, path: Path) -> None:
    await opened(ledger, 9_000)
    assert isinstance(await ledger.reserve(asking("a")), Hold)
    assert attempts(path) == [("held", 8_000, 1_000, 0)]


@pytest.mark.parametrize("tokens", [8_999, 8_256, 8_255, 8_000, 7_999, 1])
async def test_a_bound_in_the_way_asks_for_a_count_and_holds_nothing(
    ledger: ThreadedLedger, path: Path, tokens: int
) -> None:
    await opened(ledger, tokens)
    assert await ledger.reserve(asking("a")) == Wait("bound", 0.0)
    assert attempts(path) == []
    with closing(database_at(path)) as db:
        assert db.execute("SELECT count(*) FROM waiters WHERE seen_us >= 0").fetchone() == (0,)


async def test_a_count_is_held_where_it_was_asked_for(ledger: ThreadedLedger, path: Path) -> None:
    await opened(ledger, 8_300)
    held = await ledger.reserve(asking("a", counted=3_000))
    assert isinstance(held, Hold)
    assert (held.input_bound, held.granted_output, held.nano) == (3_000, 1_000, 4_000_000)
    assert attempts(path) == [("held", 3_000, 1_000, 1)]


async def test_a_count_that_is_not_needed_is_not_held(ledger: ThreadedLedger, path: Path) -> None:
    await opened(ledger, 9_000)
    await ledger.reserve(asking("a", counted=3_000))
    assert attempts(path) == [("held", 8_000, 1_000, 0)]


async def test_a_count_above_the_bytes_is_not_held(ledger: ThreadedLedger, path: Path) -> None:
    await opened(ledger, 2_500)
    await ledger.reserve(asking("a", bound=2_000, counted=2_100))
    assert attempts(path) == [("held", 2_000, 500, 0)]


async def test_a_count_shortens_waits_and_refuses_as_any_bound(ledger: ThreadedLedger) -> None:
    await opened(ledger, 3_500)
    held = await ledger.reserve(asking("a", counted=3_000))
    assert isinstance(held, Hold)
    assert held.granted_output == 500
    assert isinstance(await ledger.reserve(asking("b", counted=3_000)), Wait)
    await charged(ledger, held, 2_900)
    refused = await ledger.reserve(asking("c", counted=3_000))
    assert isinstance(refused, Verdict)
    assert refused.would_be == (2_910 + 3_256) * 1_000


async def test_hold_that_would_wait_for_others_is_counted_first(ledger: ThreadedLedger) -> None:
    """What another run holds leaves room for the counted request, and not for its bytes."""
    hour = 15_000_000
    for run in ("one", "two"):
        await opened(ledger, 100_000, run)
    assert isinstance(await ledger.reserve(asking("a", run="one", hour_limit_nano=hour)), Hold)
    asked = asking("b", run="two", hour_limit_nano=hour)
    assert await ledger.reserve(asked) == Wait("bound", 0.0)
    held = await ledger.reserve(asked._replace(counted_bound=4_000))
    assert isinstance(held, Hold)
    assert held.granted_output == 1_000


async def test_a_probe_is_short_by_design_and_asks_for_no_count(path: Path) -> None:
    ledger = ledger_at(path, pause_s=0.0)
    await opened(ledger, 40_000)
    for name in ("a", "b"):
        held = await ledger.reserve(asking(name))
        assert isinstance(held, Hold)
        assert await ledger.mark_sent(held.id)
        await ledger.doubt(held.id, "cut")
    probe = await ledger.reserve(asking("c"))
    assert isinstance(probe, Hold)
    assert (probe.probe, probe.granted_output) == (True, 256)
    await ledger.aclose()


async def miscounted(ledger: ThreadedLedger, facts: ModelFacts = FACTS, *, reported: int = 3_001) -> None:
    await opened(ledger, 8_300, "first")
    held = await ledger.reserve(asking("first", counted=3_000, run="first", facts=facts))
    await charged(ledger, held, reported)
    await ledger.close_run("first", "done")


async def clear_overruns(path: Path) -> None:
    with closing(database_at(path)) as db, db:
        db.execute("UPDATE overruns SET cleared_us = 1")


async def test_report_above_a_counted_bound_ends_counting_that_model_in_every_process(path: Path) -> None:
    ledger = ledger_at(path)
    await miscounted(ledger)
    await ledger.aclose()
    await clear_overruns(path)
    later = ledger_at(path)
    await opened(later, 8_300)
    held = await later.reserve(asking("a", counted=3_000))
    assert isinstance(held, Hold)
    assert (held.input_bound, held.granted_output) == (8_000, 300)
    await later.aclose()


async def test_a_miscount_counts_until_it_is_cleared_and_so_does_the_next(path: Path) -> None:
    ledger = ledger_at(path)
    await miscounted(ledger, reported=9_000)
    (found,) = check(path).miscounts
    assert (found.provider, found.base_url, found.model, found.attempts) == ("openai", "", "m", 1)
    await opened(ledger, 8_300)
    assert clear_miscounts(path, "openai", "m", dry_run=True)
    assert clear_overrun(path, "openai", "m")
    await charged(ledger, await ledger.reserve(asking("a")), 100)
    assert [clear_miscounts(path, "openai", "m") for _ in range(2)] == [True, False]
    assert check(path).miscounts == ()
    await opened(ledger, 8_300, "next")
    assert await ledger.reserve(asking("b", run="next")) == Wait("bound", 0.0)
    await charged(ledger, await ledger.reserve(asking("b", counted=3_000, run="next")), 3_500)
    await opened(ledger, 8_300, "last")
    assert isinstance(await ledger.reserve(asking("c", run="last")), Hold)
    with pytest.raises(UsageError, match="never reported more than its counted bound") as caught:
        clear_miscounts(path, "openai", "n")
    assert "openai/m" in caught.value.hint
    await ledger.aclose()


async def test_a_report_in_doubt_above_a_counted_bound_is_a_miscount(path: Path) -> None:
    """The report contradicts itself, so that it is not charged; that it is above the bound stands all the same."""
    ledger = ledger_at(path)
    await opened(ledger, 8_300, "first")
    held = await ledger.reserve(asking("first", counted=3_000, run="first"))
    assert isinstance(held, Hold)
    assert await ledger.mark_sent(held.id)
    least = Charge(Usage(9_000, 10), 9_010_000, price=FACTS.price)
    await ledger.doubt(held.id, "more cached than input", least=least)
    assert clear_overrun(path, "openai", "m")
    await opened(ledger, 8_300)
    assert isinstance(await ledger.reserve(asking("a")), Hold)
    assert [found.attempts for found in check(path).miscounts] == [1]
    assert clear_miscounts(path, "openai", "m")
    await ledger.aclose()


@pytest.mark.parametrize(
    "other",
    [replace(FACTS, model="other"), replace(FACTS, provider="p"), replace(FACTS, base_url="https://proxy.example")],
    ids=["model", "provider", "address"],
)
async def test_a_report_above_a_counted_bound_says_nothing_of_another_model(
    ledger: ThreadedLedger, other: ModelFacts
) -> None:
    await miscounted(ledger)
    await opened(ledger, 8_300)
    assert await ledger.reserve(asking("a", facts=other)) == Wait("bound", 0.0)


async def test_report_at_a_counted_bound_is_not_a_miscount(ledger: ThreadedLedger) -> None:
    await miscounted(ledger, reported=3_000)
    await opened(ledger, 8_300)
    assert await ledger.reserve(asking("a")) == Wait("bound", 0.0)


async def test_report_above_a_bound_by_bytes_is_not_a_miscount(ledger: ThreadedLedger, path: Path) -> None:
    await opened(ledger, 100_000, "first")
    held = await ledger.reserve(asking("first", run="first"))
    await charged(ledger, held, 8_001)
    await clear_overruns(path)
    await opened(ledger, 8_300)
    assert await ledger.reserve(asking("a")) == Wait("bound", 0.0)


async def test_hold_at_the_price_of_another_model_is_not_counted(ledger: ThreadedLedger, path: Path) -> None:
    await opened(ledger, 8_300)
    with closing(database_at(path)) as db, db:
        db.execute(
            "INSERT INTO substitutes (provider, base_url, model, answered_model, tier, prices, attempt_id, at_us)"
            """ VALUES ('openai', '', 'm', 'other', '', '{"input": "1", "output": "1"}', 'x', 1)"""
        )
    held = await ledger.reserve(asking("a"))
    assert isinstance(held, Hold)
    assert (held.input_bound, held.granted_output) == (8_000, 300)


async def test_bound_that_would_evict_another_runs_reserve_is_counted_first(ledger: ThreadedLedger) -> None:
    hour = 10_000_000
    for run in ("keeps", "asks"):
        await opened(ledger, 100_000, run)
    kept = asking(
        "a", bound=100, run="keeps", hour_limit_nano=hour, least=100, most=100, keep=AnswerReserve(2_000, 100)
    )
    await charged(ledger, await ledger.reserve(kept), 100)
    asked = asking("b", run="asks", hour_limit_nano=hour)
    assert await ledger.reserve(asked) == Wait("bound", 0.0)
    assert isinstance(await ledger.reserve(asked._replace(counted_bound=3_000)), Hold)
    assert (await ledger.spend("keeps")).run_nano.held == 2_100_000
