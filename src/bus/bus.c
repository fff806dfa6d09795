/* SPDX-License-Identifier: MIT */
/*
 * Chooses the driver and passes calls on.  Shared by all threads: the atomics, and what a driver
 * and the receivers lock by themselves; the rest does not change after the start.
 */
#include "base/mem.h"
#include "base/str.h"
#include "bus/bus.h"
#include "bus/driver.h"
#include "bus/local.h"
#include "bus/postgres.h"
#include "bus/receivers.h"
#include "bus/redis.h"
#include "bus/seal.h"

struct bus {
	const struct bus_driver *driver;
	void *state; /* the driver's, between start and stop */
	bool is_started;
	bool is_cluster;
	struct bus_driver_conf conf;
	struct bus_receivers receivers;
	atomic_uint number, registrations;
	atomic_bool is_redis_cluster, has_connected;
	struct bus_others others;
	struct bus_seal *seal;
};

static const struct bus_driver *const drivers[] = {
	[CLUSTER_LOCAL] = &bus_local,
	[CLUSTER_POSTGRES] = &bus_postgres,
	[CLUSTER_REDIS] = &bus_redis,
};

struct bus *bus_new(const struct conf *conf, const char *conninfo)
{
	struct bus *b = xcalloc(1, sizeof(*b));

	b->is_cluster = conf->cluster.driver != CLUSTER_LOCAL;
	b->driver = drivers[conf->cluster.driver];
	atomic_init(&b->number, 0);
	atomic_init(&b->registrations, 0);
	atomic_init(&b->is_redis_cluster, false);
	atomic_init(&b->has_connected, conf->cluster.driver != CLUSTER_REDIS);
	bus_others_init(&b->others);
	bus_receivers_init(&b->receivers);
	b->seal = bus_seal_new();
	b->conf = (struct bus_driver_conf){ .conf = conf,
					    .conninfo = conninfo,
					    .number = &b->number,
					    .others = &b->others,
					    .is_redis_cluster = &b->is_redis_cluster,
					    .has_connected = &b->has_connected,
					    .receivers = &b->receivers,
					    .seal = b->seal };
	return b;
}

void bus_free(struct bus *b)
{
	if (!b)
		return;
	bus_receivers_release(&b->receivers);
	bus_seal_free(b->seal);
	free(b);
}

int bus_start(struct bus *b)
{
	int rc = b->driver->start(&b->conf, &b->state);

	b->is_started = rc == 0;
	return rc;
}

void bus_stop(struct bus *b)
{
	if (!b || !b->is_started)
		return;
	b->is_started = false;
	b->driver->stop(b->state);
}

bool bus_is_cluster(const struct bus *b)
{
	return b->is_cluster;
}

bool bus_has_wants(const struct bus *b)
{
	return b->driver->want != NULL;
}

struct bus_seal *bus_get_seal(struct bus *b)
{
	return b->seal;
}

void bus_set_directory(struct bus *b, struct directory *d)
{
	bus_receivers_set_directory(&b->receivers, d);
}

unsigned bus_joins(struct bus *b)
{
	return bus_others_joins(&b->others);
}

void bus_set_others(struct bus *b, unsigned joins, unsigned others)
{
	bus_others_set(&b->others, joins, others);
}

void bus_set_number(struct bus *b, unsigned number)
{
	atomic_store(&b->number, number);
	atomic_fetch_add(&b->registrations, 1);
}

bool bus_has_redis_cluster(const struct bus *b)
{
	return atomic_load(&b->is_redis_cluster);
}

bool bus_has_connected(const struct bus *b)
{
	return atomic_load(&b->has_connected);
}

unsigned bus_registrations(struct bus *b)
{
	return atomic_load(&b->registrations);
}

const atomic_uint *bus_node_number(const struct bus *b)
{
	return &b->number;
}

static bool bus_has_others(struct bus *b)
{
	return bus_others_get(&b->others) > 0;
}

void bus_log_grew(struct bus *b)
{
	if (bus_has_others(b))
		b->driver->log_grew(b->state);
}

bool bus_has_slices(const struct bus *b)
{
	return b->driver->has_slices;
}

bool bus_wants_slices(struct bus *b)
{
	return bus_has_slices(b) && bus_has_others(b);
}

void bus_publish_slice(struct bus *b, struct str_view slice)
{
	const struct bus_message m = { .kind = BUS_SLICE, .data = slice };

	if (bus_has_others(b))
		b->driver->publish(b->state, &m);
}

void bus_publish_event(struct bus *b, const struct event *e)
{
	struct bus_message m;

	if (!bus_has_others(b))
		return;
	m = (struct bus_message){ .kind = BUS_EVENT,
				  .app = sv(e->app->id),
				  .channel = e->channel,
				  .name = e->name,
				  .id = sv(e->id),
				  .data = msgbuf_view(e->data),
				  .exclude = e->exclude_socket,
				  .published_at = e->published_at };
	b->driver->publish(b->state, &m);
}

void bus_publish_client_event(struct bus *b, const struct app *app, struct str_view channel,
			      struct str_view text)
{
	struct bus_message m;

	if (!bus_has_others(b))
		return;
	m = (struct bus_message){
		.kind = BUS_CLIENT_EVENT, .app = sv(app->id), .channel = channel, .data = text
	};
	b->driver->publish(b->state, &m);
}

void bus_want(struct bus *b, const struct app *app, struct str_view channel, bool is_wanted)
{
	if (b->is_started)
		b->driver->want(b->state, app, channel, is_wanted);
}

void bus_watch_log(struct bus *b, void (*fn)(void *ctx, struct str_view slice), void *ctx)
{
	bus_receivers_set_log(&b->receivers, fn, ctx);
}

void bus_publish_member(struct bus *b, struct str_view app, struct str_view channel,
			struct str_view data)
{
	const struct bus_message m = {
		.kind = BUS_MEMBER, .app = app, .channel = channel, .data = data
	};

	if (bus_has_others(b))
		b->driver->publish(b->state, &m);
}

void bus_watch_members(struct bus *b, void (*fn)(void *ctx, const struct bus_message *m), void *ctx)
{
	bus_receivers_set_members(&b->receivers, fn, ctx);
}
