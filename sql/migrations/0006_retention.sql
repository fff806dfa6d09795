-- SPDX-License-Identifier: MIT
-- Retention: where the log begins.  Whole partitions are dropped from its old end, oldest first, while
-- publishing goes on.

CREATE TABLE log_leaving (
	leaf text PRIMARY KEY,
	parent text NOT NULL,
	upper bigint NOT NULL,
	since timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE log_leaving IS
	'Partitions that retention is dropping. A partition that somebody else detached is not '
	'in it and is not dropped.';

CREATE FUNCTION log_measure(p_rows bigint, OUT pending bigint, OUT oldest_s bigint, OUT bytes bigint,
			    OUT ahead bigint)
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	part record;
	oldest timestamptz;
BEGIN
	-- The bounds are in the text of the query, so that it is planned for this partition only.
	FOR part IN
		SELECT l.lower, l.upper FROM log_partitions l
		WHERE l.parent = 'realtime_events' AND l.lower IS NOT NULL AND NOT l.is_leaving ORDER BY l.lower
	LOOP
		EXIT WHEN part.lower >= log_next_serial();
		EXECUTE format('SELECT e.created_at FROM realtime_events e WHERE e.serial >= %s AND e.serial < %s
				ORDER BY e.serial LIMIT 1', part.lower, part.upper) INTO oldest;
		EXIT WHEN oldest IS NOT NULL;
	END LOOP;
	oldest_s := coalesce(greatest(extract(epoch FROM clock_timestamp() - oldest)::bigint, 0), 0);
	SELECT (SELECT count(*) FROM (SELECT FROM realtime_events_pending LIMIT 100000) p),
		(SELECT coalesce(sum(l.bytes), 0)::bigint FROM log_partitions l WHERE NOT l.is_leaving),
		(SELECT greatest((log_partition_end('realtime_events') - 1 - s.last_value) / p_rows, 0)
		 FROM realtime_events_serial s)
	INTO pending, bytes, ahead;
END
$$;
COMMENT ON FUNCTION log_measure IS
	'For metrics: events without a serial (100000 at most), the age of the oldest event in seconds, '
	'bytes of the log and its delivery records, and whole partitions of p_rows that are not in use.';

CREATE FUNCTION retention_cut(p_max_age_hours bigint, p_max_mib bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	next_serial CONSTANT bigint := log_next_serial();
	handed_on CONSTANT bigint := log_delivered();
	oldest CONSTANT timestamptz := now() - p_max_age_hours * interval '1 hour';
	part record;
	newest record;
	cut bigint;
BEGIN
	FOR part IN
		SELECT p.lower, p.upper, sum(sum(p.bytes)) OVER (ORDER BY p.lower DESC) AS kept
		FROM log_partitions p WHERE p.lower IS NOT NULL AND NOT p.is_leaving
		GROUP BY p.lower, p.upper ORDER BY p.lower
	LOOP
		SELECT e.serial, coalesce(e.delivered_at, e.created_at) AS at INTO newest
		FROM realtime_events e WHERE e.serial >= part.lower AND e.serial < part.upper
		ORDER BY e.serial DESC LIMIT 1;
		EXIT WHEN part.upper > next_serial OR part.upper = log_partition_end('realtime_events')
			  OR coalesce(newest.serial, 0) > handed_on OR handed_on IS NULL;
		EXIT WHEN NOT (p_max_mib > 0 AND part.kept > p_max_mib * 1048576)
			  AND NOT (p_max_age_hours > 0 AND coalesce(newest.at < oldest, true));
		cut := part.upper;
	END LOOP;
	RETURN cut;
END
$$;
COMMENT ON FUNCTION retention_cut IS
	'The end of the newest partition that exceeds the limits, NULL when none does. The '
	'partition of the next serial stays, and so do events that a running node has not '
	'delivered. 0 means no limit.';

-- Only whole partitions can be dropped, and a quiet log would not fill one in years.
CREATE FUNCTION retention_claim(p_max_age_hours bigint, p_max_mib bigint, p_rows bigint)
RETURNS boolean
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	part record;
	oldest timestamptz;
BEGIN
	SELECT p.lower, p.upper, sum(p.bytes) AS bytes INTO part FROM log_partitions p
	WHERE log_next_serial() >= p.lower AND log_next_serial() < p.upper GROUP BY 1, 2;
	SELECT coalesce(e.delivered_at, e.created_at) INTO oldest FROM realtime_events e
	WHERE e.serial >= part.lower AND e.serial < part.upper ORDER BY e.serial LIMIT 1;
	IF oldest IS NULL
	   OR (NOT (p_max_mib > 0 AND part.bytes > p_max_mib * 1048576 / 8)
	       AND NOT (p_max_age_hours > 0
			AND oldest < now() - p_max_age_hours * interval '1 hour' / 8)) THEN
		RETURN false;
	END IF;
	PERFORM log_lock('partitions');
	IF log_partition_end('realtime_events') <= part.upper THEN
		PERFORM log_partition_make('realtime_events', part.upper, part.upper + p_rows);
		PERFORM log_partition_make('realtime_deliveries', part.upper, part.upper + p_rows);
	END IF;
	PERFORM log_lock('serials');
	-- A node that starts reads a limited number of serials back.
	IF log_next_serial() >= part.upper
	   OR coalesce(log_delivered() < log_last_serial(), true) THEN
		RETURN false;
	END IF;
	PERFORM setval('realtime_events_serial', part.upper - 1);
	RETURN true;
END
$$;
COMMENT ON FUNCTION retention_claim IS
	'Moves the serials to the next partition when the newest one holds an eighth of what is '
	'kept. p_rows is the size of that partition if it has to be created.';

CREATE FUNCTION retention_mark(p_cut bigint) RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	-- Under this lock, all transactions with serials below p_cut have committed.
	PERFORM log_lock('serials');
	UPDATE log_meta SET horizon = greatest(horizon, p_cut - 1);
	INSERT INTO log_leaving (leaf, parent, upper)
	SELECT p.leaf, p.parent, p.upper FROM log_partitions p
	WHERE p.lower IS NOT NULL AND p.upper <= p_cut
	ON CONFLICT DO NOTHING;
END
$$;
COMMENT ON FUNCTION retention_mark IS
	'Records that all partitions below p_cut are dropped.';

CREATE FUNCTION retention_plan(p_max_age_hours bigint, p_max_mib bigint, p_rows bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	cut bigint;
BEGIN
	-- Partitions may have been dropped by hand.
	UPDATE log_meta m SET horizon = s.lower - 1
	FROM (SELECT min(p.lower) AS lower FROM log_partitions p
	      WHERE p.parent = 'realtime_events' AND NOT p.is_leaving) s
	WHERE m.horizon < s.lower - 1;
	IF NOT EXISTS (SELECT FROM log_leaving) THEN
		PERFORM retention_claim(p_max_age_hours, p_max_mib, p_rows);
		cut := retention_cut(p_max_age_hours, p_max_mib);
		IF cut IS NOT NULL THEN
			PERFORM retention_mark(cut);
		END IF;
	END IF;
END
$$;
COMMENT ON FUNCTION retention_plan IS
	'Decides which partitions retention_drop() drops.';

-- Detaching needs the partitioned table for itself for a moment.  Publishers wait behind this lock, so
-- it gives up soon: after 50 ms, or 1 s for a partition that has waited for ten
-- minutes.  A call is a transaction: another lock would be waited for with this one held.
CREATE FUNCTION retention_drop(OUT dropped boolean, OUT waits_s integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	part record;
BEGIN
	dropped := false;
	IF NOT log_try_lock('retention') THEN
		RETURN;
	END IF;
	SELECT l.leaf, l.parent, l.since, p.is_leaving INTO part
	FROM log_leaving l LEFT JOIN log_partitions p ON p.leaf = l.leaf
	ORDER BY l.upper, l.parent DESC LIMIT 1;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	waits_s := extract(epoch FROM now() - part.since);
	PERFORM set_config('lock_timeout', CASE WHEN waits_s < 600 THEN '50ms' ELSE '1s' END, true);
	BEGIN
		IF part.is_leaving IS NOT NULL THEN
			EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', part.parent, part.leaf)
				|| CASE WHEN part.is_leaving THEN ' FINALIZE' ELSE '' END;
		END IF;
		EXECUTE format('DROP TABLE IF EXISTS %I', part.leaf);
	EXCEPTION WHEN lock_not_available THEN
		RETURN;
	END;
	DELETE FROM log_leaving l WHERE l.leaf = part.leaf;
	dropped := true;
END
$$;
COMMENT ON FUNCTION retention_drop IS
	'Drops one partition. dropped is false when there is none, or when another transaction '
	'uses the log: try again later. waits_s: for how many seconds the partition could not be dropped.';

REVOKE EXECUTE ON FUNCTION retention_cut(bigint, bigint),
	retention_claim(bigint, bigint, bigint), retention_mark(bigint),
	retention_plan(bigint, bigint, bigint), retention_drop(), log_measure(bigint) FROM PUBLIC;
