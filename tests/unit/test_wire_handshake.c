/* SPDX-License-Identifier: MIT */
/* What is read from a WebSocket handshake; test_front_first_bytes.c has which ones are valid. */
#include "unit.h"
#include "wire/handshake.h"

#define START                                                                                      \
	"GET /app/k?protocol=7 HTTP/1.1\r\nHost: a\r\nupgrade: foo, websocket\r\n"                 \
	"Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n"                         \
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

static void check_protocol(const char *headers, const char *want)
{
	struct handshake h;
	struct strbuf b;

	strbuf_init(&b, 0);
	strbuf_addf(&b, START "%s\r\n", headers);
	ck_assert_uint_eq(head_length(b.ptr, b.len), b.len);
	ck_assert_int_eq(handshake_read(strbuf_view(&b), &h), 0);
	ck_view_eq(h.protocol, want);
	strbuf_release(&b);
}

START_TEST(the_first_subprotocol_is_selected)
{
	check_protocol("", "");
	check_protocol("Sec-WebSocket-Protocol:\r\n", "");
	check_protocol("Sec-WebSocket-Protocol: x, y\r\n", "x");
	check_protocol("sec-websocket-protocol:x\r\n", "x");
	check_protocol("Sec-WebSocket-Protocol: , ,\t z ,y\r\n", "z");
	check_protocol("Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b\r\n", "a");
}
END_TEST

START_TEST(the_head_for_libwebsockets_has_the_other_headers)
{
	static const char head[] = START "Origin: http://o\nSec-WebSocket-Protocol: x\r\n"
					 "Sec-WebSocket-Extensions: permessage-deflate\r\n"
					 "X-Upgrade: kept\r\n\r\n";
	struct strbuf b;

	strbuf_init(&b, 0);
	handshake_rewrite(sv(head), &b);
	ck_view_eq(strbuf_view(&b), "GET /app/k?protocol=7 HTTP/1.1\r\nHost: a\r\n"
				    "Sec-WebSocket-Version: 13\r\n"
				    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
				    "Origin: http://o\r\nX-Upgrade: kept\r\n"
				    "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
	strbuf_release(&b);
}
END_TEST

START_TEST(a_head_ends_at_its_empty_line)
{
	ck_assert_uint_eq(head_length("a\r\n\r\nb", 6), 5);
	ck_assert_uint_eq(head_length("a\n\nb", 4), 3);
	ck_assert_uint_eq(head_length("a\n\r\nb", 5), 4);
	ck_assert_uint_eq(head_length("a\r\n\r", 4), 0);
	ck_assert_uint_eq(head_length("a\r\n", 3), 0);
	ck_assert_uint_eq(head_length("", 0), 0);
}
END_TEST

START_TEST(the_values_of_a_header_are_joined_whatever_their_length)
{
	struct strbuf head, want, out;

	strbuf_init(&head, 0);
	strbuf_init(&want, 0);
	strbuf_init(&out, 0);
	strbuf_add_str(&head, "GET /x-for: HTTP/1.1\r\nx-for:  ");
	for (unsigned i = 0; i < 1000; i++)
		strbuf_add_str(&want, "9.9.9.9, ");
	strbuf_add_str(&want, "a");
	strbuf_add_sv(&head, strbuf_view(&want));
	strbuf_add_str(&head, " \r\nX-For-2: b\r\nX-FOR:\r\nX-For: c\n\r\nX-For: d\r\n");
	strbuf_add_str(&want, ",,c");
	head_values(strbuf_view(&head), "X-For", &out);
	ck_view_eq(strbuf_view(&out), want.ptr);
	strbuf_release(&out);
	head_values(strbuf_view(&head), "Y", &out);
	ck_assert_uint_eq(out.len, 0);
	strbuf_release(&out);
	strbuf_release(&want);
	strbuf_release(&head);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("wire/handshake");
	TCase *t = tcase_create("heads");

	tcase_add_test(t, the_first_subprotocol_is_selected);
	tcase_add_test(t, the_head_for_libwebsockets_has_the_other_headers);
	tcase_add_test(t, a_head_ends_at_its_empty_line);
	tcase_add_test(t, the_values_of_a_header_are_joined_whatever_their_length);
	suite_add_tcase(s, t);
	return unit_run(s);
}
