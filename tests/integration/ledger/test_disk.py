"""Disk faults, made by the kernel, at each ledger operation: nothing is spent, and existing rows are kept."""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agentctl.core.errors import StateError
from agentctl.core.limits import CostLimit
from agentctl.ledger.database import Database
from agentctl.ledger.inspection import inspect_ledger
from agentctl.ledger.ledger_session import LedgerSession
from agentctl.ledger.report import costs_window
from tests.support.disks import fill_disk, small_disk
from tests.support.ledger.parts import ask
from tests.support.ledger.scripted_process import Puppet, puppet

HELD = 100_000_000
Fault = Callable[[Puppet, Path], AbstractContextManager[None]]
root_only = pytest.mark.needs("root", "mounts")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "size=1m") as disk:
        yield disk


@contextmanager
def full(worker: Puppet, path: Path) -> Iterator[None]:
    with fill_disk(path.parent):
        yield


@contextmanager
def too_large(worker: Puppet, path: Path) -> Iterator[None]:
    """Let the kernel refuse to make the log any longer."""
    size = path.with_name(f"{path.name}-wal").stat().st_size
    _, most = resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    yield
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (most, most))


@contextmanager
def no_sync(worker: Puppet, path: Path) -> Iterator[None]:
    """Let the kernel report that what was written did not reach the disk."""
    found = worker.do("syncs", 1_000, errno.EIO)
    if found is not None:
        pytest.skip(f"this kernel does not let a process answer for its own calls: {found}")
    yield
    worker.do("syncs", 0, 0)


FAULTS = [
    pytest.param(full, "full", "free some space", marks=root_only),
    pytest.param(too_large, "I/O", "ulimit -f"),
    pytest.param(no_sync, "I/O", "check the disk"),
]
Deed = tuple[Any, ...]
STAGES: dict[
    str, tuple[tuple[Deed, ...], Deed, str | None, str]
] = {  # what was done, what fails, what stands then, and in the end
    "hold": ((), ("hold", "a", 100), None, "held"),
    "mark": ((("hold", "a", 100),), ("mark", "a"), "held", "sent"),
    "settle": ((("hold", "a", 100), ("mark", "a")), ("settle", "a", 40), "sent", "settled"),
    "doubt": ((("hold", "a", 100), ("mark", "a")), ("doubt", "a"), "sent", "doubt"),
    "void": ((("hold", "a", 100), ("mark", "a")), ("void", "a"), "sent", "void"),
}


def phase_of(path: Path, name: str) -> str | None:
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        row = db.execute("SELECT phase FROM attempts WHERE id = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("fault", "said", "cure"), FAULTS)
def test_step_that_cannot_be_written_raises_and_is_not_done(
    request: pytest.FixtureRequest, tmp_path: Path, fault: Fault, said: str, cure: str, stage: str
) -> None:
    """Held and sent calls stay and count; the same operation succeeds when the disk works again."""
    folder = request.getfixturevalue("disk") if fault is full else tmp_path
    path, (before, deed, then, after) = folder / "ledger.db", STAGES[stage]
    with puppet(path) as worker:
        worker.do("open", "run")
        worker.do("hold", "earlier", 100)
        for each in before:
            worker.do(*each)
        with fault(worker, path):
            refused = worker.do(*deed)
            assert said in refused["error"]
            assert cure in refused["hint"]
            assert "\n" not in refused["error"]
        assert phase_of(path, "a") == then
        assert worker.do("spend")[2] == HELD + (HELD if then else 0)
        answer = worker.do(*deed)
        assert (phase_of(path, "a"), phase_of(path, "earlier")) == (after, "held"), answer


@pytest.mark.parametrize("stage", ["hold", "settle", "doubt", "void"])
def test_a_commit_that_failed_is_looked_for_by_its_id_and_done_once(tmp_path: Path, stage: str) -> None:
    path, (before, deed, _, after) = tmp_path / "ledger.db", STAGES[stage]
    with puppet(path) as worker:
        worker.do("open", "run")
        for each in before:
            worker.do(*each)
        if (lack := worker.do("syncs", 1, errno.EIO)) is not None:
            pytest.skip(str(lack))
        answer = worker.do(*deed)
        assert "error" not in (answer or ()), answer
        assert phase_of(path, "a") == after
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM attempts").fetchone() == (1,)
        assert db.execute("SELECT count(*) FROM entries WHERE phase = ?", (after,)).fetchone() == (1,)


def test_call_not_surely_marked_as_sent_is_not_sent(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with puppet(path) as worker:
        worker.do("open", "run")
        worker.do("hold", "a", 100)
        if (lack := worker.do("syncs", 1, errno.EIO)) is not None:
            pytest.skip(str(lack))
        assert "I/O" in worker.do("mark", "a")["error"]
        worker.do("void", "a")
        assert phase_of(path, "a") == "void"


def test_failed_commit_that_survives_a_crash_is_recognized(tmp_path: Path) -> None:
    """The log has the commit, only its sync failed; the next process finds it as a hold of a dead owner."""
    path = tmp_path / "ledger.db"
    with puppet(path) as worker:
        worker.do("open", "run")
        if (lack := worker.do("syncs", 1_000, errno.EIO)) is not None:
            pytest.skip(str(lack))
        assert "error" in worker.do("hold", "a", 100)
        worker.kill()
    assert phase_of(path, "a") == "held"
    with puppet(path) as other:
        other.do("open", "other")
        assert other.do("hold", "b", 100, {"run": "other"}) == "held"
        assert phase_of(path, "a") == "void"


# --- at the opening -------------------------------------------------------------------------------------------------


def refused(path: Path) -> StateError:
    with pytest.raises(StateError) as caught:
        Database(path)
    return caught.value


@root_only
def test_disk_full_from_the_start_is_reported_with_a_hint(disk: Path) -> None:
    with fill_disk(disk):
        error = refused(disk / "ledger.db")
        assert "free some space" in error.hint
    Database(disk / "ledger.db").close()


@root_only
def test_disk_without_inodes_has_a_hint_of_its_own(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=256k,nr_inodes=3") as disk:
        error = refused(disk / "ledger.db")
        assert "inode" in error.hint
        assert "free some space" not in error.hint


@root_only
def test_a_ledger_on_a_read_only_disk_is_read_and_not_written(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=1m") as disk:
        path = disk / "ledger.db"
        session = LedgerSession(Database(path), owner_id="me", pid=os.getpid())
        session.open_run("run", CostLimit(), task="", agent="", labels={})
        session.reserve(ask("a", tokens=100))
        session.mark_sent("a")
        session.close()
        before = path.read_bytes()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        error = refused(path)
        assert "its disk is read-only" in error.message
        assert "make it writable" in error.hint
        assert costs_window(path, seconds=60).in_doubt_nano == HELD
        assert path.read_bytes() == before


@root_only
@pytest.mark.parametrize("index", ["there", "lost"])
def test_rows_only_in_the_log_of_a_read_only_disk_are_read_too(tmp_path: Path, index: str) -> None:
    with small_disk(tmp_path / "disk", "size=1m") as disk:
        path = disk / "ledger.db"
        with puppet(path) as worker:
            worker.do("open", "run")
            worker.do("hold", "a", 100)
            worker.kill()
        if index == "lost":
            (disk / "ledger.db-shm").unlink()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        assert costs_window(path, seconds=60).held_nano == HELD


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """Stop being root, who may write everything; give a folder that is nobody's own."""
    with tempfile.TemporaryDirectory() as folder:
        me = os.geteuid()
        if me == 0:
            os.chown(folder, 65534, -1)
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(me)


def begin(path: Path) -> None:
    session = LedgerSession(Database(path), owner_id=os.urandom(8).hex(), pid=os.getpid())
    session.open_run("run", CostLimit(), task="", agent="", labels={})
    session.close()


@pytest.mark.parametrize("what", ["folder", "file", "queue", "owners"])
def test_file_without_write_permission_is_reported_with_a_hint_and_stays(as_nobody: Path, what: str) -> None:
    folder = as_nobody / "state"
    path = folder / "ledger.db"
    begin(path)
    places = {"folder": folder, "file": path, "queue": path.with_suffix(".queue"), "owners": folder / "ledger.owners"}
    places[what].chmod(0o500 if what in ("folder", "owners") else 0o400)
    before = path.read_bytes()
    with pytest.raises(StateError) as caught:
        begin(path)
    folder.chmod(0o700)
    places[what].chmod(0o700)
    assert "make it writable" in caught.value.hint or "make its folder writable" in caught.value.hint
    assert path.read_bytes() == before


@pytest.mark.parametrize("free", [0, 1, 2])
def test_missing_descriptors_hint_at_a_higher_limit_of_descriptors(tmp_path: Path, free: int) -> None:
    path = tmp_path / "ledger.db"
    Database(path).close()
    with puppet(path) as worker:
        resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (64, 64))
        worker.do("use_up_files", free)
        answer = worker.do("spend")
        assert answer["hint"] == "raise `ulimit -n`", answer


def test_a_ledger_cut_in_the_middle_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Database(path).close()
    path.write_bytes(path.read_bytes()[: 4096 * 5])
    before = path.read_bytes()
    error = refused(path)
    assert error.hint.endswith(f"mv {path} {path}.damaged")
    assert path.read_bytes() == before


@pytest.mark.parametrize("left", ["the log", "the owners"])
def test_an_empty_ledger_that_has_been_used_is_not_taken_for_a_new_one(tmp_path: Path, left: str) -> None:
    path, log = tmp_path / "ledger.db", tmp_path / "ledger.db-wal"
    with puppet(path) as worker:
        worker.do("open", "run")
        worker.kill()
    path.write_bytes(b"")
    if left == "the owners":
        log.unlink()
    written = log.read_bytes() if log.exists() else b""
    for look in (inspect_ledger, partial(costs_window, seconds=60)):
        with pytest.raises(StateError, match="is empty, but it has been used"):
            look(path)
    error = refused(path)
    assert error.message == f"the ledger {path} is empty, but it has been used"
    assert f"mv {path} {path}.damaged" in error.hint
    assert (log.read_bytes() if log.exists() else b"") == written, "SQLite removes a log from beside an empty file"


def test_log_without_its_ledger_is_kept_and_its_hint_leads_to_a_new_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with puppet(path) as worker:
        worker.do("open", "run")
        worker.kill()
    path.unlink()
    error = refused(path)
    assert "is gone, but it has been used" in error.message
    subprocess.run(error.hint.partition(": ")[2], shell=True, check=True)  # noqa: S602 - what a person would paste
    assert (tmp_path / "ledger.db.damaged-wal").stat().st_size
    Database(path).close()


@pytest.mark.parametrize("log", ["lost", "empty"])
def test_ledger_without_its_log_keeps_what_had_reached_the_file(tmp_path: Path, log: str) -> None:
    path, wal = tmp_path / "ledger.db", tmp_path / "ledger.db-wal"
    with puppet(path) as worker:
        worker.do("open", "run")
        worker.do("hold", "a", 100)
        worker.do("mark", "a")
        worker.do("settle", "a", 100)
        worker.do("close")
    with puppet(path) as worker:
        worker.do("open", "run-2")
        worker.kill()
    wal.write_bytes(b"") if log == "empty" else wal.unlink()
    with puppet(path) as other:
        other.do("open", "other")
        assert other.do("spend")[0] == HELD
        assert phase_of(path, "a") == "settled"


def test_a_ledger_whose_tables_are_missing_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Database(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE clock")
    with puppet(path) as worker:
        answer = worker.do("open", "run")
        assert "no such table" in answer["error"]
        assert f"mv {path} {path}.damaged" in answer["hint"]


def test_a_copy_that_keeps_no_write_ahead_log_is_given_one(tmp_path: Path) -> None:
    Database(tmp_path / "first.db").close()
    with closing(sqlite3.connect(tmp_path / "first.db")) as db:
        db.execute(f"VACUUM INTO '{tmp_path / 'ledger.db'}'")
    with puppet(tmp_path / "ledger.db") as worker:
        assert worker.do("open", "run") is None
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize("how", ["moved", "deleted", "replaced", "its log is replaced"])
def test_a_ledger_that_was_taken_away_while_in_use_takes_nothing_more(tmp_path: Path, how: str) -> None:
    path, log = tmp_path / "ledger.db", tmp_path / "ledger.db-wal"
    with puppet(path) as worker:
        worker.do("open", "run")
        worker.do("hold", "a", 100)
        if how == "its log is replaced":
            log.rename(tmp_path / "old")
            log.write_bytes((tmp_path / "old").read_bytes())
        elif how == "deleted":
            path.unlink()
        else:
            path.rename(tmp_path / "old")
        if how == "replaced":
            path.write_bytes((tmp_path / "old").read_bytes())
        assert "while it was in use" in worker.do("mark", "a")["error"]


def test_two_ledgers_of_one_process_keep_their_locks_when_another_opens_and_closes(tmp_path: Path) -> None:
    """Opening and closing the file itself would drop SQLite's locks, and the next to close would remove the log."""
    path, log = tmp_path / "ledger.db", tmp_path / "ledger.db-wal"
    first = Database(path)
    second = Database(path)
    same = log.stat().st_ino
    with puppet(path) as stranger:
        stranger.do("open", "run")
        stranger.do("close")
    assert log.stat().st_ino == same
    first.close()
    second.close()
