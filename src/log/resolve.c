/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "log/resolve.h"

struct log_lookup {
	PGresult *rows; /* event_id, serial; by serial */
	int at;		/* the next that was not asked for */
};

enum pg_fault log_backend_read(struct pg_conn *c, usec_t deadline, struct log_backend *out)
{
	PGresult *r = NULL;
	enum pg_fault fault = pg_conn_query(c, deadline,
					    "SELECT pid, backend_start FROM pg_stat_activity "
					    "WHERE pid = pg_backend_pid()",
					    0, NULL, &r);

	if (fault != PG_FINE)
		return fault;
	*out = (struct log_backend){ .pid = "" };
	if (PQntuples(r) == 1) {
		snprintf(out->pid, sizeof(out->pid), "%s", PQgetvalue(r, 0, 0));
		snprintf(out->started, sizeof(out->started), "%s", PQgetvalue(r, 0, 1));
	}
	PQclear(r);
	return PG_FINE;
}

enum pg_fault log_backend_end(struct pg_conn *c, usec_t deadline, const struct log_backend *b)
{
	const char *values[] = { b->pid, b->started };
	PGresult *r = NULL;
	enum pg_fault fault;

	if (!b->pid[0])
		return PG_FINE;
	fault = pg_conn_query(c, deadline,
			      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
			      "WHERE pid = $1::integer AND backend_start = $2::timestamptz",
			      2, values, &r);
	if (fault == PG_FINE && PQntuples(r) > 0)
		fault = PG_BUSY;
	PQclear(r);
	return fault;
}

enum pg_fault log_lookup_run(struct pg_conn *c, usec_t deadline, uint64_t after,
			     struct str_view ids, struct log_lookup **out)
{
	char serial[24];
	const char *values[] = { serial, ids.ptr };
	const int lengths[] = { 0, (int)ids.len }, formats[] = { 0, 1 };
	PGresult *r = NULL;
	enum pg_fault fault;

	snprintf(serial, sizeof(serial), "%llu", (unsigned long long)after);
	fault = pg_conn_query_formats(c, deadline,
				      "SELECT event_id, serial FROM realtime_events "
				      "WHERE serial > $1::bigint AND event_id = ANY($2::text[]) "
				      "ORDER BY serial",
				      2, values, lengths, formats, &r);
	if (fault != PG_FINE)
		return fault;
	*out = xcalloc(1, sizeof(**out));
	(*out)->rows = r;
	return PG_FINE;
}

bool log_lookup_found_any(const struct log_lookup *k)
{
	return PQntuples(k->rows) > 0;
}

uint64_t log_lookup_first(const struct log_lookup *k)
{
	return strtoull(PQgetvalue(k->rows, 0, 1), NULL, 10);
}

uint64_t log_lookup_serial(struct log_lookup *k, const struct event *e)
{
	if (k->at >= PQntuples(k->rows) || strcmp(PQgetvalue(k->rows, k->at, 0), e->id) != 0)
		return 0;
	return strtoull(PQgetvalue(k->rows, k->at++, 1), NULL, 10);
}

void log_lookup_free(struct log_lookup *k)
{
	if (!k)
		return;
	PQclear(k->rows);
	free(k);
}
