-- SPDX-License-Identifier: MIT
-- The activity feed.

-- Entries must not appear in a feed before ones that a reader has read already.  Many transactions
-- insert at the same time, and commit in another order than their ids were assigned in.  So a row has
-- no position at first.  activities_place() assigns it after the commit, one transaction at a time,
-- under the lock "activities" from the first position to its commit: positions become visible in
-- their order, and no inserting transaction waits.  Feeds show rows with positions; the daemon has
-- positions assigned before it reads a feed.
CREATE TABLE activities (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	position bigint,
	app text NOT NULL,
	type text NOT NULL CHECK (octet_length(type) BETWEEN 1 AND 100),
	description text CHECK (octet_length(description) <= 2000),
	user_id user_key,
	subject_type text CHECK (octet_length(subject_type) BETWEEN 1 AND 100),
	subject_id text CHECK (octet_length(subject_id) BETWEEN 1 AND 64),
	metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
	client_id text GENERATED ALWAYS AS (metadata->>'client_id') STORED,
	project_id text GENERATED ALWAYS AS (metadata->>'project_id') STORED,
	created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE activities IS
	'Activities of users, shown in feeds.';
COMMENT ON COLUMN activities.position IS
	'Order in the feeds; NULL until activities_place() assigns it.';
CREATE INDEX activities_unplaced ON activities (id) WHERE position IS NULL;
CREATE UNIQUE INDEX activities_feed ON activities (app, position) WHERE position > 0;
CREATE INDEX activities_client ON activities (app, client_id, position)
	WHERE position > 0 AND client_id IS NOT NULL;
CREATE INDEX activities_project ON activities (app, project_id, position)
	WHERE position > 0 AND project_id IS NOT NULL;
CREATE INDEX activities_user ON activities (app, user_id, position)
	WHERE position > 0 AND user_id IS NOT NULL;
CREATE INDEX activities_subject ON activities (app, subject_type, subject_id, position)
	WHERE position > 0 AND subject_type IS NOT NULL;
CREATE INDEX activities_type ON activities (app, type, position) WHERE position > 0;

CREATE SEQUENCE activities_position;
COMMENT ON SEQUENCE activities_position IS
	'The positions of activities. Taken only under the advisory lock "activities".';

CREATE TABLE activity_reads (
	app text NOT NULL,
	user_id user_key NOT NULL,
	feed text NOT NULL,
	position bigint NOT NULL,
	read_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (app, user_id, feed)
) WITH (fillfactor = 70);
COMMENT ON TABLE activity_reads IS
	'Up to where users have read feeds.';
COMMENT ON COLUMN activity_reads.feed IS
	'Name of the feed, as in activity_feed.name.';

CREATE FUNCTION activities_place(p_max integer) RETURNS integer
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	until CONSTANT timestamptz := sweep_until();
	one bigint;
	placed integer := 0;
BEGIN
	IF NOT EXISTS (SELECT FROM activities WHERE position IS NULL) THEN
		RETURN 0;
	END IF;
	PERFORM pg_advisory_xact_lock(lock_key('activities'));
	-- A crash must not give a position out twice, whatever the database's default is.
	PERFORM set_config('synchronous_commit', 'on', true);
	FOR one IN SELECT a.id FROM activities a WHERE a.position IS NULL ORDER BY a.id LIMIT p_max LOOP
		UPDATE activities a SET position = nextval('activities_position') WHERE a.id = one;
		placed := placed + 1;
		IF clock_timestamp() >= until THEN
			RETURN p_max;
		END IF;
	END LOOP;
	RETURN placed;
END
$$;
COMMENT ON FUNCTION activities_place IS
	'Assigns positions to at most p_max activities, lower ids first, until sweep_until(). Returns how many; p_max '
	'if there may be more.';

CREATE FUNCTION activities_expire(p_days integer, p_max integer) RETURNS integer
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	until CONSTANT timestamptz := sweep_until();
	one bigint;
	gone integer := 0;
BEGIN
	-- Not while the same rows are placed, or deleted by another node.
	PERFORM pg_advisory_xact_lock(lock_key('activities'));
	FOR one IN SELECT old.id FROM (SELECT a.id, a.created_at FROM activities a
				       ORDER BY a.id LIMIT p_max) old
		   WHERE old.created_at < now() - p_days * interval '1 day' LOOP
		DELETE FROM activities a WHERE a.id = one;
		gone := gone + 1;
		IF clock_timestamp() >= until THEN
			RETURN p_max;
		END IF;
	END LOOP;
	RETURN gone;
END
$$;
COMMENT ON FUNCTION activities_expire IS
	'Deletes at most p_max activities that are older than p_days days, until sweep_until(). Returns how many; '
	'p_max if there may be more.';

-- In plpgsql, because it is called for each row of a page: its plans are cached.
CREATE FUNCTION activity_json(p_row activities) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	who users;
BEGIN
	SELECT u.* INTO who FROM users u WHERE u.app = p_row.app AND u.id = p_row.user_id;
	RETURN json_build_object(
		'id', p_row.id, 'type', p_row.type, 'description', p_row.description,
		'user_id', p_row.user_id,
		'user', CASE WHEN who.id IS NOT NULL THEN
			json_build_object('id', who.id, 'name', who.name, 'avatar', who.avatar) END,
		'subject_type', p_row.subject_type, 'subject_id', p_row.subject_id,
		'client_id', p_row.client_id, 'project_id', p_row.project_id,
		'metadata', p_row.metadata, 'created_at', iso(p_row.created_at));
END
$$;
COMMENT ON FUNCTION activity_json IS
	'An activity as JSON.';

CREATE FUNCTION activity_check_scope(p_name text, p_id text, p_field text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp
AS $$
BEGIN
	IF p_id COLLATE "C" !~ '^[-a-zA-Z0-9_=@,;]{1,64}$' THEN
		PERFORM sync_fail(400, 'invalid_value', format('%s must be an id: an integer, or a '
			'string of 1 to 64 letters, digits and -_=@,;', p_name), p_field);
	END IF;
END
$$;
COMMENT ON FUNCTION activity_check_scope IS
	'Refuses an id that cannot be part of the name of a client''s or project''s channel.';

CREATE FUNCTION activity_add(type text, description text DEFAULT NULL, user_id user_key DEFAULT NULL,
			     subject_type text DEFAULT NULL, subject_id text DEFAULT NULL,
			     metadata jsonb DEFAULT '{}', app text DEFAULT NULL,
			     exclude_socket text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	known CONSTANT record := log_app($7);
	added activities;
	payload json;
BEGIN
	PERFORM activity_check_scope('metadata.client_id', $6->>'client_id', 'metadata'),
		activity_check_scope('metadata.project_id', $6->>'project_id', 'metadata');
	INSERT INTO activities (app, type, description, user_id, subject_type, subject_id, metadata)
	VALUES (known.app, $1, $2, $3, $4, $5, coalesce($6, '{}'))
	RETURNING * INTO added;
	payload := json_build_object('activity', activity_json(added));
	IF octet_length(payload::text) > nullif(known.max_payload, 0) THEN
		PERFORM sync_fail(413, 'too_large', format('The activity makes an event of %s bytes; '
			'the application''s max_event_payload_bytes is %s.',
			octet_length(payload::text), known.max_payload), 'metadata');
	END IF;
	PERFORM broadcast('private-admin', sync_event('ActivityFeedUpdated'), payload, NULL, $8,
			  known.app);
	IF added.client_id IS NOT NULL THEN
		PERFORM broadcast('private-client.' || added.client_id,
				  sync_event('ActivityFeedUpdated'), payload, NULL, $8, known.app);
	END IF;
	IF added.project_id IS NOT NULL THEN
		PERFORM broadcast('private-project.' || added.project_id,
				  sync_event('ActivityFeedUpdated'), payload, NULL, $8, known.app);
	END IF;
	RETURN added.id;
END
$$;
COMMENT ON FUNCTION activity_add IS
	'Adds an activity and broadcasts it when the transaction commits. Can be called in the '
	'application''s own transactions. Returns its id.';

CREATE FUNCTION activity_type_is_open(p_type text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT EXISTS (SELECT FROM sync_settings s,
		LATERAL regexp_split_to_table(s.value, '\s*,\s*') AS word
		WHERE s.name = 'user_activity_types' AND (word = p_type
			OR (right(word, 1) = '*' AND starts_with(p_type, left(word, -1)))))
$$;
COMMENT ON FUNCTION activity_type_is_open IS
	'Whether users may add activities of this type: the option sync.user_activity_types.';

CREATE FUNCTION activity_metadata(p_metadata jsonb, p_client_id text, p_project_id text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	own CONSTANT jsonb := coalesce(p_metadata, '{}');
	given CONSTANT jsonb := jsonb_strip_nulls(jsonb_build_object('client_id', p_client_id,
								     'project_id', p_project_id));
	name text;
BEGIN
	SELECT g.key INTO name FROM jsonb_each_text(given) g WHERE own->>g.key <> g.value LIMIT 1;
	IF FOUND THEN
		PERFORM sync_fail(400, 'invalid_value', format('%s and metadata.%1$s are the same field; '
				  'they differ.', name), name);
	END IF;
	RETURN given || own;
END
$$;
COMMENT ON FUNCTION activity_metadata IS
	'The metadata with the ids of client and project in it; refuses others than it has.';

CREATE FUNCTION sync_activity_add(p_app text, p_caller jsonb, p_type text, p_description text,
				  p_user_id user_key, p_user user_key, p_subject_type text,
				  p_subject_id text, p_own_metadata jsonb, p_client_id text,
				  p_project_id text, p_socket_id text,
				  OUT status integer, OUT body json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	p_metadata CONSTANT jsonb := activity_metadata(p_own_metadata, p_client_id, p_project_id);
	channel text;
	added bigint;
BEGIN
	IF NOT caller_is_server(p_caller) AND NOT activity_type_is_open(p_type) THEN
		PERFORM sync_fail(403, 'type_forbidden', format('Users may not add activities of type '
			'"%s"; the option sync.user_activity_types lists those that they may add.', p_type),
			'type');
	END IF;
	IF p_user_id <> p_user THEN
		PERFORM sync_fail(400, 'invalid_value',
				  'user and user_id are the same field; they differ.', 'user');
	END IF;
	IF p_subject_id IS NOT NULL AND p_subject_type IS NULL THEN
		PERFORM sync_fail(400, 'missing_field', 'subject_id needs subject_type.',
				  'subject_type');
	END IF;
	FOR channel IN
		SELECT format('private-%s.%s', s, p_metadata->>(s || '_id'))
		FROM unnest('{client,project}'::text[]) s WHERE p_metadata->>(s || '_id') IS NOT NULL
	LOOP
		PERFORM require_channel(p_app, p_caller, channel, 'metadata');
	END LOOP;
	added := activity_add(p_type, p_description, coalesce(p_user_id, p_user), p_subject_type,
			      p_subject_id, p_metadata, p_app, p_socket_id);
	status := 201;
	SELECT json_build_object('activity', activity_json(a)) INTO body
	FROM activities a WHERE a.id = added;
END
$$;
COMMENT ON FUNCTION sync_activity_add IS
	'POST /activities. A user may add activities of the types in sync.user_activity_types, '
	'of clients and projects whose channels the user may join.';

CREATE TYPE activity_feed AS (
	app text,
	name text,		-- what its read positions are kept under
	condition text,		-- on a row a, with the values below as $2 to $7
	client_id text, project_id text, user_id user_key, subject_type text, subject_id text, type text,
	sees_all boolean	-- no row of it is hidden from the caller
);
COMMENT ON TYPE activity_feed IS
	'A feed that was opened by a caller.';

CREATE FUNCTION activity_feed_open(p_app text, p_caller jsonb, p_feed text, p_client_id text,
				   p_project_id text, p_user_id user_key, p_subject_type text,
				   p_subject_id text, p_type text) RETURNS activity_feed
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	-- Conditions are constants: values are parameters of activity_scan()'s statement.
	kind CONSTANT jsonb := '{
		"global": {"is": "true"},
		"mine": {"is": "true"},
		"client": {"by": "client_id", "is": "a.client_id = $2", "channel": "private-client."},
		"project": {"by": "project_id", "is": "a.project_id = $3", "channel": "private-project."},
		"user": {"by": "user_id", "is": "a.user_id = $4"},
		"subject": {"by": "subject_type", "is": "a.subject_type = $5"},
		"type": {"by": "type", "is": "a.type = $7"}}'::jsonb->p_feed;
	-- a user's own feed needs no user_id
	whose CONSTANT user_key := coalesce(p_user_id,
		CASE WHEN p_feed = 'user' THEN caller_id(p_caller) END);
	key CONSTANT text := CASE p_feed WHEN 'client' THEN p_client_id WHEN 'project' THEN p_project_id
				  WHEN 'user' THEN whose::text WHEN 'type' THEN p_type
				  WHEN 'subject' THEN p_subject_type END;
	of_subject CONSTANT boolean := p_feed = 'subject' AND p_subject_id IS NOT NULL;
	sees_all boolean := true;
BEGIN
	IF kind ? 'by' AND key IS NULL THEN
		PERFORM sync_fail(400, 'missing_field',
				  format('feed=%s needs %s.', p_feed, kind->>'by'), kind->>'by');
	END IF;
	IF p_subject_id IS NOT NULL AND p_subject_type IS NULL THEN
		PERFORM sync_fail(400, 'missing_field', 'subject_id needs subject_type.',
				  'subject_type');
	END IF;
	IF kind ? 'channel' THEN
		PERFORM activity_check_scope(kind->>'by', key, kind->>'by');
		PERFORM require_channel(p_app, p_caller, (kind->>'channel') || key, kind->>'by');
	ELSIF p_feed = 'global'
	      OR p_feed = 'user' AND whose IS DISTINCT FROM caller_id(p_caller) THEN
		PERFORM require_channel(p_app, p_caller, 'private-admin',
					coalesce(kind->>'by', 'feed'));
	ELSIF p_feed <> 'user' THEN
		PERFORM require_verdicts(p_app, p_caller, '{private-admin}');
		sees_all := channel_allows(p_app, p_caller, 'private-admin');
	END IF;
	RETURN ROW(p_app, concat_ws(':', p_feed, key, CASE WHEN of_subject THEN p_subject_id END),
		   (kind->>'is') || CASE WHEN of_subject THEN ' AND a.subject_id = $6' ELSE '' END,
		   p_client_id, p_project_id, whose, p_subject_type, p_subject_id, p_type,
		   sees_all);
END
$$;
COMMENT ON FUNCTION activity_feed_open IS
	'The feed, if the caller may read it; refuses the call otherwise.';

CREATE FUNCTION activity_scan(p_feed activity_feed, p_caller jsonb, p_start bigint,
			      p_is_newer boolean, p_max integer)
RETURNS TABLE (a activities, is_open boolean)
LANGUAGE plpgsql STABLE ROWS 100 SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	RETURN QUERY EXECUTE format($f$
		WITH found AS MATERIALIZED (
			SELECT a FROM activities a
			WHERE a.app = $1 AND a.position > 0 AND %1$s AND a.position %2$s $8
			ORDER BY a.position %3$s LIMIT $9
		), channels(name) AS MATERIALIZED (
			SELECT 'private-client.' || (f.a).client_id FROM found f WHERE NOT $10
			UNION
			SELECT 'private-project.' || (f.a).project_id FROM found f WHERE NOT $10
		), known AS MATERIALIZED (
			SELECT c.name, channel_known($1, $11, c.name) AS is_open FROM channels c
			WHERE c.name IS NOT NULL
		), asked AS MATERIALIZED (
			SELECT require_evaluated(array_agg(k.name) FILTER (WHERE k.is_open IS NULL)) AS n
			FROM known k
		), opened AS MATERIALIZED (
			SELECT k.name FROM known k WHERE k.is_open
		)
		SELECT f.a, $10 OR coalesce((f.a).user_id = caller_id($11), false) OR EXISTS (
			SELECT FROM opened o WHERE o.name IN ('private-client.' || (f.a).client_id,
							      'private-project.' || (f.a).project_id))
		FROM found f, asked WHERE asked.n = 0 $f$,
		p_feed.condition, CASE WHEN p_is_newer THEN '>' ELSE '<' END,
		CASE WHEN p_is_newer THEN 'ASC' ELSE 'DESC' END)
	USING p_feed.app, p_feed.client_id, p_feed.project_id, p_feed.user_id,
	      p_feed.subject_type, p_feed.subject_id, p_feed.type, p_start, p_max,
	      p_feed.sees_all, p_caller;
END
$$;
COMMENT ON FUNCTION activity_scan IS
	'At most p_max activities of a feed, newer or older than p_start, nearest first. '
	'is_open: the caller may see it. A caller who may not see the whole feed sees own '
	'activities and those of clients and projects whose channels the caller may join.';

CREATE FUNCTION activity_reach(p_feed activity_feed) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN p_feed.sees_all THEN 1000 ELSE 200 END;
COMMENT ON FUNCTION activity_reach IS
	'How many activities one request reads at most. Fewer when a channel has to be checked '
	'for each.';

CREATE FUNCTION activity_unread(p_feed activity_feed, p_caller jsonb, p_reader_id user_key,
				OUT unread bigint, OUT read_up_to bigint)
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	seen bigint;
BEGIN
	SELECT r.position INTO seen FROM activity_reads r
	WHERE r.app = p_feed.app AND r.user_id = p_reader_id AND r.feed = p_feed.name;
	SELECT count(*) INTO unread FROM activity_scan(p_feed, p_caller, coalesce(seen, 0), true,
							activity_reach(p_feed)) s
	WHERE s.is_open AND (s.a).user_id IS DISTINCT FROM p_reader_id;
	SELECT max(x.id) INTO read_up_to FROM activities x
	WHERE x.app = p_feed.app AND x.position > 0 AND x.position = seen;
END
$$;
COMMENT ON FUNCTION activity_unread IS
	'How many activities of a feed, without own ones, the reader has not read, counted up to '
	'the limit of activity_reach(), and up to which id.';

CREATE FUNCTION sync_activities(p_app text, p_caller jsonb, p_feed text, p_client_id text,
				p_project_id text, p_user_id user_key, p_subject_type text,
				p_subject_id text, p_type text, p_metadata jsonb, p_types jsonb,
				p_client_ids jsonb, p_from timestamptz, p_until timestamptz,
				p_reader_id user_key, p_cursor text, p_limit integer,
				OUT status integer, OUT body json)
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	f CONSTANT activity_feed := activity_feed_open(p_app, p_caller, p_feed, p_client_id,
		p_project_id, p_user_id, p_subject_type, p_subject_id, p_type);
	wanted CONSTANT jsonb := coalesce(p_metadata, '{}');
	size CONSTANT integer := p_limit;
	scope CONSTANT json := json_build_array('activities', p_app, f.name, p_client_id, p_project_id,
		p_user_id, p_subject_type, p_subject_id, p_type, p_metadata, p_types, p_client_ids,
		p_from, p_until);
	k CONSTANT record := keyset_read(scope, p_cursor);
	reader CONSTANT user_key := p_reader_id;
	is_filtered CONSTANT boolean := NOT f.sees_all
		OR num_nonnulls(p_client_id, p_project_id, p_user_id, p_subject_type, p_subject_id,
				p_type, p_metadata, p_types, p_client_ids, p_from, p_until) > CASE WHEN p_feed IN ('global', 'mine') THEN 0
			WHEN p_feed = 'subject' THEN num_nonnulls(p_subject_type, p_subject_id) ELSE 1 END;
	reach CONSTANT integer := CASE WHEN is_filtered THEN activity_reach(f) ELSE size + 1 END;
	page record;
BEGIN
	-- One statement: what it sees of the rows and of the newest position is of one moment.
	WITH scanned AS MATERIALIZED (
		SELECT s.a, s.is_open, (s.a).position AS at FROM activity_scan(f, p_caller, k.start,
									       k.is_newer, reach) s
	), fitting AS (
		SELECT s.a, s.at, row_number() OVER (
			ORDER BY CASE WHEN k.is_newer THEN s.at ELSE -s.at END) AS n
		FROM scanned s
		WHERE s.is_open AND (s.a).metadata @> wanted
		AND (p_client_id IS NULL OR (s.a).client_id = p_client_id)
		AND (p_project_id IS NULL OR (s.a).project_id = p_project_id)
		AND (p_user_id IS NULL OR (s.a).user_id = p_user_id)
		AND (p_type IS NULL OR (s.a).type = p_type)
		AND (p_types IS NULL OR p_types ? (s.a).type)
		AND (p_client_ids IS NULL OR p_client_ids ? (s.a).client_id)
		AND (p_from IS NULL OR (s.a).created_at >= p_from)
		AND (p_until IS NULL OR (s.a).created_at < p_until)
		AND (p_subject_type IS NULL OR (s.a).subject_type = p_subject_type)
		AND (p_subject_id IS NULL OR (s.a).subject_id = p_subject_id)
	), sized AS (
		SELECT t.*, sum(octet_length((t.a).metadata::text)) OVER (ORDER BY t.n) AS bytes
		FROM fitting t WHERE t.n <= size
	), shown AS MATERIALIZED (
		SELECT t.* FROM sized t WHERE t.n = 1 OR t.bytes <= 1000000
	)
	SELECT (SELECT json_agg(activity_json(t.a) ORDER BY t.at DESC) FROM shown t) AS rows,
	       CASE WHEN (SELECT count(*) FROM fitting) > (SELECT count(*) FROM shown)
			THEN (SELECT t.at FROM shown t ORDER BY t.n DESC LIMIT 1)
		    WHEN (SELECT count(*) FROM scanned) = reach
			THEN (SELECT CASE WHEN k.is_newer THEN max(t.at) ELSE min(t.at) END
			      FROM scanned t) END AS stop,
	       -- The newest of all where rows are hidden: those must not show in a cursor.
	       coalesce(CASE WHEN is_filtered
			THEN (SELECT max(t.position) FROM activities t
			      WHERE t.app = p_app AND t.position > 0)
			ELSE (SELECT max(t.at) FROM scanned t) END, 0) AS top
	INTO page;
	status := 200;
	SELECT json_build_object('activities', coalesce(page.rows, '[]'), 'unread', u.unread,
				 'read_up_to', u.read_up_to, 'next_cursor', c.next_cursor,
				 'prev_cursor', c.prev_cursor, 'has_newer', c.has_newer)
	INTO body
	FROM keyset_around(scope, k.is_newer, k.start, page.stop, page.top) c
	LEFT JOIN activity_unread(f, p_caller, reader) u ON reader IS NOT NULL;
END
$$;
COMMENT ON FUNCTION sync_activities IS
	'GET /activities: a page of a feed. Fields that do not belong to the feed are filters.';

CREATE FUNCTION sync_activity_read(p_app text, p_caller jsonb, p_feed text, p_client_id text,
				   p_project_id text, p_user_id user_key, p_subject_type text,
				   p_subject_id text, p_type text, p_reader_id user_key,
				   p_up_to bigint, OUT status integer, OUT body json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	f CONSTANT activity_feed := activity_feed_open(p_app, p_caller, p_feed, p_client_id,
		p_project_id, p_user_id, p_subject_type, p_subject_id, p_type);
	reader CONSTANT user_key := p_reader_id;
	seen bigint;
BEGIN
	SELECT max(a.position) INTO seen FROM activities a
	WHERE a.app = p_app AND a.position > 0 AND (p_up_to IS NULL OR a.id = p_up_to);
	IF seen IS NULL AND p_up_to IS NOT NULL THEN
		PERFORM sync_fail(404, 'unknown_activity', 'There is no activity of this id.', 'up_to');
	END IF;
	IF (SELECT count(*) >= 1000 AND bool_and(r.feed <> f.name) FROM activity_reads r
	    WHERE r.app = p_app AND r.user_id = reader) THEN
		PERFORM sync_fail(409, 'too_many_feeds',
				  'Read positions are kept of at most 1000 feeds of a user.', 'feed');
	END IF;
	INSERT INTO activity_reads AS r (app, user_id, feed, position)
	VALUES (p_app, reader, f.name, coalesce(seen, 0))
	ON CONFLICT ON CONSTRAINT activity_reads_pkey DO UPDATE
	SET position = excluded.position, read_at = now() WHERE r.position < excluded.position;
	status := 200;
	SELECT json_build_object('unread', u.unread, 'read_up_to', u.read_up_to) INTO body
	FROM activity_unread(f, p_caller, reader) u;
END
$$;
COMMENT ON FUNCTION sync_activity_read IS
	'POST /activities/read: the reader has read a feed up to an activity, or all of it. The '
	'position never moves back.';

CREATE FUNCTION sync_activities_import(p_app text, p_caller jsonb, p_activities jsonb,
				       OUT status integer, OUT body json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	e record;
	data jsonb;
	wrong text;
	ids bigint[] := '{}';
	added bigint;
BEGIN
	FOR e IN SELECT x.value, format('activities[%s]', x.at - 1) AS place
		 FROM jsonb_array_elements(p_activities) WITH ORDINALITY AS x(value, at) ORDER BY x.at LOOP
		IF jsonb_typeof(e.value) <> 'object' OR jsonb_typeof(e.value->'type') IS DISTINCT FROM 'string' THEN
			PERFORM sync_fail(400, 'invalid_value', format('%s must be an object with a type.',
					  e.place), e.place);
		END IF;
		SELECT k INTO wrong FROM jsonb_object_keys(e.value) k WHERE k NOT IN ('type', 'description',
			'user_id', 'subject_type', 'subject_id', 'metadata', 'client_id', 'project_id',
			'created_at') LIMIT 1;
		IF FOUND THEN
			PERFORM sync_fail(400, 'unknown_field', format('%s has a field that this endpoint does '
					  'not know: "%s".', e.place, left(wrong, 64)), e.place);
		ELSIF e.value ? 'subject_id' AND NOT e.value ? 'subject_type' THEN
			PERFORM sync_fail(400, 'missing_field', format('subject_id of %s needs subject_type.',
					  e.place), e.place);
		END IF;
		BEGIN
			data := activity_metadata(nullif(nullif(e.value->'metadata', 'null'), '[]'),
						  e.value->>'client_id', e.value->>'project_id');
			PERFORM activity_check_scope('client_id', data->>'client_id', e.place),
				activity_check_scope('project_id', data->>'project_id', e.place);
			INSERT INTO activities (app, type, description, user_id, subject_type, subject_id,
						metadata, created_at)
			VALUES (p_app, e.value->>'type', e.value->>'description', (e.value->>'user_id')::user_key,
				e.value->>'subject_type', e.value->>'subject_id', data,
				coalesce((e.value->>'created_at')::timestamptz, clock_timestamp()))
			RETURNING id INTO added;
		EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
			PERFORM sync_fail(400, 'invalid_value', format('%s cannot be stored: %s.', e.place,
					  SQLERRM), e.place);
		END;
		ids := array_append(ids, added);
	END LOOP;
	status := 201;
	body := json_build_object('added', cardinality(ids), 'ids', to_json(ids));
END
$$;
COMMENT ON FUNCTION sync_activities_import IS
	'POST /activities/bulk: stores activities with their own times, all or none, without a '
	'broadcast.';

CREATE FUNCTION activity_ids_read(p_ids jsonb) RETURNS bigint[]
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp
AS $$
BEGIN
	IF p_ids IS NULL THEN
		RETURN NULL;
	END IF;
	IF EXISTS (SELECT FROM jsonb_array_elements_text(p_ids) e
		   WHERE CASE WHEN e COLLATE "C" ~ '^[0-9]{1,19}$'
			      THEN e::numeric NOT BETWEEN 1 AND 9223372036854775807 ELSE true END) THEN
		PERFORM sync_fail(400, 'invalid_value', 'ids must be ids of activities, positive integers.', 'ids');
	END IF;
	RETURN ARRAY(SELECT e::bigint FROM jsonb_array_elements_text(p_ids) e);
END
$$;
COMMENT ON FUNCTION activity_ids_read IS
	'The ids of activities in a list; NULL without a list. Refuses what is not an id.';

CREATE FUNCTION sync_activities_delete(p_app text, p_caller jsonb, p_id bigint, p_ids jsonb,
				       p_subject_type text, p_subject_id text,
				       OUT status integer, OUT body json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	wanted CONSTANT bigint[] := CASE WHEN p_id IS NOT NULL THEN ARRAY[p_id]
				    ELSE activity_ids_read(p_ids) END;
	gone bigint;
BEGIN
	IF num_nonnulls(p_id, p_ids, p_subject_type) <> 1 THEN
		PERFORM sync_fail(400, 'missing_field', 'Give one of id, ids, and subject_type with '
				  'subject_id.', 'id');
	ELSIF (p_subject_type IS NULL) <> (p_subject_id IS NULL) THEN
		PERFORM sync_fail(400, 'missing_field', 'subject_type and subject_id belong together.',
				  CASE WHEN p_subject_id IS NULL THEN 'subject_id' ELSE 'subject_type' END);
	END IF;
	-- Not while the same rows are placed.
	PERFORM pg_advisory_xact_lock(lock_key('activities'));
	IF wanted IS NOT NULL THEN
		DELETE FROM activities a WHERE a.app = p_app AND a.id = ANY (wanted);
	ELSE
		DELETE FROM activities a WHERE a.app = p_app AND a.subject_type = p_subject_type
		AND a.subject_id = p_subject_id;
	END IF;
	GET DIAGNOSTICS gone = ROW_COUNT;
	status := 200;
	body := json_build_object('deleted', gone);
END
$$;
COMMENT ON FUNCTION sync_activities_delete IS
	'DELETE /activities: by id, or all of a subject.';

REVOKE EXECUTE ON FUNCTION sync_activities_import(text, jsonb, jsonb),
	sync_activities_delete(text, jsonb, bigint, jsonb, text, text), activities_place(integer), activities_expire(integer, integer),
	activity_add(text, text, user_key, text, text, jsonb, text, text) FROM PUBLIC;
