/* SPDX-License-Identifier: MIT */
/* Frames that wait for one socket. */
#include <errno.h>
#include "core/sessions/outbox.h"
#include "unit.h"

static struct outbox box;

static struct msgbuf *numbered(unsigned n, size_t bytes)
{
	struct msgbuf *m = msgbuf_new(bytes);

	memset(m->data, 0, bytes);
	memcpy(m->data, &n, sizeof(n));
	return m;
}

static int put(unsigned n, size_t bytes, unsigned max_bytes, unsigned max_frames)
{
	struct msgbuf *m = numbered(n, bytes);
	int rc = outbox_put(&box, m, max_bytes, max_frames);

	msgbuf_unref(m);
	return rc;
}

static unsigned take(void)
{
	struct msgbuf *m = outbox_peek(&box);
	unsigned n;

	ck_assert_ptr_eq(outbox_take(&box), m);
	memcpy(&n, m->data, sizeof(n));
	msgbuf_unref(m);
	return n;
}

static void begin(void)
{
	box = (struct outbox){ 0 };
}

static void end(void)
{
	outbox_release(&box);
}

START_TEST(an_empty_outbox_has_no_frame)
{
	ck_assert(outbox_is_empty(&box));
	ck_assert_ptr_null(outbox_peek(&box));
	ck_assert_ptr_null(box.ring);
}
END_TEST

/* Wraps round the ring at every size it passes through. */
START_TEST(order_is_kept_while_it_grows_and_wraps)
{
	unsigned in = 0, out = 0;

	for (unsigned round = 0; round < 200; round++) {
		for (unsigned i = 0; i < 3; i++)
			ck_assert_int_eq(put(in++, 8, 0, 0), 0);
		ck_assert_uint_eq(take(), out++);
	}
	while (!outbox_is_empty(&box))
		ck_assert_uint_eq(take(), out++);
	ck_assert_uint_eq(out, in);
	ck_assert_uint_eq(box.bytes, 0);
}
END_TEST

START_TEST(memory_is_freed_after_a_burst)
{
	for (unsigned i = 0; i < 1000; i++)
		ck_assert_int_eq(put(i, 8, 0, 0), 0);
	for (unsigned i = 0; i < 1000; i++)
		ck_assert_uint_eq(take(), i);
	ck_assert_ptr_null(box.ring);
	ck_assert_uint_eq(box.cap, 0);
	ck_assert_int_eq(put(7, 8, 0, 0), 0);
	ck_assert_uint_eq(take(), 7);
}
END_TEST

START_TEST(a_frame_above_the_byte_cap_is_refused)
{
	ck_assert_int_eq(put(1, 60, 100, 0), 0);
	ck_assert_int_eq(put(2, 41, 100, 0), -ENOBUFS);
	ck_assert_uint_eq(box.n, 1);
	ck_assert_uint_eq(box.bytes, 60);
	ck_assert_int_eq(put(3, 40, 100, 0), 0);
	ck_assert_int_eq(put(4, 8, 100, 0), -ENOBUFS);
	ck_assert_int_eq(put(5, 101, 100, 0), -ENOBUFS);
	ck_assert_uint_eq(take(), 1);
	ck_assert_int_eq(put(6, 60, 100, 0), 0);
}
END_TEST

START_TEST(a_frame_above_the_frame_cap_is_refused)
{
	ck_assert_int_eq(put(1, 8, 0, 2), 0);
	ck_assert_int_eq(put(2, 8, 0, 2), 0);
	ck_assert_int_eq(put(3, 8, 0, 2), -ENOBUFS);
	ck_assert_uint_eq(take(), 1);
	ck_assert_int_eq(put(4, 8, 0, 2), 0);
	ck_assert_uint_eq(take(), 2);
	ck_assert_uint_eq(take(), 4);
}
END_TEST

START_TEST(the_outbox_holds_a_reference_of_its_own)
{
	struct msgbuf *m = numbered(9, 8);

	ck_assert_int_eq(outbox_put(&box, m, 0, 0), 0);
	ck_assert_uint_eq(m->refs, 2);
	ck_assert_int_eq(outbox_put(&box, m, 0, 1), -ENOBUFS);
	ck_assert_uint_eq(m->refs, 2);
	outbox_release(&box);
	ck_assert_uint_eq(m->refs, 1);
	ck_assert(outbox_is_empty(&box));
	msgbuf_unref(m);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("core/outbox");
	TCase *t = tcase_create("ring");

	tcase_add_checked_fixture(t, begin, end);
	tcase_add_test(t, an_empty_outbox_has_no_frame);
	tcase_add_test(t, order_is_kept_while_it_grows_and_wraps);
	tcase_add_test(t, memory_is_freed_after_a_burst);
	tcase_add_test(t, a_frame_above_the_byte_cap_is_refused);
	tcase_add_test(t, a_frame_above_the_frame_cap_is_refused);
	tcase_add_test(t, the_outbox_holds_a_reference_of_its_own);
	suite_add_tcase(s, t);
	return unit_run(s);
}
