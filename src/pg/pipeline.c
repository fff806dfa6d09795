/* SPDX-License-Identifier: MIT */
/* The thread that owns the connection; the connection keeps all state. */
#include <libpq-fe.h>
#include "pg/conn_private.h"
#include "pg/pipeline.h"

bool pg_pipeline_begin(struct pg_connection *c)
{
	return PQenterPipelineMode(pg_conn_raw(c));
}

bool pg_pipeline_add(struct pg_connection *c, const struct pg_query *q)
{
	return PQsendQueryPrepared(pg_conn_raw(c), q->sql, q->n, q->values, q->lengths, q->formats,
				   1);
}

enum pg_fault pg_pipeline_send(struct pg_connection *c, usec_t deadline)
{
	return PQpipelineSync(pg_conn_raw(c)) ? pg_conn_flush(c, deadline) : PG_LOST;
}

enum pg_fault pg_pipeline_read(struct pg_connection *c, usec_t deadline, struct pg_answer *out)
{
	PGresult *r = NULL, *end = NULL;
	enum pg_fault fault = pg_conn_result(c, deadline, &r);

	if (fault != PG_FINE || !r)
		return PG_LOST;
	if (PQresultStatus(r) == PGRES_PIPELINE_ABORTED) {
		PQclear(r);
		r = NULL;
	} else {
		fault = pg_conn_check(c, r);
	}
	/* libpq marks the end of each statement's results by a NULL. */
	if (fault != PG_LOST && (pg_conn_result(c, deadline, &end) != PG_FINE || end)) {
		PQclear(end);
		fault = PG_LOST;
	}
	if (fault == PG_FINE)
		*out = (struct pg_answer){ .result = r };
	else
		PQclear(r);
	return fault;
}

enum pg_fault pg_pipeline_end(struct pg_connection *c, usec_t deadline)
{
	PGresult *r = NULL;
	bool is_at_end;

	if (pg_conn_result(c, deadline, &r) != PG_FINE)
		return PG_LOST;
	is_at_end = PQresultStatus(r) == PGRES_PIPELINE_SYNC;
	PQclear(r);
	return is_at_end && PQexitPipelineMode(pg_conn_raw(c)) ? PG_FINE : PG_LOST;
}
