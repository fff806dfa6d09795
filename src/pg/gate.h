/* SPDX-License-Identifier: MIT */
#ifndef PG_GATE_H
#define PG_GATE_H
/*
 * Whether the daemon may use its database yet.  While the gate is closed, runners and pools open no
 * connection: the schema may be older than the program, and another daemon may use the database
 * (daemon/guard.h).  A process has one gate, because it has one database.  Open at first.  Any
 * thread.
 */
#include <stdbool.h>

#define PG_GATE_MS 50 /* how often to look whether it has opened */

void pg_gate_set(bool is_open);
bool pg_gate_is_open(void);
#endif
