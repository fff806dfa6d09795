/* SPDX-License-Identifier: MIT */
#ifndef API_VERDICTS_H
#define API_VERDICTS_H
/*
 * The verdicts of predicates of channel rules, for the SQL functions of one call.  A function that
 * needs verdicts refuses and names the channels; their predicates are evaluated one after the other
 * on connections of their own, within their own time; then the function is called again with the
 * verdicts.  Only one thread has it at a time.
 */
#include "pg/pool.h"
#include "svc/authorize.h"

/* failure: why there is no verdict; NULL: all are known. */
typedef void verdicts_done(void *ctx, const struct authorize_answer *failure);

struct verdicts {
	struct strbuf known; /* members of a JSON object: "channel":true */
	unsigned n;	     /* of them */
	/* while verdicts are requested */
	struct strbuf missing; /* channels that need one, between spaces */
	size_t n_read;	       /* bytes of missing that were taken */
	struct authorizer *authorizer;
	struct authorize_question question; /* what it points to is not owned */
	verdicts_done *done;
	void *ctx;
};

void verdicts_init(struct verdicts *v);
void verdicts_release(struct verdicts *v);
/* Later calls of the function request them again. */
void verdicts_forget(struct verdicts *v);
/* Whether the SQL function refused because it needs verdicts. */
bool verdicts_are_needed(const struct pg_answer *a);
/*
 * Requests those that the function needs.  v->authorizer and v->question, without a channel, are
 * set.  done is called once, before this returns or on a pool's thread.
 */
void verdicts_request(struct verdicts *v, const struct pg_answer *needed, verdicts_done *done,
		      void *ctx);
/*
 * Adds the caller, a JSON object, as the function's parameter.  Its member "asked" has the verdicts
 * that are known; with this member the function may refuse because one is missing.
 */
void verdicts_add_caller(struct strbuf *b, const char *caller, const struct verdicts *v);
#endif
