/* SPDX-License-Identifier: MIT */
/*
 * The only way from the directory to a worker.  The bytes of a message are counted when it is put
 * and subtracted when it is freed, so the sum shows whether the workers keep up.  Any thread.
 */
#include "base/mem.h"
#include "core/worker_message.h"

void worker_messages_init(struct worker_messages *w, const struct directory_post *post,
			  unsigned workers)
{
	w->post = *post;
	atomic_init(&w->bytes, 0);
	worker_loads_init(&w->loads, workers);
}

void worker_messages_release(struct worker_messages *w)
{
	worker_loads_release(&w->loads);
}

size_t worker_message_bytes(const struct worker_message *m)
{
	return sizeof(*m) + (m->frame ? m->frame->len : 0) + (m->page ? m->page->bytes : 0);
}

bool worker_messages_put(struct worker_messages *w, unsigned worker, struct worker_message *m)
{
	m->bytes = &w->bytes;
	atomic_fetch_add_explicit(m->bytes, worker_message_bytes(m), memory_order_relaxed);
	if (m->frames)
		worker_loads_posted(&w->loads, worker,
				    &(struct load_amount){ .messages = 1,
							   .frames = m->frames,
							   .bytes = worker_message_bytes(m) });
	return w->post.put(w->post.ctx, worker, &m->entry);
}

void worker_messages_wake(struct worker_messages *w, uint64_t workers)
{
	while (workers) {
		unsigned worker = (unsigned)__builtin_ctzll(workers);

		workers &= workers - 1;
		w->post.wake(w->post.ctx, worker);
	}
}

void worker_messages_send(struct worker_messages *w, unsigned worker, struct worker_message *m)
{
	if (worker_messages_put(w, worker, m))
		w->post.wake(w->post.ctx, worker);
}

void worker_message_free(struct worker_message *m)
{
	atomic_fetch_sub_explicit(m->bytes, worker_message_bytes(m), memory_order_relaxed);
	msgbuf_unref(m->key);
	msgbuf_unref(m->frame);
	msgbuf_unref(m->patterns);
	log_page_unref(m->page);
	event_unref(m->event);
	free(m);
}
