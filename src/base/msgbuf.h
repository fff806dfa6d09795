/* SPDX-License-Identifier: MIT */
#ifndef BASE_MSGBUF_H
#define BASE_MSGBUF_H
/*
 * Immutable bytes that many queues share.  Each queue that keeps one holds a reference.
 * HEADROOM bytes are free before data, as lws_write() requires (LWS_PRE).
 * The count is atomic: any thread may ref and unref.
 */
#include <stdatomic.h>
#include <stddef.h>
#include "base/str.h"

#define MSGBUF_HEADROOM 24

struct msgbuf {
	atomic_uint refs;
	unsigned len; /* bytes of data */
	unsigned char room[MSGBUF_HEADROOM];
	unsigned char data[];
};

/* One reference, bytes not yet set; len at most UINT_MAX/2.  Fill data before sharing it. */
struct msgbuf *msgbuf_new(size_t len) MUSTCHECK;
struct msgbuf *msgbuf_from(struct str_view bytes) MUSTCHECK;
struct msgbuf *msgbuf_ref(struct msgbuf *m);
void msgbuf_unref(struct msgbuf *m); /* NULL is fine */
struct str_view msgbuf_view(const struct msgbuf *m);
#endif
