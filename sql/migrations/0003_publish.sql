-- SPDX-License-Identifier: MIT
-- Publishing from SQL.  An inserted row is pending (serial 0) until a daemon drains it after its
-- commit.  Why each step is as it is: docs/decisions/0008-sql-publish-speed.md.

CREATE FUNCTION channel_is_valid(p_channel text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN p_channel COLLATE "C" ~ '^(#server-to-user-)?[-a-zA-Z0-9_=@,.;]+$';
COMMENT ON FUNCTION channel_is_valid IS
	'Whether the name is valid for a channel.';

CREATE FUNCTION pending_inspect(p_event realtime_events_pending) RETURNS text
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	a record := log_app(p_event.app);
	size integer;
BEGIN
	IF p_event.channel IS NULL OR p_event.event_type IS NULL OR p_event.event_id IS NULL THEN
		RAISE EXCEPTION 'an event needs a channel, an event name and an event_id'
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	size := octet_length(p_event.channel);
	IF a.max_channel > 0 AND size > a.max_channel THEN
		RAISE EXCEPTION 'the channel name has % bytes, the limit is %', size, a.max_channel
			USING ERRCODE = 'string_data_right_truncation',
			HINT = 'The limit is max_channel_name_bytes of the application.';
	END IF;
	IF NOT channel_is_valid(p_event.channel) THEN
		RAISE EXCEPTION '"%" is not a channel name', p_event.channel
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Letters, digits and _ - = @ , . ; are allowed; in front, '
			       'private- or presence- as the client subscribes.';
	END IF;
	size := octet_length(p_event.event_type);
	IF a.max_event > 0 AND size > a.max_event THEN
		RAISE EXCEPTION 'the event name has % bytes, the limit is %', size, a.max_event
			USING ERRCODE = 'string_data_right_truncation',
			HINT = 'The limit is max_event_name_bytes of the application.';
	END IF;
	IF p_event.event_type = '' OR p_event.event_type ~ '^pusher(_internal)?:' THEN
		RAISE EXCEPTION '"%" is not an event name', p_event.event_type
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'It must not be empty, nor start with pusher: or pusher_internal:.';
	END IF;
	size := octet_length(p_event.payload::text);
	IF a.max_payload > 0 AND size > a.max_payload THEN
		RAISE EXCEPTION 'the payload has % bytes, the limit is %', size, a.max_payload
			USING ERRCODE = 'string_data_right_truncation',
			HINT = 'Send a key and let the client fetch the rest, or raise '
			       'max_event_payload_bytes of the application.';
	END IF;
	IF octet_length(p_event.event_id) > 64 OR p_event.event_id COLLATE "C" !~ '^[!-~]+$' THEN
		RAISE EXCEPTION '"%" is not an event_id', p_event.event_id
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'An event_id is 1 to 64 printable ASCII characters without a space.';
	END IF;
	IF p_event.exclude_socket COLLATE "C" !~ '^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$' THEN
		RAISE EXCEPTION '"%" is not a socket id', p_event.exclude_socket
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'A socket id looks like 1234.5678.';
	END IF;
	RETURN coalesce(a.app, p_event.app);
END
$$;
COMMENT ON FUNCTION pending_inspect IS
	'Raises the error that explains why an event is refused. Returns its application when '
	'it is not refused.';

-- A valid event passes one query and one expression; pending_inspect() examines all others.
-- No statement is large enough for jit.
CREATE FUNCTION pending_check() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	known text;
	max_channel integer;
	max_event integer;
	max_payload integer;
BEGIN
	NEW.app := coalesce(NEW.app, nullif(current_setting('scopewire.app', true), ''));
	-- Without a parameter it is planned once; with one that may be NULL, each time.
	IF NEW.app IS NULL THEN
		SELECT a.app, a.max_channel_bytes, a.max_event_bytes, a.max_payload_bytes
		INTO known, max_channel, max_event, max_payload
		FROM log_apps a WHERE a.is_default;
	ELSE
		SELECT a.app, a.max_channel_bytes, a.max_event_bytes, a.max_payload_bytes
		INTO known, max_channel, max_event, max_payload
		FROM log_apps a WHERE a.app = NEW.app;
	END IF;
	IF known IS NOT NULL AND NEW.exclude_socket IS NULL AND NEW.delivered_at IS NULL
	   AND NEW.serial = 0 AND NEW.origin = 'sql' AND NEW.delivered IS FALSE
	   AND NEW.payload_is_text IS FALSE AND NEW.payload IS NOT NULL
	   AND (octet_length(NEW.channel) <= max_channel OR max_channel = 0)
	   AND (octet_length(NEW.event_type) <= max_event OR max_event = 0)
	   AND (octet_length(NEW.payload::text) <= max_payload OR max_payload = 0)
	   AND NEW.channel COLLATE "C" ~ '^[-a-zA-Z0-9_=@,.;]+$'
	   AND NEW.event_type <> '' AND NEW.event_type NOT LIKE 'pusher%'
	   AND octet_length(NEW.event_id) <= 64 AND NEW.event_id COLLATE "C" ~ '^[!-~]+$' THEN
		NEW.app := known;
	ELSE
		NEW.payload := coalesce(NEW.payload, '{}'::json);
		NEW.app := pending_inspect(NEW);
		NEW.serial := 0;
		NEW.origin := 'sql';
		NEW.delivered := false;
		NEW.delivered_at := NULL;
		NEW.payload_is_text := coalesce(NEW.payload_is_text, false)
				       AND json_typeof(NEW.payload) = 'string';
	END IF;
	-- For metrics and reports only: any role can set it.
	IF current_setting('scopewire.origin', true) = 'sync' THEN
		NEW.origin := 'sync';
	END IF;
	-- First a transaction id, then the check of the lock: drainer_release() relies on it.
	-- NOTIFY serializes all commits: not while a daemon polls.
	IF (CASE WHEN pg_current_xact_id() IS NOT NULL
		      AND pg_try_advisory_lock_shared(lock_key('polling'))
		 THEN pg_advisory_unlock_shared(lock_key('polling'))
		 ELSE false END) THEN
		NOTIFY scopewire_pending;
	END IF;
	-- The id is assigned after the transaction id: drain_mark relies on it.
	NEW.id := nextval('realtime_events_id_seq');
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION pending_check IS
	'Trigger of realtime_events_pending: checks an event, fills in its defaults, and '
	'notifies the daemon unless one polls.';
CREATE TRIGGER pending_check BEFORE INSERT ON realtime_events_pending
	FOR EACH ROW EXECUTE FUNCTION pending_check();

-- ON CONFLICT is needed only for an event_id of the caller.
-- broadcast() runs with the caller's rights and search_path: with a SET it would cost more, and
-- PostgreSQL could not put the simpler ones in place of a call.  So every name is qualified, and there
-- is no operator: NULLIF, CASE x WHEN, IN and their like find one by the search_path.
CREATE FUNCTION broadcast(channel text, event text, payload json,
				     event_id text DEFAULT NULL, exclude_socket text DEFAULT NULL,
				     app text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql
AS $$
#variable_conflict use_variable
BEGIN
	IF event_id IS NULL THEN
		event_id := pg_catalog.gen_random_uuid();
		INSERT INTO @SCHEMA@.realtime_events (channel, event_type, payload, event_id,
						      exclude_socket, app)
		VALUES (channel, event, payload, event_id, exclude_socket, app);
	ELSE
		INSERT INTO @SCHEMA@.realtime_events (channel, event_type, payload, event_id,
						      exclude_socket, app)
		VALUES (channel, event, payload, event_id, exclude_socket, app)
		ON CONFLICT DO NOTHING;
	END IF;
	RETURN event_id;
END
$$;
COMMENT ON FUNCTION broadcast(text, text, json, text, text, text) IS
	'Publishes an event when the transaction commits. Returns its event_id. An event_id '
	'that is pending or in the newest partition of the log is not published again.';

-- A literal is text for PostgreSQL when functions with json, jsonb and text exist.
CREATE FUNCTION broadcast(channel text, event text, payload jsonb,
				     event_id text DEFAULT NULL, exclude_socket text DEFAULT NULL,
				     app text DEFAULT NULL) RETURNS text
LANGUAGE sql
AS $$
	SELECT @SCHEMA@.broadcast(channel, event, payload::pg_catalog.json, event_id,
				  exclude_socket, app)
$$;
COMMENT ON FUNCTION broadcast(text, text, jsonb, text, text, text) IS
	'The same with a payload of type jsonb.';

CREATE FUNCTION broadcast(channel text, event text, payload text,
				     event_id text DEFAULT NULL, exclude_socket text DEFAULT NULL,
				     app text DEFAULT NULL) RETURNS text
LANGUAGE sql
AS $$
	SELECT @SCHEMA@.broadcast(channel, event, payload::pg_catalog.json, event_id,
				  exclude_socket, app)
$$;
COMMENT ON FUNCTION broadcast(text, text, text, text, text, text) IS
	'The same with a payload that is JSON text.';

CREATE FUNCTION broadcast(channels text[], event text, payload json,
				     exclude_socket text DEFAULT NULL, app text DEFAULT NULL)
RETURNS text[]
LANGUAGE sql
AS $$
	WITH sent AS (
		INSERT INTO @SCHEMA@.realtime_events (channel, event_type, payload, event_id,
						      exclude_socket, app)
		SELECT c.channel, event, payload, pg_catalog.gen_random_uuid(), exclude_socket, app
		FROM pg_catalog.unnest(channels) AS c(channel)
		RETURNING event_id
	)
	SELECT coalesce(pg_catalog.array_agg(s.event_id), '{}') FROM sent s
$$;
COMMENT ON FUNCTION broadcast(text[], text, json, text, text) IS
	'Publishes an event on several channels when the transaction commits. Returns its '
	'event_ids.';

CREATE FUNCTION broadcast(channels text[], event text, payload jsonb,
				     exclude_socket text DEFAULT NULL, app text DEFAULT NULL)
RETURNS text[]
LANGUAGE sql
AS $$
	SELECT @SCHEMA@.broadcast(channels, event, payload::pg_catalog.json, exclude_socket, app)
$$;
COMMENT ON FUNCTION broadcast(text[], text, jsonb, text, text) IS
	'The same with a payload of type jsonb.';

CREATE FUNCTION broadcast(channels text[], event text, payload text,
				     exclude_socket text DEFAULT NULL, app text DEFAULT NULL)
RETURNS text[]
LANGUAGE sql
AS $$
	SELECT @SCHEMA@.broadcast(channels, event, payload::pg_catalog.json, exclude_socket, app)
$$;
COMMENT ON FUNCTION broadcast(text[], text, text, text, text) IS
	'The same with a payload that is JSON text.';

REVOKE EXECUTE ON FUNCTION broadcast(text[], text, json, text, text),
	broadcast(text[], text, jsonb, text, text), broadcast(text[], text, text, text, text),
	pending_inspect(realtime_events_pending), pending_check(),
	broadcast(text, text, json, text, text, text),
	broadcast(text, text, jsonb, text, text, text),
	broadcast(text, text, text, text, text, text) FROM PUBLIC;
