"""Import of a file: each row once, sums, doubts and the hour as they were, and nothing of a run in progress."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import Hold, Wait
from agentctl.core.errors import ActionDenied, StateError, UsageError, Verdict
from agentctl.core.ledger_address import LedgerAddress, PostgresAddress
from agentctl.core.limits import CostLimit, Parent
from agentctl.core.messages import Usage
from agentctl.ledger.check import check
from agentctl.ledger.ledger_session import LedgerSession
from agentctl.ledger.postgres.file_import import FileImport, import_file
from agentctl.ledger.reconcile import reconcile
from agentctl.ledger.report import CostQuery, costs_report, costs_window, tree_of
from tests.support.ledger.corrections import CALL, begin, change, dies, opened, rows, send
from tests.support.ledger.engines import FleetClock
from tests.support.ledger.parts import HandClock, ask
from tests.support.ledger.spending import Spender

NOON = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)
USAGE = Charge(Usage(10, 200), 200_000_000, "m")
GROUPS = ("run", "model", "day", "host", "ci_run", "user", "label:team")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "old" / "ledger.db"


@pytest.fixture
def clock() -> HandClock:
    """The clock of the file."""
    return HandClock()


@pytest.fixture
async def history(file: Path, address: PostgresAddress) -> Spender:
    """Two hours of a file, whose last process has ended: settled, unpriced, in doubt, void, and runs in a run."""
    spender = Spender(file, NOON, user_name="ann", ci_run="17")
    await spender.run("early", labels={"team": "web"})
    await spender.call("early", 100, model="one", cached=3)
    await spender.call("early", 7, priced=False)
    spender.at(NOON + timedelta(minutes=90))
    limits = CostLimit(max_cost_per_task=Decimal(2), max_calls_per_minute=50)
    await spender.ledger.open_run("outer", limits, task="t", agent="a", labels={}, capability="secret")
    await spender.ledger.open_run(
        "inner", CostLimit(), task="t", agent="a", labels={}, parent=Parent("outer", "secret")
    )
    for tokens in (10, 20, 40):
        spender.clock.pass_by(60)
        await spender.call("inner", tokens)
    await spender.call("outer", 80, end="doubt")
    assert isinstance(await spender.ledger.reserve(ask("refused", "outer")), Hold)
    assert await spender.ledger.mark_sent("refused")
    await spender.ledger.void("refused", "no connection")
    await spender.ledger.aclose()
    FleetClock(address, spender.clock.wall_s)
    return spender


def spent(ledger: LedgerAddress, clock: HandClock) -> object:
    """Return all that a report says of a ledger but its times."""
    found = costs_report(ledger, CostQuery(by=GROUPS), clock=clock)
    return found.timeless.rows, found.total, found.hour, found.runs, tree_of(ledger, "inner", clock=clock)


def hour(ledger: LedgerAddress, clock: HandClock) -> object:
    return costs_window(ledger, seconds=60, clock=clock).hour


async def test_an_imported_history_is_the_same_and_a_second_time_changes_nothing(
    history: Spender, address: PostgresAddress
) -> None:
    before = history.path.read_bytes()
    found = import_file(address, history.path, clock=history.clock, page=2)
    assert found == FileImport(
        runs=3, attempts=7, unknown_calls=1, spent_nano=170_000_000, in_doubt_nano=80_000_000, shift_us=0
    )
    assert spent(address, history.clock) == spent(history.path, history.clock)
    proved = check(address)
    assert (proved.attempts, proved.imported, proved.proved, proved.wrong) == (7, 7, 0, ())
    kept = [rows(address, f"SELECT * FROM {table} ORDER BY 1") for table in ("attempts", "entries", "scopes", "owners")]  # noqa: S608
    again = import_file(address, history.path, clock=history.clock)
    assert again == FileImport(known_runs=3, known=7)
    assert kept == [
        rows(address, f"SELECT * FROM {table} ORDER BY 1")  # noqa: S608
        for table in ("attempts", "entries", "scopes", "owners")
    ]
    assert history.path.read_bytes() == before


@pytest.mark.parametrize("ahead_s", [0.0, -7200.0, 86_400.0])
async def test_an_amount_leaves_the_hour_when_it_would_have_left_it_in_the_file(
    history: Spender, address: PostgresAddress, ahead_s: float
) -> None:
    """Also where the server's clock is another one."""
    server = FleetClock(address, history.clock.wall_s + ahead_s)
    found = import_file(address, history.path, clock=history.clock)
    assert found.shift_us == ahead_s * 1_000_000
    began, seen = history.clock.wall_s, set()
    leaves = {us // 1_000_000 for (us,) in rows(history.path, "SELECT leaves_hour_us FROM attempts")}
    for at_s in sorted(at_s + moved for at_s in leaves if at_s > began for moved in (-1, 0)):
        passed_s = at_s - history.clock.wall_s
        history.clock.pass_by(passed_s)
        server.pass_by(passed_s)
        assert hour(address, server) == hour(history.path, history.clock)
        seen.add(hour(address, server))
    assert len(seen) == 5
    assert check(address).wrong == ()


async def test_runs_on_the_server_are_judged_with_what_was_imported(history: Spender, address: PostgresAddress) -> None:
    """By a limit that leaves room for one call beside what counts of the file; the check proves both."""
    server = FleetClock(address, history.clock.wall_s)
    session = opened(address, owner="before")
    begin(session, "native")
    send(session, "first", "native", tokens=100, hour=Decimal(1))
    session.settle("first", Charge(Usage(10, 100), 100_000_000, "m"))
    import_file(address, history.path, clock=history.clock)
    # Of the file 0.15 counts: 0.07 spent and 0.08 in doubt.
    assert isinstance(session.reserve(ask("above", "native", tokens=51, hour=Decimal("0.3"))), Verdict)
    send(session, "second", "native", tokens=50, hour=Decimal("0.3"))
    server.pass_by(3600)
    send(session, "third", "native", tokens=100, hour=Decimal("0.23"))  # the doubt counts until after its deadline
    assert check(address).wrong == ()
    reconcile(address, "run", "outer", actual_nano=5, who="me")
    server.pass_by(1)
    send(session, "fourth", "native", tokens=10, hour=Decimal("0.17"))
    assert (check(address).wrong, check(address).imported, check(address).proved) == ((), 7, 4)


def test_an_imported_run_goes_on_with_what_it_has_spent(file: Path, address: PostgresAddress, clock: HandClock) -> None:
    limits = CostLimit(max_cost_per_task=Decimal("0.5"), max_calls_per_minute=3)
    session = opened(file, clock)
    session.open_run("run", limits, task="t", agent="a", labels={})
    for name in ("a", "b"):
        send(session, name)
        session.settle(name, USAGE)
    session.close()
    server = FleetClock(address, clock.wall_s)
    import_file(address, file, clock=clock)
    resumed = opened(address)
    assert resumed.reopen_run("run", limits).cost_nano == 400_000_000
    server.pass_by(30)
    assert isinstance(resumed.reserve(ask("c", tokens=101)), Verdict)
    send(resumed, "c", tokens=100, further={"max_calls_per_minute": 3})  # two calls of the file are of this minute
    assert isinstance(resumed.reserve(ask("d", tokens=0, further={"max_calls_per_minute": 3})), Verdict | Wait)
    assert (check(address).wrong, check(address).proved) == ((), 1)


def interrupted(file: Path, clock: HandClock) -> LedgerSession:
    """A process that was killed: one call was sent, one held, one was in doubt."""
    session = opened(file, clock, owner="killed")
    begin(session, "run")
    send(session, "cut")
    session.doubt("cut", "hung up", ceiling=False, provider_fault=True)
    send(session, "sent")
    assert isinstance(session.reserve(ask("held")), Hold)
    return session


def test_what_a_killed_process_left_is_in_doubt_until_the_file_knows_better(
    file: Path, address: PostgresAddress, clock: HandClock
) -> None:
    session = interrupted(file, clock)
    server = FleetClock(address, clock.wall_s)
    with pytest.raises(ActionDenied, match="uses the ledger, so it cannot be imported now"):
        import_file(address, file, clock=clock)
    assert rows(address) == []
    dies(session, file, "killed")
    found = import_file(address, file, clock=clock)
    assert found == FileImport(runs=1, attempts=2, interrupted=1, unsent=1, in_doubt_nano=2 * CALL)
    assert rows(file, "SELECT phase FROM attempts ORDER BY id") == [("doubt",), ("held",), ("sent",)], "only read"
    doubts = [("cut", "doubt", CALL, 266, None), ("sent", "doubt", CALL, 266, None)]
    assert (rows(address), check(address).wrong) == (doubts, ())
    assert rows(address, "SELECT closed_us IS NULL, status FROM scopes") == [(False, "unfinished")]
    assert import_file(address, file, clock=clock) == FileImport(known_runs=1, known=2, unsent=1)
    server.pass_by(60)
    session.settle("sent", USAGE)
    session.void("cut", "never mind")  # too late: it was left in doubt by its own process
    clock.pass_by(60)
    assert import_file(address, file, clock=clock) == FileImport(
        known_runs=1, known=1, updated=1, unsent=1, spent_nano=200_000_000
    )
    assert rows(address)[1] == ("sent", "settled", 200_000_000, 210, "usage")
    assert (check(address).wrong, check(address).recomputed) == ((), check(file, clock=clock).recomputed)


@pytest.mark.parametrize(
    ("there", "in_file", "wins"),
    [
        ("", "hand", "file"),
        ("", "usage", "file"),
        ("hand", "hand", "server"),
        ("hand", "usage", "file"),
        ("hand", "", "server"),
        ("usage", "hand", "server"),
    ],
)
def test_the_end_that_is_believed_more_stays(
    file: Path, address: PostgresAddress, clock: HandClock, there: str, in_file: str, wins: str
) -> None:
    session = opened(file, clock)
    begin(session, "run")
    send(session, "a")
    session.doubt("a", "hung up", ceiling=False, provider_fault=True)
    session.close()
    server = FleetClock(address, clock.wall_s)
    import_file(address, file, clock=clock)

    def end(ledger: LedgerAddress, by: str, nano: int) -> None:
        if by == "hand":
            reconcile(ledger, "run", "run", actual_nano=nano, who="me", clock=clock)
        elif by == "usage":
            late = opened(ledger, clock)
            late.settle("a", USAGE._replace(nano=nano))
            late.close()

    end(address, there, 1)
    end(file, in_file, 2)
    server.pass_by(5)
    before = rows(address)
    import_file(address, file, clock=clock)
    assert (rows(address) == before) == (wins == "server")
    if wins == "file":
        assert rows(address)[0][1:] == rows(file)[0][1:]
    assert check(address).wrong == ()


def make_foreign(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.executescript("PRAGMA application_id=7; CREATE TABLE theirs (x)")


WRONG: dict[str, tuple[Callable[[Path], object], type[Exception], str]] = {
    "missing": (lambda _: None, UsageError, "cannot be read: no such file"),
    "folder": (lambda file: file.mkdir(), UsageError, "cannot be read: is a directory"),
    "empty": (lambda file: file.touch(), UsageError, "is empty"),
    "text": (lambda file: file.write_text("{}" * 100), UsageError, "is not a ledger of agentctl"),
    "foreign": (make_foreign, UsageError, "is not a ledger of agentctl"),
}


@pytest.mark.parametrize(("make", "kind", "said"), WRONG.values(), ids=WRONG)
def test_what_is_no_ledger_is_refused(
    file: Path, address: PostgresAddress, make: Callable[[Path], object], kind: type[Exception], said: str
) -> None:
    file.parent.mkdir()
    make(file)
    with pytest.raises(kind, match=said):
        import_file(address, file)
    assert rows(address, "SELECT id FROM scopes") == []


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("PRAGMA user_version=99", "was written by a newer agentctl"),
        ("UPDATE attempts SET nano = nano - 1 WHERE phase = 'doubt'", "is not consistent, so nothing is imported"),
    ],
)
async def test_a_newer_or_an_inconsistent_ledger_is_refused(
    history: Spender, address: PostgresAddress, sql: str, said: str
) -> None:
    change(history.path, sql)
    with pytest.raises(StateError, match=said):
        import_file(address, history.path, clock=history.clock)
    assert rows(address, "SELECT id FROM scopes") == []


def test_overruns_substitutes_and_an_older_schema_come_along(
    file: Path, address: PostgresAddress, clock: HandClock
) -> None:
    session = opened(file, clock)
    begin(session, "run")
    send(session, "a")
    session.settle("a", Charge(Usage(10, 9_000), 9_000_000_000, "m"))
    session.close()
    change(file, "INSERT INTO substitutes VALUES ('p', '', 'm', 'other', '', NULL, NULL, NULL, NULL, 'a', 1, NULL)")
    for sql in (
        "ALTER TABLE owners DROP COLUMN user_name",
        "ALTER TABLE owners DROP COLUMN ci_run",
        "PRAGMA user_version=2",
    ):
        change(file, sql)
    FleetClock(address, clock.wall_s)
    import_file(address, file, clock=clock)
    found = check(address)
    assert [(one.provider, one.model) for one in found.overruns] == [("p", "m")]
    assert [one.answered.model for one in found.substitutes] == ["other"]
    assert found.wrong == ()
