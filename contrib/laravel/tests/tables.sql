-- SPDX-License-Identifier: MIT
-- The application's tables, made once; tests use ids of their own.
SET client_min_messages = warning;
CREATE TABLE IF NOT EXISTS public.users (
	id bigserial PRIMARY KEY, name text NOT NULL, email text NOT NULL, password text NOT NULL,
	avatar text, remember_token text, created_at timestamp, updated_at timestamp);
CREATE TABLE IF NOT EXISTS public.invoices (
	id bigserial PRIMARY KEY, client_id bigint NOT NULL, number text NOT NULL,
	status text NOT NULL DEFAULT 'draft', amount text NOT NULL DEFAULT '0', created_at timestamp, updated_at timestamp);
CREATE TABLE IF NOT EXISTS public.client_user (client_id bigint, user_id bigint);
CREATE TABLE IF NOT EXISTS public.notifications (
	id uuid PRIMARY KEY, type text NOT NULL, notifiable_type text NOT NULL, notifiable_id bigint NOT NULL,
	data text NOT NULL, read_at timestamp, created_at timestamp, updated_at timestamp);
CREATE TABLE IF NOT EXISTS public.jobs (
	id bigserial PRIMARY KEY, queue text NOT NULL, payload text NOT NULL, attempts smallint NOT NULL,
	reserved_at integer, available_at integer NOT NULL, created_at integer NOT NULL);
CREATE TABLE IF NOT EXISTS public.failed_jobs (
	id bigserial PRIMARY KEY, uuid text UNIQUE, connection text NOT NULL, queue text NOT NULL,
	payload text NOT NULL, exception text NOT NULL, failed_at timestamp NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS public.projects (id bigint PRIMARY KEY, client_id bigint);
CREATE TABLE IF NOT EXISTS public.project_user (project_id bigint, user_id bigint);
CREATE TABLE IF NOT EXISTS public.documents (id bigint PRIMARY KEY, project_id bigint);
CREATE TABLE IF NOT EXISTS public.timesheets (id bigint PRIMARY KEY, user_id bigint);
CREATE TABLE IF NOT EXISTS public.workflows (id bigint PRIMARY KEY, project_id bigint);
CREATE TABLE IF NOT EXISTS public.notes (
	id bigint PRIMARY KEY, title text NOT NULL, user_id bigint NOT NULL DEFAULT 0, created_at timestamp, updated_at timestamp);
