/* SPDX-License-Identifier: MIT */
/* A publisher by SQL, with non-blocking libpq. */
#include "sql.h"

#define INSERT                                                                                     \
	"INSERT INTO scopewire.realtime_events(channel, event_type, payload) VALUES ($1, $2, $3)"

PGconn *sql_open(const char *conninfo)
{
	PGconn *c = PQconnectdb(conninfo);
	PGresult *r;

	if (PQstatus(c) != CONNECTION_OK)
		die("--sql: %s", PQerrorMessage(c));
	r = PQprepare(c, "publish", INSERT, 3, NULL);
	if (PQresultStatus(r) != PGRES_COMMAND_OK)
		die("--sql: %s", PQerrorMessage(c));
	PQclear(r);
	PQsetnonblocking(c, 1);
	return c;
}

bool sql_send(PGconn *c, const char *channel, const char *event, struct bytes *payload)
{
	const char *values[] = { channel, event, NULL };

	bytes_add(payload, "", 1);
	values[2] = payload->ptr;
	/* So little fits into an empty socket buffer at once. */
	return PQsendQueryPrepared(c, "publish", 3, values, NULL, NULL, 0) && PQflush(c) == 0;
}

enum sql_answer sql_read(PGconn *c)
{
	enum sql_answer answer = SQL_COMMITTED;
	PGresult *r;

	if (!PQconsumeInput(c))
		return SQL_REFUSED;
	while (!PQisBusy(c)) {
		r = PQgetResult(c);
		if (!r)
			return answer;
		if (PQresultStatus(r) != PGRES_COMMAND_OK)
			answer = SQL_REFUSED;
		PQclear(r);
	}
	return SQL_WAITING;
}
