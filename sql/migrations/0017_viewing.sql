-- SPDX-License-Identifier: MIT
-- Who views or edits what.  A row is a tab: a user's socket, or '' for a user without one.

CREATE TABLE viewers (
	app text NOT NULL,
	resource_type text NOT NULL,
	resource_id text NOT NULL,
	user_id user_key NOT NULL,
	tab text NOT NULL,
	mode text NOT NULL CHECK (mode IN ('viewing', 'editing')),
	name text,
	avatar text,
	since timestamptz NOT NULL,
	expires_at timestamptz NOT NULL,
	PRIMARY KEY (app, resource_type, resource_id, user_id, tab)
) WITH (fillfactor = 70);
COMMENT ON TABLE viewers IS
	'Who views or edits which resource. A row is a tab: a user''s socket, or an empty text '
	'for a user without a socket.';
COMMENT ON COLUMN viewers.tab IS
	'Socket id, or an empty text.';
COMMENT ON COLUMN viewers.name IS
	'Name in the user''s token.';
COMMENT ON COLUMN viewers.avatar IS
	'Avatar in the user''s token.';
CREATE INDEX viewers_expires_at ON viewers (expires_at);
CREATE INDEX viewers_user ON viewers (app, user_id);
CREATE INDEX viewers_tab ON viewers (tab) WHERE tab <> '';

CREATE TABLE viewing_channels (
	resource_type text PRIMARY KEY,
	templates text[] NOT NULL
);
COMMENT ON TABLE viewing_channels IS
	'Channels to which changes of viewers are broadcast, by type of resource. ''*'' is for '
	'all types without a row.';
COMMENT ON COLUMN viewing_channels.templates IS
	'Names of channels with {type} and {id}.';
INSERT INTO viewing_channels VALUES
	('*', '{"private-{type}.{id}"}'),
	('client', '{"private-{type}.{id}","presence-{type}.{id}"}'),
	('document', '{"private-{type}.{id}","presence-{type}.{id}"}'),
	('project', '{"private-{type}.{id}","presence-{type}.{id}"}');

CREATE FUNCTION viewing_channels_of(p_resource_type text, p_resource_id text) RETURNS text[]
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT ARRAY(SELECT replace(replace(t, '{type}', p_resource_type), '{id}', p_resource_id)
		     FROM unnest(c.templates) AS t)
	FROM viewing_channels c WHERE c.resource_type IN (p_resource_type, '*')
	ORDER BY c.resource_type = '*' LIMIT 1
$$;
COMMENT ON FUNCTION viewing_channels_of IS
	'The channels of a resource.';

-- private-cache-x.1 and private-encrypted-x.1 are channels of another kind.
CREATE FUNCTION viewing_type_is_valid(p_resource_type text) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN p_resource_type COLLATE "C" ~ '^[-a-zA-Z0-9_=@,;]{1,64}$' AND p_resource_type !~ '^(encrypted|cache)-';
COMMENT ON FUNCTION viewing_type_is_valid IS
	'Whether a resource type can be part of a channel''s name and does not make it a channel of another kind.';

CREATE FUNCTION viewing_id_is_valid(p_resource_id text) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN p_resource_id COLLATE "C" ~ '^[-a-zA-Z0-9_=@,.;]{1,64}$';
COMMENT ON FUNCTION viewing_id_is_valid IS
	'Whether a resource id can be part of a channel''s name.';

CREATE FUNCTION viewing_require(p_app text, p_caller jsonb, p_resource_type text,
				p_resource_id text)
RETURNS void
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	channels text[] := viewing_channels_of(p_resource_type, p_resource_id);
BEGIN
	IF NOT viewing_type_is_valid(p_resource_type) THEN
		PERFORM sync_fail(400, 'invalid_value', 'resource_type must be 1 to 64 letters, '
				  'digits and _-=@,; without a dot, and not start with encrypted- or cache-.',
				  'resource_type');
	END IF;
	IF NOT viewing_id_is_valid(p_resource_id) THEN
		PERFORM sync_fail(400, 'invalid_value', 'resource_id must be 1 to 64 letters, '
				  'digits and _-=@,.; characters.', 'resource_id');
	END IF;
	PERFORM require_any_channel(p_app, p_caller, channels, 'resource_id');
END
$$;
COMMENT ON FUNCTION viewing_require IS
	'Refuses a resource that cannot be part of a channel''s name, and users who may join '
	'none of its channels.';

CREATE FUNCTION viewing_tab(p_socket_id text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	IF p_socket_id COLLATE "C" !~ '^(0|[1-9][0-9]{0,9})\.(0|[1-9][0-9]{0,9})$' THEN
		PERFORM sync_fail(400, 'invalid_value',
				  'socket_id must be a socket id, as in "123.456".', 'socket_id');
	END IF;
	RETURN coalesce(p_socket_id, '');
END
$$;
COMMENT ON FUNCTION viewing_tab IS
	'The tab of a socket; refuses a text that is not a socket id.';

CREATE FUNCTION viewing_hash(p_app text, p_resource_type text, p_resource_id text) RETURNS integer
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT hashtext(json_build_array(p_app, p_resource_type, p_resource_id)::text)
$$;
COMMENT ON FUNCTION viewing_hash IS
	'The hash of a resource for the advisory lock "viewing".';

CREATE FUNCTION viewing_lock(p_app text, p_resource_type text, p_resource_id text) RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp
AS $$
BEGIN
	PERFORM pg_advisory_xact_lock(lock_key('viewing'),
				      viewing_hash(p_app, p_resource_type, p_resource_id));
END
$$;
COMMENT ON FUNCTION viewing_lock IS
	'Takes the advisory lock "viewing" of a resource until the end of the transaction: one '
	'change of its viewers at a time.';

CREATE FUNCTION viewing_state(p_app text, p_resource_type text, p_resource_id text) RETURNS text
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT string_agg(x.user_id::text || x.mode, ' ' ORDER BY x.user_id)
	FROM (SELECT v.user_id, min(v.mode) AS mode FROM viewers v
	      WHERE v.app = p_app AND v.resource_type = p_resource_type
	      AND v.resource_id = p_resource_id GROUP BY 1) x
$$;
COMMENT ON FUNCTION viewing_state IS
	'Users and modes of a resource, to compare before and after a change. Expired tabs '
	'count until their removal is broadcast.';

CREATE FUNCTION viewing_slice(p_app text, p_resource_type text, p_resource_id text, p_at timestamptz,
			      p_most integer, p_since timestamptz, p_user_id user_key,
			      OUT list jsonb, OUT last_since timestamptz, OUT last_user_id user_key)
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	WITH every AS (
		SELECT v.user_id, min(v.mode) AS mode, count(*) AS tabs, min(v.since) AS since,
		       max(v.expires_at) AS expires_at, max(v.name) AS name, max(v.avatar) AS avatar
		FROM viewers v
		WHERE v.app = p_app AND v.resource_type = p_resource_type
		AND v.resource_id = p_resource_id AND v.expires_at > p_at
		GROUP BY v.user_id
	), rest AS (
		SELECT e.*, row_number() OVER (ORDER BY e.since, e.user_id) AS place FROM every e
		WHERE p_since IS NULL OR (e.since, e.user_id) > (p_since, p_user_id)
	)
	SELECT jsonb_build_object('resource_type', p_resource_type, 'resource_id', p_resource_id,
		'count', (SELECT count(*) FROM every), 'truncated', count(*) > p_most,
		'viewers', coalesce(jsonb_agg(jsonb_build_object('user_id', x.user_id,
			'name', coalesce(x.name, u.name), 'avatar', coalesce(x.avatar, u.avatar),
			'mode', x.mode, 'tabs', x.tabs, 'since', iso(x.since),
			'expires_at', iso(x.expires_at)) ORDER BY x.place)
			FILTER (WHERE x.place <= p_most), '[]')),
		max(x.since) FILTER (WHERE x.place = p_most AND p_most < x.total),
		max(x.user_id) FILTER (WHERE x.place = p_most AND p_most < x.total)::user_key
	FROM (SELECT r.*, count(*) OVER () AS total FROM rest r) x
	LEFT JOIN users u ON u.app = p_app AND u.id = x.user_id
$$;
COMMENT ON FUNCTION viewing_slice IS
	'The viewers of a resource at a time, each user once, the earliest first: at most p_most of those '
	'after p_since and p_user_id. The last two are those of the last viewer, if there are more.';

CREATE FUNCTION viewing_list(p_app text, p_resource_type text, p_resource_id text,
			     p_at timestamptz, p_most integer) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT s.list FROM viewing_slice(p_app, p_resource_type, p_resource_id, p_at, p_most, NULL, NULL) s
$$;
COMMENT ON FUNCTION viewing_list IS
	'The first p_most viewers of a resource at a time.';

CREATE FUNCTION viewing_of_one(p_app text, p_resource_type text, p_resource_id text, p_most integer,
			       p_cursor text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	scope CONSTANT json := json_build_array('viewers', p_app, p_resource_type, p_resource_id);
	after CONSTANT text[] := cursor_read(scope, p_cursor, 2);
	page record;
BEGIN
	SELECT * INTO page FROM viewing_slice(p_app, p_resource_type, p_resource_id, clock_timestamp(), p_most,
					      after[1]::timestamptz, after[2]::user_key);
	RETURN page.list || jsonb_build_object('next_cursor', CASE WHEN page.last_since IS NOT NULL
		THEN cursor_make(scope, (page.last_since AT TIME ZONE 'UTC') || 'Z', page.last_user_id::text) END);
END
$$;
COMMENT ON FUNCTION viewing_of_one IS
	'A page of the viewers of a resource.';

CREATE FUNCTION viewing_broadcast(p_app text, p_resource_type text, p_resource_id text,
			     p_at timestamptz)
RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	limits log_apps;
	list json;
	most integer := 100;
BEGIN
	SELECT a.* INTO limits FROM log_apps a WHERE a.app = p_app;
	LOOP
		list := viewing_list(p_app, p_resource_type, p_resource_id, p_at, most)::json;
		EXIT WHEN limits.max_payload_bytes = 0
			  OR octet_length(list::text) <= limits.max_payload_bytes;
		IF limits.app IS NULL OR most = 0 THEN
			RETURN;
		END IF;
		most := most / 2;
	END LOOP;
	INSERT INTO realtime_events (channel, event_type, payload, app)
	SELECT c.channel, sync_event('ViewersChanged'), list, p_app
	FROM unnest(viewing_channels_of(p_resource_type, p_resource_id)) AS c(channel)
	WHERE limits.max_channel_bytes = 0 OR octet_length(c.channel) <= limits.max_channel_bytes;
END
$$;
COMMENT ON FUNCTION viewing_broadcast IS
	'Broadcasts the viewers of a resource, as many of them as fit the application''s limit.';

CREATE FUNCTION viewing_settle(p_app text, p_resource_type text, p_resource_id text, p_was text,
			       p_sockets text[], p_at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	DELETE FROM viewers v
	WHERE v.app = p_app AND v.resource_type = p_resource_type AND v.resource_id = p_resource_id
	AND (v.expires_at <= p_at OR v.tab = ANY (p_sockets));
	IF viewing_state(p_app, p_resource_type, p_resource_id) IS DISTINCT FROM p_was THEN
		PERFORM viewing_broadcast(p_app, p_resource_type, p_resource_id, p_at);
	END IF;
END
$$;
COMMENT ON FUNCTION viewing_settle IS
	'Removes the expired tabs of a resource and those of the sockets, and broadcasts the '
	'list if it differs from p_was. The caller holds the lock of the resource.';

CREATE FUNCTION sync_start_viewing(p_app text, p_caller jsonb, p_resource_type text,
				   p_resource_id text, p_user_id user_key, p_mode text,
				   p_socket_id text, p_ttl integer, OUT status integer,
				   OUT body json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	this_tab CONSTANT text := viewing_tab(p_socket_id);
	was text;
	at timestamptz;
BEGIN
	PERFORM viewing_require(p_app, p_caller, p_resource_type, p_resource_id);
	IF (SELECT count(*) = 200 FROM (SELECT FROM viewers v
	    WHERE v.app = p_app AND v.user_id = p_user_id
	    AND (v.resource_type, v.resource_id) <> (p_resource_type, p_resource_id) LIMIT 200) x) THEN
		PERFORM sync_fail(429, 'too_many_viewed', 'A user may view 200 resources at a time, in '
				  'all tabs together: stop viewing one.', 'resource_id');
	END IF;
	PERFORM viewing_lock(p_app, p_resource_type, p_resource_id);
	at := clock_timestamp();
	was := viewing_state(p_app, p_resource_type, p_resource_id);
	INSERT INTO viewers AS v (app, resource_type, resource_id, user_id, tab, mode, name, avatar,
				  since, expires_at)
	VALUES (p_app, p_resource_type, p_resource_id, p_user_id, this_tab, p_mode,
		p_caller->>'name', p_caller->>'avatar', at, at + p_ttl * interval '1 s')
	ON CONFLICT ON CONSTRAINT viewers_pkey DO UPDATE
	SET mode = excluded.mode, name = coalesce(excluded.name, v.name),
	    avatar = coalesce(excluded.avatar, v.avatar), expires_at = excluded.expires_at,
	    since = CASE WHEN v.expires_at > at THEN v.since ELSE at END;
	-- A user has so many tabs at most; beyond, those that expire first go.
	DELETE FROM viewers v
	WHERE v.app = p_app AND v.resource_type = p_resource_type
	AND v.resource_id = p_resource_id AND v.user_id = p_user_id
	AND v.tab IN (SELECT o.tab FROM viewers o
		      WHERE o.app = p_app AND o.resource_type = p_resource_type
		      AND o.resource_id = p_resource_id AND o.user_id = p_user_id
		      ORDER BY o.tab = this_tab DESC, o.expires_at DESC OFFSET 20);
	PERFORM viewing_settle(p_app, p_resource_type, p_resource_id, was, NULL, at);
	status := 200;
	body := viewing_list(p_app, p_resource_type, p_resource_id, at, 100)
		|| jsonb_build_object('ttl', p_ttl, 'expires_at', iso(at + p_ttl * interval '1 s'));
END
$$;
COMMENT ON FUNCTION sync_start_viewing IS
	'POST /start-viewing.';

CREATE FUNCTION sync_stop_viewing(p_app text, p_caller jsonb, p_resource_type text,
				  p_resource_id text, p_user_id user_key, p_socket_id text,
				  OUT status integer, OUT body json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	this_tab CONSTANT text := viewing_tab(p_socket_id);
	was text;
	stopped boolean;
BEGIN
	PERFORM viewing_lock(p_app, p_resource_type, p_resource_id);
	was := viewing_state(p_app, p_resource_type, p_resource_id);
	DELETE FROM viewers v
	WHERE v.app = p_app AND v.resource_type = p_resource_type
	AND v.resource_id = p_resource_id AND v.user_id = p_user_id
	AND (p_socket_id IS NULL OR v.tab = this_tab);
	stopped := FOUND;
	PERFORM viewing_settle(p_app, p_resource_type, p_resource_id, was, NULL, clock_timestamp());
	status := 200;
	body := json_build_object('resource_type', p_resource_type, 'resource_id', p_resource_id,
				  'user_id', p_user_id, 'stopped', stopped);
END
$$;
COMMENT ON FUNCTION sync_stop_viewing IS
	'POST /stop-viewing. Without a socket id: all tabs of the user.';

CREATE FUNCTION viewing_read(p_resources jsonb) RETURNS TABLE (at bigint, resource_type text, resource_id text)
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp
AS $$
BEGIN
	IF EXISTS (SELECT FROM jsonb_array_elements_text(p_resources) v
		   WHERE v !~ '^[^:]*:[^:]*$' OR NOT viewing_type_is_valid(split_part(v, ':', 1))
		   OR NOT viewing_id_is_valid(split_part(v, ':', 2))) THEN
		PERFORM sync_fail(400, 'invalid_value', 'resources must be a list of type:id, as in '
				  '"invoice:7,invoice:8".', 'resources');
	ELSIF (SELECT count(DISTINCT v) < count(*) FROM jsonb_array_elements_text(p_resources) v) THEN
		PERFORM sync_fail(400, 'invalid_value', 'resources has a resource twice.', 'resources');
	END IF;
	RETURN QUERY SELECT e.at, split_part(e.value, ':', 1), split_part(e.value, ':', 2)
	FROM jsonb_array_elements_text(p_resources) WITH ORDINALITY AS e(value, at);
END
$$;
COMMENT ON FUNCTION viewing_read IS
	'The resources in a list of type:id, in their order; refuses another text.';

CREATE FUNCTION viewing_known(p_app text, p_caller jsonb, p_channels text[], OUT is_shown boolean,
			      OUT unasked text[])
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	one text;
BEGIN
	is_shown := caller_is_server(p_caller);
	unasked := '{}';
	FOREACH one IN ARRAY p_channels LOOP
		EXIT WHEN is_shown;
		is_shown := channel_known(p_app, p_caller, one);
		IF is_shown IS NULL THEN
			unasked := array_append(unasked, one);
		END IF;
	END LOOP;
	is_shown := coalesce(is_shown, false);
	IF is_shown THEN
		unasked := '{}';
	END IF;
END
$$;
COMMENT ON FUNCTION viewing_known IS
	'Whether the caller may join one of the channels of a resource, and those of which the daemon '
	'has to evaluate the predicates first.';

CREATE FUNCTION viewing_of_many(p_app text, p_caller jsonb, p_resources jsonb, p_most integer) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	-- An answer has at most 1,000 viewers, however many resources.
	most CONSTANT integer := least(p_most, 1000 / greatest(jsonb_array_length(p_resources), 1));
	r record;
	known record;
	found jsonb[] := '{}';
	unasked text[] := '{}';
BEGIN
	FOR r IN SELECT * FROM viewing_read(p_resources) ORDER BY at LOOP
		known := viewing_known(p_app, p_caller, viewing_channels_of(r.resource_type, r.resource_id));
		unasked := unasked || known.unasked;
		found := array_append(found, CASE WHEN known.is_shown
			THEN viewing_list(p_app, r.resource_type, r.resource_id, clock_timestamp(), most)
			ELSE jsonb_build_object('resource_type', r.resource_type, 'resource_id', r.resource_id,
				'error', jsonb_build_object('code', 'channel_forbidden', 'message',
					'No rule lets this user join a channel of this resource.')) END);
	END LOOP;
	PERFORM require_evaluated(unasked);
	RETURN json_build_object('resources', array_to_json(found), 'next_cursor', NULL);
END
$$;
COMMENT ON FUNCTION viewing_of_many IS
	'The viewers of several resources, in their order; those that the caller may not see have an error.';

CREATE FUNCTION viewing_of_all(p_app text, p_most integer, p_cursor text) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	page_size CONSTANT integer := 100;
	scope CONSTANT json := json_build_array('viewers', p_app);
	after CONSTANT text[] := coalesce(cursor_read(scope, p_cursor, 2), '{"",""}');
	types text[];
	ids text[];
	found json;
BEGIN
	SELECT array_agg(x.resource_type ORDER BY x.resource_type, x.resource_id),
	       array_agg(x.resource_id ORDER BY x.resource_type, x.resource_id)
	INTO types, ids FROM (
		SELECT DISTINCT v.resource_type, v.resource_id FROM viewers v
		WHERE v.app = p_app AND v.expires_at > clock_timestamp()
		AND (v.resource_type, v.resource_id) > (after[1], after[2])
		ORDER BY v.resource_type, v.resource_id LIMIT page_size + 1) x;
	SELECT json_agg(viewing_list(p_app, r.type, r.id, clock_timestamp(), least(p_most, 10)) ORDER BY r.at)
	INTO found FROM unnest(types[:page_size], ids[:page_size]) WITH ORDINALITY AS r(type, id, at);
	RETURN json_build_object('resources', coalesce(found, '[]'), 'next_cursor',
		CASE WHEN cardinality(types) > page_size
		     THEN cursor_make(scope, types[page_size], ids[page_size]) END);
END
$$;
COMMENT ON FUNCTION viewing_of_all IS
	'A page of all resources that have viewers, 100 of them, in the order of type and id.';

CREATE FUNCTION viewing_of_user(p_app text, p_caller jsonb, p_user_id user_key) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	IF NOT caller_is_server(p_caller) AND caller_id(p_caller) IS DISTINCT FROM p_user_id THEN
		PERFORM sync_fail(403, 'forbidden', 'Only the application''s server may query what another '
				  'user views.', 'user_id');
	END IF;
	-- A user views 200 resources at most.
	RETURN json_build_object('user_id', p_user_id, 'viewing', coalesce((
		SELECT json_agg(json_build_object('resource_type', x.resource_type,
			'resource_id', x.resource_id, 'mode', x.mode, 'tabs', x.tabs, 'since', iso(x.since),
			'expires_at', iso(x.expires_at)) ORDER BY x.since, x.resource_type, x.resource_id)
		FROM (SELECT v.resource_type, v.resource_id, min(v.mode) AS mode, count(*) AS tabs,
			     min(v.since) AS since, max(v.expires_at) AS expires_at
		      FROM viewers v WHERE v.app = p_app AND v.user_id = p_user_id
		      AND v.expires_at > clock_timestamp() GROUP BY 1, 2) x), '[]'));
END
$$;
COMMENT ON FUNCTION viewing_of_user IS
	'What a user views, the earliest first.';

CREATE FUNCTION sync_viewers(p_app text, p_caller jsonb, p_resource_type text, p_resource_id text,
			     p_resources jsonb, p_user_id user_key, p_most integer, p_cursor text,
			     OUT status integer, OUT body json)
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	status := 200;
	IF (p_resource_type IS NULL) <> (p_resource_id IS NULL) THEN
		PERFORM sync_fail(400, 'missing_field', 'resource_type and resource_id belong together.',
				  CASE WHEN p_resource_id IS NULL THEN 'resource_id' ELSE 'resource_type' END);
	ELSIF num_nonnulls(p_resource_type, p_resources, p_user_id) > 1 THEN
		PERFORM sync_fail(400, 'invalid_value', 'Give one of resource_type with resource_id, '
				  'resources, and user_id.', 'resources');
	ELSIF p_resource_type IS NOT NULL THEN
		PERFORM viewing_require(p_app, p_caller, p_resource_type, p_resource_id);
		body := viewing_of_one(p_app, p_resource_type, p_resource_id, p_most, p_cursor);
	ELSIF p_resources IS NOT NULL THEN
		body := viewing_of_many(p_app, p_caller, p_resources, p_most);
	ELSIF p_user_id IS NOT NULL THEN
		body := viewing_of_user(p_app, p_caller, p_user_id);
	ELSIF caller_is_server(p_caller) THEN
		body := viewing_of_all(p_app, p_most, p_cursor);
	ELSE
		PERFORM sync_fail(400, 'missing_field', 'Give resource_type with resource_id, or resources, '
				  'or user_id.', 'resource_type');
	END IF;
END
$$;
COMMENT ON FUNCTION sync_viewers IS
	'GET /viewers: those of a resource, of several, what a user views, or all.';

CREATE FUNCTION sweep_until() RETURNS timestamptz
LANGUAGE sql SET search_path = @SCHEMA@, pg_temp
AS $$
	SELECT clock_timestamp()
	       + coalesce(nullif(current_setting('statement_timeout')::interval, '0'), '5 s') / 8
$$;
COMMENT ON FUNCTION sweep_until IS
	'When a part of a sweep has to end: a statement that exceeds its time is undone, and would be undone again '
	'and again where the database is slow.';

CREATE FUNCTION viewing_sweep(p_sockets text[]) RETURNS integer
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	until CONSTANT timestamptz := sweep_until();
	r record;
	n integer := 0;
BEGIN
	FOR r IN
		SELECT x.app, x.resource_type, x.resource_id FROM (
			SELECT v.app, v.resource_type, v.resource_id FROM viewers v
			WHERE v.tab <> '' AND v.tab = ANY (p_sockets)
			UNION
			SELECT v.app, v.resource_type, v.resource_id FROM viewers v
			WHERE v.expires_at <= now()) x
		ORDER BY viewing_hash(x.app, x.resource_type, x.resource_id)
	LOOP
		IF n > 0 AND clock_timestamp() >= until THEN
			n := 500;
		END IF;
		EXIT WHEN n = 500;
		-- A transaction of the application can have the lock for long (user_delete()).
		CONTINUE WHEN NOT pg_try_advisory_xact_lock(lock_key('viewing'),
			viewing_hash(r.app, r.resource_type, r.resource_id));
		PERFORM viewing_settle(r.app, r.resource_type, r.resource_id,
				       viewing_state(r.app, r.resource_type, r.resource_id),
				       p_sockets, clock_timestamp());
		n := n + 1;
	END LOOP;
	RETURN CASE WHEN EXISTS (SELECT FROM viewers v WHERE v.tab <> '' AND v.tab = ANY (p_sockets))
		    THEN 500 ELSE n END;
END
$$;
COMMENT ON FUNCTION viewing_sweep IS
	'Removes expired tabs and those of closed sockets, for at most 500 resources, and until sweep_until(). '
	'Returns for how many; 500 if there are more, or tabs of these sockets are left, which another transaction '
	'may have locked.';

REVOKE EXECUTE ON FUNCTION viewing_lock(text, text, text),
	viewing_broadcast(text, text, text, timestamptz),
	viewing_settle(text, text, text, text, text[], timestamptz),
	sync_start_viewing(text, jsonb, text, text, user_key, text, text, integer),
	sync_stop_viewing(text, jsonb, text, text, user_key, text), viewing_sweep(text[]), sweep_until()
	FROM PUBLIC;
