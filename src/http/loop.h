/* SPDX-License-Identifier: MIT */
#ifndef HTTP_LOOP_H
#define HTTP_LOOP_H
/*
 * libmicrohttpd's daemon on a thread of ours, which also makes the calls that other threads post.
 * Only these calls wake the library, and all of its callbacks run on this thread.
 */
#include <microhttpd.h>
#include "base/annotate.h"
#include "base/mailbox.h"

struct admission;
struct http_loop;

/* Embedded in the object of the call; can be used again once fn was called. */
struct loop_call {
	struct mailbox_entry entry;
	void (*fn)(struct loop_call *call); /* on the http thread */
};

/*
 * Starts the thread of that name.  mhd was started with LOOP_MHD_FLAGS; from success on it is the
 * loop's.  admission (NULL: none) is run by it and outlives it.  0 or -errno.
 */
int http_loop_start(struct MHD_Daemon *mhd, const char *name, struct admission *admission,
		    struct http_loop **out) MUSTCHECK;
/* The call is made soon, in the order of posting.  Any thread, until http_loop_stop(). */
void http_loop_post(struct http_loop *l, struct loop_call *call);
/* Makes the waiting calls, stops the library's daemon, ends the thread, frees.  NULL is fine. */
void http_loop_stop(struct http_loop *l);

#define LOOP_MHD_FLAGS (MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME)
#endif
