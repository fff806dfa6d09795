/* SPDX-License-Identifier: MIT */
/* Counts lines per window in one atomic word: the window's number above, its lines below. */
#include <stdarg.h>
#include <stdio.h>
#include "base/log_gate.h"

#define LINE_BYTES	 1024
#define WINDOW_OF(state) ((uint32_t)((state) >> 32))
#define LINES_OF(state)	 ((uint32_t)(state))

static _Atomic(struct log_gate *) gates;

/* Adds n lines to the window of now; the lines that it has then.  Reports the window before. */
static uint32_t log_gate_add(struct log_gate *gate, usec_t now, uint32_t n)
{
	uint32_t window = (uint32_t)(now / (LOG_GATE_WINDOW_S * USEC_PER_SEC));
	uint64_t old = atomic_load(&gate->state), new;

	do {
		uint32_t lines = WINDOW_OF(old) == window ? LINES_OF(old) : 0;

		new = (uint64_t)window << 32 | (lines + n < lines ? lines : lines + n);
	} while (!atomic_compare_exchange_weak(&gate->state, &old, new));
	if (WINDOW_OF(old) != window && LINES_OF(old) > LOG_GATE_LINES)
		log_info("and %u more %s", LINES_OF(old) - LOG_GATE_LINES, gate->what);
	return LINES_OF(new);
}

static void log_gate_list(struct log_gate *gate)
{
	struct log_gate *first = atomic_load(&gates);

	if (atomic_exchange(&gate->is_listed, true))
		return;
	do
		atomic_store(&gate->next, first);
	while (!atomic_compare_exchange_weak(&gates, &first, gate));
}

void log_gated(struct log_gate *gate, const char *fmt, ...)
{
	char line[LINE_BYTES];
	va_list ap;

	log_gate_list(gate);
	if (log_gate_add(gate, clock_mono(), 1) > LOG_GATE_LINES)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	log_info("%s", line);
}

void log_gates_flush(usec_t now)
{
	for (struct log_gate *g = atomic_load(&gates); g; g = atomic_load(&g->next))
		log_gate_add(g, now, 0);
}
