/* SPDX-License-Identifier: MIT */
/*
 * The writer against a real PostgreSQL that is killed under it.  Every event that was answered 0
 * is in the table once, with the serial that it got; after any other answer a row is only there if
 * its event was delivered too.
 */
#include "unit_app.h"
#include "wait.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include "base/mem.h"
#include "database.h"
#include "pg_relay.h"
#include "log/writer.h"
#include "pg/locks.h"
#include "post.h"

/* One log on a database of its own. */
static struct world {
	struct conf conf;
	char *conninfo, *relay_conninfo;
	struct app *app;
	struct directory *directory;
	struct log_writer *log;
	PGconn *c;
	atomic_uint ok, refused, timed_out, down;
	unsigned delivered, out_of_order; /* see delivered() */
	uint64_t last_serial;
} w;

static void nap(void)
{
	poll(NULL, 0, 1);
}

/* The number of events that reached the subscriber so far, each counted as sent to 7 sockets. */
static unsigned delivered(void)
{
	struct worker_message *m;

	while ((m = fake_post_next(0))) {
		w.out_of_order += m->event->serial <= w.last_serial;
		w.last_serial = m->event->serial;
		atomic_fetch_add(&m->event->sockets, 7);
		w.delivered++;
		worker_message_free(m);
	}
	return w.delivered;
}

static void on_batch_done(struct event_batch *b, int rc)
{
	atomic_uint *count = rc == 0		? &w.ok
			     : rc == -EINVAL	? &w.refused
			     : rc == -ETIMEDOUT ? &w.timed_out
						: &w.down;
	unsigned n = b->n;

	batch_free(b);
	atomic_fetch_add(count, n);
}

static struct event *make_event(struct str_view channel, struct str_view name, struct str_view data)
{
	struct msgbuf *m = msgbuf_from(data);
	struct event *e = event_new(w.app, channel, name, m);

	msgbuf_unref(m);
	return e;
}

static struct event_batch *make_batch(unsigned n, unsigned deadline_ms)
{
	struct event_batch *b = batch_new(n, deadline_ms > 0);

	for (unsigned i = 0; i < n; i++)
		batch_add(b, make_event(SV("private-a"), SV("Thing"), SV("{\"n\":1}")));
	b->bytes = n * 100;
	b->deadline = deadline_ms ? clock_mono() + deadline_ms * USEC_PER_MSEC : 0;
	b->done = on_batch_done;
	return b;
}

static void append(struct event_batch *b)
{
	ck_assert_int_eq(log_queue_append(log_writer_queue(w.log), b), 0);
}

static unsigned commit_timeout_ms = 2000; /* a test sets it before begin() */

static void fill_conf(void)
{
	w.conf.server.node = (char *)"node-1";
	w.conf.database = (struct conf_database){ .schema = (char *)"scopewire",
						  .password = (char *)"",
						  .connect_timeout_s = 5,
						  .commit_timeout_ms = commit_timeout_ms,
						  .batch_events = 1000,
						  .linger_us = 1000,
						  .linger_rate = 5000,
						  .queue_events = 100000,
						  .queue_bytes = 100 << 20,
						  .partition_rows = 1000000,
						  .partitions_ahead = 1,
						  .deliveries = true };
}

static void start_log(const char *conninfo)
{
	w.directory = fake_post_directory(1);
	fake_post_keep_up(w.directory); /* or rows are left to a drainer, which is not here */
	fake_post_subscribe(w.directory, w.app, "private-a");
	ck_assert_int_eq(log_writer_start(&w.conf, conninfo, w.directory, NULL, &w.log), 0);
}

static void stop_log(unsigned grace_ms)
{
	log_writer_close(w.log, grace_ms);
	delivered();
	fake_post_release();
	directory_free(w.directory);
	log_writer_stop(w.log, grace_ms);
}

static bool is_connected(void)
{
	struct log_writer_stats s;

	log_writer_stats(w.log, &s);
	return s.is_connected;
}

static void begin(const char *database)
{
	w.app = UNIT_APP_AS("app-1");
	fill_conf();
	w.conninfo = database_new(database, &w.c);
	start_log(w.conninfo);
	WAIT_UNTIL(is_connected());
}

static void finish(void)
{
	stop_log(5000);
	ck_assert_uint_eq(w.out_of_order, 0);
	if (w.c)
		PQfinish(w.c);
	app_unref(w.app);
	free(w.relay_conninfo);
	free(w.conninfo);
}

static void reconnect(void)
{
	PQfinish(w.c);
	w.c = pg_fixture_connect(w.conninfo);
}

/* Whether the server has ended our session too. */
static bool is_cut_off(void)
{
	PQclear(PQexec(w.c, "SELECT 1"));
	return PQstatus(w.c) == CONNECTION_BAD;
}

static unsigned answered(void)
{
	return atomic_load(&w.ok) + atomic_load(&w.refused) + atomic_load(&w.timed_out) +
	       atomic_load(&w.down);
}

static long long rows(void)
{
	return pg_fixture_number(w.c, "SELECT count(*) FROM realtime_events WHERE serial > 0 AND "
				      "delivered AND delivered_at IS NOT NULL");
}

static long long repeats(void)
{
	return pg_fixture_number(w.c, "SELECT count(*) - count(DISTINCT event_id) "
				      "FROM realtime_events");
}

/* -- many writers -- */

#define THREADS 4

static unsigned batches_each, deadline_each_ms;

static void *appender(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < batches_each; i++) {
		struct event_batch *b = make_batch(1 + i % 5, deadline_each_ms);
		int rc;

		while ((rc = log_queue_append(log_writer_queue(w.log), b)) == -EAGAIN ||
		       rc == -EHOSTDOWN)
			nap();
		if (rc)
			abort();
		if (i % 50 == 49)
			nap();
	}
	return NULL;
}

static unsigned events_of(unsigned batches)
{
	unsigned n = 0;

	for (unsigned i = 0; i < batches; i++)
		n += 1 + i % 5;
	return n * THREADS;
}

static void start_appenders(pthread_t *t, unsigned batches, unsigned deadline_ms)
{
	batches_each = batches;
	deadline_each_ms = deadline_ms;
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&t[i], NULL, appender, NULL), 0);
}

static void join_appenders(pthread_t *t)
{
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
}

START_TEST(events_of_many_threads_are_delivered_in_the_order_of_their_serials)
{
	pthread_t t[THREADS];

	begin("many");
	start_appenders(t, 500, 30000);
	join_appenders(t);
	WAIT_UNTIL(answered() == events_of(500));
	ck_assert_uint_eq(atomic_load(&w.ok), events_of(500));
	ck_assert_uint_eq(delivered(), events_of(500));
	ck_assert_int_eq(rows(), events_of(500));
	ck_assert_int_eq(repeats(), 0);
	finish();
}
END_TEST

START_TEST(a_row_holds_what_was_published)
{
	struct event_batch *b;
	char *id, *value, *sql;

	begin("row");
	b = make_batch(1, 60000);
	b->events[0]->exclude_socket = (UINT64_C(12) << 32) | 34;
	id = xstrdup(b->events[0]->id);
	append(b);
	WAIT_UNTIL(answered() == 1);
	ck_assert_int_ge(asprintf(&sql,
				  "SELECT concat_ws('|', channel, event_type, payload, "
				  "payload_is_text, origin, app, exclude_socket, "
				  "abs(extract(epoch FROM created_at - now())) < 60, serial) "
				  "FROM realtime_events WHERE event_id = '%s'",
				  id),
			 0);
	value = pg_fixture_value(w.c, sql);
	ck_assert_str_eq(value, "private-a|Thing|{\"n\":1}|f|http|app-1|12.34|t|1");
	free(value);
	free(sql);
	free(id);
	finish();
}
END_TEST

START_TEST(payloads_are_kept_byte_for_byte)
{
	static const struct {
		struct str_view data;
		const char *stored; /* payload::text || payload_is_text */
	} cases[] = {
		{ { "{\"a\" :  1}", 10 }, "{\"a\" :  1}f" },
		{ { "plain text", 10 }, "\"plain text\"t" },
		{ { "\"quoted\"", 8 }, "\"quoted\"f" },
		{ { "", 0 }, "\"\"t" },
		{ { "nul \0 in it", 11 }, "\"nul \\u0000 in it\"t" },
		{ { "{\"x\":\"\\u0000\"}", 14 }, "{\"x\":\"\\u0000\"}f" },
		{ { "{\"x\":\"\\ud800\"}", 14 }, "{\"x\":\"\\ud800\"}f" },
		{ { "01", 2 }, "\"01\"t" },
		{ { "\xc3\xa9", 2 }, "\"\xc3\xa9\"t" },
	};

	begin("payloads");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct event_batch *b = make_batch(1, 60000);
		char *value;

		event_unref(b->events[0]);
		b->events[0] = make_event(SV("c"), SV("e"), cases[i].data);
		append(b);
		WAIT_UNTIL(answered() == i + 1);
		value = pg_fixture_value(w.c, "SELECT payload::text || CASE WHEN payload_is_text "
					      "THEN 't' ELSE 'f' END FROM realtime_events "
					      "ORDER BY serial DESC LIMIT 1");
		ck_assert_str_eq(value, cases[i].stored);
		free(value);
	}
	ck_assert_uint_eq(atomic_load(&w.ok), ARRAY_SIZE(cases));
	finish();
}
END_TEST

START_TEST(json_nested_too_deep_is_stored_as_text)
{
	struct event_batch *b;
	char *deep;

	begin("deep");
	deep = xmalloc(200000);
	memset(deep, '[', 100000);
	memset(deep + 100000, ']', 100000);
	b = make_batch(1, 60000);
	event_unref(b->events[0]);
	b->events[0] = make_event(SV("c"), SV("e"), sv_n(deep, 200000));
	append(b);
	WAIT_UNTIL(answered() == 1);
	ck_assert_int_eq(pg_fixture_number(w.c, "SELECT count(*) FROM realtime_events WHERE "
						"payload_is_text AND length(payload #>> '{}') = "
						"200000"),
			 1);
	free(deep);
	finish();
}
END_TEST

START_TEST(refused_content_fails_its_own_batch_only)
{
	begin("bad");
	/* While the lock is held the batches gather into one group. */
	free(pg_fixture_value(w.c, "BEGIN; " PG_LOCK_SERIALS));
	for (int i = 0; i < 40; i++) {
		struct event_batch *b = make_batch(2, 20000);

		if (i % 13 == 5) {
			event_unref(b->events[1]);
			b->events[1] = make_event(SV("c"), sv_n("nul\0", 4), SV("{}"));
		}
		append(b);
	}
	free(pg_fixture_value(w.c, "ROLLBACK"));
	WAIT_UNTIL(answered() == 80);
	ck_assert_uint_eq(atomic_load(&w.refused), 6);
	ck_assert_uint_eq(atomic_load(&w.ok), 74);
	ck_assert_int_eq(rows(), 74);
	finish();
}
END_TEST

/* -- bounds and deadlines -- */

START_TEST(without_a_database_a_durable_batch_is_refused_after_its_deadline)
{
	struct event_batch *b;
	usec_t start;

	w.app = UNIT_APP_AS("app-1");
	fill_conf();
	w.conf.database.queue_events = 10;
	w.conf.database.commit_timeout_ms = 300;
	start_log("host=/nonexistent");
	start = clock_mono();
	append(make_batch(2, 300));
	WAIT_UNTIL(atomic_load(&w.down) == 2);
	ck_assert_int_ge(clock_mono() - start, 300 * USEC_PER_MSEC);
	b = make_batch(1, 300);
	WAIT_UNTIL(log_queue_append(log_writer_queue(w.log), b) == -EHOSTDOWN); /* at once now */
	b->done(b, -EHOSTDOWN);
	append(make_batch(10, 0));
	b = make_batch(1, 0);
	ck_assert_int_eq(log_queue_append(log_writer_queue(w.log), b), -EAGAIN);
	b->done(b, -EHOSTDOWN);
	stop_log(0);
	ck_assert_uint_eq(atomic_load(&w.down), 14);
	app_unref(w.app);
}
END_TEST

static void end_writers_backend(void)
{
	free(pg_fixture_value(w.c, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE "
				   "application_name = 'scopewired'"));
}

START_TEST(an_answered_batch_is_not_written_later)
{
	begin("not_later");
	free(pg_fixture_value(w.c, "BEGIN; " PG_LOCK_SERIALS));
	append(make_batch(3, 200));
	append(make_batch(2, 0));
	WAIT_UNTIL(atomic_load(&w.timed_out) == 3);
	end_writers_backend();
	free(pg_fixture_value(w.c, "ROLLBACK"));
	append(make_batch(1, 20000));
	WAIT_UNTIL(atomic_load(&w.ok) == 3);
	ck_assert_uint_eq(delivered(), 1);
	ck_assert_int_eq(rows(), 3);
	finish();
}
END_TEST

/* -- unknown outcomes -- */

static struct pg_relay *begin_with_relay(const char *database)
{
	struct pg_relay *r;

	begin(database);
	stop_log(0);
	r = pg_relay_new(w.conninfo);
	w.relay_conninfo = pg_relay_conninfo(r);
	start_log(w.relay_conninfo);
	WAIT_UNTIL(is_connected());
	return r;
}

START_TEST(a_commit_whose_answer_is_lost_is_found)
{
	struct pg_relay *r = begin_with_relay("found");

	for (unsigned i = 1; i <= 3; i++) {
		pg_relay_set(r, RELAY_SWALLOW);
		append(make_batch(4, 20000));
		append(make_batch(2, 0));
		WAIT_UNTIL(rows() >= 6 * i - 2);
		ck_assert_uint_eq(answered(), 6 * (i - 1));
		pg_relay_cut(r);
		WAIT_UNTIL(answered() == 6 * i && is_connected());
	}
	ck_assert_uint_eq(atomic_load(&w.ok), 18);
	ck_assert_uint_eq(delivered(), 12);
	ck_assert_int_eq(rows(), 18);
	ck_assert_int_eq(repeats(), 0);
	ck_assert_uint_eq(delivered(), 12);
	WAIT_UNTIL(pg_fixture_number(w.c, "SELECT count(*) FROM realtime_deliveries JOIN "
					  "realtime_events USING (serial)") == 18);
	finish();
	pg_relay_free(r);
}
END_TEST

START_TEST(a_commit_after_its_answer_is_delivered_late)
{
	struct pg_relay *r;

	commit_timeout_ms = 60000;
	r = begin_with_relay("late");
	pg_relay_set(r, RELAY_HOLD); /* a lock would end the statement after LOCK_TIMEOUT_MS */
	append(make_batch(3, 8000));
	WAIT_UNTIL(pg_relay_holds(r));
	WAIT_UNTIL(atomic_load(&w.timed_out) == 3);
	ck_assert_uint_eq(delivered(), 0);
	pg_relay_set(r, RELAY_PASS);
	WAIT_UNTIL(delivered() == 3);
	ck_assert_int_eq(rows(), 3);
	append(make_batch(1, 60000));
	WAIT_UNTIL(atomic_load(&w.ok) == 1);
	ck_assert_int_eq(rows(), 4);
	finish();
	pg_relay_free(r);
}
END_TEST

START_TEST(a_commit_found_after_its_answer_is_delivered_late)
{
	struct pg_relay *r;

	commit_timeout_ms = 60000;
	r = begin_with_relay("found_late");
	pg_relay_set(r, RELAY_SWALLOW);
	append(make_batch(4, 8000)); /* the writer has sent it by then */
	WAIT_UNTIL(atomic_load(&w.timed_out) == 4);
	WAIT_UNTIL(rows() == 4);
	ck_assert_uint_eq(delivered(), 0);
	pg_relay_cut(r);
	WAIT_UNTIL(delivered() == 4);
	ck_assert_int_eq(rows(), 4);
	finish();
	pg_relay_free(r);
}
END_TEST

START_TEST(a_request_still_on_its_way_is_not_written_twice)
{
	struct pg_relay *r = begin_with_relay("on_its_way");

	pg_relay_set(r, RELAY_HOLD);
	append(make_batch(4, 20000));
	WAIT_UNTIL(pg_relay_holds(r));
	pg_relay_cut(r);
	WAIT_UNTIL(atomic_load(&w.ok) == 4);
	pg_relay_release(r);
	ck_assert_int_eq(rows(), 4);
	ck_assert_int_eq(repeats(), 0);
	ck_assert_uint_eq(delivered(), 4);
	finish();
	pg_relay_free(r);
}
END_TEST

START_TEST(a_connection_without_answers_is_replaced)
{
	struct pg_relay *r = begin_with_relay("silent");

	pg_relay_set(r, RELAY_HOLD);
	append(make_batch(1, 300));
	append(make_batch(3, 0));
	WAIT_UNTIL(atomic_load(&w.timed_out) == 1);
	WAIT_UNTIL(atomic_load(&w.ok) == 3);
	ck_assert_int_eq(rows(), 3);
	pg_relay_release(r);
	ck_assert_int_eq(rows(), 3);
	ck_assert_uint_eq(delivered(), 0);
	finish();
	pg_relay_free(r);
}
END_TEST

/* -- violence -- */

static void check_nothing_lost(unsigned all)
{
	WAIT_UNTIL(answered() == all);
	reconnect();
	ck_assert_uint_eq(atomic_load(&w.ok), all);
	ck_assert_int_eq(rows(), all);
	ck_assert_int_eq(repeats(), 0);
}

START_TEST(no_event_is_lost_or_doubled_when_backends_are_terminated)
{
	pthread_t t[THREADS];
	struct log_writer_stats s;

	begin("terminated");
	start_appenders(t, 3000, 60000);
	for (int i = 0; i < 25; i++) {
		unsigned before = answered();

		end_writers_backend();
		WAIT_UNTIL(answered() > before || answered() == events_of(3000));
	}
	join_appenders(t);
	check_nothing_lost(events_of(3000));
	ck_assert_uint_eq(delivered(), events_of(3000));
	log_writer_stats(w.log, &s);
	/* how many of the 25 end a connection that is open again depends on the machine */
	ck_assert_uint_gt(s.reconnects, 0);
	finish();
}
END_TEST

START_TEST(no_event_is_lost_or_doubled_when_backends_are_killed)
{
	pthread_t t[THREADS];

	begin("killed");
	start_appenders(t, 1500, 60000);
	for (int i = 0; i < 3; i++) {
		long long pid =
			pg_fixture_number(w.c, "SELECT max(pid) FROM pg_stat_activity WHERE "
					       "application_name = 'scopewired'");
		unsigned before = answered();

		/* PostgreSQL restarts itself: every session ends. */
		if (pid > 0 && kill((pid_t)pid, SIGKILL) == 0)
			WAIT_UNTIL(is_cut_off());
		WAIT_UNTIL(answered() > before + 50 || answered() == events_of(1500));
		reconnect();
	}
	join_appenders(t);
	check_nothing_lost(events_of(1500));
	finish();
}
END_TEST

START_TEST(no_event_is_lost_or_doubled_when_postgresql_restarts)
{
	pthread_t t[THREADS];

	begin("restarted");
	start_appenders(t, 3000, 60000);
	for (int i = 0; i < 2; i++) {
		WAIT_UNTIL(answered() > 100U * (unsigned)i);
		pg_fixture_stop(pg, "immediate");
		pg_fixture_start(pg);
	}
	join_appenders(t);
	check_nothing_lost(events_of(3000));
	finish();
}
END_TEST

START_TEST(async_events_are_written_after_an_outage)
{
	begin("outage");
	pg_fixture_stop(pg, "fast");
	for (int i = 0; i < 100; i++)
		append(make_batch(3, 0));
	WAIT_UNTIL(!is_connected());
	pg_fixture_start(pg);
	check_nothing_lost(300);
	ck_assert_uint_eq(delivered(), 0);
	finish();
}
END_TEST

/* event_id tells whose row it is when one call writes it twice. */
static const struct event_key *make_key(const char *key, const char *event_id)
{
	static struct event_key keys[16];
	static unsigned n;
	struct event_key *k = &keys[n++];

	*k = (struct event_key){ SV("app-1"), sv(key), SV("d"), SV("{}"), sv(event_id) };
	return k;
}

START_TEST(an_existing_key_fails_its_own_batch_only)
{
	struct event_batch *b;

	begin("keys");
	b = make_batch(2, 60000);
	b->key = make_key("first", "id-1");
	append(b);
	WAIT_UNTIL(atomic_load(&w.ok) == 2);

	/* They wait together, so that they are written together. */
	free(pg_fixture_value(w.c, "BEGIN; " PG_LOCK_SERIALS));
	append(make_batch(1, 20000));
	for (int i = 0; i < 5; i++)
		append(make_batch(10, 20000));
	b = make_batch(3, 20000);
	b->key = make_key("first", "id-2");
	append(b);
	b = make_batch(0, 20000); /* a key alone */
	b->key = make_key("second", "id-3");
	append(b);
	append(make_batch(10, 0));
	b = make_batch(4, 20000);
	b->key = make_key("third", "id-4");
	append(b);
	free(pg_fixture_value(w.c, "ROLLBACK"));

	WAIT_UNTIL(answered() == 2 + 1 + 50 + 3 + 10 + 4);
	ck_assert_uint_eq(atomic_load(&w.down), 3); /* -EEXIST */
	ck_assert_int_eq(rows(), 2 + 1 + 50 + 10 + 4);
	WAIT_UNTIL(pg_fixture_number(w.c, "SELECT count(*) FROM idempotency_keys") == 3);
	ck_assert_int_eq(pg_fixture_number(w.c, "SELECT count(*) FROM idempotency_keys WHERE "
						"event_id IN ('id-1', 'id-3', 'id-4')"),
			 3);
	finish();
}
END_TEST

START_TEST(a_key_without_events_survives_a_lost_connection)
{
	begin("key_alone");
	for (int i = 0; i < 10; i++) {
		static const char *const names[] = { "a", "b", "c", "d", "e",
						     "f", "g", "h", "i", "j" };
		struct event_batch *b = make_batch(0, 20000);

		b->key = make_key(names[i], "mine");
		append(b);
		free(pg_fixture_value(w.c, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
					   "WHERE application_name = 'scopewired'"));
		WAIT_UNTIL(pg_fixture_number(w.c, "SELECT count(*) FROM idempotency_keys") ==
			   i + 1);
		WAIT_UNTIL(is_connected());
	}
	finish();
}
END_TEST

START_TEST(a_missing_partition_is_made_and_the_batch_written)
{
	begin("partition");
	free(pg_fixture_value(w.c, "SELECT setval('realtime_events_serial', 8000000)"));
	append(make_batch(3, 60000));
	WAIT_UNTIL(answered() == 3);
	ck_assert_uint_eq(atomic_load(&w.ok), 3);
	finish();
}
END_TEST

START_TEST(partitions_are_made_as_the_log_grows)
{
	begin("grows");
	stop_log(0);
	w.conf.database.partition_rows = 1000;
	free(pg_fixture_value(w.c, "SELECT setval('realtime_events_serial', 999000)"));
	start_log(w.conninfo);
	for (int i = 0; i < 50; i++)
		append(make_batch(100, 20000));
	WAIT_UNTIL(answered() == 5000);
	ck_assert_uint_eq(atomic_load(&w.ok), 5000);
	ck_assert_int_gt(pg_fixture_number(w.c, "SELECT log_partition_end('realtime_events')"),
			 1004000);
	finish();
}
END_TEST

START_TEST(each_event_gets_a_delivery_record)
{
	begin("deliveries");
	append(make_batch(50, 60000));
	append(make_batch(50, 0));
	WAIT_UNTIL(answered() == 100);
	WAIT_UNTIL(delivered() == 50 &&
		   pg_fixture_number(w.c, "SELECT count(*) FROM realtime_deliveries") == 100);
	ck_assert_int_eq(pg_fixture_number(w.c, "SELECT count(*) FROM realtime_deliveries d JOIN "
						"realtime_events e USING (serial) WHERE "
						"d.sockets = 7 AND d.node = 'node-1' AND "
						"now() - d.at < '1 min'"),
			 50);
	finish();
}
END_TEST

START_TEST(the_stop_writes_what_is_queued)
{
	begin("stop");
	for (int i = 0; i < 200; i++)
		append(make_batch(5, 0));
	stop_log(10000);
	ck_assert_uint_eq(atomic_load(&w.ok), 1000);
	ck_assert_int_eq(rows(), 1000);
	PQfinish(w.c);
	app_unref(w.app);
	free(w.conninfo);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("log/writer");
	TCase *t = tcase_create("writer");

	tcase_add_unchecked_fixture(t, database_set_up, database_tear_down);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, events_of_many_threads_are_delivered_in_the_order_of_their_serials);
	tcase_add_test(t, a_row_holds_what_was_published);
	tcase_add_test(t, payloads_are_kept_byte_for_byte);
	tcase_add_test(t, json_nested_too_deep_is_stored_as_text);
	tcase_add_test(t, refused_content_fails_its_own_batch_only);
	tcase_add_test(t, without_a_database_a_durable_batch_is_refused_after_its_deadline);
	tcase_add_test(t, a_commit_after_its_answer_is_delivered_late);
	tcase_add_test(t, an_answered_batch_is_not_written_later);
	tcase_add_test(t, a_commit_whose_answer_is_lost_is_found);
	tcase_add_test(t, a_commit_found_after_its_answer_is_delivered_late);
	tcase_add_test(t, a_request_still_on_its_way_is_not_written_twice);
	tcase_add_test(t, a_connection_without_answers_is_replaced);
	tcase_add_test(t, no_event_is_lost_or_doubled_when_backends_are_terminated);
	tcase_add_test(t, no_event_is_lost_or_doubled_when_backends_are_killed);
	tcase_add_test(t, no_event_is_lost_or_doubled_when_postgresql_restarts);
	tcase_add_test(t, async_events_are_written_after_an_outage);
	tcase_add_test(t, an_existing_key_fails_its_own_batch_only);
	tcase_add_test(t, a_key_without_events_survives_a_lost_connection);
	tcase_add_test(t, a_missing_partition_is_made_and_the_batch_written);
	tcase_add_test(t, partitions_are_made_as_the_log_grows);
	tcase_add_test(t, each_event_gets_a_delivery_record);
	tcase_add_test(t, the_stop_writes_what_is_queued);
	suite_add_tcase(s, t);
	return unit_run(s);
}
