-- SPDX-License-Identifier: MIT
-- Resources that applications change in their own transactions.  A call stores what is to be done; the
-- commit does it.  So no lock is held while the application's transaction is open, and the changes
-- become visible with it.  What the commit cannot do at once is left to the daemon
-- (docs/decisions/0055-resources-in-transactions.md).
--
-- A row is applied under the lock "sync_entity" of its resource, by the commit that made it, by the next
-- batch of mutations of the resource, or by the daemon's job.  So no mutation of a client is decided on
-- the state before a change that was committed earlier.

CREATE TABLE sync_pending (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	app text NOT NULL,
	resource_type text NOT NULL,
	resource_id text NOT NULL,
	data jsonb,
	mutation_id text NOT NULL DEFAULT gen_random_uuid()::text,
	exclude_socket text,
	xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
	at timestamptz NOT NULL DEFAULT clock_timestamp(),
	retry_at timestamptz,
	fault text,
	is_reported boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE sync_pending IS
	'Changes of resources that applications made in their transactions, until they are applied.';
COMMENT ON COLUMN sync_pending.data IS
	'The resource; NULL: it is deleted.';
COMMENT ON COLUMN sync_pending.xid IS
	'The transaction that made the change.';
COMMENT ON COLUMN sync_pending.fault IS
	'Why it could not be applied. It is tried again from retry_at on.';
COMMENT ON COLUMN sync_pending.is_reported IS
	'Whether a daemon has logged the fault.';
CREATE INDEX sync_pending_xid ON sync_pending (xid, id);
CREATE INDEX sync_pending_resource ON sync_pending (app, resource_type, resource_id, id);
CREATE INDEX sync_pending_due ON sync_pending ((coalesce(retry_at, '-infinity'::timestamptz)), id);
CREATE INDEX sync_pending_fault ON sync_pending (id) WHERE fault IS NOT NULL AND NOT is_reported;

CREATE FUNCTION sync_numbers_check(p_data jsonb) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp SET jit = off SET extra_float_digits = 1
AS $$
DECLARE
	n numeric;
BEGIN
	FOR n IN SELECT v::numeric FROM jsonb_path_query(p_data, 'strict $.**') v WHERE jsonb_typeof(v) = 'number' LOOP
		IF NOT (n = trunc(n) AND n BETWEEN -9223372036854775808 AND 9223372036854775807) AND n::float8::text::numeric <> n THEN
			RAISE numeric_value_out_of_range;
		END IF;
	END LOOP;
EXCEPTION WHEN numeric_value_out_of_range THEN
	PERFORM sync_fail(400, 'invalid_value', format('The number %s is neither a 64-bit integer nor a double.',
						     left(n::text, 40)), 'data');
END
$$;
COMMENT ON FUNCTION sync_numbers_check IS
	'Refuses data with a number whose value clients would change.';

CREATE FUNCTION sync_pending_mutation(p_row sync_pending) RETURNS jsonb
LANGUAGE sql IMMUTABLE
RETURN jsonb_build_object('mutation_id', p_row.mutation_id, 'resource_type', p_row.resource_type,
		'resource_id', p_row.resource_id, 'op', CASE WHEN p_row.data IS NULL THEN 'delete' ELSE 'upsert' END,
		'data', p_row.data, 'expected_version', NULL);
COMMENT ON FUNCTION sync_pending_mutation IS
	'The change as a mutation.';

-- What an application may do.  The code of validators leaves the session of the application as it is.
CREATE FUNCTION sync_pending_caller() RETURNS jsonb
LANGUAGE sql IMMUTABLE
RETURN '{"server":true,"in_transaction":true}'::jsonb;
COMMENT ON FUNCTION sync_pending_caller IS
	'The caller of mutations that applications make in their transactions.';

-- All that can be wrong is refused here, where it is the caller's error.  Without a function that
-- validates the type nothing but the application is read: so a transaction with SERIALIZABLE conflicts
-- with no other.
CREATE FUNCTION sync_pending_add(p_row sync_pending, p_app text) RETURNS text
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	known CONSTANT record := log_app(p_app);
	mutation CONSTANT jsonb := sync_pending_mutation(p_row);
	channel CONSTANT text := resource_channel(p_row.resource_type, p_row.resource_id);
	earlier sync_pending;
	before jsonb;
	added text;
BEGIN
	IF known.app IS NULL THEN
		RAISE EXCEPTION 'there is no application yet' USING ERRCODE = 'object_not_in_prerequisite_state',
			HINT = 'The daemon writes the list of applications when it starts.';
	END IF;
	PERFORM mutation_check(mutation), sync_numbers_check(p_row.data);
	IF octet_length(channel) > nullif(known.max_channel, 0) THEN
		PERFORM sync_fail(400, 'invalid_value', 'The name of the resource''s channel is longer than the '
				  'application allows.', 'resource_id');
	ELSIF p_row.exclude_socket COLLATE "C" !~ '^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$' THEN
		PERFORM sync_fail(400, 'invalid_value', 'exclude_socket must be a socket id, such as 1234.5678.',
				  'exclude_socket');
	END IF;
	IF EXISTS (SELECT FROM sync_validators v WHERE v.resource_type = p_row.resource_type
		   AND v.app IN (known.app, '')) THEN
		SELECT p.* INTO earlier FROM sync_pending p WHERE p.app = known.app
		AND p.resource_type = p_row.resource_type AND p.resource_id = p_row.resource_id
		ORDER BY p.id DESC LIMIT 1;
		before := CASE WHEN earlier.id IS NOT NULL THEN earlier.data
			ELSE (SELECT e.data FROM sync_entity e WHERE e.app = known.app
			      AND e.resource_type = p_row.resource_type AND e.resource_id = p_row.resource_id) END;
		-- The deletion of what does not exist changes nothing.
		IF before IS NOT NULL OR p_row.data IS NOT NULL THEN
			PERFORM mutation_validate(known.app, sync_pending_caller(), mutation, before, p_row.data);
		END IF;
	END IF;
	INSERT INTO sync_pending (app, resource_type, resource_id, data, exclude_socket)
	VALUES (known.app, p_row.resource_type, p_row.resource_id, p_row.data, p_row.exclude_socket)
	RETURNING mutation_id INTO added;
	RETURN added;
END
$$;
COMMENT ON FUNCTION sync_pending_add IS
	'Stores a change that an application makes in its transaction, or refuses it. Returns its mutation_id.';

CREATE FUNCTION resource_put(resource_type text, resource_id text, data jsonb, app text DEFAULT NULL,
			     exclude_socket text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	p sync_pending;
BEGIN
	-- mutation_check() would take it for a deletion.
	IF $3 IS NULL THEN
		PERFORM sync_fail(400, 'invalid_value', 'data must be an object.', 'data');
	END IF;
	p.resource_type := $1;
	p.resource_id := $2;
	p.data := $3;
	p.exclude_socket := $5;
	RETURN sync_pending_add(p, $4);
END
$$;
COMMENT ON FUNCTION resource_put IS
	'Makes data the current version of a resource when the transaction commits, whatever version there is. For the '
	'application''s own transactions. Returns the mutation_id of DataChanged.';

CREATE FUNCTION resource_delete(resource_type text, resource_id text, app text DEFAULT NULL,
				exclude_socket text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	p sync_pending;
BEGIN
	p.resource_type := $1;
	p.resource_id := $2;
	p.exclude_socket := $4;
	RETURN sync_pending_add(p, $3);
END
$$;
COMMENT ON FUNCTION resource_delete IS
	'Deletes a resource when the transaction commits. For the application''s own transactions. Returns the '
	'mutation_id of DataChanged.';

-- For the caller, a function that has SET lock_timeout: at its end the setting is the old one.  When no
-- time is left, locks that are free are still taken: only what waits fails.
CREATE FUNCTION sync_wait_until(p_until timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	IF p_until IS NOT NULL THEN
		PERFORM set_config('lock_timeout', greatest(1, ceil(extract(epoch FROM p_until - clock_timestamp())
			* 1000))::integer::text, true);
	END IF;
END
$$;
COMMENT ON FUNCTION sync_wait_until IS
	'From now on no statement waits for a lock longer than until this time; NULL: as before.';

CREATE FUNCTION sync_pending_lock(p_app text, p_resources jsonb, p_until timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	one integer;
BEGIN
	FOR one IN SELECT DISTINCT mutation_lock(p_app, 'resource', e->>'resource_type', e->>'resource_id') AS h
		   FROM jsonb_array_elements(p_resources) e ORDER BY h LOOP
		PERFORM sync_wait_until(p_until), pg_advisory_xact_lock(lock_key('sync_entity'), one);
	END LOOP;
END
$$;
COMMENT ON FUNCTION sync_pending_lock IS
	'Takes the advisory locks "sync_entity" of resources, in the order of mutations_lock().';

-- The caller holds the locks "sync_entity" of the resources and writes what is returned with
-- sync_entities_write().  Of the changes of a resource only the last counts, as each replaces the whole.
-- One that is refused now stays, with the reason.
--
-- p_end is for the daemon's job, in which no change may delay the others for ever: none is begun after
-- it, one that waits for a row is put off, and one that takes all of the statement's time is refused.
-- What was refused before comes last.
CREATE FUNCTION sync_pending_apply(p_app text, p_resources jsonb, p_until timestamptz DEFAULT NULL,
				   p_end timestamptz DEFAULT NULL)
RETURNS SETOF sync_entity
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	b sync_batch;
	r record;
	done record;
	trouble text;
	is_put_off boolean;
	is_stopped boolean := false;
	n integer := 0;
	applied bigint[] := '{}';
BEGIN
	FOR r IN
		SELECT f.ids, f.sockets, l AS last FROM (
			SELECT array_agg(p.id) AS ids, array_agg(DISTINCT coalesce(p.exclude_socket, '')) AS sockets,
				max(p.id) AS newest, min(coalesce(p.retry_at, '-infinity')) AS due
			FROM (SELECT DISTINCT e->>'resource_type' AS type, e->>'resource_id' AS id
			      FROM jsonb_array_elements(p_resources) e) w
			JOIN sync_pending p ON p.app = p_app AND p.resource_type = w.type AND p.resource_id = w.id
			GROUP BY w.type, w.id) f
		JOIN sync_pending l ON l.id = f.newest
		ORDER BY f.due, f.newest
	LOOP
		EXIT WHEN is_stopped OR n > 0 AND clock_timestamp() >= p_end;
		n := n + 1;
		trouble := NULL;
		is_put_off := false;
		BEGIN
			PERFORM sync_wait_until(p_until);
			b := (p_app, sync_pending_caller(), NULL, 'sql',
			      CASE WHEN cardinality(r.sockets) = 1 THEN nullif(r.sockets[1], '') END,
			      sync_event('DataChanged'),
			      (SELECT a.max_channel_bytes FROM log_apps a WHERE a.app = p_app));
			done := sync_mutate(b, sync_pending_mutation(r.last), NULL, NULL);
			trouble := done.result->'error'->>'message';
		EXCEPTION WHEN query_canceled OR OTHERS THEN
			-- A lock, or a conflict with another transaction: that is not the change's fault.
			is_put_off := SQLSTATE ~ '^(55P03|40)';
			is_stopped := SQLSTATE = '57014';
			IF (is_put_off OR is_stopped) AND p_end IS NULL THEN
				RAISE;
			END IF;
			trouble := SQLERRM;
		END;
		IF is_put_off THEN
			UPDATE sync_pending p SET retry_at = clock_timestamp() + interval '1 s' WHERE p.id = ANY (r.ids);
		ELSIF trouble IS NULL THEN
			applied := applied || r.ids;
			IF (done.entity).app IS NOT NULL THEN
				RETURN NEXT done.entity;
			END IF;
		ELSE
			UPDATE sync_pending p SET fault = trouble, is_reported = p.is_reported AND p.fault = trouble,
				retry_at = clock_timestamp() + interval '1 minute'
			WHERE p.id = ANY (r.ids);
		END IF;
	END LOOP;
	IF applied <> '{}' THEN
		DELETE FROM sync_pending p WHERE p.id = ANY (applied);
	END IF;
END
$$;
COMMENT ON FUNCTION sync_pending_apply IS
	'Decides about the changes that are pending for resources, deletes them, and returns the resources to write.';

CREATE FUNCTION sync_pending_settle(p_app text, p_resources jsonb, p_until timestamptz DEFAULT NULL,
				    p_end timestamptz DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	entities sync_entity[];
BEGIN
	entities := ARRAY(SELECT e FROM sync_pending_apply(p_app, p_resources, p_until, p_end) e);
	IF cardinality(entities) > 0 THEN
		PERFORM sync_wait_until(p_until), sync_entities_write(p_app, entities);
	END IF;
END
$$;
COMMENT ON FUNCTION sync_pending_settle IS
	'Applies the changes that are pending for resources, whose locks "sync_entity" the caller holds.';

-- With the setting of the function, sync_wait_until() changes lock_timeout for its duration only.
CREATE FUNCTION sync_pending_try(p_app text, p_resources jsonb, p_until timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off SET lock_timeout = 0
AS $$
BEGIN
	PERFORM sync_pending_lock(p_app, p_resources, p_until),
		sync_pending_settle(p_app, p_resources, p_until);
EXCEPTION WHEN OTHERS THEN
	NULL;	-- the daemon does it
END
$$;
COMMENT ON FUNCTION sync_pending_try IS
	'Applies the changes that are pending for resources, unless it would wait for locks after p_until.';

-- The first row of the transaction does the work of all: at the commit, unless constraints are
-- IMMEDIATE.  A transaction with more than 100 changes, with changes of several applications, or
-- with a snapshot that is too old to see the current versions leaves them to the daemon, and so does one
-- that would wait for locks longer than 250 ms.  For the rows of users it waits as long as the lock_timeout
-- of the application allows, as a transaction without changes of resources does.
CREATE FUNCTION sync_pending_commit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	own CONSTANT xid8 := pg_current_xact_id();
	until CONSTANT timestamptz := clock_timestamp() + interval '250 ms';
	work record;
BEGIN
	IF NOT EXISTS (SELECT FROM sync_pending p WHERE p.xid = own AND p.id = NEW.id)
	   OR EXISTS (SELECT FROM sync_pending p WHERE p.xid = own AND p.id < NEW.id) THEN
		RETURN NULL;
	END IF;
	SELECT count(*) AS n, min(f.app) AS app, max(f.app) AS other, jsonb_agg(jsonb_build_object(
		'resource_type', f.resource_type, 'resource_id', f.resource_id)) AS resources INTO work
	FROM (SELECT p.* FROM sync_pending p WHERE p.xid = own ORDER BY p.id LIMIT 101) f;
	IF work.n > 100 OR work.app <> work.other OR current_setting('transaction_isolation') <> 'read committed' THEN
		RETURN NULL;
	END IF;
	-- The rows of users are locked before the feed, as in a transaction that makes its calls in another order.
	IF EXISTS (SELECT FROM notification_work) THEN
		PERFORM notifications_settle();
	END IF;
	PERFORM sync_pending_try(work.app, work.resources, until);
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync_pending_commit IS
	'Trigger of sync_pending, at the commit.';
CREATE CONSTRAINT TRIGGER sync_pending_commit AFTER INSERT ON sync_pending
	DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION sync_pending_commit();

-- Locks are only tried, in the order of the changes: a resource whose lock another transaction holds
-- waits for its next turn.
CREATE FUNCTION sync_pending_work(p_most integer) RETURNS boolean
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	until CONSTANT timestamptz := sweep_until();
	one text;
	resources jsonb;
BEGIN
	FOR one IN SELECT f.app FROM (SELECT p.app, p.id, coalesce(p.retry_at, '-infinity') AS due FROM sync_pending p
			WHERE coalesce(p.retry_at, '-infinity') <= now() ORDER BY 3, 2 LIMIT 10 * p_most) f
		GROUP BY f.app ORDER BY min(f.due), min(f.id)
	LOOP
		WITH due AS MATERIALIZED (
			SELECT f.resource_type, f.resource_id FROM (
				SELECT p.* FROM sync_pending p WHERE p.app = one
				AND coalesce(p.retry_at, '-infinity') <= now()
				ORDER BY coalesce(p.retry_at, '-infinity'), p.id LIMIT p_most) f
			GROUP BY 1, 2
		), held AS MATERIALIZED (
			SELECT d.*, pg_try_advisory_xact_lock(lock_key('sync_entity'),
				mutation_lock(one, 'resource', d.resource_type, d.resource_id)) AS is_held FROM due d
		)
		SELECT jsonb_agg(to_jsonb(h)) INTO resources FROM held h WHERE h.is_held;
		CONTINUE WHEN resources IS NULL;
		PERFORM sync_pending_settle(one, resources, NULL, until);
		RETURN EXISTS (SELECT FROM sync_pending p WHERE coalesce(p.retry_at, '-infinity') <= now());
	END LOOP;
	RETURN false;
END
$$;
COMMENT ON FUNCTION sync_pending_work IS
	'Applies at most p_most changes of one application that their transactions did not apply, and begins none after '
	'sweep_until(). Returns whether there are more.';

CREATE FUNCTION sync_pending_faults(p_most integer) RETURNS TABLE (line text)
LANGUAGE sql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	UPDATE sync_pending p SET is_reported = true
	WHERE p.id IN (SELECT o.id FROM sync_pending o WHERE o.fault IS NOT NULL AND NOT o.is_reported
		       ORDER BY o.id LIMIT p_most FOR UPDATE SKIP LOCKED)
	RETURNING format('the change of %s:%s that the application %s made in SQL at %s is not applied: %s',
			 p.resource_type, p.resource_id, p.app, iso(p.at), p.fault)
$$;
COMMENT ON FUNCTION sync_pending_faults IS
	'Changes that could not be applied, for the log; each reason is returned once.';

REVOKE EXECUTE ON FUNCTION resource_put(text, text, jsonb, text, text), resource_delete(text, text, text, text),
	sync_pending_add(sync_pending, text), sync_pending_lock(text, jsonb, timestamptz),
	sync_pending_apply(text, jsonb, timestamptz, timestamptz),
	sync_pending_settle(text, jsonb, timestamptz, timestamptz),
	sync_pending_try(text, jsonb, timestamptz), sync_pending_commit(), sync_pending_work(integer), sync_pending_faults(integer) FROM PUBLIC;
