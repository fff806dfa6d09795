/* SPDX-License-Identifier: MIT */
#ifndef CORE_LOG_PAGE_H
#define CORE_LOG_PAGE_H
/*
 * What sessions request from the event log, and the answer.  The log is read on another thread.
 * Its answer comes to the worker as a message (directory_post_page()), after all messages that
 * were sent to that worker before.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/event.h"

enum log_outcome {
	LOG_SERVED,
	LOG_EXPIRED,	 /* the log does not reach back that far */
	LOG_OTHER_EPOCH, /* the serials are of another log */
	LOG_TOO_MANY,
	LOG_UNAVAILABLE, /* no answer in time */
};

/* An event of a page that one connection does not receive: the socket_id it was published with. */
struct log_excluded {
	uint64_t socket;
	unsigned chunk;	      /* of the page; the event's frame is in it */
	unsigned offset, len; /* of the frame, in bytes of the chunk */
};

/* Counted; not changed any more once it was posted. */
struct log_page {
	atomic_uint refs;
	enum log_outcome outcome;
	uint64_t to; /* LOG_SERVED: it contains the channel's events up to this serial */
	unsigned n_events;
	struct msgbuf **chunks; /* complete frames, some in each, in order of serial */
	unsigned n_chunks;
	struct log_excluded *excluded; /* in the order of the frames; NULL: none */
	unsigned n_excluded;
	size_t bytes;	      /* of all chunks, and of excluded */
	struct event *cached; /* counted; LOG_REQUEST_CACHED: the last event, or NULL */
	bool may_follow;      /* cached may be sent to the channel's subscribers afterwards, too */
};

struct log_page *log_page_new(enum log_outcome outcome) MUSTCHECK;
struct log_page *log_page_ref(struct log_page *p);
void log_page_unref(struct log_page *p); /* NULL is fine */
/* Of the chunk that is added next: socket does not receive the event with this frame. */
void log_page_exclude(struct log_page *p, unsigned offset, unsigned len, uint64_t socket);
/* Takes the chunk's reference. */
void log_page_add(struct log_page *p, struct msgbuf *chunk, unsigned n_events);

/*
 * Whether the answer is still needed.  The reader drops a request that was cancelled before it
 * reached the database.  Counted; any thread.
 */
struct log_ticket {
	atomic_uint refs;
	atomic_bool is_cancelled;
};

struct log_ticket *log_ticket_new(void) MUSTCHECK;
struct log_ticket *log_ticket_ref(struct log_ticket *t);
void log_ticket_unref(struct log_ticket *t); /* NULL is fine */

enum log_request_kind {
	LOG_REQUEST_EVENTS, /* the events after a serial */
	LOG_REQUEST_CACHED, /* a cache channel's last event */
	LOG_REQUEST_END,    /* the last serial of the whole log: to */
};

/* All of it is copied, or referenced. */
struct log_request {
	enum log_request_kind kind;
	unsigned worker;
	uint64_t token; /* the message with the page has it too */
	struct log_ticket *ticket;
	struct app *app;
	struct str_view channel;
	/*
	 * LOG_REQUEST_EVENTS: serials above from, up to to; at most max events, and about max_bytes
	 * of payload.  from > to requests no event: LOG_OTHER_EPOCH when the log has not reached
	 * from.
	 */
	const char *epoch;
	uint64_t from, to;
	/*
	 * Leave out events that exclude these socket ids.  The page has those that exclude the
	 * session's own: sessions with the same request share it.
	 */
	struct str_view was;
	unsigned max, max_bytes;
	unsigned cap;	    /* LOG_TOO_MANY when there are more than that; 0: any number */
	unsigned max_age_s; /* LOG_EXPIRED when one is older; 0: any age */
};

struct log_reader {
	/* Returns at once.  Exactly one page is posted later, whatever happens.  Any thread. */
	void (*request)(void *ctx, const struct log_request *a);
	void *ctx;
};
#endif
