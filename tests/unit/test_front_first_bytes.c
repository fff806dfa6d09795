/* SPDX-License-Identifier: MIT */
/* Who a new connection is for. */
#include "base/mem.h"
#include "front/acceptor.h"
#include "unit.h"

#define WS_HEADERS                                                                                 \
	"Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"                         \
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

/* Sorts a copy of exact size, so that a read beyond it is seen. */
static enum first_bytes sort_n(const char *bytes, size_t n, const char *path)
{
	char *copy = xmalloc(n ? n : 1);
	enum first_bytes what;

	memcpy(copy, bytes, n);
	what = first_bytes_sort(copy, n, path);
	free(copy);
	return what;
}

struct sample {
	const char *bytes, *path;
	enum first_bytes want;
};

static const struct sample samples[] = {
	{ "", "", FIRST_UNDECIDED },
	{ "\x16", "", FIRST_TLS },
	{ "\x16\x03\x01", "", FIRST_TLS },
	{ "G", "", FIRST_UNDECIDED },
	{ "GET", "", FIRST_UNDECIDED },
	{ "GET ", "", FIRST_UNDECIDED },
	{ "GET /app/", "", FIRST_UNDECIDED },
	{ "GEX", "", FIRST_HTTP },
	{ "get /app/x HTTP/1.1\r\n", "", FIRST_HTTP },
	{ "P", "", FIRST_HTTP },
	{ "POST /app/x HTTP/1.1\r\n", "", FIRST_HTTP },
	{ "\r\n", "", FIRST_HTTP },
	{ "\x80\xff", "", FIRST_HTTP },
	{ "GET /app/key HTTP/1.1\r\n", "", FIRST_WEBSOCKET },
	{ "GET /app/key?protocol=7 HTTP/1.1\n", "", FIRST_WEBSOCKET },
	{ "GET /app/ HTTP/1.1\r\n", "", FIRST_WEBSOCKET },
	{ "GET /app HTTP/1.1\r\n\r\n", "", FIRST_HTTP },
	{ "GET /apps/1/channels HTTP/1.1\r\n\r\n", "", FIRST_HTTP },
	{ "GET /apps/1/app/ HTTP/1.1\r\n\r\n", "", FIRST_HTTP },
	{ "GET /up HTTP/1.1\r\n", "", FIRST_UNDECIDED },
	{ "GET /up HTTP/1.1\r\nHost: x\r\n\r\n", "", FIRST_HTTP },
	{ "GET /up HTTP/1.1\n\n", "", FIRST_HTTP },
	{ "GET /ws/app/key HTTP/1.1\r\n", "/ws", FIRST_WEBSOCKET },
	{ "GET /app/key HTTP/1.1\r\n", "/ws", FIRST_WEBSOCKET },
	{ "GET /wsx/app/key HTTP/1.1\r\n\r\n", "/ws", FIRST_HTTP },
	{ "GET /ws HTTP/1.1\r\n\r\n", "/ws", FIRST_HTTP },
	{ "GET /elsewhere HTTP/1.1\r\n" WS_HEADERS, "", FIRST_WEBSOCKET },
	{ "GET /x HTTP/1.1\r\nupgrade:WebSocket\r\n\r\n", "", FIRST_WEBSOCKET },
	{ "GET /x HTTP/1.1\r\nUpgrade: h2c\r\n\r\n", "", FIRST_HTTP },
	{ "GET /x HTTP/1.1\r\nX-Upgrade: websocket\r\n\r\n", "", FIRST_HTTP },
	{ "GET /x HTTP/1.1\r\nUpgrade:\r\n\r\n", "", FIRST_HTTP },
	{ "GET /x HTTP/1.1\r\nUpgrade: websock", "", FIRST_UNDECIDED },
	{ "GET /x HTTP/1.1\r\n\r\nUpgrade: websocket\r\n\r\n", "", FIRST_HTTP },
	{ "GET /x HTTP/1.1\n\nUpgrade: websocket\n\n", "", FIRST_HTTP },
	{ "GET  HTTP/1.1\r\n\r\n", "", FIRST_HTTP },
	{ "GET \r\n\r\n", "", FIRST_HTTP },
	{ "GET \n\n", "", FIRST_HTTP },
};

START_TEST(each_kind)
{
	const struct sample *s = &samples[_i];

	ck_assert_msg(sort_n(s->bytes, strlen(s->bytes), s->path) == s->want, "\"%s\" with \"%s\"",
		      s->bytes, s->path);
}
END_TEST

/* More bytes may decide what was open, and never change what was decided. */
START_TEST(a_verdict_is_final)
{
	const struct sample *s = &samples[_i];
	enum first_bytes so_far = FIRST_UNDECIDED;

	for (size_t n = 0; n <= strlen(s->bytes); n++) {
		enum first_bytes what = sort_n(s->bytes, n, s->path);

		if (so_far != FIRST_UNDECIDED)
			ck_assert_int_eq(what, so_far);
		so_far = what;
	}
}
END_TEST

START_TEST(what_is_too_long_to_tell_is_http)
{
	char *long_line = xmalloc(FIRST_BYTES_MAX);

	memset(long_line, 'a', FIRST_BYTES_MAX);
	memcpy(long_line, "GET /", 5);
	ck_assert_int_eq(sort_n(long_line, FIRST_BYTES_MAX - 1, ""), FIRST_UNDECIDED);
	ck_assert_int_eq(sort_n(long_line, FIRST_BYTES_MAX, ""), FIRST_HTTP);
	memcpy(long_line, "GET /up HTTP/1.1\r\nX: ", 21);
	ck_assert_int_eq(sort_n(long_line, FIRST_BYTES_MAX - 1, ""), FIRST_UNDECIDED);
	ck_assert_int_eq(sort_n(long_line, FIRST_BYTES_MAX, ""), FIRST_HTTP);
	free(long_line);
}
END_TEST

START_TEST(a_nul_is_a_byte_like_others)
{
	static const char bytes[] = "GET /app/\0key HTTP/1.1\r\n";

	ck_assert_int_eq(sort_n(bytes, sizeof(bytes) - 1, ""), FIRST_WEBSOCKET);
	ck_assert_int_eq(sort_n("\0", 1, ""), FIRST_HTTP);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("front/first_bytes");
	TCase *t = tcase_create("sort");

	tcase_add_loop_test(t, each_kind, 0, ARRAY_SIZE(samples));
	tcase_add_loop_test(t, a_verdict_is_final, 0, ARRAY_SIZE(samples));
	tcase_add_test(t, what_is_too_long_to_tell_is_http);
	tcase_add_test(t, a_nul_is_a_byte_like_others);
	suite_add_tcase(s, t);
	return unit_run(s);
}
