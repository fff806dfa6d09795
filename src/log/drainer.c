/* SPDX-License-Identifier: MIT */
/*
 * A turn drains, reads the log's tail page by page, and waits.  Shared with others: is_stopping,
 * is_caught_up, is_away and the eventfd that wakes the thread.
 *
 * Polling pays when NOTIFY does not: each one takes a lock over the whole server at its commit.
 * Above POLL_ABOVE wakes a window the lock "polling" is taken, below POLL_BELOW rows a window
 * it is given back.  Who inserted while it was held told nobody and may commit later: so it goes
 * on looking, less often, until all transactions of that time have ended.  The same after each
 * connecting, for the connection before may have been polling.
 *
 * What is looked for is there at last: the fallback is for what nobody has thought of.
 */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "log/drainer.h"

#define QUERY_US	(10 * USEC_PER_SEC)
#define POLL_US		(2 * USEC_PER_MSEC)
#define POLL_MAX_US	(10 * USEC_PER_MSEC)
#define POLL_REST	4 /* rests so many times as long as it looked: larger drains, fewer of them */
#define LEAVE_US	(20 * USEC_PER_MSEC)
#define WINDOW_US	(100 * USEC_PER_MSEC)
#define POLL_ABOVE	8 /* wakes in a window; NOTIFY may let no more than 200/s commit */
#define POLL_BELOW	2 /* rows in a window */
#define SAVE_US		USEC_PER_SEC
#define QUEUE_US	(30 * USEC_PER_SEC)
#define VACUUM_ROWS	20000  /* when nothing is to be drained */
#define VACUUM_MOST	200000 /* in any case: those who publish meanwhile wait */
#define LOCK_TIMEOUT_MS 2000
#define BACKOFF_MIN_MS	50
#define BACKOFF_MAX_MS	2000
#define DRAIN_ROWS	500 /* who publishes by HTTP waits for as many */
#define DRAIN_TEXT	"500"

enum mode {
	LISTENING, /* whoever commits notifies */
	POLLING,   /* holds the lock "polling": no session notifies */
	LEAVING,   /* gave it back; some who trusted in it still run */
};

struct relay {
	const struct conf *conf;
	char *conninfo;
	struct log_tail *tail;
	pthread_t thread;
	int wake_fd;
	atomic_bool is_stopping, is_caught_up, is_away;

	/* the relay's thread only */
	struct pg_conn *conn;
	enum mode mode;
	char *trusted_until;	 /* LEAVING: who trusted has a lower transaction id */
	bool is_behind;		 /* the last look was cut short */
	usec_t looked_us;	 /* how long the last look took that found rows; 0: it found none */
	unsigned wakes;		 /* in the window */
	uint64_t window_drained; /* tail's sum when the window began */
	usec_t window_since, save_at, queue_at;
	uint64_t vacuumed; /* tail's sum at the last vacuum */
};

static int tick(void *ctx)
{
	struct relay *r = ctx;

	return atomic_load(&r->is_stopping);
}

static usec_t deadline(void)
{
	return clock_mono() + QUERY_US;
}

static unsigned take_notifies(struct relay *r)
{
	unsigned count = 0;
	PGnotify *n;

	while ((n = PQnotifies(pg_conn_raw(r->conn)))) {
		count++;
		PQfreemem(n);
	}
	return count;
}

/* -- rows -- */

static enum pg_fault make_partitions(struct relay *r)
{
	char ahead[12], rows[12];
	const char *values[] = { ahead, rows };

	snprintf(ahead, sizeof(ahead), "%u", r->conf->database.partitions_ahead);
	snprintf(rows, sizeof(rows), "%u", r->conf->database.partition_rows);
	return pg_conn_query(r->conn, deadline(),
			     "SELECT ensure_partitions($1::integer, $2::bigint)", 2, values, NULL);
}

static enum pg_fault drain(struct relay *r, bool *more)
{
	PGresult *res = NULL;
	enum pg_fault fault = pg_conn_execute(r->conn, deadline(), "drain", 0, NULL, &res);
	long n;

	if (fault == PG_NO_PARTITION) {
		fault = make_partitions(r);
		if (fault == PG_FINE)
			fault = pg_conn_execute(r->conn, deadline(), "drain", 0, NULL, &res);
	}
	if (fault != PG_FINE)
		return fault;
	n = strtol(PQgetvalue(res, 0, 0), NULL, 10);
	PQclear(res);
	r->is_behind = n < 0; /* somebody else drains, and may not see all that is there now */
	log_tail_count_drained(r->tail, n < 0 ? 0 : (unsigned)n);
	*more = n == DRAIN_ROWS;
	return PG_FINE;
}

static enum pg_fault look_at_all(struct relay *r)
{
	bool more_pending = true, more = true;
	enum pg_fault fault = PG_FINE;

	while (fault == PG_FINE && (more_pending || more) && !atomic_load(&r->is_stopping)) {
		if (more_pending)
			fault = drain(r, &more_pending);
		if (fault == PG_FINE)
			fault = log_tail_step(r->tail, r->conn, deadline(), &more);
	}
	return fault;
}

static enum pg_fault look(struct relay *r)
{
	uint64_t drained = log_tail_drained(r->tail);
	usec_t start = clock_mono();
	enum pg_fault fault = look_at_all(r);

	r->looked_us = log_tail_drained(r->tail) == drained ? 0 : clock_mono() - start;
	if (fault != PG_BUSY)
		return fault;
	r->is_behind = true; /* the writer has the lock, and drains too, but not all */
	return PG_FINE;
}

/* -- polling -- */

static enum pg_fault claim(struct relay *r)
{
	PGresult *res = NULL;
	enum pg_fault fault =
		pg_conn_query(r->conn, deadline(), "SELECT relay_claim()", 0, NULL, &res);

	if (fault != PG_FINE)
		return fault;
	if (PQgetvalue(res, 0, 0)[0] == 't')
		r->mode = POLLING;
	PQclear(res);
	return PG_FINE;
}

/* sql returns the transaction id that all who trusted in us are below. */
static enum pg_fault leave(struct relay *r, const char *sql)
{
	PGresult *res = NULL;
	enum pg_fault fault = pg_conn_query(r->conn, deadline(), sql, 0, NULL, &res);

	if (fault != PG_FINE)
		return fault;
	free(r->trusted_until);
	r->trusted_until = xstrdup(PQgetvalue(res, 0, 0));
	r->mode = LEAVING;
	PQclear(res);
	return PG_FINE;
}

/* *gone: all who trusted have ended, so that one more look sees what they left. */
static enum pg_fault check_gone(struct relay *r, bool *gone)
{
	const char *values[] = { r->trusted_until };
	PGresult *res = NULL;
	enum pg_fault fault;

	*gone = false;
	if (r->mode != LEAVING)
		return PG_FINE;
	fault = pg_conn_query(r->conn, deadline(), "SELECT relay_may_rest($1::xid8)", 1, values,
			      &res);
	if (fault != PG_FINE)
		return fault;
	*gone = PQgetvalue(res, 0, 0)[0] == 't';
	PQclear(res);
	return PG_FINE;
}

/* At the end of a window: whether to poll. */
static enum pg_fault adapt(struct relay *r)
{
	usec_t now = clock_mono();
	uint64_t drained = log_tail_drained(r->tail), rows = drained - r->window_drained;
	unsigned wakes = r->wakes;

	if (now - r->window_since < WINDOW_US)
		return PG_FINE;
	r->window_since = now;
	r->window_drained = drained;
	r->wakes = 0;
	if (r->mode != POLLING)
		return wakes >= POLL_ABOVE ? claim(r) : PG_FINE;
	return rows < POLL_BELOW ? leave(r, "SELECT relay_unclaim()") : PG_FINE;
}

/* -- upkeep -- */

/* A full queue of notifications makes every commit that notifies fail. */
static enum pg_fault watch_queue(struct relay *r)
{
	PGresult *res = NULL;
	enum pg_fault fault = pg_conn_query(r->conn, deadline(),
					    "SELECT pg_notification_queue_usage()", 0, NULL, &res);
	double usage;

	if (fault != PG_FINE)
		return fault;
	usage = strtod(PQgetvalue(res, 0, 0), NULL);
	PQclear(res);
	if (usage * 100 > r->conf->database.notify_queue_alarm)
		log_error("database: the queue of notifications is %.0f %% full: a session that "
			  "listens stays in a transaction",
			  usage * 100);
	return PG_FINE;
}

/* Rows live for milliseconds here: autovacuum comes too seldom. */
static enum pg_fault vacuum(struct relay *r)
{
	enum pg_fault fault =
		pg_conn_script(r->conn, deadline(), "VACUUM (SKIP_LOCKED) realtime_events_pending");

	r->vacuumed = log_tail_drained(r->tail);
	return fault == PG_LOST ? PG_LOST : PG_FINE;
}

static bool vacuum_is_due(const struct relay *r)
{
	uint64_t dead = log_tail_drained(r->tail) - r->vacuumed;

	return dead >= (r->looked_us ? VACUUM_MOST : VACUUM_ROWS);
}

static enum pg_fault upkeep(struct relay *r)
{
	usec_t now = clock_mono();
	enum pg_fault fault = PG_FINE;

	if (now >= r->save_at) {
		r->save_at = now + SAVE_US;
		fault = log_tail_save(r->tail, r->conn, deadline());
	}
	if (fault == PG_FINE && now >= r->queue_at) {
		r->queue_at = now + QUEUE_US;
		fault = watch_queue(r);
	}
	if (fault == PG_FINE && vacuum_is_due(r))
		fault = vacuum(r);
	return fault;
}

/* -- the thread -- */

static usec_t rest_us(const struct relay *r)
{
	usec_t us = r->looked_us * POLL_REST;

	if (r->is_behind || log_tail_is_stopped(r->tail))
		return POLL_US;
	if (r->mode == POLLING)
		return us < POLL_US ? POLL_US : us > POLL_MAX_US ? POLL_MAX_US : us;
	if (r->mode == LEAVING)
		return LEAVE_US;
	return r->conf->database.sql_fallback_ms * USEC_PER_MSEC;
}

/* Until a notification, the next poll, or the end. */
static enum pg_fault rest(struct relay *r)
{
	usec_t until = clock_mono() + rest_us(r);
	unsigned n = take_notifies(r);
	enum pg_fault fault = PG_FINE;

	/* What was heard during a query waits inside libpq: poll(2) would not tell. */
	if (!n)
		fault = pg_conn_idle(r->conn, r->wake_fd, until);
	if (fault == PG_FINE)
		r->wakes += n + take_notifies(r);
	return fault;
}

static enum pg_fault turn(struct relay *r)
{
	bool gone = false;
	enum pg_fault fault = check_gone(r, &gone);

	if (fault == PG_FINE)
		fault = look(r);
	if (fault != PG_FINE)
		return fault;
	if (!r->is_behind)
		atomic_store(&r->is_caught_up, true);
	if (gone && !r->is_behind)
		r->mode = LISTENING;
	fault = adapt(r);
	if (fault == PG_FINE)
		fault = upkeep(r);
	return fault == PG_FINE ? rest(r) : fault;
}

/* Listens first, then reads: what is committed in between is heard. */
static enum pg_fault begin(struct relay *r)
{
	enum pg_fault fault = pg_conn_script(r->conn, deadline(),
					     "LISTEN scopewire_pending; "
					     "SET plan_cache_mode = force_generic_plan");

	if (fault == PG_FINE)
		fault = pg_conn_prepare(r->conn, deadline(), "drain",
					"SELECT drain(" DRAIN_TEXT ")", 0, NULL);
	if (fault == PG_FINE)
		fault = pg_conn_query(r->conn, deadline(), "SELECT drain_begin()", 0, NULL, NULL);
	if (fault == PG_FINE)
		fault = leave(r, "SELECT pg_current_xact_id()");
	return fault == PG_FINE ? log_tail_begin(r->tail, r->conn, deadline()) : fault;
}

static void serve(struct relay *r)
{
	enum pg_fault fault = begin(r);

	while (fault == PG_FINE && !atomic_load(&r->is_stopping)) {
		fault = turn(r);
		if (fault == PG_BUSY)
			fault = PG_FINE;
	}
	if (fault == PG_FINE && log_tail_save(r->tail, r->conn, deadline()) != PG_FINE)
		log_debug("database relay: the cursor was not saved");
	if (fault != PG_FINE && !atomic_load(&r->is_stopping))
		log_warn("database relay: %s; connecting again", pg_conn_error(r->conn));
}

static void *run(void *arg)
{
	struct relay *r = arg;
	unsigned backoff_ms = BACKOFF_MIN_MS;
	struct pg_options o = {
		.conninfo = r->conninfo,
		.password = r->conf->database.password,
		.schema = r->conf->database.schema,
		.connect_timeout_ms = r->conf->database.connect_timeout_s * 1000,
		.statement_timeout_ms = QUERY_US / USEC_PER_MSEC / 2,
		.lock_timeout_ms = LOCK_TIMEOUT_MS,
		.tick = tick,
		.ctx = r,
	};

	while (!atomic_load(&r->is_stopping)) {
		struct pollfd p = { .fd = r->wake_fd, .events = POLLIN };
		usec_t since = clock_mono();

		if (pg_conn_open(&o, &r->conn, NULL) == 0) {
			serve(r);
			pg_conn_close(r->conn);
			r->conn = NULL;
		}
		atomic_store(&r->is_away, true);
		if (clock_mono() - since > USEC_PER_SEC)
			backoff_ms = BACKOFF_MIN_MS;
		else if (backoff_ms < BACKOFF_MAX_MS)
			backoff_ms *= 2;
		if (!atomic_load(&r->is_stopping))
			poll(&p, 1, (int)backoff_ms);
	}
	return NULL;
}

static void relay_free(struct relay *r)
{
	close(r->wake_fd);
	free(r->trusted_until);
	free(r->conninfo);
	free(r);
}

int relay_start(const struct conf *conf, const char *conninfo, struct log_tail *tail,
		struct relay **out)
{
	struct relay *r = xcalloc(1, sizeof(*r));
	int rc;

	r->conf = conf;
	r->conninfo = xstrdup(conninfo);
	r->tail = tail;
	r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = r->wake_fd < 0 ? -errno : thread_start(&r->thread, "db listener", &on_db, run, r);
	if (rc)
		relay_free(r);
	else
		*out = r;
	return rc;
}

bool relay_wait(struct relay *r, unsigned ms)
{
	usec_t end = clock_mono() + ms * USEC_PER_MSEC;

	while (!atomic_load(&r->is_caught_up) && !atomic_load(&r->is_away) && clock_mono() < end)
		poll(NULL, 0, 5);
	return atomic_load(&r->is_caught_up);
}

void relay_stop(struct relay *r)
{
	uint64_t one = 1;

	if (!r)
		return;
	atomic_store(&r->is_stopping, true);
	if (write(r->wake_fd, &one, sizeof(one)) < 0)
		log_error("the database relay could not be woken");
	pthread_join(r->thread, NULL);
	relay_free(r);
}
