"""The ledger: admissions, what counts and for how long, and what is never lost."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from agentctl.budget.conclusions import Charge, Settlement
from agentctl.budget.rules import Amounts, Hold, Wait
from agentctl.core.errors import InternalError, Verdict
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Usage
from agentctl.core.pricing import FREE
from agentctl.ledger.report import costs_window
from agentctl.ledger.sqlite import ThreadedLedger
from tests.support.ledger.engines import database_at, ledger_at
from tests.support.ledger.parts import DOLLAR, FACTS, HandClock, ask


async def hold(ledger: ThreadedLedger, name: str, **changes: object) -> Hold:
    held = await ledger.reserve(ask(name, **changes))  # type: ignore[arg-type]
    assert isinstance(held, Hold)
    return held


async def send(ledger: ThreadedLedger, name: str, **changes: object) -> Hold:
    held = await hold(ledger, name, **changes)
    assert await ledger.mark_sent(name)
    return held


def charge(tokens: int, nano: int | None = None) -> Charge:
    return Charge(Usage(10, tokens), tokens * 1_000_000 if nano is None else nano, "m")


async def test_a_hold_counts_until_it_is_settled_and_then_its_charge_does(ledger: ThreadedLedger) -> None:
    await send(ledger, "a", tokens=500)
    assert (await ledger.spend("run")).run_nano == Amounts(held=500_000_000)
    assert await ledger.settle("a", charge(100)) == Settlement("settled", 100_000_000, 110)
    spend = await ledger.spend("run")
    assert (spend.run_nano, spend.run_tokens) == (Amounts(spent=100_000_000), Amounts(spent=110))


async def test_the_limit_is_reached_exactly_and_not_passed(ledger: ThreadedLedger) -> None:
    await send(ledger, "a", tokens=600)
    await ledger.settle("a", charge(600))
    assert isinstance(await ledger.reserve(ask("b", tokens=401)), Verdict)
    assert isinstance(await ledger.reserve(ask("c", tokens=400)), Hold)


async def test_the_most_that_fits_is_granted(ledger: ThreadedLedger) -> None:
    held = await ledger.reserve(ask("a", most=5_000))
    assert isinstance(held, Hold)
    assert (held.granted_output, held.nano) == (1_000, DOLLAR)


async def test_settling_twice_changes_nothing(ledger: ThreadedLedger) -> None:
    await send(ledger, "a")
    first = await ledger.settle("a", charge(100))
    assert await ledger.settle("a", charge(200)) == first
    assert (await ledger.spend("run")).run_nano.spent == 100_000_000


async def test_a_void_costs_nothing_and_frees_its_room(ledger: ThreadedLedger) -> None:
    await send(ledger, "a", tokens=1_000)
    await ledger.void("a", "connection refused")
    assert (await ledger.spend("run")).run_nano == Amounts()
    await hold(ledger, "b", tokens=1_000)


async def test_doubt_counts_as_spent_at_the_worst_case_for_good_in_its_run(
    ledger: ThreadedLedger, clock: HandClock
) -> None:
    await send(ledger, "a", tokens=300)
    await ledger.doubt("a", "stream cut")
    clock.pass_by(100_000)
    assert (await ledger.spend("run")).run_nano == Amounts(in_doubt=300_000_000)


async def test_usage_that_comes_late_settles_a_row_in_doubt(ledger: ThreadedLedger) -> None:
    await send(ledger, "a", tokens=300)
    await ledger.doubt("a", "stream cut")
    await ledger.settle("a", charge(120))
    assert (await ledger.spend("run")).run_nano == Amounts(spent=120_000_000)


async def test_hold_is_not_sent_after_its_deadline_or_twice_or_by_another_process(
    ledger: ThreadedLedger, path: Path, clock: HandClock
) -> None:
    await hold(ledger, "late")
    clock.pass_by(600)
    assert not await ledger.mark_sent("late")
    await send(ledger, "once")
    assert not await ledger.mark_sent("once")
    other = ledger_at(path, clock=clock)
    await hold(ledger, "mine")
    assert not await other.mark_sent("mine")
    await other.aclose()


async def test_closed_run_sends_and_holds_nothing(ledger: ThreadedLedger) -> None:
    await hold(ledger, "a")
    await ledger.close_run("run", "done")
    assert not await ledger.mark_sent("a")
    with pytest.raises(InternalError, match="not open"):
        await ledger.reserve(ask("b"))


async def test_unsent_hold_cannot_be_charged(ledger: ThreadedLedger) -> None:
    await hold(ledger, "a")
    with pytest.raises(InternalError, match="never marked as sent"):
        await ledger.settle("a", charge(1))


async def test_asking_again_with_the_same_id_finds_the_same_hold(ledger: ThreadedLedger) -> None:
    assert await hold(ledger, "a") == await hold(ledger, "a")
    assert (await ledger.spend("run")).run_nano == Amounts(held=256_000_000)


# --- the hour ---------------------------------------------------------------------------------------------------


async def open_runs(ledger: ThreadedLedger, *names: str) -> None:
    for name in names:
        await ledger.open_run(
            name, CostLimit(max_cost_per_task=None, max_tokens_per_task=None), task="t", agent="a", labels={}
        )


async def test_amount_counts_in_the_hour_from_its_hold_to_an_hour_after_settlement(
    ledger: ThreadedLedger, clock: HandClock
) -> None:
    await open_runs(ledger, "other")
    await send(ledger, "a", tokens=900)
    clock.pass_by(500.75)
    await ledger.settle("a", charge(900))
    clock.pass_by(3599.75)  # in the second in which it leaves
    refused = await ledger.reserve(ask("b", "other", hour=Decimal(1)))
    assert isinstance(refused, Verdict)
    assert refused.limit == "max_cost_per_hour"
    assert refused.free_at is not None
    assert round(refused.free_at.timestamp() - clock.wall_s, 3) == 0.25
    clock.pass_by(0.25)
    assert isinstance(await ledger.reserve(ask("c", "other", hour=Decimal(1))), Hold)


async def test_doubt_counts_in_the_hour_until_an_hour_after_its_deadline(
    ledger: ThreadedLedger, clock: HandClock
) -> None:
    await send(ledger, "a", tokens=900)
    await ledger.doubt("a", "cut")
    clock.pass_by(600 + 3599)
    assert (await ledger.spend("run")).hour_nano.in_doubt == 900_000_000
    clock.pass_by(1)
    assert (await ledger.spend("run")).hour_nano.in_doubt == 0


async def test_an_open_hold_counts_in_the_hour_however_old(ledger: ThreadedLedger, clock: HandClock) -> None:
    await send(ledger, "a")
    clock.pass_by(90_000)
    assert (await ledger.spend("run")).hour_nano.held == 256_000_000


async def test_lower_of_two_hourly_limits_stops_first(ledger: ThreadedLedger) -> None:
    await open_runs(ledger, "low", "high")
    await send(ledger, "a", tokens=900)
    await ledger.settle("a", charge(900))
    assert isinstance(await ledger.reserve(ask("b", "low", hour=Decimal(1))), Verdict)
    assert isinstance(await ledger.reserve(ask("c", "high", hour=Decimal(2))), Hold)


@pytest.mark.parametrize(
    ("wall", "boot", "boot_id"), [(7200, 0, "boot-1"), (86_400, 5, "boot-1"), (-7200, 0, "boot-1")]
)
async def test_a_clock_set_forward_or_back_frees_nothing(
    ledger: ThreadedLedger, clock: HandClock, wall: float, boot: float, boot_id: str
) -> None:
    await send(ledger, "a", tokens=900)
    await ledger.settle("a", charge(900))
    clock.wall_s, clock.boot_s, clock.boot_id = clock.wall_s + wall, clock.boot_s + boot, boot_id
    await send(ledger, "b", tokens=1)
    assert (await ledger.spend("run")).hour_nano.spent == 900_000_000


async def test_wall_clock_gives_the_time_after_a_reboot(ledger: ThreadedLedger, clock: HandClock) -> None:
    await send(ledger, "a", tokens=900)
    await ledger.settle("a", charge(900))
    clock.wall_s, clock.boot_s, clock.boot_id = clock.wall_s + 3600, 3.0, "boot-2"
    assert (await ledger.spend("run")).hour_nano.spent == 0


# --- waiting, doubt, overrun -----------------------------------------------------------------------------------


async def test_holds_of_others_are_waited_for_and_the_oldest_goes_first(
    ledger: ThreadedLedger, clock: HandClock
) -> None:
    await open_runs(ledger, "x", "y")
    await send(ledger, "a", tokens=900)
    assert isinstance(await ledger.reserve(ask("old", "x", tokens=300, hour=Decimal(1))), Wait)
    clock.pass_by(1)
    assert isinstance(await ledger.reserve(ask("young", "y", tokens=90, hour=Decimal(1))), Wait)
    await ledger.settle("a", charge(700))
    assert isinstance(await ledger.reserve(ask("young", "y", tokens=90, hour=Decimal(1))), Wait)
    assert isinstance(await ledger.reserve(ask("old", "x", tokens=300, hour=Decimal(1))), Hold)


async def test_waiter_that_leaves_the_queue_is_not_waited_for(ledger: ThreadedLedger) -> None:
    await open_runs(ledger, "x", "y")
    await send(ledger, "a", tokens=900)
    await ledger.reserve(ask("old", "x", tokens=300, hour=Decimal(1)))
    await ledger.leave_queue("old")
    assert isinstance(await ledger.reserve(ask("young", "y", tokens=90, hour=Decimal(1))), Hold)


async def test_two_doubts_in_a_row_bring_a_pause_and_then_one_probe_with_the_least(
    ledger: ThreadedLedger, path: Path, clock: HandClock
) -> None:
    await open_runs(ledger, "run-2")
    for name in ("a", "b"):
        await send(ledger, name, tokens=1)
        await ledger.doubt(name, "503")
    paused = await ledger.reserve(ask("c", "run-2", most=4_000))
    assert isinstance(paused, Wait)
    assert paused.reason == "provider"
    clock.pass_by(paused.seconds)
    probe = await ledger.reserve(ask("c", "run-2", most=4_000))
    assert isinstance(probe, Hold)
    assert (probe.granted_output, probe.probe) == (256, True)
    other = ledger_at(path, clock=clock)
    assert isinstance(await other.reserve(ask("d", "run-2", most=4_000)), Wait)
    await ledger.mark_sent("c")
    await ledger.settle("c", charge(5))
    sound = await other.reserve(ask("d", "run-2", most=4_000))
    assert isinstance(sound, Hold)
    assert sound.granted_output == 4_000
    await other.aclose()


async def test_two_doubts_pause_the_same_model_at_the_same_address_and_nothing_else(ledger: ThreadedLedger) -> None:
    there = replace(FACTS, base_url="http://a/v1")
    for name in ("a", "b"):
        await send(ledger, name, tokens=1, facts=there)
        await ledger.doubt(name, "503")
    assert isinstance(await ledger.reserve(ask("c", tokens=1, facts=there)), Wait)
    for number, other in enumerate((FACTS, replace(there, base_url="http://b/v1"), replace(there, model="other"))):
        await hold(ledger, f"d{number}", tokens=1, facts=other)


async def test_a_free_call_is_never_paused_and_says_nothing_of_one_that_costs(ledger: ThreadedLedger) -> None:
    free = replace(FACTS, price=FREE)
    for name in ("a", "b", "c"):
        await send(ledger, name, tokens=1, facts=free)
        await ledger.doubt(name, "503")
    await hold(ledger, "d", tokens=1, facts=free)
    for name in ("e", "f"):
        await send(ledger, name, tokens=1)
        await ledger.doubt(name, "503")
    await send(ledger, "g", tokens=1, facts=free)
    await ledger.settle("g", charge(1, 0))
    assert isinstance(await ledger.reserve(ask("h", tokens=1)), Wait)


async def test_open_free_call_is_not_a_probe_that_others_wait_for(ledger: ThreadedLedger, clock: HandClock) -> None:
    for name in ("a", "b"):
        await send(ledger, name, tokens=1)
        await ledger.doubt(name, "503")
    await send(ledger, "c", tokens=1, facts=replace(FACTS, price=FREE))
    clock.pass_by(60)
    assert (await hold(ledger, "d", tokens=1)).probe


async def test_doubt_by_ctrl_c_does_not_speak_against_the_provider(ledger: ThreadedLedger) -> None:
    for name in ("a", "b", "c"):
        await send(ledger, name, tokens=1)
        await ledger.doubt(name, "cancelled", provider_fault=False)
    await hold(ledger, "d")


async def test_doubt_of_half_the_runs_limit_ends_it_as_the_providers_fault(ledger: ThreadedLedger) -> None:
    await send(ledger, "a", tokens=500)
    await ledger.doubt("a", "cut")
    refused = await ledger.reserve(ask("b"))
    assert isinstance(refused, Verdict)
    assert refused.doubtful


async def test_charge_above_its_hold_is_recorded_in_full_and_later_holds_use_the_ceiling(
    ledger: ThreadedLedger,
) -> None:
    await open_runs(ledger, "rich")
    await send(ledger, "a", tokens=100)
    settled = await ledger.settle("a", charge(900))
    assert settled == Settlement("settled", 900_000_000, 910, overrun=True)
    assert isinstance(await ledger.reserve(ask("b", tokens=1)), Verdict)
    wary = await ledger.reserve(ask("c", "rich", tokens=1))
    assert isinstance(wary, Hold)
    assert (wary.granted_output, wary.tokens, wary.nano) == (1, 110_000, 10 * DOLLAR)


async def test_a_stream_cut_past_its_clamp_is_in_doubt_at_the_models_ceiling(ledger: ThreadedLedger) -> None:
    await send(ledger, "a", tokens=100)
    assert await ledger.doubt("a", "ran past", ceiling=True) == Settlement("doubt", 10 * DOLLAR, 110_000)


# --- the file ---------------------------------------------------------------------------------------------------


async def test_ledger_is_private_to_the_user_and_keeps_every_step(ledger: ThreadedLedger, path: Path) -> None:
    await send(ledger, "a")
    await ledger.doubt("a", "cut")
    await ledger.settle("a", charge(3))
    assert (path.parent.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)
    with database_at(path) as db:
        steps = db.execute("SELECT phase FROM entries WHERE attempt_id = 'a' ORDER BY id").fetchall()
        assert [phase for (phase,) in steps] == ["held", "sent", "doubt", "settled"]
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        for wrong in ("UPDATE entries SET nano = 0", "DELETE FROM entries", "DELETE FROM attempts"):
            with pytest.raises(sqlite3.IntegrityError, match="never"):
                db.execute(wrong)
    db.close()


async def test_each_hold_stores_the_limits_and_sums_it_was_admitted_under(ledger: ThreadedLedger, path: Path) -> None:
    await send(ledger, "a", tokens=100)
    await hold(ledger, "b", hour=Decimal(3))
    with database_at(path) as db:
        (admitted,) = db.execute("SELECT admitted FROM attempts WHERE id = 'b'").fetchone()
    db.close()
    assert admitted == (
        '{"max_cost_per_task@run": [1000000000, 100000000], "max_cost_per_hour": [3000000000, 100000000], '
        '"max_tokens_per_task@run": [100000, 110]}'
    )


async def test_report_separates_spent_held_and_in_doubt(ledger: ThreadedLedger, path: Path, clock: HandClock) -> None:
    for name in ("a", "b", "c"):
        await send(ledger, name, tokens=100)
    await ledger.settle("a", charge(40))
    await ledger.doubt("b", "cut")
    report = costs_window(path, seconds=3600, clock=clock)
    assert (report.total_nano, report.in_doubt_nano, report.held_nano) == (40_000_000, 100_000_000, 100_000_000)
    (row,) = report.rows
    assert (row.run_id, row.agent, row.provider, row.model, row.calls, row.output_tokens) == (
        "run",
        "a",
        "p",
        "m",
        3,
        40,
    )
    clock.pass_by(3601)
    later = costs_window(path, seconds=3600, clock=clock)
    assert (later.total_nano, later.in_doubt_nano, later.held_nano) == (0, 0, 100_000_000)


def test_missing_ledger_is_an_empty_report_and_makes_no_file(path: Path) -> None:
    assert costs_window(path, seconds=3600).rows == ()
    assert not path.parent.exists()
