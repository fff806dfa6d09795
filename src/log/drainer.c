/* SPDX-License-Identifier: MIT */
/*
 * An iteration drains, reads the log's tail page by page, and waits.  The tail is read when there
 * is a reason (rows were drained, a notification, what the writer left or the last read did, or the
 * mode is not LISTENING: other sessions drain too), and without one each READ_US.  One thread
 * (pg/runner.h); shared with others: is_caught_up, is_away.
 *
 * Polling pays where NOTIFY does not: each NOTIFY takes a lock over the whole server at its commit.
 * Above POLL_ABOVE wake-ups in a window with rows the drainer takes the session lock "polling" and
 * polls; below POLL_BELOW rows in a window it releases it.  A transaction that inserted while the
 * lock was held has notified no one and may commit later: so the drainer continues to poll, less
 * often, until all transactions of that time have ended.  The same after each connect, for the
 * connection before may have held the lock.
 *
 * Any role can notify.  After IDLE_WAKES notifications in a row for which there was nothing to
 * drain the next ones count together, IDLE_PAUSE_US after the last poll.
 *
 * The fallback poll is for the case that no other rule covers.
 */
#include <poll.h>
#include <stdatomic.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "conf/conninfo.h"
#include "log/drainer.h"
#include "log/partitions.h"
#include "log/slice.h"
#include "pg/listener.h"
#include "pg/runner.h"

#define NAME	    "drainer"
#define QUERY_US    (10 * USEC_PER_SEC)
#define POLL_US	    (2 * USEC_PER_MSEC)
#define POLL_MAX_US (10 * USEC_PER_MSEC)
/* The pause between polls, in durations of the last drain: a long one makes fewer, larger drains.
 */
#define POLL_FACTOR	4
#define CLUSTER_POLL_US (250 * USEC_PER_MSEC) /* for commits of nodes that did not notify */
#define LEAVE_US	(20 * USEC_PER_MSEC)
#define WINDOW_US	(100 * USEC_PER_MSEC)
#define POLL_ABOVE	8 /* wake-ups in a window; NOTIFY may let no more than 200/s commit */
#define POLL_BELOW	2 /* rows in a window */
#define IDLE_WAKES	3
#define IDLE_PAUSE_US	POLL_MAX_US
#define READ_US		USEC_PER_SEC
#define SAVE_US		USEC_PER_SEC
#define QUEUE_US	(30 * USEC_PER_SEC)
#define VACUUM_ROWS	20000  /* when there is nothing to drain */
#define VACUUM_MOST	200000 /* in any case: publishers wait meanwhile */
#define LOCK_TIMEOUT_MS 2000
#define BACKOFF_MIN_MS	50
#define BACKOFF_MAX_MS	2000
#define DRAIN_ROWS	500 /* at a time: HTTP publishers wait meanwhile */
#define DRAIN_TEXT	"500"

enum drainer_mode {
	LISTENING, /* committing transactions notify */
	POLLING,   /* holds the lock "polling": none notifies */
	LEAVING,   /* released it; transactions that did not notify may still run */
};

struct drainer {
	const struct conf_database *conf;
	struct log_tail *tail;
	struct bus *bus; /* NULL: there are no other nodes */
	struct pg_runner *runner;
	atomic_bool is_caught_up, is_away;

	/* the drainer's thread only */
	struct pg_connection *conn;
	enum drainer_mode mode;
	char *trusted_until; /* LEAVING: transactions below this id may not have notified */
	struct log_slicer slicer;
	bool has_drained;    /* rows, in the last drain, that this session gave serials to */
	bool is_behind;	     /* the last drain was cut short */
	usec_t drain_us;     /* how long the last drain took that found rows; 0: it found none */
	unsigned wakes;	     /* in the window */
	unsigned idle_wakes; /* in a row, that found nothing */
	uint64_t window_drained, window_sql; /* the tail's sums when the window began */
	bool is_notified;		     /* since the last drain */
	usec_t window_since, read_at, save_at, queue_at;
	uint64_t vacuumed; /* the tail's sum at the last vacuum */
};

static usec_t drainer_deadline(void)
{
	return clock_mono() + QUERY_US;
}

/* The first column of the statement's row, for the caller to release. */
static enum pg_fault drainer_query(struct drainer *d, const char *sql, struct pg_answer *out)
{
	const struct pg_query q = { .sql = sql };

	return pg_conn_run(d->conn, drainer_deadline(), &q, out);
}

/* -- rows -- */

/* How many rows got serials, and the last one: they are without a gap, because the lock "serials"
 * is held. */
static const char drain_sql[] =
	"SELECT n, CASE WHEN n > 0 THEN currval('realtime_events_serial') END "
	"FROM drain(" DRAIN_TEXT ") n";

/* *found: rows got serials, perhaps by another session. */
static enum pg_fault drainer_drain_page(struct drainer *d, bool *more, bool *found)
{
	const struct pg_query q = { .sql = "drain", .is_prepared = true };
	struct pg_answer a = { 0 };
	enum pg_fault fault = pg_conn_run(d->conn, drainer_deadline(), &q, &a);
	int64_t n;

	if (fault == PG_NO_PARTITION) {
		fault = log_partitions_ensure(d->conn, drainer_deadline(), d->conf, NULL);
		if (fault == PG_FINE)
			fault = pg_conn_run(d->conn, drainer_deadline(), &q, &a);
	}
	if (fault != PG_FINE)
		return fault;
	n = pg_answer_int(&a, 0, 0);
	if (n > 0)
		log_tail_count_drained(d->tail, (uint64_t)(pg_answer_int(&a, 0, 1) - n + 1),
				       (unsigned)n);
	pg_answer_release(&a);
	d->is_behind = n < 0; /* another session drains, and may not see all rows of now */
	d->has_drained = d->has_drained || n > 0;
	*more = n == DRAIN_ROWS;
	*found = n != 0;
	return PG_FINE;
}

/*
 * With other nodes: at each poll, in case a message of the bus was lost.  Rows that a session of
 * the pool has drained, which publishers do not notify outside LISTENING, are not pending any more.
 */
static bool drainer_must_read(const struct drainer *d)
{
	return d->mode != LISTENING || d->is_notified || (d->bus && bus_is_cluster(d->bus)) ||
	       d->is_behind || clock_mono() >= d->read_at || log_tail_is_due(d->tail);
}

static void drainer_on_slice(void *ctx, struct str_view slice)
{
	struct drainer *d = ctx;

	if (slice.len)
		bus_publish_slice(d->bus, slice);
	else
		bus_log_grew(d->bus);
}

/* The rows that this session gave serials to are read here, so the other nodes need not. */
static struct log_slicer *drainer_slicer(struct drainer *d)
{
	return d->has_drained && d->bus && bus_wants_slices(d->bus) ? &d->slicer : NULL;
}

/* All that is pending, and all that is in the log after the cursor. */
RUNS_ON(on_db) static enum pg_fault drainer_drain(struct drainer *d)
{
	uint64_t drained = log_tail_drained(d->tail);
	usec_t start = clock_mono();
	bool more_pending = true, found = false, more = drainer_must_read(d);
	enum pg_fault fault = PG_FINE;

	d->is_notified = false;
	d->has_drained = false;
	while (fault == PG_FINE && (more_pending || more) && !pg_runner_is_stopping(d->runner)) {
		if (more_pending)
			fault = drainer_drain_page(d, &more_pending, &found);
		more = more || found;
		if (fault == PG_FINE && more) {
			fault = log_tail_step(d->tail, d->conn, drainer_deadline(),
					      drainer_slicer(d), &more);
			d->read_at = clock_mono() + READ_US;
		}
		found = false;
	}
	d->drain_us = log_tail_drained(d->tail) == drained ? 0 : clock_mono() - start;
	if (d->drain_us && d->bus &&
	    (fault != PG_FINE || !drainer_slicer(d) || log_tail_is_stopped(d->tail)))
		bus_log_grew(d->bus);
	if (fault != PG_BUSY)
		return fault;
	d->is_behind = true; /* the writer has the lock, and drains too, but not all */
	return PG_FINE;
}

/* -- polling -- */

/* sql returns the transaction id below which transactions may not have notified. */
static enum pg_fault drainer_leave(struct drainer *d, const char *sql)
{
	struct pg_answer a = { 0 };
	enum pg_fault fault = drainer_query(d, sql, &a);

	if (fault != PG_FINE)
		return fault;
	free(d->trusted_until);
	d->trusted_until = xstrdup(pg_answer_text(&a, 0, 0));
	d->mode = LEAVING;
	pg_answer_release(&a);
	return PG_FINE;
}

/* *have_ended: all transactions that did not notify, so that one more drain sees their rows. */
static enum pg_fault drainer_check_left(struct drainer *d, bool *have_ended)
{
	const struct pg_query q = { .sql = "SELECT drainer_may_wait($1::xid8)",
				    .n = 1,
				    .values = (const char *const[]){ d->trusted_until } };
	struct pg_answer a = { 0 };
	enum pg_fault fault;

	*have_ended = false;
	if (d->mode != LEAVING)
		return PG_FINE;
	fault = pg_conn_run(d->conn, drainer_deadline(), &q, &a);
	*have_ended = fault == PG_FINE && pg_answer_bool(&a, 0, 0);
	pg_answer_release(&a);
	return fault;
}

/* At the end of a window: whether to poll. */
static enum pg_fault drainer_adapt(struct drainer *d)
{
	usec_t now = clock_mono();
	uint64_t drained = log_tail_drained(d->tail), rows = drained - d->window_drained;
	uint64_t sql = log_tail_sql_rows(d->tail), sql_rows = sql - d->window_sql;
	unsigned wakes = d->wakes;
	struct pg_answer a = { 0 };
	enum pg_fault fault = PG_FINE;

	if (now - d->window_since < WINDOW_US)
		return PG_FINE;
	d->window_since = now;
	d->window_drained = drained;
	d->window_sql = sql;
	if (rows < sql_rows) /* other sessions drained some */
		rows = sql_rows;
	d->wakes = 0;
	if (d->mode == POLLING)
		return rows < POLL_BELOW ? drainer_leave(d, "SELECT drainer_release()") : PG_FINE;
	if (wakes < POLL_ABOVE || rows < POLL_BELOW)
		return PG_FINE;
	fault = drainer_query(d, "SELECT drainer_claim()", &a);
	if (fault == PG_FINE && pg_answer_bool(&a, 0, 0))
		d->mode = POLLING;
	pg_answer_release(&a);
	return fault;
}

/* -- upkeep -- */

/* A full queue of notifications makes every commit that notifies fail. */
static enum pg_fault drainer_check_queue(struct drainer *d)
{
	struct pg_answer a = { 0 };
	enum pg_fault fault = drainer_query(d, "SELECT pg_notification_queue_usage()", &a);
	double usage;

	if (fault != PG_FINE)
		return fault;
	usage = strtod(pg_answer_text(&a, 0, 0), NULL);
	metric_set(METRIC_NOTIFICATION_QUEUE, (int64_t)(usage * 1e6));
	pg_answer_release(&a);
	if (usage * 100 > d->conf->notify_queue_alarm)
		log_error("database: the queue of notifications is %.0f %% full: a session that "
			  "executed LISTEN has an open transaction; see pg_stat_activity",
			  usage * 100);
	return PG_FINE;
}

RUNS_ON(on_db) static enum pg_fault drainer_upkeep(struct drainer *d)
{
	usec_t now = clock_mono();
	uint64_t dead = log_tail_drained(d->tail) - d->vacuumed;
	enum pg_fault fault = PG_FINE;

	if (now >= d->save_at) {
		d->save_at = now + SAVE_US;
		fault = log_tail_save(d->tail, d->conn, drainer_deadline());
	}
	if (fault == PG_FINE && now >= d->queue_at) {
		d->queue_at = now + QUEUE_US;
		fault = drainer_check_queue(d);
	}
	/* Pending rows live for milliseconds: autovacuum comes too seldom. */
	if (fault == PG_FINE && dead >= (d->drain_us ? VACUUM_MOST : VACUUM_ROWS)) {
		fault = pg_conn_script(d->conn, drainer_deadline(),
				       "VACUUM (SKIP_LOCKED) realtime_events_pending");
		d->vacuumed = log_tail_drained(d->tail);
		if (fault != PG_LOST)
			fault = PG_FINE;
	}
	return fault;
}

/* -- the thread -- */

static usec_t drainer_wait_us(const struct drainer *d)
{
	usec_t us = d->drain_us * POLL_FACTOR;
	usec_t us_fallback = d->conf->sql_fallback_ms * USEC_PER_MSEC;

	if (d->is_behind || log_tail_is_stopped(d->tail))
		return POLL_US;
	if (d->mode == POLLING)
		return us < POLL_US ? POLL_US : us > POLL_MAX_US ? POLL_MAX_US : us;
	if (d->mode == LEAVING)
		return LEAVE_US;
	if (d->bus && bus_is_cluster(d->bus) && us_fallback > CLUSTER_POLL_US)
		return CLUSTER_POLL_US;
	return us_fallback;
}

/* Listens first, then reads: a commit between the two is notified. */
RUNS_ON(on_db) static enum pg_fault drainer_prepare(struct drainer *d)
{
	static const struct pg_preparation drain = { .name = "drain", .sql = drain_sql };
	enum pg_fault fault = pg_listener_begin(d->conn, drainer_deadline(), "scopewire_pending");

	if (fault == PG_FINE)
		fault = pg_conn_script(d->conn, drainer_deadline(),
				       "SET plan_cache_mode = force_generic_plan");
	if (fault == PG_FINE)
		fault = pg_conn_prepare(d->conn, drainer_deadline(), &drain);
	if (fault == PG_FINE)
		fault = pg_conn_script(d->conn, drainer_deadline(), "SELECT drain_begin()");
	if (fault == PG_FINE)
		fault = drainer_leave(d, "SELECT pg_current_xact_id()");
	return fault == PG_FINE ? log_tail_begin(d->tail, d->conn, drainer_deadline(), &d->slicer)
				: fault;
}

/* Notifications stay in the socket; only the runner's end is noticed. */
RUNS_ON(on_db) static void drainer_pause(struct drainer *d)
{
	struct pollfd end = { .fd = wake_fd(pg_runner_get_wake(d->runner)), .events = POLLIN };

	poll(&end, 1, IDLE_PAUSE_US / USEC_PER_MSEC);
}

RUNS_ON(on_db) static enum pg_fault drainer_iterate(struct drainer *d)
{
	struct pg_news news = { 0 };
	bool have_ended = false;
	enum pg_fault fault = drainer_check_left(d, &have_ended);

	if (fault == PG_FINE)
		fault = drainer_drain(d);
	if (fault != PG_FINE)
		return fault;
	if (!d->is_behind)
		atomic_store(&d->is_caught_up, true);
	if (have_ended && !d->is_behind)
		d->mode = LISTENING;
	if (d->drain_us)
		d->idle_wakes = 0;
	fault = drainer_adapt(d);
	if (fault == PG_FINE)
		fault = drainer_upkeep(d);
	if (fault == PG_FINE && d->idle_wakes >= IDLE_WAKES && d->mode != POLLING && !d->is_behind)
		drainer_pause(d);
	if (fault == PG_FINE)
		fault = pg_runner_wait(d->runner, d->conn, clock_mono() + drainer_wait_us(d),
				       &news);
	d->wakes += news.notifications;
	if (news.notifications)
		d->idle_wakes++;
	d->is_notified = news.notifications > 0;
	return fault;
}

RUNS_ON(on_db) static enum pg_fault drainer_serve(void *ctx, struct pg_connection *c)
{
	struct drainer *d = ctx;
	enum pg_fault fault;

	d->conn = c;
	d->read_at = 0;
	fault = drainer_prepare(d);
	while (fault == PG_FINE && !pg_runner_is_stopping(d->runner)) {
		fault = drainer_iterate(d);
		if (fault == PG_BUSY)
			fault = PG_FINE;
	}
	if (fault == PG_FINE && log_tail_save(d->tail, c, drainer_deadline()) != PG_FINE)
		log_debug(NAME ": the cursor was not saved");
	d->conn = NULL;
	return fault;
}

static void drainer_on_away(void *ctx)
{
	struct drainer *d = ctx;

	atomic_store(&d->is_away, true);
}

/* On the bus's thread: another node has committed events, which are in slice or have to be read. */
static void drainer_on_log(void *ctx, struct str_view slice)
{
	struct drainer *d = ctx;

	if (!slice.len || !log_tail_take(d->tail, slice))
		pg_runner_wake(d->runner);
}

int drainer_start(const struct conf *conf, const char *conninfo, struct log_tail *tail,
		  struct bus *bus, struct drainer **out)
{
	struct drainer *d = xcalloc(1, sizeof(*d));
	struct pg_runner_conf rc = {
		.name = NAME,
		.options = conf_pg_options(&conf->database, conninfo),
		.backoff_min_ms = BACKOFF_MIN_MS,
		.backoff_max_ms = BACKOFF_MAX_MS,
		.serve = drainer_serve,
		.on_away = drainer_on_away,
		.ctx = d,
	};
	int err;

	d->conf = &conf->database;
	d->tail = tail;
	d->bus = bus;
	log_slicer_init(&d->slicer, drainer_on_slice, d);
	rc.options.statement_timeout_ms = QUERY_US / USEC_PER_MSEC / 2;
	rc.options.lock_timeout_ms = LOCK_TIMEOUT_MS;
	err = pg_runner_start(&rc, &d->runner);
	if (err) {
		log_slicer_release(&d->slicer);
		free(d);
		return err;
	}
	if (bus)
		bus_watch_log(bus, drainer_on_log, d);
	log_tail_notify(tail, pg_runner_get_wake(d->runner));
	*out = d;
	return 0;
}

bool drainer_wait(struct drainer *d, unsigned ms)
{
	usec_t end = clock_mono() + ms * USEC_PER_MSEC;

	while (!atomic_load(&d->is_caught_up) && !atomic_load(&d->is_away) && clock_mono() < end)
		poll(NULL, 0, 5);
	return atomic_load(&d->is_caught_up);
}

void drainer_stop(struct drainer *d)
{
	if (!d)
		return;
	if (d->bus)
		bus_watch_log(d->bus, NULL, NULL);
	log_tail_notify(d->tail, NULL);
	pg_runner_stop(d->runner);
	log_slicer_release(&d->slicer);
	free(d->trusted_until);
	free(d);
}
