"""Define the functions of the fast path (migration 2): a usual reserve, mark or settlement in one round trip.

They decide nothing that is tight. ``reserve_whole`` grants a request whose whole wish fits every limit, even behind all
who wait; ``mark_held`` marks a hold that may be sent, and ``settle_within`` settles a charge within its hold. In every
other case they write nothing and return false or NULL, and ``LedgerSession`` judges, in a transaction of its own.
"""

from __future__ import annotations

#: The error by which a call ends that expects another server than this one: nothing was written.
NOT_AS_SEEN = "AG001"

FAST_PATH = """
-- As before; the view of the standbys, which lists every connection, is read only if there is a sender.
CREATE OR REPLACE FUNCTION lock_ledger(run text, OUT now_us bigint, OUT wall_us bigint, OUT version bigint,
    OUT timeline text, OUT replicas bigint, OUT synchronous_names text, OUT last_entry bigint, OUT ledger_id text)
LANGUAGE plpgsql VOLATILE SET search_path = agentctl, pg_catalog, pg_temp AS $$
BEGIN
    -- A queue before the row: who waits for a row that is updated meanwhile must look for its newest version, in vain
    -- while others are quicker, and each commit wakes all who wait.
    PERFORM pg_advisory_xact_lock(7017280452245743465);
    PERFORM 1 FROM clock AS c WHERE c.id = 1 FOR UPDATE;
    IF run <> '' THEN
        PERFORM 1 FROM scopes AS s JOIN scope_paths AS p ON p.above_id = s.id
            WHERE p.scope_id = run ORDER BY p.depth DESC FOR UPDATE OF s;
    END IF;
    wall_us := server_time_us();
    UPDATE clock AS c SET now_us = greatest(c.now_us, lock_ledger.wall_us), wall_us = lock_ledger.wall_us,
        highest_wall_us = greatest(c.highest_wall_us, lock_ledger.wall_us)
        WHERE c.id = 1 RETURNING c.now_us INTO lock_ledger.now_us;
    SELECT i.version, i.ledger_id, i.replicated::integer INTO lock_ledger.version, lock_ledger.ledger_id, replicas
        FROM ledger_info AS i WHERE i.id = 1;
    timeline := substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8);
    IF EXISTS (SELECT 1 FROM pg_stat_get_wal_senders()) THEN
        -- What a role may not see of a standby is NULL, but its row is there; a logical subscriber takes over nothing.
        replicas := replicas + (SELECT count(*) FROM pg_stat_replication AS r
            WHERE coalesce(r.application_name, '') <> 'pg_basebackup' AND NOT EXISTS
                (SELECT 1 FROM pg_replication_slots AS l WHERE l.slot_type = 'logical' AND l.active_pid = r.pid));
    END IF;
    synchronous_names := current_setting('synchronous_standby_names');
    SELECT coalesce(max(e.id), 0) INTO last_entry FROM entries AS e;
END $$;

-- Lock the ledger if it is as the caller has seen it, for a transaction that is sent whole.
CREATE FUNCTION lock_ledger_as_seen(run text, seen_version bigint, seen_ledger text, seen_timeline text,
    seen_entry bigint, accepts_loss boolean, OUT now_us bigint, OUT wall_us bigint, OUT version bigint,
    OUT timeline text, OUT replicas bigint, OUT synchronous_names text, OUT last_entry bigint, OUT ledger_id text)
LANGUAGE plpgsql VOLATILE SET search_path = agentctl, pg_catalog, pg_temp AS $$
BEGIN
    SELECT l.* INTO now_us, wall_us, version, timeline, replicas, synchronous_names, last_entry, ledger_id
        FROM lock_ledger(run) AS l;
    IF (version, ledger_id, timeline) IS DISTINCT FROM (seen_version, seen_ledger, seen_timeline)
        OR last_entry < seen_entry OR NOT accepts_loss AND replicas > 0 AND btrim(synchronous_names) = ''
    THEN
        RAISE EXCEPTION 'the ledger is not as it was seen' USING ERRCODE = 'AG001';
    END IF;
END $$;

CREATE FUNCTION is_living(owner text, at_us bigint) RETURNS boolean LANGUAGE sql STABLE AS
$$ SELECT EXISTS (SELECT 1 FROM agentctl.owners AS o
    WHERE o.id = owner AND o.ended_us IS NULL AND o.lease_until_us > at_us) $$;

-- Whether a run, all runs above it and its lease are open, and the owners of those above are alive.
CREATE FUNCTION is_path_open(run text, owner text) RETURNS boolean
LANGUAGE plpgsql SET search_path = agentctl, pg_catalog, pg_temp AS $$
BEGIN
    RETURN NOT EXISTS (SELECT 1 FROM scope_paths AS p JOIN scopes AS s ON s.id = p.above_id CROSS JOIN clock AS c
        WHERE p.scope_id = run AND (s.closed_us IS NOT NULL
            OR s.kind = 'run' AND p.depth > 0 AND s.opened_by IS DISTINCT FROM owner
                AND NOT is_living(coalesce(s.opened_by, ''), c.now_us)
            OR s.kind = 'lease' AND (s.expires_us <= c.highest_wall_us OR c.wall_us < c.highest_wall_us)));
END $$;

-- Whether somebody has left something open that is to be concluded before the next hold.
CREATE FUNCTION is_sweep_due(but text, at_us bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = agentctl, pg_catalog, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT 1 FROM attempts AS a
            WHERE a.leaves_hour_us IS NULL AND a.phase = 'held' AND a.deadline_us <= at_us)
        OR EXISTS (SELECT 1 FROM (SELECT a.owner_id FROM attempts AS a WHERE a.leaves_hour_us IS NULL
            UNION SELECT w.owner_id FROM waiters AS w WHERE w.seen_us >= 0
            UNION SELECT s.opened_by FROM scopes AS s WHERE s.closed_us IS NULL AND s.opened_by IS NOT NULL) AS found
            WHERE found.owner_id <> but AND found.owner_id NOT IN
                (SELECT o.id FROM owners AS o WHERE o.ended_us IS NULL AND o.lease_until_us > at_us));
END $$;

CREATE FUNCTION insert_hold(a attempts, of_phase text, with_limits text, at_us bigint, at_wall_us bigint,
    until_us bigint) RETURNS void LANGUAGE plpgsql SET search_path = agentctl, pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO attempts (id, run_id, owner_id, purpose, phase, provider, model, base_url, prices, price_source,
        price_version, price_digest, input_bound, counted, granted_output, hold_nano, hold_tokens, ceiling_nano,
        ceiling_tokens, nano, tokens, admitted, held_us, deadline_us)
    VALUES (a.id, a.run_id, a.owner_id, a.purpose, of_phase, a.provider, a.model, a.base_url, a.prices, a.price_source,
        a.price_version, a.price_digest, a.input_bound, a.counted, a.granted_output, a.hold_nano, a.hold_tokens,
        a.ceiling_nano, a.ceiling_tokens, a.nano, a.tokens, with_limits, at_us, until_us);
    INSERT INTO entries (attempt_id, at_us, wall_us, phase, nano, tokens)
        VALUES (a.id, at_us, at_wall_us, of_phase, a.nano, a.tokens);
END $$;

-- Hold all that a request wishes, with the run's reserve, if it fits each limit behind all who wait; else false.
-- ``asked``: hold, keep (rows), drops_reserve, windows (name, ceiling, how much longer than an hour), and the
-- microseconds until the deadline of the hold.
CREATE FUNCTION reserve_whole(asked jsonb) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = agentctl, pg_catalog, pg_temp AS $$
DECLARE
    hold attempts := jsonb_populate_record(NULL::attempts, asked -> 'hold');
    keep attempts := jsonb_populate_record(NULL::attempts, nullif(asked -> 'keep', 'null'));
    names text[] := ARRAY(SELECT w ->> 0 FROM jsonb_array_elements(asked -> 'windows') AS w);
    ceilings numeric[] := ARRAY(SELECT (w ->> 1)::numeric FROM jsonb_array_elements(asked -> 'windows') AS w);
    longer bigint[] := ARRAY(SELECT (w ->> 2)::bigint FROM jsonb_array_elements(asked -> 'windows') AS w);
    at_us bigint; at_wall_us bigint; after_us bigint;
    own attempts; scope record; cap record; sums record; queued record; total numeric; number integer; name text;
    keep_nano bigint := coalesce(keep.nano, 0); keep_tokens bigint := coalesce(keep.tokens, 0);
    own_nano bigint := 0; own_tokens bigint := 0;
    in_money text[] := '{}'; in_money_kept text[] := '{}'; in_tokens text[] := '{}'; in_tokens_kept text[] := '{}';
BEGIN
    SELECT c.now_us, c.wall_us INTO at_us, at_wall_us FROM clock AS c WHERE c.id = 1;
    IF EXISTS (SELECT 1 FROM attempts AS a WHERE a.id = hold.id)
        OR NOT is_living(hold.owner_id, at_us)
        OR is_sweep_due(hold.owner_id, at_us)
        OR NOT is_path_open(hold.run_id, hold.owner_id)
        OR EXISTS (SELECT 1 FROM substitutes AS s WHERE s.provider = hold.provider AND s.base_url = hold.base_url
            AND s.model = coalesce(hold.model, '') AND s.cleared_us IS NULL)
        OR EXISTS (SELECT 1 FROM overruns AS o WHERE o.provider = hold.provider AND o.model = coalesce(hold.model, '')
            AND o.cleared_us IS NULL)
        OR (SELECT count(*) FROM (SELECT a.phase FROM attempts AS a WHERE a.provider = hold.provider
            AND a.base_url = hold.base_url AND coalesce(a.model, '') = coalesce(hold.model, '')
            AND (a.phase = 'settled' AND a.settled_by = 'usage' OR a.provider_fault = 1)
            AND a.hold_nano IS DISTINCT FROM 0 ORDER BY a.ended_us DESC LIMIT 2) AS last
            WHERE last.phase <> 'settled') > 1
    THEN
        RETURN false;
    END IF;
    IF keep.id IS NOT NULL OR (asked ->> 'drops_reserve')::boolean THEN
        SELECT a.* INTO own FROM attempts AS a WHERE a.run_id = hold.run_id AND a.phase = 'kept';
        IF FOUND THEN
            IF keep.id IS NULL THEN RETURN false; END IF;
            keep.id := own.id;
            own_nano := coalesce(own.nano, 0); own_tokens := own.tokens;
        END IF;
    END IF;
    SELECT coalesce(sum(w.need_nano), 0) AS nano, coalesce(sum(w.need_tokens), 0) AS tokens INTO queued
        FROM waiters AS w WHERE w.seen_us >= greatest(0, at_us - 10000000) AND w.attempt_id <> hold.id;

    FOR scope IN SELECT s.id, s.kind, s.limit_nano, s.limit_tokens, s.limits, p.depth FROM scope_paths AS p
        JOIN scopes AS s ON s.id = p.above_id WHERE p.scope_id = hold.run_id ORDER BY p.depth
    LOOP
        SELECT coalesce(sum(t.nano_hi), 0) * 4294967296 + coalesce(sum(t.nano_lo), 0) - own_nano AS nano,
            coalesce(sum(t.tokens_hi), 0) * 4294967296 + coalesce(sum(t.tokens_lo), 0) - own_tokens AS tokens,
            coalesce(sum(t.nano_hi) FILTER (WHERE t.phase = 'doubt'), 0) * 4294967296
                + coalesce(sum(t.nano_lo) FILTER (WHERE t.phase = 'doubt'), 0) AS doubt_nano,
            coalesce(sum(t.tokens_hi) FILTER (WHERE t.phase = 'doubt'), 0) * 4294967296
                + coalesce(sum(t.tokens_lo) FILTER (WHERE t.phase = 'doubt'), 0) AS doubt_tokens
            INTO sums FROM scope_totals AS t WHERE t.scope_id = scope.id;
        IF sums.nano + keep_nano + queued.nano + hold.nano > scope.limit_nano
            OR sums.tokens + keep_tokens + queued.tokens + hold.tokens > scope.limit_tokens
            OR scope.kind = 'run' AND scope.limit_nano > 0 AND sums.doubt_nano * 2 >= scope.limit_nano
            OR scope.limit_tokens > 0 AND sums.doubt_tokens * 2 >= scope.limit_tokens
        THEN
            RETURN false;
        END IF;
        name := CASE scope.kind WHEN 'lease' THEN 'max_cost_per_lease@' ELSE 'max_cost_per_task@' END || scope.id;
        IF scope.depth = 0 OR scope.limit_nano IS NOT NULL THEN
            in_money := in_money || admission(name, scope.limit_nano, sums.nano);
            in_money_kept := in_money_kept || admission(name, scope.limit_nano, sums.nano + keep_nano);
        END IF;
        name := 'max_tokens_per_task@' || scope.id;
        IF scope.depth = 0 OR scope.limit_tokens IS NOT NULL THEN
            in_tokens := in_tokens || admission(name, scope.limit_tokens, sums.tokens);
            in_tokens_kept := in_tokens_kept || admission(name, scope.limit_tokens, sums.tokens + keep_tokens);
        END IF;
        IF scope.depth > 0 THEN  -- what a run above has set for all, binds this one, too
            FOR cap IN SELECT * FROM jsonb_each_text(scope.limits::jsonb) LOOP
                number := array_position(names, cap.key);
                IF number IS NULL THEN RETURN false; END IF;
                ceilings[number] := least(ceilings[number], cap.value::numeric);
            END LOOP;
        END IF;
    END LOOP;
    IF cardinality(in_money) = 0 THEN RETURN false; END IF;  -- the run is not in the ledger

    FOR number IN 1 .. cardinality(names) LOOP
        after_us := greatest(-1, at_us - longer[number]);
        SELECT coalesce(sum(w.high), 0) * 4294967296 + coalesce(sum(w.low), 0) - own_nano INTO total FROM (
            SELECT nano_hi AS high, nano_lo AS low FROM window_totals WHERE width_us = 0
            UNION ALL SELECT coalesce(nano, 0) >> 32, coalesce(nano, 0) & 4294967295 FROM attempts
                WHERE leaves_hour_us > after_us AND leaves_hour_us < (after_us / 1000000 + 1) * 1000000
                    AND leaves_hour_us IS NOT NULL AND phase <> 'void'
            UNION ALL SELECT nano_hi, nano_lo FROM window_totals WHERE width_us = 1000000
                AND bucket > after_us / 1000000 AND bucket < (after_us / 60000000 + 1) * 60
            UNION ALL SELECT nano_hi, nano_lo FROM window_totals WHERE width_us = 60000000
                AND bucket > after_us / 60000000 AND bucket < (after_us / 3600000000 + 1) * 60
            UNION ALL SELECT nano_hi, nano_lo FROM window_totals WHERE width_us = 3600000000
                AND bucket > after_us / 3600000000 AND bucket < (after_us / 86400000000 + 1) * 24
            UNION ALL SELECT nano_hi, nano_lo FROM window_totals WHERE width_us = 86400000000
                AND bucket > after_us / 86400000000) AS w;
        IF total + keep_nano + queued.nano + hold.nano > ceilings[number] THEN RETURN false; END IF;
        in_money := in_money || admission(names[number], ceilings[number], total);
        in_money_kept := in_money_kept || admission(names[number], ceilings[number], total + keep_nano);
    END LOOP;

    UPDATE waiters SET seen_us = -1 WHERE attempt_id = hold.id;
    IF keep.id IS NOT NULL AND own.id IS NULL THEN
        PERFORM insert_hold(keep, 'kept', '{' || array_to_string(in_money || in_tokens, ', ') || '}', at_us, at_wall_us,
            at_us);
    ELSIF keep.id IS NOT NULL AND (own.nano, own.tokens) IS DISTINCT FROM (keep.nano, keep.tokens) THEN
        UPDATE attempts AS a SET input_bound = keep.input_bound, granted_output = keep.granted_output,
            hold_nano = keep.hold_nano, hold_tokens = keep.hold_tokens, nano = keep.nano, tokens = keep.tokens,
            admitted = '{' || array_to_string(in_money || in_tokens, ', ') || '}'
            WHERE a.id = keep.id AND a.phase = 'kept';
        INSERT INTO entries (attempt_id, at_us, wall_us, phase, nano, tokens)
            VALUES (keep.id, at_us, at_wall_us, 'kept', keep.nano, keep.tokens);
    END IF;
    PERFORM insert_hold(hold, 'held', '{' || array_to_string(in_money_kept || in_tokens_kept, ', ') || '}', at_us,
        at_wall_us, at_us + (asked ->> 'deadline_in_us')::bigint);
    RETURN true;
END $$;

-- One limit as a hold's row stores it: its ceiling, and the amount that counted before.
CREATE FUNCTION admission(name text, ceiling numeric, total numeric) RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT to_json(name)::text || ': [' || coalesce(ceiling::text, 'null') || ', ' || total::text || ']' $$;

-- Mark a hold as sent if its owner may send it; else false.
CREATE FUNCTION mark_held(hold text, owner text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = agentctl, pg_catalog, pg_temp AS $$
DECLARE at_us bigint; at_wall_us bigint; marked record;
BEGIN
    SELECT c.now_us, c.wall_us INTO at_us, at_wall_us FROM clock AS c WHERE c.id = 1;
    UPDATE attempts AS a SET phase = 'sent', sent_us = at_us FROM owners AS o
        WHERE a.id = hold AND a.owner_id = owner AND a.phase = 'held' AND a.deadline_us > at_us
            AND o.id = a.owner_id AND o.ended_us IS NULL AND o.lease_until_us > at_us AND o.epoch = a.epoch
            AND is_path_open(a.run_id, owner)
        RETURNING a.nano, a.tokens INTO marked;
    IF NOT FOUND THEN RETURN false; END IF;
    INSERT INTO entries (attempt_id, at_us, wall_us, phase, nano, tokens)
        VALUES (hold, at_us, at_wall_us, 'sent', marked.nano, marked.tokens);
    RETURN true;
END $$;

-- Settle a sent attempt at a charge within its hold; else false. ``charged`` has the columns of its row.
CREATE FUNCTION settle_within(hold text, charged jsonb) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = agentctl, pg_catalog, pg_temp AS $$
DECLARE c attempts := jsonb_populate_record(NULL::attempts, charged); at_us bigint; at_wall_us bigint;
BEGIN
    SELECT k.now_us, k.wall_us INTO at_us, at_wall_us FROM clock AS k WHERE k.id = 1;
    UPDATE attempts AS a SET phase = 'settled', nano = c.nano, tokens = c.tokens, ended_us = at_us,
        leaves_hour_us = at_us + 3600000000, answered_model = c.answered_model, input_tokens = c.input_tokens,
        cached_input_tokens = c.cached_input_tokens, cache_write_tokens = c.cache_write_tokens,
        output_tokens = c.output_tokens, reasoning_tokens = c.reasoning_tokens,
        hour_write_tokens = c.hour_write_tokens, billed_nano = c.billed_nano, charged_by = c.charged_by,
        charged_model = c.charged_model, charged_tier = c.charged_tier, charged_prices = c.charged_prices,
        charged_dearest = c.charged_dearest, charged_source = c.charged_source, charged_version = c.charged_version,
        charged_digest = c.charged_digest, provider_fault = c.provider_fault, settled_by = c.settled_by
        WHERE a.id = hold AND a.phase = 'sent' AND c.tokens <= a.hold_tokens
            AND (c.nano IS NULL OR a.hold_nano IS NULL OR c.nano <= a.hold_nano);
    IF NOT FOUND THEN RETURN false; END IF;
    INSERT INTO entries (attempt_id, at_us, wall_us, phase, nano, tokens)
        VALUES (hold, at_us, at_wall_us, 'settled', c.nano, c.tokens);
    RETURN true;
END $$;
"""
