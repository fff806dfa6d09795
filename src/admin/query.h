/* SPDX-License-Identifier: MIT */
#ifndef ADMIN_QUERY_H
#define ADMIN_QUERY_H
/*
 * Requests of the admin listener that a SQL function answers.  The statement gets the arguments as
 * one JSON text and gives the status and the body of the reply.  No thread waits for it.
 */
#include "pg/pool.h"
#include "api/request.h"

struct admin;
struct admin_query;

/* What continues after the statement, on the pool's thread; replies and frees q. */
typedef void admin_query_done(struct admin_query *q, const struct pg_answer *a);

struct admin_query {
	struct admin *admin;
	struct request *r;
	char *who;		/* the name of the token; heap */
	char *text;		/* of the handler; heap, or NULL */
	admin_query_done *done; /* NULL: the answer is the reply */
};

/* For a request of the token who (copied), or "" for a client on this machine without one. */
struct admin_query *admin_query_new(struct admin *admin, struct request *r, const char *who)
	MUSTCHECK;
void admin_query_free(struct admin_query *q);
/* Sends the statement; q is freed when it was replied to. */
void admin_query_send(struct admin_query *q, struct pg_pool *pool, const struct pg_statement *st,
		      int n, const char *const *values);
/* Replies with the answer's first two columns, or with the error, and frees q. */
void admin_query_reply(struct admin_query *q, const struct pg_answer *a);
/*
 * The request's parameters as a JSON object.  False: one is not in the list of words, or is not
 * UTF-8, and it was replied to.
 */
bool admin_query_arguments(struct request *r, const char *words, struct strbuf *out) MUSTCHECK;
/* {"error":{"code","message"}}. */
void admin_query_refuse(struct request *r, unsigned status, const char *code, struct str_view text);
#endif
