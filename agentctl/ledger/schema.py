"""The tables of the book: numbered migrations, each run once in a transaction, never edited.

Times are the ledger's own, in microseconds since the Unix epoch (UTC); amounts are nano-dollars and tokens.
"""

from __future__ import annotations

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

MIGRATIONS: tuple[str, ...] = (V1,)
