/* SPDX-License-Identifier: MIT */
/*
 * How many events a second the db writer commits, and what an event costs the daemon in CPU:
 * batches of async events are appended as fast as the queue takes them, against a private
 * PostgreSQL with fsync on.  Everything that this process spends is counted, the making of the
 * events included; PostgreSQL's own CPU is not.
 *
 *     bench_eventlog [events] [events in a batch] [payload bytes]
 *
 * Beside it, what PostgreSQL does alone: the same rows, made by the server itself, in transactions
 * of as many as a group of the writer has, into a table with the indexes of the log.
 */
#include <errno.h>
#include <sys/resource.h>
#include "base/log.h"
#include "base/mem.h"
#include "pg_fixture.h"
#include "log/writer.h"
#include "pg/migrate.h"

static atomic_uint done_events, failed_events;
static struct eventlog *log_;

static void fan_out(void *ctx, struct event_batch *b)
{
	(void)ctx;
	(void)b;
}

static void on_event_done(struct event *e)
{
	eventlog_event_done(log_, e);
}

static void on_done(struct event_batch *b, int rc)
{
	atomic_fetch_add(rc ? &failed_events : &done_events, b->n);
	for (unsigned i = 0; i < b->n; i++)
		event_unref(b->events[i]);
	free(b->events);
	free(b);
}

static struct event_batch *make_batch(struct app *app, unsigned n, struct msgbuf *data)
{
	struct event_batch *b = xcalloc(1, sizeof(*b));

	b->n = n;
	b->bytes = n * (size_t)data->len;
	b->events = xcalloc(n, sizeof(*b->events));
	b->done = on_done;
	for (unsigned i = 0; i < n; i++)
		b->events[i] = event_new(app, SV("private-client.42"), SV("InvoiceCreated"), data);
	return b;
}

static struct msgbuf *make_data(unsigned bytes)
{
	struct msgbuf *m = msgbuf_new(bytes < 16 ? 16 : bytes);

	memset(m->data, 'x', m->len);
	memcpy(m->data, "{\"a\":\"", 6);
	memcpy(m->data + m->len - 2, "\"}", 2);
	return m;
}

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static double cpu_seconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return seconds(u.ru_utime) + seconds(u.ru_stime);
}

static void nap(long us)
{
	struct timespec t = { 0, us * 1000 };

	nanosleep(&t, NULL);
}

static void append(struct event_batch *b)
{
	int rc;

	while ((rc = eventlog_append(log_, b)) == -EAGAIN)
		nap(200);
	if (rc) {
		fprintf(stderr, "append: %s\n", strerror(-rc));
		exit(1);
	}
}

static void run(struct app *app, unsigned events, unsigned in_batch, struct msgbuf *data)
{
	struct eventlog_stats s;
	usec_t start = clock_mono();
	double cpu = cpu_seconds(), wall;

	for (unsigned i = 0; i < events; i += in_batch)
		append(make_batch(app, in_batch, data));
	while (atomic_load(&done_events) + atomic_load(&failed_events) < events)
		nap(1000);
	wall = (double)(clock_mono() - start) / 1e6;
	cpu = cpu_seconds() - cpu;
	eventlog_stats(log_, &s);
	printf("events %u\nevents_per_sec %.0f\ncommits_per_sec %.0f\ncpu_us_per_event %.2f\n"
	       "failed %u\n",
	       events, events / wall, (double)s.commits / wall, cpu / events * 1e6,
	       atomic_load(&failed_events));
}

static void postgres_alone(const char *conninfo, unsigned rows, unsigned in_commit,
			   const struct msgbuf *data)
{
	PGconn *c = pg_fixture_connect(conninfo);
	struct strbuf sql;
	usec_t start;

	free(pg_fixture_value(c, "CREATE TABLE alone (LIKE realtime_events INCLUDING ALL)"));
	free(pg_fixture_value(c, "CREATE UNIQUE INDEX ON alone (event_id)"));
	strbuf_init(&sql, 1024);
	strbuf_addf(&sql,
		    "INSERT INTO alone (serial, channel, event_type, payload, app, delivered, "
		    "delivered_at) SELECT nextval('realtime_events_serial'), 'private-client.42', "
		    "'InvoiceCreated', '%.*s', 'app', true, now() FROM generate_series(1, %u)",
		    (int)data->len, data->data, in_commit);
	start = clock_mono();
	for (unsigned done = 0; done < rows; done += in_commit)
		free(pg_fixture_value(c, sql.ptr));
	printf("postgres_rows_per_sec %.0f\n",
	       rows / ((double)(clock_mono() - start) / USEC_PER_SEC));
	strbuf_release(&sql);
	PQfinish(c);
}

static struct conf bench_conf(void)
{
	return (struct conf){ .server.node = (char *)"bench",
			      .database = { .schema = (char *)"scopewire",
					    .password = (char *)"",
					    .connect_timeout_s = 5,
					    .commit_timeout_ms = 5000,
					    .batch_events = 1000,
					    .linger_us = 1000,
					    .linger_rate = 5000,
					    .queue_events = 20000,
					    .queue_bytes = 100 << 20,
					    .partition_rows = 1000000,
					    .partitions_ahead = 2,
					    .deliveries = true } };
}

int main(int argc, char **argv)
{
	unsigned events = argc > 1 ? (unsigned)atoi(argv[1]) : 300000;
	unsigned in_batch = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
	unsigned bytes = argc > 3 ? (unsigned)atoi(argv[3]) : 200;
	struct app_option options[] = { { "key", "k" }, { "secret", "s" } };
	struct eventlog_hooks hooks = { .fan_out = fan_out };
	struct conf conf = bench_conf();
	struct pg_fixture *pg = pg_fixture_new(true);
	char *conninfo = pg_fixture_database(pg, "bench", NULL), *why = NULL;
	struct msgbuf *data = make_data(bytes);
	struct app *app = NULL;
	int rc = 1;

	log_set_level(LOG_LEVEL_WARN);
	if (migrate_run(conninfo, "scopewire", &why) || app_build("app", options, 2, &app, &why) ||
	    eventlog_start(&conf, conninfo, &hooks, &log_)) {
		fprintf(stderr, "%s\n", why ? why : "cannot start");
		goto out;
	}
	event_set_done(on_event_done);
	events -= events % in_batch;
	run(app, events, in_batch, data);
	eventlog_stop(log_, 10000);
	postgres_alone(conninfo, events, conf.database.batch_events, data);
	rc = atomic_load(&failed_events) != 0;
out:
	app_unref(app);
	msgbuf_unref(data);
	free(why);
	free(conninfo);
	pg_fixture_free(pg);
	return rc;
}
