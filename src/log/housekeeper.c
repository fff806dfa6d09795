/* SPDX-License-Identifier: MIT */
/*
 * One thread.  Shared with others: file_apps under the lock, is_stopping, and the eventfd that
 * wakes the thread for both.
 */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "svc/apps_db.h"
#include "log/housekeeper.h"
#include "log/retention.h"

#define QUERY_US       (10 * USEC_PER_SEC)
#define UPKEEP_US      (60 * USEC_PER_SEC)
#define RETENTION_US   (5 * USEC_PER_SEC)
#define LOCK_MS	       2000
#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 5000

struct keeper {
	const struct conf *conf;
	char *conninfo;
	void (*on_change)(void *ctx);
	void *ctx;
	pthread_t thread;
	int wake_fd;
	atomic_bool is_stopping;
	pthread_mutex_t lock;
	struct app_set *file_apps;  /* lock */
	struct app_set *table_apps; /* as last read, NULL before; the thread's own */
	usec_t next_minute;	    /* mono; the thread's own */
};

static struct app_set *file_apps(struct keeper *k)
{
	struct app_set *s;

	pthread_mutex_lock(&k->lock);
	s = app_set_ref(k->file_apps);
	pthread_mutex_unlock(&k->lock);
	return s;
}

static int tick(void *ctx)
{
	struct keeper *k = ctx;

	return atomic_load(&k->is_stopping);
}

static void drain_wake(struct keeper *k)
{
	uint64_t n;

	while (read(k->wake_fd, &n, sizeof(n)) > 0)
		;
}

/* Puts the file's and the table's apps in force, as far as both are known. */
static void install(struct keeper *k)
{
	struct app_set *file = file_apps(k), *all = NULL;

	if (apps_db_overlay(file, k->table_apps, &all) == 0) {
		apps_install(all);
		k->on_change(k->ctx);
	}
	app_set_unref(file);
}

/* So that SQL publishers are held against the same limits. */
static enum pg_fault publish(struct pg_conn *c)
{
	struct app_set *apps = apps_current();
	enum pg_fault fault = apps_db_publish(c, clock_mono() + QUERY_US, apps);

	app_set_unref(apps);
	if (fault != PG_FINE && fault != PG_LOST) {
		log_warn("database keeper: SQL publishers do not know the apps: %s",
			 pg_conn_error(c));
		fault = PG_FINE;
	}
	return fault;
}

static enum pg_fault reload(struct keeper *k, struct pg_conn *c)
{
	struct app_set *table = NULL;
	enum pg_fault fault = apps_db_read(c, clock_mono() + QUERY_US, &table);

	if (fault == PG_REFUSED)
		return PG_FINE; /* the apps stay as they are */
	if (fault != PG_FINE)
		return fault;
	app_set_unref(k->table_apps);
	k->table_apps = table;
	install(k);
	return publish(c);
}

/* Ahead of the writer, on this connection, so that it need not stop for it. */
static enum pg_fault make_partitions(struct keeper *k, struct pg_conn *c)
{
	char ahead[12], rows[12];
	const char *values[] = { ahead, rows };
	enum pg_fault fault;

	snprintf(ahead, sizeof(ahead), "%u", k->conf->database.partitions_ahead);
	snprintf(rows, sizeof(rows), "%u", k->conf->database.partition_rows);
	fault = pg_conn_query(c, clock_mono() + 2 * QUERY_US,
			      "SELECT ensure_partitions($1::integer, $2::bigint)", 2, values, NULL);
	if (fault == PG_FINE || fault == PG_LOST)
		return fault;
	log_warn("database keeper: no new log partitions yet: %s", pg_conn_error(c));
	return PG_FINE;
}

/* True when something was heard; takes all of it, so that a burst is one reload. */
static bool take_notifies(struct pg_conn *c)
{
	bool any = false;
	PGnotify *n;

	while ((n = PQnotifies(pg_conn_raw(c)))) {
		any = true;
		PQfreemem(n);
	}
	return any;
}

static bool has_news(struct keeper *k, struct pg_conn *c)
{
	struct pollfd p = { .fd = k->wake_fd, .events = POLLIN };

	return take_notifies(c) || poll(&p, 1, 0) > 0;
}

/* Keys that are over would be taken no notice of anyway. */
static enum pg_fault prune_keys(struct pg_conn *c)
{
	enum pg_fault fault = pg_conn_query(c, clock_mono() + 2 * QUERY_US,
					    "SELECT idempotency_prune(50000)", 0, NULL, NULL);

	if (fault == PG_FINE || fault == PG_LOST)
		return fault;
	log_warn("database keeper: old idempotency keys stay: %s", pg_conn_error(c));
	return PG_FINE;
}

static bool has_retention(const struct keeper *k)
{
	return k->conf->database.retention_age || k->conf->database.retention_size;
}

/* What is due; *next is when to look again. */
static enum pg_fault upkeep(struct keeper *k, struct pg_conn *c, usec_t *next)
{
	enum pg_fault fault = PG_FINE;
	usec_t now = clock_mono();

	if (now >= k->next_minute) {
		k->next_minute = now + UPKEEP_US;
		fault = make_partitions(k, c);
		if (fault == PG_FINE)
			fault = prune_keys(c);
	}
	if (fault == PG_FINE && has_retention(k))
		fault = retention_run(c, &k->conf->database);
	*next = has_retention(k) ? clock_mono() + RETENTION_US : k->next_minute;
	return fault;
}

/* Sees to upkeep and news; waits for either when there is none. */
static enum pg_fault turn(struct keeper *k, struct pg_conn *c, usec_t *next_upkeep)
{
	enum pg_fault fault = PG_FINE;
	bool news;

	if (clock_mono() >= *next_upkeep)
		fault = upkeep(k, c, next_upkeep);
	/* What was heard during a query waits inside libpq: poll(2) would not tell. */
	news = has_news(k, c);
	if (fault == PG_FINE && !news) {
		fault = pg_conn_idle(c, k->wake_fd, *next_upkeep);
		news = has_news(k, c);
	}
	if (fault == PG_FINE && news) {
		drain_wake(k);
		fault = reload(k, c);
	}
	return fault;
}

/* Listens first, then reads: what changes in between is heard. */
static void serve(struct keeper *k, struct pg_conn *c)
{
	enum pg_fault fault = pg_conn_script(c, clock_mono() + QUERY_US, "LISTEN scopewire_apps");
	usec_t next_upkeep = 0;

	k->next_minute = 0;
	if (fault == PG_FINE)
		fault = reload(k, c);
	while (fault == PG_FINE && !atomic_load(&k->is_stopping))
		fault = turn(k, c, &next_upkeep);
	if (fault != PG_FINE && !atomic_load(&k->is_stopping))
		log_warn("database keeper: %s; connecting again", pg_conn_error(c));
}

static void *run(void *arg)
{
	struct keeper *k = arg;
	unsigned backoff_ms = BACKOFF_MIN_MS;
	struct pg_options o = {
		.conninfo = k->conninfo,
		.password = k->conf->database.password,
		.schema = k->conf->database.schema,
		.connect_timeout_ms = k->conf->database.connect_timeout_s * 1000,
		.statement_timeout_ms = QUERY_US / USEC_PER_MSEC,
		.lock_timeout_ms = LOCK_MS,
		.tick = tick,
		.ctx = k,
	};

	while (!atomic_load(&k->is_stopping)) {
		struct pollfd p = { .fd = k->wake_fd, .events = POLLIN };
		struct pg_conn *c = NULL;

		if (pg_conn_open(&o, &c, NULL) == 0) {
			backoff_ms = BACKOFF_MIN_MS;
			serve(k, c);
			pg_conn_close(c);
		} else {
			backoff_ms =
				backoff_ms * 2 < BACKOFF_MAX_MS ? backoff_ms * 2 : BACKOFF_MAX_MS;
		}
		if (!atomic_load(&k->is_stopping) && poll(&p, 1, (int)backoff_ms) > 0) {
			drain_wake(k);
			install(k);
		}
	}
	return NULL;
}

static void keeper_free(struct keeper *k)
{
	close(k->wake_fd);
	pthread_mutex_destroy(&k->lock);
	app_set_unref(k->file_apps);
	app_set_unref(k->table_apps);
	free(k->conninfo);
	free(k);
}

static void wake(struct keeper *k)
{
	uint64_t one = 1;

	if (write(k->wake_fd, &one, sizeof(one)) < 0)
		log_error("the database keeper could not be woken");
}

int keeper_start(const struct conf *conf, const char *conninfo, void (*on_change)(void *ctx),
		 void *ctx, struct keeper **out)
{
	struct keeper *k = xcalloc(1, sizeof(*k));
	int rc;

	k->conf = conf;
	k->conninfo = xstrdup(conninfo);
	k->on_change = on_change;
	k->ctx = ctx;
	k->file_apps = app_set_ref(conf->apps);
	pthread_mutex_init(&k->lock, NULL);
	k->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = k->wake_fd < 0 ? -errno : thread_start(&k->thread, "keeper", &on_db, run, k);
	if (rc)
		keeper_free(k);
	else
		*out = k;
	return rc;
}

void keeper_set_file_apps(struct keeper *k, struct app_set *apps)
{
	struct app_set *old;

	pthread_mutex_lock(&k->lock);
	old = k->file_apps;
	k->file_apps = app_set_ref(apps);
	pthread_mutex_unlock(&k->lock);
	app_set_unref(old);
	wake(k);
}

void keeper_stop(struct keeper *k)
{
	atomic_store(&k->is_stopping, true);
	wake(k);
	pthread_join(k->thread, NULL);
	keeper_free(k);
}
