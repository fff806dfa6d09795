-- SPDX-License-Identifier: MIT
-- What is stored about one person, for scopewirectl user export and user erase.  The log is read in
-- slices: each call looks at 2,000 events, or 4 MB of payloads, and returns where the next one
-- goes on.

CREATE FUNCTION payload_path(p_path text) RETURNS jsonpath
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = @SCHEMA@, pg_temp
AS $$
	SELECT ('$' || string_agg('.' || to_json(rtrim(step, '[]'))::text
				  || CASE WHEN step LIKE '%[]' THEN '[*]' ELSE '' END, '' ORDER BY at)
		|| ' ? (@ == $id || @ == $text)')::jsonpath
	FROM string_to_table(p_path, '.') WITH ORDINALITY AS steps(step, at)
$$;
COMMENT ON FUNCTION payload_path IS
	'The path a.b[].c as a jsonpath that matches if a value there equals $id or $text.';

CREATE FUNCTION payload_read(p_payload json) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp
AS $$
BEGIN
	RETURN p_payload::jsonb;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
	-- Removes escapes of U+0000 and of surrogates, and exponents of four or more digits.
	BEGIN
		RETURN regexp_replace(regexp_replace(p_payload::text,
			'(?<!\\)((?:\\\\)*)\\u(0000|[dD][89a-fA-F][0-9a-fA-F]{2})', '\1', 'g'),
			'([0-9])[eE][+-]?[0-9]{4,}', '\1', 'g')::jsonb;
	EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
		RETURN NULL;
	END;
END
$$;
COMMENT ON FUNCTION payload_read IS
	'A payload as jsonb, without the parts that jsonb cannot hold; NULL when it cannot hold the rest.';

CREATE FUNCTION payload_has(p_payload json, p_paths text[], p_id user_key) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	given CONSTANT jsonb := jsonb_build_object('id', p_id, 'text', p_id::text);
	path text;
	data jsonb;
BEGIN
	-- Most payloads do not have the id at all.
	IF position(p_id::text IN p_payload::text) = 0 THEN
		RETURN false;
	END IF;
	data := payload_read(p_payload);
	FOREACH path IN ARRAY p_paths LOOP
		IF data IS NULL OR jsonb_typeof(data) = 'string' THEN
			-- A JSON string, or no jsonb: a text search for the last name of the path and the id.
			IF p_payload::text ~ ('"' || regexp_replace(path, '^.*\.|\[\]', '', 'g')
					      || '\\*"\s*:\s*(\\*")?' || p_id::text || '(?![-A-Za-z0-9_=@;.])') THEN
				RETURN true;
			END IF;
		ELSIF jsonb_path_exists(data, payload_path(path), given) THEN
			RETURN true;
		END IF;
	END LOOP;
	RETURN false;
END
$$;
COMMENT ON FUNCTION payload_has IS
	'Whether a payload has the id at one of the paths, as a number or as text. In a JSON string, and in '
	'a payload that jsonb cannot hold, only the last name of a path is looked for.';

CREATE FUNCTION user_has_event(p_user_id user_key, p_paths text[], p_channel text, p_payload json)
RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = @SCHEMA@, pg_temp
AS $$
	SELECT p_channel = '#server-to-user-' || p_user_id::text OR p_channel = ANY (user_channels(p_user_id))
	OR (p_channel ~ '^(private|presence)-' AND channel_plain(p_channel) = 'App.Models.User.' || p_user_id::text)
	OR payload_has(p_payload, p_paths, p_user_id)
$$;
COMMENT ON FUNCTION user_has_event IS
	'Whether an event is about a user: by its channel, or by the id at one of the paths of its payload.';

CREATE FUNCTION user_events(p_app text, p_user_id user_key, p_paths text[], p_after bigint, p_most integer,
			    OUT events realtime_events[], OUT next bigint)
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT coalesce(array_agg(s.event ORDER BY s.serial) FILTER (WHERE (s.event).app = p_app AND
			user_has_event(p_user_id, p_paths, (s.event).channel, (s.event).payload)), '{}'),
	       CASE WHEN count(*) = p_most OR bool_or(s.bytes >= 4000000) THEN max(s.serial) END
	FROM (SELECT l.serial, l.event, sum(octet_length((l.event).payload::text)) OVER (ORDER BY l.serial) AS bytes,
		     octet_length((l.event).payload::text) AS own
	      FROM (SELECT e.serial, e AS event FROM realtime_events e WHERE e.serial > p_after
		    ORDER BY e.serial LIMIT p_most) l) s
	WHERE s.bytes - s.own < 4000000
$$;
COMMENT ON FUNCTION user_events IS
	'The events about a user among the next p_most of the log, or as many as have 4 MB, and the '
	'serial to go on after; NULL at the end of the log.';

CREATE FUNCTION user_data(p_app text, p_user_id user_key) RETURNS json
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT json_build_object(
		'user', (SELECT user_json(u) FROM users u WHERE u.app = p_app AND u.id = p_user_id),
		'presence', (SELECT to_json(p) FROM user_presence p WHERE p.app = p_app AND p.user_id = p_user_id),
		'viewing', (SELECT coalesce(json_agg(v), '[]') FROM viewers v
			    WHERE v.app = p_app AND v.user_id = p_user_id),
		'locks', (SELECT coalesce(json_agg(lock_json(l)), '[]') FROM locks l
			  WHERE l.app = p_app AND l.user_id = p_user_id),
		'lock_requests', (SELECT coalesce(json_agg(lock_request_json(r)), '[]') FROM lock_requests r
				  WHERE r.app = p_app AND r.user_id = p_user_id),
		'notifications', (SELECT coalesce(json_agg(notification_json(n) ORDER BY n.number), '[]') FROM (
			SELECT * FROM notifications x WHERE x.app = p_app AND x.user_id = p_user_id
			ORDER BY x.number DESC LIMIT 10000) n),
		'notification_checks', (SELECT coalesce(json_agg(c), '[]') FROM notification_checks c
					WHERE c.app = p_app AND c.user_id = p_user_id),
		'webhooks', (SELECT coalesce(json_agg(w), '[]') FROM (
			SELECT * FROM webhook_queue q WHERE q.app = p_app AND q.event->>'user_id' = p_user_id::text
			ORDER BY q.id DESC LIMIT 10000) w),
		'activities', (SELECT coalesce(json_agg(activity_json(a) ORDER BY a.id), '[]') FROM (
			SELECT * FROM activities x WHERE x.app = p_app AND x.user_id = p_user_id
			ORDER BY x.id DESC LIMIT 10000) a),
		'activity_reads', (SELECT coalesce(json_agg(r), '[]') FROM activity_reads r
				   WHERE r.app = p_app AND r.user_id = p_user_id),
		'changes', (SELECT coalesce(json_agg(c), '[]') FROM (
			SELECT * FROM sync_change x WHERE x.app = p_app
			AND coalesce(x.user_id::text, '') = p_user_id::text
			ORDER BY x.at DESC LIMIT 10000) c),
		'audit', (SELECT coalesce(json_agg(t), '[]') FROM (
			SELECT x.at, x.action, x.arguments, x.result FROM admin_audit x
			WHERE user_key_read(x.arguments->>'user') = p_user_id
			AND coalesce(x.arguments->>'app', p_app) = p_app ORDER BY x.id DESC LIMIT 10000) t))
$$;
COMMENT ON FUNCTION user_data IS
	'What is stored about a user apart from the log; at most the newest 10,000 '
	'notifications, webhooks, activities, changes and audit rows.';

CREATE FUNCTION admin_paths(p_args jsonb) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	paths CONSTANT text[] := string_to_array(coalesce(admin_text(p_args, 'paths', 1000, false),
		'user_id,user.id,recipient_id,activity.user_id,comment.user.id,lock.user_id,previous.user_id,viewers[].user_id'), ',');
BEGIN
	IF cardinality(paths) > 20 OR EXISTS (SELECT FROM unnest(paths) p
		WHERE p COLLATE "C" !~ '^[-a-zA-Z0-9_]+(\[\])?(\.[-a-zA-Z0-9_]+(\[\])?)*$') THEN
		PERFORM admin_refuse('"paths" must be at most 20 paths such as user.id or items[].user_id, with '
				     'commas between them.');
	END IF;
	RETURN paths;
END
$$;
COMMENT ON FUNCTION admin_paths IS
	'Where payloads contain the id of a user: the argument "paths", or the usual places.';

CREATE FUNCTION admin_user(p_args jsonb) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	app CONSTANT text := admin_app(p_args);
	user_id CONSTANT user_key := admin_user_id(p_args);
	slice CONSTANT record := user_events(app, user_id, admin_paths(p_args),
		admin_number(p_args, 'after', 0, 9223372036854775807, 0), 2000);
	found json;
BEGIN
	SELECT coalesce(json_agg(json_build_object('serial', e.serial, 'event_id', e.event_id,
		'channel', e.channel, 'event', e.event_type, 'data', e.payload, 'created_at', e.created_at)
		ORDER BY e.serial), '[]') INTO found FROM unnest(slice.events) e;
	RETURN json_build_object('app', app, 'user', user_id,
		'data', CASE WHEN NOT p_args ? 'after' THEN user_data(app, user_id) END,
		'events', found, 'next', slice.next);
END
$$;
COMMENT ON FUNCTION admin_user IS
	'GET /admin/api/user: what is stored about a user; the log in slices.';

CREATE FUNCTION admin_user_erase(p_args jsonb) RETURNS json
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	app CONSTANT text := admin_app(p_args);
	user_id CONSTANT user_key := admin_user_id(p_args);
	paths CONSTANT text[] := admin_paths(p_args);
	slice record;
	n bigint;
BEGIN
	-- The first call removes, the next ones go through the log.
	IF NOT p_args ? 'after' THEN
		RETURN json_build_object('app', app, 'user', user_id, 'removed', user_remove(app, user_id, NULL),
			'events', 0, 'next', 0);
	END IF;
	slice := user_events(app, user_id, paths, admin_number(p_args, 'after', 0, 9223372036854775807), 2000);
	UPDATE realtime_events e SET payload = '{"erased":true}', payload_is_text = false
	-- A control row that a node has not read is still needed.
	FROM unnest(slice.events) s WHERE e.serial = s.serial AND e.id = s.id
	AND (e.origin <> 'control' OR e.serial <= coalesce(log_delivered(), e.serial));
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN json_build_object('app', app, 'user', user_id, 'removed', NULL, 'events', n,
		'next', slice.next);
END
$$;
COMMENT ON FUNCTION admin_user_erase IS
	'POST /admin/api/user-erase: deletes what is stored about a user, and the payloads of events '
	'about the user; the log in slices.';

REVOKE EXECUTE ON FUNCTION user_events(text, user_key, text[], bigint, integer), user_data(text, user_key),
	admin_user(jsonb), admin_user_erase(jsonb) FROM PUBLIC;
