/* SPDX-License-Identifier: MIT */
/* The token bucket in one word; limits per client address. */
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

START_TEST(after_a_burst_calls_pass_one_at_a_time)
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

static struct address address_of(const char *text)
{
	struct address a;

	ck_assert(address_parse(sv(text), &a));
	return a;
}

START_TEST(an_address_has_a_limit_of_connections)
{
	struct address_limits *l = address_limits_new(2, 0, 0);
	struct address one = address_of("192.0.2.1"), two = address_of("192.0.2.2");
	struct address local = address_of("127.0.0.1");
	struct address_count *c[4], *none;

	ck_assert_int_eq(address_limits_enter(l, &one, START, &c[0]), ADDRESS_ADMITTED);
	ck_assert_int_eq(address_limits_connect(l, &one, START, &c[1]), ADDRESS_ADMITTED);
	ck_assert_int_eq(address_limits_enter(l, &one, START, &none), ADDRESS_CONNECTIONS);
	ck_assert_ptr_null(none);
	ck_assert_int_eq(address_limits_connect(l, &one, START, &none), ADDRESS_CONNECTIONS);
	ck_assert_int_eq(address_limits_enter(l, &two, START, &c[2]), ADDRESS_ADMITTED);
	address_limits_leave(l, c[0]);
	ck_assert_int_eq(address_limits_enter(l, &one, START, &c[0]), ADDRESS_ADMITTED);
	for (int i = 0; i < 10; i++) {
		ck_assert_int_eq(address_limits_enter(l, &local, START, &none), ADDRESS_ADMITTED);
		ck_assert_ptr_null(none);
	}
	for (int i = 0; i < 3; i++)
		address_limits_leave(l, c[i]);
	address_limits_leave(l, NULL);
	address_limits_free(l);
}
END_TEST

/* A proxy may name it as its client's. */
START_TEST(the_unspecified_address_has_limits)
{
	struct address_limits *l = address_limits_new(1, 0, 0);
	struct address a = address_of("::"), unknown = address_of_sockaddr(NULL);
	struct address_count *c, *none;

	ck_assert_int_eq(address_limits_enter(l, &a, START, &c), ADDRESS_ADMITTED);
	ck_assert_ptr_nonnull(c);
	ck_assert_int_eq(address_limits_enter(l, &a, START, &none), ADDRESS_CONNECTIONS);
	ck_assert_int_eq(address_limits_enter(l, &unknown, START, &none), ADDRESS_ADMITTED);
	ck_assert_ptr_null(none);
	address_limits_leave(l, c);
	address_limits_free(l);
}
END_TEST

START_TEST(an_address_has_a_rate_of_handshakes)
{
	struct address_limits *l = address_limits_new(0, 5, 0);
	struct address a = address_of("2001:db8::1"), same = address_of("2001:db8::ffff");
	struct address other = address_of("2001:db8:0:1::1");
	struct address_count *c;

	for (int i = 0; i < 5; i++) {
		ck_assert_int_eq(address_limits_enter(l, i % 2 ? &a : &same, START, &c),
				 ADDRESS_ADMITTED);
		address_limits_leave(l, c);
	}
	ck_assert_int_eq(address_limits_enter(l, &a, START, &c), ADDRESS_HANDSHAKES);
	ck_assert_int_eq(address_limits_connect(l, &a, START, &c), ADDRESS_ADMITTED);
	address_limits_leave(l, c);
	ck_assert_int_eq(address_limits_enter(l, &other, START, &c), ADDRESS_ADMITTED);
	address_limits_leave(l, c);
	ck_assert_int_eq(address_limits_enter(l, &a, START + USEC_PER_SEC, &c), ADDRESS_ADMITTED);
	address_limits_leave(l, c);
	address_limits_free(l);
}
END_TEST

static enum address_verdict enter_and_leave(struct address_limits *l, unsigned i, usec_t now)
{
	struct address a = address_of("10.0.0.0");
	enum address_verdict verdict;
	struct address_count *c;

	a.bytes[14] = (unsigned char)(i >> 8);
	a.bytes[15] = (unsigned char)i;
	verdict = address_limits_enter(l, &a, now, &c);
	address_limits_leave(l, c);
	return verdict;
}

/*
 * Those with a connection or a used bucket stay.  The clock then goes back: an address that is not
 * forgotten is refused, because its handshake is in the future.
 */
START_TEST(addresses_without_a_connection_are_forgotten)
{
	struct address_limits *l = address_limits_new(1, 5, 0);
	struct address kept = address_of("192.0.2.1");
	struct address_count *first, *c;
	unsigned known = 0;

	ck_assert_int_eq(address_limits_enter(l, &kept, START, &first), ADDRESS_ADMITTED);
	for (unsigned i = 0; i < 10000; i++)
		ck_assert_int_eq(enter_and_leave(l, i, START + i * USEC_PER_SEC), ADDRESS_ADMITTED);
	for (unsigned i = 0; i < 10000; i++)
		known += enter_and_leave(l, i, START) == ADDRESS_HANDSHAKES;
	ck_assert_uint_ge(known, 1);
	ck_assert_uint_le(known, 2048);
	ck_assert_int_eq(address_limits_enter(l, &kept, START + 20000 * USEC_PER_SEC, &c),
			 ADDRESS_CONNECTIONS);
	address_limits_leave(l, first);
	address_limits_free(l);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("core/limit");
	TCase *t = tcase_create("limit");

	tcase_add_test(t, a_rate_of_0_is_no_limit);
	tcase_add_test(t, after_a_burst_calls_pass_one_at_a_time);
	tcase_add_test(t, a_window_without_calls_restores_the_burst);
	tcase_add_test(t, a_refusal_takes_nothing);
	tcase_add_test(t, more_than_the_rate_at_once_is_refused);
	tcase_add_test(t, threads_share_one_budget);
	tcase_add_test(t, an_address_has_a_limit_of_connections);
	tcase_add_test(t, the_unspecified_address_has_limits);
	tcase_add_test(t, an_address_has_a_rate_of_handshakes);
	tcase_add_test(t, addresses_without_a_connection_are_forgotten);
	suite_add_tcase(s, t);
	return unit_run(s);
}
