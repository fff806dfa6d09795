-- SPDX-License-Identifier: MIT
-- Edit locks.  A row is a resource that was locked once; its token is the last one given.  Tokens
-- come from one sequence while the row is locked, so those of a resource only rise, and none
-- comes twice even when its row is deleted.

CREATE SEQUENCE lock_token AS bigint CACHE 1;
COMMENT ON SEQUENCE lock_token IS
	'The tokens of edit locks.';

CREATE TABLE locks (
	app text NOT NULL,
	resource_type text NOT NULL,
	resource_id text NOT NULL,
	token bigint NOT NULL,
	user_id bigint,
	name text,
	ttl integer NOT NULL,
	acquired_at timestamptz NOT NULL,
	renewed_at timestamptz NOT NULL,
	expires_at timestamptz NOT NULL,
	PRIMARY KEY (app, resource_type, resource_id)
) WITH (fillfactor = 70);
COMMENT ON TABLE locks IS
	'Edit locks. A row is a resource that has been locked before.';
COMMENT ON COLUMN locks.token IS
	'The newest token of the resource.';
COMMENT ON COLUMN locks.user_id IS
	'The user who holds the lock; NULL when no user does.';
COMMENT ON COLUMN locks.expires_at IS
	'When the lock expires, or when it was released.';
CREATE INDEX locks_held ON locks (app, resource_type, resource_id) WHERE user_id IS NOT NULL;
CREATE INDEX locks_expiring ON locks (expires_at) WHERE user_id IS NOT NULL;
CREATE INDEX locks_free ON locks (expires_at) WHERE user_id IS NULL;

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

CREATE FUNCTION lock_json(p_row locks) RETURNS json
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
	SELECT json_build_object('resource_type', p_row.resource_type, 'resource_id', p_row.resource_id,
		'user_id', p_row.user_id, 'name', p_row.name, 'token', p_row.token, 'ttl', p_row.ttl,
		'acquired_at', iso(p_row.acquired_at), 'renewed_at', iso(p_row.renewed_at),
		'expires_at', iso(p_row.expires_at))
$$;
COMMENT ON FUNCTION lock_json IS
	'An edit lock as JSON.';

-- Parsed here, as caller_id() is, so that PostgreSQL can inline it.
CREATE FUNCTION lock_is_held(p_row locks) RETURNS boolean
LANGUAGE sql VOLATILE
RETURN p_row.user_id IS NOT NULL AND p_row.expires_at > clock_timestamp();
COMMENT ON FUNCTION lock_is_held IS
	'Whether a user holds the lock now.';

CREATE FUNCTION lock_tell(p_action text, p_now_held locks, p_before locks, p_exclude_socket text)
RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	app CONSTANT text := coalesce(p_now_held.app, p_before.app);
	resource_type CONSTANT text := coalesce(p_now_held.resource_type, p_before.resource_type);
	resource_id CONSTANT text := coalesce(p_now_held.resource_id, p_before.resource_id);
BEGIN
	PERFORM broadcast(resource_channel(resource_type, resource_id), sync_event('LockChanged'),
		json_build_object('action', p_action, 'resource_type', resource_type,
			'resource_id', resource_id,
			'lock', CASE WHEN p_now_held.app IS NOT NULL THEN lock_json(p_now_held) END,
			'previous', CASE WHEN p_before.user_id IS NOT NULL THEN json_build_object(
				'user_id', p_before.user_id, 'name', p_before.name,
				'token', p_before.token) END),
		NULL, p_exclude_socket, app);
END
$$;
COMMENT ON FUNCTION lock_tell IS
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

CREATE FUNCTION lock_row(p_app text, p_resource_type text, p_resource_id text) RETURNS locks
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	l locks;
BEGIN
	LOOP
		SELECT x.* INTO l FROM locks x WHERE x.app = p_app
		AND x.resource_type = p_resource_type AND x.resource_id = p_resource_id FOR UPDATE;
		IF FOUND THEN
			RETURN l;
		END IF;
		INSERT INTO locks (app, resource_type, resource_id, token, ttl, acquired_at,
				   renewed_at, expires_at)
		VALUES (p_app, p_resource_type, p_resource_id, 0, 0, now(), now(), now())
		ON CONFLICT DO NOTHING;
	END LOOP;
END
$$;
COMMENT ON FUNCTION lock_row IS
	'The row of a resource, created if necessary, locked until the end of the transaction.';

CREATE FUNCTION sync_lock_acquire(p_app text, p_caller jsonb, p_resource_type text,
				  p_resource_id text, p_user_id bigint, p_ttl integer,
				  p_token bigint, p_socket_id text, OUT status integer,
				  OUT body json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	l locks;
	before locks;
	is_renewal boolean;
	at timestamptz;
BEGIN
	PERFORM require_write(p_app, p_caller, resource_channel(p_resource_type, p_resource_id),
			      'resource_id');
	before := lock_row(p_app, p_resource_type, p_resource_id);
	at := clock_timestamp();
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
	UPDATE locks x SET user_id = p_user_id, ttl = p_ttl,
		token = CASE WHEN is_renewal THEN x.token ELSE nextval('lock_token') END,
		name = coalesce(p_caller->>'name', (SELECT u.name FROM users u
						  WHERE u.app = p_app AND u.id = p_user_id)),
		acquired_at = CASE WHEN is_renewal THEN x.acquired_at ELSE at END,
		renewed_at = at, expires_at = at + p_ttl * interval '1 s'
	WHERE x.app = p_app AND x.resource_type = p_resource_type AND x.resource_id = p_resource_id
	RETURNING x.* INTO l;
	IF NOT is_renewal THEN
		PERFORM lock_tell('acquired', l, before, p_socket_id);
	END IF;
	status := 200;
	body := json_build_object('lock', lock_json(l), 'renewed', is_renewal);
END
$$;
COMMENT ON FUNCTION sync_lock_acquire IS
	'POST /locks: acquires a lock, or extends it for its holder. With a token it only '
	'extends.';

CREATE FUNCTION sync_lock_release(p_app text, p_caller jsonb, p_resource_type text,
				  p_resource_id text, p_user_id bigint, p_token bigint,
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
	SELECT x.* INTO l FROM locks x WHERE x.app = p_app
	AND x.resource_type = p_resource_type AND x.resource_id = p_resource_id FOR UPDATE;
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
		UPDATE locks x SET user_id = NULL, name = NULL, expires_at = clock_timestamp()
		WHERE x.app = p_app AND x.resource_type = p_resource_type
		AND x.resource_id = p_resource_id;
		PERFORM lock_tell(CASE WHEN p_force THEN 'forced' ELSE 'released' END, NULL, l,
				  p_socket_id);
		body := json_build_object('released', true, 'lock', NULL);
	END IF;
END
$$;
COMMENT ON FUNCTION sync_lock_release IS
	'POST /locks/release.';

CREATE FUNCTION sync_locks(p_app text, p_caller jsonb, p_resource_type text, p_resource_id text,
			   p_user_id bigint, p_page integer, p_cursor text,
			   OUT status integer, OUT body json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	most CONSTANT integer := 250;
	scope CONSTANT json := json_build_array('locks', p_app, p_resource_type, p_user_id);
	after CONSTANT text[] := coalesce(cursor_read(scope, p_cursor, 2), '{"",""}');
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
		PERFORM require_channel(p_app, p_caller,
			resource_channel(p_resource_type, p_resource_id), 'resource_id');
		SELECT x.* INTO l FROM locks x WHERE x.app = p_app
		AND x.resource_type = p_resource_type AND x.resource_id = p_resource_id;
		body := json_build_object('lock', CASE WHEN lock_is_held(l) THEN lock_json(l) END,
					  'last_token', coalesce(l.token, 0));
		RETURN;
	END IF;
	FOR l IN
		SELECT x.* FROM locks x WHERE x.app = p_app AND x.user_id IS NOT NULL
		AND (x.resource_type, x.resource_id) > (after[1], after[2])
		AND (p_resource_type IS NULL OR x.resource_type = p_resource_type)
		ORDER BY x.resource_type, x.resource_id LIMIT most + 1
	LOOP
		is_more := list_is_full(p_page, cardinality(found), unasked) OR seen = most;
		EXIT WHEN is_more;
		seen := seen + 1;
		last := l;
		CONTINUE WHEN NOT lock_is_held(l) OR l.user_id <> p_user_id;
		is_shown := channel_known(p_app, p_caller,
			resource_channel(l.resource_type, l.resource_id));
		IF is_shown IS NULL THEN
			unasked := array_append(unasked,
				resource_channel(l.resource_type, l.resource_id));
		ELSIF is_shown THEN
			found := array_append(found, lock_json(l));
		END IF;
	END LOOP;
	PERFORM require_asked(unasked);
	body := json_build_object('locks', array_to_json(found), 'next_cursor',
		CASE WHEN is_more THEN cursor_make(scope, last.resource_type, last.resource_id) END);
END
$$;
COMMENT ON FUNCTION sync_locks IS
	'GET /locks: the lock of one resource, or a page of held locks. One request reads at '
	'most 250 of them.';

CREATE FUNCTION lock_fence(p_app text, p_resource_type text, p_resource_id text, p_writer bigint,
			   p_token bigint) RETURNS text
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	l locks;
BEGIN
	SELECT x.* INTO l FROM locks x WHERE x.app = p_app
	AND x.resource_type = p_resource_type AND x.resource_id = p_resource_id FOR SHARE;
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
	'Whether a write with this token is refused: NULL or the code of the refusal. The '
	'answer holds until the end of the transaction. p_writer NULL means no particular user.';

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
	l locks;
	n integer := 0;
BEGIN
	FOR l IN
		SELECT x.* FROM locks x WHERE x.user_id IS NOT NULL AND x.expires_at <= now()
		ORDER BY x.expires_at LIMIT p_most FOR UPDATE SKIP LOCKED
	LOOP
		UPDATE locks x SET user_id = NULL, name = NULL
		WHERE x.app = l.app AND x.resource_type = l.resource_type
		AND x.resource_id = l.resource_id;
		n := n + 1;
		BEGIN
			PERFORM lock_tell('expired', NULL, l, NULL);
		EXCEPTION WHEN data_exception THEN
			-- Its application was removed, or has lower limits now.
			RAISE WARNING 'the expiry of an edit lock was not broadcast: %', SQLERRM;
		END;
	END LOOP;
	RETURN n;
END
$$;
COMMENT ON FUNCTION locks_expire IS
	'Releases at most p_most expired locks and broadcasts it. Returns how many.';

CREATE FUNCTION locks_prune(p_most integer) RETURNS integer
LANGUAGE sql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	WITH gone AS (
		DELETE FROM locks x WHERE (x.app, x.resource_type, x.resource_id) IN (
			SELECT y.app, y.resource_type, y.resource_id FROM locks y
			WHERE y.user_id IS NULL AND y.expires_at < now() - interval '30 days'
			ORDER BY y.expires_at LIMIT p_most FOR UPDATE SKIP LOCKED)
		RETURNING 1)
	SELECT count(*)::integer FROM gone
$$;
COMMENT ON FUNCTION locks_prune IS
	'Deletes at most p_most resources that were not locked for 30 days. Returns how many.';

REVOKE EXECUTE ON FUNCTION lock_fence(text, text, text, bigint, bigint),
	lock_check(text, text, bigint, text), locks_expire(integer), locks_prune(integer)
	FROM PUBLIC;
