/* SPDX-License-Identifier: MIT */
/* Changes of members as text, and the channels that a node follows. */
#include <errno.h>
#include <stdio.h>
#include "post.h"
#include "unit.h"
#include "unit_app.h"
#include "unit_clock.h"
#include "base/mem.h"
#include "base/macros.h"
#include "cluster/cache_store.h"
#include "cluster/change.h"
#include "cluster/follow.h"
#include "cluster/inbox.h"

START_TEST(a_change_is_read_as_it_was_written)
{
	static const struct change cases[] = {
		{ CHANGE_ADDED, 0, 1700000000000000, SV("7"), SV("{\"name\":\"x y\"}") },
		{ CHANGE_REMOVED, 5, 6, SV("a 1 b:c"), SV("") },
		{ CHANGE_REPLACED, 6, 9, SV("\xc3\xa9"), SV("null") },
		{ CHANGE_COUNTED, 9, 9, SV(""), SV("12") },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct change got;
		struct strbuf text;

		strbuf_init(&text, 64);
		change_write(&text, &cases[i]);
		ck_assert(change_read(strbuf_view(&text), &got));
		ck_assert_int_eq((int)got.outcome, (int)cases[i].outcome);
		ck_assert_uint_eq(got.before, cases[i].before);
		ck_assert_uint_eq(got.version, cases[i].version);
		ck_assert(sv_eq(got.user_id, cases[i].user_id));
		ck_assert(sv_eq(got.info, cases[i].info));
		strbuf_release(&text);
	}
}
END_TEST

START_TEST(what_is_no_change_is_not_read)
{
	static const char *const cases[] = { "",
					     "A",
					     "A 1",
					     "A 1 2",
					     "Z 1 2 0 ",
					     "AA 1 2 0 ",
					     "A x 2 0 ",
					     "A 1 -2 0 ",
					     "A 1 2 5 u",
					     "A 1 2 x u",
					     "A 1 2 18446744073709551615 u",
					     "A 1 2 1 \xc3\xa9" };
	struct change got;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		ck_assert_msg(!change_read(sv(cases[i]), &got), "%s", cases[i]);
}
END_TEST

START_TEST(a_change_is_applied_to_the_version_before_it_only)
{
	struct follow f;
	struct followed *c;

	follow_init(&f);
	c = follow_get(&f, SV("app"), SV("presence-c"));
	ck_assert(!follow_advance(&f, c, 0, 5));
	ck_assert_ptr_eq(follow_take_to_read(&f), c);
	c->is_known = true;
	c->version = 5;
	ck_assert(!follow_advance(&f, c, 4, 5));
	ck_assert_ptr_null(f.to_read);
	ck_assert(follow_advance(&f, c, 5, 8));
	ck_assert_uint_eq(c->version, 8);
	ck_assert(!follow_advance(&f, c, 9, 10));
	ck_assert(c->must_read);
	ck_assert(!follow_advance(&f, c, 8, 9));
	ck_assert_uint_eq(c->version, 8);
	ck_assert_ptr_eq(follow_take_to_read(&f), c);
	follow_compare(&f, c, 8);
	ck_assert_ptr_null(f.to_read);
	follow_compare(&f, c, 0);
	ck_assert_ptr_eq(f.to_read, c);
	follow_delete(&f, c);
	ck_assert_ptr_null(f.to_read);
	ck_assert_ptr_null(follow_find(&f, SV("app"), SV("presence-c")));
	follow_release(&f);
}
END_TEST

/* Messages of several nodes arrive in any order. */
START_TEST(a_sum_of_subscriptions_is_taken_when_it_is_newer_only)
{
	struct follow f;
	struct followed *c;
	struct own_member *own;

	follow_init(&f);
	c = follow_get(&f, SV("app"), SV("c"));
	ck_assert(!follow_is_new_count(c, 5)); /* the answer to its own report will have it */
	own = follow_member(c, SV(""));
	follow_set_info(own, SV("2"));
	ck_assert(!follow_is_new_count(c, 5));
	ck_assert_uint_eq(follow_take_count(c, 5, 3), 3); /* not registered: all are of others */
	follow_set_registered(&f, own, true);
	own->n_counted = 2;
	ck_assert_uint_eq(follow_take_count(c, 8, 3), 1);
	ck_assert(!follow_is_new_count(c, 7) && !follow_is_new_count(c, 8));
	/* Its own number has changed, and the database does not know. */
	follow_set_info(own, SV("6"));
	ck_assert(follow_is_new_count(c, 9));
	ck_assert_uint_eq(follow_take_count(c, 9, 5), 3);
	/* Read from tables that are new, or by a clock that went back. */
	ck_assert_uint_eq(follow_take_count(c, 4, 1), 0);
	ck_assert(follow_is_new_count(c, 5));
	follow_begin_again(&f);
	ck_assert(!follow_is_new_count(c, 99));
	follow_release(&f);
}
END_TEST

START_TEST(members_are_reported_once_and_in_their_order)
{
	struct follow f;
	struct followed *c;
	struct own_member *a, *b, *d;

	follow_init(&f);
	c = follow_get(&f, SV("app"), SV("presence-c"));
	a = follow_member(c, SV("a"));
	b = follow_member(c, SV("b"));
	d = follow_member(c, SV("d"));
	ck_assert_ptr_eq(follow_member(c, SV("a")), a);
	follow_enqueue(&f, b);
	follow_enqueue(&f, a);
	follow_enqueue(&f, b);
	follow_enqueue(&f, d);
	follow_delete_member(&f, a);
	ck_assert_ptr_eq(follow_dequeue(&f), b);
	ck_assert_ptr_eq(follow_dequeue(&f), d);
	ck_assert_ptr_null(follow_dequeue(&f));
	follow_set_registered(&f, b, true);
	follow_set_registered(&f, b, true);
	ck_assert_uint_eq(f.n_registered, 1);
	follow_begin_again(&f);
	ck_assert_uint_eq(f.n_registered, 0);
	ck_assert(b->is_queued && d->is_queued && c->must_read);
	follow_begin_again(&f);
	ck_assert_uint_eq(f.n_unreported, 2);
	ck_assert(b->was_registered && !d->was_registered);
	follow_set_reported(&f, b);
	follow_set_reported(&f, b);
	ck_assert(!b->was_registered);
	ck_assert_uint_eq(f.n_unreported, 1);
	follow_delete_member(&f, b);
	follow_delete_member(&f, d);
	ck_assert_uint_eq(f.n_unreported, 0);
	ck_assert(follow_is_unused(c));
	ck_assert_ptr_eq(follow_take_to_read(&f), c);
	follow_read_all(&f);
	ck_assert_ptr_eq(follow_take_to_read(&f), c);
	follow_release(&f);
}
END_TEST

START_TEST(counts_that_are_reported_later_come_in_their_order)
{
	struct follow f;
	struct followed *c;
	struct own_member *a, *b, *d;

	follow_init(&f);
	c = follow_get(&f, SV("app"), SV("c"));
	a = follow_member(c, SV("a"));
	b = follow_member(c, SV("b"));
	d = follow_member(c, SV("d"));
	follow_delay(&f, a, 10);
	follow_delay(&f, b, 20);
	follow_delay(&f, d, 30);
	follow_delay(&f, a, 40);
	ck_assert_ptr_null(follow_take_due(&f, 9));
	ck_assert_ptr_eq(follow_take_due(&f, 10), a);
	follow_delete_member(&f, d);
	follow_delay(&f, a, 50);
	ck_assert_ptr_eq(follow_take_due(&f, 60), b);
	ck_assert_ptr_eq(follow_take_due(&f, 60), a);
	ck_assert_ptr_null(follow_take_due(&f, 60));
	follow_release(&f);
}
END_TEST

START_TEST(channels_that_need_no_right_do_not_hold_up_presence)
{
	static const char wanted[] = "pppopppoppoooo";
	char got[sizeof(wanted)] = "";
	struct follow f;
	struct own_member *m;
	char name[32];

	follow_init(&f);
	for (unsigned i = 0; i < 6; i++) {
		snprintf(name, sizeof(name), "%s-%u", i % 2 ? "private" : "news", i);
		follow_enqueue(&f, follow_member(follow_get(&f, SV("app"), sv(name)), SV("")));
	}
	for (unsigned i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "%s-%u", i % 2 ? "presence" : "!user", i);
		follow_enqueue(&f, follow_member(follow_get(&f, SV("app"), sv(name)), SV("")));
		follow_enqueue(&f, follow_member(follow_get(&f, SV("app"), sv(name)), SV("7")));
	}
	for (size_t i = 0; i < sizeof(wanted) - 1; i++) {
		ck_assert(follow_has_queued(&f));
		m = follow_dequeue(&f);
		ck_assert_ptr_nonnull(m);
		got[i] = *m->channel->name.ptr == 'n' || m->channel->name.ptr[2] == 'i' ? 'o' : 'p';
		/* The count of a channel stays before its members. */
		if (got[i] == 'p')
			ck_assert(!*m->user_id == !m->channel->is_watched);
		m->channel->is_watched = true;
	}
	ck_assert_str_eq(got, wanted);
	ck_assert(!follow_has_queued(&f));
	ck_assert_ptr_null(follow_dequeue(&f));
	follow_release(&f);
}
END_TEST

#define MANY 200000

/* A walk over all channels would exceed the test's time many times over. */
START_TEST(one_of_very_many_channels_is_deleted_at_once)
{
	struct followed **all = xcalloc(MANY, sizeof(struct followed *));
	struct follow f;
	char name[32];

	follow_init(&f);
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "news-%u", i);
		all[i] = follow_get(&f, SV("app"), sv(name));
		follow_read_later(&f, all[i]);
		follow_delay(&f, follow_member(all[i], SV("")), i);
	}
	/* The first one is the last to be read; the last one is the last count. */
	for (unsigned i = 0; i < MANY / 2; i++)
		follow_delete(&f, all[i]);
	for (unsigned i = MANY; i-- > MANY / 2 + 1;)
		follow_delete_member(&f, map_get(&all[i]->own, SV("")));
	ck_assert_ptr_eq(follow_take_to_read(&f), all[MANY - 1]);
	follow_release(&f);
	free(all);
}
END_TEST

START_TEST(changes_that_wait_have_a_bound_and_reports_none)
{
	struct app *app = UNIT_APP();
	const struct member_report report = { .kind = MEMBER_WAITS,
					      .app = app,
					      .channel = SV("presence-c") };
	static char large[INBOX_CHANGE_MAX + 1];
	struct mailbox_entry *e, *next;
	struct inbox in;
	unsigned n = 0;

	memset(large, 'x', sizeof(large));
	inbox_init(&in);
	ck_assert_int_eq(inbox_put_change(&in, SV("app"), SV("c"), sv_n(large, sizeof(large))),
			 -EAGAIN);
	ck_assert_int_eq(inbox_put_change(&in, SV("app"), SV("c"), sv_n(large, 60000)), 1);
	while (inbox_put_change(&in, SV("app"), SV("c"), sv_n(large, 60000)) == 0)
		ck_assert_uint_lt(++n, 100);
	ck_assert_uint_gt(n, 60);
	ck_assert_int_eq(inbox_put_change(&in, SV("app"), SV("c"), SV("x")), -EAGAIN);
	ck_assert(!inbox_put_report(&in, &report));
	for (e = inbox_take(&in); e; e = next) {
		next = e->next;
		inbox_item_free(&in, CONTAINER_OF(e, struct inbox_item, entry));
	}
	ck_assert_int_eq(inbox_put_change(&in, SV("app"), SV("c"), SV("x")), 1);
	for (n = 1; inbox_put_change(&in, SV("app"), SV("c"), SV("x")) == 0;)
		n++;
	ck_assert_uint_eq(n, INBOX_CHANGES_MAX);
	inbox_release(&in);
	app_unref(app);
}
END_TEST

static void on_report(void *ctx, const struct member_report *r)
{
	if (r->kind == MEMBER_CACHED)
		(void)!inbox_put_report(ctx, r);
}

static void publish_unlogged(struct directory *d, struct app *app, const char *channel)
{
	struct msgbuf *data = msgbuf_from(SV("1"));
	struct event *e = event_new(app, sv(channel), SV("E"), data);

	e->durability = DURABILITY_NONE;
	directory_fan_out(d, e);
	event_unref(e);
	msgbuf_unref(data);
}

/* Takes what was reported.  Returns how many entries there are. */
static unsigned store_reports(struct cache_store *s, struct inbox *in)
{
	struct mailbox_entry *e = inbox_take(in), *next;
	unsigned n = 0;

	for (; e; e = next) {
		next = e->next;
		cache_store_add(s, CONTAINER_OF(e, struct inbox_item, entry));
	}
	for (const struct inbox_item *item = s->first; item; item = item->next)
		n++;
	return n;
}

START_TEST(cached_events_that_cannot_be_written_wait_until_they_expire)
{
	struct app *app, *in_set;
	struct app_set *apps;
	struct cache_store store;
	struct cache_source from;
	struct directory *d;
	struct inbox in;

	unit_clock_begin(1000 * USEC_PER_SEC);
	app = UNIT_APP("cache_ttl", "60");
	in_set = app_ref(app);
	apps = unit_app_set(&in_set, 1);
	d = fake_post_directory(1);
	inbox_init(&in);
	cache_store_init(&store);
	directory_share_members(d, on_report, &in);
	from = (struct cache_source){ .directory = d, .apps = apps };

	for (int i = 0; i < 3; i++) {
		publish_unlogged(d, app, "cache-a");
		publish_unlogged(d, app, "cache-b");
		ck_assert_uint_eq(store_reports(&store, &in), 2);
		unit_now += 61 * USEC_PER_SEC;
		for (unsigned shard = 0; shard < DIRECTORY_SHARDS; shard++)
			ck_assert_ptr_null(directory_tick_shard(d, shard, clock_mono()));
	}
	publish_unlogged(d, app, "cache-b");
	cache_store_forget(&store, &from);
	ck_assert_uint_eq(store_reports(&store, &in), 1);
	ck_assert(sv_eq(store.first->channel, SV("cache-b")));
	publish_unlogged(d, app, "cache-a");
	ck_assert_uint_eq(store_reports(&store, &in), 2);

	cache_store_release(&store);
	inbox_release(&in);
	fake_post_drop();
	directory_free(d);
	fake_post_release();
	app_set_unref(apps);
	app_unref(app);
	unit_clock_end();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cluster/parts");
	TCase *t = tcase_create("parts");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_change_is_read_as_it_was_written);
	tcase_add_test(t, what_is_no_change_is_not_read);
	tcase_add_test(t, a_change_is_applied_to_the_version_before_it_only);
	tcase_add_test(t, a_sum_of_subscriptions_is_taken_when_it_is_newer_only);
	tcase_add_test(t, members_are_reported_once_and_in_their_order);
	tcase_add_test(t, counts_that_are_reported_later_come_in_their_order);
	tcase_add_test(t, channels_that_need_no_right_do_not_hold_up_presence);
	tcase_add_test(t, one_of_very_many_channels_is_deleted_at_once);
	tcase_add_test(t, changes_that_wait_have_a_bound_and_reports_none);
	tcase_add_test(t, cached_events_that_cannot_be_written_wait_until_they_expire);
	suite_add_tcase(s, t);
	return unit_run(s);
}
