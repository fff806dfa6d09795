/* SPDX-License-Identifier: MIT */
/* Any node does it, and it may be done twice: the database decides what was there. */
#include "cluster/reap.h"
#include "cluster/shown.h"
#include "cluster/submit.h"

#define REAP_US USEC_PER_SEC

enum pg_fault reap_run(struct cluster *c, struct pg_connection *conn)
{
	struct pg_answer a = { 0 };
	enum pg_fault fault = step_reap(conn, c->conf->webhooks.smoothing_ms, &a);

	c->reap_at = clock_mono() + (pg_answer_rows(&a) ? 0 : REAP_US);
	for (int row = 0; row < pg_answer_rows(&a); row++) {
		struct str_view app = pg_answer_view(&a, row, 0), name = pg_answer_view(&a, row, 1);
		struct followed *of = follow_find(&c->follow, app, name);
		const struct change change = {
			.outcome = change_outcome_of(pg_answer_view(&a, row, 3)),
			.before = (uint64_t)pg_answer_int(&a, row, 4),
			.version = (uint64_t)pg_answer_int(&a, row, 5),
			.user_id = pg_answer_view(&a, row, 2),
			.info = pg_answer_view(&a, row, 6),
		};

		submit_publish(c, app, name, &change);
		if (of)
			shown_apply(c, of, &change);
	}
	if (pg_answer_rows(&a))
		submit_note_webhooks(c);
	pg_answer_release(&a);
	return fault == PG_FINE ? fault : submit_on_fault(c, conn, fault);
}
