/* SPDX-License-Identifier: MIT */
/*
 * Senders put batches into a mailbox and wake the thread only when it sleeps; while a commit is
 * under way the next batches gather, and go together as soon as it returned.
 *
 * A batch is in one of three places: the mailbox, waiting (not sent, or known to be rolled
 * back), or flight (sent).  A connection lost with something in flight leaves its outcome
 * unknown: nothing else is written until the next connection has ended the old backend and
 * looked the events up.  A durable batch whose time is over is answered at once wherever it is:
 * out of waiting it is gone for good; in flight a stand-in takes its place, so that a commit that
 * did happen is still delivered, and one that did not is not repeated.  That answer,
 * -ETIMEDOUT, is the only one that may belie a committed row.
 *
 * The thread waits for the database only inside pg_conn, whose tick (on_tick) keeps deadlines.
 * Delivery records are written with the events or by themselves, each at most once: those whose
 * own transaction was lost are counted as dropped, not repeated.
 *
 * Shared with other threads: box, wake_fd, the atomics, deliveries and (locked) epoch.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "log/batch.h"
#include "log/deliveries.h"
#include "log/writer.h"
#include "log/linger.h"
#include "log/resolve.h"
#include "log/tail.h"
#include "log/write.h"
#include "pg/array.h"

#define GROUP_BYTES_MAX	     ((size_t)8 << 20)
#define WRITE_TIMEOUT_MIN_MS 5000
#define LOCK_TIMEOUT_MS	     2000
#define DELIVERIES_PER_GROUP 4096
#define DELIVERIES_SOON	     2000
#define DELIVERIES_US	     (100 * USEC_PER_MSEC)
#define EXPIRE_EVERY_US	     (10 * USEC_PER_MSEC)
#define BACKOFF_MIN_US	     (50 * USEC_PER_MSEC)
#define BACKOFF_MAX_US	     (2 * USEC_PER_SEC)
#define RATE_WINDOW_US	     (100 * USEC_PER_MSEC)
#define UPKEEP_RETRY_US	     USEC_PER_SEC
#define IDLE_US		     (30 * USEC_PER_SEC)

#define GATHER_US (10 * USEC_PER_MSEC)

/* What the thread does, for those who may have to wake it. */
enum rest {
	AWAKE,
	SLEEPING,  /* anything wakes it */
	GATHERING, /* only a durable batch does */
	LINGERING, /* only the last of the durable ones that it waits for */
};

struct eventlog {
	const struct conf_database *conf;
	char *conninfo;
	struct log_tail *tail; /* has a lock of its own */
	pthread_t thread;

	/* any thread */
	struct mailbox box;
	int wake_fd;
	atomic_int rest;    /* enum rest */
	atomic_int awaited; /* batches, while LINGERING; may fall below 0 */
	atomic_uint queued_events;
	atomic_size_t queued_bytes;
	_Atomic usec_t down_since; /* mono; 0: connected */
	struct delivery_list *deliveries;
	pthread_mutex_t epoch_lock;
	char *epoch;
	atomic_bool stopping;
	_Atomic usec_t stop_by; /* mono */
	atomic_uint_fast64_t events, commits, failed_batches, reconnects, delivered;

	/* the log's thread only */
	struct batch_list waiting, flight;
	bool unknown; /* whether flight was committed */
	bool holding; /* the tail, because flight has async events */
	struct pg_conn *conn;
	struct log_backend backend; /* of the newest connection that wrote */
	struct log_write *write;
	struct delivery taken[DELIVERIES_PER_GROUP];
	unsigned n_taken;
	usec_t deliveries_seen; /* mono; 0: none waited */
	unsigned group_batches; /* most in a group while a refused one is sought; 0: any */
	unsigned no_partition;	/* refusals in a row for want of one */
	uint64_t last_serial, partition_end;
	usec_t next_expire, next_upkeep, retry_at, backoff;
	char *last_why; /* what was last logged about the database */
	usec_t rate_since;
	unsigned rate_events, rate; /* events/s of the window before */
	struct log_linger linger;
};

static void wake(struct eventlog *l)
{
	uint64_t one = 1;

	if (write(l->wake_fd, &one, sizeof(one)) < 0)
		return; /* full: it is awake */
}

static usec_t write_deadline(const struct eventlog *l)
{
	unsigned ms = 2 * l->conf->commit_timeout_ms;

	if (ms < WRITE_TIMEOUT_MIN_MS)
		ms = WRITE_TIMEOUT_MIN_MS;
	return clock_mono() + (ms + 2000) * USEC_PER_MSEC;
}

static unsigned statement_timeout_ms(const struct eventlog *l)
{
	unsigned ms = 2 * l->conf->commit_timeout_ms;

	return ms < WRITE_TIMEOUT_MIN_MS ? WRITE_TIMEOUT_MIN_MS : ms;
}

/* -- the queue -- */

static void uncount(struct eventlog *l, unsigned events, size_t bytes)
{
	atomic_fetch_sub_explicit(&l->queued_events, events, memory_order_relaxed);
	atomic_fetch_sub_explicit(&l->queued_bytes, bytes, memory_order_relaxed);
}

/* True when there was room, and it is taken now. */
static bool count_in(struct eventlog *l, unsigned events, size_t bytes)
{
	unsigned n = atomic_fetch_add_explicit(&l->queued_events, events, memory_order_relaxed);
	size_t all = atomic_fetch_add_explicit(&l->queued_bytes, bytes, memory_order_relaxed);

	if (n + events <= l->conf->queue_events && all + bytes <= l->conf->queue_bytes)
		return true;
	uncount(l, events, bytes);
	return false;
}

static bool down_too_long(struct eventlog *l)
{
	usec_t since = atomic_load_explicit(&l->down_since, memory_order_relaxed);

	return since && clock_mono() - since > l->conf->commit_timeout_ms * USEC_PER_MSEC;
}

int eventlog_reserve(struct eventlog *l, struct event_batch *b)
{
	b->reserved = count_in(l, b->n, b->bytes);
	return b->reserved ? 0 : -EAGAIN;
}

void eventlog_unreserve(struct eventlog *l, struct event_batch *b)
{
	uncount(l, b->n, b->bytes);
	b->reserved = false;
}

/* Wakes the thread if a letter is a reason to; first: the box was empty. */
static void wake_for(struct eventlog *l, bool first, bool durable)
{
	int rest = atomic_load(&l->rest);

	if ((rest == SLEEPING && first) || (rest == GATHERING && durable) ||
	    (rest == LINGERING && durable && atomic_fetch_sub(&l->awaited, 1) == 1))
		wake(l);
}

int eventlog_append(struct eventlog *l, struct event_batch *b)
{
	/* Behind mailbox_put the batch is the log's: keep what is needed after. */
	unsigned events = b->n;
	size_t bytes = b->bytes;
	bool durable = b->deadline != 0;
	int rc;

	if (b->deadline && down_too_long(l))
		return -EHOSTDOWN;
	if (!b->reserved && !count_in(l, events, bytes))
		return -EAGAIN;
	rc = mailbox_put(&l->box, &b->letter);
	if (rc < 0) {
		uncount(l, events, bytes);
		return -EHOSTDOWN; /* closed: stopping */
	}
	wake_for(l, rc == 1, durable);
	return 0;
}

static bool take_mail(struct eventlog *l)
{
	struct letter *next, *letter = mailbox_take(&l->box);
	bool any = letter != NULL;

	for (; letter; letter = next) {
		next = letter->next;
		batch_list_push(&l->waiting, CONTAINER_OF(letter, struct event_batch, letter));
	}
	return any;
}

static void finish(struct eventlog *l, struct event_batch *b, int rc)
{
	uncount(l, b->n, b->bytes);
	if (rc)
		atomic_fetch_add(&l->failed_batches, 1);
	b->done(b, rc);
}

static void on_expired(void *ctx, struct event_batch *b)
{
	struct eventlog *l = ctx;

	finish(l, b, l->conn ? -ETIMEDOUT : -EHOSTDOWN);
}

static void expire(struct eventlog *l)
{
	usec_t now = clock_mono();

	if (now < l->next_expire)
		return;
	l->next_expire = now + EXPIRE_EVERY_US;
	batch_list_expire(&l->waiting, now, on_expired, l);
	batch_list_answer_late(&l->flight, now);
}

static bool is_stopping(struct eventlog *l)
{
	return atomic_load_explicit(&l->stopping, memory_order_acquire);
}

static bool grace_is_over(struct eventlog *l)
{
	return is_stopping(l) && clock_mono() >= atomic_load(&l->stop_by);
}

/* While pg_conn waits. */
static int on_tick(void *ctx)
{
	struct eventlog *l = ctx;

	take_mail(l);
	expire(l);
	return grace_is_over(l);
}

/* -- delivery records -- */

void eventlog_event_done(struct eventlog *l, struct event *e)
{
	struct delivery d = { .serial = e->serial,
			      .at = e->delivered_at ? e->delivered_at : clock_wall(),
			      .sockets = atomic_load_explicit(&e->sockets, memory_order_relaxed) };
	bool wanted = e->logged && l->conf->deliveries;

	event_free(e);
	if (wanted && delivery_list_add(l->deliveries, &d) && atomic_load(&l->rest) == SLEEPING)
		wake(l);
}

static bool deliveries_due(struct eventlog *l)
{
	unsigned n = delivery_list_count(l->deliveries);

	if (n == 0) {
		l->deliveries_seen = 0;
		return false;
	}
	if (!l->deliveries_seen)
		l->deliveries_seen = clock_mono();
	return n >= DELIVERIES_SOON || is_stopping(l) ||
	       clock_mono() - l->deliveries_seen >= DELIVERIES_US;
}

static void tell_dropped(struct eventlog *l, uint64_t more)
{
	uint64_t n = delivery_list_dropped(l->deliveries) + more;

	if (n)
		log_warn("database: %llu delivery records could not be written",
			 (unsigned long long)n);
}

/* -- the connection -- */

/* Says it once for each new reason. */
static void tell_down(struct eventlog *l, const char *why)
{
	if (l->last_why && strcmp(l->last_why, why) == 0)
		return;
	log_warn("database: %s; %u events wait", why, atomic_load(&l->queued_events));
	free(l->last_why);
	l->last_why = xstrdup(why);
}

static void disconnect(struct eventlog *l, const char *why)
{
	usec_t now = clock_mono();

	if (!is_stopping(l))
		tell_down(l, why);
	pg_conn_close(l->conn);
	l->conn = NULL;
	if (!atomic_load(&l->down_since))
		atomic_store(&l->down_since, now);
	/* Between half and all of it, so that many nodes do not come back at once. */
	l->retry_at = now + l->backoff / 2 + now % (l->backoff / 2);
	l->backoff = l->backoff * 2 > BACKOFF_MAX_US ? BACKOFF_MAX_US : l->backoff * 2;
}

static void connected(struct eventlog *l)
{
	usec_t since = atomic_exchange(&l->down_since, 0);

	log_info("database: connected after %lld ms",
		 (long long)((clock_mono() - since) / USEC_PER_MSEC));
	free(l->last_why);
	l->last_why = NULL;
	atomic_fetch_add(&l->reconnects, 1);
}

static void set_epoch(struct eventlog *l, const char *epoch)
{
	pthread_mutex_lock(&l->epoch_lock);
	if (!l->epoch || strcmp(l->epoch, epoch) != 0) {
		free(l->epoch);
		l->epoch = xstrdup(epoch);
	}
	pthread_mutex_unlock(&l->epoch_lock);
}

char *eventlog_epoch(struct eventlog *l)
{
	char *copy;

	pthread_mutex_lock(&l->epoch_lock);
	copy = l->epoch ? xstrdup(l->epoch) : NULL;
	pthread_mutex_unlock(&l->epoch_lock);
	return copy;
}

static enum pg_fault read_meta(struct eventlog *l)
{
	PGresult *r = NULL;
	enum pg_fault fault = pg_conn_query(l->conn, write_deadline(l),
					    "SELECT m.epoch, s.last_value FROM log_meta m, "
					    "realtime_events_serial s",
					    0, NULL, &r);

	if (fault != PG_FINE)
		return fault;
	if (PQntuples(r) == 1) {
		set_epoch(l, PQgetvalue(r, 0, 0));
		/* Bounds the look-up of what is in flight: must not pass it. */
		if (!l->unknown)
			l->last_serial = strtoull(PQgetvalue(r, 0, 1), NULL, 10) - 1;
	}
	PQclear(r);
	return PG_FINE;
}

static enum pg_fault ensure_partitions(struct eventlog *l)
{
	char ahead[12], rows[12];
	const char *values[] = { ahead, rows };
	PGresult *r = NULL;
	enum pg_fault fault;

	snprintf(ahead, sizeof(ahead), "%u", l->conf->partitions_ahead);
	snprintf(rows, sizeof(rows), "%u", l->conf->partition_rows);
	fault = pg_conn_query(l->conn, write_deadline(l),
			      "SELECT ensure_partitions($1::integer, $2::bigint)", 2, values, &r);
	if (fault == PG_FINE)
		l->partition_end = strtoull(PQgetvalue(r, 0, 0), NULL, 10);
	PQclear(r);
	return fault;
}

/* Usually somebody made them ahead (store/keeper.h) and this only reads the new end. */
static void upkeep(struct eventlog *l)
{
	uint64_t ahead = (uint64_t)l->conf->partition_rows * l->conf->partitions_ahead;
	enum pg_fault fault;

	if (!l->conn || l->last_serial + ahead / 2 < l->partition_end ||
	    clock_mono() < l->next_upkeep)
		return;
	l->next_upkeep = clock_mono() + UPKEEP_RETRY_US;
	fault = ensure_partitions(l);
	if (fault == PG_LOST)
		disconnect(l, pg_conn_error(l->conn));
	else if (fault != PG_FINE)
		log_warn("database: no new log partition yet: %s", pg_conn_error(l->conn));
}

/* -- outcomes -- */

/* in_order: all that lies before b in the log is with the sockets. */
static void deliver(struct eventlog *l, struct event_batch *b, bool in_order)
{
	if (in_order)
		log_tail_deliver(l->tail, b);
	else
		log_tail_leave(l->tail, b);
	finish(l, b, 0);
}

static void unhold(struct eventlog *l)
{
	if (l->holding)
		log_tail_unhold(l->tail);
	l->holding = false;
}

static void set_serial(struct eventlog *l, struct event *e, uint64_t serial)
{
	e->serial = serial;
	e->logged = serial != 0;
	if (serial > l->last_serial)
		l->last_serial = serial;
}

static void count_commit(struct eventlog *l)
{
	usec_t now = clock_mono();
	unsigned n = log_write_events(l->write);

	atomic_fetch_add(&l->commits, 1);
	atomic_fetch_add(&l->events, n);
	atomic_fetch_add(&l->delivered, l->n_taken);
	l->n_taken = 0;
	l->backoff = BACKOFF_MIN_US;
	l->no_partition = 0;
	l->rate_events += n;
	if (now - l->rate_since < RATE_WINDOW_US)
		return;
	l->rate = (unsigned)((uint64_t)l->rate_events * USEC_PER_SEC /
			     (uint64_t)(now - l->rate_since));
	l->rate_since = now;
	l->rate_events = 0;
}

static void on_committed(struct eventlog *l)
{
	struct event_batch *b;
	unsigned at = 0;
	bool in_order;

	count_commit(l);
	log_tail_count_drained(l->tail, log_write_drained(l->write));
	in_order = log_write_events(l->write) && log_tail_reach(l->tail, l->conn, write_deadline(l),
								log_write_serial(l->write, 0));
	while ((b = batch_list_pop(&l->flight)) != NULL) {
		for (unsigned i = 0; i < b->n; i++)
			set_serial(l, b->events[i], log_write_serial(l->write, at++));
		deliver(l, b, in_order);
	}
	unhold(l);
	if (l->group_batches)
		l->group_batches = l->group_batches > UINT_MAX / 4 ? 0 : l->group_batches * 2;
	if (l->group_batches > l->conf->batch_events)
		l->group_batches = 0;
}

/* Nothing of flight is in the log: what is still wanted waits again, in front. */
static void on_rolled_back(struct eventlog *l)
{
	struct batch_list again = { NULL, NULL, 0 };
	struct event_batch *b;

	while ((b = batch_list_pop(&l->flight)) != NULL) {
		if (batch_is_stand_in(b))
			finish(l, b, -ETIMEDOUT);
		else
			batch_list_push(&again, b);
	}
	batch_list_prepend(&l->waiting, &again);
	unhold(l);
	delivery_list_put_back(l->deliveries, l->taken, l->n_taken);
	l->n_taken = 0;
}

static void on_unknown(struct eventlog *l)
{
	l->unknown = l->flight.count > 0;
	if (!l->unknown) {
		tell_dropped(l, l->n_taken);
		l->n_taken = 0;
	}
	disconnect(l, pg_conn_error(l->conn));
}

static void drop_deliveries(struct eventlog *l)
{
	unsigned n = l->n_taken;

	l->n_taken = 0;
	on_rolled_back(l);
	tell_dropped(l, n);
}

/* Halves the group until the batch with the bad content stands alone. */
static void on_refused(struct eventlog *l, int rc)
{
	if (l->flight.count == 1) {
		if (rc != -EEXIST)
			log_warn("database: refused an event: %s", pg_conn_error(l->conn));
		finish(l, batch_list_pop(&l->flight), rc);
		on_rolled_back(l);
		return;
	}
	l->group_batches = l->flight.count / 2;
	on_rolled_back(l);
}

static void on_unfit(struct eventlog *l)
{
	on_rolled_back(l);
	disconnect(l, pg_conn_error(l->conn));
}

static void on_no_partition(struct eventlog *l)
{
	if (l->no_partition++) {
		on_unfit(l);
		return;
	}
	on_rolled_back(l);
	if (ensure_partitions(l) != PG_FINE)
		disconnect(l, pg_conn_error(l->conn));
}

static void on_fault(struct eventlog *l, enum pg_fault fault, enum log_step step)
{
	bool content = fault == PG_REFUSED || fault == PG_NO_PARTITION;

	if (fault == PG_LOST)
		on_unknown(l);
	else if (fault == PG_BUSY)
		on_rolled_back(l);
	else if (content && step == LOG_DELIVERIES)
		drop_deliveries(l);
	else if (fault == PG_REFUSED && (step == LOG_EVENTS || step == LOG_KEYS))
		on_refused(l, step == LOG_KEYS ? -EEXIST : -EINVAL);
	else if (fault == PG_NO_PARTITION && (step == LOG_EVENTS || step == LOG_DRAIN))
		on_no_partition(l);
	else
		on_unfit(l);
}

/* -- writing -- */

static bool group_is_full(const struct eventlog *l)
{
	const struct event_batch *next = l->waiting.head;

	if (!l->flight.count)
		return false; /* a batch larger than a group goes alone */
	return log_write_events(l->write) + next->n > l->conf->batch_events ||
	       log_write_bytes(l->write) > GROUP_BYTES_MAX ||
	       (l->group_batches && l->flight.count >= l->group_batches);
}

static void gather_events(struct eventlog *l)
{
	while (l->waiting.head && !group_is_full(l)) {
		struct event_batch *b = batch_list_pop(&l->waiting);

		for (unsigned i = 0; i < b->n; i++)
			log_write_event(l->write, b->events[i]);
		if (b->key)
			log_write_key(l->write, b->key);
		if (!b->fan_out && !l->holding) {
			log_tail_hold(l->tail);
			l->holding = true;
		}
		batch_list_push(&l->flight, b);
	}
}

static void gather_deliveries(struct eventlog *l)
{
	if (!deliveries_due(l))
		return;
	l->n_taken = delivery_list_take(l->deliveries, l->taken, DELIVERIES_PER_GROUP);
	l->deliveries_seen = 0;
	for (unsigned i = 0; i < l->n_taken; i++)
		log_write_delivery(l->write, &l->taken[i]);
}

static unsigned count_durable(const struct batch_list *list)
{
	unsigned n = 0;

	for (const struct event_batch *b = list->head; b; b = batch_next(b))
		n += b->deadline != 0;
	return n;
}

static void write_group(struct eventlog *l)
{
	enum log_step step = LOG_BEGIN;
	enum pg_fault fault;
	usec_t start = clock_mono();

	log_write_reset(l->write);
	gather_events(l);
	gather_deliveries(l);
	fault = log_write_run(l->write, l->conn, write_deadline(l), &step);
	take_mail(l);
	log_linger_commit(&l->linger, count_durable(&l->flight) + count_durable(&l->waiting),
			  clock_mono() - start);
	if (fault == PG_FINE)
		on_committed(l);
	else
		on_fault(l, fault, step);
}

/* -- finding out -- */

static enum pg_fault end_old_backend(struct eventlog *l)
{
	enum pg_fault fault;

	while ((fault = log_backend_end(l->conn, write_deadline(l), &l->backend)) == PG_BUSY) {
		if (on_tick(l) ||
		    pg_conn_idle(l->conn, -1, clock_mono() + EXPIRE_EVERY_US) != PG_FINE)
			return PG_LOST;
	}
	return fault;
}

static enum pg_fault look_up(struct eventlog *l, struct log_lookup **out)
{
	struct pg_array ids;
	enum pg_fault fault;

	pg_array_init(&ids, PG_TEXT);
	for (const struct event_batch *b = l->flight.head; b; b = batch_next(b))
		for (unsigned i = 0; i < b->n; i++)
			pg_array_add(&ids, sv(b->events[i]->id));
	fault = log_lookup_run(l->conn, write_deadline(l), l->last_serial, pg_array_view(&ids),
			       out);
	pg_array_release(&ids);
	return fault;
}

static void on_found(struct eventlog *l, struct log_lookup *k)
{
	struct event_batch *b;
	bool in_order = log_tail_reach(l->tail, l->conn, write_deadline(l), log_lookup_first(k));

	count_commit(l);
	while ((b = batch_list_pop(&l->flight)) != NULL) {
		for (unsigned i = 0; i < b->n; i++)
			set_serial(l, b->events[i], log_lookup_serial(k, b->events[i]));
		deliver(l, b, in_order);
	}
	unhold(l);
}

static enum pg_fault resolve(struct eventlog *l)
{
	struct log_lookup *k = NULL;
	enum pg_fault fault = end_old_backend(l);

	if (fault == PG_FINE)
		fault = look_up(l, &k);
	if (fault != PG_FINE)
		return fault;
	l->unknown = false;
	if (log_lookup_found_any(k))
		on_found(l, k);
	else
		on_rolled_back(l);
	log_lookup_free(k);
	return PG_FINE;
}

static enum pg_fault prepare(struct eventlog *l)
{
	enum pg_fault fault = log_write_prepare(l->conn, write_deadline(l));

	if (fault == PG_FINE)
		fault = log_tail_begin(l->tail, l->conn, write_deadline(l));
	if (fault == PG_FINE)
		fault = read_meta(l);
	if (fault == PG_FINE)
		fault = ensure_partitions(l);
	if (fault == PG_FINE && l->unknown)
		fault = resolve(l);
	if (fault == PG_FINE)
		fault = log_backend_read(l->conn, write_deadline(l), &l->backend);
	return fault;
}

static void try_connect(struct eventlog *l)
{
	struct pg_options o = { .conninfo = l->conninfo,
				.password = l->conf->password,
				.schema = l->conf->schema,
				.connect_timeout_ms = l->conf->connect_timeout_s * 1000,
				.statement_timeout_ms = statement_timeout_ms(l),
				.lock_timeout_ms = LOCK_TIMEOUT_MS,
				.tick = on_tick,
				.ctx = l };
	char *why = NULL;

	if (pg_conn_open(&o, &l->conn, &why))
		disconnect(l, why ? why : "cannot connect");
	else if (prepare(l) != PG_FINE)
		disconnect(l, pg_conn_error(l->conn));
	else
		connected(l);
	free(why);
}

/* -- the thread -- */

static usec_t next_due(struct eventlog *l)
{
	usec_t now = clock_mono();
	usec_t due = l->conn ? now + IDLE_US : l->retry_at;

	if (l->conn && !deliveries_due(l) && l->deliveries_seen)
		due = l->deliveries_seen + DELIVERIES_US;
	if (!l->conn && (l->waiting.head || l->flight.head) && due > now + EXPIRE_EVERY_US)
		due = now + EXPIRE_EVERY_US;
	return due;
}

static void wait_awake(struct eventlog *l, usec_t until)
{
	struct pollfd fd = { .fd = l->wake_fd, .events = POLLIN };
	usec_t left = until - clock_mono();

	if (l->conn) {
		if (pg_conn_idle(l->conn, l->wake_fd, until) != PG_FINE)
			disconnect(l, pg_conn_error(l->conn));
	} else if (left > 0) {
		poll(&fd, 1, (int)((left + 999) / USEC_PER_MSEC));
	}
}

static void get_up(struct eventlog *l)
{
	uint64_t wakes;

	atomic_store(&l->rest, AWAKE);
	if (read(l->wake_fd, &wakes, sizeof(wakes)) < 0)
		return; /* nobody woke us */
}

static void doze(struct eventlog *l)
{
	atomic_store(&l->rest, SLEEPING);
	/* Whoever posts from here on sees that it sleeps. */
	if (!take_mail(l))
		wait_awake(l, next_due(l));
	get_up(l);
}

/* True while nobody waits for what waits here, and it is little. */
static bool may_gather(struct eventlog *l)
{
	if (is_stopping(l) || l->waiting.count >= l->conf->batch_events / 2)
		return false;
	for (const struct event_batch *b = l->waiting.head; b; b = batch_next(b))
		if (b->deadline)
			return false;
	return true;
}

/* Async events gather for a moment: one commit and one waking for many. */
static void gather_async(struct eventlog *l)
{
	if (!may_gather(l))
		return;
	atomic_store(&l->rest, GATHERING);
	take_mail(l);
	if (may_gather(l))
		wait_awake(l, clock_mono() + GATHER_US);
	get_up(l);
	take_mail(l);
}

/* Waits for durable batches: until so many more came, or until then.  How many came. */
static unsigned await_durable(struct eventlog *l, unsigned missing, usec_t until)
{
	unsigned before = l->waiting.count;

	atomic_store(&l->awaited, (int)missing);
	atomic_store(&l->rest, LINGERING);
	take_mail(l);
	/* what came before it was said that we linger did not count itself */
	if (atomic_fetch_sub(&l->awaited, (int)(l->waiting.count - before)) >
	    (int)(l->waiting.count - before))
		wait_awake(l, until);
	get_up(l);
	take_mail(l);
	return l->waiting.count - before;
}

static void linger(struct eventlog *l)
{
	bool busy = l->rate > l->conf->linger_rate;
	unsigned missing;
	usec_t wait;

	if (is_stopping(l) || l->waiting.count >= l->conf->batch_events / 2)
		return;
	wait = log_linger_wait(&l->linger, count_durable(&l->waiting), l->conf->linger_us, busy,
			       &missing);
	if (wait)
		log_linger_done(&l->linger, missing,
				await_durable(l, missing, clock_mono() + wait));
}

static bool has_work(struct eventlog *l)
{
	return l->waiting.head || deliveries_due(l);
}

static bool is_finished(struct eventlog *l)
{
	if (!is_stopping(l))
		return false;
	if (grace_is_over(l))
		return true;
	return !l->waiting.head && !l->flight.head &&
	       (!l->conn || delivery_list_count(l->deliveries) == 0);
}

static void turn(struct eventlog *l)
{
	expire(l);
	if (!l->conn && clock_mono() >= l->retry_at) {
		try_connect(l);
	} else if (l->conn && has_work(l)) {
		gather_async(l);
		linger(l);
		if (l->conn)
			write_group(l);
		upkeep(l);
	} else {
		doze(l);
	}
}

static void answer_rest(struct eventlog *l)
{
	struct event_batch *b;

	take_mail(l);
	while ((b = batch_list_pop(&l->waiting)) != NULL)
		finish(l, b, -EHOSTDOWN);
	while ((b = batch_list_pop(&l->flight)) != NULL)
		finish(l, b, -ETIMEDOUT);
}

static void *run(void *arg)
{
	struct eventlog *l = arg;

	take_mail(l);
	while (!is_finished(l)) {
		turn(l);
		take_mail(l);
	}
	answer_rest(l);
	tell_dropped(l, delivery_list_count(l->deliveries));
	pg_conn_close(l->conn);
	l->conn = NULL;
	return NULL;
}

static char *node_name(const struct conf *conf)
{
	char host[HOST_NAME_MAX + 1] = "";

	if (conf->server.node && *conf->server.node)
		return xstrdup(conf->server.node);
	if (gethostname(host, sizeof(host) - 1) || !*host)
		return xstrdup("localhost");
	return xstrdup(host);
}

/* Reads what an earlier process handed on last, and keeps it from now on. */
static void keep_seen(struct log_tail *t, const struct conf *conf)
{
	const char *folder = conf->server.state_dir && *conf->server.state_dir
				     ? conf->server.state_dir
				     : conf->embedded_postgres;
	struct strbuf path;

	if (!folder)
		return;
	strbuf_init(&path, 256);
	strbuf_addf(&path, "%s/log-position", folder);
	log_tail_keep(t, path.ptr);
	strbuf_release(&path);
}

static void release(struct eventlog *l)
{
	close(l->wake_fd);
	mailbox_release(&l->box);
	pthread_mutex_destroy(&l->epoch_lock);
	delivery_list_free(l->deliveries);
	log_write_free(l->write);
	log_tail_free(l->tail);
	free(l->last_why);
	free(l->epoch);
	free(l->conninfo);
	free(l);
}

int eventlog_start(const struct conf *conf, const char *conninfo,
		   const struct eventlog_hooks *hooks, struct eventlog **out)
{
	struct eventlog *l;
	char *node;
	int rc, fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	l = xcalloc(1, sizeof(*l));
	l->conf = &conf->database;
	l->conninfo = xstrdup(conninfo);
	l->wake_fd = fd;
	l->backoff = BACKOFF_MIN_US;
	l->deliveries = delivery_list_new();
	mailbox_init(&l->box, 0);
	pthread_mutex_init(&l->epoch_lock, NULL);
	atomic_store(&l->down_since, clock_mono());
	node = node_name(conf);
	l->write = log_write_new(node);
	l->tail = log_tail_new(node, hooks->fan_out, hooks->ctx);
	keep_seen(l->tail, conf);
	free(node);
	rc = thread_start(&l->thread, "db writer", &on_db, run, l);
	if (rc) {
		release(l);
		return rc;
	}
	*out = l;
	return 0;
}

void eventlog_stop(struct eventlog *l, unsigned grace_ms)
{
	if (!l)
		return;
	mailbox_close(&l->box);
	atomic_store(&l->stop_by, clock_mono() + grace_ms * USEC_PER_MSEC);
	atomic_store_explicit(&l->stopping, true, memory_order_release);
	wake(l);
	pthread_join(l->thread, NULL);
	release(l);
}

void eventlog_stats(struct eventlog *l, struct eventlog_stats *out)
{
	*out = (struct eventlog_stats){
		.events = atomic_load(&l->events),
		.commits = atomic_load(&l->commits),
		.failed_batches = atomic_load(&l->failed_batches),
		.reconnects = atomic_load(&l->reconnects),
		.deliveries = atomic_load(&l->delivered),
		.queued_events = atomic_load(&l->queued_events),
		.connected = atomic_load(&l->down_since) == 0,
	};
}

struct log_tail *eventlog_tail(struct eventlog *l)
{
	return l->tail;
}
