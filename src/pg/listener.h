/* SPDX-License-Identifier: MIT */
#ifndef PG_LISTENER_H
#define PG_LISTENER_H
/*
 * LISTEN and the notifications that arrive.  Listen first, then read what the notifications are
 * about: a change between the two is then seen at least once.
 *
 * On the thread that owns the connection.
 */
#include "pg/conn.h"

/*
 * The node of a cluster that all sessions of this process listen for from now on: its
 * nodes.instance, of at most 32 bytes.  Their search_path has the function node_session_add(),
 * which lets the other nodes end them when this one has ended.  Before any session listens.
 */
void pg_listener_set_node(const char *instance);

/* channel is a plain SQL name. */
enum pg_fault pg_listener_begin(struct pg_connection *c, usec_t deadline, const char *channel)
	MUSTCHECK;
/* Takes the notifications that have arrived and passes each payload to fn (may be NULL); their
 * number. */
unsigned pg_listener_take(struct pg_connection *c, void (*fn)(void *ctx, const char *payload),
			  void *ctx);
/* The same without those that this session sent itself. */
unsigned pg_listener_take_others(struct pg_connection *c,
				 void (*fn)(void *ctx, const char *payload), void *ctx);
/*
 * Waits for a notification, for fd (-1: none) to be readable, or for the deadline.  *n is the
 * number of notifications, all of which are taken.  PG_FINE or PG_LOST.
 */
enum pg_fault pg_listener_wait(struct pg_connection *c, int fd, usec_t deadline, unsigned *n)
	MUSTCHECK;
#endif
