-- SPDX-License-Identifier: MIT
-- The daemon that uses the database alone.  Nodes of a cluster are in 0029_nodes.sql.
--
-- The row names the daemon.  It counts while the session that wrote it holds the advisory lock
-- "daemon" with the row's mark, which ends with that session.  Another role can hold a lock with
-- the same number, but not in that session; so it can neither stop a daemon nor stand for one.

CREATE TABLE daemon (
	only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
	instance text NOT NULL,
	backend integer NOT NULL,
	mark integer NOT NULL,
	node text NOT NULL,
	process integer NOT NULL,
	address text NOT NULL,
	since timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE daemon IS
	'The daemon that uses the database alone, in one row; no row after it was stopped.';
COMMENT ON COLUMN daemon.instance IS
	'A random name of the process.';
COMMENT ON COLUMN daemon.backend IS
	'The server process of the session that stands for the daemon.';
COMMENT ON COLUMN daemon.mark IS
	'The second number of the advisory lock "daemon" that this session holds.';
COMMENT ON COLUMN daemon.node IS
	'Its server.node, or the name of its machine.';
COMMENT ON COLUMN daemon.process IS
	'Its process id on that machine.';
COMMENT ON COLUMN daemon.address IS
	'The address and port that it was configured to listen on.';

CREATE FUNCTION daemon_is_alive(p_backend integer, p_mark integer) RETURNS boolean
LANGUAGE sql VOLATILE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted
		AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
		AND l.classid = lock_key('daemon')::oid AND l.objid = p_mark::oid AND l.objsubid = 2
		AND l.pid = p_backend)
$$;
COMMENT ON FUNCTION daemon_is_alive IS
	'Whether the session that wrote the row of daemon still runs.';

CREATE FUNCTION daemon_mark() RETURNS integer
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	chosen integer;
BEGIN
	FOR i IN 1 .. 20 LOOP
		chosen := floor(random() * 2147483647)::integer;
		IF pg_try_advisory_lock(lock_key('daemon'), chosen) THEN
			RETURN chosen;
		END IF;
	END LOOP;
	RAISE EXCEPTION 'another session holds the advisory lock "daemon" many times'
		USING ERRCODE = 'lock_not_available';
END
$$;
COMMENT ON FUNCTION daemon_mark IS
	'Takes the advisory lock "daemon" for the session, with a random second number, and returns that.';

-- A row of the same instance is that of its earlier session, which may not have ended yet.
CREATE FUNCTION daemon_take(p_instance text, p_node text, p_process integer, p_address text)
RETURNS boolean
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	chosen CONSTANT integer := daemon_mark();
BEGIN
	LOCK TABLE nodes IN SHARE ROW EXCLUSIVE MODE;
	IF EXISTS (SELECT FROM node_conflict(p_instance, NULL) c WHERE c.is_alive) THEN
		PERFORM pg_advisory_unlock(lock_key('daemon'), chosen);
		RETURN false;
	END IF;
	-- Nodes that were killed: within their lease they would still count as running.
	DELETE FROM nodes;
	INSERT INTO daemon AS d (instance, backend, mark, node, process, address)
	VALUES (p_instance, pg_backend_pid(), chosen, p_node, p_process, p_address)
	ON CONFLICT (only_row) DO UPDATE SET instance = excluded.instance,
		backend = excluded.backend, mark = excluded.mark, node = excluded.node,
		process = excluded.process, address = excluded.address,
		since = CASE WHEN d.instance = excluded.instance THEN d.since ELSE now() END
	WHERE d.instance = excluded.instance OR NOT daemon_is_alive(d.backend, d.mark);
	IF NOT FOUND THEN
		PERFORM pg_advisory_unlock(lock_key('daemon'), chosen);
		RETURN false;
	END IF;
	PERFORM node_sessions_end(0);
	RETURN true;
END
$$;
COMMENT ON FUNCTION daemon_take IS
	'Makes the calling session that of the daemon, alone; false: another daemon uses the database.';

CREATE FUNCTION daemon_other(p_instance text, OUT is_alive boolean, OUT instance text, OUT name text)
RETURNS SETOF record
LANGUAGE sql VOLATILE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT daemon_is_alive(d.backend, d.mark), d.instance,
		format('%s (process %s), which listens on %s, since %s, with the applications %s',
			d.node, d.process, d.address, to_char(d.since, 'YYYY-MM-DD HH24:MI:SS TZ'),
			coalesce((SELECT string_agg(a.app, ', ' ORDER BY a.app) FROM log_apps a),
				'(none)'))
	FROM daemon d WHERE d.instance <> p_instance
$$;
COMMENT ON FUNCTION daemon_other IS
	'The daemon in the row, if it is another one: whether it runs, and its description.';

CREATE FUNCTION daemon_leave(p_instance text) RETURNS void
LANGUAGE sql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	DELETE FROM daemon d WHERE d.instance = p_instance
$$;
COMMENT ON FUNCTION daemon_leave IS
	'The daemon does not use the database any more.';

-- In plpgsql, because the session keeps the plan: planning is nearly all of the cost.
-- Of the locks that are only tried, the sessions of other roles count that hold them; not those that
-- only read a table of them, as pg_dump does: EXCLUSIVE mode does not conflict with that.
CREATE FUNCTION lock_waits(p_ms integer, OUT lock text, OUT holder text, OUT is_of_log boolean)
RETURNS SETOF record
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	RETURN QUERY
	WITH here AS (
		SELECT l.* FROM pg_locks l WHERE l.locktype IN ('advisory', 'relation') AND l.database =
			(SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
	), held AS (
		SELECT n.name, l.pid, l.granted, l.mode
		FROM unnest('{polling,activities,sync_feed,sync_entity,viewing}'::text[]) n(name)
		JOIN here l ON l.locktype = 'advisory' AND (l.objsubid = 2 OR l.classid = 0)
			AND lock_key(n.name) = CASE l.objsubid WHEN 1 THEN l.objid ELSE l.classid END::bigint
		UNION ALL
		SELECT n.name, l.pid, l.granted, l.mode
		FROM unnest('{serials,partitions,drain,retention}'::text[]) n(name)
		JOIN here l ON l.locktype = 'relation' AND l.relation = ('log_lock_' || n.name)::regclass
	), blocked AS (
		SELECT h.name, unnest(pg_blocking_pids(h.pid)) AS pid
		FROM held h JOIN pg_stat_activity a ON a.pid = h.pid
		WHERE NOT h.granted AND a.usename = current_user
			AND clock_timestamp() - a.query_start > p_ms * interval '1 ms'
		UNION
		SELECT h.name, h.pid FROM held h JOIN pg_stat_activity a ON a.pid = h.pid
		WHERE h.granted AND h.name IN ('drain', 'retention') AND h.mode <> 'AccessShareLock'
			AND a.usename <> current_user
			AND clock_timestamp() - a.state_change > p_ms * interval '1 ms'
	)
	SELECT b.name, string_agg(format('process %s of the role %s (%s)', b.pid,
			coalesce(a.usename, '?'), coalesce(nullif(a.application_name, ''), 'no name')),
		', ' ORDER BY b.pid), b.name IN ('serials', 'partitions', 'drain', 'retention')
	FROM blocked b LEFT JOIN pg_stat_activity a ON a.pid = b.pid GROUP BY b.name;
END
$$;
COMMENT ON FUNCTION lock_waits IS
	'The locks of this schema for which sessions of the calling role have waited longer than '
	'p_ms, and the sessions that hold them. Publishing waits for those of the log.';
