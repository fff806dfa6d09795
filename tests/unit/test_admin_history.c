/* SPDX-License-Identifier: MIT */
/* The samples of the last hour: increases, quantiles, the ring. */
#include "admin/history.h"
#include "base/mem.h"
#include "base/metric.h"
#include "unit.h"

#define SECOND USEC_PER_SEC

static int64_t *sums;

static void setup(void)
{
	sums = xcalloc(metric_offset(METRIC_COUNT), sizeof(*sums));
}

static void teardown(void)
{
	free(sums);
}

/* n observations in the i-th bucket of the time from publishing to the socket. */
static void observe(unsigned i, int64_t n)
{
	sums[metric_offset(METRIC_PUBLISH_TO_SOCKET) + i] += n;
	sums[metric_offset(METRIC_DELIVERIES)] += n;
}

static void check_written(struct history *h, usec_t after, const char *rows)
{
	struct strbuf b;
	const char *at;

	strbuf_init(&b, 256);
	history_write(h, after, &b);
	at = strstr(b.ptr, "\"samples\":[");
	ck_assert_ptr_nonnull(at);
	ck_assert_str_eq(at + strlen("\"samples\":["), rows);
	strbuf_release(&b);
}

START_TEST(the_first_call_is_no_sample)
{
	struct history *h = history_new();

	observe(0, 1000);
	history_add(h, 10 * SECOND, sums);
	check_written(h, 0, "]}");
	history_free(h);
}
END_TEST

START_TEST(a_sample_has_what_was_counted_since_the_one_before)
{
	struct history *h = history_new();

	observe(0, 1000);
	history_add(h, 10 * SECOND, sums);
	sums[metric_offset(METRIC_CONNECTIONS)] = 3;
	observe(0, 50);
	history_add(h, 15 * SECOND, sums);
	history_add(h, 20 * SECOND, sums);
	check_written(h, 0,
		      "[15000,5.000,3,50,0,50,99,0,0,0,0],[20000,5.000,3,0,0,null,null,0,0,0,0]]}");
	check_written(h, 15 * SECOND, "[20000,5.000,3,0,0,null,null,0,0,0,0]]}");
	history_free(h);
}
END_TEST

START_TEST(a_quantile_beyond_all_bounds_is_the_last_bound)
{
	struct history *h = history_new();
	char row[128];

	history_add(h, 10 * SECOND, sums);
	observe(METRIC_BUCKETS, 1);
	history_add(h, 15 * SECOND, sums);
	snprintf(row, sizeof(row), "[15000,5.000,0,1,0,%lld,%lld,0,0,0,0]]}",
		 (long long)metric_bounds(METRIC_SECONDS)[METRIC_BUCKETS - 1],
		 (long long)metric_bounds(METRIC_SECONDS)[METRIC_BUCKETS - 1]);
	check_written(h, 0, row);
	history_free(h);
}
END_TEST

START_TEST(a_clock_that_is_set_back_makes_no_sample)
{
	struct history *h = history_new();

	history_add(h, 10 * SECOND, sums);
	history_add(h, 5 * SECOND, sums);
	check_written(h, 0, "]}");
	observe(0, 1);
	history_add(h, 10 * SECOND, sums);
	check_written(h, 0, "[10000,5.000,0,1,0,50,99,0,0,0,0]]}");
	history_free(h);
}
END_TEST

START_TEST(the_oldest_samples_are_replaced)
{
	struct history *h = history_new();
	struct strbuf b;
	size_t rows = 0;

	for (unsigned i = 0; i < HISTORY_SAMPLES + 10; i++)
		history_add(h, (i + 1) * 5 * SECOND, sums);
	strbuf_init(&b, 65536);
	history_write(h, 0, &b);
	for (const char *p = b.ptr; (p = strstr(p, ",5.000,")); p++)
		rows++;
	ck_assert_uint_eq(rows, HISTORY_SAMPLES);
	ck_assert_ptr_nonnull(strstr(b.ptr, "\"samples\":[[55000,"));
	strbuf_release(&b);
	history_free(h);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("admin history");
	TCase *tc = tcase_create("history");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, the_first_call_is_no_sample);
	tcase_add_test(tc, a_sample_has_what_was_counted_since_the_one_before);
	tcase_add_test(tc, a_quantile_beyond_all_bounds_is_the_last_bound);
	tcase_add_test(tc, a_clock_that_is_set_back_makes_no_sample);
	tcase_add_test(tc, the_oldest_samples_are_replaced);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
