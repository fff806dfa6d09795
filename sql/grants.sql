-- SPDX-License-Identifier: MIT
-- What an application's own role needs to publish and to watch tables.  Run it as the owner of
-- the schema, after the daemon has migrated it:
--     psql -v role=portal -v schema=scopewire -f grants.sql DATABASE
-- It may be run again.  Nothing here lets the role give a serial, read a secret or drain the log.
\set ON_ERROR_STOP on
BEGIN;
GRANT USAGE ON SCHEMA :"schema" TO :"role";
SET LOCAL search_path = :"schema", pg_temp;

-- Publish: by call or by INSERT.  The columns left out are the log's own.
GRANT EXECUTE ON FUNCTION broadcast(text, text, json, text, text, text) TO :"role";
GRANT INSERT (event_id, channel, event_type, payload, exclude_socket, app)
	ON realtime_events TO :"role";

-- Look: what was published, and to how many sockets it went.
GRANT SELECT ON realtime_events, realtime_deliveries, realtime_event_report, log_partitions,
	relay_cursor, watches TO :"role";
GRANT SELECT (epoch, horizon) ON log_meta TO :"role";
GRANT EXECUTE ON FUNCTION event_report(text) TO :"role";

-- The activity feed.
GRANT EXECUTE ON FUNCTION activity_add(text, text, bigint, text, text, jsonb, text, text)
	TO :"role";
GRANT SELECT ON activities TO :"role";

-- Notifications.
GRANT EXECUTE ON FUNCTION notification_send(bigint[], text, text, text, jsonb, text),
	notifications_read(bigint, uuid[], text) TO :"role";
GRANT SELECT ON notifications, notification_boxes TO :"role";

-- Watch tables of its own (the triggers need the right TRIGGER on the table besides).
GRANT EXECUTE ON FUNCTION watch(regclass, text, text[], text[], text, text),
	watch_define(regclass, text, text[], text[], text, text), watch_attach(watches),
	watch_send(), unwatch(regclass, text), watch_forget(integer) TO :"role";

-- Hold its own writes to an edit lock's token.
GRANT EXECUTE ON FUNCTION lock_check(text, text, bigint, text) TO :"role";
COMMIT;
