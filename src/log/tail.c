/* SPDX-License-Identifier: MIT */
/* Where the tail begins, what it reads and saves, and what its two threads do; its locks are in
 * tail-private.h. */
#include <inttypes.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/wake.h"
#include "bus/seal.h"
#include "log/tail-private.h"

#define PAGE_ROWS	 500
#define PAGE_ROWS_TEXT	 "500"
#define BACKLOG_MAX_TEXT "10000"	     /* rows that a start delivers again */
#define WAIT_MS		 20		     /* for workers, with a page that is not delivered */
#define ALIVE_US	 (60 * USEC_PER_SEC) /* between saves of the cursor: retention reads them */

/* On a worker's thread. */
static void tail_on_caught_up(void *ctx)
{
	struct log_tail *t = ctx;

	wake_signal(&t->caught_up);
}

struct log_tail *log_tail_new(const char *node, struct directory *d, struct deliveries *deliveries)
{
	struct log_tail *t = xcalloc(1, sizeof(*t));

	t->node = xstrdup(node);
	t->directory = d;
	t->deliveries = deliveries;
	pthread_mutex_init(&t->lock, NULL);
	if (wake_init(&t->caught_up))
		log_debug("log: no descriptor is left: workers that are behind are polled");
	worker_loads_watch(directory_loads(d), LOAD_WAITER_LOG, tail_on_caught_up, t);
	return t;
}

void log_tail_free(struct log_tail *t) NO_TSA /* no other thread has it any more */
{
	if (!t)
		return;
	pthread_mutex_destroy(&t->lock);
	wake_release(&t->caught_up);
	sql_counts_free(t->counts);
	tail_drop_kept_locked(t);
	free(t->passed);
	free(t->seen_path);
	free(t->epoch);
	free(t->node);
	free(t);
}

void log_tail_keep(struct log_tail *t, const char *path) NO_TSA /* before there are threads */
{
	t->seen_path = xstrdup(path);
	if (log_seen_read(path, &t->seen))
		log_debug("database: the log was delivered up to serial %" PRIu64, t->seen.serial);
}

void log_tail_notify(struct log_tail *t, struct wake *drainer)
{
	tail_lock(t);
	t->drainer = drainer;
	tail_unlock(t);
}

void log_tail_expect_others(struct log_tail *t)
{
	t->expects_others = true;
	tail_lock(t);
	t->counts = sql_counts_new();
	tail_unlock(t);
}

void log_tail_expect_slices(struct log_tail *t, struct bus_seal *seal)
{
	t->seal = seal;
}

void log_tail_count_drained(struct log_tail *t, uint64_t first, unsigned n)
{
	atomic_fetch_add_explicit(&t->drained, n, memory_order_relaxed);
	log_tail_note_drained(t, first, n);
}

void log_tail_note_drained(struct log_tail *t, uint64_t first, unsigned n)
{
	tail_lock(t);
	if (t->counts)
		sql_counts_note(t->counts, first, n, t->cursor);
	tail_unlock(t);
}

uint64_t log_tail_drained(struct log_tail *t)
{
	return atomic_load_explicit(&t->drained, memory_order_relaxed);
}

uint64_t log_tail_sql_rows(struct log_tail *t)
{
	return atomic_load_explicit(&t->sql_rows, memory_order_relaxed);
}

static uint64_t tail_cursor(struct log_tail *t)
{
	uint64_t cursor;

	tail_lock(t);
	cursor = t->cursor;
	tail_unlock(t);
	return cursor;
}

/* -- where to begin -- */

/*
 * The log's epoch, the position that the node saved, and the last serial that was given.  before is
 * the cursor of a moment before that: another thread delivers while the answer is on its way.
 */
static void tail_set(struct log_tail *t, const char *epoch, uint64_t start, uint64_t end,
		     uint64_t before)
{
	bool is_same;

	tail_lock(t);
	is_same = t->epoch && strcmp(t->epoch, epoch) == 0;
	if (!t->is_set || !is_same || before > end) {
		if (t->is_set)
			log_warn("database: the event log was replaced by another one; its events "
				 "are delivered after serial %" PRIu64,
				 end);
		t->cursor = t->is_set ? end : start;
		t->saved = 0;
		t->saved_at = 0;
		t->is_set = true;
		t->n_passed = 0;
		if (t->counts)
			sql_counts_reset(t->counts);
		free(t->epoch);
		t->epoch = xstrdup(epoch);
	}
	tail_unlock(t);
}

/* The secret that nodes sign their messages with, if they do.  A copy of the database on another
 * server has the same one, so the place is a part of it; a standby has the same place. */
static enum pg_fault tail_read_secret(struct log_tail *t, struct pg_connection *c, usec_t deadline)
{
	const struct pg_query q = { .sql = "SELECT secret || ' ' || log_place() "
					   "FROM node_secret" };
	struct pg_answer a = { 0 };
	enum pg_fault fault;

	if (!t->seal)
		return PG_FINE;
	fault = pg_conn_run(c, deadline, &q, &a);
	if (fault == PG_FINE && pg_answer_rows(&a) == 1)
		bus_seal_set(t->seal, pg_answer_view(&a, 0, 0));
	pg_answer_release(&a);
	return fault;
}

enum pg_fault log_tail_begin(struct log_tail *t, struct pg_connection *c, usec_t deadline,
			     struct log_slicer *slicer)
{
	static const char start_sql[] =
		"SELECT m.epoch, s.last, coalesce(greatest(least(r.serial, s.last), "
		"s.last - " BACKLOG_MAX_TEXT
		"), s.last), m.timeline FROM log_meta m CROSS JOIN (SELECT "
		"log_next_serial() - 1 AS last) s "
		"LEFT JOIN node_cursor r ON r.node = $1::text AND r.epoch = m.epoch";
	static const char page_sql[] = "SELECT " LOG_ROW_COLUMNS " FROM realtime_events "
				       "WHERE serial > $1 AND serial <= $2 "
				       "ORDER BY serial LIMIT " PAGE_ROWS_TEXT;
	/* A plan that is made while a partition is empty, and then kept, would read all of it for
	 * each page. */
	static const char pin_sql[] = "SET enable_seqscan = off; SET enable_bitmapscan = off; "
				      "SET enable_sort = off";
	static const unsigned types[] = { 20, 20 }; /* bigint */
	static const struct pg_preparation page = { "tail", page_sql, 2, types };
	const struct pg_query start = { .sql = start_sql,
					.n = 1,
					.values = (const char *const[]){ t->node } };
	struct pg_answer a = { 0 };
	struct log_seen seen;
	uint64_t before;
	bool is_new = false;
	enum pg_fault fault = pg_conn_script(c, deadline, pin_sql);

	if (fault == PG_FINE)
		fault = pg_conn_prepare(c, deadline, &page);
	if (fault == PG_FINE)
		fault = tail_read_secret(t, c, deadline);

	tail_lock(t);
	seen = t->seen;
	before = t->cursor;
	tail_drop_kept_locked(t); /* of a server that may have lost their rows */
	tail_unlock(t);
	if (fault == PG_FINE)
		fault = log_epoch_compare(c, deadline, &seen, &is_new);
	if (is_new) {
		tail_lock(t);
		t->seen.epoch[0] = '\0';
		tail_unlock(t);
	}
	if (fault == PG_FINE)
		fault = pg_conn_run(c, deadline, &start, &a);
	if (fault == PG_FINE && pg_answer_rows(&a) == 1) {
		int64_t from = pg_answer_int(&a, 0, 2);

		tail_lock(t);
		str_copy(t->timeline, sizeof(t->timeline), pg_answer_view(&a, 0, 3));
		tail_unlock(t);
		if (slicer)
			log_slicer_connected(slicer, pg_answer_view(&a, 0, 3));

		tail_set(t, pg_answer_text(&a, 0, 0), from > 0 ? (uint64_t)from : 0,
			 (uint64_t)pg_answer_int(&a, 0, 1), before);
	}
	pg_answer_release(&a);
	return fault;
}

/* Outside the database.  A file that cannot be written is reported once, and tried again. */
static void tail_save_seen(struct log_tail *t, const struct log_seen *seen)
{
	int rc;

	if (!t->seen_path || !seen->epoch[0])
		return;
	rc = log_seen_write(t->seen_path, seen);
	if (rc && !t->is_seen_stale)
		log_warn("server.state_dir: %s cannot be written: %s; a database that is set back "
			 "while the daemon is stopped may not be noticed",
			 t->seen_path, strerror(-rc));
	else if (!rc && t->is_seen_stale)
		log_info("server.state_dir: %s can be written again", t->seen_path);
	t->is_seen_stale = rc != 0;
}

enum pg_fault log_tail_save(struct log_tail *t, struct pg_connection *c, usec_t deadline)
{
	static const char sql[] =
		"INSERT INTO node_cursor (node, epoch, serial) SELECT $1::text, m.epoch, "
		"$3::bigint "
		/* Without a flush, which others would wait for: a crash sets it back a second. */
		"FROM log_meta m, set_config('synchronous_commit', 'off', true) "
		"WHERE m.epoch = $2::text ON CONFLICT (node) DO UPDATE SET epoch = excluded.epoch, "
		"serial = excluded.serial, at = now() RETURNING 1";
	char serial[STR_U64_SIZE], *epoch;
	const char *values[3] = { t->node, NULL, serial };
	const struct pg_query q = { .sql = sql, .n = 3, .values = values };
	struct pg_answer a = { 0 };
	struct log_seen seen;
	uint64_t cursor;
	bool is_due;
	enum pg_fault fault;

	tail_lock(t);
	cursor = t->cursor;
	seen = t->seen;
	is_due = cursor != t->saved || !t->saved_at || clock_mono() - t->saved_at >= ALIVE_US;
	epoch = t->is_set && is_due ? xstrdup(t->epoch) : NULL;
	tail_unlock(t);
	if (!epoch)
		return PG_FINE;
	values[1] = epoch;
	str_u64(serial, cursor);
	fault = pg_conn_run(c, deadline, &q, &a);
	free(epoch);
	if (fault == PG_FINE && pg_answer_rows(&a) == 0)
		fault = PG_LOST; /* another node gave the log a new epoch: connect again */
	pg_answer_release(&a);
	if (fault != PG_FINE)
		return fault;
	tail_save_seen(t, &seen);
	tail_lock(t);
	t->saved = cursor;
	t->saved_at = clock_mono();
	tail_unlock(t);
	return PG_FINE;
}

/* -- delivering rows -- */

/* The page's rows from one on, up to another.  False: it stopped at a row on hold.  On the
 * drainer's or the writer's thread. */
static bool tail_deliver_rows(struct log_tail *t, const struct pg_answer *a, int from, int to,
			      bool heed_hold)
{
	struct app_set *apps = apps_current();
	struct str_view last = SV("");
	bool all = true;

	tail_lock(t);
	for (int i = from; i < to; i++) {
		struct log_row row;

		log_row_read(a, i, &row);
		if (row.serial <= t->cursor)
			continue;
		all = !(heed_hold && t->is_on_hold && !row.is_sql);
		if (!all)
			break;
		tail_deliver_row_locked(t, apps, &row);
		t->cursor = row.serial;
		last = row.id;
	}
	if (last.len)
		tail_note_seen_locked(t, last);
	tail_unlock(t);
	app_set_unref(apps);
	return all;
}

/* Waits for workers that are behind.  False: they still are. */
static bool tail_await_workers(struct log_tail *t)
{
	if (tail_workers_are_behind(t))
		wake_wait(&t->caught_up, WAIT_MS);
	return !tail_workers_are_behind(t);
}

/*
 * True when the whole page was delivered or skipped; false: it stopped at a row on hold, or because
 * the workers are behind.  The first PART_ROWS are delivered in any case.  Otherwise publishers
 * over HTTP, which are woken at the same time, could use up the workers' room each time before the
 * tail.
 */
static bool tail_deliver_page(struct log_tail *t, const struct pg_answer *a)
{
	int rows = pg_answer_rows(a);

	for (int at = 0; at < rows; at += PART_ROWS) {
		int to = rows - at < PART_ROWS ? rows : at + PART_ROWS;

		if (at && !tail_await_workers(t))
			return false;
		if (!tail_deliver_rows(t, a, at, to, true))
			return false;
	}
	return true;
}

static enum pg_fault tail_read_page(struct pg_connection *c, usec_t deadline, uint64_t from,
				    uint64_t to, struct pg_answer *out)
{
	char low[STR_U64_SIZE], high[STR_U64_SIZE];
	const struct pg_query q = { .sql = "tail",
				    .n = 2,
				    .values = (const char *const[]){ low, high },
				    .is_prepared = true };

	enum pg_fault fault;

	str_u64(low, from);
	str_u64(high, to);
	fault = pg_conn_run(c, deadline, &q, out);
	if (fault == PG_FINE && pg_answer_rows(out))
		metric_add(METRIC_LOG_ROWS_READ, pg_answer_rows(out));
	return fault;
}

/* -- the drainer -- */

enum pg_fault log_tail_step(struct log_tail *t, struct pg_connection *c, usec_t deadline,
			    struct log_slicer *slicer, bool *more)
{
	struct pg_answer a = { 0 };
	uint64_t from;
	bool all;
	enum pg_fault fault;

	tail_lock(t);
	from = t->cursor;
	t->is_left = false; /* a batch that is left from here on sets it again */
	tail_unlock(t);
	fault = tail_read_page(c, deadline, from, INT64_MAX, &a);
	if (fault == PG_FINE && slicer) {
		tail_slice_page(t, &a, from, slicer);
		log_slicer_end(slicer);
	}
	all = fault == PG_FINE && tail_deliver_page(t, &a);
	if (fault == PG_FINE) {
		tail_lock(t);
		t->is_stopped = !all;
		tail_unlock(t);
		if (all && t->seal)
			tail_take_kept(t);
	}
	*more = all && pg_answer_rows(&a) == PAGE_ROWS;
	pg_answer_release(&a);
	return fault;
}

bool log_tail_is_stopped(struct log_tail *t)
{
	bool is_stopped;

	tail_lock(t);
	is_stopped = t->is_stopped;
	tail_unlock(t);
	return is_stopped;
}

bool log_tail_is_due(struct log_tail *t)
{
	bool is_due;

	tail_lock(t);
	is_due = t->is_left || t->is_stopped;
	tail_unlock(t);
	return is_due;
}

/* -- the log writer -- */

void log_tail_set_hold(struct log_tail *t, bool hold)
{
	tail_lock(t);
	t->is_on_hold = hold;
	tail_unlock(t);
}

bool log_tail_reach(struct log_tail *t, struct pg_connection *c, usec_t deadline, uint64_t first,
		    struct log_slicer *slicer)
{
	uint64_t from;

	while ((from = tail_cursor(t)) + 1 < first) {
		struct pg_answer a = { 0 };
		bool all;
		int n;

		/* The drainer will deliver these rows, and the batch. */
		if (tail_workers_are_behind(t))
			return false;
		if (!c || tail_read_page(c, deadline, from, first - 1, &a) != PG_FINE)
			return false;
		n = pg_answer_rows(&a);
		tail_slice_page(t, &a, from, slicer);
		all = tail_deliver_rows(t, &a, 0, n, false);
		pg_answer_release(&a);
		if (!all)
			return false;
		if (n < PAGE_ROWS) { /* the serials that remain were rolled back: no row has them */
			tail_lock(t);
			if (t->cursor < first - 1)
				t->cursor = first - 1;
			tail_unlock(t);
		}
	}
	return true;
}

/* The drainer will deliver the batch, except what is async: that was delivered. */
static void tail_leave_locked(struct log_tail *t, const struct event_batch *b) NEEDS_LOCK(tail_held)
{
	tail_leave_to_drainer_locked(t);
	for (unsigned i = 0; i < b->n; i++) {
		if (b->wants_fan_out) {
			b->events[i]->deliveries = NULL; /* the drainer's event has the record */
			continue;
		}
		if (t->n_passed == t->room_passed) {
			t->room_passed = t->room_passed ? t->room_passed * 2 : 256;
			t->passed = xreallocarray(t->passed, t->room_passed, sizeof(*t->passed));
		}
		t->passed[t->n_passed++] = b->events[i]->serial;
	}
}

void log_tail_offer(struct log_tail *t, struct event_batch *b, bool is_reached)
{
	unsigned n = 0;

	tail_lock(t);
	if (!is_reached) {
		tail_leave_locked(t, b);
		tail_unlock(t);
		return;
	}
	/* The drainer was faster with these; its events have the delivery records. */
	for (; n < b->n && b->events[n]->serial <= t->cursor; n++)
		if (b->wants_fan_out)
			b->events[n]->deliveries = NULL;
	if (b->wants_fan_out)
		for (unsigned i = n; i < b->n; i++)
			tail_fan_out(t, b->events[i]);
	if (n < b->n) {
		t->cursor = b->events[b->n - 1]->serial;
		tail_note_seen_locked(t, sv(b->events[b->n - 1]->id));
	}
	tail_unlock(t);
}
