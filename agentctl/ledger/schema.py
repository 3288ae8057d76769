"""Define the tables of the ledger by numbered migrations, which are never edited, and tell which of them a file has.

Times are the ledger's own, in microseconds since the Unix epoch (UTC); amounts are nano-dollars and tokens.
"""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from agentctl.core.errors import StateError
from agentctl.ledger.errors import move_aside_hint

APPLICATION_ID = 0x61677463  # "agtc"

V1 = """
CREATE TABLE clock (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    now_us INTEGER NOT NULL, wall_us INTEGER NOT NULL, boot_us INTEGER NOT NULL, boot_id TEXT NOT NULL
) STRICT;

-- A process that spends. It holds a lock on a file named after its id; on PostgreSQL, a lease.
CREATE TABLE owners (
    id TEXT PRIMARY KEY, pid INTEGER NOT NULL, host TEXT NOT NULL, boot_id TEXT NOT NULL,
    started_us INTEGER NOT NULL, ended_us INTEGER, lease_until_us INTEGER
) STRICT;

-- What limits stand on: a run, or a lease drawn from another book. A child counts in every scope above it.
CREATE TABLE scopes (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL CHECK (kind IN ('run', 'lease')),
    parent_id TEXT REFERENCES scopes (id),
    limit_nano INTEGER CHECK (limit_nano >= 0), limit_tokens INTEGER CHECK (limit_tokens >= 0),
    task TEXT NOT NULL DEFAULT '', agent TEXT NOT NULL DEFAULT '', labels TEXT NOT NULL DEFAULT '{}',
    opened_us INTEGER NOT NULL, expires_us INTEGER, closed_us INTEGER, status TEXT,
    bound_to TEXT
) STRICT;

-- One request to a provider. nano and tokens are what counts now: the hold, then the charge, or 0 once void.
-- leaves_hour_us: NULL while open, then when the amount leaves the hour's window.
CREATE TABLE attempts (
    id TEXT PRIMARY KEY, run_id TEXT NOT NULL REFERENCES scopes (id), owner_id TEXT NOT NULL REFERENCES owners (id),
    purpose TEXT NOT NULL, phase TEXT NOT NULL CHECK (phase IN ('kept', 'held', 'sent', 'settled', 'void', 'doubt')),
    provider TEXT NOT NULL, model TEXT, answered_model TEXT,
    prices TEXT, price_source TEXT, price_version TEXT, price_digest TEXT,
    input_bound INTEGER NOT NULL, granted_output INTEGER NOT NULL,
    hold_nano INTEGER, hold_tokens INTEGER NOT NULL, ceiling_nano INTEGER, ceiling_tokens INTEGER NOT NULL,
    nano INTEGER CHECK (nano >= 0), tokens INTEGER NOT NULL CHECK (tokens >= 0),
    admitted TEXT NOT NULL,
    held_us INTEGER NOT NULL, sent_us INTEGER, deadline_us INTEGER NOT NULL, ended_us INTEGER, leaves_hour_us INTEGER,
    input_tokens INTEGER, cached_input_tokens INTEGER, cache_write_tokens INTEGER, output_tokens INTEGER,
    reasoning_tokens INTEGER, reason TEXT, provider_fault INTEGER NOT NULL DEFAULT 0, settled_by TEXT
) STRICT;
CREATE INDEX attempts_open ON attempts (phase, owner_id) WHERE leaves_hour_us IS NULL;
CREATE INDEX attempts_hour ON attempts (leaves_hour_us, phase, nano) WHERE leaves_hour_us IS NOT NULL;
CREATE INDEX attempts_run ON attempts (run_id, phase, nano, tokens);
CREATE INDEX attempts_provider ON attempts (provider, ended_us) WHERE phase IN ('settled', 'doubt');
CREATE INDEX attempts_ended ON attempts (ended_us);

-- Every step of every attempt, never changed.
CREATE TABLE entries (
    id INTEGER PRIMARY KEY, attempt_id TEXT NOT NULL, at_us INTEGER NOT NULL, wall_us INTEGER NOT NULL,
    phase TEXT NOT NULL, nano INTEGER, tokens INTEGER NOT NULL, reason TEXT
) STRICT;
CREATE INDEX entries_attempt ON entries (attempt_id);
CREATE TRIGGER entries_stay BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'entries are never changed'); END;
CREATE TRIGGER entries_last BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'entries are never deleted'); END;
CREATE TRIGGER attempts_last BEFORE DELETE ON attempts BEGIN SELECT RAISE(ABORT, 'attempts are never deleted'); END;

-- Those who wait for room, the oldest first; need_nano is the least that would do.
CREATE TABLE waiters (
    attempt_id TEXT PRIMARY KEY, owner_id TEXT NOT NULL, run_id TEXT NOT NULL,
    since_us INTEGER NOT NULL, seen_us INTEGER NOT NULL,
    need_nano INTEGER NOT NULL, need_tokens INTEGER NOT NULL
) STRICT;

-- A charge above its hold: from then on the model's ceiling is held, until the user clears it.
CREATE TABLE overruns (
    attempt_id TEXT PRIMARY KEY, provider TEXT NOT NULL, model TEXT NOT NULL, at_us INTEGER NOT NULL, cleared_us INTEGER
) STRICT;
"""

# A sum of 64-bit amounts does not fit 64 bits, so each sub-total is kept in two halves: ``hi`` adds up the amounts
# shifted right by 32 bits, ``lo`` the lower 32 bits.
_AMOUNTS = """nano_hi INTEGER NOT NULL, nano_lo INTEGER NOT NULL"""
_TOKENS = """tokens_hi INTEGER NOT NULL, tokens_lo INTEGER NOT NULL"""


def _halves(row: str, column: str, sign: str = "") -> str:
    return f"{sign}(coalesce({row}.{column}, 0) >> 32), {sign}(coalesce({row}.{column}, 0) & 4294967295)"


def _subtotals(row: str, sign: str) -> str:
    """Return the statements that add an attempt's row to every sub-total it is part of, or (``-``) take it out."""
    nano, tokens = _halves(row, "nano", sign), _halves(row, "tokens", sign)
    more = "nano_hi = nano_hi + excluded.nano_hi, nano_lo = nano_lo + excluded.nano_lo"
    more_tokens = "tokens_hi = tokens_hi + excluded.tokens_hi, tokens_lo = tokens_lo + excluded.tokens_lo"
    return f"""
    INSERT INTO scope_totals SELECT above_id, {row}.phase, {nano}, {tokens} FROM scope_paths
        WHERE scope_id = {row}.run_id AND {row}.phase <> 'void'
        ON CONFLICT (scope_id, phase) DO UPDATE SET {more}, {more_tokens};
    INSERT INTO window_totals
        SELECT width_us, iif(width_us = 0, 0, {row}.leaves_hour_us / width_us), {row}.phase, {nano} FROM widths
        WHERE {row}.phase <> 'void' AND (width_us = 0) = ({row}.leaves_hour_us IS NULL)
        ON CONFLICT (width_us, bucket, phase) DO UPDATE SET {more};
    """  # noqa: S608 - our own names


V2 = f"""
-- Runs inside runs. capability_hash: the SHA-256 of what a child must show; limits: further ceilings by name (JSON),
-- which bind the runs below, too. opened_by: the owner, the process that opened it; without that process it is closed.
ALTER TABLE scopes ADD COLUMN capability_hash TEXT;
ALTER TABLE scopes ADD COLUMN opened_by TEXT;
ALTER TABLE scopes ADD COLUMN limits TEXT NOT NULL DEFAULT '{{}}';
CREATE INDEX scopes_parent ON scopes (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX scopes_opened_by ON scopes (opened_by) WHERE closed_us IS NULL AND opened_by IS NOT NULL;

-- Every scope with each one that it counts in: itself (depth 0), and those above it.
CREATE TABLE scope_paths (
    scope_id TEXT NOT NULL, above_id TEXT NOT NULL, depth INTEGER NOT NULL, PRIMARY KEY (scope_id, above_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX scope_paths_above ON scope_paths (above_id);
INSERT INTO scope_paths SELECT id, id, 0 FROM scopes;
CREATE TRIGGER scopes_paths AFTER INSERT ON scopes BEGIN
    INSERT INTO scope_paths SELECT NEW.id, NEW.id, 0
        UNION ALL SELECT NEW.id, above_id, depth + 1 FROM scope_paths WHERE scope_id = NEW.parent_id;
END;

-- What a charge was charged at, so that it can be recomputed to the nano. charged_by: what set the amount, the price of
-- the 'asked' or the 'answered' model, or what the provider 'billed' (billed_nano). NULL where nothing did (price
-- unknown), and in rows that were settled before these columns were there. charged_prices: the dearest price that
-- applied, charged_model: whose; charged_tier: the service tier that served the request, NULL for the usual one.
-- charged_dearest: 1 where each token was charged as the dearest class (charged_prices are those), because more was
-- reported than the model can come to.
ALTER TABLE attempts ADD COLUMN base_url TEXT NOT NULL DEFAULT '';
ALTER TABLE attempts ADD COLUMN charged_by TEXT CHECK (charged_by IN ('asked', 'answered', 'billed'));
ALTER TABLE attempts ADD COLUMN charged_model TEXT;
ALTER TABLE attempts ADD COLUMN charged_tier TEXT;
ALTER TABLE attempts ADD COLUMN charged_prices TEXT;
ALTER TABLE attempts ADD COLUMN charged_dearest INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN charged_source TEXT;
ALTER TABLE attempts ADD COLUMN charged_version TEXT;
ALTER TABLE attempts ADD COLUMN charged_digest TEXT;
ALTER TABLE attempts ADD COLUMN hour_write_tokens INTEGER;
ALTER TABLE attempts ADD COLUMN billed_nano INTEGER;

-- Whether input_bound was counted by a vocabulary. A report above such a bound turns that off for its model at its
-- address, until the user clears it.
ALTER TABLE attempts ADD COLUMN counted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN miscount_cleared_us INTEGER;
CREATE INDEX attempts_miscounted ON attempts (provider, base_url, coalesce(model, ''))
    WHERE counted = 1 AND input_tokens > input_bound AND miscount_cleared_us IS NULL;

-- How a provider, at one address and with one model, fared lately. Free calls do not count.
CREATE INDEX attempts_health ON attempts (provider, base_url, coalesce(model, ''), ended_us)
    WHERE (phase = 'settled' AND settled_by = 'usage' OR provider_fault = 1) AND hold_nano IS NOT 0;
CREATE INDEX attempts_calls ON attempts (run_id, sent_us) WHERE sent_us IS NOT NULL;

-- Another model answered than was asked, or another service tier served: from then on its price is held if dearer,
-- until the user clears it. prices: NULL where its price is unknown; tier: '' is the usual one.
CREATE TABLE substitutes (
    provider TEXT NOT NULL, base_url TEXT NOT NULL, model TEXT NOT NULL, answered_model TEXT NOT NULL,
    tier TEXT NOT NULL, prices TEXT, price_source TEXT, price_version TEXT, price_digest TEXT,
    attempt_id TEXT NOT NULL, at_us INTEGER NOT NULL, cleared_us INTEGER,
    PRIMARY KEY (provider, base_url, model, answered_model, tier)
) STRICT, WITHOUT ROWID;

-- What the attempt reported above its hold: from then on no less is held.
ALTER TABLE overruns ADD COLUMN input_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE overruns ADD COLUMN output_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE overruns ADD COLUMN nano INTEGER NOT NULL DEFAULT 0;
UPDATE overruns SET
    input_tokens = coalesce((SELECT input_tokens FROM attempts WHERE id = attempt_id), 0),
    output_tokens = coalesce((SELECT output_tokens FROM attempts WHERE id = attempt_id), 0),
    nano = coalesce((SELECT nano FROM attempts WHERE id = attempt_id), 0);

-- What a right wall clock has reached at least: across boots time steps only beyond it. The ledger's time stepped by
-- the wall clock before, so it is another such bound.
ALTER TABLE clock ADD COLUMN highest_wall_us INTEGER NOT NULL DEFAULT 0;
UPDATE clock SET highest_wall_us = max(wall_us, now_us);

-- Sub-totals of attempts, kept by triggers, so that no hold has to add up what came long before it. Of a scope by
-- phase; of a window by the time at which amounts leave the hour, in buckets of a second, a minute, an hour and a day
-- (width 0: open, they do not leave yet).
CREATE TABLE scope_totals (
    scope_id TEXT NOT NULL, phase TEXT NOT NULL, {_AMOUNTS}, {_TOKENS}, PRIMARY KEY (scope_id, phase)
) STRICT, WITHOUT ROWID;
CREATE TABLE window_totals (
    width_us INTEGER NOT NULL, bucket INTEGER NOT NULL, phase TEXT NOT NULL, {_AMOUNTS},
    PRIMARY KEY (width_us, bucket, phase)
) STRICT, WITHOUT ROWID;
CREATE TABLE widths (width_us INTEGER PRIMARY KEY) STRICT;
INSERT INTO widths VALUES (0), (1000000), (60000000), (3600000000), (86400000000);
INSERT INTO scope_totals
    SELECT run_id, phase, sum(coalesce(nano, 0) >> 32), sum(coalesce(nano, 0) & 4294967295),
        sum(tokens >> 32), sum(tokens & 4294967295)
    FROM attempts WHERE phase <> 'void' GROUP BY run_id, phase;
INSERT INTO window_totals
    SELECT 0, 0, phase, sum(coalesce(nano, 0) >> 32), sum(coalesce(nano, 0) & 4294967295) FROM attempts
    WHERE leaves_hour_us IS NULL AND phase <> 'void' GROUP BY phase;
INSERT INTO window_totals
    SELECT 1000000, leaves_hour_us / 1000000 AS bucket, phase,
        sum(coalesce(nano, 0) >> 32), sum(coalesce(nano, 0) & 4294967295)
    FROM attempts WHERE leaves_hour_us IS NOT NULL AND phase <> 'void' GROUP BY bucket, phase;
INSERT INTO window_totals
    SELECT w.width_us, t.bucket / (w.width_us / 1000000) AS part, t.phase, sum(t.nano_hi), sum(t.nano_lo)
    FROM widths AS w JOIN window_totals AS t ON t.width_us = 1000000
    WHERE w.width_us > 1000000 GROUP BY w.width_us, part, t.phase;
CREATE TRIGGER attempts_counted AFTER INSERT ON attempts BEGIN {_subtotals("NEW", "+")} END;
CREATE TRIGGER attempts_recounted AFTER UPDATE OF run_id, phase, nano, tokens, leaves_hour_us ON attempts BEGIN
    {_subtotals("OLD", "-")} {_subtotals("NEW", "+")}
END;
"""  # noqa: S608 - our own names

V3 = """
-- Who ran the process, and in which run of a CI system; NULL where that is not known.
ALTER TABLE owners ADD COLUMN user_name TEXT;
ALTER TABLE owners ADD COLUMN ci_run TEXT;
"""

MIGRATIONS: tuple[str, ...] = (V1, V2, V3)

_OURS = frozenset({"attempts", "clock", "entries", "owners", "scopes"})
_ELSEWHERE = "AGENTCTL_STATE_DIR=/another/folder"


def schema_version(db: sqlite3.Connection, path: Path) -> int:
    """Return the schema that a ledger has, 0 if it is still empty; the caller has a transaction open.

    Only this function decides whether a file is a ledger of agentctl; every reader and writer calls it.

    Raises:
        StateError: it belongs to another program, a newer agentctl wrote it, or it was rebuilt from an SQL dump.
    """
    application = db.execute("PRAGMA application_id").fetchone()[0]
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if application == APPLICATION_ID and version > len(MIGRATIONS):
        raise StateError(
            f"the ledger {path} was written by a newer agentctl (schema {version}, known: {len(MIGRATIONS)})",
            hint=f"upgrade agentctl, or name another folder: {_ELSEWHERE}",
        )
    if application == APPLICATION_ID and version > 0:
        return version
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if application in (0, APPLICATION_ID):
        if not version and not tables:
            return 0
        if tables >= _OURS:
            raise _rebuilt(db, path)
    raise StateError(
        f"{path} is a database of another program", hint=f"name another folder for the ledger: {_ELSEWHERE}"
    )


def _rebuilt(db: sqlite3.Connection, path: Path) -> StateError:
    """Return the error for a ledger without its two numbers, and the command that sets them if no table is missing."""
    what = f"the ledger {path} was rebuilt from an SQL dump, which leaves out its application id and schema version"
    objects = _objects(db)
    for version in range(len(MIGRATIONS), 0, -1):
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as model:
            if objects == _objects(migrate(model, upto=version)):
                numbers = f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={version}"
                return StateError(what, hint=f"set both: sqlite3 {shlex.quote(f'{path}')} {shlex.quote(numbers)}")
    return StateError(f"{what}; its tables are not complete", hint=move_aside_hint(path))


def _objects(db: sqlite3.Connection) -> frozenset[tuple[str, str, str, str | None]]:
    """Return every table, index and trigger with its SQL, except the statistics of ANALYZE."""
    sql = "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%'"
    return frozenset(db.execute(sql).fetchall())


def migrate(db: sqlite3.Connection, version: int = 0, *, upto: int = len(MIGRATIONS)) -> sqlite3.Connection:
    """Migrate a database from schema ``version`` to ``upto``, a transaction for each step, and return it.

    A step that another process has done meanwhile is skipped; an interrupted one leaves nothing behind.
    """
    for number in range(version, upto):
        db.execute("BEGIN IMMEDIATE")
        try:
            if db.execute("PRAGMA user_version").fetchone()[0] == number:
                for statement in _statements(MIGRATIONS[number]):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id={APPLICATION_ID}")
                db.execute(f"PRAGMA user_version={number + 1}")
            db.execute("COMMIT")
        except BaseException:
            db.rollback()
            raise
    return db


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of a script; each ends at the end of a line."""
    text = ""
    for line in script.splitlines(keepends=True):
        text += line
        if sqlite3.complete_statement(text):
            yield text
            text = ""
    if text.strip():
        yield text
