/* SPDX-License-Identifier: MIT */
/* The token bucket in one word. */
#include <pthread.h>
#include "core/limit.h"
#include "unit.h"

#define START	((usec_t)1000 * USEC_PER_SEC)
#define THREADS 4

START_TEST(a_rate_of_0_is_no_limit)
{
	uint64_t word = 0;
	_Atomic uint64_t shared = 0;

	for (int i = 0; i < 1000; i++) {
		ck_assert(limit_take(&word, 0, USEC_PER_SEC, 1000, START));
		ck_assert(limit_take_shared(&shared, 0, USEC_PER_SEC, 1000, START));
	}
	ck_assert_uint_eq(word, 0);
	ck_assert_uint_eq(shared, 0);
}
END_TEST

START_TEST(burst_then_refusal_then_one_at_a_time)
{
	uint64_t word = 0;

	for (int i = 0; i < 10; i++)
		ck_assert(limit_take(&word, 10, USEC_PER_SEC, 1, START));
	ck_assert(!limit_take(&word, 10, USEC_PER_SEC, 1, START));
	ck_assert(!limit_take(&word, 10, USEC_PER_SEC, 1, START + 99999));
	ck_assert(limit_take(&word, 10, USEC_PER_SEC, 1, START + 100000));
	ck_assert(!limit_take(&word, 10, USEC_PER_SEC, 1, START + 100001));
}
END_TEST

START_TEST(a_window_without_calls_restores_the_burst)
{
	uint64_t word = 0;
	usec_t later = START + USEC_PER_SEC;

	for (int i = 0; i < 10; i++)
		ck_assert(limit_take(&word, 10, USEC_PER_SEC, 1, START));
	for (int i = 0; i < 10; i++)
		ck_assert(limit_take(&word, 10, USEC_PER_SEC, 1, later));
	ck_assert(!limit_take(&word, 10, USEC_PER_SEC, 1, later));
}
END_TEST

START_TEST(a_refusal_takes_nothing)
{
	uint64_t word = 0, before;

	ck_assert(limit_take(&word, 10, USEC_PER_SEC, 8, START));
	before = word;
	ck_assert(!limit_take(&word, 10, USEC_PER_SEC, 3, START));
	ck_assert_uint_eq(word, before);
	ck_assert(limit_take(&word, 10, USEC_PER_SEC, 2, START));
}
END_TEST

START_TEST(more_than_the_rate_at_once_is_refused)
{
	uint64_t word = 0;

	ck_assert(!limit_take(&word, 10, USEC_PER_SEC, 11, START));
	ck_assert(!limit_take(&word, 10, USEC_PER_SEC, 11, START + 3600 * USEC_PER_SEC));
	ck_assert(limit_take(&word, 10, USEC_PER_SEC, 10, START));
}
END_TEST

struct taker {
	_Atomic uint64_t *word;
	unsigned taken;
};

static void *take_many(void *arg)
{
	struct taker *t = arg;

	for (int i = 0; i < 1000; i++)
		t->taken += limit_take_shared(t->word, 1000, USEC_PER_SEC, 1, START);
	return NULL;
}

START_TEST(threads_share_one_budget)
{
	_Atomic uint64_t word = 0;
	struct taker takers[THREADS];
	pthread_t threads[THREADS];
	unsigned sum = 0;

	for (int i = 0; i < THREADS; i++) {
		takers[i] = (struct taker){ &word, 0 };
		ck_assert_int_eq(pthread_create(&threads[i], NULL, take_many, &takers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		sum += takers[i].taken;
	}
	ck_assert_uint_eq(sum, 1000);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("core/limit");
	TCase *t = tcase_create("bucket");

	tcase_add_test(t, a_rate_of_0_is_no_limit);
	tcase_add_test(t, burst_then_refusal_then_one_at_a_time);
	tcase_add_test(t, a_window_without_calls_restores_the_burst);
	tcase_add_test(t, a_refusal_takes_nothing);
	tcase_add_test(t, more_than_the_rate_at_once_is_refused);
	tcase_add_test(t, threads_share_one_budget);
	suite_add_tcase(s, t);
	return unit_run(s);
}
