/* SPDX-License-Identifier: MIT */
/*
 * The lock guards the cursor and all that moves with it; log_tail_keep() and log_tail_new() come
 * before there are threads.  Order of locks: the tail's, then a shard's of the directory.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/wake.h"
#include "log/control.h"
#include "log/epoch.h"
#include "log/row.h"
#include "log/slice.h"
#include "log/tail.h"

#define PAGE_ROWS	 500
#define PAGE_ROWS_TEXT	 "500"
#define BACKLOG_MAX_TEXT "10000" /* rows that a start delivers again */
#define COMPLAIN_US	 (10 * USEC_PER_SEC)
#define PART_ROWS	 16		     /* events between two checks of the workers */
#define WAIT_MS		 20		     /* for workers, with a page that is not delivered */
#define ALIVE_US	 (60 * USEC_PER_SEC) /* between saves of the cursor: retention reads them */
/* Slices that wait for the one before them, or for the drainer to read its rows. */
#define KEPT_MAX       256
#define KEPT_MAX_BYTES ((size_t)1 << 20)
#define KEPT_US	       USEC_PER_SEC

/* For clang: this thread holds the lock. */
static struct TSA(capability("mutex")) tail_held {
	char unused;
} tail_held UNUSED;

struct log_tail {
	char *node;
	bool expects_others;   /* nodes, with other applications */
	struct log_seal *seal; /* of slices; NULL: there are none */
	struct directory *directory;
	struct deliveries *deliveries; /* NULL: no records are kept */
	atomic_uint_fast64_t drained, sql_rows;
	struct wake caught_up; /* workers that were behind; the drainer waits */
	struct wake *drainer;  /* signalled when a batch is left to it; NULL: it polls */

	pthread_mutex_t lock;
	bool is_set OWNED_BY(tail_held);
	bool is_on_hold OWNED_BY(tail_held); /* async events are being written */
	/* The drainer stopped at a row on hold, or because workers are behind.  Its own: the writer
	 * reads up to its batch only, and leaves rows after that. */
	bool is_stopped OWNED_BY(tail_held);
	bool is_left OWNED_BY(tail_held);    /* the writer left a batch to the drainer */
	uint64_t cursor OWNED_BY(tail_held); /* all rows up to here were delivered */
	uint64_t saved OWNED_BY(tail_held);  /* the cursor as the database has it */
	usec_t saved_at OWNED_BY(tail_held); /* mono; 0: not yet */
	char *epoch OWNED_BY(tail_held);
	/* Of the server, as the last connection found it: slices of another one, which may have
	 * been promoted or be left behind, may have rows that this one does not have. */
	char timeline[LOG_TIMELINE_MAX + 1] OWNED_BY(tail_held);
	struct log_seen seen OWNED_BY(tail_held); /* the last event that was delivered */
	char *seen_path;			  /* NULL: kept in memory only */
	bool is_seen_stale;			  /* the drainer's: the file could not be written */
	uint64_t *passed OWNED_BY(
		tail_held); /* async events after the cursor, ascending serials: to be skipped */
	size_t n_passed OWNED_BY(tail_held), room_passed OWNED_BY(tail_held);
	usec_t complained OWNED_BY(tail_held); /* mono */
	/* Other nodes' slices that came before the one before them, by what is before them. */
	struct log_slice *kept OWNED_BY(tail_held);
	size_t n_kept OWNED_BY(tail_held), kept_bytes OWNED_BY(tail_held);
};

static void tail_lock(struct log_tail *t) TSA(acquire_capability(tail_held)) NO_TSA
{
	pthread_mutex_lock(&t->lock);
}

static void tail_unlock(struct log_tail *t) TSA(release_capability(tail_held)) NO_TSA
{
	pthread_mutex_unlock(&t->lock);
}

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

static void tail_drop_kept_locked(struct log_tail *t) NEEDS_LOCK(tail_held)
{
	struct log_slice *s;

	while ((s = t->kept)) {
		t->kept = s->next;
		free(s);
	}
	t->n_kept = 0;
	t->kept_bytes = 0;
}

void log_tail_free(struct log_tail *t) NO_TSA /* no other thread has it any more */
{
	if (!t)
		return;
	pthread_mutex_destroy(&t->lock);
	wake_release(&t->caught_up);
	log_seal_free(t->seal);
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
}

void log_tail_expect_slices(struct log_tail *t)
{
	t->seal = log_seal_new();
}

struct log_seal *log_tail_seal(struct log_tail *t)
{
	return t->seal;
}

void log_tail_count_drained(struct log_tail *t, unsigned n)
{
	atomic_fetch_add_explicit(&t->drained, n, memory_order_relaxed);
}

uint64_t log_tail_drained(struct log_tail *t)
{
	return atomic_load_explicit(&t->drained, memory_order_relaxed);
}

uint64_t log_tail_sql_rows(struct log_tail *t)
{
	return atomic_load_explicit(&t->sql_rows, memory_order_relaxed);
}

bool log_tail_position(struct log_tail *t, struct position *out)
{
	bool is_set;

	tail_lock(t);
	is_set = t->is_set && strlen(t->epoch) < sizeof(out->epoch);
	if (is_set) {
		str_copy(out->epoch, sizeof(out->epoch), sv(t->epoch));
		out->serial = t->cursor;
	}
	tail_unlock(t);
	return is_set;
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
		free(t->epoch);
		t->epoch = xstrdup(epoch);
	}
	tail_unlock(t);
}

/* The secret that slices are signed with, if there are any. */
static enum pg_fault tail_read_secret(struct log_tail *t, struct pg_connection *c, usec_t deadline)
{
	const struct pg_query q = { .sql = "SELECT secret FROM node_secret" };
	struct pg_answer a = { 0 };
	enum pg_fault fault;

	if (!t->seal)
		return PG_FINE;
	fault = pg_conn_run(c, deadline, &q, &a);
	if (fault == PG_FINE && pg_answer_rows(&a) == 1)
		log_seal_set(t->seal, pg_answer_view(&a, 0, 0));
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

/*
 * Whether the row is that of an async event, which was delivered before its commit.  Removes its
 * serial and lower ones from passed.
 */
static bool tail_is_passed_locked(struct log_tail *t, uint64_t serial) NEEDS_LOCK(tail_held)
{
	size_t n = 0;
	bool found;

	while (n < t->n_passed && t->passed[n] < serial)
		n++;
	found = n < t->n_passed && t->passed[n] == serial;
	n += found;
	if (n)
		memmove(t->passed, t->passed + n, (t->n_passed - n) * sizeof(*t->passed));
	t->n_passed -= n;
	return found;
}

/* To the subscribers of this node; a control row is for the node itself. */
static void tail_fan_out(struct log_tail *t, struct event *e)
{
	if (e->is_control)
		control_apply_event(t->directory, e);
	else
		directory_fan_out(t->directory, e);
}

static void tail_deliver_row_locked(struct log_tail *t, const struct app_set *apps,
				    const struct log_row *row) NEEDS_LOCK(tail_held)
{
	struct app *app = log_row_app(row, apps);
	struct event *e;

	if (tail_is_passed_locked(t, row->serial))
		return;
	if (!app && row->is_control && control_is_for_node(row->name) && app_set_count(apps))
		app = app_set_at(apps, 0);
	if (!app) {
		if (t->expects_others || clock_mono() - t->complained < COMPLAIN_US)
			return;
		t->complained = clock_mono();
		log_warn("database: event %.*s names no application that exists here; it is not "
			 "delivered",
			 SV_ARG(row->id));
		return;
	}
	e = log_row_event(row, app, t->deliveries);
	if (row->is_sql) {
		atomic_fetch_add_explicit(&t->sql_rows, 1, memory_order_relaxed);
		metric_add_at(METRIC_EVENTS_IN, row->is_sync ? VIA_SYNC : VIA_SQL, 1);
		metric_observe(METRIC_PAYLOAD_BYTES, e->data->len, 1);
	}
	tail_fan_out(t, e);
	event_unref(e);
}

/* The event at the cursor. */
static void tail_note_seen_locked(struct log_tail *t, struct str_view id) NEEDS_LOCK(tail_held)
{
	if (!t->epoch)
		return;
	t->seen.serial = t->cursor;
	str_copy(t->seen.epoch, sizeof(t->seen.epoch), sv(t->epoch));
	str_copy(t->seen.id, sizeof(t->seen.id), id);
}

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

static bool tail_workers_are_behind(struct log_tail *t)
{
	struct worker_loads *l = directory_loads(t->directory);

	return worker_loads_are_behind(l, UINT64_MAX >> (64 - l->n), LOAD_WAITER_LOG);
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

/* -- slices -- */

/*
 * The page that was read after serial from, before this node delivers it.  Other rows than those of
 * SQL are sent by the node that wrote them; it alone knows which are async events of its own.
 */
static void tail_slice_page(struct log_tail *t, const struct pg_answer *a, uint64_t from,
			    struct log_slicer *slicer)
{
	struct position here;

	if (!slicer || !log_tail_position(t, &here))
		return;
	log_slicer_begin(slicer, here.epoch, from);
	for (int i = 0; i < pg_answer_rows(a); i++) {
		struct log_row row;

		log_row_read(a, i, &row);
		if (row.is_sql)
			log_slicer_add(slicer, &row);
		else
			log_slicer_pass(slicer, row.serial);
	}
}

static void tail_leave_to_drainer_locked(struct log_tail *t) NEEDS_LOCK(tail_held)
{
	if (!t->is_left && t->drainer)
		wake_signal(t->drainer);
	t->is_left = true;
}

/* The slice is of the log, and of the server, that this node reads. */
static bool tail_is_same_log_locked(const struct log_tail *t, const struct log_slice *s)
	NEEDS_LOCK(tail_held)
{
	struct str_view rest = s->epoch, epoch;

	return t->is_set && sv_split(&rest, '/', &epoch) && sv_eq_c(epoch, t->epoch) &&
	       sv_eq_c(rest, t->timeline);
}

/* The slice begins at the cursor or before it, in the same log. */
static bool tail_fits_locked(const struct log_tail *t, const struct log_slice *s)
	NEEDS_LOCK(tail_held)
{
	return tail_is_same_log_locked(t, s) && s->before <= t->cursor;
}

/*
 * Rows of s, PART_ROWS at most.  A hold is for rows that this node writes, and a slice has only
 * rows that its sender wrote.
 */
static void tail_take_part_locked(struct log_tail *t, const struct app_set *apps,
				  struct log_slice *s) NEEDS_LOCK(tail_held)
{
	struct str_view last = SV("");
	struct log_row row;

	for (int i = 0; i < PART_ROWS && log_slice_next(&s->rows, &row); i++) {
		if (row.serial <= t->cursor)
			continue;
		tail_deliver_row_locked(t, apps, &row);
		t->cursor = row.serial;
		last = row.id;
	}
	if (last.len)
		tail_note_seen_locked(t, last);
}

/* Counts what became of it.  False: the log has to be read. */
static bool tail_take_slice(struct log_tail *t, struct log_slice *s)
{
	struct app_set *apps = apps_current();
	bool fits = true, is_late = false, is_first = true;

	while (fits && s->rows.len && (is_late || !tail_workers_are_behind(t))) {
		tail_lock(t);
		fits = tail_fits_locked(t, s);
		is_late = fits && s->last <= t->cursor && (is_first || is_late);
		is_first = false;
		if (is_late)
			s->rows = SV("");
		else if (fits)
			tail_take_part_locked(t, apps, s);
		tail_unlock(t);
	}
	app_set_unref(apps);
	metric_add(s->rows.len ? METRIC_BUS_SLICES_UNUSED
		   : is_late   ? METRIC_BUS_SLICES_LATE
			       : METRIC_BUS_SLICES_USED,
		   1);
	return !s->rows.len;
}

/* Keeps s if the one before it is missing. */
static bool tail_keep_locked(struct log_tail *t, const struct log_slice *s) NEEDS_LOCK(tail_held)
{
	struct log_slice **at = &t->kept, *copy;

	if (!tail_is_same_log_locked(t, s) || s->before <= t->cursor || t->n_kept == KEPT_MAX ||
	    t->kept_bytes + s->rows.len > KEPT_MAX_BYTES)
		return false;
	copy = log_slice_copy(s);
	copy->kept_at = clock_mono();
	while (*at && (*at)->before <= s->before)
		at = &(*at)->next;
	copy->next = *at;
	*at = copy;
	t->n_kept++;
	t->kept_bytes += s->rows.len;
	return true;
}

/*
 * The kept slice with the lowest serials, if it follows the cursor now, is too old to be kept, or
 * belongs to another log; else NULL.  The caller frees it.
 */
static struct log_slice *tail_take_first_kept(struct log_tail *t)
{
	struct log_slice *s;

	tail_lock(t);
	s = t->kept;
	if (s && s->before > t->cursor && tail_is_same_log_locked(t, s) &&
	    clock_mono() - s->kept_at < KEPT_US)
		s = NULL;
	if (s) {
		t->kept = s->next;
		t->n_kept--;
		t->kept_bytes -= s->rows.len;
	}
	tail_unlock(t);
	return s;
}

/* After the cursor has moved. */
static void tail_take_kept(struct log_tail *t)
{
	struct log_slice *s;

	while ((s = tail_take_first_kept(t))) {
		if (!tail_take_slice(t, s)) {
			tail_lock(t);
			tail_leave_to_drainer_locked(t);
			tail_unlock(t);
		}
		free(s);
	}
}

bool log_tail_take(struct log_tail *t, struct str_view slice)
{
	struct log_slice s;
	bool is_kept;

	if (!t->seal || !log_slice_read(t->seal, slice, &s)) {
		metric_add(METRIC_BUS_UNKNOWN, 1);
		return false;
	}
	tail_lock(t);
	is_kept = tail_keep_locked(t, &s);
	tail_unlock(t);
	if (is_kept || !tail_take_slice(t, &s))
		return false;
	tail_take_kept(t);
	return true;
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
