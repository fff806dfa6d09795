/* SPDX-License-Identifier: MIT */
/*
 * The database gives each channel a version.  A gap between versions shows only when another change
 * follows, so they are compared from time to time, and whenever messages of the bus may have been
 * missed.
 *
 * After a crash of the server its tables are empty, and the nodes register their members one after
 * the other.  Until all have done so, or a lease has passed (cluster_settle() in
 * sql/migrations/0030_cluster_presence.sql), who is read is shown, and who is not read is not
 * dropped; then all is read again (docs/decisions/0057-tables-that-are-new.md).
 */
#include "base/mem.h"
#include "cluster/refresh.h"
#include "cluster/shown.h"
#include "cluster/submit.h"

#define COMPARE_US    (30 * USEC_PER_SEC)
#define SETTLE_US     (100 * USEC_PER_MSEC)
#define READ_SHORT_US (200 * USEC_PER_MSEC) /* a read of members: the next may be larger */
#define READ_LONG_US  USEC_PER_SEC	    /* it must be smaller */

/* The rows from *row on that are those of one channel. */
static void refresh_take_members(struct cluster *c, struct followed *of, const struct pg_answer *a,
				 int *row)
{
	int64_t index = pg_answer_int(a, *row, 0);
	struct directory_member *who = NULL;
	size_t n = 0;

	of->version = (uint64_t)pg_answer_int(a, *row, 1);
	of->is_known = true;
	for (; *row < pg_answer_rows(a) && pg_answer_int(a, *row, 0) == index; ++*row) {
		if (pg_answer_is_null(a, *row, 2))
			continue;
		who = xreallocarray(who, n + 1, sizeof(*who));
		who[n++] = (struct directory_member){ pg_answer_view(a, *row, 2),
						      pg_answer_view(a, *row, 3) };
	}
	if (!c->is_partial)
		shown_drop_others(c, of, who, n);
	for (size_t i = 0; i < n; i++)
		shown_put(c, of, &who[i], false);
	/* A user who is not read may be online on a node that is late. */
	if (!c->is_partial || n)
		shown_answer_watchers(c, of);
	free(who);
}

/* All members of a channel are in one answer, and it is not known before how many that are: the
 * time of a read decides how many channels the next one has. */
static void refresh_adapt_read(struct cluster *c, usec_t took, bool is_fine)
{
	if (!is_fine || took > READ_LONG_US)
		c->read_max = c->read_max > 1 ? c->read_max / 2 : 1;
	else if (took < READ_SHORT_US && c->read_max < STEP_CHANNELS)
		c->read_max *= 2;
	if (c->read_max > STEP_CHANNELS)
		c->read_max = STEP_CHANNELS;
}

/* Reads the members of the channels of which a change was missed. */
enum pg_fault refresh_read(struct cluster *c, struct pg_connection *conn)
{
	struct followed *list[STEP_CHANNELS], *of;
	usec_t started = clock_mono();
	struct pg_answer a = { 0 };
	enum pg_fault fault;
	unsigned n = 0;
	int row = 0;

	step_reset(&c->step);
	while (n < c->read_max && (of = follow_take_to_read(&c->follow))) {
		step_add_channel(&c->step, of);
		list[n++] = of;
	}
	if (!n)
		return PG_FINE;
	fault = step_read(&c->step, conn, &a);
	refresh_adapt_read(c, clock_mono() - started, fault == PG_FINE);
	while (fault == PG_FINE && row < pg_answer_rows(&a))
		refresh_take_members(c, list[pg_answer_int(&a, row, 0) - 1], &a, &row);
	pg_answer_release(&a);
	if (fault == PG_FINE)
		return fault;
	for (unsigned i = 0; i < n; i++)
		follow_read_later(&c->follow, list[i]);
	submit_put_back(c);
	return submit_on_fault(c, conn, fault);
}

/* Registers all again. */
enum pg_fault refresh_begin(struct cluster *c, struct pg_connection *conn)
{
	unsigned registrations = bus_registrations(c->bus);
	struct pg_answer a = { 0 };
	enum pg_fault fault = step_register(conn, atomic_load(bus_node_number(c->bus)), &a);

	if (fault == PG_FINE)
		follow_begin_again(&c->follow);
	for (int row = 0; row < pg_answer_rows(&a); row++) {
		struct followed *of = follow_get(&c->follow, pg_answer_view(&a, row, 0),
						 pg_answer_view(&a, row, 1));
		struct own_member *m = follow_member(of, pg_answer_view(&a, row, 2));

		follow_set_registered(&c->follow, m, true);
		follow_enqueue(&c->follow, m);
	}
	pg_answer_release(&a);
	if (fault != PG_FINE)
		return submit_on_fault(c, conn, fault);
	c->registrations = registrations;
	c->compare_at = clock_mono() + COMPARE_US;
	c->is_complete = false;
	c->settle_at = 0;
	return PG_FINE;
}

enum pg_fault refresh_settle(struct cluster *c, struct pg_connection *conn)
{
	bool is_complete = !c->follow.n_unreported && c->registrations == bus_registrations(c->bus);
	struct pg_answer a = { 0 };
	enum pg_fault fault =
		step_settle(conn, atomic_load(bus_node_number(c->bus)), is_complete, &a);
	bool is_known = fault == PG_FINE && pg_answer_bool(&a, 0, 0);

	pg_answer_release(&a);
	c->settle_at = clock_mono() + SETTLE_US;
	if (fault != PG_FINE)
		return submit_on_fault(c, conn, fault);
	c->is_complete = is_complete;
	if (!is_known) {
		c->has_waited = c->is_partial;
		return PG_FINE;
	}
	c->is_partial = false;
	/* A change that was decided while the tables were not complete may arrive after this: the
	 * channel has a later version when it has been read again. */
	if (c->has_waited) {
		follow_read_all(&c->follow);
		c->compare_at = 0;
	}
	c->has_waited = false;
	return PG_FINE;
}

/* The versions in the database, and the number of members that it has of this node. */
enum pg_fault refresh_compare(struct cluster *c, struct pg_connection *conn)
{
	struct pg_answer a = { 0 };
	enum pg_fault fault = step_count(conn, atomic_load(bus_node_number(c->bus)), &a);
	struct followed *list[STEP_CHANNELS], *of = NULL;
	size_t at = 0;
	unsigned n;

	c->compare_at = clock_mono() + COMPARE_US;
	if (fault == PG_FINE && (size_t)pg_answer_int(&a, 0, 0) != c->follow.n_registered)
		c->registrations--;
	do {
		step_reset(&c->step);
		for (n = 0; fault == PG_FINE && n < STEP_CHANNELS &&
			    (of = map_next(&c->follow.channels, &at));)
			step_add_channel(&c->step, list[n++] = of);
		pg_answer_release(&a);
		a = (struct pg_answer){ 0 };
		if (n)
			fault = step_versions(&c->step, conn, &a);
		for (unsigned i = 0; fault == PG_FINE && i < n; i++) {
			follow_compare(&c->follow, list[i], (uint64_t)pg_answer_int(&a, (int)i, 0));
			shown_set_count(c, list[i], (uint64_t)pg_answer_int(&a, (int)i, 2),
					(unsigned)pg_answer_int(&a, (int)i, 1));
			follow_retry(&c->follow, list[i]);
		}
	} while (fault == PG_FINE && n == STEP_CHANNELS);
	pg_answer_release(&a);
	return fault == PG_FINE ? fault : submit_on_fault(c, conn, fault);
}
