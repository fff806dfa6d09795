/* SPDX-License-Identifier: MIT */
/*
 * The lock guards missing and the list of ready connections; it is a leaf, held for a few
 * instructions.
 */
#include <stdatomic.h>
#include "base/backoff.h"
#include "base/mem.h"
#include "base/thread.h"
#include "pg/connector.h"
#include "pg/gate.h"
#include "pg/listener.h"

#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 5000

struct ready {
	struct ready *next;
	struct pg_connection *conn;
};

/* For clang: this thread holds the lock. */
static struct TSA(capability("mutex")) connector_held {
	char unused;
} connector_held UNUSED;

struct pg_connector {
	struct pg_connector_conf conf;
	pthread_t thread;
	struct wake wake; /* of this thread: a request, or stop */
	atomic_bool is_stopping, is_failing;

	pthread_mutex_t lock;
	unsigned missing OWNED_BY(connector_held);    /* requested and not yet open */
	struct ready *ready OWNED_BY(connector_held); /* open and not yet taken */
};

static void connector_lock(struct pg_connector *k) TSA(acquire_capability(connector_held)) NO_TSA
{
	pthread_mutex_lock(&k->lock);
}

static void connector_unlock(struct pg_connector *k) TSA(release_capability(connector_held)) NO_TSA
{
	pthread_mutex_unlock(&k->lock);
}

static int connector_tick(void *ctx)
{
	struct pg_connector *k = ctx;

	return atomic_load(&k->is_stopping);
}

static bool connector_has_request(struct pg_connector *k)
{
	bool has;

	connector_lock(k);
	has = k->missing > 0;
	connector_unlock(k);
	return has;
}

/* Opens one connection and puts it on the list; false: not now. */
RUNS_ON(on_connector) static bool connector_open(struct pg_connector *k)
{
	const struct pg_options *o = &k->conf.options;
	struct pg_connection *c = NULL;
	struct ready *ready;

	if (pg_conn_open(o, &c, NULL))
		return false;
	if (k->conf.listen &&
	    pg_listener_begin(c, clock_mono() + o->connect_timeout_ms * USEC_PER_MSEC,
			      k->conf.listen) != PG_FINE) {
		pg_conn_close(c);
		return false;
	}
	ready = xmalloc(sizeof(*ready));
	ready->conn = c;
	connector_lock(k);
	ready->next = k->ready;
	k->ready = ready;
	k->missing--;
	connector_unlock(k);
	return true;
}

RUNS_ON(on_connector) static void *connector_run(void *arg)
{
	struct pg_connector *k = arg;
	struct backoff backoff;

	backoff_init(&backoff, BACKOFF_MIN_MS, BACKOFF_MAX_MS);
	while (!atomic_load(&k->is_stopping)) {
		if (!connector_has_request(k)) {
			wake_wait(&k->wake, -1);
		} else if (!pg_gate_is_open()) {
			atomic_store(&k->is_failing, true);
			wake_signal(k->conf.wake);
			wake_wait(&k->wake, PG_GATE_MS);
		} else if (connector_open(k)) {
			backoff_reset(&backoff);
			atomic_store(&k->is_failing, false);
			wake_signal(k->conf.wake);
		} else {
			atomic_store(&k->is_failing, true);
			wake_signal(k->conf.wake);
			wake_wait(&k->wake, (int)backoff_next(&backoff));
		}
	}
	return NULL;
}

struct pg_connector *pg_connector_new(const struct pg_connector_conf *conf)
{
	struct pg_connector *k = xcalloc(1, sizeof(*k));

	k->conf = *conf;
	k->conf.options.tick = connector_tick;
	k->conf.options.ctx = k;
	pthread_mutex_init(&k->lock, NULL);
	return k;
}

int pg_connector_start(struct pg_connector *k)
{
	int rc = wake_init(&k->wake);

	return rc ? rc : thread_start(&k->thread, "db connector", &on_connector, connector_run, k);
}

void pg_connector_stop(struct pg_connector *k)
{
	atomic_store(&k->is_stopping, true);
	wake_signal(&k->wake);
	pthread_join(k->thread, NULL);
}

void pg_connector_free(struct pg_connector *k)
{
	struct pg_connection *c;

	if (!k)
		return;
	while ((c = pg_connector_take(k)))
		pg_conn_close(c);
	wake_release(&k->wake);
	pthread_mutex_destroy(&k->lock);
	free(k);
}

void pg_connector_request(struct pg_connector *k, unsigned n)
{
	connector_lock(k);
	k->missing += n;
	connector_unlock(k);
	wake_signal(&k->wake);
}

struct pg_connection *pg_connector_take(struct pg_connector *k)
{
	struct pg_connection *c = NULL;
	struct ready *ready;

	connector_lock(k);
	ready = k->ready;
	if (ready) {
		k->ready = ready->next;
		c = ready->conn;
	}
	connector_unlock(k);
	free(ready);
	return c;
}

bool pg_connector_is_failing(const struct pg_connector *k)
{
	return atomic_load(&k->is_failing);
}
