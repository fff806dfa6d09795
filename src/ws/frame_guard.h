/* SPDX-License-Identifier: MIT */
#ifndef WS_FRAME_GUARD_H
#define WS_FRAME_GUARD_H
/*
 * Client frames must be masked (RFC 6455 section 5.1); libwebsockets 4.1 reads unmasked ones as
 * if nothing were wrong and does not report them.  Other broken headers it does refuse, but in
 * builds with _DEBUG, as Debian's, its close frame is lost.  So the bytes are looked at as they
 * come in: this file defines recv() and SSL_read(), which libwebsockets calls, returns to it the
 * head that was read before the worker got the socket, and follows the frame headers of guarded
 * sockets on worker threads.  At a header that breaks the RFC it sends a close frame with 1002 and
 * lets the read fail.  Sockets that are not guarded, and other threads, read as ever.  See
 * docs/decisions.
 */
#include <stdbool.h>
#include <stddef.h>
#include "base/annotate.h"
#include "base/clock.h"
#include "base/str.h"

/* Once, before any worker.  max_fd: one more than the highest descriptor there may be. */
void frame_guard_init(unsigned max_fd);
/* This thread's reads are looked at. */
void frame_guard_enter_thread(void);
/*
 * fd is a new connection, from which text, its handshake, was read already: the next reads of this
 * thread from fd return that (moved), the bytes after it are frames.  Before the first read; a
 * closed fd needs no call, because the next connection with this number makes this one.
 */
void frame_guard_watch(int fd, struct strbuf *text);
/* Some of the handshake was not returned yet. */
bool frame_guard_has_head(void);
/* What was not returned is forgotten: the connection has ended. */
void frame_guard_drop_head(void);
/* When a guarded fd's last bytes came, of whatever kind of frame; monotonic, 0: not known. */
usec_t frame_guard_heard_at(int fd);
/* The parser that it uses, for tests: 0, or -EPROTO at a header that breaks the RFC. */
struct frame_guard {
	unsigned char state;	 /* enum in frame_guard.c */
	unsigned char header;	 /* header bytes still to come */
	bool is_control;	 /* the frame being read is */
	bool is_in_message;	 /* a fragmented message is under way */
	unsigned long long left; /* bytes of payload still to come */
	usec_t heard_at;
};
/* A frame comes next. */
void frame_guard_begin(struct frame_guard *g);
int frame_guard_feed(struct frame_guard *g, const unsigned char *p, size_t n) MUSTCHECK;
#endif
