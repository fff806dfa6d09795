-- SPDX-License-Identifier: MIT
-- Watched tables: their changes are broadcast by two triggers for each operation.
--
-- The first, watch_ID(), is compiled here for the table and is SECURITY INVOKER: casts, operators
-- and channel templates run with the rights of the role that changes it.  It never raises an error.
-- It passes finished text in a setting of the transaction to the second, watch_send(), which is
-- SECURITY DEFINER, checks the text, and inserts the events.  Triggers need no rights of those who
-- change the table, so these need none on this schema.  docs/decisions/0019-watched-tables.md.
--
-- The text: events, separated by the control character 1F; each is i, u or d (insert, update,
-- delete), the channel, the control character 1E, and the members of the payload from "new" or "old"
-- on.  Valid JSON has no such character, nor has a valid channel.  A text that begins with ! is the
-- reason why there are no events.  The setting's name has the depth of the triggers, because the
-- first trigger can run code that changes the same table.

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
	table_name text,
	channel_regex text,
	channel_like text,
	fault text,
	fault_at timestamptz,
	fault_reported_at timestamptz,
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
COMMENT ON COLUMN watches.table_name IS
	'Name of the table when it was last known.';
COMMENT ON COLUMN watches.channel_regex IS
	'Every channel of the template has only characters that this expression allows.';
COMMENT ON COLUMN watches.channel_like IS
	'Every channel of the template is like this pattern.';
COMMENT ON COLUMN watches.fault IS
	'Why changes of the table were not broadcast, when that happened last.';
COMMENT ON COLUMN watches.fault_at IS
	'When fault was last noticed.';
COMMENT ON COLUMN watches.fault_reported_at IS
	'When a daemon logged fault.';

-- A channel of the template has to match both.  One expression with the template's text in it would cost
-- three times as much for each event: PostgreSQL makes its states for each channel anew.
CREATE FUNCTION watch_regex(p_template text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = @SCHEMA@, pg_temp
RETURN CASE WHEN p_template LIKE '#%' THEN '^#server-to-user-' ELSE '^' END || '[-a-zA-Z0-9_=@,.;]*$';
COMMENT ON FUNCTION watch_regex IS
	'The regular expression of the characters of all channels that a valid template can give.';

CREATE FUNCTION watch_like(p_template text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = @SCHEMA@, pg_temp
RETURN regexp_replace(replace(p_template, '_', '\_'), '\{[^{}]+\}', '%', 'g');
COMMENT ON FUNCTION watch_like IS
	'The pattern of all channels that a valid template can give.';

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
		sql := sql || format(' || %s.%I::pg_catalog.text', p_alias, name);
	END LOOP;
	RETURN '(' || ltrim(sql, ' |') || ')';
END
$$;
COMMENT ON FUNCTION watch_expression IS
	'The SQL expression of a template over the row p_alias: a.{b} is '
	'(''a.'' || n.b::pg_catalog.text).';

CREATE FUNCTION watch_key(p_relation regclass) RETURNS text[]
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
	SELECT array_agg(a.attname::text ORDER BY array_position(i.indkey::smallint[], a.attnum))
	FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
	WHERE i.indrelid = p_relation AND i.indisprimary
$$;
COMMENT ON FUNCTION watch_key IS
	'The columns of the table''s primary key, NULL when it has none.';

CREATE FUNCTION watch_is_same_row(p_relation regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
	SELECT string_agg(format('o.%1$I OPERATOR(%2$I.%3$s) n.%1$I', a.attname, s.nspname, p.oprname),
			  ' AND ' ORDER BY k.n)
	FROM pg_index i
	CROSS JOIN LATERAL unnest(i.indkey::smallint[], i.indclass::oid[])
		WITH ORDINALITY k(attnum, opclass, n)
	JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
	JOIN pg_opclass c ON c.oid = k.opclass
	JOIN pg_amop m ON m.amopfamily = c.opcfamily AND m.amopstrategy = 3
		AND m.amoplefttype = c.opcintype AND m.amoprighttype = c.opcintype
	JOIN pg_operator p ON p.oid = m.amopopr
	JOIN pg_namespace s ON s.oid = p.oprnamespace
	WHERE i.indrelid = p_relation AND i.indisprimary AND k.n <= i.indnkeyatts
$$;
COMMENT ON FUNCTION watch_is_same_row IS
	'The SQL expression that is true when the rows n and o have the same primary key. The '
	'operators are those of the key''s index.';

CREATE FUNCTION watch_row(p_watch watches, p_alias text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	missing text;
BEGIN
	IF p_watch.columns IS NULL THEN
		RETURN format('pg_catalog.row_to_json(%s.*)::pg_catalog.text', p_alias);
	END IF;
	SELECT c INTO missing FROM unnest(p_watch.columns) c WHERE NOT EXISTS (
		SELECT FROM pg_attribute a WHERE a.attrelid = p_watch.relation AND a.attname = c
		AND a.attnum > 0 AND NOT a.attisdropped);
	IF FOUND OR cardinality(p_watch.columns) = 0 THEN
		RAISE EXCEPTION 'the table % has no column "%"', p_watch.relation,
			coalesce(missing, '') USING ERRCODE = 'undefined_column',
			HINT = 'columns are names of the table''s columns, or NULL for all.';
	END IF;
	RETURN (SELECT '(SELECT pg_catalog.row_to_json(c.*)::pg_catalog.text FROM (SELECT '
		       || string_agg(format('%s.%I', p_alias, c), ', ') || ') c)'
		FROM unnest(p_watch.columns) c);
END
$$;
COMMENT ON FUNCTION watch_row IS
	'The SQL expression of a row''s shown columns as JSON text.';

-- Names in the generated text are aliases, always followed by a dot, so that no column, table or
-- type can have their place.
CREATE FUNCTION watch_source(p_watch watches) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	same CONSTANT text := watch_is_same_row(p_watch.relation);
	valid CONSTANT text := $f$(%s COLLATE pg_catalog."C"
		OPERATOR(pg_catalog.~) '^(#server-to-user-)?[-a-zA-Z0-9_=@,.;]+$')$f$;
	-- All rows with a channel, up to the limit; then, for more, each channel once.
	one CONSTANT text := $f$
	SELECT pg_catalog.count(*), pg_catalog.string_agg(t.news, E'\x1f') INTO rows, made
	FROM (SELECT CASE WHEN %1$s THEN %2$L || s.channel || E'\x1e,"%3$s":' || s.shown END AS news
	      FROM (SELECT %4$s AS channel, %5$s AS shown FROM %6$s LIMIT 100001) s) t;
	IF rows > 100000 THEN
		SELECT pg_catalog.string_agg(t.news, E'\x1f') INTO made
		FROM (SELECT DISTINCT %2$L || s.channel || E'\x1e' AS news
		      FROM (SELECT %4$s AS channel FROM %6$s) s WHERE %1$s) t;
	END IF;$f$;
	pairs CONSTANT text := $f$
	SELECT pg_catalog.count(*), pg_catalog.string_agg(t.news, E'\x1f') INTO rows, made
	FROM (SELECT CASE
		WHEN s.n_channel OPERATOR(pg_catalog.=) s.o_channel THEN
			CASE WHEN s.n_shown OPERATOR(pg_catalog.<>) s.o_shown AND %1$s
			     THEN 'u' || s.n_channel || E'\x1e,"new":' || s.n_shown
				  || ',"old":' || s.o_shown END
		ELSE NULLIF(pg_catalog.concat_ws(E'\x1f',
			CASE WHEN %2$s THEN 'd' || s.o_channel || E'\x1e,"old":' || s.o_shown
					    || ',"moved":true' END,
			CASE WHEN %1$s THEN 'i' || s.n_channel || E'\x1e,"new":' || s.n_shown
					    || ',"moved":true' END), '') END AS news
	      FROM (SELECT %3$s AS n_channel, %4$s AS o_channel, %5$s AS n_shown, %6$s AS o_shown
		    FROM new_rows n JOIN old_rows o ON %7$s LIMIT 100001 OFFSET 0) s) t;
	IF rows > 100000 THEN
		SELECT pg_catalog.string_agg(t.news, E'\x1f') INTO made
		FROM (SELECT DISTINCT 'u' || s.n_channel || E'\x1e' AS news
		      FROM (SELECT %3$s AS n_channel FROM new_rows n
			    UNION ALL SELECT %4$s FROM old_rows o) s WHERE %1$s) t;
	ELSIF rows OPERATOR(pg_catalog.<>) (SELECT pg_catalog.count(*) FROM new_rows n) THEN
		-- Keys that changed: a deletion and an insertion.
		SELECT pg_catalog.concat_ws(E'\x1f', made, pg_catalog.string_agg(t.news, E'\x1f'))
		INTO made
		FROM (SELECT 'd' || s.o_channel || E'\x1e,"old":' || s.o_shown AS news
		      FROM (SELECT %4$s AS o_channel, %6$s AS o_shown FROM old_rows o
			    WHERE NOT EXISTS (SELECT FROM new_rows n WHERE %7$s) OFFSET 0) s
		      WHERE %2$s
		      UNION ALL
		      SELECT 'i' || s.n_channel || E'\x1e,"new":' || s.n_shown
		      FROM (SELECT %3$s AS n_channel, %5$s AS n_shown FROM new_rows n
			    WHERE NOT EXISTS (SELECT FROM old_rows o WHERE %7$s) OFFSET 0) s
		      WHERE %1$s) t;
	END IF;$f$;
	chan_n CONSTANT text := watch_expression(p_watch.relation, p_watch.channel_template, 'n');
	chan_o CONSTANT text := watch_expression(p_watch.relation, p_watch.channel_template, 'o');
	row_n CONSTANT text := watch_row(p_watch, 'n');
	row_o CONSTANT text := watch_row(p_watch, 'o');
BEGIN
	IF same IS NULL AND 'update' = ANY(p_watch.operations) THEN
		RAISE EXCEPTION 'updates of % cannot be broadcast: it has no primary key',
			p_watch.relation USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Add a primary key, or leave update out of the operations.';
	END IF;
	RETURN format($f$
DECLARE
	made text;
	rows bigint;
BEGIN
	BEGIN
	IF TG_OP = 'INSERT' THEN%s
	ELSIF TG_OP = 'DELETE' THEN%s
	ELSIF TG_OP = 'UPDATE' THEN%s
	END IF;
	EXCEPTION WHEN OTHERS THEN
		made := '!' || SQLERRM;
	END;
	PERFORM pg_catalog.set_config('scopewire.watch_%s_' || pg_catalog.pg_trigger_depth(),
				      COALESCE(made, ''), true);
	RETURN NULL;
END$f$,
		format(one, format(valid, 's.channel'), 'i', 'new', chan_n, row_n, 'new_rows n'),
		format(one, format(valid, 's.channel'), 'd', 'old', chan_o, row_o, 'old_rows o'),
		CASE WHEN same IS NULL THEN ' NULL;'
		     ELSE format(pairs, format(valid, 's.n_channel'), format(valid, 's.o_channel'),
				 chan_n, chan_o, row_n, row_o, same) END, p_watch.id);
END
$$;
COMMENT ON FUNCTION watch_source IS
	'The body of a watch''s trigger function, compiled from names and literals that are '
	'quoted here.';

-- The settings are all that change what a value is as text.  Plans are kept, and those of one row
-- must be good for many: no nested loops.
CREATE FUNCTION watch_compile(p_watch watches) RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp
AS $$
BEGIN
	EXECUTE format('CREATE OR REPLACE FUNCTION %I() RETURNS trigger LANGUAGE plpgsql '
		       'SECURITY INVOKER SET search_path = pg_catalog, pg_temp SET jit = off '
		       'SET DateStyle = ''ISO, MDY'' SET IntervalStyle = postgres '
		       'SET TimeZone = ''UTC'' SET extra_float_digits = 1 SET bytea_output = hex '
		       'SET lc_monetary = ''C'' SET quote_all_identifiers = off '
		       'SET enable_nestloop = off AS %L',
		       'watch_' || p_watch.id, watch_source(p_watch));
END
$$;
COMMENT ON FUNCTION watch_compile IS
	'Creates the trigger function of a watch, or replaces it.';

CREATE FUNCTION watch_short(p_head text, p_members text, p_relation regclass, p_max_payload integer)
RETURNS text
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	shown json;
	key text;
BEGIN
	BEGIN
		-- Data can have \u0000 and halves of surrogate pairs, as in payload_get(); a key cannot.
		shown := regexp_replace('{' || substr(p_members, 2) || '}',
			'(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\[^u])'
			'|\\u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2})', '\1', 'g');
		shown := coalesce(shown->'new', shown->'old');
		SELECT '{' || string_agg(to_json(k.name) || ':' || (shown->k.name)::text, ','
					 ORDER BY k.n) || '}'
		INTO key FROM unnest(watch_key(p_relation)) WITH ORDINALITY k(name, n)
		HAVING bool_and((shown->k.name) IS NOT NULL);
	EXCEPTION WHEN OTHERS THEN
		key := NULL;
	END;
	key := p_head || ',"key":' || key || CASE WHEN p_members LIKE '%,"moved":true'
		THEN ',"moved":true' ELSE '' END || ',"truncated":true}';
	IF octet_length(key) <= p_max_payload OR p_max_payload = 0 THEN
		RETURN key;
	END IF;
	RETURN p_head || ',"key":null,"truncated":true}';
END
$$;
COMMENT ON FUNCTION watch_short IS
	'The payload that replaces one which is larger than the limit. It has the key if all '
	'columns of the key are shown.';

CREATE FUNCTION watch_fault(p_watch integer, p_fault text) RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp
AS $$
BEGIN
	RAISE WARNING 'a change is not broadcast: %', p_fault
		USING DETAIL = format('This is watch %s.', p_watch),
		HINT = 'If a column was renamed or dropped, call unwatch() and watch().';
	-- No transaction waits for the row, and most changes do not write it.
	UPDATE watches w SET fault = p_fault, fault_at = now()
	WHERE w.id = (SELECT x.id FROM watches x WHERE x.id = p_watch
		      AND (x.fault IS DISTINCT FROM p_fault OR x.fault_at < now() - interval '1 min')
		      FOR UPDATE SKIP LOCKED);
EXCEPTION WHEN serialization_failure THEN
	-- With REPEATABLE READ: another transaction has stored a fault since this one's snapshot.
	NULL;
END
$$;
COMMENT ON FUNCTION watch_fault IS
	'Warns that a change is not broadcast, and stores the reason in watches.';

CREATE FUNCTION watch_event_name(p_name text, p_kind text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN replace(replace(p_name,
	'{op}', CASE p_kind WHEN 'i' THEN 'insert' WHEN 'u' THEN 'update' WHEN 'd' THEN 'delete'
			    ELSE 'truncate' END),
	'{Op}', CASE p_kind WHEN 'i' THEN 'Created' WHEN 'u' THEN 'Updated' WHEN 'd' THEN 'Deleted'
			    ELSE 'Truncated' END);
COMMENT ON FUNCTION watch_event_name IS
	'The name of a watch''s events: i, u, d and t are insert, update, delete and truncate.';

CREATE FUNCTION watch_send() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	watch CONSTANT integer := TG_ARGV[0];
	setting CONSTANT text := concat('scopewire.watch_', watch, '_', pg_trigger_depth());
	made text := current_setting(setting, true);
	w record; -- the watch, and its application's limits
	head text;
BEGIN
	IF TG_OP = 'TRUNCATE' THEN
		made := 't';
	ELSIF made IS NULL OR made = '' THEN
		RETURN NULL;
	ELSE
		PERFORM set_config(setting, '', true);
	END IF;
	SELECT x.relation, x.channel_template, x.channel_regex, x.channel_like, x.event_name,
	       a.app, a.max_channel_bytes AS max_channel, a.max_event_bytes AS max_event,
	       a.max_payload_bytes AS max_payload INTO w
	FROM watches x LEFT JOIN LATERAL (
		SELECT l.* FROM log_apps l WHERE l.app = x.app OR (x.app IS NULL AND l.is_default)
		LIMIT 1) a ON true
	WHERE x.id = watch;
	IF w.app IS NULL AND NOT EXISTS (SELECT FROM log_apps l) THEN
		w.max_channel := 200;
		w.max_event := 200;
		w.max_payload := 10240;
	END IF;
	IF (w.relation = TG_RELID) IS NOT TRUE THEN
		RAISE WARNING 'a change is not broadcast: this trigger is of another table''s watch';
		RETURN NULL;
	ELSIF made LIKE '!%' THEN
		PERFORM watch_fault(watch, substr(made, 2));
		RETURN NULL;
	ELSIF w.max_channel IS NULL THEN
		PERFORM watch_fault(watch, 'the application of the watch does not exist');
		RETURN NULL;
	ELSIF w.max_event > 0 AND octet_length(w.event_name) + 8 > w.max_event THEN
		PERFORM watch_fault(watch, 'the event name is over the application''s limit');
		RETURN NULL;
	END IF;
	head := concat(',"table":', to_json(concat(quote_ident(TG_TABLE_SCHEMA), '.',
						   quote_ident(TG_TABLE_NAME))));
	IF TG_OP = 'TRUNCATE' THEN
		IF w.channel_template !~ '[{]'
		   AND (w.max_channel = 0 OR octet_length(w.channel_template) <= w.max_channel) THEN
			INSERT INTO realtime_events (channel, event_type, payload, app)
			VALUES (w.channel_template, watch_event_name(w.event_name, 't'),
				concat('{"op":"truncate"', head, '}')::json, w.app);
		END IF;
		RETURN NULL;
	END IF;
	INSERT INTO realtime_events (channel, event_type, payload, app)
	SELECT e.channel, watch_event_name(w.event_name, e.kind), (CASE
		WHEN e.members = '' THEN concat(e.head, ',"key":null,"truncated":true}')
		WHEN w.max_payload = 0
		     OR octet_length(e.head) + octet_length(e.members) < w.max_payload
		THEN concat(e.head, e.members, '}')
		ELSE watch_short(e.head, e.members, w.relation, w.max_payload)
		END)::json, w.app
	FROM (SELECT p.kind, substr(p.address, 2) AS channel, p.members,
		     concat(CASE p.kind WHEN 'i' THEN '{"op":"insert"' WHEN 'u' THEN '{"op":"update"'
			    ELSE '{"op":"delete"' END, head) AS head
	      FROM (SELECT substr(m.made, 1, 1) AS kind,
			   split_part(m.made, E'\x1e', 1) AS address,
			   split_part(m.made, E'\x1e', 2) AS members
		    FROM string_to_table(made, E'\x1f') AS m(made)) p) e
	WHERE e.channel COLLATE "C" LIKE w.channel_like AND e.channel COLLATE "C" ~ w.channel_regex
	      AND (w.max_channel = 0 OR octet_length(e.channel) <= w.max_channel);
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION watch_send IS
	'Trigger of watched tables: broadcasts what the trigger before it made. Channels that do '
	'not match the watch''s template are left out.';

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
	PERFORM watches_forget_dropped();
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
	event_name := coalesce(event_name, (SELECT c.relname FROM pg_class c
					    WHERE c.oid = relation) || '.{op}');
	IF event_name = '' OR event_name ~ '^pusher(_internal)?:' OR octet_length(event_name)
	   + 8 > coalesce(nullif(a.max_event, 0), 2147483647) THEN
		RAISE EXCEPTION '"%" is not an event name', event_name
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'It must not be empty or too long, nor start with pusher: or '
			       'pusher_internal:; {op} and {Op} stand for the operation.';
	END IF;
	INSERT INTO watches (relation, channel_template, columns, operations, event_name, app,
			     table_name, channel_regex, channel_like)
	VALUES (relation, channel_template, columns, operations, event_name, a.app, relation,
		watch_regex(channel_template), watch_like(channel_template))
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

CREATE FUNCTION watch_attach(p_watch watches) RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	op text;
	name text;
	seen CONSTANT jsonb := '{"insert": "REFERENCING NEW TABLE AS new_rows",
		"update": "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
		"delete": "REFERENCING OLD TABLE AS old_rows"}';
BEGIN
	-- Triggers run in the order of their names.
	FOREACH op IN ARRAY p_watch.operations LOOP
		name := 'scopewire_watch_' || p_watch.id || '_' || op;
		IF seen ? op THEN
			EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER %s ON %s %s FOR EACH STATEMENT '
				       'EXECUTE FUNCTION %I.%I()', name, op, p_watch.relation,
				       seen->>op, current_schema(), 'watch_' || p_watch.id);
		END IF;
		EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER %s ON %s FOR EACH STATEMENT '
			       'EXECUTE FUNCTION %I.watch_send(%s)', name || '_send', op,
			       p_watch.relation, current_schema(), p_watch.id);
	END LOOP;
END
$$;
COMMENT ON FUNCTION watch_attach IS
	'Creates the triggers of a watch, with the rights of the caller.';

CREATE FUNCTION watch("table" regclass, channel_template text, columns text[] DEFAULT NULL,
		      operations text[] DEFAULT '{insert,update,delete,truncate}',
		      event_name text DEFAULT NULL, app text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	new_id CONSTANT integer := watch_define($1, channel_template, columns, operations,
						event_name, app);
BEGIN
	PERFORM watch_attach(w) FROM watches w WHERE w.id = new_id;
	RETURN new_id;
END
$$;
COMMENT ON FUNCTION watch IS
	'Broadcasts the changes of a table. The caller needs the right TRIGGER on the table. '
	'Returns the id of the watch.';

CREATE FUNCTION watch_forget(watch integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp
AS $$
BEGIN
	IF EXISTS (SELECT FROM pg_trigger t JOIN watches w ON t.tgrelid = w.relation
		   WHERE w.id = watch AND t.tgname LIKE 'scopewire\_watch\_' || watch || '\_%') THEN
		RAISE EXCEPTION 'watch % has triggers', watch
			USING ERRCODE = 'dependent_objects_still_exist', HINT = 'Call unwatch().';
	END IF;
	EXECUTE format('DROP FUNCTION IF EXISTS %I()', 'watch_' || watch);
	DELETE FROM watches WHERE id = watch;
END
$$;
COMMENT ON FUNCTION watch_forget IS
	'The part of unwatch() that runs as the schema''s owner. Fails while the table has the '
	'watch''s triggers.';

CREATE FUNCTION unwatch("table" regclass, channel_template text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	w record;
	op text;
	n integer := 0;
BEGIN
	FOR w IN SELECT x.id, x.operations, c.oid IS NOT NULL AS has_table
		 FROM watches x LEFT JOIN pg_class c ON c.oid = x.relation
		 WHERE x.relation = $1 AND ($2 IS NULL OR x.channel_template = $2) LOOP
		FOREACH op IN ARRAY CASE WHEN w.has_table THEN w.operations ELSE '{}' END LOOP
			EXECUTE format('DROP TRIGGER IF EXISTS %I ON %s',
				       'scopewire_watch_' || w.id || '_' || op, $1);
			EXECUTE format('DROP TRIGGER IF EXISTS %I ON %s',
				       'scopewire_watch_' || w.id || '_' || op || '_send', $1);
		END LOOP;
		PERFORM watch_forget(w.id);
		n := n + 1;
	END LOOP;
	RETURN n;
END
$$;
COMMENT ON FUNCTION unwatch IS
	'Ends the watches of a table, or the one with this template. Returns how many.';

CREATE FUNCTION watch_follow(p_watch watches) RETURNS text
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	source text;
BEGIN
	source := watch_source(p_watch);
	IF (SELECT p.prosrc FROM pg_proc p WHERE p.pronamespace = current_schema()::regnamespace
	    AND p.proname = 'watch_' || p_watch.id AND p.pronargs = 0) IS DISTINCT FROM source THEN
		PERFORM watch_compile(p_watch);
	END IF;
	RETURN CASE WHEN (SELECT count(*) FROM pg_trigger t
			  WHERE t.tgrelid = p_watch.relation AND t.tgenabled <> 'D'
			  AND t.tgname LIKE 'scopewire\_watch\_' || p_watch.id || '\_%')
		<> 2 * cardinality(p_watch.operations)
		   - ('truncate' = ANY(p_watch.operations))::integer
		THEN 'triggers of the watch are missing or disabled' END;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLERRM;
END
$$;
COMMENT ON FUNCTION watch_follow IS
	'Compiles the function of a watch anew if the table has changed. Returns what is wrong '
	'with the watch, or NULL.';

CREATE FUNCTION watches_forget_dropped() RETURNS SETOF text
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	w record;
BEGIN
	FOR w IN SELECT x.id, x.table_name FROM watches x
		 WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = x.relation)
		 FOR UPDATE SKIP LOCKED LOOP
		PERFORM watch_forget(w.id);
		RETURN NEXT format('watch %s is removed: its table %s was dropped', w.id, w.table_name);
	END LOOP;
END
$$;
COMMENT ON FUNCTION watches_forget_dropped IS
	'Removes the watches of tables that do not exist any more. Returns a line for each.';

CREATE FUNCTION watches_check() RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	w watches;
	found_fault text;
BEGIN
	RETURN QUERY SELECT * FROM watches_forget_dropped();
	FOR w IN SELECT x.* FROM watches x FOR UPDATE SKIP LOCKED LOOP
		found_fault := watch_follow(w);
		IF found_fault IS DISTINCT FROM w.fault AND found_fault IS NOT NULL THEN
			w.fault := found_fault;
			w.fault_at := clock_timestamp();
		END IF;
		IF w.table_name <> w.relation::text OR w.fault_at > coalesce(w.fault_reported_at, '-infinity') THEN
			UPDATE watches x SET table_name = w.relation, fault = w.fault, fault_at = w.fault_at,
					     fault_reported_at = w.fault_at
			WHERE x.id = w.id;
		END IF;
		IF w.fault_at > coalesce(w.fault_reported_at, '-infinity') THEN
			RETURN NEXT format('watch %s of %s: changes are not broadcast: %s', w.id, w.relation,
					   w.fault);
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION watches_check IS
	'Called by the daemon at times: removes the watches of dropped tables, compiles those of '
	'changed tables anew, and returns a line for the log about each new fault.';

REVOKE EXECUTE ON FUNCTION watch_row(watches, text), watch_compile(watches), watch_follow(watches),
	watch_fault(integer, text), watch_send(), watches_forget_dropped(), watches_check(),
	watch_define(regclass, text, text[], text[], text, text),
	watch(regclass, text, text[], text[], text, text), watch_attach(watches),
	watch_forget(integer), unwatch(regclass, text) FROM PUBLIC;
