-- SPDX-License-Identifier: MIT
-- Reading the log again, for clients that were away and for cache channels.
--
-- Partitions are pruned by the values asked with, so plans are made for them each time.

-- One page of what came on a channel of an application above a serial, oldest first.  was: socket
-- ids between commas; what excluded them is left out.  A last row with a fault says that the
-- others do not count:
--     epoch     the log is another one
--     expired   the log does not reach back to above
--     too_many  there are more than cap (0: any number)
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
	-- Behind the rows: what goes meanwhile would not be noticed before.
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

-- The last event of a cache channel, if it came within ttl_s seconds, and for how many
-- microseconds it is still good.
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

REVOKE EXECUTE ON FUNCTION
	replay_page(text, text, boolean, text, bigint, bigint, text, integer, integer),
	replay_cached(text, boolean, text, integer) FROM PUBLIC;
