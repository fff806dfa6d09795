/* SPDX-License-Identifier: MIT */
#ifndef CORE_SESSIONS_OUTBOX_H
#define CORE_SESSIONS_OUTBOX_H
/*
 * Frames that wait for one socket, in order: references in a ring that grows by doubling and
 * is freed when it runs empty after a burst.  An idle one costs no heap.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include "base/annotate.h"
#include "base/msgbuf.h"

struct outbox {
	struct msgbuf **ring;
	unsigned head, n, cap; /* cap: power of two or 0 */
	atomic_uint bytes;     /* of all frames; its worker writes, any thread may read */
};

static inline unsigned outbox_bytes(const struct outbox *o)
{
	return atomic_load_explicit(&o->bytes, memory_order_relaxed);
}
void outbox_release(struct outbox *o);
/* Takes a reference of its own.  -ENOBUFS over a cap (0: none); nothing changed then. */
int outbox_put(struct outbox *o, struct msgbuf *m, unsigned max_bytes, unsigned max_frames)
	MUSTCHECK;
static inline bool outbox_is_empty(const struct outbox *o)
{
	return o->n == 0;
}
/* The oldest frame, borrowed; NULL when empty. */
struct msgbuf *outbox_peek(const struct outbox *o);
/* Takes the oldest out; the reference is the caller's. */
struct msgbuf *outbox_take(struct outbox *o);
#endif
