/* SPDX-License-Identifier: MIT */
#ifndef BUS_MESSAGE_H
#define BUS_MESSAGE_H
/*
 * One message from a node to all others, and its form in text: a letter, and fields as
 * LENGTH:BYTES. It is UTF-8 text without NUL, because PostgreSQL carries nothing else in a
 * notification.
 */
#include <stdbool.h>
#include <stdint.h>
#include "base/clock.h"
#include "base/str.h"

/* The longest message that is sent. */
#define BUS_MESSAGE_MAX_BYTES ((size_t)256 * 1024)

enum bus_kind {
	BUS_CLIENT_EVENT, /* data is the text of the frame */
	BUS_EVENT,	  /* a published event that is not in the log */
	BUS_MEMBER,	  /* a change to the members of a channel; data is src/cluster's */
	BUS_SLICE,	  /* rows of the log that were committed; data is log/slice.h's */
};

/* The views belong to the sender, or to the text that it was read from. */
struct bus_message {
	enum bus_kind kind;
	struct str_view app, channel; /* the application's id */
	struct str_view name, id;     /* of an event */
	struct str_view data;
	uint64_t exclude;    /* of an event: the socket that does not get it; 0: none */
	usec_t published_at; /* of an event; wall */
};

/* Appends the message.  False, with nothing appended: it has a NUL, or is too long. */
bool bus_message_add(struct strbuf *out, const struct bus_message *m) MUSTCHECK;
/* A node may send it, so far as one can see: the name and the channel of an event are such as
 * clients and servers may use.  Others would be taken for what the daemon itself sends. */
bool bus_message_is_allowed(const struct bus_message *m) MUSTCHECK;
/* Takes one message from the front of text.  False: there is none, or it is malformed. */
bool bus_message_take(struct str_view *text, struct bus_message *out) MUSTCHECK;
#endif
