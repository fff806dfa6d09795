/* SPDX-License-Identifier: MIT */
#ifndef PG_POOLER_H
#define PG_POOLER_H
/*
 * Finds out whether a pooler that shares server sessions between its clients' transactions, such as
 * PgBouncer with pool_mode = transaction, is between us and the server.  LISTEN, prepared
 * statements, advisory locks and settings belong to a session: through such a pooler they do not
 * work, and other clients get ours.
 */
#include "pg/conn.h"

/*
 * Before anything was set on c's session; sends only queries that leave nothing there.  Through a
 * pooler it opens a second connection for a moment.  0; -ENOTSUP, sessions are shared; -EHOSTDOWN,
 * that cannot be found out; *c has the message then.
 */
int pg_pooler_check(struct pg_connection *c, unsigned host, usec_t deadline) MUSTCHECK;
#endif
