/* SPDX-License-Identifier: MIT */
/*
 * Everything waits in pg_conn_wait(): poll(2) in slices of PG_TICK_MS, the tick between them.
 * No PQcancel(): it blocks.  The server's statement_timeout stops what takes too long.  A lost
 * connection stays lost: every later call returns PG_LOST until it is closed.
 */
#include <errno.h>
#include <poll.h>
#include "base/mem.h"
#include "base/str.h"
#include "pg/conn_private.h"

void pg_conn_keep_error(struct pg_connection *c, const char *text)
{
	size_t n = 0;

	for (; *text && n < sizeof(c->error) - 1; text++) {
		char ch = *text == '\n' || *text == '\t' ? ' ' : *text;

		if (ch != ' ' || (n && c->error[n - 1] != ' '))
			c->error[n++] = ch;
	}
	while (n && c->error[n - 1] == ' ')
		n--;
	c->error[n] = '\0';
	if (!n)
		snprintf(c->error, sizeof(c->error), "the connection broke");
}

const char *pg_conn_error(const struct pg_connection *c)
{
	return c->error[0] ? c->error : "the connection is not fit for use";
}

PGconn *pg_conn_raw(struct pg_connection *c)
{
	return c->pg;
}

int pg_conn_wait(struct pg_connection *c, short events, usec_t deadline)
{
	struct pollfd fd = { .fd = PQsocket(c->pg), .events = events };

	if (fd.fd < 0)
		return -ENOTCONN;
	for (;;) {
		usec_t left = deadline - clock_mono();
		usec_t ms = (left + USEC_PER_MSEC - 1) / USEC_PER_MSEC;

		if (left <= 0)
			return -ETIMEDOUT;
		if (poll(&fd, 1, ms > PG_TICK_MS ? PG_TICK_MS : (int)ms) > 0)
			return 0;
		if (c->o.tick && c->o.tick(c->o.ctx)) {
			c->is_cancelled = true;
			return -ECANCELED;
		}
	}
}

enum pg_fault pg_conn_lost(struct pg_connection *c, int rc)
{
	c->sqlstate[0] = '\0';
	if (rc == -ETIMEDOUT)
		pg_conn_keep_error(c, "the database did not answer in time");
	else if (rc == -ECANCELED)
		pg_conn_keep_error(c, "stopping");
	else
		pg_conn_keep_error(c, PQerrorMessage(c->pg));
	return PG_LOST;
}

void pg_conn_close(struct pg_connection *c)
{
	if (!c)
		return;
	PQfinish(c->pg);
	free(c);
}

bool pg_conn_ping(const char *conninfo)
{
	return PQping(conninfo) == PQPING_OK;
}

/* -- waiting -- */

enum pg_fault pg_conn_flush(struct pg_connection *c, usec_t deadline)
{
	int left;

	while ((left = PQflush(c->pg)) == 1) {
		/* Read too: a server that cannot write its answers stops reading statements. */
		int rc = pg_conn_wait(c, POLLIN | POLLOUT, deadline);

		if (rc)
			return pg_conn_lost(c, rc);
		if (!PQconsumeInput(c->pg))
			return pg_conn_lost(c, 0);
	}
	return left == 0 ? PG_FINE : pg_conn_lost(c, 0);
}

enum pg_fault pg_conn_result(struct pg_connection *c, usec_t deadline, PGresult **out)
{
	while (PQisBusy(c->pg)) {
		int rc = pg_conn_wait(c, POLLIN, deadline);

		if (rc)
			return pg_conn_lost(c, rc);
		if (!PQconsumeInput(c->pg))
			return pg_conn_lost(c, 0);
	}
	*out = PQgetResult(c->pg);
	return PG_FINE;
}

enum pg_fault pg_conn_idle(struct pg_connection *c, int fd, usec_t deadline)
{
	struct pollfd fds[] = { { .fd = PQsocket(c->pg), .events = POLLIN },
				{ .fd = fd, .events = POLLIN } };
	usec_t now = clock_mono(), left = deadline > now ? deadline - now : 0;
	struct timespec ts = { .tv_sec = left / USEC_PER_SEC,
			       .tv_nsec = left % USEC_PER_SEC * 1000 };

	if (fds[0].fd < 0)
		return pg_conn_lost(c, 0);
	if (ppoll(fds, 2, &ts, NULL) <= 0)
		return PG_FINE;
	if (fds[0].revents && (!PQconsumeInput(c->pg) || PQstatus(c->pg) != CONNECTION_OK))
		return pg_conn_lost(c, 0);
	return PG_FINE;
}

/* -- statements -- */

enum pg_fault pg_conn_check(struct pg_connection *c, const PGresult *r)
{
	const char *sqlstate;
	enum pg_fault fault;

	switch (PQresultStatus(r)) {
	case PGRES_COMMAND_OK:
	case PGRES_TUPLES_OK:
	case PGRES_PIPELINE_SYNC:
		return PG_FINE;
	default:
		break;
	}
	pg_conn_keep_error(c, PQresultErrorMessage(r));
	sqlstate = PQresultErrorField(r, PG_DIAG_SQLSTATE);
	snprintf(c->sqlstate, sizeof(c->sqlstate), "%s", sqlstate ? sqlstate : "");
	fault = pg_fault_of(sqlstate);
	return PQstatus(c->pg) == CONNECTION_OK ? fault : PG_LOST;
}

/* All results of what was sent: the first fault, and the last result when there was none. */
static enum pg_fault conn_collect(struct pg_connection *c, usec_t deadline, PGresult **out)
{
	enum pg_fault fault = pg_conn_flush(c, deadline);
	PGresult *last = NULL, *r;

	while (fault != PG_LOST) {
		enum pg_fault got = pg_conn_result(c, deadline, &r);

		if (got == PG_FINE && !r)
			break;
		if (got == PG_FINE)
			got = pg_conn_check(c, r);
		else
			r = NULL;
		PQclear(last);
		last = r;
		if (fault == PG_FINE || got == PG_LOST)
			fault = got;
	}
	if (fault == PG_FINE && out)
		*out = last;
	else
		PQclear(last);
	return fault;
}

enum pg_fault pg_conn_script(struct pg_connection *c, usec_t deadline, const char *sql)
{
	if (!PQsendQuery(c->pg, sql))
		return pg_conn_lost(c, 0);
	return conn_collect(c, deadline, NULL);
}

enum pg_fault pg_conn_prepare(struct pg_connection *c, usec_t deadline,
			      const struct pg_preparation *p)
{
	if (!PQsendPrepare(c->pg, p->name, p->sql, p->n, p->types))
		return pg_conn_lost(c, 0);
	return conn_collect(c, deadline, NULL);
}

enum pg_fault pg_conn_run(struct pg_connection *c, usec_t deadline, const struct pg_query *q,
			  struct pg_answer *out)
{
	PGresult *r = NULL;
	enum pg_fault fault;
	int sent = q->is_prepared ? PQsendQueryPrepared(c->pg, q->sql, q->n, q->values, q->lengths,
							q->formats, 0)
				  : PQsendQueryParams(c->pg, q->sql, q->n, NULL, q->values,
						      q->lengths, q->formats, 0);

	if (!sent)
		return pg_conn_lost(c, 0);
	fault = conn_collect(c, deadline, out ? &r : NULL);
	if (fault == PG_FINE && out)
		*out = (struct pg_answer){ .result = r };
	return fault;
}

bool pg_conn_is_in_transaction(const struct pg_connection *c)
{
	return PQtransactionStatus(c->pg) != PQTRANS_IDLE;
}
