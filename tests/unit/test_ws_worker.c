/* SPDX-License-Identifier: MIT */
/*
 * Worker threads that other threads still send to while the daemon stops.
 */
#include "core/channels/directory.h"
#include "unit.h"
#include "ws/worker.h"

START_TEST(a_message_to_a_worker_that_has_ended_has_no_effect)
{
	const struct workers_conf conf = {
		.n = 2, .max_head_bytes = 4096, .request_timeout_ms = 1000, .hub.path = SV("/app")
	};
	struct workers *workers = workers_new(&conf);
	struct directory_post post;
	struct directory *d;

	workers_directory_post(workers, &post);
	d = directory_new(conf.n, &post);
	ck_assert_int_eq(workers_start(workers, d), 0);
	workers_stop(workers);
	directory_close_socket(d, 1);
	for (unsigned worker = 0; worker < conf.n; worker++)
		post.wake(post.ctx, worker);
	directory_free(d);
	workers_free(workers);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("worker");
	TCase *tc = tcase_create("stop");

	tcase_add_test(tc, a_message_to_a_worker_that_has_ended_has_no_effect);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
