/* SPDX-License-Identifier: MIT */
#ifndef BUS_OTHERS_H
#define BUS_OTHERS_H
/*
 * How many other nodes there are.  The guard counts them in the database, with each renewal of its
 * lease; between two counts a notification shows that there is one.  A count that was begun before
 * another node registered may be too late: it does not set the number to 0.  Any thread.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct bus_others {
	atomic_uint_fast64_t state; /* joins in the upper 32 bits, the number in the lower ones */
};

void bus_others_init(struct bus_others *o);
unsigned bus_others_get(struct bus_others *o);
/* Before the nodes are counted: for bus_others_set(). */
unsigned bus_others_joins(struct bus_others *o);
/* n nodes were counted after bus_others_joins() had returned joins. */
void bus_others_set(struct bus_others *o, unsigned joins, unsigned n);
/* Another node sent a message.  has_joined: it has just registered. */
void bus_others_received(struct bus_others *o, bool has_joined);
#endif
