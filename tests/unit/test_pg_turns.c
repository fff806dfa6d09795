/* SPDX-License-Identifier: MIT */
/* Whose job is next on a pool's connections. */
#include "unit.h"
#include "pg/turns.h"

struct job {
	struct turn turn; /* first */
	struct pg_owner owner;
	bool locks;
};

static struct turns turns;
static unsigned n_ended;

static struct job *put(uint64_t app, int64_t user, bool locks)
{
	struct job *j = calloc(1, sizeof(*j));

	j->owner = (struct pg_owner){ app, { { (uint64_t)user, 0 } } };
	j->locks = locks;
	turns_put(&turns, &j->turn, j->owner, locks);
	return j;
}

static struct job *take(void)
{
	return (struct job *)turns_take(&turns);
}

static void end_job(struct job *j)
{
	turns_end(&turns, &j->turn);
	free(j);
}

static void end_turn(struct turn *t, int rc)
{
	ck_assert_int_eq(rc, -1);
	n_ended++;
	free(t);
}

/* The jobs that n connections take at once; they stay there. */
static unsigned take_all(struct job **taken, unsigned n)
{
	unsigned i = 0;

	while (i < n && (taken[i] = take()))
		i++;
	return i;
}

static void finish(struct job **taken, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		end_job(taken[i]);
	turns_expire(&turns, NULL, end_turn, -1);
	ck_assert_uint_eq(turns.n_waiting, 0);
	ck_assert_uint_eq(turns.n_locks, 0);
	ck_assert_uint_eq(turns.apps.used, 0);
	ck_assert_uint_eq(turns.lanes.used, 0);
	turns_release(&turns);
}

START_TEST(a_lane_keeps_its_order)
{
	struct job *first, *second, *third;

	turns_init(&turns, 8);
	first = put(1, 0, false);
	second = put(1, 0, false);
	third = put(1, 0, false);
	ck_assert_ptr_eq(take(), first);
	ck_assert_ptr_eq(take(), second);
	turns_put_back(&turns, &first->turn, true);
	turns_put_back(&turns, &second->turn, false);
	ck_assert_ptr_eq(take(), first);
	ck_assert_ptr_eq(take(), third);
	ck_assert_ptr_eq(take(), second);
	ck_assert_ptr_null(take());
	finish((struct job *[]){ first, second, third }, 3);
}
END_TEST

START_TEST(applications_and_users_take_turns)
{
	struct job *taken[8];

	turns_init(&turns, 8);
	for (int i = 0; i < 100; i++)
		put(1, 7, false);
	put(1, 8, false);
	put(2, 7, false);
	put(2, 9, true);
	ck_assert_uint_eq(take_all(taken, 4), 4);
	for (int i = 0; i < 4; i++)
		for (int k = 0; k < i; k++)
			ck_assert(memcmp(&taken[i]->owner, &taken[k]->owner,
					 sizeof(struct pg_owner)) != 0);
	finish(taken, 4);
}
END_TEST

START_TEST(a_user_occupies_a_quarter_of_the_connections_at_most)
{
	struct job *taken[8];
	unsigned n;

	turns_init(&turns, 8);
	for (int i = 0; i < 50; i++)
		put(1, 7, false);
	n = take_all(taken, 8);
	ck_assert_uint_eq(n, 2);
	end_job(taken[--n]);
	taken[n] = take();
	ck_assert_ptr_nonnull(taken[n++]);
	put(1, 8, false);
	taken[n] = take();
	ck_assert_int_eq(taken[n++]->owner.user.words[0], 8);
	finish(taken, n);
}
END_TEST

START_TEST(jobs_with_locks_leave_connections_to_the_others)
{
	struct job *taken[8];
	unsigned n;

	turns_init(&turns, 6);
	for (int i = 0; i < 50; i++) {
		put(1, 0, true);
		put(2, 0, true);
	}
	n = take_all(taken, 6);
	ck_assert_uint_eq(n, 5);
	for (uint64_t app = 1; app <= 2; app++) {
		unsigned of_app = 0;

		for (unsigned i = 0; i < n; i++)
			of_app += taken[i]->owner.app == app;
		ck_assert_uint_le(of_app, 3);
	}
	put(2, 0, false);
	taken[n] = take();
	ck_assert(!taken[n++]->locks);
	finish(taken, n);
}
END_TEST

START_TEST(an_application_leaves_the_last_connection_to_others)
{
	struct job *taken[4];

	turns_init(&turns, 4);
	for (int i = 0; i < 50; i++)
		put(1, 0, false);
	ck_assert_uint_eq(take_all(taken, 4), 3);
	put(0, 0, true);
	taken[3] = take();
	ck_assert_uint_eq(taken[3]->owner.app, 0);
	finish(taken, 4);
}
END_TEST

static bool has_odd_user(const struct turn *t, usec_t now UNUSED)
{
	return ((const struct job *)t)->owner.user.words[0] % 2;
}

START_TEST(due_jobs_end_and_the_others_stay)
{
	struct job *taken[64];

	turns_init(&turns, 32);
	for (int i = 0; i < 20; i++)
		put(1 + (uint64_t)i % 3, i, i % 4 < 2);
	n_ended = 0;
	turns_expire(&turns, has_odd_user, end_turn, -1);
	ck_assert_uint_eq(n_ended, 10);
	ck_assert_uint_eq(take_all(taken, 64), 10);
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(taken[i]->owner.user.words[0] % 2, 0);
	finish(taken, 10);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pg/turns");
	TCase *t = tcase_create("pg_turns");

	tcase_add_test(t, a_lane_keeps_its_order);
	tcase_add_test(t, applications_and_users_take_turns);
	tcase_add_test(t, a_user_occupies_a_quarter_of_the_connections_at_most);
	tcase_add_test(t, jobs_with_locks_leave_connections_to_the_others);
	tcase_add_test(t, an_application_leaves_the_last_connection_to_others);
	tcase_add_test(t, due_jobs_end_and_the_others_stay);
	suite_add_tcase(s, t);
	return unit_run(s);
}
