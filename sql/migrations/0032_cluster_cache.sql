-- SPDX-License-Identifier: MIT
-- The last event of each cache channel in a cluster.  Events of durability none are not in the log: the node
-- that published one stores it here, and others read it when a client subscribes.
--
-- The table is not logged: such events may be lost.  After a crash of the server it is empty.

CREATE UNLOGGED TABLE cluster_cache (
	app text NOT NULL,
	channel text NOT NULL,
	node integer NOT NULL,
	event_id text NOT NULL,
	event_type text NOT NULL,
	data text NOT NULL,
	published_at timestamptz NOT NULL,
	cached_at timestamptz NOT NULL,
	expires_at timestamptz NOT NULL,
	PRIMARY KEY (app, channel)
) WITH (fillfactor = 50);
COMMENT ON TABLE cluster_cache IS
	'The last event of durability none of each cache channel.';
COMMENT ON COLUMN cluster_cache.node IS
	'The number of the node that stored it.';
COMMENT ON COLUMN cluster_cache.data IS
	'What was published, byte for byte.';
COMMENT ON COLUMN cluster_cache.published_at IS
	'By the clock of the node that received it from the publisher.';
COMMENT ON COLUMN cluster_cache.cached_at IS
	'The same time by the clock of the server, or somewhat later: the time to get here is not known.';
COMMENT ON COLUMN cluster_cache.expires_at IS
	'When the row can be deleted.';

-- The rows are written in one order, so that no two calls wait for each other.  A node's calls come in the
-- order of its events.  The clocks of nodes decide only between events of the same second.
CREATE FUNCTION cluster_cache_put(p_node integer, p_apps text[], p_channels text[], p_ids text[], p_types text[],
				  p_data text[], p_published timestamptz[], p_ages bigint[], p_ttls integer[]) RETURNS void
LANGUAGE sql VOLATILE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	INSERT INTO cluster_cache AS c (app, channel, node, event_id, event_type, data, published_at, cached_at, expires_at)
	SELECT DISTINCT ON (u.app, u.channel) u.app, u.channel, p_node, u.id, u.type, u.data, u.published,
		clock_timestamp() - u.age * interval '1 us',
		clock_timestamp() - u.age * interval '1 us' + u.ttl * interval '1 s'
	FROM unnest(p_apps, p_channels, p_ids, p_types, p_data, p_published, p_ages, p_ttls)
		AS u(app, channel, id, type, data, published, age, ttl)
	ORDER BY u.app, u.channel, u.age
	ON CONFLICT ON CONSTRAINT cluster_cache_pkey DO UPDATE SET
		node = excluded.node, event_id = excluded.event_id, event_type = excluded.event_type, data = excluded.data,
		published_at = excluded.published_at, cached_at = excluded.cached_at, expires_at = excluded.expires_at
	WHERE CASE WHEN c.node = excluded.node THEN true
		WHEN c.cached_at - excluded.cached_at BETWEEN interval '-1 s' AND interval '1 s'
			THEN c.published_at < excluded.published_at
		ELSE c.cached_at < excluded.cached_at END
$$;
COMMENT ON FUNCTION cluster_cache_put IS
	'Stores the last events of cache channels of the node, unless other nodes stored newer ones. p_ages: since they were published, in '
	'microseconds. p_ttls: the cache_ttl of the application, in seconds.';

CREATE FUNCTION cluster_cached(p_app text, p_is_only_app boolean, p_channel text, p_ttl_s integer)
RETURNS TABLE (fault text, serial bigint, event_id text, event_type text, payload text,
	       payload_is_text boolean, left_us bigint, published_us bigint)
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT NULL::text, x.serial, x.event_id, x.event_type, x.payload, x.payload_is_text, x.left_us, x.published_us
	FROM (
		SELECT 0::bigint, c.event_id, c.event_type, CASE WHEN c.data = '' THEN '""' ELSE c.data END, c.data = '',
			p_ttl_s * 1000000::bigint - (extract(epoch FROM clock_timestamp() - c.cached_at) * 1000000)::bigint,
			(extract(epoch FROM c.published_at) * 1000000)::bigint
		FROM cluster_cache c WHERE c.app = p_app AND c.channel = p_channel
		UNION ALL
		SELECT r.serial, r.event_id, r.event_type, r.payload, r.payload_is_text, r.left_us,
			(extract(epoch FROM clock_timestamp()) * 1000000)::bigint + r.left_us - p_ttl_s * 1000000::bigint
		FROM replay_cached(p_app, p_is_only_app, p_channel, p_ttl_s) r
	) x(serial, event_id, event_type, payload, payload_is_text, left_us, published_us)
	WHERE x.left_us > 0 ORDER BY x.left_us DESC LIMIT 1
$$;
COMMENT ON FUNCTION cluster_cached IS
	'As replay_cached(), in a cluster: also events that are not in the log, with the serial 0.';

-- Reads the whole table, once a minute: an index on expires_at, which each update changes, would cost each
-- update its place in the page (HOT), and updates are the frequent ones.
CREATE FUNCTION cluster_cache_expire(p_limit integer) RETURNS bigint
LANGUAGE sql VOLATILE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	WITH expired AS (
		DELETE FROM cluster_cache c WHERE (c.app, c.channel) IN (
			SELECT x.app, x.channel FROM cluster_cache x WHERE x.expires_at < clock_timestamp()
			FOR UPDATE SKIP LOCKED LIMIT p_limit)
		RETURNING 1
	)
	SELECT count(*) FROM expired
$$;
COMMENT ON FUNCTION cluster_cache_expire IS
	'Deletes at most p_limit expired events. Returns how many.';

CREATE FUNCTION log_end(p_above bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
	SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
	RETURN coalesce((SELECT e.serial FROM realtime_events e WHERE e.serial > p_above
			 ORDER BY e.serial DESC LIMIT 1), p_above);
END
$$;
COMMENT ON FUNCTION log_end IS
	'The last serial in the log; p_above when none is greater.';

REVOKE EXECUTE ON FUNCTION
	cluster_cache_put(integer, text[], text[], text[], text[], text[], timestamptz[], bigint[], integer[]),
	cluster_cached(text, boolean, text, integer), cluster_cache_expire(integer), log_end(bigint) FROM PUBLIC;
