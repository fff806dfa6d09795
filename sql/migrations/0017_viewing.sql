-- SPDX-License-Identifier: MIT
-- Who views or edits what.  A row is a tab: a user's socket, or '' for a user without one.

CREATE TABLE viewers (
	app text NOT NULL,
	resource_type text NOT NULL,
	resource_id text NOT NULL,
	user_id bigint NOT NULL CHECK (user_id > 0),
	tab text NOT NULL,
	mode text NOT NULL CHECK (mode IN ('viewing', 'editing')),
	name text,	-- and avatar: as the user's token has them
	avatar text,
	since timestamptz NOT NULL,
	expires_at timestamptz NOT NULL,
	PRIMARY KEY (app, resource_type, resource_id, user_id, tab)
) WITH (fillfactor = 70);
CREATE INDEX viewers_expires_at ON viewers (expires_at);
CREATE INDEX viewers_tab ON viewers (tab) WHERE tab <> '';

-- Where changes are told, by type of resource; '*' is every type without a row of its own.
CREATE TABLE viewing_channels (
	resource_type text PRIMARY KEY,
	templates text[] NOT NULL	-- with {type} and {id}
);
INSERT INTO viewing_channels VALUES
	('*', '{"private-{type}.{id}"}'),
	('client', '{"private-{type}.{id}","presence-{type}.{id}"}'),
	('document', '{"private-{type}.{id}","presence-{type}.{id}"}'),
	('project', '{"private-{type}.{id}","presence-{type}.{id}"}');

CREATE FUNCTION viewing_channels_of(resource_type text, resource_id text) RETURNS text[]
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT ARRAY(SELECT replace(replace(t, '{type}', $1), '{id}', $2)
		     FROM unnest(c.templates) AS t)
	FROM viewing_channels c WHERE c.resource_type IN ($1, '*')
	ORDER BY c.resource_type = '*' LIMIT 1
$$;

-- Refuses what cannot be part of a channel's name, and users that may join no channel of it.
CREATE FUNCTION viewing_require(app text, caller jsonb, resource_type text, resource_id text)
RETURNS void
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	channels text[] := viewing_channels_of(resource_type, resource_id);
BEGIN
	IF resource_type COLLATE "C" !~ '^[-a-zA-Z0-9_=@,;]{1,64}$' THEN
		PERFORM sync_fail(400, 'invalid_value', 'resource_type must be 1 to 64 letters, '
				  'digits and _-=@,; without a dot.', 'resource_type');
	END IF;
	IF resource_id COLLATE "C" !~ '^[-a-zA-Z0-9_=@,.;]{1,64}$' THEN
		PERFORM sync_fail(400, 'invalid_value', 'resource_id must be 1 to 64 letters, '
				  'digits and _-=@,.; characters.', 'resource_id');
	END IF;
	PERFORM require_any_channel(app, caller, channels, 'resource_id');
END
$$;

-- The tab of a socket; refuses what no socket here can be called.
CREATE FUNCTION viewing_tab(socket_id text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	IF socket_id COLLATE "C" !~ '^[0-9]{1,10}\.[0-9]{1,10}$' THEN
		PERFORM sync_fail(400, 'invalid_value',
				  'socket_id must be a socket id, as in "123.456".', 'socket_id');
	END IF;
	RETURN coalesce(socket_id, '');
END
$$;

CREATE FUNCTION viewing_hash(app text, resource_type text, resource_id text) RETURNS integer
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT hashtext(json_build_array(app, resource_type, resource_id)::text)
$$;

-- One change of a resource at a time, so that each tells what the one before left.
CREATE FUNCTION viewing_lock(app text, resource_type text, resource_id text) RETURNS void
LANGUAGE sql SET search_path = @SCHEMA@, pg_temp
AS $$
	SELECT pg_advisory_xact_lock(7784, viewing_hash(app, resource_type, resource_id))
$$;

-- What a change is held against: users and modes, of expired tabs too as long as nobody was told.
CREATE FUNCTION viewing_state(app text, resource_type text, resource_id text) RETURNS text
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT string_agg(x.user_id || x.mode, ' ' ORDER BY x.user_id)
	FROM (SELECT v.user_id, min(v.mode) AS mode FROM viewers v
	      WHERE v.app = $1 AND v.resource_type = $2 AND v.resource_id = $3 GROUP BY 1) x
$$;

-- The viewers at a time, each user once, who came first first; at most that many of them.
CREATE FUNCTION viewing_list(app text, resource_type text, resource_id text, at timestamptz,
			     most integer) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT jsonb_build_object('resource_type', $2, 'resource_id', $3, 'count', count(*),
		'truncated', count(*) > most,
		'viewers', coalesce(jsonb_agg(jsonb_build_object('user_id', x.user_id,
			'name', coalesce(x.name, u.name), 'avatar', coalesce(x.avatar, u.avatar),
			'mode', x.mode, 'tabs', x.tabs, 'since', iso(x.since),
			'expires_at', iso(x.expires_at)) ORDER BY x.place)
			FILTER (WHERE x.place <= most), '[]'))
	FROM (SELECT v.user_id, min(v.mode) AS mode, count(*) AS tabs, min(v.since) AS since,
		     max(v.expires_at) AS expires_at, max(v.name) AS name, max(v.avatar) AS avatar,
		     row_number() OVER (ORDER BY min(v.since), v.user_id) AS place
	      FROM viewers v
	      WHERE v.app = $1 AND v.resource_type = $2 AND v.resource_id = $3 AND v.expires_at > at
	      GROUP BY v.user_id) x
	LEFT JOIN users u ON u.app = $1 AND u.id = x.user_id
$$;

-- Broadcasts the list, as much of it as the application's limit takes.  Never fails over limits.
CREATE FUNCTION viewing_tell(app text, resource_type text, resource_id text, at timestamptz)
RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	limits log_apps;
	list json;
	most integer := 100;
BEGIN
	SELECT a.* INTO limits FROM log_apps a WHERE a.app = $1;
	LOOP
		list := viewing_list($1, $2, $3, at, most)::json;
		EXIT WHEN limits.max_payload_bytes = 0
			  OR octet_length(list::text) <= limits.max_payload_bytes;
		IF limits.app IS NULL OR most = 0 THEN
			RETURN;
		END IF;
		most := most / 2;
	END LOOP;
	INSERT INTO realtime_events (channel, event_type, payload, app)
	SELECT c.channel, sync_event('ViewersChanged'), list, $1
	FROM unnest(viewing_channels_of($2, $3)) AS c(channel)
	WHERE limits.max_channel_bytes = 0 OR octet_length(c.channel) <= limits.max_channel_bytes;
END
$$;

-- Takes expired tabs of a resource out, and those of the sockets; tells when that changes the list
-- against was.  The resource is locked.
CREATE FUNCTION viewing_settle(app text, resource_type text, resource_id text, was text,
			       sockets text[], at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	DELETE FROM viewers v
	WHERE v.app = $1 AND v.resource_type = $2 AND v.resource_id = $3
	AND (v.expires_at <= at OR v.tab = ANY (sockets));
	IF viewing_state($1, $2, $3) IS DISTINCT FROM was THEN
		PERFORM viewing_tell($1, $2, $3, at);
	END IF;
END
$$;

CREATE FUNCTION sync_start_viewing(app text, caller jsonb, resource_type text, resource_id text,
				   user_id bigint, mode text, socket_id text, ttl integer,
				   OUT status integer, OUT body json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	this_tab CONSTANT text := viewing_tab(socket_id);
	was text;
	at timestamptz;
BEGIN
	PERFORM viewing_require($1, caller, $3, $4);
	PERFORM viewing_lock($1, $3, $4);
	at := clock_timestamp();
	was := viewing_state($1, $3, $4);
	INSERT INTO viewers AS v (app, resource_type, resource_id, user_id, tab, mode, name, avatar,
				  since, expires_at)
	VALUES ($1, $3, $4, $5, this_tab, $6, caller->>'name', caller->>'avatar', at,
		at + ttl * interval '1 s')
	ON CONFLICT ON CONSTRAINT viewers_pkey DO UPDATE
	SET mode = excluded.mode, name = coalesce(excluded.name, v.name),
	    avatar = coalesce(excluded.avatar, v.avatar), expires_at = excluded.expires_at,
	    since = CASE WHEN v.expires_at > at THEN v.since ELSE at END;
	-- A user has so many tabs at most; beyond, those that expire first go.
	DELETE FROM viewers v
	WHERE v.app = $1 AND v.resource_type = $3 AND v.resource_id = $4 AND v.user_id = $5
	AND v.tab IN (SELECT o.tab FROM viewers o
		      WHERE o.app = $1 AND o.resource_type = $3 AND o.resource_id = $4
		      AND o.user_id = $5
		      ORDER BY o.tab = this_tab DESC, o.expires_at DESC OFFSET 20);
	PERFORM viewing_settle($1, $3, $4, was, NULL, at);
	status := 200;
	body := viewing_list($1, $3, $4, at, 100)
		|| jsonb_build_object('ttl', ttl, 'expires_at', iso(at + ttl * interval '1 s'));
END
$$;

-- Without a socket's id: all tabs of the user.
CREATE FUNCTION sync_stop_viewing(app text, caller jsonb, resource_type text, resource_id text,
				  user_id bigint, socket_id text, OUT status integer, OUT body json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	this_tab CONSTANT text := viewing_tab(socket_id);
	was text;
	stopped boolean;
BEGIN
	PERFORM viewing_lock($1, $3, $4);
	was := viewing_state($1, $3, $4);
	DELETE FROM viewers v
	WHERE v.app = $1 AND v.resource_type = $3 AND v.resource_id = $4 AND v.user_id = $5
	AND ($6 IS NULL OR v.tab = this_tab);
	stopped := FOUND;
	PERFORM viewing_settle($1, $3, $4, was, NULL, clock_timestamp());
	status := 200;
	body := json_build_object('resource_type', $3, 'resource_id', $4, 'user_id', $5,
				  'stopped', stopped);
END
$$;

CREATE FUNCTION sync_viewers(app text, caller jsonb, resource_type text, resource_id text,
			     most integer, OUT status integer, OUT body json)
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	PERFORM viewing_require($1, caller, $3, $4);
	status := 200;
	body := viewing_list($1, $3, $4, clock_timestamp(), most);
END
$$;

-- Tabs that expired, and those of sockets that are gone: of at most 500 resources, how many it was.
CREATE FUNCTION viewing_sweep(sockets text[]) RETURNS integer
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	r record;
	n integer := 0;
BEGIN
	FOR r IN
		SELECT x.app, x.resource_type, x.resource_id FROM (
			SELECT v.app, v.resource_type, v.resource_id FROM viewers v
			WHERE v.tab <> '' AND v.tab = ANY (sockets)
			UNION
			SELECT v.app, v.resource_type, v.resource_id FROM viewers v
			WHERE v.expires_at <= now()) x
		-- Always in this order: two of these never wait for each other in a ring.
		ORDER BY viewing_hash(x.app, x.resource_type, x.resource_id) LIMIT 500
	LOOP
		PERFORM viewing_lock(r.app, r.resource_type, r.resource_id);
		PERFORM viewing_settle(r.app, r.resource_type, r.resource_id,
				       viewing_state(r.app, r.resource_type, r.resource_id),
				       sockets, clock_timestamp());
		n := n + 1;
	END LOOP;
	RETURN n;
END
$$;

REVOKE EXECUTE ON FUNCTION viewing_lock(text, text, text),
	viewing_tell(text, text, text, timestamptz),
	viewing_settle(text, text, text, text, text[], timestamptz),
	sync_start_viewing(text, jsonb, text, text, bigint, text, text, integer),
	sync_stop_viewing(text, jsonb, text, text, bigint, text), viewing_sweep(text[])
	FROM PUBLIC;
