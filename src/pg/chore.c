/* SPDX-License-Identifier: MIT */
/* The thread that owns the connection. */
#include "base/log.h"
#include "pg/chore.h"

enum pg_fault pg_chores_run(struct pg_chore *chores, size_t n, struct pg_conn *c, const char *name,
			    usec_t *next)
{
	*next = INT64_MAX;
	for (size_t i = 0; i < n; i++) {
		struct pg_chore *chore = &chores[i];
		usec_t now = clock_mono();
		enum pg_fault fault = PG_FINE;

		if (now >= chore->due) {
			usec_t deadline = now + chore->timeout;

			chore->due = now + chore->every;
			fault = chore->fn ? chore->fn(chore->ctx, c, deadline)
					  : pg_conn_run(c, deadline, &chore->query, NULL);
		}
		if (fault == PG_LOST)
			return PG_LOST;
		if (fault != PG_FINE)
			log_warn("%s: %s: %s", name, chore->on_refusal, pg_conn_error(c));
		if (chore->due < *next)
			*next = chore->due;
	}
	return PG_FINE;
}
