-- SPDX-License-Identifier: MIT
-- Channel rules: which user may join which channel.
--
-- A pattern is a channel's name without private- and presence-, with {placeholders} of one or more
-- characters other than a dot.  A channel is open to a user when any rule of a pattern that fits
-- allows it:
--     anyone  every user
--     owner   the placeholder named by argument holds the user's id
--     role    the user has one of the roles in argument, between commas
--     sql     the predicate in argument holds
-- A channel that no rule fits is closed to users.
--
-- A predicate is SQL that is true or not, with placeholders in braces: those of the pattern (text),
-- {user} (bigint, or text: the option sync.user_id), {roles} (text[]), {app} and {channel} (text).  They become parameters, so that
-- no channel's name is ever part of a statement.
--
-- A predicate calls whatever functions, operators and casts its names find, and a role that may
-- create such objects in public can make them.  So its code runs as a role of its own, without
-- rights here (channel_predicates_as()): inside a SECURITY DEFINER function, where PostgreSQL
-- refuses SET ROLE, in a read-only transaction, and in a subtransaction that is always undone, so
-- that no setting, cursor or notification of it remains in the session.

CREATE FUNCTION channel_pattern_names(p_pattern text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT ARRAY(SELECT m[1] FROM regexp_matches(p_pattern, '\{([a-zA-Z_][a-zA-Z_0-9]*)\}', 'g') m)
$$;
COMMENT ON FUNCTION channel_pattern_names IS
	'The names of a pattern''s placeholders, in their order.';

CREATE FUNCTION channel_pattern_regex(p_pattern text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT '^' || regexp_replace(regexp_replace(p_pattern, '([.;,=@+*?()\[\]\\^$|-])', '\\\1', 'g'),
				     '\{[a-zA-Z_][a-zA-Z_0-9]*\}', '([^.]+)', 'g') || '$'
$$;
COMMENT ON FUNCTION channel_pattern_regex IS
	'The pattern as a regular expression, with its placeholders as groups.';

CREATE TABLE channel_rules (
	id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	app text,
	pattern text NOT NULL,
	rule text NOT NULL CHECK (rule IN ('anyone', 'owner', 'role', 'sql')),
	argument text,
	search_path text NOT NULL DEFAULT 'public',
	can_write boolean NOT NULL DEFAULT false,
	names text[] GENERATED ALWAYS AS (channel_pattern_names(pattern)) STORED,
	prefix text GENERATED ALWAYS AS (split_part(pattern, '{', 1)) STORED,
	regex text GENERATED ALWAYS AS (channel_pattern_regex(pattern)) STORED,
	statement text,
	CHECK ((rule = 'anyone') = (argument IS NULL)),
	UNIQUE NULLS NOT DISTINCT (app, pattern, rule, argument)
);
COMMENT ON TABLE channel_rules IS
	'Rules for which users may join which channels. A channel that no rule matches is '
	'closed to users.';
COMMENT ON COLUMN channel_rules.app IS
	'Application; NULL means all.';
COMMENT ON COLUMN channel_rules.pattern IS
	'Name of channels without private- and presence-, with {placeholders} for one or more '
	'characters other than a dot.';
COMMENT ON COLUMN channel_rules.rule IS
	'anyone, owner, role or sql.';
COMMENT ON COLUMN channel_rules.argument IS
	'owner: name of the placeholder that holds the id of the user. role: roles, separated '
	'by commas. sql: the predicate.';
COMMENT ON COLUMN channel_rules.search_path IS
	'The search_path of the predicate.';
COMMENT ON COLUMN channel_rules.can_write IS
	'Whether the users that the rule allows may also change what the channel is about: '
	'resources of the data sync, edit locks.';
COMMENT ON COLUMN channel_rules.names IS
	'Names of the placeholders; generated.';
COMMENT ON COLUMN channel_rules.prefix IS
	'Text before the first placeholder; generated. It is compared first, because PostgreSQL '
	'caches few regular expressions.';
COMMENT ON COLUMN channel_rules.regex IS
	'The pattern as a regular expression; generated.';
COMMENT ON COLUMN channel_rules.statement IS
	'The compiled predicate; a trigger sets it.';

CREATE FUNCTION channel_predicate_compile(p_predicate text, p_names text[], p_user_type text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	known CONSTANT jsonb := format('{"user": "$2::%s", "roles": "$3", "app": "$4", "channel": "$5"}',
				       p_user_type);
	token text;
	name text;
	statement text := '';
	depth integer := 0;
BEGIN
	IF length(p_predicate) NOT BETWEEN 1 AND 2000 THEN
		RAISE EXCEPTION 'a predicate must have 1 to 2000 characters'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	FOR token IN SELECT m[1] FROM regexp_matches(p_predicate,
		$re$('(?:[^']|'')*'|"(?:[^"]|"")*"|\{[a-zA-Z_][a-zA-Z_0-9]*\}|--|/\*|.)$re$, 'g') m
	LOOP
		name := substring(token FROM '\{([a-zA-Z_][a-zA-Z_0-9]*)\}');
		depth := depth + CASE token WHEN '(' THEN 1 WHEN ')' THEN -1 ELSE 0 END;
		IF token IN ('''', '"', ';', '--', '/*', '$') OR depth < 0 THEN
			RAISE EXCEPTION 'a predicate is one expression: no % %', token,
				CASE WHEN token IN ('''', '"') THEN 'left open'
				     WHEN token = ')' THEN 'without its ('
				     ELSE 'outside quotes' END
				USING ERRCODE = 'invalid_parameter_value';
		ELSIF token LIKE '''%' AND statement ~* '(^|[^a-z0-9_])e$' THEN
			RAISE EXCEPTION 'a predicate has no strings with backslash escapes (E''...'')'
				USING ERRCODE = 'invalid_parameter_value';
		ELSIF name IS NULL OR token LIKE '"%' THEN
			statement := statement || token;
		ELSIF NOT (known ? name OR name = ANY (p_names)) THEN
			IF token LIKE '''%' THEN
				statement := statement || token;
				CONTINUE;
			END IF;
			RAISE EXCEPTION 'the predicate''s {%} is neither in the pattern nor one of {user}, {roles}, {app}, {channel}',
				name
				USING ERRCODE = 'invalid_parameter_value';
		ELSIF token LIKE '''%' THEN
			RAISE EXCEPTION 'the predicate has {%} within quotes: it is a value already, write it without',
				name
				USING ERRCODE = 'invalid_parameter_value';
		ELSE
			statement := statement || coalesce(known->>name,
				format('($1)[%s]', array_position(p_names, name)));
		END IF;
	END LOOP;
	IF depth > 0 THEN
		RAISE EXCEPTION 'the predicate has a ( without its )'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	RETURN 'SELECT true WHERE (' || statement || E'\n)';
END
$$;
COMMENT ON FUNCTION channel_predicate_compile IS
	'The statement of a predicate. Its parameters are those of channel_predicate_run().';

CREATE FUNCTION channel_predicate_check(p_statement text, p_n_names integer, p_search_path text)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
	explain CONSTANT text := 'EXPLAIN ' || p_statement;
	path CONSTANT text := p_search_path || ', pg_temp';
	held CONSTANT text[] := array_fill(NULL::text, ARRAY[p_n_names]);
BEGIN
	PERFORM set_config('transaction_read_only', 'on', true),
		set_config('search_path', path, true);
	EXECUTE explain USING held, NULL::text, '{}'::text[], ''::text, ''::text;
	RAISE EXCEPTION USING ERRCODE = 'SW002';
EXCEPTION
	WHEN SQLSTATE 'SW002' THEN
		NULL;
	WHEN insufficient_privilege THEN
		RAISE EXCEPTION 'the predicate is not valid: %', SQLERRM USING ERRCODE = SQLSTATE,
			HINT = format('Predicates run as the role %I: grant it SELECT on the tables '
				      'and USAGE on their schema.', current_user);
	WHEN OTHERS THEN
		RAISE EXCEPTION 'the predicate is not valid: %', SQLERRM USING ERRCODE = SQLSTATE;
END
$$;
COMMENT ON FUNCTION channel_predicate_check IS
	'Refuses a predicate that PostgreSQL cannot plan: a table or column that does not '
	'exist, a result that is not boolean, a missing right.';

CREATE FUNCTION channel_predicates_role() RETURNS name
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
	SELECT pg_get_userbyid(p.proowner) FROM pg_proc p
	WHERE p.proname = 'channel_predicate_run' AND p.pronamespace = current_schema()::regnamespace
$$;
COMMENT ON FUNCTION channel_predicates_role IS
	'The role that predicates run as.';

CREATE FUNCTION channel_predicates_warning() RETURNS text
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
	SELECT format('the predicates of channel rules run as the role %I, which has rights on the '
		      'schema %s: give them a role of their own with SELECT '
		      '%s.channel_predicates_as(ROLE)', r, current_schema(), current_schema())
	FROM channel_predicates_role() r
	WHERE has_schema_privilege(r, current_schema(), 'USAGE')
	AND EXISTS (SELECT FROM channel_rules WHERE rule = 'sql')
$$;
COMMENT ON FUNCTION channel_predicates_warning IS
	'NULL, or a warning: there are predicates, and they run as a role with rights on this '
	'schema.';

CREATE FUNCTION channel_predicates_as(p_role name) RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	own CONSTANT name := pg_get_userbyid(n.nspowner) FROM pg_namespace n
			     WHERE n.nspname = current_schema();
	one record;
BEGIN
	IF p_role <> own AND has_schema_privilege(p_role, current_schema(), 'USAGE') THEN
		RAISE EXCEPTION 'the role "%" has rights on the schema "%"', p_role, current_schema()
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Predicates need a role without rights here: CREATE ROLE '
			       'scopewire_rules NOLOGIN.';
	END IF;
	EXECUTE format('GRANT CREATE ON SCHEMA %I TO %I', current_schema(), p_role);
	FOR one IN
		SELECT p.oid::regprocedure AS signature, pg_get_userbyid(c.relowner) AS caller
		FROM pg_proc p JOIN pg_class c ON c.oid = 'channel_rules'::regclass
		WHERE p.pronamespace = current_schema()::regnamespace
		AND p.proname IN ('channel_predicate_run', 'channel_predicate_check', 'validator_run')
	LOOP
		EXECUTE format('ALTER FUNCTION %s OWNER TO %I', one.signature, p_role);
		EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', one.signature, one.caller);
	END LOOP;
	IF p_role <> own THEN
		EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM %I', current_schema(), p_role);
	END IF;
END
$$;
COMMENT ON FUNCTION channel_predicates_as IS
	'Lets predicates and validators run as this role, which must have no rights on the schema. The '
	'caller owns the schema and is a member of the role.';

CREATE FUNCTION channel_rule_check() RETURNS trigger
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	names text[] := channel_pattern_names(NEW.pattern);
	literal text := regexp_replace(NEW.pattern, '\{[a-zA-Z_][a-zA-Z_0-9]*\}', '', 'g');
	complaint text;
BEGIN
	NEW.statement := NULL;
	complaint := CASE
		WHEN NEW.rule IS NULL OR NEW.rule NOT IN ('anyone', 'owner', 'role', 'sql') THEN
			format('the rule "%s" must be anyone, owner, role or sql', NEW.rule)
		WHEN NEW.rule = 'anyone' AND NEW.argument IS NOT NULL THEN
			'the rule anyone takes no argument'
		WHEN NEW.rule = 'owner' AND NEW.argument IS NULL THEN
			'the rule owner needs an argument: the name of the placeholder that holds the user''s id'
		WHEN NEW.rule = 'role' AND NEW.argument IS NULL THEN
			'the rule role needs an argument: the roles, with commas between them'
		WHEN NEW.rule = 'sql' AND NEW.argument IS NULL THEN
			'the rule sql needs an argument: the predicate'
		WHEN NEW.pattern IS NULL THEN
			'the rule needs a pattern'
		WHEN NEW.pattern ~ '^private-' THEN
			format('the pattern "%1$s" does not match the channel %1$s, because patterns '
			       'see names without private- and presence-: write "%2$s"',
			       NEW.pattern, channel_plain(NEW.pattern))
		END;
	IF complaint IS NOT NULL THEN
		RAISE EXCEPTION '%', complaint USING ERRCODE = 'check_violation';
	END IF;
	complaint := CASE
		WHEN length(NEW.pattern) NOT BETWEEN 1 AND 200 THEN
			'must have 1 to 200 characters'
		WHEN literal !~ '^[-a-zA-Z0-9_=@,.;]*$' THEN
			'may hold letters, digits, _-=@,.; and {placeholders} only'
		WHEN NEW.pattern ~ '\}\{' THEN
			'must have something between two placeholders'
		WHEN cardinality(names) <> (SELECT count(DISTINCT n) FROM unnest(names) n) THEN
			'has a placeholder twice'
		WHEN NEW.rule = 'sql' AND names && '{user,roles,app,channel}' THEN
			'uses a name that stands for something else in a predicate: {user}, {roles}, {app} or {channel}'
		END;
	IF complaint IS NOT NULL THEN
		RAISE EXCEPTION 'the pattern "%" %', NEW.pattern, complaint
			USING ERRCODE = 'check_violation';
	ELSIF NEW.rule = 'owner' AND NEW.argument <> ALL (names) THEN
		RAISE EXCEPTION 'the pattern "%" has no placeholder {%} for its owner',
			NEW.pattern, NEW.argument
			USING ERRCODE = 'check_violation';
	ELSIF NEW.rule = 'role' AND NEW.argument !~ '^[^,\s]+(,[^,\s]+)*$' THEN
		RAISE EXCEPTION 'the roles "%" must be words with a comma between them, without spaces',
			NEW.argument
			USING ERRCODE = 'check_violation';
	ELSIF NEW.rule = 'sql' AND NEW.argument IS NOT NULL THEN
		NEW.statement := channel_predicate_compile(NEW.argument, names, user_key_base());
		PERFORM channel_predicate_check(NEW.statement, cardinality(names), NEW.search_path);
	END IF;
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION channel_rule_check IS
	'Trigger of channel_rules: checks a rule and compiles its predicate.';
CREATE TRIGGER channel_rule_check BEFORE INSERT OR UPDATE ON channel_rules
	FOR EACH ROW EXECUTE FUNCTION channel_rule_check();

CREATE FUNCTION channel_rules_changed() RETURNS trigger
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp
AS $$
BEGIN
	NOTIFY scopewire_rules;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION channel_rules_changed IS
	'Trigger: notifies the daemons, which forget all verdicts.';
CREATE TRIGGER channel_rules_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON channel_rules
	FOR EACH STATEMENT EXECUTE FUNCTION channel_rules_changed();
CREATE TRIGGER users_emptied AFTER TRUNCATE ON users
	FOR EACH STATEMENT EXECUTE FUNCTION channel_rules_changed();

CREATE FUNCTION users_changed() RETURNS trigger
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	told text[];
BEGIN
	IF TG_OP = 'UPDATE' THEN
		told := ARRAY(SELECT DISTINCT id::text || ' ' || app FROM (
			(SELECT id, app, name, avatar, roles FROM changed EXCEPT
			 SELECT id, app, name, avatar, roles FROM before) UNION ALL
			(SELECT id, app, name, avatar, roles FROM before EXCEPT
			 SELECT id, app, name, avatar, roles FROM changed)) AS differing
			LIMIT 100);
	ELSE
		told := ARRAY(SELECT id::text || ' ' || app FROM changed LIMIT 100);
	END IF;
	IF cardinality(told) = 100 THEN
		NOTIFY scopewire_rules;
	ELSE
		PERFORM pg_notify('scopewire_rules', t) FROM unnest(told) t;
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION users_changed IS
	'Trigger of users: notifies the daemons of changed users, so that they forget the '
	'verdicts about them.';
CREATE TRIGGER users_added AFTER INSERT ON users
	REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION users_changed();
CREATE TRIGGER users_updated AFTER UPDATE ON users
	REFERENCING OLD TABLE AS before NEW TABLE AS changed
	FOR EACH STATEMENT EXECUTE FUNCTION users_changed();
CREATE TRIGGER users_deleted AFTER DELETE ON users
	REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION users_changed();

CREATE FUNCTION channel_plain(p_channel text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN regexp_replace(p_channel,
		'^(private-encrypted-cache-|private-encrypted-|private-cache-|presence-cache-'
		'|private-|presence-)', '');
COMMENT ON FUNCTION channel_plain IS
	'The channel''s name without private-, presence- and similar prefixes, as patterns see '
	'it.';

CREATE FUNCTION caller_roles(p_app text, p_caller jsonb) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	roles text[] := ARRAY(SELECT jsonb_array_elements_text(p_caller->'roles'));
BEGIN
	IF roles = '{}' THEN
		SELECT u.roles INTO roles FROM users u
		WHERE u.app = p_app AND u.id = caller_id(p_caller);
	END IF;
	RETURN coalesce(roles, '{}');
END
$$;
COMMENT ON FUNCTION caller_roles IS
	'The roles in the caller''s token; if it has none, those in the table users.';

CREATE FUNCTION channel_verdict(p_app text, p_caller jsonb, p_channel text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	wants_write CONSTANT boolean := starts_with(p_channel, 'write:');
	full_name CONSTANT text := CASE WHEN wants_write THEN substr(p_channel, 7) ELSE p_channel END;
	plain CONSTANT text := channel_plain(full_name);
	roles text[];
BEGIN
	IF caller_is_server(p_caller) OR plain = p_channel AND p_channel !~ '^#' THEN
		RETURN 'yes';
	ELSIF full_name ~ '^#' THEN
		RETURN CASE WHEN p_channel = '#server-to-user-' || (p_caller->>'id')
			    THEN 'yes' ELSE 'no' END;
	END IF;
	roles := caller_roles(p_app, p_caller);
	RETURN (SELECT CASE WHEN bool_or(r.rule <> 'sql') THEN 'yes'
			    WHEN count(*) > 0 THEN 'ask' ELSE 'no' END
		FROM channel_rules r, regexp_match(plain, r.regex) AS held
		WHERE (r.app IS NULL OR r.app = p_app) AND starts_with(plain, r.prefix)
		AND held IS NOT NULL AND (r.can_write OR NOT wants_write)
		AND CASE r.rule
			WHEN 'owner' THEN held[array_position(r.names, r.argument)] = p_caller->>'id'
			WHEN 'role' THEN roles && string_to_array(r.argument, ',')
			ELSE true END);
END
$$;
COMMENT ON FUNCTION channel_verdict IS
	'Whether the caller may join the channel: yes, no, or ask when only predicates can '
	'decide. p_channel is the full name, or write:NAME for the right to change what the '
	'channel is about.';

-- The transaction is read-only while it runs: PostgreSQL ends that with the subtransaction, which is
-- the block.  A name that cannot be converted is, for example, a word that is cast to a number.
CREATE FUNCTION channel_predicate_run(p_statement text, p_held text[], p_user_id text,
				      p_roles text[], p_app text, p_channel text,
				      p_search_path text DEFAULT 'public',
				      OUT allowed boolean, OUT trouble text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
	path CONSTANT text := p_search_path || ', pg_temp';
	prepared CONSTANT text[] := ARRAY(SELECT format('%s %s', s.name, s.prepare_time)
		FROM pg_prepared_statements s WHERE s.from_sql);
	one text;
	stopped text;
BEGIN
	BEGIN
		PERFORM set_config('transaction_read_only', 'on', true),
			set_config('search_path', path, true);
		EXECUTE p_statement INTO allowed USING p_held, p_user_id, p_roles, p_app, p_channel;
		RAISE EXCEPTION USING ERRCODE = 'SW002';
	EXCEPTION
		WHEN SQLSTATE 'SW002' THEN
			NULL;
		WHEN data_exception THEN
			allowed := NULL;
		WHEN query_canceled THEN
			-- OTHERS does not include it.  It is raised again when nothing remains in the session.
			stopped := SQLERRM;
		WHEN assert_failure OR OTHERS THEN
			allowed := NULL;
			trouble := format('%s (%s)', SQLERRM, SQLSTATE);
	END;
	-- PREPARE is not undone with the subtransaction.
	FOR one IN SELECT s.name FROM pg_prepared_statements s
		   WHERE s.from_sql AND format('%s %s', s.name, s.prepare_time) <> ALL (prepared)
	LOOP
		EXECUTE format('DEALLOCATE %I', one);
	END LOOP;
	IF stopped IS NOT NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'query_canceled', MESSAGE = stopped;
	END IF;
END
$$;
COMMENT ON FUNCTION channel_predicate_run IS
	'Evaluates a predicate, read-only, as the role that owns this function. allowed is NULL '
	'when the channel''s name cannot be converted; trouble is the error of a predicate that '
	'failed.';

-- What the function is, and whose, may change at any time: nothing here depends on it.  Sessions of the
-- daemon hold no session locks.  Those of an application (in_transaction) may, and keep them.
CREATE FUNCTION validator_run(p_schema name, p_name name, p_after jsonb, p_before jsonb, p_info jsonb,
			      OUT fault text, OUT trouble text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
	is_done boolean := false;
	one name;
	prepared CONSTANT text[] := ARRAY(SELECT format('%s %s', s.name, s.prepare_time)
					  FROM pg_prepared_statements s);
	stopped text;
BEGIN
	BEGIN
		PERFORM set_config('transaction_read_only', 'on', true),
			set_config('search_path', 'public, pg_temp', true);
		EXECUTE format('SELECT %I.%I($1, $2, $3)', p_schema, p_name) INTO fault
		USING p_after, p_before, p_info;
		is_done := true;
		RAISE EXCEPTION USING ERRCODE = 'SW002';
	EXCEPTION
		WHEN raise_exception OR data_exception OR integrity_constraint_violation THEN
			fault := SQLERRM;
		WHEN query_canceled THEN
			stopped := SQLERRM;
		WHEN assert_failure OR OTHERS THEN
			IF NOT is_done THEN
				trouble := format('%s (%s)', SQLERRM, SQLSTATE);
			END IF;
	END;
	-- PREPARE and session locks are not undone with the subtransaction.
	FOR one IN SELECT s.name FROM pg_prepared_statements s
		   WHERE s.from_sql AND format('%s %s', s.name, s.prepare_time) <> ALL (prepared)
	LOOP
		EXECUTE format('DEALLOCATE %I', one);
	END LOOP;
	IF NOT coalesce(p_info ? 'in_transaction', false) THEN
		PERFORM pg_advisory_unlock_all();
	END IF;
	IF stopped IS NOT NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'query_canceled', MESSAGE = stopped;
	END IF;
END
$$;
COMMENT ON FUNCTION validator_run IS
	'Calls a function that validates data (sync_validate_with()), read-only, as the role that owns this '
	'function. fault: why the data is not valid; trouble: an error that has nothing to do with the data.';

CREATE FUNCTION channel_evaluate(p_app text, p_caller jsonb, p_channel text,
			    OUT allowed boolean, OUT trouble text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	wants_write CONSTANT boolean := starts_with(p_channel, 'write:');
	full_name CONSTANT text := CASE WHEN wants_write THEN substr(p_channel, 7) ELSE p_channel END;
	roles text[] := caller_roles(p_app, p_caller);
	plain CONSTANT text := channel_plain(full_name);
	one record;
	ran record;
BEGIN
	allowed := false;
	FOR one IN
		SELECT r.id, r.pattern, r.statement, r.search_path, held
		FROM channel_rules r, regexp_match(plain, r.regex) AS held
		WHERE (r.app IS NULL OR r.app = p_app) AND r.rule = 'sql'
		AND starts_with(plain, r.prefix) AND held IS NOT NULL
		AND (r.can_write OR NOT wants_write)
		ORDER BY r.id
	LOOP
		SELECT * INTO ran FROM channel_predicate_run(one.statement, one.held,
			p_caller->>'id', roles, p_app, full_name, one.search_path);
		IF ran.trouble IS NOT NULL THEN
			trouble := format('channel rule %s (%s) failed and allows no user: %s', one.id,
					  one.pattern, ran.trouble);
		END IF;
		allowed := coalesce(ran.allowed, false);
		EXIT WHEN allowed;
	END LOOP;
END
$$;
COMMENT ON FUNCTION channel_evaluate IS
	'Evaluates the predicates for a channel, until one allows it. A predicate that fails '
	'allows nothing and does not stop the others; trouble describes the last failure.';

CREATE FUNCTION channel_allows(p_app text, p_caller jsonb, p_channel text) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	verdict text := channel_verdict(p_app, p_caller, p_channel);
	asked record;
BEGIN
	IF verdict <> 'ask' THEN
		RETURN verdict = 'yes';
	ELSIF p_caller->'asked' ? p_channel THEN
		RETURN (p_caller->'asked'->>p_channel)::boolean;
	END IF;
	SELECT * INTO asked FROM channel_evaluate(p_app, p_caller, p_channel);
	IF asked.trouble IS NOT NULL THEN
		RAISE LOG 'scopewire: %', asked.trouble;
	END IF;
	RETURN asked.allowed;
END
$$;
COMMENT ON FUNCTION channel_allows IS
	'Whether the caller may join the channel. Verdicts that the daemon has already are in '
	'the member "asked" of the caller.';

-- For a caller with the member "asked" the daemon evaluates the predicates, within a time limit:
-- the error SW001 names the channels, with a space between two, and the daemon repeats the call with
-- {channel: verdict} in it.
CREATE FUNCTION channel_known(p_app text, p_caller jsonb, p_channel text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	verdict CONSTANT text := channel_verdict(p_app, p_caller, p_channel);
BEGIN
	IF verdict = 'ask' AND p_caller ? 'asked' THEN
		RETURN (p_caller->'asked'->>p_channel)::boolean;
	END IF;
	RETURN CASE WHEN verdict = 'ask' THEN channel_allows(p_app, p_caller, p_channel)
		    ELSE verdict = 'yes' END;
END
$$;
COMMENT ON FUNCTION channel_known IS
	'Whether the caller may join the channel, or NULL when the daemon has to evaluate predicates '
	'first: then the call goes on to require_evaluated().';

CREATE FUNCTION require_evaluated(p_channels text[]) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	unasked CONSTANT text := (SELECT string_agg(c, ' ') FROM (
		SELECT DISTINCT d AS c FROM unnest(p_channels) d LIMIT 100) few);
BEGIN
	IF unasked IS NOT NULL THEN
		RAISE EXCEPTION '%', unasked USING ERRCODE = 'SW001';
	END IF;
	RETURN 0;
END
$$;
COMMENT ON FUNCTION require_evaluated IS
	'Makes the daemon evaluate predicates for these channels, at most 100 at a time, and '
	'repeat the call. Returns 0 when there are none.';

CREATE FUNCTION list_is_full(p_page integer, p_found integer, p_unasked text[]) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN p_unasked = '{}' THEN p_found >= p_page ELSE cardinality(p_unasked) >= 50 END;
COMMENT ON FUNCTION list_is_full IS
	'Whether a list has enough rows for its page; or, while it meets channels of which the '
	'daemon has no verdict, enough of these to evaluate their predicates at once.';

CREATE FUNCTION require_verdicts(p_app text, p_caller jsonb, p_channels text[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	IF p_caller ? 'asked' THEN
		PERFORM require_evaluated(ARRAY(SELECT c FROM unnest(p_channels) c
			WHERE channel_known(p_app, p_caller, c) IS NULL));
	END IF;
END
$$;
COMMENT ON FUNCTION require_verdicts IS
	'Makes the daemon evaluate predicates for all of these channels at once. A call that '
	'needs many verdicts begins with it, so that it is repeated once and not for each.';

CREATE FUNCTION require_channel(p_app text, p_caller jsonb, p_channel text,
				p_field text DEFAULT '')
RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	PERFORM require_verdicts(p_app, p_caller, ARRAY[p_channel]);
	IF NOT channel_allows(p_app, p_caller, p_channel) THEN
		PERFORM sync_fail(403, 'channel_forbidden',
			format('No rule lets this user join %s.', p_channel), p_field);
	END IF;
END
$$;
COMMENT ON FUNCTION require_channel IS
	'Refuses a call with 403 unless the caller may join the channel.';

CREATE FUNCTION require_write(p_app text, p_caller jsonb, p_channel text, p_field text DEFAULT '')
RETURNS void
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	name CONSTANT text := 'write:' || p_channel;
BEGIN
	PERFORM require_verdicts(p_app, p_caller, ARRAY[name]);
	IF NOT channel_allows(p_app, p_caller, name) THEN
		PERFORM require_channel(p_app, p_caller, p_channel, p_field);
		PERFORM sync_fail(403, 'write_forbidden', format('This user may see what %s is about, '
			'but no rule with can_write lets the user change it.', p_channel), p_field);
	END IF;
END
$$;
COMMENT ON FUNCTION require_write IS
	'Refuses a call with 403 unless a rule with can_write lets the caller join the channel.';

CREATE FUNCTION require_any_channel(p_app text, p_caller jsonb, p_channels text[],
				    p_field text DEFAULT '')
RETURNS void
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	one text;
	verdict text;
	unasked text;
BEGIN
	IF caller_is_server(p_caller) THEN
		RETURN;
	END IF;
	FOREACH one IN ARRAY p_channels LOOP
		verdict := channel_verdict(p_app, p_caller, one);
		IF verdict = 'yes' OR (verdict = 'ask' AND (p_caller->'asked'->>one)::boolean) THEN
			RETURN;
		ELSIF verdict = 'ask' AND NOT coalesce(p_caller->'asked' ? one, false) THEN
			unasked := coalesce(unasked, one);
		END IF;
	END LOOP;
	IF unasked IS NOT NULL THEN
		PERFORM require_channel(p_app, p_caller, unasked, p_field);
	ELSE
		PERFORM sync_fail(403, 'channel_forbidden', format('No rule lets this user join %s.',
			coalesce(nullif(array_to_string(p_channels, ' or '), ''),
				 'a channel of presence: sync.presence_channels is empty')), p_field);
	END IF;
END
$$;
COMMENT ON FUNCTION require_any_channel IS
	'Refuses a call with 403 unless the caller may join one of the channels.';

CREATE FUNCTION channel_authorize(p_app text, p_caller jsonb, p_channel text,
				  OUT verdict text, OUT name text, OUT avatar text)
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	verdict := channel_verdict(p_app, p_caller, p_channel);
	SELECT u.name, u.avatar INTO name, avatar
	FROM users u WHERE u.app = p_app AND u.id = caller_id(p_caller);
	name := coalesce(name, p_caller->>'name');
	avatar := coalesce(avatar, p_caller->>'avatar');
END
$$;
COMMENT ON FUNCTION channel_authorize IS
	'For /broadcasting: the verdict, and the user''s name and avatar, from the table users '
	'or from the token.';

CREATE FUNCTION channel_explain(p_app text, p_caller jsonb, p_channel text,
				OUT allowed boolean, OUT reason text)
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	verdict CONSTANT text := channel_verdict(p_app, p_caller, p_channel);
	full_name CONSTANT text := regexp_replace(p_channel, '^write:', '');
	plain CONSTANT text := channel_plain(full_name);
	roles CONSTANT text[] := caller_roles(p_app, p_caller);
	asked record;
	rules text;
BEGIN
	allowed := verdict = 'yes';
	IF full_name ~ '^#' THEN
		reason := CASE WHEN allowed THEN 'the user''s own channel' ELSE 'another user''s channel' END;
	ELSIF plain = full_name THEN
		reason := 'a public channel';
	ELSIF verdict = 'ask' THEN
		asked := channel_evaluate(p_app, p_caller, p_channel);
		-- Session locks that a predicate took.  Only sessions of the daemon call this.
		PERFORM pg_advisory_unlock_all();
		allowed := asked.allowed;
		reason := CASE WHEN allowed THEN 'a predicate allows it'
			ELSE coalesce(asked.trouble, 'no predicate allows it') END;
	ELSE
		SELECT string_agg(format('%s %s (%s)', r.id, r.pattern, concat_ws(' ', r.rule, r.argument)),
				  ', ' ORDER BY r.id)
			FILTER (WHERE NOT allowed OR CASE r.rule
				WHEN 'anyone' THEN true WHEN 'role' THEN roles && string_to_array(r.argument, ',')
				WHEN 'owner' THEN held[array_position(r.names, r.argument)]
					= p_caller->>'id' END)
		INTO rules
		FROM channel_rules r, regexp_match(plain, r.regex) AS held
		WHERE (r.app IS NULL OR r.app = p_app) AND starts_with(plain, r.prefix)
		AND held IS NOT NULL AND (r.can_write OR p_channel = full_name);
		reason := CASE WHEN allowed THEN 'allowed by rule ' || rules
			WHEN rules IS NULL THEN 'no rule fits the channel'
			ELSE 'none of these rules allows the user: ' || rules END;
	END IF;
END
$$;
COMMENT ON FUNCTION channel_explain IS
	'Whether the caller may join the channel, and why. write:NAME stands for the right to write.';

CREATE FUNCTION sync_may(p_app text, p_caller jsonb, p_user_id user_key, p_roles jsonb,
			 p_channels jsonb, p_write boolean, OUT status integer, OUT body json)
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	caller CONSTANT jsonb := jsonb_build_object('id', p_user_id, 'roles', coalesce(p_roles, '[]'));
	wrong text;
BEGIN
	SELECT c INTO wrong FROM jsonb_array_elements_text(p_channels) c WHERE NOT channel_is_valid(c) LIMIT 1;
	IF FOUND THEN
		PERFORM sync_fail(400, 'invalid_value', format('"%s" is not the name of a channel.',
				  left(wrong, 64)), 'channels');
	END IF;
	status := 200;
	SELECT json_build_object('user_id', p_user_id, 'results', json_agg(json_build_object(
		'channel', c.name, 'allowed', e.allowed, 'reason', e.reason) ORDER BY c.at))
	INTO body
	FROM jsonb_array_elements_text(p_channels) WITH ORDINALITY AS c(name, at)
	CROSS JOIN LATERAL channel_explain(p_app, caller,
		CASE WHEN p_write THEN 'write:' ELSE '' END || c.name) e;
END
$$;
COMMENT ON FUNCTION sync_may IS
	'POST /may.';

REVOKE EXECUTE ON FUNCTION channel_explain(text, jsonb, text),
	sync_may(text, jsonb, user_key, jsonb, jsonb, boolean), channel_predicate_check(text, integer, text),
	channel_predicate_run(text, text[], text, text[], text, text, text),
	validator_run(name, name, jsonb, jsonb, jsonb),
	channel_predicates_as(name), channel_evaluate(text, jsonb, text),
	channel_authorize(text, jsonb, text) FROM PUBLIC;

-- A role of this name that an administrator made is used from the start.
DO $$
BEGIN
	IF EXISTS (SELECT FROM pg_roles r WHERE r.rolname = 'scopewire_rules'
		   AND pg_has_role(current_user, r.oid, 'MEMBER')
		   AND NOT has_schema_privilege(r.oid, current_schema(), 'USAGE')) THEN
		PERFORM channel_predicates_as('scopewire_rules');
	END IF;
END
$$;
