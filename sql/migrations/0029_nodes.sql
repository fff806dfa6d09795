-- SPDX-License-Identifier: MIT
-- Nodes: the daemons of a cluster, each with a lease.  A daemon that is alone (cluster.driver = local)
-- has the row of the table daemon instead.
--
-- A node is its name.  It renews its lease; any other node deletes rows whose lease has ended.  The
-- time is always the server's.  Rows are not logged: a renewal flushes nothing.  After a crash of the
-- server, or on a promoted standby, the table is empty, and every node registers again.

CREATE SEQUENCE node_number AS integer MINVALUE 1 MAXVALUE 4095 CYCLE CACHE 1;
COMMENT ON SEQUENCE node_number IS
	'The numbers of nodes in turn, so that one is not given again while sockets have it in their ids.';

CREATE UNLOGGED TABLE nodes (
	name text PRIMARY KEY,
	number integer NOT NULL UNIQUE CHECK (number BETWEEN 1 AND 4095),
	instance text NOT NULL UNIQUE,
	backend integer NOT NULL,
	mark integer NOT NULL,
	process integer NOT NULL,
	address text NOT NULL,
	version text NOT NULL,
	driver text NOT NULL,
	prefix text NOT NULL,
	redis text NOT NULL,
	started timestamptz NOT NULL DEFAULT now(),
	lease timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE nodes IS
	'The nodes of the cluster: daemons that use the database together.';
COMMENT ON COLUMN nodes.name IS
	'Its server.node, or the name of its machine.';
COMMENT ON COLUMN nodes.number IS
	'In the ids of its sockets. A process keeps it, also when it registers again.';
COMMENT ON COLUMN nodes.instance IS
	'A random name of the process.';
COMMENT ON COLUMN nodes.backend IS
	'The server process of the session that stands for the node.';
COMMENT ON COLUMN nodes.mark IS
	'The second number of the advisory lock "daemon" that this session holds.';
COMMENT ON COLUMN nodes.process IS
	'Its process id on its machine.';
COMMENT ON COLUMN nodes.address IS
	'The address and port that it was configured to listen on.';
COMMENT ON COLUMN nodes.driver IS
	'Its cluster.driver.';
COMMENT ON COLUMN nodes.prefix IS
	'Its cluster.prefix.';
COMMENT ON COLUMN nodes.redis IS
	'With the driver redis the configured host, port and database; with "cluster" and a blank before them when '
	'it is a Redis Cluster.';
COMMENT ON COLUMN nodes.started IS
	'When its process started.';
COMMENT ON COLUMN nodes.lease IS
	'The end of its lease. A row whose lease has ended counts as that of no node.';

-- After a crash of the server the nodes register one by one.  Until all that run have done so, or have had the
-- time of a lease for it, the table does not show which have ended.  The same after all leases have ended
-- because the server was away.
CREATE UNLOGGED TABLE node_generation (
	only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
	known_from timestamptz NOT NULL,
	has_expected boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE node_generation IS
	'In one row, since when the table nodes has all running nodes. It is emptied when nodes is.';
COMMENT ON COLUMN node_generation.has_expected IS
	'Nodes were expected when it was set (node_expected): when all of them are registered again, it is known at once.';

-- Logged, so that it lasts when nodes is emptied.  It is written when a node starts or ends only.
CREATE TABLE node_expected (
	name text PRIMARY KEY
);
COMMENT ON TABLE node_expected IS
	'The names of the nodes that had a lease at last, also after a crash of the server: these register again.';

CREATE FUNCTION nodes_are_known() RETURNS boolean
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT EXISTS (SELECT FROM daemon)
	OR NOT EXISTS (SELECT FROM node_generation g WHERE g.known_from > clock_timestamp())
$$;
COMMENT ON FUNCTION nodes_are_known IS
	'Whether a node without a row in nodes has ended. False after a crash of the server, while running nodes '
	'register again, at most for the time of a lease.';

-- A session that listens and whose client does not read, because its process is paused, keeps PostgreSQL's
-- queue of notifications from being emptied.  When the queue is full, NOTIFY fails in all databases of the
-- server.  So the sessions of a node that has ended are ended by another one.
CREATE UNLOGGED TABLE node_sessions (
	backend integer PRIMARY KEY,
	backend_start timestamptz NOT NULL,
	role oid NOT NULL,
	instance text NOT NULL,
	missing_since timestamptz
);
COMMENT ON TABLE node_sessions IS
	'The sessions of nodes that listen. A session that has ended may still have its row.';
COMMENT ON COLUMN node_sessions.backend_start IS
	'When its server process started: another one can have the same number later.';
COMMENT ON COLUMN node_sessions.role IS
	'The role that logged in.';
COMMENT ON COLUMN node_sessions.instance IS
	'nodes.instance of its node.';
COMMENT ON COLUMN node_sessions.missing_since IS
	'When it was first seen that its node has no row in nodes; NULL: the node has one.';

-- Another role's backend_start is NULL here, unless the calling role has the rights of that role.
CREATE FUNCTION node_session_add(p_instance text) RETURNS void
LANGUAGE sql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	DELETE FROM node_sessions s WHERE s.backend IN (
		SELECT x.backend FROM node_sessions x
		WHERE x.instance = p_instance AND NOT EXISTS (SELECT FROM pg_stat_activity a
			WHERE a.pid = x.backend AND coalesce(a.backend_start, x.backend_start) = x.backend_start)
		FOR UPDATE SKIP LOCKED);
	INSERT INTO node_sessions AS s (backend, backend_start, role, instance)
	SELECT a.pid, a.backend_start, a.usesysid, p_instance FROM pg_stat_activity a WHERE a.pid = pg_backend_pid()
	ON CONFLICT (backend) DO UPDATE SET
		backend_start = excluded.backend_start, role = excluded.role, instance = excluded.instance,
		missing_since = NULL
$$;
COMMENT ON FUNCTION node_session_add IS
	'Notes that the calling session listens for a node, before it does.';

-- A node that runs may have no row for a moment: its lease has ended because only the session that renews it
-- was lost or slow.  So its sessions have the time of a lease from the moment when the row was first missing.
--
-- Without a limit: after the first statement there are not more rows than sessions, and those that may not be
-- ended hold no others up.  A row whose process started in this transaction is kept, because
-- pg_stat_activity shows one moment of a transaction only.
CREATE FUNCTION node_sessions_end(p_age_ms integer) RETURNS text
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	one record;
	remedies text[] := '{}';
BEGIN
	IF NOT nodes_are_known() THEN
		RETURN NULL;
	END IF;
	DELETE FROM node_sessions s WHERE s.backend IN (
		SELECT x.backend FROM node_sessions x
		WHERE x.backend_start < now() AND NOT EXISTS (SELECT FROM nodes n WHERE n.instance = x.instance)
		AND NOT EXISTS (SELECT FROM pg_stat_activity a
			WHERE a.pid = x.backend AND a.usesysid = x.role AND a.datname = current_database()
			AND coalesce(a.backend_start, x.backend_start) = x.backend_start)
		FOR UPDATE SKIP LOCKED);
	UPDATE node_sessions s SET missing_since = CASE WHEN s.missing_since IS NULL THEN clock_timestamp() END
	WHERE s.backend IN (
		SELECT x.backend FROM node_sessions x
		WHERE (x.missing_since IS NULL) <> EXISTS (SELECT FROM nodes n WHERE n.instance = x.instance)
		FOR UPDATE SKIP LOCKED);
	FOR one IN SELECT s.backend, r.rolname, r.rolsuper, a.backend_start IS NOT NULL AS is_visible
		FROM node_sessions s
		JOIN pg_stat_activity a ON a.pid = s.backend AND a.usesysid = s.role AND a.datname = current_database()
			AND coalesce(a.backend_start, s.backend_start) = s.backend_start
		JOIN pg_roles r ON r.oid = s.role
		WHERE s.missing_since <= clock_timestamp() - p_age_ms * interval '1 ms'
		AND NOT EXISTS (SELECT FROM nodes n WHERE n.instance = s.instance)
	LOOP
		BEGIN
			IF one.is_visible THEN
				PERFORM pg_terminate_backend(one.backend);
				CONTINUE;
			END IF;
		EXCEPTION WHEN insufficient_privilege THEN
			NULL;
		END;
		-- A GRANT of a superuser gives all of its rights, but not that to end its sessions.
		remedies := remedies || CASE WHEN one.rolsuper THEN format('the role %I is a superuser, so that only '
			'a superuser may end its sessions: use the same role for all nodes', one.rolname)
			ELSE format('GRANT %I TO %I', one.rolname, current_user) END;
	END LOOP;
	RETURN (SELECT string_agg(m.remedy, '; ' ORDER BY m.remedy)
		FROM (SELECT DISTINCT unnest(remedies) AS remedy) m);
END
$$;
COMMENT ON FUNCTION node_sessions_end IS
	'Ends the sessions of nodes that have had no row in nodes for p_age_ms; returns what an operator has to do '
	'when the calling role may not end one. The row of a session is deleted by a later call, when the session '
	'has ended.';

CREATE FUNCTION admin_nodes(p_args jsonb) RETURNS json
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT json_build_object('now', clock_timestamp(), 'nodes', coalesce(json_agg(json_build_object(
		'name', x.name, 'number', x.number, 'address', x.address, 'version', x.version,
		'driver', x.driver, 'prefix', x.prefix, 'redis', nullif(x.redis, ''),
		'started', x.started, 'lease', x.lease, 'live', x.is_live) ORDER BY x.name), '[]'))
	FROM (SELECT n.name, n.number, n.address, n.version, n.driver, n.prefix, n.redis, n.started,
		     n.lease, n.lease > clock_timestamp() AS is_live FROM nodes n
	      UNION ALL
	      SELECT d.node, NULL, d.address, NULL, 'local', NULL, NULL, d.since, NULL,
		     daemon_is_alive(d.backend, d.mark)
	      FROM daemon d) x
$$;
COMMENT ON FUNCTION admin_nodes IS
	'GET /admin/api/nodes: the nodes of the cluster, or the daemon that is alone, which has no number, '
	'version, prefix, Redis and lease here.';
REVOKE EXECUTE ON FUNCTION nodes_are_known(), admin_nodes(jsonb) FROM PUBLIC;

-- Every role of a database can listen and notify.  So the name of the nodes' channel has a secret.
CREATE TABLE node_secret (
	only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
	secret text NOT NULL DEFAULT replace(gen_random_uuid()::text, '-', '')
);
COMMENT ON TABLE node_secret IS
	'What only nodes know of the name of the channel on which they notify each other, in one row.';
INSERT INTO node_secret DEFAULT VALUES;

CREATE FUNCTION node_channel(p_prefix text) RETURNS text
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT p_prefix || '_' || s.secret FROM node_secret s
$$;
COMMENT ON FUNCTION node_channel IS
	'The channel on which nodes notify each other.';

CREATE FUNCTION node_others(p_instance text) RETURNS integer
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT count(*)::integer FROM nodes n
	WHERE n.instance <> p_instance AND n.lease > clock_timestamp()
$$;
COMMENT ON FUNCTION node_others IS
	'How many other nodes there are.';

-- Nodes with other names of channels do not receive each other's messages.  The names have the prefix,
-- with Redis also the number of the database.  A Redis Cluster has many addresses, and any of them may be
-- configured; one server can have several, too, but that is rare.
CREATE FUNCTION node_strangers(p_name text, p_driver text, p_prefix text, p_redis text) RETURNS text
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT string_agg(format('the node "%s" uses ', n.name) || CASE
		WHEN n.driver <> p_driver THEN format(
			'cluster.driver = %s, this node %s: they do not reach each other; set the same driver on all nodes',
			n.driver, p_driver)
		WHEN n.prefix <> p_prefix THEN format(
			'cluster.prefix = %s, this node %s: they do not reach each other; set the same prefix on all nodes',
			n.prefix, p_prefix)
		WHEN substring(n.redis FROM '[^/]*$') <> substring(p_redis FROM '[^/]*$') THEN format(
			'the database of Redis %s, this node %s: they do not reach each other; set the same '
			'cluster.redis_db on all nodes',
			substring(n.redis FROM '[^/]*$'), substring(p_redis FROM '[^/]*$'))
		ELSE format(
			'the Redis at %s, this node the one at %s: if that is not the same server, they do not reach each '
			'other; set the same cluster.redis_host and cluster.redis_port on all nodes',
			n.redis, p_redis)
		END, '; ' ORDER BY n.name)
	FROM nodes n WHERE n.name <> p_name AND n.lease > clock_timestamp()
	AND (n.driver <> p_driver OR n.prefix <> p_prefix
	     OR n.redis <> p_redis AND NOT starts_with(n.redis, 'cluster ') AND NOT starts_with(p_redis, 'cluster '))
$$;
COMMENT ON FUNCTION node_strangers IS
	'The other nodes that a node with these settings (p_redis as in nodes.redis; NULL: it is not compared) does '
	'not reach, and why; NULL: there are none.';

CREATE FUNCTION node_conflict(p_instance text, p_name text, OUT is_alive boolean, OUT instance text,
			      OUT name text)
RETURNS SETOF record
LANGUAGE sql VOLATILE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT c.* FROM (
		SELECT o.is_alive, o.instance, o.name FROM daemon_other(p_instance) o
		UNION ALL
		SELECT n.lease > clock_timestamp() AND daemon_is_alive(n.backend, n.mark), n.instance,
			format('the node %s (process %s), which listens on %s, since %s', n.name, n.process,
			       n.address, to_char(n.started, 'YYYY-MM-DD HH24:MI:SS TZ'))
		FROM nodes n WHERE n.instance <> p_instance AND (p_name IS NULL OR n.name = p_name)
	) c ORDER BY c.is_alive DESC LIMIT 1
$$;
COMMENT ON FUNCTION node_conflict IS
	'A daemon that must end before the calling one may use the database: one that is alone, or a node; '
	'for a node (p_name) only a node of the same name. Whether it runs, and its description.';

-- A row of the same instance is that of its earlier session, which may not have ended yet.  A node that
-- registers again, after its lease has ended or the table was emptied, keeps its number (p_number; 0: it
-- has none yet), because its open sockets have it in their ids.
CREATE FUNCTION node_take(p_instance text, p_name text, p_process integer, p_address text,
			  p_version text, p_lease_ms integer, p_driver text, p_prefix text,
			  p_redis text, p_number integer, p_age_ms bigint,
			  OUT number integer, OUT others integer)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	until CONSTANT timestamptz := clock_timestamp() + p_lease_ms * interval '1 ms';
	chosen CONSTANT integer := daemon_mark();
BEGIN
	LOCK TABLE nodes IN SHARE ROW EXCLUSIVE MODE;
	IF EXISTS (SELECT FROM node_conflict(p_instance, p_name) c WHERE c.is_alive) THEN
		PERFORM pg_advisory_unlock(lock_key('daemon'), chosen);
		RETURN;
	END IF;
	DELETE FROM daemon;
	INSERT INTO node_generation (known_from, has_expected) VALUES (until, EXISTS (SELECT FROM node_expected))
	ON CONFLICT ON CONSTRAINT node_generation_pkey DO UPDATE
	SET known_from = excluded.known_from, has_expected = excluded.has_expected
	WHERE NOT EXISTS (SELECT FROM nodes n WHERE n.lease > clock_timestamp())
	AND EXISTS (SELECT FROM node_expected e WHERE e.name <> p_name);
	INSERT INTO node_expected (name) VALUES (p_name) ON CONFLICT DO NOTHING;
	DELETE FROM nodes n WHERE n.name = p_name AND n.instance <> p_instance;
	UPDATE nodes n SET backend = pg_backend_pid(), mark = chosen, lease = until
	WHERE n.instance = p_instance AND n.lease > clock_timestamp() RETURNING n.number INTO number;
	IF number IS NULL THEN
		DELETE FROM nodes n WHERE n.instance = p_instance;
		number := p_number;
		WHILE number = 0 OR EXISTS (SELECT FROM nodes n WHERE n.number = node_take.number) LOOP
			number := nextval('node_number');
		END LOOP;
		INSERT INTO nodes (name, number, instance, backend, mark, process, address, version, driver,
				   prefix, redis, started, lease)
		VALUES (p_name, number, p_instance, pg_backend_pid(), chosen, p_process, p_address, p_version,
			p_driver, p_prefix, p_redis, clock_timestamp() - p_age_ms * interval '1 ms', until);
	END IF;
	UPDATE node_sessions s SET missing_since = NULL
	WHERE s.instance = p_instance AND s.missing_since IS NOT NULL;
	others := node_others(p_instance);
	IF others > 0 THEN
		PERFORM pg_notify(node_channel(p_prefix), '1 ' || number || ' J');
	END IF;
END
$$;
COMMENT ON FUNCTION node_take IS
	'Registers the calling session''s daemon, which started p_age_ms ago, as a node and notifies the others. '
	'Its number, NULL when '
	'another daemon is in its place; and how many other nodes there are.';

CREATE FUNCTION node_renew(p_instance text, p_lease_ms integer, p_redis text, OUT others integer,
			   OUT strangers text, OUT grants text)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	own record;
BEGIN
	UPDATE nodes n SET lease = clock_timestamp() + p_lease_ms * interval '1 ms',
		redis = coalesce(p_redis, n.redis)
	WHERE n.instance = p_instance AND n.lease > clock_timestamp() RETURNING n.name, n.driver, n.prefix INTO own;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	DELETE FROM nodes n WHERE n.instance IN (
		SELECT x.instance FROM nodes x WHERE x.lease <= clock_timestamp()
		FOR UPDATE SKIP LOCKED LIMIT 100);
	DELETE FROM node_expected e WHERE e.name IN (
		SELECT x.name FROM node_expected x WHERE nodes_are_known()
		AND NOT EXISTS (SELECT FROM nodes n WHERE n.name = x.name AND n.lease > clock_timestamp())
		FOR UPDATE SKIP LOCKED LIMIT 100);
	grants := node_sessions_end(p_lease_ms);
	others := node_others(p_instance);
	strangers := node_strangers(own.name, own.driver, own.prefix, p_redis);
END
$$;
COMMENT ON FUNCTION node_renew IS
	'Renews the node''s lease, deletes nodes whose lease has ended, and, a lease later, ends their sessions that '
	'listen. How many other nodes there are; NULL when the lease had ended: the node registers again. p_redis: '
	'NULL while the node does not know yet whether it is a Redis Cluster. strangers: as node_strangers(); '
	'grants: as node_sessions_end().';

CREATE FUNCTION node_leave(p_instance text) RETURNS void
LANGUAGE sql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	DELETE FROM node_sessions s WHERE s.instance = p_instance;
	WITH ended AS (DELETE FROM nodes n WHERE n.instance = p_instance RETURNING n.name)
	DELETE FROM node_expected e USING ended WHERE e.name = ended.name
$$;
COMMENT ON FUNCTION node_leave IS
	'The node stops.';

-- A node deletes no application: it does not know which the others serve.  After a crash of the server,
-- or when a lease has ended, a running node may have no row.
CREATE FUNCTION log_apps_put(p_node text, p_apps json) RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	IF p_node IS NULL THEN
		DELETE FROM log_apps a
		WHERE NOT EXISTS (SELECT FROM json_to_recordset(p_apps) AS r(app text) WHERE r.app = a.app);
	END IF;
	-- Only what differs is written.
	INSERT INTO log_apps AS a (app, max_channel_bytes, max_event_bytes, max_payload_bytes)
	SELECT r.app, least(r.c, 2147483647), least(r.e, 2147483647), least(r.p, 2147483647)
	FROM json_to_recordset(p_apps) AS r(app text, c bigint, e bigint, p bigint)
	ON CONFLICT ON CONSTRAINT log_apps_pkey DO UPDATE SET
		max_channel_bytes = excluded.max_channel_bytes,
		max_event_bytes = excluded.max_event_bytes,
		max_payload_bytes = excluded.max_payload_bytes
	WHERE (a.max_channel_bytes, a.max_event_bytes, a.max_payload_bytes) IS DISTINCT FROM
		(excluded.max_channel_bytes, excluded.max_event_bytes, excluded.max_payload_bytes);
END
$$;
COMMENT ON FUNCTION log_apps_put IS
	'Stores the applications of a node, or of a daemon that is alone (p_node NULL), and their limits in '
	'log_apps. A daemon that is alone deletes all others.';

CREATE FUNCTION node_of_socket(p_socket_id text) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN p_socket_id COLLATE "C" ~ '^[0-9]{1,10}[.][0-9]{1,10}$'
	    THEN (split_part(p_socket_id, '.', 1)::bigint >> 19)::integer END;
COMMENT ON FUNCTION node_of_socket IS
	'The number of the node in the id of a socket; of a daemon that is alone: any number.';

-- A request that ties something to a socket, or authorizes a subscription of it, can arrive at any node.  The
-- node that has the socket ends what is tied to it, and knows whose it is: so it has to know of both.
CREATE UNLOGGED TABLE node_sockets (
	node integer NOT NULL,
	app text NOT NULL,
	socket_id text NOT NULL,
	user_id text,
	seconds integer
);
COMMENT ON TABLE node_sockets IS
	'Sockets to which another node has tied something, or that it has authorized for a user, until the node '
	'that has them reads the row.';
COMMENT ON COLUMN node_sockets.node IS
	'The number of the node that has the socket.';
COMMENT ON COLUMN node_sockets.user_id IS
	'The user for whom it was authorized; NULL: something is tied to it.';
COMMENT ON COLUMN node_sockets.seconds IS
	'How long it is tied, unless it is renewed.';

CREATE FUNCTION node_sockets_exchange(p_number integer, p_sockets json,
				      OUT is_known boolean, OUT live integer[], OUT app text, OUT socket_id text,
				      OUT user_id text, OUT seconds integer)
RETURNS SETOF record
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
#variable_conflict use_column
BEGIN
	is_known := nodes_are_known();
	live := ARRAY(SELECT n.number FROM nodes n WHERE n.lease > clock_timestamp());
	IF p_sockets IS NOT NULL THEN
		INSERT INTO node_sockets (node, app, socket_id, user_id, seconds)
		SELECT node_of_socket(r.socket), r.app, r.socket, r.claimant, max(r.ttl)
		FROM json_to_recordset(p_sockets) AS r(app text, socket text, claimant text, ttl integer) GROUP BY 2, 3, 4;
	END IF;
	RETURN NEXT;
	FOR app, socket_id, user_id, seconds IN
		DELETE FROM node_sockets s
		WHERE s.node = p_number OR (node_sockets_exchange.is_known AND s.node <> ALL (node_sockets_exchange.live))
		RETURNING s.app, s.socket_id, s.user_id, s.seconds
	LOOP
		RETURN NEXT;
	END LOOP;
END
$$;
COMMENT ON FUNCTION node_sockets_exchange IS
	'Stores sockets of other nodes to which the calling node, p_number, has tied something, or that it has '
	'authorized for a user (claimant), and takes those of its own, and of nodes that have ended. The first row has none, but which nodes '
	'run; is_known: no others do.';

CREATE FUNCTION admin_connection(p_args jsonb) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	socket CONSTANT text := admin_text(p_args, 'socket_id', 24);
	named CONSTANT text := (SELECT n.name FROM nodes n
		WHERE n.number = node_of_socket(socket) AND n.lease > clock_timestamp());
BEGIN
	IF p_args ? 'app' THEN
		RETURN json_build_object('app', admin_app(p_args), 'socket_id', socket);
	ELSIF named IS NULL THEN
		RAISE EXCEPTION 'There is no such open connection.' USING ERRCODE = 'no_data_found';
	END IF;
	RETURN json_build_object('socket_id', socket, 'node', named);
END
$$;
COMMENT ON FUNCTION admin_connection IS
	'POST /admin/api/connections/{socket_id}/disconnect: the connection of the node that was requested, or, '
	'without an application, the node that may have it.';

REVOKE EXECUTE ON FUNCTION node_sockets_exchange(integer, json), admin_connection(jsonb), log_apps_put(text, json), node_channel(text), node_others(text), node_conflict(text, text),
	node_take(text, text, integer, text, text, integer, text, text, text, integer, bigint),
	node_renew(text, integer, text), node_leave(text), node_strangers(text, text, text, text),
	node_session_add(text), node_sessions_end(integer) FROM PUBLIC;
