/* SPDX-License-Identifier: MIT */
/* No state; any thread. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "base/mem.h"
#include "wire/address.h"

#define V4_MAPPED_BITS 96

struct address_range {
	struct address first;
	unsigned bits; /* that an address of the range has in common with it */
};

/* ---- addresses ---- */

static const unsigned char v4_prefix[12] = { [10] = 0xff, [11] = 0xff };

static struct address address_of_v4(const void *four_bytes)
{
	struct address a;

	memcpy(a.bytes, v4_prefix, sizeof(v4_prefix));
	memcpy(a.bytes + sizeof(v4_prefix), four_bytes, 4);
	a.is_known = 1;
	return a;
}

static bool address_is_v4(const struct address *a)
{
	return memcmp(a->bytes, v4_prefix, sizeof(v4_prefix)) == 0;
}

bool address_parse(struct str_view text, struct address *out)
{
	char copy[INET6_ADDRSTRLEN];
	struct in_addr v4;
	struct in6_addr v6;

	if (!text.len || text.len >= sizeof(copy) || memchr(text.ptr, '\0', text.len))
		return false;
	memcpy(copy, text.ptr, text.len);
	copy[text.len] = '\0';
	if (inet_pton(AF_INET, copy, &v4) == 1) {
		*out = address_of_v4(&v4);
		return true;
	}
	if (inet_pton(AF_INET6, copy, &v6) != 1)
		return false;
	memcpy(out->bytes, v6.s6_addr, sizeof(out->bytes));
	out->is_known = 1;
	return true;
}

struct address address_of_sockaddr(const struct sockaddr *sa)
{
	struct address a = { { 0 }, 0 };

	if (sa && sa->sa_family == AF_INET)
		return address_of_v4(&((const struct sockaddr_in *)sa)->sin_addr);
	if (sa && sa->sa_family == AF_INET6) {
		memcpy(a.bytes, ((const struct sockaddr_in6 *)sa)->sin6_addr.s6_addr,
		       sizeof(a.bytes));
		a.is_known = 1;
	}
	return a;
}

struct address address_of_peer(int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	if (getpeername(fd, (struct sockaddr *)&ss, &len))
		return address_of_sockaddr(NULL);
	return address_of_sockaddr((struct sockaddr *)&ss);
}

bool address_is_known(const struct address *a)
{
	return a->is_known;
}

char *address_format(const struct address *a, char out[ADDRESS_TEXT_SIZE])
{
	const char *text = NULL;

	if (address_is_v4(a))
		text = inet_ntop(AF_INET, a->bytes + sizeof(v4_prefix), out, ADDRESS_TEXT_SIZE);
	else if (address_is_known(a))
		text = inet_ntop(AF_INET6, a->bytes, out, ADDRESS_TEXT_SIZE);
	if (!text)
		snprintf(out, ADDRESS_TEXT_SIZE, "unknown");
	return out;
}

bool address_is_loopback(const struct address *a)
{
	static const unsigned char v6[16] = { [15] = 1 };

	return memcmp(a->bytes, v6, sizeof(v6)) == 0 || (address_is_v4(a) && a->bytes[12] == 127);
}

struct address address_network(const struct address *a)
{
	struct address network = *a;

	if (!address_is_v4(a))
		memset(network.bytes + 8, 0, 8);
	return network;
}

/* ---- ranges ---- */

static bool address_range_parse(struct str_view text, struct address_range *out)
{
	ptrdiff_t slash = sv_find(text, '/');
	struct str_view address = slash < 0 ? text : sv_n(text.ptr, (size_t)slash);
	uint64_t bits = 128;

	if (!address_parse(address, &out->first))
		return false;
	if (slash >= 0) {
		unsigned base = sv_find(address, ':') < 0 ? V4_MAPPED_BITS : 0;

		if (!sv_to_u64(sv_skip(text, (size_t)slash + 1), 128 - base, &bits))
			return false;
		bits += base;
	}
	out->bits = (unsigned)bits;
	return true;
}

static bool address_range_contains(const struct address_range *r, const struct address *a)
{
	unsigned bytes = r->bits / 8, rest = r->bits % 8;

	if (memcmp(r->first.bytes, a->bytes, bytes) != 0)
		return false;
	return !rest || (r->first.bytes[bytes] ^ a->bytes[bytes]) >> (8 - rest) == 0;
}

static struct str_view address_next_word(struct str_view *rest)
{
	struct str_view word;
	size_t n = 0;

	while (rest->len && strchr(", \t", rest->ptr[0]))
		*rest = sv_skip(*rest, 1);
	while (n < rest->len && !strchr(", \t", rest->ptr[n]))
		n++;
	word = sv_n(rest->ptr, n);
	*rest = sv_skip(*rest, n);
	return word;
}

bool trusted_proxies_parse(struct str_view list, struct trusted_proxies *out, struct str_view *bad)
{
	struct trusted_proxies t = { NULL, 0 };
	struct str_view rest = list, word;

	while ((word = address_next_word(&rest)).len) {
		struct address_range r;

		if (sv_eq(word, SV("none")))
			continue;
		if (!address_range_parse(word, &r)) {
			*bad = word;
			free(t.ranges);
			return false;
		}
		t.ranges = xreallocarray(t.ranges, t.n + 1, sizeof(*t.ranges));
		t.ranges[t.n++] = r;
	}
	*out = t;
	return true;
}

void trusted_proxies_release(struct trusted_proxies *t)
{
	free(t->ranges);
	*t = (struct trusted_proxies){ NULL, 0 };
}

bool trusted_proxies_are_equal(const struct trusted_proxies *a, const struct trusted_proxies *b)
{
	for (size_t i = 0; i < a->n && i < b->n; i++)
		if (memcmp(&a->ranges[i].first, &b->ranges[i].first, sizeof(struct address)) ||
		    a->ranges[i].bits != b->ranges[i].bits)
			return false;
	return a->n == b->n;
}

bool trusted_proxies_contain(const struct trusted_proxies *t, const struct address *a)
{
	for (size_t i = 0; i < t->n; i++)
		if (address_range_contains(&t->ranges[i], a))
			return true;
	return false;
}

/* ---- headers ---- */

static struct str_view address_trim(struct str_view s)
{
	while (s.len && strchr(" \t", s.ptr[0]))
		s = sv_skip(s, 1);
	while (s.len && strchr(" \t", s.ptr[s.len - 1]))
		s.len--;
	return s;
}

/* The part after the last separator; removes it from the list. */
static struct str_view address_take_last(struct str_view *list, char separator)
{
	size_t at = list->len;
	struct str_view part;

	while (at && list->ptr[at - 1] != separator)
		at--;
	part = address_trim(sv_n(list->ptr + at, list->len - at));
	list->len = at ? at - 1 : 0;
	return part;
}

/* With quotes, brackets and port, as both headers have it. */
static bool address_parse_node(struct str_view text, struct address *out)
{
	ptrdiff_t end;

	if (text.len >= 2 && text.ptr[0] == '"' && text.ptr[text.len - 1] == '"')
		text = sv_n(text.ptr + 1, text.len - 2);
	if (text.len && text.ptr[0] == '[') {
		end = sv_find(text, ']');
		return end > 0 && address_parse(sv_n(text.ptr + 1, (size_t)end - 1), out);
	}
	end = sv_find(text, ':');
	if (end >= 0 && sv_find(sv_skip(text, (size_t)end + 1), ':') < 0)
		text.len = (size_t)end; /* one colon: IPv4 and a port */
	return address_parse(text, out);
}

/* A parameter of one element of Forwarded; empty when it has none. */
static struct str_view forwarded_parameter(struct str_view element, struct str_view name)
{
	while (element.len) {
		struct str_view pair = address_take_last(&element, ';');

		if (pair.len > name.len && pair.ptr[name.len] == '=' &&
		    strncasecmp(pair.ptr, name.ptr, name.len) == 0)
			return sv_skip(pair, name.len + 1);
	}
	return SV("");
}

static bool address_is_secure_scheme(struct str_view scheme)
{
	if (scheme.len >= 2 && scheme.ptr[0] == '"' && scheme.ptr[scheme.len - 1] == '"')
		scheme = sv_n(scheme.ptr + 1, scheme.len - 2);
	return (scheme.len == 5 && strncasecmp(scheme.ptr, "https", 5) == 0) ||
	       (scheme.len == 3 && strncasecmp(scheme.ptr, "wss", 3) == 0);
}

struct client_address client_address_of(const struct trusted_proxies *t, const struct address *peer,
					bool is_tls, const struct forwarded_headers *h)
{
	struct client_address c = { .address = *peer, .is_secure = is_tls };
	struct str_view list = h->x_forwarded_for, protos = h->x_forwarded_proto, proto = SV("");
	bool is_standard = !list.len && h->forwarded.len;

	if (!trusted_proxies_contain(t, peer))
		return c;
	if (protos.len) {
		proto = address_take_last(&protos, ',');
	} else if (is_standard) {
		struct str_view elements = h->forwarded;

		proto = forwarded_parameter(address_take_last(&elements, ','), SV("proto"));
	}
	if (proto.len)
		c.is_secure = address_is_secure_scheme(proto);
	if (is_standard)
		list = h->forwarded;
	while (list.len && trusted_proxies_contain(t, &c.address)) {
		struct str_view node = address_take_last(&list, ',');
		struct address next;

		if (is_standard)
			node = forwarded_parameter(node, SV("for"));
		if (!address_parse_node(node, &next))
			break;
		c.address = next;
	}
	return c;
}
