-- SPDX-License-Identifier: MIT
-- Reading the log again, for clients that were away and for cache channels.
--
-- Partitions are pruned by the parameters, so each call is planned for its values.

CREATE FUNCTION replay_page(p_epoch text, p_app text, p_is_only_app boolean, p_channel text,
			    p_above bigint, p_up_to bigint, p_was text, p_max_rows integer,
			    p_max_bytes integer, p_cap integer, p_max_age_s integer)
RETURNS TABLE (fault text, serial bigint, event_id text, event_type text, payload text,
	       payload_is_text boolean, exclude_socket text)
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
	SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
	not_for text[] := string_to_array(p_was, ',');
	n integer := 0;
	bytes bigint := 0;
	is_cut boolean := false;
	is_too_old boolean := false;
	e record;
BEGIN
	FOR e IN
		SELECT r.serial, r.event_id, r.event_type, coalesce(r.payload::text, '{}') AS payload,
		       r.payload_is_text, r.exclude_socket, r.created_at
		FROM realtime_events r
		WHERE r.channel = p_channel AND r.serial > p_above AND r.serial <= p_up_to
		  AND (r.app = p_app OR (r.app IS NULL AND p_is_only_app))
		  AND (not_for IS NULL OR r.exclude_socket IS NULL
		       OR r.exclude_socket <> ALL (not_for))
		ORDER BY r.serial LIMIT p_max_rows + 1
	LOOP
		-- A page has one event at least, or the replay would not get on.
		is_cut := n = p_max_rows OR (n > 0 AND bytes + octet_length(e.payload) > p_max_bytes);
		EXIT WHEN is_cut;
		is_too_old := p_max_age_s > 0
			AND e.created_at < clock_timestamp() - p_max_age_s * interval '1 s';
		EXIT WHEN is_too_old;
		n := n + 1;
		bytes := bytes + octet_length(e.payload);
		serial := e.serial;
		event_id := e.event_id;
		event_type := e.event_type;
		payload := e.payload;
		payload_is_text := e.payload_is_text;
		exclude_socket := e.exclude_socket;
		RETURN NEXT;
	END LOOP;
	-- After the rows: rows dropped in between would go unnoticed.
	SELECT CASE WHEN m.epoch <> p_epoch THEN 'epoch'
		    WHEN log_horizon() > p_above OR is_too_old THEN 'expired'
		    WHEN p_above > p_up_to AND p_above >= log_next_serial() THEN 'epoch'
		    WHEN is_cut THEN 'more' END
	INTO fault FROM log_meta m;
	IF p_cap > 0 AND (fault IS NULL OR fault = 'more') AND (n > p_cap OR (is_cut AND EXISTS (
		SELECT FROM realtime_events r
		WHERE r.channel = p_channel AND r.serial > p_above AND r.serial <= p_up_to
		  AND (r.app = p_app OR (r.app IS NULL AND p_is_only_app))
		  AND (not_for IS NULL OR r.exclude_socket IS NULL
		       OR r.exclude_socket <> ALL (not_for))
		ORDER BY r.serial OFFSET p_cap))) THEN
		fault := 'too_many';
	END IF;
	IF fault IS NOT NULL THEN
		RETURN NEXT;
	END IF;
END
$$;
COMMENT ON FUNCTION replay_page IS
	'One page of the events of a channel after the serial p_above, oldest first: at most '
	'p_max_rows events and about p_max_bytes of payload, but one event at least. A last row '
	'with the fault more means that further events follow. Any other fault invalidates the '
	'rows before it: epoch (another log, or p_above is later than its end), expired (the log '
	'begins later, or an event is older than p_max_age_s), too_many (more than p_cap). 0 as '
	'p_cap or p_max_age_s means no limit. Events that exclude one of the socket ids in p_was '
	'are left out.';

-- From the newest partition to the one before which all events are too old.  A minute more, because
-- the times of events are not quite in the order of their serials.
CREATE FUNCTION replay_cached(p_app text, p_is_only_app boolean, p_channel text, p_ttl_s integer)
RETURNS TABLE (fault text, serial bigint, event_id text, event_type text, payload text,
	       payload_is_text boolean, left_us bigint)
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
	SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
	valid_from CONSTANT timestamptz := clock_timestamp() - p_ttl_s * interval '1 s';
	part record;
	at timestamptz;
BEGIN
	FOR part IN SELECT p.lower, p.upper FROM log_partitions p
		    WHERE p.parent = 'realtime_events' AND p.lower IS NOT NULL
		    ORDER BY p.lower DESC LOOP
		SELECT e.serial, e.event_id, e.event_type, coalesce(e.payload::text, '{}'),
		       e.payload_is_text, coalesce(e.delivered_at, e.created_at)
		INTO serial, event_id, event_type, payload, payload_is_text, at
		FROM realtime_events e
		WHERE e.channel = p_channel AND e.serial >= part.lower AND e.serial < part.upper
		  AND (e.app = p_app OR (e.app IS NULL AND p_is_only_app))
		ORDER BY e.serial DESC LIMIT 1;
		IF FOUND THEN
			left_us := (extract(epoch FROM at - valid_from) * 1000000)::bigint;
			IF left_us > 0 THEN
				RETURN NEXT;
			END IF;
			RETURN;
		END IF;
		SELECT coalesce(e.delivered_at, e.created_at) INTO at FROM realtime_events e
		WHERE e.serial >= part.lower AND e.serial < part.upper
		ORDER BY e.serial LIMIT 1;
		EXIT WHEN at < valid_from - interval '1 min';
	END LOOP;
END
$$;
COMMENT ON FUNCTION replay_cached IS
	'The last event of a cache channel, if it is at most p_ttl_s seconds old, and for how '
	'many microseconds it stays valid.';

REVOKE EXECUTE ON FUNCTION
	replay_page(text, text, boolean, text, bigint, bigint, text, integer, integer, integer,
		    integer),
	replay_cached(text, boolean, text, integer) FROM PUBLIC;
