-- SPDX-License-Identifier: MIT
-- Reading the log again, for clients that were away and for cache channels.
--
-- Partitions are pruned by the values asked with, so plans are made for them each time.

CREATE FUNCTION replay_page(p_epoch text, p_app text, p_is_only_app boolean, p_channel text,
			    p_above bigint, p_up_to bigint, p_was text, p_max_rows integer,
			    p_cap integer)
RETURNS TABLE (fault text, serial bigint, event_id text, event_type text, payload text,
	       payload_is_text boolean)
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
	SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
	found_rows integer;
	not_for text[] := string_to_array(p_was, ',');
BEGIN
	RETURN QUERY
	SELECT NULL, e.serial, e.event_id, e.event_type, coalesce(e.payload::text, '{}'),
	       e.payload_is_text
	FROM realtime_events e
	WHERE e.channel = p_channel AND e.serial > p_above AND e.serial <= p_up_to
	  AND (e.app = p_app OR (e.app IS NULL AND p_is_only_app))
	  AND (not_for IS NULL OR e.exclude_socket IS NULL OR e.exclude_socket <> ALL (not_for))
	ORDER BY e.serial LIMIT p_max_rows;
	GET DIAGNOSTICS found_rows = ROW_COUNT;
	-- After the rows: rows dropped in between would go unnoticed.
	SELECT CASE WHEN m.epoch <> p_epoch THEN 'epoch'
		    WHEN log_horizon() > p_above THEN 'expired' END
	INTO fault FROM log_meta m;
	IF fault IS NULL AND found_rows = p_max_rows AND p_cap > 0 AND EXISTS (
		SELECT FROM realtime_events e
		WHERE e.channel = p_channel AND e.serial > p_above AND e.serial <= p_up_to
		  AND (e.app = p_app OR (e.app IS NULL AND p_is_only_app))
		  AND (not_for IS NULL OR e.exclude_socket IS NULL
		       OR e.exclude_socket <> ALL (not_for))
		ORDER BY e.serial OFFSET p_cap) THEN
		fault := 'too_many';
	END IF;
	IF fault IS NOT NULL THEN
		RETURN NEXT;
	END IF;
END
$$;
COMMENT ON FUNCTION replay_page IS
	'One page of the events of a channel after the serial p_above, oldest first. A last row '
	'with a fault invalidates the others: epoch (another log), expired (the log begins '
	'later), too_many (more than p_cap; 0 means no limit). Events that exclude one of the '
	'socket ids in p_was are left out.';

CREATE FUNCTION replay_cached(p_app text, p_is_only_app boolean, p_channel text, p_ttl_s integer)
RETURNS TABLE (fault text, serial bigint, event_id text, event_type text, payload text,
	       payload_is_text boolean, left_us bigint)
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT NULL, l.* FROM (
		SELECT e.serial, e.event_id, e.event_type, coalesce(e.payload::text, '{}'),
		       e.payload_is_text,
		       (extract(epoch FROM coalesce(e.delivered_at, e.created_at)
					   + p_ttl_s * interval '1 s' - clock_timestamp())
			* 1000000)::bigint AS left_us
		FROM realtime_events e
		WHERE e.channel = p_channel AND e.serial > 0
		  AND (e.app = p_app OR (e.app IS NULL AND p_is_only_app))
		ORDER BY e.serial DESC LIMIT 1) l
	WHERE l.left_us > 0
$$;
COMMENT ON FUNCTION replay_cached IS
	'The last event of a cache channel, if it is at most p_ttl_s seconds old, and for how '
	'many microseconds it stays valid.';

REVOKE EXECUTE ON FUNCTION
	replay_page(text, text, boolean, text, bigint, bigint, text, integer, integer),
	replay_cached(text, boolean, text, integer) FROM PUBLIC;
