/* SPDX-License-Identifier: MIT */
/*
 * The guard over frame headers, fed the same bytes in every way that a socket could cut
 * them.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/macros.h"
#include "base/mem.h"
#include "unit.h"
#include "ws/frame_guard.h"

struct bytes {
	unsigned char *p;
	size_t n;
};

static struct bytes stream;

static void add(const void *p, size_t n)
{
	stream.p = xrealloc(stream.p, stream.n + n + 1);
	memcpy(stream.p + stream.n, p, n);
	stream.n += n;
}

/* A frame whose payload is full of bytes that look like unmasked frames. */
static void add_frame(size_t payload, bool masked)
{
	unsigned char h[14] = { 0x81 };
	unsigned char *body = xmalloc(payload + 1);
	size_t n = 2;

	h[1] = (unsigned char)((masked ? 0x80 : 0) | (payload < 126	? payload
						      : payload < 65536 ? 126
									: 127));
	if (payload >= 65536)
		for (int shift = 56; shift >= 0; shift -= 8)
			h[n++] = (unsigned char)((uint64_t)payload >> shift);
	else if (payload >= 126)
		for (int shift = 8; shift >= 0; shift -= 8)
			h[n++] = (unsigned char)(payload >> shift);
	if (masked)
		n += 4;
	memset(body, 0x01, payload);
	add(h, n);
	add(body, payload);
	free(body);
}

static void end(void)
{
	free(stream.p);
	stream = (struct bytes){ NULL, 0 };
}

/* Feeds a copy of exact size, so that a read beyond it is seen. */
static int feed(struct frame_guard *g, const unsigned char *p, size_t n)
{
	unsigned char *copy = xmalloc(n ? n : 1);
	int rc;

	memcpy(copy, p, n);
	rc = frame_guard_feed(g, copy, n);
	free(copy);
	return rc;
}

static struct frame_guard fresh(void)
{
	struct frame_guard g;

	frame_guard_begin(&g);
	return g;
}

/* The verdict on the whole stream in pieces of that size. */
static int fed_by(size_t piece)
{
	struct frame_guard g = fresh();
	int rc = 0;

	for (size_t at = 0; at < stream.n && !rc; at += piece)
		rc = feed(&g, stream.p + at, stream.n - at < piece ? stream.n - at : piece);
	return rc;
}

/* The verdict must not depend on where the stream is cut. */
static void check_all(int want)
{
	ck_assert_int_eq(fed_by(stream.n), want);
	for (size_t piece = 1; piece <= 9; piece++)
		ck_assert_int_eq(fed_by(piece), want);
	for (size_t cut = 0; cut <= stream.n; cut++) {
		struct frame_guard g = fresh();
		int rc = feed(&g, stream.p, cut);

		if (!rc)
			rc = feed(&g, stream.p + cut, stream.n - cut);
		ck_assert_int_eq(rc, want);
	}
}

START_TEST(masked_frames_of_every_length_form_pass)
{
	static const size_t sizes[] = { 0, 1, 125, 126, 127, 300, 65535, 65536 };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		add_frame(sizes[i], true);
	ck_assert_int_eq(fed_by(stream.n), 0);
	ck_assert_int_eq(fed_by(1), 0);
	ck_assert_int_eq(fed_by(256), 0);
	ck_assert_int_eq(fed_by(4096), 0);
}
END_TEST

START_TEST(every_split_of_masked_frames_passes)
{
	add_frame(0, true);
	add_frame(5, true);
	add_frame(126, true);
	add_frame(0, true);
	check_all(0);
}
END_TEST

START_TEST(an_unmasked_first_frame_is_seen)
{
	add_frame(5, false);
	check_all(-EPROTO);
}
END_TEST

START_TEST(an_unmasked_later_frame_is_seen)
{
	static const size_t before[] = { 0, 1, 125, 126, 200 };

	for (size_t i = 0; i < ARRAY_SIZE(before); i++)
		add_frame(before[i], true);
	add_frame(0, false);
	check_all(-EPROTO);
}
END_TEST

START_TEST(an_unmasked_one_behind_a_long_one_is_seen)
{
	add_frame(70000, true);
	add_frame(3, false);
	ck_assert_int_eq(fed_by(stream.n), -EPROTO);
	ck_assert_int_eq(fed_by(1), -EPROTO);
	ck_assert_int_eq(fed_by(256), -EPROTO);
}
END_TEST

/* A length that no stream reaches must not wrap the counter round to a new frame. */
START_TEST(the_largest_length_does_not_wrap)
{
	static const unsigned char huge[] = { 0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff,
					      0xff, 0xff, 0xff, 1,    2,    3,	  4 };
	static const unsigned char over[] = { 0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
					      0xff, 0xff, 0xff, 1,    2,    3,	  4 };
	struct frame_guard g;

	add(huge, sizeof(huge));
	add_frame(5, false);
	check_all(0);
	g = fresh();
	/* Over 2^63: against RFC 6455 section 5.2. */
	ck_assert_int_eq(feed(&g, over, sizeof(over)), -EPROTO);
}
END_TEST

struct headers {
	unsigned char first[3]; /* first bytes of frames in a row, all masked and empty */
	unsigned char n;
	int want;
};

static const struct headers sequences[] = {
	{ { 0x81 }, 1, 0 },
	{ { 0x82 }, 1, 0 },
	{ { 0x88 }, 1, 0 },
	{ { 0x89 }, 1, 0 },
	{ { 0x8a }, 1, 0 },
	{ { 0x01, 0x80 }, 2, 0 },
	{ { 0x01, 0x89, 0x80 }, 3, 0 },
	{ { 0x01, 0x00, 0x80 }, 3, 0 },
	{ { 0xc1 }, 1, -EPROTO }, /* reserved bits */
	{ { 0xa1 }, 1, -EPROTO },
	{ { 0x91 }, 1, -EPROTO },
	{ { 0x83 }, 1, -EPROTO }, /* reserved opcodes */
	{ { 0x87 }, 1, -EPROTO },
	{ { 0x8b }, 1, -EPROTO },
	{ { 0x8f }, 1, -EPROTO },
	{ { 0x09 }, 1, -EPROTO }, /* a control frame in pieces */
	{ { 0x80 }, 1, -EPROTO }, /* nothing to continue */
	{ { 0x00 }, 1, -EPROTO },
	{ { 0x81, 0x80 }, 2, -EPROTO },
	{ { 0x01, 0x81 }, 2, -EPROTO }, /* a message inside another */
	{ { 0x01, 0x80, 0x80 }, 3, -EPROTO },
};

START_TEST(headers_follow_the_rfc)
{
	const struct headers *h = &sequences[_i];

	for (size_t i = 0; i < h->n; i++)
		add((const unsigned char[]){ h->first[i], 0x80, 1, 2, 3, 4 }, 6);
	check_all(h->want);
}
END_TEST

START_TEST(control_frames_are_short)
{
	static const unsigned char longest[] = { 0x89, 0x80 | 125, 1, 2, 3, 4 };
	static const unsigned char longer[] = { 0x89, 0x80 | 126, 0, 126 };
	unsigned char payload[125] = { 0 };

	add(longest, sizeof(longest));
	add(payload, sizeof(payload));
	check_all(0);
	add(longer, sizeof(longer));
	check_all(-EPROTO);
}
END_TEST

START_TEST(nothing_is_read_into_half_a_header)
{
	add_frame(300, true);
	for (size_t n = 0; n < stream.n; n++) {
		struct frame_guard g = fresh();

		ck_assert_int_eq(feed(&g, stream.p, n), 0);
	}
}
END_TEST

/* ---- descriptors ---- */

#define FD 5

static struct strbuf handshake(const char *text)
{
	struct strbuf b;

	strbuf_init(&b, 16);
	strbuf_add_str(&b, text);
	return b;
}

/* The order of the two owners, as the kernel makes it: nothing that C's memory model knows of. */
static atomic_int turn;

static void wait_for_turn(int n)
{
	while (atomic_load_explicit(&turn, memory_order_relaxed) != n)
		sched_yield();
}

static void *first_owner(void *arg UNUSED)
{
	struct strbuf text = handshake("GET /");

	frame_guard_enter_thread();
	frame_guard_watch(FD, &text);
	ck_assert_int_eq(frame_guard_heard_at(FD), 0);
	frame_guard_drop_head();
	atomic_store_explicit(&turn, 1, memory_order_relaxed);
	wait_for_turn(2);
	return NULL;
}

static void *next_owner(void *arg UNUSED)
{
	struct strbuf text = handshake("GET /");

	wait_for_turn(1);
	frame_guard_enter_thread();
	frame_guard_watch(FD, &text);
	frame_guard_drop_head();
	atomic_store_explicit(&turn, 2, memory_order_relaxed);
	return NULL;
}

/* ThreadSanitizer is what looks. */
START_TEST(a_descriptor_goes_from_worker_to_worker)
{
	pthread_t a, b;

	frame_guard_init(16);
	atomic_store(&turn, 0);
	ck_assert_int_eq(pthread_create(&a, NULL, first_owner, NULL), 0);
	ck_assert_int_eq(pthread_create(&b, NULL, next_owner, NULL), 0);
	pthread_join(a, NULL);
	pthread_join(b, NULL);
}
END_TEST

START_TEST(the_handshake_is_returned_once_and_to_its_descriptor)
{
	struct strbuf text = handshake("GET /app");
	char got[16] = "";
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	frame_guard_init(16);
	frame_guard_watch(fds[0], &text);
	ck_assert(frame_guard_has_head());
	ck_assert_int_eq(recv(fds[1], got, 4, MSG_DONTWAIT), -1);
	ck_assert_int_eq(recv(fds[0], got, 4, 0), 4);
	ck_assert_str_eq(got, "GET ");
	ck_assert_int_eq(recv(fds[0], got, sizeof(got), 0), 4);
	ck_assert_int_eq(memcmp(got, "/app", 4), 0);
	ck_assert(!frame_guard_has_head());
	ck_assert_int_eq(recv(fds[0], got, sizeof(got), MSG_DONTWAIT), -1);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ws/frame_guard");
	TCase *t = tcase_create("feed");

	tcase_add_checked_fixture(t, NULL, end);
	tcase_add_test(t, masked_frames_of_every_length_form_pass);
	tcase_add_test(t, every_split_of_masked_frames_passes);
	tcase_add_test(t, an_unmasked_first_frame_is_seen);
	tcase_add_test(t, an_unmasked_later_frame_is_seen);
	tcase_add_test(t, an_unmasked_one_behind_a_long_one_is_seen);
	tcase_add_test(t, the_largest_length_does_not_wrap);
	tcase_add_loop_test(t, headers_follow_the_rfc, 0, ARRAY_SIZE(sequences));
	tcase_add_test(t, control_frames_are_short);
	tcase_add_test(t, nothing_is_read_into_half_a_header);
	suite_add_tcase(s, t);
	t = tcase_create("descriptors");
	tcase_add_test(t, a_descriptor_goes_from_worker_to_worker);
	tcase_add_test(t, the_handshake_is_returned_once_and_to_its_descriptor);
	suite_add_tcase(s, t);
	return unit_run(s);
}
