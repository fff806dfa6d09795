-- SPDX-License-Identifier: MIT
-- Webhooks that wait for their endpoint, and what was reported.

-- Rows of one lane, which is a channel at an endpoint, are sent in the order of id.  The first of
-- them stands for the lane: who has it locked or leased has the lane.
CREATE TABLE webhook_queue (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	app text NOT NULL,
	endpoint text NOT NULL,
	channel text NOT NULL,
	event json NOT NULL,
	created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	next_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	first_at timestamptz,
	attempts integer NOT NULL DEFAULT 0,
	last_error text,
	dead_at timestamptz
);
COMMENT ON TABLE webhook_queue IS
	'Webhooks that were not delivered yet, and dead letters: those that were given up.';
COMMENT ON COLUMN webhook_queue.endpoint IS
	'The name of the endpoint in the option webhooks of the application: as given there, or its '
	'URL without the query.';
COMMENT ON COLUMN webhook_queue.next_at IS
	'The time of the next attempt. While an attempt is under way, the time at which it counts as '
	'lost.';
COMMENT ON COLUMN webhook_queue.first_at IS
	'The time of the first attempt.';
COMMENT ON COLUMN webhook_queue.last_error IS
	'Why the last attempt failed.';
COMMENT ON COLUMN webhook_queue.dead_at IS
	'When it was given up; webhook_resend() sends it again.';
CREATE INDEX webhook_queue_lane ON webhook_queue (app, endpoint, channel, id)
	WHERE dead_at IS NULL;
CREATE INDEX webhook_queue_next ON webhook_queue (next_at) WHERE dead_at IS NULL;
CREATE INDEX webhook_queue_dead ON webhook_queue (dead_at) WHERE dead_at IS NOT NULL;

CREATE TABLE webhook_reported (
	app text NOT NULL,
	channel text NOT NULL,
	user_id text NOT NULL DEFAULT '',
	since timestamptz NOT NULL DEFAULT clock_timestamp(),
	subscriptions bigint,
	counted_at timestamptz,
	PRIMARY KEY (app, channel, user_id)
);
COMMENT ON TABLE webhook_reported IS
	'The channels that were last reported as occupied, and the members that were last reported '
	'as added. After a crash the daemon compares it with what is true, and reports the rest.';
COMMENT ON COLUMN webhook_reported.user_id IS
	'A member of the channel; the empty text for the channel itself.';
COMMENT ON COLUMN webhook_reported.subscriptions IS
	'In a cluster: the last number of subscriptions of the channel that was decided about.';
COMMENT ON COLUMN webhook_reported.counted_at IS
	'The time of that decision.';

CREATE FUNCTION webhook_write(p_apps text[], p_endpoints text[], p_channels text[], p_events text[],
			      p_reported_apps text[], p_reported_channels text[],
			      p_reported_users text[], p_reported_here boolean[])
RETURNS bigint
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	written bigint;
BEGIN
	INSERT INTO webhook_queue (app, endpoint, channel, event)
	SELECT r.app, r.endpoint, r.channel, r.event::json
	FROM unnest(p_apps, p_endpoints, p_channels, p_events) WITH ORDINALITY
		r(app, endpoint, channel, event, place)
	ORDER BY r.place;
	GET DIAGNOSTICS written = ROW_COUNT;
	WITH reported AS MATERIALIZED (
		SELECT DISTINCT ON (r.app, r.channel, r.user_id) r.*
		FROM unnest(p_reported_apps, p_reported_channels, p_reported_users,
			p_reported_here) WITH ORDINALITY r(app, channel, user_id, is_here, place)
		ORDER BY r.app, r.channel, r.user_id, r.place DESC
	), gone AS (
		DELETE FROM webhook_reported w USING reported r WHERE NOT r.is_here
		AND w.app = r.app AND w.channel = r.channel AND w.user_id = r.user_id
	)
	INSERT INTO webhook_reported (app, channel, user_id)
	SELECT r.app, r.channel, r.user_id FROM reported r WHERE r.is_here
	ON CONFLICT DO NOTHING;
	RETURN written;
END
$$;
COMMENT ON FUNCTION webhook_write IS
	'Adds webhooks to the queue in the order of the arrays, and notes which channels and members '
	'are reported as present. Returns the number of webhooks.';

-- A node does not know the endpoints of applications that only others serve.  An application that no
-- node serves any more has no row in log_apps: then any node takes its webhooks, and gives them up.
CREATE FUNCTION webhook_is_served(p_app text, p_served text[]) RETURNS boolean
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT p_served IS NULL OR p_app = ANY (p_served)
	OR NOT EXISTS (SELECT FROM log_apps a WHERE a.app = p_app)
$$;
COMMENT ON FUNCTION webhook_is_served IS
	'Whether the calling node decides about webhooks of the application. p_served: the applications that '
	'it serves; NULL for a daemon that is alone, which decides about all.';

-- Locked is the first row of a lane only.  Another node skips it, and with it the lane; once this
-- transaction has ended, next_at keeps the lane away from others.  A row can come in front of it: of a
-- transaction that commits later although its id is lower, or a dead letter that is sent again.  Then the lane
-- waits, too.
CREATE FUNCTION webhook_claim(p_lanes integer, p_run integer, p_lease_ms integer, p_served text[] DEFAULT NULL,
			      p_full_apps text[] DEFAULT '{}', p_full_endpoints text[] DEFAULT '{}')
RETURNS TABLE (id bigint, app text, endpoint text, channel text, event text)
LANGUAGE sql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	WITH first AS MATERIALIZED (
		SELECT q.id, q.app, q.endpoint, q.channel, q.next_at FROM webhook_queue q
		WHERE q.dead_at IS NULL AND q.next_at <= clock_timestamp()
		AND (q.app, q.endpoint) NOT IN (SELECT f.app, f.endpoint
			FROM unnest(p_full_apps, p_full_endpoints) f(app, endpoint))
		AND NOT EXISTS (
			SELECT FROM webhook_queue e WHERE e.app = q.app AND e.endpoint = q.endpoint
			AND e.channel = q.channel AND e.dead_at IS NULL AND e.id < q.id)
		AND webhook_is_served(q.app, p_served)
		ORDER BY q.next_at, q.id LIMIT p_lanes FOR UPDATE SKIP LOCKED
	), free AS MATERIALIZED (
		SELECT f.* FROM first f WHERE NOT EXISTS (SELECT FROM (
			SELECT w.next_at FROM webhook_queue w
			WHERE w.app = f.app AND w.endpoint = f.endpoint AND w.channel = f.channel
			AND w.dead_at IS NULL ORDER BY w.id LIMIT p_run) r
			WHERE r.next_at > clock_timestamp())
	), leased AS (
		UPDATE webhook_queue q SET next_at = clock_timestamp() + p_lease_ms * interval '1 ms',
			first_at = coalesce(q.first_at, clock_timestamp())
		FROM free f WHERE q.id = f.id
	)
	SELECT r.id, f.app, f.endpoint, f.channel, r.event::text
	FROM free f CROSS JOIN LATERAL (
		SELECT w.id, w.event FROM webhook_queue w
		WHERE w.app = f.app AND w.endpoint = f.endpoint AND w.channel = f.channel
		AND w.dead_at IS NULL ORDER BY w.id LIMIT p_run) r
	ORDER BY f.next_at, f.id, r.id
$$;
COMMENT ON FUNCTION webhook_claim IS
	'Takes up to p_lanes lanes whose next attempt is due, for p_lease_ms, and returns the first '
	'p_run webhooks of each in their order. p_served: see webhook_is_served(). p_full_apps, p_full_endpoints: '
	'endpoints of which none is taken, because the caller has enough of their lanes.';

CREATE FUNCTION webhook_settle(p_done bigint[], p_failed bigint[], p_errors text[],
			       p_min_ms integer, p_max_ms integer, p_for_s integer, p_kept bigint[],
			       p_hopeless boolean[])
RETURNS bigint
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	n_dead bigint;
BEGIN
	DELETE FROM webhook_queue q WHERE q.id = ANY(p_done);
	UPDATE webhook_queue q SET next_at = clock_timestamp() WHERE q.id = ANY(p_kept);
	WITH failed AS (
		UPDATE webhook_queue q SET attempts = q.attempts + 1, last_error = f.error,
			first_at = coalesce(q.first_at, clock_timestamp()),
			next_at = clock_timestamp() + interval '1 ms'
				* least(p_max_ms, p_min_ms * 2.0 ^ least(q.attempts, 30)),
			dead_at = CASE WHEN f.is_hopeless OR clock_timestamp() - q.first_at
				>= p_for_s * interval '1 s' THEN clock_timestamp() END
		FROM unnest(p_failed, p_errors, p_hopeless) f(id, error, is_hopeless)
		WHERE q.id = f.id RETURNING q.dead_at
	)
	SELECT count(*) INTO n_dead FROM failed f WHERE f.dead_at IS NOT NULL;
	RETURN n_dead;
END
$$;
COMMENT ON FUNCTION webhook_settle IS
	'The outcome of attempts: deletes what was delivered, sets the time of the next attempt of '
	'what failed (p_min_ms after the first, doubled to p_max_ms), and gives up what failed for '
	'p_for_s or is hopeless. p_kept were claimed and not tried. Returns the number given up.';

-- An event that a daemon has not drained yet, and one that was drained less than p_after_s ago, can
-- still reach a socket: its notification waits.
CREATE FUNCTION webhook_undelivered(p_after_s integer, p_most integer, p_apps text[],
				    p_endpoints text[], p_starts text[], p_ends text[],
				    p_served text[] DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	before CONSTANT timestamptz := clock_timestamp() - p_after_s * interval '1 s';
	-- In the text of the query, so that it is planned for partitions from this serial on only.
	oldest CONSTANT bigint := (SELECT min(c.after_serial) FROM notification_checks c
		WHERE c.created_at <= before AND webhook_is_served(c.app, p_served));
	decided bigint;
BEGIN
	IF oldest IS NULL THEN
		RETURN 0;
	END IF;
	EXECUTE format($query$
	WITH due AS MATERIALIZED (
		SELECT c.* FROM notification_checks c WHERE c.created_at <= $1 AND c.after_serial >= %1$s
		AND webhook_is_served(c.app, $7)
		AND NOT EXISTS (
			SELECT FROM realtime_events_pending e WHERE e.event_id = ANY (c.event_ids) AND e.app = c.app)
		AND NOT EXISTS (
			SELECT FROM realtime_events e WHERE e.event_id = ANY (c.event_ids) AND e.app = c.app
			AND e.serial > %1$s AND e.serial > c.after_serial AND e.delivered_at > $1)
		ORDER BY c.created_at LIMIT $2 FOR UPDATE SKIP LOCKED
	), deleted AS (
		DELETE FROM notification_checks c USING due d WHERE c.id = d.id RETURNING c.id
	), missed AS (
		SELECT d.*, n.number, notification_json(n) AS notification
		FROM due d JOIN notifications n ON n.id = d.id AND n.read_at IS NULL
		WHERE NOT EXISTS (
			SELECT FROM realtime_events e JOIN realtime_deliveries r ON r.serial = e.serial
			WHERE e.event_id = ANY (d.event_ids) AND e.app = d.app
			AND e.serial > %1$s AND r.serial > %1$s
			AND e.serial > d.after_serial AND r.serial > d.after_serial AND r.sockets > 0)
	), queued AS (
		INSERT INTO webhook_queue (app, endpoint, channel, event)
		SELECT m.app, w.endpoint, c.channel, json_build_object(
			'name', 'notification_undelivered', 'channel', c.channel,
			'user_id', m.user_id::text, 'notification', m.notification)
		FROM missed m JOIN unnest($3, $4, $5, $6)
			w(app, endpoint, starts, ends) ON w.app = m.app
		CROSS JOIN LATERAL (
			SELECT u.channel FROM unnest(m.channels) WITH ORDINALITY u(channel, place)
			WHERE starts_with(u.channel, w.starts) AND right(u.channel, length(w.ends)) = w.ends
			ORDER BY u.place LIMIT 1) c
		ORDER BY m.user_id, m.number
	)
	SELECT count(*) FROM deleted $query$, oldest)
	INTO decided USING before, p_most, p_apps, p_endpoints, p_starts, p_ends, p_served;
	RETURN decided;
END
$$;
COMMENT ON FUNCTION webhook_undelivered IS
	'Queues webhooks for notifications that are unread and have reached no socket p_after_s after '
	'their events got serials: for each endpoint whose filter has one of the channels. Decides '
	'about p_most notifications at most, and returns their number. p_served: see webhook_is_served().';

CREATE FUNCTION webhook_counts(OUT waiting bigint, OUT dead bigint)
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT (SELECT count(*) FROM webhook_queue q WHERE q.dead_at IS NULL),
		(SELECT count(*) FROM webhook_queue q WHERE q.dead_at IS NOT NULL)
$$;
COMMENT ON FUNCTION webhook_counts IS
	'The number of webhooks that wait, and of dead letters.';

CREATE FUNCTION webhook_resend(p_id bigint DEFAULT NULL, p_app text DEFAULT NULL,
			       p_endpoint text DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	sent bigint;
BEGIN
	-- In front of a webhook that waits for its next attempt it waits as long: due at once, it would be looked at by each
	-- webhook_claim() for nothing, and enough of them would leave no room for other channels.
	UPDATE webhook_queue q SET dead_at = NULL, first_at = NULL, attempts = 0,
		next_at = greatest(clock_timestamp(), (SELECT max(w.next_at) FROM webhook_queue w WHERE w.app = q.app
			AND w.endpoint = q.endpoint AND w.channel = q.channel AND w.dead_at IS NULL))
	WHERE q.dead_at IS NOT NULL AND (p_id IS NULL OR q.id = p_id)
	AND (p_app IS NULL OR q.app = p_app) AND (p_endpoint IS NULL OR q.endpoint = p_endpoint);
	GET DIAGNOSTICS sent = ROW_COUNT;
	RETURN sent;
END
$$;
COMMENT ON FUNCTION webhook_resend IS
	'Queues dead letters again: the one with this id, those of an application or of an endpoint, '
	'or all. Returns their number.';

CREATE FUNCTION webhook_prune(p_days integer, p_most integer) RETURNS integer
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	until CONSTANT timestamptz := sweep_until();
	one record;
	n integer := 0;
BEGIN
	FOR one IN SELECT q.id FROM webhook_queue q
		   WHERE p_days > 0 AND q.dead_at < clock_timestamp() - p_days * interval '1 day'
		   ORDER BY q.dead_at LIMIT p_most FOR UPDATE SKIP LOCKED LOOP
		DELETE FROM webhook_queue q WHERE q.id = one.id;
		n := n + 1;
		IF clock_timestamp() >= until THEN
			RETURN p_most;
		END IF;
	END LOOP;
	RETURN n;
END
$$;
COMMENT ON FUNCTION webhook_prune IS
	'Deletes at most p_most dead letters that are older than p_days, until sweep_until(); 0 days: none. Returns how '
	'many; p_most if there may be more.';

CREATE FUNCTION admin_webhooks(p_args jsonb) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	wanted_app CONSTANT text := admin_text(p_args, 'app', 200, false);
	wanted_endpoint CONSTANT text := admin_text(p_args, 'endpoint', 1000, false);
	state CONSTANT text := coalesce(admin_text(p_args, 'state', 16, false), 'dead');
	before CONSTANT bigint := admin_number(p_args, 'before', 1, 9223372036854775807,
					       9223372036854775807);
	most CONSTANT bigint := admin_number(p_args, 'limit', 1, 500, 50);
BEGIN
	IF state NOT IN ('dead', 'waiting') THEN
		PERFORM admin_refuse('"state" must be dead or waiting.');
	END IF;
	RETURN json_build_object(
		'endpoints', (SELECT coalesce(json_agg(e), '[]') FROM (
			SELECT q.app, q.endpoint, count(*) FILTER (WHERE q.dead_at IS NULL) AS waiting,
				count(*) FILTER (WHERE q.dead_at IS NOT NULL) AS dead,
				min(q.created_at) FILTER (WHERE q.dead_at IS NULL) AS oldest
			FROM webhook_queue q
			WHERE (wanted_app IS NULL OR q.app = wanted_app)
			GROUP BY q.app, q.endpoint ORDER BY q.app, q.endpoint LIMIT 200) e),
		'webhooks', (SELECT coalesce(json_agg(w), '[]') FROM (
			SELECT q.id, q.app, q.endpoint, q.channel, q.event, q.created_at, q.next_at,
				q.attempts, q.last_error, q.dead_at
			FROM webhook_queue q
			WHERE (q.dead_at IS NOT NULL) = (state = 'dead') AND q.id < before
			AND (wanted_app IS NULL OR q.app = wanted_app)
			AND (wanted_endpoint IS NULL OR q.endpoint = wanted_endpoint)
			ORDER BY q.id DESC LIMIT most) w));
END
$$;
COMMENT ON FUNCTION admin_webhooks IS
	'GET /admin/api/webhooks: how many webhooks wait and how many were given up for each '
	'endpoint, and the newest of either state.';

CREATE FUNCTION admin_webhook_resend(p_args jsonb) RETURNS json
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	wanted_id CONSTANT bigint := CASE WHEN p_args ? 'id'
		THEN admin_number(p_args, 'id', 1, 9223372036854775807) END;
	wanted_app CONSTANT text := admin_text(p_args, 'app', 200, wanted_id IS NULL);
	n bigint;
BEGIN
	n := webhook_resend(wanted_id, wanted_app, admin_text(p_args, 'endpoint', 1000, false));
	IF n = 0 THEN
		PERFORM admin_refuse('There is no such dead letter.');
	END IF;
	RETURN json_build_object('webhooks', n);
END
$$;
COMMENT ON FUNCTION admin_webhook_resend IS
	'POST /admin/api/webhook-resend: queues the dead letter with this id again, or those of an '
	'application and, with "endpoint", of one endpoint.';

REVOKE EXECUTE ON FUNCTION admin_webhooks(jsonb), admin_webhook_resend(jsonb), webhook_write(text[], text[], text[], text[], text[], text[], text[],
	boolean[]), webhook_claim(integer, integer, integer, text[], text[], text[]), webhook_is_served(text, text[]),
	webhook_settle(bigint[], bigint[],
	text[], integer, integer, integer, bigint[], boolean[]), webhook_counts(),
	webhook_undelivered(integer, integer, text[], text[], text[], text[], text[]),
	webhook_resend(bigint, text, text), webhook_prune(integer, integer) FROM PUBLIC;
