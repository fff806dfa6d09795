-- SPDX-License-Identifier: MIT
-- Webhooks of channels, members and counts of a cluster: one for each change of the whole cluster.
--
-- cluster_step() and cluster_reap() only note that a channel or a member has changed.  webhook_decide()
-- compares what was reported (webhook_reported) with what is true (cluster_members), and writes the difference
-- into webhook_queue in the same transaction.  So it may be called by any node and any number of times, and
-- a note that was lost costs time only: webhook_compare() finds the difference.

-- Only roles with a right on the table can lock it (docs/decisions/0036).
CREATE TABLE webhook_decider ();
COMMENT ON TABLE webhook_decider IS 'Always empty: who locks it decides which webhooks a cluster sends.';

-- The notes are deleted first: a change that the next statement does not see is noted after that, and is decided by
-- another call.  What is absent while there is a later note has not been absent for long enough and counts as
-- present.  A member is not reported as added before its channel as occupied, and a channel not as vacated before its
-- members as removed: a node reports them in calls of their own, and a grace, or the lease of a node that has ended, may
-- last longer than the delay of an end.  After a crash of the server, ends and counts wait until all nodes have
-- registered what they have (cluster_settle).
CREATE FUNCTION webhook_decide(p_apps text[], p_endpoints text[], p_events text[], p_starts text[], p_ends text[],
			       p_served text[], p_most integer, OUT queued integer, OUT wait_ms integer)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	at timestamptz;
	known_from timestamptz;
	apps text[];
	channels text[];
	users text[];
BEGIN
	LOCK TABLE webhook_decider IN EXCLUSIVE MODE;
	at := clock_timestamp();
	-- cluster_settle() may set an earlier time: what waits for it is decided again after a second.
	known_from := least(coalesce((SELECT g.known_from FROM node_generation g), 'infinity'), at + interval '1 s');
	queued := 0;
	WITH due AS (
		DELETE FROM webhook_changes c WHERE c.ctid = ANY (ARRAY(
			SELECT d.ctid FROM webhook_changes d WHERE d.due_at <= at AND webhook_is_served(d.app, p_served)
			ORDER BY d.due_at LIMIT p_most))
		RETURNING c.app, c.channel, c.user_id, c.due_at
	)
	SELECT array_agg(d.app ORDER BY d.due_at), array_agg(d.channel ORDER BY d.due_at), array_agg(d.user_id ORDER BY d.due_at)
	INTO apps, channels, users
	FROM (SELECT due.app, due.channel, due.user_id, max(due.due_at) AS due_at FROM due GROUP BY 1, 2, 3) d;
	IF apps IS NOT NULL THEN
		WITH subject AS MATERIALIZED (
			SELECT u.app, u.channel, u.user_id, u.number, m.total, r.app IS NOT NULL AS is_reported,
				CASE WHEN m.total IS NOT NULL THEN NULL
				WHEN u.user_id <> '' THEN (SELECT max(w.due_at) FROM webhook_changes w
					WHERE w.app = u.app AND w.channel = u.channel AND w.user_id = u.user_id)
				ELSE (SELECT max(w.due_at) FROM webhook_changes w
					WHERE w.app = u.app AND w.channel = u.channel) END AS later,
				CASE WHEN u.user_id <> '' OR m.total IS NOT DISTINCT FROM r.subscriptions
				OR u.channel ~ '^(presence|private-encrypted)-' THEN NULL
				WHEN r.counted_at IS NULL THEN at
				ELSE greatest(known_from, r.counted_at + CASE WHEN m.total > 100 THEN 5 ELSE 1 END
					* interval '1 s') END AS count_at
			FROM unnest(apps, channels, users) WITH ORDINALITY u(app, channel, user_id, number)
			CROSS JOIN LATERAL (SELECT sum(c.subscriptions) AS total FROM cluster_members c
				WHERE c.app = u.app AND c.channel = u.channel AND c.user_id = u.user_id) m
			LEFT JOIN LATERAL (SELECT * FROM webhook_reported s
				WHERE s.app = u.app AND s.channel = u.channel AND s.user_id = u.user_id LIMIT 1) r ON true
		), changed AS MATERIALIZED (
			SELECT s.*, NOT s.is_reported AND (s.total IS NOT NULL OR s.later IS NOT NULL) AND EXISTS (
				SELECT FROM unnest(p_apps, p_events, p_starts, p_ends) w(app, event, starts, ends)
				WHERE w.app = s.app AND (w.event IN ('member_added', 'member_removed')) = (s.user_id <> '')
				AND starts_with(s.channel, w.starts) AND right(s.channel, length(w.ends)) = w.ends) AS is_new,
				s.total IS NULL AND s.is_reported AND s.later IS NULL AND known_from <= at AS is_gone,
				s.total IS NOT NULL AND coalesce(s.count_at <= at, false) AS is_counted
			FROM subject s
		), waiting AS MATERIALIZED (
			SELECT c.number FROM changed c
			WHERE c.is_new AND c.user_id <> '' AND EXISTS (
				SELECT FROM unnest(p_apps, p_events, p_starts, p_ends) w(app, event, starts, ends)
				WHERE w.app = c.app AND w.event NOT IN ('member_added', 'member_removed')
				AND starts_with(c.channel, w.starts) AND right(c.channel, length(w.ends)) = w.ends)
			AND NOT EXISTS (SELECT FROM webhook_reported r
				WHERE r.app = c.app AND r.channel = c.channel AND r.user_id = '')
			AND (c.app, c.channel) NOT IN (SELECT o.app, o.channel FROM changed o WHERE o.is_new AND o.user_id = '')
			UNION ALL
			SELECT c.number FROM changed c
			WHERE c.is_gone AND c.user_id = '' AND (
				(c.app, c.channel) IN (SELECT n.app, n.channel FROM changed n WHERE n.is_new AND n.user_id <> '')
				OR EXISTS (SELECT FROM webhook_reported r
					WHERE r.app = c.app AND r.channel = c.channel AND r.user_id <> ''
					AND (r.app, r.channel, r.user_id) NOT IN (SELECT g.app, g.channel, g.user_id FROM changed g
						WHERE g.is_gone)))
		), decided AS MATERIALIZED (
			SELECT c.app, c.channel, c.user_id, c.number, c.total, c.is_reported, c.later, c.count_at, c.is_counted,
				c.is_new AND x.number IS NULL AS is_new, c.is_gone AND x.number IS NULL AS is_gone,
				CASE WHEN x.number IS NOT NULL THEN at + interval '0.5 s' END AS again_at
			FROM changed c LEFT JOIN waiting x ON x.number = c.number
		), noted AS (
			INSERT INTO webhook_changes (app, channel, user_id, due_at)
			SELECT d.app, d.channel, d.user_id, coalesce(d.again_at, CASE WHEN d.total IS NULL
				THEN coalesce(d.later, known_from) ELSE d.count_at END)
			FROM decided d WHERE d.again_at IS NOT NULL OR CASE WHEN d.total IS NULL
				THEN (d.is_reported OR d.is_new) AND NOT d.is_gone ELSE d.count_at > at END
		), present AS (
			INSERT INTO webhook_reported AS r (app, channel, user_id, subscriptions, counted_at)
			SELECT d.app, d.channel, d.user_id, CASE WHEN d.is_counted THEN d.total END,
				CASE WHEN d.is_counted THEN at END
			FROM decided d WHERE d.is_new OR d.is_reported AND d.is_counted
			ON CONFLICT ON CONSTRAINT webhook_reported_pkey DO UPDATE SET
				subscriptions = excluded.subscriptions, counted_at = excluded.counted_at
		), absent AS (
			DELETE FROM webhook_reported r USING decided d WHERE d.is_gone
			AND r.app = d.app AND r.channel = d.channel AND r.user_id = d.user_id
		), event AS (
			SELECT d.app, d.channel, d.user_id, d.number, d.total, e.name, e.place
			FROM decided d CROSS JOIN LATERAL (VALUES
				(0, 'channel_occupied', d.is_new AND d.user_id = ''),
				(1, 'member_added', d.is_new AND d.user_id <> ''),
				(1, 'member_removed', d.is_gone AND d.user_id <> ''),
				(2, 'subscription_count', d.is_counted),
				(3, 'channel_vacated', d.is_gone AND d.user_id = '')) e(place, name, is_due)
			WHERE e.is_due
		)
		INSERT INTO webhook_queue (app, endpoint, channel, event)
		SELECT e.app, w.endpoint, e.channel, json_strip_nulls(json_build_object('name', e.name, 'channel', e.channel,
			'user_id', nullif(e.user_id, ''),
			'subscription_count', CASE WHEN e.name = 'subscription_count' THEN e.total END))
		FROM event e JOIN unnest(p_apps, p_endpoints, p_events, p_starts, p_ends)
			w(app, endpoint, event, starts, ends) ON w.app = e.app AND w.event = e.name
			AND starts_with(e.channel, w.starts) AND right(e.channel, length(w.ends)) = w.ends
		ORDER BY e.app, e.channel, e.place, e.number;
		GET DIAGNOSTICS queued = ROW_COUNT;
	END IF;
	SELECT greatest(0, ceil(extract(epoch FROM c.due_at - clock_timestamp()) * 1000))::integer INTO wait_ms
	FROM webhook_changes c WHERE webhook_is_served(c.app, p_served) ORDER BY c.due_at LIMIT 1;
END
$$;
COMMENT ON FUNCTION webhook_decide IS
	'Queues webhooks of at most p_most channels and members of the cluster whose change is due. An endpoint has an '
	'element of p_apps to p_ends for each event that it is sent. How many webhooks were queued, and after how many '
	'milliseconds the next change is due; NULL: there is none. p_served: see webhook_is_served().';

CREATE FUNCTION webhook_compare(p_apps text[], p_events text[], p_starts text[], p_ends text[], p_served text[],
				p_delay_ms integer) RETURNS bigint
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	different bigint;
BEGIN
	INSERT INTO webhook_changes (app, channel, user_id, due_at)
	SELECT m.app, m.channel, m.user_id, clock_timestamp()
	FROM (SELECT DISTINCT c.app, c.channel, c.user_id FROM cluster_members c) m
	WHERE NOT starts_with(m.channel, '!') AND EXISTS (
		SELECT FROM unnest(p_apps, p_events, p_starts, p_ends) w(app, event, starts, ends)
		WHERE w.app = m.app AND (w.event IN ('member_added', 'member_removed')) = (m.user_id <> '')
		AND starts_with(m.channel, w.starts) AND right(m.channel, length(w.ends)) = w.ends)
	AND NOT EXISTS (SELECT FROM webhook_reported r
		WHERE r.app = m.app AND r.channel = m.channel AND r.user_id = m.user_id)
	UNION ALL
	SELECT r.app, r.channel, r.user_id, clock_timestamp() + p_delay_ms * interval '1 ms'
	FROM webhook_reported r
	WHERE (r.app = ANY (p_served) OR NOT EXISTS (SELECT FROM log_apps a WHERE a.app = r.app))
	AND NOT EXISTS (SELECT FROM cluster_members m
		WHERE m.app = r.app AND m.channel = r.channel AND m.user_id = r.user_id)
	AND NOT EXISTS (SELECT FROM webhook_changes c
		WHERE c.app = r.app AND c.channel = r.channel AND c.user_id = r.user_id);
	GET DIAGNOSTICS different = ROW_COUNT;
	RETURN different;
END
$$;
COMMENT ON FUNCTION webhook_compare IS
	'Notes for webhook_decide() what is present in the cluster and was not reported, at once, and what is absent and was '
	'reported as present, after p_delay_ms. Returns their number. The arrays are those of webhook_decide().';

REVOKE EXECUTE ON FUNCTION webhook_decide(text[], text[], text[], text[], text[], text[], integer),
	webhook_compare(text[], text[], text[], text[], text[], integer) FROM PUBLIC;
