"""Sub-totals: they equal the sums of the rows, in a bounded number of steps for any number of rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import AnswerReserve, Hold
from agentctl.core.errors import LimitName, Verdict
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Usage
from agentctl.ledger.check import check
from agentctl.ledger.database import Database
from agentctl.ledger.ledger_session import LedgerSession
from agentctl.ledger.locks import FileOwners
from agentctl.ledger.schema import migrate
from agentctl.ledger.sums import SECOND_US, WIDTHS_US, amounts_after, find_drift, run_amounts, time_of
from agentctl.ledger.transaction import Transaction
from tests.support.ledger.corrections import CALL, begin, change, left_in_doubt, opened, rows, send
from tests.support.ledger.many_rows import BIG, fill
from tests.support.ledger.parts import FACTS, HandClock, ask

MOST = 2**63 - 1
DAY_US = WIDTHS_US[-1]


@pytest.fixture
def tick() -> Iterator[Transaction]:
    """An empty ledger in memory."""
    with closing(migrate(sqlite3.connect(":memory:", isolation_level=None))) as db:
        db.execute("INSERT INTO scopes (id, kind, opened_us) VALUES ('run', 'run', 0)")
        db.execute("INSERT INTO owners (id, pid, host, boot_id, started_us) VALUES ('owner', 1, '', '', 0)")
        yield Transaction(db, 0, 0, FileOwners(Path("/")))


def put(tick: Transaction, number: int, leaves_us: int | None, nano: int, phase: str = "settled") -> None:
    tick.db.execute(
        "INSERT INTO attempts (id, run_id, owner_id, purpose, phase, provider, input_bound, granted_output,"
        " hold_tokens, ceiling_tokens, nano, tokens, admitted, held_us, deadline_us, leaves_hour_us)"
        " VALUES (?, 'run', 'owner', 'turn', ?, 'p', 0, 0, 0, 0, ?, ?, '{}', 0, 0, ?)",
        (f"{number}", phase, nano, nano, leaves_us),
    )


def test_the_widths_are_those_that_the_triggers_keep(tick: Transaction) -> None:
    assert tick.db.execute("SELECT width_us FROM widths ORDER BY width_us").fetchall() == [
        (0,),
        *((w,) for w in WIDTHS_US),
    ]


AROUND = st.sampled_from([1, *WIDTHS_US]).flatmap(
    lambda width: st.builds(lambda many, off: many * width + off, st.integers(0, 40), st.integers(-2, 2))
)
WHEN = st.one_of(AROUND, st.integers(0, 40 * DAY_US)).map(lambda us: max(1, us))
ROWS = st.lists(
    st.tuples(WHEN, st.sampled_from([0, 1, 7, 2**32 - 1, 2**32, MOST]), st.sampled_from(["settled", "doubt", "void"])),
    max_size=30,
)


@settings(max_examples=300)
@given(ROWS, WHEN, st.integers(1, 2**65))
def test_a_window_and_when_it_is_free_are_those_of_the_rows(
    found: list[tuple[int, int, str]], after_us: int, nano: int
) -> None:
    with closing(migrate(sqlite3.connect(":memory:", isolation_level=None))) as db:
        db.execute("INSERT INTO scopes (id, kind, opened_us) VALUES ('run', 'run', 0)")
        db.execute("INSERT INTO owners (id, pid, host, boot_id, started_us) VALUES ('owner', 1, '', '', 0)")
        tick = Transaction(db, 0, 0, FileOwners(Path("/")))
        for number, (leaves_us, amount, phase) in enumerate(found):
            put(tick, number, leaves_us, amount, phase)
        put(tick, -1, None, 5, "sent")
        put(tick, -2, None, 3, "kept")
        counting = sorted((leaves, amount, phase) for leaves, amount, phase in found if leaves > after_us)
        sums = {of: sum(amount for _, amount, phase in counting if phase == of) for of in ("settled", "doubt")}
        amounts, movable = amounts_after(tick, after_us)
        assert (amounts.spent, amounts.in_doubt, amounts.held, movable) == (sums["settled"], sums["doubt"], 8, 5)
        left, freed_us = nano, None
        for leaves, amount, phase in counting:
            left -= amount if phase != "void" else 0
            if left <= 0:
                freed_us = leaves
                break
        assert time_of(tick, after_us, nano) == freed_us
        assert find_drift(tick) == ()
        counted = sum(amount for _, amount, phase in found if phase == "settled")
        assert run_amounts(tick, "run", "tokens")[0].spent == counted


# --- ledger check ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("UPDATE scope_totals SET nano_lo = nano_lo + 1", {"run run"}),
        ("UPDATE scope_totals SET tokens_hi = tokens_hi - 1", {"run run"}),
        ("DELETE FROM scope_totals", {"run run"}),
        ("INSERT INTO scope_totals VALUES ('nobody', 'settled', 0, 1, 0, 0)", {"run nobody"}),
        ("UPDATE window_totals SET nano_hi = nano_hi + 1 WHERE width_us = 0", {"what is open"}),
        (
            "UPDATE window_totals SET nano_lo = 0 WHERE width_us = 1000000",
            {"the second 2027-01-15 09:10:00 UTC", "the minute 2027-01-15 09:10:00 UTC"},
        ),
        (
            "DELETE FROM window_totals WHERE width_us = 60000000",
            {"the minute 2027-01-15 09:10:00 UTC", "the hour 2027-01-15 09:00:00 UTC"},
        ),
        (
            "UPDATE window_totals SET bucket = bucket + 1 WHERE width_us = 3600000000",
            {"the hour 2027-01-15 09:00:00 UTC", "the hour 2027-01-15 10:00:00 UTC"},
        ),
        (
            "UPDATE window_totals SET phase = 'settled' WHERE width_us = 86400000000",
            {"the day 2027-01-15 00:00:00 UTC"},
        ),
    ],
)
def test_a_drifted_sub_total_is_named(path: Path, clock: HandClock, sql: str, named: set[str]) -> None:
    left_in_doubt(path, "a", clock=clock)
    session = opened(path, clock, owner="alive")
    begin(session, "second")
    send(session, "open", "second")
    assert check(path, clock=clock).wrong == ()
    change(path, sql)
    said = {one.removesuffix(" is not the sum of its attempts") for one in check(path, clock=clock).wrong}
    assert {one.removeprefix("the sub-total of ") for one in said} >= named
    session.close()


def test_a_trigger_that_is_gone_is_seen_by_the_sub_totals_it_no_longer_keeps(path: Path, clock: HandClock) -> None:
    left_in_doubt(path, "a", clock=clock)
    change(path, "DROP TRIGGER attempts_counted")
    left_in_doubt(path, "b", run="second", clock=clock)
    assert any("the sub-total of run second" in one for one in check(path, clock=clock).wrong)


# --- the cost of a hold ---------------------------------------------------------------------------------------------

LIMITS: dict[LimitName, int] = {
    "max_cost_per_minute": 10**15,
    "max_cost_per_day": 10**15,
    "max_cost_per_month": 10**15,
    "max_calls_per_minute": 10**9,
}
KEEPERS, KEPT = 4, 5_000_000


def held(session: LedgerSession, name: str, **changes: object) -> object:
    return session.reserve(ask(name, BIG, tokens=1, hour=Decimal(10**6), further=LIMITS, **changes))


def reserve(session: LedgerSession, name: str) -> None:
    assert isinstance(held(session, name), Hold)


def keep(session: LedgerSession, name: str) -> None:
    assert isinstance(held(session, name, keep=AnswerReserve(10, 5)), Hold)


def mark(session: LedgerSession, name: str) -> None:
    assert session.mark_sent(name)


def settle(session: LedgerSession, name: str) -> None:
    session.settle(name, Charge(Usage(10, 1), 1_000_000, "m"))


def spend(session: LedgerSession, name: str) -> None:
    session.spend(BIG, tuple(LIMITS))


def trip(session: LedgerSession, name: str) -> None:
    """Ask for more than a month has room for before half of it has left."""
    for held_before in ("first", "b"):  # for what may move it would wait
        session.void(held_before, "refused")
    month: LimitName = "max_cost_per_month"
    counted = session.spend(BIG, (month,)).further[month]
    room = counted.held - KEEPERS * KEPT + counted.spent // 2 + 1_000_000
    refused = session.reserve(ask(name, BIG, tokens=1, further={month: room}))
    assert isinstance(refused, Verdict)
    assert refused.free_at is not None


def close(session: LedgerSession, name: str) -> None:
    session.close_run("other", "done")


@contextmanager
def steps_counted(session: LedgerSession) -> Iterator[list[int]]:
    """Count the steps of SQLite's machine, in tens."""
    count = [0]

    def one_more() -> int:
        count[0] += 1
        return 0

    database = session._database
    assert isinstance(database, Database)
    db = database._db
    db.set_progress_handler(one_more, 10)
    yield count
    db.set_progress_handler(None, 0)


def steps(path: Path, amount: int, settled_by: str) -> dict[str, int]:
    """Return how many steps each deed takes in a ledger with so many calls, the machine standing still."""
    clock = fill(path, amount, provider=FACTS.provider, model=FACTS.model or "", settled_by=settled_by, history=False)
    others = [opened(path, clock) for _ in range(KEEPERS)]
    for number, other in enumerate(others):
        begin(other, f"keeper {number}")
        other.reserve(ask(f"k{number}", f"keeper {number}", keep=AnswerReserve(10, 5)))
        other.void(f"k{number}", "refused")
    session = opened(path, clock, owner="me")
    begin(session, "other", CostLimit(max_cost_per_task=None, max_tokens_per_task=None))
    reserve(session, "first")
    taken = {}
    for deed, name in ((reserve, "a"), (mark, "a"), (settle, "a"), (keep, "b"), (spend, ""), (trip, "c"), (close, "")):
        with steps_counted(session) as count:
            deed(session, name)
        taken[deed.__name__] = count[0]
    for one in (session, *others):
        one.close()
    return taken


@pytest.mark.parametrize("settled_by", ["usage", "export"])
def test_steps_of_an_operation_less_than_double_with_ten_times_the_rows(tmp_path: Path, settled_by: str) -> None:
    """Ten times the rows in the month, the last hour, the last minute and the run itself: less than twice the steps.

    "export": no row says how the provider fares, which made a hold look at each of them.
    """
    few = steps(tmp_path / "few" / "ledger.db", 3_000, settled_by)
    many = steps(tmp_path / "many" / "ledger.db", 30_000, settled_by)
    assert {name: (few[name], count) for name, count in many.items() if count >= 2 * few[name]} == {}


def test_sums_of_a_filled_ledger_are_right(path: Path) -> None:
    clock = fill(path, 3_000)
    found = check(path, clock=clock)
    assert (found.attempts, found.wrong) == (3_000, ())
    ((total,),) = rows(path, "SELECT sum(nano) FROM attempts WHERE leaves_hour_us > ?", clock().wall_us)
    with closing(opened(path, clock)) as session:
        hour = session.spend(BIG).hour_nano
    assert hour.spent + hour.in_doubt == total > CALL // 10**6
    assert WIDTHS_US[0] == SECOND_US
