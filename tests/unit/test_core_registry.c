/* SPDX-License-Identifier: MIT */
/* The subscribers of one worker. */
#include "core/sessions/registry.h"
#include "unit.h"

static struct registry r;

static struct session *nth_session(size_t n)
{
	static char sessions[64];

	return (struct session *)(void *)&sessions[n]; /* not dereferenced */
}

static struct msgbuf *key_of(const char *channel)
{
	struct msgbuf *m = msgbuf_new(sizeof(unsigned) + strlen(channel));

	memset(m->data, 1, sizeof(unsigned));
	memcpy(m->data + sizeof(unsigned), channel, strlen(channel));
	return m;
}

static struct subscription *add(size_t session, const char *channel, uint64_t seq)
	RUNS_ON(on_worker)
{
	struct msgbuf *key = key_of(channel);
	struct subscription *sub = registry_add(&r, nth_session(session), key, seq);

	msgbuf_unref(key);
	return sub;
}

static struct rchannel *find(const char *channel) RUNS_ON(on_worker)
{
	struct msgbuf *key = key_of(channel);
	struct rchannel *c = registry_find(&r, msgbuf_view(key));

	msgbuf_unref(key);
	return c;
}

static void begin(void)
{
	thread_take_role(&on_worker);
	registry_init(&r);
}

static void end(void)
{
	ASSERT_ON(on_worker);
	registry_release(&r);
}

static void check_places(const struct rchannel *c)
{
	for (unsigned i = 0; i < c->n; i++) {
		ck_assert_uint_eq(c->subscribers[i].subscription->at, i);
		ck_assert_ptr_eq(c->subscribers[i].subscription->session,
				 c->subscribers[i].session);
	}
}

START_TEST(a_channel_exists_while_it_has_subscribers)
{
	ASSERT_ON(on_worker);
	struct subscription *a, *b;

	ck_assert_ptr_null(find("x"));
	a = add(0, "x", 1);
	b = add(1, "x", 2);
	ck_assert_ptr_nonnull(find("x"));
	ck_assert_ptr_null(find("y"));
	registry_remove(&r, a);
	ck_assert_ptr_nonnull(find("x"));
	registry_remove(&r, b);
	ck_assert_ptr_null(find("x"));
}
END_TEST

START_TEST(removal_at_any_index_keeps_the_rest)
{
	ASSERT_ON(on_worker);
	struct subscription *subs[5];

	for (unsigned hole = 0; hole < 5; hole++) {
		for (size_t i = 0; i < 5; i++)
			subs[i] = add(i, "x", i);
		registry_remove(&r, subs[hole]);
		ck_assert_uint_eq(find("x")->n, 4);
		check_places(find("x"));
		for (size_t i = 0; i < 5; i++)
			if (i != hole)
				registry_remove(&r, subs[i]);
		ck_assert_ptr_null(find("x"));
	}
}
END_TEST

START_TEST(the_newest_seq_is_kept)
{
	ASSERT_ON(on_worker);
	struct subscription *a = add(0, "x", 5), *b = add(1, "x", 3);

	ck_assert_uint_eq(find("x")->newest_seq, 5);
	registry_remove(&r, a);
	ck_assert_uint_ge(find("x")->newest_seq, 3);
	registry_remove(&r, b);
}
END_TEST

START_TEST(the_name_is_in_the_key)
{
	ASSERT_ON(on_worker);
	struct subscription *a = add(0, "private-client.42", 1);

	ck_view_eq(subscription_channel(a), "private-client.42");
	registry_remove(&r, a);
}
END_TEST

START_TEST(subscriptions_are_found_by_their_grant)
{
	ASSERT_ON(on_worker);
	struct subscription *subs[3] = { add(0, "x", 1), add(1, "x", 2), add(2, "y", 3) };

	ck_assert_uint_eq(registry_ungrant(&r, subs[0]), 0);
	for (unsigned i = 0; i < 3; i++)
		registry_grant(&r, subs[i], 7);
	ck_assert_ptr_null(registry_first_of(&r, 8));
	/* The one in the middle, then whichever is found. */
	ck_assert_uint_eq(registry_ungrant(&r, subs[1]), 7);
	for (unsigned i = 0; i < 2; i++) {
		struct subscription *first = registry_first_of(&r, 7);

		ck_assert(first == subs[0] || first == subs[2]);
		ck_assert_uint_eq(registry_ungrant(&r, first), 7);
		ck_assert_ptr_null(first->granted);
	}
	ck_assert_ptr_null(registry_first_of(&r, 7));
	for (unsigned i = 0; i < 3; i++)
		registry_remove(&r, subs[i]);
}
END_TEST

static uint64_t due[8];
static unsigned n_due;

static void note_due(struct granted *g)
{
	due[n_due++] = g->id;
}

START_TEST(what_is_due_is_taken_once_in_its_second)
{
	ASSERT_ON(on_worker);
	struct subscription *subs[4];
	static const uint32_t at[] = { 3, 3, 5, 3 + REGISTRY_WHEEL_SLOTS };

	n_due = 0;
	for (unsigned i = 0; i < 4; i++) {
		subs[i] = add(i, "x", i);
		registry_schedule(&r, registry_grant(&r, subs[i], i + 1), at[i]);
	}
	registry_each_due(&r, 2, 9, note_due);
	ck_assert_uint_eq(n_due, 0);
	/* One at most: the other is due a second later. */
	registry_each_due(&r, 3, 1, note_due);
	ck_assert_uint_eq(n_due, 1);
	registry_each_due(&r, 3, 9, note_due);
	ck_assert_uint_eq(n_due, 1);
	registry_each_due(&r, 4, 9, note_due);
	ck_assert_uint_eq(n_due, 2);
	ck_assert_uint_eq(due[0] + due[1], 3);
	registry_ungrant(&r, subs[2]);
	registry_each_due(&r, 2 + REGISTRY_WHEEL_SLOTS, 9, note_due);
	ck_assert_uint_eq(n_due, 2);
	registry_each_due(&r, 1000, 9, note_due);
	ck_assert_uint_eq(n_due, 3);
	ck_assert_uint_eq(due[2], 4);
	for (unsigned i = 0; i < 4; i++) {
		registry_ungrant(&r, subs[i]);
		registry_remove(&r, subs[i]);
	}
}
END_TEST

START_TEST(many_channels_are_found)
{
	ASSERT_ON(on_worker);
	struct subscription *subs[500];
	char name[32];

	for (unsigned i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "channel-%u", i);
		subs[i] = add(i % 64, name, i);
	}
	for (unsigned i = 0; i < 500; i += 2)
		registry_remove(&r, subs[i]);
	for (unsigned i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "channel-%u", i);
		ck_assert_int_eq(find(name) != NULL, i % 2);
	}
	for (unsigned i = 1; i < 500; i += 2)
		registry_remove(&r, subs[i]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("core/registry");
	TCase *t = tcase_create("subscribers");

	tcase_add_checked_fixture(t, begin, end);
	tcase_add_test(t, a_channel_exists_while_it_has_subscribers);
	tcase_add_test(t, removal_at_any_index_keeps_the_rest);
	tcase_add_test(t, the_newest_seq_is_kept);
	tcase_add_test(t, the_name_is_in_the_key);
	tcase_add_test(t, subscriptions_are_found_by_their_grant);
	tcase_add_test(t, what_is_due_is_taken_once_in_its_second);
	tcase_add_test(t, many_channels_are_found);
	suite_add_tcase(s, t);
	return unit_run(s);
}
