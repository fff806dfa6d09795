-- SPDX-License-Identifier: MIT
-- What ends with the sockets that it is tied to: viewers, edit locks and the requests for them.  The
-- daemon calls sockets_sweep() when the grace after the end of a socket has passed, and
-- sockets_forget() when it starts.

CREATE FUNCTION locks_sweep(p_sockets text[]) RETURNS integer
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	l locks;
	rest text[];
	n integer := 0;
BEGIN
	-- Requests are deleted while the row of their lock is locked, and these rows are always locked in
	-- this order: nothing that does so waits for another in a ring.
	FOR l IN
		SELECT x.* FROM locks x WHERE (x.app, x.resource_type, x.resource_id, x.field) IN (
			SELECT y.app, y.resource_type, y.resource_id, y.field FROM locks y
			WHERE y.sockets <> '{}' AND y.sockets && p_sockets
			UNION
			SELECT r.app, r.resource_type, r.resource_id, r.field FROM lock_requests r
			WHERE r.socket_id = ANY (p_sockets))
		ORDER BY x.app, x.resource_type, x.resource_id, x.field LIMIT 500 FOR UPDATE
	LOOP
		rest := ARRAY(SELECT s FROM unnest(l.sockets) WITH ORDINALITY AS u(s, at)
			      WHERE s <> ALL (p_sockets) ORDER BY at);
		IF rest = '{}' AND l.sockets <> '{}' AND lock_is_held(l) THEN
			PERFORM lock_end_quietly(l, 'disconnected');
		ELSIF rest <> l.sockets THEN
			UPDATE locks x SET sockets = rest WHERE lock_is_same(x, l);
		END IF;
		DELETE FROM lock_requests r
		WHERE lock_request_is_for(r, l) AND r.socket_id = ANY (p_sockets);
		n := n + 1;
	END LOOP;
	RETURN n;
END
$$;
COMMENT ON FUNCTION locks_sweep IS
	'Releases the locks whose last socket is one of the closed ones, and deletes the requests of these '
	'sockets, for at most 500 locks. Returns for how many.';

CREATE FUNCTION sockets_sweep(p_sockets text[]) RETURNS integer
LANGUAGE sql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT greatest(viewing_sweep(p_sockets), locks_sweep(p_sockets))
$$;
COMMENT ON FUNCTION sockets_sweep IS
	'Ends what is tied to closed sockets, and expired viewers; at most 500 of each kind. Returns the '
	'larger number.';

CREATE FUNCTION sockets_forget(p_grace_ms integer) RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	deadline CONSTANT timestamptz := now() + p_grace_ms * interval '1 ms';
	-- What a client of this process has extended is not of an earlier one.
	started CONSTANT timestamptz := coalesce((SELECT d.since FROM daemon d), now());
BEGIN
	UPDATE viewers v SET expires_at = least(v.expires_at, deadline) WHERE v.tab <> '';
	UPDATE locks l SET expires_at = least(l.expires_at, deadline), sockets = '{}'
	WHERE l.sockets <> '{}' AND l.renewed_at < started;
	UPDATE lock_requests r SET expires_at = least(r.expires_at, deadline), socket_id = NULL
	WHERE r.socket_id IS NOT NULL AND r.requested_at < started;
END
$$;
COMMENT ON FUNCTION sockets_forget IS
	'Ends what is tied to sockets after the grace. The daemon calls it when it starts: they were '
	'sockets of an earlier process.';

REVOKE EXECUTE ON FUNCTION locks_sweep(text[]), sockets_sweep(text[]), sockets_forget(integer) FROM PUBLIC;
