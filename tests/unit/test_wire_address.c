/* SPDX-License-Identifier: MIT */
#include <netinet/in.h>
#include "base/mem.h"
#include "unit.h"
#include "wire/address.h"

static const char *text_of(struct address a)
{
	static char text[ADDRESS_TEXT_SIZE];

	return address_format(&a, text);
}

static struct address parsed(const char *text)
{
	struct address a;

	ck_assert_msg(address_parse(sv(text), &a), "%s", text);
	return a;
}

START_TEST(addresses_have_one_form)
{
	struct address a;

	ck_assert_str_eq(text_of(parsed("192.0.2.7")), "192.0.2.7");
	ck_assert_str_eq(text_of(parsed("::ffff:192.0.2.7")), "192.0.2.7");
	ck_assert_str_eq(text_of(parsed("2001:DB8::0:1")), "2001:db8::1");
	ck_assert(!address_parse(SV("192.0.2"), &a));
	ck_assert(!address_parse(SV("192.0.2.7:80"), &a));
	ck_assert(!address_parse(SV("fe80::1%eth0"), &a));
	ck_assert(!address_parse(SV(""), &a));
	ck_assert(!address_parse(SV("a1:a2:a3:a4:a5:a6:a7:a8:a9:aa:ab:ac:ad:ae:af:b0:b1:b2"), &a));
	ck_assert_str_eq(text_of(address_of_sockaddr(NULL)), "unknown");
}
END_TEST

START_TEST(the_unspecified_address_is_known)
{
	static const char *const forms[] = { "::", "::0", "0::0", "0:0:0:0:0:0:0:0", "::0.0.0.0" };
	struct sockaddr_in6 sa = { .sin6_family = AF_INET6 };
	struct address a = address_of_sockaddr((struct sockaddr *)&sa), unknown;

	ck_assert(address_is_known(&a));
	ck_assert_str_eq(text_of(a), "::");
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		a = parsed(forms[i]);
		ck_assert_msg(address_is_known(&a), "%s", forms[i]);
		ck_assert_str_eq(text_of(a), "::");
		a = address_network(&a);
		ck_assert(address_is_known(&a));
	}
	unknown = address_of_sockaddr(NULL);
	ck_assert(!address_is_known(&unknown));
	ck_assert(!address_is_loopback(&unknown));
}
END_TEST

START_TEST(loopback_is_known_in_every_form)
{
	static const char *const yes[] = { "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1" };
	static const char *const no[] = { "128.0.0.1", "::2", "::", "192.0.2.127" };

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++)
		ck_assert(address_is_loopback(&(struct address[]){ parsed(yes[i]) }[0]));
	for (size_t i = 0; i < ARRAY_SIZE(no); i++)
		ck_assert(!address_is_loopback(&(struct address[]){ parsed(no[i]) }[0]));
}
END_TEST

static bool is_trusted(const char *list, const char *address)
{
	struct trusted_proxies t;
	struct address a = parsed(address);
	struct str_view bad;
	bool is;

	ck_assert_msg(trusted_proxies_parse(sv(list), &t, &bad), "%s", list);
	is = trusted_proxies_contain(&t, &a);
	trusted_proxies_release(&t);
	return is;
}

START_TEST(a_range_contains_its_addresses_only)
{
	ck_assert(is_trusted("10.0.0.0/8", "10.255.0.1"));
	ck_assert(is_trusted("10.0.0.0/8", "::ffff:10.255.0.1"));
	ck_assert(!is_trusted("10.0.0.0/8", "11.0.0.1"));
	ck_assert(is_trusted("192.0.2.128/25", "192.0.2.129"));
	ck_assert(!is_trusted("192.0.2.128/25", "192.0.2.127"));
	ck_assert(is_trusted("192.0.2.1,  192.0.2.5", "192.0.2.5"));
	ck_assert(!is_trusted("192.0.2.1", "192.0.2.5"));
	ck_assert(is_trusted("2001:db8::/33", "2001:db8:7fff::1"));
	ck_assert(!is_trusted("2001:db8::/33", "2001:db8:8000::1"));
	ck_assert(is_trusted("0.0.0.0/0", "203.0.113.9"));
	ck_assert(!is_trusted("0.0.0.0/0", "2001:db8::1"));
	ck_assert(is_trusted("::/0", "203.0.113.9"));
	ck_assert(!is_trusted("none", "127.0.0.1"));
	ck_assert(!is_trusted("", "127.0.0.1"));
}
END_TEST

START_TEST(a_list_with_another_word_is_refused)
{
	static const char *const lists[] = { "localhost",     "10.0.0.0/33",
					     "10.0.0.0/",     "::1/129",
					     "10.0.0.1;10.1", "10.0.0.0/-1",
					     "1.2.3.4/8/9",   "*" };

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		struct trusted_proxies t;
		struct str_view bad;

		ck_assert_msg(!trusted_proxies_parse(sv(lists[i]), &t, &bad), "%s", lists[i]);
		ck_view_eq(bad, lists[i]);
	}
}
END_TEST

struct forwarded_case {
	const char *peer, *x_for, *x_proto, *forwarded;
	bool is_tls;
	const char *address;
	bool is_secure;
};

static void check_case(const struct forwarded_case *c)
{
	struct trusted_proxies t;
	struct address peer = parsed(c->peer);
	struct forwarded_headers h = { .x_forwarded_for = sv(c->x_for),
				       .x_forwarded_proto = sv(c->x_proto),
				       .forwarded = sv(c->forwarded) };
	struct client_address got;
	struct str_view bad;

	ck_assert(trusted_proxies_parse(SV("127.0.0.0/8, ::1, 10.0.0.0/8"), &t, &bad));
	got = client_address_of(&t, &peer, c->is_tls, &h);
	ck_assert_str_eq(text_of(got.address), c->address);
	ck_assert_int_eq(got.is_secure, c->is_secure);
	trusted_proxies_release(&t);
}

START_TEST(headers_of_others_do_not_count)
{
	static const struct forwarded_case cases[] = {
		{ "192.0.2.1", "1.1.1.1", "https", NULL, false, "192.0.2.1", false },
		{ "192.0.2.1", NULL, NULL, "for=1.1.1.1;proto=https", false, "192.0.2.1", false },
		{ "192.0.2.1", "1.1.1.1", "http", NULL, true, "192.0.2.1", true },
	};

	check_case(&cases[_i]);
}
END_TEST

START_TEST(headers_of_a_trusted_proxy_count)
{
	static const struct forwarded_case cases[] = {
		{ "127.0.0.1", NULL, NULL, NULL, false, "127.0.0.1", false },
		{ "127.0.0.1", "192.0.2.1", "https", NULL, false, "192.0.2.1", true },
		{ "::ffff:127.0.0.1", "192.0.2.1", "wss", NULL, false, "192.0.2.1", true },
		{ "127.0.0.1", "192.0.2.1", "http", NULL, true, "192.0.2.1", false },
		{ "127.0.0.1", "9.9.9.9, 192.0.2.1", "https, http", NULL, false, "192.0.2.1",
		  false },
		{ "127.0.0.1", "192.0.2.1, 10.1.2.3", "https", NULL, false, "192.0.2.1", true },
		{ "127.0.0.1", "[2001:db8::1]:4711", NULL, NULL, false, "2001:db8::1", false },
		{ "127.0.0.1", "192.0.2.1:4711", NULL, NULL, false, "192.0.2.1", false },
		{ "127.0.0.1", "2001:db8::1", NULL, NULL, false, "2001:db8::1", false },
		{ "127.0.0.1", "::", NULL, NULL, false, "::", false },
		{ "127.0.0.1", NULL, NULL, "for=\"[0:0::0]\"", false, "::", false },
		{ "127.0.0.1", "192.0.2.1, junk", NULL, NULL, false, "127.0.0.1", false },
		{ "127.0.0.1", ",,", ",", NULL, false, "127.0.0.1", false },
		{ "127.0.0.1", NULL, NULL, "for=192.0.2.1;proto=https;by=10.0.0.1", false,
		  "192.0.2.1", true },
		{ "127.0.0.1", NULL, NULL, "For=\"[2001:db8::1]:4711\"; Proto=\"https\"", false,
		  "2001:db8::1", true },
		{ "127.0.0.1", NULL, NULL, "for=9.9.9.9;proto=https, for=192.0.2.1;proto=http",
		  false, "192.0.2.1", false },
		{ "127.0.0.1", NULL, NULL, "for=\", for=192.0.2.1", false, "192.0.2.1", false },
		{ "127.0.0.1", NULL, NULL, "for=_hidden", false, "127.0.0.1", false },
		{ "127.0.0.1", "192.0.2.1", NULL, "for=9.9.9.9", false, "192.0.2.1", false },
		{ "127.0.0.1", "192.0.2.1", NULL, "for=9.9.9.9;proto=https", false, "192.0.2.1",
		  false },
	};

	check_case(&cases[_i]);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("wire/address");
	TCase *t = tcase_create("address");

	tcase_add_test(t, addresses_have_one_form);
	tcase_add_test(t, the_unspecified_address_is_known);
	tcase_add_test(t, loopback_is_known_in_every_form);
	tcase_add_test(t, a_range_contains_its_addresses_only);
	tcase_add_test(t, a_list_with_another_word_is_refused);
	tcase_add_loop_test(t, headers_of_others_do_not_count, 0, 3);
	tcase_add_loop_test(t, headers_of_a_trusted_proxy_count, 0, 20);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return unit_run(suite());
}
