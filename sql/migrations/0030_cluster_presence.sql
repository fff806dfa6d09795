-- SPDX-License-Identifier: MIT
-- Presence of a cluster: which users are on which presence channel, and on which nodes; and how many
-- subscriptions each node has on each channel.
--
-- A node reports a user's first connection and the end of the last one.  One call has many such changes,
-- and decides for each whether the user is new or gone in the whole cluster.  Then the channel gets its
-- next version, which the node sends to the others with the change.
--
-- Nothing here is logged: a change flushes nothing.  After a crash of the server the tables are empty, and
-- every node registers its members again.  Until all have done so, what is not in the tables may be on a node
-- that is late: see cluster_settle().

CREATE UNLOGGED TABLE cluster_nodes (
	node integer PRIMARY KEY,
	is_complete boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE cluster_nodes IS
	'The nodes that may have rows in cluster_members, by their number; some may have ended.';
COMMENT ON COLUMN cluster_nodes.is_complete IS
	'It has registered all members that it had when it registered.';

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
	is_leaving boolean NOT NULL DEFAULT false,
	subscriptions integer NOT NULL DEFAULT 0,
	version bigint NOT NULL DEFAULT 0,
	PRIMARY KEY (app, channel, user_id, node)
);
CREATE INDEX cluster_members_node ON cluster_members (node);
CREATE INDEX cluster_members_occupied ON cluster_members (app, channel) WHERE user_id = '';
COMMENT ON TABLE cluster_members IS
	'The members of presence channels, with a row for each node that has connections of the user; and the '
	'subscriptions of each node to each channel.';
COMMENT ON COLUMN cluster_members.user_id IS
	'Empty: the row has the number of subscriptions.';
COMMENT ON COLUMN cluster_members.node IS
	'The number of the node.';
COMMENT ON COLUMN cluster_members.info IS
	'The member''s user_info as JSON, which is the same on all nodes; empty: it has none.';
COMMENT ON COLUMN cluster_members.is_leaving IS
	'The user has no connection to the node any more, and may return within the grace.';
COMMENT ON COLUMN cluster_members.subscriptions IS
	'The node''s subscriptions to the channel; 0 in the rows of users.';
COMMENT ON COLUMN cluster_members.version IS
	'The largest one in a channel is that of the sum of its subscriptions. It grows with each change of the sum, as '
	'cluster_channels.version does; 0 in the rows of users.';

CREATE UNLOGGED TABLE webhook_changes (
	app text NOT NULL,
	channel text NOT NULL,
	user_id text NOT NULL,
	due_at timestamptz NOT NULL
);
CREATE INDEX webhook_changes_due ON webhook_changes (due_at);
CREATE INDEX webhook_changes_subject ON webhook_changes (app, channel, user_id);
COMMENT ON TABLE webhook_changes IS
	'Channels and members that have changed in the cluster, and about which webhook_decide() has not decided yet.';
COMMENT ON COLUMN webhook_changes.user_id IS
	'A member of the channel; the empty text for the channel itself.';
COMMENT ON COLUMN webhook_changes.due_at IS
	'When it is decided: at once, or, after an end, when it has lasted.';

CREATE FUNCTION cluster_is_live(p_node integer) RETURNS boolean
LANGUAGE sql VOLATILE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT EXISTS (SELECT FROM nodes n WHERE n.number = p_node AND n.lease > clock_timestamp())
$$;
COMMENT ON FUNCTION cluster_is_live IS
	'Whether the node of this number has a lease.';

CREATE FUNCTION cluster_subscribe(p_node integer, p_app text, p_channel text, p_subscriptions integer,
				  OUT outcome text, OUT before bigint, OUT version bigint, OUT total bigint)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	own integer;
	others bigint;
BEGIN
	SELECT max(m.subscriptions) FILTER (WHERE m.node = p_node), sum(m.subscriptions) FILTER (WHERE m.node <> p_node),
	       coalesce(max(m.version), 0)
	INTO own, others, before FROM cluster_members m
	WHERE m.app = p_app AND m.channel = p_channel AND m.user_id = '';
	total := coalesce(others, 0) + coalesce(p_subscriptions, 0);
	outcome := CASE WHEN own IS NOT DISTINCT FROM p_subscriptions THEN 'same'
			WHEN others IS NOT NULL THEN 'counted'
			WHEN own IS NULL THEN 'added'
			WHEN p_subscriptions IS NULL THEN 'removed'
			ELSE 'counted' END;
	version := before;
	IF outcome = 'same' THEN
		RETURN;
	END IF;
	version := greatest(before + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
	IF p_subscriptions IS NULL THEN
		DELETE FROM cluster_members m
		WHERE m.app = p_app AND m.channel = p_channel AND m.user_id = '' AND m.node = p_node;
		-- The row of another node keeps the version.
		UPDATE cluster_members m SET version = cluster_subscribe.version
		WHERE m.app = p_app AND m.channel = p_channel AND m.user_id = '' AND m.node = (
			SELECT min(o.node) FROM cluster_members o
			WHERE o.app = p_app AND o.channel = p_channel AND o.user_id = '');
	ELSE
		INSERT INTO cluster_members AS m (app, channel, user_id, node, info, subscriptions, version)
		VALUES (p_app, p_channel, '', p_node, '', p_subscriptions, cluster_subscribe.version)
		ON CONFLICT ON CONSTRAINT cluster_members_pkey DO UPDATE
		SET subscriptions = excluded.subscriptions, version = excluded.version;
	END IF;
END
$$;
COMMENT ON FUNCTION cluster_subscribe IS
	'The node has this number of subscriptions to the channel; NULL: none. Whether the channel is the first '
	'time or not any more occupied in the cluster (added, removed), and all its subscriptions, with the version of '
	'this sum and the one before. The caller has locked the channel''s row in cluster_channels, so versions are in the '
	'order of the changes.';

-- The rows of the channels are locked first, in one order, so that no two calls wait for each other.  Each
-- later statement sees what the calls before it have committed, and whether the node has a lease.
CREATE FUNCTION cluster_apply(p_node integer, p_is_live boolean, p_apps text[], p_channels text[],
			      p_users text[], p_infos text[], p_leaving boolean[], p_max integer[],
			      OUT at integer, OUT outcome text, OUT before bigint, OUT version bigint,
			      OUT info text)
RETURNS SETOF record
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	is_there boolean;
	own text;
	kept text;
	is_elsewhere boolean;
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
		IF p_users[at] = '' THEN
			SELECT n.before, n.version, n.outcome, n.total
			INTO before, version, outcome, info
			FROM cluster_subscribe(p_node, p_apps[at], p_channels[at], p_infos[at]::integer) n;
			RETURN NEXT;
			CONTINUE;
		END IF;
		SELECT c.version, c.users INTO before, members FROM cluster_channels c
		WHERE c.app = p_apps[at] AND c.channel = p_channels[at];
		SELECT max(m.info) FILTER (WHERE m.node = p_node), max(m.info) FILTER (WHERE m.node <> p_node),
		       coalesce(bool_or(m.node <> p_node AND NOT m.is_leaving), false)
		INTO own, kept, is_elsewhere FROM cluster_members m
		WHERE m.app = p_apps[at] AND m.channel = p_channels[at] AND m.user_id = p_users[at];
		is_there := p_infos[at] IS NOT NULL;
		outcome := 'same';
		-- The first info counts as long as the user has a connection, on any node.
		info := CASE WHEN is_elsewhere OR p_leaving[at] THEN coalesce(kept, own, p_infos[at], '')
			ELSE coalesce(p_infos[at], kept, '') END;
		IF NOT is_there AND own IS NOT NULL THEN
			DELETE FROM cluster_members m WHERE m.app = p_apps[at] AND m.channel = p_channels[at]
			AND m.user_id = p_users[at] AND m.node = p_node;
			IF kept IS NULL THEN
				outcome := 'removed';
				members := members - 1;
			END IF;
		ELSIF is_there AND own IS NULL AND kept IS NULL AND p_max[at] > 0 AND members >= p_max[at] THEN
			outcome := 'full';
		ELSIF is_there THEN
			INSERT INTO cluster_members AS m (app, channel, user_id, node, info, is_leaving)
			VALUES (p_apps[at], p_channels[at], p_users[at], p_node, info, p_leaving[at])
			ON CONFLICT ON CONSTRAINT cluster_members_pkey DO UPDATE SET is_leaving = excluded.is_leaving
			WHERE m.is_leaving <> excluded.is_leaving;
			IF own IS NULL AND kept IS NULL THEN
				outcome := 'added';
				members := members + 1;
			ELSIF coalesce(own, kept) <> info THEN
				UPDATE cluster_members m SET info = cluster_apply.info WHERE m.app = p_apps[at]
				AND m.channel = p_channels[at] AND m.user_id = p_users[at];
				outcome := 'replaced';
			END IF;
		ELSIF kept IS NULL THEN
			outcome := 'gone';
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
	'is the user_info of a user who is there, or NULL: the user is not; where p_users is empty, the number '
	'of subscriptions (see cluster_subscribe). p_leaving: the user is there within the grace only. p_max: how many members the channel may have, 0: any number. '
	'A row for each change: whether the user was added to, removed from or replaced in the whole cluster, or '
	'was on no node before (gone); '
	'the version of the channel''s members, or of its subscriptions, before and after; the user''s info, or all '
	'subscriptions.';

CREATE FUNCTION cluster_step(p_node integer, p_apps text[], p_channels text[], p_users text[], p_infos text[],
			     p_leaving boolean[], p_max integer[], p_delays integer[],
			     OUT at integer, OUT outcome text, OUT before bigint, OUT version bigint,
			     OUT info text)
RETURNS SETOF record
LANGUAGE sql VOLATILE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	WITH applied AS MATERIALIZED (
		SELECT a.* FROM cluster_apply(p_node, true, p_apps, p_channels, p_users, p_infos, p_leaving, p_max) a
	), changed AS (
		INSERT INTO webhook_changes (app, channel, user_id, due_at)
		SELECT p_apps[a.at], p_channels[a.at], p_users[a.at], clock_timestamp()
			+ CASE WHEN a.outcome IN ('removed', 'gone') THEN p_delays[a.at] ELSE 0 END * interval '1 ms'
		FROM applied a WHERE p_delays[a.at] IS NOT NULL AND a.outcome IN ('added', 'removed', 'gone', 'counted')
	)
	SELECT a.at, a.outcome, a.before, a.version, a.info FROM applied a
$$;
COMMENT ON FUNCTION cluster_step IS
	'Carries out changes of the calling node: see cluster_apply. No row: the node has no lease. p_delays: NULL '
	'for changes that no webhook reports; else the milliseconds after which webhooks report an end.';

CREATE FUNCTION cluster_roster(p_apps text[], p_channels text[],
			       OUT at integer, OUT version bigint, OUT user_id text, OUT info text)
RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT u.at::integer, coalesce(c.version, 0), m.user_id, max(m.info)
	FROM unnest(p_apps, p_channels) WITH ORDINALITY AS u(app, channel, at)
	LEFT JOIN cluster_channels c ON c.app = u.app AND c.channel = u.channel
	LEFT JOIN cluster_members m ON m.app = u.app AND m.channel = u.channel AND m.user_id <> ''
	GROUP BY u.at, c.version, m.user_id ORDER BY u.at
$$;
COMMENT ON FUNCTION cluster_roster IS
	'The members of the channels, and the version of each: 0 when it has none.';

CREATE FUNCTION cluster_versions(p_apps text[], p_channels text[], OUT version bigint, OUT subscriptions bigint,
				 OUT subscriptions_version bigint)
RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT coalesce(c.version, 0), coalesce(s.subscriptions, 0), coalesce(s.version, 0)
	FROM unnest(p_apps, p_channels) WITH ORDINALITY AS u(app, channel, at)
	LEFT JOIN cluster_channels c ON c.app = u.app AND c.channel = u.channel
	CROSS JOIN LATERAL (SELECT sum(m.subscriptions) AS subscriptions, max(m.version) AS version
		FROM cluster_members m
		WHERE m.app = u.app AND m.channel = u.channel AND m.user_id = '') s
	ORDER BY u.at
$$;
COMMENT ON FUNCTION cluster_versions IS
	'Of each channel, in their order: the version of its members, its subscriptions, and their version.';

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

-- A node that the server knew before a crash (node_expected) is waited for until known_from.  When all of them are
-- there again, what webhooks wait for (webhook_decide) and what is tied to sockets (nodes_are_known) need not
-- wait any longer either.  They do wait when no node was expected: what ran before is not known then.
CREATE FUNCTION cluster_settle(p_node integer, p_is_complete boolean) RETURNS boolean
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	are_complete boolean;
BEGIN
	IF p_is_complete THEN
		UPDATE cluster_nodes n SET is_complete = true WHERE n.node = p_node AND NOT n.is_complete;
	END IF;
	are_complete := NOT EXISTS (SELECT FROM node_expected e WHERE NOT EXISTS (
		SELECT FROM nodes n JOIN cluster_nodes c ON c.node = n.number AND c.is_complete
		WHERE n.name = e.name AND n.lease > clock_timestamp()));
	IF are_complete THEN
		UPDATE node_generation g SET known_from = clock_timestamp()
		WHERE g.known_from > clock_timestamp() AND g.has_expected;
	END IF;
	RETURN are_complete OR EXISTS (SELECT FROM node_generation g WHERE g.known_from <= clock_timestamp());
END
$$;
COMMENT ON FUNCTION cluster_settle IS
	'Whether cluster_members has the members of all running nodes; p_is_complete: it has those of the calling node. '
	'False after a crash of the server, while running nodes register again, at most for the time of a lease.';

CREATE FUNCTION cluster_count(p_node integer) RETURNS bigint
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT count(*) FROM cluster_members m WHERE m.node = p_node
$$;
COMMENT ON FUNCTION cluster_count IS
	'How many members the node has.';

CREATE FUNCTION cluster_reap(p_limit integer, p_delay_ms integer, OUT app text, OUT channel text, OUT user_id text,
			     OUT outcome text, OUT before bigint, OUT version bigint, OUT info text)
RETURNS SETOF record
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	ended integer;
	apps text[];
	channels text[];
	users text[];
BEGIN
	-- When the server was away for so long that all leases ended, running nodes are given the time to register
	-- again; the first of them sets known_from (node_take).
	SELECT n.node INTO ended FROM cluster_nodes n WHERE NOT cluster_is_live(n.node)
	AND EXISTS (SELECT FROM nodes o WHERE o.lease > clock_timestamp())
	AND NOT EXISTS (SELECT FROM node_generation g WHERE g.has_expected AND g.known_from > clock_timestamp())
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
	RETURN QUERY WITH applied AS MATERIALIZED (
		SELECT a.* FROM cluster_apply(ended, false, apps, channels, users,
			array_fill(NULL::text, ARRAY[cardinality(apps)]),
			array_fill(false, ARRAY[cardinality(apps)]), array_fill(0, ARRAY[cardinality(apps)])) a
		WHERE a.outcome NOT IN ('same', 'gone')
	), changed AS (
		INSERT INTO webhook_changes (app, channel, user_id, due_at)
		SELECT apps[a.at], channels[a.at], users[a.at], clock_timestamp()
			+ CASE WHEN a.outcome = 'removed' THEN p_delay_ms ELSE 0 END * interval '1 ms'
		FROM applied a WHERE NOT starts_with(channels[a.at], '!')
	)
	SELECT apps[a.at], channels[a.at], users[a.at], a.outcome, a.before, a.version, a.info FROM applied a;
END
$$;
COMMENT ON FUNCTION cluster_reap IS
	'Removes at most p_limit members of a node whose lease has ended. What changed in the cluster: as of '
	'cluster_apply. p_delay_ms: after which webhooks report an end.';

CREATE FUNCTION cluster_occupied(p_app text, p_prefix text, OUT channel text, OUT subscriptions bigint,
				 OUT users integer)
RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT m.channel, sum(m.subscriptions)::bigint, coalesce(max(c.users), 0)
	FROM cluster_members m LEFT JOIN cluster_channels c ON c.app = m.app AND c.channel = m.channel
	WHERE m.app = p_app AND m.user_id = '' AND starts_with(m.channel, p_prefix)
	GROUP BY m.channel
$$;
COMMENT ON FUNCTION cluster_occupied IS
	'The channels that have subscriptions and a name with the prefix, and their numbers of subscriptions and '
	'members.';

CREATE FUNCTION cluster_occupancy(p_app text, p_channels text[], OUT subscriptions bigint, OUT users integer)
RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT coalesce((SELECT sum(m.subscriptions) FROM cluster_members m
		WHERE m.app = p_app AND m.channel = u.channel AND m.user_id = ''), 0), coalesce(c.users, 0)
	FROM unnest(p_channels) WITH ORDINALITY AS u(channel, at)
	LEFT JOIN cluster_channels c ON c.app = p_app AND c.channel = u.channel ORDER BY u.at
$$;
COMMENT ON FUNCTION cluster_occupancy IS
	'The numbers of subscriptions and members of each channel, in their order.';

CREATE FUNCTION cluster_users(p_app text, p_channel text) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT DISTINCT m.user_id FROM cluster_members m
	WHERE m.app = p_app AND m.channel = p_channel AND m.user_id <> ''
$$;
COMMENT ON FUNCTION cluster_users IS
	'The members of the channel.';

REVOKE EXECUTE ON FUNCTION cluster_is_live(integer),
	cluster_apply(integer, boolean, text[], text[], text[], text[], boolean[], integer[]),
	cluster_step(integer, text[], text[], text[], text[], boolean[], integer[], integer[]), cluster_roster(text[], text[]),
	cluster_subscribe(integer, text, text, integer), cluster_occupied(text, text),
	cluster_occupancy(text, text[]), cluster_users(text, text),
	cluster_versions(text[], text[]), cluster_register(integer), cluster_settle(integer, boolean), cluster_count(integer), cluster_reap(integer, integer)
	FROM PUBLIC;
