-- SPDX-License-Identifier: MIT
-- What all of the sync API is built on.  Each endpoint is a function sync_...(app, caller, ...) that
-- gives one row: the HTTP status and the body.  caller is {"server": true}, or a user's
-- {"id", "name", "avatar", "roles"} as its token says.

-- Refuses with an HTTP status, a code for programs and a sentence for people; what the function
-- did is undone.
CREATE FUNCTION sync_fail(status integer, code text, message text, field text DEFAULT '')
RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION '%', message
		USING ERRCODE = 'SW' || status, CONSTRAINT = code, COLUMN = field;
END
$$;

-- ISO 8601 in UTC, to the millisecond.
CREATE FUNCTION iso(t timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT to_char(t AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;

-- Opaque cursors: a list of texts as base64url.
CREATE FUNCTION cursor_make(VARIADIC parts text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT rtrim(translate(encode(convert_to(to_json(parts)::text, 'UTF8'), 'base64'),
			       E'+/\n', '-_'), '=')
$$;

-- The parts of a cursor of that many; refuses what is none.
CREATE FUNCTION cursor_read(cursor text, parts integer, field text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	found text[];
BEGIN
	IF cursor IS NULL THEN
		RETURN NULL;
	END IF;
	found := ARRAY(SELECT json_array_elements_text(convert_from(decode(
		rpad(translate(cursor, '-_', '+/'), (length(cursor) + 3) / 4 * 4, '='),
		'base64'), 'UTF8')::json));
	IF cardinality(found) = parts THEN
		RETURN found;
	END IF;
	RAISE data_exception;
EXCEPTION WHEN data_exception THEN
	PERFORM sync_fail(400, 'invalid_cursor',
			  'The cursor is not one that was given out; start again without it.', field);
END
$$;

-- Cursors of lists that are read both ways: a direction and a position.
CREATE FUNCTION keyset_make(is_newer boolean, start bigint) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = @SCHEMA@, pg_temp
AS $$
	SELECT cursor_make(CASE WHEN is_newer THEN 'newer' ELSE 'older' END, start::text)
$$;

-- Without a cursor: from the newest down.
CREATE FUNCTION keyset_read(cursor text, OUT is_newer boolean, OUT start bigint)
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	parts CONSTANT text[] := cursor_read(cursor, 2, 'cursor');
BEGIN
	is_newer := false;
	start := 9223372036854775807;
	IF cursor IS NULL THEN
		RETURN;
	END IF;
	IF (parts[1] IN ('newer', 'older') AND parts[2] COLLATE "C" ~ '^[0-9]{1,18}$') IS NOT TRUE THEN
		PERFORM sync_fail(400, 'invalid_cursor', 'The cursor is not one that was given out; '
				  'start again without it.', 'cursor');
	END IF;
	is_newer := parts[1] = 'newer';
	start := parts[2]::bigint;
END
$$;

-- The cursors around a page.  start and is_newer: what was asked; stop: the position of the last row
-- that was looked at, NULL when there is nothing behind it; top: the newest position there is.
CREATE FUNCTION keyset_around(is_newer boolean, start bigint, stop bigint, top bigint,
			      OUT next_cursor text, OUT prev_cursor text, OUT has_newer boolean)
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp
AS $$
BEGIN
	IF is_newer THEN
		next_cursor := keyset_make(false, start + 1);
		prev_cursor := keyset_make(true, coalesce(stop, greatest(top, start)));
		has_newer := stop IS NOT NULL;
	ELSE
		next_cursor := CASE WHEN stop IS NOT NULL THEN keyset_make(false, stop) END;
		has_newer := start < 9223372036854775807;
		prev_cursor := keyset_make(true, CASE WHEN has_newer THEN greatest(start, 1) - 1
						 ELSE top END);
	END IF;
END
$$;

-- These two, and channel_plain(), have no search_path of their own: with one PostgreSQL could not
-- inline them, and each call would cost more than the statement it stands in.
CREATE FUNCTION caller_is_server(caller jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
	SELECT coalesce((caller->>'server')::boolean, false)
$$;

CREATE FUNCTION caller_id(caller jsonb) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
	SELECT (caller->>'id')::bigint
$$;

-- Written by the daemon at its start.
CREATE TABLE sync_settings (
	name text PRIMARY KEY,
	value text NOT NULL
);

CREATE FUNCTION sync_settings_put(settings json) RETURNS void
LANGUAGE sql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	INSERT INTO sync_settings AS s (name, value)
	SELECT e.key, e.value FROM json_each_text(settings) e
	ON CONFLICT ON CONSTRAINT sync_settings_pkey DO UPDATE SET value = excluded.value
	WHERE s.value <> excluded.value
$$;

-- An event's name as Echo's listen(name) expects it: behind sync.event_namespace.
CREATE FUNCTION sync_event(name text) RETURNS text
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT coalesce((SELECT s.value FROM sync_settings s WHERE s.name = 'event_namespace'),
			'App\Events\') || $1
$$;

-- What the application told about its users.
CREATE TABLE users (
	app text NOT NULL,
	id bigint NOT NULL CHECK (id > 0),
	name text,
	avatar text,
	roles text[] NOT NULL DEFAULT '{}',
	updated_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (app, id)
);
CREATE INDEX users_roles ON users USING gin (roles);

CREATE FUNCTION user_json(u users) RETURNS json
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
	SELECT json_build_object('id', u.id, 'name', u.name, 'avatar', u.avatar,
				 'roles', u.roles, 'updated_at', iso(u.updated_at))
$$;

CREATE FUNCTION sync_user_get(app text, caller jsonb, user_id bigint,
			      OUT status integer, OUT body json)
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	status := 200;
	SELECT json_build_object('user', user_json(u)) INTO body
	FROM users u WHERE u.app = $1 AND u.id = user_id;
	IF NOT FOUND THEN
		PERFORM sync_fail(404, 'unknown_user',
				  'Nothing was told about this user: PUT users/{id} does.', 'id');
	END IF;
END
$$;

-- What is not given stays as it was.
CREATE FUNCTION sync_user_put(app text, caller jsonb, user_id bigint, name text, avatar text,
			      roles jsonb, OUT status integer, OUT body json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	told users;
	role_list text[];
BEGIN
	IF roles IS NOT NULL THEN
		IF EXISTS (SELECT FROM jsonb_array_elements(roles) r
			   WHERE jsonb_typeof(r) <> 'string' OR length(r #>> '{}') NOT BETWEEN 1 AND 64) THEN
			PERFORM sync_fail(400, 'invalid_value',
					  'roles must be a list of strings of 1 to 64 characters.',
					  'roles');
		END IF;
		role_list := ARRAY(SELECT jsonb_array_elements_text(roles));
	END IF;
	INSERT INTO users AS u (app, id, name, avatar, roles)
	VALUES ($1, user_id, $4, $5, coalesce(role_list, '{}'))
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

REVOKE EXECUTE ON FUNCTION sync_settings_put(json) FROM PUBLIC;
