-- SPDX-License-Identifier: MIT
-- The admin listener: its tokens, a record of each change that was made through it, and what it
-- reads from the database.  Arguments arrive as JSON, results leave as JSON.

CREATE TABLE admin_tokens (
	name text PRIMARY KEY CHECK (name ~ '^[-a-zA-Z0-9_.@]{1,64}$'),
	scope text NOT NULL CHECK (scope IN ('metrics', 'read', 'write')),
	digest bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
	created_by text NOT NULL,
	created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE admin_tokens IS
	'Tokens of the admin listener, in addition to those of the option admin.tokens. A deleted '
	'row is in force within a second.';
COMMENT ON COLUMN admin_tokens.digest IS
	'SHA-256 of the token. The token itself is stored nowhere.';
COMMENT ON COLUMN admin_tokens.created_by IS
	'The name of the token that created it.';

CREATE TABLE admin_audit (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at timestamptz NOT NULL DEFAULT now(),
	token text NOT NULL,
	address text NOT NULL,
	action text NOT NULL,
	arguments jsonb,
	result text NOT NULL
);
COMMENT ON TABLE admin_audit IS
	'One row for each change that was requested on the admin listener, also if it was refused.';
COMMENT ON COLUMN admin_audit.token IS
	'The name of the token that requested it.';
COMMENT ON COLUMN admin_audit.arguments IS
	'What was requested, without payloads of events.';
COMMENT ON COLUMN admin_audit.result IS
	'ok, or why it was refused.';
CREATE INDEX admin_audit_at ON admin_audit (at);

CREATE FUNCTION admin_refuse(p_reason text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp
AS $$
BEGIN
	RAISE EXCEPTION '%', p_reason USING ERRCODE = 'invalid_parameter_value';
END
$$;
COMMENT ON FUNCTION admin_refuse IS
	'Refuses a request of the admin listener with a sentence.';

CREATE FUNCTION admin_text(p_args jsonb, p_name text, p_max integer, p_required boolean DEFAULT true)
RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	value CONSTANT text := p_args->>p_name;
BEGIN
	IF value IS NULL AND p_required THEN
		PERFORM admin_refuse(format('"%s" is missing.', p_name));
	ELSIF jsonb_typeof(p_args->p_name) NOT IN ('string', 'number', 'null') THEN
		PERFORM admin_refuse(format('"%s" must be a string.', p_name));
	ELSIF value = '' OR octet_length(value) > p_max THEN
		PERFORM admin_refuse(format('"%s" must have 1 to %s bytes.', p_name, p_max));
	END IF;
	RETURN value;
END
$$;
COMMENT ON FUNCTION admin_text IS
	'A text of the arguments; it is refused if it is longer than p_max bytes or not there.';

CREATE FUNCTION admin_number(p_args jsonb, p_name text, p_min bigint, p_max bigint,
			     p_fallback bigint DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	value CONSTANT text := coalesce(p_args->>p_name, p_fallback::text);
BEGIN
	IF value IS NULL OR value !~ '^[0-9]{1,19}$' OR value::numeric NOT BETWEEN p_min AND p_max THEN
		PERFORM admin_refuse(format('"%s" must be a number from %s to %s.', p_name, p_min, p_max));
	END IF;
	RETURN value::bigint;
END
$$;
COMMENT ON FUNCTION admin_number IS
	'A number of the arguments; it is refused if it is out of range.';

CREATE FUNCTION admin_app(p_args jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	wanted CONSTANT text := admin_text(p_args, 'app', 200, false);
	found_app text;
BEGIN
	SELECT a.app INTO found_app FROM log_apps a
	WHERE CASE WHEN wanted IS NULL THEN a.is_default ELSE a.app = wanted END;
	IF found_app IS NULL THEN
		PERFORM admin_refuse(CASE WHEN wanted IS NULL
			THEN '"app" is missing, and there is more than one application.'
			ELSE format('There is no application "%s".', left(wanted, 64)) END);
	END IF;
	RETURN found_app;
END
$$;
COMMENT ON FUNCTION admin_app IS
	'The application of the arguments; the only one if none is named.';

-- ---- what is read ----

CREATE FUNCTION admin_status(p_args jsonb) RETURNS json
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT json_build_object(
		'server', current_setting('server_version'),
		'database', current_database(),
		'role', current_user,
		'epoch', (SELECT m.epoch FROM log_meta m),
		'last_serial', log_next_serial() - 1,
		'pending', (SELECT count(*) FROM (SELECT FROM realtime_events e
						  WHERE e.serial = 0 LIMIT 10000) p),
		'migration', (SELECT max(m.version) FROM schema_migrations m))
$$;
COMMENT ON FUNCTION admin_status IS
	'The database''s part of GET /admin/api/status. pending is at most 10000.';

CREATE FUNCTION admin_events(p_args jsonb) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
	wanted_app CONSTANT text := admin_text(p_args, 'app', 200, false);
	wanted_channel CONSTANT text := admin_text(p_args, 'channel', 200, false);
	prefix CONSTANT text := CASE WHEN wanted_channel LIKE '%*' THEN rtrim(wanted_channel, '*') END;
	wanted_event CONSTANT text := admin_text(p_args, 'event', 200, false);
	part CONSTANT text := admin_text(p_args, 'text', 200, false);
	path CONSTANT text := admin_text(p_args, 'path', 200, false);
	wanted_value CONSTANT text := admin_text(p_args, 'value', 200, path IS NOT NULL);
	since CONSTANT timestamptz := admin_text(p_args, 'from', 64, false);
	until CONSTANT timestamptz := admin_text(p_args, 'until', 64, false);
	before CONSTANT bigint := admin_number(p_args, 'before', 1, 9223372036854775807,
					       9223372036854775807);
	after CONSTANT bigint := admin_number(p_args, 'after', 0, 9223372036854775807, 0);
	most CONSTANT bigint := admin_number(p_args, 'limit', 1, 500, 50);
	-- Put together from constant texts only, as in sync_events(); every value is a parameter.
	by_key CONSTANT text := ' ORDER BY serial' || CASE WHEN p_args ? 'after' THEN '' ELSE ' DESC' END;
	matching CONSTANT text := 'SELECT e.* FROM realtime_events e WHERE e.serial > $1 AND e.serial < $2'
		|| ' AND e.origin <> ''control'''
		|| CASE WHEN wanted_app IS NULL THEN '' ELSE ' AND e.app = $3' END
		|| CASE WHEN wanted_channel IS NULL THEN ''
			WHEN prefix IS NULL THEN ' AND e.channel = $4'
			ELSE ' AND starts_with(e.channel, $5)' END
		|| CASE WHEN wanted_event IS NULL THEN '' ELSE ' AND e.event_type = $6' END
		|| CASE WHEN part IS NULL THEN ''
			ELSE ' AND strpos(lower(e.payload::text), lower($7)) > 0' END
		|| CASE WHEN path IS NULL THEN ''
			ELSE ' AND payload_read(e.payload) #>> string_to_array($11, ''.'') = $12' END
		|| CASE WHEN since IS NULL THEN '' ELSE ' AND e.created_at >= $8' END
		|| CASE WHEN until IS NULL THEN '' ELSE ' AND e.created_at < $9' END;
	answer json;
BEGIN
	EXECUTE 'WITH matching AS MATERIALIZED (' || matching || by_key || ' LIMIT $10), '
		'sized AS (SELECT m.*, row_number() OVER w AS n, '
			'sum(octet_length(m.payload::text)) OVER w AS bytes '
			'FROM matching m WINDOW w AS (' || ltrim(by_key) || ')), '
		'chosen AS (SELECT s.* FROM sized s WHERE s.n = 1 OR s.bytes <= 1000000) '
		'SELECT json_build_object(''events'', coalesce(json_agg(json_build_object('
			'''serial'', c.serial, ''event_id'', c.event_id, ''app'', c.app, '
			'''channel'', c.channel, ''event'', c.event_type, ''data'', c.payload, '
			'''origin'', c.origin, ''created_at'', c.created_at, '
			'''delivered'', c.delivered, ''deliveries'', (SELECT coalesce('
				'json_agg(json_build_object(''node'', d.node, '
				'''sockets'', d.sockets, ''at'', d.at) ORDER BY d.at), ''[]'') '
				'FROM realtime_deliveries d WHERE d.serial = c.serial)) '
			'ORDER BY c.n), ''[]''), ''more'', count(*) = $10 '
			'OR count(*) < (SELECT count(*) FROM matching)) FROM chosen c'
	INTO answer
	USING after, before, wanted_app, wanted_channel, prefix, wanted_event, part, since, until, most,
		path, wanted_value;
	RETURN answer;
END
$$;
COMMENT ON FUNCTION admin_events IS
	'GET /admin/api/events: a search in the event log with the delivery records, the newest '
	'events first; with "after", the oldest first. A page has at most about 1 MB.';

-- The daemon gives the limits of the application, and up to where it has delivered.
CREATE FUNCTION admin_replay(p_args jsonb) RETURNS json
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT json_build_object('app', a.app, 'channel', a.channel, 'fault', p.fault,
		'frames', CASE WHEN p.fault IS NULL THEN p.frames ELSE '[]' END,
		'next', CASE WHEN p.is_cut THEN (p_args->>'epoch') || ':' || p.last END,
		'position', (p_args->>'now') || ':' || (p_args->>'until'))
	FROM (SELECT p_args->>'app' AS app, admin_text(p_args, 'channel', 200) AS channel) a,
	LATERAL (SELECT nullif(max(r.fault), 'more') AS fault, coalesce(bool_or(r.fault = 'more'), false) AS is_cut,
			max(r.serial) AS last,
			coalesce(json_agg(json_build_object('event', r.event_type, 'channel', a.channel,
				'data', CASE WHEN r.payload_is_text THEN r.payload::json
					ELSE to_json(r.payload) END,
				'id', r.event_id, 'serial', r.serial)
				ORDER BY r.serial) FILTER (WHERE r.fault IS NULL), '[]') AS frames
		 FROM replay_page(p_args->>'epoch', a.app, (p_args->>'only')::boolean, a.channel,
			(p_args->>'after')::bigint, (p_args->>'until')::bigint, NULL, 500, 1000000,
			(p_args->>'most')::integer, (p_args->>'age_s')::integer) r) p
$$;
COMMENT ON FUNCTION admin_replay IS
	'GET /admin/api/replay: the events of a channel after a position, as frames of the protocol; '
	'a page has at most 500. fault is why a client would have to fetch its data again.';

CREATE FUNCTION admin_rules(p_args jsonb) RETURNS json
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT coalesce(json_agg(json_build_object('id', r.id, 'pattern', r.pattern, 'rule', r.rule,
		'argument', r.argument, 'can_write', r.can_write) ORDER BY r.id), '[]')
	FROM admin_app(p_args) AS a(app), channel_plain(p_args->>'channel') plain, channel_rules r
	WHERE (r.app IS NULL OR r.app = a.app) AND starts_with(plain, r.prefix) AND plain ~ r.regex
$$;
COMMENT ON FUNCTION admin_rules IS
	'The channel rules whose pattern fits the channel of the arguments.';

CREATE FUNCTION admin_user_id(p_args jsonb) RETURNS user_key
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	id CONSTANT user_key := user_key_read(admin_text(p_args, 'user', 200));
BEGIN
	IF id IS NULL THEN
		PERFORM admin_refuse(format('"user" must be a user''s id: %s.', user_key_rule()));
	END IF;
	RETURN id;
END
$$;
COMMENT ON FUNCTION admin_user_id IS
	'The user in the arguments.';

CREATE FUNCTION admin_explain(p_args jsonb) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	app CONSTANT text := admin_app(p_args);
	channel CONSTANT text := admin_text(p_args, 'channel', 200);
	user_id CONSTANT user_key := admin_user_id(p_args);
	roles CONSTANT text[] := string_to_array(admin_text(p_args, 'roles', 1000, false), ',');
	caller CONSTANT jsonb := jsonb_build_object('id', user_id,
		'roles', coalesce(to_jsonb(roles), '[]'));
	verdict record;
BEGIN
	IF NOT channel_is_valid(channel) THEN
		PERFORM admin_refuse(format('"%s" is not the name of a channel.', channel));
	END IF;
	SELECT e.allowed, e.reason INTO verdict FROM channel_explain(app, caller, channel) e;
	RETURN json_build_object('app', app, 'user', user_id, 'channel', channel,
		'allowed', verdict.allowed, 'reason', verdict.reason,
		'roles', caller_roles(app, caller), 'rules', admin_rules(p_args));
END
$$;
COMMENT ON FUNCTION admin_explain IS
	'GET /admin/api/explain: whether a user may join a channel by the channel rules, and why.';

CREATE FUNCTION admin_sync(p_args jsonb) RETURNS json
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT json_build_object(
		'app', a.app,
		'online', (SELECT coalesce(json_agg(p), '[]') FROM (
			SELECT u.user_id AS user, u.status, u.location, u.last_seen_at FROM user_presence u
			WHERE u.app = a.app AND u.status <> 'offline' ORDER BY u.user_id LIMIT 1000) p),
		'locks', (SELECT coalesce(json_agg(l), '[]') FROM (
			SELECT k.resource_type, k.resource_id, nullif(k.field, '') AS field,
				k.user_id AS user, k.name, k.acquired_at, k.expires_at FROM locks k
			WHERE k.app = a.app AND k.user_id IS NOT NULL AND k.expires_at > now()
			ORDER BY k.acquired_at LIMIT 1000) l),
		'viewers', (SELECT coalesce(json_agg(v), '[]') FROM (
			SELECT w.resource_type, w.resource_id, w.user_id AS user, w.mode, w.since,
				w.expires_at FROM viewers w
			WHERE w.app = a.app AND w.expires_at > now()
			ORDER BY w.since LIMIT 1000) v),
		'notifications', (SELECT json_build_object(
			'users', count(*), 'unread', coalesce(sum(b.unread), 0),
			'oldest_unread', (SELECT min(n.created_at) FROM notifications n
				WHERE n.app = a.app AND n.read_at IS NULL),
			'most', (SELECT coalesce(json_agg(m), '[]') FROM (
				SELECT t.user_id AS user, t.unread FROM notification_boxes t
				WHERE t.app = a.app AND t.unread > 0
				ORDER BY t.unread DESC, t.user_id LIMIT 20) m))
			FROM notification_boxes b WHERE b.app = a.app AND b.unread > 0),
		'changes', (SELECT coalesce(json_agg(c), '[]') FROM (
			SELECT s.at, s.user_id AS user, s.resource_type, s.resource_id, s.op, s.version,
				s.result->>'status' AS status
			FROM sync_change s WHERE s.app = a.app ORDER BY s.at DESC LIMIT 20) c))
	FROM admin_app(p_args) AS a(app)
$$;
COMMENT ON FUNCTION admin_sync IS
	'GET /admin/api/sync: who is online, edit locks that are held, viewers, at most 1000 of each; '
	'unread notifications; the newest offline changes.';

CREATE FUNCTION admin_audit_list(p_args jsonb) RETURNS json
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT json_build_object('audit', coalesce(json_agg(a), '[]')) FROM (
		SELECT id, at, token, address, action, arguments, result FROM admin_audit
		WHERE id < admin_number(p_args, 'before', 1, 9223372036854775807, 9223372036854775807)
		AND (NOT p_args ? 'action' OR action = admin_text(p_args, 'action', 64))
		ORDER BY id DESC LIMIT admin_number(p_args, 'limit', 1, 500, 50)) a
$$;
COMMENT ON FUNCTION admin_audit_list IS
	'GET /admin/api/audit: the newest changes first.';

CREATE FUNCTION admin_token_list(p_args jsonb) RETURNS json
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT json_build_object('tokens', coalesce(json_agg(json_build_object('name', t.name,
		'scope', t.scope, 'created_by', t.created_by, 'created_at', t.created_at)
		ORDER BY t.name), '[]')) FROM admin_tokens t
$$;
COMMENT ON FUNCTION admin_token_list IS
	'GET /admin/api/tokens: the tokens in the database, without their digests.';

-- ---- what is changed ----

CREATE FUNCTION admin_send(p_args jsonb, p_data json) RETURNS json
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	app CONSTANT text := admin_app(p_args);
	channel CONSTANT text := coalesce('#server-to-user-' || admin_text(p_args, 'user', 200, false),
		admin_text(p_args, 'channel', 200));
BEGIN
	IF p_data IS NULL THEN
		PERFORM admin_refuse('"data" is missing.');
	END IF;
	RETURN json_build_object('channel', channel, 'event_id', broadcast(channel,
		admin_text(p_args, 'event', 200), p_data, NULL::text, NULL::text, app));
END
$$;
COMMENT ON FUNCTION admin_send IS
	'POST /admin/api/send: publishes an event to a channel or to a user. p_data is its data as '
	'it was written.';

CREATE FUNCTION admin_resend(p_args jsonb) RETURNS json
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	wanted CONSTANT bigint := admin_number(p_args, 'serial', 1, 9223372036854775807);
	receiver CONSTANT text := admin_text(p_args, 'user', 200, false);
	found_event realtime_events;
	new_id text;
BEGIN
	SELECT * INTO found_event FROM realtime_events e WHERE e.serial = wanted AND e.origin <> 'control';
	IF NOT FOUND THEN
		PERFORM admin_refuse(format('The log has no event with the serial %s.', wanted));
	END IF;
	INSERT INTO realtime_events AS e (channel, event_type, payload, payload_is_text, app)
	VALUES (coalesce('#server-to-user-' || receiver, found_event.channel), found_event.event_type,
		found_event.payload, found_event.payload_is_text, found_event.app)
	RETURNING e.event_id INTO new_id;
	RETURN json_build_object('serial', wanted, 'event_id', new_id,
		'channel', coalesce('#server-to-user-' || receiver, found_event.channel));
END
$$;
COMMENT ON FUNCTION admin_resend IS
	'POST /admin/api/resend: publishes a logged event again, to its channel or to one user. The '
	'copy is an event of its own.';

CREATE FUNCTION admin_token_add(p_args jsonb, p_who text) RETURNS json
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	new_name CONSTANT text := admin_text(p_args, 'name', 64);
	new_scope CONSTANT text := admin_text(p_args, 'scope', 16);
	secret CONSTANT text := replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '');
BEGIN
	IF new_name !~ '^[-a-zA-Z0-9_.@]+$' THEN
		PERFORM admin_refuse('"name" may have letters, digits and -_.@ only.');
	ELSIF new_scope NOT IN ('metrics', 'read', 'write') THEN
		PERFORM admin_refuse('"scope" must be metrics, read or write.');
	END IF;
	INSERT INTO admin_tokens (name, scope, digest, created_by)
	VALUES (new_name, new_scope, sha256(convert_to(secret, 'UTF8')), p_who)
	ON CONFLICT DO NOTHING;
	IF NOT FOUND THEN
		PERFORM admin_refuse(format('There is a token "%s" already.', new_name));
	END IF;
	RETURN json_build_object('name', new_name, 'scope', new_scope, 'token', secret);
END
$$;
COMMENT ON FUNCTION admin_token_add IS
	'POST /admin/api/token: makes a token. It is in this answer only.';

CREATE FUNCTION admin_token_remove(p_args jsonb) RETURNS json
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp
AS $$
BEGIN
	DELETE FROM admin_tokens t WHERE t.name = admin_text(p_args, 'name', 64);
	IF NOT FOUND THEN
		PERFORM admin_refuse(format('There is no token "%s" in the database.', p_args->>'name'));
	END IF;
	RETURN '{}';
END
$$;
COMMENT ON FUNCTION admin_token_remove IS
	'POST /admin/api/token-remove: deletes a token.';

CREATE FUNCTION admin_lock_release(p_args jsonb) RETURNS json
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	wanted_app CONSTANT text := admin_app(p_args);
	wanted_type CONSTANT text := admin_text(p_args, 'resource_type', 64);
	wanted_id CONSTANT text := admin_text(p_args, 'resource_id', 64);
	wanted_field CONSTANT text := admin_text(p_args, 'field', 64, false);
	held locks;
BEGIN
	held := lock_find(wanted_app, wanted_type, wanted_id, coalesce(wanted_field, ''));
	IF held.app IS NULL OR NOT lock_is_held(held) THEN
		PERFORM admin_refuse(format('No user holds the lock of %s.',
					    concat_ws(' ', wanted_type, wanted_id, wanted_field)));
	END IF;
	PERFORM sync_lock_release(wanted_app, '{"server":true}', wanted_type, wanted_id, wanted_field,
				  NULL, NULL, true, NULL);
	RETURN json_build_object('resource_type', wanted_type, 'resource_id', wanted_id,
		'field', wanted_field, 'user', held.user_id);
END
$$;
COMMENT ON FUNCTION admin_lock_release IS
	'POST /admin/api/lock-release: releases an edit lock for its holder, who is notified as when '
	'the application''s server forces it.';

CREATE FUNCTION admin_audit_add(p_who text, p_address text, p_action text, p_args jsonb,
				p_result text) RETURNS void
LANGUAGE sql SET search_path = @SCHEMA@, pg_temp
AS $$
	INSERT INTO admin_audit (token, address, action, arguments, result)
	VALUES (p_who, p_address, p_action, p_args, p_result)
$$;
COMMENT ON FUNCTION admin_audit_add IS
	'Adds a row to admin_audit.';

-- The daemon's role has no right to delete rows; this function deletes none of the last 30 days.
CREATE FUNCTION admin_audit_prune(p_days integer, p_most integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	until CONSTANT timestamptz := sweep_until();
	one record;
	n integer := 0;
BEGIN
	FOR one IN SELECT x.ctid AS row FROM admin_audit x
		   WHERE x.at < now() - greatest(p_days, 30) * interval '1 day'
		   ORDER BY x.at LIMIT p_most FOR UPDATE SKIP LOCKED LOOP
		DELETE FROM admin_audit x WHERE x.ctid = one.row;
		n := n + 1;
		IF clock_timestamp() >= until THEN
			RETURN p_most;
		END IF;
	END LOOP;
	RETURN n;
END
$$;
COMMENT ON FUNCTION admin_audit_prune IS
	'Deletes at most p_most rows of admin_audit that are older than p_days, and than 30 days, until '
	'sweep_until(). Returns their number; p_most if there may be more.';

-- The change is in a subtransaction: when it is refused, the row about it remains.  What the daemon
-- itself does (disconnect, reload, drain) is done after this has been committed.
-- p_data is the member "data" of the body, which p_args does not have then: jsonb would change it.
CREATE FUNCTION admin_write(p_who text, p_address text, p_action text, p_args text, p_data json,
			    OUT status integer, OUT body json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	args jsonb;
	reason text;
BEGIN
	BEGIN
		args := coalesce(nullif(p_args, ''), '{}')::jsonb;
		IF jsonb_typeof(args) <> 'object' THEN
			args := NULL;
			PERFORM admin_refuse('The body must be a JSON object.');
		END IF;
		body := CASE p_action
			WHEN 'send' THEN admin_send(args, coalesce(p_data, (args->'data')::json))
			WHEN 'resend' THEN admin_resend(args)
			WHEN 'token' THEN admin_token_add(args, p_who)
			WHEN 'token-remove' THEN admin_token_remove(args)
			WHEN 'user-erase' THEN admin_user_erase(args)
			WHEN 'lock-release' THEN admin_lock_release(args)
			WHEN 'webhook-resend' THEN admin_webhook_resend(args)
			WHEN 'disconnect' THEN json_build_object('app', admin_app(args),
				'user', admin_text(args, 'user', 200))
			WHEN 'connection-disconnect' THEN admin_connection(args)
			ELSE '{}' END;
		status := 200;
	EXCEPTION WHEN OTHERS THEN
		-- SW4..: sync_fail() refused.  All else but what a client sent wrong is a failure.
		reason := SQLERRM;
		status := CASE WHEN SQLSTATE = 'P0002' THEN 404 WHEN SQLSTATE ~ '^(22|23|SW4|P0001)' THEN 400 ELSE 500 END;
	END;
	IF status <> 200 THEN
		body := json_build_object('error', json_build_object('message', reason,
			'code', CASE status WHEN 400 THEN 'invalid_request' WHEN 404 THEN 'not_found' ELSE 'database_error' END));
	END IF;
	PERFORM admin_audit_add(p_who, p_address, p_action, args - 'data', coalesce(reason, 'ok'));
END
$$;
COMMENT ON FUNCTION admin_write IS
	'Makes a change that was requested on the admin listener, and its row in admin_audit.';

REVOKE EXECUTE ON FUNCTION admin_refuse(text), admin_text(jsonb, text, integer, boolean),
	admin_number(jsonb, text, bigint, bigint, bigint), admin_app(jsonb), admin_status(jsonb),
	admin_events(jsonb), admin_rules(jsonb), admin_explain(jsonb), admin_sync(jsonb),
	admin_replay(jsonb), admin_audit_list(jsonb), admin_token_list(jsonb), admin_send(jsonb, json), admin_resend(jsonb),
	admin_token_add(jsonb, text), admin_token_remove(jsonb), admin_lock_release(jsonb),
	admin_audit_add(text, text, text, jsonb, text), admin_audit_prune(integer, integer),
	admin_write(text, text, text, text, json) FROM PUBLIC;
