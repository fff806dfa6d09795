-- SPDX-License-Identifier: MIT
-- Edit locks.  A row is a resource, or one field of it, that was locked once; its token is the last
-- one given.  Tokens come from one sequence while the row is locked, so those of a row only rise, and
-- none comes twice even when the row is deleted.

CREATE SEQUENCE lock_token AS bigint CACHE 1;
COMMENT ON SEQUENCE lock_token IS
	'The tokens of edit locks.';

CREATE TABLE locks (
	app text NOT NULL,
	resource_type text NOT NULL,
	resource_id text NOT NULL,
	token bigint NOT NULL,
	user_id user_key,
	name text,
	ttl integer NOT NULL,
	acquired_at timestamptz NOT NULL,
	renewed_at timestamptz NOT NULL,
	expires_at timestamptz NOT NULL,
	field text NOT NULL DEFAULT '',
	sockets text[] NOT NULL DEFAULT '{}',
	PRIMARY KEY (app, resource_type, resource_id, field)
) WITH (fillfactor = 70);
COMMENT ON TABLE locks IS
	'Edit locks. A row is a resource, or a field of one, that has been locked before.';
COMMENT ON COLUMN locks.field IS
	'The field that is locked; empty for the resource as a whole.';
COMMENT ON COLUMN locks.token IS
	'The newest token of the resource.';
COMMENT ON COLUMN locks.user_id IS
	'The user who holds the lock; NULL when no user does.';
COMMENT ON COLUMN locks.expires_at IS
	'When the lock expires, or when it was released.';
COMMENT ON COLUMN locks.sockets IS
	'The holder''s sockets: the lock ends with the last of them. Empty: it ends by its time alone.';
CREATE INDEX locks_sockets ON locks USING gin (sockets) WHERE sockets <> '{}';
CREATE INDEX locks_held ON locks (app, resource_type, resource_id, field) WHERE user_id IS NOT NULL;
CREATE INDEX locks_user ON locks (app, user_id, resource_type, resource_id, field)
	WHERE user_id IS NOT NULL;
CREATE INDEX locks_expiring ON locks (expires_at) WHERE user_id IS NOT NULL;
CREATE INDEX locks_free ON locks (expires_at) WHERE user_id IS NULL;

CREATE TABLE lock_requests (
	app text NOT NULL,
	resource_type text NOT NULL,
	resource_id text NOT NULL,
	field text NOT NULL DEFAULT '',
	user_id user_key NOT NULL,
	name text,
	ttl integer NOT NULL,
	requested_at timestamptz NOT NULL,
	expires_at timestamptz NOT NULL,
	socket_id text,
	PRIMARY KEY (app, resource_type, resource_id, field, user_id)
) WITH (fillfactor = 70);
COMMENT ON TABLE lock_requests IS
	'Users who request an edit lock from its holder. They are deleted when the holder changes.';
COMMENT ON COLUMN lock_requests.ttl IS
	'Of the lock, in seconds, if the holder grants it.';
COMMENT ON COLUMN lock_requests.socket_id IS
	'The socket with which the request ends; NULL: none.';
CREATE INDEX lock_requests_socket ON lock_requests (socket_id) WHERE socket_id IS NOT NULL;
CREATE INDEX lock_requests_user ON lock_requests (app, user_id);
CREATE INDEX lock_requests_expiring ON lock_requests (expires_at);

-- A comma separates resources in a query; with a dot or colon in the type, two resources could have
-- one name.
CREATE FUNCTION resource_channel(p_resource_type text, p_resource_id text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	IF coalesce(p_resource_type COLLATE "C" !~ '^[-a-zA-Z0-9_]{1,64}$'
		    OR p_resource_type ~ '^(encrypted|cache)-', true) THEN
		PERFORM sync_fail(400, 'invalid_value', 'resource_type must be 1 to 64 letters, '
			'digits, - or _, and not start with encrypted- or cache-.', 'resource_type');
	END IF;
	IF coalesce(p_resource_id COLLATE "C" !~ '^[-a-zA-Z0-9_=@.;]{1,64}$', true) THEN
		PERFORM sync_fail(400, 'invalid_value',
			'resource_id must be 1 to 64 letters, digits, or - _ = @ . ;', 'resource_id');
	END IF;
	RETURN 'private-' || p_resource_type || '.' || p_resource_id;
END
$$;
COMMENT ON FUNCTION resource_channel IS
	'The channel of a resource; refuses a resource that cannot have one.';

CREATE FUNCTION lock_field(p_field text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp
AS $$
BEGIN
	IF p_field COLLATE "C" !~ '^[][a-zA-Z0-9_.-]{1,64}$' THEN
		PERFORM sync_fail(400, 'invalid_value',
			'field must be 1 to 64 letters, digits, or - _ . [ ].', 'field');
	END IF;
	RETURN coalesce(p_field, '');
END
$$;
COMMENT ON FUNCTION lock_field IS
	'The field of a lock, empty for the resource as a whole; refuses what is not a field''s name.';

-- Conditions that many statements about locks have.  Parsed here, as caller_id() is, so that PostgreSQL
-- can inline them and use the primary keys.
CREATE FUNCTION lock_has_key(p_row locks, p_app text, p_resource_type text, p_resource_id text,
			     p_field text) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN p_row.app = p_app AND p_row.resource_type = p_resource_type
	AND p_row.resource_id = p_resource_id AND p_row.field = p_field;
COMMENT ON FUNCTION lock_has_key IS
	'Whether the row is the lock of this resource, or of this field of it.';

CREATE FUNCTION lock_is_same(p_row locks, p_other locks) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN p_row.app = p_other.app AND p_row.resource_type = p_other.resource_type
	AND p_row.resource_id = p_other.resource_id AND p_row.field = p_other.field;
COMMENT ON FUNCTION lock_is_same IS
	'Whether both are states of one lock.';

CREATE FUNCTION lock_request_is_for(p_request lock_requests, p_row locks) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN p_request.app = p_row.app AND p_request.resource_type = p_row.resource_type
	AND p_request.resource_id = p_row.resource_id AND p_request.field = p_row.field;
COMMENT ON FUNCTION lock_request_is_for IS
	'Whether a user requests this lock with it.';

CREATE FUNCTION lock_request_json(p_row lock_requests) RETURNS json
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
	SELECT json_build_object('resource_type', p_row.resource_type, 'resource_id', p_row.resource_id,
		'field', nullif(p_row.field, ''), 'user_id', p_row.user_id, 'name', p_row.name,
		'requested_at', iso(p_row.requested_at), 'expires_at', iso(p_row.expires_at))
$$;
COMMENT ON FUNCTION lock_request_json IS
	'A request for a lock as JSON.';

CREATE FUNCTION lock_json(p_row locks) RETURNS json
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
	SELECT json_build_object('resource_type', p_row.resource_type, 'resource_id', p_row.resource_id,
		'field', nullif(p_row.field, ''), 'user_id', p_row.user_id, 'name', p_row.name, 'token', p_row.token, 'ttl', p_row.ttl,
		'acquired_at', iso(p_row.acquired_at), 'renewed_at', iso(p_row.renewed_at),
		'expires_at', iso(p_row.expires_at),
		'requests', (SELECT coalesce(json_agg(lock_request_json(r) ORDER BY r.requested_at), '[]')
			FROM lock_requests r
			WHERE lock_request_is_for(r, p_row) AND r.expires_at > clock_timestamp()))
$$;
COMMENT ON FUNCTION lock_json IS
	'An edit lock as JSON, with the requests for it.';

-- Parsed here, as caller_id() is, so that PostgreSQL can inline it.
CREATE FUNCTION lock_is_held(p_row locks) RETURNS boolean
LANGUAGE sql VOLATILE
RETURN p_row.user_id IS NOT NULL AND p_row.expires_at > clock_timestamp();
COMMENT ON FUNCTION lock_is_held IS
	'Whether a user holds the lock now.';

CREATE FUNCTION lock_broadcast(p_action text, p_now_held locks, p_before locks, p_exclude_socket text)
RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	app CONSTANT text := coalesce(p_now_held.app, p_before.app);
	resource_type CONSTANT text := coalesce(p_now_held.resource_type, p_before.resource_type);
	resource_id CONSTANT text := coalesce(p_now_held.resource_id, p_before.resource_id);
	field CONSTANT text := nullif(coalesce(p_now_held.field, p_before.field), '');
BEGIN
	PERFORM broadcast(resource_channel(resource_type, resource_id), sync_event('LockChanged'),
		json_build_object('action', p_action, 'resource_type', resource_type,
			'resource_id', resource_id, 'field', field,
			'lock', CASE WHEN p_now_held.app IS NOT NULL THEN lock_json(p_now_held) END,
			'previous', CASE WHEN p_before.user_id IS NOT NULL THEN json_build_object(
				'user_id', p_before.user_id, 'name', p_before.name,
				'token', p_before.token) END),
		NULL, p_exclude_socket, app);
END
$$;
COMMENT ON FUNCTION lock_broadcast IS
	'Broadcasts who holds a lock now. p_before is the previous state.';

CREATE FUNCTION lock_refusal(p_code text, p_message text, p_lock locks, OUT status integer,
			     OUT body json)
LANGUAGE sql VOLATILE SET search_path = @SCHEMA@, pg_temp
AS $$
	SELECT 409, json_build_object(
		'error', json_build_object('code', p_code, 'message', rtrim(p_message, '.')),
		'lock', CASE WHEN lock_is_held(p_lock) THEN lock_json(p_lock) END)
$$;
COMMENT ON FUNCTION lock_refusal IS
	'The answer 409, with the current holder.';

CREATE FUNCTION lock_tell_users(p_event text, p_users user_key[], p_payload json, p_app text)
RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	PERFORM broadcast(ARRAY(SELECT DISTINCT c FROM unnest(p_users) u(id), unnest(user_channels(u.id)) c
				ORDER BY c), sync_event(p_event), p_payload, NULL, p_app);
END
$$;
COMMENT ON FUNCTION lock_tell_users IS
	'Broadcasts an event about a lock to users, on their own channels.';

CREATE FUNCTION lock_find(p_app text, p_resource_type text, p_resource_id text, p_field text)
RETURNS locks
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	l locks;
BEGIN
	SELECT x.* INTO l FROM locks x
	WHERE lock_has_key(x, p_app, p_resource_type, p_resource_id, p_field) FOR UPDATE;
	RETURN l;
END
$$;
COMMENT ON FUNCTION lock_find IS
	'The row of a lock, locked until the end of the transaction; NULL if there is none.';

CREATE FUNCTION lock_row(p_app text, p_resource_type text, p_resource_id text, p_field text)
RETURNS locks
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	l locks;
BEGIN
	LOOP
		l := lock_find(p_app, p_resource_type, p_resource_id, p_field);
		IF l.app IS NOT NULL THEN
			RETURN l;
		END IF;
		INSERT INTO locks (app, resource_type, resource_id, field, token, ttl, acquired_at,
				   renewed_at, expires_at)
		VALUES (p_app, p_resource_type, p_resource_id, p_field, 0, 0, now(), now(), now())
		ON CONFLICT DO NOTHING;
	END LOOP;
END
$$;
COMMENT ON FUNCTION lock_row IS
	'The row of a lock, created if necessary, locked until the end of the transaction.';

CREATE FUNCTION lock_forget_requests(p_row locks) RETURNS void
LANGUAGE sql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	DELETE FROM lock_requests r WHERE lock_request_is_for(r, p_row)
$$;
COMMENT ON FUNCTION lock_forget_requests IS
	'Deletes the requests for a lock: they were for a holder that it has no more.';

CREATE FUNCTION lock_give(p_before locks, p_user_id user_key, p_name text, p_ttl integer,
			  p_socket_id text) RETURNS locks
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	at CONSTANT timestamptz := clock_timestamp();
	given locks;
BEGIN
	UPDATE locks x SET user_id = p_user_id, name = p_name, ttl = p_ttl,
		token = nextval('lock_token'), acquired_at = at, renewed_at = at,
		expires_at = at + p_ttl * interval '1 s',
		sockets = CASE WHEN p_socket_id IS NULL THEN '{}' ELSE ARRAY[p_socket_id] END
	WHERE lock_is_same(x, p_before)
	RETURNING x.* INTO given;
	PERFORM lock_forget_requests(given);
	RETURN given;
END
$$;
COMMENT ON FUNCTION lock_give IS
	'Makes the user the holder, with a new token. The caller has locked the row.';

CREATE FUNCTION lock_extend(p_before locks, p_name text, p_ttl integer, p_socket_id text)
RETURNS locks
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	at CONSTANT timestamptz := clock_timestamp();
	extended locks;
BEGIN
	UPDATE locks x SET name = p_name, ttl = p_ttl, renewed_at = at,
		expires_at = at + p_ttl * interval '1 s',
		sockets = sockets_with(x.sockets, p_socket_id)
	WHERE lock_is_same(x, p_before)
	RETURNING x.* INTO extended;
	RETURN extended;
END
$$;
COMMENT ON FUNCTION lock_extend IS
	'The time of the lock starts again. The caller has locked the row.';

CREATE FUNCTION lock_name(p_app text, p_caller jsonb, p_user_id user_key) RETURNS text
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT coalesce(p_caller->>'name', (SELECT u.name FROM users u
					    WHERE u.app = p_app AND u.id = p_user_id))
$$;
COMMENT ON FUNCTION lock_name IS
	'The name of a user who has or wants a lock: that of the token, else of PUT users/{id}.';

CREATE FUNCTION sync_lock_acquire(p_app text, p_caller jsonb, p_resource_type text,
				  p_resource_id text, p_field text, p_user_id user_key, p_ttl integer,
				  p_token bigint, p_socket_id text, OUT status integer,
				  OUT body json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	field CONSTANT text := lock_field(p_field);
	name CONSTANT text := lock_name(p_app, p_caller, p_user_id);
	l locks;
	before locks;
	is_renewal boolean;
BEGIN
	PERFORM require_write(p_app, p_caller, resource_channel(p_resource_type, p_resource_id),
			      'resource_id');
	before := lock_row(p_app, p_resource_type, p_resource_id, field);
	is_renewal := lock_is_held(before) AND before.user_id = p_user_id;
	IF lock_is_held(before) AND NOT is_renewal THEN
		SELECT r.status, r.body INTO status, body FROM lock_refusal('locked',
			format('User %s holds this lock until %s.', before.user_id,
			       iso(before.expires_at)), before) r;
		RETURN;
	END IF;
	IF p_token IS NOT NULL AND NOT (is_renewal AND before.token = p_token) THEN
		SELECT r.status, r.body INTO status, body FROM lock_refusal('lock_lost',
			'The lock of this token has expired; acquire it again without a token.',
			before) r;
		RETURN;
	END IF;
	IF is_renewal THEN
		l := lock_extend(before, name, p_ttl, p_socket_id);
	ELSE
		l := lock_give(before, p_user_id, name, p_ttl, p_socket_id);
		PERFORM lock_broadcast('acquired', l, before, p_socket_id);
	END IF;
	status := 200;
	-- "alone": the caller's connection is the only one that has the lock.  A tab whose first call was
	-- answered, but did not receive the answer, learns by it from a second call that the lock is its own.
	body := json_build_object('lock', lock_json(l), 'renewed', is_renewal,
		'alone', coalesce(l.sockets = ARRAY[p_socket_id], false));
END
$$;
COMMENT ON FUNCTION sync_lock_acquire IS
	'POST /locks: acquires a lock, or extends it for its holder. With a token it only '
	'extends.';

CREATE FUNCTION lock_clear(p_before locks) RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	UPDATE locks x SET user_id = NULL, name = NULL, sockets = '{}',
		expires_at = least(x.expires_at, clock_timestamp())
	WHERE lock_is_same(x, p_before);
	PERFORM lock_forget_requests(p_before);
END
$$;
COMMENT ON FUNCTION lock_clear IS
	'No user holds or requests the lock any more. The caller has locked the row.';

CREATE FUNCTION lock_end(p_before locks, p_action text, p_exclude_socket text) RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	PERFORM lock_clear(p_before);
	PERFORM lock_broadcast(p_action, NULL, p_before, p_exclude_socket);
END
$$;
COMMENT ON FUNCTION lock_end IS
	'No user holds the lock any more; broadcasts it. The caller has locked the row.';

CREATE FUNCTION lock_end_quietly(p_before locks, p_action text) RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	PERFORM lock_end(p_before, p_action, NULL);
EXCEPTION WHEN data_exception THEN
	-- Its application was removed, or has lower limits now.
	PERFORM lock_clear(p_before);
	RAISE WARNING 'the end of an edit lock (%) was not broadcast: %', p_action, SQLERRM;
END
$$;
COMMENT ON FUNCTION lock_end_quietly IS
	'The same, also where the event cannot be broadcast.';

CREATE FUNCTION sync_lock_release(p_app text, p_caller jsonb, p_resource_type text,
				  p_resource_id text, p_field text, p_user_id user_key, p_token bigint,
				  p_force boolean, p_socket_id text, OUT status integer,
				  OUT body json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	l locks;
	channel CONSTANT text := resource_channel(p_resource_type, p_resource_id);
BEGIN
	IF p_force AND NOT caller_is_server(p_caller) THEN
		PERFORM sync_fail(403, 'forbidden', 'Only the application''s server may force a '
				  'release.', 'force');
	END IF;
	IF p_user_id IS NULL AND NOT p_force THEN
		PERFORM sync_fail(400, 'missing_field',
				  'Say whose lock it is, or force its release.', 'user_id');
	END IF;
	l := lock_find(p_app, p_resource_type, p_resource_id, lock_field(p_field));
	-- A holder who may not join the channel any more may still release the lock.
	IF l.user_id IS DISTINCT FROM p_user_id THEN
		PERFORM require_channel(p_app, p_caller, channel, 'resource_id');
	END IF;
	status := 200;
	IF l.app IS NULL OR NOT lock_is_held(l) THEN
		body := json_build_object('released', false, 'lock', NULL);
	ELSIF NOT p_force AND l.user_id <> p_user_id THEN
		SELECT r.status, r.body INTO status, body FROM lock_refusal('locked',
			format('User %s holds this lock; only they may release it.', l.user_id), l) r;
	ELSIF l.token <> p_token THEN
		SELECT r.status, r.body INTO status, body FROM lock_refusal('lock_lost',
			'A newer token was given for this lock since.', l) r;
	ELSE
		PERFORM lock_end(l, CASE WHEN p_force THEN 'forced' ELSE 'released' END, p_socket_id);
		body := json_build_object('released', true, 'lock', NULL);
	END IF;
END
$$;
COMMENT ON FUNCTION sync_lock_release IS
	'POST /locks/release.';

CREATE FUNCTION lock_of_one(p_app text, p_caller jsonb, p_resource_type text, p_resource_id text,
			    p_field text) RETURNS json
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	wanted CONSTANT text := lock_field(p_field);
	l locks;
BEGIN
	PERFORM require_channel(p_app, p_caller, resource_channel(p_resource_type, p_resource_id),
				'resource_id');
	SELECT x.* INTO l FROM locks x
	WHERE lock_has_key(x, p_app, p_resource_type, p_resource_id, wanted);
	RETURN json_build_object('lock', CASE WHEN lock_is_held(l) THEN lock_json(l) END,
				 'last_token', coalesce(l.token, 0));
END
$$;
COMMENT ON FUNCTION lock_of_one IS
	'The lock of one resource, or of a field of it, and its newest token.';

CREATE FUNCTION sync_locks(p_app text, p_caller jsonb, p_resource_type text, p_resource_id text,
			   p_field text, p_user_id user_key, p_page integer, p_cursor text,
			   OUT status integer, OUT body json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	most CONSTANT integer := 250;
	scope CONSTANT json := json_build_array('locks', p_app, p_resource_type, p_user_id);
	after CONSTANT text[] := coalesce(cursor_read(scope, p_cursor, 3), '{"","",""}');
	l locks;
	found json[] := '{}';
	is_shown boolean;
	unasked text[] := '{}';
	seen integer := 0;
	last locks;
	is_more boolean;
BEGIN
	status := 200;
	IF p_resource_id IS NOT NULL THEN
		body := lock_of_one(p_app, p_caller, p_resource_type, p_resource_id, p_field);
		RETURN;
	ELSIF p_field IS NOT NULL THEN
		PERFORM sync_fail(400, 'missing_field', 'field is one of a resource: give resource_type '
				  'and resource_id too.', 'resource_id');
	END IF;
	FOR l IN
		SELECT x.* FROM locks x WHERE x.app = p_app AND x.user_id IS NOT NULL
		AND (x.resource_type, x.resource_id, x.field) > (after[1], after[2], after[3])
		AND (p_resource_type IS NULL OR x.resource_type = p_resource_type)
		AND (p_user_id IS NULL OR x.user_id = p_user_id)
		ORDER BY x.resource_type, x.resource_id, x.field LIMIT most + 1
	LOOP
		is_more := list_is_full(p_page, cardinality(found), unasked) OR seen = most;
		EXIT WHEN is_more;
		seen := seen + 1;
		last := l;
		CONTINUE WHEN NOT lock_is_held(l);
		-- A user's own locks are listed even if a rule was changed since.
		is_shown := l.user_id = caller_id(p_caller) OR channel_known(p_app, p_caller,
			resource_channel(l.resource_type, l.resource_id));
		IF is_shown IS NULL THEN
			unasked := array_append(unasked,
				resource_channel(l.resource_type, l.resource_id));
		ELSIF is_shown THEN
			found := array_append(found, lock_json(l));
		END IF;
	END LOOP;
	PERFORM require_evaluated(unasked);
	body := json_build_object('locks', array_to_json(found), 'next_cursor', CASE WHEN is_more
		THEN cursor_make(scope, last.resource_type, last.resource_id, last.field) END);
END
$$;
COMMENT ON FUNCTION sync_locks IS
	'GET /locks: one lock, or a page of held locks. One request reads at most 250 of them.';

CREATE FUNCTION lock_fence(p_app text, p_resource_type text, p_resource_id text, p_writer user_key,
			   p_token bigint) RETURNS text
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	l locks;
BEGIN
	SELECT x.* INTO l FROM locks x
	WHERE lock_has_key(x, p_app, p_resource_type, p_resource_id, '') FOR SHARE;
	IF p_token IS DISTINCT FROM coalesce(l.token, 0) AND p_token IS NOT NULL THEN
		RETURN 'stale_lock';
	END IF;
	IF lock_is_held(l) AND l.user_id <> p_writer THEN
		RETURN CASE WHEN p_token IS NULL THEN 'locked' ELSE 'stale_lock' END;
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION lock_fence IS
	'Whether a write with this token of the resource''s lock is refused: NULL or the code of the '
	'refusal. The answer holds until the end of the transaction. p_writer NULL means no '
	'particular user.';

CREATE FUNCTION lock_check(resource_type text, resource_id text, token bigint,
			   app text DEFAULT NULL) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT lock_fence((log_app($4)).app, $1, $2, NULL, $3) IS NULL AND $3 IS NOT NULL
$$;
COMMENT ON FUNCTION lock_check IS
	'Whether token is the newest one of the resource. No newer one is assigned before the '
	'transaction ends. For the application''s own transactions.';

CREATE FUNCTION locks_expire(p_most integer) RETURNS integer
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	until CONSTANT timestamptz := sweep_until();
	l locks;
	n integer := 0;
BEGIN
	FOR l IN
		SELECT x.* FROM locks x WHERE x.user_id IS NOT NULL AND x.expires_at <= now()
		ORDER BY x.expires_at LIMIT p_most FOR UPDATE SKIP LOCKED
	LOOP
		PERFORM lock_end_quietly(l, 'expired');
		n := n + 1;
		IF clock_timestamp() >= until THEN
			RETURN p_most;
		END IF;
	END LOOP;
	-- Without the rows of their locks, so it must not wait: those who have these wait for this.
	DELETE FROM lock_requests r WHERE (r.app, r.resource_type, r.resource_id, r.field, r.user_id) IN (
		SELECT o.app, o.resource_type, o.resource_id, o.field, o.user_id FROM lock_requests o
		WHERE o.expires_at <= now() ORDER BY o.expires_at LIMIT p_most FOR UPDATE SKIP LOCKED);
	RETURN n;
END
$$;
COMMENT ON FUNCTION locks_expire IS
	'Releases at most p_most expired locks and broadcasts it, until sweep_until(), and then deletes expired '
	'requests. Returns how many locks; p_most if there may be more.';

CREATE FUNCTION locks_prune(p_most integer) RETURNS integer
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	until CONSTANT timestamptz := sweep_until();
	one record;
	n integer := 0;
BEGIN
	FOR one IN SELECT x.ctid AS row FROM locks x
		   WHERE x.user_id IS NULL AND x.expires_at < now() - interval '30 days'
		   ORDER BY x.expires_at LIMIT p_most FOR UPDATE SKIP LOCKED LOOP
		DELETE FROM locks x WHERE x.ctid = one.row;
		n := n + 1;
		IF clock_timestamp() >= until THEN
			RETURN p_most;
		END IF;
	END LOOP;
	RETURN n;
END
$$;
COMMENT ON FUNCTION locks_prune IS
	'Deletes at most p_most resources that were not locked for 30 days, until sweep_until(). Returns how many; '
	'p_most if there may be more.';

REVOKE EXECUTE ON FUNCTION lock_fence(text, text, text, user_key, bigint),
	lock_check(text, text, bigint, text), locks_expire(integer), locks_prune(integer)
	FROM PUBLIC;
