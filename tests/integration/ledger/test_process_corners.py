"""Processes that are stopped, replaced, wrongly declared dead or invisible: the lock decides, nothing is sent twice."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from agentctl.budget.rules import Hold
from agentctl.core.errors import StateError
from agentctl.core.limits import CostLimit
from agentctl.ledger.database import Database
from agentctl.ledger.ledger_session import LedgerSession
from agentctl.ledger.locks import queue_lock
from tests.support import fork_server
from tests.support.ledger.parts import HandClock, ask
from tests.support.ledger.scripted_process import Puppet, puppet

PATIENCE_S = 60.0
OWN_PIDS = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def first(path: Path) -> Iterator[Puppet]:
    with puppet(path, clock=HandClock()) as process:
        process.do("open", "run")
        yield process


@pytest.fixture
def other(path: Path, first: Puppet) -> Iterator[Puppet]:
    with puppet(path, clock=HandClock()) as process:
        process.do("open", "other")
        yield process


def look(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db, db:
        return db.execute(sql).fetchall()


def phase_of(path: Path, name: str) -> object:
    ((phase,),) = look(path, f"SELECT phase FROM attempts WHERE id = '{name}'")  # noqa: S608 - our own word
    return phase


def until_it_is(path: Path, name: str, phase: str, other: Puppet) -> None:
    """Let the other process look after the dead, again and again, until the attempt is in ``phase``."""
    end = time.monotonic() + PATIENCE_S
    while phase_of(path, name) != phase:
        assert time.monotonic() < end, phase_of(path, name)
        assert other.do("hold", os.urandom(4).hex(), 1, {"run": "other"}) == "held"


def let_pass(process: Puppet, seconds: float) -> None:
    """Let the clocks that this process reads go on."""
    clock = HandClock()
    clock.pass_by(seconds)
    process.do("turn_clock", clock.wall_s, clock.boot_s, clock.boot_id)


def stop(process: Puppet) -> None:
    fork_server.stop(process.pid)


def lose_the_lock_of(path: Path, owned: str) -> None:
    """Make the owner of an attempt look dead."""
    ((owner,),) = look(path, f"SELECT owner_id FROM attempts WHERE id = '{owned}'")  # noqa: S608
    (path.with_suffix(".owners") / str(owner)).unlink()


# --- stopped --------------------------------------------------------------------------------------------------------


def test_a_process_stopped_between_hold_and_sending_past_its_deadline_sends_nothing(
    path: Path, first: Puppet, other: Puppet
) -> None:
    first.do("hold", "a", 100)
    stop(first)
    let_pass(other, 600)
    until_it_is(path, "a", "void", other)
    os.kill(first.pid, signal.SIGCONT)
    assert first.do("mark", "a") is False


def test_a_process_stopped_after_sending_is_waited_for_and_settles_when_it_goes_on(
    path: Path, first: Puppet, other: Puppet
) -> None:
    first.do("hold", "unsent", 1)
    first.do("hold", "a", 100)
    first.do("mark", "a")
    stop(first)
    let_pass(other, 600)
    until_it_is(path, "unsent", "void", other)
    assert phase_of(path, "a") == "sent", "its deadline is over, but what was sent may be billed"
    assert other.do("hold", "b", 1000, {"run": "other", "hour": "1"}) == "wait"
    os.kill(first.pid, signal.SIGCONT)
    assert first.do("settle", "a", 40) == "settled"
    assert first.do("spend")[0] == 40_000_000


def test_stopped_process_that_holds_the_queue_is_named_and_both_go_on_after_it(
    path: Path, first: Puppet, other: Puppet
) -> None:
    assert first.do("stay_in_the_queue") == "in the queue"
    stop(first)
    with puppet(path) as impatient:
        impatient.do("patience", 0.2)
        answer = impatient.do("open", "late")
        assert f"process {first.pid} holds it" in answer["error"]
        assert f"kill -CONT {first.pid}" in answer["hint"]
        os.kill(first.pid, signal.SIGCONT)
        first.tell("go on")
        assert first.heard() is None
        assert impatient.do("open", "late") is None


def test_a_queue_that_moves_is_waited_for_however_long_it_is(path: Path) -> None:
    """Each turn is short, but together they exceed the timeout: a slow disk with many writers."""
    queue, patience_s, slowest = path.with_suffix(".queue"), 1.5, 0.0
    got = threading.Event()

    def wait() -> None:
        with suppress(StateError), queue_lock(queue, patience_s=patience_s):
            got.set()

    with queue_lock(queue):
        waiting = threading.Thread(target=wait)
        waiting.start()
        began = last = time.monotonic()
        while last - began < 3 * patience_s:
            queue.write_text(f"{os.getpid()}")  # as the next one does whose turn it is
            time.sleep(0.02)
            now = time.monotonic()
            slowest, last = max(slowest, now - last), now
        assert not got.is_set()
    waiting.join(PATIENCE_S)
    if slowest >= patience_s / 2:
        pytest.skip(f"this machine paused for {slowest:.1f} s: the queue did not move")
    assert got.is_set()


# --- who is alive ---------------------------------------------------------------------------------------------------


def test_dead_process_whose_pid_is_reused_is_dead(path: Path, first: Puppet, other: Puppet) -> None:
    for name in ("held", "sent"):
        first.do("hold", name, 100)
    first.do("mark", "sent")
    first.kill()
    look(path, f"UPDATE owners SET pid = {os.getpid()}")  # noqa: S608
    until_it_is(path, "sent", "doubt", other)
    assert phase_of(path, "held") == "void"


def test_living_process_with_an_unknown_pid_is_alive(path: Path, first: Puppet, other: Puppet) -> None:
    first.do("hold", "a", 100)
    look(path, "UPDATE owners SET pid = 999999999, boot_id = 'another', host = 'elsewhere'")
    other.do("hold", "b", 1, {"run": "other"})
    assert phase_of(path, "a") == "held"
    assert first.do("mark", "a")


def test_a_child_that_outlives_its_run_does_not_keep_it_alive(path: Path, first: Puppet, other: Puppet) -> None:
    first.do("hold", "a", 100)
    child = first.do("child")
    try:
        first.kill()
        until_it_is(path, "a", "void", other)
    finally:
        os.kill(child, signal.SIGKILL)


def test_lock_says_which_process_lives_in_two_namespaces_with_the_same_pids(path: Path) -> None:
    if subprocess.run([*OWN_PIDS, "true"], capture_output=True).returncode:
        pytest.skip("no namespace of one's own here")
    with puppet(path, *OWN_PIDS) as one, puppet(path, *OWN_PIDS) as two:
        assert one.pid == two.pid
        one.do("open", "run")
        two.do("open", "other")
        one.do("hold", "a", 100)
        two.do("hold", "b", 1, {"run": "other"})
        assert phase_of(path, "a") == "held"
        assert one.do("mark", "a")
        assert two.do("mark", "b")
        one.kill()
        until_it_is(path, "a", "doubt", two)
        assert phase_of(path, "b") == "sent"


def test_a_fork_that_ends_takes_nothing_of_its_parents_with_it(path: Path) -> None:
    session = LedgerSession(Database(path), owner_id="parent", pid=os.getpid())
    session.open_run("run", CostLimit(), task="", agent="", labels={})
    assert isinstance(session.reserve(ask("a", tokens=1)), Hold)
    child = os.fork()
    if child == 0:
        session.close()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with puppet(path) as other:
        other.do("open", "other")
        other.do("hold", "b", 1, {"run": "other"})
    assert phase_of(path, "a") == "held"
    assert session.mark_sent("a")
    session.close()


# --- a wrong verdict ------------------------------------------------------------------------------------------------


def test_a_sweeper_between_hold_and_sending_takes_the_hold_and_nothing_is_sent(
    path: Path, first: Puppet, other: Puppet
) -> None:
    first.do("hold", "a", 900, {"hour": "1"})
    stop(first)
    lose_the_lock_of(path, "a")
    assert other.do("hold", "b", 900, {"run": "other", "hour": "1"}) == "held", "the room of the buried is given away"
    os.kill(first.pid, signal.SIGCONT)
    assert first.do("mark", "a") is False
    assert other.do("mark", "b")
    assert first.do("spend")[3] == 900_000_000


def test_usage_that_comes_after_its_process_was_declared_dead_settles_the_doubt(
    path: Path, first: Puppet, other: Puppet
) -> None:
    first.do("hold", "a", 900)
    first.do("mark", "a")
    stop(first)
    lose_the_lock_of(path, "a")
    until_it_is(path, "a", "doubt", other)
    os.kill(first.pid, signal.SIGCONT)
    assert first.do("spend")[1] == 900_000_000
    assert first.do("settle", "a", 40) == "settled"
    assert first.do("spend")[:2] == [40_000_000, 0]
    steps = look(path, "SELECT phase FROM entries WHERE attempt_id = 'a' ORDER BY id")
    assert [phase for (phase,) in steps] == ["held", "sent", "doubt", "settled"]


# --- limits that differ ---------------------------------------------------------------------------------------------


def test_process_with_the_lower_hourly_limit_stops_first(first: Puppet, other: Puppet) -> None:
    first.do("hold", "a", 900, {"hour": "2"})
    first.do("mark", "a")
    first.do("settle", "a", 900)
    assert other.do("hold", "b", 101, {"run": "other", "hour": "1"}) == {"refused": "max_cost_per_hour"}
    assert other.do("hold", "c", 100, {"run": "other", "hour": "1"}) == "held"
    assert first.do("hold", "d", 1000, {"hour": "2"}) == "held"
    assert first.do("hold", "e", 1, {"hour": "2"}) == "wait", "for what is held, which may cost less"


def test_hourly_limit_lowered_below_the_spending_admits_nothing_new(path: Path, first: Puppet) -> None:
    first.do("hold", "a", 600, {"hour": "2"})
    first.do("mark", "a")
    first.do("settle", "a", 600)
    first.do("hold", "b", 300, {"hour": "2"})
    assert first.do("hold", "c", 1, {"hour": "0.50"}) == {"refused": "max_cost_per_hour"}
    assert first.do("spend") == [600_000_000, 0, 300_000_000, 900_000_000]
    assert first.do("mark", "b"), "what was admitted stands"
    assert first.do("hold", "d", 1, {"hour": "2"}) == "held"
