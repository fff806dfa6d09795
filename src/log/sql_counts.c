/* SPDX-License-Identifier: MIT */
/*
 * Own serials after the tail's cursor are ranges in ascending order, of which the first is looked
 * at; those of a drain that follows another one directly are the same range.
 */
#include <string.h>
#include "base/mem.h"
#include "base/metric.h"
#include "log/sql_counts.h"

struct serial_range {
	uint64_t first, last;
};

struct sql_counts {
	struct serial_range *own;	      /* ascending; after the rows that were delivered */
	size_t n, room, at;		      /* those before at are done */
	struct sql_row kept[SQL_COUNTS_KEPT]; /* a ring; serial 0: none */
	size_t next;			      /* in kept */
};

struct sql_counts *sql_counts_new(void)
{
	return xcalloc(1, sizeof(struct sql_counts));
}

void sql_counts_free(struct sql_counts *s)
{
	if (!s)
		return;
	free(s->own);
	free(s);
}

void sql_counts_reset(struct sql_counts *s)
{
	s->n = s->at = s->next = 0;
	memset(s->kept, 0, sizeof(s->kept));
}

void sql_row_count(const struct sql_row *row)
{
	metric_add_at(METRIC_EVENTS_IN, row->is_sync ? VIA_SYNC : VIA_SQL, 1);
	metric_observe(METRIC_PAYLOAD_BYTES, (int64_t)row->bytes, 1);
}

void sql_counts_deliver(struct sql_counts *s, const struct sql_row *row)
{
	while (s->at < s->n && s->own[s->at].last < row->serial)
		s->at++;
	if (s->at < s->n && s->own[s->at].first <= row->serial) {
		sql_row_count(row);
		return;
	}
	s->kept[s->next] = *row;
	s->next = (s->next + 1) % SQL_COUNTS_KEPT;
}

/* In ascending order: the writer's answer can come before the drainer's, and the reverse. */
static void sql_counts_add(struct sql_counts *s, struct serial_range add)
{
	size_t to = s->n;

	if (s->at) {
		memmove(s->own, s->own + s->at, (s->n - s->at) * sizeof(*s->own));
		s->n -= s->at;
		to = s->n;
		s->at = 0;
	}
	while (to && s->own[to - 1].first > add.first)
		to--;
	if (to && s->own[to - 1].last + 1 == add.first) {
		s->own[to - 1].last = add.last;
		return;
	}
	if (s->n == s->room) {
		s->room = s->room ? 2 * s->room : 64;
		s->own = xreallocarray(s->own, s->room, sizeof(*s->own));
	}
	memmove(s->own + to + 1, s->own + to, (s->n - to) * sizeof(*s->own));
	s->own[to] = add;
	s->n++;
}

void sql_counts_note(struct sql_counts *s, uint64_t first, unsigned n, uint64_t cursor)
{
	struct serial_range own = { first, first + n - 1 };

	if (!n)
		return;
	for (size_t i = 0; first <= cursor && i < SQL_COUNTS_KEPT; i++) {
		struct sql_row *row = &s->kept[i];

		if (row->serial < own.first || row->serial > own.last)
			continue;
		sql_row_count(row);
		row->serial = 0;
	}
	if (own.last > cursor)
		sql_counts_add(s, own);
}
