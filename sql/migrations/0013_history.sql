-- SPDX-License-Identifier: MIT
-- GET /api/sync/events: the log by channels, serials and other filters.

-- A user reads channels that the user may join, as far back as the application's max_replay_age (in
-- p_caller as replay_age_s); the application's server has more filters.  Pending
-- events (p_delivered = false) have serial 0 and are in the order of their ids.  body is a page; with
-- p_as_lines the events are returned as lines instead, and next is the cursor after them.
CREATE FUNCTION sync_events(p_app text, p_caller jsonb, p_channels json, p_prefix text,
			    p_event text, p_since text, p_from timestamptz, p_until timestamptz,
			    p_delivered boolean, p_contains text, p_newest_first boolean,
			    p_page integer, p_cursor text, p_as_lines boolean DEFAULT false)
RETURNS TABLE (status integer, body text, lines text, next text)
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
	SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
	is_server boolean := caller_is_server(p_caller);
	names text[] := ARRAY(SELECT DISTINCT json_array_elements_text(p_channels));
	start text[] := regexp_match(p_since, '^([0-9A-Za-z_-]{1,64}):(\d{1,18})$');
	scope json := json_build_array('events', p_app, p_channels, p_prefix, p_event, p_since, p_from,
		p_until, p_delivered, p_contains, p_newest_first);
	behind text[] := cursor_read(scope, p_cursor, 2);
	pending boolean := NOT coalesce(p_delivered, true);
	meta log_meta;
	low bigint := 0;
	high bigint := 9223372036854775807;
	way text := CASE WHEN p_newest_first THEN ' DESC' ELSE '' END;
	-- The statement is put together from constant texts only; every value is a parameter (USING).  A
	-- static one would contain conditions such as "p_event IS NULL OR ...", with which the planner
	-- uses neither the index of the channels nor the order of the primary key, and would exist twice,
	-- for both orders.
	by_key text := format(' ORDER BY serial%1$s, id%1$s', way);
	line text := 'json_build_object(''serial'', e.serial, ''id'', e.event_id, '
		'''channel'', e.channel, ''event'', e.event_type, ''data'', CASE WHEN '
		'e.payload_is_text THEN btrim(e.payload::text, E'' \t\r\n'')::json '
		'ELSE to_json(coalesce(e.payload::text, ''{}'')) END, '
		'''created_at'', iso(e.created_at)';
	rows text;
	-- In every part of the statement, so that only the partitions between are locked.
	bounds text := CASE WHEN pending THEN ' AND e.serial <= 0'
		ELSE ' AND e.serial > $2 AND e.serial <= $3' END;
	found json[];
	last_serial bigint;
	last_id bigint;
	more boolean;
	oldest timestamptz;	-- that a user may read
BEGIN
	IF p_since IS NOT NULL AND start IS NULL THEN
		PERFORM sync_fail(400, 'invalid_value', 'since must be a position, epoch:serial.',
				  'since');
	END IF;
	IF behind IS NOT NULL AND array_to_string(behind, ' ') !~ '^\d{1,18} \d{1,18}$' THEN
		PERFORM sync_fail(400, 'invalid_cursor',
			'The cursor is invalid; start again without it.', 'cursor');
	END IF;
	IF NOT is_server THEN
		IF cardinality(names) = 0 THEN
			PERFORM sync_fail(400, 'missing_field', 'channels is required for a user.', 'channels');
		END IF;
		IF coalesce(p_prefix, p_contains, p_from::text, p_until::text, p_delivered::text) IS NOT NULL THEN
			PERFORM sync_fail(403, 'forbidden', 'Only the application''s server may filter '
				'by channel_prefix, text, from, until and delivered.');
		END IF;
		PERFORM require_channel(p_app, p_caller, n, 'channels') FROM unnest(names) n;
		oldest := clock_timestamp()
			- nullif((p_caller->>'replay_age_s')::integer, 0) * interval '1 s';
		p_from := CASE WHEN start IS NULL THEN oldest END;
	END IF;
	low := coalesce(start[2]::bigint, 0);
	-- Only a block range index has times: it gives the range of serials to search.
	-- (serial + 0, or the planner would walk the log from one end.)
	IF (p_from IS NOT NULL OR p_until IS NOT NULL) AND NOT pending AND cardinality(names) = 0 THEN
		SELECT greatest(low, coalesce(min(e.serial + 0) - 1,
			log_last_serial(), 0)),
		       coalesce(max(e.serial + 0), 0)
		INTO low, high FROM realtime_events e
		WHERE e.created_at >= coalesce(p_from, '-infinity')
		  AND e.created_at < coalesce(p_until, 'infinity') AND e.serial > 0;
	END IF;
	IF is_server THEN
		line := line || ', ''delivered'', e.delivered, ''delivered_at'', iso(e.delivered_at), '
			'''origin'', e.origin, ''socket_id'', e.exclude_socket';
	END IF;
	rows := 'SELECT e.serial, e.id FROM realtime_events e WHERE (e.app = $1 '
		'OR e.app IS NULL AND (SELECT count(*) = 1 FROM log_apps)) AND e.origin <> ''control'''
		|| bounds
		|| CASE WHEN behind IS NULL THEN ''
			WHEN p_newest_first THEN ' AND (e.serial, e.id) < ($4, $5)'
			ELSE ' AND (e.serial, e.id) > ($4, $5)' END
		|| CASE WHEN p_prefix IS NULL THEN '' ELSE ' AND starts_with(e.channel, $6)' END
		|| CASE WHEN p_event IS NULL THEN '' ELSE ' AND e.event_type = $7' END
		|| CASE WHEN p_from IS NULL THEN '' ELSE ' AND e.created_at >= $8' END
		|| CASE WHEN p_until IS NULL THEN '' ELSE ' AND e.created_at < $9' END
		|| CASE WHEN p_contains IS NULL THEN ''
			ELSE ' AND strpos(lower(e.payload::text), lower($10)) > 0' END;
	IF cardinality(names) > 0 THEN -- each by the index, then the first of all
		rows := 'SELECT r.* FROM unnest($11) AS n(channel) CROSS JOIN LATERAL (' || rows
			|| ' AND e.channel = n.channel' || by_key || ' LIMIT $12) r';
	END IF;
	-- First the keys, then the sizes of these rows only, then what fits.  (OFFSET 0: by the primary
	-- key, row by row.)
	EXECUTE 'WITH keys AS MATERIALIZED (SELECT k.*, row_number() OVER (' || ltrim(by_key) || ') AS n '
		'FROM (' || rows || by_key || ' LIMIT $12) k), '
		'sized AS MATERIALIZED (SELECT k.*, sum(e.size) OVER (ORDER BY k.n) AS bytes FROM keys k '
		'CROSS JOIN LATERAL (SELECT octet_length(e.payload::text) AS size FROM realtime_events e '
		'WHERE e.serial = k.serial AND e.id = k.id' || bounds || ' OFFSET 0) e), '
		'page AS MATERIALIZED (SELECT s.* FROM sized s WHERE s.n < $12 '
		'AND (s.n = 1 OR s.bytes <= 1000000)) '
		'SELECT (SELECT array_agg(e.line ORDER BY p.n) FROM page p CROSS JOIN LATERAL (SELECT '
		|| line || ') AS line FROM realtime_events e WHERE e.serial = p.serial AND e.id = p.id'
		|| bounds || ' OFFSET 0) e), l.serial, l.id, (SELECT count(*) FROM keys) > coalesce(l.n, 0) '
		'FROM (VALUES (1)) v LEFT JOIN (SELECT p.* FROM page p ORDER BY p.n DESC LIMIT 1) l ON true'
	INTO found, last_serial, last_id, more
	USING p_app, low, high, behind[1]::bigint, behind[2]::bigint, p_prefix, p_event, p_from, p_until,
	      p_contains, names, p_page + 1;
	-- After the rows: rows dropped in between would go unnoticed.
	SELECT m.* INTO meta FROM log_meta m;
	IF start[1] <> meta.epoch THEN
		PERFORM sync_fail(409, 'other_epoch', 'The position belongs to an earlier log: fetch the state again.',
				  'since');
	ELSIF start[2]::bigint >= log_next_serial() THEN
		PERFORM sync_fail(409, 'other_epoch', 'The position is later than the end of the log: '
				  'fetch anew.', 'since');
	ELSIF log_horizon() > start[2]::bigint OR EXISTS (
		SELECT FROM unnest(names) AS n(channel) CROSS JOIN LATERAL (
			SELECT e.created_at FROM realtime_events e
			WHERE e.channel = n.channel AND e.serial > start[2]::bigint
			  AND (e.app = p_app OR e.app IS NULL)
			ORDER BY e.serial LIMIT 1) f
		WHERE f.created_at < oldest) THEN
		PERFORM sync_fail(410, 'expired',
			'The log does not reach back to the position: fetch anew.', 'since');
	END IF;
	status := 200;
	next := CASE WHEN more THEN cursor_make(scope, last_serial::text, last_id::text) END;
	IF p_as_lines THEN
		lines := array_to_string(found, E'\n');
	ELSE
		body := json_build_object('events', array_to_json(coalesce(found, '{}')),
			'position', CASE WHEN p_newest_first OR pending THEN NULL ELSE meta.epoch || ':' ||
				CASE WHEN more THEN last_serial ELSE greatest(low, log_last_serial()) END END,
			'next_cursor', next);
	END IF;
	RETURN NEXT;
END
$$;
COMMENT ON FUNCTION sync_events IS
	'GET /events: a page of the log, of at most about 1 MB.';

CREATE FUNCTION @SCHEMA@.position() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT m.epoch || ':' || greatest(m.horizon, log_last_serial(), 0)
	FROM log_meta m
$$;
COMMENT ON FUNCTION @SCHEMA@.position() IS
	'The position of the log that this statement sees: what a client that loads state with '
	'the same snapshot passes as since when it subscribes.';

REVOKE EXECUTE ON FUNCTION @SCHEMA@.position() FROM PUBLIC;
