"""Clocks that jump, stop and restart: the hour never frees early, and no amount counts for ever."""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import Hold
from agentctl.cli.ledger.ledger_output import RESET_CLOCK, check_document, check_table
from agentctl.core.errors import ActionDenied, UsageError, Verdict
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Usage
from agentctl.ledger.check import check
from agentctl.ledger.clock import advance
from agentctl.ledger.database import Database
from agentctl.ledger.ledger_session import LedgerSession
from agentctl.ledger.reconcile import ClockReset, reset_clock
from agentctl.ledger.schema import migrate
from tests.support.ledger.corrections import rows
from tests.support.ledger.parts import HandClock, ask

HOUR_S, DAY_S = 3600.0, 86_400.0
SPENT = 900_000_000


@contextmanager
def opened(path: Path, clock: HandClock, *, run: str = "run") -> Iterator[LedgerSession]:
    """Open a ledger with a run that only the hour binds."""
    session = LedgerSession(Database(path, clock=clock), owner_id=os.urandom(8).hex(), pid=os.getpid())
    no_limit = CostLimit(max_cost_per_task=None, max_tokens_per_task=None)
    session.open_run(run, no_limit, task="", agent="", labels={})
    yield session
    session.close()


@pytest.fixture
def session(path: Path, clock: HandClock) -> Iterator[LedgerSession]:
    with opened(path, clock) as session:
        yield session


def send(session: LedgerSession, name: str, tokens: int = 900) -> None:
    assert isinstance(session.reserve(ask(name, tokens=tokens)), Hold)
    assert session.mark_sent(name)


def spend(session: LedgerSession, name: str = "a") -> None:
    send(session, name)
    session.settle(name, Charge(Usage(10, 900), SPENT, "m"))


def write(session: LedgerSession) -> None:
    """Make the ledger read the clocks, as any operation does."""
    session.leave_queue("nobody")


def in_the_hour(session: LedgerSession) -> int:
    return session.spend("run").hour_nano.total


# --- suspend --------------------------------------------------------------------------------------------------------


def test_hold_is_not_sent_after_a_suspend_before_sending(session: LedgerSession, clock: HandClock) -> None:
    session.reserve(ask("a", tokens=900))
    clock.pass_by(3 * HOUR_S)
    assert not session.mark_sent("a")
    assert isinstance(session.reserve(ask("b", tokens=900, hour=Decimal(1))), Hold), "its room is free again"


def test_suspended_call_counts_throughout_and_an_hour_after_it_settles(
    session: LedgerSession, clock: HandClock
) -> None:
    send(session, "a")
    clock.pass_by(3 * HOUR_S)
    assert in_the_hour(session) == SPENT
    session.settle("a", Charge(Usage(10, 900), SPENT, "m"))
    clock.pass_by(HOUR_S - 1)
    assert in_the_hour(session) == SPENT
    clock.pass_by(1)
    assert in_the_hour(session) == 0


def test_suspended_call_whose_answer_is_lost_is_in_doubt_for_an_hour_from_then(
    session: LedgerSession, clock: HandClock
) -> None:
    send(session, "a")
    clock.pass_by(3 * HOUR_S)
    session.doubt("a", "the connection is gone", ceiling=False, provider_fault=False)
    clock.pass_by(HOUR_S - 1)
    assert in_the_hour(session) == SPENT
    clock.pass_by(1)
    assert in_the_hour(session) == 0


def test_suspend_that_no_clock_counts_frees_nothing(session: LedgerSession, clock: HandClock) -> None:
    spend(session)
    session.reserve(ask("held", tokens=1))
    clock.wall_s += 3 * HOUR_S
    write(session)
    assert in_the_hour(session) == SPENT + 1_000_000
    assert session.mark_sent("held"), "the ledger's time stood still, and so did its deadline"


def test_a_boot_clock_that_leaps_frees_nothing_early(session: LedgerSession, clock: HandClock) -> None:
    """A machine that is thawed elsewhere, or a namespace with a clock of its own: the lesser of both clocks counts."""
    spend(session)
    clock.boot_s += 3 * HOUR_S
    write(session)
    assert in_the_hour(session) == SPENT


# --- jumps ----------------------------------------------------------------------------------------------------------

JUMPS = [2 * HOUR_S, -2 * HOUR_S, DAY_S, -DAY_S]


@pytest.mark.parametrize("back", [True, False], ids=["and back", "for good"])
@pytest.mark.parametrize("jump", JUMPS)
def test_a_clock_that_is_set_frees_nothing_early_and_keeps_nothing_for_ever(
    session: LedgerSession, clock: HandClock, jump: float, back: bool
) -> None:
    spend(session)
    clock.wall_s += jump
    write(session)
    clock.pass_by(1800)
    if back:
        clock.wall_s -= jump
        write(session)
    clock.pass_by(1799)
    assert in_the_hour(session) == SPENT
    write(session)
    clock.pass_by(HOUR_S)
    assert in_the_hour(session) == 0


@pytest.mark.parametrize("jump", JUMPS)
def test_a_clock_that_is_set_lets_no_deadline_pass_early(session: LedgerSession, clock: HandClock, jump: float) -> None:
    session.reserve(ask("a", tokens=1))
    clock.wall_s += jump
    clock.pass_by(599)
    assert session.mark_sent("a")


@pytest.mark.parametrize("jump", JUMPS)
def test_a_refusal_says_by_the_clock_of_the_day_when_the_hour_is_free(
    session: LedgerSession, clock: HandClock, jump: float
) -> None:
    spend(session)
    clock.wall_s += jump
    write(session)
    refused = session.reserve(ask("b", tokens=900, hour=Decimal(1)))
    assert isinstance(refused, Verdict)
    assert refused.free_at is not None
    clock.pass_by(refused.free_at.timestamp() - clock.wall_s)
    assert isinstance(session.reserve(ask("b", tokens=900, hour=Decimal(1))), Hold)


def test_clock_a_day_behind_at_start_delays_by_no_more_than_it_was_off(
    session: LedgerSession, clock: HandClock
) -> None:
    spend(session)
    clock.wall_s, clock.boot_s, clock.boot_id = clock.wall_s + 600 - DAY_S, 5.0, "boot-2"
    write(session)
    clock.wall_s += DAY_S
    write(session)
    assert in_the_hour(session) == SPENT
    clock.pass_by(HOUR_S)
    assert in_the_hour(session) == 0


# --- several boots --------------------------------------------------------------------------------------------------


def start_again(clock: HandClock, *, off_s: float = 0.0, wrong_by_s: float = 0.0, boot_id: str | None = None) -> None:
    """Let the machine be off for a while; its wall clock is then further off by ``wrong_by_s`` than before."""
    clock.wall_s += off_s + wrong_by_s
    clock.boot_s = 5.0
    clock.boot_id = f"{clock.boot_id}'" if boot_id is None else boot_id


def time_of(path: Path) -> float:
    ((now_us,),) = rows(path, "SELECT now_us FROM clock")
    return int(now_us) / 1_000_000


@pytest.mark.parametrize("boots", [1, 2, 3])
@pytest.mark.parametrize("behind_s", [60.0, DAY_S, 400 * DAY_S])
def test_clock_behind_for_some_boots_counts_only_the_time_that_passed(
    path: Path, session: LedgerSession, clock: HandClock, behind_s: float, boots: int
) -> None:
    """Regression: one day behind and right again after 120 s was 86,460 s more."""
    write(session)
    began_s = time_of(path)
    start_again(clock, off_s=30, wrong_by_s=-behind_s)
    write(session)
    for _ in range(boots):
        clock.pass_by(30)
        write(session)
        start_again(clock)
        write(session)
    start_again(clock, off_s=60, wrong_by_s=behind_s)
    write(session)
    assert time_of(path) - began_s == 90 + 30 * boots


def test_a_day_behind_in_one_boot_does_not_free_the_hour_in_the_next(session: LedgerSession, clock: HandClock) -> None:
    spend(session)
    start_again(clock, wrong_by_s=-DAY_S)
    write(session)
    clock.pass_by(60)
    write(session)
    start_again(clock, off_s=60, wrong_by_s=DAY_S)
    write(session)
    assert in_the_hour(session) == SPENT
    clock.pass_by(HOUR_S - 121)
    assert in_the_hour(session) == SPENT
    clock.pass_by(1)
    assert in_the_hour(session) == 0


def test_ledger_of_the_first_schema_migrated_with_the_clock_behind_frees_nothing(path: Path, clock: HandClock) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        migrate(db, upto=1)
        us = int(clock.wall_s * 1_000_000)  # a minute of a boot with yesterday's clock has been counted
        behind_us = us - int(DAY_S * 1_000_000)
        db.execute("INSERT INTO clock VALUES (1, ?, ?, 65000000, 'slow')", (us + 60_000_000, behind_us + 60_000_000))
    clock.boot_id, clock.boot_s, clock.wall_s = "slow", 65.0, clock.wall_s + 60 - DAY_S
    with opened(path, clock) as session:
        spend(session)
        start_again(clock, off_s=60, wrong_by_s=DAY_S)
        write(session)
        assert time_of(path) == clock.wall_s
        assert in_the_hour(session) == SPENT


@pytest.mark.parametrize("ids", [("", ""), ("", "known"), ("known", "")])
def test_wall_clock_without_a_boot_id_counts_beyond_what_it_has_reached(
    path: Path, session: LedgerSession, clock: HandClock, ids: tuple[str, str]
) -> None:
    write(session)
    began_s = time_of(path)
    for wrong_by_s in (-DAY_S, DAY_S):
        for boot_id in ids:
            start_again(clock, off_s=20, wrong_by_s=wrong_by_s, boot_id=boot_id)
            wrong_by_s = 0.0
            write(session)
    assert time_of(path) - began_s == 80


Boot = tuple[float, float, tuple[float, ...]]
BOOTS: st.SearchStrategy[list[Boot]] = st.lists(
    st.tuples(  # off for so long, then behind by so much, and what passes between looks
        st.floats(0, 5000),
        st.one_of(st.just(0.0), st.floats(0, 3 * DAY_S)),
        st.tuples(st.floats(0, 900), st.floats(0, 900)),
    ),
    max_size=6,
)


@settings(max_examples=200)
@given(BOOTS, st.sampled_from(["same", "none", "mixed"]))
def test_ledgers_time_is_never_ahead_of_real_time_whichever_clocks_are_behind(boots: list[Boot], ids: str) -> None:
    clock = HandClock(boot_id="" if ids == "none" else "first")
    row, real_s, began_us = advance(None, clock()), 0.0, clock().wall_us
    right_s = clock.wall_s
    for number, (off_s, behind_s, passing) in enumerate(boots):
        real_s += off_s
        clock.boot_s = 1.0
        for look, passed_s in enumerate((0.0, *passing)):
            real_s += passed_s
            clock.boot_s += passed_s
            clock.wall_s = right_s + real_s - behind_s
            named = ids == "same" or (ids == "mixed" and look % 2)
            clock.boot_id = f"boot {number}" if named else ""
            row = advance(row, clock())
            assert row.now_us - began_us <= real_s * 1_000_000 + 1_000
            if not behind_s and ids == "same" and look == 0:
                assert row.now_us - began_us >= real_s * 1_000_000 - 1_000, "a right clock makes up for the time off"


# --- ahead, and right again -----------------------------------------------------------------------------------------


def reset(path: Path, clock: HandClock, *, dry_run: bool = False) -> ClockReset:
    return reset_clock(path, clock=clock, dry_run=dry_run)


@pytest.fixture
def was_ahead(path: Path, clock: HandClock) -> Path:
    """A ledger that has seen tomorrow, on a machine whose clock is right again."""
    with opened(path, clock, run="ahead") as session:
        clock.wall_s += DAY_S
        write(session)
        clock.wall_s -= DAY_S
        write(session)
    return path


def test_time_off_counts_again_once_a_clock_that_was_ahead_is_reset(was_ahead: Path, clock: HandClock) -> None:
    with opened(was_ahead, clock) as session:
        spend(session)
    start_again(clock, off_s=HOUR_S)
    with opened(was_ahead, clock, run="second") as session:
        write(session)
        assert in_the_hour(session) == SPENT, "the time off is not counted"
    found = reset(was_ahead, clock)
    assert (found.done, (found.was - found.now).total_seconds()) == (True, DAY_S - HOUR_S)
    with opened(was_ahead, clock, run="third") as session:
        assert in_the_hour(session) == SPENT, "a reset frees nothing by itself"
        start_again(clock, off_s=HOUR_S - 1)
        write(session)
        assert in_the_hour(session) == SPENT
        start_again(clock, off_s=1)
        write(session)
        assert in_the_hour(session) == 0


def test_reset_clock_is_offered_for_a_clock_well_behind_and_not_once_corrected(path: Path, clock: HandClock) -> None:
    with opened(path, clock) as session:
        write(session)
        for behind_s, offered in ((599.0, False), (601.0, True)):
            clock.wall_s -= behind_s
            write(session)
            found = check(path, clock=clock)
            assert (found.is_wall_behind, RESET_CLOCK in check_table(found, path)) == (offered, offered)
            assert json.loads(check_document(found, path, None))["clock"]["hint"] == (RESET_CLOCK if offered else None)
            clock.wall_s += behind_s
    assert not reset(path, clock).done


def test_a_clock_is_not_reset_under_a_run_that_lives(was_ahead: Path, clock: HandClock) -> None:
    with opened(was_ahead, clock, run="second"):
        for dry_run in (True, False):
            with pytest.raises(ActionDenied, match=f"process {os.getpid()} on .* uses the ledger"):
                reset(was_ahead, clock, dry_run=dry_run)
    before = rows(was_ahead, "SELECT * FROM clock")
    assert reset(was_ahead, clock, dry_run=True).done
    assert rows(was_ahead, "SELECT * FROM clock") == before
    assert reset(was_ahead, clock).done
    assert not reset(was_ahead, clock).done


def test_reset_clock_without_a_ledger_is_a_usage_error_and_makes_none(path: Path, clock: HandClock) -> None:
    with pytest.raises(UsageError, match="no ledger yet"):
        reset(path, clock)
    assert not path.parent.exists()


# --- all of it ------------------------------------------------------------------------------------------------------

Step = tuple[str, float]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.floats(0, 4000)),
        st.tuples(st.just("set"), st.floats(-2 * DAY_S, 2 * DAY_S)),
        st.tuples(st.just("restart"), st.floats(0, 4000)),
        st.tuples(st.just("write"), st.just(0.0)),
    ),
    max_size=10,
)


@settings(max_examples=60)
@given(STEPS)
def test_amount_counts_for_its_hour_and_not_for_ever_whatever_the_clocks_do(steps: list[Step]) -> None:
    """A restart takes so many seconds, over which the wall clock goes on from where it was."""
    clock = HandClock()
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder, "ledger.db"), clock) as session:
        spend(session)
        elapsed = 0.0
        for number, (kind, value) in enumerate(steps):
            if kind == "set":
                write(session)  # else a restart could hide that it was set
                clock.wall_s += value
                write(session)
            elif kind == "write":
                write(session)
            else:
                elapsed += value
                clock.pass_by(value)
                if kind == "restart":
                    clock.boot_s, clock.boot_id = 1.0, f"after-{number}"
            assert in_the_hour(session) == SPENT or elapsed >= HOUR_S - 0.001
        write(session)
        clock.pass_by(HOUR_S)
        assert in_the_hour(session) == 0
