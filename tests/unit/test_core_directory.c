/* SPDX-License-Identifier: MIT */
/* What the workers share about channels, on a clock that the tests move. */
#include <errno.h>
#include <pthread.h>
#include "core/channels/users.h"
#include "post.h"
#include "unit_app.h"
#include "unit_clock.h"
#include "wire/pusher.h"

#define WORKERS 2
#define THREADS 4

static struct directory *dir;
static struct app *app;

static void begin_with(const char *const *options)
{
	unit_clock_begin(1000 * USEC_PER_SEC);
	dir = fake_post_directory(WORKERS);
	app = unit_app("portal", options);
}

#define BEGIN(...) begin_with((const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL })

static void end(void)
{
	fake_post_drop();
	directory_free(dir);
	fake_post_release();
	app_unref(app);
	unit_clock_end();
}

/* The worker's next message is this frame; returns its seq. */
static uint64_t expect(unsigned worker, const char *json)
{
	struct worker_message *m = fake_post_next(worker);
	uint64_t seq;

	ck_assert_msg(m != NULL, "no message, want %s", json);
	ck_assert_int_eq(m->kind, MESSAGE_FRAME);
	ck_view_eq(fake_post_text(m), json);
	seq = m->seq;
	worker_message_free(m);
	return seq;
}

static void expect_none(void)
{
	for (unsigned i = 0; i < WORKERS; i++) {
		struct worker_message *m = fake_post_next(i);

		ck_assert_msg(m == NULL, "unexpected message: %.*s",
			      m && m->frame ? (int)fake_post_text(m).len : 0,
			      m && m->frame ? fake_post_text(m).ptr : "");
	}
}

static struct channel_traits traits_of(const char *channel)
{
	struct channel_traits t;

	ck_assert_int_eq(channel_name_parse(sv(channel), 200, &t), 0);
	return t;
}

struct joined {
	int rc;
	uint64_t seq;
	char *roster, *cached; /* heap or NULL */
};

static struct joined join_as(unsigned worker, const char *channel, const char *user,
			     const char *info)
{
	struct directory_join j = { .app = app,
				    .channel = sv(channel),
				    .traits = traits_of(channel),
				    .worker = worker,
				    .socket_id = 77,
				    .user_id = sv(user),
				    .user_info = sv(info) };
	struct joined out = { .rc = directory_join(dir, &j) };

	out.seq = j.seq;
	if (j.roster)
		out.roster = sv_dup(msgbuf_view(j.roster));
	if (j.cached)
		out.cached = sv_dup(msgbuf_view(j.cached->data));
	msgbuf_unref(j.roster);
	msgbuf_unref(j.key);
	event_unref(j.cached);
	return out;
}

static void joined_free(struct joined *j)
{
	free(j->roster);
	free(j->cached);
}

static int join(unsigned worker, const char *channel, const char *user, const char *info)
{
	struct joined j = join_as(worker, channel, user, info);

	joined_free(&j);
	return j.rc;
}

static void leave(unsigned worker, const char *channel, const char *user)
{
	struct directory_leave l = { .app = app,
				     .channel = sv(channel),
				     .traits = traits_of(channel),
				     .worker = worker,
				     .user_id = sv(user),
				     .is_lost = true };

	directory_leave(dir, &l);
}

static void sign_in(unsigned worker, const char *user)
{
	struct directory_join j = {
		.app = app, .worker = worker, .socket_id = 77, .user_id = sv(user)
	};

	users_sign_in(dir, &j);
	msgbuf_unref(j.key);
}

static void watch(unsigned worker, const char *user)
{
	struct directory_join j = {
		.app = app, .worker = worker, .socket_id = 77, .user_id = sv(user)
	};

	users_watch(dir, &j);
	msgbuf_unref(j.key);
}

/* prefix: as core/channels/users.h names these channels. */
static void leave_internal(unsigned worker, const char *prefix, const char *user, bool is_presence)
{
	char name[64];
	struct directory_leave l = { .app = app,
				     .traits = { .is_presence = is_presence },
				     .worker = worker,
				     .user_id = sv(user),
				     .is_lost = true };

	snprintf(name, sizeof(name), "%s%s", prefix, user);
	l.channel = sv(name);
	users_leave(dir, &l);
}

static void sign_out(unsigned worker, const char *user)
{
	leave_internal(worker, "!user-", user, true);
}

static void unwatch(unsigned worker, const char *user)
{
	leave_internal(worker, "!watch-", user, false);
}

static void publish(const char *channel, const char *data)
{
	struct msgbuf *m = msgbuf_from(sv(data));
	struct event *e = event_new(app, sv(channel), SV("Created"), m);

	directory_fan_out(dir, e);
	event_unref(e);
	msgbuf_unref(m);
}

static void check_info(const char *channel, bool occupied, unsigned subscriptions, unsigned users)
{
	struct channel_info i;

	directory_channel_info(dir, app, sv(channel), &i);
	ck_assert_int_eq(i.is_occupied, occupied);
	ck_assert_uint_eq(i.subscription_count, subscriptions);
	ck_assert_uint_eq(i.user_count, users);
	channel_info_release(&i);
}

/* One thread is all threads here. */
static void pass(usec_t us) NO_TSA
{
	unit_now += us;
	users_tick(dir, unit_now);
}

/* ---- subscriptions ---- */

START_TEST(joins_and_leaves_are_counted)
{
	BEGIN();
	check_info("x", false, 0, 0);
	ck_assert_int_eq(join(0, "x", NULL, NULL), 0);
	ck_assert_int_eq(join(1, "x", NULL, NULL), 0);
	ck_assert_int_eq(join(1, "x", NULL, NULL), 0);
	check_info("x", true, 3, 0);
	leave(1, "x", NULL);
	check_info("x", true, 2, 0);
	leave(0, "x", NULL);
	leave(1, "x", NULL);
	check_info("x", false, 0, 0);
	expect_none();
	end();
}
END_TEST

START_TEST(messages_go_only_to_workers_with_subscribers)
{
	struct worker_message *m;

	BEGIN();
	publish("x", "0");
	expect_none();
	ck_assert_int_eq(join(1, "x", NULL, NULL), 0);
	publish("x", "1");
	ck_assert_uint_eq(atomic_load(&fake_post.wakes), 1);
	publish("x", "2");
	ck_assert_uint_eq(atomic_load(&fake_post.wakes), 1); /* its box was not empty */
	ck_assert_ptr_null(fake_post_next(0));
	m = fake_post_next(1);
	ck_assert_ptr_nonnull(m->event);
	ck_assert_ptr_nonnull(memmem(m->frame->data, m->frame->len, "\"data\":\"1\"", 10));
	worker_message_free(m);
	leave(1, "x", NULL);
	fake_post_drop();
	publish("x", "3");
	expect_none();
	end();
}
END_TEST

START_TEST(channels_of_two_apps_are_separate)
{
	struct app *other;

	BEGIN();
	other = unit_app("other", NULL);
	ck_assert_int_eq(join(0, "x", NULL, NULL), 0);
	directory_send(dir, other, SV("x"), NULL, 0);
	expect_none();
	leave(0, "x", NULL);
	app_unref(other);
	end();
}
END_TEST

/* A subscription takes only messages that were posted after its join. */
START_TEST(seq_rises_when_a_channel_is_made_again)
{
	struct joined a, b;
	uint64_t first, second;

	BEGIN();
	a = join_as(0, "x", NULL, NULL);
	directory_send(dir, app, SV("x"), NULL, 0);
	directory_send(dir, app, SV("x"), NULL, 0);
	b = join_as(0, "x", NULL, NULL);
	{
		struct worker_message *m1 = fake_post_next(0), *m2 = fake_post_next(0);

		first = m1->seq;
		second = m2->seq;
		worker_message_free(m1);
		worker_message_free(m2);
	}
	ck_assert_uint_gt(first, a.seq);
	ck_assert_uint_gt(second, first);
	ck_assert_uint_ge(b.seq, second);
	leave(0, "x", NULL);
	leave(0, "x", NULL);
	joined_free(&a);
	joined_free(&b);
	a = join_as(0, "x", NULL, NULL); /* a new entry continues the numbers */
	ck_assert_uint_ge(a.seq, second);
	leave(0, "x", NULL);
	joined_free(&a);
	end();
}
END_TEST

START_TEST(a_message_carries_the_excluded_socket)
{
	struct worker_message *m;

	BEGIN();
	ck_assert_int_eq(join(0, "x", NULL, NULL), 0);
	directory_send(dir, app, SV("x"), NULL, 42);
	m = fake_post_next(0);
	ck_assert_uint_eq(m->exclude, 42);
	worker_message_free(m);
	leave(0, "x", NULL);
	end();
}
END_TEST

START_TEST(the_directory_is_behind_while_too_many_bytes_wait)
{
	struct msgbuf *frame = msgbuf_new(1 << 20);

	BEGIN();
	ck_assert_int_eq(join(0, "x", NULL, NULL), 0);
	for (size_t bytes = 0; bytes <= DIRECTORY_MESSAGES_MAX_BYTES - (1 << 20);
	     bytes += 1 << 20) {
		ck_assert(!directory_is_behind(dir));
		directory_send(dir, app, SV("x"), frame, 0);
	}
	ck_assert(directory_is_behind(dir));
	worker_message_free(fake_post_next(0));
	ck_assert(!directory_is_behind(dir));
	msgbuf_unref(frame);
	end();
}
END_TEST

/* ---- presence ---- */

#define ROOM "presence-room"
#define ADDED_ANN                                                                                  \
	"{\"event\":\"pusher_internal:member_added\",\"channel\":\"presence-room\","               \
	"\"data\":\"{\\\"user_id\\\":\\\"ann\\\",\\\"user_info\\\":{\\\"n\\\":1}}\"}"
#define REMOVED_ANN                                                                                \
	"{\"event\":\"pusher_internal:member_removed\",\"channel\":\"presence-room\","             \
	"\"data\":\"{\\\"user_id\\\":\\\"ann\\\"}\"}"

START_TEST(roster_has_each_user_once)
{
	struct joined j;

	BEGIN();
	j = join_as(0, ROOM, "ann", "{\"n\":1}");
	ck_assert_str_eq(j.roster, "{\"presence\":{\"ids\":[\"ann\"],\"hash\":{\"ann\":{\"n\":1}},"
				   "\"count\":1}}");
	joined_free(&j);
	/* The first one's user_info stays. */
	j = join_as(1, ROOM, "ann", "{\"n\":2}");
	ck_assert_str_eq(j.roster, "{\"presence\":{\"ids\":[\"ann\"],\"hash\":{\"ann\":{\"n\":1}},"
				   "\"count\":1}}");
	joined_free(&j);
	check_info(ROOM, true, 2, 1);
	j = join_as(1, ROOM, "bob", NULL);
	ck_assert_ptr_nonnull(strstr(j.roster, "\"bob\":null"));
	ck_assert_ptr_nonnull(strstr(j.roster, "\"count\":2"));
	joined_free(&j);
	check_info(ROOM, true, 3, 2);
	end();
}
END_TEST

START_TEST(without_grace_the_first_adds_and_the_last_removes)
{
	uint64_t seq;
	struct joined j;

	BEGIN("member_removed_delay_ms", "0");
	ck_assert_int_eq(join(0, ROOM, "bob", NULL), 0);
	fake_post_drop();
	j = join_as(1, ROOM, "ann", "{\"n\":1}");
	seq = expect(0, ADDED_ANN);
	ck_assert_uint_ge(j.seq, seq); /* ann herself has it in her roster */
	joined_free(&j);
	ck_assert_int_eq(join(0, ROOM, "ann", NULL), 0);
	expect_none();
	leave(1, ROOM, "ann");
	expect_none();
	leave(0, ROOM, "ann");
	expect(0, REMOVED_ANN);
	expect_none();
	check_info(ROOM, true, 1, 1);
	leave(0, ROOM, "bob");
	expect_none();
	check_info(ROOM, false, 0, 0);
	end();
}
END_TEST

START_TEST(member_is_removed_when_the_grace_ends)
{
	BEGIN("member_removed_delay_ms", "3000");
	ck_assert_int_eq(join(0, ROOM, "bob", NULL), 0);
	ck_assert_int_eq(join(1, ROOM, "ann", "{\"n\":1}"), 0);
	fake_post_drop();
	leave(1, ROOM, "ann");
	check_info(ROOM, true, 1, 2);
	pass(2999 * USEC_PER_MSEC);
	expect_none();
	pass(USEC_PER_MSEC);
	expect(0, REMOVED_ANN);
	expect_none();
	check_info(ROOM, true, 1, 1);
	leave(0, ROOM, "bob");
	end();
}
END_TEST

START_TEST(return_within_the_grace_is_no_change)
{
	struct joined j;

	BEGIN("member_removed_delay_ms", "3000");
	ck_assert_int_eq(join(0, ROOM, "bob", NULL), 0);
	ck_assert_int_eq(join(1, ROOM, "ann", "{\"n\":1}"), 0);
	fake_post_drop();
	for (int reload = 0; reload < 3; reload++) {
		leave(1, ROOM, "ann");
		pass(2 * USEC_PER_SEC);
		j = join_as(0, ROOM, "ann", "{\"n\":1}");
		ck_assert_ptr_nonnull(strstr(j.roster, "\"ann\":{\"n\":1}"));
		joined_free(&j);
		pass(10 * USEC_PER_SEC);
		leave(0, ROOM, "ann");
		ck_assert_int_eq(join(1, ROOM, "ann", "{\"n\":1}"), 0);
	}
	expect_none();
	leave(1, ROOM, "ann");
	pass(3 * USEC_PER_SEC);
	expect(0, REMOVED_ANN);
	end();
}
END_TEST

START_TEST(graces_that_end_together_remove_each_member)
{
	static const char *const users[] = { "a", "b", "c", "d", "e" };
	unsigned removed = 0;
	struct worker_message *m;

	BEGIN("member_removed_delay_ms", "1000");
	ck_assert_int_eq(join(0, ROOM, "bob", NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(users); i++)
		ck_assert_int_eq(join(1, ROOM, users[i], NULL), 0);
	fake_post_drop();
	for (size_t i = 0; i < ARRAY_SIZE(users); i++)
		leave(1, ROOM, users[i]);
	ck_assert_int_eq(join(1, ROOM, "c", NULL), 0); /* from the middle of the list */
	pass(USEC_PER_SEC);
	while ((m = fake_post_next(0))) {
		removed++;
		worker_message_free(m);
	}
	ck_assert_uint_eq(removed, 4);
	check_info(ROOM, true, 2, 2);
	end();
}
END_TEST

#define MANY 200000

/* A walk over all members in their grace would exceed the test's time many times over. */
START_TEST(one_of_very_many_members_returns_in_its_grace_at_once)
{
	struct presence_leaving leaving = { NULL };
	enum presence_change change;
	struct presence p;
	char id[16];

	presence_init(&p, false);
	for (unsigned i = 0; i < MANY; i++) {
		struct presence_joining who = { sv_n(id, (size_t)snprintf(id, sizeof(id), "%u", i)),
						SV("") };

		ck_assert_int_eq(presence_join(&p, &leaving, &who, 0, &change), 0);
		ck_assert_int_eq((int)presence_leave(&p, &leaving, who.user_id, 1, 10),
				 PRESENCE_LEAVING);
	}
	for (unsigned i = 0; i < MANY; i++) {
		struct presence_joining who = { sv_n(id, (size_t)snprintf(id, sizeof(id), "%u", i)),
						SV("") };

		ck_assert_int_eq(presence_join(&p, &leaving, &who, 0, &change), 0);
		ck_assert_int_eq((int)change, PRESENCE_SAME);
	}
	ck_assert_ptr_null(leaving.first);
	ck_assert_ptr_null(presence_leaving_expired(&leaving, 100));
	presence_release(&p);
}
END_TEST

START_TEST(empty_channel_lives_until_the_grace_ends)
{
	BEGIN("member_removed_delay_ms", "1000");
	ck_assert_int_eq(join(0, ROOM, "ann", NULL), 0);
	fake_post_drop();
	leave(0, ROOM, "ann");
	check_info(ROOM, false, 0, 1);
	pass(USEC_PER_SEC);
	check_info(ROOM, false, 0, 0);
	expect_none();
	end();
}
END_TEST

START_TEST(join_above_the_member_limit_is_refused)
{
	BEGIN("max_presence_members", "2", "member_removed_delay_ms", "0");
	ck_assert_int_eq(join(0, ROOM, "a", NULL), 0);
	ck_assert_int_eq(join(0, ROOM, "b", NULL), 0);
	fake_post_drop();
	ck_assert_int_eq(join(1, ROOM, "c", NULL), -EDQUOT);
	expect_none();
	check_info(ROOM, true, 2, 2);
	ck_assert_int_eq(join(1, ROOM, "b", NULL), 0); /* is there already */
	leave(0, ROOM, "a");
	ck_assert_int_eq(join(1, ROOM, "c", NULL), 0);
	check_info(ROOM, true, 3, 2);
	end();
}
END_TEST

struct names {
	unsigned n;
	char text[256];
};

static void add_name(void *ctx, struct str_view name)
{
	struct names *names = ctx;
	size_t used = strlen(names->text);

	names->n++;
	snprintf(names->text + used, sizeof(names->text) - used, "%.*s ", SV_ARG(name));
}

static void add_channel(void *ctx, struct str_view channel, unsigned subscriptions, unsigned users)
{
	ck_assert_uint_gt(subscriptions, 0);
	(void)users;
	add_name(ctx, channel);
}

START_TEST(walks_list_occupied_channels_and_members)
{
	struct names names = { 0 };

	BEGIN();
	ck_assert_int_eq(join(0, ROOM, "ann", NULL), 0);
	ck_assert_int_eq(join(0, ROOM, "bob", NULL), 0);
	ck_assert_int_eq(join(0, "public", NULL, NULL), 0);
	sign_in(0, "ann");
	publish("cache-empty", "1");
	directory_each_channel(dir, app, SV(""), add_channel, &names);
	ck_assert_uint_eq(names.n, 2);
	ck_assert_ptr_nonnull(strstr(names.text, ROOM));
	ck_assert_ptr_nonnull(strstr(names.text, "public"));
	names = (struct names){ 0 };
	directory_each_channel(dir, app, SV("presence-"), add_channel, &names);
	ck_assert_str_eq(names.text, ROOM " ");
	names = (struct names){ 0 };
	directory_each_member(dir, app, SV(ROOM), add_name, &names);
	ck_assert_uint_eq(names.n, 2);
	names = (struct names){ 0 };
	directory_each_member(dir, app, SV("presence-none"), add_name, &names);
	ck_assert_uint_eq(names.n, 0);
	end();
}
END_TEST

/* ---- cache ---- */

START_TEST(cached_event_expires_after_cache_ttl)
{
	struct joined j;
	struct channel_info i;

	BEGIN("cache_ttl", "60");
	j = join_as(0, "cache-x", NULL, NULL);
	ck_assert_ptr_null(j.cached);
	publish("cache-x", "one");
	publish("cache-x", "two");
	fake_post_drop();
	leave(0, "cache-x", NULL); /* it outlives its subscribers */
	pass(20 * USEC_PER_SEC);
	directory_channel_info(dir, app, SV("cache-x"), &i);
	ck_assert(!i.is_occupied && i.has_cache);
	ck_assert_str_eq(i.cache_data, "two");
	ck_assert_uint_eq(i.cache_ttl_s, 40);
	channel_info_release(&i);
	j = join_as(0, "cache-x", NULL, NULL);
	ck_assert_str_eq(j.cached, "two");
	joined_free(&j);
	pass(40 * USEC_PER_SEC);
	j = join_as(0, "cache-x", NULL, NULL);
	ck_assert_ptr_null(j.cached);
	directory_channel_info(dir, app, SV("cache-x"), &i);
	ck_assert(!i.has_cache);
	end();
}
END_TEST

START_TEST(event_without_subscribers_is_cached)
{
	struct joined j;

	BEGIN("cache_ttl", "60");
	publish("cache-x", "one");
	publish("plain", "one");
	expect_none();
	j = join_as(0, "cache-x", NULL, NULL);
	ck_assert_str_eq(j.cached, "one");
	joined_free(&j);
	expect_none();
	leave(0, "cache-x", NULL);
	pass(60 * USEC_PER_SEC);
	check_info("cache-x", false, 0, 0);
	end();
}
END_TEST

START_TEST(client_events_are_not_cached)
{
	struct joined j;
	struct msgbuf *frame;

	BEGIN();
	ck_assert_int_eq(join(0, "private-cache-x", NULL, NULL), 0);
	frame = ws_text_frame(SV("{}"));
	directory_send(dir, app, SV("private-cache-x"), frame, 0);
	msgbuf_unref(frame);
	j = join_as(1, "private-cache-x", NULL, NULL);
	ck_assert_ptr_null(j.cached);
	end();
}
END_TEST

/* ---- subscription_count ---- */

#define COUNT(n)                                                                                   \
	"{\"event\":\"pusher_internal:subscription_count\",\"channel\":\"x\","                     \
	"\"data\":\"{\\\"subscription_count\\\":" #n "}\"}"

START_TEST(counts_are_sent_when_enabled)
{
	BEGIN("subscription_count", "yes");
	ck_assert_int_eq(join(0, "x", NULL, NULL), 0);
	expect(0, COUNT(1));
	ck_assert_int_eq(join(1, "x", NULL, NULL), 0);
	expect(0, COUNT(2));
	expect(1, COUNT(2));
	leave(1, "x", NULL);
	expect(0, COUNT(1));
	ck_assert_int_eq(join(0, ROOM, "ann", NULL), 0);
	fake_post_drop();
	ck_assert_int_eq(join(0, ROOM, "ann", NULL), 0);
	expect_none(); /* not on presence channels */
	leave(0, "x", NULL);
	expect_none();
	end();
}
END_TEST

START_TEST(large_counts_are_sent_every_five_seconds)
{
	BEGIN("subscription_count", "yes");
	for (unsigned i = 0; i < 100; i++)
		ck_assert_int_eq(join(0, "x", NULL, NULL), 0);
	fake_post_drop();
	for (unsigned i = 0; i < 50; i++)
		ck_assert_int_eq(join(0, "x", NULL, NULL), 0);
	expect_none();
	pass(4900 * USEC_PER_MSEC);
	expect_none();
	pass(100 * USEC_PER_MSEC);
	expect(0, COUNT(150));
	expect_none();
	pass(60 * USEC_PER_SEC);
	expect_none(); /* nothing changed */
	leave(0, "x", NULL);
	expect(0, COUNT(149));
	for (unsigned i = 0; i < 149; i++)
		leave(0, "x", NULL);
	fake_post_drop();
	pass(60 * USEC_PER_SEC);
	expect_none();
	check_info("x", false, 0, 0);
	end();
}
END_TEST

/* ---- users ---- */

#define WATCHED(what)                                                                              \
	"{\"event\":\"pusher_internal:watchlist_events\",\"data\":{\"events\":[{\"name\":\"" what  \
	"\",\"user_ids\":[\"ann\"]}]}}"

START_TEST(watchers_are_notified_of_online_and_offline)
{
	BEGIN("member_removed_delay_ms", "1000");
	watch(0, "ann");
	ck_assert(!users_is_online(dir, app, SV("ann")));
	sign_in(1, "ann");
	expect(0, WATCHED("online"));
	ck_assert(users_is_online(dir, app, SV("ann")));
	ck_assert(!users_is_online(dir, app, SV("bob")));
	sign_in(1, "ann");
	sign_out(1, "ann");
	expect_none();
	sign_out(1, "ann");
	expect_none();
	ck_assert(users_is_online(dir, app, SV("ann")));
	pass(USEC_PER_SEC);
	expect(0, WATCHED("offline"));
	ck_assert(!users_is_online(dir, app, SV("ann")));
	expect_none();
	unwatch(0, "ann");
	end();
}
END_TEST

START_TEST(without_grace_watchers_are_notified_at_once)
{
	BEGIN("member_removed_delay_ms", "0");
	watch(0, "ann");
	sign_in(1, "ann");
	expect(0, WATCHED("online"));
	sign_out(1, "ann");
	expect(0, WATCHED("offline"));
	ck_assert(!users_is_online(dir, app, SV("ann")));
	end();
}
END_TEST

static void on_report(void *ctx UNUSED, const struct member_report *r UNUSED)
{
}

/* In a cluster a change can come before the first state, or after it. */
START_TEST(a_watcher_of_a_node_receives_each_state_once)
{
	const struct directory_member ann = { SV("ann"), SV("") };

	BEGIN("member_removed_delay_ms", "0");
	directory_share_members(dir, on_report, NULL);
	watch(0, "ann");
	expect_none();
	users_put(dir, app, SV("!user-ann"), &ann, false);
	expect(0, WATCHED("online"));
	users_set_known(dir, app, SV("!user-ann"));
	expect_none();
	users_drop(dir, app, SV("!user-ann"), SV("ann"));
	expect(0, WATCHED("offline"));
	users_set_known(dir, app, SV("!user-ann"));
	expect_none();
	unwatch(0, "ann");
	watch(0, "ann");
	directory_put_member(dir, app, SV("!user-ann"), &ann, false);
	expect_none();
	users_set_known(dir, app, SV("!user-ann"));
	expect(0, WATCHED("online"));
	expect_none();
	unwatch(0, "ann");
	end();
}
END_TEST

/* The result of a join of worker 0; not of a cluster. */
static struct user_state watch_state(const char *user)
{
	struct directory_join j = { .app = app, .socket_id = 77, .user_id = sv(user) };

	users_watch(dir, &j);
	msgbuf_unref(j.key);
	ck_assert(!j.is_unknown);
	return (struct user_state){ j.is_online, j.seq };
}

/* Takes what worker 0 has for a watcher: each message is another state. */
static void follow_state(struct user_state *state)
{
	struct worker_message *m;

	while ((m = fake_post_next(0))) {
		if (m->seq > state->seq) {
			ck_view_eq(fake_post_text(m),
				   state->is_online ? WATCHED("offline") : WATCHED("online"));
			state->is_online = !state->is_online;
		}
		worker_message_free(m);
	}
}

START_TEST(a_watcher_receives_what_is_there_and_each_change)
{
	struct user_state state;

	BEGIN("member_removed_delay_ms", "0");
	state = watch_state("ann");
	ck_assert(!state.is_online);
	sign_in(1, "ann");
	follow_state(&state);
	ck_assert(state.is_online);
	state = watch_state("ann");
	ck_assert(state.is_online);
	sign_out(1, "ann");
	follow_state(&state);
	ck_assert(!state.is_online);
	unwatch(0, "ann");
	unwatch(0, "ann");
	end();
}
END_TEST

/* Two threads that notify the watchers of two changes: the one with the earlier state is late. */
START_TEST(an_earlier_state_does_not_replace_a_later_one)
{
	struct user_watched of = { .channel = SV("!watch-ann"), .user_id = SV("ann") };
	struct user_state online, state;

	BEGIN("member_removed_delay_ms", "0");
	of.app = app;
	watch(0, "ann");
	sign_in(1, "ann");
	expect(0, WATCHED("online"));
	directory_user_state(dir, app, SV("!user-ann"), &online);
	sign_out(1, "ann");
	expect(0, WATCHED("offline"));
	state = directory_set_state(dir, &of, &online);
	ck_assert(online.is_online && !state.is_online);
	expect_none();
	unwatch(0, "ann");
	end();
}
END_TEST

/* The user signs in after the watcher has joined, and before the watcher has read the state. */
START_TEST(a_change_during_a_join_is_not_sent_again)
{
	struct directory_join j = { .socket_id = 77, .channel = SV("!watch-ann") };
	struct user_watched of = { NULL, SV("!watch-ann"), SV("ann"), true };
	struct user_state state;

	BEGIN("member_removed_delay_ms", "0");
	of.app = j.app = app;
	ck_assert_int_eq(directory_join(dir, &j), 0);
	msgbuf_unref(j.key);
	ck_assert(j.is_unknown);
	sign_in(1, "ann");
	directory_user_state(dir, app, SV("!user-ann"), &state);
	state = directory_set_state(dir, &of, &state);
	ck_assert(state.is_online);
	ck_assert_uint_le(expect(0, WATCHED("online")), state.seq);
	expect_none();
	sign_out(1, "ann");
	ck_assert_uint_gt(expect(0, WATCHED("offline")), state.seq);
	unwatch(0, "ann");
	end();
}
END_TEST

/* Of two who join at the same time, each gets the state once. */
START_TEST(a_watcher_who_has_not_read_the_state_yet_receives_it)
{
	struct directory_join j = { .socket_id = 77, .channel = SV("!watch-ann") };
	struct user_state state;

	BEGIN("member_removed_delay_ms", "0");
	j.app = app;
	ck_assert_int_eq(directory_join(dir, &j), 0);
	msgbuf_unref(j.key);
	state = watch_state("ann");
	ck_assert_uint_le(expect(0, WATCHED("offline")), state.seq);
	expect_none();
	unwatch(0, "ann");
	unwatch(0, "ann");
	end();
}
END_TEST

/* Signed in on one worker, perhaps a presence member on another. */
START_TEST(terminate_reaches_every_worker)
{
	BEGIN("user_authentication", "yes");
	sign_in(1, "ann");
	users_terminate(dir, app, SV("ann"));
	for (unsigned i = 0; i < WORKERS; i++) {
		struct worker_message *m = fake_post_next(i);

		ck_assert_ptr_nonnull(m);
		ck_assert_int_eq(m->kind, MESSAGE_CLOSE_USER);
		ck_view_eq(sv_skip(msgbuf_view(m->key), sizeof(unsigned)), "ann");
		worker_message_free(m);
	}
	expect_none();
	end();
}
END_TEST

/* Which users came ("+ann ") and went ("-ann "). */
static void on_user(void *ctx, struct app *of, struct str_view user_id, bool is_here)
{
	struct strbuf *seen = ctx;

	ck_assert_ptr_eq(of, app);
	strbuf_addf(seen, "%c%.*s ", is_here ? '+' : '-', SV_ARG(user_id));
}

START_TEST(user_changes_are_reported_once_for_each_channel)
{
	struct strbuf seen;

	BEGIN("member_removed_delay_ms", "3000");
	strbuf_init(&seen, 64);
	directory_watch_users(dir, on_user, &seen);
	ck_assert_int_eq(join(0, "plain", NULL, NULL), 0);
	ck_assert_int_eq(join(0, ROOM, "ann", NULL), 0);
	ck_assert_int_eq(join(1, ROOM, "ann", NULL), 0);
	sign_in(1, "ann");
	ck_view_eq(strbuf_view(&seen), "+ann +ann ");
	leave(0, ROOM, "ann");
	leave(1, ROOM, "ann");
	pass(2999 * USEC_PER_MSEC);
	ck_view_eq(strbuf_view(&seen), "+ann +ann ");
	pass(USEC_PER_MSEC);
	ck_view_eq(strbuf_view(&seen), "+ann +ann -ann ");
	sign_out(1, "ann");
	pass(2000 * USEC_PER_MSEC);
	sign_in(0, "ann"); /* in time */
	pass(4000 * USEC_PER_MSEC);
	ck_view_eq(strbuf_view(&seen), "+ann +ann -ann ");
	sign_out(0, "ann");
	pass(3000 * USEC_PER_MSEC);
	ck_view_eq(strbuf_view(&seen), "+ann +ann -ann -ann ");
	leave(0, "plain", NULL);
	strbuf_release(&seen);
	end();
}
END_TEST

/* ---- threads ---- */

struct churn {
	pthread_t thread;
	unsigned worker, seed;
};

static void *join_and_leave(void *arg)
{
	const struct churn *c = arg;
	char user[16];

	snprintf(user, sizeof(user), "user-%u", c->seed);
	for (unsigned i = 0; i < 400; i++) {
		struct channel_info info;
		struct names names = { 0 };

		ck_assert_int_eq(join(c->worker, "x", NULL, NULL), 0);
		ck_assert_int_eq(join(c->worker, ROOM, user, "{}"), 0);
		sign_in(c->worker, "ann");
		publish(i % 2 ? "x" : "cache-x", "1");
		directory_channel_info(dir, app, SV("x"), &info);
		ck_assert(info.is_occupied);
		channel_info_release(&info);
		directory_each_channel(dir, app, SV("presence-"), add_channel, &names);
		pass(0);
		sign_out(c->worker, "ann");
		leave(c->worker, ROOM, user);
		leave(c->worker, "x", NULL);
	}
	return NULL;
}

/* The seq of one channel's messages rises in each worker's mailbox. */
static void check_order(unsigned worker)
{
	struct msgbuf *key = channel_key_new(app, SV("x"));
	struct worker_message *m;
	uint64_t last = 0;

	while ((m = fake_post_next(worker))) {
		if (sv_eq(msgbuf_view(m->key), msgbuf_view(key))) {
			ck_assert_uint_gt(m->seq, last);
			last = m->seq;
		}
		worker_message_free(m);
	}
	msgbuf_unref(key);
}

START_TEST(threads_may_call_everything_at_once)
{
	struct churn churns[THREADS];

	BEGIN("subscription_count", "yes", "member_removed_delay_ms", _i ? "1000" : "0");
	for (unsigned i = 0; i < THREADS; i++) {
		churns[i].worker = i % WORKERS;
		churns[i].seed = i;
		ck_assert_int_eq(
			pthread_create(&churns[i].thread, NULL, join_and_leave, &churns[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(churns[i].thread, NULL);
	pass(2 * USEC_PER_SEC);
	check_info("x", false, 0, 0);
	check_info(ROOM, false, 0, 0);
	ck_assert(!users_is_online(dir, app, SV("ann")));
	for (unsigned i = 0; i < WORKERS; i++)
		check_order(i);
	end();
}
END_TEST

static TCase *subscriptions_case(void)
{
	TCase *t = tcase_create("subscriptions");

	tcase_add_test(t, joins_and_leaves_are_counted);
	tcase_add_test(t, messages_go_only_to_workers_with_subscribers);
	tcase_add_test(t, channels_of_two_apps_are_separate);
	tcase_add_test(t, seq_rises_when_a_channel_is_made_again);
	tcase_add_test(t, a_message_carries_the_excluded_socket);
	tcase_add_test(t, the_directory_is_behind_while_too_many_bytes_wait);
	tcase_add_test(t, counts_are_sent_when_enabled);
	tcase_add_test(t, large_counts_are_sent_every_five_seconds);
	return t;
}

static TCase *presence_case(void)
{
	TCase *t = tcase_create("presence");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, roster_has_each_user_once);
	tcase_add_test(t, without_grace_the_first_adds_and_the_last_removes);
	tcase_add_test(t, member_is_removed_when_the_grace_ends);
	tcase_add_test(t, return_within_the_grace_is_no_change);
	tcase_add_test(t, graces_that_end_together_remove_each_member);
	tcase_add_test(t, one_of_very_many_members_returns_in_its_grace_at_once);
	tcase_add_test(t, empty_channel_lives_until_the_grace_ends);
	tcase_add_test(t, join_above_the_member_limit_is_refused);
	tcase_add_test(t, walks_list_occupied_channels_and_members);
	tcase_add_test(t, user_changes_are_reported_once_for_each_channel);
	return t;
}

static TCase *cache_and_users_case(void)
{
	TCase *t = tcase_create("cache and users");

	tcase_add_test(t, cached_event_expires_after_cache_ttl);
	tcase_add_test(t, event_without_subscribers_is_cached);
	tcase_add_test(t, client_events_are_not_cached);
	tcase_add_test(t, watchers_are_notified_of_online_and_offline);
	tcase_add_test(t, without_grace_watchers_are_notified_at_once);
	tcase_add_test(t, a_watcher_of_a_node_receives_each_state_once);
	tcase_add_test(t, a_watcher_receives_what_is_there_and_each_change);
	tcase_add_test(t, an_earlier_state_does_not_replace_a_later_one);
	tcase_add_test(t, a_change_during_a_join_is_not_sent_again);
	tcase_add_test(t, a_watcher_who_has_not_read_the_state_yet_receives_it);
	tcase_add_test(t, terminate_reaches_every_worker);
	return t;
}

static TCase *threads_case(void)
{
	TCase *t = tcase_create("threads");

	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, threads_may_call_everything_at_once, 0, 2);
	return t;
}

int main(void)
{
	Suite *s = suite_create("core/directory");

	suite_add_tcase(s, subscriptions_case());
	suite_add_tcase(s, presence_case());
	suite_add_tcase(s, cache_and_users_case());
	suite_add_tcase(s, threads_case());
	return unit_run(s);
}
