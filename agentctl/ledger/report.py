"""What was spent, read without touching the book: for ``agentctl costs``."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from agentctl.budget import Amounts
from agentctl.errors import StateError
from agentctl.ledger.clock import ReadClock, Reading, advance, as_datetime, system_clock
from agentctl.ledger.fault import refuse_a_remnant
from agentctl.ledger.schema import APPLICATION_ID, MIGRATIONS
from agentctl.ledger.store import Tick, translated
from agentctl.ledger.sums import window_amounts


@dataclass(frozen=True, slots=True)
class CostRow:
    """One run's calls to one model in the window; nano-dollars, None where the price is unknown."""

    run_id: str
    agent: str
    provider: str
    model: str | None
    calls: int
    input_tokens: int
    output_tokens: int
    cost_nano: int | None
    in_doubt_nano: int
    held_nano: int
    last_at: datetime


@dataclass(frozen=True, slots=True)
class CostReport:
    """A window of the ledger's own time (UTC). ``hour`` is what counts against the hour's limit now."""

    since: datetime
    until: datetime
    rows: tuple[CostRow, ...]
    hour: Amounts

    @property
    def total_nano(self) -> int:
        """What was charged in the window, as far as it is known."""
        return sum(row.cost_nano or 0 for row in self.rows)

    @property
    def in_doubt_nano(self) -> int:
        """What counts as spent because nobody knows."""
        return sum(row.in_doubt_nano for row in self.rows)

    @property
    def held_nano(self) -> int:
        """What is held by calls under way."""
        return sum(row.held_nano for row in self.rows)


_ROWS = """
SELECT a.run_id, s.agent, a.provider, a.model, count(*),
    sum(coalesce(a.input_tokens, 0)), sum(coalesce(a.output_tokens, 0)),
    sum(a.nano) FILTER (WHERE a.phase = 'settled'),
    max(a.phase = 'settled' AND a.nano IS NULL),
    coalesce(sum(a.nano) FILTER (WHERE a.phase = 'doubt'), 0),
    coalesce(sum(a.nano) FILTER (WHERE a.phase IN ('held', 'sent', 'kept')), 0),
    max(coalesce(a.ended_us, a.sent_us, a.held_us))
FROM (
    SELECT * FROM attempts WHERE ended_us > :since AND phase <> 'void'
    UNION ALL
    SELECT * FROM attempts WHERE leaves_hour_us IS NULL
) AS a JOIN scopes AS s ON s.id = a.run_id
GROUP BY a.run_id, s.agent, a.provider, a.model ORDER BY 12 DESC
"""


def _row(row: tuple[Any, ...]) -> CostRow:
    run_id, agent, provider, model, calls, tokens_in, tokens_out, nano, unknown, doubt, held, last_us = row
    cost = None if unknown else nano or 0
    return CostRow(
        run_id, agent, provider, model, calls, tokens_in, tokens_out, cost, doubt, held, as_datetime(last_us)
    )


@contextmanager
def _reading(path: Path, clock: ReadClock) -> Iterator[Tick | None]:
    """Open read-only; on a read-only disk, where a write-ahead log cannot be joined, read the file as it lies."""
    with translated(path):
        try:
            db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
            db.execute("SELECT 1 FROM sqlite_schema").fetchall()
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise
            db = _as_it_lies(path)
        with closing(db):
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0 and not db.execute("SELECT 1 FROM sqlite_schema").fetchone():
                yield None  # made, but never written to
                return
            if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID or version > len(MIGRATIONS):
                raise StateError(
                    f"{path} is not a ledger that this agentctl can read",
                    hint="upgrade agentctl, or name another folder: AGENTCTL_STATE_DIR=/another/folder",
                )
            db.execute("BEGIN")
            row = db.execute("SELECT now_us, wall_us, boot_us, boot_id FROM clock").fetchone()
            read = clock()
            now = read.wall_us if row is None else advance(row[0], Reading(*row[1:]), read)
            yield Tick(db, now, read.wall_us)


def _as_it_lies(path: Path) -> sqlite3.Connection:
    """Open a ledger whose log cannot be joined; what stands only in the log is read from a copy of both."""
    log = path.with_name(f"{path.name}-wal")
    if not (log.exists() and log.stat().st_size):
        return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    import shutil  # noqa: PLC0415 - hardly ever needed
    import tempfile  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        for file in (path, log):
            shutil.copyfile(file, Path(folder, file.name))
        db = sqlite3.connect(Path(folder, path.name))
        db.execute("SELECT 1 FROM sqlite_schema").fetchall()  # it has both open: their names may go
    return db


def costs_window(path: Path, *, seconds: int, clock: ReadClock | None = None) -> CostReport:
    """Return what ended in the last ``seconds`` and what is still open; no ledger yet is an empty report.

    Raises:
        StateError: the file is damaged, foreign or newer than this program.
    """
    clock = clock or system_clock()
    now = clock().wall_us
    nothing = CostReport(as_datetime(now - seconds * 1_000_000), as_datetime(now), (), Amounts())
    with translated(path):
        refuse_a_remnant(path)
        try:
            path.stat()
        except FileNotFoundError:
            return nothing
    with _reading(path, clock) as tick:
        if tick is None:
            return nothing
        since = tick.now_us - seconds * 1_000_000
        rows = tuple(_row(row) for row in tick.db.execute(_ROWS, {"since": since}))
        return CostReport(as_datetime(since), as_datetime(tick.now_us), rows, window_amounts(tick)[0])
