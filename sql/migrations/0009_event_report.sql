-- SPDX-License-Identifier: MIT
-- What became of an event, for people at psql: docs/admin-queries.md.

-- A row for each event and node that delivered it; one without a node when none has yet.
--   published_at  HTTP: when the daemon received it; SQL: when its transaction began
--   committed_at  of the log's row; only with track_commit_timestamp
--   sequenced_at  it got its serial
--   handed_on_at  the node gave it to its sockets
CREATE VIEW realtime_event_report AS
SELECT e.event_id, nullif(e.serial, 0) AS serial, e.app, e.channel, e.event_type, e.origin,
       CASE WHEN e.serial = 0 THEN 'pending' WHEN d.node IS NULL THEN 'sequenced'
	    WHEN d.sockets = 0 THEN 'reached nobody' ELSE 'delivered' END AS state,
       e.created_at AS published_at,
       CASE WHEN current_setting('track_commit_timestamp') = 'on'
	    THEN pg_xact_commit_timestamp(e.xmin) END AS committed_at,
       e.delivered_at AS sequenced_at, d.at AS handed_on_at, d.node, d.sockets,
       round(1000 * extract(epoch FROM coalesce(d.at, clock_timestamp()) - e.created_at), 1)
	       AS late_ms
FROM realtime_events e
LEFT JOIN realtime_deliveries d ON d.serial = e.serial AND e.serial > 0
WHERE e.origin <> 'control';
COMMENT ON VIEW realtime_event_report IS
	'Events with the nodes that delivered them: one row for each event and node, and one '
	'without a node for an event that none delivered.';

CREATE FUNCTION payload_get(payload json, member text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	-- Pairs of surrogates and other escapes stay.
	SELECT (CASE WHEN payload::text ~ '\\u(0000|[dD][89a-fA-F])' THEN regexp_replace(payload::text,
			'(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\[^u])'
			'|\\u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2})', '\1', 'g')::json
		     ELSE payload END)->>member
$$;
COMMENT ON FUNCTION payload_get(json, text) IS
	'A member of a payload as text. Other than payload->>member it works for payloads that '
	'contain the character \u0000 or half of a surrogate pair, which it leaves out.';

CREATE FUNCTION event_report(event_id text)
RETURNS TABLE (what text, at timestamptz, after_ms numeric, node text, sockets integer, detail text)
LANGUAGE sql VOLATILE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	WITH report AS MATERIALIZED (
		SELECT r.* FROM realtime_event_report r WHERE r.event_id = $1
	), event AS (
		SELECT DISTINCT r.serial, r.app, r.channel, r.event_type, r.origin, r.state = 'pending'
		       AS is_pending, r.published_at, r.committed_at, r.sequenced_at FROM report r
	), steps AS (
		SELECT 1 AS step, e.serial, e.published_at AS origin_at, 'published' AS what,
		       e.published_at AS at, NULL AS node, NULL::integer AS sockets,
		       format('%s on %s, app %s, by %s', e.event_type, e.channel,
			      coalesce(e.app, 'unnamed'), e.origin) AS detail
		FROM event e
		UNION ALL
		SELECT 2, e.serial, e.published_at, 'pending', NULL, NULL, NULL,
		       'committed; waits for a daemon to give it a serial'
		FROM event e WHERE e.is_pending
		UNION ALL
		SELECT 2, e.serial, e.published_at, 'sequenced', e.sequenced_at, NULL, NULL,
		       'serial ' || e.serial
		FROM event e WHERE NOT e.is_pending
		UNION ALL
		SELECT 3, e.serial, e.published_at, 'committed', e.committed_at, NULL, NULL, NULL
		FROM event e WHERE e.committed_at IS NOT NULL
		UNION ALL
		SELECT 4, r.serial, r.published_at, r.state, r.handed_on_at, r.node, r.sockets, NULL
		FROM report r WHERE r.node IS NOT NULL
		UNION ALL
		SELECT 5, NULL, NULL, 'unknown', NULL, NULL, NULL, format('no such event: it was '
		       'never committed, or was deleted; the log begins after serial %s',
		       (SELECT m.horizon FROM log_meta m))
		WHERE NOT EXISTS (SELECT FROM report)
	)
	SELECT s.what, s.at, round(1000 * extract(epoch FROM s.at - s.origin_at), 1), s.node,
	       s.sockets, s.detail
	FROM steps s ORDER BY s.serial, s.step, s.at, s.node
$$;
COMMENT ON FUNCTION event_report IS
	'What happened to an event, in the order of time, with the milliseconds since it was '
	'published.';

REVOKE EXECUTE ON FUNCTION event_report(text) FROM PUBLIC;
