/* SPDX-License-Identifier: MIT */
/* Publishes that wait for workers, with the real directory and a clock that the tests move. */
#include <errno.h>
#include "post.h"
#include "unit_app.h"
#include "unit_clock.h"
#include "svc/admission.h"

#define WORKERS 2
#define NAMES	8

static struct directory *directory;
static struct admission *admission;
static struct app *apps[2];
static int64_t counted_before[ADMISSION_REFUSED + 1];

struct publish {
	struct admission_wait wait;
	const char *name;
};

/* The names of those that ended, in order; a refused one has a '-' after it. */
static char ended[8 * NAMES];

static void on_done(struct admission_wait *w, int rc)
{
	const struct publish *p = CONTAINER_OF(w, struct publish, wait);

	ck_assert(rc == 0 || rc == -ENOBUFS);
	snprintf(ended + strlen(ended), sizeof(ended) - strlen(ended), "%s%s", p->name,
		 rc ? "-" : "");
}

static void setup(void)
{
	unit_clock_begin(USEC_PER_SEC);
	ended[0] = '\0';
	for (unsigned i = 0; i <= ADMISSION_REFUSED; i++)
		counted_before[i] = unit_metric(METRIC_ADMISSION, i);
	apps[0] = UNIT_APP_AS("a", "key", "key-a");
	apps[1] = UNIT_APP_AS("b", "key", "key-b");
	unit_apps_install((struct app *[]){ app_ref(apps[0]), app_ref(apps[1]) }, 2);
	directory = fake_post_directory(WORKERS);
	admission = admission_new(directory);
	ck_assert_ptr_nonnull(admission);
}

static void teardown(void)
{
	admission_close(admission);
	fake_post_release();
	admission_free(admission);
	directory_free(directory);
	unit_apps_install(NULL, 0);
	app_unref(apps[0]);
	app_unref(apps[1]);
	unit_clock_end();
}

/* So many frames that one message takes more than the marks allow. */
static const struct load_amount much = {
	.messages = 10,
	.frames = 2 * LOAD_PROMISED_US * 1000 / LOAD_FIRST_NS,
	.bytes = 1000,
};

static void fall_behind(unsigned worker)
{
	worker_loads_posted(directory_loads(directory), worker, &much);
}

/* It took as long as expected, so that the cost of a frame does not change. */
static void catch_up(unsigned worker)
{
	worker_loads_written(directory_loads(directory), worker, &much, unit_now,
			     unit_now + (usec_t)(much.frames * LOAD_FIRST_NS / 1000));
}

static bool enter_sized(struct publish *p, const char *name, unsigned app, unsigned client,
			struct load_share share)
{
	struct address address = { .bytes = { [15] = (unsigned char)client }, .is_known = 1 };

	*p = (struct publish){ .name = name, .wait = { .share = share, .done = on_done } };
	if (admission_enter(admission, &p->wait))
		return true;
	admission_park(admission, apps[app], &address, &p->wait);
	return false;
}

/* A publish of one frame for the workers of the mask. */
static bool enter(struct publish *p, const char *name, unsigned app, unsigned client,
		  uint64_t workers)
{
	return enter_sized(p, name, app, client,
			   (struct load_share){ .workers = workers, .messages = 1, .frames = 1 });
}

/* Since the test began. */
static int64_t counted(enum metric_admission result)
{
	return unit_metric(METRIC_ADMISSION, result) - counted_before[result];
}

static bool is_woken(void)
{
	struct wake w = { .fd_plus_1 = admission_fd(admission) + 1 };

	return wake_wait(&w, 0);
}

START_TEST(a_publish_is_admitted_while_the_workers_keep_up)
{
	struct publish p;

	ck_assert(enter(&p, "p", 0, 1, 3));
	admission_leave(admission, &p.wait);
	ck_assert_int_eq(admission_run(admission), -1);
	ck_assert_int_eq(counted(ADMISSION_ADMITTED), 1);
	ck_assert_int_eq(counted(ADMISSION_WAITED), 0);
}
END_TEST

START_TEST(a_publish_waits_until_its_worker_has_caught_up)
{
	struct publish p, q;

	fall_behind(0);
	ck_assert(!enter(&p, "p", 0, 1, 1));
	ck_assert(!enter(&q, "q", 0, 1, 1));
	ck_assert_int_gt(admission_run(admission), 0);
	ck_assert_str_eq(ended, "");
	ck_assert(!is_woken());
	catch_up(0);
	ck_assert(is_woken());
	ck_assert_int_eq(admission_run(admission), -1);
	ck_assert_str_eq(ended, "pq");
	ck_assert_int_eq(counted(ADMISSION_WAITED), 2);
	admission_leave(admission, &p.wait);
	admission_leave(admission, &q.wait);
}
END_TEST

START_TEST(the_worker_wakes_once_each_time_it_has_caught_up)
{
	struct publish p;

	fall_behind(0);
	catch_up(0);
	ck_assert(!is_woken()); /* there was no waiter */
	fall_behind(0);
	ck_assert(!enter(&p, "p", 0, 1, 1));
	ck_assert_int_gt(admission_run(admission), 0);
	catch_up(0);
	ck_assert(is_woken());
	admission_run(admission);
	admission_leave(admission, &p.wait);
	fall_behind(0);
	catch_up(0);
	ck_assert(!is_woken());
}
END_TEST

START_TEST(applications_and_their_publishers_take_turns)
{
	struct publish p[NAMES];

	fall_behind(0);
	ck_assert(!enter(&p[0], "A1 ", 0, 1, 1));
	ck_assert(!enter(&p[1], "A1 ", 0, 1, 1));
	ck_assert(!enter(&p[2], "A1 ", 0, 1, 1));
	ck_assert(!enter(&p[3], "A2 ", 0, 2, 1));
	ck_assert(!enter(&p[4], "B1 ", 1, 1, 1));
	ck_assert(!enter(&p[5], "B1 ", 1, 1, 1));
	catch_up(0);
	admission_run(admission);
	ck_assert_str_eq(ended, "A1 B1 A2 B1 A1 A1 ");
	for (unsigned i = 0; i < 6; i++)
		admission_leave(admission, &p[i].wait);
}
END_TEST

START_TEST(what_waits_for_one_worker_delays_no_publish_for_another)
{
	struct publish p, q, r;

	fall_behind(0);
	ck_assert(!enter(&p, "p", 0, 1, 1));
	ck_assert(!enter(&q, "q", 0, 2, 2));
	ck_assert(!enter(&r, "r", 1, 1, 2));
	admission_run(admission);
	ck_assert(strcmp(ended, "qr") == 0 || strcmp(ended, "rq") == 0);
	catch_up(0);
	admission_run(admission);
	ck_assert_uint_eq(strlen(ended), 3);
	admission_leave(admission, &p.wait);
	admission_leave(admission, &q.wait);
	admission_leave(admission, &r.wait);
}
END_TEST

START_TEST(a_publish_is_refused_after_its_deadline)
{
	struct publish p, q, r;
	int ms;

	fall_behind(0);
	ck_assert(!enter(&p, "p", 0, 1, 1));
	unit_now += ADMISSION_WAIT_US / 2;
	ck_assert(!enter(&q, "q", 0, 1, 1));
	ms = admission_run(admission);
	ck_assert_int_ge(ms, ADMISSION_WAIT_US / 2 / USEC_PER_MSEC);
	unit_now += ADMISSION_WAIT_US / 2;
	admission_run(admission);
	ck_assert_str_eq(ended, "p-");
	ck_assert_int_eq(counted(ADMISSION_REFUSED), 1);
	admission_leave(admission, &p.wait);
	catch_up(0);
	admission_run(admission);
	ck_assert_str_eq(ended, "p-q");
	admission_leave(admission, &q.wait);
	ck_assert(enter(&r, "r", 0, 1, 1));
	admission_leave(admission, &r.wait);
}
END_TEST

START_TEST(an_admitted_publish_counts_until_it_has_ended)
{
	const struct load_share big = { .workers = 1, .messages = 10, .frames = much.frames };
	struct publish p, q;

	ck_assert(enter_sized(&p, "p", 0, 1, big));
	ck_assert(!enter(&q, "q", 1, 1, 1));
	admission_run(admission);
	ck_assert_str_eq(ended, "");
	admission_leave(admission, &p.wait);
	ck_assert(is_woken());
	admission_run(admission);
	ck_assert_str_eq(ended, "q");
	admission_leave(admission, &q.wait);
}
END_TEST

START_TEST(a_publish_of_any_size_is_admitted_when_nothing_waits)
{
	const struct load_share huge = { .workers = 3, .messages = 10, .frames = UINT32_MAX };
	struct publish p, q;

	ck_assert(enter_sized(&p, "p", 0, 1, huge));
	admission_leave(admission, &p.wait);
	fall_behind(0);
	ck_assert(!enter_sized(&q, "q", 0, 1, huge));
	catch_up(0);
	admission_run(admission);
	ck_assert_str_eq(ended, "q");
	admission_leave(admission, &q.wait);
}
END_TEST

START_TEST(few_messages_are_never_too_many)
{
	const struct load_amount one = { .messages = 1, .frames = much.frames, .bytes = 10 };
	static struct publish p;

	worker_loads_posted(directory_loads(directory), 0, &one);
	ck_assert(enter(&p, "p", 0, 1, 1));
	admission_leave(admission, &p.wait);
	worker_loads_posted(directory_loads(directory), 0, &one);
	ck_assert(!enter(&p, "p", 0, 1, 1));
}
END_TEST

START_TEST(bytes_over_the_mark_are_behind)
{
	const struct load_amount large = { .messages = 1,
					   .frames = 1,
					   .bytes = LOAD_MAX_BYTES + 1 };
	static struct publish p;

	worker_loads_posted(directory_loads(directory), 1, &large);
	ck_assert(enter(&p, "p", 0, 1, 1));
	admission_leave(admission, &p.wait);
	ck_assert(!enter(&p, "q", 0, 1, 2));
}
END_TEST

START_TEST(a_close_refuses_what_waits)
{
	static struct publish p, q;

	fall_behind(0);
	ck_assert(!enter(&p, "p", 0, 1, 1));
	admission_close(admission);
	ck_assert_str_eq(ended, "p-");
	ck_assert(enter(&q, "q", 0, 1, 1));
}
END_TEST

START_TEST(the_share_of_a_publish_is_its_channels_subscriptions)
{
	struct load_share share = { 0 };

	fake_post_subscribe(directory, apps[0], "x");
	fake_post_subscribe(directory, apps[0], "x");
	fake_post_subscribe(directory, apps[0], "y");
	directory_add_share(directory, apps[0], SV("x"), &share);
	directory_add_share(directory, apps[0], SV("y"), &share);
	directory_add_share(directory, apps[0], SV("empty"), &share);
	directory_add_share(directory, apps[1], SV("x"), &share);
	ck_assert_uint_eq(share.workers, 1);
	ck_assert_uint_eq(share.messages, 2);
	ck_assert_uint_eq(share.frames, 3);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("svc/admission");
	TCase *t = tcase_create("svc_admission");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_publish_is_admitted_while_the_workers_keep_up);
	tcase_add_test(t, a_publish_waits_until_its_worker_has_caught_up);
	tcase_add_test(t, the_worker_wakes_once_each_time_it_has_caught_up);
	tcase_add_test(t, applications_and_their_publishers_take_turns);
	tcase_add_test(t, what_waits_for_one_worker_delays_no_publish_for_another);
	tcase_add_test(t, a_publish_is_refused_after_its_deadline);
	tcase_add_test(t, an_admitted_publish_counts_until_it_has_ended);
	tcase_add_test(t, a_publish_of_any_size_is_admitted_when_nothing_waits);
	tcase_add_test(t, few_messages_are_never_too_many);
	tcase_add_test(t, bytes_over_the_mark_are_behind);
	tcase_add_test(t, a_close_refuses_what_waits);
	tcase_add_test(t, the_share_of_a_publish_is_its_channels_subscriptions);
	suite_add_tcase(s, t);
	return unit_run(s);
}
