/* SPDX-License-Identifier: MIT */
/*
 * Everything waits in conn_wait(): poll(2) in slices of PG_TICK_MS, the tick between them.
 * No PQcancel(): it blocks.  The server's statement_timeout stops what takes too long.  A lost
 * connection stays lost: every later call says PG_LOST until it is closed.
 */
#include <errno.h>
#include <poll.h>
#include "base/mem.h"
#include "base/str.h"
#include "pg/conn_private.h"

#define ERROR_BYTES 512

struct pg_conn {
	PGconn *pg;
	struct pg_options o;
	bool is_cancelled; /* the tick ended a wait */
	char error[ERROR_BYTES];
};

/* Keeps the message of libpq or the server: one line, without the trailing newline. */
static void conn_keep_error(struct pg_conn *c, const char *text)
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
}

const char *pg_conn_error(const struct pg_conn *c)
{
	return c->error;
}

PGconn *pg_conn_raw(struct pg_conn *c)
{
	return c->pg;
}

/* Until the socket is ready: 0; -ETIMEDOUT, -ECANCELED, -ENOTCONN. */
static int conn_wait(struct pg_conn *c, short events, usec_t deadline)
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

static enum pg_fault conn_lost(struct pg_conn *c, int rc)
{
	if (rc == -ETIMEDOUT)
		conn_keep_error(c, "the database did not answer in time");
	else if (rc == -ECANCELED)
		conn_keep_error(c, "stopping");
	else
		conn_keep_error(c, PQerrorMessage(c->pg));
	return PG_LOST;
}

/* -- connecting -- */

/* 0; -EHOSTDOWN, -ETIMEDOUT, -ECANCELED. */
static int conn_wait_connected(struct pg_conn *c, usec_t deadline)
{
	PostgresPollingStatusType want = PGRES_POLLING_WRITING;

	if (PQstatus(c->pg) == CONNECTION_BAD)
		return -EHOSTDOWN;
	while (want != PGRES_POLLING_OK) {
		short events = want == PGRES_POLLING_READING ? POLLIN : POLLOUT;
		int rc = conn_wait(c, events, deadline);

		if (rc)
			return rc == -ENOTCONN ? -EHOSTDOWN : rc;
		want = PQconnectPoll(c->pg);
		if (want == PGRES_POLLING_FAILED)
			return -EHOSTDOWN;
	}
	return 0;
}

static int conn_check_encoding(struct pg_conn *c)
{
	const char *encoding = PQparameterStatus(c->pg, "server_encoding");
	char text[ERROR_BYTES];

	if (encoding && strcmp(encoding, "UTF8") == 0)
		return 0;
	snprintf(text, sizeof(text),
		 "database \"%s\" has the encoding %s, but UTF8 is needed; make one with "
		 "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0",
		 PQdb(c->pg), encoding ? encoding : "unknown");
	conn_keep_error(c, text);
	return -EILSEQ;
}

static int conn_set_up_session(struct pg_conn *c, usec_t deadline)
{
	/* The role's or database's own search_path is in force here: every name is qualified. */
	static const char sql[] =
		"SELECT pg_catalog.set_config('search_path', pg_catalog.concat("
		"pg_catalog.quote_ident($1::pg_catalog.text), ', pg_temp'), false), "
		"pg_catalog.set_config('jit', 'off', false), "
		"pg_catalog.set_config('synchronous_commit', 'on', false), "
		"pg_catalog.set_config('statement_timeout', $2::pg_catalog.text, false), "
		"pg_catalog.set_config('lock_timeout', $3::pg_catalog.text, false), "
		"pg_catalog.set_config('TimeZone', 'UTC', false)";
	char statement_ms[12], lock_ms[12];
	const char *values[] = { c->o.schema, statement_ms, lock_ms };
	struct pg_query q = { .sql = sql, .n = 3, .values = values };

	snprintf(statement_ms, sizeof(statement_ms), "%u", c->o.statement_timeout_ms);
	snprintf(lock_ms, sizeof(lock_ms), "%u", c->o.lock_timeout_ms);
	return pg_conn_run(c, deadline, &q, NULL) == PG_FINE ? 0 : -EHOSTDOWN;
}

/* libpq gives no SQLSTATE for a refused login: only the server's message shows the cause. */
static int conn_refusal_cause(const struct pg_conn *c)
{
	if (strstr(c->error, "authentication failed") || strstr(c->error, "no password supplied") ||
	    strstr(c->error, "no pg_hba.conf entry") ||
	    (strstr(c->error, "role \"") && strstr(c->error, "does not exist")))
		return -EACCES;
	if (strstr(c->error, "database \"") && strstr(c->error, "does not exist"))
		return -ENODEV;
	return -EHOSTDOWN;
}

/* Notices ("relation exists, skipping") are dropped: what matters comes as a result. */
static void conn_ignore_notice(void *arg, const PGresult *r)
{
	(void)arg;
	(void)r;
}

int pg_conn_open(const struct pg_options *o, struct pg_conn **out, char **why)
{
	/* conninfo, given as dbname, overrides what is before it and not what is after it. */
	const char *keywords[] = { "application_name",
				   "password",
				   "keepalives_idle",
				   "keepalives_interval",
				   "keepalives_count",
				   "tcp_user_timeout",
				   "dbname",
				   "client_encoding",
				   NULL };
	const char *values[] = { "scopewired", o->password && *o->password ? o->password : NULL,
				 "10",	       "5",
				 "3",	       "15000",
				 o->conninfo,  "UTF8",
				 NULL };
	usec_t deadline = clock_mono() + (usec_t)o->connect_timeout_ms * USEC_PER_MSEC;
	struct pg_conn *c = xcalloc(1, sizeof(*c));
	int rc = -ENOMEM;

	c->o = *o;
	c->pg = PQconnectStartParams(keywords, values, 1);
	if (!c->pg)
		goto out;
	PQsetNoticeReceiver(c->pg, conn_ignore_notice, NULL);
	rc = conn_wait_connected(c, deadline);
	if (rc) {
		conn_lost(c, rc == -EHOSTDOWN ? 0 : rc);
	} else {
		PQsetnonblocking(c->pg, 1);
		rc = conn_check_encoding(c);
		if (rc == 0)
			rc = conn_set_up_session(c, deadline);
	}
	if (c->is_cancelled && rc)
		rc = -ECANCELED;
	else if (rc == -ETIMEDOUT || rc == -EHOSTDOWN)
		rc = conn_refusal_cause(c);
	if (rc == 0) {
		*out = c;
		c = NULL;
	}
out:
	if (rc && why)
		*why = xstrdup(c->error);
	pg_conn_close(c);
	return rc;
}

void pg_conn_close(struct pg_conn *c)
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

enum pg_fault pg_conn_flush(struct pg_conn *c, usec_t deadline)
{
	int left;

	while ((left = PQflush(c->pg)) == 1) {
		/* Read too: a server that cannot write its answers stops reading statements. */
		int rc = conn_wait(c, POLLIN | POLLOUT, deadline);

		if (rc)
			return conn_lost(c, rc);
		if (!PQconsumeInput(c->pg))
			return conn_lost(c, 0);
	}
	return left == 0 ? PG_FINE : conn_lost(c, 0);
}

enum pg_fault pg_conn_result(struct pg_conn *c, usec_t deadline, PGresult **out)
{
	while (PQisBusy(c->pg)) {
		int rc = conn_wait(c, POLLIN, deadline);

		if (rc)
			return conn_lost(c, rc);
		if (!PQconsumeInput(c->pg))
			return conn_lost(c, 0);
	}
	*out = PQgetResult(c->pg);
	return PG_FINE;
}

enum pg_fault pg_conn_idle(struct pg_conn *c, int fd, usec_t deadline)
{
	struct pollfd fds[] = { { .fd = PQsocket(c->pg), .events = POLLIN },
				{ .fd = fd, .events = POLLIN } };
	usec_t now = clock_mono(), left = deadline > now ? deadline - now : 0;
	struct timespec ts = { .tv_sec = left / USEC_PER_SEC,
			       .tv_nsec = left % USEC_PER_SEC * 1000 };

	if (fds[0].fd < 0)
		return conn_lost(c, 0);
	if (ppoll(fds, 2, &ts, NULL) <= 0)
		return PG_FINE;
	if (fds[0].revents && (!PQconsumeInput(c->pg) || PQstatus(c->pg) != CONNECTION_OK))
		return conn_lost(c, 0);
	return PG_FINE;
}

/* -- statements -- */

enum pg_fault pg_conn_check(struct pg_conn *c, const PGresult *r)
{
	enum pg_fault fault;

	switch (PQresultStatus(r)) {
	case PGRES_COMMAND_OK:
	case PGRES_TUPLES_OK:
	case PGRES_PIPELINE_SYNC:
		return PG_FINE;
	default:
		break;
	}
	conn_keep_error(c, PQresultErrorMessage(r));
	fault = pg_fault_of(PQresultErrorField(r, PG_DIAG_SQLSTATE));
	return PQstatus(c->pg) == CONNECTION_OK ? fault : PG_LOST;
}

/* All results of what was sent: the first fault, and the last result when there was none. */
static enum pg_fault conn_collect(struct pg_conn *c, usec_t deadline, PGresult **out)
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

enum pg_fault pg_conn_script(struct pg_conn *c, usec_t deadline, const char *sql)
{
	if (!PQsendQuery(c->pg, sql))
		return conn_lost(c, 0);
	return conn_collect(c, deadline, NULL);
}

enum pg_fault pg_conn_prepare(struct pg_conn *c, usec_t deadline, const char *name, const char *sql,
			      int n, const uint32_t *types)
{
	if (!PQsendPrepare(c->pg, name, sql, n, types))
		return conn_lost(c, 0);
	return conn_collect(c, deadline, NULL);
}

enum pg_fault pg_conn_run(struct pg_conn *c, usec_t deadline, const struct pg_query *q,
			  struct pg_answer *out)
{
	PGresult *r = NULL;
	enum pg_fault fault;
	int sent = q->is_prepared ? PQsendQueryPrepared(c->pg, q->sql, q->n, q->values, q->lengths,
							q->formats, 0)
				  : PQsendQueryParams(c->pg, q->sql, q->n, NULL, q->values,
						      q->lengths, q->formats, 0);

	if (!sent)
		return conn_lost(c, 0);
	fault = conn_collect(c, deadline, out ? &r : NULL);
	if (fault == PG_FINE && out)
		*out = (struct pg_answer){ .result = r };
	return fault;
}

bool pg_conn_is_in_transaction(const struct pg_conn *c)
{
	return PQtransactionStatus(c->pg) != PQTRANS_IDLE;
}
