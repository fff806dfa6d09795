/* SPDX-License-Identifier: MIT */
#ifndef BASE_WORKER_LOAD_H
#define BASE_WORKER_LOAD_H
/*
 * How much each worker still has to write, and whether a publish may add to it.
 *
 * A frame is one write to one socket.  A message in a worker's mailbox counts as many frames as the
 * channel has subscriptions on that worker, until they were written.  The worker measures how long
 * a frame takes, so the frames that wait are known as a time: how long a new message would wait.  A
 * worker is behind when that time or the bytes are over a mark.  A publish that was admitted and is
 * not in the mailboxes yet, because it waits for its commit, counts as promised.
 *
 * A waiter that was refused is woken once the worker has fallen below the low mark: one wake-up for
 * each time that the worker was behind, not one for each message.  The marks are explained in
 * docs/decisions/0022-admission.md.
 *
 * Any thread may call any function unless its comment restricts it.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/annotate.h"
#include "base/clock.h"

/* Behind: above one of these.  Caught up: below half of each. */
#define LOAD_QUEUED_US	 (2 * USEC_PER_MSEC) /* in the mailbox */
#define LOAD_PROMISED_US (4 * USEC_PER_MSEC) /* and what is promised */
#define LOAD_MAX_BYTES	 ((uint64_t)4 << 20) /* in the mailbox */
/* So many messages may wait however long they take: large channels need it, because frames that
 * wait for the same socket leave as one write. */
#define LOAD_FEW_QUEUED	  1
#define LOAD_FEW_PROMISED 3

/* The cost of a frame before any was measured. */
#define LOAD_FIRST_NS 5000

/* Who can wait for a worker. */
enum load_waiter {
	LOAD_WAITER_PUBLISHES, /* of HTTP */
	LOAD_WAITER_LOG,       /* rows of the log, of SQL above all */
	LOAD_WAITER_CLIENTS,   /* clients that send events, and are not read */
	LOAD_WAITERS,
};

struct load_amount {
	uint64_t messages, frames, bytes;
};

struct worker_load {
	atomic_uint_fast64_t messages, frames, bytes; /* posted, and not written yet */
	atomic_uint_fast64_t promised_messages, promised_frames;
	atomic_uint frame_ns; /* the time of a frame, in ns */
	atomic_uint waiters;  /* a bit for each enum load_waiter */
	/* of the worker's thread: what frame_ns is computed from */
	usec_t window_us, written_at;
	uint64_t window_frames;
} __attribute__((aligned(64)));

struct worker_loads {
	unsigned n;
	struct worker_load *of; /* n of them */
	struct {
		void (*wake)(void *ctx);
		void *ctx;
	} waiters[LOAD_WAITERS];
};

/* What a publish adds, in all, to the workers whose bits are set. */
struct load_share {
	uint64_t workers, messages, frames;
};

void worker_loads_init(struct worker_loads *l, unsigned n);
void worker_loads_release(struct worker_loads *l);
/* wake is called on any thread and must not wait.  Before other threads use l. */
void worker_loads_watch(struct worker_loads *l, enum load_waiter who, void (*wake)(void *ctx),
			void *ctx);

void worker_loads_posted(struct worker_loads *l, unsigned worker, const struct load_amount *what);
/* The worker began to write this at started and has now finished.  On the worker's thread. */
void worker_loads_written(struct worker_loads *l, unsigned worker, const struct load_amount *what,
			  usec_t started, usec_t now);

/* How long the worker needs for the frames that wait in its mailbox. */
usec_t worker_loads_backlog(const struct worker_loads *l, unsigned worker);

/*
 * Whether all workers of the share keep up.  If so, the share is promised until
 * worker_loads_settle(), and the result is 0.  Otherwise nothing changed, who will be woken, and
 * the result has the bits of the workers that are behind.  A worker without any load is never
 * behind, so a share of any size is admitted at some time.
 */
uint64_t worker_loads_admit(struct worker_loads *l, const struct load_share *share,
			    enum load_waiter who) MUSTCHECK;
/* Whether any of these workers is behind; if so, who will be woken. */
bool worker_loads_are_behind(struct worker_loads *l, uint64_t workers, enum load_waiter who)
	MUSTCHECK;
/* The admitted share was posted, or will not be. */
void worker_loads_settle(struct worker_loads *l, const struct load_share *share);
#endif
