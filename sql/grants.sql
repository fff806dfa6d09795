-- SPDX-License-Identifier: MIT
-- Rights on the schema.  Run it as the owner of the schema, after scopewired --migrate, and again
-- after each upgrade:
--     psql -v schema=scopewire -v role=portal -f grants.sql DATABASE
--     psql -v schema=scopewire -v daemon=scopewired -f grants.sql DATABASE
-- role: an application's role, which publishes, watches tables and reads the log.  Nothing here lets
-- it give a serial, read a secret, or drain the log.
-- daemon: the role that the daemon connects as, where that is not the owner.  Nothing here lets it
-- change the schema, the predicates of channel rules, the applications or the watches.  Rules without
-- a predicate it changes by the functions of the sync API, which only the application's server may call.
-- What the role was granted in the schema before is taken back first.
\set ON_ERROR_STOP on
BEGIN;
SET LOCAL search_path = :"schema", pg_temp;
\o /dev/null
CREATE FUNCTION pg_temp.not_the_owner(p_schema text, p_role text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF EXISTS (SELECT FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner
		   WHERE n.nspname = p_schema AND r.rolname = p_role) THEN
		RAISE EXCEPTION 'the role "%" owns the schema "%": it needs no rights',
			p_role, p_schema;
	END IF;
END
$$;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA :"schema" FROM PUBLIC;

\if :{?role}
SELECT pg_temp.not_the_owner(:'schema', :'role');
REVOKE ALL ON ALL TABLES IN SCHEMA :"schema" FROM :"role";
REVOKE ALL ON ALL SEQUENCES IN SCHEMA :"schema" FROM :"role";
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA :"schema" FROM :"role";
REVOKE ALL ON SCHEMA :"schema" FROM :"role";
GRANT USAGE ON SCHEMA :"schema" TO :"role";

-- Publish: by call or by INSERT.  The columns left out are the log's own.
GRANT EXECUTE ON FUNCTION :"schema".position(), broadcast(text[], text, json, text, text),
	broadcast(text[], text, jsonb, text, text), broadcast(text[], text, text, text, text),
	broadcast(text, text, json, text, text, text),
	broadcast(text, text, jsonb, text, text, text),
	broadcast(text, text, text, text, text, text), payload_get(json, text) TO :"role";
GRANT INSERT (event_id, channel, event_type, payload, exclude_socket, app)
	ON realtime_events TO :"role";

-- Look: what was published, and to how many sockets it went.
GRANT SELECT ON realtime_events, realtime_deliveries, realtime_event_report, log_partitions,
	node_cursor, watches TO :"role";
GRANT SELECT (epoch, horizon) ON log_meta TO :"role";
GRANT EXECUTE ON FUNCTION event_report(text), lock_key(text), log_horizon() TO :"role";

-- The activity feed.
GRANT EXECUTE ON FUNCTION activity_add(text, text, user_key, text, text, jsonb, text, text)
	TO :"role";
GRANT SELECT ON activities TO :"role";

-- Users of its own table.
GRANT EXECUTE ON FUNCTION user_put(user_key, text, text, text[], text), user_delete(user_key, text)
	TO :"role";

-- Notifications.
GRANT EXECUTE ON FUNCTION notification_send(user_key[], text, text, text, jsonb, text, text),
	notifications_read(user_key, uuid[], text) TO :"role";
GRANT SELECT ON notifications, notification_boxes TO :"role";

-- Resources of the offline data sync.
GRANT EXECUTE ON FUNCTION resource_put(text, text, jsonb, text, text),
	resource_delete(text, text, text, text) TO :"role";

-- Watch tables of its own (the triggers need the right TRIGGER on the table besides).
GRANT EXECUTE ON FUNCTION watch(regclass, text, text[], text[], text, text),
	watch_define(regclass, text, text[], text[], text, text), watch_attach(watches),
	watch_send(), unwatch(regclass, text), watch_forget(integer) TO :"role";

-- Hold its own writes to an edit lock's token.
GRANT EXECUTE ON FUNCTION lock_check(text, text, bigint, text) TO :"role";

-- Ask the channel rules.
GRANT EXECUTE ON FUNCTION channel_allows(text, jsonb, text),
	require_channel(text, jsonb, text, text) TO :"role";
\endif

\if :{?daemon}
SELECT pg_temp.not_the_owner(:'schema', :'daemon');
REVOKE ALL ON ALL TABLES IN SCHEMA :"schema" FROM :"daemon";
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA :"schema" FROM :"daemon";
REVOKE ALL ON SCHEMA :"schema" FROM :"daemon";
GRANT USAGE ON SCHEMA :"schema" TO :"daemon";
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA :"schema" TO :"daemon";
REVOKE INSERT, UPDATE, DELETE ON apps, channel_rules, schema_migrations, log_leaving, watches,
	sync_validators FROM :"daemon";
REVOKE UPDATE, DELETE ON admin_audit FROM :"daemon";
GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA :"schema" TO :"daemon";
-- Every function but those that only the owner or an application's role calls.
SELECT format('GRANT EXECUTE ON FUNCTION %s TO %I', p.oid::regprocedure, :'daemon')
	FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
	WHERE n.nspname = :'schema' AND p.prorettype <> 'trigger'::regtype AND p.proname !~
	'^(watch(_define|_attach|_compile|_forget)?|unwatch|channel_predicate(_.*|s_as)|sync_validate_with|validator_run|log_partition_make)$'
	ORDER BY 1
\gexec
\endif
DROP FUNCTION pg_temp.not_the_owner(text, text);
COMMIT;
