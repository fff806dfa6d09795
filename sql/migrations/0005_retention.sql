-- SPDX-License-Identifier: MIT
-- Where the log begins: whole partitions go from its old end, oldest first, while publishing goes
-- on.  And where it ends: whether it is still the one that clients remember.
-- Advisory locks: 7775, session: the one that lets partitions go; 7777 as ever.

ALTER TABLE log_meta
	ADD COLUMN horizon bigint NOT NULL DEFAULT 0,	-- raised before anything goes
	ADD COLUMN place text,				-- log_place() and log_timeline() as last seen
	ADD COLUMN timeline text;

-- Partitions that are on their way out, so that one that somebody else detached is never dropped.
CREATE TABLE log_leaving (
	leaf text PRIMARY KEY,
	parent text NOT NULL,
	upper bigint NOT NULL,
	since timestamptz NOT NULL DEFAULT now()
);

-- The log's partitions and those of its delivery records; lower is NULL for the pending one.
CREATE VIEW log_partitions AS
SELECT p.relname::text AS parent, c.relname::text AS leaf, b.lower, b.upper,
       i.inhdetachpending AS is_leaving, pg_total_relation_size(c.oid) AS bytes
FROM pg_inherits i
JOIN pg_class p ON p.oid = i.inhparent
JOIN pg_class c ON c.oid = i.inhrelid
CROSS JOIN LATERAL (SELECT pg_get_expr(c.relpartbound, c.oid) AS text) e
CROSS JOIN LATERAL (SELECT
	(regexp_match(e.text, 'FROM \(''?(\d+)''?\)'))[1]::bigint AS lower,
	(regexp_match(e.text, 'TO \(''?(\d+)''?\)'))[1]::bigint AS upper) b
WHERE i.inhparent IN ('realtime_events'::regclass, 'realtime_deliveries'::regclass);

-- The lowest serial that a reader may have seen last and still miss nothing.  Ask in the same
-- statement as for the rows, or after it, never before: what goes meanwhile would not be noticed.
CREATE FUNCTION log_horizon() RETURNS bigint
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT horizon FROM log_meta
$$;

-- Up to which serial all nodes that run have handed the log on; NULL when none does.  A running
-- node says each minute that it is there; one that was not heard of for ten is not waited for.
CREATE FUNCTION log_handed_on() RETURNS bigint
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT min(r.serial) FROM relay_cursor r JOIN log_meta m ON r.epoch = m.epoch
	WHERE r.at > now() - interval '10 min'
$$;

-- The first serial that was not given yet.
CREATE FUNCTION log_next_serial() RETURNS bigint
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT last_value + is_called::integer FROM realtime_events_serial
$$;

-- Where the log is to begin: the end of the newest partition that has to go, NULL for none.  The
-- one that the next serial falls into stays, or else the last one there is, and so does what a
-- node has still to hand on.
-- max_age_hours and max_mib as configured; 0: no limit.
CREATE FUNCTION retention_cut(max_age_hours bigint, max_mib bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	next_serial CONSTANT bigint := log_next_serial();
	handed_on CONSTANT bigint := log_handed_on();
	oldest CONSTANT timestamptz := now() - max_age_hours * interval '1 hour';
	part record;
	newest record;
	cut bigint;
BEGIN
	FOR part IN
		SELECT p.lower, p.upper, sum(sum(p.bytes)) OVER (ORDER BY p.lower DESC) AS kept
		FROM log_partitions p WHERE p.lower IS NOT NULL AND NOT p.is_leaving
		GROUP BY p.lower, p.upper ORDER BY p.lower
	LOOP
		SELECT e.serial, coalesce(e.delivered_at, e.created_at) AS at INTO newest
		FROM realtime_events e WHERE e.serial >= part.lower AND e.serial < part.upper
		ORDER BY e.serial DESC LIMIT 1;
		EXIT WHEN part.upper > next_serial OR part.upper = log_partition_end('realtime_events')
			  OR coalesce(newest.serial, 0) > handed_on OR handed_on IS NULL;
		EXIT WHEN NOT (max_mib > 0 AND part.kept > max_mib * 1048576)
			  AND NOT (max_age_hours > 0 AND coalesce(newest.at < oldest, true));
		cut := part.upper;
	END LOOP;
	RETURN cut;
END
$$;

-- Lets the serials go on in the next partition when the newest one holds an eighth of what is to
-- be kept: only whole partitions can go, and a quiet log would not fill one in years.  rows is the
-- size of that partition if it has yet to be made.
CREATE FUNCTION retention_turn(max_age_hours bigint, max_mib bigint, rows bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	part record;
	oldest timestamptz;
BEGIN
	SELECT p.lower, p.upper, sum(p.bytes) AS bytes INTO part FROM log_partitions p
	WHERE log_next_serial() >= p.lower AND log_next_serial() < p.upper GROUP BY 1, 2;
	SELECT coalesce(e.delivered_at, e.created_at) INTO oldest FROM realtime_events e
	WHERE e.serial >= part.lower AND e.serial < part.upper ORDER BY e.serial LIMIT 1;
	IF oldest IS NULL
	   OR (NOT (max_mib > 0 AND part.bytes > max_mib * 1048576 / 8)
	       AND NOT (max_age_hours > 0
			AND oldest < now() - max_age_hours * interval '1 hour' / 8)) THEN
		RETURN false;
	END IF;
	PERFORM pg_advisory_xact_lock(7779);
	IF log_partition_end('realtime_events') <= part.upper THEN
		PERFORM log_partition_make('realtime_events', part.upper, part.upper + rows);
		PERFORM log_partition_make('realtime_deliveries', part.upper, part.upper + rows);
	END IF;
	PERFORM pg_advisory_xact_lock(7777);
	-- A node that starts looks at a limited number of serials back.
	IF log_next_serial() >= part.upper
	   OR coalesce(log_handed_on() < (SELECT max(serial) FROM realtime_events), true) THEN
		RETURN false;
	END IF;
	PERFORM setval('realtime_events_serial', part.upper - 1);
	RETURN true;
END
$$;

-- Writes down that all partitions below cut go.
CREATE FUNCTION retention_mark(cut bigint) RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	-- Who has got a serial below it has committed, once this lock is had.
	PERFORM pg_advisory_xact_lock(7777);
	UPDATE log_meta SET horizon = greatest(horizon, cut - 1);
	INSERT INTO log_leaving (leaf, parent, upper)
	SELECT p.leaf, p.parent, p.upper FROM log_partitions p
	WHERE p.lower IS NOT NULL AND p.upper <= cut
	ON CONFLICT DO NOTHING;
END
$$;

-- Drops what is detached, and returns the next statement to be run, NULL when all is done.  It
-- has to be run by itself, outside a transaction; what was cut short is taken up here again.
-- The caller holds 7775.
CREATE FUNCTION retention_next(max_age_hours bigint, max_mib bigint, rows bigint) RETURNS text
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	part record;
	cut bigint;
BEGIN
	-- Somebody may have dropped partitions by hand.
	UPDATE log_meta m SET horizon = s.lower - 1
	FROM (SELECT min(p.lower) AS lower FROM log_partitions p
	      WHERE p.parent = 'realtime_events' AND NOT p.is_leaving) s
	WHERE m.horizon < s.lower - 1;
	IF NOT EXISTS (SELECT FROM log_leaving) THEN
		PERFORM retention_turn(max_age_hours, max_mib, rows);
		cut := retention_cut(max_age_hours, max_mib);
		IF cut IS NULL THEN
			RETURN NULL;
		END IF;
		PERFORM retention_mark(cut);
	END IF;
	FOR part IN
		SELECT l.leaf, l.parent, p.is_leaving FROM log_leaving l
		LEFT JOIN log_partitions p ON p.leaf = l.leaf
		ORDER BY l.upper, l.parent DESC
	LOOP
		IF part.is_leaving IS NOT NULL THEN
			RETURN format('ALTER TABLE %I.%I DETACH PARTITION %I.%I ', current_schema(),
				      part.parent, current_schema(), part.leaf)
			       || CASE WHEN part.is_leaving THEN 'FINALIZE' ELSE 'CONCURRENTLY' END;
		END IF;
		EXECUTE format('DROP TABLE IF EXISTS %I', part.leaf);
		DELETE FROM log_leaving l WHERE l.leaf = part.leaf;
	END LOOP;
	RETURN NULL;
END
$$;

-- A copy that was restored into another server, database or table is in another place.
CREATE FUNCTION log_place() RETURNS text
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT concat_ws('/', s.system_identifier, d.oid, to_regclass('log_meta')::oid)
	FROM pg_control_system() s CROSS JOIN pg_database d WHERE d.datname = current_database()
$$;

-- Another one: a standby was promoted, or the server was recovered to a point in time.
CREATE FUNCTION log_timeline() RETURNS text
LANGUAGE sql VOLATILE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)
$$;

-- A daemon connects; what it handed on last, and in which epoch, is its proof that nothing of the
-- log was lost (NULL when it knows nothing).  Gives the epoch, a new one when events that clients
-- may have seen are gone or nobody can tell, and then why.
CREATE FUNCTION log_begin(seen_epoch text, seen_serial bigint, seen_id text,
			  OUT epoch text, OUT why text)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	m log_meta;
	here CONSTANT text := log_place();
	line CONSTANT text := log_timeline();
	next_serial bigint;
	top bigint;
	is_witness boolean;
BEGIN
	PERFORM pg_advisory_xact_lock(7777);
	SELECT x.* INTO m FROM log_meta x;
	next_serial := log_next_serial();
	top := (SELECT max(e.serial) FROM realtime_events e);
	is_witness := coalesce(seen_epoch = m.epoch, false);
	why := CASE
		WHEN m.place <> here THEN 'it was restored from a copy'
		WHEN top >= next_serial THEN 'its serials were set back'
		WHEN is_witness AND seen_serial >= next_serial
			THEN 'it ends before what was handed on'
		WHEN is_witness AND seen_serial > m.horizon AND NOT EXISTS (
			SELECT FROM realtime_events e
			WHERE e.serial = seen_serial AND e.event_id = seen_id)
			THEN 'it does not hold what was handed on last'
		WHEN is_witness THEN NULL
		WHEN m.timeline <> line
			THEN 'the server was promoted or recovered, and nothing tells whether all of '
			     'it is there'
		WHEN EXISTS (SELECT FROM relay_cursor r
			     WHERE r.epoch = m.epoch AND r.serial >= next_serial)
			THEN 'it ends before what was handed on'
		WHEN coalesce(top, 0) <= m.horizon AND EXISTS (SELECT FROM relay_cursor r
						  WHERE r.epoch = m.epoch AND r.serial > m.horizon)
			THEN 'its events are gone'
	END;
	IF why IS NOT NULL THEN
		m.epoch := replace(gen_random_uuid()::text, '-', '');
		-- Who is connected goes on with higher serials than it has seen.
		top := greatest(top, CASE WHEN is_witness THEN seen_serial END);
		IF top >= next_serial THEN
			PERFORM setval('realtime_events_serial', top);
		END IF;
	END IF;
	UPDATE log_meta x SET epoch = m.epoch, place = here, timeline = line
	WHERE (x.epoch, x.place, x.timeline) IS DISTINCT FROM (m.epoch, here, line);
	epoch := m.epoch;
END
$$;

REVOKE EXECUTE ON FUNCTION log_begin(text, bigint, text), log_handed_on(), log_next_serial(), retention_cut(bigint, bigint),
	retention_turn(bigint, bigint, bigint), retention_mark(bigint),
	retention_next(bigint, bigint, bigint) FROM PUBLIC;
