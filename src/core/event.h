/* SPDX-License-Identifier: MIT */
#ifndef CORE_EVENT_H
#define CORE_EVENT_H
/*
 * One event on one channel, from the call that publishes it to its last delivery.
 *
 * Counted; the fields above the line are set before it is shared and never change.  When the last
 * reference is dropped, every socket of this node that was to receive the event has it, or is
 * closed; event_unref() then adds the event's delivery record.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/clock.h"
#include "base/mailbox.h"
#include "base/msgbuf.h"
#include "conf/app.h"
#include "core/deliveries.h"

#define EVENT_ID_BYTES 26 /* a ULID: sorts by time */
#define EVENT_ID_MAX   64 /* of a publisher's own choice, from SQL */

struct event {
	atomic_uint refs;
	struct app *app;	       /* counted */
	struct str_view channel, name; /* inside text */
	struct msgbuf *data; /* what the publisher sent, byte for byte; shared by the channels of a
				trigger */
	char *text;	     /* holds channel and name */
	char id[EVENT_ID_MAX + 1];
	uint64_t exclude_socket; /* 0: none */
	enum durability durability;
	const char *origin;  /* static: "http", "socket", "sql", "sync", "control" */
	bool is_control;     /* for the nodes and not for clients: log/control.h */
	bool is_received;    /* another node sent it (bus/bus.h) */
	usec_t published_at; /* wall */
	/* ---- */
	_Atomic uint64_t serial; /* 0 until the log gave one; written before it is shared further */
	atomic_uint sockets;	 /* deliveries on this node so far */
	usec_t delivered_at;	 /* wall; when it was passed to the workers */
	/* Where its delivery record is added; NULL: the event has no row of ours to refer to. */
	struct deliveries *deliveries;
};

/* One reference; data is referenced, the rest copied. */
struct event *event_new(struct app *app, struct str_view channel, struct str_view name,
			struct msgbuf *data) MUSTCHECK;
struct event *event_ref(struct event *e);
void event_unref(struct event *e); /* NULL is fine */

/* Its finished WebSocket frame, with the serial if that is at most up_to. */
struct msgbuf *event_frame(const struct event *e, uint64_t up_to) MUSTCHECK;

/* A ULID of now: 48 bits of milliseconds, 80 random bits, Crockford base 32. */
void event_id_make(char out[EVENT_ID_BYTES + 1]);
#endif
