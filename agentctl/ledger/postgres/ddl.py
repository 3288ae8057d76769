"""Define the tables of a ledger on PostgreSQL by numbered migrations, which are never edited, in the schema agentctl.

Tables and columns are those of the SQLite ledger, so that both are read by the same statements. In addition a row that
SQLite numbers by itself has a ``rowid``, an owner has a lease and an epoch, and each attempt the epoch it was held
under. Times are the ledger's own, in microseconds since the Unix epoch (UTC); amounts are nano-dollars and tokens.

The row of ``clock`` is the scope of the hour: each writing transaction locks it first (``lock_ledger``), so all of them
are serial, and its time, the server's, never goes back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentctl.core.errors import StateError

if TYPE_CHECKING:
    from psycopg import Connection

SCHEMA = "agentctl"
MIGRATE = "agentctl ledger migrate"
LEASE_US = 60 * 1_000_000

_TABLES = """
CREATE TABLE ledger_info (
    id bigint PRIMARY KEY CHECK (id = 1), version bigint NOT NULL, ledger_id text NOT NULL,
    replicated boolean NOT NULL DEFAULT false
);
CREATE TABLE clock (
    id bigint PRIMARY KEY CHECK (id = 1),
    now_us bigint NOT NULL, wall_us bigint NOT NULL, boot_us bigint NOT NULL, boot_id text COLLATE "C" NOT NULL,
    highest_wall_us bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);
CREATE TABLE owners (
    id text COLLATE "C" PRIMARY KEY, pid bigint NOT NULL, host text COLLATE "C" NOT NULL,
    boot_id text COLLATE "C" NOT NULL, started_us bigint NOT NULL, ended_us bigint, lease_until_us bigint,
    epoch bigint NOT NULL DEFAULT 1, user_name text COLLATE "C", ci_run text COLLATE "C"
);
CREATE INDEX owners_living ON owners (lease_until_us) WHERE ended_us IS NULL;
CREATE TABLE scopes (
    id text COLLATE "C" PRIMARY KEY, kind text COLLATE "C" NOT NULL CHECK (kind IN ('run', 'lease')),
    parent_id text COLLATE "C" REFERENCES scopes (id),
    limit_nano bigint CHECK (limit_nano >= 0), limit_tokens bigint CHECK (limit_tokens >= 0),
    task text COLLATE "C" NOT NULL DEFAULT '', agent text COLLATE "C" NOT NULL DEFAULT '',
    labels text COLLATE "C" NOT NULL DEFAULT '{}',
    opened_us bigint NOT NULL, expires_us bigint, closed_us bigint, status text COLLATE "C", bound_to text COLLATE "C",
    capability_hash text COLLATE "C", opened_by text COLLATE "C", limits text COLLATE "C" NOT NULL DEFAULT '{}',
    rowid bigint GENERATED ALWAYS AS IDENTITY
);
CREATE INDEX scopes_parent ON scopes (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX scopes_opened_by ON scopes (opened_by) WHERE closed_us IS NULL AND opened_by IS NOT NULL;
CREATE TABLE scope_paths (
    scope_id text COLLATE "C" NOT NULL, above_id text COLLATE "C" NOT NULL, depth bigint NOT NULL,
    PRIMARY KEY (scope_id, above_id)
);
CREATE INDEX scope_paths_above ON scope_paths (above_id);
CREATE TABLE attempts (
    id text COLLATE "C" PRIMARY KEY, run_id text COLLATE "C" NOT NULL REFERENCES scopes (id),
    owner_id text COLLATE "C" NOT NULL REFERENCES owners (id), purpose text COLLATE "C" NOT NULL,
    phase text COLLATE "C" NOT NULL CHECK (phase IN ('kept', 'held', 'sent', 'settled', 'void', 'doubt')),
    provider text COLLATE "C" NOT NULL, model text COLLATE "C", answered_model text COLLATE "C",
    prices text COLLATE "C", price_source text COLLATE "C", price_version text COLLATE "C",
    price_digest text COLLATE "C",
    input_bound bigint NOT NULL, granted_output bigint NOT NULL,
    hold_nano bigint, hold_tokens bigint NOT NULL, ceiling_nano bigint, ceiling_tokens bigint NOT NULL,
    nano bigint CHECK (nano >= 0), tokens bigint NOT NULL CHECK (tokens >= 0),
    admitted text COLLATE "C" NOT NULL,
    held_us bigint NOT NULL, sent_us bigint, deadline_us bigint NOT NULL, ended_us bigint, leaves_hour_us bigint,
    input_tokens bigint, cached_input_tokens bigint, cache_write_tokens bigint, output_tokens bigint,
    reasoning_tokens bigint, reason text COLLATE "C", provider_fault bigint NOT NULL DEFAULT 0,
    settled_by text COLLATE "C",
    base_url text COLLATE "C" NOT NULL DEFAULT '',
    charged_by text COLLATE "C" CHECK (charged_by IN ('asked', 'answered', 'billed')),
    charged_model text COLLATE "C", charged_tier text COLLATE "C", charged_prices text COLLATE "C",
    charged_dearest bigint NOT NULL DEFAULT 0, charged_source text COLLATE "C", charged_version text COLLATE "C",
    charged_digest text COLLATE "C", hour_write_tokens bigint, billed_nano bigint,
    counted bigint NOT NULL DEFAULT 0, miscount_cleared_us bigint,
    epoch bigint NOT NULL DEFAULT 0, rowid bigint GENERATED ALWAYS AS IDENTITY
);
CREATE INDEX attempts_open ON attempts (phase, owner_id) WHERE leaves_hour_us IS NULL;
CREATE INDEX attempts_hour ON attempts (leaves_hour_us, phase, nano) WHERE leaves_hour_us IS NOT NULL;
CREATE INDEX attempts_run ON attempts (run_id, phase, nano, tokens);
CREATE INDEX attempts_provider ON attempts (provider, ended_us) WHERE phase IN ('settled', 'doubt');
CREATE INDEX attempts_ended ON attempts (ended_us);
CREATE INDEX attempts_rowid ON attempts (rowid);
CREATE INDEX attempts_miscounted ON attempts (provider, base_url, coalesce(model, ''))
    WHERE counted = 1 AND input_tokens > input_bound AND miscount_cleared_us IS NULL;
CREATE INDEX attempts_health ON attempts (provider, base_url, coalesce(model, ''), ended_us)
    WHERE (phase = 'settled' AND settled_by = 'usage' OR provider_fault = 1) AND hold_nano IS DISTINCT FROM 0;
CREATE INDEX attempts_calls ON attempts (run_id, sent_us) WHERE sent_us IS NOT NULL;
CREATE TABLE entries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, attempt_id text COLLATE "C" NOT NULL, at_us bigint NOT NULL,
    wall_us bigint NOT NULL, phase text COLLATE "C" NOT NULL, nano bigint, tokens bigint NOT NULL,
    reason text COLLATE "C"
);
CREATE INDEX entries_attempt ON entries (attempt_id);
-- No row is deleted: one that no longer waits was last seen at -1.
CREATE TABLE waiters (
    attempt_id text COLLATE "C" PRIMARY KEY, owner_id text COLLATE "C" NOT NULL, run_id text COLLATE "C" NOT NULL,
    since_us bigint NOT NULL, seen_us bigint NOT NULL, need_nano bigint NOT NULL, need_tokens bigint NOT NULL
);
CREATE INDEX waiters_waiting ON waiters (seen_us) WHERE seen_us >= 0;
CREATE TABLE overruns (
    attempt_id text COLLATE "C" PRIMARY KEY, provider text COLLATE "C" NOT NULL, model text COLLATE "C" NOT NULL,
    at_us bigint NOT NULL, cleared_us bigint, input_tokens bigint NOT NULL DEFAULT 0,
    output_tokens bigint NOT NULL DEFAULT 0, nano bigint NOT NULL DEFAULT 0
);
CREATE TABLE substitutes (
    provider text COLLATE "C" NOT NULL, base_url text COLLATE "C" NOT NULL, model text COLLATE "C" NOT NULL,
    answered_model text COLLATE "C" NOT NULL, tier text COLLATE "C" NOT NULL, prices text COLLATE "C",
    price_source text COLLATE "C", price_version text COLLATE "C", price_digest text COLLATE "C",
    attempt_id text COLLATE "C" NOT NULL, at_us bigint NOT NULL, cleared_us bigint,
    PRIMARY KEY (provider, base_url, model, answered_model, tier)
);
CREATE TABLE scope_totals (
    scope_id text COLLATE "C" NOT NULL, phase text COLLATE "C" NOT NULL, nano_hi bigint NOT NULL,
    nano_lo bigint NOT NULL, tokens_hi bigint NOT NULL, tokens_lo bigint NOT NULL, PRIMARY KEY (scope_id, phase)
) WITH (fillfactor = 50);
CREATE TABLE window_totals (
    width_us bigint NOT NULL, bucket bigint NOT NULL, phase text COLLATE "C" NOT NULL, nano_hi bigint NOT NULL,
    nano_lo bigint NOT NULL, PRIMARY KEY (width_us, bucket, phase)
) WITH (fillfactor = 50);
CREATE TABLE widths (width_us bigint PRIMARY KEY);
INSERT INTO widths VALUES (0), (1000000), (60000000), (3600000000), (86400000000);
INSERT INTO ledger_info (id, version, ledger_id) VALUES (1, 1, gen_random_uuid()::text);
INSERT INTO clock VALUES (1, 0, 0, 0, '', 0);
"""

_FUNCTIONS = """
CREATE FUNCTION server_time_us() RETURNS bigint LANGUAGE sql VOLATILE AS
$$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint $$;

CREATE FUNCTION ledger_time_us() RETURNS bigint LANGUAGE sql VOLATILE AS
$$ SELECT greatest(now_us, agentctl.server_time_us()) FROM agentctl.clock WHERE id = 1 $$;

-- Lock the hour, then the runs on the path of ``run``, the outermost first, and advance the ledger's time.
CREATE FUNCTION lock_ledger(run text, OUT now_us bigint, OUT wall_us bigint, OUT version bigint, OUT timeline text,
    OUT replicas bigint, OUT synchronous_names text, OUT last_entry bigint)
LANGUAGE plpgsql VOLATILE SET search_path = agentctl, pg_catalog, pg_temp AS $$
BEGIN
    PERFORM 1 FROM clock AS c WHERE c.id = 1 FOR UPDATE;
    PERFORM 1 FROM scopes AS s JOIN scope_paths AS p ON p.above_id = s.id
        WHERE p.scope_id = run ORDER BY p.depth DESC FOR UPDATE OF s;
    wall_us := server_time_us();
    UPDATE clock AS c SET now_us = greatest(c.now_us, lock_ledger.wall_us), wall_us = lock_ledger.wall_us,
        highest_wall_us = greatest(c.highest_wall_us, lock_ledger.wall_us)
        WHERE c.id = 1 RETURNING c.now_us INTO lock_ledger.now_us;
    SELECT i.version INTO lock_ledger.version FROM ledger_info AS i WHERE i.id = 1;
    timeline := substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8);
    replicas := (SELECT count(*) FROM pg_stat_replication
                 WHERE coalesce(application_name, '') <> 'pg_basebackup');
    synchronous_names := current_setting('synchronous_standby_names');
    SELECT coalesce(max(e.id), 0) INTO last_entry FROM entries AS e;
END $$;

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% are never changed or deleted', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER entries_stay BEFORE UPDATE OR DELETE ON entries FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER attempts_last BEFORE DELETE ON attempts FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER entries_all BEFORE TRUNCATE ON entries EXECUTE FUNCTION refuse_change();
CREATE TRIGGER attempts_all BEFORE TRUNCATE ON attempts EXECUTE FUNCTION refuse_change();

CREATE FUNCTION add_path() RETURNS trigger LANGUAGE plpgsql SET search_path = agentctl, pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO scope_paths SELECT NEW.id, NEW.id, 0
        UNION ALL SELECT NEW.id, above_id, depth + 1 FROM scope_paths WHERE scope_id = NEW.parent_id;
    RETURN NULL;
END $$;
CREATE TRIGGER scopes_paths AFTER INSERT ON scopes FOR EACH ROW EXECUTE FUNCTION add_path();

-- An owner that is concluded gets another epoch: what it holds under the old one cannot be sent any more.
CREATE FUNCTION raise_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.epoch := OLD.epoch + 1;
    RETURN NEW;
END $$;
CREATE TRIGGER owners_end BEFORE UPDATE OF ended_us ON owners FOR EACH ROW
    WHEN (OLD.ended_us IS NULL AND NEW.ended_us IS NOT NULL) EXECUTE FUNCTION raise_epoch();
CREATE FUNCTION set_epoch() RETURNS trigger LANGUAGE plpgsql SET search_path = agentctl, pg_catalog, pg_temp AS $$
BEGIN
    NEW.epoch := coalesce((SELECT o.epoch FROM owners AS o WHERE o.id = NEW.owner_id), 0);
    RETURN NEW;
END $$;
CREATE TRIGGER attempts_epoch BEFORE INSERT ON attempts FOR EACH ROW EXECUTE FUNCTION set_epoch();

CREATE FUNCTION add_to_totals(run text, of_phase text, nano bigint, tokens bigint, leaves_us bigint, sign bigint)
RETURNS void LANGUAGE plpgsql SET search_path = agentctl, pg_catalog, pg_temp AS $$
DECLARE
    nh bigint := sign * (coalesce(nano, 0) >> 32); nl bigint := sign * (coalesce(nano, 0) & 4294967295);
    th bigint := sign * (coalesce(tokens, 0) >> 32); tl bigint := sign * (coalesce(tokens, 0) & 4294967295);
BEGIN
    IF of_phase = 'void' THEN RETURN; END IF;
    INSERT INTO scope_totals AS t SELECT p.above_id, of_phase, nh, nl, th, tl FROM scope_paths AS p
        WHERE p.scope_id = run ORDER BY p.depth DESC
        ON CONFLICT (scope_id, phase) DO UPDATE SET
            nano_hi = t.nano_hi + excluded.nano_hi, nano_lo = t.nano_lo + excluded.nano_lo,
            tokens_hi = t.tokens_hi + excluded.tokens_hi, tokens_lo = t.tokens_lo + excluded.tokens_lo;
    INSERT INTO window_totals AS t
        SELECT w.width_us, CASE WHEN w.width_us = 0 THEN 0 ELSE leaves_us / w.width_us END, of_phase, nh, nl
        FROM widths AS w WHERE (w.width_us = 0) = (leaves_us IS NULL) ORDER BY w.width_us
        ON CONFLICT (width_us, bucket, phase) DO UPDATE SET
            nano_hi = t.nano_hi + excluded.nano_hi, nano_lo = t.nano_lo + excluded.nano_lo;
END $$;
CREATE FUNCTION count_attempt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        PERFORM agentctl.add_to_totals(OLD.run_id, OLD.phase, OLD.nano, OLD.tokens, OLD.leaves_hour_us, -1);
    END IF;
    PERFORM agentctl.add_to_totals(NEW.run_id, NEW.phase, NEW.nano, NEW.tokens, NEW.leaves_hour_us, 1);
    RETURN NULL;
END $$;
CREATE TRIGGER attempts_counted AFTER INSERT ON attempts FOR EACH ROW EXECUTE FUNCTION count_attempt();
CREATE TRIGGER attempts_recounted AFTER UPDATE OF run_id, phase, nano, tokens, leaves_hour_us ON attempts
    FOR EACH ROW EXECUTE FUNCTION count_attempt();
"""

MIGRATIONS: tuple[str, ...] = (_TABLES + _FUNCTIONS,)

_VERSION = f"SELECT to_regclass('{SCHEMA}.ledger_info') IS NOT NULL"
_GRANT = """
GRANT USAGE ON SCHEMA agentctl TO {role};
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA agentctl TO {role};
REVOKE UPDATE ON agentctl.entries FROM {role};
REVOKE INSERT, UPDATE ON agentctl.ledger_info, agentctl.widths FROM {role};
"""


def version_of(db: Connection) -> int:
    """Return the schema that a server's ledger has, 0 if there is none yet."""
    row = db.execute(_VERSION).fetchone()
    if row is None or not row[0]:
        return 0
    found = db.execute("SELECT version FROM agentctl.ledger_info WHERE id = 1").fetchone()
    return 0 if found is None else int(found[0])


def migrate(db: Connection, *, role: str = "", replicated: bool | None = None) -> tuple[int, int]:
    """Create or migrate the ledger in one transaction; return the versions before and after.

    ``role`` gets the rights that runs need: SELECT, INSERT, UPDATE. ``replicated`` notes that a standby is attached.

    Raises:
        StateError: a newer agentctl has migrated it.
    """
    with db.transaction():
        db.execute("SET LOCAL lock_timeout = '10s'; SELECT pg_advisory_xact_lock(7017280452245743464)")
        before = version_of(db)
        if before > len(MIGRATIONS):
            raise newer_error(before)
        db.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        db.execute("SET LOCAL search_path = agentctl, pg_catalog, pg_temp; SET LOCAL statement_timeout = 0")
        for number in range(before, len(MIGRATIONS)):
            db.execute(MIGRATIONS[number].encode())
            db.execute("UPDATE ledger_info SET version = %s", (number + 1,))
        if replicated is not None:
            db.execute("UPDATE ledger_info SET replicated = %s", (replicated,))
        if role:
            from psycopg import sql

            db.execute(sql.SQL(_GRANT).format(role=sql.Identifier(role)))
    return before, len(MIGRATIONS)


def newer_error(version: int) -> StateError:
    """Return the error for a ledger that a newer agentctl has migrated."""
    return StateError(
        f"the ledger was migrated by a newer agentctl (schema {version}, known: {len(MIGRATIONS)})",
        hint="upgrade agentctl",
    )


def older_error(version: int) -> StateError:
    """Return the error for a ledger that must be migrated first; version 0: there is none yet."""
    is_new = not version
    what = "there is no ledger yet" if is_new else f"its schema is {version}, and {len(MIGRATIONS)} is needed"
    return StateError(
        f"the PostgreSQL ledger is not ready: {what}",
        hint=f"as a role that may create tables: {MIGRATE}",
    )
