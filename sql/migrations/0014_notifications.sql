-- SPDX-License-Identifier: MIT
-- Notifications to users, one row a recipient.

-- A transaction locks the rows of this table only while it commits, in their order: so numbers are
-- assigned in the order of commits, unread is always exact, and no transaction waits for one that is
-- open or has a deadlock with it.  What is to be done at the commit is in notification_work.
CREATE TABLE notification_boxes (
	app text NOT NULL,
	user_id user_key NOT NULL,
	last bigint NOT NULL,
	unread bigint NOT NULL CHECK (unread >= 0),
	PRIMARY KEY (app, user_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE notification_boxes IS
	'The number of notifications of each user, and how many are unread.';
COMMENT ON COLUMN notification_boxes.last IS
	'Number of the newest notification.';

CREATE FUNCTION unread_count(p_app text, p_user_id user_key) RETURNS bigint
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT coalesce((SELECT b.unread FROM notification_boxes b
			 WHERE b.app = p_app AND b.user_id = p_user_id), 0)
$$;
COMMENT ON FUNCTION unread_count IS
	'How many notifications the user has not read.';

CREATE TABLE notifications (
	app text NOT NULL,
	user_id user_key NOT NULL,
	number bigint,
	id uuid NOT NULL DEFAULT gen_random_uuid() PRIMARY KEY,
	type text NOT NULL CHECK (octet_length(type) BETWEEN 1 AND 255),
	title text NOT NULL CHECK (octet_length(title) BETWEEN 1 AND 255),
	message text CHECK (octet_length(message) <= 4000),
	data jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(data) = 'object'),
	created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	read_at timestamptz,
	CONSTRAINT notifications_number UNIQUE (app, user_id, number)
);
COMMENT ON TABLE notifications IS
	'Notifications, one row for each recipient.';
COMMENT ON COLUMN notifications.number IS
	'Counts the notifications of a user from 1, in the order of commits. NULL until the '
	'commit.';
COMMENT ON COLUMN notifications.read_at IS
	'When the user read it; NULL means unread.';
CREATE INDEX notifications_unread ON notifications (app, user_id, number) WHERE read_at IS NULL;

CREATE INDEX notifications_new ON notifications (app, user_id) WHERE number IS NULL;

CREATE TABLE notification_work (
	app text NOT NULL,
	users user_key[] NOT NULL,
	is_read boolean NOT NULL DEFAULT false,
	ids uuid[],
	at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE notification_work IS
	'Users whose notifications the transaction has changed. Rows exist inside a transaction '
	'only: its commit counts anew and deletes them.';
COMMENT ON COLUMN notification_work.is_read IS
	'The notifications up to at become read: those in ids, or all when it is NULL.';

CREATE TABLE notification_checks (
	id uuid PRIMARY KEY,
	app text NOT NULL,
	user_id user_key NOT NULL,
	channels text[] NOT NULL,
	event_ids text[] NOT NULL,
	after_serial bigint NOT NULL,
	created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE notification_checks IS
	'Notifications of which it is not decided yet whether they reached a socket: '
	'webhook_undelivered() decides it and deletes the row.';
COMMENT ON COLUMN notification_checks.event_ids IS
	'The events of the notification, one for each of its channels.';
COMMENT ON COLUMN notification_checks.after_serial IS
	'The events have serials after this one.';
CREATE INDEX notification_checks_created ON notification_checks (created_at);

CREATE FUNCTION notifications_settle() RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	box record;
	newest bigint;
	added bigint;
	before bigint;
	now_unread bigint;
BEGIN
	FOR box IN SELECT w.app, u.id AS user_id FROM notification_work w, unnest(w.users) u(id)
		   GROUP BY 1, 2 ORDER BY 1, 2 LOOP
		INSERT INTO notification_boxes AS b (app, user_id, last, unread)
		VALUES (box.app, box.user_id, 0, 0)
		ON CONFLICT ON CONSTRAINT notification_boxes_pkey DO UPDATE SET last = b.last
		RETURNING b.last, b.unread INTO newest, before;
		UPDATE notifications n SET number = newest + r.nth
		FROM (SELECT m.id, row_number() OVER (ORDER BY m.created_at, m.id) AS nth
		      FROM notifications m
		      WHERE m.app = box.app AND m.user_id = box.user_id AND m.number IS NULL) r
		WHERE n.id = r.id;
		GET DIAGNOSTICS added = ROW_COUNT;
		UPDATE notifications n SET read_at = clock_timestamp()
		FROM notification_work w
		WHERE w.is_read AND w.app = box.app AND box.user_id = ANY(w.users)
		AND n.app = box.app AND n.user_id = box.user_id AND n.read_at IS NULL
		AND n.created_at <= w.at AND (w.ids IS NULL OR n.id = ANY(w.ids));
		now_unread := (SELECT count(*) FROM notifications n
			       WHERE n.app = box.app AND n.user_id = box.user_id AND n.read_at IS NULL);
		IF added > 0 OR now_unread <> before THEN
			UPDATE notification_boxes b SET last = newest + added, unread = now_unread
			WHERE b.app = box.app AND b.user_id = box.user_id;
			PERFORM notifications_tell_unread(box.app, box.user_id, now_unread);
		END IF;
	END LOOP;
	DELETE FROM notification_work;
END
$$;
COMMENT ON FUNCTION notifications_settle IS
	'Does the work of the transaction: numbers new notifications, marks as read, counts, and '
	'broadcasts counts that changed. Locks each user''s row, in their order.';

CREATE FUNCTION notification_work_commit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	-- The first row does the work of all.
	IF EXISTS (SELECT FROM notification_work) THEN
		PERFORM notifications_settle();
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION notification_work_commit IS
	'Trigger of notification_work, at the commit.';
CREATE CONSTRAINT TRIGGER notification_work_commit AFTER INSERT ON notification_work
	DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION notification_work_commit();

CREATE FUNCTION notifications_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	INSERT INTO notification_work (app, users)
	SELECT o.app, array_agg(DISTINCT o.user_id) FROM old_rows o WHERE o.read_at IS NULL
	GROUP BY o.app;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION notifications_deleted IS
	'Trigger of notifications: deleted rows do not count as unread any more.';
CREATE TRIGGER notifications_deleted AFTER DELETE ON notifications
	REFERENCING OLD TABLE AS old_rows
	FOR EACH STATEMENT EXECUTE FUNCTION notifications_deleted();

CREATE FUNCTION notifications_truncated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	INSERT INTO notification_work (app, users)
	SELECT b.app, array_agg(b.user_id) FROM notification_boxes b WHERE b.unread > 0
	GROUP BY b.app;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION notifications_truncated IS
	'Trigger of notifications: after TRUNCATE no user has unread ones.';
CREATE TRIGGER notifications_truncated AFTER TRUNCATE ON notifications
	FOR EACH STATEMENT EXECUTE FUNCTION notifications_truncated();

CREATE FUNCTION notification_json(p_row notifications) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
BEGIN
	RETURN json_build_object('id', p_row.id, 'type', p_row.type, 'title', p_row.title,
				 'message', p_row.message, 'data', p_row.data, 'read_at', iso(p_row.read_at),
				 'created_at', iso(p_row.created_at));
END
$$;
COMMENT ON FUNCTION notification_json IS
	'A notification as JSON, as the API lists it.';

CREATE FUNCTION notification_event(p_row notifications) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
BEGIN
	RETURN p_row.data || jsonb_build_object('title', p_row.title, 'message', p_row.message,
		'body', p_row.message, 'created_at', iso(p_row.created_at), 'id', p_row.id,
		'type', p_row.type);
END
$$;
COMMENT ON FUNCTION notification_event IS
	'The payload of the event for a notification, as Laravel''s '
	'BroadcastNotificationCreated has it. The text has both names, message and body.';

CREATE FUNCTION notifications_tell_unread(p_app text, p_user_id user_key, p_unread bigint)
RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	PERFORM broadcast(user_channels(p_user_id), sync_event('NotificationsUnread'),
			  json_build_object('unread', p_unread), NULL, p_app);
END
$$;
COMMENT ON FUNCTION notifications_tell_unread IS
	'Broadcasts to a user how many notifications are unread.';

CREATE FUNCTION notification_recipients_max() RETURNS integer
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT coalesce((SELECT s.value::integer FROM sync_settings s
			 WHERE s.name = 'max_notification_recipients'), 1000)
$$;
COMMENT ON FUNCTION notification_recipients_max IS
	'The limit of recipients of one notification.';

CREATE FUNCTION notification_channels(p_user_id user_key, p_channel text) RETURNS text[]
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT CASE WHEN p_channel IS NULL THEN user_channels(p_user_id)
		    ELSE ARRAY[replace(p_channel, '{id}', p_user_id::text)] END
$$;
COMMENT ON FUNCTION notification_channels IS
	'Where a notification of the user is broadcast: on p_channel, where {id} is the user''s id, or on '
	'the channels of the user.';

CREATE FUNCTION notification_channel_check(p_users user_key[], p_channel text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = @SCHEMA@, pg_temp
AS $$
BEGIN
	IF replace(p_channel, '{id}', '1') COLLATE "C" !~ '^(private|presence)-[-a-zA-Z0-9_=@,.;]{1,150}$'
	   OR p_channel ~ '^private-encrypted-' THEN
		PERFORM sync_fail(400, 'invalid_value', 'channel must be the name of a private or presence '
				  'channel, such as private-App.Models.Customer.{id}.', 'channel');
	ELSIF strpos(p_channel, '{id}') = 0 AND (SELECT count(DISTINCT u) > 1 FROM unnest(p_users) u) THEN
		PERFORM sync_fail(400, 'invalid_value', 'With several recipients channel needs {id}, the id '
				  'of each of them.', 'channel');
	END IF;
END
$$;
COMMENT ON FUNCTION notification_channel_check IS
	'Refuses a channel that is none, or that several recipients would share.';

CREATE FUNCTION notification_send(users user_key[], title text, message text DEFAULT NULL,
				  type text DEFAULT 'notification', data jsonb DEFAULT '{}',
				  app text DEFAULT NULL, channel text DEFAULT NULL)
RETURNS TABLE (user_id user_key, id uuid)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	known CONSTANT record := log_app($6);
	after_serial CONSTANT bigint := (SELECT s.last_value FROM realtime_events_serial s);
	sent record;
	payload json;
	channels text[];
BEGIN
	PERFORM notification_channel_check($1, $7);
	IF cardinality($1) > notification_recipients_max() THEN
		PERFORM sync_fail(400, 'too_many_recipients', format('A notification goes to at most '
			'%s users; see sync.max_notification_recipients.', notification_recipients_max()));
	END IF;
	FOR sent IN
		WITH rows AS (
			INSERT INTO notifications AS n (app, user_id, type, title, message, data)
			SELECT known.app, r.id, coalesce($4, 'notification'), $2, $3, coalesce($5, '{}')
			FROM (SELECT DISTINCT u.id FROM unnest($1) u(id)) r
			RETURNING n.*
		)
		SELECT r.user_id, r.id, notification_event(r) AS event
		FROM rows r ORDER BY r.user_id
	LOOP
		-- On a channel of another kind only this has the user: user_has_event() reads it.
		payload := CASE WHEN $7 IS NULL THEN sent.event ELSE
			(sent.event::jsonb || jsonb_build_object('recipient_id', sent.user_id))::json END;
		IF octet_length(payload::text) > nullif(known.max_payload, 0) THEN
			PERFORM sync_fail(413, 'too_large', format('The notification makes an event of %s '
				'bytes; the application''s max_event_payload_bytes is %s.',
				octet_length(payload::text), known.max_payload), 'data');
		END IF;
		channels := notification_channels(sent.user_id, $7);
		INSERT INTO notification_checks (id, app, user_id, channels, event_ids, after_serial)
		VALUES (sent.id, known.app, sent.user_id, channels, broadcast(channels,
			'Illuminate\Notifications\Events\BroadcastNotificationCreated', payload, NULL,
			known.app), after_serial - 1);
		user_id := sent.user_id;
		id := sent.id;
		RETURN NEXT;
	END LOOP;
	IF FOUND THEN
		INSERT INTO notification_work (app, users) VALUES (known.app, $1);
	END IF;
END
$$;
COMMENT ON FUNCTION notification_send IS
	'Stores a notification for each of the users and broadcasts it when the transaction '
	'commits. Can be called in the application''s own transactions.';

CREATE FUNCTION notifications_read(user_id user_key, ids uuid[] DEFAULT NULL, app text DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	known CONSTANT record := log_app($3);
	marked bigint;
BEGIN
	SELECT count(*) INTO marked FROM notifications n
	WHERE n.app = known.app AND n.user_id = $1 AND n.read_at IS NULL
	AND ($2 IS NULL OR n.id = ANY($2));
	IF marked > 0 THEN
		INSERT INTO notification_work (app, users, is_read, ids)
		VALUES (known.app, ARRAY[$1], true, $2);
	END IF;
	RETURN marked;
END
$$;
COMMENT ON FUNCTION notifications_read IS
	'Marks notifications of a user as read when the transaction commits: those in ids, or all '
	'when it is NULL. Returns how many were unread; the new count is broadcast if there were any.';

CREATE FUNCTION json_each_of(p_value jsonb) RETURNS SETOF jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT e FROM jsonb_array_elements(
		CASE jsonb_typeof(p_value) WHEN 'array' THEN p_value
		     ELSE jsonb_build_array(p_value) END) e
	WHERE p_value IS NOT NULL
$$;
COMMENT ON FUNCTION json_each_of IS
	'The elements of a JSON list, or the one value when it is not a list.';

CREATE FUNCTION notification_recipients(p_app text, p_recipient_id jsonb, p_recipient_role jsonb,
					p_to jsonb, p_allow_empty boolean) RETURNS user_key[]
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	target record;
	named user_key[] := '{}';
	one user_key;
	role_list text[] := '{}';
	unknown text;
BEGIN
	FOR target IN
		SELECT 'recipient_id' AS field, true AS is_user, e FROM json_each_of(p_recipient_id) e
		UNION ALL
		SELECT 'recipient_role', false, e FROM json_each_of(p_recipient_role) e
		UNION ALL
		SELECT 'to', jsonb_typeof(e) = 'number' OR e #>> '{}' ~ '^(user:.*|-?[0-9]+)$', e
		FROM json_each_of(p_to) e
	LOOP
		DECLARE
			value CONSTANT text := CASE target.field WHEN 'to'
				THEN regexp_replace(target.e #>> '{}', '^(user|role):', '')
				ELSE target.e #>> '{}' END;
		BEGIN
			one := CASE WHEN target.is_user AND jsonb_typeof(target.e) IN ('number', 'string')
				   THEN user_key_read(value) END;
			IF one IS NOT NULL THEN
				named := array_append(named, one);
			ELSIF NOT target.is_user AND jsonb_typeof(target.e) = 'string'
			      AND length(value) BETWEEN 1 AND 64 THEN
				role_list := role_list || value;
			ELSE
				PERFORM sync_fail(400, 'invalid_value', format('%s must be %s, or a list '
					'of these; %s is not.', target.field, CASE target.field
					WHEN 'recipient_id' THEN 'a user''s id, ' || user_key_rule()
					WHEN 'recipient_role' THEN 'a role of 1 to 64 characters'
					ELSE 'a user''s id, or a role of 1 to 64 characters' END,
					left(target.e::text, 80)), target.field);
			END IF;
		END;
	END LOOP;
	IF NOT p_allow_empty THEN
		SELECT r INTO unknown FROM unnest(role_list) r
		WHERE NOT EXISTS (SELECT FROM users u WHERE u.app = p_app AND u.roles @> ARRAY[r]) LIMIT 1;
		IF FOUND THEN
			PERFORM sync_fail(404, 'unknown_recipient', format('No user has the role "%s"; PUT '
				'users/{id} sets roles. With "allow_empty": true that is no error.', unknown),
				CASE WHEN p_to IS NULL THEN 'recipient_role' ELSE 'to' END);
		ELSIF cardinality(named) + cardinality(role_list) = 0 THEN
			PERFORM sync_fail(404, 'unknown_recipient', 'The list of recipients is empty. With '
				'"allow_empty": true that is no error.', CASE WHEN p_to IS NOT NULL THEN 'to'
				WHEN p_recipient_id IS NOT NULL THEN 'recipient_id' ELSE 'recipient_role' END);
		END IF;
	END IF;
	RETURN ARRAY(SELECT n FROM unnest(named) n UNION SELECT u.id FROM users u
		     WHERE u.app = p_app AND u.roles && role_list
		     LIMIT notification_recipients_max() + 1);
END
$$;
COMMENT ON FUNCTION notification_recipients IS
	'The ids of users that are given by id or by role; at most one more than the limit. Without '
	'p_allow_empty a role that no user has, or an empty list, is refused.';

CREATE FUNCTION sync_notification_send(p_app text, p_caller jsonb, p_recipient_type text,
				       p_recipient_id jsonb, p_recipient_role jsonb, p_to jsonb,
				       p_title text, p_message text, p_body text, p_type text,
				       p_data jsonb, p_allow_empty boolean, p_channel text,
				       OUT status integer, OUT answer json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	wanted CONSTANT text := CASE WHEN p_recipient_type LIKE 'role%' THEN 'recipient_role'
				     WHEN p_recipient_type LIKE 'user%' THEN 'recipient_id' END;
	other CONSTANT text := CASE wanted WHEN 'recipient_id' THEN 'recipient_role'
				    ELSE 'recipient_id' END;
	given CONSTANT jsonb := jsonb_strip_nulls(jsonb_build_object('to', p_to,
		'recipient_id', p_recipient_id, 'recipient_role', p_recipient_role));
	users user_key[];
BEGIN
	IF wanted IS NULL AND given = '{}' THEN
		PERFORM sync_fail(400, 'missing_field', 'to is missing: a user''s id, or a role.', 'to');
	ELSIF wanted IS NOT NULL AND NOT given ? wanted THEN
		PERFORM sync_fail(400, 'missing_field', format('recipient_type=%s needs %s.',
				  p_recipient_type, wanted), wanted);
	ELSIF wanted IS NOT NULL AND given ? other THEN
		PERFORM sync_fail(400, 'invalid_value', format('recipient_type=%s does not go with %s.',
				  p_recipient_type, other), other);
	ELSIF given ? 'to' AND (wanted IS NOT NULL OR given - 'to' <> '{}') THEN
		PERFORM sync_fail(400, 'invalid_value', 'to does not go with recipient fields.', 'to');
	ELSIF p_message <> p_body THEN
		PERFORM sync_fail(400, 'invalid_value',
				  'message and body are the same field; they differ.', 'body');
	END IF;
	users := notification_recipients(p_app, p_recipient_id, p_recipient_role, p_to, p_allow_empty);
	SELECT count(*), json_build_object('recipients', count(*), 'notifications',
		coalesce(json_agg(json_build_object('id', s.id, 'user_id', s.user_id)), '[]'))
	INTO status, answer
	FROM notification_send(users, p_title, coalesce(p_message, p_body), p_type, p_data, p_app, p_channel) s;
	PERFORM notifications_settle();
	status := CASE status WHEN 0 THEN 200 ELSE 201 END;
END
$$;
COMMENT ON FUNCTION sync_notification_send IS
	'POST /notifications.';

CREATE FUNCTION sync_notifications(p_app text, p_caller jsonb, p_user_id user_key, p_unread boolean,
				   p_type jsonb, p_cursor text, p_limit integer, OUT status integer,
				   OUT body json)
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	scope CONSTANT json := json_build_array('notifications', p_app, p_user_id, p_unread, p_type);
	k CONSTANT record := keyset_read(scope, p_cursor);
	size CONSTANT integer := p_limit;
	page record;
BEGIN
	EXECUTE format($f$
		WITH found AS MATERIALIZED (
			SELECT n, n.number FROM notifications n
			WHERE n.app = $1 AND n.user_id = $2 AND n.number %1$s $3 %3$s
			ORDER BY n.number %2$s LIMIT $4 + 1
		), sized AS (
			SELECT f.n, f.number, row_number() OVER w AS place, sum(octet_length(
				(f.n).data::text) + coalesce(octet_length((f.n).message), 0)) OVER w AS bytes
			FROM found f WINDOW w AS (ORDER BY f.number %2$s)
		), shown AS MATERIALIZED (
			SELECT s.n, s.number FROM sized s
			WHERE s.place <= $4 AND (s.place = 1 OR s.bytes <= 1000000)
		)
		SELECT (SELECT json_agg(notification_json(s.n) ORDER BY s.number DESC)
			FROM shown s) AS rows,
		       (SELECT CASE WHEN '%1$s' = '>' THEN max(s.number) ELSE min(s.number) END
			FROM shown s WHERE (SELECT count(*) FROM found)
				> (SELECT count(*) FROM shown)) AS stop,
		       coalesce(b.last, 0) AS top, coalesce(b.unread, 0) AS unread
		FROM (VALUES (1)) v LEFT JOIN notification_boxes b ON b.app = $1 AND b.user_id = $2 $f$,
		CASE WHEN k.is_newer THEN '>' ELSE '<' END,
		CASE WHEN k.is_newer THEN 'ASC' ELSE 'DESC' END,
		CASE WHEN p_unread THEN 'AND n.read_at IS NULL' ELSE '' END
		|| CASE WHEN p_type IS NOT NULL
			THEN ' AND n.type = ANY (ARRAY(SELECT jsonb_array_elements_text($5)))' ELSE '' END)
	INTO page USING p_app, p_user_id, k.start, size, p_type;
	status := 200;
	SELECT json_build_object('notifications', coalesce(page.rows, '[]'), 'unread', page.unread,
				 'next_cursor', c.next_cursor, 'prev_cursor', c.prev_cursor,
				 'has_newer', c.has_newer, 'channels', user_channels(p_user_id))
	INTO body FROM keyset_around(scope, k.is_newer, k.start, page.stop, page.top) c;
END
$$;
COMMENT ON FUNCTION sync_notifications IS
	'GET /notifications: a page of a user''s notifications, and where new ones are broadcast.';

CREATE FUNCTION notifications_named(p_app text, p_user_id user_key, p_id text, p_ids jsonb,
				    p_all boolean) RETURNS uuid[]
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	field CONSTANT text := CASE WHEN p_id IS NULL THEN 'ids' ELSE 'id' END;
	texts CONSTANT text[] := CASE WHEN p_id IS NOT NULL THEN ARRAY[p_id]
		WHEN p_ids IS NOT NULL THEN ARRAY(SELECT jsonb_array_elements_text(p_ids)) END;
	wanted uuid[];
BEGIN
	IF num_nonnulls(p_id, p_ids, nullif(p_all, false)) <> 1 THEN
		PERFORM sync_fail(400, 'missing_field', 'Give one of id, ids and "all": true.', 'id');
	END IF;
	IF EXISTS (SELECT FROM unnest(texts) t WHERE lower(t) COLLATE "C"
		   !~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$') THEN
		PERFORM sync_fail(400, 'invalid_value', format('%s must be UUIDs, as the list of '
				  'notifications gives them.', field), field);
	END IF;
	wanted := texts::uuid[];
	IF EXISTS (SELECT FROM unnest(wanted) w(id) WHERE NOT EXISTS (
			SELECT FROM notifications n
			WHERE n.id = w.id AND n.app = p_app AND n.user_id = p_user_id)) THEN
		PERFORM sync_fail(404, 'unknown_notification',
				  'The user has no notification of such an id; nothing was changed.', field);
	END IF;
	RETURN wanted;
END
$$;
COMMENT ON FUNCTION notifications_named IS
	'The ids of a user''s notifications that a request names, NULL for all; refuses ids that the '
	'user does not have.';

CREATE FUNCTION sync_notifications_read(p_app text, p_caller jsonb, p_user_id user_key, p_id text,
					p_ids jsonb, p_all boolean, OUT status integer,
					OUT body json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	marked CONSTANT bigint := notifications_read(p_user_id,
		notifications_named(p_app, p_user_id, p_id, p_ids, p_all), p_app);
BEGIN
	PERFORM notifications_settle();
	status := 200;
	body := json_build_object('read', marked, 'unread', unread_count(p_app, p_user_id));
END
$$;
COMMENT ON FUNCTION sync_notifications_read IS
	'POST /notifications/read: one, several or all.';

-- The box first, as at a commit: in another order two calls could have a deadlock.
CREATE FUNCTION notification_box_lock(p_app text, p_user_id user_key) RETURNS void
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
BEGIN
	PERFORM FROM notification_boxes b WHERE b.app = p_app AND b.user_id = p_user_id FOR UPDATE;
END
$$;
COMMENT ON FUNCTION notification_box_lock IS
	'Locks the row with a user''s counts until the end of the transaction.';

CREATE FUNCTION sync_notifications_unread(p_app text, p_caller jsonb, p_user_id user_key, p_id text,
					  p_ids jsonb, p_all boolean, OUT status integer,
					  OUT body json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	wanted CONSTANT uuid[] := notifications_named(p_app, p_user_id, p_id, p_ids, p_all);
	marked bigint;
BEGIN
	PERFORM notification_box_lock(p_app, p_user_id);
	UPDATE notifications n SET read_at = NULL
	WHERE n.app = p_app AND n.user_id = p_user_id AND n.read_at IS NOT NULL
	AND (wanted IS NULL OR n.id = ANY (wanted));
	GET DIAGNOSTICS marked = ROW_COUNT;
	IF marked > 0 THEN
		INSERT INTO notification_work (app, users) VALUES (p_app, ARRAY[p_user_id]);
		PERFORM notifications_settle();
	END IF;
	status := 200;
	body := json_build_object('marked', marked, 'unread', unread_count(p_app, p_user_id));
END
$$;
COMMENT ON FUNCTION sync_notifications_unread IS
	'POST /notifications/unread: one, several or all are unread again.';

CREATE FUNCTION sync_notifications_delete(p_app text, p_caller jsonb, p_user_id user_key, p_id text,
					  p_ids jsonb, p_all boolean, OUT status integer,
					  OUT body json)
LANGUAGE plpgsql SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	wanted CONSTANT uuid[] := notifications_named(p_app, p_user_id, p_id, p_ids, p_all);
	gone bigint;
BEGIN
	PERFORM notification_box_lock(p_app, p_user_id);
	DELETE FROM notifications n WHERE n.app = p_app AND n.user_id = p_user_id
	AND (wanted IS NULL OR n.id = ANY (wanted));
	GET DIAGNOSTICS gone = ROW_COUNT;
	PERFORM notifications_settle();
	status := 200;
	body := json_build_object('deleted', gone, 'unread', unread_count(p_app, p_user_id));
END
$$;
COMMENT ON FUNCTION sync_notifications_delete IS
	'DELETE /notifications: one, several or all.';

CREATE FUNCTION sync_notification_counts(p_app text, p_caller jsonb, p_user_ids jsonb,
					 OUT status integer, OUT body json)
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT 200, json_build_object('counts', json_agg(
		json_build_object('user_id', u.id, 'unread', coalesce(b.unread, 0)) ORDER BY u.id))
	FROM unnest(ids_read(p_user_ids, 'user_ids')) u(id)
	LEFT JOIN notification_boxes b ON b.app = p_app AND b.user_id = u.id
$$;
COMMENT ON FUNCTION sync_notification_counts IS
	'GET /notifications/counts: the unread counts of several users.';

REVOKE EXECUTE ON FUNCTION notifications_tell_unread(text, user_key, bigint),
	notifications_settle(), notification_work_commit(), notifications_deleted(),
	notifications_truncated(),
	notification_send(user_key[], text, text, text, jsonb, text, text),
	sync_notifications_delete(text, jsonb, user_key, text, jsonb, boolean),
	sync_notifications_unread(text, jsonb, user_key, text, jsonb, boolean),
	notification_box_lock(text, user_key), notifications_read(user_key, uuid[], text) FROM PUBLIC;
