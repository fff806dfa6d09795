/* SPDX-License-Identifier: MIT */
/* On the cluster's thread; no state but the arrays. */
#include <stdio.h>
#include "base/macros.h"
#include "base/str.h"
#include "cluster/step.h"

#define QUERY_US  (10 * USEC_PER_SEC)
#define REAP_ROWS "100"

#define NUMBER_SIZE 12

void step_init(struct step *s)
{
	pg_array_init(&s->apps, PG_TEXT);
	pg_array_init(&s->channels, PG_TEXT);
	pg_array_init(&s->users, PG_TEXT);
	pg_array_init(&s->infos, PG_TEXT);
	pg_array_init(&s->leaving, PG_BOOL);
	pg_array_init(&s->max, PG_INT4);
	pg_array_init(&s->delays, PG_INT4);
}

void step_release(struct step *s)
{
	pg_array_release(&s->apps);
	pg_array_release(&s->channels);
	pg_array_release(&s->users);
	pg_array_release(&s->infos);
	pg_array_release(&s->leaving);
	pg_array_release(&s->max);
	pg_array_release(&s->delays);
}

enum pg_fault step_prepare(struct pg_connection *c)
{
	static const unsigned changes[] = { PG_INT4,	   PG_TEXT_ARRAY, PG_TEXT_ARRAY,
					    PG_TEXT_ARRAY, PG_TEXT_ARRAY, PG_BOOL_ARRAY,
					    PG_INT4_ARRAY, PG_INT4_ARRAY };
	static const unsigned names[] = { PG_TEXT_ARRAY, PG_TEXT_ARRAY };
	static const struct pg_preparation list[] = {
		{ "step",
		  "SELECT s.at, s.outcome, s.before, s.version, s.info "
		  "FROM cluster_step($1, $2, $3, $4, $5, $6, $7, $8) s",
		  ARRAY_SIZE(changes), changes },
		{ "roster",
		  "SELECT r.at, r.version, r.user_id, r.info FROM cluster_roster($1, $2) r", 2,
		  names },
		{ "versions",
		  "SELECT v.version, v.subscriptions, v.subscriptions_version "
		  "FROM cluster_versions($1, $2) v",
		  2, names },
	};
	usec_t deadline = clock_mono() + QUERY_US;
	enum pg_fault fault = PG_FINE;

	for (size_t i = 0; i < ARRAY_SIZE(list) && fault == PG_FINE; i++)
		fault = pg_conn_prepare(c, deadline, &list[i]);
	return fault;
}

void step_reset(struct step *s)
{
	pg_array_reset(&s->apps);
	pg_array_reset(&s->channels);
	pg_array_reset(&s->users);
	pg_array_reset(&s->infos);
	pg_array_reset(&s->leaving);
	pg_array_reset(&s->max);
	pg_array_reset(&s->delays);
}

void step_add_channel(struct step *s, const struct followed *c)
{
	pg_array_add(&s->apps, c->app);
	pg_array_add(&s->channels, c->name);
}

void step_add_member(struct step *s, const struct own_member *m, unsigned max, int delay_ms)
{
	step_add_channel(s, m->channel);
	pg_array_add(&s->users, sv(m->user_id));
	if (m->is_here)
		pg_array_add(&s->infos, sv(m->info));
	else
		pg_array_add_null(&s->infos);
	pg_array_add_bool(&s->leaving, m->is_leaving);
	pg_array_add_int4(&s->max, max < INT32_MAX ? (int32_t)max : INT32_MAX);
	if (delay_ms < 0)
		pg_array_add_null(&s->delays);
	else
		pg_array_add_int4(&s->delays, delay_ms);
}

enum pg_fault step_run(struct step *s, struct pg_connection *c, unsigned node,
		       struct pg_answer *out)
{
	const struct str_view columns[] = { pg_array_view(&s->apps),	pg_array_view(&s->channels),
					    pg_array_view(&s->users),	pg_array_view(&s->infos),
					    pg_array_view(&s->leaving), pg_array_view(&s->max),
					    pg_array_view(&s->delays) };
	char number[NUMBER_SIZE];
	const char *values[1 + ARRAY_SIZE(columns)] = { number };
	int lengths[1 + ARRAY_SIZE(columns)] = { 0 }, formats[1 + ARRAY_SIZE(columns)] = { 0 };
	const struct pg_query q = { .sql = "step",
				    .n = ARRAY_SIZE(values),
				    .values = values,
				    .lengths = lengths,
				    .formats = formats,
				    .is_prepared = true };

	snprintf(number, sizeof(number), "%u", node);
	for (size_t i = 0; i < ARRAY_SIZE(columns); i++) {
		values[i + 1] = columns[i].ptr;
		lengths[i + 1] = (int)columns[i].len;
		formats[i + 1] = 1;
	}
	return pg_conn_run(c, clock_mono() + QUERY_US, &q, out);
}

/* A statement about channels. */
RUNS_ON(on_db)
static enum pg_fault step_query(struct step *s, struct pg_connection *c, const char *statement,
				struct pg_answer *out)
{
	const struct str_view apps = pg_array_view(&s->apps);
	const struct str_view channels = pg_array_view(&s->channels);
	const struct pg_query q = { .sql = statement,
				    .n = 2,
				    .values = (const char *const[]){ apps.ptr, channels.ptr },
				    .lengths = (const int[]){ (int)apps.len, (int)channels.len },
				    .formats = (const int[]){ 1, 1 },
				    .is_prepared = true };

	return pg_conn_run(c, clock_mono() + QUERY_US, &q, out);
}

enum pg_fault step_read(struct step *s, struct pg_connection *c, struct pg_answer *out)
{
	return step_query(s, c, "roster", out);
}

enum pg_fault step_versions(struct step *s, struct pg_connection *c, struct pg_answer *out)
{
	return step_query(s, c, "versions", out);
}

/* A statement with one number. */
RUNS_ON(on_db)
static enum pg_fault step_query_number(struct pg_connection *c, const char *sql, unsigned n,
				       struct pg_answer *out)
{
	char number[NUMBER_SIZE];
	const char *values[] = { number };
	const struct pg_query q = { .sql = sql, .n = 1, .values = values };

	snprintf(number, sizeof(number), "%u", n);
	return pg_conn_run(c, clock_mono() + QUERY_US, &q, out);
}

enum pg_fault step_register(struct pg_connection *c, unsigned node, struct pg_answer *out)
{
	return step_query_number(
		c, "SELECT r.app, r.channel, r.user_id FROM cluster_register($1::integer) r", node,
		out);
}

enum pg_fault step_settle(struct pg_connection *c, unsigned node, bool is_complete,
			  struct pg_answer *out)
{
	return step_query_number(c,
				 is_complete ? "SELECT cluster_settle($1::integer, true)"
					     : "SELECT cluster_settle($1::integer, false)",
				 node, out);
}

enum pg_fault step_count(struct pg_connection *c, unsigned node, struct pg_answer *out)
{
	return step_query_number(c, "SELECT cluster_count($1::integer)", node, out);
}

enum pg_fault step_reap(struct pg_connection *c, unsigned delay_ms, struct pg_answer *out)
{
	return step_query_number(
		c,
		"SELECT r.app, r.channel, r.user_id, r.outcome, r.before, r.version, r.info "
		"FROM cluster_reap(" REAP_ROWS ", $1::integer) r",
		delay_ms, out);
}
