/* SPDX-License-Identifier: MIT */
#ifndef BENCH_SUBSCRIBERS_H
#define BENCH_SUBSCRIBERS_H
/*
 * The WebSocket side of the load: many connections, each subscribed to one channel
 * (number modulo channels), every frame they get checked and counted.
 */
#include "hist.h"
#include "ledger.h"
#include "util.h"

struct subscribers_options {
	struct sockaddr_in addr;
	const char *host;
	unsigned port;
	const char *key;
	const char *channel_prefix;
	uint32_t connections;
	uint32_t channels;
	uint32_t publishers;
	uint32_t inflight; /* handshakes under way at once */
	size_t size;	   /* bytes of an event's data */
	bool has_tls;
	const char *secret; /* signs subscriptions to private channels */
};

struct subscribers_sum {
	uint32_t started;
	uint32_t live;	   /* subscribed and still open */
	uint32_t joined;   /* subscribed at some time */
	uint32_t refused;  /* ended before they were subscribed */
	uint32_t closed;   /* ended by the server afterwards */
	uint64_t strange;  /* frames that are no known answer or not as published */
	uint64_t frames;   /* deliveries, repeats and all */
	struct hist join;  /* connect() to subscription_succeeded */
	struct hist delay; /* due to received */
};

struct subscribers;
struct ep_item; /* one entry in epoll; see loop.h */

struct subscribers *subscribers_new(int epoll, const struct subscribers_options *o);
/* Starts handshakes while fewer than inflight are under way and fewer than upto were started. */
void subscribers_start(struct subscribers *s, uint32_t upto);
void subscribers_event(struct subscribers *s, struct ep_item *item, uint32_t events);
const struct subscribers_sum *subscribers_sum(const struct subscribers *s);
struct ledger *subscribers_ledger(struct subscribers *s);
/* Sends a text frame on a connection that is subscribed. */
void subscribers_send(struct subscribers *s, uint32_t number, const struct bytes *text);
/* How many connections channel has. */
uint32_t subscribers_on(const struct subscribers *s, uint32_t channel);
void subscribers_free(struct subscribers *s);
#endif
