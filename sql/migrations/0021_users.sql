-- SPDX-License-Identifier: MIT
-- Storing many users, storing users from SQL, and deleting what is stored about a user.

CREATE FUNCTION cursor_id(p_scope json, p_cursor text) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	part CONSTANT text := (cursor_read(p_scope, p_cursor, 1))[1];
BEGIN
	IF part COLLATE "C" !~ '^[0-9]{1,18}$' THEN
		PERFORM sync_fail(400, 'invalid_cursor', 'The cursor is invalid; '
				  'start again without it.', 'cursor');
	END IF;
	RETURN coalesce(part::bigint, 0);
END
$$;
COMMENT ON FUNCTION cursor_id IS
	'The id in the cursor of a list in the order of ids; 0 without a cursor.';

CREATE FUNCTION cursor_user(p_scope json, p_cursor text) RETURNS user_key
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	part CONSTANT text := (cursor_read(p_scope, p_cursor, 1))[1];
	id CONSTANT user_key := user_key_read(part);
BEGIN
	IF part IS NOT NULL AND id IS NULL THEN
		PERFORM sync_fail(400, 'invalid_cursor', 'The cursor is not one that was given out; '
				  'start again without it.', 'cursor');
	END IF;
	RETURN id;
END
$$;
COMMENT ON FUNCTION cursor_user IS
	'The id of a user in the cursor of a list in the order of these ids; NULL without a cursor.';

CREATE FUNCTION user_check(p_name text, p_avatar text, p_place text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp
AS $$
BEGIN
	IF octet_length(p_name) > 255 THEN
		PERFORM sync_fail(400, 'invalid_value', format('%sname must have at most 255 bytes.', p_place),
				  p_place || 'name');
	ELSIF octet_length(p_avatar) > 2048 THEN
		PERFORM sync_fail(400, 'invalid_value', format('%savatar must have at most 2048 bytes.', p_place),
				  p_place || 'avatar');
	END IF;
END
$$;
COMMENT ON FUNCTION user_check IS
	'Refuses a name or an avatar that is too long. p_place: prefix of the field names in errors.';

CREATE FUNCTION user_read(p_user jsonb, p_place text, OUT id user_key, OUT name text, OUT avatar text,
			  OUT roles jsonb)
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	wrong text;
BEGIN
	IF jsonb_typeof(p_user) <> 'object' OR NOT p_user ? 'id' THEN
		PERFORM sync_fail(400, 'invalid_value', format('%s must be an object with an id.', p_place),
				  p_place);
	END IF;
	id := (ids_read(jsonb_build_array(p_user->'id'), p_place || '.id'))[1];
	SELECT k INTO wrong FROM jsonb_object_keys(p_user) k WHERE k NOT IN ('id', 'name', 'avatar', 'roles')
	LIMIT 1;
	IF FOUND THEN
		PERFORM sync_fail(400, 'unknown_field', format('%s has a field that this endpoint does not '
				  'know: "%s".', p_place, left(wrong, 64)), p_place);
	END IF;
	SELECT k INTO wrong FROM jsonb_each(p_user) e(k, v)
	WHERE k IN ('name', 'avatar') AND jsonb_typeof(v) NOT IN ('string', 'null') LIMIT 1;
	IF FOUND THEN
		PERFORM sync_fail(400, 'invalid_value', format('%s.%s must be a string.', p_place, wrong),
				  p_place || '.' || wrong);
	END IF;
	PERFORM user_check(p_user->>'name', p_user->>'avatar', p_place || '.'),
		roles_read(nullif(p_user->'roles', 'null'), p_place || '.roles');
	name := p_user->>'name';
	avatar := p_user->>'avatar';
	roles := nullif(p_user->'roles', 'null');
END
$$;
COMMENT ON FUNCTION user_read IS
	'A user in the list of a request. Refuses anything else.';

CREATE FUNCTION sync_users_put(p_app text, p_caller jsonb, p_users jsonb, OUT status integer, OUT body json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	ids user_key[];
BEGIN
	-- In the order of their ids: two calls at once cannot deadlock.  Of a user named twice the later one is the last.
	SELECT array_agg(put.id) INTO ids FROM (
		SELECT r.id, sync_user_put(p_app, p_caller, r.id, r.name, r.avatar, r.roles)
		FROM (SELECT u.*, x.at
		      FROM jsonb_array_elements(p_users) WITH ORDINALITY AS x(value, at)
		      CROSS JOIN LATERAL user_read(x.value, format('users[%s]', x.at - 1)) u
		      ORDER BY u.id, x.at) r) put;
	status := 200;
	body := json_build_object('stored', (SELECT count(DISTINCT i) FROM unnest(ids) i));
END
$$;
COMMENT ON FUNCTION sync_users_put IS
	'PUT /users: many users, all or none. Fields that are missing keep their values.';

CREATE FUNCTION sync_users_list(p_app text, p_caller jsonb, p_ids jsonb, p_role text, p_page integer,
				p_cursor text, OUT status integer, OUT body json)
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	scope CONSTANT json := json_build_array('users', p_app, p_ids, p_role);
	wanted CONSTANT user_key[] := ids_read(p_ids, 'ids');
	after CONSTANT user_key := cursor_user(scope, p_cursor);
	page users[];
BEGIN
	page := ARRAY(SELECT u FROM users u
		      WHERE u.app = p_app AND u.id >= coalesce(after, user_key_first()) AND u.id IS DISTINCT FROM after
		      AND (wanted IS NULL OR u.id = ANY (wanted)) AND (p_role IS NULL OR u.roles @> ARRAY[p_role])
		      ORDER BY u.id LIMIT p_page + 1);
	status := 200;
	body := json_build_object(
		'users', coalesce((SELECT json_agg(user_json(u) ORDER BY u.id) FROM unnest(page[:p_page]) u), '[]'),
		'next_cursor', CASE WHEN cardinality(page) > p_page
				    THEN cursor_make(scope, (page[p_page]).id::text) END);
END
$$;
COMMENT ON FUNCTION sync_users_list IS
	'GET /users: a page in the order of the ids; those in a list, or those with a role.';

CREATE FUNCTION user_stop_viewing(p_app text, p_user_id user_key) RETURNS integer
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	r record;
	was text;
	n integer := 0;
BEGIN
	FOR r IN SELECT v.resource_type, v.resource_id, count(*) AS tabs FROM viewers v
		 WHERE v.app = p_app AND v.user_id = p_user_id GROUP BY 1, 2
		 ORDER BY viewing_hash(p_app, v.resource_type, v.resource_id) LOOP
		PERFORM viewing_lock(p_app, r.resource_type, r.resource_id);
		was := viewing_state(p_app, r.resource_type, r.resource_id);
		DELETE FROM viewers v WHERE v.app = p_app AND v.resource_type = r.resource_type
		AND v.resource_id = r.resource_id AND v.user_id = p_user_id;
		PERFORM viewing_settle(p_app, r.resource_type, r.resource_id, was, NULL, clock_timestamp());
		n := n + r.tabs;
	END LOOP;
	RETURN n;
END
$$;
COMMENT ON FUNCTION user_stop_viewing IS
	'Ends all tabs of a user, and broadcasts the lists that change. Returns how many tabs.';

CREATE FUNCTION user_release_locks(p_app text, p_user_id user_key) RETURNS integer
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	l locks;
	n integer := 0;
BEGIN
	-- In the order of locks_sweep(), and for the same reason with the locks of the user's requests.
	FOR l IN SELECT x.* FROM locks x WHERE x.app = p_app
		 AND (x.resource_type, x.resource_id, x.field) IN (
			SELECT y.resource_type, y.resource_id, y.field FROM locks y
			WHERE y.app = p_app AND y.user_id = p_user_id
			UNION
			SELECT r.resource_type, r.resource_id, r.field FROM lock_requests r
			WHERE r.app = p_app AND r.user_id = p_user_id)
		 ORDER BY x.resource_type, x.resource_id, x.field FOR UPDATE LOOP
		IF l.user_id = p_user_id THEN
			l.name := NULL;     -- the event stays in the log
			PERFORM lock_end_quietly(l, 'forced');
			n := n + 1;
		END IF;
		DELETE FROM lock_requests r
		WHERE lock_request_is_for(r, l) AND r.user_id = p_user_id;
	END LOOP;
	RETURN n;
END
$$;
COMMENT ON FUNCTION user_release_locks IS
	'Releases all edit locks of a user, broadcasts it, and deletes the user''s requests for others. '
	'Returns how many locks.';

CREATE FUNCTION user_leave(p_app text, p_user_id user_key, p_channels text[]) RETURNS integer
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	gone user_presence;
BEGIN
	DELETE FROM user_presence p WHERE p.app = p_app AND p.user_id = p_user_id RETURNING p.* INTO gone;
	IF gone.app IS NULL THEN
		RETURN 0;
	END IF;
	IF gone.status <> 'offline' AND p_channels IS NOT NULL THEN
		gone.name := NULL;
		gone.info := NULL;
		gone.location := NULL;
		gone.previous_status := gone.status;
		gone.status := 'offline';
		PERFORM presence_broadcast(ARRAY[gone], p_channels);
	END IF;
	RETURN 1;
END
$$;
COMMENT ON FUNCTION user_leave IS
	'Deletes the presence of a user, and broadcasts it to the channels.';

CREATE FUNCTION user_anonymize(p_app text, p_user_id user_key) RETURNS bigint
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	n bigint;
	more bigint;
BEGIN
	-- activities_place() must not assign positions to these rows meanwhile.  Two statements: rows with a
	-- position have another index than those without.
	PERFORM pg_advisory_xact_lock(lock_key('activities'));
	UPDATE activities a SET user_id = NULL WHERE a.app = p_app AND a.user_id = p_user_id AND a.position > 0;
	GET DIAGNOSTICS n = ROW_COUNT;
	UPDATE activities a SET user_id = NULL WHERE a.app = p_app AND a.user_id = p_user_id
	AND a.position IS NULL;
	GET DIAGNOSTICS more = ROW_COUNT;
	RETURN n + more;
END
$$;
COMMENT ON FUNCTION user_anonymize IS
	'Removes the id of a user from activities, which stay in their feeds. Returns how many.';

CREATE FUNCTION user_forget_name(p_app text, p_user_id user_key) RETURNS bigint
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	n bigint;
BEGIN
	DELETE FROM users u WHERE u.app = p_app AND u.id = p_user_id;
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN n;
END
$$;
COMMENT ON FUNCTION user_forget_name IS
	'Deletes name, avatar and roles of a user. Called before user_leave(), whose event would have the name.';

CREATE FUNCTION user_remove(p_app text, p_user_id user_key, p_channels text[]) RETURNS json
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	-- This first: it takes the lock "activities", so that two removals cannot deadlock.
	activities CONSTANT bigint := user_anonymize(p_app, p_user_id);
	viewing CONSTANT integer := user_stop_viewing(p_app, p_user_id);
	locks CONSTANT integer := user_release_locks(p_app, p_user_id);
	known CONSTANT bigint := user_forget_name(p_app, p_user_id);
	presence CONSTANT integer := user_leave(p_app, p_user_id, p_channels);
	reads bigint;
	notified bigint;
	webhooks bigint;
BEGIN
	DELETE FROM activity_reads r WHERE r.app = p_app AND r.user_id = p_user_id;
	GET DIAGNOSTICS reads = ROW_COUNT;
	DELETE FROM notifications n WHERE n.app = p_app AND n.user_id = p_user_id;
	GET DIAGNOSTICS notified = ROW_COUNT;
	DELETE FROM notification_checks c WHERE c.app = p_app AND c.user_id = p_user_id;
	-- The texts of notifications are among them.
	DELETE FROM webhook_queue q WHERE q.app = p_app AND q.event->>'user_id' = p_user_id::text;
	GET DIAGNOSTICS webhooks = ROW_COUNT;
	RETURN json_build_object('user_id', p_user_id, 'deleted', json_build_object('user', known,
		'presence', presence, 'viewing', viewing, 'locks', locks, 'notifications', notified,
		'activity_reads', reads, 'webhooks', webhooks), 'anonymized', json_build_object('activities', activities));
END
$$;
COMMENT ON FUNCTION user_remove IS
	'Deletes what is stored about a user, and anonymizes its activities. Returns how much.';

CREATE FUNCTION sync_user_delete(p_app text, p_caller jsonb, p_user_id user_key, p_channels text[],
				 OUT status integer, OUT body json)
LANGUAGE sql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT 200, user_remove(p_app, p_user_id, p_channels)
$$;
COMMENT ON FUNCTION sync_user_delete IS
	'DELETE /users/{id}.';

CREATE FUNCTION user_put(id user_key, name text DEFAULT NULL, avatar text DEFAULT NULL,
			 roles text[] DEFAULT NULL, app text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	PERFORM ids_read(jsonb_build_array($1), 'id'), user_check($2, $3, ''),
		sync_user_put((log_app($5)).app, '{"server": true}', $1, $2, $3, to_jsonb($4));
END
$$;
COMMENT ON FUNCTION user_put IS
	'Stores the data of a user; what is NULL keeps its value. For the application''s own '
	'transactions and triggers.';

CREATE FUNCTION user_delete(id user_key, app text DEFAULT NULL) RETURNS json
LANGUAGE plpgsql SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	PERFORM ids_read(jsonb_build_array($1), 'id');
	RETURN user_remove((log_app($2)).app, $1, NULL);
END
$$;
COMMENT ON FUNCTION user_delete IS
	'Deletes what is stored about a user, and anonymizes its activities. For the application''s own '
	'transactions. Returns how much as JSON.';

REVOKE EXECUTE ON FUNCTION sync_users_put(text, jsonb, jsonb), user_stop_viewing(text, user_key),
	user_release_locks(text, user_key), user_forget_name(text, user_key), user_leave(text, user_key, text[]), user_anonymize(text, user_key),
	user_remove(text, user_key, text[]), sync_user_delete(text, jsonb, user_key, text[]),
	user_put(user_key, text, text, text[], text), user_delete(user_key, text) FROM PUBLIC;
