-- SPDX-License-Identifier: MIT
-- What all of the sync API stands on.  Each endpoint is a function sync_...(app, caller, ...) that
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

-- Who may join which channel.  A pattern is a channel's name without private- and presence-, with
-- {placeholders} of one or more characters other than a dot.  A channel is open to a user
-- when any rule of a pattern that fits says so:
--     anyone  every user
--     owner   the placeholder named by argument holds the user's id
--     role    the user has one of the roles in argument, between commas
--     sql     the predicate in argument holds (0017_channel_rules.sql)
-- A channel that no rule fits is closed to users.
CREATE FUNCTION channel_pattern_names(pattern text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT ARRAY(SELECT m[1] FROM regexp_matches(pattern, '\{([a-zA-Z_][a-zA-Z_0-9]*)\}', 'g') m)
$$;

-- The pattern as a regular expression, its placeholders as groups.
CREATE FUNCTION channel_pattern_regex(pattern text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT '^' || regexp_replace(regexp_replace(pattern, '([.;,=@+*?()\[\]\\^$|-])', '\\\1', 'g'),
				     '\{[a-zA-Z_][a-zA-Z_0-9]*\}', '([^.]+)', 'g') || '$'
$$;

CREATE TABLE channel_rules (
	id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	app text,	-- NULL: every application
	pattern text NOT NULL,
	rule text NOT NULL CHECK (rule IN ('anyone', 'owner', 'role', 'sql')),
	argument text,
	names text[] GENERATED ALWAYS AS (channel_pattern_names(pattern)) STORED,
	-- What names begin with, looked at first: PostgreSQL keeps few compiled expressions.
	prefix text GENERATED ALWAYS AS (split_part(pattern, '{', 1)) STORED,
	regex text GENERATED ALWAYS AS (channel_pattern_regex(pattern)) STORED,
	statement text,	-- of a predicate; its trigger makes it
	CHECK ((rule = 'anyone') = (argument IS NULL)),
	UNIQUE NULLS NOT DISTINCT (app, pattern, rule, argument)
);

-- What rules see of a channel's name.
CREATE FUNCTION channel_plain(channel text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
	SELECT regexp_replace(channel,
		'^(private-encrypted-cache-|private-encrypted-|private-cache-|presence-cache-'
		'|private-|presence-)', '')
$$;

-- The roles of the caller's token; those that the application told, when the token has none.
CREATE FUNCTION caller_roles(app text, caller jsonb) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	roles text[] := ARRAY(SELECT jsonb_array_elements_text(caller->'roles'));
BEGIN
	IF roles = '{}' THEN
		SELECT u.roles INTO roles FROM users u WHERE u.app = $1 AND u.id = caller_id(caller);
	END IF;
	RETURN coalesce(roles, '{}');
END
$$;

-- yes, no, or ask: only predicates can tell (the channel's full name, private- and all).
CREATE FUNCTION channel_verdict(app text, caller jsonb, channel text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	plain text := channel_plain(channel);
	roles text[];
BEGIN
	IF caller_is_server(caller) OR plain = channel AND channel !~ '^#' THEN
		RETURN 'yes';
	ELSIF channel ~ '^#' THEN
		RETURN CASE WHEN channel = '#server-to-user-' || (caller->>'id') THEN 'yes' ELSE 'no' END;
	END IF;
	roles := caller_roles(app, caller);
	RETURN (SELECT CASE WHEN bool_or(r.rule <> 'sql') THEN 'yes'
			    WHEN count(*) > 0 THEN 'ask' ELSE 'no' END
		FROM channel_rules r, regexp_match(plain, r.regex) AS held
		WHERE (r.app IS NULL OR r.app = $1) AND starts_with(plain, r.prefix)
		AND held IS NOT NULL
		AND CASE r.rule
			WHEN 'owner' THEN held[array_position(r.names, r.argument)] = caller->>'id'
			WHEN 'role' THEN roles && string_to_array(r.argument, ',')
			ELSE true END);
END
$$;

-- Whether the caller may join the channel; what the daemon found out stands in "asked".
CREATE FUNCTION channel_allows(app text, caller jsonb, channel text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	verdict text := channel_verdict(app, caller, channel);
	asked record;
BEGIN
	IF verdict <> 'ask' THEN
		RETURN verdict = 'yes';
	ELSIF caller->'asked' ? channel THEN
		RETURN (caller->'asked'->>channel)::boolean;
	END IF;
	SELECT * INTO asked FROM channel_ask(app, caller, channel);
	IF asked.trouble IS NOT NULL THEN
		RAISE LOG 'scopewire: %', asked.trouble;
	END IF;
	RETURN asked.allowed;
END
$$;

-- Refuses with 403 what channel_allows() does not allow.  A caller with "asked" has the daemon
-- find out what the predicates say, where their time is limited: SW001 names the channel, and
-- the call comes again with {channel: verdict} in it.
CREATE FUNCTION require_channel(app text, caller jsonb, channel text, field text DEFAULT '')
RETURNS void
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	IF caller ? 'asked' AND NOT caller->'asked' ? channel
	   AND channel_verdict(app, caller, channel) = 'ask' THEN
		RAISE EXCEPTION '%', channel USING ERRCODE = 'SW001';
	END IF;
	IF NOT channel_allows(app, caller, channel) THEN
		PERFORM sync_fail(403, 'channel_forbidden',
			format('No rule lets this user join %s.', channel), field);
	END IF;
END
$$;
