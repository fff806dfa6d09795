/* SPDX-License-Identifier: MIT */
#ifndef BUS_REDIS_RESOLVER_H
#define BUS_REDIS_RESOLVER_H
/*
 * Looks up the name of a host in a thread of its own.  A look-up that has begun cannot be ended,
 * and takes as long as the system's resolver wants; so no thread waits for it, and the process may
 * end before it.
 */
#include "base/annotate.h"

struct addrinfo;
struct redis_resolver;

/* For the thread that looks up. */
extern struct thread_role on_resolver;

/* Both are copied.  NULL: no thread can be started. */
struct redis_resolver *redis_resolver_start(const char *host, const char *port) MUSTCHECK;
/* Becomes readable when the answer is there.  It is the resolver's own. */
int redis_resolver_fd(const struct redis_resolver *r);
/* When the descriptor is readable: 0 and *out, which the caller frees with freeaddrinfo(); or an
 * error of getaddrinfo(). */
int redis_resolver_take(struct redis_resolver *r, struct addrinfo **out) MUSTCHECK;
/* The caller does not use it any more, whether it is ready or not.  NULL is fine. */
void redis_resolver_drop(struct redis_resolver *r);
#endif
