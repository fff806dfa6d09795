/* SPDX-License-Identifier: MIT */
#ifndef PG_RELAY_H
#define PG_RELAY_H
#include <stdbool.h>
/*
 * A proxy between a client and PostgreSQL, which acts as a network that fails at the worst moment.
 * Its socket is in a folder of its own.
 */
struct pg_relay;

enum relay_mode {
	RELAY_PASS,
	RELAY_SWALLOW, /* answers do not come back */
	RELAY_HOLD     /* requests do not arrive until RELAY_PASS */
};

struct pg_relay *pg_relay_new(const char *conninfo);
void pg_relay_free(struct pg_relay *r);
/* conninfo with this relay's folder in place of the server's (heap). */
char *pg_relay_conninfo(const struct pg_relay *r);
/* Of the newest connection; later ones start with RELAY_PASS. */
void pg_relay_set(struct pg_relay *r, enum relay_mode mode);
/* Ends the client's side of the newest connection; the server's too unless it is on hold. */
void pg_relay_cut(struct pg_relay *r);
/* Whether a request waits in the connection on hold. */
bool pg_relay_holds(struct pg_relay *r);
/* Sends the held requests to the server, if it still listens, and waits until the connection ends.
 */
void pg_relay_release(struct pg_relay *r);
#endif
