/* SPDX-License-Identifier: MIT */
#ifndef SVC_IDEMPOTENCY_H
#define SVC_IDEMPOTENCY_H
/*
 * Calls with an idempotency key: the first one does the work.  Calls with the same key that arrive
 * during the work, or within 24 hours, get its answer.
 *
 * Keys under way are in a map of this process.  Finished ones are in the table idempotency_keys,
 * which the work itself has to write (struct publish_key).  When two nodes get the same key at the
 * same moment, both begin, and the table lets one of them commit.
 */
#include "base/annotate.h"
#include "base/str.h"
#include "pg/pool.h"

#define IDEMPOTENCY_KEY_MAX    255
#define IDEMPOTENCY_DIGEST_HEX 64 /* SHA-256 */

struct idempotent_call; /* one call of a key, from idempotency_begin() to its answer */
struct idempotency;	/* the calls under way */

enum idempotency_result {
	IDEMPOTENCY_FIRST,  /* do the work, then idempotency_end(); the answer comes after that */
	IDEMPOTENCY_ANSWER, /* text is the answer, of this call or of an earlier one */
	IDEMPOTENCY_DIFFERENT, /* an earlier call had this key and another content */
	IDEMPOTENCY_FAILED,    /* rc, as of publish_submit() or pg_pool_call() */
};

struct idempotency_reply {
	enum idempotency_result result;
	int rc;
	struct str_view text; /* valid until the callback returns */
	bool is_repeat;	      /* the work was not done by this call */
};
typedef void idempotency_done(void *ctx, struct idempotent_call *o,
			      const struct idempotency_reply *reply);

/* pool outlives the table. */
struct idempotency *idempotency_new(struct pg_pool *pool) MUSTCHECK;
/* No call may be under way.  NULL is fine. */
void idempotency_free(struct idempotency *t);

/* 1 to IDEMPOTENCY_KEY_MAX printable ASCII characters without a space. */
bool idempotency_key_is_valid(struct str_view key) MUSTCHECK;

/* SHA-256 of all parts, each with its length, so that no two lists have the same digest. */
void idempotency_digest(const struct str_view *parts, size_t n,
			char out[IDEMPOTENCY_DIGEST_HEX + 1]);

struct idempotency_key {
	struct str_view app; /* its id */
	struct str_view key;
	struct str_view digest; /* identifies the content of the call */
};
/*
 * Begins a call with a key, which is copied.
 * done is called on any thread, before or after this returns: once with the answer, and with
 * IDEMPOTENCY_FIRST before that if this call has to do the work.
 */
void idempotency_begin(struct idempotency *t, const struct idempotency_key *key,
		       idempotency_done *done, void *ctx);
/* The work of a call that was IDEMPOTENCY_FIRST is done: rc of publish_submit(), and the answer. */
void idempotency_end(struct idempotent_call *o, int rc, struct str_view answer);
#endif
