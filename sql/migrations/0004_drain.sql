-- SPDX-License-Identifier: MIT
-- Draining: pending rows get their serials, by one daemon at a time.
--
-- The lock "polling" is held, for its session, by a daemon that polls.  A session that inserts only
-- checks whether it is free, and has a transaction id before it checks.  So a daemon that released
-- it knows when all that relied on it have ended: when no transaction older than that moment runs.

-- How far each node has handed the log to its sockets; written about once a second.
CREATE TABLE relay_cursor (
	node text PRIMARY KEY,
	epoch text NOT NULL,
	serial bigint NOT NULL,
	at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- Up to which serial all nodes that run have handed the log on; NULL when none does.  A running
-- node says each minute that it is there; one that was not heard of for ten is not waited for.
CREATE FUNCTION log_handed_on() RETURNS bigint
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT min(r.serial) FROM relay_cursor r JOIN log_meta m ON r.epoch = m.epoch
	WHERE r.at > now() - interval '10 min'
$$;

-- No pending row that will ever be seen has an id up to low, so that nobody has to step over what
-- was drained and is not vacuumed yet: as long as any transaction looks at an older state, that
-- can be hours of events.  Ids are given to transactions that have their own id already.  So all
-- up to next_low are there to be seen, or never will be, once no transaction up to xid runs.
CREATE TABLE drain_mark (
	only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
	low bigint NOT NULL DEFAULT 0,
	next_low bigint NOT NULL DEFAULT 0,
	xid xid8 NOT NULL DEFAULT '0',
	at timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 10);
INSERT INTO drain_mark DEFAULT VALUES;

-- Gives serials to at most max_rows pending rows; the caller holds the lock "serials".  Returns how many.
-- Plans are kept: making one takes longer than draining some rows.
CREATE FUNCTION drain_locked(p_max_rows integer) RETURNS integer
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
	mark CONSTANT bigint := (SELECT m.low FROM drain_mark m);
	drained integer;
BEGIN
	IF NOT EXISTS (SELECT FROM realtime_events_pending p WHERE p.serial = 0 AND p.id > mark) THEN
		RETURN 0;
	END IF;
	BEGIN
		WITH taken AS (
			DELETE FROM realtime_events_pending d
			WHERE d.ctid = ANY (ARRAY(SELECT p.ctid FROM realtime_events_pending p
						  WHERE p.serial = 0 AND p.id > mark
						  ORDER BY p.serial, p.id LIMIT p_max_rows))
			RETURNING d.*
		)
		INSERT INTO realtime_events (serial, id, event_id, channel, event_type, payload,
			payload_is_text, delivered, delivered_at, origin, app, exclude_socket,
			created_at)
		SELECT nextval('realtime_events_serial'), t.id, t.event_id, t.channel,
		       t.event_type, t.payload, t.payload_is_text, true, clock_timestamp(),
		       t.origin, t.app, t.exclude_socket, t.created_at
		FROM (SELECT * FROM taken ORDER BY id) t;
		GET DIAGNOSTICS drained = ROW_COUNT;
		RETURN drained;
	EXCEPTION WHEN unique_violation THEN
		NULL;
	END;
	-- An event_id of the log came again: the same with ON CONFLICT, which doubles the cost.
	WITH taken AS (
		DELETE FROM realtime_events_pending d
		WHERE d.ctid = ANY (ARRAY(SELECT p.ctid FROM realtime_events_pending p
					  WHERE p.serial = 0 AND p.id > mark
					  ORDER BY p.serial, p.id LIMIT p_max_rows))
		RETURNING d.*
	), moved AS (
		INSERT INTO realtime_events (serial, id, event_id, channel, event_type, payload,
			payload_is_text, delivered, delivered_at, origin, app, exclude_socket,
			created_at)
		SELECT nextval('realtime_events_serial'), t.id, t.event_id, t.channel,
		       t.event_type, t.payload, t.payload_is_text, true, clock_timestamp(),
		       t.origin, t.app, t.exclude_socket, t.created_at
		FROM (SELECT * FROM taken ORDER BY id) t
		ON CONFLICT DO NOTHING
	)
	SELECT count(*) INTO drained FROM taken;
	RETURN drained;
END
$$;

-- Sequences pending rows: at most max of them.  One drainer at a time; others get -1, and have to
-- look again.
CREATE FUNCTION drain(p_max integer) RETURNS integer
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off SET enable_seqscan = off
AS $$
DECLARE
	mark drain_mark;
	has_passed boolean := false;
	last_id bigint;
	drained integer;
BEGIN
	IF NOT EXISTS (SELECT FROM realtime_events_pending p
		       WHERE p.serial = 0 AND p.id > (SELECT m.low FROM drain_mark m)) THEN
		RETURN 0;
	END IF;
	IF NOT pg_try_advisory_xact_lock(lock_key('drain')) THEN
		RETURN -1;
	END IF;
	PERFORM pg_advisory_xact_lock(lock_key('serials'));
	SELECT * INTO mark FROM drain_mark;
	IF mark.at < clock_timestamp() - interval '1 s' THEN
		-- In this order: the last id, then an id of our own, and rows are looked at after both.
		has_passed := mark.xid < pg_snapshot_xmin(pg_current_snapshot());
		last_id := (SELECT last_value FROM realtime_events_id_seq);
		mark.xid := pg_current_xact_id();
	END IF;
	drained := drain_locked(p_max);
	IF has_passed AND drained < p_max THEN
		UPDATE drain_mark SET low = mark.next_low, next_low = last_id, xid = mark.xid,
				      at = clock_timestamp();
	END IF;
	RETURN drained;
END
$$;

-- When a daemon comes: it looks at all that is there, whatever was noted down in another life of
-- this database.
CREATE FUNCTION drain_begin() RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	PERFORM pg_advisory_xact_lock(lock_key('serials'));
	UPDATE drain_mark SET low = 0, next_low = 0, xid = pg_current_xact_id(),
			      at = clock_timestamp();
END
$$;

-- From now on this session polls, and nobody needs to notify.  False: somebody just looks.
CREATE FUNCTION relay_claim() RETURNS boolean
LANGUAGE sql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT pg_try_advisory_lock(lock_key('polling'))
$$;

-- Gives that back.  Who inserted without telling has a lower transaction id than the one returned;
-- relay_may_rest() with it is true when they all have ended.
CREATE FUNCTION relay_unclaim() RETURNS xid8
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	PERFORM pg_advisory_unlock(lock_key('polling'));
	RETURN pg_current_xact_id();
END
$$;

CREATE FUNCTION relay_may_rest(p_since xid8) RETURNS boolean
LANGUAGE sql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT p_since < pg_snapshot_xmin(pg_current_snapshot())
$$;

REVOKE EXECUTE ON FUNCTION log_handed_on(), drain_locked(integer), drain(integer),
	drain_begin(), relay_claim(), relay_unclaim(), relay_may_rest(xid8) FROM PUBLIC;
