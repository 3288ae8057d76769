"""Check: changed rows are named, each admission is within its own limits, nothing is written."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import AnswerReserve, Hold
from agentctl.cli.ledger.ledger_output import check_table
from agentctl.core.errors import LimitName, StateError
from agentctl.core.ledger_address import PostgresAddress
from agentctl.core.limits import OPTIONAL_LIMITS, WINDOWS, CostLimit
from agentctl.core.messages import Usage
from agentctl.ledger.audit import HistoryEntry, Replay
from agentctl.ledger.check import LedgerCheck, check
from agentctl.ledger.reconcile import reconcile
from tests.support.ledger.corrections import CALL, begin, change, dies, left_in_doubt, opened, rows, send
from tests.support.ledger.engines import database_at
from tests.support.ledger.parts import FACTS, HandClock, ask

DOLLAR = CostLimit(max_cost_per_task=Decimal(1))


def fill(path: Path, clock: HandClock, *, owner: str = "") -> None:
    """One attempt of each end, and one that fills the limit of a dollar to the last nano-dollar; its process lives."""
    session = opened(path, clock, owner=owner)
    begin(session, "run", DOLLAR)
    for name in ("settled", "void", "doubt", "open"):
        send(session, name, tokens=488 if name == "open" else 256)
        clock.pass_by(1)
        if name == "settled":
            session.settle(name, Charge(Usage(10, 256), CALL, "m"))
        elif name == "void":
            session.void(name, "no connection")
        elif name == "doubt":
            session.doubt(name, "hung up", ceiling=False, provider_fault=False)
    ALIVE.append(session)


ALIVE: list[object] = []  # owners of open holds, until their test is over


@pytest.fixture(autouse=True)
def _let_go(path: Path) -> object:  # before its folder goes
    yield
    while ALIVE:
        ALIVE.pop().close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", [1, 2, 20_000])
def test_a_ledger_that_is_right_is_proved_page_by_page_while_a_call_is_under_way(
    path: Path, clock: HandClock, page: int
) -> None:
    fill(path, clock)
    found = check(path, clock=clock, page=page)
    assert (found.attempts, found.proved, found.free, found.wrong) == (4, 4, 0, ())
    assert [(one.attempt_id, one.phase, one.nano, one.living, one.pid) for one in found.open] == [
        ("open", "sent", 488_000_000, True, os.getpid())
    ]
    assert [(one.run_id, one.attempts, one.nano, one.living) for one in found.doubts] == [("run", 1, CALL, True)]


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("UPDATE attempts SET nano = nano - 1 WHERE id = 'settled'", "attempt settled: its row says settled at 255999"),
        ("UPDATE attempts SET tokens = 0 WHERE id = 'doubt'", "attempt doubt: its row says doubt at 256000000"),
        ("UPDATE attempts SET phase = 'void' WHERE id = 'open'", "attempt open: its row says void"),
        (
            "UPDATE attempts SET hold_nano = hold_nano + 1 WHERE id = 'open'",
            "attempt open: the hold in its row differs from its history",
        ),
        ("UPDATE attempts SET admitted = 'x' WHERE id = 'void'", "attempt void: the limits"),
        (
            """UPDATE attempts SET admitted = '{"max_cost_per_task": [999999999, 512000000]}' WHERE id = 'open'""",
            "attempt open: max_cost_per_task was 999,999,999, but 1,000,000,000 was admitted",
        ),
        (
            """UPDATE attempts SET admitted = '{"max_tokens_per_task": [1029, 532]}' WHERE id = 'open'""",
            "attempt open: max_tokens_per_task was 1,029",
        ),
        (
            """UPDATE attempts SET admitted = '{"max_cost_per_hour": [999999999, 512000000]}' WHERE id = 'open'""",
            "attempt open: max_cost_per_hour was 999,999,999",
        ),
        (
            """UPDATE attempts SET admitted = '{"max_cost_per_task": [1000000000, 1]}' WHERE id = 'doubt'""",
            "attempt doubt: max_cost_per_task was at 256,000,000, but its row says 1",
        ),
        ("INSERT INTO entries VALUES (99, 'x', 1, 1, 'held', 1, 1, NULL)", "attempt x has a history but no row"),
        (
            "INSERT INTO entries SELECT 99, id, 1, 1, phase, nano, tokens, NULL FROM attempts WHERE id = 'open'",
            "entry 99 of attempt open is earlier than",
        ),
        (
            "UPDATE attempts SET run_id = 'nobody' WHERE id = 'void'",
            "row 2 of attempts refers to a missing row of scopes",
        ),
    ],
)
def test_changed_row_is_named(path: Path, clock: HandClock, sql: str, named: str) -> None:
    if isinstance(path, PostgresAddress) and "nobody" in sql:
        return  # its foreign keys refuse such a row
    fill(path, clock)
    change(path, sql)
    said = check(path, clock=clock).wrong
    assert any(one.startswith(named) for one in said), said


def test_a_ledger_is_right_after_hours_of_doubt_late_usage_and_reconciling(path: Path, clock: HandClock) -> None:
    for run in ("one", "two", "three"):
        left_in_doubt(path, run, run=run, clock=clock)
        clock.pass_by(3600)
        if run == "two":
            reconcile(path, "run", run, actual_nano=5, who="me", clock=clock)
    late = opened(path, clock)
    begin(late, "late", CostLimit(max_cost_per_hour=None))
    late.settle("one", Charge(Usage(10, 20), 20_000_000, "m"))
    send(late, "last", "late", hour=Decimal(1))
    late.settle("last", Charge(Usage(10, 20), 20_000_000, "m"))
    late.close()
    found = check(path, clock=clock)
    assert (found.proved, [one.run_id for one in found.doubts], found.wrong) == (4, ["three"], ())


def test_check_without_a_ledger_makes_none(path: Path) -> None:
    assert check(path) == LedgerCheck(there=False)
    assert not path.parent.exists()


def test_check_writes_nothing_even_after_an_owner_died(path: Path, clock: HandClock) -> None:
    fill(path, clock, owner="dead")
    lock = path.with_suffix(".owners") / "gone"
    lock.touch()
    dies(ALIVE[0], path, "dead")  # type: ignore[arg-type]
    before = dump(path)
    found = check(path, clock=clock)
    assert [one.living for one in found.open] == [False]
    assert (dump(path), lock.exists()) == (before, True)


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return list(db.iterdump())


def test_read_only_ledger_is_checked(path: Path, clock: HandClock) -> None:
    left_in_doubt(path, "a", clock=clock)
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        assert (check(path, clock=clock).proved, check(path, clock=clock).wrong) == (1, ())
    finally:
        path.parent.chmod(0o700)


def test_foreign_and_damaged_files_are_refused_with_a_hint(path: Path, clock: HandClock, tmp_path: Path) -> None:
    change(tmp_path / "ledger.db", "CREATE TABLE t (x)")
    with pytest.raises(StateError, match="a database of another program"):
        check(tmp_path / "ledger.db")
    left_in_doubt(path, *map(str, range(40)), clock=clock)
    with closing(database_at(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'entries'").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\x07" * 4096)
    with pytest.raises(StateError) as caught:
        check(path, clock=clock)
    assert f"mv {path} {path}.damaged" in caught.value.hint


def test_an_index_that_has_lost_its_rows_is_damage(path: Path, clock: HandClock) -> None:
    left_in_doubt(path, "a", clock=clock)
    with closing(database_at(path)) as db, db:
        db.execute("PRAGMA writable_schema=ON")
        db.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, '(ended_us)', '(deadline_us)') WHERE name = 'attempts_ended'"
        )
    with pytest.raises(StateError, match=r"damaged: .*attempts_ended"):
        check(path, clock=clock)


def test_a_model_that_cost_more_than_its_hold_is_listed_until_it_is_cleared(path: Path, clock: HandClock) -> None:
    session = opened(path, clock)
    begin(session, "run")
    send(session, "a")
    assert session.settle("a", Charge(Usage(10, 300), 300_000_000, "m")).overrun
    session.close()
    found = check(path, clock=clock)
    assert ([(one.provider, one.model, one.attempts) for one in found.overruns], found.wrong) == ([("p", "m", 1)], ())


class History:
    """Entries written by hand, all of one run, for fields that only later versions write."""

    def __init__(self) -> None:
        self.replay, self.at_us, self._number = Replay(), 0, 0

    def enter(self, name: str, phase: str, nano: int, **limits: tuple[int | None, int]) -> None:
        self._number += 1
        admitted = str({limit: [*pair] for limit, pair in limits.items()}).replace("'", '"').replace("None", "null")
        self.replay.take(
            HistoryEntry(
                self._number, name, self.at_us, phase, nano, 1, "run", admitted, nano, 1, self.at_us + 600_000_000
            )
        )

    def end(self) -> list[str]:
        self.replay.finish()
        return self.replay.wrong


def test_a_reserve_is_evicted_in_the_transaction_of_the_hold_that_needs_it() -> None:
    history = History()
    history.enter("kept", "kept", 300, max_cost_per_task=(1000, 0))
    history.enter("a", "held", 700, max_cost_per_task=(1000, 300))
    history.at_us += 1
    history.enter("a", "settled", 600)
    history.at_us += 1
    history.enter("kept", "void", 0)
    history.enter("b", "held", 400, max_cost_per_task=(1000, 600))
    history.at_us += 1
    history.enter("b", "void", 0)
    history.at_us += 1
    history.enter("kept", "kept", 350, max_cost_per_task=(1000, 600))
    history.at_us += 1
    history.enter("kept", "held", 400, max_cost_per_task=(1000, 600))
    assert (history.end(), history.replay.proved) == ([], 3)


def test_a_reserve_for_a_last_answer_is_replayed_up_to_its_exchange(path: Path, clock: HandClock) -> None:
    session, hour = opened(path, clock), Decimal("1.5")
    for run in ("mine", "yours"):
        begin(session, run, DOLLAR)
    calls = (("a", "mine", 200, 100), ("b", "mine", 200, 250), ("c", "yours", 300, 100), ("d", "mine", 200, 90))
    for name, run, tokens, keep in calls:
        send(session, name, run, tokens=tokens, hour=hour, keep=AnswerReserve(10, keep))
        session.settle(name, Charge(Usage(10, tokens - 50), (tokens - 50) * 1_000_000, "m"))
        assert check(path, clock=clock).wrong == ()
        clock.pass_by(1)
    send(session, "e", "yours", tokens=700, hour=hour, keep=AnswerReserve(10, 50))  # drops the reserve of mine
    assert rows(path, "SELECT count(*) FROM attempts WHERE phase = 'kept'") == [(1,)]
    session.settle("e", Charge(Usage(10, 100), 100_000_000, "m"))
    send(session, "f", "yours", tokens=50, hour=hour, purpose="answer", keep=AnswerReserve(10, 50))
    session.settle("f", Charge(Usage(10, 50), 50_000_000, "m"))
    session.close_run("mine", "done")
    session.close()
    found = check(path, clock=clock)
    assert (found.proved, found.wrong, found.open) == (6, (), ())
    assert found.attempts == found.proved + found.free + found.kept
    assert f", {found.kept} reserved for last answers\n" in check_table(found, path)


@pytest.mark.parametrize("order", ["kept first", "held first"])
def test_a_kept_hold_that_takes_more_than_the_limit_leaves_is_named(order: str) -> None:
    history = History()
    history.enter("kept", "kept", 100, max_cost_per_task=(1000, 0))
    history.at_us += 1
    steps = [("kept", "kept", 400), ("a", "held", 700)]
    for name, phase, nano in steps if order == "kept first" else reversed(steps):
        history.enter(name, phase, nano, max_cost_per_task=(1000, 100))
    assert any("max_cost_per_task was 1,000, but 1,100 was admitted" in said for said in history.end())


@pytest.mark.parametrize("limit", WINDOWS)
def test_an_amount_counts_in_each_window_until_it_has_left_it(limit: LimitName) -> None:
    for late_us, wrong in ((-1, 1), (0, 0)):
        history = History()
        history.enter("a", "held", 700)
        history.enter("a", "settled", 700)
        history.at_us = WINDOWS[limit] * 1_000_000 + late_us
        history.enter("b", "held", 400, **{limit: (1000, 700 if wrong else 0)})
        assert len(history.end()) == wrong


def test_a_kept_hold_that_grows_past_its_limit_by_itself_is_named() -> None:
    history = History()
    history.enter("kept", "kept", 100, max_cost_per_task=(1000, 0))
    history.at_us += 1
    history.enter("kept", "kept", 1000, max_cost_per_task=(1000, 0))
    assert history.end() == []
    history.at_us += 1
    history.enter("kept", "kept", 1001, max_cost_per_task=(1000, 0))
    assert len(history.end()) == 1


def test_every_limit_that_the_ledger_knows_is_replayed_over_a_month(path: Path, clock: HandClock) -> None:
    ceilings = {name: 3 if name == "max_calls_per_minute" else 10**12 for name in OPTIONAL_LIMITS}
    session = opened(path, clock)
    begin(session, "run")
    for number, seconds in enumerate((0, 10, 20, 45, 10, 3500, 3600, 7000, 80_000, 90_000, 2_500_000, 90_000, 5)):
        clock.pass_by(seconds)
        name = f"call-{number:02}"
        send(session, name, hour=Decimal(5), further=ceilings)
        if number % 3 == 0:
            session.doubt(name, "cut off", ceiling=False, provider_fault=False)
        elif number % 3 == 1:
            session.settle(name, Charge(Usage(10, 100 + number), (100 + number) * 1_000_000, "m"))
        else:
            session.void(name, "refused")
    assert session.reserve(ask("held", "run", further=ceilings))
    session.close()
    found = check(path, clock=clock)
    assert (found.proved, found.wrong) == (14, ())
    (admitted,) = rows(path, "SELECT admitted FROM attempts WHERE id = 'call-04'")[0]
    noted = json.loads(admitted)
    assert noted["max_calls_per_minute@run"] == [3, 2]
    for name, (_, stood) in noted.items():
        lower = json.dumps({**noted, name: (stood, stood)})
        change(path, "UPDATE attempts SET admitted = ? WHERE id = 'call-04'", lower)
        said = check(path, clock=clock).wrong
        assert [one.split(" was ")[0] for one in said] == [f"attempt call-04: {name}"]


def test_free_calls_are_distinguished_and_a_limit_of_a_later_version_is_refused(path: Path) -> None:
    session = opened(path)
    begin(session, "run")
    free = ask("a")
    assert isinstance(session.reserve(free._replace(facts=replace(FACTS, metered=False))), Hold)
    session.close()
    assert (check(path).free, check(path).proved, check(path).wrong) == (1, 0, ())
    change(path, """UPDATE attempts SET admitted = '{"max_cost_per_second": [1, 0]}'""")
    assert "which this agentctl does not know" in check(path).wrong[0]
