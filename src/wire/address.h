/* SPDX-License-Identifier: MIT */
#ifndef WIRE_ADDRESS_H
#define WIRE_ADDRESS_H
/*
 * Addresses of clients, and who they are behind proxies.
 *
 * Only from a trusted proxy do X-Forwarded-For, X-Forwarded-Proto and Forwarded count.  The lists
 * are read from the right, which is the part that the proxies themselves wrote: the client is the
 * first address from there that is not a trusted proxy.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include "base/annotate.h"
#include "base/str.h"

/*
 * IPv6; IPv4 in its mapped form ::ffff:a.b.c.d.  All 0: not known.  No padding, because it is part
 * of keys that are compared by their bytes.
 */
struct address {
	unsigned char bytes[16];
	uint64_t is_known; /* 0 or 1; without it :: would be one that is not known */
};
_Static_assert(sizeof(struct address) == 24, "keys have no padding");

#define ADDRESS_TEXT_SIZE 64

/* An address without brackets or port. */
bool address_parse(struct str_view text, struct address *out);
/* Not known when sa is NULL or of another family. */
struct address address_of_sockaddr(const struct sockaddr *sa);
/* The peer of a connected socket. */
struct address address_of_peer(int fd);
/* Returns out; "unknown" when it is not known. */
char *address_format(const struct address *a, char out[ADDRESS_TEXT_SIZE]);
bool address_is_known(const struct address *a);
bool address_is_loopback(const struct address *a);
/* The network of 64 bits that an IPv6 address is in; an IPv4 address itself. */
struct address address_network(const struct address *a);

struct address_range;
struct trusted_proxies {
	struct address_range *ranges;
	size_t n;
};

/*
 * A list of addresses and ranges (10.0.0.0/8) with commas or spaces between them; "none" and the
 * empty list trust no address.  False: *bad is the part that is neither, and out is not changed.
 */
bool trusted_proxies_parse(struct str_view list, struct trusted_proxies *out, struct str_view *bad)
	MUSTCHECK;
void trusted_proxies_release(struct trusted_proxies *t);
/* The same ranges in the same order. */
bool trusted_proxies_are_equal(const struct trusted_proxies *a, const struct trusted_proxies *b);
bool trusted_proxies_contain(const struct trusted_proxies *t, const struct address *a);

/* The headers of one request; of several with one name the values with commas between them. */
struct forwarded_headers {
	struct str_view x_forwarded_for, x_forwarded_proto, forwarded;
};

struct client_address {
	struct address address;
	bool is_secure; /* the client itself uses TLS */
};

/*
 * Who the client of a connection is.  peer: the other end of the socket; is_tls: the socket uses
 * TLS.  With X-Forwarded-For, Forwarded is not read at all: the proxy wrote the first, so the
 * second may be the client's.
 */
struct client_address client_address_of(const struct trusted_proxies *t, const struct address *peer,
					bool is_tls, const struct forwarded_headers *h);
#endif
