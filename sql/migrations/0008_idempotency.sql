-- SPDX-License-Identifier: MIT
-- Publishes that carry an idempotency key: a key is here from the commit of its events, and the same
-- key of the same application publishes nothing more for 24 hours.

CREATE TABLE idempotency_keys (
	app text NOT NULL,
	key text NOT NULL,
	digest text NOT NULL,
	event_id text NOT NULL,
	answer text NOT NULL,
	created_at timestamptz NOT NULL DEFAULT now(),
	repeats integer NOT NULL DEFAULT 0,
	repeated_at timestamptz,
	PRIMARY KEY (app, key)
) WITH (fillfactor = 80);
COMMENT ON TABLE idempotency_keys IS
	'Publishes that carried an idempotency key, for 24 hours.';
COMMENT ON COLUMN idempotency_keys.digest IS
	'Hash of the call''s path and body, in hex. The same key with another digest is an '
	'error of the caller.';
COMMENT ON COLUMN idempotency_keys.event_id IS
	'The first event of the call. When none of them is logged, an id that no event has.';
COMMENT ON COLUMN idempotency_keys.answer IS
	'The answer to the call.';
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
LANGUAGE sql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	WITH gone AS (
		DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
			SELECT ctid FROM idempotency_keys
			WHERE created_at <= now() - interval '24 hours'
			ORDER BY created_at LIMIT p_max_rows FOR UPDATE SKIP LOCKED))
		RETURNING 1
	)
	SELECT count(*) FROM gone
$$;
COMMENT ON FUNCTION idempotency_prune IS
	'Deletes at most p_max_rows expired keys. Returns how many.';

REVOKE EXECUTE ON FUNCTION idempotency_take(text[], text[], text[], text[], text[]),
	idempotency_find(text, text, text), idempotency_prune(integer) FROM PUBLIC;
