/* SPDX-License-Identifier: MIT */
#ifndef LOG_DELIVERIES_H
#define LOG_DELIVERIES_H
/*
 * Delivery records that wait to be written: a ring behind a mutex that is held for a copy of
 * 24 bytes.  Any thread adds, the log's takes.  When the database is away the oldest are
 * dropped and counted: the list never grows beyond DELIVERY_LIST_MAX.
 */
#include "base/annotate.h"
#include "base/clock.h"

#define DELIVERY_LIST_MAX 65536

struct delivery {
	uint64_t serial;
	usec_t at; /* wall */
	unsigned sockets;
};

struct delivery_list;

struct delivery_list *delivery_list_new(void);
void delivery_list_free(struct delivery_list *l);
/* Whether it was empty before: then somebody should see to it that it is written soon. */
int delivery_list_add(struct delivery_list *l, const struct delivery *d);
/* Takes up to max of the oldest; returns how many. */
unsigned delivery_list_take(struct delivery_list *l, struct delivery *out, unsigned max);
/* Puts n back in front (as many as there is room for): they could not be written. */
void delivery_list_put_back(struct delivery_list *l, const struct delivery *d, unsigned n);
unsigned delivery_list_count(struct delivery_list *l);
/* Dropped since the last call. */
uint64_t delivery_list_dropped(struct delivery_list *l);
#endif
