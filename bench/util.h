/* SPDX-License-Identifier: MIT */
#ifndef BENCH_UTIL_H
#define BENCH_UTIL_H
/*
 * What the load generator and the reference server share: the clock, bytes that
 * grow, sockets, and giving up.  A bench that cannot go on exits at once (die).
 */
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

#define NSEC_PER_SEC  UINT64_C(1000000000)
#define NSEC_PER_MSEC UINT64_C(1000000)

/* Prints "name: message" to stderr and exits with status 1. */
void die(const char *fmt, ...) PRINTF_LIKE(1, 2) __attribute__((noreturn));

uint64_t now_ns(void);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t size);

struct bytes {
	char *ptr;  /* owned */
	size_t len; /* bytes used */
	size_t cap; /* bytes allocated */
};

void bytes_add(struct bytes *b, const void *p, size_t n);
void bytes_addf(struct bytes *b, const char *fmt, ...) PRINTF_LIKE(2, 3)
	__attribute__((nonnull(2)));
/* Drops the first n bytes. */
void bytes_drop(struct bytes *b, size_t n);
void bytes_release(struct bytes *b);

/* Lifts the soft limit of open files to the hard one; returns it. */
unsigned long files_raise(void);

/*
 * Starts a non-blocking connect to addr from 127.0.0.(1 + source) when addr is on
 * loopback (one source address has some 28,000 ports).  The socket, or -errno.
 */
int tcp_connect(const struct sockaddr_in *addr, unsigned source);
/* A non-blocking listener; SO_REUSEPORT so that each thread may have its own. */
int tcp_listen(const struct sockaddr_in *addr, const char *congestion);
/* Closes with a reset, so that no port is left in TIME_WAIT. */
void tcp_abort(int fd);
struct sockaddr_in tcp_address(const char *host, unsigned port);

/* A whole number from min to max in text, or die naming the option. */
uint64_t number(const char *option, const char *text, uint64_t min, uint64_t max);
#endif
