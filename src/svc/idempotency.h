/* SPDX-License-Identifier: MIT */
#ifndef SVC_IDEMPOTENCY_H
#define SVC_IDEMPOTENCY_H
/*
 * Calls that carry an idempotency key: the first does the work, and those that come while it is
 * under way, or within 24 hours, get its answer.
 *
 * What is under way stands in a map of this process; what is done, in the table
 * idempotency_keys, which the work itself has to write (struct publish_key).  Two nodes that get
 * the same key at the same moment both begin, and the table lets one of them commit.
 */
#include "base/annotate.h"
#include "base/str.h"
#include "pg/pool.h"

#define ONCE_KEY_MAX	255
#define ONCE_DIGEST_HEX 64 /* SHA-256 */

struct once;	   /* one call of a key, from once_begin() to its answer */
struct once_table; /* those under way */

enum once_result {
	ONCE_FIRST,	/* do the work, then once_end(); the answer comes after that */
	ONCE_ANSWER,	/* text is the answer, of this call or of an earlier one */
	ONCE_DIFFERENT, /* the key came with something else before */
	ONCE_FAILED,	/* rc, as of publish_submit() or pg_pool_query() */
};

struct once_reply {
	enum once_result result;
	int rc;
	struct str_view text; /* good until the callback returns */
	bool is_repeat;	      /* the work was not done by this call */
};
typedef void once_done(void *ctx, struct once *o, const struct once_reply *reply);

/* pool outlives the table. */
struct once_table *once_table_new(struct pg_pool *pool) MUSTCHECK;
/* No call may be under way.  NULL is fine. */
void once_table_free(struct once_table *t);

/* 1 to ONCE_KEY_MAX printable ASCII characters without a space. */
bool once_key_is_valid(struct str_view key) MUSTCHECK;

/* Of all parts, each with its length, so that no two lists give the same. */
void once_digest(const struct str_view *parts, size_t n, char out[ONCE_DIGEST_HEX + 1]);

/*
 * Asks for the key of that app (its id); digest says what the call is.  All are copied.
 * done is called on any thread, before or after this returns: once with the answer, and with
 * ONCE_FIRST before that if this call has to do the work.
 */
void once_begin(struct once_table *t, struct str_view app, struct str_view key,
		struct str_view digest, once_done *done, void *ctx);
/* The work of a call that was ONCE_FIRST is done: rc of publish_submit(), and the answer. */
void once_end(struct once *o, int rc, struct str_view answer);
#endif
