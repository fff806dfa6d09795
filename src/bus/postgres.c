/* SPDX-License-Identifier: MIT */
/*
 * One thread with one connection (pg/runner.h) that listens and notifies.
 *
 * A NOTIFY takes a lock of the whole server from its commit to the flush of what its transaction
 * has written.  So it has a transaction of its own, without writes, and there is at most one in a
 * tick.
 *
 * The form of the payloads is in bus/packing.h.  What this session sent itself is not received. The
 * name of the channel has a secret that only the daemon's role can read: every role of the database
 * can listen and notify, but has to know the name.
 *
 * Shared with other threads: has_log, outgoing, and what the conf has.
 */
#include <string.h>
#include "base/log_gate.h"
#include "base/macros.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "base/wake.h"
#include "bus/outgoing.h"
#include "bus/packing.h"
#include "bus/postgres.h"
#include "conf/conninfo.h"
#include "pg/array.h"
#include "pg/listener.h"
#include "pg/runner.h"

#define NAME	       "bus"
#define QUERY_US       (10 * USEC_PER_SEC)
#define TICK_US	       (2 * USEC_PER_MSEC)
#define IDLE_US	       (60 * USEC_PER_SEC)
#define AWAY_MS	       100 /* how often messages are dropped without a connection */
#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 2000

struct postgres {
	struct bus_driver_conf conf;
	struct pg_runner *runner;
	atomic_bool has_log; /* the log has grown; not sent yet */
	struct bus_outgoing outgoing;

	/* the thread's own */
	usec_t next_tick; /* mono */
	char *channel;	  /* of notifications */
	struct bus_packer packer;
	struct bus_unpacker unpacker;
	struct pg_array payloads; /* of the statement that is made */
};

static struct log_gate refused_gate = LOG_GATE("notifications between nodes refused");

/* -- sending -- */

static void postgres_on_payload(void *ctx, struct str_view payload)
{
	struct postgres *p = ctx;

	pg_array_add(&p->payloads, payload);
}

/* Puts what waits into payloads; the number of messages. */
static unsigned postgres_pack(struct postgres *p)
{
	struct mailbox_entry *e = bus_outgoing_take(&p->outgoing), *next;
	unsigned n = 0;

	pg_array_reset(&p->payloads);
	p->packer.number = atomic_load(p->conf.number);
	for (; e; e = next, n++) {
		struct bus_outgoing_entry *one = CONTAINER_OF(e, struct bus_outgoing_entry, entry);

		next = e->next;
		bus_packer_add(&p->packer, strbuf_view(&one->text));
		bus_outgoing_entry_free(&p->outgoing, one);
	}
	bus_packer_flush(&p->packer);
	if (atomic_exchange(&p->has_log, false))
		bus_packer_log_grew(&p->packer);
	return n;
}

/* One transaction.  What the server refuses, as when its queue of notifications is full, is
 * dropped. */
static enum pg_fault postgres_notify(struct postgres *p, struct pg_connection *c, unsigned n)
{
	struct str_view payloads = pg_array_view(&p->payloads);
	const struct pg_query q = { .sql = "notify",
				    .n = 2,
				    .values = (const char *const[]){ p->channel, payloads.ptr },
				    .lengths = (const int[]){ (int)strlen(p->channel),
							      (int)payloads.len },
				    .formats = (const int[]){ 0, 1 },
				    .is_prepared = true };
	enum pg_fault fault = pg_conn_run(c, clock_mono() + QUERY_US, &q, NULL);

	metric_add(fault == PG_FINE ? METRIC_BUS_SENT : METRIC_BUS_DROPPED, n);
	if (fault == PG_FINE || fault == PG_LOST)
		return fault;
	log_gated(&refused_gate, "bus: the other nodes are not notified: %s", pg_conn_error(c));
	return PG_FINE;
}

/* What waits, once a tick.  *until: when to send again. */
static enum pg_fault postgres_send(struct postgres *p, struct pg_connection *c, usec_t *until)
{
	usec_t now = clock_mono();
	unsigned n;

	*until = now + IDLE_US;
	if (now < p->next_tick) {
		*until = p->next_tick;
		return PG_FINE;
	}
	n = postgres_pack(p);
	if (!p->payloads.n)
		return PG_FINE;
	p->next_tick = now + TICK_US;
	return postgres_notify(p, c, n);
}

static void postgres_log_grew(void *driver)
{
	struct postgres *p = driver;

	if (!atomic_exchange(&p->has_log, true))
		pg_runner_wake(p->runner);
}

static void postgres_publish(void *driver, const struct bus_message *m)
{
	struct postgres *p = driver;

	if (bus_outgoing_add(&p->outgoing, m) == 1)
		pg_runner_wake(p->runner);
}

/* Without a connection: what waits would be too old. */
static void postgres_on_away(void *ctx)
{
	struct postgres *p = ctx;

	bus_outgoing_drop(&p->outgoing);
}

/* -- receiving -- */

static void postgres_on_notify(void *ctx, const char *payload)
{
	struct postgres *p = ctx;
	struct str_view messages;
	struct bus_message m;
	enum bus_news news = bus_unpacker_take(&p->unpacker, sv(payload), &messages);

	metric_add(METRIC_BUS_NOTIFICATIONS, 1);
	if (news == BUS_NEWS_UNKNOWN)
		metric_add(METRIC_BUS_UNKNOWN, 1);
	else if (news != BUS_NEWS_NONE)
		bus_others_received(p->conf.others, news == BUS_NEWS_JOINED);
	if (news == BUS_NEWS_LOG)
		bus_receivers_log(p->conf.receivers, SV(""));
	while (bus_message_take(&messages, &m))
		bus_receivers_message(p->conf.receivers, &m);
	if (messages.len)
		metric_add(METRIC_BUS_UNKNOWN, 1);
}

/* -- the thread -- */

static enum pg_fault postgres_read_channel(struct postgres *p, struct pg_connection *c)
{
	const char *values[] = { p->conf.conf->cluster.prefix };
	const struct pg_query q = { .sql = "SELECT node_channel($1::text)",
				    .n = 1,
				    .values = values };
	struct pg_answer a = { 0 };
	enum pg_fault fault = pg_conn_run(c, clock_mono() + QUERY_US, &q, &a);

	if (fault == PG_FINE) {
		free(p->channel);
		p->channel = xstrdup(pg_answer_text(&a, 0, 0));
	}
	pg_answer_release(&a);
	return fault;
}

/* What was notified before this session listened is in the log all the same. */
static enum pg_fault postgres_begin(struct postgres *p, struct pg_connection *c)
{
	static const unsigned types[] = { PG_TEXT, PG_TEXT_ARRAY };
	static const struct pg_preparation notify = {
		"notify", "SELECT count(pg_notify($1, x)) FROM unnest($2) AS u(x)", 2, types
	};
	usec_t deadline = clock_mono() + QUERY_US;
	enum pg_fault fault = postgres_read_channel(p, c);

	bus_unpacker_release(&p->unpacker); /* further parts were not received */
	if (fault == PG_FINE)
		fault = pg_listener_begin(c, deadline, p->channel);
	if (fault == PG_FINE)
		fault = pg_conn_prepare(c, deadline, &notify);
	if (fault == PG_FINE)
		bus_receivers_begin(p->conf.receivers);
	return fault;
}

RUNS_ON(on_db) static enum pg_fault postgres_serve(void *ctx, struct pg_connection *c)
{
	struct postgres *p = ctx;
	struct wake *wake = pg_runner_get_wake(p->runner);
	enum pg_fault fault = postgres_begin(p, c);

	while (fault == PG_FINE && !pg_runner_is_stopping(p->runner)) {
		usec_t until;

		fault = postgres_send(p, c, &until);
		/* What arrived during the statement is inside libpq already. */
		if (fault == PG_FINE && !pg_listener_take_others(c, postgres_on_notify, p)) {
			fault = pg_conn_idle(c, wake_fd(wake), until);
			wake_drain(wake);
			if (fault == PG_FINE)
				pg_listener_take_others(c, postgres_on_notify, p);
		}
	}
	return fault;
}

static void postgres_free(struct postgres *p)
{
	bus_outgoing_release(&p->outgoing);
	bus_packer_release(&p->packer);
	bus_unpacker_release(&p->unpacker);
	pg_array_release(&p->payloads);
	free(p->channel);
	free(p);
}

static int postgres_start(const struct bus_driver_conf *conf, void **out)
{
	struct postgres *p = xcalloc(1, sizeof(*p));
	const struct conf_database *db = &conf->conf->database;
	struct pg_runner_conf rc = {
		.name = NAME,
		.options = conf_pg_options(db, conf->conninfo),
		.backoff_min_ms = BACKOFF_MIN_MS,
		.backoff_max_ms = BACKOFF_MAX_MS,
		.serve = postgres_serve,
		.on_away = postgres_on_away,
		.away_every_ms = AWAY_MS,
		.ctx = p,
	};
	int err;

	p->conf = *conf;
	bus_outgoing_init(&p->outgoing);
	bus_packer_init(&p->packer);
	p->packer.emit = postgres_on_payload;
	p->packer.ctx = p;
	pg_array_init(&p->payloads, PG_TEXT);
	rc.options.statement_timeout_ms = QUERY_US / USEC_PER_MSEC / 2;
	err = pg_runner_start(&rc, &p->runner);
	if (err)
		postgres_free(p);
	else
		*out = p;
	return err;
}

static void postgres_stop(void *driver)
{
	struct postgres *p = driver;

	pg_runner_stop(p->runner);
	postgres_free(p);
}

const struct bus_driver bus_postgres = {
	.start = postgres_start,
	.stop = postgres_stop,
	.log_grew = postgres_log_grew,
	.publish = postgres_publish,
};
