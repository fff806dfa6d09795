/* SPDX-License-Identifier: MIT */
#ifndef BUS_PACKING_H
#define BUS_PACKING_H
/*
 * Messages in notifications, whose payload has at most BUS_PAYLOAD_MAX bytes: several in one, or
 * one in several.  A payload is text:
 *
 *     1 NUMBER J           the node has registered (sent by the SQL function node_take())
 *     1 NUMBER L           the log has grown
 *     1 NUMBER MCOUNT ...  whole messages (bus/message.h)
 *     1 NUMBER BCOUNT ...  the first part of a message; more follow
 *     1 NUMBER FCOUNT ...  a further part; more follow
 *     1 NUMBER GCOUNT ...  its last part
 *
 * NUMBER is the sender's, COUNT rises by one with each payload: of equal payloads of one
 * transaction PostgreSQL delivers one.  Parts that do not follow each other are dropped.  A reader
 * ignores other versions, and in whole messages all from the first one of an unknown kind on.
 */
#include <stdint.h>
#include "base/annotate.h"
#include "base/str.h"

/* PostgreSQL's own limit is 7,999. */
#define BUS_PAYLOAD_MAX 7900

/* Collects messages, and calls emit for each payload that is full. */
struct bus_packer {
	unsigned number;
	uint64_t count; /* of payloads; goes on */
	void (*emit)(void *ctx, struct str_view payload);
	void *ctx;
	struct strbuf text; /* the payload that is being filled */
};

void bus_packer_init(struct bus_packer *p);
void bus_packer_release(struct bus_packer *p);
/* message is one of bus_message_add(). */
void bus_packer_add(struct bus_packer *p, struct str_view message);
/* Emits what is left. */
void bus_packer_flush(struct bus_packer *p);
void bus_packer_log_grew(struct bus_packer *p);

/* What a payload has. */
enum bus_news {
	BUS_NEWS_NONE,	   /* a part of a message */
	BUS_NEWS_UNKNOWN,  /* not a payload of this version */
	BUS_NEWS_JOINED,   /* a node has registered */
	BUS_NEWS_LOG,	   /* the log has grown */
	BUS_NEWS_MESSAGES, /* messages */
};

struct bus_unpacker {
	struct bus_parts *parts; /* of messages that are not complete, by sender */
	unsigned n_parts;
};

/* Drops the messages that are not complete: after it, those that follow are read as at first. */
void bus_unpacker_release(struct bus_unpacker *u);
/* *messages is valid until the next call. */
enum bus_news bus_unpacker_take(struct bus_unpacker *u, struct str_view payload,
				struct str_view *messages) MUSTCHECK;
#endif
