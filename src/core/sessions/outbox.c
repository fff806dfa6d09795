/* SPDX-License-Identifier: MIT */
/* cap is a power of two or 0, so an index is masked, not divided.  One worker's own. */
#include <errno.h>
#include "base/mem.h"
#include "base/metric.h"
#include "core/sessions/outbox.h"

#define KEEP_CAP 16 /* larger rings are freed when empty */

/* One thread writes: no locked instruction is needed. */
static void outbox_count(struct outbox *o, unsigned more)
{
	atomic_store_explicit(&o->bytes, outbox_bytes(o) + more, memory_order_relaxed);
	metric_add(METRIC_OUTBOX_BYTES, (int)more);
}

static void outbox_free_ring(struct outbox *o)
{
	free(o->ring);
	o->ring = NULL;
	o->head = o->cap = 0;
}

void outbox_release(struct outbox *o)
{
	while (o->n)
		msgbuf_unref(outbox_take(o));
	outbox_free_ring(o);
}

static void outbox_grow(struct outbox *o)
{
	unsigned cap = o->cap ? o->cap * 2 : 4;
	struct msgbuf **ring = xreallocarray(NULL, cap, sizeof(struct msgbuf *));

	for (unsigned i = 0; i < o->n; i++)
		ring[i] = o->ring[(o->head + i) & (o->cap - 1)];
	free(o->ring);
	o->ring = ring;
	o->head = 0;
	o->cap = cap;
}

int outbox_put(struct outbox *o, struct msgbuf *m, unsigned max_bytes, unsigned max_frames)
{
	if ((max_frames && o->n >= max_frames) ||
	    (max_bytes && (m->len > max_bytes || outbox_bytes(o) > max_bytes - m->len)))
		return -ENOBUFS;
	if (o->n == o->cap)
		outbox_grow(o);
	o->ring[(o->head + o->n++) & (o->cap - 1)] = msgbuf_ref(m);
	outbox_count(o, m->len);
	return 0;
}

struct msgbuf *outbox_peek(const struct outbox *o)
{
	return o->n ? o->ring[o->head] : NULL;
}

struct msgbuf *outbox_take(struct outbox *o)
{
	struct msgbuf *m = o->ring[o->head];

	o->head = (o->head + 1) & (o->cap - 1);
	outbox_count(o, -m->len);
	if (--o->n == 0 && o->cap > KEEP_CAP)
		outbox_free_ring(o);
	return m;
}
