/* SPDX-License-Identifier: MIT */
#ifndef BASE_METRIC_H
#define BASE_METRIC_H
/*
 * What the daemon counts.  Each metric is a row of the table in metric_table.c: name, type, unit,
 * labels, help.  The names are an interface: docs/metrics.md is made from the table.
 *
 * Each thread counts in a block of its own, without a lock and without an atomic operation that
 * other threads wait for; metrics_collect() adds the blocks up.  So a gauge is the sum of what all
 * threads added and subtracted.  On the path of a delivery, count once for all subscribers of an
 * event, not once for each.
 *
 * To count something new: a constant here, a row in the table, a call where it happens.
 */
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include "base/clock.h"

enum metric {
	METRIC_CONNECTIONS,
	METRIC_CONNECTIONS_OPENED,
	METRIC_CONNECTIONS_REFUSED,
	METRIC_CONNECTIONS_CLOSED,
	METRIC_SUBSCRIPTIONS,
	METRIC_CHANNELS,
	METRIC_SUBSCRIBE,
	METRIC_EVENTS_IN,
	METRIC_DELIVERIES,
	METRIC_BYTES_IN,
	METRIC_BYTES_OUT,
	METRIC_PAYLOAD_BYTES,
	METRIC_PUBLISH_TO_SOCKET,
	METRIC_COMMIT_TO_SOCKET,
	METRIC_OUTBOX_BYTES,
	METRIC_SLOW_CONSUMERS,
	METRIC_PING_PONG,
	METRIC_RATE_LIMITED,
	METRIC_ADMISSION,
	METRIC_WEBHOOK_QUEUE,
	METRIC_WEBHOOK_SENT,
	METRIC_WEBHOOK_FAILED,
	METRIC_WEBHOOK_DEAD,
	METRIC_LOG_COMMIT,
	METRIC_LOG_BATCH_ROWS,
	METRIC_LOG_ROWS_READ,
	METRIC_LOG_QUEUE_EVENTS,
	METRIC_LOG_QUEUE_BYTES,
	METRIC_LOG_LAG_EVENTS,
	METRIC_LOG_OLDEST,
	METRIC_LOG_BYTES,
	METRIC_LOG_PARTITIONS_AHEAD,
	METRIC_DATABASE_UP,
	METRIC_NOTIFICATION_QUEUE,
	METRIC_BUS_NODES,
	METRIC_BUS_SENT,
	METRIC_BUS_RECEIVED,
	METRIC_BUS_NOTIFICATIONS,
	METRIC_BUS_DROPPED,
	METRIC_BUS_UNKNOWN,
	METRIC_BUS_REFUSED,
	METRIC_BUS_SLICES_SENT,
	METRIC_BUS_SLICES_USED,
	METRIC_BUS_SLICES_LATE,
	METRIC_BUS_SLICES_UNUSED,
	METRIC_BUS_CONNECTED,
	METRIC_BUS_LOST,
	METRIC_BUS_CHANNELS,
	METRIC_POOL_CONNECTIONS,
	METRIC_POOL_WAITING,
	METRIC_POOL_WAIT_SECONDS,
	METRIC_REPLAY,
	METRIC_REPLAY_EVENTS,
	METRIC_REPLAY_SECONDS,
	METRIC_AUTHORIZE,
	METRIC_AUTHORIZE_SECONDS,
	METRIC_HTTP_REQUESTS,
	METRIC_HTTP_SECONDS,
	METRIC_HTTP_UNREAD,
	METRIC_WORKER_BUSY,
	METRIC_WORKER_BACKLOG,
	METRIC_COUNT
};

/* The sets of values that a label has.  Those of METRIC_BY_ROUTE and METRIC_BY_WORKER are set at
 * start. */
enum metric_label_set {
	METRIC_NO_LABEL,
	METRIC_BY_ROUTE,
	METRIC_BY_STATUS,
	METRIC_BY_WORKER,
	METRIC_BY_REFUSAL,
	METRIC_BY_CLOSE_CODE,
	METRIC_BY_SIDE,
	METRIC_BY_CHANNEL_TYPE,
	METRIC_BY_VERDICT,
	METRIC_BY_VIA,
	METRIC_BY_RATE,
	METRIC_BY_ADMISSION,
	METRIC_BY_REPLAY,
	METRIC_BY_AUTHORIZATION,
	METRIC_BY_POOL,
	METRIC_LABEL_SETS
};

#define METRIC_ROUTES_MAX  96
#define METRIC_WORKERS_MAX 64

/* Values of labels, in the order of the arrays in metric_table.c. */
enum metric_refusal {
	REFUSED_TLS_ONLY,
	REFUSED_NO_APP,
	REFUSED_APP_DISABLED,
	REFUSED_APP_LIMIT,
	REFUSED_PATH,
	REFUSED_VERSION,
	REFUSED_ORIGIN,
	REFUSED_CAPACITY
};
enum metric_side { CLOSED_BY_CLIENT, CLOSED_BY_SERVER, CLOSED_BY_NETWORK };
enum metric_channel_type {
	CHANNEL_PUBLIC,
	CHANNEL_PRIVATE,
	CHANNEL_PRESENCE,
	CHANNEL_ENCRYPTED,
	CHANNEL_INTERNAL
};
enum metric_verdict { VERDICT_OK, VERDICT_REFUSED };
enum metric_via { VIA_HTTP, VIA_BATCH, VIA_SQL, VIA_CLIENT, VIA_SYNC };
enum metric_rate {
	RATED_EVENTS,
	RATED_READS,
	RATED_APP_CALLS,
	RATED_USER_CALLS,
	RATED_MESSAGES,
	RATED_CLIENT_EVENTS,
	RATED_UNREAD
};
enum metric_admission { ADMISSION_ADMITTED, ADMISSION_WAITED, ADMISSION_REFUSED };
enum metric_pool { POOL_SYNC, POOL_AUTHORIZE, POOL_RULES, POOL_REPLAY, POOL_HISTORY, POOL_ADMIN };
enum metric_authorization { AUTHORIZED, NOT_AUTHORIZED, AUTHORIZATION_FAILED };

/* The calling thread's cells, NULL before it counts for the first time; a metric without labels
 * that is not a histogram has the cell of its number. */
extern _Thread_local _Atomic int64_t *metric_mine;
_Atomic int64_t *metric_new_block(void); /* makes them */

static inline void metric_cell_add(_Atomic int64_t *cell, int64_t n)
{
	int64_t now = atomic_load_explicit(cell, memory_order_relaxed);

	atomic_store_explicit(cell, now + n, memory_order_relaxed);
}

/* Counts n for a counter or gauge without labels; n may be negative for a gauge.  Any thread.
 * Inline, because every frame to a socket is counted. */
static inline void metric_add(enum metric m, int64_t n)
{
	metric_cell_add((metric_mine ? metric_mine : metric_new_block()) + m, n);
}

/* The same for a metric with one label; value is an index into the label's values. */
void metric_add_at(enum metric m, unsigned value, int64_t n);
/* The same for a metric with two labels. */
void metric_add_pair(enum metric m, unsigned first, unsigned second, int64_t n);
/* Makes a gauge n; always from the same thread. */
void metric_set(enum metric m, int64_t n);
void metric_set_at(enum metric m, unsigned value, int64_t n);
/* Counts n observations of a histogram, each of amount; times are in microseconds. */
void metric_observe(enum metric m, usec_t amount, uint64_t n);
void metric_observe_at(enum metric m, unsigned value, usec_t amount, uint64_t n);

/* The index of a number among the values of a label, such as METRIC_BY_STATUS; 0: "other". */
unsigned metric_number(enum metric_label_set set, unsigned number);
/* The index of a word among the values of a label; 0 if it is none of them. */
unsigned metric_word(enum metric_label_set set, const char *word);

/* ---- the table, and what was counted ---- */

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

/* How a value is printed; the buckets of a histogram depend on it. */
enum metric_unit {
	METRIC_NUMBER,
	METRIC_BYTES,
	METRIC_SECONDS, /* counted in microseconds */
	METRIC_RATIO,	/* counted in millionths */
};

struct metric_row {
	const char *name; /* after "scopewire_" */
	enum metric_type type;
	enum metric_unit unit;
	enum metric_label_set labels[2];
	const char *help;
};

struct metric_label {
	const char *name;
	const char *const *values;
	unsigned n;
};

#define METRIC_BUCKETS 16 /* of a histogram, and one more for what is larger */

extern const struct metric_row metric_rows[METRIC_COUNT];
/* Upper bounds of a histogram's buckets, in the unit in which it is counted. */
const int64_t *metric_bounds(enum metric_unit unit);
const struct metric_label *metric_label(enum metric_label_set set);
/* Sets the values of METRIC_BY_ROUTE, at most METRIC_ROUTES_MAX; static.  Before threads run. */
void metric_set_routes(const char *const *values, unsigned n);
/* Workers are numbered from 0.  Before they run. */
void metric_set_workers(unsigned n);

/* Cells of one series: 1, or those of a histogram: its buckets, then the sum. */
unsigned metric_cells(enum metric m);
/* Series of the metric, one for each combination of label values. */
unsigned metric_series(enum metric m);
/* The index of a metric's first cell in what metrics_collect() returns. */
size_t metric_offset(enum metric m);
/* The sums over all threads (heap); any thread. */
int64_t *metrics_collect(void);
#endif
