-- SPDX-License-Identifier: MIT
-- Applications: those of the table apps, and what the log must know of all of them.

-- Flags and webhooks are text: PostgreSQL assigns values of any type to text, so that rows of soketi's
-- table, which has smallint flags and json or text webhooks, can be inserted as they are.
CREATE TABLE apps (
	id text PRIMARY KEY,
	key text NOT NULL UNIQUE,
	secret text NOT NULL,
	max_connections integer,
	enable_client_messages text,
	enabled text,
	max_backend_events_per_sec integer,
	max_client_events_per_sec integer,
	max_read_req_per_sec integer,
	webhooks text,
	max_presence_members_per_channel integer,
	max_presence_member_size_in_kb integer,
	max_channel_name_length integer,
	max_event_channels_at_once integer,
	max_event_name_length integer,
	max_event_payload_in_kb integer,
	max_event_batch_size integer,
	enable_user_authentication text,
	options json CHECK (json_typeof(options) = 'object'),
	auth_url text CONSTRAINT apps_auth_url_is_http CHECK (auth_url ~ '^(https?://.*)?$')
);
COMMENT ON TABLE apps IS
	'Applications in addition to those of the configuration file. The columns are those of '
	'soketi, in their order, then options and auth_url; NULL keeps an option at its default. '
	'Flags are true, false, 1, 0, yes or no; -1 is no limit where an option has that.';
COMMENT ON COLUMN apps.options IS
	'Further options of an [app ID] section, by their names there.';
COMMENT ON COLUMN apps.auth_url IS
	'The URL of the application that decides who may join, in place of the channel rules; see '
	'docs/sync/authorization.md.';
COMMENT ON COLUMN apps.enabled IS
	'Whether clients of the application are served.';
COMMENT ON COLUMN apps.webhooks IS
	'The endpoints of webhooks as JSON, as soketi has them; see docs/webhooks.md.';

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
	is_default boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE log_apps IS
	'The applications that a daemon serves and their limits, written by the daemon. 0 means '
	'no limit. Empty before its first start.';
COMMENT ON COLUMN log_apps.is_default IS
	'Events without an application belong to this one: the only application, and it remains '
	'when others are added.';

CREATE FUNCTION log_apps_count() RETURNS trigger
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	UPDATE log_apps SET is_default = true
	WHERE NOT is_default AND (SELECT count(*) FROM log_apps) = 1;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION log_apps_count IS
	'Trigger of log_apps: an application that is the only one becomes the default.';
CREATE TRIGGER log_apps_count AFTER INSERT OR DELETE ON log_apps
	FOR EACH STATEMENT EXECUTE FUNCTION log_apps_count();

-- The setting is made with ALTER ROLE portal SET scopewire.app = 'portal', or in a session.
CREATE FUNCTION log_app_wanted(p_app text) RETURNS text
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT coalesce(p_app, nullif(current_setting('scopewire.app', true), ''),
			(SELECT a.app FROM log_apps a WHERE a.is_default))
$$;
COMMENT ON FUNCTION log_app_wanted IS
	'The application that a caller means: the one that is named, that of the setting '
	'scopewire.app, or the default.';

CREATE FUNCTION log_app(p_app text, OUT app text, OUT max_channel integer, OUT max_event integer,
			OUT max_payload integer)
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	wanted CONSTANT text := log_app_wanted(p_app);
	found log_apps;
	known CONSTANT text := (SELECT string_agg(a.app, ', ' ORDER BY a.app) FROM log_apps a);
BEGIN
	SELECT a.* INTO found FROM log_apps a WHERE a.app = wanted;
	IF found.app IS NULL AND known IS NULL THEN
		max_channel := 200;
		max_event := 200;
		max_payload := 10240;
	ELSIF wanted IS NULL THEN
		RAISE EXCEPTION 'there are several applications, and none is named'
			USING ERRCODE = 'invalid_parameter_value',
			HINT = format('Name one of: %s. Or ALTER ROLE ... SET scopewire.app = ''...''.',
				      known);
	ELSIF found.app IS NULL THEN
		RAISE EXCEPTION 'the application "%" is not known', wanted
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Known are: ' || known || '.';
	ELSE
		app := found.app;
		max_channel := found.max_channel_bytes;
		max_event := found.max_event_bytes;
		max_payload := found.max_payload_bytes;
	END IF;
END
$$;
COMMENT ON FUNCTION log_app IS
	'An application and its limits. p_app NULL means the caller''s (log_app_wanted()); an '
	'unknown or missing name is an error.';

REVOKE EXECUTE ON FUNCTION log_apps_count(), log_app(text), log_app_wanted(text)
	FROM PUBLIC;
