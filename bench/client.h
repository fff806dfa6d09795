/* SPDX-License-Identifier: MIT */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H
/* What a client of the Pusher protocol sends.  Both die when the socket does not take it at once.
 */
#include <stddef.h>

/* Requests a WebSocket of the application with the key. */
void client_upgrade(int fd, const char *host, unsigned port, const char *key);
/* A message in one frame; at most about 500 bytes. */
void client_send(int fd, const char *text, size_t len);
#endif
