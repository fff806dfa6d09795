/* SPDX-License-Identifier: MIT */
/*
 * One atomic flag for the whole process; no lock, any thread.  The guard (daemon/guard.c) sets it.
 */
#include <stdatomic.h>
#include "pg/gate.h"

static atomic_bool gate_is_closed;

void pg_gate_set(bool is_open)
{
	atomic_store(&gate_is_closed, !is_open);
}

bool pg_gate_is_open(void)
{
	return !atomic_load(&gate_is_closed);
}
