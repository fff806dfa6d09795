/* SPDX-License-Identifier: MIT */
#ifndef HTTP_DEADLINES_H
#define HTTP_DEADLINES_H
/*
 * What libmicrohttpd does not do for connections: a deadline for a whole request, however slowly
 * its bytes arrive; lingering closes, so that a client that was refused in the middle of its upload
 * receives the response instead of a reset; and noticing clients that closed right after their last
 * bytes, which the library's edge-triggered loop can miss.
 *
 * One thread, which checks once a second.  The list of connections is locked; a connection's
 * deadline is an atomic that the http thread sets and clears without the lock.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include "base/annotate.h"
#include "base/clock.h"
#include "base/str.h"
#include "base/thread.h"

struct deadlines;

extern struct thread_role on_http_deadlines;

/* Embedded in a connection. */
struct deadline {
	struct deadline *next, *prev;
	int fd;
	_Atomic usec_t at; /* monotonic; DEADLINE_NEVER; DEADLINE_PASSED once it passed */
	/* the last request was not responded to completely: close gently; of the http thread */
	bool wants_linger;
};

#define DEADLINE_NEVER	((usec_t)0)
#define DEADLINE_PASSED ((usec_t)-1)

/*
 * on_passed answers a connection whose deadline passed.  It runs on this module's thread, while the
 * http thread may run: see deadlines_wait().  It does not block.  0 or -errno.
 */
int deadlines_start(void (*on_passed)(struct deadline *c), struct deadlines **out) MUSTCHECK;
void deadlines_stop(struct deadlines *d); /* NULL is fine; no connection may be left */
void deadlines_add(struct deadlines *d, struct deadline *c, int fd, usec_t at) RUNS_ON(on_http);
/* Before the fd is closed.  Where it matters, a copy of it is kept until the client has read. */
void deadlines_remove(struct deadlines *d, struct deadline *c) RUNS_ON(on_http);
/*
 * False when the deadline passed before: the client got 408 and the connection is shut down.  After
 * it was true with DEADLINE_NEVER, on_passed() is not called before another deadline is set.
 */
bool deadline_set(struct deadline *c, usec_t at) RUNS_ON(on_http);

/* After deadline_set() was false: on_passed() has returned.  What it reads can be freed. */
void deadlines_wait(struct deadlines *d) RUNS_ON(on_http);

/*
 * Responds on the bare socket, with Connection: close; for when libmicrohttpd cannot.  No other
 * response may be under way.  status_line may have headers after it.  Any thread.
 */
void deadlines_refuse(int fd, const char *status_line, struct str_view sentence);
/*
 * The same with headers of the caller's, Content-Type among them: whole lines, each with CR LF. The
 * caller has written to the log.
 */
void deadlines_respond(int fd, const char *status_line, struct str_view headers,
		       struct str_view body);
#endif
