-- SPDX-License-Identifier: MIT
-- Publishes and calls of the sync API that carry an idempotency key: a key is here from the commit of
-- what the request did, and the same key of the same application does nothing more for 24 hours.
--
-- The keys of publishes, of the server's calls of the sync API and of each user's calls have different
-- beginnings here, with a space, which no key has: "KEY", "sync KEY", "user ID KEY".

CREATE TABLE idempotency_keys (
	app text NOT NULL,
	key text NOT NULL,
	digest text NOT NULL,
	event_id text NOT NULL,
	answer text NOT NULL,
	status integer NOT NULL DEFAULT 200,
	created_at timestamptz NOT NULL DEFAULT now(),
	repeats integer NOT NULL DEFAULT 0,
	repeated_at timestamptz,
	PRIMARY KEY (app, key)
) WITH (fillfactor = 80);
COMMENT ON TABLE idempotency_keys IS
	'Publishes and calls of the sync API that carried an idempotency key, for 24 hours.';
COMMENT ON COLUMN idempotency_keys.key IS
	'The key of a publish; of a call of the sync API "sync KEY" or "user ID KEY".';
COMMENT ON COLUMN idempotency_keys.digest IS
	'Hash of the call''s path and body, in hex. The same key with another digest is an '
	'error of the caller.';
COMMENT ON COLUMN idempotency_keys.event_id IS
	'The first event of the call. When none of them is logged, an id that no event has.';
COMMENT ON COLUMN idempotency_keys.answer IS
	'The answer to the call.';
COMMENT ON COLUMN idempotency_keys.status IS
	'HTTP status of the answer. 0 inside the transaction of a call of the sync API, until '
	'it has an answer.';
COMMENT ON COLUMN idempotency_keys.repeats IS
	'How many calls were answered from this row.';
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);

CREATE FUNCTION idempotency_take(p_apps text[], p_keys text[], p_digests text[], p_ids text[],
				 p_answers text[]) RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	taken integer;
BEGIN
	INSERT INTO idempotency_keys AS k (app, key, digest, event_id, answer)
	SELECT * FROM unnest(p_apps, p_keys, p_digests, p_ids, p_answers)
	ON CONFLICT (app, key) DO UPDATE SET digest = excluded.digest,
		event_id = excluded.event_id, answer = excluded.answer,
		created_at = excluded.created_at, repeats = 0, repeated_at = NULL
	WHERE k.created_at <= now() - interval '24 hours' OR k.event_id = excluded.event_id;
	GET DIAGNOSTICS taken = ROW_COUNT;
	IF taken < cardinality(p_keys) THEN
		RAISE EXCEPTION 'an idempotency key is taken' USING ERRCODE = 'unique_violation';
	END IF;
END
$$;
COMMENT ON FUNCTION idempotency_take IS
	'Stores keys in the transaction of their events. A key that is in use raises '
	'unique_violation; an expired one, or one of the same call, is replaced.';

CREATE FUNCTION idempotency_find(p_app text, p_key text, p_digest text, OUT is_same boolean,
				 OUT answer text) RETURNS SETOF record
LANGUAGE sql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	UPDATE idempotency_keys k SET repeats = k.repeats + 1, repeated_at = now()
	WHERE k.app = p_app AND k.key = p_key AND k.created_at > now() - interval '24 hours'
	RETURNING k.digest = p_digest, k.answer
$$;
COMMENT ON FUNCTION idempotency_find IS
	'The stored answer to the call with this key, and whether it was the same call. No row '
	'when the key is not in use.';

CREATE FUNCTION idempotency_prune(p_max_rows integer) RETURNS bigint
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	until CONSTANT timestamptz := sweep_until();
	one record;
	n bigint := 0;
BEGIN
	FOR one IN SELECT k.ctid AS row FROM idempotency_keys k WHERE k.created_at <= now() - interval '24 hours'
		   ORDER BY k.created_at LIMIT p_max_rows FOR UPDATE SKIP LOCKED LOOP
		DELETE FROM idempotency_keys k WHERE k.ctid = one.row;
		n := n + 1;
		IF clock_timestamp() >= until THEN
			RETURN p_max_rows;
		END IF;
	END LOOP;
	RETURN n;
END
$$;
COMMENT ON FUNCTION idempotency_prune IS
	'Deletes at most p_max_rows expired keys, until sweep_until(). Returns how many; p_max_rows if there may be more.';

CREATE TYPE idempotency_answer AS (
	status integer,
	body text
);
COMMENT ON TYPE idempotency_answer IS
	'The answer to a call of the sync API.';

-- These two are in one statement with the function of the call (api/statement.c): key and work are
-- committed together, or neither.  The row is locked meanwhile, so that a repeat waits for the first call.
CREATE FUNCTION idempotency_open(p_app text, p_key text, p_digest text, OUT is_repeat boolean,
				 OUT answer idempotency_answer)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	is_same boolean;
BEGIN
	LOOP
		INSERT INTO idempotency_keys AS k (app, key, digest, event_id, answer, status)
		VALUES (p_app, p_key, p_digest, 'sync ' || gen_random_uuid(), '', 0)
		ON CONFLICT ON CONSTRAINT idempotency_keys_pkey DO UPDATE
		SET digest = excluded.digest, event_id = excluded.event_id, answer = '', status = 0,
		    created_at = now(), repeats = 0, repeated_at = NULL
		WHERE k.created_at <= now() - interval '24 hours';
		is_repeat := NOT FOUND;
		EXIT WHEN FOUND;
		UPDATE idempotency_keys k SET repeats = k.repeats + 1, repeated_at = now()
		WHERE k.app = p_app AND k.key = p_key
		RETURNING k.digest = p_digest, k.status, k.answer
		INTO is_same, answer.status, answer.body;
		IF NOT is_same THEN
			PERFORM sync_fail(422, 'idempotency_key_reused', 'The idempotency key was used '
				'for another request before; nothing was changed.');
		END IF;
		EXIT WHEN FOUND;	-- otherwise the key has expired and was deleted since
	END LOOP;
END
$$;
COMMENT ON FUNCTION idempotency_open IS
	'Begins a call of the sync API with a key: either it is a repeat, with the stored answer, or '
	'idempotency_close() must follow in the same statement. Refuses a key of another request.';

CREATE FUNCTION idempotency_close(p_app text, p_key text, p_answer idempotency_answer)
RETURNS idempotency_answer
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	IF p_answer.status < 300 THEN
		UPDATE idempotency_keys k SET status = p_answer.status, answer = p_answer.body
		WHERE k.app = p_app AND k.key = p_key;
	ELSE
		DELETE FROM idempotency_keys k WHERE k.app = p_app AND k.key = p_key;
	END IF;
	RETURN p_answer;
END
$$;
COMMENT ON FUNCTION idempotency_close IS
	'Stores the answer to a call of the sync API under its key, if the call succeeded. Returns the '
	'answer.';

-- Evaluated after the function of the call, in its transaction: docs/decisions/0031-serials-of-writes.md.
CREATE FUNCTION answer_with_event(p_body text, p_position text) RETURNS text
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	found text;
BEGIN
	IF pg_current_xact_id_if_assigned() IS NULL THEN
		RETURN p_body;
	END IF;
	-- The last id that this session took, if this transaction inserted the event, or a subtransaction of
	-- it: these have later numbers.
	SELECT e.event_id INTO found FROM realtime_events_pending e
	WHERE e.serial = 0 AND e.id = currval('realtime_events_id_seq')
	AND age(e.xmin) <= 0;
	IF found IS NULL OR right(p_body, 1) <> '}' THEN
		RETURN p_body;
	END IF;
	RETURN left(p_body, -1) || format(',"event_id":%s,"position":%s}', to_json(found),
					  coalesce(to_json(p_position)::text, 'null'));
EXCEPTION WHEN object_not_in_prerequisite_state THEN
	RETURN p_body;	-- the session has not published yet
END
$$;
COMMENT ON FUNCTION answer_with_event IS
	'The answer to a call of the sync API, with the id of the last event that its transaction '
	'published, if there is one, and p_position, which is before that event.';

-- The event is one of the newest: the partitions are searched from the newest on, each by itself, so
-- that no others are locked.
CREATE FUNCTION log_find_newest(p_app text, p_event_id text) RETURNS bigint
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
	SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
	part record;
	found_serial bigint;
BEGIN
	-- This one first: events move from here to the others.
	IF EXISTS (SELECT FROM realtime_events_pending p WHERE p.event_id = p_event_id AND p.app = p_app) THEN
		RETURN 0;
	END IF;
	FOR part IN SELECT p.lower, p.upper FROM log_partitions p
		    WHERE p.parent = 'realtime_events' AND p.lower IS NOT NULL
		    ORDER BY p.lower DESC LOOP
		SELECT e.serial INTO found_serial FROM realtime_events e
		WHERE e.event_id = p_event_id AND e.app = p_app
		  AND e.serial >= part.lower AND e.serial < part.upper;
		IF FOUND THEN
			RETURN found_serial;
		END IF;
	END LOOP;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION log_find_newest IS
	'The serial of an event that was published a moment ago; 0 while it is pending, NULL when it does '
	'not exist.';

CREATE FUNCTION answer_with_serial(p_app text, p_body text, OUT body text, OUT drained integer,
	OUT last_serial bigint)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	wanted CONSTANT text := p_body::json->>'event_id';
	found bigint := log_find_newest(p_app, wanted);
	n integer;
BEGIN
	drained := 0;
	IF found = 0 THEN
		PERFORM log_lock('serials');
		LOOP
			found := log_find_newest(p_app, wanted);
			EXIT WHEN found > 0;
			n := drain_locked(500);
			EXIT WHEN n = 0;
			drained := drained + n;
			last_serial := currval('realtime_events_serial');
		END LOOP;
	END IF;
	body := left(p_body, -1) || format(',"serial":%s}', coalesce(nullif(found, 0)::text, 'null'));
END
$$;
COMMENT ON FUNCTION answer_with_serial IS
	'The answer with the serial of its event. Drains if the event has none yet: drained is the '
	'number of events that got serials, and last_serial the last one.';

REVOKE EXECUTE ON FUNCTION answer_with_event(text, text), answer_with_serial(text, text),
	log_find_newest(text, text),
	idempotency_open(text, text, text),
	idempotency_close(text, text, idempotency_answer), idempotency_take(text[], text[], text[], text[], text[]),
	idempotency_find(text, text, text), idempotency_prune(integer) FROM PUBLIC;
