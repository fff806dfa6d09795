/* SPDX-License-Identifier: MIT */
/*
 * The table of metrics and of their labels.  Constant, but for the routes, which are set before
 * threads run.
 */
#include "base/macros.h"
#include "base/metric.h"

#define COUNTER(name_)		.name = name_, .type = METRIC_COUNTER
#define GAUGE(name_)		.name = name_, .type = METRIC_GAUGE
#define HISTOGRAM(name_, unit_) .name = name_, .type = METRIC_HISTOGRAM, .unit = unit_
#define LABELS(...)		.labels = { __VA_ARGS__ }

/* clang-format off */
const struct metric_row metric_rows[METRIC_COUNT] = {
	[METRIC_CONNECTIONS] = { GAUGE("connections"),
	  .help = "WebSocket connections that are open." },
	[METRIC_CONNECTIONS_OPENED] = { COUNTER("connections_opened_total"),
	  .help = "WebSocket connections that were accepted." },
	[METRIC_HTTP_REQUESTS] = { COUNTER("http_requests_total"),
	  LABELS(METRIC_BY_ROUTE, METRIC_BY_STATUS),
	  .help = "HTTP requests that were answered." },
	[METRIC_HTTP_SECONDS] = { HISTOGRAM("http_seconds", METRIC_SECONDS),
	  LABELS(METRIC_BY_ROUTE),
	  .help = "Time from a request's first line to its answer." },
};
/* clang-format on */

/* clang-format off */
static const char *const statuses[] = {
	"other", "200", "201", "202", "204", "304", "400", "401", "403", "404", "405", "408",
	"409", "410", "412", "413", "415", "422", "426", "429", "431", "500", "501", "503", "504",
};

static struct metric_label labels[METRIC_LABEL_SETS] = {
	[METRIC_BY_ROUTE] = { "route", NULL, 0 },
	[METRIC_BY_STATUS] = { "status", statuses, ARRAY_SIZE(statuses) },
};

static const int64_t bounds[][METRIC_BUCKETS] = {
	[METRIC_NUMBER] = { 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000,
			    50000, 100000 },
	[METRIC_BYTES] = { 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072,
			   262144, 524288, 1048576, 10485760 },
	[METRIC_SECONDS] = { 100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000,
			     500000, 1000000, 2500000, 5000000, 10000000 },
	[METRIC_RATIO] = { 1000000 },
};
/* clang-format on */

const struct metric_label *metric_label(enum metric_label_set set)
{
	return &labels[set];
}

void metric_set_routes(const char *const *values, unsigned n)
{
	labels[METRIC_BY_ROUTE].values = values;
	labels[METRIC_BY_ROUTE].n = n < METRIC_ROUTES_MAX ? n : METRIC_ROUTES_MAX;
}

const int64_t *metric_bounds(enum metric_unit unit)
{
	return bounds[unit];
}

unsigned metric_status(unsigned status)
{
	for (unsigned i = 1; i < ARRAY_SIZE(statuses); i++) {
		const char *s = statuses[i];

		if ((unsigned)((s[0] - '0') * 100 + (s[1] - '0') * 10 + s[2] - '0') == status)
			return i;
	}
	return 0;
}
