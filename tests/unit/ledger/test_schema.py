"""The schema of a ledger: which one a file has, how it is migrated, and that an older one is read as it lies."""

from __future__ import annotations

import os
import shlex
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from threading import Barrier

import pytest

from agentctl.budget.conclusions import Charge
from agentctl.core.errors import StateError
from agentctl.core.messages import Usage
from agentctl.ledger.check import check
from agentctl.ledger.clock import system_clock
from agentctl.ledger.database import Database
from agentctl.ledger.inspection import read_view
from agentctl.ledger.report import costs_window
from agentctl.ledger.schema import APPLICATION_ID, migrate
from agentctl.ledger.transaction import SqlConnection
from tests.support.ledger.corrections import CALL, begin, change, left_in_doubt, opened, send
from tests.support.ledger.many_rows import fill
from tests.support.ledger.older_schemas import (
    LATEST,
    OPENERS,
    ROWS,
    look_ahead,
    version_of,
)
from tests.support.ledger.parts import HandClock, ask, read_only


def contents(db: SqlConnection, table: str, columns: str = "*") -> list[tuple[object, ...]]:
    return sorted(db.execute(f"SELECT {columns} FROM {table}").fetchall(), key=repr)  # noqa: S608 - our own names


# --- a file that another program, or nobody, numbered ------------------------------------------------------------


@pytest.mark.parametrize("lost", ["DROP TRIGGER attempts_counted", "DROP INDEX attempts_run", "DROP TABLE widths"])
def test_a_rebuilt_ledger_without_all_of_its_tables_is_moved_aside(path: Path, lost: str) -> None:
    Database(path).close()
    change(path, lost)
    with closing(sqlite3.connect(path)) as db:
        db.executescript("PRAGMA application_id=0; PRAGMA user_version=0")
    said = set()
    for look in OPENERS.values():
        with pytest.raises(StateError) as refused:
            look(path)
        said.add((refused.value.message.partition("; ")[2], refused.value.hint))
    ((message, hint),) = said
    assert message == "its tables are not complete"
    assert f"mv {path} {path}.damaged" in hint


@pytest.mark.parametrize("numbers", [(0, LATEST), (APPLICATION_ID, 0)])
def test_a_rebuilt_ledger_with_one_of_its_numbers_is_refused_too(path: Path, numbers: tuple[int, int]) -> None:
    Database(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.executescript(f"PRAGMA application_id={numbers[0]}; PRAGMA user_version={numbers[1]}")
    for look in OPENERS.values():
        with pytest.raises(StateError, match="was rebuilt from an SQL dump"):
            look(path)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("CREATE TABLE theirs (x)", "is a database of another program"),
        ("PRAGMA application_id=7", "is a database of another program"),
        (f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version=99", "was written by a newer agentctl"),
    ],
)
def test_a_file_that_is_not_ours_is_refused_by_all_in_the_same_words(path: Path, sql: str, said: str) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.executescript(sql)
    messages = set()
    for look in OPENERS.values():
        with pytest.raises(StateError, match=said) as refused:
            look(path)
        messages.add(refused.value.message)
    assert len(messages) == 1


# --- an older ledger, read as it lies -------------------------------------------------------------------------------


def test_an_older_ledger_is_read_as_the_migration_would_make_it(older: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "migrated.db", isolation_level=None)) as db:
        with closing(sqlite3.connect(older)) as source:
            source.backup(db)
        migrate(db, 1)
        with read_view(older, system_clock()) as tick:
            assert tick is not None
            for (table,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
                columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
                listed = ", ".join(columns)
                assert contents(tick.db, table, listed) == contents(db, table, listed), table
    assert version_of(older) == 1


def test_an_older_ledger_is_looked_at_without_a_copy_of_it(older: Path) -> None:
    before = older.read_bytes()
    with read_view(older, system_clock()) as tick:
        assert tick is not None
        pages = tick.db.execute("PRAGMA temp.page_count").fetchone()[0]
    for look in (OPENERS[name] for name in ("costs", "check", "doctor", "estimate")):
        look(older)
    assert pages < 20
    assert older.read_bytes() == before


def test_older_ledger_that_is_read_only_is_read(older: Path) -> None:
    with read_only(older.parent):
        assert (check(older).attempts, check(older).wrong) == (ROWS, ())
        look_ahead(older)
        with pytest.raises(StateError, match="cannot be used"):
            Database(older)


# --- the migration --------------------------------------------------------------------------------------------------


def test_a_migrated_ledger_says_the_same_as_before(older: Path) -> None:
    before = costs_window(older, seconds=10**8)
    Database(older).close()
    after = costs_window(older, seconds=10**8)
    assert (after.rows, after.hour) == (before.rows, before.hour)
    assert (version_of(older), check(older).wrong, check(older).attempts) == (LATEST, (), ROWS)


@pytest.mark.parametrize("schema", [0, 1])
def test_processes_that_open_a_ledger_at_once_make_or_migrate_it_once(path: Path, schema: int) -> None:
    at_once = 8
    if schema:
        fill(path, ROWS, schema=schema)
    start = Barrier(at_once)

    def use(number: int) -> None:
        start.wait()
        session = opened(path)
        begin(session, f"run {number}")
        send(session, f"attempt {number}", f"run {number}")
        session.settle(f"attempt {number}", Charge(Usage(10, 256), CALL, "m"))
        session.close()

    with ThreadPoolExecutor(at_once) as pool:
        for done in [pool.submit(use, number) for number in range(at_once)]:
            done.result()
    found = check(path)
    assert (version_of(path), found.attempts, found.wrong) == (LATEST, at_once + (ROWS if schema else 0), ())


def test_a_step_that_another_has_done_meanwhile_is_left_out(older: Path) -> None:
    with closing(sqlite3.connect(older, isolation_level=None)) as late:
        Database(older).close()
        migrate(late, 1)
    assert (version_of(older), check(older).wrong) == (LATEST, ())


@pytest.fixture
def long(path: Path) -> Path:
    """An older ledger that takes a while to migrate."""
    fill(path, 60_000, schema=1, history=False)
    return path


def test_migration_shows_waiters_that_the_queue_moves(long: Path) -> None:
    queue, moments, done = long.with_suffix(".queue"), set[int](), threading.Event()

    def watch() -> None:
        while not done.wait(0.001):
            with suppress(FileNotFoundError):
                moments.add(queue.stat().st_mtime_ns)

    watching = threading.Thread(target=watch)
    watching.start()
    Database(long).close()
    done.set()
    watching.join()
    assert len(moments) > 1


# --- migrated by another while in use -------------------------------------------------------------------------------


def test_a_ledger_whose_schema_is_put_back_is_written_no_more(path: Path, clock: HandClock) -> None:
    left_in_doubt(path, "a", clock=clock)
    session = opened(path, clock)
    begin(session, "other")
    change(path, "PRAGMA user_version=1")
    with pytest.raises(StateError, match=f"changed from schema {LATEST} to 1"):
        session.reserve(ask("b", "other"))


def test_the_hint_of_a_rebuilt_ledger_is_one_command(path: Path) -> None:
    Database(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.executescript("PRAGMA application_id=0; PRAGMA user_version=0")
    with pytest.raises(StateError) as refused:
        Database(path)
    assert shlex.split(refused.value.hint.partition(": ")[2]) == [
        "sqlite3",
        os.fspath(path),
        f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={LATEST}",
    ]
