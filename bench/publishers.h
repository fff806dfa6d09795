/* SPDX-License-Identifier: MIT */
#ifndef BENCH_PUBLISHERS_H
#define BENCH_PUBLISHERS_H
/*
 * The publishing side of the load: each publisher has one kept-alive connection, to the HTTP API
 * or to the database, and one request under way, goes round the channels, and reads the whole of
 * each answer. A number whose publish failed is used again.
 */
#include "hist.h"
#include "util.h"

struct subscribers;

struct publishers_options {
	struct sockaddr_in addr;
	const char *host;
	unsigned port;
	const char *app_id;
	const char *key;
	const char *secret;
	const char *channel_prefix;
	uint32_t publishers;
	uint32_t channels;
	const char *sql; /* conninfo of the database that they publish in; NULL: by HTTP */
	struct subscribers
		*whisperers; /* they send client events, each on its channel; NULL: not */
	size_t size;	     /* bytes of an event's data */
	uint64_t rate;	     /* events a second of all publishers together; 0 for no pause */
	uint64_t limit;	     /* events in all; 0 for no limit */
};

struct publishers_sum {
	uint64_t sent;
	uint64_t answered;    /* 200 with the right body */
	uint64_t turned_away; /* 503 */
	uint64_t wrong;	      /* any other answer, or none */
	uint64_t connects;
	uint32_t busy;	    /* requests under way */
	uint64_t expected;  /* deliveries that the answered ones make */
	struct hist answer; /* sent to answered */
};

struct publishers;
struct ep_item;

/* subscribers_on[channel]: connections that get each event. */
struct publishers *publishers_new(int epoll, const struct publishers_options *o,
				  const uint32_t *subscribers_on);
/* The clock of a fixed rate starts. */
void publishers_begin(struct publishers *p);
/* No new request from here on. */
void publishers_stop(struct publishers *p);
/* Sends the requests that are due, if may_send (the window has room).  Returns the time of the
 * next one, or UINT64_MAX. */
uint64_t publishers_run(struct publishers *p, bool may_send);
void publishers_event(struct publishers *p, struct ep_item *item, uint32_t events);
const struct publishers_sum *publishers_sum(const struct publishers *p);
/* How many events publisher put on channel. */
uint32_t publishers_count(const struct publishers *p, uint32_t publisher, uint32_t channel);
void publishers_free(struct publishers *p);
#endif
