-- SPDX-License-Identifier: MIT
-- What all of the sync API is built on.  Each endpoint is a function sync_...(app, caller, ...) that
-- gives one row: the HTTP status and the body.  caller is {"server": true}, or a user's
-- {"id", "name", "avatar", "roles"} as its token has them.

-- The ids of users, of the type that the option sync.user_id of the daemon that applies this names.
-- @USER_ID@ is bigint or text: only what is made here depends on it.
DO $$
BEGIN
	IF '@USER_ID@' = 'bigint' THEN
		CREATE DOMAIN user_key AS bigint CHECK (VALUE > 0);
	ELSE
		CREATE DOMAIN user_key AS text COLLATE "C" CHECK (VALUE ~ '^[-A-Za-z0-9_=@;]{1,128}$');
	END IF;
END
$$;
COMMENT ON DOMAIN user_key IS
	'The id of a user: the option sync.user_id.';

CREATE FUNCTION user_key_base() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN '@USER_ID@'::text;
COMMENT ON FUNCTION user_key_base IS
	'The type of the ids of users: bigint or text.';

CREATE FUNCTION user_key_rule() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE user_key_base() WHEN 'bigint' THEN 'a positive integer'
	ELSE '1 to 128 letters, digits and -_=@;' END;
COMMENT ON FUNCTION user_key_rule IS
	'What the id of a user is, for errors.';

CREATE FUNCTION user_key_read(p_text text) RETURNS user_key
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (CASE WHEN user_key_base() = 'text'
	THEN CASE WHEN p_text COLLATE "C" ~ '^[-A-Za-z0-9_=@;]{1,128}$' THEN p_text END
	WHEN p_text COLLATE "C" ~ '^[0-9]{1,19}$'
	THEN CASE WHEN p_text::numeric BETWEEN 1 AND 9223372036854775807 THEN p_text END END)::user_key;
COMMENT ON FUNCTION user_key_read IS
	'The id of a user in a text; NULL when the text is none.';

-- A statement compares with it instead of leaving the comparison out: so one plan uses the index.
CREATE FUNCTION user_key_first() RETURNS user_key
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (CASE user_key_base() WHEN 'bigint' THEN '1' ELSE '-' END)::user_key;
COMMENT ON FUNCTION user_key_first IS
	'The smallest id that a user can have.';

CREATE FUNCTION sync_fail(p_status integer, p_code text, p_message text, p_field text DEFAULT '')
RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp
AS $$
BEGIN
	RAISE EXCEPTION '%', p_message
		USING ERRCODE = 'SW' || p_status, CONSTRAINT = p_code, COLUMN = coalesce(p_field, '');
END
$$;
COMMENT ON FUNCTION sync_fail IS
	'Refuses a call of the sync API: HTTP status, code for programs, message for people, '
	'and the field. The transaction is undone.';

CREATE FUNCTION iso(p_time timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT to_char(p_time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;
COMMENT ON FUNCTION iso IS
	'The time as ISO 8601 in UTC with milliseconds.';

-- p_scope: the list and its filters.  A cursor of another list would be taken for a position in this one.
CREATE FUNCTION cursor_make(p_scope json, VARIADIC p_parts text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT rtrim(translate(encode(convert_to(
		to_json(left(md5(p_scope::text), 8) || p_parts)::text, 'UTF8'), 'base64'),
			       E'+/\n', '-_'), '=')
$$;
COMMENT ON FUNCTION cursor_make IS
	'Makes an opaque cursor from a list of texts.';

CREATE FUNCTION cursor_read(p_scope json, p_cursor text, p_parts integer) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	found text[];
BEGIN
	IF p_cursor IS NULL THEN
		RETURN NULL;
	END IF;
	found := ARRAY(SELECT json_array_elements_text(convert_from(decode(
		rpad(translate(p_cursor, '-_', '+/'), (length(p_cursor) + 3) / 4 * 4, '='),
		'base64'), 'UTF8')::json));
	IF cardinality(found) = p_parts + 1 AND found[1] = left(md5(p_scope::text), 8) THEN
		RETURN found[2:];
	END IF;
	RAISE data_exception;
EXCEPTION WHEN data_exception THEN
	PERFORM sync_fail(400, 'invalid_cursor', 'The cursor is not one of this '
			  'list with these filters; start again without it.', 'cursor');
END
$$;
COMMENT ON FUNCTION cursor_read IS
	'The p_parts parts of a cursor; refuses a text that is not such a cursor of this scope.';

CREATE FUNCTION keyset_make(p_scope json, p_is_newer boolean, p_start bigint) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = @SCHEMA@, pg_temp
AS $$
	SELECT cursor_make(p_scope, CASE WHEN p_is_newer THEN 'newer' ELSE 'older' END, p_start::text)
$$;
COMMENT ON FUNCTION keyset_make IS
	'Makes the cursor of a list that is read in both directions.';

CREATE FUNCTION keyset_read(p_scope json, p_cursor text, OUT is_newer boolean, OUT start bigint)
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	parts CONSTANT text[] := cursor_read(p_scope, p_cursor, 2);
BEGIN
	is_newer := false;
	start := 9223372036854775807;
	IF p_cursor IS NULL THEN
		RETURN;
	END IF;
	IF (parts[1] IN ('newer', 'older') AND parts[2] COLLATE "C" ~ '^[0-9]{1,18}$') IS NOT TRUE THEN
		PERFORM sync_fail(400, 'invalid_cursor', 'The cursor is invalid; '
				  'start again without it.', 'cursor');
	END IF;
	is_newer := parts[1] = 'newer';
	start := parts[2]::bigint;
END
$$;
COMMENT ON FUNCTION keyset_read IS
	'The direction and the position of such a cursor. Without a cursor: from the newest '
	'entry to older ones.';

-- p_start and p_is_newer: the request; p_stop: the position of the last row that was read, NULL when
-- there are no rows after it; p_top: the newest position.
CREATE FUNCTION keyset_around(p_scope json, p_is_newer boolean, p_start bigint, p_stop bigint,
			      p_top bigint, OUT next_cursor text, OUT prev_cursor text, OUT has_newer boolean)
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp
AS $$
BEGIN
	IF p_is_newer THEN
		next_cursor := keyset_make(p_scope, false, p_start + 1);
		prev_cursor := keyset_make(p_scope, true, coalesce(p_stop, greatest(p_top, p_start)));
		has_newer := p_stop IS NOT NULL;
	ELSE
		next_cursor := CASE WHEN p_stop IS NOT NULL THEN keyset_make(p_scope, false, p_stop) END;
		has_newer := p_start < 9223372036854775807;
		prev_cursor := keyset_make(p_scope, true, CASE WHEN has_newer THEN greatest(p_start, 1) - 1
						 ELSE p_top END);
	END IF;
END
$$;
COMMENT ON FUNCTION keyset_around IS
	'The cursors before and after a page.';

-- PostgreSQL cannot inline a function that sets search_path, and a call of one costs more than these
-- do.  A body after RETURN is parsed when it is created: its names do not depend on the caller.
CREATE FUNCTION caller_is_server(p_caller jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce((p_caller->>'server')::boolean, false);
COMMENT ON FUNCTION caller_is_server IS
	'Whether the caller is the application''s server and not a user.';

CREATE FUNCTION caller_id(p_caller jsonb) RETURNS user_key
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (p_caller->>'id')::user_key;
COMMENT ON FUNCTION caller_id IS
	'The id of the calling user, NULL for the application''s server.';

CREATE FUNCTION ids_read(p_ids jsonb, p_field text) RETURNS user_key[]
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	ids user_key[];
BEGIN
	IF p_ids IS NULL THEN
		RETURN NULL;
	END IF;
	ids := ARRAY(SELECT CASE WHEN jsonb_typeof(e) IN ('number', 'string') THEN user_key_read(e #>> '{}') END
		     FROM jsonb_array_elements(p_ids) e);
	IF array_position(ids, NULL) IS NOT NULL THEN
		PERFORM sync_fail(400, 'invalid_value',
				  format('%s must be ids of users: each is %s.', p_field, user_key_rule()), p_field);
	END IF;
	RETURN ARRAY(SELECT DISTINCT i FROM unnest(ids) i ORDER BY 1);
END
$$;
COMMENT ON FUNCTION ids_read IS
	'The ids of users in a list; NULL without a list. Refuses what is not an id.';

CREATE TABLE sync_settings (
	name text PRIMARY KEY,
	value text NOT NULL
);
COMMENT ON TABLE sync_settings IS
	'Settings of the daemon that functions here need. Written by the daemon when it starts.';

CREATE FUNCTION sync_settings_put(p_settings json) RETURNS void
LANGUAGE sql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	INSERT INTO sync_settings AS s (name, value)
	SELECT e.key, e.value FROM json_each_text(p_settings) e
	ON CONFLICT ON CONSTRAINT sync_settings_pkey DO UPDATE SET value = excluded.value
	WHERE s.value <> excluded.value
$$;
COMMENT ON FUNCTION sync_settings_put IS
	'Stores settings.';

CREATE FUNCTION sync_event(p_name text) RETURNS text
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT coalesce((SELECT s.value FROM sync_settings s WHERE s.name = 'event_namespace'),
			'App\Events\') || p_name
$$;
COMMENT ON FUNCTION sync_event IS
	'The name of an event of the sync API, with the configured namespace in front.';

CREATE FUNCTION sockets_with(p_sockets text[], p_socket_id text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN p_socket_id IS NULL OR p_socket_id = ANY (p_sockets) THEN p_sockets
	    ELSE p_sockets[greatest(1, cardinality(p_sockets) - 18):] || p_socket_id END;
COMMENT ON FUNCTION sockets_with IS
	'The sockets of a user with one more; the newest 20 of them.';

CREATE FUNCTION user_channels(p_user_id user_key) RETURNS text[]
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT ARRAY(SELECT replace(t, '{id}', p_user_id::text) FROM string_to_table(coalesce(
		(SELECT s.value FROM sync_settings s WHERE s.name = 'user_channels'),
		'private-App.Models.User.{id}'), ' ') t WHERE t <> '')
$$;
COMMENT ON FUNCTION user_channels IS
	'The channels of a user: the option sync.user_channels.';

CREATE TABLE users (
	app text NOT NULL,
	id user_key NOT NULL,
	name text,
	avatar text,
	roles text[] NOT NULL DEFAULT '{}',
	updated_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (app, id)
);
COMMENT ON TABLE users IS
	'What the application reported about its users.';
COMMENT ON COLUMN users.roles IS
	'Names of roles; channel rules and notifications use them.';
CREATE INDEX users_roles ON users USING gin (roles);

CREATE FUNCTION user_json(p_row users) RETURNS json
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
	SELECT json_build_object('id', p_row.id, 'name', p_row.name, 'avatar', p_row.avatar,
				 'roles', p_row.roles, 'updated_at', iso(p_row.updated_at))
$$;
COMMENT ON FUNCTION user_json IS
	'A user as JSON.';

CREATE FUNCTION sync_user_get(p_app text, p_caller jsonb, p_user_id user_key,
			      OUT status integer, OUT body json)
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	status := 200;
	SELECT json_build_object('user', user_json(u)) INTO body
	FROM users u WHERE u.app = p_app AND u.id = p_user_id;
	IF NOT FOUND THEN
		PERFORM sync_fail(404, 'unknown_user',
				  'The application has not reported this user; PUT users/{id} does.', 'id');
	END IF;
END
$$;
COMMENT ON FUNCTION sync_user_get IS
	'GET /users/{id}.';

CREATE FUNCTION roles_read(p_roles jsonb, p_field text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp
AS $$
BEGIN
	IF p_roles IS NULL THEN
		RETURN NULL;
	END IF;
	IF jsonb_typeof(p_roles) <> 'array' OR jsonb_array_length(p_roles) > 64
	   OR EXISTS (SELECT FROM jsonb_path_query(p_roles, 'strict $[*]') r
		      WHERE jsonb_typeof(r) <> 'string' OR length(r #>> '{}') NOT BETWEEN 1 AND 64) THEN
		PERFORM sync_fail(400, 'invalid_value', format('%s must be a list of at most 64 strings of 1 '
				  'to 64 characters.', p_field), p_field);
	END IF;
	RETURN ARRAY(SELECT jsonb_array_elements_text(p_roles));
END
$$;
COMMENT ON FUNCTION roles_read IS
	'The roles in a list; NULL without one. Refuses what is not a list of roles.';

CREATE FUNCTION sync_user_put(p_app text, p_caller jsonb, p_user_id user_key, p_name text,
			      p_avatar text, p_roles jsonb, OUT status integer, OUT body json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	told users;
	role_list CONSTANT text[] := roles_read(p_roles, 'roles');
BEGIN
	INSERT INTO users AS u (app, id, name, avatar, roles)
	VALUES (p_app, p_user_id, p_name, p_avatar, coalesce(role_list, '{}'))
	ON CONFLICT ON CONSTRAINT users_pkey DO UPDATE
	SET name = coalesce(excluded.name, u.name),
	    avatar = coalesce(excluded.avatar, u.avatar),
	    roles = coalesce(role_list, u.roles),
	    updated_at = now()
	RETURNING u.* INTO told;
	status := 200;
	body := json_build_object('user', user_json(told));
END
$$;
COMMENT ON FUNCTION sync_user_put IS
	'PUT /users/{id}. Fields that are missing keep their values.';

REVOKE EXECUTE ON FUNCTION sync_settings_put(json) FROM PUBLIC;
