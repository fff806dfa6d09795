/* SPDX-License-Identifier: MIT */
/*
 * A line is formatted on the stack and written with one write(2), so lines of several threads do
 * not mix and no lock is needed.  A longer line is cut.  Any thread.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/macros.h"

#define LINE_BYTES 2048

static const char *const level_names[] = { "error", "warn", "info", "debug" };
static atomic_int log_max_level = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&log_max_level, (int)level, memory_order_relaxed);
}

/* Copies text, escaping control bytes and what is not ASCII; returns bytes written. */
static size_t log_escape_into(char *out, size_t room, const char *text)
{
	size_t n = 0;

	for (; *text && room - n > 4; text++) {
		unsigned char c = (unsigned char)*text;

		if (c >= 0x20 && c < 0x7f)
			out[n++] = (char)c;
		else
			n += (size_t)snprintf(out + n, room - n, "\\x%02x", c);
	}
	return n;
}

void log_at(enum log_level level, const char *fmt, ...)
{
	char text[LINE_BYTES / 2], line[LINE_BYTES], when[CLOCK_ISO_SIZE];
	va_list ap;
	size_t n;

	if ((int)level > atomic_load_explicit(&log_max_level, memory_order_relaxed))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	n = (size_t)snprintf(line, sizeof(line), "%s %s: ", clock_iso(clock_wall(), when),
			     level_names[level]);
	n += log_escape_into(line + n, sizeof(line) - n - 1, text);
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, n) < 0)
		return; /* there is no other place to report it */
}
