/* SPDX-License-Identifier: MIT */
/* The flight recorder: steps, the bound, who is forgotten. */
#include <pthread.h>
#include <string.h>
#include "trace/recorder.h"
#include "unit.h"

struct seen {
	unsigned connections, steps, times, closed;
	char first[300]; /* the first step's text */
};

static void look(void *ctx, const struct recorded *c)
{
	struct seen *seen = ctx;

	seen->connections++;
	seen->closed += c->closed_at != 0;
	for (const struct recorded_step *s = c->first; s; s = s->next) {
		if (!seen->steps++)
			snprintf(seen->first, sizeof(seen->first), "%.*s",
				 s->channel_len + s->detail_len, s->text);
		seen->times += s->times;
	}
}

static struct seen all(struct recorder *r)
{
	struct seen seen = { 0 };

	recorder_each(r, look, &seen);
	return seen;
}

static struct seen one(struct recorder *r, uint64_t id)
{
	struct seen seen = { 0 };

	ck_assert(recorder_find(r, id, look, &seen));
	return seen;
}

static atomic_uint no_bytes;

static void open_one(struct recorder *r, uint64_t id, const char *app)
{
	recorder_open(
		r, &(struct recorder_opening){ .id = id, .app = app, .outbox_bytes = &no_bytes });
}

static void note(struct recorder *r, uint64_t id, const char *detail)
{
	recorder_note(r, id,
		      &(struct recorder_step){ .kind = STEP_SUBSCRIBED, .detail = sv(detail) });
}

START_TEST(the_last_100_steps_are_kept_and_equal_ones_are_counted)
{
	struct recorder *r = recorder_new(1 << 20);
	char text[16];

	open_one(r, 1, "a");
	for (unsigned i = 0; i < 250; i++) {
		snprintf(text, sizeof(text), "%u", i);
		note(r, 1, text);
	}
	ck_assert_uint_eq(one(r, 1).steps, RECORDER_STEPS);
	ck_assert_str_eq(one(r, 1).first, "150");
	for (unsigned i = 0; i < 1000; i++)
		note(r, 1, "again");
	ck_assert_uint_eq(one(r, 1).steps, RECORDER_STEPS);
	ck_assert_uint_eq(one(r, 1).times, RECORDER_STEPS - 1 + 1000);
	recorder_free(r);
}
END_TEST

START_TEST(a_long_text_is_cut_between_characters)
{
	struct recorder *r = recorder_new(1 << 20);
	char text[402];

	memset(text, 'x', sizeof(text));
	memcpy(text + 199, "\xc3\xa9", 2);
	text[401] = '\0';
	open_one(r, 1, "a");
	note(r, 1, text);
	ck_assert_uint_eq(strlen(one(r, 1).first), 199);
	recorder_free(r);
}
END_TEST

START_TEST(the_oldest_closed_connections_are_forgotten_first)
{
	struct recorder *r = recorder_new(20000);
	struct seen seen = { 0 };

	open_one(r, 1, "a");
	note(r, 1, "stays");
	for (uint64_t id = 2; id < 1000; id++) {
		open_one(r, id, "a");
		note(r, id, "a step of a connection that closes");
		recorder_close(r, id, 1000);
	}
	ck_assert(recorder_find(r, 999, look, &seen));
	ck_assert(!recorder_find(r, 2, look, &seen));
	ck_assert_uint_eq(one(r, 1).steps, 1);
	ck_assert(all(r).connections < 100 && all(r).connections > 10);
	/* then the steps of the connection that has a new one */
	for (unsigned i = 0; i < 1000; i++) {
		char text[200];

		memset(text, 'a' + (int)(i % 26), sizeof(text));
		text[199] = '\0';
		note(r, 1, text);
		open_one(r, 2000 + i, "a");
		note(r, 2000 + i, text);
	}
	ck_assert_uint_eq(all(r).connections, 1001);
	ck_assert(all(r).steps < 20000 / 200);
	recorder_free(r);
}
END_TEST

START_TEST(without_room_there_are_open_connections_only)
{
	struct recorder *r = recorder_new(0);
	struct seen seen = { 0 };

	open_one(r, 1, "a");
	note(r, 1, "nothing");
	ck_assert_uint_eq(one(r, 1).steps, 0);
	recorder_close(r, 1, 1000);
	ck_assert(!recorder_find(r, 1, look, &seen));
	recorder_free(r);
	open_one(NULL, 1, "a");
	note(NULL, 1, "nothing");
	recorder_close(NULL, 1, 1000);
	recorder_forget_user(NULL, SV("a"), SV("7"));
	ck_assert(!recorder_find(NULL, 1, look, &seen));
}
END_TEST

START_TEST(a_user_is_forgotten_in_one_app_only)
{
	struct recorder *r = recorder_new(1 << 20);
	struct seen seen = { 0 };

	for (uint64_t id = 1; id <= 4; id++) {
		open_one(r, id, id == 4 ? "b" : "a");
		recorder_set_user(r, id, SV("9"), PROOF_AUTHORIZED);
		recorder_set_user(r, id, id == 3 ? SV("8") : SV("7"), PROOF_SIGNED_IN);
		recorder_set_user(r, id, SV("9"), PROOF_MEMBER);
		note(r, id, "a step");
	}
	recorder_close(r, 1, 1000);
	recorder_close(r, 3, 1000);
	recorder_forget_user(r, SV("a"), SV("7"));
	ck_assert(!recorder_find(r, 1, look, &seen));
	ck_assert_uint_eq(one(r, 2).steps, 0);
	ck_assert_uint_eq(one(r, 3).steps, 1);
	ck_assert_uint_eq(one(r, 4).steps, 1);
	recorder_free(r);
}
END_TEST

START_TEST(a_step_named_for_another_app_is_left_out)
{
	struct recorder *r = recorder_new(1 << 20);
	struct recorder_step step = { .kind = STEP_AUTHORIZED, .app = "b" };

	open_one(r, 1, "a");
	recorder_note(r, 1, &step);
	ck_assert_uint_eq(one(r, 1).steps, 0);
	step.app = "a";
	recorder_note(r, 1, &step);
	ck_assert_uint_eq(one(r, 1).steps, 1);
	recorder_free(r);
}
END_TEST

static void *churn(void *ctx)
{
	static atomic_ulong next = 1;

	for (unsigned i = 0; i < 3000; i++) {
		uint64_t id = atomic_fetch_add(&next, 1);
		struct msgbuf *key = msgbuf_from(SV("1234news"));

		open_one(ctx, id, "a");
		recorder_join(ctx, id, key);
		recorder_set_user(ctx, id, SV("7"), PROOF_MEMBER);
		note(ctx, id, "a step");
		if (i % 3)
			recorder_leave(ctx, id, msgbuf_view(key));
		recorder_close(ctx, id, 1000);
		msgbuf_unref(key);
	}
	return NULL;
}

START_TEST(threads_may_record_read_and_forget_at_once)
{
	struct recorder *r = recorder_new(100000);
	pthread_t threads[3];

	for (size_t i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, churn, r), 0);
	for (unsigned i = 0; i < 50; i++) {
		ck_assert(all(r).connections < 3000);
		recorder_forget_user(r, SV("a"), SV("7"));
	}
	for (size_t i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(all(r).connections, all(r).closed);
	recorder_free(r);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("trace/recorder");
	TCase *t = tcase_create("trace_recorder");

	tcase_add_test(t, the_last_100_steps_are_kept_and_equal_ones_are_counted);
	tcase_add_test(t, a_long_text_is_cut_between_characters);
	tcase_add_test(t, the_oldest_closed_connections_are_forgotten_first);
	tcase_add_test(t, without_room_there_are_open_connections_only);
	tcase_add_test(t, a_user_is_forgotten_in_one_app_only);
	tcase_add_test(t, a_step_named_for_another_app_is_left_out);
	tcase_add_test(t, threads_may_record_read_and_forget_at_once);
	suite_add_tcase(s, t);
	return unit_run(s);
}
