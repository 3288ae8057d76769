"""Tests that start processes, beside ``tests/unit/ledger/test_regressions.py``."""

from __future__ import annotations

import os
from pathlib import Path

from agentctl.core.errors import StateError
from agentctl.core.limits import CostLimit
from agentctl.ledger.database import Database
from agentctl.ledger.ledger_session import LedgerSession
from agentctl.ledger.locks import queue_lock


def test_a_child_that_was_forked_in_the_midst_of_writing_does_not_keep_the_queue(tmp_path: Path) -> None:
    queue, (out, into) = tmp_path / "queue", os.pipe()
    with queue_lock(queue):
        child = os.fork()
        if child == 0:
            os.close(into)
            os.read(out, 1)  # until the parent is done
            os._exit(0)
    try:
        with queue_lock(queue, patience_s=0):
            pass
    finally:
        os.close(into)
        os.close(out)
        os.waitpid(child, 0)


def test_a_ledger_is_not_read_after_a_fork(path: Path) -> None:
    session = LedgerSession(Database(path), owner_id="me", pid=os.getpid())
    session.open_run("run", CostLimit(), task="", agent="", labels={})
    child = os.fork()
    if child == 0:
        try:
            session.spend("run")
        except StateError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    session.close()
