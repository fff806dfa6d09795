-- SPDX-License-Identifier: MIT
-- The epoch: whether the log is still the one that clients remember.

CREATE FUNCTION log_place() RETURNS text
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT concat_ws('/', s.system_identifier, d.oid, to_regclass('log_meta')::oid)
	FROM pg_control_system() s CROSS JOIN pg_database d WHERE d.datname = current_database()
$$;
COMMENT ON FUNCTION log_place IS
	'Identifies the server, the database and the table. A restored copy has another value.';

CREATE FUNCTION log_timeline() RETURNS text
LANGUAGE sql VOLATILE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)
$$;
COMMENT ON FUNCTION log_timeline IS
	'The timeline of the server. It changes when a standby is promoted and after recovery '
	'to a point in time.';

CREATE FUNCTION log_begin(p_seen_epoch text, p_seen_serial bigint, p_seen_id text,
			  OUT epoch text, OUT why text)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
	SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
	m log_meta;
	here CONSTANT text := log_place();
	line CONSTANT text := log_timeline();
	next_serial bigint;
	top bigint;
	is_witness boolean;
BEGIN
	PERFORM log_lock('serials');
	SELECT x.* INTO m FROM log_meta x;
	next_serial := log_next_serial();
	top := log_last_serial();
	is_witness := coalesce(p_seen_epoch = m.epoch, false);
	why := CASE
		WHEN m.place <> here THEN 'it was restored from a copy'
		WHEN top >= next_serial THEN 'its serials were set back'
		WHEN is_witness AND p_seen_serial >= next_serial
			THEN 'it ends before the last event that was delivered'
		WHEN is_witness AND p_seen_serial > m.horizon AND NOT EXISTS (
			SELECT FROM realtime_events e
			WHERE e.serial = p_seen_serial AND e.event_id = p_seen_id)
			THEN 'it does not contain the last event that was delivered'
		WHEN is_witness THEN NULL
		WHEN m.timeline <> line
			THEN 'the server was promoted or recovered, and it is unknown whether the log '
			     'is complete'
		WHEN EXISTS (SELECT FROM node_cursor r
			     WHERE r.epoch = m.epoch AND r.serial >= next_serial)
			THEN 'it ends before the last event that was delivered'
		WHEN coalesce(top, 0) <= m.horizon AND EXISTS (SELECT FROM node_cursor r
						  WHERE r.epoch = m.epoch AND r.serial > m.horizon)
			THEN 'its events are missing'
	END;
	IF why IS NOT NULL THEN
		m.epoch := replace(gen_random_uuid()::text, '-', '');
		-- A connected client continues with serials above all that it has received.
		top := greatest(top, CASE WHEN is_witness THEN p_seen_serial END);
		IF top >= next_serial THEN
			PERFORM setval('realtime_events_serial', top);
		END IF;
	END IF;
	UPDATE log_meta x SET epoch = m.epoch, place = here, timeline = line
	WHERE (x.epoch, x.place, x.timeline) IS DISTINCT FROM (m.epoch, here, line);
	epoch := m.epoch;
END
$$;
COMMENT ON FUNCTION log_begin IS
	'Called when a daemon connects, with the last event that it delivered, or NULL. Returns '
	'the epoch, and why it is a new one.';

REVOKE EXECUTE ON FUNCTION log_begin(text, bigint, text) FROM PUBLIC;
