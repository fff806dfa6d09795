/* SPDX-License-Identifier: MIT */
/* The parts of webhooks that need neither a thread, a database nor a network. */
#include <dlfcn.h>
#include <netdb.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include "unit_app.h"
#include "base/thread.h"
#include "webhook/sender.h"
#include "webhook/transitions.h"

static struct conf_webhooks conf;
static struct backlog backlog;
static struct transitions transitions;
static struct lanes lanes;
static struct app *app;

static void setup(void)
{
	thread_take_role(&on_webhook);
	ASSERT_ON(on_webhook);
	app = UNIT_APP("webhooks", "[{\"url\":\"http://a.example/\",\"event_types\":"
				   "[\"channel_occupied\",\"channel_vacated\",\"client_event\"]}]");
	unit_apps_install(&app, 1);
	conf = (struct conf_webhooks){ .smoothing_ms = 60000 };
	backlog = (struct backlog){ .max = 10 };
	transitions_init(&transitions, &conf, &backlog);
	lanes_init(&lanes);
}

static void teardown(void)
{
	transitions_release(&transitions);
	backlog_release(&backlog);
	lanes_release(&lanes);
	unit_apps_install(NULL, 0);
}

static bool put(enum webhook_event event, const char *channel)
{
	const struct transition t = { .event = event,
				      .app = app,
				      .channel = sv(channel),
				      .name = SV("client-x"),
				      .data = SV("{}") };

	return transitions_put(&transitions, &t);
}

/* The next webhook is this one; user_id and event are not compared. */
static void ck_next(struct hook_list *l, const char *channel, bool is_note)
{
	struct hook *h = hook_list_take(l);

	ck_assert_msg(h != NULL, "nothing for %s", channel);
	ck_assert_str_eq(h->channel, channel);
	ck_assert_int_eq(h->endpoint == NULL, is_note);
	hook_free(h);
}

static struct hook *a_hook(const char *channel)
{
	return hook_new("portal", "http://a.example/", sv(channel), SV("{}"));
}

/* ---- transitions ---- */

START_TEST(transitions_wait_in_their_order_until_reports_are_released)
{
	ASSERT_ON(on_webhook);
	ck_assert(put(WEBHOOK_CHANNEL_OCCUPIED, "one"));
	ck_assert(!put(WEBHOOK_CLIENT_EVENT, "one"));
	ck_assert(!put(WEBHOOK_CHANNEL_OCCUPIED, "two"));
	transitions_take(&transitions);
	ck_assert_uint_eq(backlog.waiting.n, 0);
	reported_release_hold(&transitions.reported);
	transitions_take(&transitions);
	ck_assert_uint_eq(backlog.waiting.n, 5);
	ck_next(&backlog.waiting, "one", false);
	ck_next(&backlog.waiting, "one", true);
	ck_next(&backlog.waiting, "one", false);
	ck_next(&backlog.waiting, "two", false);
	ck_next(&backlog.waiting, "two", true);
}
END_TEST

START_TEST(an_absence_that_ends_in_time_is_not_reported)
{
	ASSERT_ON(on_webhook);
	reported_release_hold(&transitions.reported);
	ck_assert(put(WEBHOOK_CHANNEL_OCCUPIED, "one"));
	transitions_take(&transitions);
	ck_next(&backlog.waiting, "one", false);
	ck_next(&backlog.waiting, "one", true);
	ck_assert(put(WEBHOOK_CHANNEL_VACATED, "one"));
	ck_assert(!put(WEBHOOK_CHANNEL_OCCUPIED, "one"));
	transitions_take(&transitions);
	ck_assert_uint_eq(reported_tick(&transitions.reported, clock_mono() + USEC_PER_SEC * 3600),
			  0);
	ck_assert_uint_eq(backlog.waiting.n, 0);
}
END_TEST

START_TEST(an_absence_is_reported_when_it_has_lasted)
{
	usec_t now = clock_mono();

	ASSERT_ON(on_webhook);
	reported_release_hold(&transitions.reported);
	ck_assert(put(WEBHOOK_CHANNEL_OCCUPIED, "one"));
	ck_assert(!put(WEBHOOK_CHANNEL_VACATED, "one"));
	transitions_take(&transitions);
	ck_assert_uint_eq(backlog.waiting.n, 2);
	ck_assert_uint_ge(reported_tick(&transitions.reported, now), now);
	ck_assert_uint_eq(backlog.waiting.n, 2);
	ck_assert_uint_eq(reported_tick(&transitions.reported, now + USEC_PER_SEC * 3600), 0);
	ck_assert_uint_eq(backlog.waiting.n, 4);
}
END_TEST

START_TEST(a_closed_mailbox_takes_no_transition)
{
	ASSERT_ON(on_webhook);
	mailbox_close(&transitions.mailbox);
	ck_assert(!put(WEBHOOK_CHANNEL_OCCUPIED, "one"));
	reported_release_hold(&transitions.reported);
	transitions_take(&transitions);
	ck_assert_uint_eq(backlog.waiting.n, 0);
}
END_TEST

/* ---- the backlog ---- */

START_TEST(a_full_backlog_drops_what_is_newer)
{
	struct hook *first;

	ASSERT_ON(on_webhook);
	backlog.max = 2;
	backlog_add(&backlog, a_hook("one"));
	first = hook_list_take(&backlog.waiting);
	hook_list_add(&backlog.writing, first);
	backlog_add(&backlog, a_hook("two"));
	backlog_add(&backlog, a_hook("three"));
	ck_assert_uint_eq(backlog.writing.n, 1);
	ck_assert_uint_eq(backlog.waiting.n, 1);
	ck_next(&backlog.waiting, "two", false);
}
END_TEST

START_TEST(without_a_database_lanes_are_made_of_the_backlog)
{
	struct lane *lane;
	size_t at = 0;

	ASSERT_ON(on_webhook);
	backlog_add(&backlog, a_hook("one"));
	backlog_add(&backlog, hook_note(SV("portal"), SV("one"), SV(""), true));
	backlog_add(&backlog, a_hook("one"));
	backlog_make_lanes(&backlog, &lanes, 1);
	ck_assert_uint_eq(lanes_count(&lanes), 1);
	lane = lanes_next(&lanes, &at);
	ck_assert(lane->is_memory);
	ck_assert_uint_eq(lane->waiting.n, 2);
	ck_assert_uint_eq(backlog.waiting.n, 1);
	ck_next(&backlog.waiting, "one", true);
}
END_TEST

START_TEST(webhooks_of_a_claimed_lane_wait_in_the_backlog)
{
	struct hook *h = a_hook("one");
	struct lane *claimed = lanes_add(&lanes, h, 1);

	ASSERT_ON(on_webhook);
	backlog_add(&backlog, h);
	backlog_make_lanes(&backlog, &lanes, 2);
	ck_assert_uint_eq(claimed->waiting.n, 0);
	ck_assert_uint_eq(backlog.waiting.n, 1);
}
END_TEST

START_TEST(webhooks_of_lanes_in_memory_come_before_newer_ones)
{
	struct lane *lane;
	size_t at = 0;

	ASSERT_ON(on_webhook);
	backlog_add(&backlog, a_hook("one"));
	backlog_make_lanes(&backlog, &lanes, 1);
	backlog_add(&backlog, a_hook("two"));
	lane = lanes_next(&lanes, &at);
	lane->n_in_flight = 1;
	backlog_take_lanes(&backlog, &lanes);
	ck_assert_uint_eq(lanes_count(&lanes), 1);
	lane->n_in_flight = 0;
	backlog_take_lanes(&backlog, &lanes);
	ck_assert_uint_eq(lanes_count(&lanes), 0);
	ck_next(&backlog.waiting, "one", false);
	ck_next(&backlog.waiting, "two", false);
}
END_TEST

/* ---- the sender ---- */

static sem_t lookup_may_end;
static atomic_uint lookups_begun, lookups_ended;

/* libcurl's: the look-up of slow.test does not end by itself. */
int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
		struct addrinfo **out)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	int error = EAI_NONAME;

	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	if (strcmp(host, "slow.test") != 0)
		return real(host, port, hints, out);
	atomic_fetch_add(&lookups_begun, 1);
	sem_wait(&lookup_may_end);
	atomic_fetch_add(&lookups_ended, 1);
	return error;
}

static void count_failure(void *ctx, const struct sender_result *r)
{
	ck_assert(!r->is_delivered);
	++*(unsigned *)ctx;
}

START_TEST(a_host_whose_name_is_not_found_holds_up_no_other_request)
{
	char none[1] = "";
	const struct conf_webhooks slow = { .timeout_ms = 100,
					    .allow_private = true,
					    .ca_file = none };
	struct sender *s = sender_new(&slow);
	unsigned n_done = 0;
	const struct sender_request r = { .url = "http://slow.test:1/",
					  .app = app,
					  .body = SV("{}"),
					  .done = count_failure,
					  .ctx = &n_done };

	ASSERT_ON(on_webhook);
	sem_init(&lookup_may_end, 0, 0);
	ck_assert_ptr_nonnull(s);
	sender_send(s, &r);
	while (!n_done)
		sender_wait(s, 10);
	while (!atomic_load(&lookups_begun)) /* its thread may come later than the timeout */
		sched_yield();
	ck_assert_uint_eq(atomic_load(&lookups_begun), 1);
	ck_assert_uint_eq(atomic_load(&lookups_ended), 0);
	sender_send(s, &r);
	sender_cancel(s);
	ck_assert_uint_eq(n_done, 2);
	sender_free(s);
	for (unsigned i = 0; i < 2; i++)
		sem_post(&lookup_may_end);
	while (atomic_load(&lookups_ended) < atomic_load(&lookups_begun))
		sched_yield();
}
END_TEST

static struct hook *hook_of(const char *endpoint, unsigned channel)
{
	char name[16];

	return hook_new("portal", endpoint,
			sv_n(name, (size_t)snprintf(name, sizeof(name), "c%u", channel)), SV("{}"));
}

START_TEST(endpoints_with_many_lanes_are_found)
{
	static const struct {
		const char *endpoint;
		unsigned n;
	} cases[] = { { "a", 5 }, { "ab", 7 }, { "b", 6 } };
	const struct lane **full;

	ck_assert_uint_eq(lanes_find_full(&lanes, 1, &full), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		for (unsigned n = 0; n < cases[i].n; n++) {
			struct hook *h = hook_of(cases[i].endpoint, n);
			struct lane *lane = lanes_add(&lanes, h, 1);

			hook_list_add(&lane->waiting, h);
		}
	ck_assert_uint_eq(lanes_find_full(&lanes, 8, &full), 0);
	ck_assert_uint_eq(lanes_find_full(&lanes, 7, &full), 1);
	ck_assert_str_eq(full[0]->endpoint, "ab");
	free(full);
	ck_assert_uint_eq(lanes_find_full(&lanes, 6, &full), 2);
	ck_assert_str_ne(full[0]->endpoint, "a");
	ck_assert_str_ne(full[1]->endpoint, "a");
	free(full);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("webhook/parts");
	TCase *t = tcase_create("transitions");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, transitions_wait_in_their_order_until_reports_are_released);
	tcase_add_test(t, an_absence_that_ends_in_time_is_not_reported);
	tcase_add_test(t, an_absence_is_reported_when_it_has_lasted);
	tcase_add_test(t, a_closed_mailbox_takes_no_transition);
	suite_add_tcase(s, t);
	t = tcase_create("backlog");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_full_backlog_drops_what_is_newer);
	tcase_add_test(t, without_a_database_lanes_are_made_of_the_backlog);
	tcase_add_test(t, webhooks_of_a_claimed_lane_wait_in_the_backlog);
	tcase_add_test(t, webhooks_of_lanes_in_memory_come_before_newer_ones);
	tcase_add_test(t, endpoints_with_many_lanes_are_found);
	suite_add_tcase(s, t);
	t = tcase_create("sender");
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_host_whose_name_is_not_found_holds_up_no_other_request);
	suite_add_tcase(s, t);
	return unit_run(s);
}
