/* SPDX-License-Identifier: MIT */
#ifndef BUS_DRIVER_H
#define BUS_DRIVER_H
/*
 * How messages get to the other nodes: one table of functions for each value of cluster.driver.
 */
#include <stdatomic.h>
#include "bus/others.h"
#include "bus/receivers.h"
#include "bus/seal.h"
#include "conf/conf.h"

/* What a driver needs.  All of it outlives the driver. */
struct bus_driver_conf {
	const struct conf *conf;
	const char *conninfo;
	atomic_uint *number;	       /* of this node; 0: none yet */
	struct bus_others *others;     /* a driver reports what it receives */
	atomic_bool *is_redis_cluster; /* a driver reports it, before the next one */
	atomic_bool *has_connected;    /* a driver of servers of its own reports it, once */
	struct bus_receivers *receivers;
	struct bus_seal *seal;
};

struct bus_driver {
	/* *out is passed to the other functions.  0 or -errno. */
	int (*start)(const struct bus_driver_conf *conf, void **out);
	void (*stop)(void *driver);
	/* Any thread; only while there are other nodes. */
	void (*log_grew)(void *driver);
	/* publish() takes BUS_SLICE.  Where one is dropped, log_grew() is called in its place. */
	bool has_slices;
	/* The same.  Never waits: what cannot be sent is dropped and counted. */
	void (*publish)(void *driver, const struct bus_message *m);
	/* NULL: messages of all channels arrive.  Else only those of the channels that this node
	 * wants: the first subscriber has come, or (is_wanted false) the last one has left.  Any
	 * thread, also while there are no other nodes; never waits. */
	void (*want)(void *driver, const struct app *app, struct str_view channel, bool is_wanted);
};
#endif
