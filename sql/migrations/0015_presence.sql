-- SPDX-License-Identifier: MIT
-- Presence: who is there, where, and since when.  Heartbeats come many at a time in one statement;
-- only a change of a user's status is broadcast.

-- last_seen_at has no index on purpose: each heartbeat writes it, and stays a heap-only update.
CREATE TABLE user_presence (
	app text NOT NULL,
	user_id bigint NOT NULL CHECK (user_id > 0),
	location text,
	status text NOT NULL CHECK (status IN ('online', 'away', 'busy', 'offline')),
	last_seen_at timestamptz NOT NULL DEFAULT now(),
	info json,
	heartbeat_at timestamptz,	-- of the last heartbeat; NULL: known by sockets only, or expired
	previous_status text NOT NULL DEFAULT 'offline',	-- before what came last
	changed_at timestamptz NOT NULL DEFAULT now(),	-- since when the status is what it is
	PRIMARY KEY (app, user_id)
) WITH (fillfactor = 50);
CREATE INDEX user_presence_here ON user_presence (app, user_id) WHERE status <> 'offline';

-- What a status is worth: whoever was not seen since the deadline is offline, marked yet or not.
CREATE FUNCTION presence_status(p_status text, p_last_seen_at timestamptz, p_deadline timestamptz)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
	SELECT CASE WHEN p_last_seen_at < p_deadline THEN 'offline' ELSE p_status END
$$;

-- The next status: what a heartbeat told; by a socket alone, online for who was not there.
CREATE FUNCTION presence_next(p_was text, p_heard_at timestamptz, p_told text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
	SELECT CASE WHEN p_heard_at IS NOT NULL THEN p_told WHEN p_was = 'offline' THEN 'online'
		    ELSE p_was END
$$;

-- Broadcasts changed statuses.  Never fails over an application's limits: a payload that is too
-- large carries less, and an application that is not served any more is told nothing.
CREATE FUNCTION presence_tell(p_changed user_presence[], p_channels text[]) RETURNS void
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
	CROSS JOIN LATERAL json_build_object('user_id', p.user_id, 'name', u.name,
		'status', p.status, 'previous_status', p.previous_status, 'location', p.location,
		'info', p.info, 'last_seen_at', iso(p.last_seen_at)) AS whole
	CROSS JOIN LATERAL json_build_object('user_id', p.user_id, 'status', p.status,
		'truncated', true) AS brief
	CROSS JOIN unnest(p_channels) AS c(channel)
	WHERE (a.max_channel_bytes = 0 OR octet_length(c.channel) <= a.max_channel_bytes)
	AND (a.max_payload_bytes = 0 OR octet_length(brief::text) <= a.max_payload_bytes);
END
$$;

-- Takes what was gathered, each user at most once.
--     beats  {app, id, location, status, info}: status NULL is a socket's word, and leaves what a
--            heartbeat said
--     came   {app, id} of those whose first socket came: they are in beats too
--     gone   {app, id} of those whose last socket went
-- location and info stay as they were where they are NULL.  unread has what each who sent a
-- heartbeat has not read, by its place in beats from 1 on, where it is not 0.
CREATE FUNCTION presence_beat(p_beats json, p_came json, p_gone json, p_ttl_s integer,
			      p_channels text[], OUT seen_at text, OUT unread json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	deadline CONSTANT timestamptz := now() - p_ttl_s * interval '1 s';
	changed user_presence[];
	left_now user_presence[];
BEGIN
	seen_at := iso(now());
	IF p_came IS NOT NULL THEN
		-- Who said to be offline, and comes again, is there.
		UPDATE user_presence p SET heartbeat_at = NULL
		FROM json_to_recordset(p_came) AS c(app text, id bigint)
		WHERE p.app = c.app AND p.user_id = c.id AND p.status = 'offline';
	END IF;
	IF p_gone IS NOT NULL THEN
		-- Heartbeats keep them here for as long as was promised.
		WITH up AS (
			UPDATE user_presence u SET status = 'offline', previous_status = u.status,
				changed_at = now(), heartbeat_at = NULL
			FROM json_to_recordset(p_gone) AS g(app text, id bigint)
			WHERE u.app = g.app AND u.user_id = g.id AND u.status <> 'offline'
			AND coalesce(u.heartbeat_at < deadline, true)
			RETURNING u
		)
		SELECT array_agg(u) INTO left_now FROM up;
	END IF;
	-- In the order of the key: two of these at once wait for each other, never both.
	WITH beat AS MATERIALIZED (
		SELECT * FROM ROWS FROM (json_to_recordset(p_beats) AS
			(app text, id bigint, location text, status text, info json))
			WITH ORDINALITY AS b(app, id, location, status, info, at)
	), up AS (
		INSERT INTO user_presence AS u (app, user_id, location, status, info, heartbeat_at)
		SELECT b.app, b.id, b.location, coalesce(b.status, 'online'), b.info,
		       CASE WHEN b.status IS NOT NULL THEN now() END
		FROM beat b ORDER BY b.app, b.id
		ON CONFLICT ON CONSTRAINT user_presence_pkey DO UPDATE SET
			location = coalesce(excluded.location, u.location),
			info = coalesce(excluded.info, u.info),
			last_seen_at = excluded.last_seen_at,
			heartbeat_at = coalesce(excluded.heartbeat_at, u.heartbeat_at),
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
		PERFORM presence_tell(changed, p_channels);
	END IF;
END
$$;

-- Those who were not heard of for ttl_s go offline, at most 1,000 at once; how many.
CREATE FUNCTION presence_expire(p_ttl_s integer, p_channels text[]) RETURNS integer
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	changed user_presence[];
BEGIN
	WITH due AS (
		SELECT p.app, p.user_id FROM user_presence p
		WHERE p.status <> 'offline' AND p.last_seen_at < now() - p_ttl_s * interval '1 s'
		ORDER BY p.app, p.user_id LIMIT 1000 FOR UPDATE SKIP LOCKED
	), up AS (
		UPDATE user_presence u SET status = 'offline', previous_status = u.status,
			changed_at = now(), heartbeat_at = NULL
		FROM due WHERE u.app = due.app AND u.user_id = due.user_id
		RETURNING u
	)
	SELECT array_agg(u) INTO changed FROM up;
	IF changed IS NULL THEN
		RETURN 0;
	END IF;
	PERFORM presence_tell(changed, p_channels);
	RETURN cardinality(changed);
END
$$;

-- The condition on user_presence p for a list: $1 app, $2 status, $3 location, $4 deadline.  A text
-- of its own for each kind of question, so that the partial index and the order of its key are
-- used; without status it is all who are not offline.
CREATE FUNCTION presence_where(p_status text, p_location text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'p.app = $1'
	       || CASE WHEN p_status = 'offline' THEN ' AND (p.status = $2 OR p.last_seen_at < $4)'
		       ELSE ' AND p.status <> ''offline'' AND p.last_seen_at >= $4' END
	       || CASE WHEN p_status <> 'offline' THEN ' AND p.status = $2' ELSE '' END
	       || CASE WHEN p_location IS NOT NULL THEN ' AND p.location = $3' ELSE '' END
$$;

CREATE FUNCTION presence_json(p_row user_presence, p_deadline timestamptz) RETURNS json
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
	SELECT json_build_object('user_id', p_row.user_id, 'name', u.name, 'avatar', u.avatar,
		'status', presence_status(p_row.status, p_row.last_seen_at, p_deadline),
		'location', p_row.location, 'info', p_row.info, 'last_seen_at', iso(p_row.last_seen_at))
	FROM (VALUES (1)) AS one LEFT JOIN users u ON u.app = p_row.app AND u.id = p_row.user_id
$$;

-- A page in the order of the ids; its cursors are {after, id} and {before, id}.
CREATE FUNCTION sync_online_users(p_app text, p_caller jsonb, p_user_status text, p_location text,
				  p_page_size integer, p_page_at text, p_ttl_s integer,
				  p_channels text[], OUT status integer, OUT body json)
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	deadline CONSTANT timestamptz := now() - p_ttl_s * interval '1 s';
	place CONSTANT text[] := cursor_read(p_page_at, 2, 'cursor');
	is_back boolean := false;
	edge bigint := 0;
	page user_presence[];
	has_more boolean;
	ids bigint[];
	matching bigint;
BEGIN
	PERFORM require_any_channel(p_app, p_caller, p_channels);
	IF place IS NOT NULL THEN
		IF coalesce(place[1] NOT IN ('after', 'before') OR place[2] !~ '^[0-9]{1,18}$',
			    true) THEN
			PERFORM sync_fail(400, 'invalid_cursor', 'The cursor is not one that was '
				'given out; start again without it.', 'cursor');
		END IF;
		is_back := place[1] = 'before';
		edge := place[2]::bigint;
	END IF;
	EXECUTE format('SELECT ARRAY(SELECT p FROM user_presence p WHERE %s AND p.user_id %s $5
				     ORDER BY p.user_id %s LIMIT $6 + 1),
			       (SELECT count(*) FROM user_presence p WHERE %1$s)',
		       presence_where(p_user_status, p_location),
		       CASE WHEN is_back THEN '<' ELSE '>' END,
		       CASE WHEN is_back THEN 'DESC' ELSE 'ASC' END)
	INTO page, matching USING p_app, p_user_status, p_location, deadline, edge, p_page_size;
	has_more := cardinality(page) > p_page_size;
	page := page[:p_page_size];
	ids := ARRAY(SELECT p.user_id FROM unnest(page) AS p ORDER BY 1);
	status := 200;
	body := json_build_object(
		'users', coalesce((SELECT json_agg(presence_json(p, deadline) ORDER BY p.user_id)
				   FROM unnest(page) AS p), '[]'),
		'count', matching,
		'next_cursor', CASE WHEN is_back OR has_more
				    THEN cursor_make('after', ids[cardinality(ids)]::text) END,
		'prev_cursor', CASE WHEN CASE WHEN is_back THEN has_more ELSE place IS NOT NULL END
				    THEN cursor_make('before', ids[1]::text) END);
END
$$;

REVOKE EXECUTE ON FUNCTION presence_tell(user_presence[], text[]),
	presence_beat(json, json, json, integer, text[]), presence_expire(integer, text[])
	FROM PUBLIC;
