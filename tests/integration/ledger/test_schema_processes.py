"""Tests that start processes, beside ``tests/unit/ledger/test_schema.py``."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from agentctl.core.errors import StateError
from agentctl.ledger.check import check
from agentctl.ledger.database import Database
from agentctl.ledger.report import costs_window
from tests.support.ledger.corrections import rows
from tests.support.ledger.many_rows import fill
from tests.support.ledger.older_schemas import (
    LATEST,
    OPENERS,
    version_of,
)
from tests.support.ledger.parts import HandClock
from tests.support.ledger.scripted_process import ROOT, puppet


def by_the_shell(old: Path, new: Path) -> None:
    dump = subprocess.run(["sqlite3", old, ".dump"], capture_output=True, check=True).stdout
    subprocess.run(["sqlite3", new], input=dump, check=True)


def by_python(old: Path, new: Path) -> None:
    with closing(sqlite3.connect(old)) as db, closing(sqlite3.connect(new)) as copy:
        copy.executescript("\n".join(db.iterdump()))


@pytest.mark.parametrize("rebuild", [by_the_shell, by_python])
@pytest.mark.parametrize("schema", range(1, LATEST + 1))
def test_rebuilt_ledger_is_refused_in_the_same_words_until_the_hint_is_run(
    tmp_path: Path, schema: int, rebuild: Callable[[Path, Path], None]
) -> None:
    old, path = tmp_path / "old.db", tmp_path / "it's a" / "ledger.db"
    fill(old, 200, schema=schema)
    spent = costs_window(old, seconds=10**8).total
    path.parent.mkdir()
    rebuild(old, path)
    before, said = path.read_bytes(), set()
    for look in OPENERS.values():
        with pytest.raises(StateError) as refused:
            look(path)
        said.add((refused.value.message, refused.value.hint))
    ((message, hint),) = said
    assert "was rebuilt from an SQL dump, which leaves out its application id" in message
    assert path.read_bytes() == before
    subprocess.run(["bash", "-c", hint.partition(": ")[2]], check=True)  # what a person would paste
    for look in OPENERS.values():
        look(path)
    assert costs_window(path, seconds=10**8).total == spent
    Database(path).close()
    assert (version_of(path), check(path).wrong) == (LATEST, ())


def test_processes_that_open_an_older_ledger_at_once_go_on_together(older: Path) -> None:
    with ExitStack() as stack:
        workers = [stack.enter_context(puppet(older)) for _ in range(4)]
        for number, worker in enumerate(workers):
            worker.tell("open", f"run {number}")  # the first migrates, the others wait for it
        assert [worker.heard() for worker in workers] == [None] * 4
        for number, worker in enumerate(workers):
            assert worker.do("hold", f"a {number}", 1, {"run": f"run {number}"}) == "held"
    assert (version_of(older), check(older).wrong) == (LATEST, ())


@pytest.fixture
def long(path: Path) -> Path:
    """An older ledger that takes a while to migrate."""
    fill(path, 60_000, schema=1, history=False)
    return path


def test_a_process_killed_in_the_midst_of_migrating_leaves_the_older_ledger_whole(long: Path) -> None:
    log = long.with_name(f"{long.name}-wal")
    code = f"from pathlib import Path; from agentctl.ledger.database import Database; Database(Path({str(long)!r}))"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as process:
        while not (log.exists() and log.stat().st_size > 2**20):  # what does not fit its memory
            assert process.poll() is None
            time.sleep(0.001)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert (version_of(long), rows(long, "PRAGMA integrity_check")) == (1, [("ok",)])
    Database(long).close()
    assert (version_of(long), rows(long, "SELECT count(*) FROM attempts")) == (LATEST, [(60_000,)])


@pytest.fixture
def bumped(path: Path) -> Callable[[], None]:
    """Let another program migrate the ledger further."""

    def bump() -> None:
        sql = f"PRAGMA user_version={LATEST + 1}"
        subprocess.run(["sqlite3", path, sql], check=True)

    return bump


def test_a_process_admits_and_writes_nothing_more_once_another_has_migrated(
    path: Path, bumped: Callable[[], None]
) -> None:
    with puppet(path, clock=HandClock()) as worker:
        worker.do("open", "run")
        assert worker.do("hold", "held", 100) == "held"
        assert worker.do("hold", "sent", 100) == "held"
        assert worker.do("mark", "sent")
        bumped()
        before = rows(path, "SELECT id, phase FROM attempts ORDER BY id")
        for deed in (("hold", "new", 1), ("mark", "held"), ("settle", "sent", 10), ("void", "held"), ("spend",)):
            answer = worker.do(*deed)
            assert f"changed from schema {LATEST} to {LATEST + 1} while it was in use" in answer["error"], deed
            assert answer["hint"].startswith("start the run again")
        assert rows(path, "SELECT id, phase FROM attempts ORDER BY id") == before
        assert "error" in worker.do("close")
    assert list(path.with_suffix(".owners").iterdir()) == [], "its lock is let go, so that the next can bury it"
