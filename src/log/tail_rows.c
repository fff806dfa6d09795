/* SPDX-License-Identifier: MIT */
/* The lock, the cursor's position, and the delivery of one row: what tail.c and tail_slices.c
 * share. */
#include "base/log.h"
#include "base/wake.h"
#include "log/control.h"
#include "log/tail-private.h"

#define COMPLAIN_US (10 * USEC_PER_SEC)

struct tail_held tail_held;

void tail_lock(struct log_tail *t) NO_TSA
{
	pthread_mutex_lock(&t->lock);
}

void tail_unlock(struct log_tail *t) NO_TSA
{
	pthread_mutex_unlock(&t->lock);
}

bool log_tail_position(struct log_tail *t, struct position *out)
{
	bool is_set;

	tail_lock(t);
	is_set = t->is_set && strlen(t->epoch) < sizeof(out->epoch);
	if (is_set) {
		str_copy(out->epoch, sizeof(out->epoch), sv(t->epoch));
		out->serial = t->cursor;
	}
	tail_unlock(t);
	return is_set;
}

bool tail_workers_are_behind(struct log_tail *t)
{
	struct worker_loads *l = directory_loads(t->directory);

	return worker_loads_are_behind(l, UINT64_MAX >> (64 - l->n), LOAD_WAITER_LOG);
}

void tail_leave_to_drainer_locked(struct log_tail *t)
{
	if (!t->is_left && t->drainer)
		wake_signal(t->drainer);
	t->is_left = true;
}

/*
 * Whether the row is that of an async event, which was delivered before its commit.  Removes its
 * serial and lower ones from passed.
 */
static bool tail_is_passed_locked(struct log_tail *t, uint64_t serial) NEEDS_LOCK(tail_held)
{
	size_t n = 0;
	bool found;

	while (n < t->n_passed && t->passed[n] < serial)
		n++;
	found = n < t->n_passed && t->passed[n] == serial;
	n += found;
	if (n)
		memmove(t->passed, t->passed + n, (t->n_passed - n) * sizeof(*t->passed));
	t->n_passed -= n;
	return found;
}

/* To the subscribers of this node; a control row is for the node itself. */
void tail_fan_out(struct log_tail *t, struct event *e)
{
	if (e->is_control)
		control_apply_event(t->directory, e);
	else
		directory_fan_out(t->directory, e);
}

/* e NULL: this node does not serve its application. */
static void tail_count_sql_locked(struct log_tail *t, const struct log_row *row,
				  const struct event *e) NEEDS_LOCK(tail_held)
{
	struct sql_row sql = { .serial = row->serial, .is_sync = row->is_sync };

	sql.bytes = e ? e->data->len : log_row_bytes(row);
	if (t->counts)
		sql_counts_deliver(t->counts, &sql);
	else
		sql_row_count(&sql);
}

void tail_deliver_row_locked(struct log_tail *t, const struct app_set *apps,
			     const struct log_row *row)
{
	struct app *app = log_row_app(row, apps);
	struct event *e;

	if (tail_is_passed_locked(t, row->serial))
		return;
	if (!app && row->is_control && control_is_for_node(row->name) && app_set_count(apps))
		app = app_set_at(apps, 0);
	if (!app) {
		if (t->expects_others && row->is_sql)
			tail_count_sql_locked(t, row, NULL);
		if (t->expects_others || clock_mono() - t->complained < COMPLAIN_US)
			return;
		t->complained = clock_mono();
		log_warn("database: event %.*s names no application that exists here; it is not "
			 "delivered",
			 SV_ARG(row->id));
		return;
	}
	e = log_row_event(row, app, t->deliveries);
	if (row->is_sql) {
		atomic_fetch_add_explicit(&t->sql_rows, 1, memory_order_relaxed);
		tail_count_sql_locked(t, row, e);
	}
	tail_fan_out(t, e);
	event_unref(e);
}

/* The event at the cursor. */
void tail_note_seen_locked(struct log_tail *t, struct str_view id)
{
	if (!t->epoch)
		return;
	t->seen.serial = t->cursor;
	str_copy(t->seen.epoch, sizeof(t->seen.epoch), sv(t->epoch));
	str_copy(t->seen.id, sizeof(t->seen.id), id);
}
