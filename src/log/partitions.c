/* SPDX-License-Identifier: MIT */
/* For the thread that owns the connection: the housekeeper, or who finds a partition missing. */
#include <stdio.h>
#include "log/partitions.h"

enum pg_fault log_partitions_ensure(struct pg_connection *c, usec_t deadline,
				    const struct conf_database *conf, uint64_t *end)
{
	char ahead[12], rows[12];
	const struct pg_query q = { .sql = "SELECT ensure_partitions($1::integer, $2::bigint)",
				    .n = 2,
				    .values = (const char *const[]){ ahead, rows } };
	struct pg_answer a = { 0 };
	enum pg_fault fault;

	snprintf(ahead, sizeof(ahead), "%u", conf->partitions_ahead);
	snprintf(rows, sizeof(rows), "%u", conf->partition_rows);
	fault = pg_conn_run(c, deadline, &q, &a);
	if (fault == PG_FINE && end)
		*end = (uint64_t)pg_answer_int(&a, 0, 0);
	pg_answer_release(&a);
	return fault;
}
