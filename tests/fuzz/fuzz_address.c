/* SPDX-License-Identifier: MIT */
/*
 * Addresses: the input as one address, as the list of trusted proxies, and as the headers that a
 * trusted proxy sends.
 */
#include <string.h>
#include "fuzz.h"
#include "wire/address.h"

static void must_have_one_form(const struct address *a)
{
	char text[ADDRESS_TEXT_SIZE];
	struct address again;

	MUST(address_is_known(a));
	address_format(a, text);
	MUST(address_parse(sv(text), &again));
	MUST(memcmp(a, &again, sizeof(again)) == 0);
}

static void check_list(struct str_view input)
{
	struct trusted_proxies t, again;
	struct str_view bad = SV("");

	if (!trusted_proxies_parse(input, &t, &bad)) {
		MUST(bad.len && bad.ptr >= input.ptr && bad.ptr + bad.len <= input.ptr + input.len);
		return;
	}
	MUST(trusted_proxies_parse(input, &again, &bad));
	MUST(trusted_proxies_are_equal(&t, &again));
	trusted_proxies_release(&t);
	trusted_proxies_release(&again);
}

/* Only a trusted peer is replaced, and by nothing but an address. */
static void check_headers(const struct forwarded_headers *h)
{
	struct trusted_proxies t;
	struct str_view bad;
	struct address peer, other;
	struct client_address got;

	MUST(trusted_proxies_parse(SV("127.0.0.0/8 ::1 10.0.0.0/8"), &t, &bad));
	MUST(address_parse(SV("127.0.0.1"), &peer) && address_parse(SV("192.0.2.1"), &other));
	got = client_address_of(&t, &peer, false, h);
	must_have_one_form(&got.address);
	got = client_address_of(&t, &other, true, h);
	MUST(got.is_secure && memcmp(&got.address, &other, sizeof(other)) == 0);
	trusted_proxies_release(&t);
}

static void fuzz(struct str_view input)
{
	struct address a;

	if (address_parse(input, &a))
		must_have_one_form(&a);
	check_list(input);
	check_headers(&(struct forwarded_headers){ .x_forwarded_for = input });
	check_headers(
		&(struct forwarded_headers){ .x_forwarded_proto = input, .forwarded = input });
}
