/* SPDX-License-Identifier: MIT */
/*
 * Grants: which subscriptions share one, and that one of very many is found at once.  No rule
 * is evaluated, because nothing changes.
 */
#include "post.h"
#include "unit_app.h"
#include "svc/grants.h"

#define MANY 200000

static struct app *app;
static struct pg_pool *pool;
static struct authorizer *authorizer;
static struct directory *directory;
static struct grants *grants;

/* What the test joined, left at its end: a grant lives as long as a subscription has it. */
static uint64_t joined[3 * MANY + 16];
static size_t n_joined;

static void setup(void)
{
	const struct pg_pool_conf conf = { .options = { .conninfo = "host=/nowhere" },
					   .connections = 1 };
	const struct authorizer_conf ac = { .predicates = conf };

	app = UNIT_APP();
	pool = pg_pool_new(&conf);
	ck_assert_int_eq(authorizer_start(pool, &ac, &authorizer), 0);
	directory = fake_post_directory(1);
	grants = grants_new();
	grants_start(grants, authorizer, directory);
}

static void teardown(void)
{
	while (n_joined)
		grants_leave(grants, joined[--n_joined]);
	grants_stop(grants);
	authorizer_stop(authorizer);
	pg_pool_stop(pool);
	grants_free(grants);
	authorizer_free(authorizer);
	pg_pool_free(pool);
	fake_post_release();
	directory_free(directory);
	app_unref(app);
}

static uint64_t join(const char *channel, unsigned user_id, const char *roles)
{
	struct grant_mark mark = { .roles = sv(roles), .as_of = authorize_generation(authorizer) };
	uint64_t id;

	snprintf(mark.user_id, sizeof(mark.user_id), "%u", user_id);
	id = grants_join(grants, app, sv(channel), &mark);
	ck_assert_uint_ne(id, 0);
	ck_assert_uint_lt(n_joined, ARRAY_SIZE(joined));
	joined[n_joined++] = id;
	return id;
}

START_TEST(subscriptions_of_a_user_to_a_channel_with_the_same_roles_share_a_grant)
{
	uint64_t id = join("private-a", 7, "[\"staff\"]");

	ck_assert_uint_eq(join("private-a", 7, "[\"staff\"]"), id);
	ck_assert_uint_ne(join("private-a", 7, "[]"), id);
	ck_assert_uint_ne(join("private-b", 7, "[\"staff\"]"), id);
	ck_assert_uint_ne(join("private-a", 8, "[\"staff\"]"), id);
}
END_TEST

START_TEST(a_grant_ends_with_its_last_subscription)
{
	uint64_t id = join("private-a", 7, "[]"), other = join("private-b", 7, "[]");

	ck_assert_uint_eq(join("private-a", 7, "[]"), id);
	grants_leave(grants, id);
	ck_assert_uint_eq(join("private-a", 7, "[]"), id);
	grants_leave(grants, id);
	grants_leave(grants, id);
	grants_leave(grants, id); /* one that is not known */
	ck_assert_uint_ne(join("private-a", 7, "[]"), id);
	ck_assert_uint_eq(join("private-b", 7, "[]"), other);
}
END_TEST

static uint64_t join_number(unsigned n)
{
	char channel[32];

	snprintf(channel, sizeof(channel), "private-%u", n);
	return join(channel, 7, "[\"staff\"]");
}

/* A walk over the user's grants would exceed the test's time many times over. */
START_TEST(one_of_very_many_grants_of_a_user_is_found_at_once)
{
	uint64_t *ids = xcalloc(MANY, sizeof(*ids));

	for (unsigned i = 0; i < MANY; i++)
		ids[i] = join_number(i);
	for (unsigned i = 0; i < MANY; i++)
		ck_assert_uint_eq(join_number(i), ids[i]);
	for (unsigned i = 0; i < MANY; i += 2) {
		grants_leave(grants, ids[i]);
		grants_leave(grants, ids[i]);
	}
	for (unsigned i = 0; i < MANY; i++)
		ck_assert((join_number(i) == ids[i]) == (i % 2 == 1));
	free(ids);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("svc/grants");
	TCase *t = tcase_create("shared");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, subscriptions_of_a_user_to_a_channel_with_the_same_roles_share_a_grant);
	tcase_add_test(t, a_grant_ends_with_its_last_subscription);
	tcase_add_test(t, one_of_very_many_grants_of_a_user_is_found_at_once);
	suite_add_tcase(s, t);
	return unit_run(s);
}
