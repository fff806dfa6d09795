/* SPDX-License-Identifier: MIT */
/*
 * A batch is in one of three places: the queue, waiting (taken from the queue and not sent, or
 * known to be rolled back), or flight (sent).  A connection lost with batches in flight leaves
 * their outcome unknown: nothing else is written until the next connection has ended the old
 * backend and looked the events up.  A batch whose deadline passes is answered at once wherever it
 * is.  In waiting it is dropped; in flight a stand-in takes its place, so that a commit that did
 * happen is still delivered, and one that did not is not repeated.  That answer, -ETIMEDOUT, is the
 * only one after which a row may be committed.
 *
 * The thread waits for the database only inside pg_conn, whose tick (writer_tick) keeps deadlines.
 * Delivery records are written with the events or by themselves, each at most once: those whose
 * own transaction was lost are counted as dropped, not repeated.
 *
 * One thread (pg/runner.h).  Shared with others: the queue, the tail and the deliveries, which
 * have their own locks; the atomics.
 */
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "conf/conninfo.h"
#include "log/linger.h"
#include "log/partitions.h"
#include "log/resolve.h"
#include "log/slice.h"
#include "log/write.h"
#include "log/writer.h"
#include "pg/array.h"
#include "pg/runner.h"

#define GROUP_BYTES_MAX	     ((size_t)8 << 20)
#define WRITE_TIMEOUT_MIN_MS 5000
#define LOCK_TIMEOUT_MS	     2000
#define DELIVERIES_PER_GROUP 4096
#define DELIVERIES_SOON	     2000
#define DELIVERIES_US	     (100 * USEC_PER_MSEC)
#define EXPIRE_EVERY_MS	     10
#define EXPIRE_EVERY_US	     (EXPIRE_EVERY_MS * USEC_PER_MSEC)
#define BACKOFF_MIN_MS	     50
#define BACKOFF_MAX_MS	     2000
#define RATE_WINDOW_US	     (100 * USEC_PER_MSEC)
#define PARTITION_RETRY_US   USEC_PER_SEC
#define IDLE_US		     (30 * USEC_PER_SEC)
#define GATHER_US	     (10 * USEC_PER_MSEC)

enum writer_phase {
	WRITER_RUNS,
	WRITER_CLOSES, /* writes what is queued, then answers the rest */
	WRITER_STOPS,  /* all batches are answered: writes the last delivery records */
};

struct log_writer {
	const struct conf_database *conf;
	struct pg_runner *runner;
	struct log_queue *queue;
	struct log_tail *tail;
	struct bus *bus;	  /* NULL: there are no other nodes */
	struct log_slicer slicer; /* with bus_has_slices() */
	struct deliveries *deliveries;

	/* any thread */
	atomic_int phase;	/* enum writer_phase */
	_Atomic usec_t stop_by; /* mono; of the phase */
	struct wake closed;	/* signalled when all batches are answered */
	atomic_uint_fast64_t events, commits, failed_batches, reconnects, delivered;

	/* the writer's thread only */
	struct pg_connection *conn; /* NULL: none, or it is to be closed */
	struct batch_list waiting, flight;
	bool is_unknown;	    /* whether flight was committed */
	bool is_holding;	    /* the tail, because flight has async events */
	bool is_closed;		    /* WRITER_CLOSES is done */
	struct log_backend backend; /* of the newest connection that wrote */
	struct log_write *write;
	struct delivery taken[DELIVERIES_PER_GROUP];
	unsigned n_taken;
	usec_t deliveries_seen; /* mono; 0: none waited */
	unsigned group_batches; /* limit of a group while a refused batch is searched; 0: none */
	unsigned no_partition;	/* groups in a row that were refused because no partition fits */
	uint64_t last_serial, partition_end;
	usec_t next_expire, next_partition; /* mono */
	char *last_why;			    /* what was last logged about the database */
	usec_t rate_since;
	unsigned rate_events, rate; /* events of this window; events/s of the previous one */
	struct log_linger linger;
};

static unsigned writer_statement_ms(const struct log_writer *w)
{
	unsigned ms = 2 * w->conf->commit_timeout_ms;

	return ms < WRITE_TIMEOUT_MIN_MS ? WRITE_TIMEOUT_MIN_MS : ms;
}

/* Longer than the server's own timeout of a statement. */
static usec_t writer_deadline(const struct log_writer *w)
{
	return clock_mono() + (writer_statement_ms(w) + 2000) * USEC_PER_MSEC;
}

static enum writer_phase writer_phase(struct log_writer *w)
{
	return (enum writer_phase)atomic_load_explicit(&w->phase, memory_order_acquire);
}

/* -- answers -- */

static void writer_finish(struct log_writer *w, struct event_batch *b, int rc)
{
	if (rc)
		atomic_fetch_add(&w->failed_batches, 1);
	log_queue_finish(w->queue, b, rc);
}

static void writer_on_expired(void *ctx, struct event_batch *b)
{
	struct log_writer *w = ctx;

	writer_finish(w, b, w->conn ? -ETIMEDOUT : -EHOSTDOWN);
}

static void writer_expire(struct log_writer *w)
{
	usec_t now = clock_mono();

	if (now < w->next_expire)
		return;
	w->next_expire = now + EXPIRE_EVERY_US;
	batch_list_expire(&w->waiting, now, writer_on_expired, w);
	batch_list_answer_late(&w->flight, now);
}

static bool writer_is_grace_over(struct log_writer *w)
{
	enum writer_phase phase = writer_phase(w);

	return ((phase == WRITER_CLOSES && !w->is_closed) || phase == WRITER_STOPS) &&
	       clock_mono() >= atomic_load(&w->stop_by);
}

/* While pg_conn waits. */
static int writer_tick(void *ctx)
{
	struct log_writer *w = ctx;

	log_queue_take(w->queue, &w->waiting);
	writer_expire(w);
	return writer_is_grace_over(w);
}

/* In WRITER_CLOSES: when everything is written or the time is up, answers what is left. */
static void writer_check_closed(struct log_writer *w)
{
	struct event_batch *b;

	if (writer_phase(w) != WRITER_CLOSES || w->is_closed)
		return;
	log_queue_take(w->queue, &w->waiting);
	if ((w->waiting.head || w->flight.head) && !writer_is_grace_over(w))
		return;
	while ((b = batch_list_pop(&w->waiting)) != NULL)
		writer_finish(w, b, -EHOSTDOWN);
	while ((b = batch_list_pop(&w->flight)) != NULL)
		writer_finish(w, b, -ETIMEDOUT);
	w->is_unknown = false;
	w->is_closed = true;
	wake_signal(&w->closed);
}

static bool writer_is_finished(void *ctx)
{
	struct log_writer *w = ctx;

	if (writer_phase(w) != WRITER_STOPS)
		return false;
	return writer_is_grace_over(w) || !w->conn || deliveries_count(w->deliveries) == 0;
}

/* -- delivery records -- */

static bool writer_has_deliveries(struct log_writer *w)
{
	unsigned n = deliveries_count(w->deliveries);

	if (n == 0) {
		w->deliveries_seen = 0;
		return false;
	}
	if (!w->deliveries_seen)
		w->deliveries_seen = clock_mono();
	return n >= DELIVERIES_SOON || writer_phase(w) != WRITER_RUNS ||
	       clock_mono() - w->deliveries_seen >= DELIVERIES_US;
}

static void writer_log_dropped(struct log_writer *w, uint64_t more)
{
	uint64_t n = deliveries_dropped(w->deliveries) + more;

	if (n)
		log_warn("database: %llu delivery records could not be written",
			 (unsigned long long)n);
}

/* -- the connection -- */

/* The runner closes the connection when writer_serve() returns. */
static void writer_disconnect(struct log_writer *w)
{
	w->conn = NULL;
	metric_set(METRIC_DATABASE_UP, 0);
	if (!log_queue_away(w->queue))
		log_queue_set_away(w->queue, clock_mono());
}

/* Logs each new reason once. */
static void writer_on_down(void *ctx, const char *why)
{
	struct log_writer *w = ctx;

	if (writer_phase(w) != WRITER_RUNS || (w->last_why && strcmp(w->last_why, why) == 0))
		return;
	log_warn("database: %s; %u events wait", why, log_queue_events(w->queue));
	free(w->last_why);
	w->last_why = xstrdup(why);
}

static void writer_on_away(void *ctx)
{
	struct log_writer *w = ctx;

	log_queue_take(w->queue, &w->waiting);
	writer_expire(w);
	writer_check_closed(w);
}

/*
 * Batches in flight are looked up above last_serial, so it is not read anew while their outcome is
 * unknown.
 */
static enum pg_fault writer_read_last_serial(struct log_writer *w)
{
	const struct pg_query q = { .sql = "SELECT log_next_serial() - 1" };
	struct pg_answer a = { 0 };
	enum pg_fault fault;

	if (w->is_unknown)
		return PG_FINE;
	fault = pg_conn_run(w->conn, writer_deadline(w), &q, &a);
	if (fault == PG_FINE && pg_answer_rows(&a) == 1)
		w->last_serial = (uint64_t)pg_answer_int(&a, 0, 0);
	pg_answer_release(&a);
	return fault;
}

static enum pg_fault writer_ensure_partitions(struct log_writer *w)
{
	return log_partitions_ensure(w->conn, writer_deadline(w), w->conf, &w->partition_end);
}

/* The housekeeper makes partitions ahead; usually this only reads the new end. */
static void writer_check_partitions(struct log_writer *w)
{
	uint64_t ahead = (uint64_t)w->conf->partition_rows * w->conf->partitions_ahead;
	enum pg_fault fault;

	if (!w->conn || w->last_serial + ahead / 2 < w->partition_end ||
	    clock_mono() < w->next_partition)
		return;
	w->next_partition = clock_mono() + PARTITION_RETRY_US;
	fault = writer_ensure_partitions(w);
	if (fault == PG_LOST)
		writer_disconnect(w);
	else if (fault != PG_FINE)
		log_warn("database: no new log partition yet: %s", pg_conn_error(w->conn));
}

/* -- outcomes -- */

static void writer_set_serial(struct log_writer *w, struct event *e, uint64_t serial)
{
	e->serial = serial;
	e->deliveries = serial && w->conf->deliveries && !e->is_control ? w->deliveries : NULL;
	if (serial > w->last_serial)
		w->last_serial = serial;
}

RUNS_ON(on_db) static void writer_release_hold(struct log_writer *w)
{
	if (w->is_holding)
		log_tail_set_hold(w->tail, false);
	w->is_holding = false;
}

RUNS_ON(on_db) static void writer_count_commit(struct log_writer *w)
{
	usec_t now = clock_mono();
	unsigned n = log_write_events(w->write);

	atomic_fetch_add(&w->commits, 1);
	atomic_fetch_add(&w->events, n);
	atomic_fetch_add(&w->delivered, w->n_taken);
	w->n_taken = 0;
	w->no_partition = 0;
	pg_runner_reset_backoff(w->runner);
	w->rate_events += n;
	if (now - w->rate_since < RATE_WINDOW_US)
		return;
	w->rate = (unsigned)((uint64_t)w->rate_events * USEC_PER_SEC /
			     (uint64_t)(now - w->rate_since));
	w->rate_since = now;
	w->rate_events = 0;
}

/* Where the committed group's serials come from: the statement's answer, or a look-up. */
struct writer_serials {
	struct log_write *write;
	struct log_lookup *lookup; /* NULL: use write */
	unsigned at;
};

RUNS_ON(on_db)
static uint64_t writer_next_serial(struct writer_serials *s, const struct event *e)
{
	return s->lookup ? log_lookup_serial(s->lookup, e) : log_write_serial(s->write, s->at++);
}

/* The slicer's, on the writer's thread. */
static void writer_on_slice(void *ctx, struct str_view slice)
{
	struct log_writer *w = ctx;

	if (slice.len)
		bus_publish_slice(w->bus, slice);
	else
		bus_log_grew(w->bus);
}

/*
 * To the other nodes: flight, with its serials, of which first is the lowest, is committed.  The
 * slicer may have the rows up to there already.
 */
RUNS_ON(on_db)
static void writer_announce(struct log_writer *w, uint64_t first)
{
	struct position here;

	if (!bus_wants_slices(w->bus) || !log_tail_position(w->tail, &here)) {
		bus_log_grew(w->bus);
		return;
	}
	log_slicer_begin(&w->slicer, here.epoch, first - 1);
	for (const struct event_batch *b = w->flight.head; b; b = batch_next(b))
		for (unsigned i = 0; i < b->n; i++)
			log_slicer_add_event(&w->slicer, b->events[i]);
	log_slicer_end(&w->slicer);
}

/*
 * Delivers the rows before flight, and announces flight: before this node delivers it, because the
 * other nodes need the longest.  Rows of SQL that got their serials in the same transaction have to
 * be read first, so that they can be sent with it.
 */
RUNS_ON(on_db)
static bool writer_reach(struct log_writer *w, uint64_t first, bool has_drained)
{
	bool is_early = w->bus && !(has_drained && bus_wants_slices(w->bus)), is_reached;

	if (is_early)
		writer_announce(w, first);
	is_reached = log_tail_reach(w->tail, w->conn, writer_deadline(w), first,
				    w->bus && !is_early ? &w->slicer : NULL);
	if (w->bus && !is_early)
		writer_announce(w, first);
	return is_reached;
}

/* Delivers and answers all of flight.  first is its lowest serial; 0: it has no events. */
RUNS_ON(on_db)
static void writer_deliver_flight(struct log_writer *w, struct writer_serials *serials,
				  uint64_t first)
{
	struct event_batch *b;
	bool is_reached;

	for (b = w->flight.head; b; b = batch_next(b))
		for (unsigned i = 0; i < b->n; i++)
			writer_set_serial(w, b->events[i],
					  writer_next_serial(serials, b->events[i]));
	is_reached =
		first && writer_reach(w, first, !serials->lookup && log_write_drained(w->write));
	while ((b = batch_list_pop(&w->flight)) != NULL) {
		log_tail_offer(w->tail, b, is_reached);
		writer_finish(w, b, 0);
	}
	writer_release_hold(w);
}

RUNS_ON(on_db) static void writer_on_committed(struct log_writer *w)
{
	struct writer_serials serials = { .write = w->write };
	uint64_t first = log_write_events(w->write) ? log_write_serial(w->write, 0) : 0;
	unsigned drained = log_write_drained(w->write);

	writer_count_commit(w);
	if (drained) /* rows of SQL get the serials directly before those of the events */
		log_tail_count_drained(w->tail, first - drained, drained);
	writer_deliver_flight(w, &serials, first);
	if (w->group_batches)
		w->group_batches = w->group_batches > UINT_MAX / 4 ? 0 : w->group_batches * 2;
	if (w->group_batches > w->conf->batch_events)
		w->group_batches = 0;
}

/* Nothing of flight is in the log: what still has to be written waits again, in front. */
RUNS_ON(on_db) static void writer_on_rolled_back(struct log_writer *w)
{
	struct batch_list again = { NULL, NULL, 0 };
	struct event_batch *b;

	while ((b = batch_list_pop(&w->flight)) != NULL) {
		if (batch_is_stand_in(b))
			writer_finish(w, b, -ETIMEDOUT);
		else
			batch_list_push(&again, b);
	}
	batch_list_prepend(&w->waiting, &again);
	writer_release_hold(w);
	deliveries_put_back(w->deliveries, w->taken, w->n_taken);
	w->n_taken = 0;
}

/* Halves the group until the batch with the refused content is alone. */
RUNS_ON(on_db) static void writer_on_refused(struct log_writer *w, int rc)
{
	if (w->flight.count == 1) {
		if (rc != -EEXIST)
			log_warn("database: refused an event: %s", pg_conn_error(w->conn));
		writer_finish(w, batch_list_pop(&w->flight), rc);
	} else {
		w->group_batches = w->flight.count / 2;
	}
	writer_on_rolled_back(w);
}

RUNS_ON(on_db)
static void writer_on_fault(struct log_writer *w, enum pg_fault fault, enum log_step step)
{
	bool is_content = fault == PG_REFUSED || fault == PG_NO_PARTITION;
	unsigned n = w->n_taken;

	if (fault == PG_LOST) {
		w->is_unknown = w->flight.count > 0;
		if (!w->is_unknown) {
			writer_log_dropped(w, n);
			w->n_taken = 0;
		}
		writer_disconnect(w);
	} else if (fault == PG_BUSY) {
		writer_on_rolled_back(w);
	} else if (is_content && step == LOG_DELIVERIES) {
		w->n_taken = 0;
		writer_on_rolled_back(w);
		writer_log_dropped(w, n);
	} else if (fault == PG_REFUSED && (step == LOG_EVENTS || step == LOG_KEYS)) {
		writer_on_refused(w, step == LOG_KEYS ? -EEXIST : -EINVAL);
	} else if (fault == PG_NO_PARTITION && !w->no_partition++ &&
		   (step == LOG_EVENTS || step == LOG_DRAIN)) {
		writer_on_rolled_back(w);
		if (writer_ensure_partitions(w) != PG_FINE)
			writer_disconnect(w);
	} else {
		writer_on_rolled_back(w);
		writer_disconnect(w);
	}
}

/* -- writing -- */

RUNS_ON(on_db) static bool writer_is_group_full(const struct log_writer *w)
{
	const struct event_batch *next = w->waiting.head;

	if (!w->flight.count)
		return false; /* a batch larger than a group goes alone */
	return log_write_events(w->write) + next->n > w->conf->batch_events ||
	       log_write_bytes(w->write) > GROUP_BYTES_MAX ||
	       (w->group_batches && w->flight.count >= w->group_batches);
}

static unsigned writer_count_durable(const struct batch_list *list)
{
	unsigned n = 0;

	for (const struct event_batch *b = list->head; b; b = batch_next(b))
		n += b->deadline != 0;
	return n;
}

RUNS_ON(on_db) static void writer_write_group(struct log_writer *w)
{
	enum log_step step = LOG_BEGIN;
	enum pg_fault fault;
	usec_t start = clock_mono();

	log_write_reset(w->write);
	while (w->waiting.head && !writer_is_group_full(w)) {
		struct event_batch *b = batch_list_pop(&w->waiting);

		for (unsigned i = 0; i < b->n; i++)
			log_write_event(w->write, b->events[i]);
		if (b->key)
			log_write_key(w->write, b->key);
		if (!b->wants_fan_out && !w->is_holding) {
			log_tail_set_hold(w->tail, true);
			w->is_holding = true;
		}
		batch_list_push(&w->flight, b);
	}
	if (writer_has_deliveries(w)) {
		w->n_taken = deliveries_take(w->deliveries, w->taken, DELIVERIES_PER_GROUP);
		w->deliveries_seen = 0;
		for (unsigned i = 0; i < w->n_taken; i++)
			log_write_delivery(w->write, &w->taken[i]);
	}
	fault = log_write_run(w->write, w->conn, writer_deadline(w), &step);
	log_queue_take(w->queue, &w->waiting);
	log_linger_commit(&w->linger,
			  writer_count_durable(&w->flight) + writer_count_durable(&w->waiting),
			  clock_mono() - start);
	if (fault == PG_FINE) {
		metric_observe(METRIC_LOG_COMMIT, clock_mono() - start, 1);
		metric_observe(METRIC_LOG_BATCH_ROWS, log_write_events(w->write), 1);
		writer_on_committed(w);
	} else {
		writer_on_fault(w, fault, step);
	}
}

/* -- an unknown outcome -- */

RUNS_ON(on_db) static enum pg_fault writer_resolve(struct log_writer *w)
{
	struct writer_serials serials = { .write = w->write };
	struct pg_array ids;
	enum pg_fault fault;

	while ((fault = log_backend_end(w->conn, writer_deadline(w), &w->backend)) == PG_BUSY)
		if (writer_tick(w) ||
		    pg_conn_idle(w->conn, -1, clock_mono() + EXPIRE_EVERY_US) != PG_FINE)
			return PG_LOST;
	if (fault != PG_FINE)
		return fault;
	pg_array_init(&ids, PG_TEXT);
	for (const struct event_batch *b = w->flight.head; b; b = batch_next(b))
		for (unsigned i = 0; i < b->n; i++)
			pg_array_add(&ids, sv(b->events[i]->id));
	fault = log_lookup_run(w->conn, writer_deadline(w), w->last_serial, pg_array_view(&ids),
			       &serials.lookup);
	pg_array_release(&ids);
	if (fault != PG_FINE)
		return fault;
	w->is_unknown = false;
	if (log_lookup_found_any(serials.lookup)) {
		writer_count_commit(w);
		writer_deliver_flight(w, &serials, log_lookup_first(serials.lookup));
	} else {
		writer_on_rolled_back(w);
	}
	log_lookup_free(serials.lookup);
	return PG_FINE;
}

/* -- waiting -- */

static void writer_wait(struct log_writer *w, usec_t until)
{
	struct wake *wake = pg_runner_get_wake(w->runner);

	if (pg_conn_idle(w->conn, wake_fd(wake), until) != PG_FINE)
		writer_disconnect(w);
}

static void writer_wake_up(struct log_writer *w)
{
	log_queue_set_state(w->queue, LOG_AWAKE);
	wake_drain(pg_runner_get_wake(w->runner));
	log_queue_take(w->queue, &w->waiting);
}

/* Until there is something to write. */
static void writer_sleep(struct log_writer *w)
{
	usec_t until = clock_mono() + IDLE_US;

	deliveries_await(w->deliveries, true);
	log_queue_set_state(w->queue, LOG_SLEEPING);
	/* Appenders see from here on that the writer sleeps. */
	if (!log_queue_take(w->queue, &w->waiting)) {
		if (writer_has_deliveries(w))
			until = 0;
		else if (w->deliveries_seen)
			until = w->deliveries_seen + DELIVERIES_US;
		writer_wait(w, until);
	}
	deliveries_await(w->deliveries, false);
	writer_wake_up(w);
}

/* True while no client waits for what is queued, and it is little. */
static bool writer_may_gather(struct log_writer *w)
{
	return writer_phase(w) == WRITER_RUNS && w->waiting.count < w->conf->batch_events / 2 &&
	       writer_count_durable(&w->waiting) == 0;
}

/* Async events gather for a moment: one commit and one wake-up for many. */
static void writer_gather_async(struct log_writer *w)
{
	if (!writer_may_gather(w))
		return;
	log_queue_set_state(w->queue, LOG_GATHERING);
	log_queue_take(w->queue, &w->waiting);
	if (writer_may_gather(w))
		writer_wait(w, clock_mono() + GATHER_US);
	writer_wake_up(w);
}

/* Waits a moment for the clients that the last commit answered (log/linger.h). */
static void writer_linger(struct log_writer *w)
{
	unsigned missing, before = w->waiting.count;
	usec_t wait;

	if (writer_phase(w) != WRITER_RUNS || w->waiting.count >= w->conf->batch_events / 2)
		return;
	wait = log_linger_wait(&w->linger, writer_count_durable(&w->waiting), w->conf->linger_us,
			       w->rate > w->conf->linger_rate, &missing);
	if (!wait)
		return;
	log_queue_linger(w->queue, missing);
	log_queue_take(w->queue, &w->waiting);
	if (log_queue_is_missing(w->queue, w->waiting.count - before))
		writer_wait(w, clock_mono() + wait);
	writer_wake_up(w);
	log_linger_done(&w->linger, missing, w->waiting.count - before);
}

/* -- the thread -- */

RUNS_ON(on_db) static enum pg_fault writer_prepare(struct log_writer *w)
{
	enum pg_fault fault = log_write_prepare(w->conn, writer_deadline(w));

	if (fault == PG_FINE)
		fault = log_tail_begin(w->tail, w->conn, writer_deadline(w), &w->slicer);
	if (fault == PG_FINE)
		fault = writer_read_last_serial(w);
	if (fault == PG_FINE)
		fault = writer_ensure_partitions(w);
	if (fault == PG_FINE && w->is_unknown)
		fault = writer_resolve(w);
	if (fault == PG_FINE)
		fault = log_backend_read(w->conn, writer_deadline(w), &w->backend);
	return fault;
}

RUNS_ON(on_db) static enum pg_fault writer_serve(void *ctx, struct pg_connection *c)
{
	struct log_writer *w = ctx;
	enum pg_fault fault;

	w->conn = c;
	fault = writer_prepare(w);
	if (fault == PG_FINE) {
		log_info("database: connected after %lld ms",
			 (long long)((clock_mono() - log_queue_set_away(w->queue, 0)) /
				     USEC_PER_MSEC));
		free(w->last_why);
		w->last_why = NULL;
		atomic_fetch_add(&w->reconnects, 1);
		metric_set(METRIC_DATABASE_UP, 1);
	} else {
		writer_disconnect(w);
	}
	while (w->conn && !writer_is_finished(w)) {
		writer_expire(w);
		if (w->waiting.head || writer_has_deliveries(w)) {
			writer_gather_async(w);
			if (w->conn)
				writer_linger(w);
			if (w->conn)
				writer_write_group(w);
			writer_check_partitions(w);
		} else {
			writer_sleep(w);
		}
		log_queue_take(w->queue, &w->waiting);
		writer_check_closed(w);
	}
	fault = w->conn ? PG_FINE : PG_LOST;
	w->conn = NULL;
	return fault;
}

/* The file with the node's last delivered event; none without a folder for it. */
static void writer_keep_position(struct log_writer *w, const struct conf *conf)
{
	const char *folder = conf->server.state_dir && *conf->server.state_dir
				     ? conf->server.state_dir
				     : conf->embedded_postgres;
	struct strbuf path;

	if (!folder)
		return;
	strbuf_init(&path, 256);
	strbuf_addf(&path, "%s/log-position", folder);
	log_tail_keep(w->tail, path.ptr);
	strbuf_release(&path);
}

static void writer_free(struct log_writer *w)
{
	wake_release(&w->closed);
	log_queue_free(w->queue);
	log_write_free(w->write);
	log_slicer_release(&w->slicer);
	log_tail_free(w->tail);
	deliveries_free(w->deliveries);
	free(w->last_why);
	free(w);
}

int log_writer_start(const struct conf *conf, const char *conninfo, struct directory *d,
		     struct bus *bus, struct log_writer **out)
{
	struct log_writer *w = xcalloc(1, sizeof(*w));
	struct pg_runner_conf rc = {
		.name = "log writer",
		.options = conf_pg_options(&conf->database, conninfo),
		.backoff_min_ms = BACKOFF_MIN_MS,
		.backoff_max_ms = BACKOFF_MAX_MS,
		.serve = writer_serve,
		.on_down = writer_on_down,
		.on_away = writer_on_away,
		.away_every_ms = EXPIRE_EVERY_MS,
		.is_finished = writer_is_finished,
		.ctx = w,
	};
	char *node = conf_node(&conf->server);
	int err;

	w->conf = &conf->database;
	w->bus = bus;
	rc.options.statement_timeout_ms = writer_statement_ms(w);
	rc.options.lock_timeout_ms = LOCK_TIMEOUT_MS;
	rc.options.tick = writer_tick;
	rc.options.ctx = w;
	w->queue = log_queue_new(w->conf);
	log_queue_set_away(w->queue, clock_mono());
	w->deliveries = deliveries_new();
	w->write = log_write_new(node);
	w->tail = log_tail_new(node, d, w->conf->deliveries ? w->deliveries : NULL);
	free(node);
	if (bus && bus_is_cluster(bus))
		log_tail_expect_others(w->tail);
	if (bus && bus_has_slices(bus))
		log_tail_expect_slices(w->tail, bus_get_seal(bus));
	log_slicer_init(&w->slicer, writer_on_slice, w);
	writer_keep_position(w, conf);
	err = wake_init(&w->closed);
	if (!err)
		err = pg_runner_start(&rc, &w->runner);
	if (err) {
		writer_free(w);
		return err;
	}
	log_queue_set_wake(w->queue, pg_runner_get_wake(w->runner));
	deliveries_set_wake(w->deliveries, pg_runner_get_wake(w->runner));
	*out = w;
	return 0;
}

static void writer_set_phase(struct log_writer *w, enum writer_phase phase, unsigned grace_ms)
{
	atomic_store(&w->stop_by, clock_mono() + grace_ms * USEC_PER_MSEC);
	atomic_store_explicit(&w->phase, phase, memory_order_release);
	pg_runner_wake(w->runner);
}

void log_writer_close(struct log_writer *w, unsigned grace_ms)
{
	if (!w)
		return;
	log_queue_close(w->queue);
	writer_set_phase(w, WRITER_CLOSES, grace_ms);
	wake_wait(&w->closed, -1);
}

void log_writer_stop(struct log_writer *w, unsigned grace_ms)
{
	if (!w)
		return;
	if (writer_phase(w) == WRITER_RUNS)
		log_writer_close(w, grace_ms);
	writer_set_phase(w, WRITER_STOPS, grace_ms);
	pg_runner_stop(w->runner);
	writer_log_dropped(w, deliveries_count(w->deliveries));
	writer_free(w);
}

struct log_queue *log_writer_queue(struct log_writer *w)
{
	return w->queue;
}

struct log_tail *log_writer_tail(struct log_writer *w)
{
	return w->tail;
}

void log_writer_stats(struct log_writer *w, struct log_writer_stats *out)
{
	*out = (struct log_writer_stats){
		.events = atomic_load(&w->events),
		.commits = atomic_load(&w->commits),
		.failed_batches = atomic_load(&w->failed_batches),
		.reconnects = atomic_load(&w->reconnects),
		.deliveries = atomic_load(&w->delivered),
		.queued_events = log_queue_events(w->queue),
		.is_connected = log_queue_away(w->queue) == 0,
	};
}
