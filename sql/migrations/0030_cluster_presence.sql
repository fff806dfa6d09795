-- SPDX-License-Identifier: MIT
-- Presence of a cluster: which users are on which presence channel, and on which nodes.
--
-- A node reports a user's first connection and the end of the last one.  One call has many such changes,
-- and decides for each whether the user is new or gone in the whole cluster.  Then the channel gets its
-- next version, which the node sends to the others with the change.
--
-- Nothing here is logged: a change flushes nothing.  After a crash of the server the tables are empty, and
-- every node registers its members again.

CREATE UNLOGGED TABLE cluster_nodes (
	node integer PRIMARY KEY
);
COMMENT ON TABLE cluster_nodes IS
	'The nodes that may have rows in cluster_members, by their number; some may have ended.';

CREATE UNLOGGED TABLE cluster_channels (
	app text NOT NULL,
	channel text NOT NULL,
	version bigint NOT NULL,
	users integer NOT NULL,
	PRIMARY KEY (app, channel)
) WITH (fillfactor = 50);
COMMENT ON TABLE cluster_channels IS
	'Presence channels that have members on any node.';
COMMENT ON COLUMN cluster_channels.channel IS
	'Its name. A user who is signed in is a member of the channel "!user-" with their id.';
COMMENT ON COLUMN cluster_channels.version IS
	'Grows with each member that is added or removed, by the server''s clock, so that a channel that was '
	'empty does not get an earlier one.';
COMMENT ON COLUMN cluster_channels.users IS
	'How many members it has.';

CREATE UNLOGGED TABLE cluster_members (
	app text NOT NULL,
	channel text NOT NULL,
	user_id text NOT NULL,
	node integer NOT NULL,
	info text NOT NULL,
	PRIMARY KEY (app, channel, user_id, node)
);
CREATE INDEX cluster_members_node ON cluster_members (node);
COMMENT ON TABLE cluster_members IS
	'The members of presence channels, with a row for each node that has connections of the user.';
COMMENT ON COLUMN cluster_members.node IS
	'The number of the node.';
COMMENT ON COLUMN cluster_members.info IS
	'The member''s user_info as JSON, which is the same on all nodes; empty: it has none.';

CREATE FUNCTION cluster_is_live(p_node integer) RETURNS boolean
LANGUAGE sql VOLATILE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT EXISTS (SELECT FROM nodes n WHERE n.number = p_node AND n.lease > clock_timestamp())
$$;
COMMENT ON FUNCTION cluster_is_live IS
	'Whether the node of this number has a lease.';

-- The rows of the channels are locked first, in one order, so that no two calls wait for each other.  Each
-- later statement sees what the calls before it have committed, and whether the node has a lease.
CREATE FUNCTION cluster_apply(p_node integer, p_is_live boolean, p_apps text[], p_channels text[],
			      p_users text[], p_infos text[], p_max integer[],
			      OUT at integer, OUT outcome text, OUT before bigint, OUT version bigint,
			      OUT info text)
RETURNS SETOF record
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	is_there boolean;
	own text;
	kept text;
	members integer;
BEGIN
	INSERT INTO cluster_channels AS c (app, channel, version, users)
	SELECT DISTINCT u.app, u.channel, 0, 0 FROM unnest(p_apps, p_channels) AS u(app, channel) ORDER BY 1, 2
	ON CONFLICT ON CONSTRAINT cluster_channels_pkey DO UPDATE SET users = c.users;
	IF cluster_is_live(p_node) IS DISTINCT FROM p_is_live THEN
		RETURN;
	END IF;
	FOR i IN 1 .. cardinality(p_apps) LOOP
		at := i;
		SELECT c.version, c.users INTO before, members FROM cluster_channels c
		WHERE c.app = p_apps[at] AND c.channel = p_channels[at];
		SELECT max(m.info) FILTER (WHERE m.node = p_node), max(m.info) FILTER (WHERE m.node <> p_node)
		INTO own, kept FROM cluster_members m
		WHERE m.app = p_apps[at] AND m.channel = p_channels[at] AND m.user_id = p_users[at];
		is_there := p_infos[at] IS NOT NULL;
		outcome := 'same';
		info := coalesce(kept, p_infos[at], '');
		IF NOT is_there AND own IS NOT NULL THEN
			DELETE FROM cluster_members m WHERE m.app = p_apps[at] AND m.channel = p_channels[at]
			AND m.user_id = p_users[at] AND m.node = p_node;
			IF kept IS NULL THEN
				outcome := 'removed';
				members := members - 1;
			END IF;
		ELSIF is_there AND own IS NULL AND kept IS NULL AND p_max[at] > 0 AND members >= p_max[at] THEN
			outcome := 'full';
		ELSIF is_there AND own IS NULL THEN
			INSERT INTO cluster_members (app, channel, user_id, node, info)
			VALUES (p_apps[at], p_channels[at], p_users[at], p_node, info);
			IF kept IS NULL THEN
				outcome := 'added';
				members := members + 1;
			END IF;
		ELSIF is_there AND kept IS NULL AND own <> info THEN
			UPDATE cluster_members m SET info = cluster_apply.info WHERE m.app = p_apps[at]
			AND m.channel = p_channels[at] AND m.user_id = p_users[at] AND m.node = p_node;
			outcome := 'replaced';
		END IF;
		version := before;
		IF outcome IN ('added', 'removed', 'replaced') THEN
			version := greatest(before + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
			UPDATE cluster_channels c SET version = cluster_apply.version, users = members
			WHERE c.app = p_apps[at] AND c.channel = p_channels[at];
		END IF;
		RETURN NEXT;
	END LOOP;
	DELETE FROM cluster_channels c USING unnest(p_apps, p_channels) AS u(app, channel)
	WHERE c.app = u.app AND c.channel = u.channel AND c.users = 0;
END
$$;
COMMENT ON FUNCTION cluster_apply IS
	'Carries out the changes of one node, if it has a lease (p_is_live) or has none. An element of p_infos '
	'is the user_info of a user who is there, or NULL: the user is not. p_max: how many members the '
	'channel may have, 0: any number. A row for each change: whether the user was added to, removed from '
	'or replaced in the whole cluster; the channel''s version before and after; the user''s info.';

CREATE FUNCTION cluster_step(p_node integer, p_apps text[], p_channels text[], p_users text[], p_infos text[],
			     p_max integer[],
			     OUT at integer, OUT outcome text, OUT before bigint, OUT version bigint,
			     OUT info text)
RETURNS SETOF record
LANGUAGE sql VOLATILE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT a.at, a.outcome, a.before, a.version, a.info
	FROM cluster_apply(p_node, true, p_apps, p_channels, p_users, p_infos, p_max) a
$$;
COMMENT ON FUNCTION cluster_step IS
	'Carries out changes of the calling node: see cluster_apply. No row: the node has no lease.';

CREATE FUNCTION cluster_roster(p_apps text[], p_channels text[],
			       OUT at integer, OUT version bigint, OUT user_id text, OUT info text)
RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT u.at::integer, coalesce(c.version, 0), m.user_id, max(m.info)
	FROM unnest(p_apps, p_channels) WITH ORDINALITY AS u(app, channel, at)
	LEFT JOIN cluster_channels c ON c.app = u.app AND c.channel = u.channel
	LEFT JOIN cluster_members m ON m.app = u.app AND m.channel = u.channel
	GROUP BY u.at, c.version, m.user_id ORDER BY u.at
$$;
COMMENT ON FUNCTION cluster_roster IS
	'The members of the channels, and the version of each: 0 when it has none.';

CREATE FUNCTION cluster_versions(p_apps text[], p_channels text[]) RETURNS SETOF bigint
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT coalesce(c.version, 0)
	FROM unnest(p_apps, p_channels) WITH ORDINALITY AS u(app, channel, at)
	LEFT JOIN cluster_channels c ON c.app = u.app AND c.channel = u.channel ORDER BY u.at
$$;
COMMENT ON FUNCTION cluster_versions IS
	'The versions of the channels, in their order.';

CREATE FUNCTION cluster_register(p_node integer, OUT app text, OUT channel text, OUT user_id text)
RETURNS SETOF record
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	INSERT INTO cluster_nodes AS n (node) VALUES (p_node)
	ON CONFLICT ON CONSTRAINT cluster_nodes_pkey DO UPDATE SET node = n.node;
	RETURN QUERY SELECT m.app, m.channel, m.user_id FROM cluster_members m WHERE m.node = p_node;
END
$$;
COMMENT ON FUNCTION cluster_register IS
	'The node may add members from now on. Those that it has already.';

CREATE FUNCTION cluster_count(p_node integer) RETURNS bigint
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT count(*) FROM cluster_members m WHERE m.node = p_node
$$;
COMMENT ON FUNCTION cluster_count IS
	'How many members the node has.';

CREATE FUNCTION cluster_reap(p_limit integer, OUT app text, OUT channel text, OUT user_id text,
			     OUT before bigint, OUT version bigint)
RETURNS SETOF record
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	ended integer;
	apps text[];
	channels text[];
	users text[];
BEGIN
	SELECT n.node INTO ended FROM cluster_nodes n WHERE NOT cluster_is_live(n.node)
	LIMIT 1 FOR UPDATE SKIP LOCKED;
	IF ended IS NULL THEN
		RETURN;
	END IF;
	SELECT array_agg(m.app), array_agg(m.channel), array_agg(m.user_id) INTO apps, channels, users
	FROM (SELECT x.app, x.channel, x.user_id FROM cluster_members x WHERE x.node = ended LIMIT p_limit) m;
	IF apps IS NULL THEN
		DELETE FROM cluster_nodes n WHERE n.node = ended AND NOT cluster_is_live(n.node);
		RETURN;
	END IF;
	RETURN QUERY SELECT apps[a.at], channels[a.at], users[a.at], a.before, a.version
	FROM cluster_apply(ended, false, apps, channels, users, array_fill(NULL::text, ARRAY[cardinality(apps)]),
			   array_fill(0, ARRAY[cardinality(apps)])) a
	WHERE a.outcome = 'removed';
END
$$;
COMMENT ON FUNCTION cluster_reap IS
	'Removes at most p_limit members of a node whose lease has ended. Those who are on no other node.';

REVOKE EXECUTE ON FUNCTION cluster_is_live(integer),
	cluster_apply(integer, boolean, text[], text[], text[], text[], integer[]),
	cluster_step(integer, text[], text[], text[], text[], integer[]), cluster_roster(text[], text[]),
	cluster_versions(text[], text[]), cluster_register(integer), cluster_count(integer), cluster_reap(integer)
	FROM PUBLIC;
