-- SPDX-License-Identifier: MIT
-- Watched tables: their changes are broadcast by triggers whose functions are compiled here.

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
COMMENT ON TABLE watches IS
	'Watched tables. Each has a trigger function watch_ID in this schema, and triggers on '
	'the table.';
COMMENT ON COLUMN watches.channel_template IS
	'Name of the channel, with columns of the row in braces.';
COMMENT ON COLUMN watches.columns IS
	'Columns that the events show; NULL means all.';
COMMENT ON COLUMN watches.operations IS
	'Operations that are broadcast: insert, update, delete, truncate.';
COMMENT ON COLUMN watches.event_name IS
	'Name of the events; {op} and {Op} are replaced by the operation.';

CREATE FUNCTION watch_expression(p_relation regclass, p_template text, p_alias text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	part text[];
	sql text := '';
	name text;
BEGIN
	FOR part IN SELECT regexp_matches(p_template, '([^{}]*)(\{([^{}]+)\})?', 'g') LOOP
		IF part[1] <> '' THEN
			sql := sql || ' || ' || quote_literal(part[1]);
		END IF;
		name := part[3];
		IF name IS NULL THEN
			CONTINUE;
		END IF;
		IF NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = p_relation
			       AND a.attname = name AND a.attnum > 0 AND NOT a.attisdropped) THEN
			RAISE EXCEPTION 'the table % has no column "%"', p_relation, name
				USING ERRCODE = 'undefined_column',
				HINT = 'Placeholders of a channel template are columns of the table.';
		END IF;
		sql := sql || format(' || %s.%I::text', p_alias, name);
	END LOOP;
	RETURN '(' || ltrim(sql, ' |') || ')';
END
$$;
COMMENT ON FUNCTION watch_expression IS
	'The SQL expression of a template over the row p_alias: a.{b} is (''a.'' || n.b::text).';

CREATE FUNCTION watch_columns(p_relation regclass, p_columns text[], p_alias text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	missing text;
BEGIN
	IF p_columns IS NULL THEN
		RETURN format('row_to_json(%s)', p_alias);
	END IF;
	SELECT c INTO missing FROM unnest(p_columns) c WHERE NOT EXISTS (
		SELECT FROM pg_attribute a WHERE a.attrelid = p_relation AND a.attname = c
		AND a.attnum > 0 AND NOT a.attisdropped);
	IF FOUND OR cardinality(p_columns) = 0 THEN
		RAISE EXCEPTION 'the table % has no column "%"', p_relation, coalesce(missing, '')
			USING ERRCODE = 'undefined_column',
			HINT = 'columns are names of the table''s columns, or NULL for all.';
	END IF;
	RETURN (SELECT '(SELECT row_to_json(c.*) FROM (SELECT '
		       || string_agg(format('%s.%I', p_alias, c), ', ') || ') c)'
		FROM unnest(p_columns) c);
END
$$;
COMMENT ON FUNCTION watch_columns IS
	'The SQL expression of a row''s columns as JSON. NULL means all columns.';

CREATE FUNCTION watch_key(p_relation regclass) RETURNS text[]
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
	SELECT array_agg(a.attname::text ORDER BY array_position(i.indkey::smallint[], a.attnum))
	FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
	WHERE i.indrelid = p_relation AND i.indisprimary
$$;
COMMENT ON FUNCTION watch_key IS
	'The columns of the table''s primary key, NULL when it has none.';

-- This must not raise an error: it would undo the caller's change of the table.
CREATE FUNCTION watch_begin(p_watch integer, OUT app text, OUT max_channel integer,
			    OUT max_payload integer, OUT name text)
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	w watches;
	a log_apps;
BEGIN
	SELECT x.* INTO w FROM watches x WHERE x.id = p_watch;
	SELECT x.* INTO a FROM log_apps x WHERE w.app IS NULL OR x.app = w.app
	ORDER BY x.app LIMIT 1;
	IF w.id IS NULL OR (a.app IS NULL AND EXISTS (SELECT FROM log_apps)) THEN
		RAISE WARNING 'watch % has no application: nothing is broadcast', p_watch;
		RETURN;
	END IF;
	app := a.app;
	max_channel := coalesce(nullif(a.max_channel_bytes, 0),
				CASE WHEN a.app IS NULL THEN 200 ELSE 2147483647 END);
	max_payload := coalesce(a.max_payload_bytes, 10000);
	name := ',"table":' || to_json(w.relation::text);
END
$$;
COMMENT ON FUNCTION watch_begin IS
	'Called once for each statement by the trigger function of a watch: the application, '
	'its limits and the table''s name as JSON. name is NULL when nothing can be broadcast.';

CREATE FUNCTION watch_short(p_head text, p_key text, p_moved text, p_max_payload integer)
RETURNS text
LANGUAGE sql IMMUTABLE
AS $$
	SELECT CASE WHEN octet_length(p_head || ',"key":' || p_key || p_moved || ',"truncated":true}')
			 <= p_max_payload
		    THEN p_head || ',"key":' || p_key || p_moved || ',"truncated":true}'
		    ELSE p_head || ',"key":null,"truncated":true}' END
$$;
COMMENT ON FUNCTION watch_short IS
	'The payload that replaces one which is larger than the limit.';

CREATE FUNCTION watch_insert(p_watch watches, p_op text, p_source text, p_condition text,
			     p_channel text, p_members text, p_key text, p_moved text) RETURNS text
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
	$f$, replace(replace(p_watch.event_name, '{op}', p_op), '{Op}', CASE p_op
			WHEN 'insert' THEN 'Created' WHEN 'update' THEN 'Updated'
			WHEN 'delete' THEN 'Deleted' ELSE 'Truncated' END),
	'{"op":' || to_json(p_op), p_key, p_moved, p_source, p_channel, p_members, p_condition)
$$;
COMMENT ON FUNCTION watch_insert IS
	'The statement that broadcasts the rows of p_source. p_channel, p_members, p_key and '
	'p_moved are SQL expressions over the aliases n and o.';

CREATE FUNCTION watch_row(p_watch watches, p_alias text) RETURNS text
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
	SELECT CASE WHEN p_watch.columns IS NULL THEN format('row_to_json(%s.*)', p_alias)
		    ELSE watch_columns(p_watch.relation, p_watch.columns, p_alias) END || '::text'
$$;
COMMENT ON FUNCTION watch_row IS
	'The SQL expression of a row''s shown columns as JSON text.';

CREATE FUNCTION watch_source(p_watch watches) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	key text[] := watch_key(p_watch.relation);
	chan_n text := watch_expression(p_watch.relation, p_watch.channel_template, 'n');
	chan_o text := watch_expression(p_watch.relation, p_watch.channel_template, 'o');
	row_n text := watch_row(p_watch, 'n');
	row_o text := watch_row(p_watch, 'o');
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
		key_n := watch_columns(p_watch.relation, key, 'n');
		key_o := watch_columns(p_watch.relation, key, 'o');
		here := format('n.%I', key[1]);
		there := format('o.%I', key[1]);
		SELECT string_agg(format('o.%I = n.%I', k, k), ' AND ') INTO on_key
		FROM unnest(key) k;
		-- Rows that left a channel; rows that are new in a channel; rows that changed in it.
		updates := 'ELSE'
			|| watch_insert(p_watch, 'delete',
				'old_rows o LEFT JOIN new_rows n ON ' || on_key,
				format('(%s IS NULL OR %s IS DISTINCT FROM %s)', here, chan_n, chan_o),
				chan_o, old_o, key_o, format(moved, here))
			|| watch_insert(p_watch, 'insert',
				'new_rows n LEFT JOIN old_rows o ON ' || on_key,
				format('(%s IS NULL OR %s IS DISTINCT FROM %s)', there, chan_n, chan_o),
				chan_n, new_n, key_n, format(moved, there))
			|| watch_insert(p_watch, 'update',
				'new_rows n JOIN old_rows o ON ' || on_key,
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
END', p_watch.id,
	'INSERT', watch_insert(p_watch, 'insert', 'new_rows n', 'true', chan_n, new_n, key_n,
			       quote_literal('')),
	'DELETE', watch_insert(p_watch, 'delete', 'old_rows o', 'true', chan_o, old_o, key_o,
			       quote_literal('')),
	'TRUNCATE', CASE WHEN p_watch.channel_template ~ '[{]' THEN ' NULL;'
			 ELSE watch_insert(p_watch, 'truncate', '(SELECT) n', 'true',
					   quote_literal(p_watch.channel_template), quote_literal(''),
					   'NULL::json', quote_literal('')) END,
	updates);
END
$$;
COMMENT ON FUNCTION watch_source IS
	'The body of a watch''s trigger function, compiled from names and literals that are '
	'quoted here.';

CREATE FUNCTION watch_compile(p_watch watches) RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp
AS $$
BEGIN
	EXECUTE format('CREATE OR REPLACE FUNCTION %I() RETURNS trigger LANGUAGE plpgsql '
		       'SECURITY DEFINER SET search_path = %I, pg_temp SET jit = off AS %L',
		       'watch_' || p_watch.id, current_schema(), watch_source(p_watch));
END
$$;
COMMENT ON FUNCTION watch_compile IS
	'Creates the trigger function of a watch, or replaces it.';

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
		RAISE EXCEPTION 'updates of % cannot be broadcast: it has no primary key', relation
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
	PERFORM watch_compile(w);
	RETURN w.id;
EXCEPTION WHEN unique_violation THEN
	RAISE EXCEPTION '% is watched for "%" already', relation, channel_template
		USING ERRCODE = 'duplicate_object', HINT = 'Call unwatch() first.';
END
$$;
COMMENT ON FUNCTION watch_define IS
	'The part of watch() that runs as the schema''s owner: stores the watch and creates its '
	'trigger function.';

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
COMMENT ON FUNCTION watch IS
	'Broadcasts the changes of a table. The caller needs the right TRIGGER on the table. '
	'Returns the id of the watch.';

CREATE FUNCTION watch_forget(watch integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp
AS $$
BEGIN
	EXECUTE format('DROP FUNCTION IF EXISTS %I()', 'watch_' || watch);
	DELETE FROM watches WHERE id = watch;
END
$$;
COMMENT ON FUNCTION watch_forget IS
	'The part of unwatch() that runs as the schema''s owner. Fails while a trigger uses the '
	'function.';

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
COMMENT ON FUNCTION unwatch IS
	'Ends the watches of a table, or the one with this template. Returns how many.';

REVOKE EXECUTE ON FUNCTION watch_begin(integer), watch_short(text, text, text, integer),
	watch_insert(watches, text, text, text, text, text, text, text),
	watch_row(watches, text), watch_compile(watches),
	watch_define(regclass, text, text[], text[], text, text),
	watch(regclass, text, text[], text[], text, text), watch_forget(integer),
	unwatch(regclass, text) FROM PUBLIC;
