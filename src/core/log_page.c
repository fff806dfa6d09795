/* SPDX-License-Identifier: MIT */
/* Filled by the thread that reads the log; not changed after it was posted. */
#include "base/mem.h"
#include "core/log_page.h"

struct log_ticket *log_ticket_new(void)
{
	struct log_ticket *t = xcalloc(1, sizeof(*t));

	atomic_init(&t->refs, 1);
	return t;
}

struct log_ticket *log_ticket_ref(struct log_ticket *t)
{
	atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
	return t;
}

void log_ticket_unref(struct log_ticket *t)
{
	if (t && atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) == 1)
		free(t);
}

struct log_page *log_page_new(enum log_outcome outcome)
{
	struct log_page *p = xcalloc(1, sizeof(*p));

	atomic_init(&p->refs, 1);
	p->outcome = outcome;
	return p;
}

struct log_page *log_page_ref(struct log_page *p)
{
	atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
	return p;
}

void log_page_unref(struct log_page *p)
{
	if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (unsigned i = 0; i < p->n_chunks; i++)
		msgbuf_unref(p->chunks[i]);
	if (p->cached)
		event_unref(p->cached);
	free(p->chunks);
	free(p->excluded);
	free(p);
}

void log_page_exclude(struct log_page *p, unsigned offset, unsigned len, uint64_t socket)
{
	unsigned n = p->n_excluded;

	if ((n & (n - 1)) == 0) /* room for the next power of two */
		p->excluded = xreallocarray(p->excluded, n ? n * 2 : 1, sizeof(*p->excluded));
	p->excluded[p->n_excluded++] = (struct log_excluded){
		.socket = socket, .chunk = p->n_chunks, .offset = offset, .len = len
	};
	p->bytes += sizeof(*p->excluded);
}

void log_page_add(struct log_page *p, struct msgbuf *chunk, unsigned n_events)
{
	p->chunks = xreallocarray(p->chunks, p->n_chunks + 1, sizeof(struct msgbuf *));
	p->chunks[p->n_chunks++] = chunk;
	p->n_events += n_events;
	p->bytes += chunk->len;
}
