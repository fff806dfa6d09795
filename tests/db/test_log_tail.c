/* SPDX-License-Identifier: MIT */
/*
 * The tail against a real log: each row is delivered once and in order, whether the writer or the
 * drainer comes first, and after the position that the node saved.
 */
#include "unit.h"
#include <string.h>
#include "base/mem.h"
#include "bus/seal.h"
#include "database.h"
#include "log/slice.h"
#include "log/tail.h"
#include "post.h"
#include "unit_app.h"

#define SEEN_MAX 2000

static struct world {
	char *conninfo;
	PGconn *c;		     /* to meddle */
	struct pg_connection *conn;  /* the tail's */
	struct log_slicer connected; /* for the timeline of conn */
	struct bus_seal *seal;	     /* NULL: without slices */
	struct log_tail *tail;
	struct directory *directory;
	struct deliveries *deliveries;
	struct app *app;
	uint64_t seen[SEEN_MAX]; /* serials as they were delivered */
	unsigned n;
	unsigned with_record; /* those whose events have a delivery record */
} w;

static usec_t soon(void)
{
	return clock_mono() + 10 * USEC_PER_SEC;
}

/* Takes what was delivered since. */
static void take(void)
{
	struct worker_message *m;

	while ((m = fake_post_next(0))) {
		ck_assert_uint_lt(w.n, SEEN_MAX);
		w.with_record += m->event->deliveries != NULL;
		w.seen[w.n++] = m->event->serial;
		worker_loads_written(directory_loads(w.directory), 0,
				     &(struct load_amount){ .messages = 1,
							    .frames = m->frames,
							    .bytes = worker_message_bytes(m) },
				     1, 1);
		worker_message_free(m);
	}
}

/* A new connection each time, as its owners do. */
static void connect_tail(void)
{
	struct pg_options o = { .conninfo = w.conninfo,
				.schema = "scopewire",
				.connect_timeout_ms = 5000 };
	char *why = NULL;

	ASSERT_ON(on_db);
	pg_conn_close(w.conn);
	ck_assert_msg(pg_conn_open(&o, &w.conn, &why) == 0, "%s", why);
	ck_assert_int_eq(log_tail_begin(w.tail, w.conn, soon(), &w.connected), PG_FINE);
}

static void start_tail(const char *node)
{
	w.tail = log_tail_new(node, w.directory, w.deliveries);
	connect_tail();
}

static void begin(const char *database)
{
	struct app *app;

	thread_take_role(&on_db);
	w.conninfo = database_new(database, &w.c);
	log_slicer_init(&w.connected, NULL, NULL);
	w.app = UNIT_APP();
	app = app_ref(w.app);
	unit_apps_install(&app, 1);
	w.deliveries = deliveries_new();
	w.directory = fake_post_directory(1);
	fake_post_subscribe(w.directory, w.app, "c");
}

static void finish(void)
{
	log_slicer_release(&w.connected);
	apps_install(NULL);
	log_tail_free(w.tail);
	bus_seal_free(w.seal);
	w.seal = NULL;
	fake_post_release();
	directory_free(w.directory);
	deliveries_free(w.deliveries);
	pg_conn_close(w.conn);
	PQfinish(w.c);
	app_unref(w.app);
	free(w.conninfo);
}

static void sql(const char *text)
{
	database_run(w.c, text);
}

/* Workers that are never behind. */
static void make_workers_fast(void)
{
	atomic_store(&directory_loads(w.directory)->of[0].frame_ns, 1);
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

	ASSERT_ON(on_db);
	ck_assert_int_eq(log_tail_step(w.tail, w.conn, soon(), NULL, &more), PG_FINE);
	take();
	return more;
}

static void assert_seen(uint64_t first, unsigned n)
{
	take();
	ck_assert_uint_eq(w.n, n);
	for (unsigned i = 0; i < n; i++)
		ck_assert_uint_eq(w.seen[i], first + i);
}

/* What the writer has committed as first, first + 1, ... */
static struct event_batch *committed(uint64_t first, unsigned n, bool fan_out)
{
	struct event_batch *b = batch_new(n, fan_out);
	struct msgbuf *data = msgbuf_from(SV("{}"));

	for (unsigned i = 0; i < n; i++) {
		batch_add(b, event_new(w.app, SV("c"), SV("E"), data));
		b->events[i]->serial = first + i;
		b->events[i]->deliveries = w.deliveries;
	}
	msgbuf_unref(data);
	return b;
}

/* As the writer does, after it reached the batch or not. */
static void offer(struct event_batch *b, bool is_reached)
{
	ASSERT_ON(on_db);
	log_tail_offer(w.tail, b, is_reached);
	take();
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
	ck_assert_uint_eq(w.with_record, 2);
	step();
	ck_assert_uint_eq(w.n, 2);
	finish();
}
END_TEST

START_TEST(a_node_continues_after_the_position_that_it_saved)
{
	begin("goes_on");
	ASSERT_ON(on_db);
	start_tail("n");
	add_rows(5, "sql");
	step();
	ck_assert_int_eq(log_tail_save(w.tail, w.conn, soon()), PG_FINE);
	add_rows(3, "sql"); /* not delivered yet */
	log_tail_free(w.tail);
	w.n = 0;
	start_tail("n");
	step();
	assert_seen(6, 3);
	finish();
}
END_TEST

START_TEST(a_long_log_is_delivered_in_pages)
{
	begin("pages");
	start_tail("n");
	make_workers_fast();
	add_rows(1200, "sql");
	ck_assert(step());
	ck_assert_uint_lt(w.n, 1200);
	while (step())
		;
	assert_seen(1, 1200);
	finish();
}
END_TEST

START_TEST(the_drainer_skips_what_the_writer_delivered)
{
	struct event_batch *b;

	begin("writer");
	start_tail("n");
	add_rows(3, "http");
	b = committed(1, 3, true);
	offer(b, true);
	step();
	assert_seen(1, 3);
	batch_free(b);
	finish();
}
END_TEST

/* The batch's events have no delivery records then: the drainer's events do. */
START_TEST(the_writer_skips_what_the_drainer_delivered)
{
	struct event_batch *b;

	begin("relay");
	start_tail("n");
	add_rows(3, "http");
	step();
	b = committed(1, 3, true);
	offer(b, true);
	assert_seen(1, 3);
	for (unsigned i = 0; i < 3; i++)
		ck_assert(!b->events[i]->deliveries);
	batch_free(b);
	finish();
}
END_TEST

START_TEST(the_writer_skips_the_part_of_a_batch_that_the_drainer_delivered)
{
	struct event_batch *b;

	begin("first_ones");
	start_tail("n");
	add_rows(2, "http");
	step();
	add_rows(2, "http");
	b = committed(1, 4, true);
	offer(b, true);
	assert_seen(1, 4);
	step();
	ck_assert_uint_eq(w.n, 4);
	batch_free(b);
	finish();
}
END_TEST

START_TEST(rows_before_a_batch_are_delivered_before_it)
{
	struct event_batch *b;

	begin("before");
	ASSERT_ON(on_db);
	start_tail("n");
	make_workers_fast();
	add_rows(700, "sql");
	sql("SELECT nextval('realtime_events_serial')"); /* rolled back: no row */
	add_rows(2, "http");
	ck_assert(log_tail_reach(w.tail, w.conn, soon(), 702, NULL));
	take();
	assert_seen(1, 700);
	b = committed(702, 2, true);
	offer(b, true);
	ck_assert_uint_eq(w.n, 702);
	ck_assert_uint_eq(w.seen[701], 703);
	step();
	ck_assert_uint_eq(w.n, 702);
	batch_free(b);
	finish();
}
END_TEST

/* Async events are with the sockets already. */
START_TEST(async_events_are_not_delivered_twice)
{
	struct event_batch *b;

	begin("async");
	start_tail("n");
	add_rows(1, "sql");
	add_rows(2, "http");
	add_rows(1, "sql");
	b = committed(2, 2, false);
	offer(b, false); /* the rows before it could not be read */
	step();
	ck_assert_uint_eq(w.n, 2);
	ck_assert_uint_eq(w.seen[0], 1);
	ck_assert_uint_eq(w.seen[1], 4);
	batch_free(b);
	finish();
}
END_TEST

START_TEST(on_hold_only_rows_from_sql_are_delivered)
{
	struct event_batch *b;

	begin("hold");
	ASSERT_ON(on_db);
	start_tail("n");
	add_rows(2, "sql");
	add_rows(1, "http"); /* may be async */
	add_rows(1, "sql");
	log_tail_set_hold(w.tail, true);
	ck_assert(!step());
	assert_seen(1, 2);
	ck_assert(log_tail_is_stopped(w.tail));
	b = committed(3, 1, false);
	offer(b, true);
	log_tail_set_hold(w.tail, false);
	step();
	ck_assert(!log_tail_is_stopped(w.tail));
	ck_assert_uint_eq(w.n, 3);
	ck_assert_uint_eq(w.seen[2], 4);
	batch_free(b);
	finish();
}
END_TEST

/* More than the marks allow; it took no time, so that the cost of a frame does not change. */
static const struct load_amount much = { .messages = 10, .frames = 10000 };

START_TEST(rows_wait_in_the_log_while_the_workers_are_behind)
{
	begin("behind");
	start_tail("n");
	add_rows(100, "sql");
	worker_loads_posted(directory_loads(w.directory), 0, &much);
	ck_assert(!step());
	ck_assert(log_tail_is_stopped(w.tail));
	ck_assert_uint_gt(w.n, 0);
	ck_assert_uint_lt(w.n, 100);
	worker_loads_written(directory_loads(w.directory), 0, &much, 1, 1);
	step();
	ck_assert(!log_tail_is_stopped(w.tail));
	assert_seen(1, 100);
	finish();
}
END_TEST

START_TEST(the_writer_leaves_rows_to_the_drainer_while_the_workers_are_behind)
{
	struct event_batch *b;
	struct wake drainer;

	begin("leave");
	ASSERT_ON(on_db);
	start_tail("n");
	ck_assert_int_eq(wake_init(&drainer), 0);
	log_tail_notify(w.tail, &drainer);
	add_rows(100, "sql");
	add_rows(1, "http");
	b = committed(101, 1, true);
	worker_loads_posted(directory_loads(w.directory), 0, &much);
	ck_assert(!log_tail_reach(w.tail, w.conn, soon(), 101, NULL));
	ck_assert(!log_tail_is_due(w.tail));
	offer(b, false);
	ck_assert_uint_eq(w.n, 0);
	ck_assert_msg(wake_wait(&drainer, 0), "the drainer is notified");
	ck_assert(log_tail_is_due(w.tail));
	worker_loads_written(directory_loads(w.directory), 0, &much, 1, 1);
	step();
	ck_assert(!log_tail_is_due(w.tail));
	assert_seen(1, 101);
	log_tail_notify(w.tail, NULL);
	wake_release(&drainer);
	batch_free(b);
	finish();
}
END_TEST

/* The writer reads up to its batch only: the drainer still has to read the rows after that. */
START_TEST(the_drainer_that_stopped_is_due_until_it_has_read_again)
{
	struct event_batch *b;

	begin("stopped");
	ASSERT_ON(on_db);
	start_tail("n");
	add_rows(100, "sql");
	add_rows(10, "http");
	add_rows(300, "sql");
	worker_loads_posted(directory_loads(w.directory), 0, &much);
	ck_assert(!step());
	worker_loads_written(directory_loads(w.directory), 0, &much, 1, 1);
	ck_assert(log_tail_reach(w.tail, w.conn, soon(), 101, NULL));
	b = committed(101, 10, true);
	offer(b, true);
	ck_assert_uint_eq(w.n, 110);
	ck_assert(log_tail_is_due(w.tail));
	step();
	ck_assert(!log_tail_is_due(w.tail));
	assert_seen(1, 410);
	ck_assert_uint_eq(log_tail_sql_rows(w.tail), 400);
	batch_free(b);
	finish();
}
END_TEST

START_TEST(a_page_without_rows_ends_the_stop)
{
	begin("stop_ends");
	ASSERT_ON(on_db);
	start_tail("n");
	add_rows(100, "sql");
	worker_loads_posted(directory_loads(w.directory), 0, &much);
	ck_assert(!step());
	worker_loads_written(directory_loads(w.directory), 0, &much, 1, 1);
	ck_assert(log_tail_reach(w.tail, w.conn, soon(), 101, NULL));
	step();
	ck_assert(!log_tail_is_due(w.tail));
	assert_seen(1, 100);
	finish();
}
END_TEST

/* -- counts of rows of SQL -- */

static int64_t counted(unsigned via)
{
	return unit_metric(METRIC_EVENTS_IN, via);
}

static void start_tail_of_cluster(void)
{
	w.tail = log_tail_new("n", w.directory, w.deliveries);
	log_tail_expect_others(w.tail);
	connect_tail();
	make_workers_fast();
}

START_TEST(alone_all_rows_of_sql_count)
{
	begin("counts_alone");
	start_tail("n");
	make_workers_fast();
	add_rows(3, "sql");
	add_rows(2, "http");
	add_rows(4, "sync");
	step();
	log_tail_count_drained(w.tail, 1, 2);
	ck_assert_int_eq(counted(VIA_SQL), 3);
	ck_assert_int_eq(counted(VIA_SYNC), 4);
	finish();
}
END_TEST

START_TEST(in_a_cluster_rows_count_that_this_node_gave_serials)
{
	begin("counts_own");
	start_tail_of_cluster();
	add_rows(10, "sql");
	/* the answers to two commits come in the wrong order */
	log_tail_count_drained(w.tail, 7, 2);
	log_tail_count_drained(w.tail, 2, 3);
	step();
	assert_seen(1, 10);
	ck_assert_int_eq(counted(VIA_SQL), 5);
	ck_assert_uint_eq(log_tail_drained(w.tail), 5);
	/* another session of the node drained rows */
	add_rows(5, "sync");
	log_tail_note_drained(w.tail, 11, 1);
	log_tail_note_drained(w.tail, 12, 2);
	step();
	ck_assert_int_eq(counted(VIA_SYNC), 3);
	ck_assert_uint_eq(log_tail_drained(w.tail), 5);
	finish();
}
END_TEST

START_TEST(rows_count_that_were_delivered_before_the_answer_to_their_commit)
{
	begin("counts_late");
	start_tail_of_cluster();
	add_rows(10, "sql");
	step();
	ck_assert_int_eq(counted(VIA_SQL), 0);
	/* some of them, and rows that are not delivered yet */
	log_tail_count_drained(w.tail, 8, 5);
	ck_assert_int_eq(counted(VIA_SQL), 3);
	add_rows(10, "sql");
	step();
	ck_assert_int_eq(counted(VIA_SQL), 5);
	log_tail_count_drained(w.tail, 1, 1);
	ck_assert_int_eq(counted(VIA_SQL), 6);
	finish();
}
END_TEST

START_TEST(rows_count_whose_application_the_node_does_not_serve)
{
	begin("counts_unserved");
	start_tail_of_cluster();
	add_rows(1, "sql");
	sql("INSERT INTO realtime_events (serial, channel, event_type, payload, payload_is_text, "
	    "origin, app) SELECT nextval('realtime_events_serial'), 'c', 'E', '\"\\u00e9\"', "
	    "true, 'sql', 'other' FROM generate_series(1, 3)");
	log_tail_count_drained(w.tail, 1, 3);
	step();
	assert_seen(1, 1);
	ck_assert_int_eq(counted(VIA_SQL), 3);
	/* the bytes as they were published: {} and twice two of é */
	ck_assert_int_eq(unit_metric(METRIC_PAYLOAD_BYTES, METRIC_BUCKETS + 1), 2 + 2 + 2);
	finish();
}
END_TEST

/* -- slices of other nodes -- */

static void start_tail_with_slices(void)
{
	char signature[BUS_SIGNATURE_BYTES];

	w.tail = log_tail_new("n", w.directory, w.deliveries);
	w.seal = bus_seal_new();
	log_tail_expect_slices(w.tail, w.seal);
	ck_assert(!bus_seal_sign(w.seal, SV("c"), SV(""), signature));
	connect_tail();
	ck_assert(bus_seal_sign(w.seal, SV("c"), SV(""), signature));
	make_workers_fast();
}

static void keep_slice(void *ctx, struct str_view slice)
{
	char **out = ctx;

	ck_assert_uint_gt(slice.len, 0);
	free(*out);
	*out = sv_dup(slice);
}

/* What another node sends of the rows first, ..., after serial before; for the caller to free. */
static char *slice_of(uint64_t before, uint64_t first, unsigned n, const char *epoch)
{
	struct log_slicer slicer;
	struct position here;
	char *text = NULL;

	ck_assert(log_tail_position(w.tail, &here));
	log_slicer_init(&slicer, keep_slice, &text);
	log_slicer_connected(&slicer, sv(w.connected.timeline));
	log_slicer_begin(&slicer, epoch ? epoch : here.epoch, before);
	for (unsigned i = 0; i < n; i++) {
		const struct log_row row = { .serial = first + i,
					     .id = SV("id"),
					     .channel = SV("c"),
					     .name = SV("E"),
					     .app = SV("portal"),
					     .payload = SV("{}"),
					     .is_published = true };

		log_slicer_add(&slicer, &row);
	}
	log_slicer_end(&slicer);
	log_slicer_release(&slicer);
	return text;
}

/* Takes it; whether the log need not be read. */
static bool take_slice(uint64_t before, uint64_t first, unsigned n)
{
	char *text = slice_of(before, first, n, NULL);
	bool is_taken = log_tail_take(w.tail, sv(text));

	free(text);
	take();
	return is_taken;
}

static int64_t rows_read(void)
{
	return unit_metric(METRIC_LOG_ROWS_READ, 0);
}

START_TEST(a_slice_is_delivered_in_the_place_of_its_rows)
{
	int64_t before;

	begin("slice");
	start_tail_with_slices();
	before = rows_read();
	add_rows(50, "http");
	ck_assert(take_slice(0, 1, 20));
	ck_assert(take_slice(20, 21, 30));
	assert_seen(1, 50);
	ck_assert_uint_eq(w.with_record, 50);
	step();
	ck_assert_int_eq(rows_read(), before);
	add_rows(1, "http");
	step();
	assert_seen(1, 51);
	finish();
}
END_TEST

START_TEST(a_slice_that_comes_late_or_again_is_dropped)
{
	begin("slice_late");
	start_tail_with_slices();
	add_rows(10, "http");
	ck_assert(take_slice(0, 1, 5));
	ck_assert(take_slice(0, 1, 5));
	assert_seen(1, 5);
	step();
	ck_assert(take_slice(5, 6, 5));
	assert_seen(1, 10);
	/* What is partly new is delivered from there on. */
	ck_assert(take_slice(3, 4, 10));
	assert_seen(1, 13);
	ck_assert_int_eq(unit_metric(METRIC_BUS_SLICES_LATE, 0), 2);
	ck_assert_int_eq(unit_metric(METRIC_BUS_SLICES_USED, 0), 2);
	finish();
}
END_TEST

START_TEST(slices_in_another_order_wait_for_the_one_before_them)
{
	begin("slice_order");
	start_tail_with_slices();
	add_rows(30, "http");
	ck_assert(!take_slice(20, 21, 10));
	ck_assert(!take_slice(10, 11, 10));
	ck_assert_uint_eq(w.n, 0);
	ck_assert(take_slice(0, 1, 10));
	assert_seen(1, 30);
	step();
	assert_seen(1, 30);
	finish();
}
END_TEST

START_TEST(after_a_slice_that_was_lost_the_log_is_read)
{
	begin("slice_lost");
	start_tail_with_slices();
	add_rows(10, "http");
	ck_assert(!take_slice(20, 21, 10)); /* 11 to 20 are rolled back, or on their way */
	step();
	assert_seen(1, 10);
	sql("SELECT setval('realtime_events_serial', 15)");
	add_rows(5, "http");
	step(); /* serial 20 is there: the slice goes on */
	ck_assert_uint_eq(w.n, 25);
	ck_assert_uint_eq(w.seen[10], 16);
	ck_assert_uint_eq(w.seen[15], 21);
	ck_assert_uint_eq(w.seen[24], 30);
	finish();
}
END_TEST

START_TEST(a_slice_of_another_log_or_malformed_is_not_delivered)
{
	char *text;

	begin("slice_foreign");
	start_tail_with_slices();
	add_rows(2, "http");
	text = slice_of(0, 1, 2, "another");
	ck_assert(!log_tail_take(w.tail, sv(text)));
	free(text);
	text = slice_of(0, 1, 2, NULL);
	ck_assert(!log_tail_take(w.tail, sv_n(text, strlen(text) - 1)));
	free(text);
	ck_assert(!log_tail_take(w.tail, SV("")));
	take();
	ck_assert_uint_eq(w.n, 0);
	step();
	assert_seen(1, 2);
	finish();
}
END_TEST

START_TEST(a_slice_of_a_server_that_was_left_behind_is_not_delivered)
{
	struct position before, after;
	char *text;

	begin("slice_timeline");
	start_tail_with_slices();
	add_rows(1, "sql");
	step();
	text = slice_of(1, 2, 2, NULL);
	ck_assert(log_tail_position(w.tail, &before));
	sql("CREATE OR REPLACE FUNCTION scopewire.log_timeline() RETURNS text LANGUAGE sql AS "
	    "$$ SELECT '0000007F' $$");
	connect_tail();
	ck_assert(log_tail_position(w.tail, &after));
	ck_assert_str_eq(before.epoch, after.epoch);
	ck_assert(!log_tail_take(w.tail, sv(text)));
	take();
	assert_seen(1, 1);
	add_rows(2, "sql");
	step();
	assert_seen(1, 3);
	ck_assert(take_slice(3, 4, 2));
	assert_seen(1, 5);
	free(text);
	finish();
}
END_TEST

START_TEST(the_drainer_goes_on_where_a_slice_stopped_because_the_workers_are_behind)
{
	begin("slice_behind");
	start_tail_with_slices();
	add_rows(100, "http");
	worker_loads_posted(directory_loads(w.directory), 0, &much);
	atomic_store(&directory_loads(w.directory)->of[0].frame_ns, 5000);
	ck_assert(!take_slice(0, 1, 100));
	ck_assert_uint_eq(w.n, 0);
	worker_loads_written(directory_loads(w.directory), 0, &much, 1, 1);
	make_workers_fast();
	step();
	assert_seen(1, 100);
	ck_assert(take_slice(0, 1, 100));
	assert_seen(1, 100);
	finish();
}
END_TEST

/* Async events of this node are not in a slice of another one. */
START_TEST(a_slice_does_not_wait_for_the_async_events_of_this_node)
{
	struct event_batch *b;

	begin("slice_hold");
	ASSERT_ON(on_db);
	start_tail_with_slices();
	log_tail_set_hold(w.tail, true);
	add_rows(4, "http");
	ck_assert(take_slice(0, 1, 2));
	assert_seen(1, 2);
	ck_assert(!take_slice(4, 5, 1)); /* 3 and 4 are this node's */
	b = committed(3, 2, false);
	offer(b, true);
	log_tail_set_hold(w.tail, false);
	ck_assert_uint_eq(w.n, 2);
	step();
	ck_assert_uint_eq(w.n, 3);
	ck_assert_uint_eq(w.seen[2], 5);
	batch_free(b);
	finish();
}
END_TEST

START_TEST(only_rows_of_sql_become_slices_of_who_reads_them)
{
	struct log_slicer slicer;
	struct log_slice s;
	char *text = NULL;
	bool more;

	begin("slicer");
	ASSERT_ON(on_db);
	start_tail_with_slices();
	add_rows(3, "sql");
	add_rows(1, "http");
	add_rows(2, "sync");
	log_slicer_init(&slicer, keep_slice, &text);
	ck_assert_int_eq(log_tail_step(w.tail, w.conn, soon(), &slicer, &more), PG_FINE);
	assert_seen(1, 6);
	ck_assert(log_slice_read(sv(text), &s));
	ck_assert_uint_eq(s.before, 4);
	ck_assert_uint_eq(s.last, 6);
	/* With what the writer has committed after them, they are one slice. */
	add_rows(5, "sql");
	ck_assert(log_tail_reach(w.tail, w.conn, soon(), 12, &slicer));
	log_slicer_begin(&slicer, slicer.epoch, 11);
	log_slicer_end(&slicer);
	ck_assert(log_slice_read(sv(text), &s));
	ck_assert_uint_eq(s.before, 6);
	ck_assert_uint_eq(s.last, 11);
	log_slicer_release(&slicer);
	free(text);
	finish();
}
END_TEST

START_TEST(a_log_of_another_epoch_is_delivered_from_its_end_on)
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

/* The writer commits and delivers while the answer to the drainer's question is on its way. */
static int commit_meanwhile(void *ctx)
{
	struct event_batch **b = ctx;
	PGresult *r;

	if (*b)
		return 0;
	r = PQexec(w.c, "SELECT FROM pg_locks WHERE relation = 'public.held'::regclass "
			"AND NOT granted");
	if (PQntuples(r) > 0) {
		add_rows(3, "http");
		*b = committed(3, 3, true);
		sql("COMMIT");
		offer(*b, true);
	}
	PQclear(r);
	return 0;
}

START_TEST(what_is_delivered_while_a_connection_begins_is_not_delivered_again)
{
	struct event_batch *b = NULL;
	struct pg_options o = { .schema = "scopewire",
				.connect_timeout_ms = 5000,
				.tick = commit_meanwhile,
				.ctx = &b };
	char *why = NULL;

	begin("meanwhile");
	ASSERT_ON(on_db);
	start_tail("n");
	add_rows(2, "http");
	step();
	sql("ALTER FUNCTION scopewire.log_next_serial() RENAME TO next_serial; "
	    "CREATE FUNCTION scopewire.log_next_serial() RETURNS bigint LANGUAGE plpgsql AS "
	    "$$ DECLARE n bigint := scopewire.next_serial(); "
	    "BEGIN PERFORM FROM public.held; RETURN n; END $$");
	sql("CREATE TABLE public.held ()");
	sql("BEGIN; LOCK TABLE public.held IN ACCESS EXCLUSIVE MODE");
	o.conninfo = w.conninfo;
	pg_conn_close(w.conn);
	ck_assert_msg(pg_conn_open(&o, &w.conn, &why) == 0, "%s", why);
	ck_assert_int_eq(log_tail_begin(w.tail, w.conn, soon(), &w.connected), PG_FINE);
	ck_assert_ptr_nonnull(b);
	step();
	assert_seen(1, 5);
	batch_free(b);
	finish();
}
END_TEST

START_TEST(a_page_is_read_by_the_index_also_when_its_plan_is_of_an_empty_partition)
{
	const struct pg_query q = { .sql = "EXPLAIN EXECUTE tail(0, 9223372036854775807)" };
	struct pg_answer a = { 0 };
	int scans = 0;

	begin("tail_plan");
	sql("VACUUM realtime_events"); /* the statistics of an empty table */
	start_tail("here");
	ck_assert_int_eq(pg_conn_run(w.conn, soon(), &q, &a), PG_FINE);
	for (int i = 0; i < pg_answer_rows(&a); i++) {
		const char *line = pg_answer_text(&a, i, 0);

		scans += strstr(line, "Index Scan") != NULL;
		ck_assert_msg(!strstr(line, "Seq Scan") && !strstr(line, "Bitmap") &&
				      !strstr(line, "Sort"),
			      "%s", line);
	}
	ck_assert_int_gt(scans, 0);
	pg_answer_release(&a);
	finish();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("log/tail");
	TCase *t = tcase_create("tail");

	tcase_add_unchecked_fixture(t, database_set_up, database_tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_new_node_begins_at_the_end);
	tcase_add_test(t, a_node_continues_after_the_position_that_it_saved);
	tcase_add_test(t, a_long_log_is_delivered_in_pages);
	tcase_add_test(t, the_drainer_skips_what_the_writer_delivered);
	tcase_add_test(t, the_writer_skips_what_the_drainer_delivered);
	tcase_add_test(t, the_writer_skips_the_part_of_a_batch_that_the_drainer_delivered);
	tcase_add_test(t, rows_before_a_batch_are_delivered_before_it);
	tcase_add_test(t, async_events_are_not_delivered_twice);
	tcase_add_test(t, on_hold_only_rows_from_sql_are_delivered);
	tcase_add_test(t, rows_wait_in_the_log_while_the_workers_are_behind);
	tcase_add_test(t, the_writer_leaves_rows_to_the_drainer_while_the_workers_are_behind);
	tcase_add_test(t, the_drainer_that_stopped_is_due_until_it_has_read_again);
	tcase_add_test(t, a_page_without_rows_ends_the_stop);
	tcase_add_test(t, a_slice_is_delivered_in_the_place_of_its_rows);
	tcase_add_test(t, a_slice_that_comes_late_or_again_is_dropped);
	tcase_add_test(t, slices_in_another_order_wait_for_the_one_before_them);
	tcase_add_test(t, after_a_slice_that_was_lost_the_log_is_read);
	tcase_add_test(t, a_slice_of_another_log_or_malformed_is_not_delivered);
	tcase_add_test(t, a_slice_of_a_server_that_was_left_behind_is_not_delivered);
	tcase_add_test(t, the_drainer_goes_on_where_a_slice_stopped_because_the_workers_are_behind);
	tcase_add_test(t, a_slice_does_not_wait_for_the_async_events_of_this_node);
	tcase_add_test(t, only_rows_of_sql_become_slices_of_who_reads_them);
	tcase_add_test(t, a_page_is_read_by_the_index_also_when_its_plan_is_of_an_empty_partition);
	tcase_add_test(t, a_log_of_another_epoch_is_delivered_from_its_end_on);
	tcase_add_test(t, what_is_delivered_while_a_connection_begins_is_not_delivered_again);
	tcase_add_test(t, alone_all_rows_of_sql_count);
	tcase_add_test(t, in_a_cluster_rows_count_that_this_node_gave_serials);
	tcase_add_test(t, rows_count_that_were_delivered_before_the_answer_to_their_commit);
	tcase_add_test(t, rows_count_whose_application_the_node_does_not_serve);
	suite_add_tcase(s, t);
	return unit_run(s);
}
