/* SPDX-License-Identifier: MIT */
/* The log writer's thread only. */
#include "base/mem.h"
#include "log/resolve.h"

struct log_lookup {
	struct pg_answer rows; /* event_id, serial; by serial */
	int at;		       /* the next row that was not requested */
};

enum pg_fault log_backend_read(struct pg_connection *c, usec_t deadline, struct log_backend *out)
{
	const struct pg_query q = { .sql = "SELECT pid, backend_start FROM pg_stat_activity "
					   "WHERE pid = pg_backend_pid()" };
	struct pg_answer a = { 0 };
	enum pg_fault fault = pg_conn_run(c, deadline, &q, &a);

	if (fault != PG_FINE)
		return fault;
	*out = (struct log_backend){ .pid = "" };
	if (pg_answer_rows(&a) == 1) {
		snprintf(out->pid, sizeof(out->pid), "%s", pg_answer_text(&a, 0, 0));
		snprintf(out->started, sizeof(out->started), "%s", pg_answer_text(&a, 0, 1));
	}
	pg_answer_release(&a);
	return PG_FINE;
}

enum pg_fault log_backend_end(struct pg_connection *c, usec_t deadline, const struct log_backend *b)
{
	const struct pg_query q = {
		.sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
		       "WHERE pid = $1::integer AND backend_start = $2::timestamptz",
		.n = 2,
		.values = (const char *const[]){ b->pid, b->started },
	};
	struct pg_answer a = { 0 };
	enum pg_fault fault;

	if (!b->pid[0])
		return PG_FINE;
	fault = pg_conn_run(c, deadline, &q, &a);
	if (fault == PG_FINE && pg_answer_rows(&a) > 0)
		fault = PG_BUSY;
	pg_answer_release(&a);
	return fault;
}

enum pg_fault log_lookup_run(struct pg_connection *c, usec_t deadline, uint64_t after,
			     struct str_view ids, struct log_lookup **out)
{
	char serial[24];
	const struct pg_query q = {
		.sql = "SELECT event_id, serial FROM realtime_events "
		       "WHERE serial > $1::bigint AND event_id = ANY($2::text[]) ORDER BY serial",
		.n = 2,
		.values = (const char *const[]){ serial, ids.ptr },
		.lengths = (const int[]){ 0, (int)ids.len },
		.formats = (const int[]){ 0, 1 },
	};
	struct pg_answer a = { 0 };
	enum pg_fault fault;

	snprintf(serial, sizeof(serial), "%llu", (unsigned long long)after);
	fault = pg_conn_run(c, deadline, &q, &a);
	if (fault != PG_FINE)
		return fault;
	*out = xcalloc(1, sizeof(**out));
	(*out)->rows = a;
	return PG_FINE;
}

bool log_lookup_found_any(const struct log_lookup *k)
{
	return pg_answer_rows(&k->rows) > 0;
}

uint64_t log_lookup_first(const struct log_lookup *k)
{
	return (uint64_t)pg_answer_int(&k->rows, 0, 1);
}

uint64_t log_lookup_serial(struct log_lookup *k, const struct event *e)
{
	if (k->at >= pg_answer_rows(&k->rows) ||
	    strcmp(pg_answer_text(&k->rows, k->at, 0), e->id) != 0)
		return 0;
	return (uint64_t)pg_answer_int(&k->rows, k->at++, 1);
}

void log_lookup_free(struct log_lookup *k)
{
	if (!k)
		return;
	pg_answer_release(&k->rows);
	free(k);
}
