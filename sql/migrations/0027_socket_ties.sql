-- SPDX-License-Identifier: MIT
-- What ends with the sockets that it is tied to: viewers, edit locks and the requests for them, and
-- the presence of users whose heartbeats name a socket.  The daemon calls sockets_sweep() when the grace
-- after the end of a socket has passed.  When it starts, those of sockets_tied() that are not open in it
-- have ended with an earlier process.

CREATE FUNCTION locks_tied(p_sockets text[]) RETURNS SETOF locks
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT x.* FROM locks x WHERE (x.app, x.resource_type, x.resource_id, x.field) IN (
		SELECT y.app, y.resource_type, y.resource_id, y.field FROM locks y
		WHERE y.sockets <> '{}' AND y.sockets && p_sockets
		UNION
		SELECT r.app, r.resource_type, r.resource_id, r.field FROM lock_requests r
		WHERE r.socket_id = ANY (p_sockets))
$$;
COMMENT ON FUNCTION locks_tied IS
	'The locks to which one of the sockets is tied, or that one of them requests.';

CREATE FUNCTION locks_sweep(p_sockets text[]) RETURNS integer
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	until CONSTANT timestamptz := sweep_until();
	l locks;
	rest text[];
	n integer := 0;
BEGIN
	-- Requests are deleted while the row of their lock is locked.  A transaction of the application can have
	-- such a row for long (lock_check()): this does not wait for it.
	FOR l IN
		SELECT x.* FROM locks_tied(p_sockets) k JOIN locks x ON lock_is_same(x, k)
		ORDER BY x.app, x.resource_type, x.resource_id, x.field LIMIT 500 FOR UPDATE OF x SKIP LOCKED
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
		EXIT WHEN clock_timestamp() >= until;
	END LOOP;
	RETURN CASE WHEN EXISTS (SELECT FROM locks_tied(p_sockets)) THEN 500 ELSE n END;
END
$$;
COMMENT ON FUNCTION locks_sweep IS
	'Releases the locks whose last socket is one of the closed ones, and deletes the requests of these '
	'sockets, for at most 500 locks, and until sweep_until(). Returns for how many; 500 if there are more, which '
	'another transaction may have locked.';

CREATE FUNCTION presence_sweep(p_sockets text[], p_channels text[], p_ttl_s integer, p_left_ms integer) RETURNS integer
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	-- A connection that the daemon knew of before it started is none; nor is one that was not written again
	-- in time, because it closed while the database was away.
	earliest CONSTANT timestamptz := greatest((SELECT d.since FROM daemon d), now() - p_ttl_s * interval '1 s');
	changed user_presence[];
	n integer;
BEGIN
	IF p_sockets = '{}' THEN
		RETURN 0;
	END IF;
	-- It does not wait for rows that are locked: a batch of heartbeats locks several, in another order.
	WITH due AS (
		SELECT p.app, p.user_id, r.rest, p.is_tied AND r.rest = '{}' AS is_last,
		       coalesce(p.connected_at < earliest, true) AS is_gone,
		       coalesce(p.kept_at >= now() - p_left_ms * interval '1 ms', false) AS is_late
		FROM user_presence p CROSS JOIN LATERAL (
			SELECT ARRAY(SELECT s FROM unnest(p.sockets) WITH ORDINALITY AS u(s, at)
				     WHERE s <> ALL (p_sockets) ORDER BY at) AS rest) r
		WHERE p.sockets <> '{}' AND p.sockets && p_sockets
		LIMIT 100 FOR UPDATE OF p SKIP LOCKED
	), up AS (
		UPDATE user_presence u SET sockets = d.rest, is_tied = u.is_tied AND NOT d.is_last,
			heartbeat_at = CASE WHEN NOT d.is_last OR d.is_late THEN u.heartbeat_at END,
			previous_status = u.status,
			status = CASE WHEN d.is_last AND d.is_gone AND NOT d.is_late THEN 'offline' ELSE u.status END,
			changed_at = CASE WHEN d.is_last AND d.is_gone AND NOT d.is_late THEN now()
				ELSE u.changed_at END
		FROM due d WHERE u.app = d.app AND u.user_id = d.user_id
		RETURNING u
	)
	SELECT array_agg(u) FILTER (WHERE (u).status <> (u).previous_status), count(*)
	INTO changed, n FROM up;
	IF changed IS NOT NULL THEN
		PERFORM presence_broadcast(changed, p_channels);
	END IF;
	RETURN CASE WHEN EXISTS (SELECT FROM user_presence p WHERE p.sockets <> '{}' AND p.sockets && p_sockets)
		    THEN 500 ELSE n END;
END
$$;
COMMENT ON FUNCTION presence_sweep IS
	'Sets users offline whose heartbeats named closed sockets only, and who have no other connection; at '
	'most 100. A user with a heartbeat of the last p_left_ms that left the sockets as they were stays: it is '
	'of the page after them. Returns how many had one of these sockets; 500 if there are more.';

CREATE FUNCTION sockets_sweep(p_sockets text[], p_channels text[], p_ttl_s integer, p_left_ms integer) RETURNS integer
LANGUAGE sql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT greatest(viewing_sweep(p_sockets), locks_sweep(p_sockets),
			presence_sweep(p_sockets, p_channels, p_ttl_s, p_left_ms))
$$;
COMMENT ON FUNCTION sockets_sweep IS
	'Ends what is tied to closed sockets, and expired viewers; at most 500 of a kind. Returns the '
	'largest number. p_channels and p_ttl_s: those of presence; p_left_ms: that of presence_sweep().';

-- A socket that ends a tie is named by the daemon, which knows the open ones: nothing here compares
-- times, and rows that a client has renewed meanwhile from its next socket keep that one.
CREATE FUNCTION sockets_tied(p_after text, p_most integer) RETURNS SETOF text
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	-- Read once: there may be many ties.
	live CONSTANT integer[] := ARRAY(SELECT n.number FROM nodes n WHERE n.lease > clock_timestamp());
BEGIN
	IF NOT nodes_are_known() THEN
		RETURN NEXT NULL;
		RETURN;
	END IF;
	RETURN QUERY
	SELECT x.socket FROM (
		SELECT v.tab FROM viewers v WHERE v.tab <> ''
		UNION
		SELECT s FROM locks l, unnest(l.sockets) AS s WHERE l.sockets <> '{}'
		UNION
		SELECT r.socket_id FROM lock_requests r WHERE r.socket_id IS NOT NULL
		UNION
		SELECT s FROM user_presence p, unnest(p.sockets) AS s WHERE p.sockets <> '{}') x(socket)
	WHERE x.socket COLLATE "C" > p_after AND (node_of_socket(x.socket) = ANY (live)) IS NOT TRUE
	ORDER BY x.socket COLLATE "C" LIMIT p_most;
END
$$;
COMMENT ON FUNCTION sockets_tied IS
	'The sockets to which something is tied, each once: at most p_most of those after p_after. Those of '
	'running nodes are left out. The daemon calls it when it starts, and sweeps those of an earlier '
	'process. One row with NULL: it is not known yet which nodes run; try again.';

REVOKE EXECUTE ON FUNCTION locks_tied(text[]), locks_sweep(text[]), presence_sweep(text[], text[], integer, integer),
	sockets_sweep(text[], text[], integer, integer), sockets_tied(text, integer) FROM PUBLIC;
