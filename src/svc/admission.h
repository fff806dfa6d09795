/* SPDX-License-Identifier: MIT */
#ifndef SVC_ADMISSION_H
#define SVC_ADMISSION_H
/*
 * Publishes enter here before anything of them is queued or logged.  A publish is admitted while
 * the workers that have subscribers of its channels keep up (base/worker_load.h); otherwise it
 * waits, at most ADMISSION_WAIT_US, and is refused then.  Those that wait are admitted in turn:
 * applications take turns, and within an application its publishers, which are client addresses.
 * One that waits for a worker delays no other whose workers keep up.
 *
 * All functions run on the transport's thread, unless their comment has another one.
 */
#include "base/annotate.h"
#include "core/channels/directory.h"
#include "wire/address.h"

/* Below the 3 s after which Laravel's broadcaster gives up. */
#define ADMISSION_WAIT_US (2 * USEC_PER_SEC)

struct admission;
struct admission_publisher;

/* Embedded in a publish. */
struct admission_wait {
	/* These two are set before admission_enter(); see directory_add_share(). */
	struct load_share share;
	/* Called when it was admitted (0) or refused (-ENOBUFS) after it had to wait. */
	void (*done)(struct admission_wait *w, int rc);
	/* the admission's */
	struct admission_publisher *publisher;
	struct admission_wait *next;		/* of the publisher */
	struct admission_wait *older, *younger; /* of all */
	usec_t until;				/* monotonic */
	bool is_admitted;
};

/* d outlives it.  NULL: no descriptor is left. */
struct admission *admission_new(struct directory *d) MUSTCHECK;
/* Refuses all that wait, and what comes later is admitted unchecked. */
void admission_close(struct admission *a); /* NULL is fine */
void admission_free(struct admission *a);  /* after admission_close(); NULL is fine */

/* True: admitted now.  False: call admission_park(). */
bool admission_enter(struct admission *a, struct admission_wait *w) MUSTCHECK;
/* done() will be called, not before this returns. */
void admission_park(struct admission *a, const struct app *app, const struct address *publisher,
		    struct admission_wait *w);
/* The publish has ended, admitted or not.  Any thread. */
void admission_leave(struct admission *a, struct admission_wait *w);

/* Admits and refuses what is due.  Returns the ms until it has to be called again; -1: not before
 * admission_fd() is readable. */
int admission_run(struct admission *a);
int admission_fd(const struct admission *a);
/* It was readable: call admission_run(). */
void admission_woken(struct admission *a);
#endif
