/* SPDX-License-Identifier: MIT */
#ifndef CORE_EVENT_H
#define CORE_EVENT_H
/*
 * One event on one channel, from the call that publishes it to its last delivery.
 * Counted; the fields above the line are set before it is shared and never change.
 * When the last reference goes the event is over: delivered to all sockets it has on this
 * node and, if it is logged, written; then event_done() tells the log what became of it.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/clock.h"
#include "base/mailbox.h"
#include "base/msgbuf.h"
#include "conf/app.h"

#define EVENT_ID_BYTES 26 /* a ULID: sorts by time */
#define EVENT_ID_MAX   64 /* of a publisher's own choice, from SQL */

struct event {
	struct letter letter; /* of the log's delivery queue, when it is over */
	atomic_uint refs;
	struct app *app;	       /* counted */
	struct str_view channel, name; /* inside text */
	struct msgbuf *data; /* what the publisher sent, byte for byte; shared by the channels of a
				trigger */
	char *text;	     /* holds channel and name */
	char id[EVENT_ID_MAX + 1];
	uint64_t exclude_socket; /* 0: nobody */
	enum durability durability;
	const char *origin;  /* static: "http", "socket", "sql" */
	usec_t published_at; /* wall */
	/* ---- */
	_Atomic uint64_t serial; /* 0 until the log gave one; written before it is shared further */
	atomic_uint sockets;	 /* deliveries on this node so far */
	usec_t delivered_at;	 /* wall; when it was handed to the workers */
	bool logged;		 /* a row stands in realtime_events */
};

/* One reference; data is referenced, the rest copied. */
struct event *event_new(struct app *app, struct str_view channel, struct str_view name,
			struct msgbuf *data) MUSTCHECK;
struct event *event_ref(struct event *e);
void event_unref(struct event *e);
/* Frees it; for the log, after it took the delivery record. */
void event_free(struct event *e);

/*
 * Called with the last reference's event, on whatever thread dropped it.  It must end in
 * event_free().  Set once by main before any event exists; default is event_free.
 */
void event_set_done(void (*done)(struct event *e));

/* Its finished WebSocket frame, with the serial it has now. */
struct msgbuf *event_frame(const struct event *e) MUSTCHECK;

/* A ULID of now: 48 bits of milliseconds, 80 random bits, Crockford base 32. */
void event_id_make(char out[EVENT_ID_BYTES + 1]);

/* Makes a repeated publish known: written in the transaction of its events, or alone. */
struct event_key {
	struct str_view app, key; /* the app's id; what the publisher chose */
	struct str_view digest;	  /* of the call, hex */
	struct str_view answer;	  /* that was given, or is going to be */
	struct str_view event_id; /* of the first event, or one of nothing */
};

/*
 * Events that are written together and answered together.  The log takes the batch; done is
 * called exactly once, on the log's thread, with 0 when all rows are committed; -EHOSTDOWN when
 * nothing was (and nothing will be) written; -EINVAL when the database refused an event's
 * content; -EEXIST when its key is taken, and nothing was written; -ETIMEDOUT when the time was
 * over before the outcome was known: what was not sent by then is never written, and what turns out
 * to be committed is still handed to fan_out, later. Events of durability none are not in batches.
 */
struct event_batch {
	struct letter letter;
	usec_t deadline;			     /* mono; 0: may wait for ever (async) */
	size_t bytes;				     /* for the queue's bound */
	bool reserved;				     /* the queue has counted it already */
	void (*done)(struct event_batch *b, int rc); /* frees b and drops its event references */
	void *ctx;
	bool fan_out; /* deliver after commit (false for async: that is done already) */
	const struct event_key *key; /* or NULL; good until done.  A batch may have only this */
	unsigned n;
	struct event **events; /* references owned by the batch */
};
#endif
