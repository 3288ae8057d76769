"""Regressions of the ledger: each test stands for one fixed bug."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from threading import Barrier

import pytest

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import Amounts, Ask, Hold, Wait
from agentctl.core.errors import InternalError, StateError, UsageError
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Usage
from agentctl.ledger.database import Database
from agentctl.ledger.errors import translate_errors
from agentctl.ledger.ledger_session import LedgerSession
from agentctl.ledger.locks import is_dead, queue_lock
from agentctl.ledger.report import costs_window
from agentctl.ledger.sqlite import ThreadedLedger
from agentctl.ledger.sums import WAITER_SILENCE_US
from tests.support.ledger.engines import database_at, ledger_at
from tests.support.ledger.parts import HandClock, ask

FREE_HAND = CostLimit(max_cost_per_task=None, max_tokens_per_task=None)
HOUR = Decimal(1)
LONE = "\ud800"  # half of a pair: JSON and file names can carry it, UTF-8 cannot


@pytest.fixture
async def two_runs(ledger: ThreadedLedger) -> ThreadedLedger:
    """Give the runs x and y on one ledger; only the hour binds them."""
    for run in ("x", "y"):
        await ledger.open_run(run, FREE_HAND, task="", agent="", labels={})
    return ledger


async def send(ledger: ThreadedLedger, asked: Ask) -> None:
    assert isinstance(await ledger.reserve(asked), Hold)
    assert await ledger.mark_sent(asked.attempt_id)


async def spent(ledger: ThreadedLedger, asked: Ask, *, tokens: int) -> None:
    await send(ledger, asked)
    await ledger.settle(asked.attempt_id, Charge(Usage(10, tokens), tokens * 1_000_000, "m"))


def of_provider(provider: str, asked: Ask) -> Ask:
    return asked._replace(facts=replace(asked.facts, provider=provider))


def look(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(database_at(path)) as db:
        return db.execute(sql).fetchall()


# --- who holds what ---------------------------------------------------------------------------------------------


async def test_first_step_that_fails_does_not_affect_the_next(path: Path) -> None:
    ledger = ledger_at(path)
    with pytest.raises(InternalError, match="not open"):
        await ledger.reserve(ask("a", "nowhere"))
    await ledger.open_run("run", CostLimit(), task="", agent="", labels={})
    assert isinstance(await ledger.reserve(ask("b")), Hold)
    await ledger.aclose()


async def test_a_hold_that_was_not_sent_in_time_gives_its_room_back(ledger: ThreadedLedger, clock: HandClock) -> None:
    await ledger.reserve(ask("late", tokens=900))
    clock.pass_by(601)
    assert isinstance(await ledger.reserve(ask("next", tokens=900)), Hold)
    assert not await ledger.mark_sent("late")
    assert (await ledger.spend("run")).run_nano == Amounts(held=900_000_000)


async def test_a_hold_that_was_sent_keeps_its_room_after_its_deadline(
    two_runs: ThreadedLedger, clock: HandClock
) -> None:
    await send(two_runs, ask("sent", "x", tokens=900))
    clock.pass_by(601)
    assert isinstance(await two_runs.reserve(ask("next", "y", tokens=200, hour=HOUR)), Wait)


async def test_a_run_that_ends_gives_back_what_it_never_sent_and_leaves_the_queue(
    two_runs: ThreadedLedger, path: Path
) -> None:
    await send(two_runs, ask("sent", "x", tokens=200))
    await two_runs.reserve(ask("held", "x", tokens=700))
    assert isinstance(await two_runs.reserve(ask("waiting", "x", tokens=300, hour=HOUR)), Wait)
    await two_runs.close_run("x", "done")
    assert isinstance(await two_runs.reserve(ask("other", "y", tokens=800, hour=HOUR)), Hold)
    assert look(path, "SELECT id, phase FROM attempts ORDER BY id") == [
        ("held", "void"),
        ("other", "held"),
        ("sent", "sent"),
    ]
    assert look(path, "SELECT * FROM waiters WHERE seen_us >= 0") == []


async def test_waiter_that_leaves_the_queue_gives_up_an_unsent_grant_but_nothing_sent(
    ledger: ThreadedLedger,
) -> None:
    await ledger.reserve(ask("unheard", tokens=900))
    await ledger.leave_queue("unheard")
    assert (await ledger.spend("run")).run_nano == Amounts()
    await send(ledger, ask("sent", tokens=900))
    await ledger.leave_queue("sent")
    assert (await ledger.spend("run")).run_nano == Amounts(held=900_000_000)


# --- the queue --------------------------------------------------------------------------------------------------


async def test_run_that_pauses_for_a_provider_does_not_block_the_queue(two_runs: ThreadedLedger) -> None:
    await send(two_runs, of_provider("q", ask("a", "x", tokens=900)))
    for name in ("d1", "d2"):
        await send(two_runs, ask(name, "x", tokens=1))
    assert isinstance(await two_runs.reserve(ask("old", "x", tokens=290, hour=HOUR)), Wait)
    for name in ("d1", "d2"):
        await two_runs.doubt(name, "503")
    await two_runs.settle("a", Charge(Usage(10, 700), 700_000_000, "m"))
    paused = await two_runs.reserve(ask("old", "x", tokens=290, hour=HOUR))
    assert isinstance(paused, Wait)
    assert paused.reason == "provider"
    assert isinstance(await two_runs.reserve(of_provider("q", ask("young", "y", tokens=90, hour=HOUR))), Hold)


async def test_a_stopped_process_loses_its_place_in_the_queue_until_it_asks_again(
    two_runs: ThreadedLedger, clock: HandClock
) -> None:
    await send(two_runs, ask("a", "x", tokens=900))
    old, young = ask("old", "x", tokens=300, hour=HOUR), ask("young", "y", tokens=90, hour=HOUR)
    assert isinstance(await two_runs.reserve(old), Wait)
    clock.pass_by(WAITER_SILENCE_US / 1_000_000)
    assert isinstance(await two_runs.reserve(young), Wait)
    assert isinstance(await two_runs.reserve(old), Wait)
    clock.pass_by(1)
    assert isinstance(await two_runs.reserve(young), Wait)
    clock.pass_by(WAITER_SILENCE_US / 1_000_000)
    assert isinstance(await two_runs.reserve(young), Hold)


async def test_waiter_for_the_queue_alone_gets_a_number_above_the_ceiling(two_runs: ThreadedLedger) -> None:
    await send(two_runs, ask("a", "x", tokens=900))
    assert isinstance(await two_runs.reserve(ask("old", "x", tokens=300, hour=HOUR)), Wait)
    await two_runs.void("a", "refused")
    waiting = await two_runs.reserve(ask("young", "y", tokens=800, hour=HOUR))
    assert isinstance(waiting, Wait)
    assert waiting.verdict is not None
    assert (waiting.verdict.ceiling, waiting.verdict.would_be) == (1_000_000_000, 1_100_000_000)


async def test_waiter_gets_the_time_when_the_hour_is_free(two_runs: ThreadedLedger, clock: HandClock) -> None:
    await spent(two_runs, ask("a", "x", tokens=500), tokens=500)
    await send(two_runs, ask("b", "x", tokens=400))
    waiting = await two_runs.reserve(ask("c", "y", tokens=300, hour=HOUR))
    assert isinstance(waiting, Wait)
    assert waiting.verdict is not None
    assert waiting.verdict.free_at is not None
    assert waiting.verdict.free_at.timestamp() == clock.wall_s + 3600


async def test_after_an_overrun_holds_of_others_are_waited_for_and_the_queue_is_kept(two_runs: ThreadedLedger) -> None:
    """The ceiling of the model that broke its clamp is $10."""
    await spent(two_runs, ask("a", "x", tokens=100), tokens=900)
    await send(two_runs, ask("b", "x", tokens=1))
    assert isinstance(await two_runs.reserve(ask("c", "y", tokens=1, hour=Decimal(15))), Wait)
    await two_runs.void("b", "refused")
    sound = of_provider("q", ask("d", "x", tokens=6_000, hour=Decimal(15)))
    assert isinstance(await two_runs.reserve(sound), Wait)  # behind "c", which needs the whole ceiling
    await two_runs.leave_queue("c")
    await send(two_runs, sound)
    assert isinstance(await two_runs.reserve(of_provider("q", ask("old", "x", tokens=9_000, hour=Decimal(15)))), Wait)
    await two_runs.void("d", "refused")
    assert isinstance(await two_runs.reserve(ask("young", "y", tokens=1, hour=Decimal(15))), Wait)


# --- text and numbers that do not fit ---------------------------------------------------------------------------


async def test_lone_surrogate_anywhere_is_written_as_a_question_mark(path: Path) -> None:
    ledger = ledger_at(path)
    await ledger.open_run("run", CostLimit(), task=f"t{LONE}", agent=f"a{LONE}", labels={"l": LONE})
    await send(ledger, ask("settled", tokens=1))
    await ledger.settle("settled", Charge(Usage(10, 1), 1_000_000, f"m{LONE}"))
    await send(ledger, ask("doubted", tokens=1))
    await ledger.doubt("doubted", f"d{LONE}")
    await send(ledger, ask("voided", tokens=1))
    await ledger.void("voided", f"v{LONE}")
    await ledger.aclose()
    assert look(path, "SELECT task, agent FROM scopes") == [("t?", "a?")]
    assert look(path, "SELECT answered_model, reason FROM attempts ORDER BY id") == [
        (None, "d?"),
        ("m?", None),
        (None, "v?"),
    ]
    assert look(path, "SELECT reason FROM entries WHERE reason IS NOT NULL") == [("d?",), ("v?",)]


async def test_the_highest_limits_there_can_be_fit_into_the_ledger(ledger: ThreadedLedger) -> None:
    with pytest.raises(UsageError):
        CostLimit(max_tokens_per_task=10**15 + 1)
    highest = CostLimit(max_cost_per_task=Decimal("999999.999999999"), max_tokens_per_task=10**15)
    await ledger.open_run("rich", highest, task="", agent="", labels={})
    assert isinstance(await ledger.reserve(ask("a", "rich", tokens=9_999)), Hold)


# --- files and forks --------------------------------------------------------------------------------------------


def test_processes_that_make_the_ledger_at_once_do_not_take_it_for_anothers(path: Path) -> None:
    """Read in parts, the header of a file that another was just making looked like a foreign program's."""
    at_once = 8

    def make(number: int, start: Barrier) -> None:
        start.wait()
        Database(path.with_name(f"{number}.db")).close()

    with ThreadPoolExecutor(at_once) as pool:
        for number in range(60):
            start = Barrier(at_once)
            for made in [pool.submit(make, number, start) for _ in range(at_once)]:
                made.result()


def test_a_ledger_that_was_made_and_not_yet_written_to_is_an_empty_report(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").touch()
    assert costs_window(tmp_path / "ledger.db", seconds=60).rows == ()


async def test_the_lock_files_of_the_dead_are_removed_by_the_next_to_come(path: Path) -> None:
    owners = path.with_suffix(".owners")
    living, next_one = ledger_at(path), ledger_at(path)
    await living.open_run("living", CostLimit(), task="", agent="", labels={})
    (theirs,) = owners.iterdir()
    for stray in ("killed-early", "killed-late"):
        (owners / stray).touch()
    await next_one.open_run("next", CostLimit(), task="", agent="", labels={})
    assert len(list(owners.iterdir())) == 2
    assert theirs.exists()
    assert not is_dead(owners, theirs.name)
    await living.aclose()
    await next_one.aclose()


def test_ledger_that_cannot_be_written_at_the_end_still_releases_its_lock(path: Path) -> None:
    session = LedgerSession(Database(path, patience_s=0), owner_id="me", pid=os.getpid())
    session.open_run("run", CostLimit(), task="", agent="", labels={})
    assert not is_dead(path.with_suffix(".owners"), "me")
    with queue_lock(path.with_suffix(".queue")), pytest.raises(StateError, match="has not moved"):
        session.close()
    assert list(path.with_suffix(".owners").iterdir()) == []


def test_disk_without_space_for_the_queue_has_the_hint_of_a_full_disk(path: Path) -> None:
    with pytest.raises(StateError) as caught, translate_errors(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "free some space" in caught.value.hint


async def test_foreign_entry_among_the_lock_files_stops_no_run(path: Path) -> None:
    (path.parent / "ledger.owners" / "a-folder").mkdir(parents=True)
    ledger = ledger_at(path)
    await ledger.open_run("run", CostLimit(), task="t", agent="a", labels={})
    await send(ledger, ask("a", tokens=1))
    await ledger.aclose()
