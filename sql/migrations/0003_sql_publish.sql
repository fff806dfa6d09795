-- SPDX-License-Identifier: MIT
-- Publishing from SQL: what is inserted waits as pending (serial 0) and is sequenced after its
-- commit, by a daemon, under the advisory locks
--     7777  transaction: gives serials (also taken by the writer of HTTP publishes)
--     7778  transaction, only tried: one drainer at a time
--     7776  session: held by a daemon that polls, so that nobody needs to notify it

-- Applications and their limits, kept by the daemon; 0: no limit.  Empty before its first start.
CREATE TABLE log_apps (
	app text PRIMARY KEY,
	max_channel_bytes integer NOT NULL,
	max_event_bytes integer NOT NULL,
	max_payload_bytes integer NOT NULL
);

-- How far each node has handed the log to its sockets; written about once a second.
CREATE TABLE relay_cursor (
	node text PRIMARY KEY,
	epoch text NOT NULL,
	serial bigint NOT NULL,
	at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

CREATE FUNCTION channel_is_valid(channel text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
	SELECT channel COLLATE "C" ~ '^(#server-to-user-)?[-a-zA-Z0-9_=@,.;]+$'
$$;

-- What an application's events are held against; app NULL: the only one there is.
CREATE FUNCTION log_app(INOUT app text, OUT max_channel integer, OUT max_event integer,
			OUT max_payload integer)
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	wanted CONSTANT text := $1;
	found log_apps;
BEGIN
	SELECT a.* INTO found FROM log_apps a WHERE wanted IS NULL OR a.app = wanted
	ORDER BY a.app LIMIT 1;
	IF found.app IS NULL THEN
		IF EXISTS (SELECT FROM log_apps) THEN
			RAISE EXCEPTION 'the application "%" is not known', wanted
				USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Known are: ' || (SELECT string_agg(a.app, ', ' ORDER BY a.app)
							 FROM log_apps a) || '.';
		END IF;
		max_channel := 200;
		max_event := 200;
		max_payload := 10000;
		RETURN;
	END IF;
	IF wanted IS NULL AND (SELECT count(*) > 1 FROM log_apps) THEN
		RAISE EXCEPTION 'there are several applications, and none is named'
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Name one of: ' || (SELECT string_agg(a.app, ', ' ORDER BY a.app)
						   FROM log_apps a) || '.';
	END IF;
	app := found.app;
	max_channel := found.max_channel_bytes;
	max_event := found.max_event_bytes;
	max_payload := found.max_payload_bytes;
END
$$;

-- Each row that lands pending: checked, its defaults filled in, the daemon told.
-- The one who inserts needs no right on what this reads.
CREATE FUNCTION pending_check() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	a record := log_app(NEW.app);
	size integer;
BEGIN
	IF NEW.channel IS NULL OR NEW.event_type IS NULL OR NEW.event_id IS NULL THEN
		RAISE EXCEPTION 'an event needs a channel, an event name and an event_id'
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	size := octet_length(NEW.channel);
	IF a.max_channel > 0 AND size > a.max_channel THEN
		RAISE EXCEPTION 'the channel name has % bytes, the limit is %', size, a.max_channel
			USING ERRCODE = 'string_data_right_truncation',
			HINT = 'The limit is max_channel_name_bytes of the application.';
	END IF;
	IF NOT channel_is_valid(NEW.channel) THEN
		RAISE EXCEPTION '"%" is not a channel name', NEW.channel
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Letters, digits and _ - = @ , . ; are allowed; in front, '
			       'private- or presence- as the client subscribes.';
	END IF;
	size := octet_length(NEW.event_type);
	IF a.max_event > 0 AND size > a.max_event THEN
		RAISE EXCEPTION 'the event name has % bytes, the limit is %', size, a.max_event
			USING ERRCODE = 'string_data_right_truncation',
			HINT = 'The limit is max_event_name_bytes of the application.';
	END IF;
	IF NEW.event_type = '' OR NEW.event_type ~ '^pusher(_internal)?:' THEN
		RAISE EXCEPTION '"%" is not an event name', NEW.event_type
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'It must not be empty, nor start with pusher: or pusher_internal:.';
	END IF;
	NEW.payload := coalesce(NEW.payload, '{}');
	size := octet_length(NEW.payload::text);
	IF a.max_payload > 0 AND size > a.max_payload THEN
		RAISE EXCEPTION 'the payload has % bytes, the limit is %', size, a.max_payload
			USING ERRCODE = 'string_data_right_truncation',
			HINT = 'Send a key and let the client fetch the rest, or raise '
			       'max_event_payload_bytes of the application.';
	END IF;
	IF NEW.event_id COLLATE "C" !~ '^[!-~]{1,64}$' THEN
		RAISE EXCEPTION '"%" is not an event_id', NEW.event_id
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'An event_id is 1 to 64 printable ASCII characters without a space.';
	END IF;
	IF NEW.exclude_socket COLLATE "C" !~ '^[0-9]{1,10}\.[0-9]{1,10}$' THEN
		RAISE EXCEPTION '"%" is not a socket id', NEW.exclude_socket
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'A socket id looks like 1234.5678.';
	END IF;
	NEW.app := a.app;
	NEW.serial := 0;
	NEW.origin := 'sql';
	NEW.delivered := false;
	NEW.delivered_at := NULL;
	NEW.payload_is_text := coalesce(NEW.payload_is_text, false)
			       AND json_typeof(NEW.payload) = 'string';
	-- NOTIFY makes all commits wait in one line: not while a daemon polls anyway.
	IF pg_try_advisory_xact_lock_shared(7776) THEN
		NOTIFY scopewire_pending;
	END IF;
	RETURN NEW;
END
$$;

CREATE TRIGGER pending_check BEFORE INSERT ON realtime_events_pending
	FOR EACH ROW EXECUTE FUNCTION pending_check();

-- Publishes when the caller's transaction commits.  The same event_id again while it is in the
-- log's newest part publishes nothing more.
CREATE FUNCTION broadcast(channel text, event text, payload json, event_id text DEFAULT NULL,
			  exclude_socket text DEFAULT NULL, app text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
#variable_conflict use_variable
BEGIN
	event_id := coalesce(event_id, gen_random_uuid()::text);
	INSERT INTO realtime_events (channel, event_type, payload, event_id, exclude_socket, app)
	VALUES (channel, event, payload, event_id, exclude_socket, app)
	ON CONFLICT DO NOTHING;
	RETURN event_id;
END
$$;

-- Gives serials to at most max_rows pending rows; the caller holds 7777.  Returns how many.
CREATE FUNCTION drain_locked(max_rows integer) RETURNS integer
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	drained integer;
BEGIN
	IF NOT EXISTS (SELECT FROM realtime_events_pending) THEN
		RETURN 0;
	END IF;
	WITH taken AS (
		DELETE FROM realtime_events_pending p
		WHERE (p.serial, p.id) IN (SELECT serial, id FROM realtime_events_pending
					   ORDER BY serial, id LIMIT max_rows)
		RETURNING p.*
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

-- Sequences pending rows: at most max of them.  One drainer at a time; others return 0.
CREATE FUNCTION drain(max integer) RETURNS integer
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM realtime_events_pending)
	   OR NOT pg_try_advisory_xact_lock(7778) THEN
		RETURN 0;
	END IF;
	PERFORM pg_advisory_xact_lock(7777);
	RETURN drain_locked(max);
END
$$;

-- From now on this session polls.  False: transactions that were promised a NOTIFY stand in the
-- way; try later.
CREATE FUNCTION relay_claim() RETURNS boolean
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET lock_timeout = '200ms'
AS $$
BEGIN
	PERFORM pg_advisory_lock(7776);
	RETURN true;
EXCEPTION WHEN lock_not_available THEN
	RETURN false;
END
$$;

-- Table watches.  trigger_function belongs to this schema; the triggers, to the table.
CREATE TABLE watches (
	id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	relation regclass NOT NULL,
	channel_template text NOT NULL,
	columns text[],
	operations text[] NOT NULL,
	event_name text NOT NULL,
	app text,
	created_by text NOT NULL DEFAULT session_user,
	created_at timestamptz NOT NULL DEFAULT now(),
	UNIQUE (relation, channel_template)
);

-- The SQL expression of a template over the row named by alias: 'a.{b}' is ('a.' || n.b::text).
CREATE FUNCTION watch_expression(relation regclass, template text, alias text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	part text[];
	sql text := '';
	name text;
BEGIN
	FOR part IN SELECT regexp_matches(template, '([^{}]*)(\{([^{}]+)\})?', 'g') LOOP
		IF part[1] <> '' THEN
			sql := sql || ' || ' || quote_literal(part[1]);
		END IF;
		name := part[3];
		IF name IS NULL THEN
			CONTINUE;
		END IF;
		IF NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = relation
			       AND a.attname = name AND a.attnum > 0 AND NOT a.attisdropped) THEN
			RAISE EXCEPTION 'the table % has no column "%"', relation, name
				USING ERRCODE = 'undefined_column',
				HINT = 'Placeholders of a channel template are columns of the table.';
		END IF;
		sql := sql || format(' || %s.%I::text', alias, name);
	END LOOP;
	RETURN '(' || ltrim(sql, ' |') || ')';
END
$$;

CREATE FUNCTION watch_columns(relation regclass, columns text[], alias text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	missing text;
BEGIN
	IF columns IS NULL THEN
		RETURN format('row_to_json(%s)', alias);
	END IF;
	SELECT c INTO missing FROM unnest(columns) c WHERE NOT EXISTS (
		SELECT FROM pg_attribute a WHERE a.attrelid = relation AND a.attname = c
		AND a.attnum > 0 AND NOT a.attisdropped);
	IF FOUND OR cardinality(columns) = 0 THEN
		RAISE EXCEPTION 'the table % has no column "%"', relation, coalesce(missing, '')
			USING ERRCODE = 'undefined_column',
			HINT = 'columns are names of the table''s columns, or NULL for all.';
	END IF;
	RETURN (SELECT '(SELECT row_to_json(c) FROM (SELECT '
		       || string_agg(format('%s.%I', alias, c), ', ') || ') c)'
		FROM unnest(columns) c);
END
$$;

CREATE FUNCTION watch_key(relation regclass) RETURNS text[]
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
	SELECT array_agg(a.attname::text ORDER BY array_position(i.indkey::smallint[], a.attnum))
	FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
	WHERE i.indrelid = relation AND i.indisprimary
$$;

-- One row of a watched table, for its channel; what is too large goes as its key.
CREATE FUNCTION watch_tell(watch integer, channel text, op text, new_row json, old_row json,
			   key json, moved boolean) RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	w watches;
	a log_apps;
	max_payload integer;
	body text;
	head text;
BEGIN
	-- Nothing here may fail: it would undo the caller's change of the table.
	SELECT x.* INTO w FROM watches x WHERE x.id = watch;
	SELECT x.* INTO a FROM log_apps x WHERE w.app IS NULL OR x.app = w.app
	ORDER BY x.app LIMIT 1;
	IF w.id IS NULL OR (a.app IS NULL AND EXISTS (SELECT FROM log_apps)) THEN
		RAISE WARNING 'watch % has no application: nothing is broadcast', watch;
		RETURN;
	END IF;
	IF NOT coalesce(channel_is_valid(channel), false) OR octet_length(channel)
	   > coalesce(nullif(a.max_channel_bytes, 0), CASE WHEN a.app IS NULL THEN 200 END,
		      2147483647) THEN
		RETURN;
	END IF;
	max_payload := CASE WHEN a.app IS NULL THEN 10000 ELSE a.max_payload_bytes END;
	head := '{"op":' || to_json(op) || ',"table":' || to_json(w.relation::text);
	body := head || coalesce(',"new":' || new_row::text, '')
		|| coalesce(',"old":' || old_row::text, '')
		|| CASE WHEN moved THEN ',"moved":true' ELSE '' END || '}';
	IF max_payload > 0 AND octet_length(body) > max_payload THEN
		body := head || ',"key":' || coalesce(key::text, 'null')
			|| CASE WHEN moved THEN ',"moved":true' ELSE '' END
			|| ',"truncated":true}';
	END IF;
	IF max_payload > 0 AND octet_length(body) > max_payload THEN
		body := head || ',"key":null,"truncated":true}';
	END IF;
	INSERT INTO realtime_events (channel, event_type, payload, app)
	VALUES (channel, replace(replace(w.event_name, '{op}', op), '{Op}',
				 CASE op WHEN 'insert' THEN 'Created' WHEN 'update' THEN 'Updated'
					 WHEN 'delete' THEN 'Deleted' ELSE 'Truncated' END),
		body::json, a.app);
END
$$;

-- The body of a watch's trigger function: SQL made once, from names and literals quoted here.
CREATE FUNCTION watch_source(w watches) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	key text[] := watch_key(w.relation);
	chan_n text := watch_expression(w.relation, w.channel_template, 'n');
	chan_o text := watch_expression(w.relation, w.channel_template, 'o');
	row_n text := watch_columns(w.relation, w.columns, 'n');
	row_o text := watch_columns(w.relation, w.columns, 'o');
	key_n text := CASE WHEN key IS NULL THEN 'NULL::json'
			   ELSE watch_columns(w.relation, key, 'n') END;
	key_o text := CASE WHEN key IS NULL THEN 'NULL::json'
			   ELSE watch_columns(w.relation, key, 'o') END;
	same text;
BEGIN
	SELECT string_agg(format('o.%I = n.%I', k, k), ' AND ') INTO same FROM unnest(key) k;
	RETURN format($f$
BEGIN
	IF TG_OP = 'INSERT' THEN
		PERFORM watch_tell(%1$s, %2$s, 'insert', %4$s, NULL, %6$s, false) FROM new_rows n;
	ELSIF TG_OP = 'DELETE' THEN
		PERFORM watch_tell(%1$s, %3$s, 'delete', NULL, %5$s, %7$s, false) FROM old_rows o;
	ELSIF TG_OP = 'TRUNCATE' THEN
		%9$s
	$f$, w.id, chan_n, chan_o, row_n, row_o, key_n, key_o, NULL,
	CASE WHEN w.channel_template ~ '[{]' THEN 'NULL;'
	ELSE format('PERFORM watch_tell(%s, %L, ''truncate'', NULL, NULL, NULL, false);',
		    w.id, w.channel_template) END)
	|| CASE WHEN key IS NULL THEN '' ELSE format($f$
	ELSE
		-- Who saw the row and sees it no more; who sees it first; who saw it change.
		PERFORM watch_tell(%1$s, %3$s, 'delete', NULL, %5$s, %7$s, n.%9$I IS NOT NULL)
		FROM old_rows o LEFT JOIN new_rows n ON %8$s
		WHERE n.%9$I IS NULL OR %2$s IS DISTINCT FROM %3$s;
		PERFORM watch_tell(%1$s, %2$s, 'insert', %4$s, NULL, %6$s, o.%9$I IS NOT NULL)
		FROM new_rows n LEFT JOIN old_rows o ON %8$s
		WHERE o.%9$I IS NULL OR %2$s IS DISTINCT FROM %3$s;
		PERFORM watch_tell(%1$s, %2$s, 'update', %4$s, %5$s, %6$s, false)
		FROM new_rows n JOIN old_rows o ON %8$s
		WHERE %2$s = %3$s AND %4$s::text IS DISTINCT FROM %5$s::text;
	$f$, w.id, chan_n, chan_o, row_n, row_o, key_n, key_o, same, key[1]) END
	|| '
	END IF;
	RETURN NULL;
END';
END
$$;

-- Writes a watch down and makes its trigger function; the owner's part of watch().  The function
-- does nothing until somebody with the right to the table hangs it there.
CREATE FUNCTION watch_define(relation regclass, channel_template text, columns text[],
			     operations text[], event_name text, app text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	w watches;
	a record := log_app(app);
	bad text;
BEGIN
	SELECT o INTO bad FROM unnest(operations) o
	WHERE o NOT IN ('insert', 'update', 'delete', 'truncate');
	IF FOUND OR cardinality(operations) = 0 THEN
		RAISE EXCEPTION '"%" is not an operation', coalesce(bad, '')
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Operations are insert, update, delete and truncate.';
	END IF;
	IF channel_template IS NULL OR channel_template LIKE '%{}%' OR NOT channel_is_valid(
		regexp_replace(channel_template, '\{[^{}]+\}', 'x', 'g')) THEN
		RAISE EXCEPTION '"%" is not a channel template', channel_template
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'A template is a channel name with columns in braces: '
			       'private-client.{client_id}.';
	END IF;
	IF 'update' = ANY(operations) AND watch_key(relation) IS NULL THEN
		RAISE EXCEPTION 'updates of % cannot be told: it has no primary key', relation
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Add a primary key, or leave update out of the operations.';
	END IF;
	event_name := coalesce(event_name, (SELECT c.relname FROM pg_class c
					    WHERE c.oid = relation) || '.{op}');
	IF event_name = '' OR event_name ~ '^pusher(_internal)?:' OR octet_length(event_name)
	   + 8 > coalesce(nullif(a.max_event, 0), 2147483647) THEN
		RAISE EXCEPTION '"%" is not an event name', event_name
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'It must not be empty or too long, nor start with pusher: or '
			       'pusher_internal:; {op} and {Op} stand for the operation.';
	END IF;
	INSERT INTO watches (relation, channel_template, columns, operations, event_name, app)
	VALUES (relation, channel_template, columns, operations, event_name, a.app)
	RETURNING * INTO w;
	EXECUTE format('CREATE FUNCTION %I() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER '
		       'SET search_path = %I, pg_temp SET jit = off AS %L',
		       'watch_' || w.id, current_schema(), watch_source(w));
	RETURN w.id;
EXCEPTION WHEN unique_violation THEN
	RAISE EXCEPTION '% is watched for "%" already', relation, channel_template
		USING ERRCODE = 'duplicate_object', HINT = 'Call unwatch() first.';
END
$$;

-- Broadcasts a table's changes: statement triggers that read transition tables.  The caller needs
-- the right TRIGGER on the table.  Returns the watch's id.
CREATE FUNCTION watch("table" regclass, channel_template text, columns text[] DEFAULT NULL,
		      operations text[] DEFAULT '{insert,update,delete,truncate}',
		      event_name text DEFAULT NULL, app text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	op text;
	id integer := watch_define($1, channel_template, columns, operations, event_name, app);
	seen CONSTANT jsonb := '{"insert": "REFERENCING NEW TABLE AS new_rows",
		"update": "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
		"delete": "REFERENCING OLD TABLE AS old_rows", "truncate": ""}';
BEGIN
	FOREACH op IN ARRAY operations LOOP
		EXECUTE format('CREATE TRIGGER %I AFTER %s ON %s %s FOR EACH STATEMENT '
			       'EXECUTE FUNCTION %I.%I()', 'scopewire_watch_' || id || '_' || op,
			       op, $1, seen->>op, current_schema(), 'watch_' || id);
	END LOOP;
	RETURN id;
END
$$;

-- The owner's part of unwatch(): only when no trigger uses the function any more.
CREATE FUNCTION watch_forget(watch integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp
AS $$
BEGIN
	EXECUTE format('DROP FUNCTION IF EXISTS %I()', 'watch_' || watch);
	DELETE FROM watches WHERE id = watch;
END
$$;

-- Ends the table's watches, or the one of that template; returns how many.
CREATE FUNCTION unwatch("table" regclass, channel_template text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	w record;
	op text;
	n integer := 0;
BEGIN
	FOR w IN SELECT x.id, x.operations FROM watches x WHERE x.relation = $1
		 AND ($2 IS NULL OR x.channel_template = $2) LOOP
		FOREACH op IN ARRAY w.operations LOOP
			EXECUTE format('DROP TRIGGER IF EXISTS %I ON %s',
				       'scopewire_watch_' || w.id || '_' || op, $1);
		END LOOP;
		PERFORM watch_forget(w.id);
		n := n + 1;
	END LOOP;
	RETURN n;
END
$$;

REVOKE EXECUTE ON FUNCTION drain(integer), drain_locked(integer), relay_claim(),
	log_app(text), broadcast(text, text, json, text, text, text),
	watch_tell(integer, text, text, json, json, json, boolean),
	watch_define(regclass, text, text[], text[], text, text), watch_forget(integer),
	watch(regclass, text, text[], text[], text, text), unwatch(regclass, text),
	ensure_partitions(integer, bigint) FROM PUBLIC;
