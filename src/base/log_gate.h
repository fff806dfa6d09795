/* SPDX-License-Identifier: MIT */
#ifndef BASE_LOG_GATE_H
#define BASE_LOG_GATE_H
/*
 * Log lines that a peer can cause, limited in rate: each gate writes LOG_GATE_LINES lines in
 * LOG_GATE_WINDOW_S seconds and counts the others.  The next window begins with a line that has
 * the number of those that were left out.  A gate is a static variable, one for each kind of line.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include "base/clock.h"
#include "base/log.h"

#define LOG_GATE_LINES	  10
#define LOG_GATE_WINDOW_S 10

struct log_gate {
	const char *what;		 /* what its lines are about: "connections refused" */
	_Atomic uint64_t state;		 /* the window's number, and the lines that it had */
	_Atomic(struct log_gate *) next; /* of all gates that had a line; set once */
	atomic_bool is_listed;
};

#define LOG_GATE(text)                                                                             \
	{                                                                                          \
		.what = text                                                                       \
	}

/* Writes the line at the level info, or counts it.  Any thread. */
void log_gated(struct log_gate *gate, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Writes what gates left out in windows that have ended.  Any thread; about once a second. */
void log_gates_flush(usec_t now);
#endif
