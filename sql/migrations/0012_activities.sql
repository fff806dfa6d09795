-- SPDX-License-Identifier: MIT
-- Settings of the daemon that its functions need; and the activity feed.

-- Written by the daemon at its start.
CREATE TABLE sync_settings (
	name text PRIMARY KEY,
	value text NOT NULL
);

CREATE FUNCTION sync_settings_put(settings json) RETURNS void
LANGUAGE sql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	INSERT INTO sync_settings AS s (name, value)
	SELECT e.key, e.value FROM json_each_text(settings) e
	ON CONFLICT ON CONSTRAINT sync_settings_pkey DO UPDATE SET value = excluded.value
	WHERE s.value <> excluded.value
$$;

-- An event's name as Echo's listen(name) expects it: behind sync.event_namespace.
CREATE FUNCTION sync_event(name text) RETURNS text
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT coalesce((SELECT s.value FROM sync_settings s WHERE s.name = 'event_namespace'),
			'App\Events\') || $1
$$;

REVOKE EXECUTE ON FUNCTION sync_settings_put(json) FROM PUBLIC;
