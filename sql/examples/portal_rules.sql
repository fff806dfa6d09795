-- SPDX-License-Identifier: MIT
-- Channel rules of a client portal, as an example to start from: who may join its channels.
-- Run it as the owner of the schema, in the database of the portal's tables:
--     psql -v schema=scopewire -f portal_rules.sql DATABASE
-- It may be run again: rules that are there already stay as they are.
--
-- It presumes these tables (ids bigint), in public; edit the predicates where yours differ:
--     client_user(client_id, user_id)    the users who work for or belong to a client
--     project_user(project_id, user_id)  the members of a project
--     projects(id, client_id)            a project's client
--     invoices(id, client_id)            an invoice's client
--     documents(id, project_id)          a document's project
--     timesheets(id, user_id)            whose timesheet it is
--     workflows(id, project_id)          a workflow's project
-- and the roles admin and manager, in the users' tokens or set by PUT /api/sync/users/{id}.
-- The role that predicates run as reads the tables (docs/sync/authorization.md):
--     GRANT SELECT ON client_user, project_user, projects, invoices, documents, timesheets,
--         workflows TO scopewire_rules;
--
-- A pattern counts for private- and presence- channels alike.  Those that begin with presence- are
-- for Echo.join('presence-project.1'), which is presence-presence-project.1 on the wire.  The
-- channel "portal" is public: it needs no rule.
\set ON_ERROR_STOP on
\if :{?schema}
\else
	\set schema scopewire
\endif
BEGIN;
SET LOCAL search_path = :"schema", pg_temp;

INSERT INTO channel_rules (pattern, rule, argument, can_write) VALUES
	-- A user's own notifications and timers.
	('App.Models.User.{id}', 'owner', 'id', false),
	('timer.{userId}', 'owner', 'userId', true),
	('timer.{userId}', 'role', 'admin,manager', true),
	-- Every signed-in user sees the others.
	('online', 'anyone', NULL, false),
	('presence.online', 'anyone', NULL, false),
	('presence-online', 'anyone', NULL, false),
	-- Administrators: their own channel, and all others.
	('admin', 'role', 'admin', false),
	('client.{id}', 'role', 'admin', true),
	('project.{id}', 'role', 'admin', true),
	('invoice.{id}', 'role', 'admin', true),
	('document.{id}', 'role', 'admin', true),
	('timesheet.{id}', 'role', 'admin,manager', true),
	('workflow.{id}', 'role', 'admin,manager', true),
	('presence-client.{id}', 'role', 'admin', true),
	('presence-project.{id}', 'role', 'admin', true),
	('presence-document.{id}', 'role', 'admin', true)
ON CONFLICT DO NOTHING;

-- All other users according to the portal's tables.  Who may see a client or an invoice may not change
-- it (can_write); members of a project work on its documents.
WITH reach (patterns, can_write, predicate) AS (VALUES
	(ARRAY['client.{id}', 'presence-client.{id}'], false,
	 'EXISTS (SELECT FROM client_user WHERE client_id = {id}::bigint AND user_id = {user})'),
	(ARRAY['project.{id}', 'presence-project.{id}'], true,
	 'EXISTS (SELECT FROM project_user WHERE project_id = {id}::bigint AND user_id = {user})'
	 ' OR EXISTS (SELECT FROM projects p JOIN client_user c USING (client_id)'
	 ' WHERE p.id = {id}::bigint AND c.user_id = {user})'),
	(ARRAY['invoice.{id}'], false,
	 'EXISTS (SELECT FROM invoices i JOIN client_user c USING (client_id)'
	 ' WHERE i.id = {id}::bigint AND c.user_id = {user})'),
	(ARRAY['document.{id}', 'presence-document.{id}'], true,
	 'EXISTS (SELECT FROM documents d JOIN project_user m USING (project_id)'
	 ' WHERE d.id = {id}::bigint AND m.user_id = {user})'),
	(ARRAY['timesheet.{id}'], true,
	 'EXISTS (SELECT FROM timesheets WHERE id = {id}::bigint AND user_id = {user})'),
	(ARRAY['workflow.{id}'], true,
	 'EXISTS (SELECT FROM workflows w JOIN project_user m USING (project_id)'
	 ' WHERE w.id = {id}::bigint AND m.user_id = {user})'))
INSERT INTO channel_rules (pattern, rule, argument, can_write)
SELECT unnest(patterns), 'sql', predicate, can_write FROM reach
ON CONFLICT DO NOTHING;
COMMIT;
