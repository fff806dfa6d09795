/* SPDX-License-Identifier: MIT */
/*
 * A ring of samples.  Counters are kept as the increase since the sample before; a quantile is that
 * of the observations of one interval, interpolated within its bucket as Prometheus does.
 *
 * One mutex, a leaf, is held while a sample is added or the ring is written as text.
 */
#include <inttypes.h>
#include <pthread.h>
#include "base/mem.h"
#include "base/metric.h"
#include "admin/history.h"

/* What a sample has, in the order of the names. */
enum history_value {
	HISTORY_CONNECTIONS,
	HISTORY_DELIVERIES,
	HISTORY_EVENTS,
	HISTORY_P50,
	HISTORY_P99,
	HISTORY_LOG_QUEUE,
	HISTORY_REPLAYED,
	HISTORY_REFUSED,
	HISTORY_WEBHOOK_QUEUE,
	HISTORY_VALUES
};

#define HISTORY_COLUMNS                                                                            \
	"[\"at\",\"seconds\",\"connections\",\"deliveries\",\"events\",\"p50_us\",\"p99_us\","     \
	"\"log_queue\",\"replayed\",\"refused\",\"webhook_queue\"]"

struct history_sample {
	usec_t at, interval;
	int64_t values[HISTORY_VALUES]; /* -1: a quantile of nothing */
};

struct history_counts {
	int64_t deliveries, events, replayed, refused;
	int64_t buckets[METRIC_BUCKETS + 1];
};

struct history {
	pthread_mutex_t lock;
	usec_t before; /* of the newest counts; 0: there are none */
	struct history_counts counts;
	struct history_sample samples[HISTORY_SAMPLES];
	size_t n, next;
};

struct history *history_new(void)
{
	struct history *h = xcalloc(1, sizeof(*h));

	pthread_mutex_init(&h->lock, NULL);
	return h;
}

void history_free(struct history *h)
{
	if (!h)
		return;
	pthread_mutex_destroy(&h->lock);
	free(h);
}

/* The sum of all series of a metric that is not a histogram. */
static int64_t history_sum(const int64_t *sums, enum metric m)
{
	const int64_t *cells = sums + metric_offset(m);
	int64_t sum = 0;

	for (unsigned i = 0; i < metric_series(m); i++)
		sum += cells[i];
	return sum;
}

static void history_count(const int64_t *sums, struct history_counts *c)
{
	c->deliveries = history_sum(sums, METRIC_DELIVERIES);
	c->events = history_sum(sums, METRIC_EVENTS_IN);
	/* The first series of replays are those that were served. */
	c->replayed = sums[metric_offset(METRIC_REPLAY)];
	c->refused = history_sum(sums, METRIC_CONNECTIONS_REFUSED);
	memcpy(c->buckets, sums + metric_offset(METRIC_PUBLISH_TO_SOCKET), sizeof(c->buckets));
}

/* In microseconds; -1 when nothing was observed. */
static int64_t history_quantile(const struct history_counts *before,
				const struct history_counts *now, unsigned percent)
{
	const int64_t *bounds = metric_bounds(METRIC_SECONDS);
	int64_t total = 0, below = 0;
	double rank;

	for (unsigned i = 0; i <= METRIC_BUCKETS; i++)
		total += now->buckets[i] - before->buckets[i];
	if (total <= 0)
		return -1;
	rank = (double)total * percent / 100;
	for (unsigned i = 0; i < METRIC_BUCKETS; i++) {
		int64_t n = now->buckets[i] - before->buckets[i], low = i ? bounds[i - 1] : 0;

		if (n > 0 && (double)(below + n) >= rank)
			return low + (int64_t)((double)(bounds[i] - low) * (rank - (double)below) /
					       (double)n);
		below += n;
	}
	return bounds[METRIC_BUCKETS - 1];
}

static void history_fill(int64_t *values, const int64_t *sums, const struct history_counts *before,
			 const struct history_counts *now)
{
	values[HISTORY_CONNECTIONS] = history_sum(sums, METRIC_CONNECTIONS);
	values[HISTORY_DELIVERIES] = now->deliveries - before->deliveries;
	values[HISTORY_EVENTS] = now->events - before->events;
	values[HISTORY_P50] = history_quantile(before, now, 50);
	values[HISTORY_P99] = history_quantile(before, now, 99);
	values[HISTORY_LOG_QUEUE] = history_sum(sums, METRIC_LOG_QUEUE_EVENTS);
	values[HISTORY_REPLAYED] = now->replayed - before->replayed;
	values[HISTORY_REFUSED] = now->refused - before->refused;
	values[HISTORY_WEBHOOK_QUEUE] = history_sum(sums, METRIC_WEBHOOK_QUEUE);
}

void history_add(struct history *h, usec_t now, const int64_t *sums)
{
	struct history_counts counts;

	history_count(sums, &counts);
	pthread_mutex_lock(&h->lock);
	if (h->before && now > h->before) {
		struct history_sample *s = &h->samples[h->next];

		h->next = (h->next + 1) % HISTORY_SAMPLES;
		h->n += h->n < HISTORY_SAMPLES;
		s->at = now;
		s->interval = now - h->before;
		history_fill(s->values, sums, &h->counts, &counts);
	}
	h->before = now;
	h->counts = counts;
	pthread_mutex_unlock(&h->lock);
}

/* Times in the text are milliseconds and seconds, as JavaScript has them. */
void history_write(struct history *h, usec_t after, struct strbuf *out)
{
	bool is_first = true;

	strbuf_add_str(out, "{\"columns\":" HISTORY_COLUMNS ",\"samples\":[");
	pthread_mutex_lock(&h->lock);
	for (size_t i = 0; i < h->n; i++) {
		const struct history_sample *s =
			&h->samples[(h->next + HISTORY_SAMPLES - h->n + i) % HISTORY_SAMPLES];

		if (s->at / USEC_PER_MSEC <= after / USEC_PER_MSEC)
			continue;
		strbuf_addf(out, "%s[%" PRId64 ",%.3f", is_first ? "" : ",", s->at / USEC_PER_MSEC,
			    (double)s->interval / 1e6);
		for (unsigned v = 0; v < HISTORY_VALUES; v++)
			if (s->values[v] < 0)
				strbuf_add_str(out, ",null");
			else
				strbuf_addf(out, ",%" PRId64, s->values[v]);
		strbuf_add_c(out, ']');
		is_first = false;
	}
	pthread_mutex_unlock(&h->lock);
	strbuf_add_str(out, "]}");
}
