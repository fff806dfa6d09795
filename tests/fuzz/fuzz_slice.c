/* SPDX-License-Identifier: MIT */
/* Slices of the log from other nodes: whatever is read is sent again as it was. */
#include "fuzz.h"
#include "log/slice.h"

static struct log_row row;

static void fuzz_again(void *ctx, struct str_view slice)
{
	struct log_slice s;
	struct log_row again;
	uint64_t *n = ctx;

	MUST(log_slice_read(slice, &s) && s.last == row.serial);
	MUST(s.before == row.serial - 1 && log_slice_next(&s.rows, &again) && !s.rows.len);
	MUST(sv_eq(again.id, row.id) && sv_eq(again.app, row.app));
	MUST(sv_eq(again.channel, row.channel) && sv_eq(again.name, row.name));
	MUST(sv_eq(again.payload, row.payload) && sv_eq(again.exclude, row.exclude));
	MUST(again.is_text == row.is_text && again.is_published == row.is_published);
	MUST(again.is_sql == row.is_sql && again.is_sync == row.is_sync);
	MUST(again.is_control == row.is_control);
	++*n;
}

static void fuzz(struct str_view input)
{
	struct str_view rest = input;
	struct log_slicer slicer;
	struct log_slice s;
	uint64_t n = 0, rows = 0;

	if (log_slice_read(input, &s)) {
		uint64_t last = s.before;

		while (log_slice_next(&s.rows, &row)) {
			MUST(row.serial > last);
			last = row.serial;
		}
		MUST(!s.rows.len && last == s.last);
	}
	log_slicer_init(&slicer, fuzz_again, &n);
	while (log_slice_next(&rest, &row)) {
		if (!row.serial)
			continue;
		log_slicer_begin(&slicer, "epoch", row.serial - 1);
		log_slicer_add(&slicer, &row);
		log_slicer_end(&slicer);
		rows++;
	}
	MUST(n == rows);
	log_slicer_release(&slicer);
}
