/* SPDX-License-Identifier: MIT */
#include "base/log.h"
#include "base/mem.h"
#include "log/retention.h"

#define QUERY_US (20 * USEC_PER_SEC)

/* The first value of the answer (heap), *out NULL when it is NULL. */
static enum pg_fault ask(struct pg_conn *c, const char *sql, int n, const char *const *values,
			 char **out)
{
	PGresult *r = NULL;
	enum pg_fault fault = pg_conn_query(c, clock_mono() + QUERY_US, sql, n, values, &r);

	*out = NULL;
	if (fault == PG_FINE && PQntuples(r) && !PQgetisnull(r, 0, 0))
		*out = xstrdup(PQgetvalue(r, 0, 0));
	PQclear(r);
	return fault;
}

/* The statement to be run next (heap), NULL when nothing is due. */
static enum pg_fault next_statement(struct pg_conn *c, const struct conf_database *conf, char **out)
{
	char age[12], size[12], rows[12];
	const char *values[] = { age, size, rows };

	snprintf(age, sizeof(age), "%u", conf->retention_age);
	snprintf(size, sizeof(size), "%u", conf->retention_size);
	snprintf(rows, sizeof(rows), "%u", conf->partition_rows);
	return ask(c, "SELECT retention_next($1::bigint, $2::bigint, $3::bigint)", 3, values, out);
}

static enum pg_fault run_all(struct pg_conn *c, const struct conf_database *conf, unsigned *n)
{
	enum pg_fault fault;
	char *sql;

	while ((fault = next_statement(c, conf, &sql)) == PG_FINE && sql) {
		log_debug("database keeper: %s", sql);
		fault = pg_conn_script(c, clock_mono() + QUERY_US, sql);
		free(sql);
		if (fault != PG_FINE)
			break;
		++*n;
	}
	return fault;
}

static void tell_horizon(struct pg_conn *c)
{
	char *horizon = NULL;

	if (ask(c, "SELECT log_horizon()", 0, NULL, &horizon) == PG_FINE && horizon)
		log_info("database keeper: the log begins behind serial %s now", horizon);
	free(horizon);
}

enum pg_fault retention_run(struct pg_conn *c, const struct conf_database *conf)
{
	enum pg_fault fault;
	char *mine = NULL;
	unsigned n = 0;

	fault = ask(c, "SELECT pg_try_advisory_lock(lock_key('retention'))", 0, NULL, &mine);
	if (fault != PG_FINE || mine[0] != 't') {
		free(mine);
		return fault == PG_LOST ? PG_LOST : PG_FINE;
	}
	free(mine);
	fault = run_all(c, conf, &n);
	if (fault == PG_BUSY)
		log_debug("database keeper: old partitions are in use yet: %s", pg_conn_error(c));
	else if (fault != PG_FINE && fault != PG_LOST)
		log_warn("database keeper: old partitions stay: %s", pg_conn_error(c));
	if (fault != PG_LOST && n)
		tell_horizon(c);
	if (fault != PG_LOST)
		fault = pg_conn_script(c, clock_mono() + QUERY_US,
				       "SELECT pg_advisory_unlock(lock_key('retention'))");
	return fault == PG_LOST ? PG_LOST : PG_FINE;
}
