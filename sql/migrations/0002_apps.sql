-- SPDX-License-Identifier: MIT
-- Applications beside those of the configuration file.  The columns are soketi's, so that its
-- table can be copied over as it is; NULL leaves an option at its default.  Every other option
-- of an [app ID] section goes into options, by the name it has there.

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

CREATE FUNCTION apps_changed() RETURNS trigger
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp
AS $$
BEGIN
	NOTIFY scopewire_apps;
	RETURN NULL;
END
$$;

CREATE TRIGGER apps_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON apps
	FOR EACH STATEMENT EXECUTE FUNCTION apps_changed();
