"""A ledger with very many rows, written by SQL as agentctl would have left them: for benchmarks and migrations."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from agentctl.ledger.schema import MIGRATIONS, migrate
from tests.support.ledger.parts import HandClock

RUN_OF = 5  # calls in a run
BIG = "big"  # a run that has every twentieth call, and is still open
OWNER = "owner"

#: When call number ``n``, counted back from the last, ended: one every minute, or in the last 30 days.
EVEN = ":last - n * 60000000"
MONTH = """CASE
    WHEN n < :rows / 100 THEN :last - n * 60000000 / (:rows / 100)
    WHEN n < :rows / 10 THEN :last - 60000000 - n * 3540000000 / (:rows / 10)
    ELSE :last - 3600000000 - n * 2588400000000 / :rows END"""
"""A hundredth of the calls in the last minute, a tenth in the last hour, the others in the 30 days before."""

_ATTEMPTS = """
WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :rows),
calls AS (SELECT n, {at} AS at, iif(n % 20, printf('%012x', n / :run_of), :big) AS run FROM numbers)
INSERT INTO attempts (id, run_id, owner_id, purpose, phase, provider, model, input_bound, granted_output, hold_nano,
    hold_tokens, ceiling_nano, ceiling_tokens, nano, tokens, admitted, held_us, sent_us, deadline_us, ended_us,
    leaves_hour_us, input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, settled_by)
SELECT printf('%032x', n), run, 'owner', 'turn', iif(n % 997, 'settled', 'doubt'), :provider,
    iif(n % 3, :model, 'another'), 4000, 4096, 90000000, 8096, 90000000, 8096, 1000 + n % 5000, 4200, '{{}}',
    at - 2000000, at - 1000000, at + 600000000, at, at + iif(n % 997, 3600000000, 4200000000), 4000, 1000, 200, 0,
    iif(n % 997, :settled_by, NULL) FROM calls ORDER BY n DESC
"""
_SCOPES = """
WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :runs)
INSERT INTO scopes (id, kind, task, agent, labels, opened_us, closed_us, status)
SELECT printf('%012x', n), 'run', 'a task', iif(n % 2, 'docker', 'system'),
    json_object('team', printf('team %d', n % 10), 'job', 'build'), 0, 1, 'done' FROM numbers
"""
_ENTRIES = """
INSERT INTO entries (attempt_id, at_us, wall_us, phase, nano, tokens)
SELECT id, held_us AS at, held_us, 'held', hold_nano, hold_tokens FROM attempts
UNION ALL SELECT id, sent_us, sent_us, 'sent', hold_nano, hold_tokens FROM attempts
UNION ALL SELECT id, ended_us, ended_us, phase, nano, tokens FROM attempts ORDER BY at
"""


def fill(
    path: Path,
    rows: int,
    *,
    at: str = MONTH,
    schema: int = len(MIGRATIONS),
    provider: str = "openai",
    model: str = "gpt-4o",
    settled_by: str = "usage",
    history: bool = True,
) -> HandClock:
    """Make a ledger of ``schema`` with ``rows`` calls, the last a moment ago; without ``history`` no entries.

    Return a clock that stands at that moment. The rows are written in the first schema, and migrated: that is faster
    than the triggers.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    last = time.time_ns() // 1000
    named = {"provider": provider, "model": model, "settled_by": settled_by, "big": BIG, "run_of": RUN_OF}
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=OFF")
        migrate(db, upto=1)
        db.execute("BEGIN")
        db.execute("INSERT INTO owners (id, pid, host, boot_id, started_us) VALUES (?, 1, 'host', 'boot', 0)", (OWNER,))
        db.execute("INSERT INTO scopes (id, kind, opened_us) VALUES (?, 'run', 0)", (BIG,))
        db.execute(_SCOPES, {"runs": -(-rows // RUN_OF)})
        db.execute(_ATTEMPTS.format(at=at), {**named, "rows": rows, "last": last})
        db.execute(
            "INSERT INTO clock (id, now_us, wall_us, boot_us, boot_id) VALUES (1, :now, :now - 1, 0, 'boot')",
            {"now": last},
        )
        if history:
            db.execute(_ENTRIES)
        db.execute("COMMIT")
        migrate(db, 1, upto=schema)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return HandClock(last / 1_000_000, 0.0, "boot")
