-- SPDX-License-Identifier: MIT
-- Offline data sync: resources that the server keeps for clients, each with a version, and a feed
-- of what changed.  Each resource is in the feed once, at the position of its last change.
--
-- Positions are given under the lock "sync_feed" of the application, held until the commit.  So a
-- reader that has read up to a position never misses one below it: it was committed before.
--
-- A batch first takes the locks "sync_entity" of its client and its resources, in the order of their
-- numbers, decides, and takes "sync_feed" last, only to write the resources.  So batches for different
-- resources wait for each other's writing alone, not for predicates, patches and broadcasts.

CREATE SEQUENCE sync_position AS bigint CACHE 1;
COMMENT ON SEQUENCE sync_position IS
	'The positions in the feeds of changes. Taken only under the advisory lock "sync_feed".';

CREATE TABLE sync_entity (
	app text NOT NULL,
	resource_type text NOT NULL,
	resource_id text NOT NULL,
	version bigint NOT NULL CHECK (version > 0),
	position bigint NOT NULL CHECK (position > 0),
	data jsonb CHECK (jsonb_typeof(data) = 'object'),
	updated_by user_key,
	updated_at timestamptz NOT NULL,
	PRIMARY KEY (app, resource_type, resource_id)
);
COMMENT ON TABLE sync_entity IS
	'Resources of the offline data sync, with their current versions.';
COMMENT ON COLUMN sync_entity.position IS
	'Position of the last change in the feed.';
COMMENT ON COLUMN sync_entity.data IS
	'The resource; NULL when it was deleted.';
COMMENT ON COLUMN sync_entity.updated_by IS
	'The user who changed it; NULL means the server.';

-- Partial, with a condition that is always true: otherwise a plan that was made while the table was
-- empty could use one of them instead of the primary key, and read all rows of a type.
CREATE UNIQUE INDEX sync_entity_position ON sync_entity (app, position) WHERE position > 0;
CREATE INDEX sync_entity_type ON sync_entity (app, resource_type, position) WHERE position > 0;
CREATE INDEX sync_entity_deleted ON sync_entity (updated_at) WHERE data IS NULL;

CREATE TABLE sync_version (
	app text NOT NULL,
	resource_type text NOT NULL,
	version bigint NOT NULL,
	horizon bigint NOT NULL,
	PRIMARY KEY (app, resource_type)
);
COMMENT ON TABLE sync_version IS
	'What remains of deleted resources that were pruned, by type.';
COMMENT ON COLUMN sync_version.version IS
	'The highest version of one of them, so that no version is used twice.';
COMMENT ON COLUMN sync_version.horizon IS
	'The highest position of one of them. The feed lacks deletions up to this position.';

CREATE TABLE sync_change (
	app text NOT NULL,
	user_id user_key,
	client_id text NOT NULL,
	mutation_id text NOT NULL,
	resource_type text NOT NULL,
	resource_id text NOT NULL,
	op text NOT NULL,
	digest text NOT NULL,
	version bigint,
	result json NOT NULL,
	at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE sync_change IS
	'Mutations that were decided, with their results.';
COMMENT ON COLUMN sync_change.user_id IS
	'NULL means the server.';
COMMENT ON COLUMN sync_change.digest IS
	'Hash of the mutation without its lock_token.';
COMMENT ON COLUMN sync_change.version IS
	'The version that it made; NULL when it changed nothing.';
COMMENT ON COLUMN sync_change.result IS
	'The answer, without the current state of the resource.';
-- The key.  A NULL would not be unique.
CREATE UNIQUE INDEX sync_change_key
	ON sync_change (app, (coalesce(user_id::text, '')), client_id, mutation_id);
CREATE INDEX sync_change_at ON sync_change (at);
CREATE INDEX sync_change_resource ON sync_change (app, resource_type, resource_id, version)
	WHERE version IS NOT NULL;

CREATE TABLE sync_validators (
	resource_type text NOT NULL,
	app text NOT NULL DEFAULT '',
	function_schema name NOT NULL,
	function_name name NOT NULL,
	PRIMARY KEY (resource_type, app)
);
COMMENT ON TABLE sync_validators IS
	'The functions that decide whether data of a type of resource is valid; sync_validate_with() writes it.';
COMMENT ON COLUMN sync_validators.app IS
	'Empty: of all applications that have none of their own.';

-- Like others below it is parsed here, as caller_id() is, so that PostgreSQL can inline it.
CREATE FUNCTION sync_entity_json(p_row sync_entity) RETURNS json
LANGUAGE sql STABLE
RETURN json_build_object('resource_type', p_row.resource_type, 'resource_id', p_row.resource_id,
		'version', p_row.version, 'deleted', p_row.data IS NULL, 'data', p_row.data,
		'updated_by', p_row.updated_by, 'updated_at', iso(p_row.updated_at));
COMMENT ON FUNCTION sync_entity_json IS
	'A resource as JSON.';

-- Each object is made once, from a join of its members: the cost is linear.
CREATE FUNCTION json_merge_patch(p_target jsonb, p_patch jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	IF jsonb_typeof(p_patch) <> 'object' THEN
		RETURN p_patch;
	END IF;
	RETURN (SELECT coalesce(jsonb_object_agg(key, CASE
			WHEN p.value IS NULL THEN t.value
			WHEN jsonb_typeof(p.value) = 'object' THEN json_merge_patch(t.value, p.value)
			ELSE p.value END), '{}')
		FROM jsonb_each(CASE WHEN jsonb_typeof(p_target) = 'object' THEN p_target
				ELSE '{}' END) t
		FULL JOIN jsonb_each(p_patch) p USING (key)
		WHERE p.value IS DISTINCT FROM 'null');
END
$$;
COMMENT ON FUNCTION json_merge_patch IS
	'Applies a JSON Merge Patch (RFC 7396).';

CREATE FUNCTION mutation_id(p_mutation jsonb, p_name text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	found CONSTANT text := nullif(p_mutation->p_name, 'null') #>> '{}';
BEGIN
	IF found IS NULL THEN
		PERFORM sync_fail(400, 'missing_field', format('%s is missing.', p_name), p_name);
	ELSIF NOT (jsonb_typeof(p_mutation->p_name) = 'string'
		   OR jsonb_typeof(p_mutation->p_name) = 'number' AND found ~ '^-?\d+$')
	      OR octet_length(found) NOT BETWEEN 1 AND 64 THEN
		PERFORM sync_fail(400, 'invalid_value', format('%s must be an id: an integer, or a '
				  'string of 1 to 64 bytes.', p_name), p_name);
	END IF;
	RETURN found;
END
$$;
COMMENT ON FUNCTION mutation_id IS
	'An id in a mutation: a string, or an integer that is taken as its digits.';

CREATE FUNCTION mutation_count(p_mutation jsonb, p_name text) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	found CONSTANT text := nullif(p_mutation->p_name, 'null') #>> '{}';
BEGIN
	IF found IS NULL THEN
		RETURN NULL;
	END IF;
	IF jsonb_typeof(p_mutation->p_name) = 'number' AND found ~ '^\d{1,19}$'
	   AND found::numeric <= 9223372036854775807 THEN
		RETURN found::bigint;
	END IF;
	PERFORM sync_fail(400, 'invalid_value',
			  format('%s must be an integer from 0 to 2^63 - 1.', p_name), p_name);
END
$$;
COMMENT ON FUNCTION mutation_count IS
	'A number in a mutation, from 0 to 2^63 - 1; NULL when it is null or missing.';

CREATE FUNCTION mutation_check(p_mutation jsonb) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	unknown text;
	op CONSTANT text := p_mutation->>'op';
BEGIN
	SELECT k INTO unknown FROM jsonb_object_keys(p_mutation) k
	WHERE k NOT IN ('mutation_id', 'resource_type', 'resource_id', 'op', 'data',
			'expected_version', 'lock_token') LIMIT 1;
	IF FOUND THEN
		PERFORM sync_fail(400, 'unknown_field', 'The mutation has a field that is not one of '
				  'mutation_id, resource_type, resource_id, op, data, '
				  'expected_version, lock_token.', left(unknown, 64));
	ELSIF coalesce(op NOT IN ('upsert', 'patch', 'delete'), true) THEN
		PERFORM sync_fail(400, 'invalid_value', 'op must be one of upsert patch delete.',
				  'op');
	ELSIF NOT p_mutation ? 'expected_version' THEN
		PERFORM sync_fail(400, 'missing_field', 'expected_version is missing: 0 for what '
				  'must not exist yet, null for whatever there is.',
				  'expected_version');
	ELSIF op = 'delete' AND coalesce(jsonb_typeof(p_mutation->'data'), 'null') <> 'null' THEN
		PERFORM sync_fail(400, 'invalid_value', 'data is not allowed in a delete.', 'data');
	ELSIF op = 'delete' AND p_mutation->'expected_version' = '0' THEN
		PERFORM sync_fail(400, 'invalid_value', 'A delete cannot have expected_version 0.',
				  'expected_version');
	ELSIF op <> 'delete' AND coalesce(jsonb_typeof(p_mutation->'data'), '') <> 'object' THEN
		PERFORM sync_fail(400, 'invalid_value', 'data must be an object.', 'data');
	ELSIF jsonb_path_exists(p_mutation->'data', 'strict $.**{32} ? (@.type() == "object" '
				'|| @.type() == "array")') THEN
		PERFORM sync_fail(400, 'data_too_deep', 'data is nested deeper than 32.', 'data');
	END IF;
	PERFORM entity_check_size(p_mutation->'data');
END
$$;
COMMENT ON FUNCTION mutation_check IS
	'Refuses a mutation that is not well formed.';

CREATE FUNCTION entity_check_size(p_data jsonb) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	IF octet_length(p_data::text) > 65536 THEN
		PERFORM sync_fail(400, 'data_too_large', format('data would have %s bytes; a '
				  'resource may have 65536.', octet_length(p_data::text)), 'data');
	END IF;
END
$$;
COMMENT ON FUNCTION entity_check_size IS
	'Refuses data that is too large.';

-- The function runs in transactions of the daemon, as the role of predicates and not of its owner.  Without such
-- a role it would have the rights of the owner of the schema.
CREATE FUNCTION validators_role_fault() RETURNS text
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
	SELECT format('functions that validate data need a role without rights on the schema %s: run %s.'
		      'channel_predicates_as(ROLE)', current_schema(), current_schema())
	FROM pg_proc p WHERE p.proname = 'validator_run' AND p.pronamespace = current_schema()::regnamespace
	AND has_schema_privilege(p.proowner, current_schema(), 'USAGE')
$$;
COMMENT ON FUNCTION validators_role_fault IS
	'NULL, or why no function that validates data is called: it would run as a role with rights here.';

CREATE FUNCTION validator_fault(p_function oid) RETURNS text
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
	SELECT CASE
	WHEN p.prokind <> 'f' OR p.proretset OR p.prorettype <> 'text'::regtype
		OR p.proargtypes <> '3802 3802 3802'::oidvector THEN 'must take (jsonb, jsonb, jsonb) and return text'
	WHEN p.provolatile = 'v' THEN 'must be STABLE or IMMUTABLE: it must not write'
	END FROM pg_proc p WHERE p.oid = p_function
$$;
COMMENT ON FUNCTION validator_fault IS
	'What is wrong with a function that is to validate data, or NULL.';

CREATE FUNCTION sync_validate_with(resource_type text, function regprocedure, app text DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp
AS $$
DECLARE
	fault CONSTANT text := coalesce(format('the function %s ', $2) || validator_fault($2), validators_role_fault());
BEGIN
	IF $2 IS NULL THEN
		DELETE FROM sync_validators v WHERE v.resource_type = $1 AND v.app = coalesce($3, '');
		RETURN;
	END IF;
	IF fault IS NOT NULL THEN
		RAISE EXCEPTION '%', fault USING ERRCODE = 'invalid_parameter_value',
			HINT = 'See docs/sync/data.md, "Validation".';
	END IF;
	INSERT INTO sync_validators AS v (resource_type, app, function_schema, function_name)
	SELECT $1, coalesce($3, ''), n.nspname, p.proname
	FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.oid = $2
	ON CONFLICT ON CONSTRAINT sync_validators_pkey
	DO UPDATE SET function_schema = excluded.function_schema, function_name = excluded.function_name;
END
$$;
COMMENT ON FUNCTION sync_validate_with IS
	'Sets the function that validates the data of a type of resource; NULL: none. For the owner of '
	'the schema.';

CREATE FUNCTION mutation_validate(p_app text, p_caller jsonb, p_mutation jsonb, p_before jsonb, p_after jsonb)
RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	v sync_validators;
	ran record;
	trouble text;
BEGIN
	SELECT x.* INTO v FROM sync_validators x WHERE x.resource_type = p_mutation->>'resource_type'
	AND x.app IN (p_app, '') ORDER BY x.app DESC LIMIT 1;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	trouble := validators_role_fault();
	IF trouble IS NULL THEN
		ran := validator_run(v.function_schema, v.function_name, p_after, p_before,
			p_caller || jsonb_build_object('app', p_app,
				'resource_type', p_mutation->>'resource_type',
				'resource_id', p_mutation->>'resource_id', 'op', p_mutation->>'op'));
		trouble := ran.trouble;
	END IF;
	IF trouble IS NOT NULL THEN
		RAISE EXCEPTION 'the function %.% did not validate: %', v.function_schema, v.function_name, trouble;
	ELSIF ran.fault <> '' THEN
		PERFORM sync_fail(422, 'invalid_data', left(ran.fault, 500), 'data');
	END IF;
END
$$;
COMMENT ON FUNCTION mutation_validate IS
	'Refuses a mutation whose result the function of its type of resource does not accept.';

CREATE FUNCTION mutation_refusal(p_code text, p_message text, p_current sync_entity) RETURNS json
LANGUAGE sql STABLE
RETURN json_build_object('status', 409,
		'error', json_build_object('code', p_code, 'message', rtrim(p_message, '.')),
		'current', CASE WHEN p_current.app IS NOT NULL THEN sync_entity_json(p_current) END);
COMMENT ON FUNCTION mutation_refusal IS
	'The answer to a mutation that conflicts; p_current is NULL when the resource never '
	'existed.';

CREATE FUNCTION mutation_conflict(p_mutation jsonb, p_fence text, p_current sync_entity)
RETURNS json
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	expected CONSTANT bigint := mutation_count(p_mutation, 'expected_version');
	is_there CONSTANT boolean := p_current.data IS NOT NULL;
BEGIN
	RETURN CASE
	WHEN p_fence = 'locked' THEN mutation_refusal('locked',
		'Another user holds the lock of this resource.', p_current)
	WHEN p_fence = 'stale_lock' THEN mutation_refusal('stale_lock',
		'The lock of this token has expired: acquire it again.', p_current)
	WHEN expected <> coalesce(p_current.version, 0) AND NOT (expected = 0 AND NOT is_there)
		THEN mutation_refusal('conflict', format('Expected was version %s; the '
			'current version is %s.', expected, coalesce(p_current.version, 0)),
				      p_current)
	WHEN p_mutation->>'op' = 'patch' AND NOT is_there
		THEN mutation_refusal('conflict', 'There is nothing to patch.', p_current)
	WHEN p_current.version = 9223372036854775807
		THEN mutation_refusal('version_exhausted', 'There is no version after this one.',
				      p_current)
	END;
END
$$;
COMMENT ON FUNCTION mutation_conflict IS
	'Why a mutation conflicts with the current state, or NULL.';

CREATE TYPE sync_batch AS (
	app text,
	caller jsonb,
	writer user_key,		-- NULL: the server
	client_id text,
	exclude_socket text,
	event text,		-- DataChanged, as clients know it
	max_channel integer	-- bytes of a channel's name; 0: no limit
);
COMMENT ON TYPE sync_batch IS
	'What the mutations of a batch have in common.';

-- sync_fail() refuses a mutation that is not allowed or not well formed.  p_behind: whether the
-- refusal of an earlier mutation of the resource in the batch was final; NULL: none was refused.
-- p_pending: the resource as an earlier mutation of the batch made it, or NULL.
CREATE FUNCTION mutation_decide(p_batch sync_batch, p_mutation jsonb, p_behind boolean,
				p_pending sync_entity, OUT answer json, OUT is_old boolean, OUT is_final boolean,
				OUT entity sync_entity)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	id CONSTANT text := mutation_id(p_mutation, 'mutation_id');
	type_name CONSTANT text := mutation_id(p_mutation, 'resource_type');
	resource CONSTANT text := mutation_id(p_mutation, 'resource_id');
	channel CONSTANT text := resource_channel(type_name, resource);
	current sync_entity;
	fence text;
	recorded sync_change;
BEGIN
	PERFORM mutation_check(p_mutation);
	IF p_batch.caller->>'server' IS DISTINCT FROM 'true' THEN
		PERFORM require_write(p_batch.app, p_batch.caller, channel, 'resource_id');
	END IF;
	IF octet_length(channel) > nullif(p_batch.max_channel, 0) THEN
		PERFORM sync_fail(400, 'invalid_value', 'The name of the resource''s channel is '
				  'longer than the application allows.', 'resource_id');
	END IF;
	IF p_pending.app IS NOT NULL THEN
		current := p_pending;
	ELSE
		SELECT e.* INTO current FROM sync_entity e WHERE e.app = p_batch.app
		AND e.resource_type = type_name AND e.resource_id = resource;
	END IF;
	SELECT c.* INTO recorded FROM sync_change c WHERE c.app = p_batch.app
	AND coalesce(c.user_id::text, '') = coalesce(p_batch.writer::text, '') AND c.client_id = p_batch.client_id
	AND c.mutation_id = id;
	IF FOUND THEN
		IF recorded.digest <> md5((p_mutation - 'lock_token')::text) THEN
			PERFORM sync_fail(400, 'mutation_reused', 'This mutation_id was given to '
					  'another mutation of the client.', 'mutation_id');
		END IF;
		answer := CASE WHEN recorded.result->'error' IS NOT NULL
			  THEN mutation_refusal(recorded.result->'error'->>'code',
						recorded.result->'error'->>'message', current)
			  ELSE recorded.result END;
		is_old := true;
		is_final := true;
		RETURN;
	END IF;
	is_old := false;
	fence := lock_fence(p_batch.app, type_name, resource, p_batch.writer,
			    mutation_count(p_mutation, 'lock_token'));
	answer := mutation_conflict(p_mutation, fence, current);
	-- It was made after one that was not applied.  The expected version may exist by chance, and be
	-- another user's.
	IF answer IS NULL AND p_behind IS NOT NULL THEN
		answer := mutation_refusal('conflict',
			'An earlier mutation of this resource in the batch was refused.', current);
	END IF;
	IF answer IS NOT NULL THEN
		-- Another user's lock expires; the other reasons are permanent.
		is_final := fence IS DISTINCT FROM 'locked' AND coalesce(p_behind, true);
		RETURN;
	END IF;
	is_final := true;
	IF p_mutation->>'op' = 'delete' AND current.data IS NULL THEN
		answer := json_build_object('status', 200, 'version', coalesce(current.version, 0),
					    'changed', false);
		RETURN;
	END IF;
	entity.app := p_batch.app;
	entity.resource_type := type_name;
	entity.resource_id := resource;
	entity.version := 1 + coalesce(current.version, (SELECT v.version FROM sync_version v
		WHERE v.app = p_batch.app AND v.resource_type = type_name), 0);
	entity.data := CASE p_mutation->>'op' WHEN 'upsert' THEN p_mutation->'data'
		       WHEN 'patch' THEN json_merge_patch(current.data, p_mutation->'data') END;
	PERFORM entity_check_size(entity.data),
		mutation_validate(p_batch.app, p_batch.caller, p_mutation, current.data, entity.data);
	entity.updated_by := p_batch.writer;
	entity.updated_at := clock_timestamp();
	answer := json_build_object('status', 200, 'version', entity.version, 'changed', true);
END
$$;
COMMENT ON FUNCTION mutation_decide IS
	'Decides about a mutation without changing anything: the answer, whether it was decided '
	'before (is_old), whether the decision is to be recorded (is_final), and the row to '
	'write (NULL: none).';

CREATE FUNCTION sync_entity_broadcast(p_batch sync_batch, p_entity sync_entity, p_op text,
				 p_mutation_id text)
RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	PERFORM broadcast(resource_channel(p_entity.resource_type, p_entity.resource_id),
		p_batch.event,
		json_build_object('op', p_op, 'resource_type', p_entity.resource_type,
			'resource_id', p_entity.resource_id, 'version', p_entity.version,
			'user_id', p_entity.updated_by, 'client_id', p_batch.client_id,
			'mutation_id', p_mutation_id, 'updated_at', iso(p_entity.updated_at)),
		NULL, p_batch.exclude_socket, p_entity.app);
END
$$;
COMMENT ON FUNCTION sync_entity_broadcast IS
	'Broadcasts the change of a resource.';

-- One statement, and the last one of its transaction: the lock is held for its time and the commit's.
CREATE FUNCTION sync_entities_write(p_app text, p_entities sync_entity[]) RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	PERFORM pg_advisory_xact_lock(lock_key('sync_feed'), hashtext(p_app));
	INSERT INTO sync_entity AS x (app, resource_type, resource_id, version, position, data,
				      updated_by, updated_at)
	SELECT e.app, e.resource_type, e.resource_id, e.version, nextval('sync_position'), e.data,
	       e.updated_by, e.updated_at
	FROM unnest(p_entities) e WHERE e.app IS NOT NULL
	ON CONFLICT ON CONSTRAINT sync_entity_pkey DO UPDATE
	SET version = excluded.version, position = excluded.position, data = excluded.data,
	    updated_by = excluded.updated_by, updated_at = excluded.updated_at;
END
$$;
COMMENT ON FUNCTION sync_entities_write IS
	'Writes resources at the end of the feed. Takes the advisory lock "sync_feed".';

CREATE FUNCTION sync_mutate(p_batch sync_batch, p_mutation jsonb, p_behind boolean,
			    p_pending sync_entity, OUT result jsonb, OUT is_final boolean,
			    OUT entity sync_entity)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	d record;
	head CONSTANT jsonb := jsonb_build_object('mutation_id', p_mutation->'mutation_id',
		'resource_type', p_mutation->'resource_type',
		'resource_id', p_mutation->'resource_id', 'op', p_mutation->'op');
	state text;
	code text;
	field text;
BEGIN
	-- The daemon could not read it (src/api/batch_body.h).
	IF jsonb_typeof(p_mutation) <> 'object' OR p_mutation ? 'unreadable' THEN
		is_final := false;
		result := head || jsonb_build_object('status', 400, 'error', jsonb_strip_nulls(
			jsonb_build_object('code', 'invalid_value',
				'message', coalesce(p_mutation->'unreadable'->>'message',
						    'A mutation must be an object'),
				'field', p_mutation->'unreadable'->>'field')));
		RETURN;
	END IF;
	-- Only reads are in the subtransaction: so it needs no transaction id.
	BEGIN
		d := mutation_decide(p_batch, p_mutation, p_behind, p_pending);
	EXCEPTION WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, code = CONSTRAINT_NAME,
					field = COLUMN_NAME;
		IF state !~ '^(SW4|22)' THEN
			RAISE;
		END IF;
		is_final := false;
		result := head || jsonb_build_object(
			'status', CASE WHEN state ~ '^SW' THEN substr(state, 3)::integer ELSE 400 END,
			'error', jsonb_strip_nulls(jsonb_build_object(
				'code', coalesce(nullif(code, ''), 'invalid_value'),
				'message', SQLERRM, 'field', nullif(field, ''))));
		RETURN;
	END;
	entity := d.entity;
	IF entity.app IS NOT NULL THEN
		PERFORM sync_entity_broadcast(p_batch, entity, p_mutation->>'op',
					 p_mutation->>'mutation_id');
	END IF;
	IF d.is_final AND NOT d.is_old THEN
		INSERT INTO sync_change (app, user_id, client_id, mutation_id, resource_type,
					 resource_id, op, digest, version, result)
		VALUES (p_batch.app, p_batch.writer, p_batch.client_id,
			p_mutation->>'mutation_id', p_mutation->>'resource_type',
			p_mutation->>'resource_id', p_mutation->>'op',
			md5((p_mutation - 'lock_token')::text), (d.entity).version,
			d.answer::jsonb - 'current');
	END IF;
	is_final := d.is_final;
	result := head || d.answer::jsonb
		  || CASE WHEN d.is_old THEN '{"repeated":true}' ELSE '{}'::jsonb END;
END
$$;
COMMENT ON FUNCTION sync_mutate IS
	'Decides about one mutation of a batch, records and broadcasts it. entity is the row to '
	'write; NULL: none.';

CREATE FUNCTION mutation_lock(p_app text, p_kind text, p_name text, p_id text) RETURNS integer
LANGUAGE sql STABLE
RETURN hashtext(json_build_array(p_app, p_kind, p_name, p_id)::text);
COMMENT ON FUNCTION mutation_lock IS
	'The second number of an advisory lock "sync_entity": of a resource, or of a client.';

-- A client's repeat of a batch waits for the first one, also when it names other resources.
CREATE FUNCTION mutations_lock(p_batch sync_batch, p_mutations jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	one integer;
BEGIN
	FOR one IN
		SELECT DISTINCT mutation_lock(p_batch.app, l.kind, l.name, l.id) AS h
		FROM (SELECT 'resource' AS kind, e->>'resource_type' AS name, e->>'resource_id' AS id
		      FROM jsonb_array_elements(p_mutations) e
		      UNION ALL
		      SELECT 'client', p_batch.writer::text, p_batch.client_id) l
		ORDER BY h
	LOOP
		PERFORM pg_advisory_xact_lock(lock_key('sync_entity'), one);
	END LOOP;
END
$$;
COMMENT ON FUNCTION mutations_lock IS
	'Takes the advisory locks "sync_entity" of a batch, in one order, so that two batches do '
	'not wait for each other.';

-- Before any lock is taken, so that no other call waits for the predicates.
CREATE FUNCTION mutations_evaluate(p_app text, p_caller jsonb, p_mutations jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	r record;
BEGIN
	FOR r IN SELECT DISTINCT e->>'resource_type' AS type, e->>'resource_id' AS id
		 FROM jsonb_array_elements(p_mutations) e LOOP
		BEGIN
			PERFORM require_channel(p_app, p_caller, resource_channel(r.type, r.id));
		EXCEPTION WHEN SQLSTATE 'SW400' OR SQLSTATE 'SW403' THEN
			NULL;	-- answered to the mutation itself
		END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION mutations_evaluate IS
	'Has the predicates of all channels of a batch evaluated before anything is written.';

CREATE FUNCTION sync_changes_post(p_app text, p_caller jsonb, p_client_id text, p_user_id user_key,
				  p_socket_id text, p_mutations jsonb,
				  OUT status integer, OUT body json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	b CONSTANT sync_batch := (p_app, p_caller, p_user_id, p_client_id, p_socket_id,
				  sync_event('DataChanged'), (log_app(p_app)).max_channel);
	m jsonb;
	results jsonb[] := '{}';
	refused jsonb := '{}';	-- resource: whether that was final
	changed jsonb := '{}';	-- resource: its index in entities
	entities sync_entity[] := '{}';
	resource text;
	place integer;
	pending sync_entity;
	done record;
BEGIN
	IF p_caller ? 'asked' THEN
		PERFORM mutations_evaluate(p_app, p_caller, p_mutations);
	END IF;
	PERFORM mutations_lock(b, p_mutations);
	-- What the application has committed comes first.
	FOR pending IN SELECT * FROM sync_pending_apply(p_app, p_mutations) LOOP
		entities := array_append(entities, pending);
		changed := changed || jsonb_build_object(concat_ws(':', pending.resource_type,
			pending.resource_id), cardinality(entities));
	END LOOP;
	FOR m IN
		-- PHP encodes an empty object as an empty array.
		SELECT CASE WHEN e.value->'data' = '[]' THEN jsonb_set(e.value, '{data}', '{}')
			    ELSE e.value END
		FROM jsonb_array_elements(p_mutations) WITH ORDINALITY AS e(value, at)
		ORDER BY e.at
	LOOP
		resource := concat_ws(':', m->>'resource_type', m->>'resource_id');
		place := changed->>resource;
		done := sync_mutate(b, m, (refused->>resource)::boolean, entities[place]);
		IF done.result->>'status' <> '200' THEN
			refused := refused || jsonb_build_object(resource, done.is_final);
		END IF;
		IF (done.entity).app IS NOT NULL THEN
			IF place IS NOT NULL THEN
				entities[place] := NULL;
			END IF;
			entities := array_append(entities, done.entity);
			changed := changed || jsonb_build_object(resource, cardinality(entities));
		END IF;
		results := array_append(results, done.result);
	END LOOP;
	IF cardinality(entities) > 0 THEN
		-- A change of the application that was refused must not replace a newer one later.
		DELETE FROM sync_pending p USING unnest(entities) e WHERE p.app = e.app AND p.fault IS NOT NULL
		AND p.resource_type = e.resource_type AND p.resource_id = e.resource_id;
		PERFORM sync_entities_write(p_app, entities);
	END IF;
	status := 200;
	body := json_build_object('results', array_to_json(results));
END
$$;
COMMENT ON FUNCTION sync_changes_post IS
	'POST /changes: applies a batch of mutations in their order; each has its own answer.';

CREATE FUNCTION resources_read(p_app text, p_caller jsonb, p_resources jsonb)
RETURNS TABLE (resource_type text, resource_id text)
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	name text;
BEGIN
	FOR name IN SELECT DISTINCT r FROM jsonb_array_elements_text(p_resources) r LOOP
		IF name !~ '^[^:]+:[^:]+$' THEN
			PERFORM sync_fail(400, 'invalid_value', 'resources must be a list of '
					  'type:id.', 'resources');
		END IF;
		resource_type := split_part(name, ':', 1);
		resource_id := split_part(name, ':', 2);
		PERFORM require_channel(p_app, p_caller, resource_channel(resource_type, resource_id),
					'resources');
		RETURN NEXT;
	END LOOP;
END
$$;
COMMENT ON FUNCTION resources_read IS
	'The resources of a list of type:id; refuses those that the caller may not see.';

CREATE FUNCTION sync_feed(p_app text, p_after bigint, p_types jsonb, p_resources jsonb,
			  p_caller jsonb, p_most integer) RETURNS SETOF sync_entity
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	IF p_resources IS NOT NULL THEN
		RETURN QUERY SELECT e.* FROM resources_read(p_app, p_caller, p_resources) r
		JOIN sync_entity e ON e.app = p_app AND e.resource_type = r.resource_type
		AND e.resource_id = r.resource_id
		WHERE e.position > p_after ORDER BY e.position LIMIT p_most;
	ELSIF p_types IS NOT NULL THEN
		RETURN QUERY SELECT e.*
		FROM (SELECT DISTINCT t FROM jsonb_array_elements_text(p_types) t) t
		CROSS JOIN LATERAL (
			SELECT x.* FROM sync_entity x
			WHERE x.app = p_app AND x.resource_type = t.t AND x.position > p_after
			AND x.position > 0
			ORDER BY x.position LIMIT p_most) e
		ORDER BY e.position LIMIT p_most;
	ELSE
		RETURN QUERY SELECT e.* FROM sync_entity e
		WHERE e.app = p_app AND e.position > p_after AND e.position > 0
		ORDER BY e.position LIMIT p_most;
	END IF;
END
$$;
COMMENT ON FUNCTION sync_feed IS
	'The changes after a position, in their order. p_types and p_resources NULL means all.';

CREATE FUNCTION since_read(p_since text, OUT epoch text, OUT at bigint, OUT start bigint)
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	parts CONSTANT text[] := regexp_match(p_since, '^([0-9a-f]{1,64}):(\d{1,18}):(\d{1,18})$');
BEGIN
	IF p_since IS NOT NULL AND parts IS NULL THEN
		PERFORM sync_fail(400, 'invalid_since', 'since is invalid; start '
				  'again without it.', 'since');
	END IF;
	epoch := parts[1];
	at := parts[2]::bigint;
	start := parts[3]::bigint;
END
$$;
COMMENT ON FUNCTION since_read IS
	'The parts of a "since"; refuses a text that is not one.';

CREATE FUNCTION sync_changes(p_app text, p_caller jsonb, p_since text, p_types jsonb,
			     p_resources jsonb, p_page integer, OUT status integer, OUT body json)
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	is_open CONSTANT boolean := caller_is_server(p_caller) OR p_resources IS NOT NULL;
	most CONSTANT integer := CASE WHEN is_open THEN p_page ELSE 250 END;
	epoch CONSTANT text := (SELECT m.epoch FROM log_meta m);
	s record := since_read(p_since);
	wanted jsonb;
	horizon bigint;
	feed_end bigint;
	e sync_entity;
	last bigint;
	seen integer := 0;
	bytes bigint := 0;
	found json[] := '{}';
	is_shown boolean;
	unasked text[] := '{}';
	is_more boolean := false;
BEGIN
	IF p_types IS NOT NULL AND p_resources IS NOT NULL THEN
		PERFORM sync_fail(400, 'invalid_value', 'Give types or resources, not both.', 'types');
	END IF;
	status := 200;
	wanted := coalesce(p_types, (SELECT jsonb_agg(split_part(r, ':', 1))
				   FROM jsonb_array_elements_text(p_resources) r));
	SELECT max(v.horizon), max(v.horizon) FILTER (WHERE coalesce(wanted ? v.resource_type, true))
	INTO feed_end, horizon FROM sync_version v WHERE v.app = p_app;
	feed_end := greatest(feed_end, (SELECT max(x.position) FROM sync_entity x
					WHERE x.app = p_app AND x.position > 0), 0);
	IF s.epoch <> epoch OR s.at > feed_end OR horizon > greatest(s.at, s.start) THEN
		body := json_build_object('changes', '[]'::json, 'has_more', false,
					  'resync', true, 'since', NULL);
		RETURN;
	END IF;
	s.start := coalesce(s.start, feed_end);
	last := coalesce(s.at, 0);
	FOR e IN SELECT * FROM sync_feed(p_app, last, p_types, p_resources, p_caller, most + 1) LOOP
		is_more := list_is_full(p_page, cardinality(found), unasked) OR seen = most
			OR bytes > 1000000;
		EXIT WHEN is_more;
		seen := seen + 1;
		last := e.position;
		CONTINUE WHEN e.data IS NULL AND e.position <= s.start;
		is_shown := is_open OR channel_known(p_app, p_caller,
			resource_channel(e.resource_type, e.resource_id));
		IF is_shown IS NULL THEN
			unasked := array_append(unasked,
				resource_channel(e.resource_type, e.resource_id));
		ELSIF is_shown THEN
			found := array_append(found, sync_entity_json(e));
			bytes := bytes + coalesce(octet_length(e.data::text), 0);
		END IF;
	END LOOP;
	PERFORM require_evaluated(unasked);
	body := json_build_object('changes', array_to_json(found), 'has_more', is_more,
		'resync', false, 'since', format('%s:%s:%s', epoch,
			CASE WHEN is_more THEN last ELSE feed_end END, s.start));
END
$$;
COMMENT ON FUNCTION sync_changes IS
	'GET /changes: a page of the feed of changes.';

CREATE FUNCTION sync_version_json(p_row sync_entity) RETURNS json
LANGUAGE sql STABLE
RETURN json_build_object('resource_type', p_row.resource_type, 'resource_id', p_row.resource_id,
		'version', coalesce(p_row.version, 0),
		'deleted', p_row.version IS NOT NULL AND p_row.data IS NULL,
		'updated_at', iso(p_row.updated_at));
COMMENT ON FUNCTION sync_version_json IS
	'The version of a resource as JSON.';

CREATE FUNCTION sync_versions(p_app text, p_caller jsonb, p_resources jsonb, p_types jsonb,
			      p_page integer, p_cursor text, OUT status integer, OUT body json)
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	is_server CONSTANT boolean := caller_is_server(p_caller);
	most CONSTANT integer := CASE WHEN is_server THEN p_page ELSE 250 END;
	scope CONSTANT json := json_build_array('versions', p_app, p_types);
	after CONSTANT text[] := coalesce(cursor_read(scope, p_cursor, 2), '{"",""}');
	e sync_entity;
	last sync_entity;
	seen integer := 0;
	found json[] := '{}';
	is_shown boolean;
	unasked text[] := '{}';
	is_more boolean := false;
BEGIN
	IF num_nonnulls(p_resources, p_types) <> 1 THEN
		PERFORM sync_fail(400, 'missing_field', 'Give resources, or types.', 'resources');
	END IF;
	status := 200;
	IF p_resources IS NOT NULL THEN
		SELECT json_build_object('versions', coalesce(json_agg(sync_version_json(
			(p_app, r.resource_type, r.resource_id, x.version, x.position, x.data,
			 x.updated_by, x.updated_at)::sync_entity)
			ORDER BY r.resource_type, r.resource_id), '[]'), 'next_cursor', NULL)
		INTO body FROM resources_read(p_app, p_caller, p_resources) r
		LEFT JOIN sync_entity x ON x.app = p_app AND x.resource_type = r.resource_type
		AND x.resource_id = r.resource_id;
		RETURN;
	END IF;
	FOR e IN
		SELECT x.* FROM (SELECT DISTINCT t FROM jsonb_array_elements_text(p_types) t) t
		CROSS JOIN LATERAL (
			SELECT y.* FROM sync_entity y
			WHERE y.app = p_app AND y.resource_type = t.t
			AND (y.resource_type, y.resource_id) > (after[1], after[2])
			ORDER BY y.resource_id LIMIT most + 1) x
		ORDER BY x.resource_type, x.resource_id LIMIT most + 1
	LOOP
		is_more := list_is_full(p_page, cardinality(found), unasked) OR seen = most;
		EXIT WHEN is_more;
		seen := seen + 1;
		last := e;
		CONTINUE WHEN e.data IS NULL;
		is_shown := is_server OR channel_known(p_app, p_caller,
			resource_channel(e.resource_type, e.resource_id));
		IF is_shown IS NULL THEN
			unasked := array_append(unasked,
				resource_channel(e.resource_type, e.resource_id));
		ELSIF is_shown THEN
			found := array_append(found, sync_version_json(e));
		END IF;
	END LOOP;
	PERFORM require_evaluated(unasked);
	body := json_build_object('versions', array_to_json(found), 'next_cursor',
		CASE WHEN is_more THEN cursor_make(scope, last.resource_type, last.resource_id) END);
END
$$;
COMMENT ON FUNCTION sync_versions IS
	'GET /versions: the versions of resources, or of all existing resources of some types.';

CREATE FUNCTION sync_prune(p_days integer, p_most integer) RETURNS boolean
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	oldest CONSTANT timestamptz := now() - p_days * interval '1 day';
	until CONSTANT timestamptz := sweep_until();
	one record;
	part integer;
	n_changes integer := 0;
	n_deleted integer := 0;
BEGIN
	FOR one IN SELECT o.ctid AS row FROM sync_change o
		   WHERE o.at < oldest ORDER BY o.at LIMIT p_most FOR UPDATE SKIP LOCKED LOOP
		DELETE FROM sync_change c WHERE c.ctid = one.row;
		n_changes := n_changes + 1;
		IF clock_timestamp() >= until THEN
			RETURN true;
		END IF;
	END LOOP;
	WHILE n_deleted < p_most LOOP
		WITH gone AS (
			DELETE FROM sync_entity e WHERE (e.app, e.resource_type, e.resource_id) IN (
				SELECT o.app, o.resource_type, o.resource_id FROM sync_entity o
				WHERE o.data IS NULL AND o.updated_at < oldest
				ORDER BY o.updated_at LIMIT least(20, p_most - n_deleted) FOR UPDATE SKIP LOCKED)
			RETURNING e.*
		), kept AS (
			INSERT INTO sync_version AS v (app, resource_type, version, horizon)
			SELECT g.app, g.resource_type, max(g.version), max(g.position) FROM gone g
			GROUP BY g.app, g.resource_type
			ON CONFLICT ON CONSTRAINT sync_version_pkey DO UPDATE
			SET version = greatest(v.version, excluded.version),
			    horizon = greatest(v.horizon, excluded.horizon)
		)
		SELECT count(*) INTO part FROM gone;
		n_deleted := n_deleted + part;
		EXIT WHEN part = 0;
		IF clock_timestamp() >= until THEN
			RETURN true;
		END IF;
	END LOOP;
	RETURN greatest(n_changes, n_deleted) >= p_most;
END
$$;
COMMENT ON FUNCTION sync_prune IS
	'Deletes mutations and deleted resources that are older than p_days days, at most '
	'p_most of each, and until sweep_until(). Returns whether there may be more.';

REVOKE EXECUTE ON FUNCTION sync_entity_broadcast(sync_batch, sync_entity, text, text),
	sync_validate_with(text, regprocedure, text),
	mutation_validate(text, jsonb, jsonb, jsonb, jsonb),
	sync_entities_write(text, sync_entity[]), mutations_lock(sync_batch, jsonb),
	sync_prune(integer, integer) FROM PUBLIC;
