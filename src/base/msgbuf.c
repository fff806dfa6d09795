/* SPDX-License-Identifier: MIT */
/*
 * Bytes and their count of references in one allocation.  The last thread to drop a reference frees
 * them; the count is atomic, no lock.
 */
#include "base/mem.h"
#include "base/msgbuf.h"

struct msgbuf *msgbuf_new(size_t len)
{
	struct msgbuf *m = xmalloc(sizeof(*m) + len);

	atomic_init(&m->refs, 1);
	m->len = (unsigned)len;
	return m;
}

struct msgbuf *msgbuf_from(struct str_view bytes)
{
	struct msgbuf *m = msgbuf_new(bytes.len);

	if (bytes.len)
		memcpy(m->data, bytes.ptr, bytes.len);
	return m;
}

struct msgbuf *msgbuf_ref(struct msgbuf *m)
{
	atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
	return m;
}

void msgbuf_unref(struct msgbuf *m)
{
	if (m && atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) == 1)
		free(m);
}

struct str_view msgbuf_view(const struct msgbuf *m)
{
	return sv_n((const char *)m->data, m->len);
}
