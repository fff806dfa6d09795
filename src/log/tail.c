/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include "base/log.h"
#include "base/mem.h"
#include "log/seen.h"
#include "log/tail.h"
#include "wire/pusher.h"

#define PAGE_ROWS	 500
#define PAGE_ROWS_TEXT	 "500"
#define BACKLOG_MAX_TEXT "10000" /* rows that a start hands on again */
#define COMPLAIN_US	 (10 * USEC_PER_SEC)
#define ALIVE_US	 (60 * USEC_PER_SEC) /* retention waits for who says so */

enum {
	COL_SERIAL,
	COL_ID,
	COL_CHANNEL,
	COL_TYPE,
	COL_PAYLOAD,
	COL_IS_TEXT,
	COL_ORIGIN,
	COL_APP,
	COL_EXCLUDE
};

struct log_tail {
	char *node;
	log_fan_out *fan_out;
	void *ctx;
	atomic_uint_fast64_t drained;

	pthread_mutex_t lock;
	bool is_set, is_closed;
	bool hold;	 /* async events are being written */
	bool is_stopped; /* the relay stopped because of that */
	uint64_t cursor; /* all up to here was handed on */
	uint64_t saved;	 /* the cursor as the database has it */
	usec_t saved_at; /* mono; 0: not yet */
	char *epoch;
	struct log_seen seen; /* the last event that was handed on; its epoch is "" when unknown */
	char *seen_path;      /* NULL: kept in memory only.  Set before there are threads */
	uint64_t *passed;     /* async events behind the cursor: ascending serials to pass over */
	size_t n_passed, room_passed;
	usec_t complained;
};

struct log_tail *log_tail_new(const char *node, log_fan_out *fan_out, void *ctx)
{
	struct log_tail *t = xcalloc(1, sizeof(*t));

	t->node = xstrdup(node);
	t->fan_out = fan_out;
	t->ctx = ctx;
	pthread_mutex_init(&t->lock, NULL);
	return t;
}

void log_tail_free(struct log_tail *t)
{
	if (!t)
		return;
	pthread_mutex_destroy(&t->lock);
	free(t->passed);
	free(t->seen_path);
	free(t->epoch);
	free(t->node);
	free(t);
}

void log_tail_keep(struct log_tail *t, const char *path)
{
	t->seen_path = xstrdup(path);
	if (log_seen_read(path, &t->seen))
		log_debug("database: the log was handed on to serial %" PRIu64, t->seen.serial);
}

void log_tail_close(struct log_tail *t)
{
	pthread_mutex_lock(&t->lock);
	t->is_closed = true;
	pthread_mutex_unlock(&t->lock);
}

void log_tail_count_drained(struct log_tail *t, unsigned n)
{
	atomic_fetch_add_explicit(&t->drained, n, memory_order_relaxed);
}

uint64_t log_tail_drained(struct log_tail *t)
{
	return atomic_load_explicit(&t->drained, memory_order_relaxed);
}

bool log_tail_position(struct log_tail *t, struct position *out)
{
	bool is_set;

	pthread_mutex_lock(&t->lock);
	is_set = t->is_set && strlen(t->epoch) < sizeof(out->epoch);
	if (is_set) {
		snprintf(out->epoch, sizeof(out->epoch), "%s", t->epoch);
		out->serial = t->cursor;
	}
	pthread_mutex_unlock(&t->lock);
	return is_set;
}

static uint64_t cursor_of(struct log_tail *t)
{
	uint64_t cursor;

	pthread_mutex_lock(&t->lock);
	cursor = t->cursor;
	pthread_mutex_unlock(&t->lock);
	return cursor;
}

/* -- where to begin -- */

static void begin_at_locked(struct log_tail *t, const char *epoch, uint64_t start, uint64_t end)
{
	bool same = t->epoch && strcmp(t->epoch, epoch) == 0;

	if (t->is_set && same && t->cursor <= end)
		return;
	if (t->is_set)
		log_warn("database: the log is another one now; its events are handed on from "
			 "serial %" PRIu64 " on",
			 end + 1);
	t->cursor = t->is_set ? end : start;
	t->saved = 0;
	t->saved_at = 0;
	t->is_set = true;
	t->n_passed = 0;
	free(t->epoch);
	t->epoch = xstrdup(epoch);
}

static void on_new_epoch(struct log_tail *t, const char *why)
{
	log_warn("database: the log is not the one it was: %s; clients are told to fetch their "
		 "data again",
		 why);
	pthread_mutex_lock(&t->lock);
	t->seen.epoch[0] = '\0';
	pthread_mutex_unlock(&t->lock);
}

/* Lets the database compare what was handed on last with what it holds. */
static enum pg_fault compare(struct log_tail *t, struct pg_conn *c, usec_t deadline)
{
	char serial[24];
	const char *values[3] = { NULL };
	struct log_seen seen;
	PGresult *r = NULL;
	enum pg_fault fault;

	pthread_mutex_lock(&t->lock);
	seen = t->seen;
	pthread_mutex_unlock(&t->lock);
	snprintf(serial, sizeof(serial), "%" PRIu64, seen.serial);
	if (seen.epoch[0]) {
		values[0] = seen.epoch;
		values[1] = serial;
		values[2] = seen.id;
	}
	fault = pg_conn_query(c, deadline, "SELECT why FROM log_begin($1, $2::bigint, $3)", 3,
			      values, &r);
	if (fault == PG_FINE && PQntuples(r) == 1 && !PQgetisnull(r, 0, 0))
		on_new_epoch(t, PQgetvalue(r, 0, 0));
	PQclear(r);
	return fault;
}

static enum pg_fault read_start(struct log_tail *t, struct pg_conn *c, usec_t deadline)
{
	/* A sequence that was never used has last_value 1, and no serial was given. */
	static const char sql[] =
		"SELECT m.epoch, s.last, coalesce(greatest(least(r.serial, s.last), "
		"s.last - " BACKLOG_MAX_TEXT "), s.last) FROM log_meta m CROSS JOIN (SELECT CASE "
		"WHEN is_called THEN last_value ELSE 0 END AS last FROM realtime_events_serial) s "
		"LEFT JOIN relay_cursor r ON r.node = $1 AND r.epoch = m.epoch";
	const char *values[] = { t->node };
	PGresult *r = NULL;
	enum pg_fault fault = pg_conn_query(c, deadline, sql, 1, values, &r);

	if (fault != PG_FINE)
		return fault;
	if (PQntuples(r) == 1) {
		long long start = strtoll(PQgetvalue(r, 0, 2), NULL, 10);

		pthread_mutex_lock(&t->lock);
		begin_at_locked(t, PQgetvalue(r, 0, 0), start > 0 ? (uint64_t)start : 0,
				strtoull(PQgetvalue(r, 0, 1), NULL, 10));
		pthread_mutex_unlock(&t->lock);
	}
	PQclear(r);
	return PG_FINE;
}

enum pg_fault log_tail_begin(struct log_tail *t, struct pg_conn *c, usec_t deadline)
{
	static const Oid types[] = { 20, 20 }; /* bigint */
	enum pg_fault fault = pg_conn_prepare(
		c, deadline, "tail",
		"SELECT serial, event_id, channel, event_type, payload, payload_is_text, origin, "
		"app, exclude_socket FROM realtime_events WHERE serial > $1 AND serial <= $2 "
		"ORDER BY serial LIMIT " PAGE_ROWS_TEXT,
		2, types);

	if (fault == PG_FINE)
		fault = compare(t, c, deadline);
	return fault == PG_FINE ? read_start(t, c, deadline) : fault;
}

/* Beside the database; what cannot be written is told once. */
static void save_seen(struct log_tail *t, const struct log_seen *seen)
{
	int rc;

	if (!t->seen_path || !seen->epoch[0])
		return;
	rc = log_seen_write(t->seen_path, seen);
	if (!rc)
		return;
	log_warn("server.state_dir: %s cannot be written: %s; a database that is set back while "
		 "the daemon is stopped may not be noticed",
		 t->seen_path, strerror(-rc));
	free(t->seen_path);
	t->seen_path = NULL;
}

enum pg_fault log_tail_save(struct log_tail *t, struct pg_conn *c, usec_t deadline)
{
	char serial[24];
	const char *values[3] = { t->node, NULL, serial };
	struct log_seen seen;
	PGresult *r = NULL;
	uint64_t cursor;
	char *epoch;
	bool is_due;
	enum pg_fault fault;

	pthread_mutex_lock(&t->lock);
	cursor = t->cursor;
	seen = t->seen;
	is_due = cursor != t->saved || !t->saved_at || clock_mono() - t->saved_at >= ALIVE_US;
	epoch = t->is_set && is_due ? xstrdup(t->epoch) : NULL;
	pthread_mutex_unlock(&t->lock);
	if (!epoch)
		return PG_FINE;
	values[1] = epoch;
	snprintf(serial, sizeof(serial), "%" PRIu64, cursor);
	fault = pg_conn_query(
		c, deadline,
		"INSERT INTO relay_cursor (node, epoch, serial) SELECT $1, m.epoch, $3::bigint "
		/* A cursor that a crash sets back a second costs nothing; a flush costs others. */
		"FROM log_meta m, set_config('synchronous_commit', 'off', true) "
		"WHERE m.epoch = $2 ON CONFLICT (node) DO UPDATE SET epoch = excluded.epoch, "
		"serial = excluded.serial, at = now() RETURNING 1",
		3, values, &r);
	free(epoch);
	if (fault != PG_FINE)
		return fault;
	if (PQntuples(r) == 0) { /* another node gave the log a new epoch: connect again */
		PQclear(r);
		return PG_LOST;
	}
	PQclear(r);
	save_seen(t, &seen);
	pthread_mutex_lock(&t->lock);
	t->saved = cursor;
	t->saved_at = clock_mono();
	pthread_mutex_unlock(&t->lock);
	return PG_FINE;
}

/* -- rows -- */

/* The app of a row; without a name, the only one. */
static struct app *app_of(const struct app_set *apps, PGresult *r, int row)
{
	if (PQgetisnull(r, row, COL_APP))
		return app_set_count(apps) == 1 ? app_set_at(apps, 0) : NULL;
	return app_set_by_id(apps, sv(PQgetvalue(r, row, COL_APP)));
}

/* What the publisher gave: the json text, or the string in it. */
static struct msgbuf *data_of(PGresult *r, int row)
{
	const char *text = PQgetvalue(r, row, COL_PAYLOAD);
	json_t *string = NULL;
	struct msgbuf *m;

	if (PQgetisnull(r, row, COL_PAYLOAD))
		return msgbuf_from(SV("{}"));
	if (PQgetvalue(r, row, COL_IS_TEXT)[0] == 't')
		string = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	m = msgbuf_from(json_is_string(string)
				? sv_n(json_string_value(string), json_string_length(string))
				: sv(text));
	json_decref(string);
	return m;
}

static const char *origin_of(PGresult *r, int row)
{
	return strcmp(PQgetvalue(r, row, COL_ORIGIN), "sql") == 0 ? "sql" : "http";
}

static struct event *event_of(struct app *app, PGresult *r, int row, uint64_t serial)
{
	struct msgbuf *data = data_of(r, row);
	struct event *e = event_new(app, sv(PQgetvalue(r, row, COL_CHANNEL)),
				    sv(PQgetvalue(r, row, COL_TYPE)), data);

	msgbuf_unref(data);
	snprintf(e->id, sizeof(e->id), "%s", PQgetvalue(r, row, COL_ID));
	if (!PQgetisnull(r, row, COL_EXCLUDE) &&
	    !socket_id_parse(sv(PQgetvalue(r, row, COL_EXCLUDE)), &e->exclude_socket))
		e->exclude_socket = 0;
	e->origin = origin_of(r, row);
	e->serial = serial;
	e->logged = true;
	return e;
}

/* Whether serial is an async event's, with the sockets already; forgets those up to it. */
static bool is_passed_locked(struct log_tail *t, uint64_t serial)
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

static void complain_locked(struct log_tail *t, PGresult *r, int row)
{
	if (clock_mono() - t->complained < COMPLAIN_US)
		return;
	t->complained = clock_mono();
	log_warn("database: event %s names no application that is known here; it reaches nobody",
		 PQgetvalue(r, row, COL_ID));
}

static void hand_on_locked(struct log_tail *t, const struct app_set *apps, PGresult *r, int row,
			   uint64_t serial)
{
	struct app *app = app_of(apps, r, row);
	struct event *e;

	if (is_passed_locked(t, serial))
		return;
	if (!app) {
		complain_locked(t, r, row);
		return;
	}
	e = event_of(app, r, row, serial);
	t->fan_out(t->ctx, &(struct event_batch){ .n = 1, .events = &e, .fan_out = true });
	event_unref(e);
}

static void note_seen_locked(struct log_tail *t, uint64_t serial, const char *id)
{
	if (!t->epoch)
		return;
	t->seen.serial = serial;
	snprintf(t->seen.epoch, sizeof(t->seen.epoch), "%s", t->epoch);
	snprintf(t->seen.id, sizeof(t->seen.id), "%s", id);
}

/* True when all of the page is dealt with; false: it stopped at a row that is on hold, or the
 * tail is closed. */
static bool hand_on_page(struct log_tail *t, PGresult *r, bool heed_hold)
{
	struct app_set *apps = apps_current();
	bool all = true;
	int last = -1;

	pthread_mutex_lock(&t->lock);
	for (int row = 0; !t->is_closed && row < PQntuples(r); row++) {
		uint64_t serial = strtoull(PQgetvalue(r, row, COL_SERIAL), NULL, 10);

		if (serial <= t->cursor)
			continue;
		all = !(heed_hold && t->hold && strcmp(origin_of(r, row), "sql") != 0);
		if (!all)
			break;
		hand_on_locked(t, apps, r, row, serial);
		t->cursor = serial;
		last = row;
	}
	if (last >= 0)
		note_seen_locked(t, t->cursor, PQgetvalue(r, last, COL_ID));
	t->is_stopped = !all;
	all = all && !t->is_closed;
	pthread_mutex_unlock(&t->lock);
	app_set_unref(apps);
	return all;
}

static enum pg_fault read_page(struct pg_conn *c, usec_t deadline, uint64_t from, uint64_t to,
			       PGresult **out)
{
	char low[24], high[24];
	const char *values[] = { low, high };

	snprintf(low, sizeof(low), "%" PRIu64, from);
	snprintf(high, sizeof(high), "%" PRIu64, to);
	return pg_conn_execute(c, deadline, "tail", 2, values, out);
}

enum pg_fault log_tail_step(struct log_tail *t, struct pg_conn *c, usec_t deadline, bool *more)
{
	PGresult *r = NULL;
	enum pg_fault fault = read_page(c, deadline, cursor_of(t), INT64_MAX, &r);

	*more = false;
	if (fault != PG_FINE)
		return fault;
	*more = hand_on_page(t, r, true) && PQntuples(r) == PAGE_ROWS;
	PQclear(r);
	return PG_FINE;
}

bool log_tail_is_stopped(struct log_tail *t)
{
	bool is_stopped;

	pthread_mutex_lock(&t->lock);
	is_stopped = t->is_stopped;
	pthread_mutex_unlock(&t->lock);
	return is_stopped;
}

/* -- the writer's part -- */

void log_tail_hold(struct log_tail *t)
{
	pthread_mutex_lock(&t->lock);
	t->hold = true;
	pthread_mutex_unlock(&t->lock);
}

void log_tail_unhold(struct log_tail *t)
{
	pthread_mutex_lock(&t->lock);
	t->hold = false;
	pthread_mutex_unlock(&t->lock);
}

/* What was not handed on ends at a row whose serial nobody will ever see: a rolled-back one. */
static void pass_to(struct log_tail *t, uint64_t serial)
{
	pthread_mutex_lock(&t->lock);
	if (t->cursor < serial)
		t->cursor = serial;
	pthread_mutex_unlock(&t->lock);
}

bool log_tail_reach(struct log_tail *t, struct pg_conn *c, usec_t deadline, uint64_t first)
{
	uint64_t from;

	while ((from = cursor_of(t)) + 1 < first) {
		PGresult *r = NULL;
		bool all;
		int n;

		if (!c || read_page(c, deadline, from, first - 1, &r) != PG_FINE)
			return false;
		n = PQntuples(r);
		all = hand_on_page(t, r, false);
		PQclear(r);
		if (!all)
			return false;
		if (n < PAGE_ROWS)
			pass_to(t, first - 1);
	}
	return true;
}

void log_tail_deliver(struct log_tail *t, struct event_batch *b)
{
	struct event_batch rest = *b;
	unsigned n = 0;

	pthread_mutex_lock(&t->lock);
	/* The relay was faster with these, and keeps their delivery records. */
	while (n < b->n && b->events[n]->serial <= t->cursor) {
		if (b->fan_out)
			b->events[n]->logged = false;
		n++;
	}
	rest.n -= n;
	rest.events += n;
	if (rest.n && b->fan_out && !t->is_closed)
		t->fan_out(t->ctx, &rest);
	if (rest.n && !t->is_closed) {
		t->cursor = rest.events[rest.n - 1]->serial;
		note_seen_locked(t, t->cursor, rest.events[rest.n - 1]->id);
	}
	pthread_mutex_unlock(&t->lock);
}

void log_tail_leave(struct log_tail *t, const struct event_batch *b)
{
	pthread_mutex_lock(&t->lock);
	for (unsigned i = 0; i < b->n; i++) {
		if (b->fan_out) {
			b->events[i]->logged = false;
			continue;
		}
		if (t->n_passed == t->room_passed) {
			t->room_passed = t->room_passed ? t->room_passed * 2 : 256;
			t->passed = xreallocarray(t->passed, t->room_passed, sizeof(*t->passed));
		}
		t->passed[t->n_passed++] = b->events[i]->serial;
	}
	pthread_mutex_unlock(&t->lock);
}
