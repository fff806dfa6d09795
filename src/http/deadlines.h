/* SPDX-License-Identifier: MIT */
#ifndef HTTP_DEADLINES_H
#define HTTP_DEADLINES_H
/*
 * Watches over connections for what libmicrohttpd does not do: a deadline for a whole request
 * however slowly its bytes trickle in; lingering closes, so that a peer that was refused in the
 * middle of its upload reads the answer instead of a reset; and noticing peers that closed right
 * behind their last bytes, which the library's edge-triggered loop can miss.
 *
 * One thread with a coarse tick.  The list of connections is locked; a connection's deadline is an
 * atomic that the http thread sets and clears without the lock.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include "base/annotate.h"
#include "base/clock.h"
#include "base/str.h"

struct watch;

/* Embedded in a connection. */
struct watched {
	struct watched *next, *prev;
	int fd;
	_Atomic usec_t deadline; /* mono; WATCH_NEVER; WATCH_CUT once it passed */
	/* the last request was not answered whole: close gently; of the http thread */
	bool linger;
};

#define WATCH_NEVER ((usec_t)0)
#define WATCH_CUT   ((usec_t)-1)

int watch_start(struct watch **out) MUSTCHECK;
void watch_stop(struct watch *w); /* NULL is fine; no connection may be left */
void watch_add(struct watch *w, struct watched *c, int fd, usec_t deadline);
/* Before the fd is closed.  A copy of it is kept until the peer is done, where it matters. */
void watch_remove(struct watch *w, struct watched *c);
/* False when the deadline passed before: the peer has been told and cut off. */
bool watch_set(struct watched *c, usec_t deadline);

/*
 * Answers on the bare socket, with Connection: close; for when libmicrohttpd cannot.  Nothing of
 * another answer may be on its way.
 */
void watch_refuse(int fd, const char *status_line, struct str_view sentence);
#endif
