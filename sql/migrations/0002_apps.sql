-- SPDX-License-Identifier: MIT
-- Applications: those of the table apps, and what the log must know of all of them.

CREATE TABLE apps (
	id text PRIMARY KEY,
	key text NOT NULL UNIQUE,
	secret text NOT NULL,
	max_connections integer,
	enable_client_messages boolean NOT NULL DEFAULT false,
	enabled boolean NOT NULL DEFAULT true,
	max_backend_events_per_sec integer,
	max_client_events_per_sec integer,
	max_read_req_per_sec integer,
	webhooks json,
	max_presence_members_per_channel integer,
	max_presence_member_size_in_kb integer,
	max_channel_name_length integer,
	max_event_channels_at_once integer,
	max_event_name_length integer,
	max_event_payload_in_kb integer,
	max_event_batch_size integer,
	enable_user_authentication boolean NOT NULL DEFAULT false,
	options json CHECK (json_typeof(options) = 'object')
);
COMMENT ON TABLE apps IS
	'Applications in addition to those of the configuration file. The columns are those of '
	'soketi; NULL keeps an option at its default.';
COMMENT ON COLUMN apps.options IS
	'Further options of an [app ID] section, by their names there.';
COMMENT ON COLUMN apps.enabled IS
	'Whether clients of the application are served.';
COMMENT ON COLUMN apps.webhooks IS
	'Accepted for compatibility with soketi.';

CREATE FUNCTION apps_changed() RETURNS trigger
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp
AS $$
BEGIN
	NOTIFY scopewire_apps;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION apps_changed IS
	'Trigger of apps: notifies the daemons of a change.';
CREATE TRIGGER apps_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON apps
	FOR EACH STATEMENT EXECUTE FUNCTION apps_changed();

CREATE TABLE log_apps (
	app text PRIMARY KEY,
	max_channel_bytes integer NOT NULL,
	max_event_bytes integer NOT NULL,
	max_payload_bytes integer NOT NULL,
	is_only boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE log_apps IS
	'The applications that a daemon serves and their limits, written by the daemon. 0 means '
	'no limit. Empty before its first start.';
COMMENT ON COLUMN log_apps.is_only IS
	'This is the only application: events without an application belong to it.';

CREATE FUNCTION log_apps_count() RETURNS trigger
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	UPDATE log_apps SET is_only = NOT is_only
	WHERE is_only <> ((SELECT count(*) FROM log_apps) = 1);
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION log_apps_count IS
	'Trigger of log_apps: maintains is_only.';
CREATE TRIGGER log_apps_count AFTER INSERT OR DELETE ON log_apps
	FOR EACH STATEMENT EXECUTE FUNCTION log_apps_count();

CREATE FUNCTION log_app(p_app text, OUT app text, OUT max_channel integer, OUT max_event integer,
			OUT max_payload integer)
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	wanted CONSTANT text := p_app;
	found log_apps;
BEGIN
	SELECT a.* INTO found FROM log_apps a WHERE wanted IS NULL OR a.app = wanted
	ORDER BY a.app LIMIT 1;
	IF found.app IS NULL THEN
		IF EXISTS (SELECT FROM log_apps) THEN
			RAISE EXCEPTION 'the application "%" is not known', wanted
				USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Known are: ' || (SELECT string_agg(a.app, ', ' ORDER BY a.app)
							 FROM log_apps a) || '.';
		END IF;
		max_channel := 200;
		max_event := 200;
		max_payload := 10240;
		RETURN;
	END IF;
	IF wanted IS NULL AND (SELECT count(*) > 1 FROM log_apps) THEN
		RAISE EXCEPTION 'there are several applications, and none is named'
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Name one of: ' || (SELECT string_agg(a.app, ', ' ORDER BY a.app)
						   FROM log_apps a) || '.';
	END IF;
	app := found.app;
	max_channel := found.max_channel_bytes;
	max_event := found.max_event_bytes;
	max_payload := found.max_payload_bytes;
END
$$;
COMMENT ON FUNCTION log_app IS
	'An application and its limits. p_app NULL means the only one; an unknown or missing '
	'name is an error.';

REVOKE EXECUTE ON FUNCTION log_apps_count(), log_app(text) FROM PUBLIC;
