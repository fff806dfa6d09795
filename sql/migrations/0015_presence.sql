-- SPDX-License-Identifier: MIT
-- Presence: who is there, where, and since when.  Heartbeats come many at a time in one statement;
-- only a change of a user's status is broadcast.

-- last_seen_at has no index on purpose: each heartbeat writes it, and stays a heap-only update.
CREATE TABLE user_presence (
	app text NOT NULL,
	user_id user_key NOT NULL,
	location text,
	status text NOT NULL CHECK (status IN ('online', 'away', 'busy', 'offline')),
	last_seen_at timestamptz NOT NULL DEFAULT now(),
	info json,
	name text,
	avatar text,
	heartbeat_at timestamptz,
	previous_status text NOT NULL DEFAULT 'offline',
	changed_at timestamptz NOT NULL DEFAULT now(),
	sockets text[] NOT NULL DEFAULT '{}',
	is_tied boolean NOT NULL DEFAULT false,
	connected_at timestamptz,
	kept_at timestamptz,
	nodes integer[] NOT NULL DEFAULT '{}',
	PRIMARY KEY (app, user_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE user_presence IS
	'Which users are present, where, and since when.';
COMMENT ON COLUMN user_presence.name IS
	'Name in a heartbeat or its token; that of the table users comes first.';
COMMENT ON COLUMN user_presence.avatar IS
	'Avatar in a heartbeat or its token; that of the table users comes first.';
COMMENT ON COLUMN user_presence.heartbeat_at IS
	'When the last heartbeat was received. NULL when the user is known from sockets only, '
	'or has expired.';
COMMENT ON COLUMN user_presence.previous_status IS
	'The status before the last change.';
COMMENT ON COLUMN user_presence.changed_at IS
	'Since when the status is what it is.';
COMMENT ON COLUMN user_presence.sockets IS
	'The sockets that heartbeats named, at most 20. Empty when the user is offline.';
COMMENT ON COLUMN user_presence.is_tied IS
	'The last heartbeat named a socket: the user is offline when the last of sockets has ended.';
COMMENT ON COLUMN user_presence.connected_at IS
	'When the daemon last knew of a connection of the user; NULL when the last one has closed. Of no '
	'account when it is older than the time to live of a heartbeat.';
COMMENT ON COLUMN user_presence.kept_at IS
	'When the last heartbeat was received that left the sockets as they were (keep_sockets).';
COMMENT ON COLUMN user_presence.nodes IS
	'In a cluster, the numbers of the nodes that have connections of the user; some may have ended.';
CREATE INDEX user_presence_here ON user_presence (app, user_id) WHERE status <> 'offline';
CREATE INDEX user_presence_sockets ON user_presence USING gin (sockets) WHERE sockets <> '{}';

CREATE FUNCTION presence_status(p_status text, p_last_seen_at timestamptz, p_deadline timestamptz)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN p_last_seen_at < p_deadline THEN 'offline' ELSE p_status END;
COMMENT ON FUNCTION presence_status IS
	'The status at a time: a user who was not seen since p_deadline is offline, whatever '
	'the row has.';

CREATE FUNCTION presence_next(p_was text, p_heard_at timestamptz, p_told text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN p_heard_at IS NOT NULL THEN p_told WHEN p_was = 'offline' THEN 'online'
		    ELSE p_was END;
COMMENT ON FUNCTION presence_next IS
	'The next status: that of a heartbeat; from a socket alone, online when the user was '
	'offline.';

CREATE FUNCTION presence_broadcast(p_changed user_presence[], p_channels text[]) RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	INSERT INTO realtime_events (channel, event_type, payload, app)
	SELECT c.channel, sync_event('UserPresenceChanged'),
	       CASE WHEN a.max_payload_bytes = 0 OR octet_length(whole::text) <= a.max_payload_bytes
		    THEN whole ELSE brief END, p.app
	FROM unnest(p_changed) AS p
	JOIN log_apps a ON a.app = p.app
	LEFT JOIN users u ON u.app = p.app AND u.id = p.user_id
	CROSS JOIN LATERAL json_build_object('user_id', p.user_id, 'name', coalesce(u.name, p.name),
		'status', p.status, 'previous_status', p.previous_status, 'location', p.location,
		'info', p.info, 'last_seen_at', iso(p.last_seen_at)) AS whole
	CROSS JOIN LATERAL json_build_object('user_id', p.user_id, 'status', p.status,
		'truncated', true) AS brief
	CROSS JOIN unnest(p_channels) AS c(channel)
	WHERE (a.max_channel_bytes = 0 OR octet_length(c.channel) <= a.max_channel_bytes)
	AND (a.max_payload_bytes = 0 OR octet_length(brief::text) <= a.max_payload_bytes);
END
$$;
COMMENT ON FUNCTION presence_broadcast IS
	'Broadcasts changed statuses. Does not fail because of limits: a payload that is too '
	'large is shortened.';

CREATE FUNCTION presence_sockets(p_sockets text[], p_new text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN p_new <@ p_sockets THEN p_sockets
	    ELSE (SELECT array_agg(s ORDER BY at) FROM (
			SELECT x.s, max(x.at) AS at FROM unnest(p_sockets || p_new) WITH ORDINALITY AS x(s, at)
			GROUP BY x.s ORDER BY 2 DESC LIMIT 20) y) END;
COMMENT ON FUNCTION presence_sockets IS
	'The sockets of a user with those that new heartbeats named; the newest 20 of them.';

-- Each user is in a list at most once.
--     p_beats  {app, id, location, status, info, name, avatar, sockets, tied, kept, here}: status NULL means known
--              from a connection, and does not change the status of a heartbeat; sockets are those that the
--              heartbeats named, and tied: the last one did; kept: the last one leaves them as they are; here: a
--              connection has opened
--     p_came   {app, id} of users whose first connection opened: they are in p_beats too
--     p_gone   {app, id, beats} of users whose last connection closed; beats: the user is in p_beats too
--     p_node   the calling node's number; 0: the daemon is alone
-- location, info, name and avatar do not change where they are NULL.
CREATE FUNCTION presence_beat(p_beats json, p_came json, p_gone json, p_ttl_s integer,
			      p_channels text[], p_node integer, OUT seen_at text, OUT unread json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	deadline CONSTANT timestamptz := now() - p_ttl_s * interval '1 s';
	is_known CONSTANT boolean := nodes_are_known();
	live CONSTANT integer[] := ARRAY(SELECT n.number FROM nodes n WHERE n.lease > clock_timestamp());
	has_others CONSTANT boolean := cardinality(live) > 1;
	changed user_presence[];
	left_now user_presence[];
BEGIN
	seen_at := iso(now());
	IF has_others THEN
		-- In one order, before any is written: calls of two nodes cannot deadlock.
		PERFORM FROM user_presence p JOIN (
			SELECT b.app, b.id FROM json_to_recordset(p_beats) AS b(app text, id user_key)
			UNION SELECT c.app, c.id FROM json_to_recordset(p_came) AS c(app text, id user_key)
			UNION SELECT g.app, g.id FROM json_to_recordset(p_gone) AS g(app text, id user_key)) k
		ON p.app = k.app AND p.user_id = k.id ORDER BY p.app, p.user_id FOR UPDATE OF p;
	END IF;
	IF p_came IS NOT NULL THEN
		-- A user whose last heartbeat had the status offline, and who connects again, is present.
		UPDATE user_presence p SET heartbeat_at = NULL
		FROM json_to_recordset(p_came) AS c(app text, id user_key)
		WHERE p.app = c.app AND p.user_id = c.id AND p.status = 'offline';
	END IF;
	IF p_gone IS NOT NULL THEN
		-- Which other nodes have connections of the user is decided by the row: two nodes that lose the
		-- last ones at the same time wait for each other.
		UPDATE user_presence u SET nodes = ARRAY(
			SELECT n FROM unnest(u.nodes) AS n WHERE n <> p_node AND (n = ANY (live) OR NOT is_known))
		FROM json_to_recordset(p_gone) AS g(app text, id user_key)
		WHERE u.app = g.app AND u.user_id = g.id AND u.nodes <> '{}';
		-- After a heartbeat they stay present until the deadline.
		WITH up AS (
			UPDATE user_presence u SET status = 'offline', previous_status = u.status,
				changed_at = now(), heartbeat_at = NULL, sockets = '{}', is_tied = false,
				connected_at = NULL
			FROM json_to_recordset(p_gone) AS g(app text, id user_key, beats boolean)
			WHERE u.app = g.app AND u.user_id = g.id AND u.status <> 'offline' AND u.nodes = '{}'
			AND coalesce(u.heartbeat_at < deadline, true) AND g.beats IS NOT TRUE
			RETURNING u
		)
		SELECT array_agg(u) INTO left_now FROM up;
		UPDATE user_presence u SET connected_at = NULL
		FROM json_to_recordset(p_gone) AS g(app text, id user_key)
		WHERE u.app = g.app AND u.user_id = g.id AND u.connected_at IS NOT NULL AND u.nodes = '{}';
	END IF;
	-- In the order of the key: two calls at once cannot deadlock.
	WITH beat AS MATERIALIZED (
		SELECT * FROM ROWS FROM (json_to_recordset(p_beats) AS
			(app text, id user_key, location text, status text, info json, name text, avatar text,
			 sockets text[], tied boolean, kept boolean, here boolean)) WITH ORDINALITY
			AS b(app, id, location, status, info, name, avatar, sockets, tied, kept, here, at)
	), up AS (
		INSERT INTO user_presence AS u (app, user_id, location, status, info, name, avatar,
						heartbeat_at, sockets, is_tied, connected_at, kept_at, nodes)
		SELECT b.app, b.id, b.location, coalesce(b.status, 'online'), b.info, b.name, b.avatar,
		       CASE WHEN b.status IS NOT NULL THEN now() END,
		       CASE WHEN b.status = 'offline' THEN '{}' ELSE presence_sockets('{}', coalesce(b.sockets, '{}')) END,
		       coalesce(b.tied AND b.status <> 'offline', false),
		       CASE WHEN b.status IS NULL OR b.here THEN now() END,
		       CASE WHEN b.kept AND b.status <> 'offline' THEN now() END,
		       CASE WHEN p_node > 0 AND (b.status IS NULL OR b.here) THEN ARRAY[p_node] ELSE '{}' END
		FROM beat b ORDER BY b.app, b.id
		ON CONFLICT ON CONSTRAINT user_presence_pkey DO UPDATE SET
			location = coalesce(excluded.location, u.location),
			info = coalesce(excluded.info, u.info),
			name = coalesce(excluded.name, u.name),
			avatar = coalesce(excluded.avatar, u.avatar),
			last_seen_at = excluded.last_seen_at,
			heartbeat_at = coalesce(excluded.heartbeat_at, u.heartbeat_at),
			connected_at = coalesce(excluded.connected_at, u.connected_at),
			nodes = CASE WHEN excluded.nodes <@ u.nodes THEN u.nodes
				ELSE excluded.nodes || ARRAY(SELECT n FROM unnest(u.nodes) AS n
					WHERE n = ANY (live) OR NOT is_known) END,
			sockets = CASE WHEN excluded.heartbeat_at IS NULL THEN u.sockets
				WHEN excluded.status = 'offline' THEN '{}'
				WHEN presence_status(u.status, u.last_seen_at, deadline) = 'offline'
				THEN excluded.sockets
				ELSE presence_sockets(u.sockets, excluded.sockets) END,
			is_tied = CASE WHEN excluded.heartbeat_at IS NULL THEN u.is_tied
				ELSE excluded.is_tied OR (u.is_tied AND excluded.kept_at IS NOT NULL
					AND presence_status(u.status, u.last_seen_at, deadline) <> 'offline') END,
			kept_at = coalesce(excluded.kept_at, u.kept_at),
			status = presence_next(presence_status(u.status, u.last_seen_at, deadline),
					       excluded.heartbeat_at, excluded.status),
			previous_status = presence_status(u.status, u.last_seen_at, deadline),
			changed_at = CASE WHEN
				presence_next(presence_status(u.status, u.last_seen_at, deadline),
					      excluded.heartbeat_at, excluded.status) =
				presence_status(u.status, u.last_seen_at, deadline)
				THEN u.changed_at ELSE now() END
		WHERE excluded.heartbeat_at IS NOT NULL OR u.status <> 'offline'
		      OR u.heartbeat_at IS NULL
		RETURNING u
	)
	SELECT (SELECT array_agg(u) FROM up WHERE (u).status <> (u).previous_status),
	       (SELECT json_object_agg(b.at, n.unread) FROM beat b
		JOIN notification_boxes n ON n.app = b.app AND n.user_id = b.id
		WHERE n.unread > 0 AND b.status IS NOT NULL)
	INTO changed, unread;
	changed := left_now || changed;
	IF changed IS NOT NULL THEN
		PERFORM presence_broadcast(changed, p_channels);
	END IF;
END
$$;
COMMENT ON FUNCTION presence_beat IS
	'Stores heartbeats and connected and disconnected users, many in one call. unread is '
	'the unread count of each user who sent a heartbeat, by index in p_beats from 1, if not '
	'0. A user in p_gone who has connections on other nodes stays as they are.';

CREATE FUNCTION presence_expire(p_ttl_s integer, p_channels text[]) RETURNS integer
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	until CONSTANT timestamptz := sweep_until();
	due record;
	one user_presence;
	changed user_presence[] := '{}';
	is_late boolean;
	n integer := 0;
BEGIN
	FOR due IN SELECT p.app, p.user_id FROM user_presence p
		   WHERE p.status <> 'offline' AND p.last_seen_at < now() - p_ttl_s * interval '1 s'
		   ORDER BY p.app, p.user_id LIMIT 1000 FOR UPDATE SKIP LOCKED LOOP
		UPDATE user_presence u SET status = 'offline', previous_status = u.status,
			changed_at = now(), heartbeat_at = NULL, sockets = '{}', is_tied = false,
			connected_at = NULL, nodes = '{}'
		WHERE u.app = due.app AND u.user_id = due.user_id RETURNING u.* INTO one;
		n := n + 1;
		changed := changed || one;
		is_late := clock_timestamp() >= until;
		IF is_late OR cardinality(changed) = 20 THEN
			PERFORM presence_broadcast(changed, p_channels);
			changed := '{}';
		END IF;
		IF is_late THEN
			RETURN 1000;
		END IF;
	END LOOP;
	IF cardinality(changed) > 0 THEN
		PERFORM presence_broadcast(changed, p_channels);
	END IF;
	RETURN n;
END
$$;
COMMENT ON FUNCTION presence_expire IS
	'Sets users offline who were not seen for p_ttl_s seconds, at most 1,000 in one call, and until '
	'sweep_until(). Returns how many; 1,000 if there may be more.';

CREATE FUNCTION presence_forget_sockets(p_ttl_s integer) RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	live CONSTANT integer[] := ARRAY(SELECT n.number FROM nodes n WHERE n.lease > clock_timestamp());
BEGIN
	IF NOT nodes_are_known() THEN
		RETURN;
	END IF;
	-- Who was seen by this process is not of an earlier one; and a locked row is one that
	-- presence_beat() is about to write.  So it waits for no other transaction.
	UPDATE user_presence u
	SET last_seen_at = least(u.last_seen_at, now() - (p_ttl_s - 20) * interval '1 s')
	FROM (SELECT p.app, p.user_id FROM user_presence p
	      WHERE p.status <> 'offline' AND p.heartbeat_at IS NULL AND p_ttl_s > 20
	      AND NOT p.nodes && live
	      AND p.last_seen_at < coalesce((SELECT d.since FROM daemon d), now())
	      ORDER BY p.app, p.user_id FOR UPDATE SKIP LOCKED) due
	WHERE u.app = due.app AND u.user_id = due.user_id;
END
$$;
COMMENT ON FUNCTION presence_forget_sockets IS
	'Users who are known from sockets only are offline in 20 seconds unless they connect again. '
	'The daemon calls it when it starts: the sockets were those of an earlier process; and a node when another '
	'one has ended. Users with sockets on a running node are left as they are.';

-- Its parameters: $1 app, $2 status, $3 location, $4 deadline, $7 ids, $8 prefix of locations.  Each kind of query has its own text,
-- so that the partial index and its order are used; without a status: all who are not offline.
CREATE FUNCTION presence_where(p_status text, p_location text, p_ids user_key[], p_prefix text)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'p.app = $1'
	       || CASE WHEN p_status = 'offline' THEN ' AND (p.status = $2 OR p.last_seen_at < $4)'
		       ELSE ' AND p.status <> ''offline'' AND p.last_seen_at >= $4' END
	       || CASE WHEN p_status <> 'offline' THEN ' AND p.status = $2' ELSE '' END
	       || CASE WHEN p_location IS NOT NULL THEN ' AND p.location = $3' ELSE '' END
	       || CASE WHEN p_ids IS NOT NULL THEN ' AND p.user_id = ANY ($7)' ELSE '' END
	       || CASE WHEN p_prefix IS NOT NULL THEN ' AND starts_with(p.location, $8)' ELSE '' END
$$;
COMMENT ON FUNCTION presence_where IS
	'The condition on user_presence for a list of users.';

CREATE FUNCTION presence_json(p_row user_presence, p_deadline timestamptz) RETURNS json
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
	SELECT json_build_object('user_id', p_row.user_id, 'name', coalesce(u.name, p_row.name),
		'avatar', coalesce(u.avatar, p_row.avatar),
		'status', presence_status(p_row.status, p_row.last_seen_at, p_deadline),
		'location', p_row.location, 'info', p_row.info, 'last_seen_at', iso(p_row.last_seen_at))
	FROM (VALUES (1)) AS one LEFT JOIN users u ON u.app = p_row.app AND u.id = p_row.user_id
$$;
COMMENT ON FUNCTION presence_json IS
	'A user''s presence as JSON.';

CREATE FUNCTION sync_online_users(p_app text, p_caller jsonb, p_user_status text, p_location text,
				  p_prefix text, p_user_ids jsonb, p_page_size integer,
				  p_page_at text, p_ttl_s integer, p_channels text[], OUT status integer, OUT body json)
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	deadline CONSTANT timestamptz := now() - p_ttl_s * interval '1 s';
	scope CONSTANT json := json_build_array('online-users', p_app, p_user_status, p_location,
		p_prefix, p_user_ids);
	wanted CONSTANT user_key[] := ids_read(p_user_ids, 'user_ids');
	place CONSTANT text[] := cursor_read(scope, p_page_at, 2);
	is_back boolean := false;
	edge CONSTANT user_key := user_key_read(place[2]);
	page user_presence[];
	has_more boolean;
	ids user_key[];
	matching bigint;
BEGIN
	PERFORM require_any_channel(p_app, p_caller, p_channels);
	IF place IS NOT NULL THEN
		IF coalesce(place[1] NOT IN ('after', 'before') OR edge IS NULL, true) THEN
			PERFORM sync_fail(400, 'invalid_cursor', 'The cursor is invalid; start '
				'again without it.', 'cursor');
		END IF;
		is_back := place[1] = 'before';
	END IF;
	EXECUTE format('SELECT ARRAY(SELECT p FROM user_presence p WHERE %s%s
				     ORDER BY p.user_id %s LIMIT $6 + 1),
			       (SELECT count(*) FROM user_presence p WHERE %1$s)',
		       presence_where(p_user_status, p_location, wanted, p_prefix),
		       CASE WHEN edge IS NULL THEN '' WHEN is_back THEN ' AND p.user_id < $5'
			    ELSE ' AND p.user_id > $5' END,
		       CASE WHEN is_back THEN 'DESC' ELSE 'ASC' END)
	INTO page, matching USING p_app, p_user_status, p_location, deadline, edge, p_page_size,
		wanted, p_prefix;
	has_more := cardinality(page) > p_page_size;
	page := page[:p_page_size];
	ids := ARRAY(SELECT p.user_id FROM unnest(page) AS p ORDER BY 1);
	status := 200;
	body := json_build_object(
		'users', coalesce((SELECT json_agg(presence_json(p, deadline) ORDER BY p.user_id)
				   FROM unnest(page) AS p), '[]'),
		'count', matching,
		'next_cursor', CASE WHEN is_back OR has_more
				    THEN cursor_make(scope, 'after', ids[cardinality(ids)]::text) END,
		'prev_cursor', CASE WHEN CASE WHEN is_back THEN has_more ELSE place IS NOT NULL END
				    THEN cursor_make(scope, 'before', ids[1]::text) END);
END
$$;
COMMENT ON FUNCTION sync_online_users IS
	'GET /online-users: a page in the order of the ids.';

CREATE FUNCTION sync_heartbeat(p_app text, p_caller jsonb, p_user_id user_key, p_location text,
			       p_user_status text, p_info json, p_user_info json, p_name text,
			       p_avatar text, p_wait boolean, p_socket_id text, p_keep_sockets boolean,
			       p_ttl_s integer, p_channels text[], OUT status integer, OUT body json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	beat CONSTANT record := presence_beat(json_build_array(json_build_object('app', p_app,
		'id', p_user_id, 'location', p_location, 'status', p_user_status,
		'info', coalesce(p_info, p_user_info), 'name', coalesce(p_name, p_caller->>'name'),
		'avatar', coalesce(p_avatar, p_caller->>'avatar'),
		'sockets', array_remove(ARRAY[p_socket_id], NULL), 'tied', p_socket_id IS NOT NULL,
		'kept', p_socket_id IS NULL AND p_keep_sockets)),
		NULL, NULL, p_ttl_s, p_channels, 0);
BEGIN
	status := 200;
	body := json_build_object('user_id', p_user_id, 'status', p_user_status,
		'last_seen_at', beat.seen_at, 'ttl', p_ttl_s,
		'unread_count', coalesce((beat.unread->>'1')::bigint, 0));
END
$$;
COMMENT ON FUNCTION sync_heartbeat IS
	'POST /heartbeat with an idempotency key. Others are collected, many in one call of '
	'presence_beat().';

REVOKE EXECUTE ON FUNCTION sync_heartbeat(text, jsonb, user_key, text, text, json, json, text, text, boolean, text, boolean, integer, text[]),
	presence_broadcast(user_presence[], text[]),
	presence_beat(json, json, json, integer, text[], integer), presence_expire(integer, text[]),
	presence_forget_sockets(integer) FROM PUBLIC;
