-- SPDX-License-Identifier: MIT
-- What ends with the sockets that it is tied to: viewers, edit locks and the requests for them.  The
-- daemon calls sockets_sweep() when the grace after the end of a socket has passed.  When it starts,
-- those of sockets_tied() that are not open in it have ended with an earlier process.

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

-- A socket that ends a tie is named by the daemon, which knows the open ones: nothing here compares
-- times, and rows that a client has renewed meanwhile from its next socket keep that one.
CREATE FUNCTION sockets_tied(p_after text, p_most integer) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT x.socket FROM (
		SELECT v.tab FROM viewers v WHERE v.tab <> ''
		UNION
		SELECT s FROM locks l, unnest(l.sockets) AS s WHERE l.sockets <> '{}'
		UNION
		SELECT r.socket_id FROM lock_requests r WHERE r.socket_id IS NOT NULL) x(socket)
	WHERE x.socket COLLATE "C" > p_after
	ORDER BY x.socket COLLATE "C" LIMIT p_most
$$;
COMMENT ON FUNCTION sockets_tied IS
	'The sockets to which something is tied, each once: at most p_most of those after p_after. The '
	'daemon calls it when it starts, and sweeps those of an earlier process.';

REVOKE EXECUTE ON FUNCTION locks_sweep(text[]), sockets_sweep(text[]), sockets_tied(text, integer) FROM PUBLIC;
