/* SPDX-License-Identifier: MIT */
#ifndef BUS_BUS_H
#define BUS_BUS_H
/*
 * What the nodes of a cluster send each other.  Events and their order are in the event log; the
 * bus only carries what may be lost: that the log has grown, so that the other nodes read it at
 * once and not at their next poll, or its new rows, so that they need not read them; client events;
 * published events that are not in the log; and changes to the members of channels, which have
 * versions (src/cluster).
 *
 * How it is carried is the driver's part (bus/driver.h).  With cluster.driver = local there is no
 * other node, and no function here does anything.
 */
#include <stdatomic.h>
#include "base/annotate.h"
#include "conf/conf.h"
#include "bus/message.h"
#include "core/channels/directory.h"

struct bus;
struct bus_seal;

/* conf and conninfo outlive it. */
struct bus *bus_new(const struct conf *conf, const char *conninfo) MUSTCHECK;
void bus_free(struct bus *b); /* NULL is fine */
/* 0 or -errno. */
int bus_start(struct bus *b) MUSTCHECK;
/* No other function is called after it, but bus_free().  NULL is fine. */
void bus_stop(struct bus *b);

/* Whether there may be other nodes. */
bool bus_is_cluster(const struct bus *b);
/* Where messages of other nodes go.  NULL: they are dropped; when that call has returned, the
 * earlier directory is not in use any more. */
void bus_set_directory(struct bus *b, struct directory *d);

/* The seal that signs messages (bus/seal.h).  The code that reads the database's secret sets the
 * secret in it; until then the driver redis sends and accepts nothing.  It lives as long as the
 * bus. */
struct bus_seal *bus_get_seal(struct bus *b);

/* Whether the driver has to know which channels have subscribers on this node: see bus_want(). */
bool bus_has_wants(const struct bus *b);

/* -- any thread -- */

/* This node's number in the cluster, as the guard knows it. */
void bus_set_number(struct bus *b, unsigned number);
/* How many other nodes there are, which the guard counted after bus_joins() had returned joins. */
void bus_set_others(struct bus *b, unsigned joins, unsigned others);
/* Before other nodes are counted: for bus_set_others(). */
unsigned bus_joins(struct bus *b);
/* The number; 0: none yet, or the daemon is alone.  As long as the bus. */
const atomic_uint *bus_node_number(const struct bus *b);

/* The driver is redis, and its servers are a Redis Cluster, as far as it knows yet. */
bool bus_has_redis_cluster(const struct bus *b);
/* The driver is not redis, or it has been connected to all servers once: from then on
 * bus_has_redis_cluster() is known. */
bool bus_has_connected(const struct bus *b);

/* How often the guard has registered this node: after each time, what the node has in the database
 * may be lost. */
unsigned bus_registrations(struct bus *b);

/* Events were committed: notifies the other nodes, if there are any.  Does not wait. */
void bus_log_grew(struct bus *b);
/* Whether the driver sends the rows too: see bus_publish_slice(). */
bool bus_has_slices(const struct bus *b);
/* Whether that, and there are other nodes. */
bool bus_wants_slices(struct bus *b);
/*
 * With bus_has_slices(), in place of bus_log_grew(): sends rows that were committed (log/slice.h).
 * A slice that is too long or does not fit into the queue is left out: then the others read the
 * log.
 */
void bus_publish_slice(struct bus *b, struct str_view slice);
/* Sends an event of durability none to the other nodes, if there are any.  Does not wait. */
void bus_publish_event(struct bus *b, const struct event *e);
/* The same for a client event, whose frame has this text. */
void bus_publish_client_event(struct bus *b, const struct app *app, struct str_view channel,
			      struct str_view text);
/* With bus_has_wants(): the channel has its first subscriber on this node, or (is_wanted false) has
 * lost its last one.  Does not wait. */
void bus_want(struct bus *b, const struct app *app, struct str_view channel, bool is_wanted);
/*
 * Sets the function that is called when another node has committed events, on the bus's thread; it
 * must not wait.  slice is what bus_publish_slice() sent, or "": the log has to be read.  fn NULL:
 * none; when that call has returned, the earlier function is not running any more.
 */
void bus_watch_log(struct bus *b, void (*fn)(void *ctx, struct str_view slice), void *ctx);
/* Sends a change to the members of a channel to the other nodes, if there are any.  Does not wait.
 */
void bus_publish_member(struct bus *b, struct str_view app, struct str_view channel,
			struct str_view data);
/*
 * As bus_watch_log(), for changes to the members of channels.  m is NULL when the bus has begun to
 * receive, at first or again: changes may have been missed.
 */
void bus_watch_members(struct bus *b, void (*fn)(void *ctx, const struct bus_message *m),
		       void *ctx);
#endif
