/* SPDX-License-Identifier: MIT */
/*
 * A block of cells for each thread that counts, in a list that only grows.  A cell is written by
 * its own thread only, with a relaxed load and a relaxed store, and read by metrics_collect(),
 * which may miss what is being counted at that moment.  The block of a thread that has ended is
 * used by the next thread that starts to count: the sums stay right.
 *
 * The lock guards the list; it is taken when a thread counts for the first time, ends, or reads.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include "base/annotate.h"
#include "base/mem.h"
#include "base/metric.h"

struct metric_block {
	struct metric_block *next;
	bool is_used; /* by a thread that runs */
	_Atomic int64_t cells[];
};

static pthread_mutex_t metric_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t metric_once = PTHREAD_ONCE_INIT;
static pthread_key_t metric_key; /* its destructor releases the block of a thread that ends */
static struct metric_block *metric_blocks;
static size_t metric_offsets[METRIC_COUNT + 1];
_Thread_local _Atomic int64_t *metric_mine;

unsigned metric_cells(enum metric m)
{
	return metric_rows[m].type == METRIC_HISTOGRAM ? METRIC_BUCKETS + 2 : 1;
}

/* Values of a label for which there is room. */
static unsigned metric_values(enum metric_label_set set)
{
	if (set == METRIC_NO_LABEL)
		return 1;
	return set == METRIC_BY_ROUTE	 ? METRIC_ROUTES_MAX
	       : set == METRIC_BY_WORKER ? METRIC_WORKERS_MAX
					 : metric_label(set)->n;
}

unsigned metric_series(enum metric m)
{
	return metric_values(metric_rows[m].labels[0]) * metric_values(metric_rows[m].labels[1]);
}

static void metric_on_thread_end(void *arg)
{
	struct metric_block *b = arg;

	pthread_mutex_lock(&metric_lock);
	b->is_used = false;
	pthread_mutex_unlock(&metric_lock);
}

/* The first METRIC_COUNT cells are those of metrics with one cell, for metric_add(). */
static void metric_init(void)
{
	size_t n = METRIC_COUNT;

	for (unsigned m = 0; m < METRIC_COUNT; m++) {
		size_t cells = (size_t)metric_series(m) * metric_cells(m);

		metric_offsets[m] = cells > 1 ? n : m;
		if (cells > 1)
			n += cells;
	}
	metric_offsets[METRIC_COUNT] = n;
	if (pthread_key_create(&metric_key, metric_on_thread_end))
		abort();
}

size_t metric_offset(enum metric m)
{
	pthread_once(&metric_once, metric_init);
	return metric_offsets[m];
}

_Atomic int64_t *metric_new_block(void)
{
	size_t n = metric_offset(METRIC_COUNT);
	struct metric_block *b;

	pthread_mutex_lock(&metric_lock);
	for (b = metric_blocks; b && b->is_used; b = b->next)
		;
	if (!b) {
		b = xcalloc(1, sizeof(*b) + n * sizeof(b->cells[0]));
		b->next = metric_blocks;
		metric_blocks = b;
	}
	b->is_used = true;
	pthread_mutex_unlock(&metric_lock);
	pthread_setspecific(metric_key, b);
	metric_mine = b->cells;
	return b->cells;
}

/* The calling thread's cells of one series. */
static _Atomic int64_t *metric_cell(enum metric m, unsigned series)
{
	_Atomic int64_t *cells = metric_mine ? metric_mine : metric_new_block();

	return &cells[metric_offsets[m] + (size_t)series * metric_cells(m)];
}

void metric_add_at(enum metric m, unsigned value, int64_t n)
{
	metric_cell_add(metric_cell(m, value), n);
}

void metric_add_pair(enum metric m, unsigned first, unsigned second, int64_t n)
{
	metric_cell_add(metric_cell(m, first * metric_values(metric_rows[m].labels[1]) + second),
			n);
}

void metric_set(enum metric m, int64_t n)
{
	metric_set_at(m, 0, n);
}

void metric_set_at(enum metric m, unsigned value, int64_t n)
{
	atomic_store_explicit(metric_cell(m, value), n, memory_order_relaxed);
}

void metric_observe_at(enum metric m, unsigned value, usec_t amount, uint64_t n)
{
	const int64_t *bounds = metric_bounds(metric_rows[m].unit);
	_Atomic int64_t *cells = metric_cell(m, value);
	unsigned i = amount > bounds[METRIC_BUCKETS / 2 - 1] ? METRIC_BUCKETS / 2 : 0;

	if (amount < 0) /* the wall's clock was set back */
		amount = 0;
	while (i < METRIC_BUCKETS && amount > bounds[i])
		i++;
	metric_cell_add(&cells[i], (int64_t)n);
	metric_cell_add(&cells[METRIC_BUCKETS + 1], amount * (int64_t)n);
}

void metric_observe(enum metric m, usec_t amount, uint64_t n)
{
	metric_observe_at(m, 0, amount, n);
}

int64_t *metrics_collect(void)
{
	size_t n = metric_offset(METRIC_COUNT);
	int64_t *sums = xcalloc(n, sizeof(*sums));

	pthread_mutex_lock(&metric_lock);
	for (struct metric_block *b = metric_blocks; b; b = b->next)
		for (size_t i = 0; i < n; i++)
			sums[i] += atomic_load_explicit(&b->cells[i], memory_order_relaxed);
	pthread_mutex_unlock(&metric_lock);
	return sums;
}
