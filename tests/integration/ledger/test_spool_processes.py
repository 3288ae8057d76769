"""Tests that start processes, beside ``tests/unit/ledger/test_spool.py``."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agentctl.budget.conclusions import Charge
from agentctl.core.errors import StateError
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Usage
from agentctl.ledger.database import Database
from agentctl.ledger.ledger_session import LedgerSession
from agentctl.ledger.spool import Spool
from tests.support.disks import fill_disk, small_disk
from tests.support.ledger.parts import ask
from tests.support.ledger.scripted_process import puppet

CHARGE = Charge(Usage(10, 40), 40_000_000, "m")


def book_at(path: Path, owner: str = "") -> LedgerSession:
    return LedgerSession(Database(path), owner_id=owner or os.urandom(8).hex(), pid=os.getpid())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def sent(path: Path) -> LedgerSession:
    """A process that has sent attempt ``a``."""
    session = book_at(path, "first")
    start(session, "run")
    session.reserve(ask("a", tokens=100))
    assert session.mark_sent("a")
    return session


def start(session: LedgerSession, run: str) -> None:
    session.open_run(run, CostLimit(), task="", agent="", labels={})


def steps(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return [phase for (phase,) in db.execute("SELECT phase FROM entries WHERE attempt_id = 'a' ORDER BY id")]


def files(path: Path) -> list[str]:
    folder = path.with_suffix(".unsettled")
    return sorted(one.name for one in folder.iterdir()) if folder.exists() else []


def test_allocated_file_is_removed_at_exit_or_after_a_kill_by_the_next_process(path: Path) -> None:
    with puppet(path) as worker:
        worker.do("open", "run")
        worker.do("hold", "a", 100)
        assert files(path) == []
        worker.do("mark", "a")
        (spare,) = files(path)
        assert spare.endswith(".spare")
        worker.kill()
    session = book_at(path, "next")
    start(session, "other")
    session.reserve(ask("b", "other"))
    session.mark_sent("b")
    assert files(path) == ["next.spare"]
    session.close()
    assert files(path) == []


@pytest.mark.needs("root", "mounts")
def test_a_full_disk_takes_the_allocated_file_and_no_other(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=1m") as disk:
        path = disk / "ledger.db"
        spool, other = Spool(path, owner_id="me"), Spool(path, owner_id="other")
        spool.allocate()
        with fill_disk(disk):
            with pytest.raises(StateError, match="no space left"):
                other.put("b", CHARGE)
            spool.put("a", CHARGE)
        assert [(one.attempt_id, one.conclusion) for one in spool.read()] == [("a", CHARGE)]
        assert files(path) == ["a.json"]


@pytest.mark.parametrize("then", ["settle", "nothing"], ids=["written", "not written"])
def test_a_process_killed_before_it_can_remove_the_file_is_charged_once(path: Path, then: str) -> None:
    with puppet(path) as worker:
        worker.do("open", "run")
        worker.do("hold", "a", 100)
        worker.do("mark", "a")
        worker.do("spool", "a", 40)
        if then == "settle":
            worker.do("settle", "a", 40)
        worker.kill()
    assert "a.json" in files(path)
    with puppet(path) as other:
        other.do("open", "other")
        assert other.do("spend") == [40_000_000, 0, 0, 40_000_000]
    assert steps(path) == ["held", "sent", "settled"]
    assert "a.json" not in files(path)
