/* SPDX-License-Identifier: MIT */
/*
 * Starts and stops the parts that an event passes through: the log writer, the drainer, the
 * directory, the workers, and the reader, which serves what clients missed.
 */
#include <sysexits.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "pg/gate.h"
#include "bus/bus.h"
#include "cluster/cluster.h"
#include "conf/conf.h"
#include "core/channels/directory.h"
#include "core/limit.h"
#include "log/drainer.h"
#include "log/reader.h"
#include "log/writer.h"
#include "svc/admission.h"
#include "svc/grants.h"
#include "svc/heartbeat.h"
#include "svc/presence_db.h"
#include "svc/publish.h"
#include "svc/sockets.h"
#include "svc/socket_ties.h"
#include "trace/live_tail.h"
#include "trace/recorder.h"
#include "webhook/app_auth.h"
#include "webhook/webhooks.h"
#include "ws/frame_guard.h"
#include "ws/worker.h"
#include "daemon/daemon.h"

#define CATCH_UP_MS 3000
#define WRITER_MS   2000
#define POLL_MS	    20

static void on_socket(void *ctx, const struct app *app, uint64_t socket_id, bool is_open)
{
	struct scopewired *d = ctx;

	if (is_open) {
		sockets_add(d->sockets, socket_id, app->runtime->number);
		return;
	}
	/* in this order: see socket_ties_watch() */
	sockets_remove(d->sockets, socket_id);
	socket_ties_on_closed(d->ties, socket_id);
}

static void on_socket_user(void *ctx, uint64_t socket_id, struct str_view user_id, bool is_signin)
{
	struct scopewired *d = ctx;

	sockets_identify(d->sockets, socket_id, user_id, is_signin);
}

static const char *on_heartbeat(void *ctx, struct app *app, uint64_t socket_id,
				struct str_view data)
{
	struct scopewired *d = ctx;
	const struct heartbeat_services services = { d->presence, d->sockets, d->ties,
						     &d->conf->sync };
	const struct heartbeat_socket from = { app, socket_id };

	return heartbeat_take(&services, &from, data);
}

static bool on_is_socket_of(void *ctx, uint64_t socket_id, struct str_view user_id)
{
	struct scopewired *d = ctx;
	char user[USER_ID_SIZE];

	return user_id_read(user_id, user) && sockets_is_of(d->sockets, socket_id, user);
}

static uint64_t on_granted(void *ctx, struct app *app, struct str_view channel,
			   const struct grant_mark *mark)
{
	struct scopewired *d = ctx;

	return grants_join(d->grants, app, channel, mark);
}

static void on_grant_left(void *ctx, uint64_t grant)
{
	struct scopewired *d = ctx;

	grants_leave(d->grants, grant);
}

/* What the application answered before does not count any more. */
static void on_ended(void *ctx, const struct app *app, struct str_view user_id)
{
	struct scopewired *d = ctx;

	app_auth_forget(d->app_auth, app, user_id);
}

static void on_client_event(void *ctx, const struct app *app, struct str_view channel,
			    struct str_view text)
{
	struct scopewired *d = ctx;

	bus_publish_client_event(d->bus, app, channel, text);
}

static void on_channel_changed(void *ctx, const struct app *app, struct str_view channel,
			       bool is_wanted)
{
	struct scopewired *d = ctx;

	bus_want(d->bus, app, channel, is_wanted);
}

/* One core is left to HTTP, the log writer and PostgreSQL: see docs/decisions/0007. */
static unsigned start_default_workers(void)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	return cores > 1 ? (unsigned)cores - 1 : 1;
}

int make_workers(struct scopewired *d)
{
	const struct conf_server *s = &d->conf->server;
	unsigned n = s->workers ? s->workers : start_default_workers();
	struct workers_conf wc = {
		.n = n > DIRECTORY_MAX_WORKERS ? DIRECTORY_MAX_WORKERS : n,
		.has_tls = s->tls_certificate[0],
		.max_head_bytes = max_handshake_bytes(s),
		.request_timeout_ms = s->request_timeout_ms,
		.proxies = &s->trusted_proxies,
		.reserved_from =
			(int)(d->open_files - reserved_for_database(d) - reserved_for_http(d)),
		.hub = { .max_connections = s->max_connections,
			 .node_number = bus_node_number(d->bus),
			 .path = sv(s->path),
			 .ahead_max = d->conf->database.replay_timeout_ms * USEC_PER_MSEC,
			 .on_socket = on_socket,
			 .on_socket_user = on_socket_user,
			 .on_heartbeat = on_heartbeat,
			 .is_socket_of = on_is_socket_of,
			 .on_granted = on_granted,
			 .on_grant_left = on_grant_left,
			 .on_client_event = bus_is_cluster(d->bus) ? on_client_event : NULL,
			 .socket_ctx = d },
	};

	d->addresses =
		address_limits_new(s->max_connections_per_address, s->max_handshakes_per_address,
				   s->max_unread_bytes_per_address);
	wc.hub.addresses = d->addresses;
	if (!conf_admin_is_off(&d->conf->admin)) {
		d->recorder = recorder_new(d->conf->admin.recorder_bytes);
		d->live_tail = live_tail_new();
	}
	wc.hub.recorder = d->recorder;
	wc.hub.live_tail = d->live_tail;
	frame_guard_init(d->open_files);
	d->replay = reader_new(&d->conf->database, d->conninfo, bus_is_cluster(d->bus));
	wc.hub.log = reader_interface(d->replay);
	d->n_workers = wc.n;
	d->workers = workers_new(&wc);
	return EX_OK;
}

void free_workers(struct scopewired *d)
{
	workers_free(d->workers);
	address_limits_free(d->addresses);
	reader_free(d->replay);
	recorder_free(d->recorder);
	live_tail_free(d->live_tail);
}

void stop_delivery_records(struct scopewired *d)
{
	log_writer_stop(d->log, STOP_GRACE_MS);
	publisher_free(d->publisher);
	admission_free(d->admission);
}

/* Where a role may have few connections only, the log's writer gets one before the pools. */
RUNS_ON(on_main) static void start_wait_for_writer(struct scopewired *d)
{
	usec_t until = clock_mono() + WRITER_MS * USEC_PER_MSEC;
	struct log_writer_stats stats = { 0 };

	while (pg_gate_is_open() && !stats.is_connected && clock_mono() < until &&
	       !is_stop_requested(d, stats.reconnects ? POLL_MS : 1))
		log_writer_stats(d->log, &stats);
}

int start_events(struct scopewired *d)
{
	struct directory_post post;

	workers_directory_post(d->workers, &post);
	d->directory = directory_new(d->n_workers, &post);
	directory_set_live_tail(d->directory, d->live_tail);
	if (d->conf->sync.presence_from_sockets)
		directory_watch_users(d->directory, presence_db_on_user, d->presence);
	directory_watch_transitions(d->directory, webhooks_on_transition, d->webhooks);
	directory_watch_ended(d->directory, on_ended, d);
	if (bus_has_wants(d->bus))
		directory_watch_channels(d->directory, on_channel_changed, d);
	d->cluster = cluster_new(d->conf, d->conninfo, d->bus);
	cluster_watch_webhooks(d->cluster, webhooks_on_noted, d->webhooks);
	if (cluster_start(d->cluster, d->directory))
		return give_up(EX_OSERR, xstrdup("presence of the cluster could not be started"));
	if (log_writer_start(d->conf, d->conninfo, d->directory, d->bus, &d->log))
		return give_up(EX_OSERR, xstrdup("the log writer could not be started"));
	d->publisher = publisher_new(d->directory, log_writer_queue(d->log), d->bus,
				     d->conf->database.commit_timeout_ms);
	d->admission = admission_new(d->directory);
	if (!d->admission)
		return give_up(EX_OSERR,
			       xstrdup("the admission of publishes could not be started"));
	bus_set_directory(d->bus, d->directory);
	start_wait_for_writer(d);
	return EX_OK;
}

void free_directory(struct scopewired *d)
{
	bus_set_directory(d->bus, NULL);
	cluster_stop(d->cluster);
	directory_free(d->directory);
	cluster_free(d->cluster);
}

int start_workers(struct scopewired *d)
{
	if (workers_start(d->workers, d->directory))
		return give_up(EX_OSERR, xstrdup("the workers could not be started"));
	return EX_OK;
}

void stop_workers(struct scopewired *d)
{
	workers_stop(d->workers);
}

void close_log(struct scopewired *d)
{
	log_writer_close(d->log, STOP_GRACE_MS);
}

int start_reader(struct scopewired *d)
{
	if (reader_start(d->replay, d->directory))
		return give_up(EX_OSERR, xstrdup("the replay threads could not be started"));
	return EX_OK;
}

void stop_reader(struct scopewired *d)
{
	reader_stop(d->replay);
}

RUNS_ON(on_main) static void start_wait_for_drainer(struct scopewired *d)
{
	usec_t until = clock_mono() + CATCH_UP_MS * USEC_PER_MSEC;
	usec_t say_at = clock_mono() + USEC_PER_SEC;

	while (pg_gate_is_open() && !drainer_wait(d->drainer, POLL_MS) && clock_mono() < until &&
	       !is_stop_requested(d, POLL_MS)) {
		if (clock_mono() < say_at)
			continue;
		log_info("database: still waiting after 1 s for the end of the event log");
		say_at = until;
	}
}

/*
 * The drainer starts when the applications are followed.  What an earlier process left in the log
 * is delivered before a client can see it twice.
 */
int start_drainer(struct scopewired *d)
{
	if (drainer_start(d->conf, d->conninfo, log_writer_tail(d->log), d->bus, &d->drainer))
		return give_up(EX_OSERR, xstrdup("the drainer could not be started"));
	start_wait_for_drainer(d);
	update_log_position(d);
	return EX_OK;
}

void stop_drainer(struct scopewired *d)
{
	drainer_stop(d->drainer);
}

void update_log_position(struct scopewired *d)
{
	struct position p;

	if (log_tail_position(log_writer_tail(d->log), &p))
		directory_log_reached(d->directory, &p);
}
