/* SPDX-License-Identifier: MIT */
/*
 * The tail against a real log: each row is handed on once and in order, whether the writer or the
 * relay comes first, and from where the node left it.
 */
#include "unit.h"
#include <string.h>
#include "base/mem.h"
#include "database.h"
#include "log/tail.h"
#include "unit_app.h"

#define SEEN_MAX 2000

static struct world {
	char *conninfo;
	PGconn *c;	      /* to meddle */
	struct pg_conn *conn; /* the tail's */
	struct log_tail *tail;
	struct app *app;
	uint64_t seen[SEEN_MAX]; /* serials as they were handed on */
	unsigned n;
	unsigned logged; /* those whose delivery record is the tail's */
} w;

static usec_t soon(void)
{
	return clock_mono() + 10 * USEC_PER_SEC;
}

static void on_fan_out(void *ctx, struct event_batch *b)
{
	(void)ctx;
	for (unsigned i = 0; i < b->n; i++) {
		ck_assert_uint_lt(w.n, SEEN_MAX);
		w.logged += b->events[i]->logged;
		w.seen[w.n++] = b->events[i]->serial;
	}
}

/* A new connection each time, as whoever has a tail does. */
static void connect_tail(void)
{
	struct pg_options o = { .conninfo = w.conninfo,
				.schema = "scopewire",
				.connect_timeout_ms = 5000 };
	char *why = NULL;

	pg_conn_close(w.conn);
	ck_assert_msg(pg_conn_open(&o, &w.conn, &why) == 0, "%s", why);
	ck_assert_int_eq(log_tail_begin(w.tail, w.conn, soon()), PG_FINE);
}

static void start_tail(const char *node)
{
	w.tail = log_tail_new(node, on_fan_out, NULL);
	connect_tail();
}

static void begin(const char *database)
{
	struct app *app;

	w.conninfo = database_new(database, &w.c);
	w.app = UNIT_APP();
	app = app_ref(w.app);
	unit_apps_install(&app, 1);
}

static void finish(void)
{
	apps_install(NULL);
	log_tail_free(w.tail);
	pg_conn_close(w.conn);
	PQfinish(w.c);
	app_unref(w.app);
	free(w.conninfo);
}

static void sql(const char *text)
{
	database_run(w.c, text);
}

/* Rows with the next serials, from sql or from http. */
static void add_rows(unsigned n, const char *origin)
{
	char text[400];

	snprintf(text, sizeof(text),
		 "INSERT INTO realtime_events (serial, channel, event_type, payload, origin, app) "
		 "SELECT nextval('realtime_events_serial'), 'c', 'E', '{}', '%s', 'portal' "
		 "FROM generate_series(1, %u)",
		 origin, n);
	sql(text);
}

static bool step(void)
{
	bool more;

	ck_assert_int_eq(log_tail_step(w.tail, w.conn, soon(), &more), PG_FINE);
	return more;
}

static void assert_seen(uint64_t first, unsigned n)
{
	ck_assert_uint_eq(w.n, n);
	for (unsigned i = 0; i < n; i++)
		ck_assert_uint_eq(w.seen[i], first + i);
}

/* What the writer has committed as first, first + 1, ... */
static struct event_batch *committed(uint64_t first, unsigned n, bool fan_out)
{
	struct event_batch *b = xcalloc(1, sizeof(*b));
	struct msgbuf *data = msgbuf_from(SV("{}"));

	b->n = n;
	b->fan_out = fan_out;
	b->events = xcalloc(n, sizeof(*b->events));
	for (unsigned i = 0; i < n; i++) {
		b->events[i] = event_new(w.app, SV("c"), SV("E"), data);
		b->events[i]->serial = first + i;
		b->events[i]->logged = true;
	}
	msgbuf_unref(data);
	return b;
}

static void batch_free(struct event_batch *b)
{
	for (unsigned i = 0; i < b->n; i++)
		event_unref(b->events[i]);
	free(b->events);
	free(b);
}

START_TEST(a_new_node_begins_at_the_end)
{
	begin("new_node");
	add_rows(3, "sql");
	start_tail("n");
	ck_assert(!step());
	ck_assert_uint_eq(w.n, 0);
	add_rows(2, "sql");
	step();
	assert_seen(4, 2);
	ck_assert_uint_eq(w.logged, 2);
	step();
	ck_assert_uint_eq(w.n, 2);
	finish();
}
END_TEST

START_TEST(a_node_goes_on_where_it_was)
{
	begin("goes_on");
	start_tail("n");
	add_rows(5, "sql");
	step();
	ck_assert_int_eq(log_tail_save(w.tail, w.conn, soon()), PG_FINE);
	add_rows(3, "sql"); /* handed on by nobody */
	log_tail_free(w.tail);
	w.n = 0;
	start_tail("n");
	step();
	assert_seen(6, 3);
	finish();
}
END_TEST

START_TEST(a_long_tail_comes_in_pages)
{
	begin("pages");
	start_tail("n");
	add_rows(1200, "sql");
	ck_assert(step());
	ck_assert_uint_lt(w.n, 1200);
	while (step())
		;
	assert_seen(1, 1200);
	finish();
}
END_TEST

START_TEST(the_writer_was_faster)
{
	struct event_batch *b;

	begin("writer");
	start_tail("n");
	add_rows(3, "http");
	b = committed(1, 3, true);
	log_tail_deliver(w.tail, b);
	step();
	assert_seen(1, 3);
	batch_free(b);
	finish();
}
END_TEST

/* The batch's events keep no delivery records then: the relay's do. */
START_TEST(the_relay_was_faster)
{
	struct event_batch *b;

	begin("relay");
	start_tail("n");
	add_rows(3, "http");
	step();
	b = committed(1, 3, true);
	log_tail_deliver(w.tail, b);
	assert_seen(1, 3);
	for (unsigned i = 0; i < 3; i++)
		ck_assert(!b->events[i]->logged);
	batch_free(b);
	finish();
}
END_TEST

START_TEST(the_relay_was_faster_with_the_first_ones)
{
	struct event_batch *b;

	begin("first_ones");
	start_tail("n");
	add_rows(2, "http");
	step();
	add_rows(2, "http");
	b = committed(1, 4, true);
	log_tail_deliver(w.tail, b);
	assert_seen(1, 4);
	step();
	ck_assert_uint_eq(w.n, 4);
	batch_free(b);
	finish();
}
END_TEST

START_TEST(what_lies_before_a_batch_goes_first)
{
	struct event_batch *b;

	begin("before");
	start_tail("n");
	add_rows(700, "sql");
	sql("SELECT nextval('realtime_events_serial')"); /* rolled back: no row */
	add_rows(2, "http");
	ck_assert(log_tail_reach(w.tail, w.conn, soon(), 702));
	assert_seen(1, 700);
	b = committed(702, 2, true);
	log_tail_deliver(w.tail, b);
	ck_assert_uint_eq(w.n, 702);
	ck_assert_uint_eq(w.seen[701], 703);
	step();
	ck_assert_uint_eq(w.n, 702);
	batch_free(b);
	finish();
}
END_TEST

/* Async events are with the sockets already. */
START_TEST(async_events_are_passed_over)
{
	struct event_batch *b;

	begin("async");
	start_tail("n");
	add_rows(1, "sql");
	add_rows(2, "http");
	add_rows(1, "sql");
	b = committed(2, 2, false);
	log_tail_leave(w.tail, b); /* what lies before could not be read */
	step();
	ck_assert_uint_eq(w.n, 2);
	ck_assert_uint_eq(w.seen[0], 1);
	ck_assert_uint_eq(w.seen[1], 4);
	batch_free(b);
	finish();
}
END_TEST

START_TEST(on_hold_only_sql_goes)
{
	struct event_batch *b;

	begin("hold");
	start_tail("n");
	add_rows(2, "sql");
	add_rows(1, "http"); /* may be async */
	add_rows(1, "sql");
	log_tail_hold(w.tail);
	ck_assert(!step());
	assert_seen(1, 2);
	ck_assert(log_tail_is_stopped(w.tail));
	b = committed(3, 1, false);
	log_tail_deliver(w.tail, b);
	log_tail_unhold(w.tail);
	step();
	ck_assert(!log_tail_is_stopped(w.tail));
	ck_assert_uint_eq(w.n, 3);
	ck_assert_uint_eq(w.seen[2], 4);
	batch_free(b);
	finish();
}
END_TEST

START_TEST(another_log_is_taken_up_at_its_end)
{
	begin("another");
	start_tail("n");
	add_rows(3, "sql");
	step();
	sql("UPDATE log_meta SET epoch = 'another'");
	add_rows(3, "sql");
	connect_tail();
	step();
	assert_seen(1, 3);
	add_rows(1, "sql");
	step();
	ck_assert_uint_eq(w.n, 4);
	ck_assert_uint_eq(w.seen[3], 7);
	finish();
}
END_TEST

START_TEST(closed_it_hands_on_nothing)
{
	struct event_batch *b;

	begin("closed");
	start_tail("n");
	add_rows(2, "http");
	log_tail_close(w.tail);
	ck_assert(!step());
	b = committed(1, 2, true);
	log_tail_deliver(w.tail, b);
	ck_assert_uint_eq(w.n, 0);
	batch_free(b);
	finish();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("store/log_tail");
	TCase *t = tcase_create("log_tail");

	tcase_add_unchecked_fixture(t, database_set_up, database_tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_new_node_begins_at_the_end);
	tcase_add_test(t, a_node_goes_on_where_it_was);
	tcase_add_test(t, a_long_tail_comes_in_pages);
	tcase_add_test(t, the_writer_was_faster);
	tcase_add_test(t, the_relay_was_faster);
	tcase_add_test(t, the_relay_was_faster_with_the_first_ones);
	tcase_add_test(t, what_lies_before_a_batch_goes_first);
	tcase_add_test(t, async_events_are_passed_over);
	tcase_add_test(t, on_hold_only_sql_goes);
	tcase_add_test(t, another_log_is_taken_up_at_its_end);
	tcase_add_test(t, closed_it_hands_on_nothing);
	suite_add_tcase(s, t);
	return unit_run(s);
}
