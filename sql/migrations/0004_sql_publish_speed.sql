-- SPDX-License-Identifier: MIT
-- Publishing from SQL at speed: what a row costs the application, what draining costs the daemon,
-- and who is told.  Why each is as it is: docs/decisions/0008-sql-publish-speed.md.
--
-- Advisory locks as in 0003, but for 7776: still held, for its session, by a daemon that polls.
-- Who inserts only looks whether it is free, and has a transaction id before it looks.  So a
-- daemon that gave it back knows when all who trusted in it have ended: when no transaction older
-- than that moment runs.

-- The application that an event without one belongs to: the only one there is.
ALTER TABLE log_apps ADD COLUMN is_only boolean NOT NULL DEFAULT false;

CREATE FUNCTION log_apps_count() RETURNS trigger
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	UPDATE log_apps SET is_only = NOT is_only
	WHERE is_only <> ((SELECT count(*) FROM log_apps) = 1);
	RETURN NULL;
END
$$;
CREATE TRIGGER log_apps_count AFTER INSERT OR DELETE ON log_apps
	FOR EACH STATEMENT EXECUTE FUNCTION log_apps_count();
UPDATE log_apps SET is_only = true WHERE (SELECT count(*) FROM log_apps) = 1;

-- Why an event is refused, or else the application it belongs to.
CREATE FUNCTION pending_inspect(e realtime_events_pending) RETURNS text
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	a record := log_app(e.app);
	size integer;
BEGIN
	IF e.channel IS NULL OR e.event_type IS NULL OR e.event_id IS NULL THEN
		RAISE EXCEPTION 'an event needs a channel, an event name and an event_id'
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	size := octet_length(e.channel);
	IF a.max_channel > 0 AND size > a.max_channel THEN
		RAISE EXCEPTION 'the channel name has % bytes, the limit is %', size, a.max_channel
			USING ERRCODE = 'string_data_right_truncation',
			HINT = 'The limit is max_channel_name_bytes of the application.';
	END IF;
	IF NOT channel_is_valid(e.channel) THEN
		RAISE EXCEPTION '"%" is not a channel name', e.channel
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Letters, digits and _ - = @ , . ; are allowed; in front, '
			       'private- or presence- as the client subscribes.';
	END IF;
	size := octet_length(e.event_type);
	IF a.max_event > 0 AND size > a.max_event THEN
		RAISE EXCEPTION 'the event name has % bytes, the limit is %', size, a.max_event
			USING ERRCODE = 'string_data_right_truncation',
			HINT = 'The limit is max_event_name_bytes of the application.';
	END IF;
	IF e.event_type = '' OR e.event_type ~ '^pusher(_internal)?:' THEN
		RAISE EXCEPTION '"%" is not an event name', e.event_type
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'It must not be empty, nor start with pusher: or pusher_internal:.';
	END IF;
	size := octet_length(e.payload::text);
	IF a.max_payload > 0 AND size > a.max_payload THEN
		RAISE EXCEPTION 'the payload has % bytes, the limit is %', size, a.max_payload
			USING ERRCODE = 'string_data_right_truncation',
			HINT = 'Send a key and let the client fetch the rest, or raise '
			       'max_event_payload_bytes of the application.';
	END IF;
	IF octet_length(e.event_id) > 64 OR e.event_id COLLATE "C" !~ '^[!-~]+$' THEN
		RAISE EXCEPTION '"%" is not an event_id', e.event_id
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'An event_id is 1 to 64 printable ASCII characters without a space.';
	END IF;
	IF e.exclude_socket COLLATE "C" !~ '^[0-9]{1,10}\.[0-9]{1,10}$' THEN
		RAISE EXCEPTION '"%" is not a socket id', e.exclude_socket
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'A socket id looks like 1234.5678.';
	END IF;
	RETURN a.app;
END
$$;

-- Each row that lands pending.  What is right in every way passes by one look-up and one
-- expression; all else is looked at closely.
-- No SET: a setting costs as much as all the checks.  The caller's search_path holds here, so every
-- name is written out, types and operators too; and nothing is large enough for jit.
CREATE OR REPLACE FUNCTION pending_check() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
AS $$
DECLARE
	known pg_catalog.text;
	max_channel pg_catalog.int4;
	max_event pg_catalog.int4;
	max_payload pg_catalog.int4;
BEGIN
	-- Without a parameter it is planned once; with one that may be NULL, each time.
	IF NEW.app IS NULL THEN
		SELECT a.app, a.max_channel_bytes, a.max_event_bytes, a.max_payload_bytes
		INTO known, max_channel, max_event, max_payload
		FROM @SCHEMA@.log_apps a WHERE a.is_only;
	ELSE
		SELECT a.app, a.max_channel_bytes, a.max_event_bytes, a.max_payload_bytes
		INTO known, max_channel, max_event, max_payload
		FROM @SCHEMA@.log_apps a WHERE a.app OPERATOR(pg_catalog.=) NEW.app;
	END IF;
	IF known IS NOT NULL AND NEW.exclude_socket IS NULL AND NEW.delivered_at IS NULL
	   AND NEW.serial OPERATOR(pg_catalog.=) 0 AND NEW.origin OPERATOR(pg_catalog.=) 'sql'
	   AND NEW.delivered IS FALSE AND NEW.payload_is_text IS FALSE AND NEW.payload IS NOT NULL
	   AND (pg_catalog.octet_length(NEW.channel) OPERATOR(pg_catalog.<=) max_channel
		OR max_channel OPERATOR(pg_catalog.=) 0)
	   AND (pg_catalog.octet_length(NEW.event_type) OPERATOR(pg_catalog.<=) max_event
		OR max_event OPERATOR(pg_catalog.=) 0)
	   AND (pg_catalog.octet_length(NEW.payload::pg_catalog.text)
		OPERATOR(pg_catalog.<=) max_payload OR max_payload OPERATOR(pg_catalog.=) 0)
	   AND NEW.channel COLLATE pg_catalog."C"
	       OPERATOR(pg_catalog.~) '^[-a-zA-Z0-9_=@,.;]+$'
	   AND NEW.event_type OPERATOR(pg_catalog.<>) ''
	   AND NEW.event_type OPERATOR(pg_catalog.!~~) 'pusher%'
	   AND pg_catalog.octet_length(NEW.event_id) OPERATOR(pg_catalog.<=) 64
	   AND NEW.event_id COLLATE pg_catalog."C" OPERATOR(pg_catalog.~) '^[!-~]+$' THEN
		NEW.app := known;
	ELSE
		NEW.payload := coalesce(NEW.payload, '{}'::pg_catalog.json);
		NEW.app := @SCHEMA@.pending_inspect(NEW);
		NEW.serial := 0;
		NEW.origin := 'sql';
		NEW.delivered := false;
		NEW.delivered_at := NULL;
		NEW.payload_is_text := coalesce(NEW.payload_is_text, false)
			AND pg_catalog.json_typeof(NEW.payload) OPERATOR(pg_catalog.=) 'string';
	END IF;
	-- First a transaction id, then the look at 7776: relay_unclaim() counts on it.
	-- NOTIFY makes all commits wait in one line: not while a daemon polls anyway.
	IF (CASE WHEN pg_catalog.pg_current_xact_id() IS NOT NULL
		      AND pg_catalog.pg_try_advisory_lock_shared(7776)
		 THEN pg_catalog.pg_advisory_unlock_shared(7776) ELSE false END) THEN
		NOTIFY scopewire_pending;
	END IF;
	-- And an id only now: drain_mark counts on it.
	NEW.id := pg_catalog.nextval($name$@SCHEMA@.realtime_events_id_seq$name$);
	RETURN NEW;
END
$$;

-- The same here; and ON CONFLICT is only for an event_id that may be there already.
CREATE OR REPLACE FUNCTION broadcast(channel text, event text, payload json,
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

-- No pending row that will ever be seen has an id up to low, so that nobody has to step over what
-- was drained and is not vacuumed yet: as long as any transaction looks at an older state, that
-- can be hours of events.  Ids are given to transactions that have their own id already.  So all
-- up to next_low are there to be seen, or never will be, once no transaction up to xid runs.
CREATE TABLE drain_mark (
	only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
	low bigint NOT NULL DEFAULT 0,
	next_low bigint NOT NULL DEFAULT 0,
	xid xid8 NOT NULL DEFAULT '0',
	at timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 10);
INSERT INTO drain_mark DEFAULT VALUES;

-- A daemon vacuums often.  To shorten the file would need a lock that stops those who insert.
ALTER TABLE realtime_events_pending SET (vacuum_truncate = off);

-- Gives serials to at most max_rows pending rows; the caller holds 7777.  Returns how many.
-- Plans are kept: making one takes longer than draining some rows.
CREATE OR REPLACE FUNCTION drain_locked(max_rows integer) RETURNS integer
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
	mark CONSTANT bigint := (SELECT m.low FROM drain_mark m);
	drained integer;
BEGIN
	IF NOT EXISTS (SELECT FROM realtime_events_pending p WHERE p.serial = 0 AND p.id > mark) THEN
		RETURN 0;
	END IF;
	BEGIN
		WITH taken AS (
			DELETE FROM realtime_events_pending d
			WHERE d.ctid = ANY (ARRAY(SELECT p.ctid FROM realtime_events_pending p
						  WHERE p.serial = 0 AND p.id > mark
						  ORDER BY p.serial, p.id LIMIT max_rows))
			RETURNING d.*
		)
		INSERT INTO realtime_events (serial, id, event_id, channel, event_type, payload,
			payload_is_text, delivered, delivered_at, origin, app, exclude_socket,
			created_at)
		SELECT nextval('realtime_events_serial'), t.id, t.event_id, t.channel,
		       t.event_type, t.payload, t.payload_is_text, true, clock_timestamp(),
		       t.origin, t.app, t.exclude_socket, t.created_at
		FROM (SELECT * FROM taken ORDER BY id) t;
		GET DIAGNOSTICS drained = ROW_COUNT;
		RETURN drained;
	EXCEPTION WHEN unique_violation THEN
		NULL;
	END;
	-- An event_id of the log came again: the same with ON CONFLICT, which doubles the cost.
	WITH taken AS (
		DELETE FROM realtime_events_pending d
		WHERE d.ctid = ANY (ARRAY(SELECT p.ctid FROM realtime_events_pending p
					  WHERE p.serial = 0 AND p.id > mark
					  ORDER BY p.serial, p.id LIMIT max_rows))
		RETURNING d.*
	), moved AS (
		INSERT INTO realtime_events (serial, id, event_id, channel, event_type, payload,
			payload_is_text, delivered, delivered_at, origin, app, exclude_socket,
			created_at)
		SELECT nextval('realtime_events_serial'), t.id, t.event_id, t.channel,
		       t.event_type, t.payload, t.payload_is_text, true, clock_timestamp(),
		       t.origin, t.app, t.exclude_socket, t.created_at
		FROM (SELECT * FROM taken ORDER BY id) t
		ON CONFLICT DO NOTHING
	)
	SELECT count(*) INTO drained FROM taken;
	RETURN drained;
END
$$;

-- Sequences pending rows: at most max of them.  One drainer at a time; others get -1, and have to
-- look again.
CREATE OR REPLACE FUNCTION drain(max integer) RETURNS integer
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off SET enable_seqscan = off
AS $$
DECLARE
	mark drain_mark;
	has_passed boolean := false;
	last_id bigint;
	drained integer;
BEGIN
	IF NOT EXISTS (SELECT FROM realtime_events_pending p
		       WHERE p.serial = 0 AND p.id > (SELECT m.low FROM drain_mark m)) THEN
		RETURN 0;
	END IF;
	IF NOT pg_try_advisory_xact_lock(7778) THEN
		RETURN -1;
	END IF;
	PERFORM pg_advisory_xact_lock(7777);
	SELECT * INTO mark FROM drain_mark;
	IF mark.at < clock_timestamp() - interval '1 s' THEN
		-- In this order: the last id, then an id of our own, and rows are looked at after both.
		has_passed := mark.xid < pg_snapshot_xmin(pg_current_snapshot());
		last_id := (SELECT last_value FROM realtime_events_id_seq);
		mark.xid := pg_current_xact_id();
	END IF;
	drained := drain_locked(max);
	IF has_passed AND drained < max THEN
		UPDATE drain_mark SET low = mark.next_low, next_low = last_id, xid = mark.xid,
				      at = clock_timestamp();
	END IF;
	RETURN drained;
END
$$;

-- When a daemon comes: it looks at all that is there, whatever was noted down in another life of
-- this database.
CREATE FUNCTION drain_begin() RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	PERFORM pg_advisory_xact_lock(7777);
	UPDATE drain_mark SET low = 0, next_low = 0, xid = pg_current_xact_id(),
			      at = clock_timestamp();
END
$$;

-- From now on this session polls, and nobody needs to notify.  False: somebody just looks.
CREATE OR REPLACE FUNCTION relay_claim() RETURNS boolean
LANGUAGE sql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT pg_try_advisory_lock(7776)
$$;

-- Gives that back.  Who inserted without telling has a lower transaction id than the one returned;
-- relay_may_rest() with it is true when they all have ended.
CREATE FUNCTION relay_unclaim() RETURNS xid8
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	PERFORM pg_advisory_unlock(7776);
	RETURN pg_current_xact_id();
END
$$;

CREATE FUNCTION relay_may_rest(since xid8) RETURNS boolean
LANGUAGE sql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT since < pg_snapshot_xmin(pg_current_snapshot())
$$;

-- Table watches: one INSERT for all rows of a statement.  Watches that were made before go on with
-- watch_tell(), a call for each row, until they are made anew.

-- What a watch's trigger function needs once a statement: whom its events belong to, the limits (0:
-- none for a payload), and how the table is called now.  name is NULL when nothing can be broadcast.
-- Nothing here may fail: it would undo the caller's change of the table.
CREATE FUNCTION watch_begin(watch integer, OUT app text, OUT max_channel integer,
			    OUT max_payload integer, OUT name text)
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	w watches;
	a log_apps;
BEGIN
	SELECT x.* INTO w FROM watches x WHERE x.id = $1;
	SELECT x.* INTO a FROM log_apps x WHERE w.app IS NULL OR x.app = w.app
	ORDER BY x.app LIMIT 1;
	IF w.id IS NULL OR (a.app IS NULL AND EXISTS (SELECT FROM log_apps)) THEN
		RAISE WARNING 'watch % has no application: nothing is broadcast', $1;
		RETURN;
	END IF;
	app := a.app;
	max_channel := coalesce(nullif(a.max_channel_bytes, 0),
				CASE WHEN a.app IS NULL THEN 200 ELSE 2147483647 END);
	max_payload := coalesce(a.max_payload_bytes, 10000);
	name := ',"table":' || to_json(w.relation::text);
END
$$;

-- What goes instead of a row that is too large.
CREATE FUNCTION watch_short(head text, key text, moved text, max_payload integer) RETURNS text
LANGUAGE sql IMMUTABLE
AS $$
	SELECT CASE WHEN octet_length(head || ',"key":' || key || moved || ',"truncated":true}')
			 <= max_payload
		    THEN head || ',"key":' || key || moved || ',"truncated":true}'
		    ELSE head || ',"key":null,"truncated":true}' END
$$;

-- The statement that broadcasts what source gives.  source (a FROM, perhaps with a WHERE), channel,
-- members (of the payload), key and moved are SQL over the aliases n and o.
CREATE FUNCTION watch_insert(w watches, op text, source text, condition text, channel text,
			     members text, key text, moved text) RETURNS text
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
	SELECT format($f$
		INSERT INTO realtime_events (channel, event_type, payload, app)
		SELECT t.channel, %1$L, (CASE
			WHEN watched.max_payload = 0 OR octet_length(t.body) <= watched.max_payload
			THEN t.body
			ELSE watch_short(%2$L || watched.name, coalesce(%3$s::text, 'null'), %4$s,
					 watched.max_payload) END)::json, watched.app
		FROM %5$s CROSS JOIN LATERAL (SELECT %6$s AS channel,
			%2$L || watched.name || %7$s || %4$s || '}' AS body OFFSET 0) t
		WHERE channel_is_valid(t.channel) AND octet_length(t.channel) <= watched.max_channel
		      AND %8$s;
	$f$, replace(replace(w.event_name, '{op}', op), '{Op}', CASE op
			WHEN 'insert' THEN 'Created' WHEN 'update' THEN 'Updated'
			WHEN 'delete' THEN 'Deleted' ELSE 'Truncated' END),
	'{"op":' || to_json(op), key, moved, source, channel, members, condition)
$$;

-- A row's shown columns as json; by "alias.*" also when a column is called as the alias is.
CREATE FUNCTION watch_row(w watches, alias text) RETURNS text
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
	SELECT CASE WHEN w.columns IS NULL THEN format('row_to_json(%s.*)', alias)
		    ELSE watch_columns(w.relation, w.columns, alias) END || '::text'
$$;

-- The body of a watch's trigger function: SQL made once, from names and literals quoted here.
CREATE OR REPLACE FUNCTION watch_source(w watches) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	key text[] := watch_key(w.relation);
	chan_n text := watch_expression(w.relation, w.channel_template, 'n');
	chan_o text := watch_expression(w.relation, w.channel_template, 'o');
	row_n text := watch_row(w, 'n');
	row_o text := watch_row(w, 'o');
	new_n text := format('%L || %s', ',"new":', row_n);
	old_o text := format('%L || %s', ',"old":', row_o);
	key_n text := 'NULL::json';
	key_o text := 'NULL::json';
	on_key text;
	moved text := $f$CASE WHEN %s IS NULL THEN '' ELSE ',"moved":true' END$f$;
	here text;
	there text;
	updates text := '';
BEGIN
	IF key IS NOT NULL THEN
		key_n := watch_columns(w.relation, key, 'n');
		key_o := watch_columns(w.relation, key, 'o');
		here := format('n.%I', key[1]);
		there := format('o.%I', key[1]);
		SELECT string_agg(format('o.%I = n.%I', k, k), ' AND ') INTO on_key
		FROM unnest(key) k;
		-- Who saw the row and sees it no more; who sees it first; who saw it change.
		updates := 'ELSE'
			|| watch_insert(w, 'delete', 'old_rows o LEFT JOIN new_rows n ON ' || on_key,
				format('(%s IS NULL OR %s IS DISTINCT FROM %s)', here, chan_n, chan_o),
				chan_o, old_o, key_o, format(moved, here))
			|| watch_insert(w, 'insert', 'new_rows n LEFT JOIN old_rows o ON ' || on_key,
				format('(%s IS NULL OR %s IS DISTINCT FROM %s)', there, chan_n, chan_o),
				chan_n, new_n, key_n, format(moved, there))
			|| watch_insert(w, 'update', 'new_rows n JOIN old_rows o ON ' || on_key,
				format('%s = %s AND %s IS DISTINCT FROM %s', chan_n, chan_o, row_n,
				       row_o),
				chan_n, new_n || ' || ' || old_o, key_n, quote_literal(''));
	END IF;
	RETURN format('
DECLARE
	watched record;
BEGIN
	SELECT * INTO watched FROM watch_begin(%s);
	IF watched.name IS NULL THEN
		RETURN NULL;
	END IF;
	IF TG_OP = %L THEN%s
	ELSIF TG_OP = %L THEN%s
	ELSIF TG_OP = %L THEN%s
	%s
	END IF;
	RETURN NULL;
END', w.id,
	'INSERT', watch_insert(w, 'insert', 'new_rows n', 'true', chan_n, new_n, key_n,
			       quote_literal('')),
	'DELETE', watch_insert(w, 'delete', 'old_rows o', 'true', chan_o, old_o, key_o,
			       quote_literal('')),
	'TRUNCATE', CASE WHEN w.channel_template ~ '[{]' THEN ' NULL;'
			 ELSE watch_insert(w, 'truncate', '(SELECT) n', 'true',
					   quote_literal(w.channel_template), quote_literal(''),
					   'NULL::json', quote_literal('')) END,
	updates);
END
$$;

REVOKE EXECUTE ON FUNCTION pending_inspect(realtime_events_pending), drain_begin(),
	relay_unclaim(), relay_may_rest(xid8), log_apps_count(), watch_begin(integer),
	watch_row(watches, text), watch_short(text, text, text, integer),
	watch_insert(watches, text, text, text, text, text, text, text) FROM PUBLIC;
