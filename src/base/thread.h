/* SPDX-License-Identifier: MIT */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H
/*
 * Roles of threads.  A thread takes its role once, at its start; functions marked
 * RUNS_ON(role) then compile only where clang can see that the role is held, and a library's
 * callback begins with ASSERT_ON(role), which checks at run time and gives clang the role.
 * Roles that one file alone needs are there: on_tls (front/tls_port.h), on_http_deadlines
 * (http/deadlines.h).
 */
#include <pthread.h>
#include "base/annotate.h"

struct TSA(capability("thread role")) thread_role {
	const char *name;
};

extern struct thread_role on_main, on_worker, on_http, on_front;
extern struct thread_role on_webhook;	/* sends webhooks (webhook/webhooks.h) */
extern struct thread_role on_db;	/* a thread with one database connection (pg/runner.h) */
extern struct thread_role on_pool;	/* of a pool of connections (pg/pool.h) */
extern struct thread_role on_connector; /* opens connections for a pool (pg/connector.h) */

/* Starts fn(arg) in a joinable thread of that name, all signals blocked.  0 or -errno. */
int thread_start(pthread_t *t, const char *name, const struct thread_role *role,
		 void *(*fn)(void *), void *arg) MUSTCHECK;
/* Gives the calling thread its role (main, and threads a library started). */
void thread_take_role(const struct thread_role *role);
/* Aborts when the calling thread has another role. */
void thread_assert_on(struct thread_role *role) TSA(assert_capability(role));

#define ASSERT_ON(role) thread_assert_on(&(role))
#endif
