/* SPDX-License-Identifier: MIT */
/*
 * A line is formatted on the stack and written with one write(2), so lines of several threads do
 * not mix and no lock is needed.  A longer line is cut.  Any thread.
 *
 * The descriptor of a file stays the same when the file is opened again (dup3(2)), and is never
 * closed: a thread may be about to write to it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/macros.h"

#define LINE_BYTES 2048

static const char *const level_names[] = { "error", "warn", "info", "debug" };
static const char level_priorities[] = "3467"; /* of syslog(3) */
static atomic_int log_max_level = LOG_LEVEL_INFO;
static atomic_int log_line_format = LOG_FORMAT_TEXT;
static atomic_int log_fd = STDERR_FILENO;
static atomic_bool log_has_journal;
static int log_file_fd = -1; /* of the last file, whether it is in use or not */

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&log_max_level, (int)level, memory_order_relaxed);
}

bool log_has_level(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&log_max_level, memory_order_relaxed);
}

void log_set_format(enum log_format format)
{
	atomic_store_explicit(&log_line_format, (int)format, memory_order_relaxed);
}

int log_use_file(const char *path)
{
	int fd, rc = 0;

	if (!*path) {
		atomic_store(&log_fd, STDERR_FILENO);
		return 0;
	}
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY | O_CLOEXEC, 0640);
	if (fd < 0)
		return -errno;
	if (log_file_fd < 0) {
		log_file_fd = fd;
	} else {
		if (dup3(fd, log_file_fd, O_CLOEXEC) < 0)
			rc = -errno;
		close(fd);
	}
	if (!rc)
		atomic_store(&log_fd, log_file_fd);
	return rc;
}

void log_find_journal(const char *journal)
{
	unsigned long long device, inode;
	struct stat st;

	atomic_store(&log_has_journal, journal &&
					       sscanf(journal, "%llu:%llu", &device, &inode) == 2 &&
					       fstat(STDERR_FILENO, &st) == 0 &&
					       st.st_dev == device && st.st_ino == inode);
}

/* Copies text, escaping control bytes and what is not ASCII, in JSON also what it escapes; returns
 * bytes written. */
static size_t log_escape_into(char *out, size_t room, const char *text, bool is_json)
{
	size_t n = 0;

	for (; *text && room - n > 6; text++) {
		unsigned char c = (unsigned char)*text;

		if (c >= 0x20 && c < 0x7f) {
			if (is_json && (c == '"' || c == '\\'))
				out[n++] = '\\';
			out[n++] = (char)c;
		} else {
			n += (size_t)snprintf(out + n, room - n, "%s\\x%02x", is_json ? "\\" : "",
					      c);
		}
	}
	return n;
}

void log_at(enum log_level level, const char *fmt, ...)
{
	char text[LINE_BYTES / 2], line[LINE_BYTES], when[CLOCK_ISO_SIZE];
	bool is_json =
		atomic_load_explicit(&log_line_format, memory_order_relaxed) == LOG_FORMAT_JSON;
	int fd = atomic_load_explicit(&log_fd, memory_order_relaxed);
	va_list ap;
	size_t n = 0;

	if (!log_has_level(level))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (fd == STDERR_FILENO && atomic_load_explicit(&log_has_journal, memory_order_relaxed))
		n = (size_t)snprintf(line, sizeof(line), "<%c>", level_priorities[level]);
	n += (size_t)snprintf(line + n, sizeof(line) - n,
			      is_json ? "{\"at\":\"%s\",\"level\":\"%s\",\"text\":\"" : "%s %s: ",
			      clock_iso(clock_wall(), when), level_names[level]);
	n += log_escape_into(line + n, sizeof(line) - n - 3, text, is_json);
	n += (size_t)snprintf(line + n, sizeof(line) - n, "%s\n", is_json ? "\"}" : "");
	if (write(fd, line, n) < 0)
		return; /* there is no other place to report it */
}
