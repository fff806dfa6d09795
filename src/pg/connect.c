/* SPDX-License-Identifier: MIT */
/*
 * Connects to one of the hosts of the connection string, and keeps why a host refused.  The session
 * is as the server made it: session.c does the rest.
 */
#include <errno.h>
#include <poll.h>
#include "base/mem.h"
#include "pg/conn_private.h"
#include "pg/hosts.h"

/* 0; -EHOSTDOWN, -ETIMEDOUT, -ECANCELED. */
static int connect_wait(struct pg_connection *c, usec_t deadline)
{
	PostgresPollingStatusType want = PGRES_POLLING_WRITING;

	if (PQstatus(c->pg) == CONNECTION_BAD)
		return -EHOSTDOWN;
	while (want != PGRES_POLLING_OK) {
		short events = want == PGRES_POLLING_READING ? POLLIN : POLLOUT;
		int rc = pg_conn_wait(c, events, deadline);

		if (rc)
			return rc == -ENOTCONN ? -EHOSTDOWN : rc;
		want = PQconnectPoll(c->pg);
		if (want == PGRES_POLLING_FAILED)
			return -EHOSTDOWN;
	}
	return 0;
}

/* Notices ("relation exists, skipping") are dropped: what matters comes as a result. */
static void connect_ignore_notice(void *arg, const PGresult *r)
{
	(void)arg;
	(void)r;
}

/*
 * libpq gives no SQLSTATE for a refused login, but a verbose message has it:
 * "FATAL:  28P01: password authentication failed ...\nLOCATION:  auth_failed, auth.c:326\n".
 * Removes the code from text, with the last line, and keeps it.
 */
static void connect_take_sqlstate(struct pg_connection *c, char *text)
{
	char *at = text, *end;

	while ((at = strstr(at, ":  ")) != NULL) {
		at += 3;
		if (strspn(at, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") >= 5 && at[5] == ':' &&
		    at[6] == ' ')
			break;
	}
	if (!at)
		return;
	snprintf(c->sqlstate, sizeof(c->sqlstate), "%.5s", at);
	memmove(at, at + 7, strlen(at + 7) + 1);
	end = text + strlen(text);
	while (end > at && end[-1] == '\n')
		*--end = '\0';
	end = strrchr(at, '\n');
	if (end && strstr(end, ":  "))
		*end = '\0';
}

/* Keeps libpq's message about an attempt that failed. */
static void connect_keep_error(struct pg_connection *c)
{
	char *text = xstrdup(PQerrorMessage(c->pg));

	c->sqlstate[0] = '\0';
	connect_take_sqlstate(c, text);
	pg_conn_keep_error(c, text);
	free(text);
}

/* Poolers and libpq itself give no SQLSTATE: only the message shows the cause. */
static int connect_refusal_cause(const struct pg_connection *c)
{
	if (strncmp(c->sqlstate, "28", 2) == 0)
		return -EACCES;
	if (strcmp(c->sqlstate, "3D000") == 0)
		return -ENODEV;
	if (strstr(c->error, "authentication failed") || strstr(c->error, "no password supplied") ||
	    strstr(c->error, "no pg_hba.conf entry") ||
	    (strstr(c->error, "role \"") && strstr(c->error, "does not exist")))
		return -EACCES;
	if (strstr(c->error, "database \"") && strstr(c->error, "does not exist"))
		return -ENODEV;
	return -EHOSTDOWN;
}

int pg_conn_connect(struct pg_connection *c, unsigned i, usec_t deadline)
{
	struct pg_host host;
	int rc = -ENOMEM;

	pg_host_read(c->o.conninfo, i, &host);
	/* conninfo, given as dbname, overrides what is before it and not what is after it. */
	const char *keywords[] = { "application_name",
				   "password",
				   "keepalives_idle",
				   "keepalives_interval",
				   "keepalives_count",
				   "tcp_user_timeout",
				   "dbname",
				   "client_encoding",
				   host.port ? "port" : NULL,
				   host.host ? "host" : "hostaddr",
				   host.hostaddr && host.host ? "hostaddr" : NULL,
				   NULL };
	const char *password = c->o.password && *c->o.password ? c->o.password : NULL;
	const char *values[] = { "scopewired",	password,
				 "10",		"5",
				 "3",		"15000",
				 c->o.conninfo, "UTF8",
				 host.port,	host.host ? host.host : host.hostaddr,
				 host.hostaddr, NULL };

	PQfinish(c->pg);
	c->pg = PQconnectStartParams(keywords, values, 1);
	pg_host_release(&host);
	if (!c->pg)
		return rc;
	PQsetNoticeReceiver(c->pg, connect_ignore_notice, NULL);
	PQsetErrorVerbosity(c->pg, PQERRORS_VERBOSE);
	rc = connect_wait(c, deadline);
	PQsetErrorVerbosity(c->pg, PQERRORS_DEFAULT);
	if (rc == 0)
		return PQsetnonblocking(c->pg, 1) ? -ENOMEM : 0;
	if (rc == -EHOSTDOWN)
		connect_keep_error(c);
	else
		pg_conn_lost(c, rc);
	return rc == -ECANCELED ? rc : connect_refusal_cause(c);
}
