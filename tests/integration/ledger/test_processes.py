"""Many processes on one ledger, some of them killed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from agentctl.core.errors import StateError
from agentctl.ledger.database import Database
from agentctl.ledger.ledger_session import LedgerSession
from tests.support import fork_server
from tests.support.ledger.worker import session

ROOT = Path(__file__).parents[3]
DOLLAR = 10**9


def start(*arguments: object) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "tests.support.ledger.worker", *map(str, arguments)]
    environ = {**os.environ, **fork_server.ENVIRON}
    return fork_server.Forked(line[1:], cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)


def billed(bills: Path) -> int:
    return sum(map(int, bills.read_text().split())) if bills.exists() else 0


def test_eight_processes_on_one_hours_limit_spend_it_and_never_pass_it(tmp_path: Path) -> None:
    path, bills = tmp_path / "ledger.db", tmp_path / "bills"
    workers = [start("spend", path, bills, f"run-{i}", "2.00", 40) for i in range(8)]
    outcomes = [json.loads(worker.communicate(timeout=120)[0]) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 8
    assert 0.8 * 2 * DOLLAR <= billed(bills) <= 2 * DOLLAR
    assert all(o["refused_at"] is None or o["refused_at"] > 2 * DOLLAR for o in outcomes)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT sum(nano) FROM attempts").fetchone() == (billed(bills),)
        assert db.execute("SELECT count(*) FROM attempts WHERE phase NOT IN ('settled')").fetchone() == (0,)


@pytest.mark.parametrize(
    ("phase", "left"),
    [
        ("before hold", None),
        ("holding", None),
        ("held", ("void", 0)),
        ("marking", ("void", 0)),
        ("sent", ("doubt", 101_000_000)),
        ("usage seen", ("doubt", 101_000_000)),
        ("settling", ("doubt", 101_000_000)),
        ("settled", ("settled", 50_001_000)),
    ],
)
def test_kill_9_in_each_phase_leaves_nothing_unaccounted_for(
    tmp_path: Path, phase: str, left: tuple[str, int] | None
) -> None:
    path, bills = tmp_path / "ledger.db", tmp_path / "bills"
    with start("pause", path, bills, "doomed", phase) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline().strip() in (phase, "in the transaction")
        worker.send_signal(signal.SIGKILL)
    survivor = start("spend", path, bills, "survivor", "100", 1)
    assert json.loads(survivor.communicate(timeout=60)[0])["made"] == 1
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT phase, nano FROM attempts WHERE run_id = 'doomed'").fetchone() == left
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (counted,) = db.execute("SELECT sum(nano) FROM attempts").fetchone()
    assert billed(bills) <= counted


def test_a_living_process_is_not_taken_for_dead(tmp_path: Path) -> None:
    path, bills = tmp_path / "ledger.db", tmp_path / "bills"
    with start("pause", path, bills, "alive", "sent") as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        other = start("spend", path, bills, "other", "100", 1)
        other.communicate(timeout=60)
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("SELECT phase FROM attempts WHERE run_id = 'alive'").fetchone() == ("sent",)
        worker.kill()


def test_a_stopped_process_that_holds_the_queue_is_named_and_nothing_is_spent(tmp_path: Path) -> None:
    path, bills = tmp_path / "ledger.db", tmp_path / "bills"
    with start("pause", path, bills, "stopped", "settling") as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        impatient = Database(path, patience_s=0.3)
        with pytest.raises(StateError, match=f"process {worker.pid} holds it"):
            LedgerSession(impatient, owner_id="me", pid=os.getpid()).close_run("stopped", "done")
        worker.kill()
    patient = session(path)
    patient.close_run("stopped", "done")
    patient.close()
    impatient.close()


def test_a_ledger_is_not_carried_over_a_fork(tmp_path: Path) -> None:
    ledger = session(tmp_path / "ledger.db")
    child = os.fork()
    if child == 0:
        try:
            ledger.close_run("x", "done")
        except StateError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    ledger.close()
