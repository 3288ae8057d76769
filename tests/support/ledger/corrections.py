"""Parts of the tests of check and reconcile: ledgers that are filled, owners that die, and the file read by SQL."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any

from agentctl.budget.rules import Hold
from agentctl.core.ledger_address import LedgerAddress, PostgresAddress
from agentctl.core.limits import CostLimit
from agentctl.ledger.clock import ReadClock
from agentctl.ledger.ledger_session import LedgerSession
from tests.support.ledger.engines import database_at, end_lease, session_at
from tests.support.ledger.parts import ask

CALL = 256_000_000
NO_LIMITS = CostLimit(max_cost_per_task=None, max_cost_per_hour=None, max_tokens_per_task=None)


def opened(path: LedgerAddress, clock: ReadClock | None = None, *, owner: str = "") -> LedgerSession:
    """Open the ledger as one more owner."""
    return session_at(path, clock=clock, owner=owner or os.urandom(8).hex(), pause_s=0.0)


def begin(session: LedgerSession, run: str, limits: CostLimit = NO_LIMITS) -> None:
    session.open_run(run, limits, task="t", agent="a", labels={})


def send(session: LedgerSession, name: str, run: str = "run", **changes: object) -> Hold:
    """Hold the worst case of a call, $0.256, and mark it sent."""
    hold = session.reserve(ask(name, run, **changes))  # type: ignore[arg-type]
    assert isinstance(hold, Hold), hold
    assert session.mark_sent(name)
    return hold


def left_in_doubt(path: Path, *names: str, run: str = "run", clock: ReadClock | None = None) -> None:
    """A run whose calls were cut off, and whose process has ended."""
    session = opened(path, clock)
    begin(session, run)
    for name in names:
        send(session, name, run)
        session.doubt(name, "cut off", ceiling=False, provider_fault=True)
    session.close()


def dies(session: LedgerSession, path: LedgerAddress, owner: str) -> None:
    """End an owner as kill -9 would: nobody holds its lock, and nothing was written."""
    if isinstance(path, PostgresAddress):
        end_lease(path, owner)
        return
    (path.with_suffix(".owners") / owner).unlink()


ALL = "SELECT id, phase, nano, tokens, settled_by FROM attempts ORDER BY id"


def rows(path: LedgerAddress, sql: str = ALL, *values: object) -> list[tuple[Any, ...]]:
    with closing(database_at(path)) as db:
        return db.execute(sql, values).fetchall()


def change(path: LedgerAddress, sql: str, *values: object) -> None:
    """Write into the file behind the program's back."""
    with closing(database_at(path)) as db, db:
        db.execute(sql, values)
