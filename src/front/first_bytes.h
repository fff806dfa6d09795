/* SPDX-License-Identifier: MIT */
#ifndef FRONT_FIRST_BYTES_H
#define FRONT_FIRST_BYTES_H
/*
 * Who a connection is for, by its first n bytes.  A WebSocket connection is one whose first head is
 * a complete and valid handshake; the HTTP server answers all other requests, handshakes with
 * errors included.  More bytes never change a verdict.
 */
#include <stddef.h>

enum first_bytes { FIRST_UNDECIDED, FIRST_WEBSOCKET, FIRST_HTTP, FIRST_TLS };

/* max: the longest head; FIRST_WEBSOCKET comes with *head, the bytes of the head. */
enum first_bytes first_bytes_sort(const char *bytes, size_t n, size_t max, size_t *head);
#endif
