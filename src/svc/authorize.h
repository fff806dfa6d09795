/* SPDX-License-Identifier: MIT */
#ifndef SVC_AUTHORIZE_H
#define SVC_AUTHORIZE_H
/*
 * Whether a user may join a channel, by the table channel_rules.
 *
 * The rules are in the database only: the SQL function channel_verdict() decides for this module
 * and for the sync API's functions.  Verdicts are cached here until the database notifies of a
 * change of rules or users; while no connection listens, none is cached.  Predicates run on
 * connections of their own, with a time limit, so that a slow one delays other predicates only.
 */
#include "conf/app.h"
#include "pg/pool.h"

struct authorizer;

struct authorizer_conf {
	struct pg_pool_conf predicates; /* where they run; its timeout is theirs */
	unsigned predicate_cache_ms;	/* how long their verdict is cached; 0: not at all */
	/*
	 * Verdicts may have changed: those of one user, or (app NULL) all.  Authorizations of an
	 * earlier authorize_generation() may be out of date.  On the thread of the predicates'
	 * pool; must not wait, and must not call this module.
	 */
	void (*on_change)(void *ctx, const char *app, const char *user_id);
	void *change_ctx;
};

struct authorize_question {
	const struct app *app;
	const char *caller, *channel; /* caller: JSON, as struct sync_action has it */
	struct user_key user;	      /* the caller's */
	bool leaves_predicates;	      /* where one has to be evaluated: answer that, and do not */
};

struct authorize_answer {
	const struct pg_answer *failure; /* NULL: there is a verdict */
	bool is_in_predicate;		 /* what failed is a predicate, or had to wait for one */
	bool is_left;			 /* a predicate decides, and was left */
	bool is_allowed;
	bool is_uncertain;	   /* not allowed, and a predicate failed */
	uint64_t as_of;		   /* authorize_generation() when the question was asked */
	usec_t asked;		   /* wall: when the question was asked */
	const char *name, *avatar; /* of the user, or NULL */
};

/* answer is valid until it returns.  It must not wait. */
typedef void authorize_done(void *ctx, const struct authorize_answer *answer);

/* pool evaluates rules without predicates; borrowed.  0 or -errno. */
int authorizer_start(struct pg_pool *pool, const struct authorizer_conf *conf,
		     struct authorizer **out) MUSTCHECK;
/* Answers what is open.  Before the borrowed pool stops. */
void authorizer_stop(struct authorizer *a); /* NULL is fine */
void authorizer_free(struct authorizer *a); /* after that pool stopped; NULL is fine */

/* The pool on which predicates run, for functions that evaluate them. */
struct pg_pool *authorizer_predicates(const struct authorizer *a) MUSTCHECK;

/*
 * It grows with each change of rules and users.  Another process has other numbers.  Any thread.
 */
uint64_t authorize_generation(const struct authorizer *a);

/* All is copied.  done is called exactly once, before this returns or on a pool's thread. */
void authorize_check(struct authorizer *a, const struct authorize_question *q, authorize_done *done,
		     void *ctx);
#endif
