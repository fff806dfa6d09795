/* SPDX-License-Identifier: MIT */
/* Who a new connection is for. */
#include "base/mem.h"
#include "front/first_bytes.h"
#include "unit.h"

#define HOST	    "Host: localhost\r\n"
#define UPGRADE	    "Upgrade: websocket\r\n"
#define CONNECTION  "Connection: Upgrade\r\n"
#define WS_VERSION  "Sec-WebSocket-Version: 13\r\n"
#define KEY	    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define GET(target) "GET " target " HTTP/1.1\r\n"
#define ALL	    HOST UPGRADE CONNECTION WS_VERSION KEY

#define MAX 4096

/* Sorts a copy of exact size, so that a read beyond it is seen. */
static enum first_bytes sort_n(const char *bytes, size_t n)
{
	char *copy = xmalloc(n ? n : 1);
	enum first_bytes what;
	size_t head = 0;

	memcpy(copy, bytes, n);
	what = first_bytes_sort(copy, n, MAX, &head);
	if (what == FIRST_WEBSOCKET)
		ck_assert(head <= n && copy[head - 1] == '\n');
	free(copy);
	return what;
}

struct sample {
	const char *bytes;
	enum first_bytes want;
};

static const struct sample samples[] = {
	{ "", FIRST_UNDECIDED },
	{ "\x16", FIRST_TLS },
	{ "\x16\x03\x01", FIRST_TLS },
	{ "G", FIRST_UNDECIDED },
	{ "GET", FIRST_UNDECIDED },
	{ "GET ", FIRST_UNDECIDED },
	{ "GET /app/", FIRST_UNDECIDED },
	{ "GEX", FIRST_HTTP },
	{ "get /app/x HTTP/1.1\r\n", FIRST_HTTP },
	{ "P", FIRST_HTTP },
	{ "POST /app/x HTTP/1.1\r\n", FIRST_HTTP },
	{ "\r\n", FIRST_HTTP },
	{ "\x80\xff", FIRST_HTTP },
	{ GET("/app/key"), FIRST_UNDECIDED },
	{ GET("/app/key") HOST UPGRADE CONNECTION WS_VERSION KEY, FIRST_UNDECIDED },
	{ GET("/app/key") ALL "\r\n", FIRST_WEBSOCKET },
	{ GET("/app/key?protocol=7") ALL "\r\n", FIRST_WEBSOCKET },
	{ GET("/elsewhere") ALL "\r\n", FIRST_WEBSOCKET },
	{ GET("/app/key") ALL "\r\n\x81\x05hello", FIRST_WEBSOCKET },
	{ GET("/app/key") "\r\n", FIRST_HTTP },
	{ GET("/app/key") ALL "\n", FIRST_WEBSOCKET },
	{ GET("/up") HOST, FIRST_UNDECIDED },
	{ GET("/up") HOST "\r\n", FIRST_HTTP },
	{ "GET /up HTTP/1.1\n\n", FIRST_HTTP },
	{ GET("/up") HOST "Upgrade: h2c\r\nConnection: Upgrade\r\n" WS_VERSION KEY "\r\n",
	  FIRST_HTTP },
	{ GET("/up") "\r\n" ALL "\r\n", FIRST_HTTP },
	{ "GET  HTTP/1.1\r\n\r\n", FIRST_HTTP },
	{ "GET \r\n\r\n", FIRST_HTTP },
	{ "GET \n\n", FIRST_HTTP },
};

/* Every header of the handshake, as RFC 6455 section 4.2.1 has it. */
static const struct sample handshakes[] = {
	{ GET("/app/k") HOST CONNECTION WS_VERSION KEY "Upgrade: WebSocket\r\n", FIRST_WEBSOCKET },
	{ GET("/app/k") HOST CONNECTION WS_VERSION KEY "upgrade:foo/2, websocket\r\n",
	  FIRST_WEBSOCKET },
	{ GET("/app/k") HOST CONNECTION WS_VERSION KEY, FIRST_HTTP },
	{ GET("/app/k") HOST CONNECTION WS_VERSION KEY "Upgrade:\r\n", FIRST_HTTP },
	{ GET("/app/k") HOST CONNECTION WS_VERSION KEY "Upgrade: websockets\r\n", FIRST_HTTP },
	{ GET("/app/k") HOST CONNECTION WS_VERSION KEY "X-Upgrade: websocket\r\n", FIRST_HTTP },
	{ GET("/app/k") HOST UPGRADE WS_VERSION KEY "Connection: keep-alive, upgrade\r\n",
	  FIRST_WEBSOCKET },
	{ GET("/app/k") HOST UPGRADE WS_VERSION KEY "Connection: close\r\n" CONNECTION,
	  FIRST_WEBSOCKET },
	{ GET("/app/k") HOST UPGRADE WS_VERSION KEY "Connection: keep-alive\r\n", FIRST_HTTP },
	{ GET("/app/k") HOST UPGRADE WS_VERSION KEY, FIRST_HTTP },
	{ GET("/app/k") HOST UPGRADE CONNECTION KEY, FIRST_HTTP },
	{ GET("/app/k") HOST UPGRADE CONNECTION KEY "Sec-WebSocket-Version: 8\r\n", FIRST_HTTP },
	{ GET("/app/k") HOST UPGRADE CONNECTION KEY "Sec-WebSocket-Version: 99\r\n", FIRST_HTTP },
	{ GET("/app/k") HOST UPGRADE CONNECTION KEY "Sec-WebSocket-Version: abc\r\n", FIRST_HTTP },
	{ GET("/app/k") HOST UPGRADE CONNECTION KEY "Sec-WebSocket-Version: 13, 8\r\n",
	  FIRST_HTTP },
	{ GET("/app/k") HOST UPGRADE CONNECTION KEY "Sec-WebSocket-Version: 013\r\n", FIRST_HTTP },
	{ GET("/app/k") HOST UPGRADE CONNECTION KEY WS_VERSION WS_VERSION, FIRST_HTTP },
	{ GET("/app/k") HOST UPGRADE CONNECTION WS_VERSION, FIRST_HTTP },
	{ GET("/app/k") ALL KEY, FIRST_HTTP },
	{ GET("/app/k") HOST UPGRADE CONNECTION WS_VERSION "Sec-WebSocket-Key: short==\r\n",
	  FIRST_HTTP },
	{ GET("/app/k") HOST UPGRADE CONNECTION WS_VERSION
	  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQA=\r\n",
	  FIRST_HTTP },
	{ GET("/app/k") HOST UPGRADE CONNECTION WS_VERSION
	  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub2 jZQ==\r\n",
	  FIRST_HTTP },
	{ GET("/app/k") UPGRADE CONNECTION WS_VERSION KEY, FIRST_HTTP },
	{ GET("/app/k") ALL HOST, FIRST_HTTP },
	{ GET("/app/k") ALL " folded: line\r\n", FIRST_HTTP },
	{ GET("/app/k") ALL "Name : value\r\n", FIRST_HTTP },
	{ GET("/app/k") ALL "no colon\r\n", FIRST_HTTP },
	{ "GET /app/k HTTP/1.0\r\n" ALL, FIRST_HTTP },
	{ "GET /app/k\r\n" ALL, FIRST_HTTP },
	{ "GET app/k HTTP/1.1\r\n" ALL, FIRST_HTTP },
};

START_TEST(the_first_bytes_give_the_kind)
{
	const struct sample *s = &samples[_i];

	ck_assert_msg(sort_n(s->bytes, strlen(s->bytes)) == s->want, "\"%s\"", s->bytes);
}
END_TEST

START_TEST(the_headers_decide_whether_a_request_is_a_handshake)
{
	const struct sample *s = &handshakes[_i];
	struct strbuf b;

	strbuf_init(&b, 0);
	strbuf_addf(&b, "%s\r\n", s->bytes);
	ck_assert_msg(sort_n(b.ptr, b.len) == s->want, "\"%s\"", s->bytes);
	strbuf_release(&b);
}
END_TEST

/* More bytes may decide what was open, and never change what was decided. */
START_TEST(a_verdict_is_final)
{
	const struct sample *s = &samples[_i];
	enum first_bytes so_far = FIRST_UNDECIDED;

	for (size_t n = 0; n <= strlen(s->bytes); n++) {
		enum first_bytes what = sort_n(s->bytes, n);

		if (so_far != FIRST_UNDECIDED)
			ck_assert_int_eq(what, so_far);
		so_far = what;
	}
}
END_TEST

START_TEST(what_is_too_long_is_http)
{
	char *long_line = xmalloc(MAX);

	memset(long_line, 'a', MAX);
	memcpy(long_line, "GET /", 5);
	ck_assert_int_eq(sort_n(long_line, MAX - 1), FIRST_UNDECIDED);
	ck_assert_int_eq(sort_n(long_line, MAX), FIRST_HTTP);
	memcpy(long_line, GET("/up") "X: ", strlen(GET("/up") "X: "));
	ck_assert_int_eq(sort_n(long_line, MAX - 1), FIRST_UNDECIDED);
	ck_assert_int_eq(sort_n(long_line, MAX), FIRST_HTTP);
	free(long_line);
}
END_TEST

START_TEST(a_nul_makes_no_handshake)
{
	static const char bytes[] = "GET /app/\0key HTTP/1.1\r\n" ALL "\r\n";

	ck_assert_int_eq(sort_n(bytes, sizeof(bytes) - 1), FIRST_HTTP);
	ck_assert_int_eq(sort_n("\0", 1), FIRST_HTTP);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("front/first_bytes");
	TCase *t = tcase_create("sort");

	tcase_add_loop_test(t, the_first_bytes_give_the_kind, 0, ARRAY_SIZE(samples));
	tcase_add_loop_test(t, the_headers_decide_whether_a_request_is_a_handshake, 0,
			    ARRAY_SIZE(handshakes));
	tcase_add_loop_test(t, a_verdict_is_final, 0, ARRAY_SIZE(samples));
	tcase_add_test(t, what_is_too_long_is_http);
	tcase_add_test(t, a_nul_makes_no_handshake);
	suite_add_tcase(s, t);
	return unit_run(s);
}
