/* SPDX-License-Identifier: MIT */
/* Slices of the log, as nodes send them to each other. */
#include "unit.h"
#include "base/mem.h"
#include "bus/message.h"
#include "log/slice.h"
#include "wire/socket_id.h"
#include "unit_app.h"

#define SLICES_MAX 64

static struct world {
	struct log_slicer slicer;
	char *slices[SLICES_MAX];
	unsigned n, left_out;
} w;

static void keep(void *ctx, struct str_view slice)
{
	(void)ctx;
	if (!slice.len) {
		w.left_out++;
		return;
	}
	ck_assert_uint_le(slice.len, BUS_MESSAGE_MAX_BYTES);
	ck_assert_uint_lt(w.n, SLICES_MAX);
	w.slices[w.n++] = sv_dup(slice);
}

static void begin(void)
{
	w = (struct world){ .n = 0 };
	log_slicer_init(&w.slicer, keep, NULL);
}

static void finish(void)
{
	for (unsigned i = 0; i < w.n; i++)
		free(w.slices[i]);
	log_slicer_release(&w.slicer);
}

static struct log_row row_of(uint64_t serial, struct str_view payload)
{
	return (struct log_row){ .serial = serial,
				 .id = SV("id"),
				 .channel = SV("c"),
				 .name = SV("E"),
				 .app = SV("portal"),
				 .payload = payload };
}

static struct log_slice read_slice(unsigned i)
{
	struct log_slice s;

	ck_assert_uint_lt(i, w.n);
	ck_assert(log_slice_read(sv(w.slices[i]), &s));
	return s;
}

static void assert_view(struct str_view v, const char *want)
{
	ck_assert_msg(sv_eq_c(v, want), "%.*s", SV_ARG(v));
}

START_TEST(rows_are_read_as_they_were_added)
{
	struct log_row text = row_of(8, SV("\"a\\u0000\"")), control = row_of(9, SV("{}")), row;
	struct log_slice s;

	begin();
	text.is_text = text.is_sql = text.is_sync = true;
	text.channel = SV("private-\xc3\xa9");
	text.exclude = SV("1.2");
	control.channel = SV("#control");
	control.is_control = true;
	log_slicer_begin(&w.slicer, "epoch", 7);
	log_slicer_add(&w.slicer, &text);
	log_slicer_add(&w.slicer, &control);
	ck_assert_uint_eq(w.n, 0);
	log_slicer_end(&w.slicer);
	ck_assert_uint_eq(w.n, 1);
	s = read_slice(0);
	assert_view(s.epoch, "epoch/");
	ck_assert_uint_eq(s.before, 7);
	ck_assert_uint_eq(s.last, 9);
	ck_assert(log_slice_next(&s.rows, &row));
	ck_assert_uint_eq(row.serial, 8);
	assert_view(row.id, "id");
	assert_view(row.app, "portal");
	assert_view(row.channel, "private-\xc3\xa9");
	assert_view(row.name, "E");
	assert_view(row.payload, "\"a\\u0000\"");
	assert_view(row.exclude, "1.2");
	ck_assert(row.is_text && row.is_sql && row.is_sync && !row.is_control && !row.is_published);
	ck_assert(log_slice_next(&s.rows, &row));
	ck_assert(row.is_control && !row.is_sql && !row.is_text && !row.is_published);
	ck_assert(!log_slice_next(&s.rows, &row));
	finish();
}
END_TEST

START_TEST(an_event_is_as_its_row_would_be)
{
	struct app *app = UNIT_APP();
	struct msgbuf *data = msgbuf_from(SV("not JSON"));
	struct event *e = event_new(app, SV("c"), SV("E"), data), *again;
	struct log_slice s;
	struct log_row row;

	begin();
	e->serial = 3;
	e->origin = "http";
	e->exclude_socket = 12345678901234567;
	event_id_make(e->id);
	log_slicer_begin(&w.slicer, "epoch", 2);
	log_slicer_add_event(&w.slicer, e);
	log_slicer_end(&w.slicer);
	s = read_slice(0);
	ck_assert(log_slice_next(&s.rows, &row));
	again = log_row_event(&row, app, NULL);
	assert_view(again->channel, "c");
	assert_view(again->name, "E");
	assert_view(msgbuf_view(again->data), "not JSON");
	ck_assert_str_eq(again->id, e->id);
	ck_assert_str_eq(again->origin, "http");
	ck_assert_uint_eq(again->exclude_socket, e->exclude_socket);
	ck_assert_uint_eq(again->serial, 3);
	event_unref(again);
	event_unref(e);
	msgbuf_unref(data);
	app_unref(app);
	finish();
}
END_TEST

/* The payload of an event may be nothing; that of a row that is nothing was erased. */
START_TEST(nothing_is_not_what_was_erased)
{
	struct log_row row = row_of(1, SV(""));
	struct app *app = UNIT_APP();
	struct log_slice s;

	begin();
	log_slicer_begin(&w.slicer, "epoch", 0);
	row.is_published = true;
	log_slicer_add(&w.slicer, &row);
	row.serial = 2;
	row.is_published = false;
	log_slicer_add(&w.slicer, &row);
	log_slicer_end(&w.slicer);
	s = read_slice(0);
	for (unsigned i = 0; i < 2; i++) {
		struct event *e;

		ck_assert(log_slice_next(&s.rows, &row));
		e = log_row_event(&row, app, NULL);
		assert_view(msgbuf_view(e->data), i ? "{}" : "");
		event_unref(e);
	}
	app_unref(app);
	finish();
}
END_TEST

START_TEST(many_rows_are_cut_into_slices_that_follow_each_other)
{
	char *data = xcalloc(1, 50000);
	uint64_t before = 100;

	begin();
	memset(data, 'x', 50000);
	log_slicer_begin(&w.slicer, "epoch", before);
	for (uint64_t i = 1; i <= 40; i++) {
		struct log_row row = row_of(before + 2 * i, sv_n(data, 50000));

		log_slicer_add(&w.slicer, &row);
	}
	log_slicer_end(&w.slicer);
	ck_assert_uint_gt(w.n, 7);
	for (unsigned i = 0; i < w.n; i++) {
		struct log_slice s = read_slice(i);

		ck_assert_uint_eq(s.before, before);
		before = s.last;
	}
	ck_assert_uint_eq(before, 180);
	ck_assert_uint_eq(w.left_out, 0);
	free(data);
	finish();
}
END_TEST

START_TEST(a_row_that_is_too_long_or_has_a_nul_is_left_out)
{
	char *data = xcalloc(1, BUS_MESSAGE_MAX_BYTES);
	struct log_row rows[] = { row_of(1, SV("1")), row_of(2, sv_n(data, 1)), row_of(3, SV("3")),
				  row_of(4, sv_n(data, BUS_MESSAGE_MAX_BYTES)),
				  row_of(5, SV("5")) };

	begin();
	log_slicer_begin(&w.slicer, "epoch", 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (i == 3)
			memset(data, 'x', BUS_MESSAGE_MAX_BYTES);
		log_slicer_add(&w.slicer, &rows[i]);
	}
	log_slicer_end(&w.slicer);
	ck_assert_uint_eq(w.left_out, 2);
	ck_assert_uint_eq(w.n, 3);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_uint_eq(read_slice(i).before, 2ULL * i);
		ck_assert_uint_eq(read_slice(i).last, 2ULL * i + 1);
	}
	free(data);
	finish();
}
END_TEST

START_TEST(a_slice_goes_on_only_where_the_last_row_was)
{
	struct log_row one = row_of(1, SV("1")), two = row_of(2, SV("2")),
		       five = row_of(5, SV("5"));

	begin();
	log_slicer_begin(&w.slicer, "epoch", 0);
	log_slicer_add(&w.slicer, &one);
	log_slicer_begin(&w.slicer, "epoch", 1);
	log_slicer_add(&w.slicer, &two);
	log_slicer_begin(&w.slicer, "epoch", 3);
	ck_assert_uint_eq(w.n, 1);
	log_slicer_pass(&w.slicer, 4);
	log_slicer_add(&w.slicer, &five);
	log_slicer_begin(&w.slicer, "another", 5);
	log_slicer_end(&w.slicer);
	ck_assert_uint_eq(w.n, 2);
	ck_assert_uint_eq(read_slice(0).before, 0);
	ck_assert_uint_eq(read_slice(0).last, 2);
	ck_assert_uint_eq(read_slice(1).before, 4);
	ck_assert_uint_eq(read_slice(1).last, 5);
	finish();
}
END_TEST

START_TEST(rows_that_are_not_in_order_are_refused)
{
	struct log_row two = row_of(2, SV("{}")), one = row_of(1, SV("{}"));
	struct log_slice s;

	begin();
	log_slicer_begin(&w.slicer, "epoch", 0);
	log_slicer_add(&w.slicer, &two);
	log_slicer_add(&w.slicer, &one);
	log_slicer_end(&w.slicer);
	log_slicer_begin(&w.slicer, "epoch", 2);
	log_slicer_add(&w.slicer, &two);
	log_slicer_end(&w.slicer);
	ck_assert_uint_eq(w.n, 2);
	for (unsigned i = 0; i < 2; i++)
		ck_assert(!log_slice_read(sv(w.slices[i]), &s));
	finish();
}
END_TEST

START_TEST(a_copy_has_bytes_of_its_own)
{
	struct log_row row = row_of(1, SV("{}"));
	struct log_slice s, *copy;

	begin();
	log_slicer_begin(&w.slicer, "epoch", 0);
	log_slicer_add(&w.slicer, &row);
	log_slicer_end(&w.slicer);
	s = read_slice(0);
	copy = log_slice_copy(&s);
	memset(w.slices[0], 'x', strlen(w.slices[0]));
	assert_view(copy->epoch, "epoch/");
	ck_assert_uint_eq(copy->last, 1);
	ck_assert(log_slice_next(&copy->rows, &row));
	assert_view(row.payload, "{}");
	free(copy);
	finish();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("log/slice");
	TCase *t = tcase_create("slice");

	tcase_add_test(t, rows_are_read_as_they_were_added);
	tcase_add_test(t, an_event_is_as_its_row_would_be);
	tcase_add_test(t, nothing_is_not_what_was_erased);
	tcase_add_test(t, many_rows_are_cut_into_slices_that_follow_each_other);
	tcase_add_test(t, a_row_that_is_too_long_or_has_a_nul_is_left_out);
	tcase_add_test(t, a_slice_goes_on_only_where_the_last_row_was);
	tcase_add_test(t, rows_that_are_not_in_order_are_refused);
	tcase_add_test(t, a_copy_has_bytes_of_its_own);
	suite_add_tcase(s, t);
	return unit_run(s);
}
