/* SPDX-License-Identifier: MIT */
/*
 * Slices of the log (log/slice.h): makes those of the rows that this node reads, and delivers those
 * of other nodes.  One that comes before the one before it is kept for a moment.
 */
#include "base/mem.h"
#include "base/metric.h"
#include "log/tail-private.h"

/* Slices that wait for the one before them, or for the drainer to read its rows. */
#define KEPT_MAX       256
#define KEPT_MAX_BYTES ((size_t)1 << 20)
#define KEPT_US	       USEC_PER_SEC

void tail_drop_kept_locked(struct log_tail *t)
{
	struct log_slice *s;

	while ((s = t->kept)) {
		t->kept = s->next;
		free(s);
	}
	t->n_kept = 0;
	t->kept_bytes = 0;
}

/*
 * The page that was read after serial from, before this node delivers it.  Other rows than those of
 * SQL are sent by the node that wrote them; it alone knows which are async events of its own.
 */
void tail_slice_page(struct log_tail *t, const struct pg_answer *a, uint64_t from,
		     struct log_slicer *slicer)
{
	struct position here;

	if (!slicer || !log_tail_position(t, &here))
		return;
	log_slicer_begin(slicer, here.epoch, from);
	for (int i = 0; i < pg_answer_rows(a); i++) {
		struct log_row row;

		log_row_read(a, i, &row);
		if (row.is_sql)
			log_slicer_add(slicer, &row);
		else
			log_slicer_pass(slicer, row.serial);
	}
}

/* The slice is of the log, and of the server, that this node reads. */
static bool tail_is_same_log_locked(const struct log_tail *t, const struct log_slice *s)
	NEEDS_LOCK(tail_held)
{
	struct str_view rest = s->epoch, epoch;

	return t->is_set && sv_split(&rest, '/', &epoch) && sv_eq_c(epoch, t->epoch) &&
	       sv_eq_c(rest, t->timeline);
}

/* The slice begins at the cursor or before it, in the same log. */
static bool tail_fits_locked(const struct log_tail *t, const struct log_slice *s)
	NEEDS_LOCK(tail_held)
{
	return tail_is_same_log_locked(t, s) && s->before <= t->cursor;
}

/*
 * Rows of s, PART_ROWS at most.  A hold is for rows that this node writes, and a slice has only
 * rows that its sender wrote.
 */
static void tail_take_part_locked(struct log_tail *t, const struct app_set *apps,
				  struct log_slice *s) NEEDS_LOCK(tail_held)
{
	struct str_view last = SV("");
	struct log_row row;

	for (int i = 0; i < PART_ROWS && log_slice_next(&s->rows, &row); i++) {
		if (row.serial <= t->cursor)
			continue;
		tail_deliver_row_locked(t, apps, &row);
		t->cursor = row.serial;
		last = row.id;
	}
	if (last.len)
		tail_note_seen_locked(t, last);
}

/* Counts what became of it.  False: the log has to be read. */
static bool tail_take_slice(struct log_tail *t, struct log_slice *s)
{
	struct app_set *apps = apps_current();
	bool fits = true, is_late = false, is_first = true;

	while (fits && s->rows.len && (is_late || !tail_workers_are_behind(t))) {
		tail_lock(t);
		fits = tail_fits_locked(t, s);
		is_late = fits && s->last <= t->cursor && (is_first || is_late);
		is_first = false;
		if (is_late)
			s->rows = SV("");
		else if (fits)
			tail_take_part_locked(t, apps, s);
		tail_unlock(t);
	}
	app_set_unref(apps);
	metric_add(s->rows.len ? METRIC_BUS_SLICES_UNUSED
		   : is_late   ? METRIC_BUS_SLICES_LATE
			       : METRIC_BUS_SLICES_USED,
		   1);
	return !s->rows.len;
}

/* Keeps s if the one before it is missing. */
static bool tail_keep_locked(struct log_tail *t, const struct log_slice *s) NEEDS_LOCK(tail_held)
{
	struct log_slice **at = &t->kept, *copy;

	if (!tail_is_same_log_locked(t, s) || s->before <= t->cursor || t->n_kept == KEPT_MAX ||
	    t->kept_bytes + s->rows.len > KEPT_MAX_BYTES)
		return false;
	copy = log_slice_copy(s);
	copy->kept_at = clock_mono();
	while (*at && (*at)->before <= s->before)
		at = &(*at)->next;
	copy->next = *at;
	*at = copy;
	t->n_kept++;
	t->kept_bytes += s->rows.len;
	return true;
}

/*
 * The kept slice with the lowest serials, if it follows the cursor now, is too old to be kept, or
 * belongs to another log; else NULL.  The caller frees it.
 */
static struct log_slice *tail_take_first_kept(struct log_tail *t)
{
	struct log_slice *s;

	tail_lock(t);
	s = t->kept;
	if (s && s->before > t->cursor && tail_is_same_log_locked(t, s) &&
	    clock_mono() - s->kept_at < KEPT_US)
		s = NULL;
	if (s) {
		t->kept = s->next;
		t->n_kept--;
		t->kept_bytes -= s->rows.len;
	}
	tail_unlock(t);
	return s;
}

/* After the cursor has moved. */
void tail_take_kept(struct log_tail *t)
{
	struct log_slice *s;

	while ((s = tail_take_first_kept(t))) {
		if (!tail_take_slice(t, s)) {
			tail_lock(t);
			tail_leave_to_drainer_locked(t);
			tail_unlock(t);
		}
		free(s);
	}
}

bool log_tail_take(struct log_tail *t, struct str_view slice)
{
	struct log_slice s;
	bool is_kept;

	if (!t->seal || !log_slice_read(slice, &s)) {
		metric_add(METRIC_BUS_UNKNOWN, 1);
		return false;
	}
	tail_lock(t);
	is_kept = tail_keep_locked(t, &s);
	tail_unlock(t);
	if (is_kept || !tail_take_slice(t, &s))
		return false;
	tail_take_kept(t);
	return true;
}
