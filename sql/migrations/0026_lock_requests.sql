-- SPDX-License-Identifier: MIT
-- Edit locks that change hands: a user requests a lock from its holder, who grants or refuses it, and a
-- lock that is taken by right.  Each function locks the lock's row first, so a request is always for
-- the holder whom it was sent to.

CREATE FUNCTION lock_request_clear(p_row locks, p_user_id user_key) RETURNS lock_requests
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	found lock_requests;
BEGIN
	DELETE FROM lock_requests r WHERE lock_request_is_for(r, p_row) AND r.user_id = p_user_id
	RETURNING r.* INTO found;
	IF found.app IS NULL OR found.expires_at <= clock_timestamp() THEN
		PERFORM sync_fail(404, 'unknown_request', format('User %s has no request for this lock, or no '
				  'longer does.', p_user_id), 'to');
	END IF;
	RETURN found;
END
$$;
COMMENT ON FUNCTION lock_request_clear IS
	'Deletes and returns the request of a user for a lock; refuses the call if there is none.';

CREATE FUNCTION lock_request_store(p_row locks, p_user_id user_key, p_name text, p_ttl integer,
				   p_wait integer, p_socket_id text, OUT request lock_requests,
				   OUT is_new boolean)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	at CONSTANT timestamptz := clock_timestamp();
BEGIN
	SELECT r.* INTO request FROM lock_requests r
	WHERE lock_request_is_for(r, p_row) AND r.user_id = p_user_id;
	is_new := coalesce(request.expires_at <= at, true);
	IF request.app IS NULL AND (SELECT count(*) FROM lock_requests r
		WHERE lock_request_is_for(r, p_row) AND r.expires_at > at) >= 20 THEN
		PERFORM sync_fail(429, 'too_many_requests', 'As many as 20 users request this lock already; '
				  'try again later.', 'resource_id');
	END IF;
	INSERT INTO lock_requests AS r (app, resource_type, resource_id, field, user_id, name, ttl,
					requested_at, expires_at, socket_id)
	VALUES (p_row.app, p_row.resource_type, p_row.resource_id, p_row.field, p_user_id, p_name, p_ttl,
		at, at + p_wait * interval '1 s', p_socket_id)
	ON CONFLICT ON CONSTRAINT lock_requests_pkey DO UPDATE
	SET name = excluded.name, ttl = excluded.ttl, expires_at = excluded.expires_at,
	    socket_id = excluded.socket_id,
	    requested_at = CASE WHEN is_new THEN excluded.requested_at ELSE r.requested_at END
	RETURNING r.* INTO request;
END
$$;
COMMENT ON FUNCTION lock_request_store IS
	'Stores or extends the request of a user for a lock. At most 20 users request a lock. The caller '
	'has locked its row.';

CREATE FUNCTION sync_lock_request(p_app text, p_caller jsonb, p_resource_type text,
				  p_resource_id text, p_field text, p_user_id user_key, p_ttl integer,
				  p_wait integer, p_socket_id text, OUT status integer,
				  OUT body json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	l locks;
	stored record;
BEGIN
	PERFORM require_write(p_app, p_caller, resource_channel(p_resource_type, p_resource_id),
			      'resource_id');
	l := lock_find(p_app, p_resource_type, p_resource_id, lock_field(p_field));
	IF l.app IS NULL OR NOT lock_is_held(l) THEN
		SELECT r.status, r.body INTO status, body FROM lock_refusal('not_locked',
			'No user holds this lock; acquire it.', l) r;
		RETURN;
	END IF;
	stored := lock_request_store(l, p_user_id, lock_name(p_app, p_caller, p_user_id), p_ttl, p_wait,
				     p_socket_id);
	IF stored.is_new THEN
		PERFORM lock_tell_users('LockRequested', ARRAY[l.user_id],
					lock_request_json(stored.request), p_app);
	END IF;
	status := 200;
	body := json_build_object('request', lock_request_json(stored.request),
				  'repeated', NOT stored.is_new, 'lock', lock_json(l));
END
$$;
COMMENT ON FUNCTION sync_lock_request IS
	'POST /locks/request: requests a lock from its holder.';

CREATE FUNCTION lock_of_holder(p_app text, p_resource_type text, p_resource_id text, p_field text,
			       p_user_id user_key, p_token bigint, OUT l locks, OUT status integer,
			       OUT body json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	PERFORM resource_channel(p_resource_type, p_resource_id);
	l := lock_find(p_app, p_resource_type, p_resource_id, lock_field(p_field));
	IF l.app IS NULL OR NOT lock_is_held(l) OR l.user_id <> p_user_id OR l.token <> p_token THEN
		-- Another holder is shown to the users who may see the resource: GET /locks.
		SELECT r.status, r.body INTO status, body FROM lock_refusal('lock_lost',
			format('User %s does not hold this lock, or no longer with this token.', p_user_id),
			NULL) r;
	END IF;
END
$$;
COMMENT ON FUNCTION lock_of_holder IS
	'The lock that the user holds, its row locked, or the answer that refuses the call. A holder who '
	'may not join the channel any more may still give the lock away.';

CREATE FUNCTION sync_lock_grant(p_app text, p_caller jsonb, p_resource_type text, p_resource_id text,
				p_field text, p_user_id user_key, p_to user_key, p_token bigint,
				p_socket_id text, OUT status integer, OUT body json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	own CONSTANT record := lock_of_holder(p_app, p_resource_type, p_resource_id, p_field,
					      p_user_id, p_token);
	request lock_requests;
	l locks;
BEGIN
	IF own.status IS NOT NULL THEN
		status := own.status;
		body := own.body;
		RETURN;
	END IF;
	request := lock_request_clear(own.l, p_to);
	l := lock_give(own.l, request.user_id, request.name, request.ttl, request.socket_id);
	PERFORM lock_tell_users('LockGranted', ARRAY[(own.l).user_id, l.user_id],
		json_build_object('resource_type', l.resource_type, 'resource_id', l.resource_id,
			'field', nullif(l.field, ''), 'lock', lock_json(l), 'socket_id', request.socket_id,
			'previous', json_build_object('user_id', (own.l).user_id, 'name', (own.l).name,
						      'token', (own.l).token)), p_app);
	PERFORM lock_broadcast('granted', l, own.l, p_socket_id);
	status := 200;
	body := json_build_object('granted', true, 'lock', lock_json(l));
END
$$;
COMMENT ON FUNCTION sync_lock_grant IS
	'POST /locks/grant: the holder gives the lock to a user who requested it.';

CREATE FUNCTION sync_lock_refuse(p_app text, p_caller jsonb, p_resource_type text, p_resource_id text,
				 p_field text, p_user_id user_key, p_to user_key, p_token bigint,
				 p_reason text, OUT status integer, OUT body json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	own CONSTANT record := lock_of_holder(p_app, p_resource_type, p_resource_id, p_field,
					      p_user_id, p_token);
	request lock_requests;
BEGIN
	IF own.status IS NOT NULL THEN
		status := own.status;
		body := own.body;
		RETURN;
	END IF;
	request := lock_request_clear(own.l, p_to);
	PERFORM lock_tell_users('LockRefused', ARRAY[request.user_id], json_build_object(
		'resource_type', request.resource_type, 'resource_id', request.resource_id,
		'field', nullif(request.field, ''), 'user_id', (own.l).user_id, 'name', (own.l).name,
		'reason', p_reason), p_app);
	status := 200;
	body := json_build_object('refused', true, 'lock', lock_json(own.l));
END
$$;
COMMENT ON FUNCTION sync_lock_refuse IS
	'POST /locks/refuse: the holder keeps the lock, and the user of the request receives the reason.';

CREATE FUNCTION lock_require_steal(p_app text, p_caller jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	IF NOT caller_is_server(p_caller) AND NOT caller_roles(p_app, p_caller) && string_to_array(
		coalesce((SELECT s.value FROM sync_settings s WHERE s.name = 'lock_steal_roles'), ''), ' ') THEN
		PERFORM sync_fail(403, 'forbidden', 'Only the application''s server, and users with a role '
				  'that the option sync.lock_steal_roles names, may take a lock from its '
				  'holder.');
	END IF;
END
$$;
COMMENT ON FUNCTION lock_require_steal IS
	'Refuses a caller who has no right to take locks from their holders.';

CREATE FUNCTION sync_lock_steal(p_app text, p_caller jsonb, p_resource_type text, p_resource_id text,
				p_field text, p_user_id user_key, p_ttl integer, p_socket_id text,
				OUT status integer, OUT body json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	before locks;
	l locks;
BEGIN
	PERFORM lock_require_steal(p_app, p_caller);
	PERFORM require_write(p_app, p_caller, resource_channel(p_resource_type, p_resource_id),
			      'resource_id');
	before := lock_row(p_app, p_resource_type, p_resource_id, lock_field(p_field));
	l := lock_give(before, p_user_id, lock_name(p_app, p_caller, p_user_id), p_ttl, p_socket_id);
	IF lock_is_held(before) THEN
		PERFORM lock_tell_users('LockStolen', ARRAY[before.user_id], json_build_object(
			'resource_type', l.resource_type, 'resource_id', l.resource_id,
			'field', nullif(l.field, ''), 'lock', lock_json(l), 'token', before.token), p_app);
	END IF;
	PERFORM lock_broadcast(CASE WHEN lock_is_held(before) THEN 'stolen' ELSE 'acquired' END, l, before,
			  p_socket_id);
	status := 200;
	body := json_build_object('stolen', lock_is_held(before), 'lock', lock_json(l));
END
$$;
COMMENT ON FUNCTION sync_lock_steal IS
	'POST /locks/steal: makes a user the holder, also if another user has the lock.';

REVOKE EXECUTE ON FUNCTION lock_request_clear(locks, user_key),
	lock_request_store(locks, user_key, text, integer, integer, text),
	sync_lock_request(text, jsonb, text, text, text, user_key, integer, integer, text),
	lock_of_holder(text, text, text, text, user_key, bigint),
	sync_lock_grant(text, jsonb, text, text, text, user_key, user_key, bigint, text),
	sync_lock_refuse(text, jsonb, text, text, text, user_key, user_key, bigint, text),
	sync_lock_steal(text, jsonb, text, text, text, user_key, integer, text) FROM PUBLIC;
