/* SPDX-License-Identifier: MIT */
/* The live tail: texts are given once for each request, bounded, and filtered. */
#include <pthread.h>
#include <string.h>
#include "trace/live_tail.h"
#include "unit.h"

struct reader {
	struct tail_watcher *watcher;
	atomic_uint n_given, n_messages, n_lost, n_ends;
	char last[6000];
};

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;

	while ((text = strstr(text, what))) {
		text++;
		n++;
	}
	return n;
}

static void on_text(void *ctx, struct strbuf *text, bool is_end)
{
	struct reader *r = ctx;
	const char *lost = strstr(text->ptr, "{\"lost\":");

	snprintf(r->last, sizeof(r->last), "%s", text->ptr);
	atomic_fetch_add(&r->n_messages, count(text->ptr, "event: event\n"));
	if (lost)
		atomic_fetch_add(&r->n_lost, (unsigned)strtoul(lost + 8, NULL, 10));
	atomic_fetch_add(&r->n_ends, is_end);
	strbuf_release(text);
	atomic_fetch_add(&r->n_given, 1);
}

static void watch(struct live_tail *t, struct reader *r, struct tail_filter filter)
{
	memset(r, 0, sizeof(*r));
	r->watcher = tail_watcher_new(t, &filter, on_text, r);
	ck_assert_ptr_nonnull(r->watcher);
	tail_watcher_next(r->watcher);
	ck_assert_str_eq(r->last, ":\n\n");
}

static void add(struct live_tail *t, const char *channel, struct str_view data)
{
	live_tail_add(t, &(struct tail_message){ .kind = TAIL_EVENT,
						 .app = SV("a"),
						 .channel = sv(channel),
						 .event = SV("made"),
						 .data = data,
						 .reached = 1 });
}

START_TEST(a_text_is_given_once_for_each_request)
{
	struct live_tail *t = live_tail_new();
	struct reader r;

	ck_assert(!live_tail_wants(t, TAIL_EVENT));
	watch(t, &r, (struct tail_filter){ .kinds = TAIL_EVENT });
	ck_assert(live_tail_wants(t, TAIL_EVENT) && !live_tail_wants(t, TAIL_REFUSAL));
	add(t, "news", SV("1"));
	add(t, "news", SV("2"));
	ck_assert_uint_eq(r.n_given, 1);
	tail_watcher_next(r.watcher);
	ck_assert_uint_eq(r.n_messages, 2);
	tail_watcher_next(r.watcher);
	ck_assert_uint_eq(r.n_given, 2);
	add(t, "news", SV("3"));
	ck_assert_uint_eq(r.n_given, 3);
	ck_assert_ptr_nonnull(strstr(r.last, "\"data\":\"3\""));
	tail_watcher_free(r.watcher);
	ck_assert(!live_tail_wants(t, TAIL_EVENT));
	live_tail_free(t);
}
END_TEST

START_TEST(what_does_not_fit_is_counted)
{
	struct live_tail *t = live_tail_new();
	struct reader r;

	watch(t, &r, (struct tail_filter){ .kinds = TAIL_EVENT });
	for (unsigned i = 0; i < 10000; i++)
		add(t, "news", SV("some data of an event"));
	tail_watcher_next(r.watcher);
	ck_assert(r.n_messages > 100 && r.n_lost > 100);
	ck_assert_uint_eq(r.n_messages + r.n_lost, 10000);
	tail_watcher_free(r.watcher);
	live_tail_free(t);
}
END_TEST

START_TEST(a_filter_is_of_channels_users_and_apps)
{
	static const struct {
		struct tail_filter filter;
		unsigned n;
	} cases[] = {
		{ { .channel = SV("n*s"), .kinds = TAIL_ALL }, 1 },
		{ { .channel = SV("new"), .kinds = TAIL_ALL }, 0 },
		{ { .user = SV("7"), .kinds = TAIL_ALL }, 1 },
		{ { .app = SV("b"), .kinds = TAIL_ALL }, 0 },
		{ { .event = SV("m*"), .kinds = TAIL_ALL }, 2 },
	};
	struct live_tail *t = live_tail_new();

	for (size_t i = 0; i < 5; i++) {
		struct reader r;

		watch(t, &r, cases[i].filter);
		add(t, "news", SV("1"));
		add(t, "#server-to-user-7", SV("1"));
		tail_watcher_next(r.watcher);
		ck_assert_uint_eq(r.n_messages, cases[i].n);
		if (!cases[i].n)
			live_tail_close(t); /* gives the text that is owed */
		tail_watcher_free(r.watcher);
		if (!cases[i].n) {
			live_tail_free(t);
			t = live_tail_new();
		}
	}
	live_tail_free(t);
}
END_TEST

START_TEST(a_closed_tail_ends_its_streams_and_takes_no_other)
{
	struct live_tail *t = live_tail_new();
	struct reader waits, has_text;

	watch(t, &waits, (struct tail_filter){ .kinds = TAIL_EVENT });
	watch(t, &has_text, (struct tail_filter){ .kinds = TAIL_EVENT });
	tail_watcher_next(waits.watcher);
	live_tail_close(t);
	ck_assert_uint_eq(waits.n_ends, 1);
	ck_assert_uint_eq(has_text.n_ends, 0);
	tail_watcher_next(has_text.watcher);
	ck_assert_uint_eq(has_text.n_ends, 1);
	ck_assert_ptr_null(
		tail_watcher_new(t, &(struct tail_filter){ .kinds = TAIL_EVENT }, on_text, &waits));
	tail_watcher_free(waits.watcher);
	tail_watcher_free(has_text.watcher);
	live_tail_free(t);
}
END_TEST

static bool is_owner_1(void *ctx, uint64_t owner)
{
	(*(unsigned *)ctx)++;
	return owner == 1;
}

START_TEST(the_streams_of_an_owner_who_may_not_watch_any_more_end)
{
	struct live_tail *t = live_tail_new();
	struct reader stays, waits, has_text;
	unsigned n = 0;

	watch(t, &stays, (struct tail_filter){ .kinds = TAIL_EVENT, .owner = 1 });
	watch(t, &waits, (struct tail_filter){ .kinds = TAIL_EVENT, .owner = 2 });
	watch(t, &has_text, (struct tail_filter){ .kinds = TAIL_EVENT, .owner = 0 });
	tail_watcher_next(stays.watcher);
	tail_watcher_next(waits.watcher);
	live_tail_review(t, is_owner_1, &n);
	live_tail_review(t, is_owner_1, &n);
	ck_assert_uint_eq(n, 6);
	ck_assert_uint_eq(waits.n_ends, 1);
	tail_watcher_next(has_text.watcher);
	ck_assert_uint_eq(has_text.n_ends, 1);
	ck_assert_uint_eq(stays.n_ends, 0);
	add(t, "news", SV("some data"));
	ck_assert_uint_eq(stays.n_messages, 1);
	ck_assert_uint_eq(waits.n_messages, 0);
	tail_watcher_free(stays.watcher);
	tail_watcher_free(waits.watcher);
	tail_watcher_free(has_text.watcher);
	live_tail_review(t, is_owner_1, &n);
	ck_assert_uint_eq(n, 6);
	live_tail_free(t);
}
END_TEST

static void *publish(void *ctx)
{
	for (unsigned i = 0; i < 20000; i++)
		add(ctx, "news", SV("some data"));
	return NULL;
}

START_TEST(threads_may_publish_while_one_reads)
{
	struct live_tail *t = live_tail_new();
	pthread_t threads[3];
	struct reader r;

	watch(t, &r, (struct tail_filter){ .kinds = TAIL_EVENT });
	for (size_t i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, publish, t), 0);
	while (r.n_messages + r.n_lost < 60000) {
		unsigned n = r.n_given;

		tail_watcher_next(r.watcher);
		while (r.n_given == n)
			sched_yield();
	}
	for (size_t i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(r.n_messages + r.n_lost, 60000);
	tail_watcher_free(r.watcher);
	live_tail_free(t);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("trace/live_tail");
	TCase *t = tcase_create("trace_live_tail");

	tcase_add_test(t, a_text_is_given_once_for_each_request);
	tcase_add_test(t, what_does_not_fit_is_counted);
	tcase_add_test(t, the_streams_of_an_owner_who_may_not_watch_any_more_end);
	tcase_add_test(t, a_filter_is_of_channels_users_and_apps);
	tcase_add_test(t, a_closed_tail_ends_its_streams_and_takes_no_other);
	tcase_add_test(t, threads_may_publish_while_one_reads);
	suite_add_tcase(s, t);
	return unit_run(s);
}
