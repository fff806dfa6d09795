/* SPDX-License-Identifier: MIT */
#ifndef CORE_LIMIT_H
#define CORE_LIMIT_H
/*
 * Token bucket in one 64-bit word (the theoretical arrival time of GCRA, in µs), so that it
 * can sit in an atomic shared by threads or in a session.  A rate of 0 is no limit.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/annotate.h"
#include "base/clock.h"
#include "wire/address.h"

/* Takes n of rate per window_us, bursts up to rate.  False: over the limit, nothing taken. */
bool limit_take(uint64_t *word, unsigned rate, usec_t window_us, unsigned n, usec_t now);
bool limit_take_shared(_Atomic uint64_t *word, unsigned rate, usec_t window_us, unsigned n,
		       usec_t now);

/*
 * Connections, handshakes and unread answers of each client address, an IPv6 network of 64 bits
 * counting as one address.  Loopback and addresses that are not known have no limits.  Any thread.
 */
struct address_limits;
struct address_count;

enum address_verdict { ADDRESS_ADMITTED, ADDRESS_CONNECTIONS, ADDRESS_HANDSHAKES };

/* 0: no limit. */
struct address_limits *address_limits_new(unsigned max_connections,
					  unsigned max_handshakes_per_second,
					  unsigned max_unread_bytes) MUSTCHECK;
void address_limits_free(struct address_limits *l); /* NULL is fine */
/*
 * Counts a handshake and, when it is admitted, a connection.  *out is for address_limits_leave(),
 * NULL when nothing was counted.
 */
enum address_verdict address_limits_enter(struct address_limits *l, const struct address *a,
					  usec_t now, struct address_count **out) MUSTCHECK;
/* The same for a connection without a handshake, such as one for HTTP. */
enum address_verdict address_limits_connect(struct address_limits *l, const struct address *a,
					    usec_t now, struct address_count **out) MUSTCHECK;
/*
 * Counts n bytes of an answer that the address has not read yet, until they are given back.  False:
 * it has others, and the sum would be over the limit; nothing was counted.  c NULL: no limit.
 */
bool address_limits_take_unread(struct address_limits *l, struct address_count *c, size_t n)
	MUSTCHECK;
/* The same without a refusal: for an answer that must be sent. */
void address_limits_add_unread(struct address_limits *l, struct address_count *c, size_t n);
/* Whether those that it has not read reach the limit. */
bool address_limits_is_unread_full(struct address_limits *l, struct address_count *c) MUSTCHECK;
void address_limits_give_unread(struct address_limits *l, struct address_count *c, size_t n);
void address_limits_leave(struct address_limits *l, struct address_count *c); /* NULL is fine */
#endif
