/* SPDX-License-Identifier: MIT */
/* Publishing without a database, over the real directory; workers' mail is read as it comes. */
#include <errno.h>
#include "post.h"
#include "unit_app.h"
#include "base/mem.h"
#include "conf/conf.h"
#include "core/channels/directory.h"
#include "svc/publish.h"

static struct directory *directory;
static struct publisher *publisher;
static struct app *app;
static struct {
	unsigned n;
	int rc;
} done;

/* The number of messages for worker 0; the sockets that they leave out are added up. */
static unsigned take_mail(uint64_t *excluded)
{
	struct worker_message *m;
	unsigned n = 0;

	for (; (m = fake_post_next(0)); n++) {
		*excluded += m->exclude;
		worker_message_free(m);
	}
	return n;
}

static void setup(void)
{
	app = UNIT_APP("durability", "none", "channel_durability", "logged-*:commit, soon-*:async");
	directory = fake_post_directory(1);
	publisher = publisher_new(directory, NULL, NULL, 1000);
	done.n = 0;
}

static void teardown(void)
{
	fake_post_release();
	publisher_free(publisher);
	directory_free(directory);
	app_unref(app);
}

static void join(const char *channel)
{
	struct directory_join j = { .app = app, .channel = sv(channel), .socket_id = 7 };

	ck_assert_int_eq(channel_name_parse(j.channel, 200, &j.traits), 0);
	ck_assert_int_eq(directory_join(directory, &j), 0);
	msgbuf_unref(j.key);
	msgbuf_unref(j.roster);
	event_unref(j.cached);
	fake_post_drop();
}

static void on_done(void *ctx, int rc)
{
	ck_assert_ptr_eq(ctx, &done);
	done.n++;
	done.rc = rc;
}

static void publish(const struct str_view *channels, size_t n, uint64_t exclude)
{
	const struct publish_item item = { SV("name"), SV("data"), channels, n, exclude };
	unsigned before = done.n;

	publish_submit(publisher, &(struct publish_request){ app, &item, 1, NULL }, on_done, &done);
	ck_assert_uint_eq(done.n, before + 1);
}

START_TEST(without_durability_an_event_is_delivered_at_once)
{
	const struct str_view channels[] = { SV("one"), SV("two"), SV("empty") };
	uint64_t excluded = 0;

	join("one");
	join("two");
	publish(channels, ARRAY_SIZE(channels), 5);
	ck_assert_int_eq(done.rc, 0);
	ck_assert_uint_eq(take_mail(&excluded), 2);
	ck_assert_uint_eq(excluded, 10);
}
END_TEST

START_TEST(a_publish_delivers_each_item_to_each_channel)
{
	static const char names[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN";
	struct str_view channels[40];
	struct publish_item items[3];

	for (size_t i = 0; i < ARRAY_SIZE(channels); i++)
		channels[i] = sv_n(names + i, 1);
	for (size_t i = 0; i < ARRAY_SIZE(items); i++)
		items[i] = (struct publish_item){ SV("n"), SV("d"), channels, ARRAY_SIZE(channels),
						  0 };
	join("a");
	join("N");
	publish_submit(publisher, &(struct publish_request){ app, items, ARRAY_SIZE(items), NULL },
		       on_done, &done);
	ck_assert_uint_eq(done.n, 1);
	ck_assert_int_eq(done.rc, 0);
	ck_assert_uint_eq(fake_post_drop(), 6);
}
END_TEST

START_TEST(nothing_is_delivered_of_what_cannot_be_logged)
{
	const struct str_view mixed[] = { SV("free"), SV("logged-x") };
	const struct str_view soon[] = { SV("soon-x"), SV("free") };

	join("free");
	join("logged-x");
	join("soon-x");
	publish(mixed, 2, 0);
	ck_assert_int_eq(done.rc, -EHOSTDOWN);
	publish(soon, 2, 0);
	ck_assert_int_eq(done.rc, -EHOSTDOWN);
	ck_assert_uint_eq(fake_post_drop(), 0);
	publish(mixed, 1, 0);
	ck_assert_int_eq(done.rc, 0);
	ck_assert_uint_eq(fake_post_drop(), 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("svc/publish");
	TCase *t = tcase_create("all");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, without_durability_an_event_is_delivered_at_once);
	tcase_add_test(t, a_publish_delivers_each_item_to_each_channel);
	tcase_add_test(t, nothing_is_delivered_of_what_cannot_be_logged);
	suite_add_tcase(suite, t);
	return unit_run(suite);
}
