-- SPDX-License-Identifier: MIT
-- Draining: pending rows get their serials, by one daemon at a time.
--
-- The lock "polling" is held, for its session, by a daemon that polls.  A session that inserts only
-- checks whether it is free, and has a transaction id before it checks.  So a daemon that released
-- it knows when all that relied on it have ended: when no transaction older than that moment runs.

CREATE TABLE node_cursor (
	node text PRIMARY KEY,
	epoch text NOT NULL,
	serial bigint NOT NULL,
	at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
COMMENT ON TABLE node_cursor IS
	'The position of each node: up to where it delivered the log to its sockets. Written '
	'about once a second.';
COMMENT ON COLUMN node_cursor.serial IS
	'The last serial that the node delivered.';
COMMENT ON COLUMN node_cursor.at IS
	'When the row was written; a row of more than ten minutes ago is of a node that is not '
	'running.';

CREATE FUNCTION log_delivered() RETURNS bigint
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT min(r.serial) FROM node_cursor r JOIN log_meta m ON r.epoch = m.epoch
	WHERE r.at > now() - interval '10 min'
$$;
COMMENT ON FUNCTION log_delivered IS
	'The serial up to which all running nodes have delivered the log; NULL when none is '
	'running. A node that did not write its position for ten minutes is not running.';

-- The drainer need not read past rows that were drained and are not vacuumed yet: while a
-- transaction has an old snapshot, these can be hours of events.  An event gets its id after its
-- transaction has its own id.  So all events up to next_low are visible, or never will be, once no
-- transaction up to xid is running.
CREATE TABLE drain_mark (
	only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
	low bigint NOT NULL DEFAULT 0,
	next_low bigint NOT NULL DEFAULT 0,
	xid xid8 NOT NULL DEFAULT '0',
	at timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 10);
COMMENT ON TABLE drain_mark IS
	'Where the drainer begins to search for pending events, in one row.';
COMMENT ON COLUMN drain_mark.low IS
	'No pending event that can become visible has an id up to this one.';
COMMENT ON COLUMN drain_mark.next_low IS
	'The next value of low, once no transaction up to xid is running.';
COMMENT ON COLUMN drain_mark.xid IS
	'See next_low.';
INSERT INTO drain_mark DEFAULT VALUES;

-- Plans are cached: planning takes longer than draining some rows.
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
	-- An event_id is in the log already: the same with ON CONFLICT, which doubles the cost.
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
COMMENT ON FUNCTION drain_locked IS
	'Gives serials to at most p_max_rows pending events and moves them to the log. The '
	'caller holds the lock "serials". Returns how many.';

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
	IF NOT log_try_lock('drain') THEN
		RETURN -1;
	END IF;
	PERFORM log_lock('serials');
	SELECT * INTO mark FROM drain_mark;
	IF mark.at < clock_timestamp() - interval '1 s' THEN
		-- In this order: the last id, then a transaction id, then the rows.
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
COMMENT ON FUNCTION drain IS
	'Gives serials to at most p_max pending events. Returns how many, or -1 when another '
	'session is draining: try again.';

CREATE FUNCTION drain_begin() RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	PERFORM log_lock('serials');
	UPDATE drain_mark SET low = 0, next_low = 0, xid = pg_current_xact_id(),
			      at = clock_timestamp();
END
$$;
COMMENT ON FUNCTION drain_begin IS
	'Called when a daemon connects: the drainer searches from the first pending event '
	'again, whatever drain_mark has.';

CREATE FUNCTION drainer_claim() RETURNS boolean
LANGUAGE sql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT pg_try_advisory_lock(lock_key('polling'))
$$;
COMMENT ON FUNCTION drainer_claim IS
	'The session polls from now on, so that transactions which publish need not notify. '
	'False when the lock is not free: try again.';

CREATE FUNCTION drainer_release() RETURNS xid8
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	PERFORM pg_advisory_unlock(lock_key('polling'));
	RETURN pg_current_xact_id();
END
$$;
COMMENT ON FUNCTION drainer_release IS
	'Ends drainer_claim(). Transactions that published without a notification have '
	'transaction ids below the returned one.';

CREATE FUNCTION drainer_may_wait(p_since xid8) RETURNS boolean
LANGUAGE sql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT p_since < pg_snapshot_xmin(pg_current_snapshot())
$$;
COMMENT ON FUNCTION drainer_may_wait IS
	'Whether all transactions with ids below p_since have ended.';

REVOKE EXECUTE ON FUNCTION log_delivered(), drain_locked(integer), drain(integer),
	drain_begin(), drainer_claim(), drainer_release(), drainer_may_wait(xid8) FROM PUBLIC;
