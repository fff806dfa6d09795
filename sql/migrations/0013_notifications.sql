-- SPDX-License-Identifier: MIT
-- Notifications to users, one row a recipient.

-- A user's notifications counted.  Whoever sends one or marks one read locks this row until its
-- commit: so numbers are given in the order of commits, and unread is always right.
CREATE TABLE notification_boxes (
	app text NOT NULL,
	user_id bigint NOT NULL CHECK (user_id > 0),
	last bigint NOT NULL,	-- number of the newest
	unread bigint NOT NULL CHECK (unread >= 0),
	PRIMARY KEY (app, user_id)
) WITH (fillfactor = 50);

CREATE FUNCTION unread_count(app text, user_id bigint) RETURNS bigint
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
	SELECT coalesce((SELECT b.unread FROM notification_boxes b
			 WHERE b.app = $1 AND b.user_id = $2), 0)
$$;
